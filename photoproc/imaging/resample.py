"""Frames, and what is in them: cut, turned and scaled at full quality.

Places are continuous: the photo's first pixel covers 0 to 1.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.jobs import Warn

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Box = tuple[int, int, int, int]
U16 = NDArray[np.uint16]
Deep = TypeVar("Deep", np.uint8, np.uint16)

_EXACT = 1e-6
_OPAQUE = 255 * 192
_SUPPORT = 3
"""Lanczos looks so many pixels of the coarser picture to each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A part of the photo, perhaps turned and perhaps beyond it, and the size it is to have.

    `centre_xy` and `size_wh` are in pixels of the photo. The frame is turned clockwise by `roll_deg`, so
    what leans that way stands upright in it. `face` is the number of the face it was made for, from 1.
    """

    centre_xy: tuple[float, float]
    size_wh: tuple[float, float]
    roll_deg: float = 0.0
    out_wh: tuple[int, int]
    face: int = 0
    warnings: tuple[Warn, ...] = ()

    @property
    def box(self) -> Box | None:
        """Left, top, right, bottom where its pixels are the photo's own, unscaled; else None."""
        left, top = (middle - side / 2 for middle, side in zip(self.centre_xy, self.size_wh, strict=True))
        if self.roll_deg or self.size_wh != self.out_wh:
            return None
        if abs(left - round(left)) > _EXACT or abs(top - round(top)) > _EXACT:
            return None
        return round(left), round(top), round(left) + self.out_wh[0], round(top) + self.out_wh[1]

    @property
    def reach_xyxy(self) -> tuple[float, float, float, float]:
        """The smallest upright box around it."""
        across, down = reach(self.size_wh, self.roll_deg)
        x, y = self.centre_xy
        return x - across / 2, y - down / 2, x + across / 2, y + down / 2

    def inside(self, photo_wh: tuple[int, int]) -> bool:
        """Whether all of it is in a photo of this size."""
        left, top, right, bottom = self.reach_xyxy
        slack = 1e-3
        return min(left, top) >= -slack and right <= photo_wh[0] + slack and bottom <= photo_wh[1] + slack


def reach(size_wh: tuple[float, float], roll_deg: float) -> tuple[float, float]:
    """Width and height of the upright box around a turned one."""
    cos, sin = abs(math.cos(math.radians(roll_deg))), abs(math.sin(math.radians(roll_deg)))
    return size_wh[0] * cos + size_wh[1] * sin, size_wh[0] * sin + size_wh[1] * cos


def render(picture: NDArray[Deep], frame: Frame) -> NDArray[Deep]:
    """What is in the frame; beyond the picture it is zero.

    `picture` is height × width, or × channels: four are RGBA, whose colours are weighted by their alpha.
    A frame with a `box` is an exact copy (or a view).
    """
    if frame.box is not None:
        return _copied(picture, frame.box)
    if picture.ndim == 3 and picture.shape[2] == 4:
        rgb, alpha = render_cutout(picture[..., :3], picture[..., 3], frame)
        assert alpha is not None
        return np.dstack([rgb, alpha])
    return _resampled(picture, frame)


def render_cutout(
    rgb: NDArray[Deep], alpha: NDArray[Deep] | None, frame: Frame
) -> tuple[NDArray[Deep], NDArray[Deep] | None]:
    """Colours and alpha in the frame: what is transparent does not bleed into what is not.

    Without an alpha there is one only where the frame reaches beyond the photo.
    """
    photo_wh = (rgb.shape[1], rgb.shape[0])
    if alpha is None and frame.inside(photo_wh):
        return render(rgb, frame), None
    if alpha is None:
        alpha = np.full(rgb.shape[:2], np.iinfo(rgb.dtype).max, rgb.dtype)
    if frame.box is not None:
        return _copied(rgb, frame.box), _copied(alpha, frame.box)
    (left, top, right, bottom), local = _needed(frame, photo_wh)
    if right <= left or bottom <= top:
        return _nothing(rgb, frame), _nothing(alpha, frame)
    weight = _weights(alpha[top:bottom, left:right])
    full, depth = np.iinfo(rgb.dtype).max, cv2.CV_8U if rgb.dtype == np.uint8 else cv2.CV_16U
    part = rgb[top:bottom, left:right]
    weighted = cv2.multiply(part, np.dstack([weight] * 3), scale=1 / full, dtype=cv2.CV_16U)
    seen, seen_weight = _resampled(_u16(weighted), local), _resampled(weight, local)
    plain = cv2.divide(seen, np.dstack([seen_weight] * 3), scale=full, dtype=depth)
    plain[seen_weight == 0] = 0
    return plain.astype(rgb.dtype, copy=False), _alpha(seen_weight, alpha)


