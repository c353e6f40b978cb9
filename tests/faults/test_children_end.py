"""Children crash and hang in a real server: one task is affected, the server answers throughout."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from photoproc.jobs import Counts, JobState, TaskState
from tests.faults.processes import is_alive, kill
from tests.long import LONG, by_hand
from tests.models import own_onnx
from tests.pictures import encoded, picture
from tests.server import Server, check_published_once, retry, serving, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]

# A child that was replaced has to load the model first, which counts.
TIME_LIMIT_S = 20 if LONG else 12
REPLACED_S = 10 if LONG else 30
"""By hand as soon as promised; in CI others have the machine as well."""


@pytest.fixture
def server(tmp_path: Path, model_dir: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with one child, so that it is known who works on what."""
    limits = getattr(request, "param", {})
    made = Server(tmp_path / "data", model_dir, max_concurrent=1, **limits)
    yield made
    made.close()
    print(made.log()[-5000:])


@pytest.mark.parametrize("number", [signal.SIGSEGV, *([signal.SIGKILL] if LONG else [])], ids=str)
def test_a_task_whose_child_is_killed_is_run_again_and_the_server_never_notices(
    server: Server, number: int
) -> None:
    job = submit(server.data_dir, 12)
    server.start()
    server.ready()
    server.done_at_least(job, 2)
    with server.watched() as wrong:
        target = server.counts(job).done + 3
        child = server.caught_working(job, target)
        assert child is not None
        begun = time.monotonic()
        kill(child, number)
        until(lambda: set(server.engine_children()) - {child}, within_s=REPLACED_S)
        print(f"replaced after {time.monotonic() - begun:.1f} s")
        server.finished(job)
    assert wrong == []
    assert server.counts(job) == Counts(done=12)
    assert sum(task.attempts - 1 for task in server.tasks(job)) <= 1
    check_published_once(server, job, 12)


@pytest.mark.parametrize("server", [{"task_timeout_s": TIME_LIMIT_S}], indirect=True)
def test_a_task_whose_child_hangs_is_killed_in_time_and_run_again(server: Server) -> None:
    job = submit(server.data_dir, 8)
    server.start()
    server.ready()
    server.done_at_least(job, 2)
    with server.watched() as wrong:
        target = server.counts(job).done + 2
        child = server.caught_working(job, target)
        assert child is not None
        kill(child, signal.SIGSTOP)
        until(lambda: not is_alive(child), within_s=TIME_LIMIT_S + 30)
        server.finished(job)
    assert wrong == []
    assert server.counts(job) == Counts(done=8)
    task = server.tasks(job)[target]
    assert task.attempts == 2
    check_published_once(server, job, 8)


def test_a_photo_that_always_kills_its_child_is_given_up_and_its_siblings_are_done(server: Server) -> None:
    job = submit(server.data_dir, 8)
    server.start()
    server.ready()
    server.done_at_least(job, 1)
    target, kills = server.counts(job).done + 2, 0
    with server.watched() as wrong:
        while (child := server.caught_working(job, target)) is not None:
            kill(child)
            until(lambda child=child: not is_alive(child))  # type: ignore[misc]
            kills += 1
            assert kills < 10
        server.finished(job)
    assert wrong == []
    assert kills >= 3
    job_now = server.store.job(job)
    assert (job_now.state, job_now.counts) == (JobState.DONE, Counts(done=7, failed=1))
    task = server.tasks(job)[target]
    assert task.problem is not None
    assert (task.state, task.problem.code, task.attempts) == (TaskState.FAILED, "poison", 3)
    check_published_once(server, job, 7)


TEN_GB = 10 * 2**30


