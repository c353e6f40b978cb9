"""Photo bytes to pixels, by content and never by extension.

Only the parsers of the formats we accept are ever entered; the size is judged from the header,
before a pixel is decoded.
"""

import codecs
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pillow_heif
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from photoproc.errors import PhotoError
from photoproc.imaging import deep as deeper
from photoproc.imaging import metadata
from photoproc.jobs import Warn

pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = None  # our own limit is checked from the header instead

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF")

_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "HEIF": {".heic", ".heif", ".hif"},
    "AVIF": {".avif", ".avifs"},
}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_EXPORT = "Export it as JPEG or PNG and add it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoInfo:
    """What the header of a photo says. `size_wh` is after the EXIF orientation."""

    format: str
    size_wh: tuple[int, int]
    warnings: tuple[Warn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """A decoded photo.

    `rgb` is height × width × 3, uint8, RGB, upright. `alpha` is the photo's own transparency,
    height × width, uint8, or None where all of it is opaque. `icc` is an RGB profile the values are
    in, or None for sRGB.

    `deep` is height × width × 3, uint16, the same colours with all their bits, where that was asked for
    and the file holds more than 8 a channel; alpha has 8, as masks have. `exif` is the block the camera
    wrote, as it is: the place is in there, so it goes through `metadata.clean` before it leaves us.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    icc: bytes | None
    deep: NDArray[np.uint16] | None = None
    exif: bytes | None = None
    warnings: tuple[Warn, ...] = ()


def inspect(path: Path, name: str, *, max_pixels: int) -> PhotoInfo:
    """Read the header of the photo at `path`, which a user called `name`.

    Raises PhotoError: not_a_picture, photo_too_large or photo_broken.
    """
    with _reading(path.read_bytes(), max_pixels) as image:
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        warned = []
        suffix = Path(name).suffix.lower()
        if suffix not in _SUFFIXES[kind]:
            warned.append(
                Warn(code="name_mismatch", message=f"The name says {suffix or 'nothing'}, it is {kind}.")
            )
        if getattr(image, "is_animated", False) and kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
            what = "pages" if kind == "TIFF" else "frames"
            warned.append(
                Warn(code="first_frame_only", message=f"It has several {what}; only the first is used.")
            )
        return PhotoInfo(format=kind, size_wh=_upright_size(image), warnings=tuple(warned))


def decode(data: bytes, *, max_pixels: int, deep: bool = False) -> Pixels:
    """Decode a photo, upright, to 8 bits a channel; with `deep`, also to 16 where it has them.

    Raises PhotoError: not_a_picture, photo_too_large, photo_truncated or photo_broken.
    """
    with _reading(data, max_pixels) as image:
        quick = _jpeg(image, data)
        if quick is not None:
            return quick
        more = deep and deeper.has_more(image, data)
        turned = deeper.orientation(image) if more else 1
        rgb, alpha, icc = _upright_rgb(image)
        pixels = Pixels(
            rgb=np.asarray(rgb),
            alpha=None if alpha is None else np.asarray(alpha),
            icc=icc,
            exif=metadata.clean(data) if image.format == "TIFF" else image.info.get("exif"),
        )
        if more:
            return _with_deep(pixels, data, str(image.format), turned)
        if deep and _is_wide(image):
            return _with_deep_gray(pixels, image)
        return pixels


def decode_small(data: bytes, *, longest: int, max_pixels: int) -> tuple[Pixels, tuple[int, int]]:
    """A photo, upright, with a longer side of at most `longest`; and its full upright width and height.

    JPEGs are decoded small to begin with. Raises what `decode` does.
    """
    with _reading(data, max_pixels) as image:
        full_wh = _upright_size(image)
        scale = min(1.0, longest / max(full_wh))
        image.draft(None, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        rgb, alpha, icc = _upright_rgb(image)
    size_wh = (max(1, round(full_wh[0] * scale)), max(1, round(full_wh[1] * scale)))
    small, seen = (
        None if part is None else np.asarray(part.resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=2.0))
        for part in (rgb, alpha)
    )
    assert small is not None
    return Pixels(rgb=small, alpha=seen, icc=icc), full_wh


def thumbnail(data: bytes, *, longest: int, max_pixels: int) -> tuple[NDArray[np.uint8], bytes | None]:
    """A small upright RGB or RGBA picture for a list, and the profile it is in.

    JPEGs are decoded small to begin with.
    """
    with _reading(data, max_pixels) as image:
        image.draft("RGB", (longest * 2, longest * 2))
        rgb, alpha, icc = _upright_rgb(image)
    if alpha is not None:
        rgb.putalpha(alpha)
    rgb.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(rgb), icc


@contextmanager
def _reading(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture with our parsers only, and say in our words what Pillow raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # damaged metadata, which we can do without
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.size, max_pixels)
                yield image
    except UnidentifiedImageError as error:
        raise not_a_picture(data) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(
            "photo_too_large", "The picture unpacks to far more than it should.", _EXPORT
        ) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        struct.error,
        TypeError,
        RuntimeError,
    ) as error:
        if isinstance(error, OSError) and "truncated" in str(error).lower():
            raise PhotoError(
                "photo_truncated",
                "The file ends before the picture does.",
                "Copy or download it again; the original may be whole.",
            ) from error
        raise PhotoError("photo_broken", "The picture is damaged and cannot be decoded.", _EXPORT) from error


def _check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    width, height = size_wh
    if width * height > max_pixels:
        raise PhotoError(
            "photo_too_large",
            f"It is {width}×{height} ({width * height / 1e6:.0f} megapixels); "
            f"the limit is {max_pixels / 1e6:.0f}.",
            "Scale it down and add it again, or ask whoever runs this server to raise "
            "PHOTOPROC_MAX_PHOTO_MEGAPIXELS.",
        )
    if width < 1 or height < 1:
        raise PhotoError("photo_broken", "The picture has no pixels.", _EXPORT)


def not_a_picture(head: bytes) -> PhotoError:
    """The error for bytes that are no picture we read, saying what they look like instead."""
    start = head[:512].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    looks = next(
        (
            kind
            for magic, kind in (
                (b"<!doctype html", "HTML"),
                (b"<html", "HTML"),
                (b"<?xml", "XML or SVG"),
                (b"<svg", "SVG"),
                (b"%pdf", "PDF"),
                (b"%!ps", "PostScript"),
                (b"8bps", "a Photoshop document"),
                (b"rar!", "a RAR archive"),
                (b"7z\xbc\xaf", "a 7z archive"),
                (b"ii*\x00\x10\x00\x00\x00cr", "a camera raw file"),
            )
            if start.startswith(magic)
        ),
        None,
    )
    if looks is None and start[4:8] == b"ftyp":
        looks = "a damaged HEIC or AVIF" if start[8:12] in _HEIF_BRANDS else "a video"
    if looks is None and _is_text(start):
        looks = "text"
    what = f": it is {looks}" if looks else ""
    return PhotoError("not_a_picture", f"This file is not a picture we can read{what}.", _EXPORT)


def _is_text(start: bytes) -> bool:
    try:  # its last character may be cut off
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(char >= " " or char in "\r\n\t\f" for char in text)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """The size after the EXIF orientation, from the header alone."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow turned it already
        return width, height
    # A PNG's own getexif decodes the whole picture to look for metadata behind it.
    turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    """A picture's colours, upright, its transparency beside them, and the profile they are in."""
    icc = image.info.get("icc_profile") or None
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image), icc)


