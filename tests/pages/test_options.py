"""The options of the Process page and the recipes that people keep, over a real service."""

import json

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import FileUploader

from photoproc.parts import Blur, Face
from photoproc.presets import BUILT_IN, to_link
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui.options_values import fields_of, values_of
from tests.long import LONG
from tests.pages.clicks import Clicks
from tests.pages.support import choose, control, dashboard, healthy, plain, press, words
from tests.pictures import encoded, picture

RECIPES: list[dict[str, object]] = [
    {"certainty": True, "background": {"kind": "blur"}},
    *(dict(fields) for fields in BUILT_IN.values()),
    {"background": {"kind": "picture", "picture": "a" * 64, "fit": "contain", "colour": "#12345678"}},
    {"background": {"kind": "gradient", "start": "red", "shape": "radial", "angle_deg": 33.3}},
    {"background": {"kind": "blur", "radius": 0.0123}, "edges": {"method": "matting", "feather_px": 33}},
    {"framing": {"kind": "face", "preset": "us_passport", "head": 0.5, "which": "each"}, "size": {}},
    {"framing": {"kind": "subject", "margin": 1.5}, "size": {"aspect": "7:5", "width": 77, "enlarge": True}},
    {"output": {"format": "webp", "lossless": True, "show": "pair", "name": "{n}", "sheet": {"copies": 3}}},
]


def uploader(app: AppTest, label: str) -> FileUploader:
    """The uploader with this label."""
    (found,) = [one for one in app.file_uploader if one.label == label]
    return found


@pytest.mark.parametrize("given", RECIPES)
def test_the_controls_show_a_recipe_exactly(given: dict[str, object]) -> None:
    recipe = Recipe.of_fields({"models": ["u2netp"], **given})
    assert Recipe.of_fields(fields_of(values_of(recipe))) == recipe


def test_a_model_that_is_gone_is_left_out_and_named_until_others_are_chosen(service: PhotoService) -> None:
    app = dashboard()
    app.query_params["recipe"] = to_link(Recipe(models=("u2netp", "u2netp-lost")))
    healthy(app.run())
    assert control(app, "Models").value == ["u2netp"]
    assert len(app.warning) == 1
    assert "Not there any more, and left out: u2netp-lost." in plain(app)
    assert not choose(app, {"Models": ["u2netp", "u2net"]}).warning


def test_a_background_without_its_picture_is_asked_for(service: PhotoService) -> None:
    app = choose(dashboard(), {"Background": "Picture"})
    asked = "Add a picture to go on, or choose another background."
    assert asked in plain(app)
    uploader(app, "Background picture").set_value(("b.png", encoded(picture(), "PNG"), "image/png"))
    assert asked not in plain(healthy(app.run()))
    (kept,) = service.backgrounds()
    service.forget_background(kept)


def test_only_what_applies_is_offered(service: PhotoService) -> None:
    app = dashboard()
    shown = [one.label for kind in (app.slider, app.text_input, app.toggle) for one in kind]
    assert "Quality" not in shown
    assert "Background colour" not in shown
    assert "Level the eyes" not in shown
    choose(app, {"Format": "WebP"})
    assert control(app, "Quality").value == 90
    choose(app, {"Lossless": True})
    assert "Quality" not in [slider.label for slider in app.slider]
    choose(app, {"Background": "Keep"})
    assert "Shadow" not in [toggle.label for toggle in app.toggle]


def test_what_is_not_possible_is_said_with_its_label_and_not_processed(
    service: PhotoService,
) -> None:
    app = press(dashboard(), "Try with sample photos")
    choose(app, {"Format": "JPEG"})
    assert "JPEG cannot be transparent: choose a background, or another format" in plain(app)
    choose(app, {"Background": "Colour"})
    assert not app.error
    choose(app, {"Background colour": "no colour"})
    assert "Background colour: write a CSS colour" in plain(app)
    (process,) = [button for button in app.button if button.label == "Process photos"]
    assert process.disabled
    choose(app, {"Background colour": "rgb(0 0 0)", "Width, px": "12000", "Height, px": "12000"})
    assert "Size: width × height may be 64 megapixels, no more" in plain(app)


