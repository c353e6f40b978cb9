"""Photo and mask to the finished picture: scale the mask, put the subject on its background.

Pictures are uint8 or uint16 (height × width × 3 RGB or 4 RGBA); alpha and masks are height × width, uint8.
"""

from dataclasses import dataclass
from typing import cast

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
"""Rows that are made at once; even."""
_MUCH_WIDER = 3
_MANY = 64
"""Rows and columns from which one more or less does not matter to a preview."""
_LITTLE = 4 / 3
"""How many times smaller a preview is at the most for its pixels to be made of two by two neighbours."""
_MUCH_SOFT = 0.1
"""Share of half transparent pixels from which it is quicker to work out all."""
_ROWS, _COLUMNS = 128, 8
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


@dataclass(frozen=True, slots=True)
class OnNothing:
    """A subject on nothing: RGBA, whose rows are made as they are asked for.

    What is written some rows at a time is then never there as a whole, which is a third more than its photo.
    """

    rgb: Samples
    alpha: U8

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, 4."""
        return (*self.alpha.shape, 4)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """That of its colours."""
        return self.rgb.dtype

    def __getitem__(self, rows: slice) -> Samples:
        return _on_nothing(self.rgb[rows], self.alpha[rows])

    def some(self, rows: slice, step: int) -> Samples:
        """Every `step`-th of those rows, and of their columns."""
        return _on_nothing(every(self.rgb[rows], step), every(self.alpha[rows], step))


def shrink_for_model(rgb: U8, size_wh: tuple[int, int]) -> Image.Image:
    """The photo at the model's input size, by exact Lanczos as rembg does it, within a step of 255
    (two where one side grows, three on noise).

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


