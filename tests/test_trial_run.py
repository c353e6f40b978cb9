"""Time trials with real children and real weights: what comes of one, by service, API and page."""

import io
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr

from photoproc import machine
from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.jobs import Job, Photo
from photoproc.recipe import Recipe
from photoproc.service import dashboard_of
from photoproc.settings import Settings
from photoproc.trial_result import Trial, TrialState
from tests.api.support import Api, check_problem, jpeg, local
from tests.faults.processes import children_of
from tests.long import by_hand
from tests.pages.support import dashboard, labels, plain, press
from tests.pictures import sample
from tests.waiting import until

pytestmark = pytest.mark.models
BOTH = Recipe(models=("u2netp", "u2net"))


@pytest.fixture(scope="module")
def job(running: Runtime) -> Iterator[Job]:
    """A finished job of two photos with two models."""
    service = running.service
    until(lambda: not service.readiness())
    for left in running._store.unfinished():  # by other tests: a trial after another one would wait for them
        service.cancel(left)
    batch, photos = service.new_batch(), list[Photo]()
    for name in ("coffee.png", "rocket.jpg"):
        photos += service.accept(batch, name, io.BytesIO(sample(name))).photos
    made = service.submit(batch, photos, BOTH)
    until(lambda: service.job(made.id).state.final, within_s=180)
    yield service.job(made.id)
    service.delete(made.id)


@pytest.fixture
def api(running: Runtime) -> Iterator[Api]:
    with local(create_api(lambda: running.service)) as client:
        yield Api(client)


def ended(running: Runtime, job: Job) -> Trial:
    """The job's trial, once it has ended."""

    def over() -> bool:
        trial = running.service.trial(job.id)
        return trial is not None and trial.state.final and not running.service.trial_runs

    until(over, within_s=240)
    found = running.service.trial(job.id)
    assert found is not None
    return found


def measuring_pids(running: Runtime) -> list[int]:
    """The children of the trial that runs."""
    runs = running.service._runs
    return [] if runs is None else runs.measuring._pids()


def test_the_larger_model_is_slower_and_needs_more_memory(running: Runtime, job: Job) -> None:
    begun = running.service.start_trial(job.id, rounds=3)
    assert (begun.rounds, begun.threads) == (3, running.settings.threads_per_child)
    trial = ended(running, job)
    assert trial.problem is None
    assert (trial.state, trial.done, trial.total) == (TrialState.DONE, 14, 14)
    small, large = trial.figures
    for one in (small, large):
        assert [len(each) for each in one.rounds] == [2] * 3
        assert one.cold["load"] > 0
        assert one.first > one.cold["load"] + one.cold["inference"]
        assert "load" not in one.steps
        assert (one.provider, one.threads) == ("CPUExecutionProvider", running.settings.threads_per_child)
        assert one.spread is not None
        assert one.interval is None, "two photos say nothing of others"
        assert one.spread.mean == pytest.approx(sum(one.steps.values()), rel=0.001)
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    assert large.peak_bytes - small.peak_bytes > 150_000_000, "its weights alone are 176 MB"
    (ratio,) = trial.ratios
    assert (ratio.slower, ratio.faster, ratio.interval) == ("u2net", "u2netp", None)
    assert ratio.times > 1.2
    assert len(trial.others) == 3
    assert all(share is not None and 0 <= share <= 1 for share in trial.others)
    assert list((running.settings.data_dir / "tmp").glob("out-trial-*")) == []  # others may have theirs


@by_hand
def test_a_child_that_is_killed_costs_a_photo_and_the_last_one_ends_it_and_jobs_go_on(
    running: Runtime, job: Job, api: Api
) -> None:
    service = running.service

    def kill() -> None:
        for pid in measuring_pids(running):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def now() -> Trial:
        found = service.trial(job.id)
        assert found is not None
        return found

    service.start_trial(job.id, rounds=20)
    until(lambda: now().done >= 6, within_s=120)
    other = api.made({"a.jpg": jpeg()}, {"models": ["u2netp"]})
    kill()
    until(lambda: now().state.final or (now().left_out and now().done >= 4), within_s=120)
    if not now().state.final:  # or the child had just died between two runs, which is no photo's fault
        assert len(now().left_out) == len(now().photos) == 1
        kill()
    trial = ended(running, job)
    assert trial.state is TrialState.FAILED
    assert trial.problem is not None
    # The latter where it died between two runs.
    assert trial.problem.code in ("child_crashed", "engine_restarted")
    until(lambda: service.job(other["id"]).state.final)
    service.delete(other["id"])


def test_a_server_that_stops_does_not_wait_for_a_trial(model_dir: Any, settings: Settings) -> None:
    made = Runtime(settings.model_copy(update={"model_dir": model_dir}))
    made.start()
    service = made.service
    until(lambda: service.models()[0].weights.path is not None and not service.trial_runs)
    until(lambda: "u2netp" in made._weights.ready())
    batch = service.new_batch()
    photos = service.accept(batch, "coffee.png", io.BytesIO(sample("coffee.png"))).photos
    job = service.submit(batch, photos, Recipe(models=("u2netp",)))
    service.start_trial(job.id, rounds=20)
    until(lambda: (trial := service.trial(job.id)) is not None and trial.done >= 2, within_s=120)
    children = measuring_pids(made)
    assert children
    made.stop()
    assert not set(children) & set(children_of(os.getpid()))
    again = Runtime(made.settings)
    try:
        trial = again.service.trial(job.id)
        assert trial is not None
        assert trial.state is TrialState.INTERRUPTED
    finally:
        again.stop()


# The API


