"""A photo and its mask to the picture a `Finish` asks for."""

import io
import zipfile
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import TaskError
from photoproc.finish import Box, Finish, Finished, Margins
from photoproc.imaging import compose, decode, edges, encode, profiles
from photoproc.imaging.compose import Look
from photoproc.parts import Transparent

U8 = NDArray[np.uint8]

_FAINT = 12
"""Alpha up to this (5 %) is nothing to be seen: models leave a haze of it far from the subject."""
_JPEG_QUALITY = 92


def finish(photo: bytes, mask_png: bytes, asked: Finish, *, max_pixels: int) -> tuple[bytes, Finished]:
    """The picture as a file, and what it is.

    Raises PhotoError, and TaskError mask_broken. A picture without a subject is not cropped.
    """
    pixels = decode.decode(photo, max_pixels=max_pixels)
    rgb, alpha = _layers_of(pixels, mask_png, asked)
    if asked.region is not None:
        alpha = within(alpha, asked.region)
    subject = subject_box(alpha)
    whole = (0, 0, alpha.shape[1], alpha.shape[0])
    box = whole if asked.crop is None or subject is None else with_margins(subject, asked.crop)
    form = _form(asked, is_opaque=box == whole and bool(alpha.min() == 255))
    limit = asked.max_png_pixels if form == "png" else asked.max_pixels
    size_wh = bounded((box[2] - box[0], box[3] - box[1]), limit)
    background = None if asked.background is None else profiles.colour_in(asked.background, pixels.icc)

    if asked.show != "rgba":
        picture = cut(Image.fromarray(alpha), box, size_wh)
    elif form == "zip" and background is None:  # colours as they were, also where alpha is low
        picture = cut(Image.fromarray(rgb), box, size_wh)
        picture.putalpha(cut(Image.fromarray(alpha), box, size_wh))
    else:
        picture = cut(
            Image.fromarray(compose.compose(rgb, alpha, Look(background=Transparent()))), box, size_wh
        )
        if background is not None:
            picture = on_colour(picture, background)
    report = Finished(form=form, size_wh=size_wh, has_subject=bool((alpha > 127).any()))
    return _encoded(picture, form, pixels.icc), report


def post_process(mask: U8) -> U8:
    """A smooth hard edge, as rembg's `post_process`: an opening, a blur of 2 pixels, a threshold."""
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    soft = cv2.GaussianBlur(opened.astype(np.float32), (17, 17), 2, borderType=cv2.BORDER_REFLECT)
    return np.where(soft < 127, 0, 255).astype(np.uint8)


def within(alpha: U8, region: Box) -> U8:
    """Alpha that is zero outside of a region."""
    left, top, right, bottom = region
    kept = np.zeros_like(alpha)
    kept[top:bottom, left:right] = alpha[top:bottom, left:right]
    return kept


def subject_box(alpha: U8) -> Box | None:
    """The smallest box around everything that can be seen; None where nothing can."""
    seen = alpha > _FAINT
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def with_margins(box: Box, margins: Margins) -> Box:
    """A larger box, perhaps beyond the picture."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return (
        left - round(margins.left.of(width)),
        top - round(margins.top.of(height)),
        right + round(margins.right.of(width)),
        bottom + round(margins.bottom.of(height)),
    )


def bounded(size_wh: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    """The size, shrunk to so many pixels where it has more; never empty."""
    width, height = size_wh
    if max_pixels is None or width * height <= max_pixels:
        return size_wh
    scale = (max_pixels / (width * height)) ** 0.5
    return max(1, int(width * scale)), max(1, int(height * scale))


def cut(picture: Image.Image, box: Box, size_wh: tuple[int, int]) -> Image.Image:
    """What is in a box at another size; what is beyond the picture is zero.

    It is shrunk before it is padded, so that a wide margin costs no memory.
    """
    left, top, right, bottom = box
    inner = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
    part = picture if inner == (0, 0, *picture.size) else picture.crop(inner)
    across, down = size_wh[0] / (right - left), size_wh[1] / (bottom - top)
    at = (
        min(round((inner[0] - left) * across), size_wh[0] - 1),
        min(round((inner[1] - top) * down), size_wh[1] - 1),
    )
    room = (
        max(1, min(round(part.width * across), size_wh[0] - at[0])),
        max(1, min(round(part.height * down), size_wh[1] - at[1])),
    )
    if part.size != room:
        part = part.resize(room, Image.Resampling.LANCZOS)
    if part.size == size_wh:
        return part
    out = Image.new(picture.mode, size_wh)
    out.paste(part, at)
    return out


def on_colour(picture: Image.Image, rgba: tuple[int, int, int, int]) -> Image.Image:
    """An RGBA picture on a colour that may be transparent itself; RGBA."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, rgba), picture)


def _layers_of(pixels: decode.Pixels, mask_png: bytes, asked: Finish) -> tuple[U8, U8]:
    """The colours and the alpha."""
    mask = encode.from_mask_png(mask_png)
    if mask is None:
        raise TaskError("mask_broken", "The mask of this photo is damaged.", "Send the photo again.")
    rgb = pixels.rgb
    full = compose.scale_mask(mask, (rgb.shape[1], rgb.shape[0]))
    if asked.post_process:
        full = post_process(full)
    if asked.show == "mask":
        return rgb, full
    if asked.matting is not None:
        rgb, full = edges.rembg_matting(rgb, full, **asked.matting._asdict())
    elif asked.decontaminate:
        rgb = edges.decontaminated(rgb, full)
    return rgb, compose.combine_alpha(full, pixels.alpha)


def _form(asked: Finish, *, is_opaque: bool) -> Literal["png", "jpg", "zip"]:
    if asked.form != "auto":
        return asked.form
    opaque = is_opaque or (asked.background is not None and asked.background[3] == 255)
    return "jpg" if opaque and asked.show == "rgba" else "png"


def _encoded(picture: Image.Image, form: Literal["png", "jpg", "zip"], icc: bytes | None) -> bytes:
    profile = None if picture.mode == "L" else icc
    if form == "png":
        return encode.to_png(np.asarray(picture), profile)
    if form == "jpg":
        white = (255, 255, 255, 255)
        return _jpeg(on_colour(picture, white) if picture.mode == "RGBA" else picture, profile)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("color.jpg", _jpeg(picture, profile))
        packed.writestr("alpha.png", encode.to_png(np.asarray(picture.getchannel("A"))))
    return out.getvalue()


def _jpeg(picture: Image.Image, icc: bytes | None) -> bytes:
    out = io.BytesIO()
    plain = picture if picture.mode == "L" else picture.convert("RGB")
    plain.save(out, "JPEG", quality=_JPEG_QUALITY, icc_profile=icc)
    return out.getvalue()
