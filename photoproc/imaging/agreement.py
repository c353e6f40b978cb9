"""How far masks of one photo are from each other.

Masks are alpha, uint8, 0 to 255, each at its model's own size. They are compared at one size, so that a
model of 320 × 320 pixels and one of 1024 × 1024 are asked the same. Nothing here says who is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

SIDE = 320
"""The size all masks are compared at: the smallest of the models'."""
_BAND = 0.02
"""How far the band around an edge reaches on either side, as a share of the mask's side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far some masks of a photo are from each other, 0 (the same) to 1.

    `disagreement` is 1 − the mean soft IoU over all pairs, `edge_error` the mean `band_error` over all pairs;
    `apart` has the disagreement of each mask with the others, in the order they were given.
    """

    disagreement: float
    edge_error: float
    apart: tuple[float, ...]


def at_one_size(mask: U8) -> F32:
    """A mask (height × width) at `SIDE` × `SIDE`, 0 to 1, each pixel the mean of what it covers."""
    scaled = cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(np.divide(scaled, 255, dtype=np.float32))


def soft_iou(one: F32, other: F32) -> float:
    """Σ min / Σ max of two masks (0 to 1, one shape): the Jaccard index of fuzzy sets, also Ruzicka's.

    1 where both are empty.
    """
    most = float(np.maximum(one, other).sum(dtype=np.float64))
    return float(np.minimum(one, other).sum(dtype=np.float64)) / most if most else 1.0


def band_error(one: F32, other: F32) -> float:
    """The mean |a − b| of two masks (0 to 1, one shape) around the edges of either; 0 without edges.

    The band is where one of them, cut at a half, changes within 2 % of the side (and a pixel at least).
    """
    band = _band_of(one) | _band_of(other)
    return float(np.abs(one - other)[band].mean(dtype=np.float64)) if band.any() else 0.0


def agreement(masks: Sequence[U8]) -> Agreement:
    """How far two or more masks of one photo are from each other; raises ValueError for fewer."""
    if len(masks) < 2:
        raise ValueError("one mask agrees with itself")
    scaled = [at_one_size(mask) for mask in masks]
    pairs = list(combinations(range(len(scaled)), 2))
    distance = {pair: 1 - soft_iou(scaled[pair[0]], scaled[pair[1]]) for pair in pairs}
    errors = [band_error(scaled[first], scaled[second]) for first, second in pairs]
    apart = (
        np.mean([found for pair, found in distance.items() if place in pair]) for place in range(len(scaled))
    )
    return Agreement(
        disagreement=float(np.mean(list(distance.values()))),
        edge_error=float(np.mean(errors)),
        apart=tuple(float(mean) for mean in apart),
    )


def spread(masks: Sequence[U8], size_wh: tuple[int, int]) -> U8:
    """Where some masks differ, at a size: the largest minus the smallest alpha of each pixel."""
    scaled = [cv2.resize(mask, size_wh, interpolation=cv2.INTER_LINEAR) for mask in masks]
    stack = np.stack([np.asarray(one, np.uint8) for one in scaled])
    return np.asarray(stack.max(axis=0) - stack.min(axis=0), np.uint8)


def heat(difference: U8) -> U8:
    """A picture (RGBA) to lie over a photo: from yellow to red where masks differ, else nothing."""
    strength = difference.astype(np.float32) / 255
    out = np.empty((*difference.shape, 4), np.uint8)
    out[..., 0] = 255
    out[..., 1] = np.rint(220 * (1 - strength))
    out[..., 2] = 0
    out[..., 3] = np.rint(230 * np.sqrt(strength))  # so that faint differences are seen as well
    out[difference == 0] = 0
    return out


def _band_of(mask: F32) -> NDArray[np.bool_]:
    inside = (mask >= 0.5).view(np.uint8)
    reach = max(1, round(_BAND * max(mask.shape)))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # The picture's border is no edge: a subject that is cut by it goes on behind it.
    return np.asarray(cv2.dilate(inside, square) > cv2.erode(inside, square), np.bool_)
