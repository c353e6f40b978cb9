"""The Process page, run by Streamlit's own test harness over a real service."""

import io
import json
import zipfile
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from photoproc.errors import ServiceError
from photoproc.jobs import Job, JobState, TaskState
from photoproc.presets import from_link
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui import uploads
from photoproc.ui.submit import numbered
from tests.pages.support import (
    choose,
    component,
    control,
    cut_and_good,
    dashboard,
    healthy,
    made_job,
    press,
    words,
)
from tests.pictures import encoded, picture
from tests.waiting import until


def test_process_says_what_to_do_and_offers_nothing_to_process_yet(service: PhotoService) -> None:
    app = dashboard()
    assert app.file_uploader[0].label == "Photos or ZIP archives"
    assert app.multiselect[0].value == ["u2netp"]
    assert [group.label for group in app.segmented_control][:3] == ["Background", "Crop", "Format"]
    assert control(app, "Recipe").value == "Custom"
    (process,) = [button for button in app.button if button.label == "Process photos"]
    assert process.disabled


def test_uploads_are_checked_at_once_and_refusals_named(service: PhotoService) -> None:
    app = dashboard()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("holiday/beach.jpg", encoded(picture()))
    files = [
        ("one.jpg", encoded(picture(seed=1)), "image/jpeg"),
        ("text.jpg", b"hello there", "image/jpeg"),
        ("more.zip", packed.getvalue(), "application/zip"),
    ]
    app.file_uploader[0].set_value(files)
    healthy(app.run())
    assert "**2 photos**" in words(app)
    assert "1 file not accepted" in words(app)
    assert "text\\.jpg" in words(app)
    assert "it is text" in words(app)
    assert [photo["name"] for photo in component(app, "strip")["photos"]] == ["one.jpg", "holiday/beach.jpg"]


