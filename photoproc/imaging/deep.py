"""Photos of more than 8 bits a channel: all of their bits.

Pillow gives 8 bits of colour. The parsers here are entered only with what Pillow has identified, sized
and decoded to its end, each for its own format.
"""

import io
import logging
from typing import Any, TypeVar

import numpy as np
import pillow_heif
import pyvips
from numpy.typing import NDArray
from PIL import ExifTags, Image

U16 = NDArray[np.uint16]
Samples = TypeVar("Samples", NDArray[np.uint8], U16)

_BITS_PER_SAMPLE, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 338, 339
_UNSIGNED = 1
_PREMULTIPLIED = 1
_HIGH_BIT_DEPTH = 0x40

pyvips.cache_set_max(0)  # it would keep photos for calls that never come again
logging.getLogger("pyvips").setLevel(logging.ERROR)  # it warns of each odd field of a photo


def has_more(image: Image.Image, data: bytes) -> bool:
    """Whether a colour file that Pillow has opened holds more than 8 bits that `read` can give."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        unsigned = set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == {_UNSIGNED}
        plain = _PREMULTIPLIED not in tags.get(_EXTRA_SAMPLES, ())
        return unsigned and plain and set(tags.get(_BITS_PER_SAMPLE, ())) == {16}
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8)) > 8
    if image.format == "AVIF":
        at = data.find(b"av1C")
        return at > 0 and bool(data[at + 6] & _HIGH_BIT_DEPTH)
    return False


def orientation(image: Image.Image) -> int:
    """How the values that `read` gives are turned (EXIF, 1 to 8); to be asked before Pillow has decoded."""
    if image.format not in ("PNG", "TIFF"):
        return 1  # libheif turns what it decodes
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def read(data: bytes, form: str, size_wh: tuple[int, int]) -> U16 | None:
    """Height × width × bands (gray or RGB, perhaps with alpha) of 16 bits; None where there are but 8.

    `size_wh` is what Pillow found, either way up. Raises ValueError for what cannot be read so.
    """
    try:
        return _from_heif(data, size_wh) if form == "HEIF" else _by_vips(data, form, size_wh)
    except (pyvips.Error, RuntimeError, EOFError, OSError) as error:
        raise ValueError("the 16 bits cannot be read") from error


def upright(values: Samples, turned: int) -> Samples:
    """Values (height × width × bands) as the EXIF orientation (1 to 8) says they are to be seen."""
    import cv2  # which is not needed to read headers

    seen: Any = values
    if turned in (5, 6, 7, 8):
        seen = cv2.transpose(seen).reshape(values.shape[1], values.shape[0], -1)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(turned)
    if flip is not None:
        seen = cv2.flip(seen, flip).reshape(seen.shape)
    return np.ascontiguousarray(seen)


def _by_vips(data: bytes, form: str, size_wh: tuple[int, int]) -> U16 | None:
    load = {
        "PNG": pyvips.Image.pngload_buffer,
        "TIFF": pyvips.Image.tiffload_buffer,
        "AVIF": pyvips.Image.heifload_buffer,
    }[form]
    image = load(data, access="sequential", fail_on="truncated")
    _check((image.width, image.height), size_wh)
    if image.format != "ushort":
        return None
    values: U16 = image.numpy()
    if form == "AVIF":
        return _widened(values, image.get("bits-per-sample"))
    return values


def _from_heif(data: bytes, size_wh: tuple[int, int]) -> U16 | None:
    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    _check(file.size, size_wh)
    if file.mode not in ("RGB;16", "RGBA;16"):
        return None
    return _widened(np.asarray(file), file.info["bit_depth"])


def _widened(values: U16, bits: int) -> U16:
    """Values in the upper bits of 16, spread so that white is white."""
    return values | (values >> np.uint16(bits))


def _check(found_wh: tuple[int, int], size_wh: tuple[int, int]) -> None:
    if sorted(found_wh) != sorted(size_wh):
        raise ValueError("another size than Pillow's")
