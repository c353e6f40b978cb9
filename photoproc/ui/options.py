"""The options of a recipe, as a photographer chooses them."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from photoproc.errors import RecipeError
from photoproc.jobs import Photo
from photoproc.models.catalogue import ModelSpec
from photoproc.models.weights import Phase
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui import options_more as more
from photoproc.ui import recipes
from photoproc.ui.options_background import choose_background
from photoproc.ui.options_form import Form
from photoproc.ui.options_values import fields_of
from photoproc.ui.status import weights_words
from photoproc.ui.text import duration, escaped, plural

_STILL = "<style>[data-testid=stMultiSelect] input { min-width: 3rem !important; }</style>"
"""Else there is less room to write in until one writes, and then perhaps one line more: a click on a button
below, by which the field is left, would end beside it and do nothing."""


def choose_recipe(
    photos: PhotoService, start: Recipe | None, scope: str, *, example: str = "photo.jpg"
) -> Recipe | None:
    """The recipe that the options say, or None where they are not right yet, which is said beside them.

    They begin as `start` has them, for each `scope` anew; `example` is the name of a photo.
    """
    form = Form(scope, start or Recipe(models=(photos.settings.default_model,)))
    recipes.take_from_address(form)
    recipes.take_chosen(photos, form)
    head = st.container()
    choose_background(photos, form)
    choose_models(photos, form)
    if form.values["background"] != "keep":
        more.choose_certainty(form)
    more.choose_crop(form)
    more.choose_format(form)
    with st.container(gap="xsmall"):
        if form.values["background"] != "keep":
            more.choose_edges(form)
        more.choose_size(form)
        more.choose_output(form, example)
    recipe = _made(form)
    with head:
        recipes.choose(photos, form, recipe)
    return recipe


def _made(form: Form) -> Recipe | None:
    fields = fields_of(form.values)
    background = fields["background"]
    if background["kind"] == "picture" and not background["picture"]:
        return None  # to be added yet
    try:
        return Recipe.of_fields(fields)
    except RecipeError as error:
        form.tell(error.problem)
        return None


def choose_models(photos: PhotoService, form: Form) -> None:
    """Which models, with a line about each."""
    keep = form.values["background"] == "keep"
    there = _specs(photos)
    known = [name for name in form.values["models"] if name in there]
    gone: dict[str, Any] = st.session_state.setdefault(form.key("models-gone"), {})
    if known != form.values["models"]:  # a custom model or a form of an earlier recipe
        gone.update(names=[name for name in form.values["models"] if name not in there], left=known)
        form.fill({"models": known})
    chosen = form.control(
        "models",
        st.multiselect,
        "Models",
        list(there),
        shown=list,
        format_func=lambda name: f"{name} · {there[name].nickname}" if name in there else name,
        disabled=keep,
        select_all=False,
        filter_mode="contains",
        wrap=True,
        help="With several models every photo is cut out by each, side by side.",
    )
    form.place("models")
    if gone and chosen == gone["left"]:
        names = escaped(", ".join(gone["names"]))
        st.warning(f"Not there any more, and left out: {names}.", icon=":material/warning:")
    st.html(_STILL)
    if chosen and not keep:
        with st.container(gap="xxsmall"):
            for name in chosen:
                describe_model(photos, name)


def _specs(photos: PhotoService) -> dict[str, ModelSpec]:
    """All models by name, forms behind what they are forms of."""
    specs = {model.spec.name: model.spec for model in photos.models()}
    place = {name: number for number, name in enumerate(specs)}
    of = {name: made.form.of for name, made in photos.forms().made.items() if made.form.of in place}
    return {name: specs[name] for name in sorted(specs, key=lambda name: place[of.get(name) or name])}


def describe_model(photos: PhotoService, name: str) -> None:
    """A line about a chosen model: what for, its licence, and whether it is there."""
    model = photos.model(name)
    spec = model.spec
    licence = escaped(spec.licence)
    parts = [f"**{escaped(name)}** {escaped(spec.good_at)}".strip()]
    parts += ["custom model", licence] if spec.custom else [licence]
    if model.weights.phase is not Phase.READY:
        words = weights_words(model.weights)
        parts.append(words if spec.custom else f"{spec.download_mb} MB, {words}")
    st.caption(" · ".join(parts))
    label, icon = (
        (f"Check {name} again", ":material/refresh:")
        if spec.custom
        else (f"Download {name} now", ":material/download:")
    )
    if model.weights.phase in (Phase.ABSENT, Phase.FAILED) and st.button(
        label, icon=icon, type="tertiary", key=f"fetch-{name}"
    ):
        photos.download_model(name)
        st.rerun()
    if not spec.commercial:
        st.caption(f":material/gavel: {escaped(name)} may not be used commercially ({licence}).")


def estimate(
    photos: PhotoService, given: Sequence[Photo], models: Sequence[str], *, certainty: bool = False
) -> str:
    """What processing will take: how often a model has to run, and about how long where that is known."""
    words = [plural(len(given), "photo") + (f" with {plural(len(models), 'model')}" if models else "")]
    missing = {model: len(given) - photos.masks_kept(given, model) for model in models}
    needed = {model: count for model, count in missing.items() if count}
    unsure = {model: len(given) - photos.certainties_kept(given, model) for model in models if certainty}
    looks = {model: count for model, count in unsure.items() if count}
    if models and not needed:
        rest = "the models only check certainty" if looks else "no model has to run again"
        words.append(f"their masks are there already: {rest}")
    elif sum(needed.values()) < len(given) * len(models):
        kept = len(given) * len(models) - sum(needed.values())
        words.append(f"{kept:,} of {plural(len(given) * len(models), 'mask')} there already")
    speeds, checks = photos.speeds(), photos.check_speeds()
    known = all(model in speeds for model in needed) and all(model in checks for model in looks)
    if known and (needed or looks):
        seconds = sum(speeds[model] * count for model, count in needed.items())
        seconds += sum(checks[model] * count for model, count in looks.items())
        words.append(f"about {duration(seconds / photos.settings.max_concurrent)}")
    return " · ".join(words)
