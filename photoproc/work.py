"""A photo on its way through the pipeline: what was asked of it, and what is known so far."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Required, TypedDict

import numpy as np
from numpy.typing import NDArray

from photoproc.imaging import decode, framing
from photoproc.jobs import Warn
from photoproc.models.catalogue import ModelSpec
from photoproc.models.faces import Face
from photoproc.models.matting import Prediction
from photoproc.parts import Size
from photoproc.recipe import Recipe
from photoproc.rendering import Stopwatch

U8 = NDArray[np.uint8]

_MAX_FACES = 40
"""Cutouts of one photo at most: each is several files, and its report travels whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and where its weights are on this machine."""

    spec: ModelSpec
    weights: Path


class Options(TypedDict, total=False):
    """What else there is to say of a photo, its recipe and its model.

    `mask_png` is this model's mask of this photo where it is known already (a damaged one is made again);
    `background` and `refiner` are the files of the recipe's background picture and of ViTMatte's weights.
    `uncertainty` is what is known already of this model and photo. With `longest` the photo is taken that
    small and only previews are made, without a check of certainty. `threads` are the model's now. `seconds`
    is filled step by step, for who wants to know them also of a run that fails.
    """

    max_pixels: Required[int]
    mask_png: bytes | None
    background: Path | None
    refiner: Path | None
    uncertainty: float | None
    longest: int | None
    threads: int | None
    seconds: dict[str, float] | None


@dataclass(slots=True, kw_only=True)
class Work:
    """A decoded photo and its recipe, both `scale` times as large (1, or less for a preview).

    `asked` is the recipe's size before it was scaled, `seen` the photo's digest where previews are made.
    """

    photo: bytes
    recipe: Recipe
    model: Model | None
    options: Options
    clock: Stopwatch
    pixels: decode.Pixels
    scale: float
    asked: Size
    seen: bytes | None
    faces: list[Face]
    mask: U8 | None = None
    """At the model's size, once it is known."""
    made: Prediction | None = None
    """What the model made of it, where it ran."""
    problem: Exception | None = None
    """Why there is no mask."""


def decoded(
    photo: bytes, recipe: Recipe, *, max_pixels: int, longest: int | None
) -> tuple[decode.Pixels, Recipe, float]:
    """The photo's pixels, its recipe, and how small both are, which is less than 1 for a preview."""
    if longest is None:
        wide = recipe.output.depth == "input" and recipe.output.format in ("png", "tiff")
        return decode.decode(photo, max_pixels=max_pixels, deep=wide), recipe, 1.0
    pixels, (width, _) = decode.decode_small(photo, longest=longest, max_pixels=max_pixels)
    scale = pixels.rgb.shape[1] / width

    def side(px: int | None) -> int | None:
        return None if px is None else max(1, round(px * scale))

    size = recipe.size
    sides: dict[str, object] = {"width": side(size.width), "height": side(size.height)}
    if size.width is not None and size.height is not None:  # exactly of that shape
        sides = {"width": side(size.width), "height": None, "aspect": f"{size.width}:{size.height}"}
    parts = {
        "edges": {"shrink_px": recipe.edges.shrink_px * scale, "feather_px": recipe.edges.feather_px * scale},
        "size": sides,
        "output": {"longest": side(recipe.output.longest)},
    }
    changed = {part: getattr(recipe, part).model_copy(update=fields) for part, fields in parts.items()}
    return pixels, recipe.model_copy(update=changed), scale


def frames(
    recipe: Recipe,
    pixels: decode.Pixels,
    found: list[Face],
    alpha: U8 | None,
    scale: float,
    asked: Size,
) -> list[framing.Frame]:
    """Where to cut; the largest faces where there are too many. `asked` is the size before it was scaled."""
    planned = framing.plan(
        recipe.framing,
        recipe.size,
        longest=recipe.output.longest,
        photo_wh=(pixels.rgb.shape[1], pixels.rgb.shape[0]),
        faces=found,
        alpha=alpha,
        told_as=1 / scale,
        told_size=asked,
    )
    if len(planned) > _MAX_FACES:
        message = f"{len(planned)} faces were found; the {_MAX_FACES} largest have a cutout."
        warning = Warn(code="too_many_faces", message=message)
        planned = [
            replace(planned[0], warnings=(*planned[0].warnings, warning)),
            *planned[1:_MAX_FACES],
        ]
    return planned
