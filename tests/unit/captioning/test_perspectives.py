import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from captioning import documents, library
from captioning.library import PerspectiveExists, PerspectiveNotYours, ShippedFileBroken
from captioning.models import Perspective
from orchestrator.problems import Invalid
from tests.captions import document, make_caption, make_dataset, make_image, make_perspective
from tests.workbench.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path


def ship(folder: Path, **members) -> None:
    shipped = document(**{"name": "shipped", **members})
    (folder / f"{shipped['name']}.json").write_text(json.dumps({**shipped, "version": "1"}))


def words_of(name: str) -> str:
    return Perspective.objects.get(name=name).current.prompt


# --- What is shipped


def test_everything_shipped_is_loaded_after_migrate_and_valid():
    names = {json.loads(path.read_text())["name"] for path in library.SHIPPED.rglob("*.json")}

    assert set(Perspective.objects.usable().values_list("name", flat=True)) == names
    assert library.load_shipped() == []


def test_a_shipped_file_is_loaded_once(folder):
    ship(folder)

    assert library.load_shipped(folder) == ["shipped"]
    assert library.load_shipped(folder) == []
    assert Perspective.objects.get(name="shipped").versions.count() == 1


def test_a_changed_shipped_file_becomes_the_current_version(folder):
    ship(folder)
    library.load_shipped(folder)
    ship(folder, prompt="Look again.")

    assert library.load_shipped(folder) == ["shipped"]
    assert words_of("shipped") == "Look again."
    assert Perspective.objects.get(name="shipped").versions.count() == 2


def test_a_changed_shipped_file_leaves_what_people_wrote_in_force(folder):
    ship(folder)
    library.load_shipped(folder)
    staff = make_user("grace", is_staff=True)
    library.write(Perspective.objects.get(name="shipped"), document("shipped", prompt="Ours."), by=staff)
    ship(folder, prompt="Theirs, newer.")

    library.load_shipped(folder)

    assert words_of("shipped") == "Ours."
    assert Perspective.objects.get(name="shipped").versions.count() == 3


def test_a_disabled_shipped_perspective_stays_disabled_when_it_is_loaded_again(folder):
    ship(folder)
    library.load_shipped(folder)
    library.remove(Perspective.objects.get(name="shipped"), by=make_user("grace", is_staff=True))
    ship(folder, prompt="Newer.")

    library.load_shipped(folder)

    assert not Perspective.objects.get(name="shipped").enabled


def test_a_broken_shipped_file_is_named(folder):
    ship(folder, schema_fields=[])

    with pytest.raises(ShippedFileBroken, match=r"shipped\.json.*schema_fields"):
        library.load_shipped(folder)


def test_the_command_says_what_it_loaded(folder, monkeypatch, capsys):
    ship(folder)
    monkeypatch.setattr(library.load_shipped, "__defaults__", (folder,))

    call_command("load_perspectives")
    call_command("load_perspectives")

    assert capsys.readouterr().out == "New versions: shipped.\nEverything was up to date.\n"


# --- What people write


def test_a_changed_wording_is_a_new_version_and_the_old_one_stays():
    perspective = make_perspective("plain")

    library.write(perspective, document("plain", prompt="Other words."), by=make_user(is_staff=True))

    assert list(perspective.versions.order_by("number").values_list("number", "prompt")) == [
        (1, "Say what the picture shows."),
        (2, "Other words."),
    ]
    assert perspective.current.number == 2


def test_the_same_wording_makes_no_version():
    perspective = make_perspective("plain")

    is_new = library.write(perspective, document("plain"), by=make_user(is_staff=True))

    assert not is_new
    assert perspective.versions.count() == 1


def test_a_name_is_taken_once():
    make_perspective("plain")

    with pytest.raises(PerspectiveExists):
        make_perspective("plain")


def test_only_its_maker_and_staff_change_a_perspective():
    maker, other = make_user("maker"), make_user("other")
    perspective = library.create(document("mine"), by=maker)

    with pytest.raises(PerspectiveNotYours):
        library.write(perspective, document("mine", prompt="x"), by=other)
    assert library.write(perspective, document("mine", prompt="y"), by=maker)


def test_a_perspective_that_nobody_used_is_deleted():
    perspective = make_perspective("unused")

    assert library.remove(perspective, by=make_user(is_staff=True))
    assert not Perspective.objects.filter(name="unused").exists()


