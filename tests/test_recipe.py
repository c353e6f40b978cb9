"""Recipes: what is accepted, what is refused, and how the refusal names the field; recipes as links."""

import base64
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from photoproc import presets
from photoproc.errors import RecipeError
from photoproc.parts import (
    FACE_PRESETS,
    Blur,
    Colour,
    Edges,
    Face,
    Framing,
    Gradient,
    Keep,
    Output,
    Picture,
    Shadow,
    Sheet,
    Size,
    Subject,
    Transparent,
    WholePicture,
    rgba,
)
from photoproc.recipe import NO_MODEL, Recipe

PICTURE = "0123456789abcdef" * 4

css_colours = st.sampled_from(["#fff", "#12345678", "rebeccapurple", "hsl(120 50% 50% / 25%)"]) | (
    st.tuples(*[st.integers(0, 255)] * 4).map(lambda four: f"#{bytes(four).hex()}")
)
backgrounds = st.one_of(
    st.just(Transparent()),
    st.just(Keep()),
    st.builds(Colour, colour=css_colours),
    st.builds(
        Gradient,
        start=css_colours,
        end=css_colours,
        shape=st.sampled_from(["linear", "radial"]),
        angle_deg=st.floats(-360, 360),
    ),
    st.builds(
        Picture,
        picture=st.binary(min_size=32, max_size=32).map(bytes.hex),
        fit=st.sampled_from(["cover", "contain"]),
        colour=css_colours,
    ),
    st.builds(Blur, radius=st.floats(0.001, 0.2)),
)


@st.composite
def faces(draw: st.DrawFn) -> Face:
    """A face that is whole."""
    head = draw(st.floats(0.05, 0.95) | st.just(0.5))
    eye_line = draw(st.floats(max(head * 0.45, 0.05), min(1 - head * 0.5, 0.9)))
    return Face(
        preset=draw(st.none() | st.sampled_from(list(FACE_PRESETS))),
        head=head,
        eye_line=0.42 if draw(st.booleans()) and 0.45 * head <= 0.42 <= 1 - 0.5 * head else eye_line,
        align=draw(st.booleans()),
        max_roll_deg=draw(st.floats(0, 45)),
        which=draw(st.sampled_from(["largest", "each", "together"])),
        no_face=draw(st.sampled_from(["keep", "skip", "fail"])),
    )


framings: st.SearchStrategy[Framing] = st.one_of(
    st.just(WholePicture()), st.builds(Subject, margin=st.floats(0, 2)), faces()
)
sizes = st.one_of(
    st.builds(
        Size,
        aspect=st.none() | st.sampled_from(["original", "1:1", "4:5", "9999:500"]),
        width=st.none() | st.integers(1, 7_000),
        fit=st.sampled_from(["pad", "cut"]),
        enlarge=st.booleans(),
    ),
    st.builds(Size, width=st.integers(500, 6000), height=st.integers(500, 6000)),
)
some_px = st.none() | st.integers(16, 12_000)
outputs = st.builds(
    Output,
    format=st.sampled_from(["png", "webp", "avif", "tiff"]),
    quality=st.integers(1, 100),
    lossless=st.booleans(),
    longest=some_px,
    profile=st.sampled_from(["keep", "srgb"]),
    metadata=st.sampled_from(["strip", "keep"]),
    dpi=st.none() | st.integers(30, 2400),
    depth=st.sampled_from(["input", "8"]),
    name=st.sampled_from(["{stem}", "{n}_{stem}-{face}", "{date}/{job}/{model} {n}"]),
    sheet=st.none() | st.builds(Sheet, paper=st.sampled_from(["4x6in", "a4"]), copies=st.integers(1, 200)),
)
recipes = st.builds(
    lambda background, shadow, certainty, **parts: Recipe(
        background=background,
        shadow=None if background.kind == "keep" else shadow,
        certainty=certainty and background.kind != "keep",
        **parts,
    ),
    certainty=st.booleans(),
    models=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4).map(tuple),
    background=backgrounds,
    shadow=st.none() | st.builds(Shadow, colour=css_colours, opacity=st.floats(0, 1)),
    edges=st.builds(
        Edges, method=st.sampled_from(["model", "matting", "vitmatte"]), shrink_px=st.floats(0, 50)
    ),
    framing=framings,
    size=sizes,
    output=outputs,
)


