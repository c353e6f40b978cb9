"""Recipe: what to do to every photo of a job. Immutable, validated, JSON.

The smallest one is ``{"models": ["u2net"]}``: transparent background, no crop, PNG.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from photoproc.errors import RecipeError
from photoproc.parts import (
    FACE_PRESETS,
    Background,
    Colour,
    Edges,
    Framing,
    Gradient,
    Keep,
    Output,
    Part,
    Picture,
    Shadow,
    Size,
    Transparent,
    WholePicture,
    rgba,
)

NO_MODEL = "none"
"""The model name of a task that needs none, because the background is kept."""


class Recipe(Part):
    """Models, background, edges, framing, size and output of a job."""

    background: Background = Transparent()
    models: tuple[Annotated[str, Field(max_length=80)], ...] = Field(
        default=(), validate_default=True, max_length=40
    )
    """After the background, which says whether one is needed."""
    certainty: bool = Field(
        default=False,
        description="Each model looks twice more, at the mirrored photo and at a shifted one. Tasks have "
        "an `uncertainty` (0 to 1), how much it disagrees with itself; where much, the warning `uncertain`.",
    )
    shadow: Shadow | None = None
    edges: Edges = Edges()
    framing: Framing = WholePicture()
    size: Size = Size()
    output: Output = Field(default=Output(), validate_default=True)
    """After the background, which says whether the format can hold it."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """A face preset brings its size and density, where nothing else is said."""
        framing = given.get("framing") if isinstance(given, Mapping) else None
        if not isinstance(framing, Mapping) or framing.get("kind") != "face":
            return given
        if isinstance(margin := framing.get("margin"), int | float):
            # As recipes had it before there were heads: space around the detector's box, in a square.
            rest = {name: value for name, value in framing.items() if name != "margin"}
            head = min(0.8, max(0.1, 1.2 / (1 + 2 * margin))) if 0 <= margin <= 4 else margin
            framing = {"head": head, "eye_line": 0.45, **rest}
            given = {"size": {"aspect": "1:1"}, **given, "framing": framing}
        preset = FACE_PRESETS.get(str(framing.get("preset")))
        if preset is None:
            return given
        own = {"head": preset.head, "eye_line": preset.eye_line}
        filled = {**given, "framing": {**own, **framing}}
        filled.setdefault("size", dict(preset.size))
        output = filled.get("output", {})
        if preset.dpi is not None and isinstance(output, Mapping):
            filled["output"] = {"dpi": preset.dpi, **output}
        return filled

    @field_validator("models")
    @classmethod
    def _distinct_and_there(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value and not isinstance(info.data.get("background", Keep()), Keep):
            raise ValueError("choose at least one model")
        return tuple(dict.fromkeys(value))

    @field_validator("certainty")
    @classmethod
    def _of_a_model(cls, value: bool, info: ValidationInfo) -> bool:
        if value and isinstance(info.data.get("background"), Keep):
            raise ValueError("no model runs where the background is kept, so none can be certain")
        return value

    @field_validator("output")
    @classmethod
    def _holds_the_background(cls, value: Output, info: ValidationInfo) -> Output:
        background = info.data.get("background")
        if isinstance(background, Keep) and info.data.get("shadow") is not None:
            raise ValueError("there is no shadow where the background is kept")
        if value.show != "cutout":
            if isinstance(background, Keep):
                raise ValueError("there is no mask where the background is kept")
            return value
        if value.format == "jpeg" and _sees_through(background):
            raise ValueError("JPEG cannot be transparent: choose a background, or another format")
        return value

    @property
    def task_models(self) -> tuple[str, ...]:
        """One name for each task of a photo; `NO_MODEL` alone where the background is kept."""
        return (NO_MODEL,) if isinstance(self.background, Keep) else self.models

    @property
    def sees_through(self) -> bool:
        """Whether something behind the subject is transparent."""
        return _sees_through(self.background)

    @property
    def picture(self) -> str | None:
        """The SHA-256 of the background picture it needs."""
        return self.background.picture if isinstance(self.background, Picture) else None

    def to_json(self) -> str:
        """The recipe as compact JSON."""
        return self.model_dump_json()

    @classmethod
    def of_fields(cls, fields: Mapping[str, object]) -> "Recipe":
        """A recipe of these fields; raises `RecipeError` that names those that are wrong."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_recipe(error) from error

    @classmethod
    def from_json(cls, text: str | bytes) -> "Recipe":
        """Read a recipe; raises `RecipeError` that names the fields that are wrong."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise invalid_recipe(error) from error


_LIMITS = {
    "less_than_equal": "it may be at most",
    "greater_than_equal": "it must be at least",
    "literal_error": "there is only",
}


_PLAINLY = {
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "string_too_short": "it may not be empty",
}

_MOST_TOLD = 3
"""Mistakes that one error names."""


def invalid_recipe(error: ValidationError) -> RecipeError:
    """A pydantic error as one that a user can read: which fields, and what is wrong with each."""
    told: dict[str, str] = {}
    for one in json.loads(error.json(include_url=False, include_input=False)):
        field, reason = _mistake(one)
        told.setdefault(field, reason)
    said = [f"{field}: {reason}" for field, reason in told.items()]
    more = f"; and {len(said) - _MOST_TOLD} more" if len(said) > _MOST_TOLD else ""
    advice = "Change that field and submit again." if len(said) == 1 else "Change them and submit again."
    return RecipeError("invalid_recipe", f"{'; '.join(said[:_MOST_TOLD])}{more}.", advice)


def _mistake(one: Mapping[str, Any]) -> tuple[str, str]:
    """The field of one of pydantic's errors, and what is wrong with it."""
    path = [str(part) for part in one["loc"]]
    # Discriminated unions put the chosen kind into the path; the user wrote only the field.
    if len(path) > 1 and path[0] in ("background", "framing"):
        del path[1]
    field = ".".join(path) or "recipe"
    reason = str(one["msg"]).removeprefix("Value error, ")
    if one["type"].startswith("union_tag"):
        field += ".kind"
        kinds = str(one.get("ctx", {}).get("expected_tags", "")).replace("'", "")
        reason = f"there is only {kinds}" if kinds else "it is missing"
    elif one["type"] in _PLAINLY:
        reason = _PLAINLY[one["type"]]
    elif one["type"] == "extra_forbidden":
        reason = "there is no such field"
    elif (said := _LIMITS.get(one["type"])) is not None:
        (limit,) = one["ctx"].values()
        reason = f"{said} {limit:,}" if isinstance(limit, int | float) else f"{said} {limit}"
    elif field == "background.picture":
        reason = "upload the picture first, and write the id that it gets"
    return field, reason


def _sees_through(background: object) -> bool:
    match background:
        case Transparent():
            return True
        case Colour(colour=colour) | Picture(fit="contain", colour=colour):
            return rgba(colour)[3] < 255
        case Gradient(start=start, end=end):
            return min(rgba(start)[3], rgba(end)[3]) < 255
    return False