def _weights(alpha: NDArray[Deep]) -> U16:
    """Alpha with room above it.

    Lanczos overshoots beside an edge, colours and alpha alike: they are divided before they are clipped.
    """
    if alpha.dtype == np.uint8:
        return alpha.astype(np.uint16) * np.uint16(_OPAQUE // 255)
    return _u16(np.rint(alpha * np.float32(_OPAQUE / 65535)))


def _alpha(weight: U16, like: NDArray[Deep]) -> NDArray[Deep]:
    full = np.iinfo(like.dtype).max
    alpha: NDArray[Deep] = np.minimum(np.rint(weight * np.float32(full / _OPAQUE)), full).astype(like.dtype)
    return alpha


def _u16(picture: NDArray[Any]) -> U16:
    return picture.astype(np.uint16, copy=False)


def _copied(picture: NDArray[Deep], box: Box) -> NDArray[Deep]:
    left, top, right, bottom = box
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (
        min(max(left, 0), width),
        min(max(top, 0), height),
        min(max(right, 0), width),
        min(max(bottom, 0), height),
    )
    part = picture[y0:y1, x0:x1]
    if (x0, y0, x1, y1) == box:
        return part
    out = np.zeros((bottom - top, right - left, *picture.shape[2:]), picture.dtype)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = part
    return out


def _nothing(picture: NDArray[Deep], frame: Frame) -> NDArray[Deep]:
    return np.zeros((frame.out_wh[1], frame.out_wh[0], *picture.shape[2:]), picture.dtype)


def _needed(frame: Frame, photo_wh: tuple[int, int]) -> tuple[Box, Frame]:
    """The part of the photo that the frame depends on, and the frame in that part's own pixels."""
    coarser = max(1.0, frame.size_wh[0] / frame.out_wh[0], frame.size_wh[1] / frame.out_wh[1])
    more = _SUPPORT * coarser + 2
    left, top, right, bottom = frame.reach_xyxy
    box = (
        min(max(math.floor(left - more), 0), photo_wh[0]),
        min(max(math.floor(top - more), 0), photo_wh[1]),
        min(max(math.ceil(right + more), 0), photo_wh[0]),
        min(max(math.ceil(bottom + more), 0), photo_wh[1]),
    )
    x, y = frame.centre_xy
    local = Frame(
        centre_xy=(x - box[0], y - box[1]),
        size_wh=frame.size_wh,
        roll_deg=frame.roll_deg,
        out_wh=frame.out_wh,
    )
    return box, local


def _resampled(picture: NDArray[Deep], frame: Frame) -> NDArray[Deep]:
    (left, top, right, bottom), local = _needed(frame, (picture.shape[1], picture.shape[0]))
    if right <= left or bottom <= top:
        return _nothing(picture, frame)
    part = picture[top:bottom, left:right]
    return _turned(part, local) if frame.roll_deg else _straight(part, local)


def _straight(part: NDArray[Deep], frame: Frame) -> NDArray[Deep]:
    (w, h), (out_w, out_h) = frame.size_wh, frame.out_wh
    (x0, x1), (left, right) = _span(frame.centre_xy[0] - w / 2, w / out_w, out_w, part.shape[1])
    (y0, y1), (top, bottom) = _span(frame.centre_xy[1] - h / 2, h / out_h, out_h, part.shape[0])
    if x1 <= x0 or y1 <= y0:
        return _nothing(part, frame)
    inner = _resized(part, (x1 - x0, y1 - y0), (left, top, right, bottom))
    inner = inner.reshape(y1 - y0, x1 - x0, *part.shape[2:])  # OpenCV forgets a single channel
    if inner.shape[:2] == (out_h, out_w):
        return inner
    out = _nothing(part, frame)
    out[y0:y1, x0:x1] = inner
    return out


def _span(start: float, step: float, count: int, length: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """The first and last of so many output pixels that show something, and what they show of the source."""
    first = min(max(math.ceil(-start / step - 0.5), 0), count)
    last = min(max(math.floor((length - start) / step + 0.5), 0), count)
    here, there = max(start + first * step, 0.0), min(start + last * step, float(length))
    return (first, last if there > here else first), (here, there)


def _turned(part: NDArray[Deep], frame: Frame) -> NDArray[Deep]:
    out_w, out_h = frame.out_wh
    scale = min(1.0, max(out_w / frame.size_wh[0], out_h / frame.size_wh[1]))
    height, width = part.shape[:2]
    small = part
    if scale < 1:
        small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = _resized(part, small_wh, (0.0, 0.0, float(width), float(height)))
    shrunk = np.array([small.shape[1] / width, small.shape[0] / height])
    turn = math.radians(frame.roll_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    # From places in the output to places in the small part; then to pixels, whose centres are at halves.
    back = shrunk[:, None] * np.array([[cos, -sin], [sin, cos]])
    back = back * [frame.size_wh[0] / out_w, frame.size_wh[1] / out_h]
    shift = shrunk * frame.centre_xy - back @ [out_w / 2, out_h / 2]
    matrix = np.column_stack([back, shift + back @ [0.5, 0.5] - 0.5])
    seen = cv2.warpAffine(
        small, matrix, (out_w, out_h), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderValue=(0,) * 4
    )
    return seen.astype(part.dtype, copy=False).reshape(out_h, out_w, *part.shape[2:])


def _resized(
    part: NDArray[Deep], size_wh: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[Deep]:
    """Pillow's Lanczos, whose box may have fractions; 16 bits a plane at a time."""
    step = int(min((box[2] - box[0]) / size_wh[0], (box[3] - box[1]) / size_wh[1]) / 2)
    if step > 1:  # what is shrunk a lot is averaged first, and loses nothing by it
        part = _averaged(part, step)
        box = (box[0] / step, box[1] / step, box[2] / step, box[3] / step)
    if part.ndim == 3 and (part.dtype != np.uint8 or part.shape[2] != 3):
        planes = [_plane(part[..., place], size_wh, box) for place in range(part.shape[2])]
        return np.dstack(planes)
    return _plane(part, size_wh, box)


def _plane(
    part: NDArray[Deep], size_wh: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[Deep]:
    plain = part if part.dtype == np.uint8 else part.astype(np.float32)
    out = np.asarray(
        Image.fromarray(np.ascontiguousarray(plain)).resize(size_wh, Image.Resampling.LANCZOS, box=box)
    )
    if part.dtype == np.uint8:
        return out.astype(part.dtype, copy=False)
    clipped: NDArray[Deep] = np.clip(np.rint(out), 0, np.iinfo(part.dtype).max).astype(part.dtype)
    return clipped


def _averaged(part: NDArray[Deep], step: int) -> NDArray[Deep]:
    """The means of step × step pixels; the last ones are repeated where they are too few."""
    height, width = part.shape[:2]
    right, below = -width % step, -height % step
    if right or below:
        part = cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(
            part.dtype, copy=False
        )
    size_wh = (part.shape[1] // step, part.shape[0] // step)
    small = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA)
    return small.astype(part.dtype, copy=False).reshape(size_wh[1], size_wh[0], *part.shape[2:])
