"""Photo and mask to the finished picture: scale the mask, put the subject on its background.

Pictures are uint8 or uint16 (height × width × 3 RGB or 4 RGBA); alpha and masks are height × width, uint8.
"""

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.imaging import backdrop
from photoproc.imaging.backdrop import Layer
from photoproc.parts import Background, Keep, Shadow

U8 = NDArray[np.uint8]
Samples = U8
"""8 or 16 bits a sample; there is no type for either that numpy's and OpenCV's own take."""


_STRIP_OUT = 64
"""Rows of a small picture that are made at once."""
_MUCH_WIDER = 3
_ROWS, _COLUMNS = 64, 16
"""Of a large picture that are made smaller at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What surrounds the subject.

    `icc` is the profile the photo's values are in (None: sRGB); `picture` the background picture
    where the recipe has one, RGB in sRGB.
    """

    background: Background
    shadow: Shadow | None = None
    icc: bytes | None = None
    picture: U8 | None = None


def shrink_for_model(rgb: U8, size_wh: tuple[int, int]) -> Image.Image:
    """The photo at the model's input size, by exact Lanczos as rembg does it, within a step of 255
    (two where one side grows).

    Faster filters (area, `reducing_gap`) move the mask by several per cent on busy pictures. Long rows are
    shortened by matrix products, in a third of Pillow's time; the rest is Pillow's.
    """
    if rgb.shape[1] >= _MUCH_WIDER * size_wh[0]:
        rgb = _narrowed(rgb, size_wh[0])
    return Image.fromarray(rgb).resize(size_wh, Image.Resampling.LANCZOS)


def _narrowed(rgb: U8, width: int) -> U8:
    """A picture (height × width × 3) with shorter rows, as Pillow's first pass makes them."""
    out = np.empty((len(rgb), width, 3), np.uint8)
    groups = [
        (slice(left, left + _COLUMNS), *_lanczos(left, min(left + _COLUMNS, width), rgb.shape[1], width))
        for left in range(0, width, _COLUMNS)
    ]
    for top in range(0, len(rgb), _ROWS):
        planes = np.concatenate(cv2.split(rgb[top : top + _ROWS]), dtype=np.float32)
        narrow = np.hstack([planes[:, columns] @ shares.T for _, columns, shares in groups])
        part = (narrow + 0.5).clip(0, 255).astype(np.uint8)
        cv2.merge(np.vsplit(part, 3), out[top : top + _ROWS])
    return out


