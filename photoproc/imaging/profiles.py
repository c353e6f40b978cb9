"""Colour profiles: what values mean, and the same colours as other values.

Conversions are relative colorimetric with black point compensation: colours that both spaces have
stay what they are, the others go to the nearest, and the darkest stays the darkest.
"""

import io
from typing import TypeVar, cast

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
Picture = TypeVar("Picture", bound=U8 | U16)

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(picture: Picture, icc: bytes | None) -> Picture:
    """An RGB or RGBA picture (8 or 16 bits) in this RGB profile, as sRGB that looks the same.

    Alpha, gray pictures (height × width), and pictures with a profile that is damaged (which every
    reader ignores) or missing (which means sRGB) are returned as they are.
    """
    transform = None if picture.ndim == 2 else _transform(icc, to_srgb=True)
    if transform is None or icc is None:
        return picture
    values: U8 | U16 = picture
    out = values.copy()
    colours = np.ascontiguousarray(values[..., :3])
    out[..., :3] = _applied(transform, colours) if values.dtype == np.uint8 else _by_vips(colours, icc)
    return cast(Picture, out)


def from_srgb(picture: U8, icc: bytes | None) -> U8:
    """An RGB picture in sRGB as a picture with this RGB profile has to hold it to look the same.

    With a profile that is damaged or missing it is returned as it is.
    """
    transform = _transform(icc, to_srgb=False)
    return picture if transform is None else _applied(transform, np.ascontiguousarray(picture))


def colour_in(rgba: tuple[int, int, int, int], icc: bytes | None) -> tuple[int, int, int, int]:
    """An sRGB colour as a picture with this RGB profile has to hold it to be seen as meant."""
    red, green, blue = from_srgb(np.array([[rgba[:3]]], np.uint8), icc)[0, 0].tolist()
    return red, green, blue, rgba[3]


def _applied(transform: ImageCms.ImageCmsTransform, rgb: NDArray[np.generic]) -> U8:
    image = Image.fromarray(rgb)
    transform.apply_in_place(image)
    return np.asarray(image)


def _transform(icc: bytes | None, *, to_srgb: bool) -> ImageCms.ImageCmsTransform | None:
    """The way between this profile and sRGB; None where it is no profile for RGB, or damaged."""
    if icc is None or icc[16:20] != b"RGB ":
        return None
    try:
        ends = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        source, target = ends if to_srgb else reversed(ends)
        return ImageCms.buildTransform(source, target, "RGB", "RGB", _INTENT, _FLAGS)
    except (OSError, ImageCms.PyCMSError):
        return None


def _by_vips(rgb: NDArray[np.generic], icc: bytes) -> U16:
    # Pillow's LittleCMS takes no more than 8 bits. In two steps over floating-point Lab: in one, LittleCMS
    # looks 16-bit colours up in a coarse table, and saturated ones come out up to 15 levels of 255 off.
    image = pyvips.Image.new_from_array(rgb).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    how = {"intent": "relative", "black_point_compensation": True, "pcs": "lab"}
    lab = image.icc_import(embedded=True, **how)
    turned: U16 = lab.icc_export(output_profile="srgb", depth=16, **how).numpy()
    return turned