def read(**fields: object) -> Recipe:
    """A recipe of these fields, for one model."""
    return Recipe.of_fields({"models": ["u2net"], **fields})


def refusal(text: str | bytes) -> str:
    """What a recipe is refused with, which is told like every refusal."""
    with pytest.raises(RecipeError) as refused:
        Recipe.from_json(text)
    problem = refused.value.problem
    assert problem.code == "invalid_recipe"
    assert problem.advice
    return problem.message


def test_several_mistakes_are_all_said_at_once() -> None:
    fields = {"models": ["u2net"], "edge": {}, "size": {"width": 0}}
    said = refusal(json.dumps(fields))
    assert said == "size.width: it must be at least 1; edge: there is no such field."
    fields |= {"output": {"format": "gif", "quality": 0}, "framing": {"kind": "oval"}}
    said = refusal(json.dumps(fields))
    assert said.startswith(
        "framing.kind: there is only none, subject, face; size.width: it must be at least 1; "
    )
    assert said.endswith("; and 2 more.")
    assert said.count("; ") == 3


def test_a_field_is_named_once_and_nothing_is_blamed_for_another() -> None:
    assert refusal('{"background": {"kind": "keep", "colour": "red"}}') == (
        "background.colour: there is no such field."
    )
    assert refusal('{"background": {"kind": "plaid"}, "models": []}').startswith(
        "background.kind: there is only"
    )
    assert ";" not in refusal('{"background": {"kind": "plaid"}, "models": []}')


def test_the_smallest_recipe_names_a_model_only() -> None:
    recipe = Recipe.from_json('{"models": ["u2net"]}')
    assert recipe.models == ("u2net",)
    assert recipe.background == Transparent()
    assert recipe.framing == WholePicture()
    assert recipe.task_models == ("u2net",)
    assert (recipe.shadow, recipe.edges, recipe.size, recipe.output) == (None, Edges(), Size(), Output())


@given(recipe=recipes)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(recipe.to_json().encode()) == recipe
    assert Recipe.of_fields(json.loads(recipe.to_json())) == recipe


def test_a_recipe_and_its_parts_cannot_be_changed() -> None:
    recipe = Recipe(models=("u2net",), background=Colour(colour="#fff"), shadow=Shadow())
    parts = (
        *((recipe, "models"), (recipe.background, "colour"), (recipe.framing, "kind")),
        *((recipe.shadow, "blur"), (recipe.edges, "method"), (recipe.size, "width"), (recipe.output, "name")),
    )
    for target, field in parts:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, field, "other")
    assert isinstance(recipe.models, tuple)


def test_a_model_named_twice_runs_once_in_the_order_of_its_first_mention() -> None:
    recipe = Recipe.from_json('{"models": ["u2netp", "u2net", "u2netp"]}')
    assert recipe.task_models == ("u2netp", "u2net")


def test_keeping_the_background_needs_no_model_and_makes_one_task_a_photo() -> None:
    assert Recipe.from_json('{"background": {"kind": "keep"}}').task_models == (NO_MODEL,)
    assert Recipe(models=("u2net", "u2netp"), background=Keep()).task_models == (NO_MODEL,)


# Colours


@pytest.mark.parametrize(
    ("written", "kept", "four"),
    [
        ("#fff", "#ffffff", (255, 255, 255, 255)),
        ("#1aF", "#11aaff", (17, 170, 255, 255)),
        ("#0A0b0C", "#0a0b0c", (10, 11, 12, 255)),
        ("#f008", "#ff000088", (255, 0, 0, 136)),
        ("#12345678", "#12345678", (18, 52, 86, 120)),
        ("#123456ff", "#123456", (18, 52, 86, 255)),
        ("#123f", "#112233", (17, 34, 51, 255)),
        ("  #fff\n", "#ffffff", (255, 255, 255, 255)),
        ("RebeccaPurple", "#663399", (102, 51, 153, 255)),
        ("transparent", "#00000000", (0, 0, 0, 0)),
        ("rgb(1 2 3)", "#010203", (1, 2, 3, 255)),
        ("rgba(1, 2, 3, 0.2)", "#01020333", (1, 2, 3, 51)),
        ("rgb(10% 20% 100% / 50%)", "#1a33ff80", (26, 51, 255, 128)),
        ("hsl(120 100% 25%)", "#008000", (0, 128, 0, 255)),
        ("hwb(240 0% 0%)", "#0000ff", (0, 0, 255, 255)),
        ("lab(100% 0 0)", "#ffffff", (255, 255, 255, 255)),
        ("oklch(0 0 0)", "#000000", (0, 0, 0, 255)),
        ("color(srgb 0.2 0.4 0.6)", "#336699", (51, 102, 153, 255)),
    ],
)
def test_a_css_colour_is_kept_as_six_or_eight_lower_digits(
    written: str, kept: str, four: tuple[int, int, int, int]
) -> None:
    colour = Colour(colour=written)
    assert colour.colour == kept
    assert rgba(colour.colour) == four
    assert Colour(colour=kept) == colour


