"""The Compare page over a real service: what is listed, what is said, what the viewer is given."""

import io

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from photoproc.jobs import Job
from photoproc.judging import Choice
from photoproc.models.weights import Phase
from photoproc.parts import Subject
from photoproc.people import Person
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from tests.pages.support import (
    choose,
    component,
    control,
    dashboard,
    healthy,
    labels,
    made_job,
    plain,
    press,
    words,
)
from tests.pictures import encoded, picture
from tests.waiting import until

pytestmark = pytest.mark.models
BOTH = Recipe(models=("u2netp", "u2net"))


@pytest.fixture
def made(service: PhotoService) -> Job:
    """A finished job of two photos with two models."""
    # Of pictures of its own: masks that an earlier test's job made would be used again, and take no time.
    return made_job(service, "a.jpg", "<b>b.jpg", recipe=BOTH, first=5000)


def test_without_comparisons_the_page_says_how_to_come_by_one(service: PhotoService) -> None:
    for job in service.jobs(limit=None):
        service.delete(job.id)
    until(lambda: all(service.model(name).weights.phase is Phase.READY for name in BOTH.models))
    app = dashboard("compare.py")
    assert "with two models or more" in words(app)
    app = press(app, "Compare models on new photos")
    assert control(app, "Models").value == ["u2netp", "u2net"]
    (process,) = [button for button in app.button if button.label == "Compare 2 models"]
    assert process.disabled


def test_only_jobs_with_several_models_are_listed(service: PhotoService, made: Job) -> None:
    single = made_job(service, "alone.jpg")
    rows = component(dashboard("compare.py"), "joblist")["jobs"]
    assert [row["id"] for row in rows] == [made.id]
    service.delete(single.id)


def test_a_comparison_has_its_photos_worst_first_and_a_line_a_model(service: PhotoService, made: Job) -> None:
    app = dashboard("compare.py", job=made.id)
    data = component(app, "compare")
    far = [item["disagreement"] for item in data["items"]]
    assert far == sorted(far, reverse=True)
    assert data["models"] == ["u2netp", "u2net"]
    first = data["items"][0]
    assert {shot["model"] for shot in first["shots"]} == {"u2netp", "u2net"}
    for source in (first["small"], first["heat"], first["shots"][0]["full"]):
        assert source.startswith(f"/api/v1/jobs/{made.id}/")
        assert "token=" in source
    said = plain(app)
    assert "| **u2netp** |" in said
    assert "| **u2net** |" in said
    assert "Disagreement of the models’ masks, worst first" in said


def test_where_each_model_crops_by_its_own_mask_that_is_said(service: PhotoService, made: Job) -> None:
    said = "cropped to the subject by its own model’s mask"
    cropped = BOTH.model_copy(update={"framing": Subject()})
    job = made_job(service, "a.jpg", recipe=cropped, first=5000)
    for page in ("compare.py", "vote.py"):
        assert said in words(dashboard(page, job=job.id))
        assert said not in words(dashboard(page, job=made.id))
    assert "u2netp, u2net · transparent · crop: Subject · PNG" in plain(dashboard("compare.py", job=job.id))
    service.delete(job.id)


def test_what_the_models_come_to_stands_on_top_and_can_be_taken_away(
    service: PhotoService, made: Job
) -> None:
    app = dashboard("compare.py", job=made.id)
    assert "Nobody has voted yet, so nothing is known of quality" in plain(app)
    links = {link.proto.label: link.proto.url for link in app.get("link_button")}
    for label, what in (
        ("Report", "report"),
        ("Figures (CSV, JSON)", "figures.zip"),
        ("Masks (ZIP)", "masks"),
    ):
        assert links[label].startswith(f"/api/v1/jobs/{made.id}/{what}?token=")
    assert not app.get("vega_lite_chart"), "charts are drawn for who opens them"
    app.session_state[f"charts-{made.id}"] = True
    assert len(healthy(app.run()).get("vega_lite_chart")) >= 1


