"""Coarse groups: what the 80 objects of the detector and the 1000 labels of the classifier have in common.

Two models that were taught different lists can only contradict each other through such groups. Labels are known by
their line in the label file (from 0), which follows the usual order of ImageNet's thousand classes.
"""

from __future__ import annotations

from collections.abc import Iterable

from .observation import Label

BIRD, MAMMAL, REPTILE, FISH, INSECT, SEA_CREATURE = "bird", "mammal", "reptile", "fish", "insect", "sea creature"
ANIMALS = frozenset({BIRD, MAMMAL, REPTILE, FISH, INSECT, SEA_CREATURE})
LANDSCAPE, BUILDING, MONUMENT = "natural landscape", "building", "monument"
PLANT, FOOD, VEHICLE, CLOTHING, INSTRUMENT, PRINT = "plant", "food", "vehicle", "clothing", "instrument", "print"
OTHER = "other"

# Groups that make a useful noun by themselves, and how a sentence calls them.
NAMED = frozenset(
    {BIRD, FISH, INSECT, LANDSCAPE, BUILDING, VEHICLE, FOOD, "dog", "cat", "butterfly", "monkey", "snake"}
)

# (group, family where one is worth a noun, first line, last line)
_RANGES: tuple[tuple[str, str, int, int], ...] = (
    (FISH, FISH, 0, 6),
    (BIRD, BIRD, 7, 24),
    (REPTILE, "", 25, 51),
    (REPTILE, "snake", 52, 68),
    (INSECT, "", 69, 79),
    (BIRD, BIRD, 80, 100),
    (MAMMAL, "", 101, 106),
    (SEA_CREATURE, "", 107, 126),
    (BIRD, BIRD, 127, 146),
    (MAMMAL, "", 147, 150),
    (MAMMAL, "dog", 151, 268),
    (MAMMAL, "", 269, 280),
    (MAMMAL, "cat", 281, 285),
    (MAMMAL, "", 286, 299),
    (INSECT, INSECT, 300, 320),
    (INSECT, "butterfly", 321, 326),
    (SEA_CREATURE, "", 327, 329),
    (MAMMAL, "", 330, 364),
    (MAMMAL, "monkey", 365, 384),
    (MAMMAL, "", 385, 388),
    (FISH, FISH, 389, 397),
    (PRINT, "", 916, 918),
    (PRINT, "", 921, 922),
    (FOOD, FOOD, 924, 957),
    (FOOD, FOOD, 959, 969),
    (LANDSCAPE, LANDSCAPE, 970, 970),
    (LANDSCAPE, LANDSCAPE, 972, 980),
    (PLANT, "", 984, 998),
)
_BUILDINGS = (
    410, 425, 437, 442, 448, 449, 483, 497, 500, 538, 580, 634, 660, 663, 668, 698, 706, 727, 743, 755, 788, 833,
    853, 858, 900, 915,
)  # fmt: skip
_MONUMENTS = (649, 682, 708, 832, 863, 873)
_VEHICLES = (
    403, 404, 405, 407, 408, 436, 444, 450, 466, 468, 472, 484, 510, 511, 537, 547, 554, 555, 565, 569, 573, 575,
    576, 586, 603, 609, 612, 625, 627, 628, 654, 656, 661, 665, 670, 671, 675, 690, 705, 717, 734, 751, 757, 779,
    780, 802, 803, 812, 814, 817, 820, 829, 847, 864, 866, 867, 870, 871, 874, 880, 895, 914,
)  # fmt: skip
_CLOTHES = (
    399, 400, 411, 433, 439, 445, 451, 452, 457, 459, 474, 501, 502, 514, 515, 518, 529, 560, 568, 578, 601, 608,
    610, 614, 615, 617, 630, 638, 639, 652, 655, 658, 667, 689, 697, 735, 770, 774, 775, 796, 806, 808, 824, 834,
    841, 842, 869, 887, 903, 906,
)  # fmt: skip
_INSTRUMENTS = (
    401, 402, 420, 432, 486, 494, 513, 541, 546, 558, 566, 577, 579, 593, 594, 641, 642, 683, 684, 687, 699, 776,
    822, 875, 881, 889,
)  # fmt: skip

_GROUPS: dict[int, tuple[str, str]] = {
    **{line: (group, family) for group, family, first, last in _RANGES for line in range(first, last + 1)},
    **dict.fromkeys(_BUILDINGS, (BUILDING, BUILDING)),
    **dict.fromkeys(_MONUMENTS, (MONUMENT, BUILDING)),
    **dict.fromkeys(_VEHICLES, (VEHICLE, VEHICLE)),
    **dict.fromkeys(_CLOTHES, (CLOTHING, "")),
    **dict.fromkeys(_INSTRUMENTS, (INSTRUMENT, "")),
}

# Labels that are the only ones of their kind among the thousand, so that the model calls every relative by this name
# (each owl is its great grey owl), and labels whose own wording few readers know.
_PLAINER: dict[int, str] = {
    24: "owl",
    339: "horse",
    345: "cow or ox",
    442: "bell tower",
    570: "gas mask",
    468: "taxi",
    475: "car mirror",
    832: "stupa",
    970: "mountain",
    981: "ball player",
    982: "bridegroom",
    998: "ear of grain",
}

_OBJECT_GROUPS: dict[str, str] = {
    "bird": BIRD,
    **dict.fromkeys(
        ("cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
        MAMMAL,
    ),
    **dict.fromkeys(("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"), VEHICLE),
    **dict.fromkeys(
        ("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"), FOOD
    ),
    "potted plant": PLANT,
    "person": "person",
}

# The detector's own numbers for its objects; the gaps are numbers that were never used.
OBJECTS: dict[int, str] = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "television", 73: "laptop", 74: "computer mouse", 75: "remote control",
    76: "keyboard", 77: "mobile phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator",
    84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair dryer", 90: "toothbrush",
}  # fmt: skip


def group_of(line: int) -> str:
    return _GROUPS.get(line, (OTHER, ""))[0]


def family_of(line: int) -> str:
    """Name the noun that a label shares with its relatives, empty where there is none worth saying."""
    return _GROUPS.get(line, (OTHER, ""))[1]


def object_group(name: str) -> str:
    return _OBJECT_GROUPS.get(name, OTHER)


def plain_name(label: Label) -> str:
    return _PLAINER.get(label.index, label.name)


def sums_by_group(labels: Iterable[Label]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for label in labels:
        group = group_of(label.index)
        sums[group] = sums.get(group, 0.0) + label.score
    return sums


def sums_by_family(labels: Iterable[Label]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for label in labels:
        if family := family_of(label.index):
            sums[family] = sums.get(family, 0.0) + label.score
    return sums