def test_a_colour_that_srgb_lacks_becomes_one_that_it_has() -> None:
    red, green, blue, alpha = rgba(Colour(colour="color(display-p3 0 1 0)").colour)
    assert alpha == 255
    assert green > 200
    assert max(red, blue) < 130


# What is refused

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"models": []}, "models: choose at least one model."),
    ({"models": "u2net"}, "models: "),
    ({"models": [7]}, "models.0: "),
    ({"colour": "#fff"}, "colour: there is no such field."),
    # Backgrounds
    ({"background": "white"}, "background: "),
    ({"background": {}}, "background.kind: it is missing."),
    (
        {"background": {"kind": "plaid"}},
        "background.kind: there is only transparent, colour, gradient, picture, blur, keep.",
    ),
    ({"background": {"kind": "transparent", "colour": "#fff"}}, "background.colour: there is no such field."),
    ({"background": {"kind": "colour", "colour": "redish"}}, "background.colour: write a CSS colour"),
    ({"background": {"kind": "colour", "colour": "#12345"}}, "background.colour: write a CSS colour"),
    ({"background": {"kind": "colour", "colour": "#ff\nf"}}, "background.colour: write a CSS colour"),
    ({"background": {"kind": "colour", "colour": ""}}, "background.colour: write a CSS colour"),
    ({"background": {"kind": "colour", "colour": "#fff" + " " * 200}}, "background.colour: "),
    ({"background": {"kind": "colour", "colour": None}}, "background.colour: "),
    ({"background": {"kind": "colour", "shade": "red"}}, "background.shade: there is no such field."),
    ({"background": {"kind": "gradient", "start": "x"}}, "background.start: write a CSS colour"),
    ({"background": {"kind": "gradient", "end": "x"}}, "background.end: write a CSS colour"),
    ({"background": {"kind": "gradient", "shape": "conic"}}, "background.shape: "),
    ({"background": {"kind": "gradient", "angle_deg": 361}}, "background.angle_deg: "),
    ({"background": {"kind": "gradient", "angle_deg": float("nan")}}, "background.angle_deg: "),
    ({"background": {"kind": "picture"}}, "background.picture: "),
    ({"background": {"kind": "picture", "picture": "../../etc/passwd"}}, "background.picture: "),
    ({"background": {"kind": "picture", "picture": "A" * 64}}, "background.picture: "),
    ({"background": {"kind": "picture", "picture": PICTURE + "\n"}}, "background.picture: "),
    ({"background": {"kind": "picture", "picture": PICTURE, "fit": "fill"}}, "background.fit: "),
    ({"background": {"kind": "blur", "radius": 0}}, "background.radius: "),
    ({"background": {"kind": "blur", "radius": 0.21}}, "background.radius: "),
    # Shadow
    ({"shadow": {"opacity": 1.1}}, "shadow.opacity: "),
    ({"shadow": {"blur": -0.1}}, "shadow.blur: "),
    ({"shadow": {"blur": float("inf")}}, "shadow.blur: "),
    ({"shadow": {"right": 0.6}}, "shadow.right: "),
    ({"shadow": {"down": float("nan")}}, "shadow.down: "),
    ({"shadow": {"colour": 7}}, "shadow.colour: "),
    ({"shadow": {"angle": 7}}, "shadow.angle: there is no such field."),
    ({"shadow": True}, "shadow: "),
    # Edges
    ({"edges": {"method": "magic"}}, "edges.method: "),
    ({"edges": {"shrink_px": -1}}, "edges.shrink_px: "),
    ({"edges": {"feather_px": 51}}, "edges.feather_px: "),
    ({"edges": {"decontaminate": "perhaps"}}, "edges.decontaminate: "),
    # Framing
    ({"framing": {"kind": "tight"}}, "framing.kind: there is only none, subject, face."),
    ({"framing": {"kind": "subject", "margin": -0.1}}, "framing.margin: "),
    ({"framing": {"kind": "subject", "margin": float("nan")}}, "framing.margin: "),
    ({"framing": {"kind": "subject", "margin": 2.1}}, "framing.margin: "),
    ({"framing": {"kind": "face", "margin": "wide"}}, "framing.margin: there is no such field."),
    ({"framing": {"kind": "face", "margin": -0.1}}, "framing."),
    ({"framing": {"kind": "face", "margin": float("nan")}}, "framing."),
    ({"framing": {"kind": "face", "no_face": "cry"}}, "framing.no_face: "),
    ({"framing": {"kind": "face", "preset": "visa"}}, "framing.preset: "),
    ({"framing": {"kind": "face", "which": "second"}}, "framing.which: "),
    ({"framing": {"kind": "face", "head": 0.04}}, "framing.head: "),
    ({"framing": {"kind": "face", "head": 0.96}}, "framing.head: "),
    ({"framing": {"kind": "face", "eye_line": 0.91}}, "framing.eye_line: "),
    ({"framing": {"kind": "face", "max_roll_deg": 46}}, "framing.max_roll_deg: "),
    ({"framing": {"kind": "face", "head": 0.9, "eye_line": 0.2}}, "framing: the head would be cut"),
    ({"framing": {"kind": "face", "head": 0.9, "eye_line": 0.6}}, "framing: the head would be cut"),
    (
        {"framing": {"kind": "face", "preset": "passport", "eye_line": 0.9}},
        "framing: the head would be cut",
    ),
    # Size
    ({"size": {"aspect": "wide"}}, "size.aspect: write it as width:height"),
    ({"size": {"aspect": "0:1"}}, "size.aspect: write it as width:height"),
    ({"size": {"aspect": "1.5:1"}}, "size.aspect: write it as width:height"),
    ({"size": {"aspect": "4:5\n"}}, "size.aspect: write it as width:height"),
    ({"size": {"aspect": "٣:٢"}}, "size.aspect: write it as width:height"),
    ({"size": {"aspect": "21:1"}}, "size.aspect: one side may be 20 times the other, no more."),
    ({"size": {"aspect": "1:21"}}, "size.aspect: one side may be 20 times the other, no more."),
    ({"size": {"width": 0}}, "size.width: "),
    ({"size": {"width": 12_001}}, "size.width: "),
    ({"size": {"height": -5}}, "size.height: "),
    ({"size": {"height": 10.5}}, "size.height: "),
    ({"size": {"width": 100, "height": 100, "aspect": "1:1"}}, "size: give width and height, or an aspect"),
    ({"size": {"width": 12_000, "height": 12_000}}, "size: width × height may be 64 megapixels"),
    ({"size": {"width": 10, "height": 201}}, "size: one side may be 20 times the other"),
    ({"size": {"fit": "stretch"}}, "size.fit: "),
    ({"size": {"enlarge": "sometimes"}}, "size.enlarge: "),
    # Output
    ({"output": {"format": "gif"}}, "output.format: "),
    ({"output": {"quality": 0}}, "output.quality: "),
    ({"output": {"quality": 101}}, "output.quality: "),
    ({"output": {"show": "photo"}}, "output.show: "),
    ({"output": {"longest": 15}}, "output.longest: "),
    ({"output": {"longest": 12_001}}, "output.longest: "),
    ({"output": {"profile": "adobe"}}, "output.profile: "),
    ({"output": {"metadata": "all"}}, "output.metadata: "),
    ({"output": {"dpi": 29}}, "output.dpi: "),
    ({"output": {"dpi": 2401}}, "output.dpi: "),
    ({"output": {"depth": "16"}}, "output.depth: "),
    ({"output": {"sheet": {"paper": "a3"}}}, "output.sheet.paper: "),
    ({"output": {"sheet": {"copies": 0}}}, "output.sheet.copies: "),
    ({"output": {"name": ""}}, "output.name: "),
    ({"output": {"name": "{stem}" + "x" * 100}}, "output.name: "),
    ({"output": {"name": "photo"}}, "output.name: put {stem} or {n} into it"),
    ({"output": {"name": "{model}-{face}"}}, "output.name: put {stem} or {n} into it"),
    ({"output": {"name": "{stem}{owner}"}}, "output.name: there is only {stem}, {model}, {n}, {face}, {job}"),
    ({"output": {"name": "{stem.__class__}"}}, "output.name: there is only"),
    ({"output": {"name": "{stem!r}"}}, "output.name: there is only"),
    ({"output": {"name": "{stem:>9999999}"}}, "output.name: there is only"),
    ({"output": {"name": "{stem}{}"}}, "output.name: there is only"),
    ({"output": {"name": "{{stem}}"}}, "output.name: there is only"),
    ({"output": {"name": "{stem}}"}}, "output.name: there is only"),
    ({"output": {"suffix": ".png"}}, "output.suffix: there is no such field."),
    # Parts that do not go together
    ({"output": {"format": "jpeg"}}, "output: JPEG cannot be transparent"),
    (
        {"background": {"kind": "colour", "colour": "#ffffff80"}, "output": {"format": "jpeg"}},
        "output: JPEG cannot be transparent",
    ),
    (
        {"background": {"kind": "gradient", "end": "transparent"}, "output": {"format": "jpeg"}},
        "output: JPEG cannot be transparent",
    ),
    (
        {
            "background": {"kind": "picture", "picture": PICTURE, "fit": "contain", "colour": "#fff0"},
            "output": {"format": "jpeg"},
        },
        "output: JPEG cannot be transparent",
    ),
    (
        {"background": {"kind": "keep"}, "shadow": {}},
        "output: there is no shadow where the background is kept.",
    ),
    (
        {"background": {"kind": "keep"}, "certainty": True},
        "certainty: no model runs where the background is kept, so none can be certain.",
    ),
    (
        {"background": {"kind": "keep"}, "output": {"show": "mask"}},
        "output: there is no mask where the background is kept.",
    ),
    (
        {"background": {"kind": "keep"}, "output": {"show": "pair"}},
        "output: there is no mask where the background is kept.",
    ),
]