def shrink_cutout(picture: Samples | OnNothing, size_wh: tuple[int, int]) -> U8:
    """A finished picture, height × width or × 3 or × 4 (RGBA), at a smaller size for looking at, in 8 bits.

    By area, or where it is smaller by a quarter at the most between neighbours, which on photos is off by
    less than half a step in the mean; of RGBA, and where a side is four times as long and more, rows and
    columns are skipped before.
    Colours of RGBA are as exact as they are seen: within a step of 255, times alpha.
    """
    height, width = picture.shape[:2]
    step = max(1, min(width // (2 * size_wh[0]), height // (2 * size_wh[1])))
    if picture.shape[2:] != (4,):
        return _averaged(_begun(picture, max(1, step // 2), size_wh), size_wh)
    small = _averaged(_begun(picture, step, size_wh), size_wh)
    return np.asarray(Image.frombuffer("RGBa", size_wh, small, "raw", "RGBa", 0, 1).convert("RGBA"))


def _begun(picture: Samples | OnNothing, step: int, size_wh: tuple[int, int]) -> U8:
    """Every `step`-th row and column in 8 bits, colours of RGBA times alpha, or what is transparent would
    darken the edge; by half smaller where that is large enough. Some rows at a time, so that a large picture
    is not there twice."""
    high, wide = (-(-side // step) for side in picture.shape[:2])
    halves = _is_twice((wide, high), size_wh)
    shrunk = 2 if halves else 1
    out = np.empty((high // shrunk, wide // shrunk, *picture.shape[2:]), np.uint8)
    for top in range(0, len(out) * shrunk, _STRIP_OUT):
        rows = slice(top * step, (top + _STRIP_OUT) * step)
        part = picture.some(rows, step) if isinstance(picture, OnNothing) else every(picture[rows], step)
        part = part if part.dtype == np.uint8 else _as_8bit(part)
        if picture.shape[2:] == (4,):
            part = np.asarray(Image.fromarray(part).convert("RGBa"))
        out[top // shrunk : (top + _STRIP_OUT) // shrunk] = _half(part) if halves else part
    return out


def _averaged(picture: U8, size_wh: tuple[int, int]) -> U8:
    """A picture made smaller by area: by halves, which is quick, as long as that goes; what is left to do
    is done between neighbours where it is little, in a sixth of the time."""
    while _is_twice((picture.shape[1], picture.shape[0]), size_wh):
        picture = _half(picture)
    wide, high = picture.shape[1] / size_wh[0], picture.shape[0] / size_wh[1]
    little = max(wide, high) <= _LITTLE
    how = cv2.INTER_LINEAR if little else cv2.INTER_AREA
    return cv2.resize(picture, size_wh, interpolation=how).astype(np.uint8, copy=False)


def _is_twice(given_wh: tuple[int, int], size_wh: tuple[int, int]) -> bool:
    if min(given_wh) < _MANY:  # of few rows or columns each one counts
        return False
    return given_wh[0] >= 2 * size_wh[0] and given_wh[1] >= 2 * size_wh[1]


def _half(picture: U8) -> U8:
    """The means of two by two; the last of an odd number of rows or columns is left out."""
    high, wide = picture.shape[0] // 2, picture.shape[1] // 2
    even = picture[: 2 * high, : 2 * wide]
    return cv2.resize(even, (wide, high), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _as_8bit(picture: Samples) -> U8:
    return cv2.convertScaleAbs(picture, alpha=1 / 257).astype(np.uint8, copy=False)


def every(values: Samples, step: int) -> Samples:
    """Every `step`-th row and column."""
    return values if step == 1 else np.take(values[::step], range(0, values.shape[1], step), axis=1)


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
    out = np.zeros((*alpha.shape, 4), rgb.dtype)
    for rows in backdrop.strips(rgb):
        kept = alpha[rows] if rgb.dtype == np.uint8 else alpha[rows].astype(np.uint16) * 257
        seen = cv2.cvtColor(rgb[rows], cv2.COLOR_RGB2RGBA)
        cv2.copyTo(cv2.insertChannel(kept, seen, 3), alpha[rows], out[rows])
    return out


def _on_layer(rgb: Samples, alpha: U8, under: Layer) -> Samples:
    """Porter and Duff's “over” (1984), strip by strip; opaque pixels are copied."""
    if under.alpha is None:
        return _on_opaque(rgb, alpha, under.rgb)
    below, below_alpha = np.broadcast_to(under.rgb, rgb.shape), np.broadcast_to(under.alpha, alpha.shape)
    out, merged = np.empty_like(rgb), np.empty_like(alpha)
    for rows in backdrop.strips(rgb):
        behind = _like(rgb[rows], np.ascontiguousarray(below[rows]))
        out[rows], merged[rows] = _over(rgb[rows], alpha[rows], behind, below_alpha[rows])
        cv2.copyTo(rgb[rows], cv2.inRange(alpha[rows], 255, 255), out[rows])
    return _on_nothing(out, merged)


def _on_opaque(rgb: Samples, alpha: U8, below: U8) -> Samples:
    out, behind = np.empty_like(rgb), None
    for rows in backdrop.strips(rgb):
        part, seen, made = rgb[rows], alpha[rows], out[rows]
        if len(below) > 1 or behind is None or len(behind) != len(part):
            behind = _like(part, below if len(below) == 1 else below[rows])
        made[...] = behind
        soft = cv2.inRange(seen, 1, 254)
        if cv2.countNonZero(soft) > soft.size * _MUCH_SOFT:
            made[...] = _blended(part, behind, seen)
        elif (found := cv2.findNonZero(soft)) is not None:
            across, down = found[:, 0, 0], found[:, 0, 1]
            made[down, across] = _mixed(part[down, across], behind[down, across], seen[down, across])
        cv2.copyTo(part, cv2.inRange(seen, 255, 255), made)
    return out


def _like(part: Samples, below: U8) -> Samples:
    """Colours of 8 bits, of one pixel, row or column or of all, as large and deep as a part of the photo."""
    if below.shape != part.shape:
        size_wh = (part.shape[1], part.shape[0])
        below = cv2.resize(np.ascontiguousarray(below), size_wh, interpolation=cv2.INTER_NEAREST).astype(
            np.uint8, copy=False
        )
    return below if part.dtype == np.uint8 else cast(Samples, below.astype(np.uint16) * 257)


def _blended(rgb: Samples, below: Samples, alpha: U8) -> Samples:
    if rgb.dtype != np.uint8:
        return _mixed(rgb, below, alpha)
    weight = alpha.astype(np.float32) / 255
    return cv2.blendLinear(rgb, below, weight, 1 - weight).astype(np.uint8, copy=False)


def _mixed(rgb: Samples, below: Samples, alpha: U8) -> Samples:
    weight = (alpha.astype(np.float32) / 255)[..., None]
    return (below + (rgb.astype(np.float32) - below) * weight + 0.5).astype(rgb.dtype)


def _over(rgb: Samples, alpha: U8, below: Samples, below_alpha: U8) -> tuple[Samples, U8]:
    weight = alpha.astype(np.float32) / 255
    rest = below_alpha.astype(np.float32) / 255 * (1 - weight)
    total = weight + rest
    share = (weight / np.maximum(total, 1e-6))[..., None]
    mixed = below + (rgb.astype(np.float32) - below) * share
    return (mixed + 0.5).astype(rgb.dtype), (total * 255 + 0.5).astype(np.uint8)
