"""The parts of a recipe: backgrounds, shadow, edges, framing, size, output.

Lengths are pixels of the photo where they end in `_px`, millimetres in `_mm`, else shares (0 to 1) of
something that is named. Colours are CSS colours, kept as `#rrggbb` or `#rrggbbaa` (sRGB).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

_HEX = re.compile(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})")
_RATIO = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")
_STEEPEST = 20
MAX_PIXELS = 64_000_000
"""Of a cutout: what is larger is made smaller, or refused where it was asked for."""
_FIELD = re.compile(r"\{([^{}]*)\}")
NAME_FIELDS = ("stem", "model", "n", "face", "job", "date")
"""What a template of names may hold: the photo's name, its model, its number in the job, the number of the
face, the job's title and the day it was made."""


class Part(BaseModel):
    """Immutable, and nothing in it that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _css_colour(text: str) -> str:
    """`#rrggbb` or `#rrggbbaa`; raises ValueError for what is no CSS colour."""
    plain = text.strip().lower()
    if not _HEX.fullmatch(plain):
        from coloraide import Color  # takes longer to import than most jobs to submit

        try:
            plain = Color(plain).convert("srgb").fit(method="oklch-chroma").to_string(hex=True)
        except (ValueError, ArithmeticError) as error:
            raise ValueError("write a CSS colour, for example #ffffff, white or rgb(255 255 255)") from error
    digits = plain[1:] if len(plain) > 5 else "".join(digit * 2 for digit in plain[1:])
    return "#" + digits.removesuffix("ff" if len(digits) == 8 else "")


CssColour = Annotated[str, Field(max_length=100), AfterValidator(_css_colour)]


def rgba(colour: str) -> tuple[int, int, int, int]:
    """A kept colour as four numbers 0 to 255."""
    red, green, blue, alpha = bytes.fromhex(colour[1:].ljust(8, "f"))
    return red, green, blue, alpha


# Backgrounds


class Transparent(Part):
    """The subject on nothing."""

    kind: Literal["transparent"] = "transparent"


class Colour(Part):
    """The subject on one colour, which may be translucent."""

    kind: Literal["colour"] = "colour"
    colour: CssColour = "#ffffff"


class Gradient(Part):
    """From one colour to another: `angle_deg` as in CSS (180 is downwards), or from the middle outwards."""

    kind: Literal["gradient"] = "gradient"
    start: CssColour = "#ffffff"
    end: CssColour = "#cfd4da"
    shape: Literal["linear", "radial"] = "linear"
    angle_deg: float = Field(default=180.0, ge=-360.0, le=360.0)


class Picture(Part):
    """An uploaded picture, by the SHA-256 of its file.

    It fills the cutout (`cover`), or is seen whole (`contain`) on `colour`.
    """

    kind: Literal["picture"] = "picture"
    picture: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    fit: Literal["cover", "contain"] = "cover"
    colour: CssColour = "#ffffff"


class Blur(Part):
    """The photo's own background, blurred: `radius` is a share of its longer side."""

    kind: Literal["blur"] = "blur"
    radius: float = Field(default=0.02, ge=0.001, le=0.2)


class Keep(Part):
    """The photo's own background; no model runs."""

    kind: Literal["keep"] = "keep"


Background = Annotated[Transparent | Colour | Gradient | Picture | Blur | Keep, Field(discriminator="kind")]


class Shadow(Part):
    """A soft shadow of the subject; lengths are shares of the subject's longer side."""

    colour: CssColour = "#000000"
    opacity: float = Field(default=0.35, ge=0.0, le=1.0)
    blur: float = Field(default=0.03, ge=0.0, le=0.3)
    right: float = Field(default=0.0, ge=-0.5, le=0.5)
    down: float = Field(default=0.02, ge=-0.5, le=0.5)


class Edges(Part):
    """What becomes of the mask's edge, in this order.

    `method`: as the model gives it, or a finer alpha by closed-form matting or by ViTMatte. `shrink_px`
    moves the edge inwards, `feather_px` is the deviation of a blur. `decontaminate` takes the old
    background's colour out of the soft edge.
    """

    method: Literal["model", "matting", "vitmatte"] = "model"
    shrink_px: float = Field(default=0.0, ge=0.0, le=50.0)
    feather_px: float = Field(default=0.0, ge=0.0, le=50.0)
    decontaminate: bool = False


# Framing and size


class WholePicture(Part):
    """Nothing is cut away."""

    kind: Literal["none"] = "none"


class Subject(Part):
    """Around the subject, with `margin` on each side as a share of its longer side."""

    kind: Literal["subject"] = "subject"
    margin: float = Field(default=0.05, ge=0.0, le=2.0)


@dataclass(frozen=True, slots=True)
class FacePreset:
    """How a face is to stand: the defaults of a `Face` with this preset, and of its size and density.

    `head_range` are the least and the largest head that whoever asks for such pictures accepts.
    """

    head: float
    eye_line: float
    size: Mapping[str, object]
    dpi: int | None = None
    head_range: tuple[float, float] | None = None


FACE_PRESETS: Mapping[str, FacePreset] = {
    "headshot": FacePreset(0.5, 0.4, {"aspect": "4:5"}),
    "half_body": FacePreset(0.28, 0.26, {"aspect": "3:4"}),
    # ICAO 9303 as most of Europe has it: a head of 32 to 36 mm on 45 mm.
    "passport": FacePreset(0.755, 0.44, {"width": 413, "height": 531}, 300, (32 / 45, 36 / 45)),
    # travel.state.gov: on 2 × 2 inches a head of 1 to 1⅜ inches, eyes 1⅛ to 1⅜ inches from the bottom.
    "us_passport": FacePreset(0.6, 0.375, {"width": 600, "height": 600}, 300, (1 / 2, 1.375 / 2)),
    "avatar": FacePreset(0.55, 0.45, {"aspect": "1:1"}),
}


