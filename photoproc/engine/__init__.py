"""Where tasks run: `Engine` is the seam.

`engine.local` runs them in child processes here, `engine.cluster` by the children of other machines.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from photoproc.errors import Problem

Answer = TypeVar("Answer")


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

    def submit(self, function: Callable[..., Answer], *args: object, parts: int = 1) -> "Future[Answer]":
        """Run a function in a child; it must be importable by name. A call of several parts has the time
        limit as many times."""
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
