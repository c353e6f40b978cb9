"""What is behind the subject: colour, gradient, picture, the blurred photo, and a shadow on it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.imaging import profiles
from photoproc.parts import Background, Blur, Colour, Gradient, Picture, Shadow, rgba

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
_STRIP = 256
Samples = U8
"""8 or 16 bits a sample; there is no type for either that numpy's and OpenCV's own take."""

_WORKING_SIDE = 768
"""Blurs are wide: they are made on pictures of this many pixels a side and scaled up."""
_BLUR_PX = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A picture (height × width × 3, or one pixel for all of it), and its alpha where it is not opaque."""

    rgb: U8
    alpha: U8 | None = None


def of(
    background: Background,
    size_wh: tuple[int, int],
    *,
    photo: Samples,
    alpha: U8,
    inside: U8 | None,
    icc: bytes | None,
    picture: U8 | None,
) -> Layer | None:
    """The background of a cutout, in the photo's own profile; None for nothing.

    `photo` and `alpha` are the cutout's part of the photo and of the mask, `inside` is zero where the
    cutout reaches beyond the photo: a blurred background is made of what is there and not the subject.
    """
    match background:
        case Colour():
            return _flat(background.colour, icc)
        case Gradient():
            return _gradient(background, size_wh, icc)
        case Picture():
            assert picture is not None
            return _fitted(background, picture, size_wh, icc)
        case Blur():
            return Layer(rgb=_blurred(photo, alpha, inside, background.radius))
    return None


def with_shadow(under: Layer | None, alpha: U8, shadow: Shadow, icc: bytes | None) -> Layer | None:
    """A background with the subject's shadow on it; `alpha` is the subject's."""
    box = cv2.boundingRect((alpha > 127).view(np.uint8))
    longer = max(box[2], box[3])
    if longer == 0 or shadow.opacity == 0:
        return under
    colour = _flat(shadow.colour, icc)
    strength = shadow.opacity * (1.0 if colour.alpha is None else float(colour.alpha[0, 0]) / 255)
    dark = _shadow_alpha(alpha, shadow, longer, strength)
    if under is None:
        return Layer(rgb=np.broadcast_to(colour.rgb, (*alpha.shape, 3)), alpha=dark)
    below = np.broadcast_to(under.rgb, (*alpha.shape, 3))
    below_alpha = None if under.alpha is None else np.broadcast_to(under.alpha, alpha.shape)
    mixed = np.empty((*alpha.shape, 3), np.uint8)
    covered = None if below_alpha is None else np.empty_like(alpha)
    for rows in strips(alpha):
        top = dark[rows].astype(np.float32) / 255
        rest = 1 - top
        if below_alpha is not None:
            rest *= below_alpha[rows].astype(np.float32) / 255
        share = (top / np.maximum(top + rest, 1e-6))[..., None]
        mixed[rows] = below[rows] * (1 - share) + colour.rgb * share + 0.5
        if covered is not None:
            covered[rows] = (top + rest) * 255 + 0.5
    return Layer(rgb=mixed, alpha=covered)


def strips(picture: Samples) -> Iterator[slice]:
    """The rows of a picture, some at a time: whole ones as floats would take gigabytes."""
    return (slice(top, top + _STRIP) for top in range(0, len(picture), _STRIP))


