"""Decide which claims of the models count. Numbers in, verdicts out; no model is needed here.

Set on 34 photographs and explained in docs/explanation/local-vision.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import groups
from .observation import Box, Detection, Doubt, Label, Subject, TextLine, Thing

DETECTED = 0.6  # in the picture as it is
CONFIRMED = 0.5  # again in the mirrored and in the cropped picture
SAME_PLACE = 0.45  # intersection over union from which two boxes mean the same thing
CONTRADICTED = 0.4  # the classifier names another group
MONUMENT_CONTRADICTS = 0.2  # six labels of a thousand: a real person's region gave them nothing, a statue's 0.27
NAMED = 0.6  # a label may enter a sentence, or name what the detector only boxed
FAMILY_NAMED = 0.7  # labels of one family together, where none of them is certain alone
CANDIDATE = 0.15  # a label is worth offering to a person
TEXT_READ = 0.85
_FEWEST_WORD_CHARACTERS = 3
_FEWEST_DISTINCT_CHARACTERS = 3
_WORD_CHARACTER = re.compile(r"[^\W_]")
_FILLS = 0.5  # share of the picture from which a box and the whole picture show the same thing


def thresholds() -> str:
    return (
        f"object {DETECTED} and {CONFIRMED} in two more views, contradicted from {CONTRADICTED}; label {NAMED}, "
        f"family {FAMILY_NAMED}, candidate {CANDIDATE}; text {TEXT_READ}"
    )


@dataclass(frozen=True, slots=True)
class Views:
    """Detections of one picture in three views; boxes of all three are in the coordinates of the picture."""

    plain: Sequence[Detection]
    mirrored: Sequence[Detection]
    cropped: Sequence[Detection]


def confirmed(views: Views) -> tuple[list[Detection], list[Doubt]]:
    """Keep what all three views show in the same place.

    A detector that has mistaken a texture for an object seldom makes the same mistake when the picture is turned over.
    The score kept is the least of the three.
    """
    kept: list[Detection] = []
    doubts: list[Doubt] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for claim in _without_doubles(claim for claim in views.plain if claim.score >= DETECTED):
        matches = [
            _match(claim, others, taken) for others, taken in zip((views.mirrored, views.cropped), used, strict=True)
        ]
        for name, match in zip(("mirrored", "cropped"), matches, strict=True):
            if match is None:
                doubts.append(Doubt(claim.name, claim.score, f"not found again in the {name} picture"))
                break
        else:
            scores = [claim.score]
            for match, others, taken in zip(matches, (views.mirrored, views.cropped), used, strict=True):
                assert match is not None
                taken.add(match)
                scores.append(others[match].score)
            kept.append(Detection(claim.name, min(scores), claim.box.clipped()))
    return kept, doubts


def _without_doubles(claims: Iterable[Detection]) -> list[Detection]:
    """Drop the weaker of two claims of one name whose boxes nearly coincide."""
    kept: list[Detection] = []
    for claim in sorted(claims, key=lambda claim: -claim.score):
        if not any(claim.name == other.name and _is_same(claim.box, other.box) for other in kept):
            kept.append(claim)
    return kept


def _is_same(one: Box, other: Box) -> bool:
    return one.overlap(other) >= SAME_PLACE


def _match(claim: Detection, others: Sequence[Detection], taken: set[int]) -> int | None:
    """Find the best other view of a claim, each of which may confirm one claim only."""
    fitting = [
        (claim.box.overlap(other.box), index)
        for index, other in enumerate(others)
        if index not in taken and other.name == claim.name and other.score >= CONFIRMED
    ]
    best, index = max(fitting, default=(0.0, -1))
    return index if best >= SAME_PLACE else None


def judged(claim: Detection, region: Sequence[Label], whole: Sequence[Label]) -> Thing | Doubt:
    """Ask the classifier about a confirmed detection.

    region: labels of the part in the box; whole: labels of the whole picture, which count only where the box fills it.
    An animal that the classifier is sure to be of another group keeps its box and takes the classifier's name; every
    other contradiction makes a doubt.
    """
    group = groups.object_group(claim.name)
    fills = claim.box.area >= _FILLS
    for labels in (region, whole) if fills else (region,):
        for other, score in groups.sums_by_group(labels).items():
            enough = MONUMENT_CONTRADICTS if other == groups.MONUMENT else CONTRADICTED
            if score < enough or not _contradicts(other, group, fills=fills):
                continue
            if group in groups.ANIMALS and score >= NAMED:
                name = subject_of(labels)
                if name is not None and name.group in groups.ANIMALS:
                    return Thing(name.name, min(claim.score, name.score), claim.box, "detector, classifier")
            return Doubt(claim.name, claim.score, f"the classifier sees a {other} there ({score:.2f})")
    return Thing(claim.name, claim.score, claim.box)


def _contradicts(seen: str, claimed: str, *, fills: bool) -> bool:
    """Animals contradict each other and vehicles; a monument contradicts whatever stands in its place.

    A landscape or building contradicts only what is said to fill the picture: people and cars stand in landscapes.
    """
    if seen == claimed:
        return False
    if seen in groups.ANIMALS:
        return claimed in groups.ANIMALS or claimed == groups.VEHICLE
    if seen == groups.MONUMENT:
        return True
    return fills and seen in (groups.LANDSCAPE, groups.BUILDING)


def subject_of(labels: Sequence[Label]) -> Subject | None:
    """Choose what the classifier may say in a sentence: a sure label, else a family whose labels add up."""
    if not labels:
        return None
    best = max(labels, key=lambda label: label.score)
    if best.score >= NAMED:
        return Subject(groups.plain_name(best), best.score, best.name, groups.group_of(best.index))
    families = groups.sums_by_family(labels)
    family = max(families, key=lambda name: families[name], default="")
    if family in groups.NAMED and families[family] >= FAMILY_NAMED:
        closest = max((label for label in labels if groups.family_of(label.index) == family), key=lambda one: one.score)
        return Subject(family, min(1.0, families[family]), closest.name, groups.group_of(closest.index))
    return None


def candidates(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Labels too uncertain for a sentence, the likeliest first."""
    return tuple(
        sorted((label for label in labels if CANDIDATE <= label.score < NAMED), key=lambda label: -label.score)
    )


def is_readable(line: TextLine) -> bool:
    """Tell writing from the marks that a reader finds in foliage and brickwork."""
    characters = _WORD_CHARACTER.findall(line.string)
    return (
        line.score >= TEXT_READ
        and len(characters) >= _FEWEST_WORD_CHARACTERS
        and len({character.casefold() for character in characters}) >= _FEWEST_DISTINCT_CHARACTERS
    )
