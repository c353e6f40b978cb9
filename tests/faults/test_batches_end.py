"""A child that ends with a batch, in a real server whose onnxruntime pretends to have a card."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc.jobs import Counts, JobState
from tests.faults.processes import is_alive, kill
from tests.long import by_hand
from tests.pretended import CUDA, PATH
from tests.server import ROOT, Server, check_published_once, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]

_PRETENDING = {"PYTHONPATH": os.pathsep.join([str(PATH), str(ROOT)]), "PRETENDED_CUDA": "works"}


@pytest.fixture
def server(tmp_path: Path, model_dir: Path) -> Iterator[Server]:
    """A server with one child, so that it is known who works on what."""
    made = Server(tmp_path / "data", model_dir, env=_PRETENDING, max_concurrent=1, gpu_batch=4)
    yield made
    made.close()
    print(made.log()[-5000:])


def caught_with(server: Server, job: str, number: int) -> tuple[int, list[int]] | None:
    """Wait for the only child to work on a task: its process id and all the tasks it has then.

    None once the task has ended.
    """
    caught: list[tuple[int, list[int]]] = []

    def caught_or_over() -> bool:
        running = [one.number for one in server.store.running() if one.job_id == job]
        children = server.engine_children()
        # Not while they are claimed or published, which is one after the other.
        if number in running and len(running) in (1, 4) and len(children) == 1:
            caught[:] = [(children[0], running)]
        return caught != [] or next(server.store.tasks(job, [number])).state.final

    until(caught_or_over, within_s=60)
    return caught[0] if caught else None


def begin(server: Server) -> None:
    """Return once it is known what there is to run models on."""
    server.start()
    server.ready()
    until(lambda: "event=providers_found" in server.log())


@by_hand
def test_a_child_that_is_killed_in_a_batch_charges_nobody_and_all_of_it_are_done(server: Server) -> None:
    begin(server)
    job = submit(server.data_dir, 12)
    with server.watched() as wrong:
        caught = caught_with(server, job, 5)
        assert caught is not None
        child, together = caught
        assert len(together) == 4
        kill(child, signal.SIGKILL)
        server.finished(job)
    assert wrong == []
    assert server.counts(job) == Counts(done=12)
    tasks = server.tasks(job)
    assert {(task.attempts, task.provider) for task in tasks} == {(1, CUDA)}
    assert {task.number for task in tasks if task.batch == 1} == set(together)
    assert {task.batch for task in tasks} == {1, 4}
    check_published_once(server, job, 12)


def test_the_photo_that_kills_its_child_is_found_and_the_others_are_done_uncharged(server: Server) -> None:
    begin(server)
    job = submit(server.data_dir, 8)
    kills: list[list[int]] = []
    with server.watched() as wrong:
        while (caught := caught_with(server, job, 2)) is not None:
            child, together = caught
            kill(child, signal.SIGKILL)
            until(lambda child=child: not is_alive(child))  # type: ignore[misc]
            kills.append(together)
            assert len(kills) < 10
        server.finished(job)
    assert wrong == []
    job_now = server.store.job(job)
    assert (job_now.state, job_now.counts) == (JobState.DONE, Counts(done=7, failed=1))
    assert len(kills) >= 4  # a child that is killed before it has begun charges nobody
    assert [len(together) for together in kills] == [4] + [1] * (len(kills) - 1)
    tasks = server.tasks(job)
    assert tasks[2].problem is not None
    assert (tasks[2].problem.code, tasks[2].attempts) == ("poison", 3)
    assert {task.attempts for task in tasks if task.number != 2} == {1}
    check_published_once(server, job, 7)
