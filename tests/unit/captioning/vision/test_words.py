"""Sentences, from observations made by hand."""

import pytest

from captioning.vision import words
from captioning.vision.observation import Box, Colour, Doubt, Label, TextLine
from tests.unit.captioning.vision.observations import COW, EXIT, FAR_COW, OWL, PLAIN, seen


def test_a_sentence_counts_what_was_seen():
    assert words.recognised(seen(things=(COW, FAR_COW))) == "two cows"


def test_the_classifier_is_quoted_with_a_most_likely():
    assert words.recognised(seen(subject=OWL)) == "most likely an owl"
    assert words.plain(seen(subject=OWL)).startswith("The picture most likely shows an owl.")


def test_things_and_another_subject_stand_side_by_side():
    assert words.recognised(seen(things=(COW,), subject=OWL)) == "a cow and most likely an owl"


def test_a_subject_that_the_detector_counted_is_not_named_twice():
    owl = COW.__class__("owl", 0.7, COW.box, "detector, classifier")

    assert words.recognised(seen(things=(owl,), subject=OWL)) == "an owl"


def test_it_abstains_in_words():
    assert words.short(PLAIN).startswith("Nothing recognised with confidence.")
    assert "not recognised with confidence" in words.plain(PLAIN)
    assert "No object was recognised with confidence." in words.dense(PLAIN)
    assert "No object passed the checks" in words.verification(PLAIN)


def test_weak_labels_are_offered_as_guesses_only():
    guessed = seen(candidates=(Label(821, "steel arch bridge", 0.21),))

    assert "Guesses too weak to count: steel arch bridge (0.21)." in words.dense(guessed)
    assert "bridge" not in words.short(guessed) + words.plain(guessed)


def test_what_was_not_looked_for_is_not_called_absent():
    blind = seen(unseen="the models are not installed")

    assert words.objects(blind) == "Objects were not looked for: the models are not installed."
    assert words.text(blind) == "Text was not looked for: the models are not installed."
    assert "recognised with confidence" not in words.short(blind)


def test_refusals_are_told_with_their_reason():
    refused = seen(doubts=(Doubt("kite", 0.7, "not found again in the mirrored picture"),))

    assert "Refused: kite (0.70), not found again in the mirrored picture." in words.verification(refused)


def test_text_is_quoted_as_read():
    assert "“EXIT”" in words.short(seen(lines=(EXIT,)))
    assert words.text(seen(lines=(EXIT,), n_marks_ignored=1)) == (
        "One readable line: “EXIT”. One mark could not be read."
    )


@pytest.mark.parametrize(
    "observation",
    [
        seen(lines=(TextLine("W" * 300, 0.9, EXIT.box),)),
        seen(things=(COW, FAR_COW), lines=(TextLine("W" * 300, 0.9, EXIT.box),), subject=OWL),
        seen(colours=(Colour("dark slate" * 3, "#000000", 0.9), Colour("midnight blue" * 3, "#000000", 0.1))),
        seen(things=tuple(COW.__class__(f"thing number {n}", 0.9, COW.box) for n in range(20))),
    ],
)
def test_a_short_caption_stays_within_a_hundred_characters(observation):
    assert 0 < len(words.short(observation)) <= words.SHORT_LIMIT


@pytest.mark.parametrize(
    ("name", "n", "phrase"),
    [
        ("owl", 1, "an owl"),
        ("unicycle", 1, "a unicycle"),
        ("umbrella", 1, "an umbrella"),
        ("person", 2, "two people"),
        ("bus", 3, "three buses"),
        ("sheep", 4, "four sheep"),
        ("bench", 13, "13 benches"),
        ("scissors", 1, "a pair of scissors"),
    ],
)
def test_numbers_and_articles(name, n, phrase):
    assert words.several(name, n) == phrase


@pytest.mark.parametrize(
    ("box", "where"),
    [
        (Box(0.4, 0.4, 0.6, 0.6), "in the centre"),
        (Box(0.0, 0.0, 0.2, 0.2), "at the top left"),
        (Box(0.8, 0.4, 1.0, 0.6), "on the right"),
        (Box(0.4, 0.8, 0.6, 1.0), "at the bottom"),
    ],
)
def test_positions_have_names(box, where):
    assert words.position(box) == where


def test_a_clear_colour_goes_before_a_second_grey():
    greyish = (Colour("charcoal", "#303236", 0.5), Colour("grey", "#808080", 0.2), Colour("rust", "#a04820", 0.1))

    assert "mostly charcoal and rust" in words.plain(seen(colours=greyish))


def test_conditions_warn_where_silence_proves_little():
    dark = seen(width=100, height=90)

    assert "it is small, so more may be missed" in words.conditions(dark)
    assert "missed" not in words.conditions(PLAIN)
