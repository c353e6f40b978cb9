"""Pictures the tests use: those scikit-image ships, and small ones made here."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from photoproc.samples import sample_photos


def sample(name: str) -> bytes:
    """The bytes of a built-in sample, such as `astronaut.png`."""
    return dict(sample_photos())[name].read_bytes()


def opened_sample(name: str) -> Image.Image:
    """A built-in sample as an RGB picture."""
    with Image.open(io.BytesIO(sample(name))) as image:
        return image.convert("RGB")


def picture(width: int = 64, height: int = 48, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A busy little picture."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """Red, green, blue and yellow quarters: each turn and flip of it is another picture."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 0)
    return Image.fromarray(pixels)


def exif_orientation(orientation: int) -> Image.Exif:
    """EXIF data that says only how the picture is turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@cache
def srgb_profile() -> bytes:
    """A real RGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_chunks(data: bytes) -> list[bytes]:
    """The names of a PNG's chunks."""
    names, at = [], 8
    while at < len(data):
        names.append(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4])
    return names


def raw_png(
    size_wh: tuple[int, int],
    depth: int,
    colour_type: int,
    rows: bytes,
    extra: tuple[bytes, bytes] | None = None,
) -> bytes:
    """A PNG of given rows (each begins with its filter byte), whatever its header claims."""
    header = struct.pack(">IIBBBBB", *size_wh, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *([extra] if extra else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def png16(values: NDArray[np.uint16], transparent: int | None = None) -> bytes:
    """A 16-bit PNG: gray of height × width, gray with alpha or RGB of height × width × 2 or 3."""
    height, width = values.shape[:2]
    colour_type = {1: 0, 2: 4, 3: 2}[1 if values.ndim == 2 else values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    extra = None if transparent is None else (b"tRNS", struct.pack(">H", transparent))
    return raw_png((width, height), 16, colour_type, rows, extra)
