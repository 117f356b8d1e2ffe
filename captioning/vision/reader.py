"""Read text: PP-OCRv6 (small) in RapidOCR, on ONNX Runtime. Latin and Chinese script."""

from __future__ import annotations

import numpy as np
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.output import RapidOCROutput

from .observation import Box, TextLine

# Long edge in pixels. Larger pictures cost seconds and memory, and writing that matters survives the shrinking.
_LONGEST = 1280


class Reader:
    def __init__(self, *, threads: int) -> None:
        self._engine = RapidOCR(
            params={
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Global.log_level": "error",
                # The detector's own limit stretches the short edge to 736, which doubles the time for small pictures.
                "Det.limit_type": "max",
                "Det.limit_side_len": 960,
            }
        )

    def lines(self, picture: Image.Image) -> list[TextLine]:
        """Return every mark that looks like writing in an RGB picture, from top to bottom, before any gate."""
        page = picture.copy()
        page.thumbnail((_LONGEST, _LONGEST))
        # OpenCV's order of channels is blue, green, red.
        read = self._engine(np.ascontiguousarray(np.asarray(page)[:, :, ::-1]))
        assert isinstance(read, RapidOCROutput)  # all three of its stages are on
        if read.boxes is None or read.txts is None or read.scores is None:
            return []
        width, height = page.size
        return [
            TextLine(
                string.strip(),
                float(score),
                Box(
                    float(corners[:, 0].min()) / width,
                    float(corners[:, 1].min()) / height,
                    float(corners[:, 0].max()) / width,
                    float(corners[:, 1].max()) / height,
                ).clipped(),
            )
            for corners, string, score in zip(read.boxes, read.txts, read.scores, strict=True)
        ]