@pytest.mark.parametrize(("fields", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_bad_recipe_is_refused_with_the_name_of_the_field(fields: dict[str, Any], said: str) -> None:
    assert refusal(json.dumps({"models": ["u2net"], **fields})).startswith(said)
    with pytest.raises(RecipeError) as refused:
        read(**fields)
    assert refused.value.problem.message.startswith(said)


@pytest.mark.parametrize("text", ["[]", "not json", "", b"\xff\xfe", '"u2net"', "null", "[" * 100_000])
def test_what_is_no_recipe_is_refused_as_a_whole(text: str | bytes) -> None:
    assert refusal(text).startswith("recipe: ")


def test_a_recipe_without_a_model_is_refused_unless_the_background_is_kept() -> None:
    assert refusal("{}") == "models: choose at least one model."
    assert refusal('{"background": {"kind": "colour"}}') == "models: choose at least one model."


@pytest.mark.parametrize(
    "fields",
    [
        {"background": {"kind": "colour"}},
        {"background": {"kind": "blur"}},
        {"background": {"kind": "keep"}},
        {"background": {"kind": "picture", "picture": PICTURE, "colour": "#fff0"}},  # it covers
        {"output": {"format": "jpeg", "show": "mask"}},
        {"output": {"format": "jpeg", "show": "pair"}},
    ],
)
def test_a_jpeg_is_taken_where_nothing_of_it_is_transparent(fields: dict[str, Any]) -> None:
    recipe = read(**{"output": {"format": "jpeg"}, **fields})
    assert recipe.output.suffix == ".jpg"


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("png", ".png"), ("webp", ".webp"), ("jpeg", ".jpg"), ("avif", ".avif"), ("tiff", ".tif")],
)
def test_each_format_has_its_suffix(form: str, suffix: str) -> None:
    assert read(background={"kind": "colour"}, output={"format": form}).output.suffix == suffix