def test_the_weight_of_quality_is_in_the_address(service: PhotoService, made: Job) -> None:
    assert "Weight of quality against speed" not in [
        one.label for one in dashboard("compare.py", job=made.id).slider
    ]
    ballot = service.next_ballot(made.id, "Ann").slip
    assert ballot is not None
    service.vote(made.id, ballot.id, "Ann", Choice.LEFT)
    app = dashboard("compare.py", job=made.id, weight="25")
    (slider,) = app.slider
    assert slider.value == 25
    slider.set_value(40)
    healthy(app.run())
    assert "40" in app.query_params["weight"]
    links = {link.proto.label: link.proto.url for link in app.get("link_button")}
    assert "&weight=0.4&" in links["Report"]
    service.undo(made.id, ballot.id, "Ann")


def test_the_job_leads_to_its_comparison_and_back(service: PhotoService, made: Job) -> None:
    app = press(dashboard("jobs.py", job=made.id), "Compare models")
    assert component(app, "compare")["models"] == ["u2netp", "u2net"]
    press(app, "Open the job")
    assert "Compare models" in labels(app)
    single = made_job(service, "alone.jpg")
    assert "Compare models" not in labels(dashboard("jobs.py", job=single.id))
    assert "processed with one model" in plain(dashboard("compare.py", job=single.id))
    service.delete(single.id)


