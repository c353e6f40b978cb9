"""Finish: what to make of a photo and its mask for an API whose answers go beyond a recipe."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""


class Length(NamedTuple):
    """Pixels, or where it is relative a share of something."""

    value: float
    relative: bool = False

    def of(self, whole: int) -> float:
        """In pixels, where the share is one of so many."""
        return self.value * whole if self.relative else self.value


class Margins(NamedTuple):
    """Space around the subject; shares are of its own width and height."""

    top: Length = Length(0)
    right: Length = Length(0)
    bottom: Length = Length(0)
    left: Length = Length(0)


class Matting(NamedTuple):
    """rembg's alpha matting: masks above and below the thresholds are certain, eroded by so many pixels."""

    foreground_threshold: int = 240
    background_threshold: int = 10
    erode_px: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What to make of a photo and its mask, in this order.

    `post_process`: the mask is smoothed and made hard, as rembg does it. `matting`: a finer alpha, and the
    subject's own colours at its edge; `decontaminate`: those colours alone. `show`: the picture, its alpha,
    or the mask alone, whatever the photo's own transparency. `region`: what lies outside is removed.
    `crop`: to the subject with these margins, which may reach beyond the photo. `max_pixels` and
    `max_png_pixels`: shrunk to so many. `background`: RGBA in sRGB. `form`: `auto` is PNG where
    something is transparent, else JPEG; a JPEG without a background is white there; `zip` has the
    colours as JPEG and the alpha as PNG.
    """

    post_process: bool = False
    matting: Matting | None = None
    decontaminate: bool = False
    show: Literal["rgba", "alpha", "mask"] = "rgba"
    region: Box | None = None
    crop: Margins | None = None
    max_pixels: int | None = None
    max_png_pixels: int | None = None
    background: tuple[int, int, int, int] | None = None
    form: Literal["auto", "png", "jpg", "zip"] = "png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A picture that was finished. `has_subject`: something in it is more than half opaque."""

    form: Literal["png", "jpg", "zip"]
    size_wh: tuple[int, int]
    has_subject: bool