# Presets


@pytest.mark.parametrize("name", list(FACE_PRESETS))
def test_a_preset_brings_head_eyes_size_and_density(name: str) -> None:
    preset = FACE_PRESETS[name]
    recipe = read(framing={"kind": "face", "preset": name})
    assert isinstance(recipe.framing, Face)
    assert (recipe.framing.head, recipe.framing.eye_line) == (preset.head, preset.eye_line)
    assert recipe.size == Size.model_validate(preset.size)
    assert recipe.output == Output(dpi=preset.dpi)
    if preset.head_range is not None:
        assert preset.head_range[0] < preset.head < preset.head_range[1]


def test_passports_are_as_large_as_their_paper() -> None:
    for name, size_mm in (("passport", (35, 45)), ("us_passport", (50.8, 50.8))):
        recipe = read(framing={"kind": "face", "preset": name})
        assert recipe.output.dpi is not None
        pixels = (recipe.size.width, recipe.size.height)
        assert pixels == tuple(round(mm / 25.4 * recipe.output.dpi) for mm in size_mm)


def test_what_is_said_goes_before_the_preset() -> None:
    recipe = read(
        framing={"kind": "face", "preset": "passport", "head": 0.7, "no_face": "skip"},
        size={"aspect": "1:1"},
        output={"dpi": 600, "format": "webp"},
    )
    assert isinstance(recipe.framing, Face)
    assert (recipe.framing.head, recipe.framing.eye_line, recipe.framing.no_face) == (0.7, 0.44, "skip")
    assert recipe.size == Size(aspect="1:1")
    assert (recipe.output.dpi, recipe.output.format) == (600, "webp")
    without = read(framing={"kind": "face", "preset": "passport"}, output={"dpi": None})
    assert without.output.dpi is None


