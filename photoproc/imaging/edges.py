"""The subject's edge: a finer alpha, moved, softened, and rid of the old background's colour.

What is costly (matting, colours of the foreground) runs on a bounded size and is brought to the photo's own
guided by its pixels, strip by strip.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from photoproc.errors import ModelError
from photoproc.imaging import closed_form, foreground
from photoproc.parts import Edges

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rgb = TypeVar("Rgb", NDArray[np.uint8], NDArray[np.uint16])
Refiner = Callable[[U8, U8], U8]
"""A picture (height × width × 3) and its trimap (0, 128, 255) to its alpha."""
Slices = tuple[slice, slice]

_FOREGROUND, _BACKGROUND = 240, 10
"""rembg's thresholds: above and below is certain."""
_BAND = 0.02
"""How wide a hard edge becomes in the trimap, as a share of the photo's longer side."""
_MAX_PIXELS = 1_000_000
"""Of what is matted."""
_GUIDE_RADIUS, _GUIDE_EPSILON = 2, 1e-5
_MAX_COLOUR_PIXELS = 500_000
_COLOUR_WEIGHT = 0.05
_STRIP = 256
_BLUR_PX = 8.0
"""A wider blur runs on a smaller picture."""


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A picture, its trimap and a first alpha to its alpha; for how many unknown pixels at most."""

    run: Callable[[U8, U8, U8], U8]
    max_unknown: int


_MATTING = _Estimate(partial(closed_form.estimate, trust=3e-5), max_unknown=40_000)
"""More unknown pixels cost more (a second for 60 000) and do not find more: colours spread less far."""
_REMBG_MATTING = _Estimate(partial(closed_form.estimate, trust=1e-8), max_unknown=70_000)
"""Just enough trust for there to be one solution: on small photos it is rembg's, to a step or two of 255."""


def refined(rgb: U8, alpha: U8, options: Edges, *, refiner: Refiner | None = None, effort: float = 1.0) -> U8:
    """The alpha (height × width) of a photo (height × width × 3) after method, shrink and feather.

    `refiner` is ViTMatte. `effort` below 1 has closed-form matting solve so many fewer pixels, for a look
    that should come soon; ViTMatte's work is the same whatever it is. What is certainly subject (255) or
    background (0) and far from the edge stays so. Raises ModelError vitmatte_missing.
    """
    if options.method == "vitmatte":
        if refiner is None:
            raise ModelError(
                "vitmatte_missing",
                "The weights of ViTMatte are not there.",
                "Download them on the System page, or choose matting instead.",
            )
        wanted = refiner
        network = _Estimate(lambda small, trimap, _: wanted(small, trimap), max_unknown=_MAX_PIXELS)
        alpha = _matted(rgb, alpha, _trimap_of(alpha), network)
    elif options.method == "matting":
        estimate = replace(_MATTING, max_unknown=round(_MATTING.max_unknown * effort))
        alpha = _matted(rgb, alpha, _trimap_of(alpha), estimate)
    return feathered(shrunk(alpha, options.shrink_px), options.feather_px)


def shrunk(alpha: U8, by_px: float) -> U8:
    """The alpha with its edge `by_px` further in, not necessarily a whole number; never more anywhere.

    An erosion by an octagon. The picture's border is no edge: a subject that is cut by it stays so.
    """
    if by_px <= 0:
        return alpha
    whole = int(by_px)
    inner = _eroded(alpha, whole)
    if by_px == whole:
        return inner
    return cv2.addWeighted(inner, 1 - by_px + whole, _eroded(alpha, whole + 1), by_px - whole, 0).astype(
        np.uint8, copy=False
    )


def _eroded(alpha: U8, radius_px: int) -> U8:
    # A square and a diamond give the octagon; both only grow with the radius.
    square = round(radius_px * 0.41)
    if square:
        alpha = cv2.erode(alpha, np.ones((2 * square + 1, 2 * square + 1), np.uint8)).astype(np.uint8)
    if radius_px > square:
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        alpha = cv2.erode(alpha, cross, iterations=radius_px - square).astype(np.uint8)
    return alpha


