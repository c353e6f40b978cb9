"""The live preview: what a recipe makes of one photo, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

from photoproc.jobs import Photo
from photoproc.parts import Keep, Output, Transparent
from photoproc.presets import to_link
from photoproc.recipe import Recipe
from photoproc.ui.component import component


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The photo of a preview. `address` is where it may be tried, opened by `token`; `small` is the
    address of a small picture of it."""

    photo: Photo
    address: str
    token: str
    small: str


def preview(shown: Shown, recipe: Recipe | None, *, known: Sequence[str], key: str) -> None:
    """Show the photo as the recipe makes it; where that is None, as it was last.

    `known` are the models whose mask of it is kept, so that it comes at once.
    """
    width, height = shown.photo.size_wh
    data = {
        "photo": shown.photo.sha256,
        "name": shown.photo.name,
        "small": shown.small,
        "ratio": width / height,
        "address": f"{shown.address}/try?token={shown.token}",
        "looks": [] if recipe is None else _looks(recipe, known),
        "clear": recipe is None or (recipe.sees_through and recipe.output.show == "cutout"),
    }
    component("preview")(data=data, key=key)


def _looks(recipe: Recipe, known: Sequence[str]) -> list[dict[str, object]]:
    if isinstance(recipe.background, Keep):
        return [_look(recipe, "", known=True)]
    looks = []
    for model in recipe.models:
        first = (model, *(other for other in recipe.models if other != model))
        looks.append(_look(recipe.model_copy(update={"models": first}), model, known=model in known))
    return looks


def _look(recipe: Recipe, model: str, *, known: bool) -> dict[str, object]:
    return {"model": model, "after": to_link(recipe), "before": to_link(_frame_of(recipe)), "known": known}


def _frame_of(recipe: Recipe) -> Recipe:
    """A recipe with the same frame and little else, so that the picture before is asked for once a frame."""
    output = Output(longest=recipe.output.longest, profile=recipe.output.profile)
    plain = {} if isinstance(recipe.background, Keep) else {"background": Transparent(), "shadow": None}
    return recipe.model_copy(update={**plain, "output": output})