def test_the_space_around_a_face_that_earlier_recipes_had_is_a_head_in_a_square() -> None:
    framings = [read(framing={"kind": "face", "margin": margin, "no_face": "skip"}) for margin in (0, 0.6, 4)]
    heads = [recipe.framing.head for recipe in framings if isinstance(recipe.framing, Face)]
    assert heads[0] > heads[1] > heads[2]
    assert {recipe.size for recipe in framings} == {Size(aspect="1:1")}
    for recipe in framings:
        assert presets.from_link(presets.to_link(recipe)) == recipe == Recipe.from_json(recipe.to_json())


# Links and the recipes that come with the program


@given(recipe=recipes)
def test_a_recipe_survives_its_link(recipe: Recipe) -> None:
    word = presets.to_link(recipe)
    assert presets.from_link(word) == recipe
    assert set(word) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_link_is_short_where_little_is_said() -> None:
    assert len(presets.to_link(read())) < 60
    assert len(presets.to_link(read(framing={"kind": "face", "preset": "passport"}))) < 200


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


@pytest.mark.parametrize("word", ["", "x", "!!!", "é", "====", "QUJD", packed(b"{}")[:-4]])
def test_a_broken_link_is_refused_with_what_to_do(word: str) -> None:
    with pytest.raises(RecipeError) as refused:
        presets.from_link(word)
    assert refused.value.problem.code == "recipe_link_broken"
    assert refused.value.problem.advice == "Copy the whole link and open it again."


def test_no_part_of_a_link_is_taken_for_another_recipe() -> None:
    word = presets.to_link(read(background={"kind": "gradient", "start": "#123456"}, shadow={}))
    for length in range(len(word)):
        with pytest.raises(RecipeError):
            presets.from_link(word[:length])


def test_a_link_of_another_version_names_the_field() -> None:
    with pytest.raises(RecipeError, match="crop: there is no such field"):
        presets.from_link(packed(b'{"models": ["u2net"], "crop": "face"}'))


@pytest.mark.parametrize("inside", [b" ", b"[", b'{"models":["u2net"]}' + b" " * 99])
def test_a_link_that_unpacks_to_megabytes_is_refused_without_unpacking_them(inside: bytes) -> None:
    word = packed(inside * (50_000_000 // len(inside)))
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match="recipe_link_broken"):
            presets.from_link(word)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", list(presets.BUILT_IN))
def test_each_recipe_of_the_program_is_one_for_any_model(name: str) -> None:
    recipe = presets.built_in(name, "u2netp")
    assert recipe is not None
    assert recipe.models == ("u2netp",)
    assert presets.from_link(presets.to_link(recipe)) == recipe


def test_there_is_no_recipe_of_another_name() -> None:
    assert presets.built_in("Passport photo", "u2netp") is None
