"""Where to cut: boxes in pixels, (left, top, right, bottom), right and bottom exclusive."""

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def face_square(face_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int], margin: float) -> Box:
    """A square around a face, inside the picture.

    `margin` is added on each side as a share of the face's longer side. The square is moved inside
    the picture before it is made smaller, so a face near the border is not cut; it is never empty.
    """
    left, top, right, bottom = face_xyxy
    width, height = size_wh
    longer = max(right - left, bottom - top, 1.0)
    side = min(max(1, round(longer * (1 + 2 * margin))), width, height)
    x = min(max(round((left + right - side) / 2), 0), width - side)
    y = min(max(round((top + bottom - side) / 2), 0), height - side)
    return x, y, x + side, y + side


def cut(picture: U8, box: Box) -> U8:
    """The part of a picture inside a box, without copying."""
    left, top, right, bottom = box
    return picture[top:bottom, left:right]