def test_a_trial_is_begun_looked_at_and_stopped_over_the_api(api: Api, running: Runtime, job: Job) -> None:
    address = f"/v1/jobs/{job.id}/trial"
    begun = api.client.post(address, params={"photos": 1, "rounds": 20})
    assert begun.status_code == 202, begun.text
    assert (begun.json()["total"], len(begun.json()["photos"])) == (42, 1)
    again = api.client.post(address, params={"rounds": 2})
    assert again.json()["started_at"] == begun.json()["started_at"], "the one that runs"
    until(lambda: api.client.get(address).json()["done"] >= 4, within_s=120)
    turn = api.client.get(address).json()["turn"]
    assert turn["model"] in BOTH.models
    stopped = api.client.delete(address)
    assert stopped.status_code == 200
    ended(running, job)
    body = api.client.get(address).json()
    assert (body["state"], body["problem"]["code"]) == ("stopped", "trial_stopped")
    assert [one["model"] for one in body["models"]] == ["u2netp", "u2net"]
    small = body["models"][0]
    assert len(small["rounds"]) == len(body["others"]) == small["warm"]["count"] >= 1
    assert small["first"] == pytest.approx(sum(small["cold"].values()))
    assert {one["slower"] for one in body["ratios"]} | {one["faster"] for one in body["ratios"]} == {
        "u2netp",
        "u2net",
    }
    assert api.client.delete(address).json() == body


def test_a_key_waits_for_other_peoples_photos_and_the_dashboard_does_not(
    api: Api, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = running.service
    keys = SecretStr(f"anna:{'a' * 24},ben:{'b' * 24}")
    monkeypatch.setattr(service, "settings", service.settings.model_copy(update={"api_keys": keys}))
    anna, ben = ({"X-Api-Key": key * 24} for key in "ab")
    files, recipe = {"a.jpg": jpeg(1)}, {"models": ["u2netp"]}
    with service._holds.held():
        mine = api.post(files, recipe, headers=anna).json()["id"]
        theirs = api.post(files, recipe, headers=ben).json()["id"]
        address = f"/v1/jobs/{mine}/trial"
        problem = check_problem(api.client.post(address, headers=anna), 409, "others_wait")
        assert "Other people have photos in the queue" in problem["title"]
        check_problem(api.client.post(address, headers=ben), 404, "not_found")
        monkeypatch.setattr(service, "_rests_until", 0.0)  # whatever ran before
        local_link = {"X-Api-Key": service.sign(dashboard_of(""))}
        begun = api.client.post(address, params={"rounds": 1}, headers=local_link)
        assert (begun.status_code, begun.json()["left_out"], begun.json()["earlier"]) == (202, [], None)
        ended(running, service.job(mine))
        again = api.client.post(address, params={"rounds": 1}, headers=anna)
        assert again.json()["code"] == "others_wait"
        service.delete(theirs)
    service.delete(mine)


def test_what_is_not_there_or_makes_no_sense_is_refused_over_the_api(api: Api, running: Runtime) -> None:
    made = api.finished({"a.jpg": jpeg()}, {"background": {"kind": "keep"}})
    address = f"/v1/jobs/{made['id']}/trial"
    check_problem(api.client.get(address), 404, "not_found")
    check_problem(api.client.delete(address), 404, "not_found")
    check_problem(api.client.post(address), 409, "no_model")
    check_problem(api.client.post(address, params={"photos": 0}), 422, "invalid_request")
    check_problem(api.client.post(address, params={"rounds": 99}), 422, "invalid_request")
    check_problem(api.client.post(f"/v1/jobs/{'0' * 32}/trial"), 404, "not_found")
    running.service.delete(made["id"])


def test_tasks_tell_their_memory_and_threads_over_the_api(api: Api, running: Runtime) -> None:
    made = api.finished({"new.jpg": jpeg(77)}, {"models": ["u2netp"]})
    (task,) = made["tasks"]
    assert task["threads"] == machine.cores(), "it has nothing beside it"
    assert task["peak_bytes"] > 100_000_000
    running.service.delete(made["id"])


# The page


@by_hand
def test_the_page_runs_a_trial_and_shows_what_came_of_it(running: Runtime, job: Job) -> None:
    app = dashboard("compare.py", job=job.id)
    label = next(one for one in labels(app) if "time trial" in one)
    assert "Each model alone on this machine, in turn on the same 2 photos, 6 rounds" in plain(app)
    press(app, label)
    assert running.service.trial_runs
    assert "Stop the time trial" in labels(app)
    assert "Time trial: " in plain(app)
    (told,) = dashboard("system.py").info
    assert told.value == "A time trial is running; jobs wait until it has ended."
    batch = running.service.new_batch()
    photos = running.service.accept(batch, "a.jpg", io.BytesIO(jpeg(3))).photos
    other = running.service.submit(batch, photos, Recipe(models=("u2netp",)))
    assert "A time trial is running; jobs wait until it has ended." in plain(
        dashboard("jobs.py", job=other.id)
    )
    assert running.service.job(other.id).counts.queued == 1
    ended(running, job)
    until(lambda: running.service.job(other.id).state.final)
    running.service.delete(other.id)
    said = plain(app.run())
    assert "u2netp is the fastest; u2net took " in said
    assert "in too few photos to be sure" in said
    assert "| **u2netp** |" in said
    assert "2 photos, 6 rounds" in said
    assert "of this machine" in said
    assert "Run the time trial again" in labels(app)


def test_the_page_says_that_a_trial_was_stopped(running: Runtime, job: Job) -> None:
    app = dashboard("compare.py", job=job.id)
    press(app, next(one for one in labels(app) if "time trial" in one))
    press(app, "Stop the time trial")
    ended(running, job)
    assert "The time trial was stopped." in "\n".join(one.value for one in app.run().info)
    assert "Run the time trial again" in labels(app)
