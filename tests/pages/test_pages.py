"""Every page, run by Streamlit's own test harness over a real service."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Pagination

from photoproc.bootstrap import Runtime
from photoproc.errors import ServiceError
from photoproc.jobs import Job, JobState, TaskState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from tests.pictures import encoded, picture, sample
from tests.waiting import until

DASHBOARD = str(Path(__file__).parents[2] / "pages" / "dashboard.py")
NASTY = "<img src=x onerror=alert(1)> *a* [b](c:d).jpg"


@pytest.fixture
def service(running: Runtime) -> Iterator[PhotoService]:
    """The service, without the jobs of earlier tests."""
    yield running.service
    for job in running.service.jobs(limit=100):
        running.service.delete(job.id)


def dashboard(page: str | None = None, **query: str) -> AppTest:
    """The dashboard at a page, run once."""
    app = AppTest.from_file(DASHBOARD, default_timeout=60).run()
    if page is not None:
        app.switch_page(page)
    for name, value in query.items():
        app.query_params[name] = value
    return healthy(app.run())


def healthy(app: AppTest) -> AppTest:
    """The same app, after a look that no traceback reached the page."""
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Everything the page says in text."""
    kinds = (app.markdown, app.caption, app.subheader, app.error, app.warning, app.main.get("progress"))
    return "\n".join(
        str(getattr(one, "value", "")) + str(getattr(one, "text", "")) for kind in kinds for one in kind
    )


def labels(app: AppTest) -> list[str]:
    """The labels of the buttons on the page."""
    return [button.label for button in app.button]


