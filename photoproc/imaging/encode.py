"""Pixels to files: PNG for cutouts and masks, WebP for previews."""

import io

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]

# libspng: level 3 with the "up" filter is as small as Pillow's default within a few per cent, at a
# tenth of the time on 12-megapixel cutouts (tests/benchmarks/encoders.py).
_LEVEL = 3
_FILTER = "up"


def to_png(picture: U8, icc: bytes | None = None) -> bytes:
    """PNG of a gray (H × W), RGB or RGBA (H × W × 3 or 4) picture, with the profile it is in."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture))
    if icc:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return _without_density(image.pngsave_buffer(compression=_LEVEL, filter=_FILTER, keep="icc"))


def _without_density(png: bytes) -> bytes:
    """libvips claims 25 dpi where it knows no density, which prints a photo metres wide."""
    at = 8
    while (kind := png[at + 4 : at + 8]) != b"IDAT":
        end = at + 12 + int.from_bytes(png[at : at + 4])
        if kind == b"pHYs":
            return png[:at] + png[end:]
        at = end
    return png


def from_mask_png(data: bytes) -> U8 | None:
    """A mask written by `to_png`: height × width, uint8; None where it is damaged."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError):
        return None


def to_preview(picture: U8, icc: bytes | None = None) -> bytes:
    """A small WebP for grids, from a picture that is already small."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", quality=80, method=0, icc_profile=icc)
    return out.getvalue()


def preview_size(size_wh: tuple[int, int], longest: int = 768) -> tuple[int, int]:
    """The size of a preview: the longest side bounded, never larger than the picture, never empty."""
    scale = min(1.0, longest / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))
