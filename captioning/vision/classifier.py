"""Name the whole picture or a part of it: EfficientNet-Lite3 (int8), taught ImageNet's 1000 labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from .observation import Box, Label
from .weights import Weights

_WORTH_KEEPING = 0.02  # smaller scores change no sum that a gate looks at
_RIM = 0.12  # the inner crop leaves this share out on each side
_MARGIN = 0.05  # a region is shown with this share of its own size around it


class Classifier:
    def __init__(self, weights: Weights, *, threads: int) -> None:
        self._interpreter = Interpreter(str(weights.classifier_graph), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        lines = weights.classifier_labels.read_text(encoding="utf-8").splitlines()
        # A line lists synonyms; the first is the usual one.
        self._names = [line.split(",")[0].strip() for line in lines]

    def labels(self, picture: Image.Image) -> list[Label]:
        """Judge an RGB picture by the mean of three crops: one crop alone names whatever happens to fill it."""
        width, height = picture.size
        side = min(width, height)
        square = picture.crop(((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2))
        inner = picture.crop(Box(_RIM, _RIM, 1 - _RIM, 1 - _RIM).in_pixels(width, height))
        return self._named(np.mean([self._scores(crop) for crop in (square, picture, inner)], axis=0))

    def labels_in(self, picture: Image.Image, box: Box) -> list[Label]:
        across, down = (box.right - box.left) * _MARGIN, (box.bottom - box.top) * _MARGIN
        around = Box(box.left - across, box.top - down, box.right + across, box.bottom + down).clipped()
        return self._named(self._scores(picture.crop(around.in_pixels(*picture.size))))

    def _named(self, scores: npt.NDArray[np.float64]) -> list[Label]:
        return [
            Label(int(index), self._names[index], float(scores[index]))
            for index in np.flatnonzero(scores >= _WORTH_KEEPING)
        ]

    def _scores(self, picture: Image.Image) -> npt.NDArray[np.float64]:
        """Return the scores of all labels, 0 to 1, shape (1000,)."""
        _, rows, columns, _ = self._input["shape"]
        pixels = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR), dtype=np.float64)
        scale, zero = self._input["quantization"]
        levels = np.clip(np.rint((pixels - 127) / 128 / scale + zero), 0, 255).astype(self._input["dtype"])
        self._interpreter.set_tensor(self._input["index"], levels[None])
        self._interpreter.invoke()
        scale, zero = self._output["quantization"]
        found: npt.NDArray[np.float64] = self._interpreter.get_tensor(self._output["index"])[0].astype(np.float64)
        return np.asarray((found - zero) * scale, dtype=np.float64)
