"""In-memory stand-ins for the seams: a clock that tests move, an engine that runs in this process."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from photoproc.engine import ChildInfo
from photoproc.errors import TaskError

Answer = TypeVar("Answer")


class FakeClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.mono = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


class FakeEngine:
    """Holds calls until a test runs, breaks or crashes them; `immediate` runs them at once."""

    def __init__(self, capacity: int = 2, *, immediate: bool = False) -> None:
        self._capacity = capacity
        self._immediate = immediate
        self.calls: list[tuple[Future[Any], Callable[..., Any], tuple[object, ...]]] = []

    @property
    def capacity(self) -> int:
        return self._capacity

    def submit(self, function: Callable[..., Answer], *args: object) -> "Future[Answer]":
        future: Future[Answer] = Future()
        self.calls.append((future, function, args))
        if self._immediate:
            self.run_all()
        return future

    def run_all(self) -> None:
        """Run every held call in this process."""
        for future, function, args in self._take():
            future.set_result(function(*args))

    def fail_all(self, code: str) -> None:
        """End every held call as if the child had met its end with this code."""
        for future, _, _ in self._take():
            future.set_exception(TaskError(code, code, ""))

    def _take(self) -> list[tuple[Future[Any], Callable[..., Any], tuple[object, ...]]]:
        held, self.calls = self.calls, []
        return [call for call in held if call[0].set_running_or_notify_cancel()]

    def result(self, future: "Future[Answer]") -> Answer:
        if future.cancelled():
            raise TaskError("cancelled", "It was cancelled.", "")
        return future.result(timeout=0)

    def cancel(self, future: "Future[Any]") -> None:
        future.cancel()

    def supervise(self) -> None:
        return

    def children(self) -> list[ChildInfo]:
        return []

    def stop(self) -> None:
        for future, _, _ in self.calls:
            future.cancel()
