"""The gates, on hand-made claims: no model takes part."""

import pytest

from captioning.vision import gates, groups
from captioning.vision.gates import Views
from captioning.vision.observation import Box, Detection, Doubt, Label, TextLine, Thing

BOX = Box(0.2, 0.2, 0.5, 0.6)
WHOLE = Box(0.0, 0.0, 1.0, 1.0)
OWL, COW, PALACE, CASTLE, PEDESTAL, DAISY, ALP, VALLEY = 24, 345, 698, 483, 708, 985, 970, 979


def claim(name="cow", score=0.9, box=BOX):
    return Detection(name, score, box)


def label(line, score):
    return Label(line, f"label {line}", score)


def test_what_all_three_views_show_counts_with_the_least_score():
    views = Views([claim(score=0.9)], [claim(score=0.7)], [claim(score=0.55)])

    kept, doubts = gates.confirmed(views)

    assert [(one.name, one.score) for one in kept] == [("cow", 0.55)]
    assert doubts == []


@pytest.mark.parametrize(
    ("views", "reason"),
    [
        (Views([claim()], [], [claim()]), "mirrored"),
        (Views([claim()], [claim()], []), "cropped"),
        (Views([claim()], [claim(score=0.49)], [claim()]), "mirrored"),
        (Views([claim()], [claim()], [claim("sheep")]), "cropped"),
        (Views([claim()], [claim(box=Box(0.6, 0.2, 0.9, 0.6))], [claim()]), "mirrored"),
    ],
)
def test_what_a_view_lacks_is_a_doubt(views, reason):
    kept, doubts = gates.confirmed(views)

    assert kept == []
    assert [(doubt.name, reason in doubt.reason) for doubt in doubts] == [("cow", True)]


def test_a_weak_claim_is_not_even_a_doubt():
    weak = claim(score=0.59)

    assert gates.confirmed(Views([weak], [weak], [weak])) == ([], [])


def test_two_animals_side_by_side_count_twice():
    herd = [claim(box=Box(0.0, 0.2, 0.4, 0.8)), claim(score=0.8, box=Box(0.5, 0.2, 0.9, 0.8))]

    kept, _ = gates.confirmed(Views(herd, herd, herd))

    assert len(kept) == 2


def test_one_view_cannot_confirm_two_claims():
    near = [claim(box=Box(0.0, 0.0, 0.4, 0.8)), claim(score=0.8, box=Box(0.17, 0.0, 0.57, 0.8))]
    between = [claim(box=Box(0.08, 0.0, 0.48, 0.8))]

    kept, doubts = gates.confirmed(Views(near, between, between))

    assert (len(kept), len(doubts)) == (1, 1)


def test_doubled_boxes_count_once():
    doubled = [claim(), claim(score=0.7, box=Box(0.21, 0.2, 0.5, 0.61))]

    kept, _ = gates.confirmed(Views(doubled, doubled, doubled))

    assert len(kept) == 1


def test_a_classifier_that_agrees_leaves_the_thing_alone():
    assert gates.judged(claim(), [label(COW, 0.9)], []) == Thing("cow", 0.9, BOX)


def test_another_animal_group_takes_the_name_where_the_classifier_is_sure():
    thing = gates.judged(claim("elephant", 0.7), [label(OWL, 0.8)], [])

    assert thing == Thing("owl", 0.7, BOX, "detector, classifier")


def test_another_animal_group_refuses_where_the_classifier_only_suspects():
    doubt = gates.judged(claim("elephant", 0.7), [label(OWL, 0.45)], [])

    assert isinstance(doubt, Doubt)
    assert "bird" in doubt.reason


def test_a_faint_suspicion_changes_nothing():
    assert isinstance(gates.judged(claim("elephant"), [label(OWL, 0.39)], []), Thing)


def test_a_monument_refuses_a_person():
    assert isinstance(gates.judged(claim("person"), [label(PEDESTAL, 0.27)], []), Doubt)


