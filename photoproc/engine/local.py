"""Supervised child processes on this machine."""

import atexit
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import structlog

from photoproc import child
from photoproc.engine import Answer, ChildInfo
from photoproc.engine.children import Child
from photoproc.errors import Problem, TaskError
from photoproc.models.providers import Choice

log = structlog.get_logger()

_START_LIMIT_S = 90.0
"""A child that is not ready after so long is killed, and another started."""

_MOST_CALLS = 1000
"""After so many a child gives way to a new one, so that nothing it might leak adds up."""

_LOOK_S = 1.0
"""How often whoever waits for an answer looks after the children, and an idle child is looked after."""

_PAUSE_S = 1.0
"""How long to wait with another child where one could not be started."""

_MAY_BE_DAMAGED = (
    "Retry it. If it dies again, the photo may be damaged in a way that brings the decoder or the model "
    "down: save it anew and add it again, or use another model."
)
_NO_MEMORY = (
    "Most often the machine had too little memory. Retry it; if it dies again, use a smaller model, or ask "
    "whoever runs this server for fewer children (PHOTOPROC_MAX_CONCURRENT)."
)


class _RaisedError(Exception):
    """A function raised something; the text is its traceback."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(where)
        self.name = name


@dataclass(eq=False, slots=True)
class _Call:
    data: memoryview
    future: Future[Any]
    limit_s: float
    began: float = 0.0
    """When it was given to a child (monotonic: clock jumps end nothing)."""


class LocalEngine:
    """Child processes on this machine, each with a time limit for a call and replaced when it dies or has
    done its share.

    Every call ends, whatever becomes of the children: by its answer, or by the error `result` raises. A
    thread for each place has one child there, and gives it one call after the other. No child shares
    anything with another, so one that dies or stands still, at whatever moment, holds up nobody.
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
        self._warm_up: Callable[[], object] | None = None
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._children: dict[Child, _Call | None] = {}
        """What each child works on; those that are starting are among them."""
        self._starting: set[Child] = set()
        self._places: list[threading.Thread] = []
        self._problem: Problem | None = None
        self._failures = 0
        """How many children could not be started since one could."""
        self._stopped = False
        self._asked: Future[tuple[str, ...]] | None = None

    @property
    def capacity(self) -> int:
        return 0 if self._problem else self._count

    @property
    def problem(self) -> Problem | None:
        return self._problem

    def takes(self, model: str) -> bool:
        return True

    def start(self, warm_up: Callable[[], object] = child.warm_up) -> None:
        """Start the children now; each imports what a first call needs before it is given one."""
        with self._changed:
            self._warm_up = warm_up
            self._begin()

    def submit(self, function: Callable[..., Answer], *args: object, parts: int = 1) -> "Future[Answer]":
        call = _Call(ForkingPickler.dumps((function, args)), Future(), self._timeout_s * parts)
        with self._changed:
            if self._stopped:
                raise TaskError("engine_stopped", "The server is stopping.", "")
            if self._problem is not None:
                raise TaskError("engine_restarted", self._problem.message, self._problem.advice)
            self._begin()
            self._waiting.append(call)
            self._changed.notify_all()  # a place without a child may be the first to hear it
        return call.future

    def result(self, future: "Future[Answer]") -> Answer:
        # Whoever else supervises may stand still, and then nothing would end a call that hangs.
        over = threading.Event()
        future.add_done_callback(lambda _: over.set())
        while not over.wait(_LOOK_S):
            self.supervise()
        try:
            return future.result()
        except CancelledError as error:
            raise _cancelled() from error
        except _RaisedError as error:
            raise TaskError(
                "task_error",
                f"The step ended with {error.name}.",
                "Retry it; if it fails again, the log has the details.",
            ) from error

    def cancel(self, future: "Future[Any]") -> None:
        with self._changed:
            if future.cancel():
                return
            for its_child, call in self._children.items():
                if call is not None and call.future is future:
                    its_child.kill()
                    _fail(future, _cancelled())

    def supervise(self) -> None:
        """Kill children that have not begun in time, and those whose call has had its time."""
        now = time.monotonic()
        with self._changed:
            for its_child, call in self._children.items():
                if call is not None and now - call.began > call.limit_s:
                    its_child.kill()
                    _fail(call.future, _too_long(call.limit_s))
            for one in self._starting:
                if now - one.since > _START_LIMIT_S:
                    one.kill()

    def children(self) -> list[ChildInfo]:
        with self._changed:
            return [ChildInfo(pid=one.pid, alive=one.is_alive) for one in self._children]

    def providers(self) -> tuple[str, ...]:
        asked = self._asked
        if asked is not None and asked.done() and not asked.cancelled() and asked.exception() is None:
            return asked.result()
        if asked is None or asked.done():
            with suppress(TaskError):  # it is stopping, or has no children
                self._asked = self.submit(child.providers)
        return ()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            atexit.unregister(self.stop)
            self._give_up(_cancelled)
            for its_child, call in self._children.items():
                its_child.kill()
                if call is not None:
                    _fail(call.future, _cancelled())
            self._changed.notify_all()
        for place in self._places:
            place.join()

    def _begin(self) -> None:
        if self._places or self._stopped:
            return
        atexit.register(self.stop)
        self._places = [
            threading.Thread(target=self._keep, name="engine-place", daemon=True) for _ in range(self._count)
        ]
        for place in self._places:
            place.start()

    def _keep(self) -> None:
        """Have a child, and another when that is gone, until the engine is stopped."""
        while not self._stopped:
            its_child = self._started()
            if its_child is None:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, _PAUSE_S)
                continue
            for _ in range(_MOST_CALLS):
                call = self._next(its_child)
                if call is None or not self._carry_out(its_child, call):
                    break
            self._ended(its_child)

    def _started(self) -> Child | None:
        """A child that is ready; None where there can be none now."""
        with self._changed:
            if self._stopped:
                return None
            try:
                its_child = Child(self._told, self._warm_up)
            except OSError as error:
                self._cannot_start(str(error))
                return None
            self._children[its_child] = None
            self._starting.add(its_child)
        try:
            warm = its_child.ready()
        except EOFError:
            how = _exit_text(self._ended(its_child))
            with self._changed:
                if not self._stopped:
                    self._cannot_start(f"it ended at once, with {how}")
            return None
        if warm.raised:
            log.warning("warm_up_failed", error=warm.raised, where=warm.where)
        with self._changed:
            self._starting.discard(its_child)
            self._problem, self._failures = None, 0
        return its_child

    def _next(self, its_child: Child) -> _Call | None:
        """The next call, given to this child; None where it is gone, or the engine stopped."""
        with self._changed:
            while True:
                if self._stopped or not its_child.is_alive:
                    return None
                if self._waiting:
                    call = self._waiting.popleft()
                    if call.future.set_running_or_notify_cancel():
                        call.began = time.monotonic()
                        self._children[its_child] = call
                        return call
                else:
                    self._changed.wait(_LOOK_S)

    def _carry_out(self, its_child: Child, call: _Call) -> bool:
        """Wait for the answer to a call and end the call by it; False where the child died."""
        try:
            answer = its_child.ask(call.data)
        except BrokenPipeError:  # before it had the call
            self._ended(its_child)
            _fail(call.future, _restarted())
            return False
        except EOFError:
            code = self._ended(its_child)
            _fail(call.future, _crashed(_exit_text(code), advice=_advice(code)))
            return False
        with self._changed:
            self._children[its_child] = None
        if answer.raised:
            _fail(call.future, _RaisedError(answer.raised, answer.where))
        else:
            with suppress(InvalidStateError):  # its time was over, or it was cancelled
                call.future.set_result(answer.value)
        return True

    def _ended(self, its_child: Child) -> int | None:
        """See to it that a child is gone; its exit code."""
        code = its_child.end()
        with self._changed:
            self._children.pop(its_child, None)
            self._starting.discard(its_child)
        return code

    def _cannot_start(self, why: str) -> None:
        """Note that a child could not be started; where there is no other and no place has got one, calls
        wait in vain."""
        log.warning("child_not_started", why=why)
        self._failures += 1
        if self._children.keys() - self._starting or self._failures < self._count:
            return
        self._problem = Problem(
            code="no_children",
            message=f"No process can be started to work on photos: {why}.",
            advice="It is tried again every second. If that goes on, look at the machine's memory and how "
            "many processes it allows.",
        )
        self._give_up(_restarted)

    def _give_up(self, reason: Callable[[], TaskError]) -> None:
        """End the calls that wait for a child."""
        while self._waiting:
            call = self._waiting.popleft()
            if call.future.set_running_or_notify_cancel():
                _fail(call.future, reason())


def _too_long(limit_s: float) -> TaskError:
    return TaskError(
        "task_timeout",
        f"It took longer than {limit_s:g} s and was stopped.",
        "Use a smaller photo or model, or ask whoever runs this server to raise PHOTOPROC_TASK_TIMEOUT_S.",
    )


def _fail(future: "Future[Any]", error: Exception) -> None:
    """End a call by an error, unless it has ended."""
    with suppress(InvalidStateError):
        future.set_exception(error)


def _cancelled() -> TaskError:
    return TaskError("cancelled", "It was cancelled.", "")


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
