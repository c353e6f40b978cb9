"""The database is garbage, or held by somebody else: nothing acknowledged is lost, and the server says so."""

import os
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from photoproc.jobs import Counts, JobState
from tests.faults.test_server_ends import data_dir as data_dir
from tests.faults.test_server_ends import make as make
from tests.long import LONG
from tests.server import Server, check_published_once, submit

pytestmark = [pytest.mark.faults, pytest.mark.models]


def test_jobs_are_found_again_when_the_database_is_garbage_at_the_start(
    data_dir: Path, make: Callable[..., Server]
) -> None:
    first, second = submit(data_dir, 2), submit(data_dir, 8)
    server = make()
    server.start()
    server.finished(first)
    server.done_at_least(second, 3)
    server.terminate(within_s=10)
    before = {task.number: task.cutout for task in server.tasks(second) if task.cutout is not None}
    server.store.close()
    for name in ("cache.db-wal", "cache.db-shm"):
        (data_dir / "store" / name).unlink(missing_ok=True)
    (data_dir / "store" / "cache.db").write_bytes(os.urandom(200_000))

    again = make()
    again.start()
    again.ready()
    notice = again.store.notice()
    assert notice is not None
    assert "2 jobs" in notice.message
    assert len(list(data_dir.glob("store-damaged-*"))) == 1
    again.finished(second)
    assert again.counts(first) == Counts(done=2)
    assert again.counts(second) == Counts(done=8)
    assert list(again.store.job_ids()) == [second, first]
    for task in again.tasks(second):
        if task.number in before:
            assert task.cutout == before[task.number], "made once, and found again"
    check_published_once(again, first, 2)
    check_published_once(again, second, 8)
    archive = httpx2.get(f"{again.url}/api/v1/jobs/{first}/archive", timeout=60)
    assert archive.status_code == 200


def test_a_database_that_is_locked_for_long_is_waited_for_and_writes_are_refused_in_time(
    data_dir: Path, make: Callable[..., Server]
) -> None:
    job = submit(data_dir, 6)
    server = make()
    server.start()
    server.ready()
    server.finished(job)
    later = submit(data_dir, 8)
    with locked(data_dir / "store" / "cache.db"):
        until = time.monotonic() + LOCKED_S
        used = cpu_s(server.pid)
        answers: list[tuple[int, float]] = []
        while time.monotonic() < until:
            assert status("GET", f"{server.url}/api/v1/jobs/{job}") == 200, "reading works"
            assert status("GET", f"{server.url}/api/v1/jobs/{job}/tasks/0/cutout") == 200
            begun = time.monotonic()
            code = status("POST", f"{server.url}/api/v1/jobs/{later}/cancel")
            answers.append((code, time.monotonic() - begun))
        assert {code for code, _ in answers} == {503}
        assert max(took for _, took in answers) < 6, "five seconds, and what a busy machine adds"
        assert cpu_s(server.pid) - used < LOCKED_S / 2, "nobody spins"
    server.finished(later)
    assert server.counts(later) == Counts(done=8)
    assert server.store.job(later).state is JobState.DONE
    check_published_once(server, later, 8)


LOCKED_S = 90.0 if LONG else 25.0
"""By hand as long as promised; in CI long enough for several waits to be over."""


class locked:  # noqa: N801, reads as a phrase
    """Another program holds the database's write lock meanwhile."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=60)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()
        self._connection.close()


def status(method: str, address: str) -> int:
    """The status of an answer."""
    request = urllib.request.Request(address, method=method, data=b"" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, its children not included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
