from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.gateway.answer import read_answer
from captioning.gateway.schema import schema_from_fields

SCHEMA = schema_from_fields([{"name": "caption", "type": "str"}, {"name": "tags", "type": "str", "is_list": True}])
GOOD = {"caption": "A cat.", "tags": ["cat"]}
WORDS = json.dumps(GOOD)


def test_clean_json_counts_as_untouched():
    answer = read_answer(f"  {WORDS}\n", SCHEMA)

    assert (answer.result, answer.repaired) == (GOOD, False)


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{WORDS}\n```",
        f"```\n{WORDS}```",
        f"Here it is:\n\n```json\n{WORDS}\n```\nAnything else?",
        f"<think>A cat, surely.</think>\n{WORDS}",
        '{"caption": "A cat.", "tags": ["cat"],}',
        "{'caption': 'A cat.', 'tags': ['cat']}",
        '{"caption": "A cat.", "tags": ["cat"]',
        f"[{WORDS}]",
        f'{{"result": {WORDS}}}',
        f'{{"type": "object", "properties": {WORDS}}}',
    ],
)
def test_small_faults_are_mended_and_reported(text):
    answer = read_answer(text, SCHEMA)

    assert (answer.result, answer.repaired) == (GOOD, True)


@pytest.mark.parametrize(
    ("text", "is_json", "told"),
    [
        ("", False, "no JSON object"),
        ("A cat on a wall.", False, "no JSON object"),
        ("42", False, "no JSON object"),
        (json.dumps(SCHEMA), True, "schema itself"),
        (f"```json\n{json.dumps(SCHEMA)}\n```", True, "schema itself"),
        ('{"caption": "A cat."}', True, "'tags' is a required property"),
        ('{"caption": "A cat.", "tags": "cat"}', True, "is not of type 'array'"),
        (json.dumps({**GOOD, "mood": "calm"}), True, "'mood' was unexpected"),
        (f"[{WORDS}, {WORDS}]", True, "a list, not one object"),
        ('{"caption": "A\\u0000cat.", "tags": []}', True, "zero character"),
        ('{"caption": "A \\ud800 cat.", "tags": []}', True, "surrogate"),
    ],
)
def test_what_is_no_answer_says_why(text, is_json, told):
    answer = read_answer(text, SCHEMA)

    assert answer.result is None
    assert answer.is_json is is_json
    assert told in answer.errors[0]


def test_an_infinite_number_is_no_answer():
    schema = schema_from_fields([{"name": "confidence", "type": "float"}])

    assert read_answer('{"confidence": 1e999}', schema).result is None
    assert read_answer('{"confidence": NaN}', schema).result is None


@settings(deadline=None)  # correctness only; the machine may be busy
@given(st.text())
def test_no_text_whatever_breaks_the_reader(text):
    answer = read_answer(text, SCHEMA)

    assert (answer.result is None) == bool(answer.errors)


@settings(deadline=None)  # correctness only; the machine may be busy
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), st.lists(st.sampled_from("abc")))
def test_every_caption_survives_a_fence(caption, tags):
    wanted = {"caption": caption, "tags": tags}

    assert read_answer(f"```json\n{json.dumps(wanted, indent=2)}\n```", SCHEMA).result == wanted
