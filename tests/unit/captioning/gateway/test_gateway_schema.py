from __future__ import annotations

import copy
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.gateway.schema import InvalidSchema, check_schema, is_echo, is_strict, schema_from_fields, violations

GRAPH = [
    {
        "name": "tags_list",
        "type": "str",
        "is_list": True,
        "is_complex": True,
        "fields": [
            {"name": "tag", "type": "str", "description": "a noun"},
            {"name": "confidence", "type": "float"},
        ],
    },
    {"name": "short_caption", "type": "str", "description": "at most 100 characters"},
]


def test_nested_fields_are_kept():
    schema = schema_from_fields(GRAPH)

    assert schema == {
        "type": "object",
        "properties": {
            "tags_list": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "tag": {"type": "string", "description": "a noun"},
                        "confidence": {"type": "number"},
                    },
                    "required": ["tag", "confidence"],
                    "additionalProperties": False,
                },
            },
            "short_caption": {"type": "string", "description": "at most 100 characters"},
        },
        "required": ["tags_list", "short_caption"],
        "additionalProperties": False,
    }
    assert is_strict(schema)


def test_a_missing_and_an_additional_field_are_named():
    answer = {"tags_list": [{"tag": "cat", "confidence": "high", "colour": "grey"}]}

    told = violations(answer, schema_from_fields(GRAPH))

    assert any("short_caption" in error and error.startswith("$:") for error in told)
    assert any("colour" in error and error.startswith("$.tags_list[0]:") for error in told)
    assert any("'high'" in error and error.startswith("$.tags_list[0].confidence:") for error in told)


def test_an_object_without_parts_stays_open_and_is_not_strict():
    schema = schema_from_fields([{"name": "facts", "type": "dict"}])

    assert violations({"facts": {"colour": "grey", "mood": "calm"}}, schema) == []
    assert not is_strict(schema)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([], "at least one field"),
        ("caption", "must be a list"),
        ([{"type": "str"}], "schema_fields[0] has no name"),
        ([{"name": "a"}, {"name": "a"}], "names a twice"),
        ([{"name": "a", "type": "image"}], "schema_fields.a has the unknown type 'image'"),
        ([{"name": "a", "type": {"b": "str"}}], "give its parts in `fields`"),
        ([{"name": "a", "fields": [{"name": "b", "type": "?"}]}], "schema_fields.a.b"),
    ],
)
def test_fields_that_describe_nothing_are_refused_by_name(fields, told):
    with pytest.raises(InvalidSchema) as caught:
        schema_from_fields(fields)

    assert told in str(caught.value)


def test_nesting_has_an_end():
    fields: list[dict[str, Any]] = [{"name": "leaf", "type": "str"}]
    for _ in range(5):
        fields = [{"name": "level", "fields": fields}]

    with pytest.raises(InvalidSchema, match="deeper than 5"):
        schema_from_fields(fields)


def test_a_schema_handed_back_is_recognised():
    assert is_echo(schema_from_fields(GRAPH))
    assert not is_echo({"type": "object", "properties": {"colour": "grey"}})
    assert not is_echo({"short_caption": "A cat.", "type": "photograph"})


def test_a_schema_of_a_list_is_refused():
    with pytest.raises(InvalidSchema, match="must be an object"):
        check_schema({"type": "array", "items": {"type": "string"}})
    with pytest.raises(InvalidSchema, match="Not a valid JSON Schema"):
        check_schema({"type": "object", "properties": {"a": {"type": "text"}}})


_names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
_scalars = st.fixed_dictionaries({"type": st.sampled_from(["str", "int", "float", "bool"]), "is_list": st.booleans()})


def _named(entries: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.dictionaries(_names, entries, min_size=1, max_size=4).map(
        lambda chosen: [{"name": name, **entry} for name, entry in chosen.items()]
    )


_fields = _named(
    st.one_of(
        _scalars,
        st.fixed_dictionaries({"type": st.just("dict"), "is_list": st.booleans(), "fields": _named(_scalars)}),
    )
)


def _answers(fields: list[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    kinds = {"str": st.text(), "int": st.integers(), "float": st.floats(allow_nan=False), "bool": st.booleans()}

    def one(entry: dict[str, Any]) -> st.SearchStrategy[Any]:
        value = _answers(entry["fields"]) if "fields" in entry else kinds[entry["type"]]
        return st.lists(value, max_size=3) if entry["is_list"] else value

    return st.fixed_dictionaries({entry["name"]: one(entry) for entry in fields})


@settings(deadline=None)  # correctness only; the machine may be busy
@given(st.data())
def test_any_answer_made_from_the_fields_fits_their_schema_and_no_less(data):
    fields = data.draw(_fields)
    answer = data.draw(_answers(fields))

    schema = schema_from_fields(fields)

    check_schema(schema)
    assert is_strict(schema)
    assert list(schema["properties"]) == [entry["name"] for entry in fields]
    assert violations(answer, schema) == []
    dropped = data.draw(st.sampled_from(sorted(answer)))
    less = {name: value for name, value in answer.items() if name != dropped}
    assert violations(less, schema)
    assert violations({**answer, "Unasked": 1}, schema)
    assert is_echo(copy.deepcopy(schema))