def test_a_perspective_with_captions_is_only_disabled():
    perspective = make_perspective("used")
    make_caption(make_image(make_dataset()), perspective)

    assert not library.remove(perspective, by=make_user(is_staff=True))
    assert not Perspective.objects.get(name="used").enabled


def test_perspectives_cannot_build_on_each_other_in_a_circle():
    make_perspective("base")
    top = make_perspective("top", builds_on=["base"])

    with pytest.raises(Invalid) as refusal:
        library.write(
            Perspective.objects.get(name="base"), document("base", builds_on=["top"]), by=make_user(is_staff=True)
        )

    assert list(refusal.value.errors) == ["builds_on"]
    assert top.current.builds_on == ["base"]


def test_each_perspective_comes_after_what_it_needs():
    needs = {"sum": ["detail", "plain"], "detail": ["plain"]}

    assert library.in_order_of_need(["sum", "other", "plain", "detail"], needs) == ["plain", "detail", "sum", "other"]


def test_a_circle_that_was_shipped_is_cut_and_not_run_into():
    assert sorted(library.in_order_of_need(["a", "b"], {"a": ["b"], "b": ["a"]})) == ["a", "b"]


# --- What a document may say


def test_nested_fields_are_kept_and_written_out_again():
    nested = [
        {
            "name": "tags",
            "type": "dict",
            "description": "",
            "is_list": True,
            "is_complex": True,
            "fields": [{"name": "tag", "type": "str"}, {"name": "confidence", "type": "float"}],
        }
    ]

    perspective = make_perspective("graph", schema_fields=nested, context_template="{tags}")

    assert library.document_of(perspective)["schema_fields"] == nested


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"name": "batch"}, "name"),
        ({"name": "modules"}, "name"),
        ({"name": "caption-from-path"}, "name"),
        ({"name": "with space"}, "name"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"display_name": ""}, "display_name"),
        ({"type": "poem"}, "type"),
        ({"priority": -1}, "priority"),
        ({"priority": True}, "priority"),
        ({"deprecated": "no"}, "deprecated"),
        ({"tags": "art"}, "tags"),
        ({"tags": ["art", "art"]}, "tags"),
        ({"builds_on": ["plain"], "name": "plain"}, "builds_on"),
        ({"colour": "red"}, "colour"),
        ({"table_columns": [{"name": "caption"}]}, "table_columns[0]"),
        ({"context_template": "{nothing}"}, "context_template"),
        ({"local_vision": {"nothing": "colours"}}, "local_vision"),
        ({"schema_fields": []}, "schema_fields"),
        ({"schema_fields": ["caption"]}, "schema_fields[0]"),
        ({"schema_fields": [{"name": "1st", "type": "str"}]}, "schema_fields[0].name"),
        ({"schema_fields": [{"name": "a", "type": "str"}, {"name": "a", "type": "int"}]}, "schema_fields[1].name"),
        ({"schema_fields": [{"name": "a", "type": "text"}]}, "schema_fields[0].type"),
        ({"schema_fields": [{"name": "a", "type": {"tag": "str"}}]}, "schema_fields[0].type"),
        ({"schema_fields": [{"name": "a", "type": "str", "is_list": "yes"}]}, "schema_fields[0].is_list"),
        ({"schema_fields": [{"name": "a", "type": "str", "is_complex": True}]}, "schema_fields[0].fields"),
        ({"schema_fields": [{"name": "a", "type": "str", "size": 3}]}, "schema_fields[0].size"),
        (
            {"schema_fields": [{"name": "a", "type": "dict", "fields": [{"name": "b", "type": "strr"}]}]},
            "schema_fields[0].fields[0].type",
        ),
    ],
)
def test_a_document_is_refused_by_the_path_of_what_is_wrong(members, path):
    assert path in documents.check(document(**{"context_template": "", **members}))


def test_fields_may_not_nest_without_end():
    field = {"name": "deep", "type": "str"}
    for _ in range(6):
        field = {"name": "deep", "type": "dict", "fields": [field]}

    errors = documents.check(document(schema_fields=[field], context_template=""))

    assert any("deeper" in message for messages in errors.values() for message in messages)


def test_nobody_owns_a_shipped_perspective(folder):
    ship(folder)
    library.load_shipped(folder)

    with pytest.raises(PerspectiveNotYours):
        library.remove(Perspective.objects.get(name="shipped"), by=User.objects.create_user("somebody"))