def _to_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    """Any Pillow mode to RGB, with the transparency beside it and the profile if it still applies."""
    if _is_wide(image):
        return *_gray_from_wide(image), None
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA", "PA") else None
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    if image.mode == "CMYK":
        return _cmyk_to_srgb(image, icc), alpha, None
    if image.mode not in ("RGB", "RGBA"):
        icc = None  # a gray or Lab profile says nothing about RGB values
    return image.convert("RGB"), alpha, icc if icc and icc[16:20] == b"RGB " else None


def _jpeg(image: Image.Image, data: bytes) -> Pixels | None:
    """An RGB JPEG as Pillow would decode it, to the bit, in a third of the time: straight into an array.

    None for what is no such, or has the least thing wrong with it: that is Pillow's to judge.
    """
    if image.format not in ("JPEG", "MPO") or image.mode != "RGB":
        return None
    turned, icc = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1), image.info.get("icc_profile")
    try:
        if simplejpeg.decode_jpeg_header(data)[:2] != (image.height, image.width):
            return None
        rgb = simplejpeg.decode_jpeg(data, "RGB")
    except (ValueError, KeyError):  # KeyError: a sampling it has no name for, such as 4:4:1
        return None
    return Pixels(
        rgb=deeper.upright(rgb, turned),
        alpha=None,
        icc=icc if icc and icc[16:20] == b"RGB " else None,
        exif=image.info.get("exif"),
    )


def _with_deep(pixels: Pixels, data: bytes, form: str, turned: int) -> Pixels:
    """The same with its 16 bits, or with a warning that they could not be had."""
    height, width = pixels.rgb.shape[:2]
    try:
        values = deeper.read(data, form, (width, height))
        if values is None:
            return pixels
        values = deeper.upright(values, turned)
        if values.shape[:2] != (height, width):
            raise ValueError("turned another way than Pillow's")
    except ValueError:
        warning = Warn(code="depth_reduced", message="Its 16 bits could not be read; 8 of them were used.")
        return replace(pixels, warnings=(*pixels.warnings, warning))
    bands = values.shape[2]
    colours = values[..., :3] if bands > 2 else np.repeat(values[..., :1], 3, axis=2)
    return replace(pixels, deep=np.ascontiguousarray(colours))


def _with_deep_gray(pixels: Pixels, image: Image.Image) -> Pixels:
    turned = ImageOps.exif_transpose(image)
    values, top = _wide_values(turned)
    if top == 255.0:  # 8 bits in a wide file
        return pixels
    gray = np.clip(values * (65535.0 / top) + 0.5, 0, 65535).astype(np.uint16)
    return replace(pixels, deep=np.repeat(gray[..., None], 3, axis=2))


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _wide_values(image: Image.Image) -> tuple[NDArray[np.float32], float]:
    """The values of wide gray, and which of them is white.

    Wide files often hold narrow values, so white is the smallest usual one that no value is above.
    """
    values = np.asarray(image).astype(np.float32)
    if image.mode == "F" and values.max(initial=0) <= 1.0:
        return values, 1.0
    return values, 65535.0 if values.max(initial=0) > 255 else 255.0


def _gray_from_wide(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """16-bit (and float) gray to 8 bits by scale; Pillow's own conversion clips at 255."""
    values, top = _wide_values(image)
    gray = Image.fromarray(np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8))
    nothing = image.info.get("transparency")
    alpha = None if nothing is None else Image.fromarray(np.where(values == nothing, 0, 255).astype(np.uint8))
    return gray.convert("RGB"), alpha


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """CMYK by its own profile where it has a usable one, else by Pillow's plain formula."""
    if icc:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            turned = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            turned = None
        if turned is not None:
            return turned
    return image.convert("RGB")