def test_the_picker_and_the_text_are_one_colour(service: PhotoService) -> None:
    app = choose(dashboard(), {"Background": "Colour"})
    choose(app, {"Background colour": "rgb(255 0 0 / 50%)"})
    assert control(app, "Pick background colour").value == "#ff0000"
    choose(app, {"Pick background colour": "#00ff00"})
    assert control(app, "Background colour").value == "#00ff00"


@pytest.mark.parametrize(
    ("before", "label", "values", "shown"),
    [
        (
            {"Background": "Colour"},
            "Background colour",
            ("tomato", "navy"),
            {"Pick background colour": ("#ff6347", "#000080")},
        ),
        (
            {"Background": "Colour"},
            "Pick background colour",
            ("#ff6347", "#000080"),
            {"Background colour": ("#ff6347", "#000080")},
        ),
        (
            {"Crop": "Face"},
            "Portrait",
            ("Passport (35 × 45 mm)", "Avatar"),
            {"Width, px": ("413", ""), "Print density, dpi": ("300", ""), "Head": (76, 55)},
        ),
        (
            {"Crop": "Face", "Portrait": "Passport (35 × 45 mm)"},
            "Crop",
            ("None", "Face"),
            {"Width, px": ("", "413"), "Print density, dpi": ("", "300")},
        ),
        ({}, "Recipe", ("Product shot", "Headshot"), {"Background": ("Colour", "Gradient")}),
    ],
    ids=["colour", "picker", "preset", "crop", "recipe"],
)
def test_what_was_chosen_stays_whole_wherever_the_next_click_ends_its_run(
    service: PhotoService,
    clicks: Clicks,
    before: dict[str, object],
    label: str,
    values: tuple[object, object],
    shown: dict[str, tuple[object, object]],
) -> None:
    app = choose(dashboard(), before)
    turn = 0
    # Before the third nothing was told of what was chosen; by hand all, in CI those where it is filled in.
    for at in range(3, 1000) if LONG else range(40, 130):
        turn = 1 - turn
        with clicks.ending(at) as ended:
            choose(app, {label: values[turn]})
        found = {name: control(app, name).value for name in (label, *shown)}
        assert found == {label: values[turn]} | {name: each[turn] for name, each in shown.items()}, at
        if not ended:
            assert LONG, "the places in CI are those of a run"
            break


def test_a_link_fills_the_options_wherever_the_next_click_ends_its_run(
    service: PhotoService, clicks: Clicks
) -> None:
    link = to_link(
        Recipe.of_fields({"models": ["u2netp"], "background": {"kind": "colour", "colour": "red"}})
    )
    for at in range(3, 400) if LONG else range(40, 60):
        app = dashboard()
        app.query_params["recipe"] = link
        with clicks.ending(at) as ended:
            healthy(app.run())
        assert ended or LONG, "the places in CI are those of a run"
        assert control(app, "Background colour").value == "#ff0000", at


