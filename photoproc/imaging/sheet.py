"""A page with the same picture several times, to be printed and cut apart."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import TaskError
from photoproc.imaging import encode, profiles

U8 = NDArray[np.uint8]
Paper = Literal["4x6in", "a4"]

_MM_PER_INCH = 25.4
_PAPERS_MM: dict[Paper, tuple[float, float]] = {"4x6in": (101.6, 152.4), "a4": (210.0, 297.0)}
_NAMES: dict[Paper, str] = {"4x6in": "4×6 inches", "a4": "A4"}
_MARGIN_MM = 3.0
"""Printers and labs lose up to so much of each edge."""
_GAP_MM = 2.0
_MARK_MM = 1.5
_MARK_GRAY = 170
_LARGEST_DPI = 600
"""No photo printer shows more; a page of A4 has 35 megapixels then."""
_QUALITY = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the pictures are. Sizes are pixels at `dpi`; `holds` is how many the page has room for."""

    dpi: int
    page_wh: tuple[int, int]
    picture_wh: tuple[int, int]
    holds: int
    boxes_xyxy: tuple[tuple[int, int, int, int], ...]


def layout(picture_wh: tuple[int, int], *, paper: Paper, dpi: int, copies: int | None = None) -> Layout:
    """The page that holds the most pictures of so many pixels at `dpi`, upright or on its side.

    It has `copies`, or as many as it holds if that is fewer (or None is asked for), in the middle.
    Raises TaskError too_large_for_sheet.
    """
    page_dpi = min(dpi, _LARGEST_DPI)
    wide, high = (max(1, round(side * page_dpi / dpi)) for side in picture_wh)
    narrow_mm, long_mm = _PAPERS_MM[paper]
    short, long = (round(side * page_dpi / _MM_PER_INCH) for side in (narrow_mm, long_mm))
    best: tuple[int, int, int, int, int] | None = None
    for margin_mm, gap_mm in ((_MARGIN_MM, _GAP_MM), (0.0, 0.0)):
        margin, gap = (round(length * page_dpi / _MM_PER_INCH) for length in (margin_mm, gap_mm))
        for across, down in ((short, long), (long, short)):
            columns = (across - 2 * margin + gap) // (wide + gap)
            rows = (down - 2 * margin + gap) // (high + gap)
            if columns > 0 and rows > 0 and (best is None or columns * rows > best[0] * best[1]):
                best = (columns, rows, gap, across, down)
        if best is not None:
            break
    if best is None:
        raise _too_large(picture_wh, paper, dpi)
    columns, rows, gap, across, down = best
    boxes = _grid((across, down), (wide, high), gap, columns, min(copies or columns * rows, columns * rows))
    return Layout(
        dpi=page_dpi,
        page_wh=(across, down),
        picture_wh=(wide, high),
        holds=columns * rows,
        boxes_xyxy=boxes,
    )


def sheet(
    picture: U8, *, paper: Paper, dpi: int, copies: int | None = None, icc: bytes | None = None
) -> tuple[bytes, bytes]:
    """A page as JPEG and as PDF, with an RGB picture at its size in print: its pixels ÷ `dpi`.

    The page is sRGB, since labs and office printers pass profiles over. Raises TaskError
    too_large_for_sheet. Fewer than `copies` are on it where it holds no more (`layout` tells).
    """
    plan = layout((picture.shape[1], picture.shape[0]), paper=paper, dpi=dpi, copies=copies)
    one = Image.fromarray(profiles.to_srgb(picture, icc))
    if one.size != plan.picture_wh:
        one = one.resize(plan.picture_wh, Image.Resampling.LANCZOS)
    page = np.full((plan.page_wh[1], plan.page_wh[0], 3), 255, np.uint8)
    for box in plan.boxes_xyxy:
        _mark(page, box, plan.dpi)
    values = np.asarray(one)
    for left, top, right, bottom in plan.boxes_xyxy:
        page[top:bottom, left:right] = values
    pdf = io.BytesIO()
    Image.fromarray(page).save(
        pdf,
        "PDF",
        resolution=float(plan.dpi),
        quality=_QUALITY,
        subsampling="4:4:4",
        creationDate=None,
        modDate=None,
    )
    return encode.to_jpeg(page, None, quality=_QUALITY, dpi=plan.dpi), pdf.getvalue()


def _grid(
    page_wh: tuple[int, int], size_wh: tuple[int, int], gap: int, columns: int, count: int
) -> tuple[tuple[int, int, int, int], ...]:
    (wide, high), columns = size_wh, min(columns, count)
    rows = -(-count // columns)
    left = (page_wh[0] - columns * (wide + gap) + gap) // 2
    top = (page_wh[1] - rows * (high + gap) + gap) // 2
    corners = (
        (left + place % columns * (wide + gap), top + place // columns * (high + gap))
        for place in range(count)
    )
    return tuple((x, y, x + wide, y + high) for x, y in corners)


def _mark(page: U8, box: tuple[int, int, int, int], dpi: int) -> None:
    """Thin lines that go on from a picture's edges, outside of it."""
    left, top, right, bottom = box
    thick, length = max(1, dpi // 300), round(_MARK_MM * dpi / _MM_PER_INCH)
    above = (slice(max(0, top - length), top), slice(bottom, bottom + length))
    aside = (slice(max(0, left - length), left), slice(right, right + length))
    for x in (left, right - thick):
        for rows in above:
            page[rows, x : x + thick] = _MARK_GRAY
    for y in (top, bottom - thick):
        for columns in aside:
            page[y : y + thick, columns] = _MARK_GRAY


def _too_large(picture_wh: tuple[int, int], paper: Paper, dpi: int) -> TaskError:
    wide, high = (round(side / dpi * _MM_PER_INCH, 1) for side in picture_wh)
    across, down = _PAPERS_MM[paper]
    return TaskError(
        "too_large_for_sheet",
        f"Printed at {dpi} dpi the picture is {wide:g}×{high:g} mm; "
        f"{_NAMES[paper]} is {across:g}×{down:g} mm.",
        "Choose a smaller picture, more dots per inch, or a larger paper.",
    )
