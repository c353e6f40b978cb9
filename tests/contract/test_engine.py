"""Engines: every call ends, with its answer or with the right error, whatever becomes of the children."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from photoproc.engine import Engine, local
from photoproc.engine import children as children_module
from photoproc.engine.local import LocalEngine
from photoproc.errors import TaskError
from tests.fakes import FakeEngine
from tests.faults import acts
from tests.faults.processes import children_of, is_alive, is_stopped, kill
from tests.waiting import until

ROOT = Path(__file__).parents[2]


class Make(Protocol):
    """Starts an engine of children with these limits; it is stopped after the test."""

    def __call__(self, children: int = 1, *, timeout_s: float = 60, memory_mb: int = 0) -> LocalEngine: ...


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[LocalEngine] = []

    def start(children: int = 1, *, timeout_s: float = 60, memory_mb: int = 0) -> LocalEngine:
        made.append(LocalEngine(children=children, threads=3, timeout_s=timeout_s, memory_mb=memory_mb))
        return made[-1]

    yield start
    for engine in made:
        engine.stop()


def _gives_huge_pages() -> bool:
    library, version = platform.libc_ver()
    new = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    mode = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return new and mode.exists() and "[madvise]" in mode.read_text()


def finish(engine: Engine, future: "Future[Any]", *, within_s: float = 20) -> Any:
    """What becomes of a call, under supervision as the worker gives it."""

    def over() -> bool:
        engine.supervise()
        return future.done()

    until(over, within_s=within_s)
    return engine.result(future)


def error_of(engine: Engine, future: "Future[Any]", *, within_s: float = 20) -> str:
    with pytest.raises(TaskError) as caught:
        finish(engine, future, within_s=within_s)
    return caught.value.problem.code


def told_by(sign: Path) -> int:
    """The process id a child has written to a file."""
    until(sign.exists)
    return int(sign.read_text())


def alive(engine: Engine) -> set[int]:
    """The ids of its living children."""
    return {child.pid for child in engine.children() if child.alive}


def goes(engine: Engine, pid: int) -> None:
    """A child is killed long before its time limit, under supervision as the worker gives it."""

    def gone() -> bool:
        engine.supervise()
        return not is_alive(pid)

    until(gone, within_s=30)


class EngineContract:
    """What holds for every engine. `run` lets what was submitted run, where that needs a nudge."""

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError

    @pytest.fixture
    def run(self, engine: Engine) -> Callable[[], object]:
        return lambda: None

    def test_it_runs_a_function_and_answers(self, engine: Engine, run: Callable[[], object]) -> None:
        calls = [engine.submit(acts.double, number) for number in range(5)]
        run()
        assert [finish(engine, call) for call in calls] == [0, 2, 4, 6, 8]

    def test_it_says_how_many_calls_run_at_once(self, engine: Engine) -> None:
        assert engine.capacity == 1

    def test_its_children_tell_what_there_is_to_run_models_on(self, engine: Engine) -> None:
        def told() -> bool:
            engine.supervise()
            return engine.providers() != ()

        until(told, within_s=60)
        assert "CPUExecutionProvider" in engine.providers()

    def test_an_error_of_the_function_is_an_error_of_the_task(
        self, engine: Engine, run: Callable[[], object]
    ) -> None:
        call = engine.submit(acts.raise_value_error)
        run()
        with pytest.raises(TaskError) as caught:
            finish(engine, call)
        assert caught.value.problem.code == "task_error"
        assert "ValueError" in caught.value.problem.message
        after = engine.submit(acts.double, 4)
        run()
        assert finish(engine, after) == 8

    def test_a_cancelled_call_says_so(self, engine: Engine, tmp_path: Path) -> None:
        call = engine.submit(acts.hang, tmp_path / "hanging")
        engine.cancel(call)
        assert error_of(engine, call) == "cancelled"
        engine.cancel(call)

    def test_an_ended_call_cannot_be_cancelled(self, engine: Engine, run: Callable[[], object]) -> None:
        call = engine.submit(acts.double, 1)
        run()
        finish(engine, call)
        engine.cancel(call)
        assert engine.result(call) == 2

    def test_stopping_ends_what_is_unfinished_as_cancelled(self, engine: Engine, tmp_path: Path) -> None:
        calls = [engine.submit(acts.hang, tmp_path / f"{number}") for number in range(3)]
        engine.stop()
        assert [error_of(engine, call) for call in calls] == ["cancelled"] * 3

    def test_a_stopped_engine_takes_nothing_more(self, engine: Engine) -> None:
        engine.stop()
        engine.stop()
        engine.supervise()
        with pytest.raises(TaskError) as caught:
            engine.submit(acts.double, 1)
        assert caught.value.problem.code == "engine_stopped"


class TestFakeEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return FakeEngine(1)

    @pytest.fixture
    def run(self, engine: Engine) -> Callable[[], object]:
        assert isinstance(engine, FakeEngine)
        return engine.run_all


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def engine(self, make: Make) -> Engine:
        return make()


# Children that die


@pytest.mark.parametrize(
    ("death", "how"),
    [
        (acts.kill_yourself, "signal 9"),
        (acts.segfault, "signal 11"),
        (partial(acts.leave, 3), "exit code 3"),
    ],
)
def test_a_crash_is_that_calls_alone_and_the_child_is_replaced(
    make: Make, death: Callable[[], None], how: str
) -> None:
    engine = make()
    first = finish(engine, engine.submit(acts.pid))
    function, args = (death.func, death.args) if isinstance(death, partial) else (death, ())
    call = engine.submit(function, *args)
    with pytest.raises(TaskError) as caught:
        finish(engine, call)
    assert caught.value.problem.code == "child_crashed"
    assert how in caught.value.problem.message
    assert "Retry it" in caught.value.problem.advice
    assert ("PHOTOPROC_MAX_CONCURRENT" in caught.value.problem.advice) is (how == "signal 9")
    second = finish(engine, engine.submit(acts.pid))
    assert second != first
    assert not is_alive(first)


def test_a_neighbour_of_a_crash_goes_on(make: Make, tmp_path: Path) -> None:
    engine = make(2)
    steady = engine.submit(acts.wait_for, tmp_path / "sign")
    until(steady.running)
    for _ in range(2):
        assert error_of(engine, engine.submit(acts.kill_yourself)) == "child_crashed"
    assert not steady.done()
    (tmp_path / "sign").touch()
    assert finish(engine, steady) == "seen"


def test_a_child_that_leaves_quietly_ends_its_call_at_once(make: Make) -> None:
    engine = make()
    assert error_of(engine, engine.submit(acts.leave, 0)) == "child_crashed"
    assert finish(engine, engine.submit(acts.double, 2)) == 4


def test_idle_children_that_are_killed_are_replaced_and_no_call_notices(make: Make) -> None:
    engine = make(2)
    finish(engine, engine.submit(acts.pid))
    until(lambda: len(engine.children()) == 2)
    before = [child.pid for child in engine.children()]
    for pid in before:
        kill(pid)
    until(lambda: not alive(engine) & set(before))
    assert finish(engine, engine.submit(acts.double, 3)) == 6
    until(lambda: len(alive(engine)) == 2)


@dataclass(frozen=True)
class Trap:
    """An argument that sends a signal to the child while it takes the call."""

    number: int

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return acts.signal_yourself, (self.number,)


def test_a_call_is_not_charged_for_a_child_that_was_killed_before_it(make: Make) -> None:
    """Which frees its memory for a while, and takes what it is sent, when it is dead already."""
    engine = make()
    for _ in range(3):
        pid = finish(engine, engine.submit(acts.hold, 600))
        kill(pid)
        threading.Event().wait(0.005)
        call = engine.submit(acts.double, 2)
        with suppress(TaskError):
            assert finish(engine, call) == 4
        error = call.exception()
        assert error is None or (isinstance(error, TaskError) and error.problem.code == "engine_restarted")


def test_a_child_that_closes_its_pipe_and_goes_on_is_killed(make: Make) -> None:
    engine = make()
    pid = finish(engine, engine.submit(acts.pid))
    assert error_of(engine, engine.submit(acts.close_all_and_go_on)) == "child_crashed"
    assert not is_alive(pid)
    assert finish(engine, engine.submit(acts.double, 2)) == 4


def test_an_answer_that_cannot_be_read_ends_its_call_alone(make: Make) -> None:
    engine = make()
    assert error_of(engine, engine.submit(acts.answer_unreadably)) == "child_crashed"
    assert finish(engine, engine.submit(acts.double, 2)) == 4


def test_a_child_that_dies_while_it_takes_a_call_holds_up_nobody(make: Make) -> None:
    engine = make(2)
    for _ in range(3):
        assert error_of(engine, engine.submit(acts.double, Trap(signal.SIGKILL))) == "child_crashed"
    assert [finish(engine, engine.submit(acts.double, number)) for number in range(4)] == [0, 2, 4, 6]


def test_a_child_that_stops_while_it_takes_a_call_holds_up_nobody(make: Make) -> None:
    engine = make(2, timeout_s=3)
    stopped = engine.submit(acts.double, Trap(signal.SIGSTOP))
    until(stopped.running)
    assert [finish(engine, engine.submit(acts.double, number)) for number in range(4)] == [0, 2, 4, 6]
    assert error_of(engine, stopped) == "task_timeout"
    cancelled = engine.submit(acts.double, Trap(signal.SIGSTOP))
    until(cancelled.running)
    engine.cancel(cancelled)
    assert error_of(engine, cancelled) == "cancelled"
    assert [finish(engine, engine.submit(acts.double, number)) for number in range(4)] == [0, 2, 4, 6]


def test_calls_that_wait_when_a_child_is_lost_are_carried_out_by_the_next(make: Make) -> None:
    engine = make()
    idle = finish(engine, engine.submit(acts.pid))
    kill(idle)
    until(lambda: idle not in alive(engine))
    calls = [engine.submit(acts.double, number) for number in range(4000)]
    assert [finish(engine, call) for call in calls] == [2 * number for number in range(4000)]


def test_a_large_answer_that_breaks_off_is_a_crash(make: Make, tmp_path: Path) -> None:
    engine = make()
    call = engine.submit(acts.say_much, tmp_path / "sign", 64 * 2**20)
    pid = told_by(tmp_path / "sign")
    threading.Event().wait(0.05)
    kill(pid)
    with suppress(TaskError):
        assert len(finish(engine, call)) == 64 * 2**20
    assert finish(engine, engine.submit(acts.double, 2)) == 4


def refuse(*_: object) -> None:
    raise OSError("Resource temporarily unavailable")


def test_where_no_process_can_be_started_it_says_so_and_goes_on_once_one_can(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    with monkeypatch.context() as broken:
        broken.setattr(children_module._CONTEXT.Process, "start", refuse)
        assert error_of(engine, engine.submit(acts.double, 1)) == "engine_restarted"
        assert engine.capacity == 0
        assert engine.problem is not None
        assert "Resource temporarily unavailable" in engine.problem.message
        with pytest.raises(TaskError) as caught:
            engine.submit(acts.double, 1)
        assert caught.value.problem.code == "engine_restarted"
        assert caught.value.problem.message == engine.problem.message
    until(lambda: engine.problem is None)
    assert engine.capacity == 1
    assert finish(engine, engine.submit(acts.double, 1)) == 2


@pytest.mark.parametrize("count", [1, 4])
def test_where_children_end_as_soon_as_they_start_it_says_so(make: Make, count: int) -> None:
    engine = make(count)
    engine._told = ()  # type: ignore[assignment]
    assert error_of(engine, engine.submit(acts.double, 1)) == "engine_restarted"
    assert engine.problem is not None
    assert "exit code 1" in engine.problem.message
    engine._told = (1, 0, None, None)
    until(lambda: engine.problem is None, within_s=30)
    assert finish(engine, engine.submit(acts.double, 1)) == 2


def test_a_child_that_is_not_ready_in_time_is_replaced(make: Make, tmp_path: Path) -> None:
    engine = make()
    engine.start(partial(acts.hang_once, tmp_path / "sign"))
    pid = told_by(tmp_path / "sign")
    call = engine.submit(acts.pid)
    with pytest.MonkeyPatch.context() as sooner:
        sooner.setattr(local, "_START_LIMIT_S", 0.5)
        goes(engine, pid)
    assert error_of(engine, call) == "engine_restarted"
    until(lambda: engine.problem is None, within_s=30)
    assert finish(engine, engine.submit(acts.pid)) != pid


# Children that hang


@pytest.mark.parametrize("act", [acts.hang, acts.spin])
def test_a_call_beyond_its_time_is_killed_and_the_child_replaced(
    make: Make, tmp_path: Path, act: Callable[[Path], None]
) -> None:
    engine = make(timeout_s=0.5)
    call = engine.submit(act, tmp_path / "sign")
    assert error_of(engine, call) == "task_timeout"
    pid = told_by(tmp_path / "sign")
    goes(engine, pid)
    assert error_of(engine, call) == "task_timeout"
    assert finish(engine, engine.submit(acts.pid)) != pid


def told_alone(engine: Engine, future: "Future[Any]") -> str:
    """The error of a call, told to a waiting thread though nobody supervises."""
    told: list[str] = []

    def wait() -> None:
        with pytest.raises(TaskError) as caught:
            engine.result(future)
        told.append(caught.value.problem.code)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(15)
    assert told, "it still waits"
    return told[0]


def test_whoever_waits_for_a_call_that_hangs_sees_to_its_end(make: Make, tmp_path: Path) -> None:
    engine = make(timeout_s=0.5)
    assert told_alone(engine, engine.submit(acts.hang, tmp_path / "sign")) == "task_timeout"
    assert engine.result(engine.submit(acts.double, 2)) == 4


def test_whoever_waits_for_a_call_whose_child_left_quietly_sees_to_its_end(make: Make) -> None:
    engine = make()
    assert told_alone(engine, engine.submit(acts.leave, 0)) == "child_crashed"


def test_a_stopped_child_is_killed_when_its_time_is_over(make: Make, tmp_path: Path) -> None:
    engine = make(timeout_s=1.0)
    call = engine.submit(acts.spin, tmp_path / "sign")
    pid = told_by(tmp_path / "sign")
    kill(pid, signal.SIGSTOP)
    until(lambda: is_stopped(pid))
    assert error_of(engine, call) == "task_timeout"
    until(lambda: not is_alive(pid), within_s=30)


def test_the_time_of_a_call_begins_when_it_runs(make: Make) -> None:
    engine = make(timeout_s=2.5)
    calls = [engine.submit(acts.take, 0.7) for _ in range(5)]
    assert [finish(engine, call) for call in calls] == [0.7] * 5


def test_a_call_of_several_parts_has_the_time_of_each(make: Make) -> None:
    engine = make(timeout_s=0.5)
    assert finish(engine, engine.submit(acts.take, 1.2, parts=4)) == 1.2
    assert error_of(engine, engine.submit(acts.take, 30.0, parts=2)) == "task_timeout"


def test_a_clock_that_jumps_a_day_ends_no_call(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = make(timeout_s=30)
    call = engine.submit(acts.wait_for, tmp_path / "sign")
    until(call.running)
    real = time.time
    for jump in (86_400, -86_400):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        engine.supervise()
        assert not call.done()
    (tmp_path / "sign").touch()
    assert finish(engine, call) == "seen"


def test_cancelling_kills_the_child_long_before_its_time_limit_and_another_serves_the_next_call(
    make: Make, tmp_path: Path
) -> None:
    engine = make()
    call = engine.submit(acts.hang, tmp_path / "sign")
    pid = told_by(tmp_path / "sign")
    engine.cancel(call)
    assert error_of(engine, call) == "cancelled"
    goes(engine, pid)
    assert error_of(engine, call) == "cancelled"
    assert finish(engine, engine.submit(acts.pid)) != pid


def test_a_child_that_has_done_its_share_gives_way_and_no_call_notices(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_MOST_CALLS", 3)
    engine = make(2)
    calls = [engine.submit(acts.pid) for _ in range(20)]
    pids = [finish(engine, call) for call in calls]
    assert max(pids.count(pid) for pid in pids) <= 3
    until(lambda: not any(is_alive(pid) for pid in set(pids) - {child.pid for child in engine.children()}))


# Stopping


def test_stopping_kills_even_deaf_and_stopped_children_and_releases_who_waits(
    make: Make, tmp_path: Path
) -> None:
    engine = make(3)
    deaf = engine.submit(acts.hang, tmp_path / "deaf")
    engine.submit(acts.spin, tmp_path / "stopped")
    pids = [told_by(tmp_path / name) for name in ("deaf", "stopped")]
    kill(pids[1], signal.SIGSTOP)
    all_pids = [child.pid for child in engine.children()]
    told: list[str] = []

    def wait() -> None:
        try:
            engine.result(deaf)
        except TaskError as error:
            told.append(error.problem.code)

    waiting = threading.Thread(target=wait)
    waiting.start()
    started = time.monotonic()
    engine.stop()
    assert time.monotonic() - started < 20
    waiting.join(20)
    assert told == ["cancelled"]
    assert set(pids) < set(all_pids)
    until(lambda: not any(is_alive(pid) for pid in all_pids), within_s=30)


@pytest.fixture
def parent(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process of its own with three children: one deaf, one computing, one idle."""
    page = tmp_path / "page.py"
    page.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('page ' + __name__)\n")
    command = [sys.executable, str(ROOT / "tests/faults/parent.py"), str(tmp_path / "ran"), str(page)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        yield process
        process.kill()


def test_children_die_with_a_parent_that_is_killed(parent: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert parent.stdout is not None
    pids = {int(parent.stdout.readline()), told_by(tmp_path / "hanging"), told_by(tmp_path / "spinning")}
    all_pids = children_of(parent.pid)
    assert pids < set(all_pids)
    kill(parent.pid)
    try:
        until(lambda: not any(is_alive(pid) for pid in all_pids), within_s=30)
    finally:
        for pid in all_pids:
            kill(pid)


def test_children_import_neither_streamlit_nor_the_main_module(
    parent: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert parent.stdout is not None
    parent.stdout.readline()
    imported = set(parent.stdout.readline().split())
    assert "photoproc.child" in imported
    assert not imported & {"streamlit", "diskcache", "fastapi", "rembg", "cv2", "photoproc.store"}
    for name in ("hanging", "spinning"):
        told_by(tmp_path / name)
    assert (tmp_path / "ran").read_text().split() == ["__main__"]


# What children are given


def test_children_have_their_share_of_threads_and_memory(make: Make) -> None:
    engine = make(memory_mb=1024)
    assert finish(engine, engine.submit(acts.threads)) == "3"
    with pytest.raises(TaskError) as caught:
        finish(engine, engine.submit(acts.allocate, 4096))
    assert "MemoryError" in caught.value.problem.message
    assert finish(engine, engine.submit(acts.allocate, 1)) == 1024 * 1024


@pytest.mark.skipif(
    not _gives_huge_pages(),
    reason="needs Linux that gives huge pages where they are asked for, and glibc from 2.35",
)
def test_large_blocks_of_children_are_in_huge_pages(make: Make) -> None:
    engine = make()
    assert finish(engine, engine.submit(acts.huge_pages_mb)) >= 60


def test_threads_of_children_that_wait_for_each_other_sleep(make: Make) -> None:
    engine = make()
    assert finish(engine, engine.submit(acts.variable, "OMP_WAIT_POLICY")) == "PASSIVE"


def test_warming_up_reaches_every_child_before_its_first_call(make: Make, tmp_path: Path) -> None:
    engine = make(2)
    engine.start(partial(acts.sign_in, tmp_path))
    first = finish(engine, engine.submit(acts.pid))
    assert (tmp_path / f"{first}").exists()
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    kill(first)
    until(lambda: len(list(tmp_path.iterdir())) == 3)


def test_a_warm_up_that_fails_leaves_a_child_that_works(make: Make) -> None:
    engine = make()
    engine.start(acts.raise_value_error)
    assert finish(engine, engine.submit(acts.double, 2)) == 4