def test_several_models_are_a_comparison_from_the_button_to_the_page(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    assert "Process photos" in labels(app)
    app = choose(app, {"Models": ["u2netp", "u2net"]})
    assert "side by side under Compare" in plain(app)
    app = press(app, "Compare 2 models on 4 photos")
    (job,) = service.jobs()
    assert (app.query_params["job"], job.recipe.models) == (job.id, ("u2netp", "u2net"))
    assert not service.job(job.id).state.final
    app = press(app, "Compare models")  # also while it runs
    assert component(app, "compare")["models"] == ["u2netp", "u2net"]


def test_two_models_are_chosen_anew_each_time_they_are_asked_for(service: PhotoService, made: Job) -> None:
    app = press(dashboard("compare.py"), "Compare models on new photos")
    assert control(app, "Models").value == ["u2netp", "u2net"]
    word = app.query_params["recipe"]
    app.switch_page("process.py")
    app.query_params["recipe"] = word
    app = choose(healthy(app.run()), {"Models": ["silueta"]})
    assert (control(app, "Models").value, "recipe" in app.query_params) == (["silueta"], False)
    app.switch_page("compare.py")
    app = press(healthy(app.run()), "Compare models on new photos")
    assert control(app, "Models").value == ["u2netp", "u2net"]


def test_a_job_with_one_model_leads_to_a_comparison_of_the_same_recipe(service: PhotoService) -> None:
    recipe = Recipe.of_fields({"models": ["u2net"], "background": {"kind": "colour", "colour": "#ff0000"}})
    single = made_job(service, "a.jpg", recipe=recipe)
    assert "Compare with another model" in labels(dashboard("compare.py", job=single.id))
    app = press(dashboard("jobs.py", job=single.id), "Compare with another model")
    assert control(app, "Models").value == ["u2net", "u2netp"]
    word = app.query_params["recipe"]
    app = press(dashboard(again=single.id, recipe=word), "Compare 2 models on 1 photo")
    again = service.jobs()[0]
    assert again.recipe.to_json() == recipe.model_copy(update={"models": ("u2net", "u2netp")}).to_json()
    assert [photo.sha256 for photo in service.photos(again.id)] == [
        photo.sha256 for photo in service.photos(single.id)
    ]
    kept = made_job(service, "b.jpg", recipe=Recipe.of_fields({"background": {"kind": "keep"}}))
    assert "Compare with another model" not in labels(dashboard("jobs.py", job=kept.id))


def test_the_viewer_is_given_tags_warnings_and_levels(service: PhotoService) -> None:
    large = made_job(service, "shoes/<i>a.jpg", recipe=BOTH)
    service.tag(large.id, 0, add="<b>hair")
    data = component(dashboard("compare.py", job=large.id), "compare")
    (item,) = data["items"]
    assert (item["tags"], item["fixed"]) == (["shoes", "<b>hair"], 1)
    assert data["edit"]["base"] == f"/api/v1/jobs/{large.id}/photos"
    assert service.seen_through(data["edit"]["key"]) == Person("", sees_all=True, on_page=True)
    assert [shot["levels"] for shot in item["shots"]] == [[], []]  # the preview has all its pixels
    assert set(item["codes"]) <= set(data["codes"])


def test_a_large_cutout_has_a_level_between_preview_and_all_of_it(service: PhotoService) -> None:
    batch = service.new_batch()
    photos = [
        photo
        for name, image in (("large.jpg", picture(2000, 1500)), ("small.jpg", picture(1600, 1200)))
        for photo in service.accept(batch, name, io.BytesIO(encoded(image))).photos
    ]
    job = service.submit(batch, photos, BOTH)
    single = made_job(service, "a.jpg")
    until(lambda: service.job(job.id).state.final, within_s=120)
    items = {one["name"]: one for one in component(dashboard("compare.py", job=job.id), "compare")["items"]}
    for lane, shot in enumerate(items["large.jpg"]["shots"]):
        ((wide, address),) = shot["levels"]
        assert address == f"{shot['preview']}&max_side=1600"
        task = service.task(job.id, lane)
        assert task.cutout is not None
        assert (wide, task.cutout.size_wh) == (1600, (2000, 1500))
        with (
            Image.open(io.BytesIO(service.preview(task, 0, longest=1600))) as level,
            Image.open(service.cutout(task)[0]) as whole,
        ):
            assert (level.format, level.size) == ("WEBP", (1600, 1200))
            seen = np.asarray(whole.convert("RGBA").resize((1600, 1200), Image.Resampling.LANCZOS)).astype(
                int
            )
            apart = np.abs(np.asarray(level.convert("RGBA")).astype(int) - seen)[..., 3]
            assert apart.mean() < 2
        assert task.cutout.level in {path.name for path in (service.cutout(task)[0].parent).iterdir()}
    assert [shot["levels"] for shot in items["small.jpg"]["shots"]] == [[], []]
    (task,) = service.tasks(single.id)
    assert task.cutout is not None
    assert task.cutout.level == ""  # nobody compares


def chosen_alone() -> None:
    """A page with photos that something else on it stands for."""
    import streamlit as st

    from photoproc.bootstrap import service
    from photoproc.ui.compare import compare

    found = service().comparison(st.query_params["job"])
    compare(found, token="", key="chosen", chosen={"label": "3 to 4 %", "ids": [1], "turn": 2})


def test_chosen_photos_are_told_to_the_viewer(service: PhotoService, made: Job) -> None:
    app = AppTest.from_function(chosen_alone, default_timeout=60)
    app.query_params["job"] = made.id
    data = component(healthy(app.run()), "compare")
    assert data["chosen"] == {"label": "3 to 4 %", "ids": [1], "turn": 2}
    assert (len(data["items"]), data["edit"]) == (2, None)


def test_a_job_that_is_gone_is_said(service: PhotoService) -> None:
    app = dashboard("compare.py", job="0" * 32)
    assert "Show all comparisons" in labels(app)


def test_a_comparison_is_renamed_and_deleted_where_it_is_seen(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", recipe=BOTH)
    app = dashboard("compare.py", job=job.id)
    (title,) = [field for field in app.text_input if field.label == "Title"]
    title.set_value("Which for *shoes*?")
    app = press(app, "Save title")
    assert service.job(job.id).title == "Which for *shoes*?"
    assert "Which for *shoes*?" in plain(app)
    app = press(app, "Delete for good")
    assert job.id not in [one.id for one in service.jobs(limit=None)]
    assert "Compare" in plain(app)
