"""PNG files (W3C PNG, third edition): each row as its difference to the one above, deflated by ISA-L.

A third of the time that libspng and zlib take at their quickest useful level, for 4 % more bytes
(tests/benchmarks/encoders.py).
"""

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
_MOST_IN_CHUNK = (1 << 31) - 1


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
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", head)]
    if icc:
        parts.append(_chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc)))
    if dpi is not None:
        per_metre = round(dpi / 0.0254).to_bytes(4)
        parts.append(_chunk(b"pHYs", per_metre + per_metre + b"\1"))
    if exif:
        parts.append(_chunk(b"eXIf", exif))
    packer = isal_zlib.compressobj(_LEVEL)
    packed = [*map(packer.compress, _filtered(picture)), packer.flush()]
    data = b"".join([*parts, *_chunks(b"IDAT", packed), _chunk(b"IEND", b"")])
    _clean_up()
    return data


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


def _chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join(_chunks(kind, [body]))


def _chunks(kind: bytes, pieces: list[bytes]) -> Iterator[bytes]:
    """The bytes of a chunk with this in it, as pieces; of several chunks where it is too much for one."""
    taken = 0
    while taken < len(pieces):
        start, size = taken, 0
        while taken < len(pieces) and (size == 0 or size + len(pieces[taken]) <= _MOST_IN_CHUNK):
            size += len(pieces[taken])
            taken += 1
        checksum = isal_zlib.crc32(kind)
        yield size.to_bytes(4) + kind
        for piece in pieces[start:taken]:
            checksum = isal_zlib.crc32(piece, checksum)
            yield piece
        yield checksum.to_bytes(4)