@pytest.mark.parametrize("wrong", ["blurple", ""])
def test_a_colour_after_one_that_was_none_is_the_one_that_was_written(
    service: PhotoService, wrong: str
) -> None:
    app = choose(dashboard(), {"Background": "Colour", "Background colour": wrong})
    choose(app, {"Background colour": "oklch(70% 0.1 200)"})
    assert control(app, "Background colour").value == "oklch(70% 0.1 200)"
    assert not app.error
    choose(app, {"Background colour": wrong, "Pick background colour": "#00ff00"})
    assert control(app, "Background colour").value == "#00ff00"


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("Width, px", "99999", "Width, px: it may be at most 12,000"),
        ("Height, px", "0", "Height, px: it must be at least 1"),
        ("Longest, px", "3", "Longest, px: it must be at least 16"),
        ("Print density, dpi", "5000", "Print density, dpi: it may be at most 2,400"),
        ("Width, px", "12.5", "Width, px: write a whole number"),
        ("File names", "", "File names: it may not be empty"),
        ("Copies", "500", "Copies: it may be at most 200"),
        ("Eyes from the top", 10, "Crop: the head would be cut"),
    ],
)
def test_an_impossible_number_is_said_and_not_processed(
    service: PhotoService, label: str, value: str | int, said: str
) -> None:
    app = press(dashboard(), "Try with sample photos")
    choose(app, {"Sheet to print": True, "Crop": "Face", "Head": 90})
    choose(app, {label: value})
    assert said in plain(app)
    (process,) = [button for button in app.button if button.label == "Process photos"]
    assert process.disabled


def test_a_number_can_be_taken_away_again(service: PhotoService) -> None:
    app = choose(press(dashboard(), "Try with sample photos"), {"Width, px": "99999", "Longest, px": " 800 "})
    assert app.error
    choose(app, {"Width, px": "", "Longest, px": ""})
    assert not app.error
    press(app, "Process photos")
    (job, *_) = service.jobs()
    service.cancel(job.id)
    assert (job.recipe.size.width, job.recipe.output.longest) == (None, None)


def test_all_that_is_wrong_is_said_at_once(service: PhotoService) -> None:
    app = choose(dashboard(), {"Width, px": "99999", "Print density, dpi": "5000"})
    said = "Width, px: it may be at most 12,000; Print density, dpi: it may be at most 2,400"
    assert said in plain(app)


def save_as(app: AppTest, name: str) -> None:
    """Save the recipe that is chosen."""
    control(app, "Name").set_value(name)
    press(app, "Save recipe")


def test_a_recipe_that_has_a_name_is_called_by_it(service: PhotoService) -> None:
    app = choose(dashboard(), {"Background": "Blur", "Strength": 4})
    save_as(app, "Soft")
    fields = {"models": ["u2netp"], "background": {"kind": "blur", "radius": 0.04}}
    link = to_link(Recipe.of_fields(fields))
    assert control(dashboard(recipe=link), "Recipe").value == "Soft"
    app = press(
        press(choose(dashboard(), {"Recipe": "Passport"}), "Try with sample photos"), "Process photos"
    )
    (job, *_) = service.jobs()
    service.cancel(job.id)
    assert control(dashboard(again=job.id), "Recipe").value == "Passport"
    service.forget_recipe("Soft")


def test_a_face_preset_brings_its_own_size_and_may_be_changed(service: PhotoService) -> None:
    app = choose(dashboard(), {"Crop": "Face", "Portrait": "Passport (35 × 45 mm)"})
    assert control(app, "Head").value == 76  # rounded; kept exactly
    assert (control(app, "Width, px").value, control(app, "Height, px").value) == ("413", "531")
    assert control(app, "Print density, dpi").value == "300"
    choose(app, {"Head": 70})
    app = press(press(app, "Try with sample photos"), "Process photos")
    (job,) = service.jobs()
    framing = job.recipe.framing
    assert isinstance(framing, Face)
    assert (framing.preset, framing.head, framing.eye_line) == ("passport", 0.7, 0.44)
    service.cancel(job.id)
    app = choose(dashboard(), {"Crop": "Face", "Portrait": "Passport (35 × 45 mm)"})
    choose(app, {"Portrait": "Avatar"})
    assert (control(app, "Shape").value, control(app, "Width, px").value) == ("1:1", "")
    assert control(app, "Print density, dpi").value == ""
    choose(app, {"Crop": "None"})
    assert control(app, "Shape").value == "As it is cut"


