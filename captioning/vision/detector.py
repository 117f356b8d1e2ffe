"""Find objects: SSD MobileNetV2, taught the 80 kinds of COCO, run by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from .gates import CONFIRMED, Views
from .groups import OBJECTS
from .observation import Box, Detection
from .weights import Weights

_SIDE = 300  # pixels; the square that the graph was made for
_INNER = Box(0.04, 0.04, 0.96, 0.96)


class Detector:
    def __init__(self, weights: Weights, *, threads: int) -> None:
        # OpenCV counts the machine's processors, not those that this process may use.
        cv2.setNumThreads(threads)
        self._net = cv2.dnn.readNet(str(weights.detector_graph), str(weights.detector_nodes))

    def views(self, picture: Image.Image) -> Views:
        """Look at an RGB picture three times: as it is, mirrored, and without its rim."""
        mirrored = self._detections(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        cropped = self._detections(picture.crop(_INNER.in_pixels(*picture.size)))
        return Views(
            plain=self._detections(picture),
            mirrored=[Detection(one.name, one.score, one.box.mirrored()) for one in mirrored],
            cropped=[Detection(one.name, one.score, one.box.within(_INNER)) for one in cropped],
        )

    def _detections(self, picture: Image.Image) -> list[Detection]:
        square = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
        self._net.setInput(cv2.dnn.blobFromImage(square))
        rows = self._net.forward()[0, 0]  # shape (n, 7): image, class, score, left, top, right, bottom
        return [
            Detection(OBJECTS[int(row[1])], float(row[2]), Box(*(float(edge) for edge in row[3:7])))
            for row in rows
            if row[2] >= CONFIRMED and int(row[1]) in OBJECTS
        ]
