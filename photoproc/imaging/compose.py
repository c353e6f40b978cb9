"""Photo and mask to the finished picture: scale the mask, put the subject on its background."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from photoproc.recipe import Background, Colour, Keep

U8 = NDArray[np.uint8]


def shrink_for_model(rgb: U8, size_wh: tuple[int, int]) -> Image.Image:
    """The photo at the model's input size, by exact Lanczos as rembg does it.

    Faster filters (area, `reducing_gap`) move the mask by several per cent on busy pictures.
    """
    return Image.fromarray(rgb).resize(size_wh, Image.Resampling.LANCZOS)


def shrink_picture(picture: U8, size_wh: tuple[int, int]) -> U8:
    """A small copy (of a photo or a mask) for looking at.

    Rows and columns are skipped down to about twice the size, the rest is averaged by area.
    """
    width, height = size_wh
    if picture.shape[:2] == (height, width):
        return picture
    step = max(1, min(picture.shape[0] // (2 * height), picture.shape[1] // (2 * width)))
    rough = np.ascontiguousarray(picture[::step, ::step])
    return cv2.resize(rough, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def scale_mask(mask: U8, size_wh: tuple[int, int]) -> U8:
    """A mask (height × width, uint8) at another size, by Pillow's Lanczos as rembg does it.

    OpenCV's Lanczos saves 20 ms on 12 megapixels, but faint masks (`rocket.jpg`) come out with 0.6 %
    less soft IoU, and photos smaller than the mask with 2 %.
    """
    if mask.shape == (size_wh[1], size_wh[0]):
        return mask
    return np.asarray(Image.fromarray(mask).resize(size_wh, Image.Resampling.LANCZOS))


def compose(rgb: U8, alpha: U8 | None, background: Background) -> U8:
    """The subject on its background.

    `rgb` is height × width × 3; `alpha` height × width, None meaning opaque. Returns RGBA for a
    transparent background (colour is zero where nothing is left), else RGB. Opaque pixels keep their
    values exactly.
    """
    if isinstance(background, Keep):
        return rgb if alpha is None else _on_nothing(rgb, alpha)
    if alpha is None:
        alpha = np.full(rgb.shape[:2], 255, np.uint8)
    if isinstance(background, Colour):
        return _on_colour(rgb, alpha, background.rgb)
    return _on_nothing(rgb, alpha)


def in_profile(background: Background, icc: bytes | None) -> Background:
    """A colour as a picture with this RGB profile has to hold it to be seen as meant (sRGB)."""
    if icc is None or not isinstance(background, Colour):
        return background
    try:
        there = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        here = ImageCms.createProfile("sRGB")
        patch = Image.new("RGB", (1, 1), background.rgb)
        turned = ImageCms.profileToProfile(patch, here, there, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return background
    assert turned is not None
    return Colour(colour="#" + turned.tobytes().hex())


def combine_alpha(mask: U8, own: U8 | None) -> U8:
    """The model's mask within the photo's own transparency: their product, rounded."""
    if own is None:
        return mask
    product = mask.astype(np.uint16) * own + 127
    return (product // 255).astype(np.uint8)


def _on_nothing(rgb: U8, alpha: U8) -> U8:
    # What was removed leaves the file too: zero, not hidden under a zero alpha.
    out = np.zeros((*alpha.shape, 4), np.uint8)
    cv2.mixChannels([cv2.copyTo(rgb, alpha), alpha], [out], [0, 0, 1, 1, 2, 2, 3, 3])
    return out


def _on_colour(rgb: U8, alpha: U8, colour: tuple[int, int, int]) -> U8:
    out = np.empty_like(rgb)
    out[:] = colour
    cv2.copyTo(rgb, alpha, out)
    soft = (alpha > 0) & (alpha < 255)
    weight = alpha[soft].astype(np.uint32)[:, None]
    under = np.array(colour, np.uint32)
    out[soft] = (rgb[soft] * weight + under * (255 - weight) + 127) // 255
    return out