def test_processing_samples_leads_to_the_job_with_everything_in_it(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    assert "**4 photos**" in words(app)
    app = press(app, "Process photos")
    (job,) = service.jobs()
    assert app.query_params["job"] == job.id
    assert "astronaut\\.png and 3 more" in words(app)
    until(lambda: service.job(job.id).state.final)
    assert service.job(job.id).state is JobState.DONE
    healthy(app.run())
    items = component(app)["items"]
    assert [item["name"] for item in items] == ["astronaut.png", "cat.png", "coffee.png", "rocket.jpg"]
    assert all(item["after"] and item["before"] and item["steps"] for item in items)
    assert next(link.label for link in app.link_button).startswith("Download ZIP (")


def test_a_second_press_of_process_makes_no_second_job(service: PhotoService) -> None:
    batch = service.new_batch()
    photos = service.accept(batch, "a.jpg", io.BytesIO(encoded(picture()))).photos
    recipe = Recipe(models=("u2netp",))
    first = service.submit(batch, photos, recipe, key=batch)
    again = service.accept(batch, "a.jpg", io.BytesIO(encoded(picture()))).photos
    assert service.submit(batch, again, recipe, key=batch).id == first.id
    assert len(service.jobs()) == 1


def test_options_become_the_recipe(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    choose(
        app,
        {
            "Background": "Colour",
            "Crop": "Face",
            "Where there is no face": "Skip the photo",
            "Format": "JPEG",
        },
    )
    choose(
        app,
        {"Background colour": "tomato", "Quality": 80, "Shadow": True, "Opacity": 50, "Longest, px": "400"},
    )
    press(app, "Process photos")
    (job,) = service.jobs()
    assert job.recipe == Recipe.of_fields(
        {
            "models": ["u2netp"],
            "background": {"kind": "colour", "colour": "#ff6347"},
            "shadow": {"opacity": 0.5},
            "framing": {"kind": "face", "no_face": "skip"},
            "output": {"format": "jpeg", "quality": 80, "longest": 400},
        }
    )
    until(lambda: service.job(job.id).state.final)
    counts = service.job(job.id).counts
    assert (counts.done, counts.skipped) == (1, 3)  # of the samples only the astronaut has a face


def test_the_preview_is_of_the_chosen_photo_and_puts_the_shown_model_first(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    choose(app, {"Models": ["u2netp", "silueta"]})
    shown = component(app, "preview")
    assert shown["name"] == "astronaut.png"
    assert [from_link(look["after"]).models for look in shown["looks"]] == [
        ("u2netp", "silueta"),
        ("silueta", "u2netp"),
    ]
    assert shown["clear"]
    choose(app, {"Background": "Colour"})
    assert not component(app, "preview")["clear"]
    # The picture before is another one only where the frame is.
    assert component(app, "preview")["looks"][0]["before"] == shown["looks"][0]["before"]
    choose(app, {"Crop": "Subject"})
    assert component(app, "preview")["looks"][0]["before"] != shown["looks"][0]["before"]


def test_keeping_the_background_needs_no_model(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    app.segmented_control[0].set_value("Keep")
    healthy(app.run())
    assert app.multiselect[0].disabled
    press(app, "Process photos")
    (job,) = service.jobs()
    until(lambda: service.job(job.id).state.final)
    assert all(task.provider == "" for task in service.tasks(job.id))


def test_a_licence_that_forbids_commerce_is_said(service: PhotoService) -> None:
    app = dashboard()
    app.multiselect[0].set_value(["bria-rmbg"])
    healthy(app.run())
    assert "may not be used commercially" in words(app)


def test_jobs_of_photos_of_the_same_names_have_titles_of_their_own(service: PhotoService) -> None:
    for _ in range(3):
        press(press(dashboard(), "Try with sample photos"), "Process photos")
    first, second, third = sorted(job.title for job in service.jobs())
    assert first.endswith(" and 3 more")
    assert (second, third) == (f"{first} (2)", f"{first} (3)")


def test_clearing_forgets_the_uploads(service: PhotoService) -> None:
    app = press(press(dashboard(), "Try with sample photos"), "Clear")
    assert "photos**" not in words(app)


def test_processing_again_reuses_photos_and_masks(service: PhotoService) -> None:
    job = made_job(service, "a.jpg")
    app = press(dashboard("jobs.py", job=job.id), "Process again with…")
    assert app.query_params["again"] == job.id
    app = dashboard(again=job.id)
    assert "**1 photo** of “a\\.jpg” again" in words(app)
    app.segmented_control[0].set_value("Colour")
    healthy(app.run())
    press(app, "Process photos")
    again = service.jobs()[0]
    assert (job.title, again.title) == ("a.jpg", "a.jpg (2)")
    until(lambda: service.job(again.id).state.final)
    (task,) = service.tasks(again.id)
    assert task.state is TaskState.DONE
    assert task.mask_from_cache


def test_processing_again_starts_from_the_jobs_own_recipe(service: PhotoService) -> None:
    recipe = Recipe.model_validate(
        {
            "models": ["u2netp"],
            "background": {"kind": "colour", "colour": "#ff0000"},
            "framing": {"kind": "face", "head": 0.333, "no_face": "skip"},
        }
    )
    job = made_job(service, "a.jpg", recipe=recipe)
    app = dashboard(again=job.id)
    assert [control(app, one).value for one in ("Background", "Crop")] == ["Colour", "Face"]
    assert (control(app, "Background colour").value, control(app, "Head").value) == ("#ff0000", 33)
    assert control(app, "Head").proto.format == "%d%%"
    assert control(app, "Where there is no face").value == "Skip the photo"
    press(app, "Process photos")
    assert service.jobs()[0].recipe == recipe
    # The options for other photos are their own.
    assert [control(dashboard(), one).value for one in ("Background", "Crop")] == ["Transparent", "None"]


def test_processing_again_shows_the_photos_it_is_about(service: PhotoService) -> None:
    job = cut_and_good(service)
    app = dashboard(again=job.id)
    cut, good = component(app, "strip")["photos"]
    assert component(app, "preview")["name"] == "good.jpg"  # of the other there is no picture
    assert component(app, "preview")["address"].startswith(f"/api/v1/jobs/{job.id}/tasks/1/try?token=")
    assert (cut["name"], cut["source"]) == ("cut.jpg", "")
    assert "ends before the picture does" in cut["reason"]
    assert good["source"].startswith(f"/api/v1/jobs/{job.id}/tasks/1/before?token=")


def test_the_estimate_counts_the_masks_that_are_there(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", "b.jpg")
    app = dashboard(again=job.id)
    assert "2 photos with 1 model · their masks are there already: no model has to run again" in words(app)
    app.multiselect[0].set_value(["u2netp", "silueta"])
    assert "2 photos with 2 models · 2 of 4 masks there already" in words(healthy(app.run()))
    app.segmented_control[0].set_value("Keep")
    assert "mask" not in words(healthy(app.run()))


def test_an_unknown_job_to_process_again_leads_back_to_uploading(service: PhotoService) -> None:
    app = dashboard(again="0" * 32)
    assert "There is no such job" in words(app)
    assert app.file_uploader[0].label == "Photos or ZIP archives"


def test_uploads_and_options_survive_a_visit_to_another_page(service: PhotoService) -> None:
    app = dashboard()
    app.file_uploader[0].set_value([("one.jpg", encoded(picture(seed=1)), "image/jpeg")])
    healthy(app.run())
    app.segmented_control[0].set_value("Colour")
    healthy(app.run())
    app.switch_page("jobs.py")
    healthy(app.run())
    app.switch_page("process.py")
    healthy(app.run())
    assert "**1 photo**" in words(app)
    assert app.segmented_control[0].value == "Colour"
    press(app, "Process photos")
    (job,) = service.jobs()
    assert job.photo_count == 1


def load_again(batch: str) -> None:
    """What a page does that is loaded again in a tab which remembers a batch."""
    import streamlit as st

    from photoproc.bootstrap import service
    from photoproc.ui import uploads

    uploads.find_again(service(), batch)
    found = uploads.current(service())
    uploads.take_in(service(), [], samples=False)  # by an uploader that is empty
    st.json({"batch": found.batch, "photos": len(found.photos), "refused": len(found.refused)})


def found_again(batch: str) -> dict[str, Any]:
    """What another session is given of an upload."""
    app = healthy(AppTest.from_function(load_again, kwargs={"batch": batch}).run())
    found: dict[str, Any] = json.loads(app.json[0].value)
    return found


def batch_of(app: AppTest) -> str:
    """What the tab is told to remember."""
    batch: str = component(app, "strip")["upload"]
    return batch


def test_uploads_are_found_again_as_a_copy_until_they_become_a_job(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = dashboard()
    files = [("one.jpg", encoded(picture(seed=1)), "image/jpeg"), ("text.jpg", b"hello", "image/jpeg")]
    app.file_uploader[0].set_value(files)
    healthy(app.run())
    batch = batch_of(app)
    found = found_again(batch)
    assert (found["photos"], found["refused"], found["batch"] == batch) == (1, 1, False)
    submit, meanwhile = service.submit, []

    def submitting(*given: Any, **more: Any) -> Job:
        meanwhile.append(batch in uploads._left)
        return submit(*given, **more)

    monkeypatch.setattr(service, "submit", submitting)
    press(app, "Process photos")
    assert [job.photo_count for job in service.jobs()] == [1]
    assert meanwhile == [False], "who loads the page then would be offered what is a job already"
    for gone in (batch, "../" * 8, ""):
        assert found_again(gone)["photos"] == 0


def test_uploads_whose_files_are_gone_are_not_found_again(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    batch = batch_of(app)
    copy = found_again(batch)
    assert copy["photos"] == 4
    service.drop_batch(batch)
    staged = service.settings.data_dir / "staging"
    there = set(staged.iterdir())
    assert found_again(batch)["photos"] == 0
    assert set(staged.iterdir()) == there, "no half of it is left either"
    service.drop_batch(copy["batch"])


def test_uploads_that_did_not_become_a_job_are_found_again_and_cleared_ones_are_forgotten(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **more: Any) -> Job:
        raise ServiceError("disk_full", "The disk is full.", "Make room.")

    app = press(dashboard(), "Try with sample photos")
    batch = batch_of(app)
    monkeypatch.setattr(service, "submit", full)
    press(app, "Process photos")
    assert "The disk is full" in words(app)
    assert found_again(batch)["photos"] == 4
    press(app, "Clear")
    assert batch not in uploads._left


def test_what_many_have_uploaded_is_not_remembered_for_ever(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_AT_MOST", 1)
    first, second = (batch_of(press(dashboard(), "Try with sample photos")) for _ in range(2))
    assert [found_again(one)["photos"] for one in (first, second)] == [0, 4]


def test_a_job_in_the_address_of_process_leads_to_the_job(service: PhotoService) -> None:
    job = made_job(service, "a.jpg")
    app = dashboard(job=job.id)
    assert app.query_params["job"] == job.id
    healthy(app.run())
    assert "1 of 1 done" in words(app)


@pytest.mark.parametrize(
    ("title", "others", "following"),
    [
        ("Shoes", ["Shoes"], "Shoes (2)"),
        ("Shoes", ["Shoes", "Shoes (2)", "Shoes (3)", "Hats (7)"], "Shoes (4)"),
        ("Shoes (2)", ["Shoes", "Shoes (2)"], "Shoes (3)"),
        ("Shoes (2)", [], "Shoes (2)"),
        ("Shoes (size 7)", ["Shoes (size 7)"], "Shoes (size 7) (2)"),
        ("Trip (2024)", ["Trip (2024)"], "Trip (2024) (2)"),
        ("(2)", ["(2)"], "(2) (2)"),
    ],
)
def test_who_processes_again_can_tell_the_jobs_apart(title: str, others: list[str], following: str) -> None:
    assert numbered(title, others) == following
