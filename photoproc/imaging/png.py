"""PNG files (W3C PNG, third edition): each row as its difference to the one above, deflated by ISA-L.

A third of the time that libspng and zlib take at their quickest useful level, for 4 % more bytes
(tests/benchmarks/encoders.py).
"""

import io
import math
import zlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]

_LEVEL = 2
_UP = 2
_KINDS = {1: 0, 3: 2, 4: 6}
"""Gray, RGB and RGBA, by their channels."""
_STRIP_BYTES = 1 << 19
"""About as much as a core's cache holds: rows are deflated while they are still there."""
_SOME = np.ones(1024, np.float32)


class Rows(Protocol):
    """A picture whose rows are made as they are asked for, from the first to the last."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """That of 8 or 16 bits."""

    def __getitem__(self, rows: slice, /) -> U8:
        """Those rows."""


def write(
    picture: U8 | U16 | Rows, *, icc: bytes | None = None, exif: bytes | None = None, dpi: int | None = None
) -> bytes:
    """A picture, gray (H × W), RGB or RGBA (H × W × 3 or 4) of 8 or 16 bits, as a PNG.

    With the ICC profile its values are in, an EXIF block without its `Exif` head, and a density.
    """
    height, width = picture.shape[:2]
    kind = _KINDS[1 if len(picture.shape) == 2 else picture.shape[2]]
    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8 * picture.dtype.itemsize, kind, 0, 0, 0])
    out = io.BytesIO()
    out.write(b"\x89PNG\r\n\x1a\n")
    _chunk(out, b"IHDR", head)
    if icc:
        _chunk(out, b"iCCP", b"icc\0\0" + zlib.compress(icc))
    if dpi is not None:
        per_metre = round(dpi / 0.0254).to_bytes(4)
        _chunk(out, b"pHYs", per_metre + per_metre + b"\1")
    if exif:
        _chunk(out, b"eXIf", exif)
    packer = isal_zlib.compressobj(_LEVEL)
    for rows in _filtered(picture):
        if packed := packer.compress(rows):
            _chunk(out, b"IDAT", packed)
    _chunk(out, b"IDAT", packer.flush())
    _chunk(out, b"IEND", b"")
    _clean_up()
    return out.getvalue()


def _clean_up() -> None:
    """Have the upper halves of the vector registers empty again.

    ISA-L leaves them in use, and as long as they are, code for SSE (WebP, OpenCV's resize by area) takes
    three to four times as long in this thread. Code for AVX clears them when it ends, such as this sum.
    """
    np.add(_SOME, _SOME)


def _filtered(picture: U8 | U16 | Rows) -> Iterator[U8]:
    """Its rows some at a time, each with the filter's number before it."""
    height = picture.shape[0]
    row_bytes = math.prod(picture.shape[1:]) * picture.dtype.itemsize
    count = max(1, _STRIP_BYTES // (1 + row_bytes))
    above = np.zeros((1, row_bytes), np.uint8)
    for top in range(0, height, count):
        part = picture[top : top + count]
        part = part if part.dtype == np.uint8 else part.astype(">u2")
        rows = np.ascontiguousarray(part).view(np.uint8).reshape(len(part), row_bytes)
        out = np.empty((len(rows), 1 + row_bytes), np.uint8)
        out[:, 0] = _UP
        np.subtract(rows[:1], above, out=out[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=out[1:, 1:])
        above = rows[-1:].copy()
        yield out


def _chunk(out: io.BytesIO, kind: bytes, body: bytes) -> None:
    out.write(len(body).to_bytes(4) + kind)
    out.write(body)
    out.write(isal_zlib.crc32(body, isal_zlib.crc32(kind)).to_bytes(4))