def feathered(alpha: U8, by_px: float) -> U8:
    """The alpha blurred by a Gaussian whose deviation is `by_px`."""
    if by_px <= 0:
        return alpha
    border = cv2.BORDER_REPLICATE
    shrink = by_px / _BLUR_PX
    if shrink <= 1:
        return cv2.GaussianBlur(alpha, (0, 0), by_px, borderType=border).astype(np.uint8, copy=False)
    height, width = alpha.shape
    small_wh = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(alpha, small_wh, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), _BLUR_PX, borderType=border)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def decontaminated(rgb: Rgb, alpha: U8, *, effort: float = 1.0) -> Rgb:
    """The photo (height × width × 3, 8 or 16 bits) with the subject's own colour where alpha is 1 to 254.

    All other pixels are those of `rgb`, to the bit. `effort` as in `refined`.
    """
    soft = (alpha > 0) & (alpha < 255)
    box = _box_of(soft, margin=64)
    if box is None:
        return rgb
    out = rgb.copy()
    top = np.iinfo(rgb.dtype).max
    photo, share, chosen, target = rgb[box], alpha[box], soft[box], out[box]
    size_wh = _bounded_wh(share.shape, round(_MAX_COLOUR_PIXELS * effort))
    # Single pixels: means of colours and of alphas would not fit each other as a pixel's do.
    small = _unit(cv2.resize(photo, size_wh, interpolation=cv2.INTER_NEAREST), top)
    small_share = _unit(cv2.resize(share, size_wh, interpolation=cv2.INTER_NEAREST))
    fore, back = (_Enlarged(colours, share.shape) for colours in foreground.estimate(small, small_share))
    for part in _strips(chosen):
        found, _ = foreground.unmixed(
            _unit(photo[part], top), _unit(share[part])[..., None], fore[part], back[part], _COLOUR_WEIGHT
        )
        where = chosen[part]
        target[part][where] = np.rint(found[where] * top).astype(rgb.dtype)
    return out


def rembg_matting(
    rgb: U8, mask: U8, *, foreground_threshold: int, background_threshold: int, erode_px: int
) -> tuple[U8, U8]:
    """The colours and the alpha that rembg's alpha matting makes of a photo and its mask.

    Like rembg's own where the photo is small; larger ones are matted on a bounded size. Opaque pixels keep
    their values exactly. Without certain subject or background the mask is the alpha.
    """
    trimap = _rembg_trimap(mask, foreground_threshold, background_threshold, erode_px)
    alpha = _matted(rgb, mask, trimap, _REMBG_MATTING)
    return decontaminated(rgb, alpha), alpha


