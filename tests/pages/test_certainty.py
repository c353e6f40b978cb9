"""Certainty on the pages: the option, what comes first, and checking it afterwards."""

import pytest

from photoproc.jobs import Job
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui.options import estimate
from tests.pages.support import (
    choose,
    component,
    control,
    dashboard,
    healthy,
    labels,
    made_job,
    press,
    show_only,
    words,
)
from tests.waiting import until

pytestmark = pytest.mark.models
CHECKED = Recipe(models=("u2netp",), certainty=True)


def finished(service: PhotoService, job: Job) -> Job:
    until(lambda: service.job(job.id).state.final, within_s=180)
    return service.job(job.id)


def make_uncertain(service: PhotoService, monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """Have the store say that these tasks are uncertain."""
    monkeypatch.setattr(service._store, "uncertain", lambda _: values)


def names(app: object) -> list[str]:
    return [item["name"] for item in component(app, "gallery")["items"]]  # type: ignore[arg-type]


def test_the_option_is_offered_where_a_model_runs_and_becomes_the_recipes(service: PhotoService) -> None:
    app = press(dashboard(), "Try with sample photos")
    assert control(app, "Check certainty").value is False
    choose(app, {"Models": ["u2netp"], "Check certainty": True})
    press(app, "Process photos")
    job = service.jobs()[0]
    assert job.recipe == CHECKED
    service.cancel(job.id)
    app = choose(dashboard(), {"Background": "Keep"})
    assert "Check certainty" not in [toggle.label for toggle in app.toggle]


def test_uncertain_tasks_come_first_and_the_order_is_said(
    service: PhotoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoproc.ui.tasks._PER_PAGE", 2)
    job = made_job(service, *(f"{n}.jpg" for n in range(4)), recipe=CHECKED)
    make_uncertain(service, monkeypatch, {1: 0.4, 3: 0.9})
    app = dashboard("jobs.py", job=job.id)
    assert "Most uncertain first" in words(app)
    assert names(app) == ["3.jpg", "1.jpg"]
    assert component(app, "gallery")["place"] == {"first": 0, "total": 4, "previous": None, "next": 0}
    later = dashboard("jobs.py", job=job.id, page="2")
    assert names(later) == ["0.jpg", "2.jpg"]
    assert component(later, "gallery")["place"] == {"first": 2, "total": 4, "previous": 1, "next": None}


def test_without_the_option_tasks_stand_in_their_order(service: PhotoService) -> None:
    job = made_job(service, "a.jpg", "b.jpg")
    app = dashboard("jobs.py", job=job.id)
    assert "Most uncertain first" not in words(app)
    assert names(app) == ["a.jpg", "b.jpg"]


def test_a_finished_job_is_checked_afterwards_once(service: PhotoService) -> None:
    # Of pictures of its own: what an earlier test knows of others is used again.
    job = made_job(service, "a.jpg", "b.jpg", first=7000)
    app = press(dashboard("jobs.py", job=job.id), "Check certainty")
    made = finished(service, service.jobs()[0])
    assert (made.id == job.id, made.title) == (False, f"{job.title} · certainty")
    assert made.recipe == job.recipe.model_copy(update={"certainty": True})
    assert app.query_params["job"] == made.id
    assert "Check certainty" not in labels(healthy(app.run()))
    press(dashboard("jobs.py", job=job.id), "Check certainty")
    assert len(service.jobs()) == 2
    for task in service.tasks(made.id):
        assert task.mask_from_cache
        assert task.uncertainty is not None
        assert "certainty" in task.seconds
        assert "inference" not in task.seconds
    for item in component(dashboard("jobs.py", job=made.id), "gallery")["items"]:
        assert "Uncertainty" in [name for name, _ in item["facts"]]
        assert "check certainty" in [step for step, _ in item["steps"]]
    kept = made_job(service, "a.jpg", recipe=Recipe.model_validate({"background": {"kind": "keep"}}))
    assert "Check certainty" not in labels(dashboard("jobs.py", job=kept.id))


def test_noise_is_uncertain_and_is_shown_as_worth_a_look(service: PhotoService) -> None:
    job = made_job(service, "noise.jpg", recipe=CHECKED)
    (task,) = service.tasks(job.id)
    assert task.uncertainty is not None
    assert task.uncertainty > 0.3
    app = show_only(dashboard("jobs.py", job=job.id), "Needs a look")
    assert "Most uncertain first" in words(app)
    (item,) = component(app, "gallery")["items"]
    assert "disagrees with itself" in item["notes"][0]
    assert f"Uncertainty {task.uncertainty:.2f}" in item["notes"][0]
    assert item["looks"] >= 1


def test_the_estimate_knows_what_is_still_to_be_looked_at(service: PhotoService) -> None:
    job = made_job(service, "estimate.jpg", first=7100)
    given = list(service.photos(job.id))
    assert "no model has to run again" in estimate(service, given, ["u2netp"])
    assert "the models only check certainty" in estimate(service, given, ["u2netp"], certainty=True)
    made = finished(service, service.check_certainty(job.id))
    assert made.counts.done == 1
    assert service.check_speeds()["u2netp"] > 0
    assert "no model has to run again" in estimate(service, given, ["u2netp"], certainty=True)