def _shadow_alpha(alpha: U8, shadow: Shadow, longer: int, strength: float) -> U8:
    """The subject's alpha, moved, blurred and weakened."""
    height, width = alpha.shape
    small_wh = _within((width, height), _WORKING_SIDE)
    scale = max(small_wh) / max(width, height)
    small = cv2.resize(alpha, small_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
    right, down = shadow.right * longer * scale, shadow.down * longer * scale
    moved = cv2.warpAffine(small, np.array([[1, 0, right], [0, 1, down]], np.float32), small_wh)
    sigma = shadow.blur * longer * scale
    if sigma > 0.3:
        moved = cv2.GaussianBlur(moved, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    faint = np.clip(moved * strength + 0.5, 0, 255).astype(np.uint8)
    full = cv2.resize(faint, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(full, dtype=np.uint8)


def _flat(colour: str, icc: bytes | None) -> Layer:
    red, green, blue, alpha = profiles.colour_in(rgba(colour), icc)
    return Layer(
        rgb=np.array([[[red, green, blue]]], np.uint8),
        alpha=None if alpha == 255 else np.array([[alpha]], np.uint8),
    )


def _gradient(gradient: Gradient, size_wh: tuple[int, int], icc: bytes | None) -> Layer:
    """As CSS draws it (CSS Images 4): the line's ends are where the corners project to."""
    width, height = size_wh
    x = np.arange(width, dtype=np.float32) + 0.5 - width / 2
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
    start, end = (
        np.array(profiles.colour_in(rgba(colour), icc), np.float32)
        for colour in (gradient.start, gradient.end)
    )
    colours = np.empty((height, width, 3), np.uint8)
    alphas = None if start[3] == end[3] == 255 else np.empty((height, width), np.uint8)
    for rows in strips(colours):
        place = _along(gradient, x, y[rows], size_wh)[..., None]
        if alphas is None:
            colours[rows] = start[:3] + (end - start)[:3] * place + 0.5
            continue
        # Premultiplied in between, as browsers do it: a transparent end lends no colour.
        alpha = start[3] + (end[3] - start[3]) * place
        weighted = start[:3] * start[3] * (1 - place) + end[:3] * end[3] * place
        colours[rows] = np.clip(weighted / np.maximum(alpha, 1e-3), 0, 255) + 0.5
        alphas[rows] = alpha[..., 0] + 0.5
    return Layer(rgb=colours, alpha=alphas)


def _along(gradient: Gradient, x: F32, y: F32, size_wh: tuple[int, int]) -> F32:
    """How far along the gradient (0 to 1) places are, which are measured from the middle."""
    width, height = size_wh
    if gradient.shape == "radial":
        place = np.sqrt((x / (width / 2)) ** 2 + (y / (height / 2)) ** 2) / math.sqrt(2)
    else:
        angle = math.radians(gradient.angle_deg)
        across, up = math.sin(angle), math.cos(angle)
        length = abs(width * across) + abs(height * up)
        place = (x * across - y * up) / length + 0.5
    return np.asarray(np.clip(place, 0, 1), dtype=np.float32)


def _fitted(background: Picture, picture: U8, size_wh: tuple[int, int], icc: bytes | None) -> Layer:
    width, height = size_wh
    choose = max if background.fit == "cover" else min
    scale = choose(width / picture.shape[1], height / picture.shape[0])
    fitted_wh = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    if background.fit == "cover":
        part_wh = (min(picture.shape[1], round(width / scale)), min(picture.shape[0], round(height / scale)))
        left, top = (picture.shape[1] - part_wh[0]) // 2, (picture.shape[0] - part_wh[1]) // 2
        part = picture[top : top + max(1, part_wh[1]), left : left + max(1, part_wh[0])]
        return Layer(rgb=profiles.from_srgb(_resized(part, size_wh), icc))
    flat = _flat(background.colour, icc)
    out = np.broadcast_to(flat.rgb, (height, width, 3)).copy()
    left, top = (width - fitted_wh[0]) // 2, (height - fitted_wh[1]) // 2
    inside = np.s_[top : top + fitted_wh[1], left : left + fitted_wh[0]]
    out[inside] = profiles.from_srgb(_resized(picture, fitted_wh), icc)
    if flat.alpha is None:
        return Layer(rgb=out)
    covered = np.broadcast_to(flat.alpha, (height, width)).copy()
    covered[inside] = 255
    return Layer(rgb=out, alpha=covered)


def _resized(picture: U8, size_wh: tuple[int, int]) -> U8:
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _blurred(photo: Samples, alpha: U8, inside: U8 | None, radius: float) -> U8:
    """The photo without its subject, blurred: what the subject hides is filled from around it.

    A normalised convolution (Knutsson and Westin, 1993), so that no halo of the subject is left.
    """
    height, width = alpha.shape
    # As large as a blur of a few pixels needs it: the rest would be blurred away.
    side = min(_WORKING_SIDE, max(64, round(_BLUR_PX / radius)))
    small_wh = _within((width, height), side)
    small = cv2.resize(photo, small_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
    if photo.dtype == np.uint16:
        small /= 257
    shown = cv2.resize(alpha, small_wh, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # Grown a little: a soft edge holds some of the subject's colour.
    weight = 1 - cv2.dilate(shown, np.ones((5, 5), np.uint8))
    if inside is not None:
        weight *= cv2.resize(inside, small_wh, interpolation=cv2.INTER_AREA) == 255
    filled = _filled(small, np.asarray(weight, np.float32), radius * max(small_wh))
    rounded = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    full = cv2.resize(rounded, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(full, dtype=np.uint8)


def _filled(picture: NDArray[np.float32], weight: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A picture blurred by `sigma` pixels; where it has no weight, by as much more as it takes."""
    size_wh = (weight.shape[1], weight.shape[0])
    total = cv2.GaussianBlur(picture * weight[..., None], (0, 0), sigma)
    covered = cv2.GaussianBlur(weight, (0, 0), sigma)
    if min(size_wh) > 2 and covered.min() < 0.1 and covered.max() > 0:
        # What is far from anything known comes from a picture of a third the size, and so on.
        coarse_wh = _within(size_wh, max(size_wh) // 3)
        known = cv2.resize(weight, coarse_wh, interpolation=cv2.INTER_AREA)
        colours = cv2.resize(picture * weight[..., None], coarse_wh, interpolation=cv2.INTER_AREA)
        colours = colours / np.maximum(known, 1e-6)[..., None]
        coarse = _filled(colours.astype(np.float32), known.astype(np.float32), sigma)
        share = np.clip(0.1 - covered, 0, None)
        total = total + cv2.resize(coarse, size_wh, interpolation=cv2.INTER_LINEAR) * share[..., None]
        covered = covered + share
    elif covered.max() == 0:  # all of it is subject
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)
    return np.asarray(total / np.maximum(covered, 1e-6)[..., None], dtype=np.float32)


def _within(size_wh: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))
