"""A recipe in a few words, as a job's page names it."""

from collections.abc import Mapping

import streamlit as st

from photoproc.parts import Background, Blur, Colour, Face, Gradient, Keep, Output, Picture, Size, Subject
from photoproc.recipe import Recipe
from photoproc.ui.options_more import CROPS, EDGES, FORMATS, PRESETS, SHAPES, SHOWN


def recipe_words(recipe: Recipe) -> str:
    """`u2net · on #ffffff · crop: Face, Headshot · 4:5 · JPEG`, without most of what is as it begins."""
    output = recipe.output
    parts = [
        "" if isinstance(recipe.background, Keep) else ", ".join(recipe.models),
        _behind(recipe.background) + (", with a shadow" if recipe.shadow is not None else ""),
        "" if recipe.edges.method == "model" else f"edge: {_word(EDGES, recipe.edges.method)}",
        "certainty checked" if recipe.certainty else "",
        _cut(recipe),
        _size(recipe.size, output),
        _word(FORMATS, output.format),
        "" if output.show == "cutout" else _word(SHOWN, output.show),
        "" if output.sheet is None else "print sheet",
    ]
    return " · ".join(part for part in parts if part)


def say_how_cropped(recipe: Recipe) -> None:
    """Where models are compared: that their pictures of a photo are not the same part of it."""
    if isinstance(recipe.framing, Subject) and len(recipe.task_models) > 1:
        st.caption(
            ":material/crop: Each cutout is cropped to the subject by its own model’s mask, so those of one "
            "photo may differ in size and place."
        )


def _behind(background: Background) -> str:
    match background:
        case Colour(colour=colour):
            return f"on {colour}"
        case Gradient(start=start, end=end):
            return f"on {start} to {end}"
        case Picture():
            return "on a picture"
        case Blur():
            return "background blurred"
        case Keep():
            return "background kept"
        case _:
            return "transparent"


def _cut(recipe: Recipe) -> str:
    match recipe.framing:
        case Subject():
            return f"crop: {_word(CROPS, 'subject')}"
        case Face(preset=str(preset)):
            return f"crop: {_word(CROPS, 'face')}, {_word(PRESETS, preset)}"
        case Face():
            return f"crop: {_word(CROPS, 'face')}"
        case _:
            return ""


def _size(size: Size, output: Output) -> str:
    parts = []
    if size.width is not None and size.height is not None:
        parts.append(f"{size.width:,} × {size.height:,} px")
    else:
        parts.append("" if size.aspect is None else _word(SHAPES, size.aspect))
        parts.append("" if size.width is None else f"{size.width:,} px wide")
        parts.append("" if size.height is None else f"{size.height:,} px high")
    parts.append("" if output.longest is None else f"at most {output.longest:,} px")
    return ", ".join(part for part in parts if part)


def _word(words: Mapping[str, str | None], value: str) -> str:
    return next((word for word, one in words.items() if one == value), value)
