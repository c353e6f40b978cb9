"""How a job's page names its recipe."""

from typing import Any, get_args

import pytest

from photoproc.parts import Edges, Face, Output, Part
from photoproc.recipe import Recipe
from photoproc.ui.options_more import EDGES, FORMATS, PRESETS, SHOWN
from photoproc.ui.recipe_words import recipe_words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "u2net · transparent · PNG"),
        (
            {"models": ["u2net", "u2netp"], "certainty": True},
            "u2net, u2netp · transparent · certainty checked · PNG",
        ),
        (
            {"background": {"kind": "colour", "colour": "white"}, "shadow": {}, "output": {"format": "jpeg"}},
            "u2net · on #ffffff, with a shadow · JPEG",
        ),
        ({"background": {"kind": "gradient"}}, "u2net · on #ffffff to #cfd4da · PNG"),
        ({"background": {"kind": "picture", "picture": "0" * 64}}, "u2net · on a picture · PNG"),
        (
            {"background": {"kind": "blur"}, "edges": {"method": "matting"}},
            "u2net · background blurred · edge: Finer · PNG",
        ),
        ({"background": {"kind": "keep"}}, "background kept · PNG"),
        ({"size": {"aspect": "original"}}, "u2net · transparent · As the photo · PNG"),
        (
            {"framing": {"kind": "subject"}, "size": {"aspect": "4:5"}},
            "u2net · transparent · crop: Subject · 4:5 · PNG",
        ),
        (
            {"framing": {"kind": "face"}, "size": {"width": 800}},
            "u2net · transparent · crop: Face · 800 px wide · PNG",
        ),
        (
            {"framing": {"kind": "face", "preset": "passport"}, "output": {"sheet": {}}},
            "u2net · transparent · crop: Face, Passport (35 × 45 mm) · 413 × 531 px · PNG · print sheet",
        ),
        (
            {
                "size": {"height": 1200, "aspect": "1:1"},
                "output": {"show": "mask", "longest": 2000, "format": "webp"},
            },
            "u2net · transparent · 1:1, 1,200 px high, at most 2,000 px · WebP · Mask",
        ),
    ],
)
def test_a_recipe_in_a_few_words(fields: dict[str, Any], words: str) -> None:
    assert recipe_words(Recipe.of_fields({"models": ["u2net"], **fields})) == words


@pytest.mark.parametrize(
    ("part", "field", "words"),
    [
        (Edges, "method", EDGES),
        (Face, "preset", PRESETS),
        (Output, "format", FORMATS),
        (Output, "show", SHOWN),
    ],
)
def test_each_value_has_a_word(part: type[Part], field: str, words: dict[str, str | None]) -> None:
    kinds = part.model_fields[field].annotation
    values = {value for one in (kinds, *get_args(kinds)) for value in get_args(one) if isinstance(value, str)}
    assert values
    assert values <= set(words.values())