class Face(Part):
    """Around a face: `head` is crown to chin, `eye_line` how far down the eyes are, in shares of the height.

    `align` turns the picture until the eyes are level, where that is at most `max_roll_deg`. `which`: the
    largest face, each (a cutout for every face), or all together. `no_face` says what becomes of a photo
    without one: `keep` the whole picture with a warning, `skip` or `fail` the task.
    """

    kind: Literal["face"] = "face"
    preset: Literal["headshot", "half_body", "passport", "us_passport", "avatar"] | None = None
    head: float = Field(default=0.5, ge=0.05, le=0.95)
    eye_line: float = Field(default=0.42, ge=0.05, le=0.9)
    align: bool = True
    max_roll_deg: float = Field(default=30.0, ge=0.0, le=45.0)
    which: Literal["largest", "each", "together"] = "largest"
    no_face: Literal["keep", "skip", "fail"] = "keep"

    @model_validator(mode="after")
    def _head_inside(self) -> "Face":
        if self.eye_line < self.head * 0.45 or 1 - self.eye_line < self.head * 0.5:
            raise ValueError("the head would be cut: choose a smaller head, or move the eyes (eye_line)")
        return self

    @property
    def head_range(self) -> tuple[float, float] | None:
        """The heads that the preset allows, as shares of the height."""
        return FACE_PRESETS[self.preset].head_range if self.preset else None


Framing = Annotated[WholePicture | Subject | Face, Field(discriminator="kind")]


class Size(Part):
    """The cutout's shape and size.

    `aspect` is width:height, or `original` for the photo's; `width` and `height` in pixels, of which one
    follows from the other. What does not fit is padded (with nothing, or the background), or cut away.
    A smaller cutout is made larger only with `enlarge`.
    """

    aspect: str | None = None
    width: int | None = Field(default=None, ge=1, le=12_000)
    height: int | None = Field(default=None, ge=1, le=12_000)
    fit: Literal["pad", "cut"] = "pad"
    enlarge: bool = False

    @field_validator("aspect")
    @classmethod
    def _ratio(cls, value: str | None) -> str | None:
        if value is None or value == "original":
            return value
        found = _RATIO.fullmatch(value)
        if found is None:
            raise ValueError("write it as width:height, for example 4:5, or original")
        if max(int(found[1]), int(found[2])) > _STEEPEST * min(int(found[1]), int(found[2])):
            raise ValueError(f"one side may be {_STEEPEST} times the other, no more")
        return value

    @model_validator(mode="after")
    def _possible(self) -> "Size":
        if self.width is not None and self.height is not None:
            if self.aspect is not None:
                raise ValueError("give width and height, or an aspect and one of them")
            if self.width * self.height > MAX_PIXELS:
                raise ValueError("width × height may be 64 megapixels, no more")
            if max(self.width, self.height) > _STEEPEST * min(self.width, self.height):
                raise ValueError(f"one side may be {_STEEPEST} times the other, no more")
        elif self.aspect is not None and self.aspect != "original":
            wide, high = map(int, self.aspect.split(":"))
            pixels = (self.width or 0) ** 2 * high / wide + (self.height or 0) ** 2 * wide / high
            if pixels > MAX_PIXELS:
                raise ValueError("width × height may be 64 megapixels, no more")
        return self

    def ratio(self, photo_wh: tuple[int, int]) -> float | None:
        """Width ÷ height of a cutout of this photo; None where any will do."""
        if self.width is not None and self.height is not None:
            return self.width / self.height
        if self.aspect is None:
            return None
        width, height = photo_wh if self.aspect == "original" else map(int, self.aspect.split(":"))
        return width / height


# Output


class Sheet(Part):
    """A page to print with the same picture several times; as many as fit where `copies` is not given."""

    paper: Literal["4x6in", "a4"] = "4x6in"
    copies: int | None = Field(default=None, ge=1, le=200)


class Output(Part):
    """The file: `quality` and `lossless` where the format has them; `longest` bounds the longer side.

    `show`: the cutout, the mask alone, or a pair of the photo's colours and the mask. `profile`: the
    photo's colour profile, or everything converted to sRGB. `metadata`: what the camera wrote, without the
    place. `depth`: 16 bits a channel stay so in PNG and TIFF, or 8 everywhere. `name` is a template.
    """

    format: Literal["png", "webp", "jpeg", "avif", "tiff"] = "png"
    quality: int = Field(default=90, ge=1, le=100)
    lossless: bool = False
    show: Literal["cutout", "mask", "pair"] = "cutout"
    longest: int | None = Field(default=None, ge=16, le=12_000)
    profile: Literal["keep", "srgb"] = "keep"
    metadata: Literal["strip", "keep"] = "strip"
    dpi: int | None = Field(default=None, ge=30, le=2400)
    depth: Literal["input", "8"] = "input"
    name: str = Field(default="{stem}", min_length=1, max_length=100)
    sheet: Sheet | None = None

    @field_validator("name")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        wrong = [name for name in _FIELD.findall(value) if name not in NAME_FIELDS]
        rest = _FIELD.sub("", value)
        if wrong or "{" in rest or "}" in rest:
            known = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
            raise ValueError(f"there is only {known}")
        if "}{" in value:
            raise ValueError("put something between two fields, or names may run into each other")
        if "{stem}" not in value and "{n}" not in value:
            raise ValueError("put {stem} or {n} into it, or all files would have one name")
        return value

    @property
    def suffix(self) -> str:
        """What its files are called, with the dot."""
        return {"jpeg": ".jpg", "tiff": ".tif"}.get(self.format, f".{self.format}")
