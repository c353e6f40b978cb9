"""Pixels to files: what a recipe's output asks for, PNG for masks, WebP for previews."""

import io

import cv2
import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import TaskError
from photoproc.imaging import metadata, png
from photoproc.parts import Output

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]

_TIFF_LEVEL = 3
_WEBP_METHOD = 2
_WEBP_LOSSLESS_EFFORT = 0
_AVIF_SPEED = 8

_LOSSLESS_AVIF_SIDE = 16_384  # libvips's
_LONGEST_SIDE = {"webp": 16_383, "jpeg": 65_500, "avif": 65_535}


def encode(picture: U8 | U16 | png.Rows, output: Output, *, icc: bytes | None, exif: bytes | None) -> bytes:
    """A picture, gray (H × W), RGB or RGBA (H × W × 3 or 4) of 8 or 16 bits, as the file `output` asks for.

    `icc` is the RGB profile the values are in; `exif` what the camera wrote, kept only if `output` says
    so and never with its place. 16 bits stay so in PNG and TIFF. Its size and names are others' business.
    What is made row by row can be a PNG alone, of the depth it has.

    Raises TaskError too_large_for_format, and ValueError for RGBA as JPEG.
    """
    form = output.format
    channels = 1 if len(picture.shape) == 2 else picture.shape[2]
    if form == "jpeg" and channels == 4:
        raise ValueError("JPEG has no transparency")
    _check_size((picture.shape[1], picture.shape[0]), form, lossless=output.lossless)
    profile = None if channels == 1 else icc
    kept = metadata.clean(exif, dpi=output.dpi) if output.metadata == "keep" and exif else None
    if not isinstance(picture, np.ndarray):
        if form != "png":
            raise ValueError(f"{form} is not made row by row")
        return png.write(picture, icc=profile, exif=kept, dpi=output.dpi)
    if form in ("png", "tiff"):
        values = picture if output.depth == "input" else to_8bit(picture)
        if form == "png":
            return png.write(values, icc=profile, exif=kept, dpi=output.dpi)
        return metadata.into_tiff(_tiff(values, profile), kept, dpi=output.dpi)
    eight = to_8bit(picture)
    if form == "jpeg":
        return to_jpeg(eight, profile, quality=output.quality, dpi=output.dpi, exif=kept)
    # Neither has a density but in EXIF.
    kept = metadata.clean(kept, dpi=output.dpi)
    if form == "webp":
        return _webp(eight, output, profile, kept)
    return _avif_lossless(eight, profile, kept) if output.lossless else _avif(eight, output, profile, kept)


def to_8bit(picture: U8 | U16) -> U8:
    """The nearest 8-bit values."""
    if picture.dtype == np.uint8:
        return picture.astype(np.uint8, copy=False)
    return cv2.convertScaleAbs(picture, alpha=1 / 257).astype(np.uint8, copy=False)


def to_png(picture: U8 | U16, icc: bytes | None = None) -> bytes:
    """PNG of a gray (H × W), RGB or RGBA (H × W × 3 or 4) picture, with the profile it is in."""
    return png.write(picture, icc=icc)


def to_jpeg(
    picture: U8, icc: bytes | None, *, quality: int, dpi: int | None = None, exif: bytes | None = None
) -> bytes:
    """JPEG of a gray or RGB picture; from quality 90 with its colours at full resolution."""
    out = io.BytesIO()
    # Without `optimize`: Pillow gives that a buffer which busy pictures overflow.
    Image.fromarray(picture).save(
        out,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= 90 else "4:2:0",
        icc_profile=icc,
        exif=b"Exif\0\0" + exif if exif else b"",
        **({} if dpi is None else {"dpi": (dpi, dpi)}),
    )
    return out.getvalue()


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
    # Alpha to the last step (100) costs as much again as all the rest.
    Image.fromarray(picture).save(out, "WEBP", quality=80, alpha_quality=90, method=0, icc_profile=icc)
    return out.getvalue()


def preview_size(size_wh: tuple[int, int], longest: int = 768) -> tuple[int, int]:
    """The size of a preview: the longest side bounded, never larger than the picture, never empty."""
    scale = min(1.0, longest / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _check_size(size_wh: tuple[int, int], form: str, *, lossless: bool) -> None:
    limit = _LOSSLESS_AVIF_SIDE if form == "avif" and lossless else _LONGEST_SIDE.get(form)
    if limit is not None and max(size_wh) > limit:
        raise TaskError(
            "too_large_for_format",
            f"The cutout is {size_wh[0]}×{size_wh[1]} pixels; {form.upper()} holds {limit} a side.",
            "Choose PNG or TIFF, or set a largest side.",
        )


def _for_vips(picture: U8 | U16, icc: bytes | None) -> pyvips.Image:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture))
    spaces = ("b-w", "srgb") if picture.dtype == np.uint8 else ("grey16", "rgb16")
    image = image.copy(interpretation=spaces[picture.ndim - 2])
    if icc:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return image


def _tiff(picture: U8 | U16, icc: bytes | None) -> bytes:
    data: bytes = _for_vips(picture, icc).tiffsave_buffer(
        compression="deflate", level=_TIFF_LEVEL, predictor="horizontal", keep="icc"
    )
    return data


def _webp(picture: U8, output: Output, icc: bytes | None, exif: bytes | None) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(
        out,
        "WEBP",
        quality=_WEBP_LOSSLESS_EFFORT if output.lossless else output.quality,
        method=_WEBP_METHOD,
        lossless=output.lossless,
        exact=False,
        icc_profile=icc,
        exif=exif or b"",
    )
    return out.getvalue()


def _avif(picture: U8, output: Output, icc: bytes | None, exif: bytes | None) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(
        out,
        "AVIF",
        quality=output.quality,
        speed=_AVIF_SPEED,
        subsampling="4:4:4" if output.quality >= 90 else "4:2:0",
        max_threads=1,  # a child has one core, and its siblings the others
        icc_profile=icc,
        exif=exif or b"",
    )
    return out.getvalue()


def _avif_lossless(picture: U8, icc: bytes | None, exif: bytes | None) -> bytes:
    # Pillow's best is off by 2.
    image = _for_vips(picture, icc)
    if exif:
        # libvips writes a density where the block has none: EXIF's 72 dpi for "unknown".
        image = image.copy(xres=72 / 25.4, yres=72 / 25.4)
        image.set_type(pyvips.GValue.blob_type, "exif-data", b"Exif\0\0" + exif)
    data: bytes = image.heifsave_buffer(
        compression="av1", lossless=True, effort=0, keep="icc:exif" if exif else "icc"
    )
    return data