def test_names_of_files_are_shown_as_they_will_be(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    choose(app, {"File names": "{stem}-{model}", "Format": "AVIF"})
    assert "For example astronaut-u2netp.avif" in plain(app)
    choose(app, {"File names": "{name}"})
    assert "File names: there is only" in plain(app)
    choose(app, {"File names": "all the same"})
    assert "put {stem} or {n} into it" in plain(app)


def test_a_recipe_that_comes_with_the_program_fills_the_options(service: PhotoService) -> None:
    app = choose(dashboard(), {"Models": ["silueta"], "Recipe": "Product shot"})
    assert control(app, "Models").value == ["silueta"]
    assert [control(app, one).value for one in ("Background", "Crop", "Format")] == [
        "Colour",
        "Subject",
        "JPEG",
    ]
    assert control(app, "Recipe").value == "Product shot"
    choose(app, {"Crop": "None"})
    assert control(app, "Recipe").value == "Custom"


def test_a_recipes_colour_takes_the_place_of_the_one_that_was_picked(service: PhotoService) -> None:
    app = choose(dashboard(), {"Background": "Colour", "Background colour": "#ff0000"})
    choose(app, {"Recipe": "Product shot"})
    assert control(app, "Background colour").value != "#ff0000"
    assert control(app, "Recipe").value == "Product shot"
    app = choose(dashboard(), {"Background": "Gradient", "Recipe": "Headshot"})
    assert control(app, "From").value == control(app, "Pick from").value == "#f4f5f7"
    assert control(app, "Recipe").value == "Headshot"


def test_recipes_are_saved_used_and_deleted(service: PhotoService) -> None:
    app = choose(dashboard(), {"Background": "Blur", "Strength": 5})
    save_as(app, "Shop, blurred")
    assert control(app, "Recipe").value == "Shop, blurred"
    assert service.recipes()["Shop, blurred"].background == Blur(radius=0.05)
    fresh = choose(dashboard(), {"Recipe": "Shop, blurred"})
    assert control(fresh, "Strength").value == 5
    press(fresh, "Delete “Shop, blurred”")
    press(fresh, "Keep it")
    press(press(fresh, "Delete “Shop, blurred”"), "Delete recipe")
    assert service.recipes() == {}
    assert control(fresh, "Recipe").value == "Custom"
    assert control(fresh, "Background").value == "Blur"
    save_as(fresh, "Passport")
    assert "A recipe cannot be called “Passport”" in words(fresh)


def test_a_link_fills_the_options_and_a_broken_one_says_so(service: PhotoService) -> None:
    recipe = Recipe.of_fields(
        {"models": ["silueta"], "background": {"kind": "gradient", "start": "red", "end": "blue"}}
    )
    app = dashboard(recipe=to_link(recipe))
    assert control(app, "Models").value == ["silueta"]
    assert (control(app, "From").value, control(app, "To").value) == ("#ff0000", "#0000ff")
    assert "recipe" in app.query_params
    choose(app, {"From": "green"})
    assert "recipe" not in app.query_params  # it would not be true any more
    assert "This link holds no recipe" in words(dashboard(recipe="nonsense"))


def test_json_fills_the_options_or_is_refused_with_the_fields_name(service: PhotoService) -> None:
    app = dashboard()
    told = '{"models": ["silueta"], "framing": {"kind": "subject", "margin": 0.123}}'
    press(choose(app, {"Use a recipe’s JSON": told}), "Use this JSON")
    assert control(app, "Models").value == ["silueta"]
    assert control(app, "Space around the subject").value == 12
    press(choose(app, {"Use a recipe’s JSON": '{"models": ["u2net"], "edge": {}}'}), "Use this JSON")
    assert "edge: there is no such field" in plain(app)


def test_json_that_is_a_saved_recipe_is_called_by_its_name(service: PhotoService) -> None:
    soft = Recipe.of_fields({"models": ["silueta"], "background": {"kind": "blur", "radius": 0.04}})
    service.save_recipe("Soft", soft)
    app = choose(dashboard(), {"Recipe": "Product shot"})
    press(choose(app, {"Use a recipe’s JSON": soft.to_json()}), "Use this JSON")
    assert control(app, "Recipe").value == "Soft"
    told = '{"models": ["silueta"], "framing": {"kind": "subject", "margin": 0.123}}'
    press(choose(app, {"Use a recipe’s JSON": told}), "Use this JSON")
    assert control(app, "Recipe").value == "Custom"
    press(choose(app, {"Use a recipe’s JSON": soft.to_json()}), "Use this JSON")
    assert control(app, "Recipe").value == "Soft"
    service.forget_recipe("Soft")


def test_a_background_picture_is_kept_or_refused_with_the_files_name(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    choose(app, {"Background": "Picture"})
    uploader(app, "Background picture").set_value(("notes.txt", b"hello", "text/plain"))
    missing = "First put right what the options say in red, or still ask for."
    assert "notes.txt" in plain(healthy(app.run()))
    (process,) = [button for button in app.button if button.label == "Process photos"]
    assert process.disabled
    assert missing in plain(app)
    uploader(app, "Background picture").set_value(("sky.jpg", encoded(picture(seed=7)), "image/jpeg"))
    healthy(app.run())
    (kept,) = service.backgrounds()
    data = [json.loads(one.proto.json) for one in app.main.get("bidi_component")]
    (backgrounds,) = [one for one in data if one.get("label") == "Background pictures"]
    assert backgrounds["chosen"] == kept
    assert missing not in plain(app)
    press(app, "Process photos")
    assert service.jobs()[0].recipe.picture == kept
    service.forget_background(kept)


FILLED: dict[str, object] = {
    "models": ["u2netp", "silueta"],
    "background": {"kind": "gradient", "start": "red", "end": "#0000ff80", "angle_deg": 90},
    "shadow": {"opacity": 0.2},
    "framing": {"kind": "face", "preset": "avatar", "which": "each", "no_face": "skip"},
    "size": {"aspect": "7:5", "width": 700, "fit": "cut"},
    "edges": {"method": "matting", "shrink_px": 1.5, "decontaminate": True},
    "output": {
        "format": "webp",
        "quality": 70,
        "show": "pair",
        "name": "{stem}-{n}",
        "sheet": {"paper": "a4"},
    },
}


def told(app: AppTest) -> dict[str, object]:
    """What the page is told in this run that each control begins with, without what it was told before."""
    said: dict[str, object] = {}
    for group in app.segmented_control:
        said[group.label] = [group.proto.options[place].content for place in group.proto.default]
    for chosen in app.selectbox:
        said[chosen.label] = chosen.proto.options[chosen.proto.default]
    for some in app.multiselect:
        said[some.label] = [some.proto.options[place] for place in some.proto.default]
    for kind in (app.toggle, app.text_input, app.color_picker):
        for one in kind:
            said[one.label] = one.proto.default
    for slider in app.slider:
        said[slider.label] = list(slider.proto.default)
    return said


def test_every_run_tells_what_controls_show_whatever_became_of_the_last(service: PhotoService) -> None:
    """A run that the next click interrupts may never reach the page."""
    app = dashboard(recipe=to_link(Recipe.of_fields(FILLED)))
    first = told(app)
    assert first["Format"] == ["WebP"]
    assert first["Shape"] == "7:5"
    assert first["Recipe"] == "Custom"
    assert first["From"] == first["Pick from"] == "#ff0000"
    assert first["Quality"] == [70]
    assert told(healthy(app.run())) == first
    choose(app, {"Recipe": "Product shot"})
    filled = told(app)
    assert (filled["Recipe"], filled["Format"], filled["Crop"]) == ("Product shot", ["JPEG"], ["Subject"])
    assert told(healthy(app.run())) == filled
    for group in app.segmented_control:
        assert not group.proto.set_value, group.label