def shrink_picture(picture: U8, size_wh: tuple[int, int]) -> U8:
    """A small copy (of a photo or a mask) for looking at.

    Rows and columns are skipped down to about twice the size, the rest is averaged by area.
    """
    width, height = size_wh
    if picture.shape[:2] == (height, width):
        return picture
    step = max(1, min(picture.shape[0] // (2 * height), picture.shape[1] // (2 * width)))
    return cv2.resize(every(picture, step), size_wh, interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )


def scale_mask(mask: U8, size_wh: tuple[int, int]) -> U8:
    """A mask (height × width, uint8) at another size, by Pillow's Lanczos as rembg does it.

    Pillow makes its rows as long as they are to be; the many rows between them are sums of six of those,
    which matrix products make three times faster, within a step of 255. OpenCV's Lanczos is as fast, but
    faint masks (`rocket.jpg`) come out with 0.6 % less soft IoU, and photos smaller than the mask with 2 %.
    """
    width, height = size_wh
    if mask.shape == (height, width):
        return mask
    if height < 2 * len(mask):
        return np.asarray(Image.fromarray(mask).resize(size_wh, Image.Resampling.LANCZOS))
    wide = np.asarray(Image.fromarray(mask).resize((width, len(mask)), Image.Resampling.LANCZOS), np.float32)
    out = np.empty((height, width), np.uint8)
    for top in range(0, height, _STRIP_OUT):
        bottom = min(top + _STRIP_OUT, height)
        rows, shares = _lanczos(top, bottom, len(mask), height)
        out[top:bottom] = (shares @ wide[rows] + 0.5).clip(0, 255)
    return out


def _lanczos(first: int, last: int, given: int, wanted: int) -> tuple[slice, NDArray[np.float32]]:
    """Which of `given` samples become those from `first` to `last` (outside) of `wanted`, and the share of
    each in each of them: by the kernel sinc(x) sinc(x / 3), |x| < 3, of their distance, counted in samples
    of the coarser side."""
    step = given / wanted
    scale = max(1.0, step)
    centres = (np.arange(first, last) + 0.5) * step - 0.5
    left = max(0, int(np.ceil(centres[0] - 3 * scale)))
    right = min(given, int(np.floor(centres[-1] + 3 * scale)) + 1)
    distance = np.abs(centres[:, None] - np.arange(left, right)) / scale
    kernel = np.where(distance < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    shares = kernel / kernel.sum(axis=1, keepdims=True)
    return slice(left, right), shares.astype(np.float32)


def shrink_cutout(picture: Samples, size_wh: tuple[int, int]) -> U8:
    """A finished picture, height × width or × 3 or × 4 (RGBA), at a smaller size for looking at, in 8 bits.

    Rows and columns are skipped down to about twice the size, only the rest is averaged; RGBA some rows at
    a time, so that no large picture is there in wider numbers.
    """
    height, width = picture.shape[:2]
    part = every(picture, max(1, min(width // (2 * size_wh[0]), height // (2 * size_wh[1]))))
    if part.dtype == np.uint16:
        part = cv2.convertScaleAbs(part, alpha=1 / 257).astype(np.uint8, copy=False)
    if part.ndim == 2 or part.shape[2] == 3:
        return cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    out = np.empty((size_wh[1], size_wh[0], 4), np.uint8)
    for top in range(0, size_wh[1], _STRIP_OUT):
        rows, shares = _averaged(top, min(top + _STRIP_OUT, size_wh[1]), len(part) / size_wh[1])
        alpha = np.ascontiguousarray(part[rows][..., 3:])
        # Times alpha, or what is transparent would darken the edge: up to 255 × 255, all of which counts.
        seen = cv2.multiply(part[rows], cv2.merge([alpha] * 4), dtype=cv2.CV_16U)
        cv2.insertChannel(alpha.astype(np.uint16) * 255, seen, 3)
        narrow = cv2.resize(seen, (size_wh[0], len(seen)), interpolation=cv2.INTER_AREA).astype(np.float32)
        small: Any = np.tensordot(shares, narrow, 1)
        seen_of = cv2.extractChannel(small, 3)
        small = cv2.multiply(small, cv2.merge([255 / np.maximum(seen_of, np.float32(0.5))] * 4))
        out[top : top + len(small)] = cv2.convertScaleAbs(cv2.insertChannel(seen_of / 255, small, 3))
    return out


def every(values: Samples, step: int) -> Samples:
    """Every `step`-th row and column."""
    return values if step == 1 else np.take(values[::step], range(0, values.shape[1], step), axis=1)


def _averaged(top: int, bottom: int, ratio: float) -> tuple[slice, NDArray[np.float32]]:
    """Which rows become those from `top` to `bottom` of a picture `ratio` times less high, and the share of
    each in each of them: as far as one covers the other."""
    ends = np.arange(top, bottom + 1) * ratio
    rows = np.arange(int(ends[0]), int(np.ceil(ends[-1] - 1e-6)))
    shares = np.minimum(ends[1:, None], rows + 1) - np.maximum(ends[:-1, None], rows)
    return slice(int(rows[0]), int(rows[-1]) + 1), (shares.clip(0) / ratio).astype(np.float32)


def combine_alpha(mask: U8, own: U8 | None) -> U8:
    """The model's mask within the photo's own transparency: their product, rounded."""
    if own is None:
        return mask
    product = mask.astype(np.uint16) * own + 127
    return (product // 255).astype(np.uint8)


def compose(
    rgb: Samples,
    alpha: U8 | None,
    look: Look,
    *,
    before: Samples | None = None,
    inside: U8 | None = None,
) -> Samples:
    """The subject on its background; opaque pixels keep their values exactly.

    `alpha` None means opaque. A blurred background is made of `before`, the photo as it was (`rgb` where
    it is None), as far as `inside` is not zero. Returns RGBA where something is transparent by the recipe
    or, with the background kept, by the photo itself (colour is zero where nothing is left), else RGB.
    """
    if alpha is None and (isinstance(look.background, Keep) or look.background.kind == "blur"):
        return rgb
    if alpha is None:
        alpha = np.full(rgb.shape[:2], 255, np.uint8)
    if isinstance(look.background, Keep):
        return _on_nothing(rgb, alpha)
    under = backdrop.of(
        look.background,
        (rgb.shape[1], rgb.shape[0]),
        photo=rgb if before is None else before,
        alpha=alpha,
        inside=inside,
        icc=look.icc,
        picture=look.picture,
    )
    if look.shadow is not None:
        under = backdrop.with_shadow(under, alpha, look.shadow, look.icc)
    if under is None:
        return _on_nothing(rgb, alpha)
    return _on_layer(rgb, alpha, under)


def _on_nothing(rgb: Samples, alpha: U8) -> Samples:
    # What was removed leaves the file too: zero, not hidden under a zero alpha.
    out = np.empty((*alpha.shape, 4), rgb.dtype)
    for rows in backdrop.strips(rgb):
        kept = alpha[rows] if rgb.dtype == np.uint8 else alpha[rows].astype(np.uint16) * 257
        cv2.mixChannels([cv2.copyTo(rgb[rows], alpha[rows]), kept], [out[rows]], [0, 0, 1, 1, 2, 2, 3, 3])
    return out


def _on_layer(rgb: Samples, alpha: U8, under: Layer) -> Samples:
    """Porter and Duff's “over” (1984), strip by strip; opaque pixels are copied."""
    below = np.broadcast_to(under.rgb, rgb.shape)
    below_alpha = None if under.alpha is None else np.broadcast_to(under.alpha, alpha.shape)
    out = np.empty_like(rgb)
    merged = None if below_alpha is None else np.empty_like(alpha)
    for rows in backdrop.strips(rgb):
        behind = np.ascontiguousarray(below[rows])
        if rgb.dtype == np.uint16:
            behind = cast(Samples, behind.astype(np.uint16) * 257)
        if below_alpha is None or merged is None:
            out[rows] = _blended(rgb[rows], behind, alpha[rows])
        else:
            out[rows], merged[rows] = _over(rgb[rows], alpha[rows], behind, below_alpha[rows])
        out[rows] = cv2.copyTo(rgb[rows], (alpha[rows] == 255).astype(np.uint8), out[rows])
    return out if merged is None else _on_nothing(out, merged)


def _blended(rgb: Samples, below: Samples, alpha: U8) -> Samples:
    if not alpha.any():
        return below
    weight = alpha.astype(np.float32) / 255
    if rgb.dtype == np.uint8:
        return cv2.blendLinear(rgb, below, weight, 1 - weight).astype(np.uint8, copy=False)
    mixed = below + (rgb.astype(np.float32) - below) * weight[..., None]
    return (mixed + 0.5).astype(rgb.dtype)


def _over(rgb: Samples, alpha: U8, below: Samples, below_alpha: U8) -> tuple[Samples, U8]:
    weight = alpha.astype(np.float32) / 255
    rest = below_alpha.astype(np.float32) / 255 * (1 - weight)
    total = weight + rest
    share = (weight / np.maximum(total, 1e-6))[..., None]
    mixed = below + (rgb.astype(np.float32) - below) * share
    return (mixed + 0.5).astype(rgb.dtype), (total * 255 + 0.5).astype(np.uint8)
