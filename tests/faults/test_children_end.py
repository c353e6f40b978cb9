"""Children crash and hang in a real server: one task is affected, the server answers throughout."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc.jobs import Counts, JobState, TaskState
from tests.faults.processes import is_alive, kill
from tests.faults.server import Server, check_published_once, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]

# A child that was replaced has to import everything first, which counts.
TIME_LIMIT_S = 20


@pytest.fixture
def server(tmp_path: Path, model_dir: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with one child, so that it is known who works on what."""
    limits = getattr(request, "param", {})
    made = Server(tmp_path / "data", model_dir, max_concurrent=1, **limits)
    yield made
    made.close()
    print(made.log()[-5000:])


def caught_working(server: Server, job: str, number: int) -> int | None:
    """Wait for the child to work on a task; its process id, or None once the task has ended."""
    caught: list[int] = []

    def caught_or_over() -> bool:
        task = next(server.store.tasks(job, [number]))
        running = [one.number for one in server.store.running() if one.job_id == job]
        caught[:] = server.engine_children() if running == [number] else []
        return task.state.final or len(caught) == 1

    until(caught_or_over, within_s=60)
    return caught[0] if caught else None


def test_a_task_whose_child_is_killed_is_run_again_and_the_server_never_notices(server: Server) -> None:
    job = submit(server.data_dir, 12)
    server.start()
    server.ready()
    server.done_at_least(job, 2)
    with server.watched() as wrong:
        target = server.counts(job).done + 3
        child = caught_working(server, job, target)
        assert child is not None
        kill(child)
        server.finished(job)
        assert server.engine_children() != [child]
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
        child = caught_working(server, job, target)
        assert child is not None
        kill(child, signal.SIGSTOP)
        until(lambda: not is_alive(child), within_s=TIME_LIMIT_S + 5)
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
        while (child := caught_working(server, job, target)) is not None:
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


def test_a_cancelled_job_stops_within_five_seconds_and_publishes_nothing_more(server: Server) -> None:
    job = submit(server.data_dir, 40)
    server.start()
    server.done_at_least(job, 2)
    child = caught_working(server, job, server.counts(job).done + 1)
    assert child is not None
    kill(child, signal.SIGSTOP)
    server.store.cancel(job, now=0.0)
    until(lambda: server.store.job(job).state is JobState.CANCELLED, within_s=5)
    until(lambda: not is_alive(child), within_s=5)
    counts = server.counts(job)
    assert counts.done + counts.cancelled == 40
    check_published_once(server, job, counts.done)
    again = submit(server.data_dir, 1)
    server.finished(again)
    assert server.counts(again) == Counts(done=1)
    assert server.counts(job) == counts
