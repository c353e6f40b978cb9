"""A recipe as the values of the controls, one for each field of each part, and back again."""

from collections.abc import Mapping
from typing import Any

from photoproc.parts import (
    FACE_PRESETS,
    Blur,
    Colour,
    Face,
    Gradient,
    Part,
    Picture,
    Shadow,
    Sheet,
    Size,
    Subject,
)
from photoproc.recipe import Recipe

Values = dict[str, Any]
"""By part and field, such as `gradient.start`. What is hidden keeps its value."""

LOSSY = ("webp", "jpeg", "avif")
LOSSLESS_TOO = ("webp", "avif")
DEEP = ("png", "tiff")


def values_of(recipe: Recipe) -> Values:
    """What the controls show for a recipe; for kinds that it has not, what they begin with."""
    background, framing = recipe.background, recipe.framing
    begin: dict[str, Part] = {
        "colour": Colour(),
        "gradient": Gradient(),
        "picture": Picture.model_construct(picture=""),
        "blur": Blur(),
        "subject": Subject(),
        "face": Face(),
    }
    begin |= {background.kind: background, framing.kind: framing}
    begin |= {"shadow": recipe.shadow or Shadow(), "edges": recipe.edges, "size": recipe.size}
    begin |= {"output": recipe.output, "sheet": recipe.output.sheet or Sheet()}
    values: Values = {
        "models": list(recipe.models),
        "background": background.kind,
        "crop": framing.kind,
        "certainty": recipe.certainty,
        "shadow": recipe.shadow is not None,
        "sheet": recipe.output.sheet is not None,
    }
    for part, given in begin.items():
        told = given.model_dump(mode="json", exclude={"kind", "sheet"})
        values |= {f"{part}.{field}": value for field, value in told.items()}
    return values


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the recipe that the controls say: only what applies."""
    background, crop = values["background"], values["crop"]
    fields: dict[str, Any] = {
        "background": {"kind": background, **_part(values, background)},
        "framing": {"kind": crop, **_part(values, crop)},
        "size": _part(values, "size"),
        "output": _output(values),
    }
    if background != "keep":
        fields |= {"models": list(values["models"]), "edges": _part(values, "edges")}
        fields["certainty"] = values["certainty"]
        fields["shadow"] = _part(values, "shadow") if values["shadow"] else None
    return fields


def preset_values(name: str | None, before: str | None) -> Values:
    """What a face preset sets when it is chosen in place of another one (or of none)."""
    preset = FACE_PRESETS.get(name or "")
    earlier = FACE_PRESETS.get(before or "")
    if preset is None:
        return {} if earlier is None else {**_sized({}), "output.dpi": None}
    values = {"face.head": preset.head, "face.eye_line": preset.eye_line, **_sized(preset.size)}
    if preset.dpi is not None or (earlier is not None and earlier.dpi is not None):
        values["output.dpi"] = preset.dpi
    return values


def _sized(size: Mapping[str, object]) -> Values:
    told = Size.model_validate(size).model_dump(mode="json")
    return {f"size.{field}": told[field] for field in ("aspect", "width", "height")}


def _output(values: Mapping[str, Any]) -> dict[str, Any]:
    output = _part(values, "output")
    if output["format"] not in LOSSLESS_TOO:
        del output["lossless"]
    if output["format"] not in LOSSY or output.get("lossless"):
        del output["quality"]
    if values["background"] == "keep":
        del output["show"]
    output["sheet"] = _part(values, "sheet") if values["sheet"] else None
    return output


def _part(values: Mapping[str, Any], part: str) -> dict[str, Any]:
    before = f"{part}."
    return {name.removeprefix(before): value for name, value in values.items() if name.startswith(before)}
