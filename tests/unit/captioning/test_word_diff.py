"""What changed between two wordings"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from captioning.word_diff import between, between_documents


def told(old: str, new: str) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in between(old, new)]


def test_only_the_changed_words_are_marked():
    assert told("A brown owl sits.", "A snowy owl sits.") == [
        ("same", "A "),
        ("gone", "brown"),
        ("new", "snowy"),
        ("same", " owl sits."),
    ]


def test_equal_and_empty_texts():
    assert told("", "") == []
    assert told("An owl.", "An owl.") == [("same", "An owl.")]
    assert told("", "An owl.") == [("new", "An owl.")]
    assert told("An owl.", "") == [("gone", "An owl.")]


def test_endless_texts_are_replaced_as_a_whole():
    assert [kind for kind, _ in told("owl " * 5_000, "cow " * 5_000)] == ["gone", "new"]


def test_documents_are_compared_member_by_member():
    parts = between_documents({"n": 1, "name": "owl"}, {"n": 2, "name": "owl"})

    assert [(part.kind, part.text) for part in parts if part.kind != "same"] == [("gone", "1"), ("new", "2")]


@given(st.text(max_size=60), st.text(max_size=60))
def test_both_texts_can_be_read_from_the_parts(old, new):
    parts = between(old, new)

    assert "".join(part.text for part in parts if part.kind != "gone") == new
    assert [part.text for part in parts if part.kind == "new"] or "".join(part.text for part in parts) == old
