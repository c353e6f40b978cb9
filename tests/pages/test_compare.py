"""The Compare page over a real service: what is listed, what is said, what the viewer is given."""

import pytest

from photoproc.jobs import Job
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from tests.pages.support import component, dashboard, labels, made_job, plain, press, words

pytestmark = pytest.mark.models
BOTH = Recipe(models=("u2netp", "u2net"))


@pytest.fixture
def made(service: PhotoService) -> Job:
    """A finished job of two photos with two models."""
    return made_job(service, "a.jpg", "<b>b.jpg", recipe=BOTH)


def test_without_comparisons_the_page_says_how_to_come_by_one(service: PhotoService) -> None:
    for job in service.jobs(limit=None):
        service.delete(job.id)
    app = dashboard("compare.py")
    assert "with two models or more" in words(app)
    assert "Process photos" in labels(app)


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
    assert [*app.get("vega_lite_chart"), *app.get("arrow_vega_lite_chart")]


def test_the_job_leads_to_its_comparison_and_back(service: PhotoService, made: Job) -> None:
    app = press(dashboard("jobs.py", job=made.id), "Compare models")
    assert component(app, "compare")["models"] == ["u2netp", "u2net"]
    press(app, "Open the job")
    assert "Compare models" in labels(app)
    single = made_job(service, "alone.jpg")
    assert "Compare models" not in labels(dashboard("jobs.py", job=single.id))
    assert "processed with one model" in plain(dashboard("compare.py", job=single.id))
    service.delete(single.id)


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
