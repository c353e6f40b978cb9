"""Recipes that come with the program, and recipes as links."""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping

from photoproc.errors import RecipeError
from photoproc.parts import Face
from photoproc.recipe import Recipe

_MAX_LINK_BYTES = 32 * 1024

BUILT_IN: Mapping[str, Mapping[str, object]] = {
    "Product shot": {
        "background": {"kind": "colour", "colour": "#ffffff"},
        "shadow": {},
        "edges": {"decontaminate": True},
        "framing": {"kind": "subject", "margin": 0.1},
        "size": {"aspect": "1:1"},
        "output": {"format": "jpeg", "longest": 2000, "profile": "srgb"},
    },
    "Transparent logo": {
        "edges": {"shrink_px": 0.5, "decontaminate": True},
        "framing": {"kind": "subject", "margin": 0.0},
        "output": {"format": "png", "profile": "srgb"},
    },
    "Headshot": {
        "background": {"kind": "gradient", "start": "#f4f5f7", "end": "#cfd4da"},
        "edges": {"decontaminate": True},
        "framing": {"kind": "face", "preset": "headshot"},
        "output": {"format": "jpeg", "profile": "srgb"},
    },
    "Passport": {
        "background": {"kind": "colour", "colour": "#ffffff"},
        "edges": {"decontaminate": True},
        "framing": {"kind": "face", "preset": "passport", "no_face": "skip"},
        "output": {"format": "jpeg", "quality": 95, "profile": "srgb", "sheet": {}},
    },
}
"""By name, without models: those are chosen for the photos at hand."""


def built_in(name: str, model: str) -> Recipe | None:
    """A recipe that comes with the program, for a model; None where there is none of this name."""
    fields = BUILT_IN.get(name)
    return None if fields is None else Recipe.of_fields({**fields, "models": [model]})


def to_link(recipe: Recipe) -> str:
    """A recipe as a word for addresses, as short as it comes."""
    told = recipe.model_dump(mode="json", exclude_defaults=True)
    for part, value in (("background", recipe.background), ("framing", recipe.framing)):
        if part in told:
            told[part] = {"kind": value.kind, **told[part]}
    framing = recipe.framing
    if isinstance(framing, Face) and framing.preset:  # what is left out, the preset would fill in
        told["framing"] |= {"head": framing.head, "eye_line": framing.eye_line}
        told |= {"size": told.get("size", {}), "output": {"dpi": recipe.output.dpi, **told.get("output", {})}}
    text = json.dumps(told, separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def from_link(word: str) -> Recipe:
    """The recipe of such a word; raises RecipeError where it is none or of another version."""
    broken = RecipeError(
        "recipe_link_broken", "This link holds no recipe.", "Copy the whole link and open it again."
    )
    unpacker = zlib.decompressobj()
    try:
        packed = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
        told = unpacker.decompress(packed, _MAX_LINK_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise broken from error
    if not unpacker.eof:  # a part of a link, or one of megabytes
        raise broken
    return Recipe.from_json(told)
