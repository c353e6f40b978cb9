"""Recipe: what to do to every photo of a job. Immutable, validated, JSON.

The smallest one is ``{"models": ["u2net"]}``: transparent background, no crop, PNG.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from photoproc.errors import RecipeError

NO_MODEL = "none"
"""The model name of a task that needs none, because the background is kept."""

_HEX_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Transparent(_Part):
    """The subject on nothing."""

    kind: Literal["transparent"] = "transparent"


class Colour(_Part):
    """The subject on one colour, `#rgb` or `#rrggbb` (sRGB)."""

    kind: Literal["colour"] = "colour"
    colour: str = "#ffffff"

    @field_validator("colour")
    @classmethod
    def _hex(cls, value: str) -> str:
        if not _HEX_COLOUR.fullmatch(value):
            raise ValueError("write the colour as #rrggbb, for example #ffffff")
        digits = value[1:].lower()
        return "#" + (digits if len(digits) == 6 else "".join(d * 2 for d in digits))

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three numbers 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


class Keep(_Part):
    """The photo's own background; no model runs."""

    kind: Literal["keep"] = "keep"


Background = Annotated[Transparent | Colour | Keep, Field(discriminator="kind")]


class WholePicture(_Part):
    """No framing: the cutout is as large as the photo."""

    kind: Literal["none"] = "none"


class FaceCrop(_Part):
    """A square around the largest face.

    `margin` is the space on each side as a share of the face's longer side. `no_face` says what
    becomes of a photo without a face: `keep` the whole picture (with a warning) or `skip` the task.
    """

    kind: Literal["face"] = "face"
    margin: float = Field(default=0.6, ge=0.0, le=4.0)
    no_face: Literal["keep", "skip"] = "keep"


Framing = Annotated[WholePicture | FaceCrop, Field(discriminator="kind")]


class Recipe(_Part):
    """Models, background and framing of a job."""

    background: Background = Transparent()
    models: tuple[str, ...] = Field(default=(), validate_default=True)
    """After the background, which says whether one is needed."""
    framing: Framing = WholePicture()

    @field_validator("models")
    @classmethod
    def _distinct_and_there(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value and not isinstance(info.data.get("background"), Keep):
            raise ValueError("choose at least one model")
        return tuple(dict.fromkeys(value))

    @property
    def task_models(self) -> tuple[str, ...]:
        """One name for each task of a photo; `NO_MODEL` alone where the background is kept."""
        return (NO_MODEL,) if isinstance(self.background, Keep) else self.models

    def to_json(self) -> str:
        """The recipe as compact JSON."""
        return self.model_dump_json()

    @classmethod
    def of_fields(cls, fields: Mapping[str, object]) -> "Recipe":
        """A recipe of these fields; raises `RecipeError` that names the one that is wrong."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_recipe(error) from error

    @classmethod
    def from_json(cls, text: str | bytes) -> "Recipe":
        """Read a recipe; raises `RecipeError` that names the field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise invalid_recipe(error) from error


def invalid_recipe(error: ValidationError) -> RecipeError:
    """A pydantic error as one that a user can read: which field, and what is wrong with it."""
    first = json.loads(error.json(include_url=False, include_input=False))[0]
    # Discriminated unions put the chosen kind into the path; the user wrote only the field.
    kinds = {"transparent", "colour", "keep", "none", "face"}
    path = [str(part) for part in first["loc"]]
    named = [part for place, part in enumerate(path) if not (place == 1 and part in kinds)]
    field = ".".join(named) or "recipe"
    reason = str(first["msg"]).removeprefix("Value error, ")
    return RecipeError("invalid_recipe", f"{field}: {reason}.", "Change that field and submit again.")
