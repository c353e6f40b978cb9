"""Where tasks run: a supervised pool of child processes.

`Engine` is the seam; whatever runs tasks elsewhere (a cluster) implements it as well.
"""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, Protocol, TypeVar

import pebble
import structlog
from pebble.common import CONSTS

from photoproc import child
from photoproc.errors import TaskError

log = structlog.get_logger()
Answer = TypeVar("Answer")

# Children write only files that nobody refers to yet, so a short grace before SIGKILL is enough.
CONSTS.term_timeout = 0.5

_START_LIMIT_S = 90.0
"""A call not begun by any child for so long means that the pool itself is stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildInfo:
    """A child process."""

    pid: int
    alive: bool


class Engine(Protocol):
    """Runs functions of `photoproc.child` away from the server process."""

    @property
    def capacity(self) -> int:
        """How many calls run at the same time."""
        ...

    def submit(self, function: Callable[..., Answer], *args: object) -> "Future[Answer]":
        """Run a function in a child; it must be importable by name."""
        ...

    def result(self, future: "Future[Answer]") -> Answer:
        """The answer of a finished call.

        Waits for it. Raises TaskError: child_crashed, task_timeout, cancelled, or engine_restarted
        (not the task's fault).
        """
        ...

    def cancel(self, future: "Future[Any]") -> None:
        """Stop a call; a child that is running it is killed and replaced."""
        ...

    def supervise(self) -> None:
        """Called now and then: put right what has gone wrong with the children."""
        ...

    def children(self) -> list[ChildInfo]:
        """The child processes there are."""
        ...

    def stop(self) -> None:
        """Kill all children; unfinished calls end as cancelled."""
        ...


class _ChildProcess(SpawnProcess):
    """A spawned process that does not import the server's main module (Streamlit's command line)."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802, the name multiprocessing looks for
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _ChildContext(SpawnContext):
    Process = _ChildProcess


@dataclass(frozen=True, slots=True)
class _Call:
    since: float
    """When it was submitted, or when it was first seen to run; monotonic, so clock jumps end nothing."""
    runs: bool


class LocalEngine:
    """Child processes on this machine, each with a time limit for a call and replaced when it dies."""

    def __init__(self, *, children: int, threads: int, timeout_s: float, memory_mb: int = 0) -> None:
        self._count = children
        self._threads = threads
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._pool = self._new_pool()
        self._calls: dict[Future[Any], _Call] = {}
        self._timed_out: set[Future[Any]] = set()
        self._stopped = False

    @property
    def capacity(self) -> int:
        return self._count

    def start(self, warm_up: Callable[[], int] = child.warm_up) -> None:
        """Start the children and have them import what a first call needs."""
        for _ in range(self._count):
            self.submit(warm_up)

    def submit(self, function: Callable[..., Answer], *args: object) -> "Future[Answer]":
        with self._lock:
            if self._stopped:
                raise TaskError("engine_stopped", "The server is stopping.", "")
            if not self._pool.active:
                self._replace_pool("broken")
            future: Future[Answer] = self._pool.schedule(function, args=args)
            self._calls[future] = _Call(since=time.monotonic(), runs=False)
        future.add_done_callback(lambda done: self._calls.pop(done, None))
        return future

    def result(self, future: "Future[Answer]") -> Answer:
        try:
            return future.result()
        except CancelledError as error:
            if future in self._timed_out:
                self._timed_out.discard(future)
                raise TaskError(
                    "task_timeout",
                    f"It took longer than {self._timeout_s:g} s and was stopped.",
                    "Use a smaller photo or model, or raise PHOTOPROC_TASK_TIMEOUT_S.",
                ) from error
            raise TaskError("cancelled", "It was cancelled.", "") from error
        except BrokenProcessPool as error:
            raise TaskError("engine_restarted", "The children were restarted.", "") from error
        except pebble.ProcessExpired as error:
            raise TaskError(
                "child_crashed",
                f"The process working on it died ({_exit_text(error.exitcode)}).",
                "The photo may be damaged in a way that brings the decoder or the model down.",
            ) from error

    def cancel(self, future: "Future[Any]") -> None:
        future.cancel()

    def supervise(self) -> None:
        with self._lock:
            if self._stopped:
                return
            if not self._pool.active:
                self._replace_pool("broken")
                return
            now = time.monotonic()
            overdue = []
            for future, call in list(self._calls.items()):
                if not call.runs and future.running():
                    self._calls[future] = _Call(since=now, runs=True)
                elif now - call.since > (self._timeout_s if call.runs else _START_LIMIT_S):
                    overdue.append(future)
            if any(not self._calls[future].runs for future in overdue) and not self._busy():
                self._replace_pool("stuck")
                return
        for future in overdue:
            if future.running():
                self._timed_out.add(future)
                future.cancel()

    def _busy(self) -> bool:
        return sum(call.runs for call in self._calls.values()) >= self._count

    def children(self) -> list[ChildInfo]:
        workers = self._pool._pool_manager.worker_manager.workers
        return [ChildInfo(pid=pid, alive=process.is_alive()) for pid, process in dict(workers).items()]

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._pool.stop()
            self._pool.join()

    def _new_pool(self) -> pebble.ProcessPool:
        return pebble.ProcessPool(
            max_workers=self._count,
            initializer=child.start,
            initargs=(self._threads, self._memory_mb),
            context=_ChildContext(),
        )

    def _replace_pool(self, why: str) -> None:
        log.warning("engine_restarted", why=why)
        old, self._pool = self._pool, self._new_pool()
        old.stop()
        threading.Thread(target=old.join, name="engine-old-pool", daemon=True).start()


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
