"""The machine's clock is set wrong and right again: nothing is lost, expires early or is run twice."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc.jobs import Counts
from tests.server import Server, check_published_once, submit

pytestmark = [pytest.mark.faults, pytest.mark.models]

DAY_S = 24 * 3600
WRONG_CLOCK = """
import pathlib, time

_right, _ahead = time.time, pathlib.Path(__file__).with_name("ahead")

def _wrong():
    return _right() + float(_ahead.read_text())

time.time = _wrong
"""
"""Every Python process of the server reads this clock, which can be set meanwhile; monotonic time stays
what it is, as where an administrator sets the date."""


class Wrong:
    """A clock that is ahead by what a file says."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
        self.folder = folder
        self.ahead(0)

    def ahead(self, seconds: float) -> None:
        part = self.folder / "part"
        part.write_text(str(seconds))
        part.replace(self.folder / "ahead")


@pytest.fixture
def clock(tmp_path: Path) -> Wrong:
    return Wrong(tmp_path / "clock")


@pytest.fixture
def server(tmp_path: Path, model_dir: Path, clock: Wrong) -> Iterator[Server]:
    made = Server(tmp_path / "data", model_dir, env={"PYTHONPATH": str(clock.folder)}, retention_days=1)
    yield made
    made.close()
    print(made.log()[-5000:])


def test_a_clock_that_jumps_a_day_either_way_loses_and_repeats_nothing(server: Server, clock: Wrong) -> None:
    first, job = submit(server.data_dir, 1), submit(server.data_dir, 16)
    server.start()
    server.ready()
    server.finished(first)
    for share, days in ((2, 1), (5, -1), (8, 0), (11, -1), (13, 1)):
        server.done_at_least(job, share)
        clock.ahead(days * DAY_S)
        assert server.healthy()
    server.finished(job)
    finished = server.store.job(job).finished_at
    assert finished is not None
    assert abs(finished - time.time() - DAY_S) < 3600, "the server does read the clock that was set"
    assert server.counts(job) == Counts(done=16)
    assert {task.attempts for task in server.tasks(job)} == {1}
    check_published_once(server, job, 16)

    server.terminate(within_s=10)  # and it starts with a wrong clock
    later = submit(server.data_dir, 2)
    server.start()
    server.finished(later)
    assert server.counts(first) == Counts(done=1), "kept for a day, and not gone early"
    assert server.counts(job) == Counts(done=16)
    check_published_once(server, first, 1)
