"""Pictures whose true alpha is known: a body with loose hair in front of a photo, and a coarse mask."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from photoproc.imaging import compose
from tests.pictures import opened_sample

U8 = NDArray[np.uint8]
_SHARP = 2
"""Drawn so much larger, then averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """`rgb` mixes `fore` (height × width × 3) with a background by the true `alpha`; `mask` is a model's."""

    rgb: U8
    fore: U8
    alpha: U8
    mask: U8


def scene(height: int, width: int, seed: int = 0, strands: int = 400) -> Scene:
    """The same scene at any size."""
    rng = np.random.default_rng(seed)
    alpha = _hairy(height, width, rng, strands)
    fore = _texture(("cat.png", "astronaut.png")[seed % 2], height, width, zoom=3)
    back = _texture(("coffee.png", "rocket.jpg")[seed % 2], height, width, zoom=1)
    share = alpha.astype(np.float32)[..., None] / 255
    mixed = fore * share + back * (1 - share) + rng.normal(0, 1.5, (height, width, 1)).astype(np.float32)
    return Scene(
        rgb=np.rint(mixed.clip(0, 255)).astype(np.uint8), fore=fore, alpha=alpha, mask=_coarse(alpha)
    )


def _hairy(height: int, width: int, rng: np.random.Generator, strands: int) -> U8:
    size = min(height, width) * _SHARP
    canvas = np.zeros((height * _SHARP, width * _SHARP), np.uint8)
    middle = np.array([width, height]) * _SHARP / 2
    radii = np.array([0.24, 0.3]) * size
    cv2.ellipse(canvas, tuple(middle.astype(int)), tuple(radii.astype(int)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    steps = np.linspace(0, 1, 24)[:, None]
    for _ in range(strands):
        angle = rng.uniform(-np.pi, 0)  # the upper half
        root = middle + radii * 0.97 * (np.cos(angle), np.sin(angle))
        out = np.array([np.cos(angle), np.sin(angle)])
        aside = np.array([-out[1], out[0]])
        length, bend = rng.uniform(0.02, 0.12) * size, rng.normal(0, 0.03) * size
        line = root + steps * out * length + steps**2 * aside * bend
        thick = max(1, round(rng.uniform(0.0005, 0.0018) * size))
        cv2.polylines(canvas, [np.rint(line * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _texture(name: str, height: int, width: int, zoom: float) -> U8:
    """A part of a sample photo that fills the size."""
    photo = np.asarray(opened_sample(name))
    side = int(min(photo.shape[:2]) / zoom)
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    part = photo[top : top + side, left : left + side]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _coarse(alpha: U8) -> U8:
    """What a model at 320 × 320 sees of it, at the photo's size."""
    small = cv2.resize(alpha, (320, 320), interpolation=cv2.INTER_AREA).astype(np.float32)
    soft = cv2.GaussianBlur(small, (0, 0), 1.2)
    firm = ((soft - 128) * 1.4 + 128).clip(0, 255).astype(np.uint8)
    return compose.scale_mask(firm, (alpha.shape[1], alpha.shape[0]))
