"""Parts of photos for a detector to look at: smaller, tile by tile, or upright.

Places are continuous: a picture's first pixel covers 0 to 1.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

TILE_WH = (1024, 768)
_OVERLAP = 160


def tiles(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Left and top of overlapping tiles of `TILE_WH`, all inside the picture where it is large enough."""
    for top in _starts(height, TILE_WH[1]):
        for left in _starts(width, TILE_WH[0]):
            yield left, top


def _starts(length: int, tile: int) -> list[int]:
    """Where tiles begin that overlap by `_OVERLAP` at least and end where the picture ends."""
    if length <= tile:
        return [0]
    count = math.ceil((length - _OVERLAP) / (tile - _OVERLAP))
    return [round(place * (length - tile) / (count - 1)) for place in range(count)]


def shrunk(rgb: U8, scale: float) -> U8:
    """A smaller copy: by whole steps first, which OpenCV does several times faster."""
    height, width = rgb.shape[:2]
    if scale >= 1:
        return rgb
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    step = math.floor(1 / scale)
    if step > 1 and min(height, width) >= step:
        whole = rgb[: height // step * step, : width // step * step]
        rgb = u8(cv2.resize(whole, (width // step, height // step), interpolation=cv2.INTER_AREA))
    return u8(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA))


def upright(centre: F64, roll_deg: float, scale: float, side: int, *, mirrored: bool) -> F64:
    """The similarity to a square patch in whose middle a turned face is level."""
    turn = math.radians(-roll_deg)
    linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    if mirrored:
        linear = np.diag([-1.0, 1.0]) @ linear
    return np.column_stack([linear, np.array([side / 2, side / 2]) - linear @ centre])


def near(rgb: U8, small: U8, box_xyxy: tuple[float, float, float, float], tall: int) -> tuple[U8, F64]:
    """What is around a box, which is about so many pixels tall in it or less; and the way there (2 × 3).

    It is taken from the small copy of the photo where that shows as much.
    """
    left, top, right, bottom = box_xyxy
    scale = min(1.0, tall / max(bottom - top, 1.0))
    smaller = small.shape[1] / rgb.shape[1]
    source, first = (small, smaller) if scale <= smaller else (rgb, 1.0)
    height, width = source.shape[:2]
    aside = 1.6 * (bottom - top)
    x0, x1 = (round(((left + right) / 2 + way * aside) * first) for way in (-1, 1))
    y0, y1 = (round(((top + bottom) / 2 + way * aside) * first) for way in (-1, 1))
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    part = source[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    size_wh = (max(1, round(part.shape[1] * scale / first)), max(1, round(part.shape[0] * scale / first)))
    seen = part if scale == first else u8(cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA))
    grow = np.array([seen.shape[1] / part.shape[1], seen.shape[0] / part.shape[0]])
    return seen, np.column_stack([np.diag(grow * first), -grow * [x0, y0]])


def patch(rgb: U8, to_patch: F64, side: int) -> U8:
    """The square patch of a picture of about its scale; gray beyond the picture."""
    shift = to_patch[:, 2] + to_patch[:, :2] @ [0.5, 0.5] - 0.5  # pixel centres are at halves
    affine = np.column_stack([to_patch[:, :2], shift])
    return u8(cv2.warpAffine(rgb, affine, (side, side), borderValue=(127, 127, 127)))


def u8(picture: NDArray[np.generic]) -> U8:
    """For what OpenCV's types leave open."""
    return picture.astype(np.uint8, copy=False)
