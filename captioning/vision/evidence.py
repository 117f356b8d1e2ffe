"""What local vision can answer with, by name, and how a perspective's fields are filled from it.

A perspective asks with its member `local_vision`: field name -> evidence name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from captioning import wording

from . import words
from .observation import Box, Observation


class NeedsLanguageModel(Exception):
    """Local vision cannot answer this perspective"""


@dataclass(frozen=True, slots=True)
class Support:
    """Whether local vision can fill a perspective. reason: why not, for a person; empty if it can."""

    ok: bool
    reason: str
    fields: list[str]
    unsupported_fields: list[str]


@dataclass(frozen=True, slots=True)
class Filled:
    """An answer that follows the perspective's schema.

    text: the answer as a person reads it. provenance: field -> the stages it comes from.
    confidence: the least score of what is claimed, None where nothing is. abstained: fields with nothing sure to say.
    """

    result: dict[str, Any]
    text: str
    provenance: dict[str, str]
    confidence: float | None
    abstained: list[str]


Parts = Mapping[str, Any]  # part name -> type name, or Parts again where the part is an object

_BOX: Parts = {"left": "float", "top": "float", "right": "float", "bottom": "float"}
_EVERYTHING = "detector, classifier, ocr, pixels"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that can be said of an observation.

    kind: type of the value, or of its entries. source: the stages behind it. score: how sure it is, where that has a
    number. is_sure: whether there is anything to say.
    """

    kind: str
    value: Callable[[Observation], Any]
    source: str
    is_list: bool = False
    parts: Parts = field(default_factory=dict)
    is_sure: Callable[[Observation], bool] = lambda seen: True
    score: Callable[[Observation], float | None] = lambda seen: None


def supports(perspective: Mapping[str, Any]) -> Support:
    """Say whether every field of a perspective can be filled; a prompt is never followed, only fields are."""
    fields = perspective.get("schema_fields") or []
    asked = perspective.get("local_vision") or {}
    names = [one["name"] for one in fields]
    if not asked:
        return _refused("its prompt is free text that a detector, classifier and text reader cannot follow", names)
    faults = {one["name"]: fault for one in fields if (fault := _fault_of(one, asked.get(one["name"])))}
    if faults or not fields:
        why = "; ".join(f"{name} {fault}" for name, fault in faults.items()) or "it has no fields"
        return Support(False, _reason(why), [name for name in names if name not in faults], list(faults))
    return Support(True, "", names, [])


def fill(perspective: Mapping[str, Any], seen: Observation) -> Filled:
    """Answer a perspective from an observation. Raises NeedsLanguageModel."""
    support = supports(perspective)
    if not support.ok:
        raise NeedsLanguageModel(support.reason)
    asked = perspective["local_vision"]
    result: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    abstained: list[str] = []
    scores: list[float] = []
    for one in perspective["schema_fields"]:
        name, evidence = one["name"], EVIDENCE[asked[one["name"]]]
        result[name] = _as_asked(one, evidence.value(seen))
        provenance[name] = _source(evidence, seen)
        if not evidence.is_sure(seen):
            abstained.append(name)
        elif (score := evidence.score(seen)) is not None:
            scores.append(score)
    return Filled(
        result=result,
        text=wording.text_of(perspective.get("context_template") or "", result),
        provenance=provenance,
        confidence=min(scores, default=None),
        abstained=abstained,
    )


def _refused(why: str, fields: Sequence[str]) -> Support:
    return Support(False, _reason(why), [], list(fields))


def _reason(why: str) -> str:
    return f"this perspective needs a language model: {why}"


def _fault_of(schema_field: Mapping[str, Any], name: Any) -> str:
    """Say why evidence of this name cannot fill a field; empty if it can."""
    if name is None:
        return "has no evidence"
    evidence = EVIDENCE.get(name) if isinstance(name, str) else None
    if evidence is None:
        return f"asks for {name!r}, which local vision has not got"
    if bool(schema_field.get("is_list")) != evidence.is_list:
        return (
            f"{'is' if schema_field.get('is_list') else 'is not'} a list, {name} is{'' if evidence.is_list else ' not'}"
        )
    return _mismatch(schema_field, evidence.kind, evidence.parts)