def test_a_flower_does_not_refuse_the_person_who_holds_it():
    assert isinstance(gates.judged(claim("person", box=WHOLE), [label(DAISY, 0.97)], [label(DAISY, 0.9)]), Thing)


def test_a_landscape_refuses_a_person_who_fills_the_picture_but_not_one_who_stands_in_it():
    mountains = [label(ALP, 0.4), label(VALLEY, 0.3)]

    assert isinstance(gates.judged(claim("person", box=WHOLE), mountains, mountains), Doubt)
    assert isinstance(gates.judged(claim("person", box=BOX), [], mountains), Thing)


def test_a_whole_picture_label_says_nothing_about_a_small_box():
    assert isinstance(gates.judged(claim("cow", box=BOX), [], [label(OWL, 0.9)]), Thing)


def test_only_a_sure_label_becomes_the_subject():
    assert gates.subject_of([label(OWL, 0.6)]).name == "owl"
    assert gates.subject_of([label(OWL, 0.59)]) is None
    assert gates.subject_of([]) is None


def test_labels_of_one_family_add_up():
    together = gates.subject_of([label(PALACE, 0.5), label(CASTLE, 0.25)])

    assert (together.name, together.score) == ("building", 0.75)
    assert gates.subject_of([label(PALACE, 0.4), label(CASTLE, 0.25)]) is None


def test_labels_without_a_common_noun_never_add_up():
    assert gates.subject_of([label(line, 0.19) for line in (398, 412, 416, 418, 419)]) is None


def test_candidates_are_the_labels_between_the_gates():
    labels = [label(1, 0.14), label(2, 0.15), label(3, 0.3), label(4, 0.6)]

    assert [one.index for one in gates.candidates(labels)] == [3, 2]


@pytest.mark.parametrize(
    ("string", "score", "is_readable"),
    [
        ("EXIT", 0.9, True),
        ("EXIT", 0.84, False),
        ("AAA", 0.99, False),
        ("O0", 0.99, False),
        ("A-b!", 0.99, False),
        ("abA", 0.99, False),
        ("出口处", 0.95, True),
        ("§ % &", 0.99, False),
    ],
)
def test_only_writing_is_readable(string, score, is_readable):
    assert gates.is_readable(TextLine(string, score, BOX)) is is_readable


def test_every_object_number_of_the_detector_has_a_name_of_its_own():
    assert len(set(groups.OBJECTS.values())) == len(groups.OBJECTS) == 80


@pytest.mark.parametrize(
    ("line", "group"),
    [
        (0, "fish"), (24, "bird"), (25, "reptile"), (151, "mammal"), (268, "mammal"), (323, "insect"), (345, "mammal"),
        (468, "vehicle"), (698, "building"), (832, "monument"), (652, "clothing"), (402, "instrument"),
        (963, "food"), (970, "natural landscape"), (971, "other"), (985, "plant"), (999, "other"),
    ],
)  # fmt: skip
def test_labels_belong_to_their_coarse_group(line, group):
    assert groups.group_of(line) == group


def test_a_mirrored_box_mirrored_again_is_itself():
    turned = BOX.mirrored()

    assert turned == Box(0.5, 0.2, 0.8, 0.6)
    assert turned.mirrored().overlap(BOX) == pytest.approx(1.0)


def test_a_box_within_a_frame_is_read_in_the_whole():
    assert WHOLE.within(BOX) == BOX
    assert Box(0.5, 0.5, 1.0, 1.0).within(Box(0.5, 0.0, 1.0, 1.0)) == Box(0.75, 0.5, 1.0, 1.0)


def test_overlap_is_intersection_over_union():
    assert Box(0, 0, 0.5, 1).overlap(Box(0.25, 0, 0.75, 1)) == pytest.approx(1 / 3)
    assert Box(0, 0, 0.5, 1).overlap(Box(0.5, 0, 1, 1)) == 0.0
