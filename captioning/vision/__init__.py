"""Local vision: captions from a detector, a classifier, a text reader and the pixels, without key, network or Django.

Importing this loads no model and no model library. What it can and cannot do: docs/explanation/local-vision.md.
"""

import os

from .evidence import EVIDENCE, Filled, NeedsLanguageModel, Support, supports
from .local import LABEL, PIXELS_LABEL, LocalVision, local_vision
from .observation import Observation
from .weights import Availability, ModelsMissing

# onnxruntime carries its maker's telemetry, which begins when it is loaded; nothing has loaded it yet.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "EVIDENCE",
    "LABEL",
    "PIXELS_LABEL",
    "Availability",
    "Filled",
    "LocalVision",
    "ModelsMissing",
    "NeedsLanguageModel",
    "Observation",
    "Support",
    "local_vision",
    "supports",
]