def _mismatch(schema_field: Mapping[str, Any], kind: Any, parts: Parts) -> str:
    inner = schema_field.get("fields") or []
    wanted = "dict" if inner else schema_field.get("type")
    if wanted != kind:
        return f"is {wanted}, the evidence is {kind}"
    if kind == "dict" and not inner:
        return "does not say which parts it has"
    for part in inner:
        has = parts.get(part["name"])
        if has is None:
            return f"has a part {part['name']!r} that the evidence has not got"
        if part.get("is_list"):
            return f"has a list {part['name']!r} where the evidence has one value"
        if fault := _mismatch(
            part, "dict" if isinstance(has, Mapping) else has, has if isinstance(has, Mapping) else {}
        ):
            return f"{part['name']} {fault}"
    return ""


def _source(evidence: Evidence, seen: Observation) -> str:
    """Name the stages behind a value; those that did not run are no source."""
    if not seen.unseen:
        return evidence.source
    return "pixels" if "pixels" in evidence.source or evidence.source == "template" else "none"


def _as_asked(schema_field: Mapping[str, Any], value: Any) -> Any:
    """Keep the parts that the schema names, in its order."""
    if isinstance(value, list):
        return [_as_asked(schema_field, entry) for entry in value]
    if isinstance(value, Mapping):
        return {part["name"]: _as_asked(part, value[part["name"]]) for part in schema_field["fields"]}
    return value


# --- What can be said


def _knows_something(seen: Observation) -> bool:
    return bool(seen.things or seen.subject or seen.lines)


def _has_things(seen: Observation) -> bool:
    return bool(seen.things)


def _has_text(seen: Observation) -> bool:
    return bool(seen.lines)


def _claim_score(seen: Observation) -> float | None:
    scores = [thing.score for thing in seen.things] + [line.score for line in seen.lines]
    if words.subject_is_new(seen) and seen.subject:
        scores.append(seen.subject.score)
    return _rounded(min(scores)) if scores else None


def _thing_score(seen: Observation) -> float | None:
    return _rounded(min(thing.score for thing in seen.things)) if seen.things else None


def _text_score(seen: Observation) -> float | None:
    return _rounded(min(line.score for line in seen.lines)) if seen.lines else None


def _rounded(score: float) -> float:
    return round(score, 3)


def _box(box: Box) -> dict[str, float]:
    return {name: _rounded(getattr(box, name)) for name in _BOX}


def _tags(seen: Observation) -> list[dict[str, Any]]:
    """Tags with their category and the score of their stage; 1.0 for what is measured rather than recognised."""
    tags: list[tuple[str, str, float]] = [(count.name, "Entity", count.score) for count in words.counts(seen)]
    if seen.subject is not None:
        tags.append((seen.subject.name, "Entity", seen.subject.score))
        tags.append((seen.subject.exact, "Semantic", seen.subject.score))
    tags += [(line.string, "Contextual", line.score) for line in seen.lines[:5]]
    tags += [(colour.name, "Attribute", 1.0) for colour in seen.colours[:3]]
    made = seen.composition
    tags.append((f"{made.orientation} format", "Composition", 1.0))
    if (framing := words.framing(seen)) != "unknown":
        tags.append((framing, "Composition", min(thing.score for thing in seen.things)))
    if (light := words.light_word(seen)) != "medium":
        tags.append((light, "Technical", 1.0))
    tags.append((words.sharpness_word(seen), "Technical", 1.0))
    if made.is_monochrome:
        tags.append(("monochrome", "Style", 1.0))
    if made.is_flat:
        tags.append(("drawing or print", "Style", 1.0))
    kept: dict[str, dict[str, Any]] = {}
    for tag, category, score in tags:
        kept.setdefault(tag, {"tag": tag, "category": category, "confidence": _rounded(min(1.0, score))})
    return list(kept.values())


def _composition(seen: Observation) -> dict[str, Any]:
    made = seen.composition
    return {
        "orientation": made.orientation,
        "framing": words.framing(seen),
        "subject_position": words.subject_position(seen),
        "light": words.light_word(seen),
        "focus": words.sharpness_word(seen),
        "brightness": _rounded(made.brightness),
        "contrast": _rounded(made.contrast),
        "sharpness": round(made.sharpness, 1),
        "monochrome": made.is_monochrome,
        "drawn_or_printed": made.is_flat,
    }


