"""Where tasks run: a supervised pool of child processes, here.

`Engine` is the seam; `engine.cluster` runs tasks on other machines, by the pools those have.
"""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, spawn
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import pebble
import structlog
from pebble.common import CONSTS
from pebble.pool.process import WORKERS_NAME

from photoproc import child
from photoproc.errors import Problem, TaskError
from photoproc.models.providers import Choice

log = structlog.get_logger()
Answer = TypeVar("Answer")

# Children write only files that nobody refers to yet, so a short grace before SIGKILL is enough.
CONSTS.term_timeout = 0.5

_START_LIMIT_S = 90.0
"""Calls that wait for so long beside a free child mean that the pool itself is stuck."""

_OVERSIGHT_S = 1.0
"""How long the pool may take to see that a call's child is gone."""

_MOST_CALLS = 1000
"""After so many a child gives way to a new one, so that nothing it might leak adds up."""

_LOOK_S = 1.0
"""How often whoever waits for an answer looks after the children."""
_MAY_BE_DAMAGED = (
    "Retry it. If it dies again, the photo may be damaged in a way that brings the decoder or the model "
    "down: save it anew and add it again, or use another model."
)
_NO_MEMORY = (
    "Most often the machine had too little memory. Retry it; if it dies again, use a smaller model, or ask "
    "whoever runs this server for fewer children (PHOTOPROC_MAX_CONCURRENT)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildInfo:
    """A child process; `machine` is where it runs, empty for this one."""

    pid: int
    alive: bool
    machine: str = ""


class Engine(Protocol):
    """Runs functions of `photoproc.child` away from the server process."""

    @property
    def capacity(self) -> int:
        """How many calls run at the same time; 0 while none can."""
        ...

    @property
    def problem(self) -> Problem | None:
        """What keeps it from running calls now; it goes on by itself once that is over."""
        ...

    def takes(self, model: str) -> bool:
        """Whether there is a place for one more call that runs this model, where it needs one of its own."""
        ...

    def submit(self, function: Callable[..., Answer], *args: object) -> "Future[Answer]":
        """Run a function in a child; it must be importable by name."""
        ...

    def result(self, future: "Future[Answer]") -> Answer:
        """The answer of a call.

        Waits for it, and supervises meanwhile. Raises TaskError: child_crashed, task_timeout,
        cancelled, engine_restarted (not the task's fault), or task_error where the function itself
        raised.
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

    def providers(self) -> tuple[str, ...]:
        """The execution providers there are to run models on, by onnxruntime's names; empty until a child
        has told."""
        ...

    def stop(self) -> None:
        """Kill all children; unfinished calls end as cancelled."""
        ...


_preparation_data = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """What a new child is told, which for ours does not name the main module to import.

    That is Streamlit's command line or, while a page runs, the page's script: it changes in any
    thread at any moment, so it cannot be swapped while a child starts.
    """
    told = _preparation_data(name)
    if name == WORKERS_NAME:
        told.pop("init_main_from_name", None)
        told.pop("init_main_from_path", None)
    return told


spawn.get_preparation_data = _without_main


class LocalEngine:
    """Child processes on this machine, each with a time limit for a call and replaced when it dies or has
    done its share.

    Every call ends, whatever becomes of the children: by its answer, or by the error `result` raises.
    """

    def __init__(
        self,
        *,
        children: int,
        threads: int,
        timeout_s: float,
        memory_mb: int = 0,
        graphs: Path | None = None,
        choice: Choice | None = None,
    ) -> None:
        """`graphs` is where children keep prepared models (`models.graphs`), `choice` what models run on."""
        self._told = (threads, memory_mb, graphs, choice)
        self._count = children
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._pool = self._new_pool()
        self._began: dict[Future[Any], float | None] = {}
        """Unfinished calls, and when each was first seen to run (monotonic: clock jumps end nothing)."""
        self._flowed = time.monotonic()
        """When no call was seen to wait beside a free child, last (monotonic)."""
        self._ended_by: WeakKeyDictionary[Future[Any], TaskError] = WeakKeyDictionary()
        self._abandoned: dict[Future[Any], float] = {}
        self._stopped = False
        self._asked: Future[tuple[str, ...]] | None = None

    @property
    def capacity(self) -> int:
        return self._count

    @property
    def problem(self) -> Problem | None:
        return None

    def takes(self, model: str) -> bool:
        return True

    def start(self, warm_up: Callable[[], int] = child.warm_up) -> None:
        """Start the children and have them import what a first call needs."""
        for _ in range(self._count):
            self.submit(warm_up)

    def submit(self, function: Callable[..., Answer], *args: object) -> "Future[Answer]":
        with self._lock:
            if self._stopped:
                raise TaskError("engine_stopped", "The server is stopping.", "")
            future: Future[Answer] = self._schedule(function, args)
            self._began[future] = None
            return future

    def result(self, future: "Future[Answer]") -> Answer:
        # Whoever else supervises may stand still, and then nothing would end a call that hangs.
        over = threading.Event()
        future.add_done_callback(lambda _: over.set())
        while not over.wait(_LOOK_S):
            self.supervise()
        try:
            return future.result()
        except CancelledError as error:
            reason = self._ended_by.get(future)
            if reason is None:
                reason = TaskError("cancelled", "It was cancelled.", "")
            raise reason from error
        except BrokenProcessPool as error:
            raise _restarted() from error
        except pebble.ProcessExpired as error:
            raise _crashed(_exit_text(error.exitcode), advice=_advice(error.exitcode)) from error
        except Exception as error:
            raise TaskError(
                "task_error",
                f"The step ended with {type(error).__name__}.",
                "Retry it; if it fails again, the log has the details.",
            ) from error

    def cancel(self, future: "Future[Any]") -> None:
        future.cancel()

    def supervise(self) -> None:
        with self._lock:
            if self._stopped:
                return
            if not self._is_whole():
                self._replace_pool("broken")
                return
            now = time.monotonic()
            self._look(now)
            running = {future: began for future, began in self._began.items() if began is not None}
            if len(running) == len(self._began) or len(running) >= self._count:
                self._flowed = now
            elif now - self._flowed > _START_LIMIT_S:
                self._replace_pool("stuck")
                return
            self._abandoned = {one: self._abandoned.get(one, now) for one in self._without_child()}
            for future, since in self._abandoned.items():
                if now - since > _OVERSIGHT_S:
                    self._end(future, _crashed("nobody saw how"))
            for future, began in running.items():
                if now - began > self._timeout_s:
                    self._end(future, self._too_long())

    def children(self) -> list[ChildInfo]:
        return [ChildInfo(pid=pid, alive=process.is_alive()) for pid, process in self._workers().items()]

    def providers(self) -> tuple[str, ...]:
        asked = self._asked
        if asked is not None and asked.done() and not asked.cancelled() and asked.exception() is None:
            return asked.result()
        if asked is None or asked.done():
            with suppress(TaskError):  # it is stopping
                self._asked = self.submit(child.providers)
        return ()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for future in self._began:
                future.cancel()
            self._pool.stop()
            # What they are writing is nobody's yet, so there is nothing to wait for.
            for process in list(self._workers().values()):
                process.kill()
            self._pool.join()

    def _look(self, now: float) -> None:
        """Note which calls have begun and forget those that have ended."""
        for future, began in list(self._began.items()):
            if future.done():
                del self._began[future]
            elif began is None and future.running():
                self._began[future] = now

    def _workers(self) -> dict[int, BaseProcess]:
        workers: dict[int, BaseProcess] = self._pool._pool_manager.worker_manager.workers
        return dict(workers)

    def _without_child(self) -> "list[Future[Any]]":
        """Calls whose child is gone: most end in a moment, but some the pool never connects with it.

        It misses children that end with exit code 0, and those that die before it has read that
        they began.
        """
        tasks = list(self._pool._pool_manager.task_manager.tasks.values())
        workers = self._workers()
        return [task.future for task in tasks if task.worker_id and task.worker_id not in workers]

    def _is_whole(self) -> bool:
        try:
            return bool(self._pool.active)
        except (RuntimeError, OSError):  # its processes could not be started
            return False

    def _schedule(self, function: Callable[..., Answer], args: tuple[object, ...]) -> "Future[Answer]":
        for _ in range(2):
            try:
                future: Future[Answer] = self._pool.schedule(function, args=args)
                return future
            except (RuntimeError, OSError):  # broken a moment ago, or no process could be started
                self._replace_pool("broken")
        raise _restarted()

    def _end(self, future: "Future[Any]", reason: TaskError) -> None:
        """End a call that has not ended yet; its child, if it has one, is killed by the pool."""
        if not future.done():
            self._ended_by[future] = reason
            future.cancel()

    def _too_long(self) -> TaskError:
        return TaskError(
            "task_timeout",
            f"It took longer than {self._timeout_s:g} s and was stopped.",
            "Use a smaller photo or model, or ask whoever runs this server to raise "
            "PHOTOPROC_TASK_TIMEOUT_S.",
        )

    def _new_pool(self) -> pebble.ProcessPool:
        return pebble.ProcessPool(
            max_workers=self._count,
            max_tasks=_MOST_CALLS,
            initializer=child.start,
            initargs=self._told,
            context=get_context("spawn"),
        )

    def _replace_pool(self, why: str) -> None:
        """A fresh pool. The old one ends with its calls: pebble forgets those it had not begun."""
        log.warning("engine_restarted", why=why)
        old, self._pool = self._pool, self._new_pool()
        self._flowed = time.monotonic()
        for future in self._began:
            self._end(future, _restarted())
        old.stop()
        threading.Thread(target=old.join, name="engine-old-pool", daemon=True).start()


def _crashed(how: str, advice: str | None = None) -> TaskError:
    return TaskError("child_crashed", f"The process working on it died ({how}).", advice or _MAY_BE_DAMAGED)


def _advice(code: int | None) -> str:
    return _NO_MEMORY if code == -signal.SIGKILL else _MAY_BE_DAMAGED


def _restarted() -> TaskError:
    return TaskError("engine_restarted", "The children were restarted.", "")


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
