"""The server is killed, asked to end, doubled: no acknowledged task is lost, none is published twice."""

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from photoproc.jobs import Counts, JobState, TaskState
from tests.long import LONG
from tests.server import Server, check_published_once, sign, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]


PHOTOS, KILLS, QUEUED = (200, 20, 500) if LONG else (12, 2, 12)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make(data_dir: Path, model_dir: Path) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def server(**settings: Any) -> Server:
        made.append(Server(data_dir, model_dir, **settings))
        return made[-1]

    yield server
    for one in made:
        one.close()
    if made:
        print(made[0].log()[-5000:])


@contextmanager
def downloading(server: Server, job: str) -> Iterator[None]:
    """A browser with a bad connection, in the middle of an archive of 300 MB."""
    (task,) = server.tasks(job)
    assert task.cutout is not None
    os.truncate(server.data_dir / "jobs" / job / "out" / task.cutout.file, 300_000_000)
    path = f"/api/v1/jobs/{job}/archive?token={sign(server.data_dir, job)}"
    with socket.create_connection(("localhost", server.port)) as browser:
        browser.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert browser.recv(100).startswith(b"HTTP/1.1 200")
        yield


def test_a_server_killed_at_several_moments_loses_nothing_and_publishes_once(
    data_dir: Path, make: Callable[..., Server]
) -> None:
    job = submit(data_dir, PHOTOS)
    server, drawn, resumed = make(), random.Random(), []
    for moment in sorted(drawn.sample(range(1, PHOTOS * 3 // 4), KILLS)):
        begun = time.monotonic()
        server.start()
        before = server.counts(job).done
        # However it was killed before, it must go on within 30 s of its start.
        server.done_at_least(job, before + 1, within_s=30)
        resumed.append(time.monotonic() - begun)
        server.done_at_least(job, moment)
        time.sleep(drawn.random())  # so that it is caught at any step
        server.kill()
        assert len(server.store.running()) <= 2
    server.start()
    server.finished(job)
    took = sorted(resumed)
    print(f"{KILLS} kills: went on after {took[-1]:.1f} s at most, {took[KILLS // 2]:.1f} s in the median")
    assert server.counts(job) == Counts(done=PHOTOS)
    assert server.store.job(job).state is JobState.DONE
    assert {task.attempts for task in server.tasks(job)} == {1}, "a server's death is no task's fault"
    check_published_once(server, job, PHOTOS)
    until(lambda: list((data_dir / "tmp").iterdir()) == [])
    assert server.store.running() == []


@pytest.mark.parametrize("asked", [Server.terminate, *([Server.interrupt] if LONG else [])])
def test_a_server_that_is_asked_to_end_does_so_in_time_and_goes_on_later(
    data_dir: Path, make: Callable[..., Server], asked: Callable[..., None]
) -> None:
    slow, job = submit(data_dir, 1), submit(data_dir, QUEUED)
    server = make()
    server.start()
    server.ready()
    server.finished(slow)
    server.done_at_least(job, 4)
    with downloading(server, slow):  # for which the server by itself would wait for ever
        asked(server, within_s=10)
    left = server.counts(job)
    assert left.running == left.failed == left.cancelled == 0
    assert left.queued > 0
    assert left.queued + left.done == QUEUED
    assert server.store.running() == []
    assert {task.attempts for task in server.tasks(job) if task.state is TaskState.QUEUED} == {0}
    check_published_once(server, job, left.done)

    server.start()
    server.done_at_least(job, left.done + 1, within_s=30)
    server.finished(job, within_s=900)
    assert server.counts(job) == Counts(done=QUEUED)
    assert {task.attempts for task in server.tasks(job)} == {1}
    check_published_once(server, job, QUEUED)
    order = sorted(server.tasks(job), key=lambda task: task.finished_at or 0)
    # Two run at a time, so neighbours may change places.
    assert all(abs(task.number - place) <= 3 for place, task in enumerate(order))


def test_two_servers_on_one_folder_share_the_work_and_one_takes_over_from_the_other(
    data_dir: Path, make: Callable[..., Server]
) -> None:
    job = submit(data_dir, 24)
    one, other = make(max_concurrent=1), make(max_concurrent=1)
    one.start()
    other.start()
    owners: set[str] = set()

    def both_work() -> bool:
        owners.update(task.owner for task in one.store.running())
        return len(owners) == 2

    until(both_work, within_s=60)
    one.kill()
    claimed = {task.token for task in one.store.running()}
    until(lambda: not claimed & {task.token for task in one.store.running()}, within_s=30)
    one.finished(job)
    assert one.counts(job) == Counts(done=24)
    assert {task.attempts for task in one.tasks(job)} == {1}
    check_published_once(one, job, 24)