def _caption(say: Callable[[Observation], str]) -> Evidence:
    return Evidence("str", say, "template", is_sure=_knows_something, score=_claim_score)


EVIDENCE: Mapping[str, Evidence] = {
    "caption.short": _caption(words.short),
    "caption.plain": _caption(words.plain),
    "caption.dense": _caption(words.dense),
    "caption.verification": _caption(words.verification),
    "tags.graph": Evidence(
        "dict",
        _tags,
        _EVERYTHING,
        is_list=True,
        parts={"tag": "str", "category": "str", "confidence": "float"},
        score=_claim_score,
    ),
    "tags.plain": Evidence("str", lambda seen: [tag["tag"] for tag in _tags(seen)], _EVERYTHING, is_list=True),
    "tags.candidates": Evidence(
        "dict",
        lambda seen: [{"tag": label.name, "score": _rounded(label.score)} for label in seen.candidates],
        "classifier",
        is_list=True,
        parts={"tag": "str", "score": "float"},
        is_sure=lambda seen: bool(seen.candidates),
    ),
    "objects.counts": Evidence(
        "dict",
        lambda seen: [
            {"name": count.name, "count": count.n, "score": _rounded(count.score)} for count in words.counts(seen)
        ],
        "detector, classifier",
        is_list=True,
        parts={"name": "str", "count": "int", "score": "float"},
        is_sure=_has_things,
        score=_thing_score,
    ),
    "objects.boxes": Evidence(
        "dict",
        lambda seen: [
            {"name": thing.name, "score": _rounded(thing.score), "box": _box(thing.box)} for thing in seen.things
        ],
        "detector, classifier",
        is_list=True,
        parts={"name": "str", "score": "float", "box": _BOX},
        is_sure=_has_things,
        score=_thing_score,
    ),
    "objects.doubts": Evidence(
        "dict",
        lambda seen: [
            {"name": doubt.name, "score": _rounded(doubt.score), "reason": doubt.reason} for doubt in seen.doubts
        ],
        "detector, classifier",
        is_list=True,
        parts={"name": "str", "score": "float", "reason": "str"},
    ),
    "objects.total": Evidence("int", lambda seen: len(seen.things), "detector, classifier", is_sure=_has_things),
    "objects.sentence": Evidence("str", words.objects, "template", is_sure=_has_things, score=_thing_score),
    "text.lines": Evidence(
        "dict",
        lambda seen: [
            {"string": line.string, "score": _rounded(line.score), "box": _box(line.box)} for line in seen.lines
        ],
        "ocr",
        is_list=True,
        parts={"string": "str", "score": "float", "box": _BOX},
        is_sure=_has_text,
        score=_text_score,
    ),
    "text.strings": Evidence(
        "str",
        lambda seen: [line.string for line in seen.lines],
        "ocr",
        is_list=True,
        is_sure=_has_text,
        score=_text_score,
    ),
    "text.joined": Evidence(
        "str", lambda seen: "\n".join(line.string for line in seen.lines), "ocr", is_sure=_has_text, score=_text_score
    ),
    "text.sentence": Evidence("str", words.text, "template", is_sure=_has_text, score=_text_score),
    "text.found": Evidence("bool", _has_text, "ocr"),
    "colours.list": Evidence(
        "dict",
        lambda seen: [
            {"name": colour.name, "hex": colour.hex, "share": _rounded(colour.share)} for colour in seen.colours
        ],
        "pixels",
        is_list=True,
        parts={"name": "str", "hex": "str", "share": "float"},
    ),
    "colours.sentence": Evidence("str", words.colours, "pixels"),
    "composition.measures": Evidence(
        "dict",
        _composition,
        "pixels, detector",
        parts={
            **dict.fromkeys(("orientation", "framing", "subject_position", "light", "focus"), "str"),
            **dict.fromkeys(("brightness", "contrast", "sharpness"), "float"),
            **dict.fromkeys(("monochrome", "drawn_or_printed"), "bool"),
        },
    ),
    "composition.sentence": Evidence("str", words.composition, "pixels, detector"),
    "picture.conditions": Evidence("str", words.conditions, "pixels"),
}
