"""Where to cut, and how large the cutout becomes: from a recipe's framing and size to frames."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from photoproc.imaging.heads import Found
from photoproc.imaging.portrait import face_frames
from photoproc.imaging.resample import Box, Frame, render, render_cutout
from photoproc.jobs import Warn
from photoproc.parts import MAX_PIXELS, Face, Framing, Size, Subject

__all__ = ["Box", "Frame", "plan", "render", "render_cutout", "subject_box"]

U8 = NDArray[np.uint8]

_FAINT = 12
"""Alpha up to this (5 %) is nothing to be seen: models leave a haze of it far from the subject."""
_SPECK = 0.002
"""Pieces smaller than this share of the largest one are specks."""
_LABELLED_SIDE = 512


def plan(
    framing: Framing,
    size: Size,
    *,
    longest: int | None,
    photo_wh: tuple[int, int],
    faces: Sequence[Found],
    alpha: U8 | None,
    told_as: float = 1.0,
    told_size: Size | None = None,
) -> list[Frame]:
    """The frames of a photo: one, or one for each of its faces.

    `faces` are the largest first; `alpha` is the full-size mask, None where the background is kept.
    `longest` bounds the longer side. `told_as` is by how much sizes are larger in what warnings say, and
    `told_size` what was asked for there: for a photo that stands for a larger one. Every frame has at least
    a pixel, and the shape asked for to the pixel. Raises TaskError `no_face` (skip) and `no_face_failed`.
    """
    if isinstance(framing, Face):
        frames = face_frames(framing, size, photo_wh=photo_wh, faces=faces, alpha=alpha)
        if not frames:
            kept = Warn(code="no_face", message="No face was found; the whole picture is kept.")
            frames = [replace(_whole(size, photo_wh, alpha), warnings=(kept,))]
    elif isinstance(framing, Subject) and alpha is not None and (box := subject_box(alpha)) is not None:
        frames = [_around(box, framing.margin, size, photo_wh)]
    else:
        frames = [_whole(size, photo_wh, alpha)]
    share = MAX_PIXELS // max(1, len(frames) // 4)  # of a crowd each gets less
    return [_sized(frame, size, photo_wh, longest, told_as, told_size or size, share) for frame in frames]


def subject_box(alpha: U8) -> Box | None:
    """The smallest box around what is seen of the subject; None where nothing is.

    Haze and specks beside it do not count.
    """
    height, width = alpha.shape
    step = max(1, -(-max(height, width) // _LABELLED_SIDE))
    # The strongest of each step × step pixels, so that thin things stay in one piece.
    padded = np.pad(alpha, ((0, -height % step), (0, -width % step)))
    coarse = padded.reshape(padded.shape[0] // step, step, -1).max(axis=1)
    coarse = coarse.reshape(coarse.shape[0], -1, step).max(axis=2)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((coarse > _FAINT).astype(np.uint8))
    if count < 2:
        return None
    strongest = np.zeros(count, np.uint8)
    np.maximum.at(strongest, labels.ravel(), coarse.ravel())
    pixels = stats[1:, cv2.CC_STAT_AREA]
    strong = strongest[1:] > 127
    counted = strong if strong.any() else ~strong
    real = counted & (pixels >= _SPECK * pixels[counted].max())
    pieces = stats[1:][real]
    left, top = pieces[:, cv2.CC_STAT_LEFT].min() * step, pieces[:, cv2.CC_STAT_TOP].min() * step
    right = (pieces[:, cv2.CC_STAT_LEFT] + pieces[:, cv2.CC_STAT_WIDTH]).max() * step
    bottom = (pieces[:, cv2.CC_STAT_TOP] + pieces[:, cv2.CC_STAT_HEIGHT]).max() * step
    seen = alpha[top:bottom, left:right] > _FAINT
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return (
        int(left + columns[0]),
        int(top + rows[0]),
        int(left + columns[-1]) + 1,
        int(top + rows[-1]) + 1,
    )


def _frame(left: float, top: float, width: float, height: float, *warnings: Warn) -> Frame:
    return Frame(
        centre_xy=(left + width / 2, top + height / 2),
        size_wh=(width, height),
        out_wh=(0, 0),
        warnings=warnings,
    )


def _whole(size: Size, photo_wh: tuple[int, int], alpha: U8 | None) -> Frame:
    """The photo in the shape asked for: padded, or cut around the subject's middle."""
    width, height = photo_wh
    ratio = size.ratio(photo_wh) or width / height
    if size.fit == "pad":
        wide, high = max(width, height * ratio), max(height, width / ratio)
        return _frame((width - wide) / 2, (height - high) / 2, wide, high)
    wide, high = min(width, height * ratio), min(height, width / ratio)
    subject = None if alpha is None else subject_box(alpha)
    x0, y0, x1, y1 = subject or (0, 0, width, height)
    left = min(max((x0 + x1 - wide) / 2, 0.0), width - wide)
    top = min(max((y0 + y1 - high) / 2, 0.0), height - high)
    return _frame(left, top, wide, high)