def press(app: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    return healthy(next(button for button in app.button if button.label == label).click().run())


def component(app: AppTest) -> dict[str, Any]:
    """The data of the page's only component of ours."""
    (found,) = app.get("bidi_component")
    data: dict[str, Any] = json.loads(found.proto.json)
    return data


def made_job(service: PhotoService, *names: str, recipe: Recipe | None = None, wait: bool = True) -> Job:
    """A job over small pictures with these names."""
    batch = service.new_batch()
    photos = [
        photo
        for seed, name in enumerate(names)
        for photo in service.accept(batch, name, io.BytesIO(encoded(picture(seed=seed)))).photos
    ]
    job = service.submit(batch, photos, recipe or Recipe(models=("u2netp",)))
    if wait:
        until(lambda: service.job(job.id).state.final)
    return service.job(job.id)


def test_process_says_what_to_do_and_offers_nothing_to_process_yet(service: PhotoService) -> None:
    app = dashboard()
    assert app.file_uploader[0].label == "Photos or ZIP archives"
    assert app.multiselect[0].value == ["u2netp"]
    assert [group.label for group in app.segmented_control] == ["Background", "Crop"]
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
    assert "holiday/beach.jpg" in "".join(str(getattr(block, "value", "")) for block in app.get("html"))


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
    app.segmented_control[0].set_value("Colour")
    app.segmented_control[1].set_value("Face")
    healthy(app.run())
    app.color_picker[0].set_value("#ff0000")
    app.selectbox[0].set_value("Skip the photo")
    app = press(app, "Process photos")
    (job,) = service.jobs()
    assert json.loads(job.recipe.to_json()) == {
        "models": ["u2netp"],
        "background": {"kind": "colour", "colour": "#ff0000"},
        "framing": {"kind": "face", "margin": 0.6, "no_face": "skip"},
    }
    until(lambda: service.job(job.id).state.final)
    counts = service.job(job.id).counts
    assert (counts.done, counts.skipped) == (1, 3)  # of the samples only the astronaut has a face


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


def test_clearing_forgets_the_uploads(service: PhotoService) -> None:
    app = press(press(dashboard(), "Try with sample photos"), "Clear")
    assert "photos**" not in words(app)


def test_no_jobs_explains_what_a_job_is(service: PhotoService) -> None:
    app = dashboard("jobs.py")
    assert "A job is a batch of photos" in words(app)
    assert "Process photos" in labels(app)


def test_jobs_are_listed_and_found_by_title(service: PhotoService) -> None:
    made_job(service, "first.jpg")
    made_job(service, "second.jpg")
    app = dashboard("jobs.py")
    assert [job["title"] for job in component(app)["jobs"]] == ["second.jpg", "first.jpg"]
    app.text_input[0].set_value("FIRST").run()
    assert [job["title"] for job in component(app)["jobs"]] == ["first.jpg"]
    app.text_input[0].set_value("nothing like it").run()
    assert "No job's title or model contains" in words(app)


def test_a_job_can_be_opened_by_its_address_alone(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", "b.jpg")
    app = dashboard("jobs.py", job=job.id)
    assert "**Done** · 2 of 2 done" in words(app)
    assert [item["name"] for item in component(app)["items"]] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("job_id", ["0" * 32, "../../etc/passwd", "<b>"])
def test_an_unknown_job_is_an_answer_and_no_traceback(service: PhotoService, job_id: str) -> None:
    app = dashboard("jobs.py", job=job_id)
    assert "There is no such job" in words(app)
    press(app, "Show all jobs")


def test_names_reach_the_page_as_text_only(service: PhotoService) -> None:
    job = made_job(service, NASTY)
    app = dashboard("jobs.py", job=job.id)
    assert "\\<img" in words(app)
    assert not re.search(r"(?<!\\)[<\[*]", words(app).split("**Done**")[-1].replace("**", ""))
    assert component(app)["items"][0]["name"] == NASTY  # set as text by the component


def test_a_failed_task_says_why_and_can_be_retried(service: PhotoService) -> None:
    whole = encoded(picture(640, 480))
    batch = service.new_batch()
    photos = list(service.accept(batch, "cut.jpg", io.BytesIO(whole[: len(whole) // 2])).photos)
    photos += service.accept(batch, "good.jpg", io.BytesIO(whole)).photos
    job = service.submit(batch, photos, Recipe(models=("u2netp",)))
    until(lambda: service.job(job.id).state.final)
    app = dashboard("jobs.py", job=job.id)
    assert "1 of 2 done, 1 failed" in words(app)
    (show,) = [group for group in app.segmented_control if group.label == "Show"]
    show.set_value("Failed")
    healthy(app.run())
    (item,) = component(app)["items"]
    assert item["name"] == "cut.jpg"
    assert "ends before the picture does" in item["said"]
    assert item["advice"]
    app = press(app, "Retry 1 failed")
    until(lambda: service.job(job.id).state.final)
    assert service.job(job.id).counts.failed == 1


def test_cancelling_keeps_what_is_finished_and_the_rest_can_go_on(service: PhotoService) -> None:
    job = made_job(service, *(f"{n}.jpg" for n in range(30)), wait=False)
    app = press(dashboard("jobs.py", job=job.id), "Cancel job")
    until(lambda: service.job(job.id).state.final)
    counts = service.job(job.id).counts
    assert counts.cancelled > 0
    assert counts.done + counts.cancelled == 30
    healthy(app.run())
    press(app, f"Process the {counts.cancelled} cancelled")
    until(lambda: service.job(job.id).counts.done == 30)


def test_deleting_asks_once_and_leaves_nothing(service: PhotoService, running: Runtime) -> None:
    job = made_job(service, "gone.jpg")
    app = dashboard("jobs.py", job=job.id)
    assert "Delete “gone\\.jpg” with its 1 photo and 1 cutout?" in words(app)
    press(app, "Delete for good")
    assert service.jobs() == []
    assert not (running.settings.data_dir / "jobs" / job.id).exists()


def test_renaming_changes_the_title(service: PhotoService) -> None:
    job = made_job(service, "dull.jpg")
    app = dashboard("jobs.py", job=job.id)
    app.text_input[0].set_value("Autumn catalogue")
    press(app, "Save title")
    assert service.job(job.id).title == "Autumn catalogue"


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
    until(lambda: service.job(again.id).state.final)
    (task,) = service.tasks(again.id)
    assert task.state is TaskState.DONE
    assert task.mask_from_cache


def test_a_job_waits_visibly_for_a_model_that_is_not_there(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", recipe=Recipe(models=("silueta",)), wait=False)
    app = dashboard("jobs.py", job=job.id)
    until(lambda: "Waiting for silueta" in words(healthy(app.run())))
    assert service.job(job.id).state is JobState.QUEUED


def test_many_tasks_come_in_pages(service: PhotoService) -> None:
    job = made_job(
        service,
        *(f"{n:02}.jpg" for n in range(30)),
        recipe=Recipe.model_validate({"background": {"kind": "keep"}}),
    )
    app = dashboard("jobs.py", job=job.id)
    assert len(component(app)["items"]) == 24
    cast(Pagination, app.get("pagination")[0]).set_value(2)
    healthy(app.run())
    assert [item["name"] for item in component(app)["items"]] == [f"{n}.jpg" for n in range(24, 30)]


def test_system_shows_models_children_disk_and_versions(service: PhotoService) -> None:
    app = dashboard("system.py")
    said = words(app)
    assert "**u2netp**" in said
    assert "Ready" in said
    assert "CC BY-NC 4.0" in said
    assert "2 of 2" in said
    assert "free" in said
    assert "streamlit 1\\." in said
    assert "Download" in labels(app)


def test_the_sidebar_says_how_the_tool_is(service: PhotoService) -> None:
    app = dashboard()
    assert ":material/check: Ready" in [caption.value for caption in app.sidebar.caption]


def test_cutouts_worth_a_look_can_be_shown_alone(service: PhotoService) -> None:
    recipe = Recipe.model_validate({"background": {"kind": "keep"}, "framing": {"kind": "face"}})
    batch = service.new_batch()
    photos = [
        photo
        for name in ("astronaut.png", "coffee.png")
        for photo in service.accept(batch, name, io.BytesIO(sample(name))).photos
    ]
    job = service.submit(batch, photos, recipe)
    until(lambda: service.job(job.id).state.final)
    app = dashboard("jobs.py", job=job.id)
    assert "2 of 2 done, 1 needs a look" in words(app)
    (show,) = [group for group in app.segmented_control if group.label == "Show"]
    show.set_value("Needs a look")
    healthy(app.run())
    (item,) = component(app)["items"]
    assert item["name"] == "coffee.png"
    assert item["look"] == "No face was found; the whole picture is kept."


@pytest.mark.parametrize(
    ("page", "call"),
    [
        *(("jobs.py", "job"), ("jobs.py", "tasks"), ("jobs.py", "jobs")),
        *(("system.py", "models"), ("system.py", "system")),
    ],
)
def test_a_store_that_fails_is_said_and_is_no_traceback(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch, page: str, call: str
) -> None:
    job = made_job(service, "a.jpg")

    def busy(*_: object, **__: object) -> None:
        raise ServiceError("store_busy", "The store is locked.", "Try again in a moment.")

    with monkeypatch.context() as patch:
        patch.setattr(service, call, busy)
        query = {} if call == "jobs" else {"job": job.id}
        assert "The store is locked" in words(dashboard(page, **query))


def test_cancelling_that_fails_is_said(service: PhotoService, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made_job(service, "a.jpg", recipe=Recipe(models=("silueta",)), wait=False)
    app = dashboard("jobs.py", job=job.id)

    def busy(_: str) -> None:
        raise ServiceError("store_busy", "The store is locked.", "Try again in a moment.")

    monkeypatch.setattr(service, "cancel", busy)
    app = press(app, "Cancel job")
    assert "The store is locked" in words(app)


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


def test_a_job_in_the_address_of_process_leads_to_the_job(service: PhotoService) -> None:
    job = made_job(service, "a.jpg")
    app = dashboard(job=job.id)
    assert app.query_params["job"] == job.id
    healthy(app.run())
    assert "1 of 1 done" in words(app)
