"""Say in sentences what was seen, and what was not. Templates: nothing stands here that no stage has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import groups
from .colours import is_clear
from .observation import Box, Observation, Thing

SHORT_LIMIT = 100  # characters of a short caption
_MOST_QUOTED = 60  # characters of text in the picture that a sentence repeats
_DARK, _DIM, _BRIGHT = 0.2, 0.35, 0.68
_SOFT, _CRISP = 60.0, 600.0
_NOTABLE_SHARE = 0.08  # of the picture
_CLOSE, _MEDIUM = 0.4, 0.1
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_PLURALS = {
    "person": "people",
    "sheep": "sheep",
    "skis": "pairs of skis",
    "scissors": "pairs of scissors",
    "mouse": "mice",
    "computer mouse": "computer mice",
    "knife": "knives",
}
_SINGULARS = {"skis": "a pair of skis", "scissors": "a pair of scissors", "broccoli": "broccoli", "food": "food"}


@dataclass(frozen=True, slots=True)
class Count:
    """How many things of one name were seen. score: the least of theirs."""

    name: str
    n: int
    score: float
    source: str


def counts(seen: Observation) -> list[Count]:
    """Count things by name, the ones that cover most of the picture first."""
    by_name: dict[str, list[Thing]] = {}
    for thing in sorted(seen.things, key=lambda thing: -thing.box.area):
        by_name.setdefault(thing.name, []).append(thing)
    return [
        Count(name, len(things), min(thing.score for thing in things), things[0].source)
        for name, things in by_name.items()
    ]


def subject_is_new(seen: Observation) -> bool:
    """Tell whether the classifier's subject adds something to the things that were counted."""
    if seen.subject is None:
        return False
    return not any(
        thing.name == seen.subject.name or groups.object_group(thing.name) == seen.subject.group
        for thing in seen.things
    )


def recognised(seen: Observation) -> str:
    """Say what is in the picture as a phrase without its first capital; empty where nothing is sure."""
    parts = [several(count.name, count.n) for count in counts(seen)]
    if subject_is_new(seen):
        assert seen.subject is not None
        parts.append(f"most likely {several(seen.subject.name, 1)}")
    return listed(parts)


def short(seen: Observation) -> str:
    """One line of at most 100 characters."""
    subject = recognised(seen)
    text = "" if not seen.lines else f" with the words {_quoted(seen, 30)}"
    if subject:
        heads = [
            _capital(subject) + text,
            _capital(subject),
            _capital(several(counts(seen)[0].name, 1)) if seen.things else "",
        ]
    elif text:
        heads = [f"Writing: {_quoted(seen, 40)}"]
    elif seen.unseen:
        heads = ["Nothing was looked for by name", "Not recognised"]
    else:
        heads = ["Nothing recognised with confidence"]
    tails = [
        f"{_capital(_kind(seen))}, {_mostly(seen, 2)}",
        f"{_capital(_kind(seen))}, {_mostly(seen, 1)}",
        _capital(_kind(seen)),
    ]
    for head in heads:
        for tail in tails:
            if head and len(line := f"{head}. {tail}.") <= SHORT_LIMIT:
                return line
    return f"{tails[0]}."[:SHORT_LIMIT]


def plain(seen: Observation) -> str:
    """Two or three everyday sentences."""
    sentences = [_shown(seen)]
    if seen.lines:
        sentences.append(f"It carries the writing {_quoted(seen, _MOST_QUOTED)}.")
    sentences.append(f"{_capital(several(_kind(seen), 1))}, {_mostly(seen, 2)}.")
    return " ".join(sentences)


def dense(seen: Observation) -> str:
    """Everything that was measured, in sentences."""
    return " ".join(
        sentence
        for sentence in (
            objects(seen),
            _labelled(seen),
            text(seen),
            colours(seen),
            composition(seen),
            f"The file says it was made with or on {seen.taken}." if seen.taken else "",
        )
        if sentence
    )