def _around(box: Box, margin: float, size: Size, photo_wh: tuple[int, int]) -> Frame:
    """The subject with its margin, in the shape asked for."""
    x0, y0, x1, y1 = box
    more = margin * max(x1 - x0, y1 - y0)
    width, height = x1 - x0 + 2 * more, y1 - y0 + 2 * more
    ratio = size.ratio(photo_wh) or width / height
    width, height = max(width, height * ratio), max(height, width / ratio)
    if size.fit == "pad":
        return _frame((x0 + x1 - width) / 2, (y0 + y1 - height) / 2, width, height)
    if size.ratio(photo_wh) is None:  # any shape will do: the margin ends where the photo ends
        left, top = max(x0 - more, 0.0), max(y0 - more, 0.0)
        return _frame(left, top, min(x1 + more, photo_wh[0]) - left, min(y1 + more, photo_wh[1]) - top)
    scale = min(1.0, photo_wh[0] / width, photo_wh[1] / height)
    width, height = width * scale, height * scale
    left = min(max((x0 + x1 - width) / 2, 0.0), photo_wh[0] - width)
    top = min(max((y0 + y1 - height) / 2, 0.0), photo_wh[1] - height)
    if left <= x0 + 0.5 and top <= y0 + 0.5 and left + width >= x1 - 0.5 and top + height >= y1 - 0.5:
        return _frame(left, top, width, height)
    lost = Warn(
        code="framing_changed", message="The subject does not fit this shape inside the photo; a part is cut."
    )
    return _frame(left, top, width, height, lost)


def _sized(
    frame: Frame,
    size: Size,
    photo_wh: tuple[int, int],
    longest: int | None,
    told_as: float,
    told_size: Size,
    max_pixels: int,
) -> Frame:
    """The frame with its output size; on whole pixels where that costs no scaling."""
    own = frame.size_wh
    ratio = size.ratio(photo_wh) or own[0] / own[1]
    asked = _asked(size, ratio)
    told = partial(_times, scale=told_as)
    out, warnings = _shaped(own, ratio), frame.warnings
    wanted = _times(_asked(told_size, ratio) or out, 1.0)
    if asked is not None and asked[0] * asked[1] <= out[0] * out[1]:
        out = asked
    elif asked is not None and size.enlarge:
        warnings += (Warn(code="enlarged", message=f"Made larger: from {told(out)} to {wanted}."),)
        out = asked
    elif asked is not None and (longest is None or max(out) < longest):
        message = f"The photo has no more than {told(out)} pixels here; {wanted} were asked for."
        warnings += (Warn(code="smaller_than_asked", message=message),)
    if longest is not None and max(out) > longest:
        scale = longest / max(out)
        out = _shaped((out[0] * scale, out[1] * scale), ratio)
    if out[0] * out[1] > max_pixels:
        scale = (max_pixels / (out[0] * out[1])) ** 0.5
        out, large = _shaped((out[0] * scale, out[1] * scale), ratio), out
        message = f"It would have {told(large)} pixels; it was made smaller, {told(out)}."
        warnings += (Warn(code="bounded", message=message),)
    if out != _shaped(own, ratio) or frame.roll_deg:
        return replace(frame, out_wh=out, warnings=warnings)
    left, top = (round(middle - side / 2) for middle, side in zip(frame.centre_xy, out, strict=True))
    if size.fit == "cut":  # rounding is no reason to leave the photo
        left = min(max(left, 0), max(photo_wh[0] - out[0], 0)) if frame.inside(photo_wh) else left
        top = min(max(top, 0), max(photo_wh[1] - out[1], 0)) if frame.inside(photo_wh) else top
    centre = (left + out[0] / 2, top + out[1] / 2)
    return replace(
        frame, centre_xy=centre, size_wh=(float(out[0]), float(out[1])), out_wh=out, warnings=warnings
    )


def _asked(size: Size, ratio: float) -> tuple[int, int] | None:
    if size.width is not None:
        return size.width, size.height or max(1, round(size.width / ratio))
    if size.height is not None:
        return max(1, round(size.height * ratio)), size.height
    return None


def _shaped(size_wh: tuple[float, float], ratio: float) -> tuple[int, int]:
    """Whole pixels of a shape, exact to one; never empty."""
    width, height = size_wh
    if ratio >= 1:
        wide = max(1, round(width))
        return wide, max(1, round(wide / ratio))
    high = max(1, round(height))
    return max(1, round(high * ratio)), high


def _times(size_wh: tuple[int, int], scale: float) -> str:
    return " × ".join(str(round(side * scale)) for side in size_wh)