def _trimap_of(alpha: U8) -> U8:
    """255 and 0 where the model's alpha is certain, 128 in a band around its edge.

    Parts too thin for the band (holes, straps) keep a core. A subject that is cut by the picture's border
    goes on behind it.
    """
    side_px = max(3, round(_BAND * max(alpha.shape)))
    trimap = np.full(alpha.shape, 128, np.uint8)
    for certain, value in ((alpha > _FOREGROUND, 255), (alpha < _BACKGROUND, 0)):
        part = certain.view(np.uint8)
        core = cv2.erode(part, _square(side_px))
        trimap[core > 0] = value
        thick = cv2.dilate(core, _square(2 * side_px + 1)) > 0
        trimap[(cv2.erode(part, _square(max(3, side_px // 3))) > 0) & ~thick] = value
    return trimap


def _rembg_trimap(mask: U8, foreground_threshold: int, background_threshold: int, erode_px: int) -> U8:
    """The same as rembg makes it: what is past the border is background, and thin parts are unknown."""
    kernel = _square(erode_px) if erode_px > 0 else cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    trimap = np.full(mask.shape, 128, np.uint8)
    for certain, value in ((mask > foreground_threshold, 255), (mask < background_threshold, 0)):
        beyond = (int(value == 0),)
        core = cv2.erode(certain.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=beyond)
        trimap[core > 0] = value
    return trimap


def _square(side_px: int) -> U8:
    return np.ones((side_px, side_px), np.uint8)


def _matted(rgb: U8, alpha: U8, trimap: U8, estimate: _Estimate) -> U8:
    """A finer alpha where the trimap is unknown; the given one without certain subject and background."""
    unknown = trimap == 128
    box = _box_of(unknown, margin=16)
    if box is None or not (trimap == 0).any() or not (trimap == 255).any():
        return alpha
    out = trimap.copy()
    photo, certain, chosen, target = rgb[box], trimap[box], unknown[box], out[box]
    bound = min(_MAX_PIXELS, int(chosen.size * estimate.max_unknown / np.count_nonzero(chosen)))
    size_wh = _bounded_wh(chosen.shape, bound)
    small = cv2.resize(photo, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    small_map = cv2.resize(certain, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    small_map[(small_map > 0) & (small_map < 255)] = 128
    first = cv2.resize(alpha[box], size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    found = estimate.run(small, small_map, first)
    if found.shape == chosen.shape:
        target[chosen] = found[chosen]
        return out
    lines = _Enlarged(_lines(small, found), chosen.shape)
    for part in _strips(chosen):
        slope_and_height = lines[part]
        fine = (slope_and_height[..., :3] * photo[part]).sum(axis=2) / 255 + slope_and_height[..., 3]
        where = chosen[part]
        target[part][where] = np.rint(fine[where].clip(0, 1) * 255).astype(np.uint8)
    return out


def _lines(rgb: U8, alpha: U8) -> F32:
    """For each pixel a, b (height × width × 4) such that alpha is about a · colour + b around it.

    The guided filter with a colour guide (He, Sun, Tang 2013, equations 14 to 16), to be enlarged before it
    is applied, as in the fast guided filter (He, Sun 2015).
    """
    guide, values = _unit(rgb), _unit(alpha)
    side = 2 * _GUIDE_RADIUS + 1

    def mean(picture: NDArray[np.floating]) -> F32:
        return np.asarray(cv2.blur(picture, (side, side)), np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    crossed = mean(guide * values[..., None]) - mean_guide * mean_values[..., None]
    var = {
        (i, j): mean(guide[..., i] * guide[..., j]) - mean_guide[..., i] * mean_guide[..., j]
        for i in range(3)
        for j in range(i, 3)
    }
    for i in range(3):
        var[i, i] += _GUIDE_EPSILON
    # The inverse of a symmetric 3 × 3 matrix, by its cofactors.
    inverse = {
        (0, 0): var[1, 1] * var[2, 2] - var[1, 2] ** 2,
        (0, 1): var[0, 2] * var[1, 2] - var[0, 1] * var[2, 2],
        (0, 2): var[0, 1] * var[1, 2] - var[0, 2] * var[1, 1],
        (1, 1): var[0, 0] * var[2, 2] - var[0, 2] ** 2,
        (1, 2): var[0, 1] * var[0, 2] - var[0, 0] * var[1, 2],
        (2, 2): var[0, 0] * var[1, 1] - var[0, 1] ** 2,
    }
    determinant = sum(inverse[0, j] * var[0, j] for j in range(3))
    out = np.empty((*alpha.shape, 4), np.float32)
    for i in range(3):
        row = sum(inverse[min(i, j), max(i, j)] * crossed[..., j] for j in range(3))
        out[..., i] = row / determinant
    out[..., 3] = mean_values - (out[..., :3] * mean_guide).sum(axis=2)
    return mean(out)


class _Enlarged:
    """A small picture (height × width × 1 to 4, float) at a larger size, computed for the part asked for."""

    def __init__(self, small: F32, shape: tuple[int, ...]) -> None:
        self._small = small
        self._scale_xy = small.shape[1] / shape[1], small.shape[0] / shape[0]

    def __getitem__(self, part: Slices) -> F32:
        rows, columns = part
        (across, down), (left, top) = self._scale_xy, (columns.start, rows.start)
        turn = np.array(
            [[across, 0, (left + 0.5) * across - 0.5], [0, down, (top + 0.5) * down - 0.5]], np.float64
        )
        large = cv2.warpAffine(
            self._small,
            turn,
            (columns.stop - left, rows.stop - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(large, np.float32)


def _unit(values: NDArray[Any], top: int = 255) -> F32:
    """Values from 0 to `top` as 0 to 1."""
    return np.asarray(np.divide(values, top, dtype=np.float32))


def _box_of(chosen: NDArray[np.bool_], margin: int) -> Slices | None:
    """The smallest box around what is chosen, and a margin within the picture; None where nothing is."""
    rows, columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
    if not len(rows):
        return None
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    return (
        slice(max(0, int(top) - margin), int(bottom) + 1 + margin),
        slice(max(0, int(left) - margin), int(right) + 1 + margin),
    )


def _strips(chosen: NDArray[np.bool_]) -> Iterator[Slices]:
    """Parts of a picture, each of few rows, that together hold all that is chosen."""
    for top in range(0, len(chosen), _STRIP):
        rows = slice(top, min(top + _STRIP, len(chosen)))
        columns = np.flatnonzero(chosen[rows].any(axis=0))
        if len(columns):
            yield rows, slice(int(columns[0]), int(columns[-1]) + 1)


def _bounded_wh(shape: tuple[int, ...], max_pixels: int) -> tuple[int, int]:
    height, width = shape
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))