def verification(seen: Observation) -> str:
    """Say what supports the caption, and what was claimed and refused."""
    if seen.unseen:
        return f"Only the pixels were measured, because {seen.unseen}; nothing was named."
    sentences = []
    for thing in seen.things:
        by_classifier = ", and named by the classifier" if "classifier" in thing.source else ""
        sentences.append(
            f"{_capital(thing.name)}: found in all three views (at least {thing.score:.2f}){by_classifier}."
        )
    if seen.subject is not None:
        role = "a further claim" if subject_is_new(seen) else "in agreement"
        closest = "" if seen.subject.exact == seen.subject.name else f", closest label {seen.subject.exact}"
        sentences.append(f"Classifier: {seen.subject.name} ({seen.subject.score:.2f}{closest}), {role}.")
    sentences += [f"Refused: {doubt.name} ({doubt.score:.2f}), {doubt.reason}." for doubt in seen.doubts]
    if seen.lines:
        sentences.append(
            f"Text: {len(seen.lines)} lines read at {min(line.score for line in seen.lines):.2f} or better."
        )
    if seen.n_marks_ignored:
        sentences.append(f"{_marks(seen.n_marks_ignored)} looked like text but could not be read.")
    if not seen.things and seen.subject is None:
        sentences.append("No object passed the checks, so none is named.")
    return " ".join(sentences)


def objects(seen: Observation) -> str:
    if seen.unseen:
        return f"Objects were not looked for: {seen.unseen}."
    if not seen.things:
        return "No object was counted with confidence." if seen.subject else "No object was recognised with confidence."
    described = [
        several(count.name, count.n) + (f" {position(thing.box)}, {_extent(thing.box)}" if count.n == 1 else "")
        for count in counts(seen)
        for thing in [next(thing for thing in seen.things if thing.name == count.name)]
    ]
    return f"{_capital(listed(described))}."


def text(seen: Observation) -> str:
    if seen.unseen:
        return f"Text was not looked for: {seen.unseen}."
    if seen.lines:
        n_more = f" {_capital(_marks(seen.n_marks_ignored))} could not be read." if seen.n_marks_ignored else ""
        lines = "line" if len(seen.lines) == 1 else "lines"
        return f"{_capital(number(len(seen.lines)))} readable {lines}: {_quoted(seen, 400)}.{n_more}"
    if seen.n_marks_ignored:
        return f"No text could be read with confidence; {_marks(seen.n_marks_ignored)} may be writing."
    return "No text was found."


def colours(seen: Observation) -> str:
    parts = [f"{colour.name} ({colour.share:.0%})" for colour in seen.colours[:5]]
    return f"Colours: {listed(parts)}."


def composition(seen: Observation) -> str:
    main = _main(seen)
    where = f"; the main object is {position(main.box)} in a {framing(seen)} framing" if main else ""
    return f"{_capital(several(_kind(seen), 1))}, {sharpness_word(seen)} and {_contrast_word(seen)}{where}."


def conditions(seen: Observation) -> str:
    """Say under what conditions the picture was read, so that silence can be judged."""
    made = seen.composition
    warnings = [
        words
        for words, applies in (
            ("dark", made.brightness < _DARK),
            ("low in contrast", made.contrast < 0.08),
            ("soft", made.sharpness < _SOFT),
            ("small", min(seen.width, seen.height) < 200),
        )
        if applies
    ]
    caution = f"; it is {listed(warnings)}, so more may be missed" if warnings else ""
    return (
        f"Looked at {seen.width} x {seen.height} pixels: brightness {made.brightness:.2f}, "
        f"contrast {made.contrast:.2f}, sharpness {made.sharpness:.0f}{caution}."
    )


# --- Words for measures


def light_word(seen: Observation) -> str:
    brightness = seen.composition.brightness
    if brightness < _DARK:
        return "dark"
    if brightness < _DIM:
        return "dim"
    return "bright" if brightness > _BRIGHT else "medium"


def sharpness_word(seen: Observation) -> str:
    sharpness = seen.composition.sharpness
    if sharpness < _SOFT:
        return "soft"
    return "crisp" if sharpness > _CRISP else "sharp"