@pytest.mark.parametrize(
    ("network", "limits", "codes"),
    [
        (own_onnx.hungry_for_white(TEN_GB // 4), {"child_memory_mb": 4096}, {"out_of_memory"}),
        pytest.param(
            own_onnx.endless_for_white(),
            {"task_timeout_s": 8, "max_attempts": 1},
            {"poison", "task_timeout"},
            marks=by_hand,
        ),
    ],
    ids=["10 GB", "for ever"],
)
def test_a_photo_for_which_a_model_asks_too_much_fails_alone(
    tmp_path: Path, network: bytes, limits: dict[str, Any], codes: set[str]
) -> None:
    own_onnx.put(tmp_path / "models", "greedy", network)
    photos = [picture(60, 40, seed=1), Image.new("RGB", (60, 40), "white"), picture(60, 40, seed=2)]
    files = [("files", (f"{n}.png", encoded(photo, "PNG"))) for n, photo in enumerate(photos)]
    with serving(tmp_path / "data", tmp_path / "models", max_concurrent=1, **limits) as server:
        until(lambda: models_ready(server) == ["greedy"])
        with server.watched() as wrong:
            recipe = json.dumps({"models": ["greedy"]})
            answer = httpx2.post(
                f"{server.url}/api/v1/jobs", files=files, data={"recipe": recipe}, timeout=60
            )
            assert answer.status_code == 202, answer.text
            job = answer.json()["id"]
            server.finished(job)
        assert wrong == []
        tasks = server.tasks(job)
        assert [task.state for task in tasks] == [TaskState.DONE, TaskState.FAILED, TaskState.DONE]
        assert tasks[1].problem is not None
        assert tasks[1].problem.code in codes, tasks[1].problem


def models_ready(server: Server) -> list[str]:
    told = httpx2.get(f"{server.url}/api/v1/models").json()["items"]
    return [one["name"] for one in told if one["state"] == "ready"]


@by_hand
@pytest.mark.parametrize("server", [{"max_attempts": 1}], indirect=True)
def test_a_task_that_failed_is_done_when_it_is_retried_and_the_others_are_left_as_they_are(
    server: Server,
) -> None:
    job = submit(server.data_dir, 6)
    server.start()
    for number in range(1, 6):
        child = server.caught_working(job, number)
        if server.counts(job).failed:
            break
        if child is not None:
            kill(child)  # the task fails by that, unless the child was through with it just now
    server.finished(job)
    before = server.tasks(job)
    failed = [task.number for task in before if task.state is TaskState.FAILED]
    assert server.counts(job) == Counts(done=6 - len(failed), failed=len(failed))
    assert failed
    assert {(task.problem.code, task.attempts) for task in before if task.problem} == {("poison", 1)}

    assert retry(server.data_dir, job) == len(failed)
    server.finished(job)
    job_now, after = server.store.job(job), server.tasks(job)
    assert (job_now.state, job_now.counts) == (JobState.DONE, Counts(done=6))
    assert [task.number for task in after if task != before[task.number]] == failed
    assert all(after[number].problem is None for number in failed)
    check_published_once(server, job, 6)


def test_a_cancelled_job_stops_long_before_its_time_limit_and_publishes_nothing_more(server: Server) -> None:
    job = submit(server.data_dir, 40)
    server.start()
    server.done_at_least(job, 2)
    for number in range(3, 40):
        child = server.caught_working(job, number)
        if child is None:
            continue
        kill(child, signal.SIGSTOP)
        time.sleep(1)  # what it had finished before has arrived by then
        if server.tasks(job)[number].state is TaskState.RUNNING:
            break
        kill(child, signal.SIGCONT)
    assert child is not None
    server.store.cancel(job, now=0.0)
    until(lambda: server.store.job(job).state is JobState.CANCELLED, within_s=30)
    until(lambda: not is_alive(child), within_s=30)
    counts = server.counts(job)
    assert counts.done + counts.cancelled == 40
    check_published_once(server, job, counts.done)
    again = submit(server.data_dir, 1)
    server.finished(again)
    assert server.counts(again) == Counts(done=1)
    assert server.counts(job) == counts
