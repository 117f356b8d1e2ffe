"""What local vision saw in one picture, before anybody asks for it in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle as fractions (0 to 1) of the picture's width and height, from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the picture that the box covers."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def clipped(self) -> Box:
        return Box(*(min(1.0, max(0.0, edge)) for edge in (self.left, self.top, self.right, self.bottom)))

    def mirrored(self) -> Box:
        return Box(1 - self.right, self.top, 1 - self.left, self.bottom)

    def within(self, frame: Box) -> Box:
        """Read this box, given as fractions of `frame`, as fractions of the whole picture."""
        width, height = frame.right - frame.left, frame.bottom - frame.top
        return Box(
            frame.left + self.left * width,
            frame.top + self.top * height,
            frame.left + self.right * width,
            frame.top + self.bottom * height,
        )

    def in_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in pixels, at least one pixel wide and high."""
        left, top = min(width - 1, int(self.left * width)), min(height - 1, int(self.top * height))
        return left, top, max(left + 1, round(self.right * width)), max(top + 1, round(self.bottom * height))

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        shared = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        return shared / (self.area + other.area - shared) if shared else 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """What the detector claims, before any gate. score: 0 to 1."""

    name: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Label:
    """What the classifier claims of the whole picture or of a part. index: line of the label file; score: 0 to 1."""

    index: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Thing:
    """An object that passed the gates.

    score: the least of the scores that support it.
    source: `detector`, or `detector, classifier` where the box is the detector's and the name the classifier's.
    """

    name: str
    score: float
    box: Box
    source: str = "detector"


@dataclass(frozen=True, slots=True)
class Doubt:
    """An object that the detector claimed and a gate refused, with the reason."""

    name: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What the classifier may say in a sentence. exact: the label's own wording, equal to `name` where it is plain."""

    name: str
    score: float
    exact: str
    group: str


@dataclass(frozen=True, slots=True)
class TextLine:
    string: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Colour:
    """A named colour, its most frequent shade as #rrggbb, and its share of the picture (0 to 1)."""

    name: str
    hex: str
    share: float


@dataclass(frozen=True, slots=True)
class Composition:
    """What the pixels alone say.

    brightness, contrast: mean and standard deviation of the luma, 0 to 1.
    sharpness: variance of the Laplacian of the luma (0 to 255) at a long edge of 512 pixels; 0 where nothing changes.
    is_flat: flat areas with hard edges, as in drawings, print and screenshots.
    """

    orientation: str
    brightness: float
    contrast: float
    sharpness: float
    is_monochrome: bool
    is_uniform: bool
    is_flat: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """All evidence of one picture; every perspective is filled from this.

    width, height: pixels of the picture that was looked at.
    unseen: why the models did not look; empty if they did.
    n_marks_ignored: text-like marks that were not readable with confidence.
    taken: what the file says about camera and date, empty if nothing.
    """

    width: int
    height: int
    composition: Composition
    colours: tuple[Colour, ...]
    taken: str = ""
    unseen: str = ""
    things: tuple[Thing, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    subject: Subject | None = None
    candidates: tuple[Label, ...] = ()
    lines: tuple[TextLine, ...] = ()
    n_marks_ignored: int = 0
