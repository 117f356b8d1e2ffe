"""A form made from a perspective's schema, and the answer that is read back from it"""

from __future__ import annotations

import pytest

from captioning.caption_form import fields_of, result_of
from captioning.models import Caption
from orchestrator.problems import Invalid
from tests.captions import make_caption, make_dataset, make_image, make_perspective

pytestmark = pytest.mark.django_db

FIELDS = [
    {"name": "sentence", "type": "str", "description": "one sentence"},
    {"name": "tags", "type": "str", "is_list": True, "description": ""},
    {"name": "n", "type": "int", "description": ""},
    {"name": "share", "type": "float", "description": ""},
    {"name": "indoors", "type": "bool", "description": ""},
    {"name": "things", "type": "dict", "is_list": True, "description": "",
     "fields": [{"name": "name", "type": "str", "description": ""}]},
]  # fmt: skip
RESULT = {
    "sentence": "An owl.",
    "tags": ["owl", "night"],
    "n": 1,
    "share": 0.25,
    "indoors": True,
    "things": [{"name": "owl"}],
}


@pytest.fixture
def caption(ada, settings, tmp_path) -> Caption:
    settings.MEDIA_ROOT = tmp_path / "media"
    perspective = make_perspective(schema_fields=FIELDS, context_template="{sentence}", table_columns=[])
    return make_caption(make_image(make_dataset(ada)), perspective, result=RESULT, text="An owl.")


def typed(caption: Caption, **changes: str) -> dict[str, str]:
    return {field.key: field.value for field in fields_of(caption)} | {
        f"field-{name}": value for name, value in changes.items()
    }


def test_what_nobody_touched_reads_back_the_same(caption):
    assert result_of(caption, typed(caption)) == RESULT


def test_each_kind_of_field_has_its_own_input(caption):
    assert [field.kind for field in fields_of(caption)] == ["text", "lines", "number", "number", "truth", "json"]


def test_changes_are_read_by_the_kind_of_their_field(caption):
    changed = result_of(
        caption,
        typed(
            caption,
            sentence="Two owls.\r\nAt night. ",
            tags="owl\n\n dusk ",
            n="2",
            share="1.5e-1",
            indoors="",
            things="[]",
        ),
    )

    assert changed == {
        "sentence": "Two owls.\nAt night.",
        "tags": ["owl", "dusk"],
        "n": 2,
        "share": 0.15,
        "indoors": False,
        "things": [],
    }


def test_what_cannot_be_read_is_named(caption):
    with pytest.raises(Invalid) as refused:
        result_of(caption, typed(caption, n="two", things="[{"))

    assert set(refused.value.errors) == {"n", "things"}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("share", "1e999"),
        ("share", "-1e999"),
        ("n", "9" * 5000),
        ("things", "[1e999]"),
        ("things", "[NaN]"),
        ("things", '["\\u0000"]'),
        ("things", '["\\ud800"]'),
        ("things", "[" * 100_000),
    ],
)
def test_what_no_column_takes_is_refused(caption, field, text):
    with pytest.raises(Invalid) as refused:
        result_of(caption, typed(caption, **{field: text}))

    assert set(refused.value.errors) == {field}


def test_a_form_shows_again_what_was_typed(caption):
    fields = fields_of(caption, typed(caption, sentence="half a"))

    assert fields[0].value == "half a"
