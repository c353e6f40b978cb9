"""The options of a recipe, as a photographer chooses them."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from photoproc.jobs import Photo
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.weights import Phase
from photoproc.recipe import Colour, FaceCrop, Recipe
from photoproc.service import PhotoService
from photoproc.ui.status import weights_words
from photoproc.ui.text import duration, plural

_BACKGROUNDS = {"Transparent": "transparent", "Colour": "colour", "Keep": "keep"}
_CROPS = {"None": "none", "Face": "face"}
_NO_FACE = {"Keep the whole picture": "keep", "Skip the photo": "skip"}


def choose_recipe(photos: PhotoService, start: Recipe | None, scope: str) -> dict[str, Any]:
    """The options as the fields of a recipe; they begin as `start` has them, for each `scope` anew."""
    default = photos.settings.default_model
    begin = start or Recipe(models=(default,))
    background = st.segmented_control(
        "Background",
        list(_BACKGROUNDS),
        default=_word_of(_BACKGROUNDS, begin.background.kind),
        required=True,
        key=f"background{scope}",
        persist_state="session",
    )
    keep = background == "Keep"
    fields: dict[str, Any] = {"background": {"kind": _BACKGROUNDS[str(background)]}}
    if background == "Colour":
        fields["background"]["colour"] = st.color_picker(
            "Background colour",
            begin.background.colour if isinstance(begin.background, Colour) else "#ffffff",
            key=f"colour{scope}",
            persist_state="session",
        )
    chosen = st.multiselect(
        "Models",
        list(CATALOGUE),
        default=[name for name in begin.models if name in CATALOGUE] or [default],
        format_func=lambda name: f"{name} · {CATALOGUE[name].nickname}",
        disabled=keep,
        select_all=False,
        filter_mode="contains",
        wrap=True,
        key=f"models{scope}",
        persist_state="session",
        help="With several models every photo is cut out by each, side by side.",
    )
    if keep:
        st.caption("The background stays, so no model runs.")
    else:
        fields["models"] = chosen
        for name in chosen:
            describe_model(photos, name)
    crop = st.segmented_control(
        "Crop",
        list(_CROPS),
        default=_word_of(_CROPS, begin.framing.kind),
        required=True,
        key=f"crop{scope}",
        persist_state="session",
    )
    if crop == "Face":
        fields["framing"] = choose_face_crop(begin, scope)
    return fields


def choose_face_crop(begin: Recipe, scope: str) -> dict[str, Any]:
    """How to crop to the face."""
    face = begin.framing if isinstance(begin.framing, FaceCrop) else FaceCrop()
    percent = round(face.margin * 100)
    margin = st.slider(
        "Space around the face",
        0,
        max(200, percent),
        percent,
        10,
        format="%d%%",
        key=f"margin{scope}",
        persist_state="session",
        help="On each side, as a share of the face: at 100% the face fills a third of the cutout.",
    )
    missing = st.selectbox(
        "Where there is no face",
        list(_NO_FACE),
        index=list(_NO_FACE.values()).index(face.no_face),
        key=f"no_face{scope}",
        persist_state="session",
    )
    return {"kind": "face", "margin": margin / 100, "no_face": _NO_FACE[str(missing)]}


def describe_model(photos: PhotoService, name: str) -> None:
    """A line about a chosen model: what for, its licence, and whether it is there."""
    model = photos.model(name)
    spec = model.spec
    parts = [f"**{name}** {spec.good_at}", spec.licence]
    if model.weights.phase is not Phase.READY:
        parts.append(f"{spec.download_mb} MB, {weights_words(model.weights)}")
    st.caption(" · ".join(parts))
    if not spec.commercial:
        st.caption(f":material/gavel: {name} may not be used commercially ({spec.licence}).")


def estimate(photos: PhotoService, given: Sequence[Photo], models: Sequence[str]) -> str:
    """What processing will take: how often a model has to run, and about how long where that is known."""
    words = [plural(len(given), "photo") + (f" with {plural(len(models), 'model')}" if models else "")]
    missing = {model: len(given) - photos.masks_kept(given, model) for model in models}
    needed = {model: count for model, count in missing.items() if count}
    if models and not needed:
        words.append("their masks are there already: no model has to run again")
    elif sum(needed.values()) < len(given) * len(models):
        kept = len(given) * len(models) - sum(needed.values())
        words.append(f"{kept:,} of {plural(len(given) * len(models), 'mask')} are there already")
    speeds = photos.speeds()
    if needed and all(model in speeds for model in needed):
        seconds = sum(speeds[model] * count for model, count in needed.items())
        words.append(f"about {duration(seconds / photos.settings.max_concurrent)}")
    return " · ".join(words)


def _word_of(words: dict[str, str], value: str) -> str:
    return next((word for word, one in words.items() if one == value), next(iter(words)))
