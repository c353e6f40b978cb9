"""The Vote page over a real service, and what Compare says of the votes."""

import pytest

from photoproc.errors import ServiceError
from photoproc.jobs import Job
from photoproc.judging import Choice
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.voting import ballot_pictures, voting
from tests.pages.support import component, dashboard, labels, made_job, plain, press, words
from tests.waiting import until

pytestmark = pytest.mark.models
BOTH = Recipe(models=("u2netp", "u2net"))
VOTERS = ("Ann", "Ben", "Cleo", "Dan", "Eve")


@pytest.fixture
def made(service: PhotoService) -> Job:
    """A finished job of three photos with two models."""
    job = made_job(service, "0.jpg", "1.jpg", "2.jpg", recipe=BOTH, wait=False)
    until(lambda: service.job(job.id).state.final, within_s=180)
    return service.job(job.id)


def vote_all(service: PhotoService, job: Job, voter: str, for_model: str | None) -> None:
    while (slip := service.next_ballot(job.id, voter).slip) is not None:
        choice = Choice.LEFT if for_model in (None, slip.left) else Choice.RIGHT
        service.vote(job.id, slip.id, voter, choice)


def test_without_comparisons_the_page_says_how_to_come_by_one(service: PhotoService) -> None:
    app = dashboard("vote.py")
    assert "with two models or more" in words(app)
    assert "Process photos" in labels(app)


def test_jobs_with_several_models_are_listed_to_vote_on(service: PhotoService, made: Job) -> None:
    made_job(service, "alone.jpg")
    rows = component(dashboard("vote.py"), "joblist")["jobs"]
    assert [row["id"] for row in rows] == [made.id]


def test_the_booth_is_given_links_and_nothing_that_tells_models(service: PhotoService, made: Job) -> None:
    data = component(dashboard("vote.py", job=made.id), "vote")
    assert data["address"] == f"/api/v1/jobs/{made.id}"
    service.check_link(voting(made.id), data["voting"])
    for opened in (made.id, ballot_pictures(made.id)):
        with pytest.raises(ServiceError):
            service.check_link(opened, data["voting"])
    assert str(data).count("token") == 0
    assert "u2net" not in str(data)


def test_a_job_that_cannot_be_voted_on_is_said(service: PhotoService) -> None:
    app = dashboard("vote.py", job="0" * 32)
    assert "There is no such job." in plain(app)
    assert "Show what can be voted on" in labels(app)
    single = made_job(service, "alone.jpg")
    app = dashboard("vote.py", job=single.id)
    assert "was processed with one model" in plain(app)


def test_where_every_face_has_a_cutout_it_is_said_which_is_judged(service: PhotoService) -> None:
    each = Recipe.model_validate(
        {"models": ["u2netp", "u2net"], "framing": {"kind": "face", "which": "each", "no_face": "skip"}}
    )
    said = {}
    for recipe in (BOTH, each):
        job = made_job(service, "a.jpg", recipe=recipe, wait=False)
        said[recipe] = plain(dashboard("vote.py", job=job.id))
    assert "the cutout of the first one is judged" in said[each]
    assert "the cutout of the first one is judged" not in said[BOTH]


def test_compare_leads_to_the_vote_and_shows_what_it_came_to(service: PhotoService, made: Job) -> None:
    app = dashboard("compare.py", job=made.id)
    assert "No votes yet" in plain(app)
    assert "Preferred" not in plain(app)
    slip = service.next_ballot(made.id, "Ann").slip
    assert slip is not None
    service.vote(made.id, slip.id, "Ann", Choice.BOTH_BAD)
    said = plain(dashboard("compare.py", job=made.id))
    assert "In 1 of 1 vote both were called bad." in said
    assert "Not enough votes yet: 1 vote cannot tell any two of the models apart." in said
    assert "| Model | Preferred |" in said
    for voter in VOTERS:
        vote_all(service, made, voter, "u2net")
    said = plain(dashboard("compare.py", job=made.id))
    assert "15 votes: u2net is ahead of u2netp." in said
    rows = [line for line in said.splitlines() if line.startswith("| **") and "% of 15 (" in line]
    assert [row.split("|")[1].strip() for row in rows] == ["**u2net**", "**u2netp**"]
    assert rows[0].endswith("| 1 |")
    assert "side won" not in said
    assert "both were called bad" not in said
    assert component(press(app, "Vote"), "vote")["address"].endswith(made.id)


def test_a_side_that_is_chosen_too_often_is_said(service: PhotoService, made: Job) -> None:
    for voter in VOTERS:
        vote_all(service, made, voter, None)
    said = plain(dashboard("compare.py", job=made.id))
    assert "The left side won 100% of the 15 votes that one side won" in said
