"""The options of remove.bg's API: what it documents, checked, as a `Finish`."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from PIL import ImageColor
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from photoproc.errors import InputError
from photoproc.finish import Box, Finish, Length, Margins

_HEX = re.compile(r"#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)")
_MAX_MARGIN_PX = 500
_MAX_MARGIN_SHARE = 0.5
_PREVIEW, _FULL = 250_000, 25_000_000
_MAX_PIXELS = {
    "preview": _PREVIEW,
    "small": _PREVIEW,
    "regular": _PREVIEW,
    "medium": 1_500_000,
    "hd": 4_000_000,
    "full": _FULL,
    "4k": _FULL,
    "auto": _FULL,
    "50MP": 50_000_000,
}
_MAX_PNG_PIXELS = 10_000_000
SOURCES = ("image_file", "image_file_b64", "image_url")


class OptionsError(InputError):
    """Options that cannot be used, each as one of remove.bg's errors."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(errors[0]["code"], errors[0]["title"], errors[0].get("detail", ""))
        self.errors = errors


def invalid(field: str, detail: str, *, code: str | None = None) -> OptionsError:
    """One option that cannot be used."""
    title = f"Invalid {field} parameter given"
    return OptionsError([{"title": title, "code": code or f"invalid_{field}", "detail": detail}])


class Options(BaseModel):
    """The fields beside the picture, with remove.bg's names, values and defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Literal["preview", "small", "regular", "medium", "hd", "full", "4k", "50MP", "auto"] = "preview"
    type: Literal[
        "auto",
        "person",
        "product",
        "animal",
        "car",
        "car_interior",
        "car_part",
        "transportation",
        "graphic",
        "graphics",
        "other",
    ] = "auto"
    type_level: Literal["none", "1", "2", "latest"] = "1"
    format: Literal["auto", "png", "jpg", "zip"] = "auto"
    channels: Literal["rgba", "alpha"] = "rgba"
    bg_color: str | None = None
    crop: bool = False
    crop_margin: str | None = None
    roi: str | None = None
    semitransparency: bool = True
    scale: Literal["original"] = "original"
    position: Literal["original"] = "original"
    add_shadow: Literal["false"] = "false"

    @field_validator("bg_color")
    @classmethod
    def _known_colour(cls, given: str | None) -> str | None:
        if given is not None:
            _rgba(given)
        return given

    @field_validator("crop_margin")
    @classmethod
    def _known_margin(cls, given: str | None) -> str | None:
        if given is not None:
            _margins(given)
        return given

    @field_validator("roi")
    @classmethod
    def _known_region(cls, given: str | None) -> str | None:
        if given is not None and len(_lengths(given)) != 4:
            raise ValueError("write “x1 y1 x2 y2”, each with px or %, for example “0% 0% 50% 100%”")
        return given

    @property
    def not_applied(self) -> tuple[str, ...]:
        """The fields that were given and change nothing."""
        fields = (
            ("type", self.type != "auto"),
            ("semitransparency", not self.semitransparency),
            ("crop_margin", self.crop_margin is not None and not self.crop),
            ("bg_color", self.bg_color is not None and self.channels == "alpha"),
        )
        return tuple(name for name, given in fields if given)

    def finish(self, size_wh: tuple[int, int]) -> Finish:
        """What to make of a photo of this size; raises OptionsError where the region is not in it."""
        limit = _MAX_PIXELS[self.size]
        return Finish(
            show=self.channels,
            region=None if self.roi is None else _region(self.roi, size_wh),
            crop=_margins(self.crop_margin or "0") if self.crop else None,
            max_pixels=limit,
            max_png_pixels=min(limit, _MAX_PNG_PIXELS),
            background=None if self.bg_color is None or self.channels == "alpha" else _rgba(self.bg_color),
            form=self.format,
        )


def read(fields: Mapping[str, str]) -> Options:
    """The options among a form's fields, where an empty one is none; raises OptionsError."""
    given = {name: text.strip() for name, text in fields.items() if text.strip()}
    for name in ("bg_image_url", "bg_image_file"):
        if name in given:
            raise invalid(name, "This server takes a bg_color; it has no background pictures.")
    try:
        options = Options.model_validate(given)
    except ValidationError as error:
        raise OptionsError([_as_error(dict(one)) for one in error.errors(include_url=False)]) from error
    if options.channels == "alpha" and options.format == "zip":
        raise invalid("format", "With channels=alpha it is png or jpg.")
    return options


def _as_error(one: dict[str, Any]) -> dict[str, str]:
    field = str(one["loc"][0])
    if one["type"] == "extra_forbidden":
        return {
            "title": f"Unknown parameter {field}",
            "code": "unknown_parameter",
            "detail": "This server does not know it; leave it out.",
        }
    detail = str(one["msg"]).removeprefix("Value error, ")
    return {"title": f"Invalid {field} parameter given", "code": f"invalid_{field}", "detail": f"{detail}."}


def _rgba(text: str) -> tuple[int, int, int, int]:
    """A colour as remove.bg takes it: hex of 3, 4, 6 or 8 digits, or a CSS name. Raises ValueError."""
    found = _HEX.fullmatch(text)
    if found is None and text.lower() not in ImageColor.colormap:
        raise ValueError("write a colour as 81d4fa, fff, 81d4fa77 or by its name, such as green")
    colour = ImageColor.getrgb(text if found is None else f"#{found[1]}")
    red, green, blue, *alpha = colour
    return red, green, blue, alpha[0] if alpha else 255


def _lengths(text: str) -> list[Length]:
    found = [_LENGTH.fullmatch(part) for part in text.split()]
    if None in found:
        return []
    return [
        Length(float(one[1]) / 100, True) if one[2] == "%" else Length(float(one[1])) for one in found if one
    ]


def _margins(text: str) -> Margins:
    """One, two (top and bottom, left and right) or four (top, right, bottom, left) margins."""
    found = _lengths(" ".join("0px" if part == "0" else part for part in text.split()))
    if len(found) not in (1, 2, 4):
        raise ValueError("write one, two or four margins, each with px or %, for example “10%” or “20px 5px”")
    if any(one.value > (_MAX_MARGIN_SHARE if one.relative else _MAX_MARGIN_PX) for one in found):
        raise ValueError(f"a margin is {_MAX_MARGIN_PX}px or {_MAX_MARGIN_SHARE:.0%} at most")
    top, right, bottom, left = (found * 4)[:4]
    return Margins(top, right, bottom, left)


def _region(text: str, size_wh: tuple[int, int]) -> Box:
    width, height = size_wh
    sides = zip(_lengths(text), (width, height, width, height), strict=True)
    left, top, right, bottom = (round(length.of(whole)) for length, whole in sides)
    if right > width or bottom > height:
        raise invalid("roi", f"The photo is {width}×{height}.", code="roi_exceeds_bounds")
    if left >= right or top >= bottom:
        raise invalid("roi", "There is nothing in this region.", code="roi_region_empty")
    return left, top, right, bottom