def framing(seen: Observation) -> str:
    main = _main(seen)
    if main is None:
        return "unknown"
    if main.box.area >= _CLOSE:
        return "close-up"
    return "medium" if main.box.area >= _MEDIUM else "distant"


def subject_position(seen: Observation) -> str:
    main = _main(seen)
    return position(main.box) if main else "unknown"


def position(box: Box) -> str:
    across = (box.left + box.right) / 2
    down = (box.top + box.bottom) / 2
    column = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    row = "top" if down < 1 / 3 else "bottom" if down > 2 / 3 else ""
    if not column and not row:
        return "in the centre"
    return f"at the {row} {column}" if row and column else f"at the {row}" if row else f"on the {column}"


def number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)


def several(name: str, n: int) -> str:
    """Put a number or article before a noun: "an owl", "two cows"."""
    if n != 1:
        return f"{number(n)} {plural(name)}"
    if name in _SINGULARS:
        return _SINGULARS[name]
    article = "an" if name[:1].lower() in "aeiou" and not name.lower().startswith(("uni", "eu", "uk")) else "a"
    return f"{article} {name}"


def plural(name: str) -> str:
    if name in _PLURALS:
        return _PLURALS[name]
    return f"{name}es" if name.endswith(("s", "sh", "ch", "x")) else f"{name}s"


def listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _shown(seen: Observation) -> str:
    if subject := recognised(seen):
        certain = bool(seen.things)
        return (
            f"The picture shows {subject}."
            if certain
            else f"The picture {subject.replace('most likely ', 'most likely shows ', 1)}."
        )
    if seen.unseen:
        return f"What it shows was not looked for: {seen.unseen}."
    return "What it shows was not recognised with confidence."


def _labelled(seen: Observation) -> str:
    sentences = []
    if seen.subject is not None:
        closest = "" if seen.subject.exact == seen.subject.name else f"; closest label: {seen.subject.exact}"
        sentences.append(
            f"As a whole it looks like {several(seen.subject.name, 1)} ({seen.subject.score:.2f}{closest})."
        )
    elif seen.candidates:
        guesses = listed([f"{label.name} ({label.score:.2f})" for label in seen.candidates[:3]])
        sentences.append(f"Guesses too weak to count: {guesses}.")
    return " ".join(sentences)


def _main(seen: Observation) -> Thing | None:
    return max(seen.things, key=lambda thing: thing.box.area, default=None)


def _kind(seen: Observation) -> str:
    made = seen.composition
    light = light_word(seen)
    shape = made.orientation if made.orientation == "square" else f"{made.orientation}-format"
    what = "drawing or print" if made.is_flat else "picture"
    words = ("" if light == "medium" else light, "monochrome" if made.is_monochrome else "", shape, what)
    return " ".join(word for word in words if word)


def _mostly(seen: Observation, n: int) -> str:
    first, *others = seen.colours
    if n == 1 or not others:
        return f"mostly {first.name}"
    # A grey ground says little, so a clear colour beside it goes before a second grey.
    clear = [colour for colour in others if colour.share >= _NOTABLE_SHARE and is_clear(colour)]
    return f"mostly {first.name} and {(clear[0] if clear and not is_clear(first) else others[0]).name}"


def _extent(box: Box) -> str:
    if box.area >= 0.5:
        return "filling most of the picture"
    return "large" if box.area >= 0.2 else "medium in size" if box.area >= 0.04 else "small"


def _contrast_word(seen: Observation) -> str:
    contrast = seen.composition.contrast
    return "low in contrast" if contrast < 0.12 else "high in contrast" if contrast > 0.27 else "of medium contrast"


def _quoted(seen: Observation, longest: int) -> str:
    whole = " / ".join(line.string for line in seen.lines)
    return f"“{whole if len(whole) <= longest else whole[: longest - 1].rstrip() + '…'}”"


def _marks(n: int) -> str:
    return f"{number(n)} mark{'' if n == 1 else 's'}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
