"""Recipes: what is accepted, what is refused, and how the refusal names the field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from photoproc.errors import RecipeError
from photoproc.recipe import (
    NO_MODEL,
    Colour,
    FaceCrop,
    Keep,
    Recipe,
    Transparent,
    WholePicture,
)

backgrounds = st.one_of(
    st.just(Transparent()),
    st.just(Keep()),
    st.builds(Colour, colour=st.from_regex(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", fullmatch=True)),
)
framings = st.one_of(
    st.just(WholePicture()),
    st.builds(
        FaceCrop,
        margin=st.floats(min_value=0, max_value=4),
        no_face=st.sampled_from(["keep", "skip"]),
    ),
)
recipes = st.builds(
    Recipe,
    models=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4).map(tuple),
    background=backgrounds,
    framing=framings,
)


def test_the_smallest_recipe_names_a_model_only() -> None:
    recipe = Recipe.from_json('{"models": ["u2net"]}')
    assert recipe.models == ("u2net",)
    assert recipe.background == Transparent()
    assert recipe.framing == WholePicture()
    assert recipe.task_models == ("u2net",)


@given(recipe=recipes)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(recipe.to_json().encode()) == recipe


def test_a_recipe_and_its_parts_cannot_be_changed() -> None:
    recipe = Recipe(models=("u2net",), background=Colour(colour="#fff"))
    for target, field in ((recipe, "models"), (recipe.background, "colour"), (recipe.framing, "kind")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, field, "other")
    assert isinstance(recipe.models, tuple)


def test_a_model_named_twice_runs_once_in_the_order_of_its_first_mention() -> None:
    recipe = Recipe.from_json('{"models": ["u2netp", "u2net", "u2netp"]}')
    assert recipe.task_models == ("u2netp", "u2net")


def test_keeping_the_background_needs_no_model_and_makes_one_task_a_photo() -> None:
    assert Recipe.from_json('{"background": {"kind": "keep"}}').task_models == (NO_MODEL,)
    assert Recipe(models=("u2net", "u2netp"), background=Keep()).task_models == (NO_MODEL,)


@pytest.mark.parametrize(
    ("written", "kept", "rgb"),
    [
        ("#fff", "#ffffff", (255, 255, 255)),
        ("#1aF", "#11aaff", (17, 170, 255)),
        ("#0A0b0C", "#0a0b0c", (10, 11, 12)),
    ],
)
def test_a_colour_is_kept_as_six_lower_digits(written: str, kept: str, rgb: tuple[int, int, int]) -> None:
    colour = Colour(colour=written)
    assert colour.colour == kept
    assert colour.rgb == rgb


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{}", "models"),
        ('{"models": []}', "models"),
        ('{"models": "u2net"}', "models"),
        ('{"models": [7]}', "models.0"),
        ('{"models": ["u2net"], "colour": "#fff"}', "colour"),
        ('{"models": ["u2net"], "background": "white"}', "background"),
        ('{"models": ["u2net"], "background": {}}', "background"),
        ('{"models": ["u2net"], "background": {"kind": "blur"}}', "background"),
        ('{"models": ["u2net"], "background": {"kind": "colour", "colour": "red"}}', "background.colour"),
        ('{"models": ["u2net"], "background": {"kind": "colour", "colour": "#ffff"}}', "background.colour"),
        ('{"models": ["u2net"], "background": {"kind": "colour", "colour": "#fff\\n"}}', "background.colour"),
        ('{"models": ["u2net"], "background": {"kind": "colour", "shade": "red"}}', "background.shade"),
        ('{"background": {"kind": "colour"}}', "models"),
        ('{"models": ["u2net"], "framing": {"kind": "face", "margin": -0.1}}', "framing.margin"),
        ('{"models": ["u2net"], "framing": {"kind": "face", "margin": NaN}}', "framing.margin"),
        ('{"models": ["u2net"], "framing": {"kind": "face", "no_face": "cry"}}', "framing.no_face"),
        ("[]", "recipe"),
        ("not json", "recipe"),
        ("", "recipe"),
        (b"\xff\xfe", "recipe"),
    ],
)
def test_a_bad_recipe_is_refused_with_the_name_of_the_field(text: str | bytes, field: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.from_json(text)
    problem = refused.value.problem
    assert problem.code == "invalid_recipe"
    assert problem.message.startswith(f"{field}: ")
    assert problem.advice
