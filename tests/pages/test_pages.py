"""The other pages, run by Streamlit's own test harness over a real service."""

import io
import re
from dataclasses import replace
from importlib.metadata import version
from typing import Any, cast

import pytest
from PIL import Image
from streamlit.testing.v1.element_tree import Pagination

from photoproc.bootstrap import Runtime
from photoproc.errors import Problem, ServiceError
from photoproc.hardware import Hardware
from photoproc.jobs import JobState, Task
from photoproc.models.providers import Choice
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from tests.pages.support import (
    component,
    control,
    cut_and_good,
    dashboard,
    healthy,
    labels,
    made_job,
    plain,
    press,
    show_only,
    words,
)
from tests.pictures import encoded, opened_sample, picture, sample
from tests.waiting import until

NASTY = "<img src=x onerror=alert(1)> *a* [b](c:d).jpg"


def test_no_jobs_explains_what_a_job_is(service: PhotoService) -> None:
    for job in service.jobs(limit=None):  # other tests have left some
        service.delete(job.id)
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
    assert "No job's title, model or person contains" in words(app)


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


def test_a_failed_task_says_why_and_another_try_is_offered_only_where_it_may_help(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cut_and_good(service)
    app = dashboard("jobs.py", job=job.id)
    assert "1 of 2 done, 1 failed" in words(app)
    show_only(app, "Failed")
    (item,) = component(app)["items"]
    assert item["name"] == "cut.jpg"
    assert "ends before the picture does" in item["said"]
    assert item["advice"]
    assert "Retry 1 failed" not in labels(app)  # a truncated photo fails however often it is tried

    asked = service.tasks

    def without_memory(job_id: str, **of: Any) -> list[Task]:
        problem = Problem(code="out_of_memory", message="There was too little memory.")
        return [replace(task, problem=problem if task.problem else None) for task in asked(job_id, **of)]

    with monkeypatch.context() as patch:
        patch.setattr(service, "tasks", without_memory)
        press(healthy(app.run()), "Retry 1 failed")
    until(lambda: service.job(job.id).state.final)
    assert service.job(job.id).counts.failed == 1


def test_a_cutout_that_is_lost_is_said_on_its_card_and_can_be_made_again(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", "b.jpg")
    cutout = service.task(job.id, 0).cutout
    assert cutout is not None
    service.output(job.id, cutout.file).unlink()
    app = dashboard("jobs.py", job=job.id)
    lost, there = component(app)["items"]
    assert "a.jpg” is gone" in lost["said"]
    assert "after" not in lost
    assert there["after"]
    assert "1 of 2 done, 1 failed" in words(app)
    press(app, "Retry 1 failed")
    until(lambda: service.job(job.id).counts.done == 2)


def test_cancelling_keeps_what_is_finished_and_the_rest_can_go_on(service: PhotoService) -> None:
    job = made_job(service, *(f"{n}.jpg" for n in range(30)), wait=False)
    app = press(dashboard("jobs.py", job=job.id), "Cancel job")
    until(lambda: service.job(job.id).state.final)
    counts = service.job(job.id).counts
    assert counts.cancelled > 0
    assert counts.done + counts.cancelled == 30
    healthy(app.run())
    press(app, f"Process the {counts.cancelled} cancelled")
    until(lambda: service.job(job.id).counts.done == 30, within_s=240)


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


def test_a_job_can_be_finished_without_a_model_that_cannot_be_had(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", recipe=Recipe(models=("u2netp", "silueta")), wait=False)
    app = dashboard("jobs.py", job=job.id)
    until(lambda: "Finish without silueta" in labels(healthy(app.run())))
    until(lambda: service.job(job.id).counts.done == 1)
    app = press(app, "Finish without silueta")
    counts = service.job(job.id).counts
    assert (counts.done, counts.skipped, service.job(job.id).state) == (1, 1, JobState.DONE)
    healthy(app.run())
    assert "Waiting for" not in words(app)
    assert "Process the 1 skipped" in labels(app)  # once the model is there


def test_a_job_of_one_model_is_cancelled_rather_than_finished_without_it(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", recipe=Recipe(models=("silueta",)), wait=False)
    app = dashboard("jobs.py", job=job.id)
    until(lambda: "Download silueta again" in labels(healthy(app.run())))
    assert "Finish without silueta" not in labels(app)


def test_who_made_a_job_over_the_api_is_said(service: PhotoService) -> None:
    made_job(service, "mine.jpg")
    batch = service.new_batch()
    photos = service.accept(batch, "theirs.jpg", io.BytesIO(encoded(picture()))).photos
    job = service.submit(batch, photos, Recipe(models=("u2netp",)), owner="studio *2*")
    app = dashboard("jobs.py")
    assert [one["owner"] for one in component(app)["jobs"]] == ["studio *2*", ""]
    app.text_input[0].set_value("studio").run()
    assert [one["title"] for one in component(app)["jobs"]] == ["theirs.jpg"]
    assert "by studio \\*2\\*" in words(dashboard("jobs.py", job=job.id))


def test_an_address_shows_the_filter_and_the_page_it_names(service: PhotoService) -> None:
    keep = Recipe.model_validate({"background": {"kind": "keep"}})
    job = made_job(service, *(f"{n:02}.jpg" for n in range(30)), recipe=keep)
    app = dashboard("jobs.py", job=job.id, page="2")
    assert [item["id"] for item in component(app)["items"]] == [*range(24, 30)]
    assert component(app)["place"] == {"first": 24, "total": 30, "previous": 23, "next": None}
    app = dashboard("jobs.py", job=job.id, show="needs-a-look")
    assert component(app)["items"] == []
    for nonsense in ("-1", "0", "99", "x"):
        items = component(dashboard("jobs.py", job=job.id, page=nonsense, show=nonsense))["items"]
        assert len(items) in (6, 24)
    assert "No job's title, model or person contains “no such”" in words(
        dashboard("jobs.py", search="no such")
    )


def test_a_filter_does_not_outlive_its_address(service: PhotoService) -> None:
    job = made_job(service, "one.jpg")
    app = show_only(dashboard("jobs.py", job=job.id), "Failed")
    assert "failed" in app.query_params["show"]
    press(app, "All jobs")
    app.query_params["job"] = job.id
    healthy(app.run())
    assert control(app, "Show").value == "All"
    assert len(component(app)["items"]) == 1


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
    assert "CC BY-NC 4.0 (non-commercial)" in plain(app)
    assert "2 of 2" in said
    assert "free" in said
    assert "streamlit 1\\." in said
    assert f" · onnx {version('onnx')}" in plain(app), "what only some providers need"
    assert "Download" in labels(app)


def test_system_says_what_models_run_on(service: PhotoService) -> None:
    made_job(service, "a.jpg", first=700)  # a photo whose mask is not kept yet
    until(lambda: service.system(with_disk_use=False).hardware.there != ())
    said = plain(dashboard("system.py"))
    assert "Models run on" in said
    assert re.search(r"CPU \([^)]*u2netp", said)
    assert re.search(r"chosen: auto · found: (OpenVINO \(CPU\), )?(ncnn \(CPU\), )?CPU", said)
    assert "provider" not in said


def test_system_names_variables_that_are_no_settings(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOPROC_RETENTON_DAYS", "3")
    assert "Was PHOTOPROC_RETENTION_DAYS meant?" in plain(dashboard("system.py"))


def test_system_warns_where_models_do_not_run_on_what_was_chosen(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service._worker, "hardware", Hardware(service._engine, Choice(name="cuda")))
    service._worker.hardware.look()
    said = plain(dashboard("system.py"))
    assert "Models are to run on CUDA (NVIDIA)" in said
    assert "can use CPU only" in said
    assert "no model has run since the start" in said


def test_the_sidebar_says_how_the_tool_is(service: PhotoService) -> None:
    app = dashboard()
    assert ":material/check: Ready" in [caption.value for caption in app.sidebar.caption]


def test_cutouts_worth_a_look_can_be_shown_alone(service: PhotoService) -> None:
    recipe = Recipe.model_validate({"background": {"kind": "keep"}, "framing": {"kind": "face"}})
    twice = Image.new("RGB", (1024, 512))
    for left in (0, 512):
        twice.paste(opened_sample("astronaut.png"), (left, 0))
    files = {"none.png": sample("coffee.png"), "one.png": sample("astronaut.png"), "two.jpg": encoded(twice)}
    batch = service.new_batch()
    photos = [
        photo
        for name, data in files.items()
        for photo in service.accept(batch, name, io.BytesIO(data)).photos
    ]
    job = service.submit(batch, photos, recipe)
    until(lambda: service.job(job.id).state.final)
    app = dashboard("jobs.py", job=job.id)
    assert "3 of 3 done, 1 needs a look" in words(app)
    # To keep it whole was chosen: that is noted, and is nothing to look into.
    none = component(app)["items"][0]
    assert (none["notes"], none["looks"]) == (["No face was found; the whole picture is kept."], 0)
    show_only(app, "Needs a look")
    (item,) = component(app)["items"]
    assert (item["name"], item["looks"]) == ("two.jpg", 1)
    assert item["notes"] == ["2 faces were found; the largest is used."]


@pytest.mark.parametrize(
    ("page", "call"),
    [
        *(("jobs.py", "job"), ("jobs.py", "numbered_tasks"), ("jobs.py", "jobs")),
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
