"""In-memory stand-ins for the seams: a clock that tests move, an engine that runs in this process."""

import hashlib
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from photoproc.child import Order, Pictured, Report, Written
from photoproc.engine import ChildInfo
from photoproc.errors import Problem, TaskError
from photoproc.models.weights import Weights

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

    there: tuple[str, ...] = ("CPUExecutionProvider",)
    """What it says there is to run models on."""

    def __init__(self, capacity: int = 2, *, immediate: bool = False) -> None:
        self._capacity = capacity
        self._immediate = immediate
        self._stopped = False
        self.calls: list[Call] = []

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def problem(self) -> Problem | None:
        return None

    def takes(self, model: str) -> bool:
        return True

    def submit(self, function: Callable[..., Answer], *args: object, parts: int = 1) -> "Future[Answer]":
        if self._stopped:
            raise TaskError("engine_stopped", "The server is stopping.", "")
        future: Future[Answer] = Future()
        self.calls.append(Call(future, function, args))
        if self._immediate:
            self.run_all()
        return future

    def run_all(self, instead: Callable[..., object] | None = None) -> int:
        """Run every held call in this process (or another function with its arguments); how many."""
        taken = self._take()
        for call in taken:
            try:
                call.future.set_result((instead or call.function)(*call.args))
            except Exception as error:  # noqa: BLE001, a child hands on whatever was raised
                call.future.set_exception(error)
        return len(taken)

    def fail_all(self, code: str, which: Callable[..., bool] = lambda *_: True) -> int:
        """End held calls as if the child had met its end with this code; how many."""
        taken = self._take(which)
        for call in taken:
            call.future.set_exception(TaskError(code, code, ""))
        return len(taken)

    def _take(self, which: Callable[..., bool] = lambda *_: True) -> "list[Call]":
        """The held calls that were not cancelled, which begin to run and are held no more."""
        held, self.calls = self.calls, []
        for call in held:
            if not which(*call.args):
                self.calls.append(call)
        return [
            call for call in held if call not in self.calls and call.future.set_running_or_notify_cancel()
        ]

    def result(self, future: "Future[Answer]") -> Answer:
        try:
            return future.result(timeout=0)
        except CancelledError as error:
            raise TaskError("cancelled", "It was cancelled.", "") from error
        except TaskError:
            raise
        except Exception as error:
            raise TaskError("task_error", f"The step ended with {type(error).__name__}.", "") from error

    def cancel(self, future: "Future[Any]") -> None:
        future.cancel()

    def supervise(self) -> None:
        return

    def children(self) -> list[ChildInfo]:
        return []

    def providers(self) -> tuple[str, ...]:
        return self.there

    def stop(self) -> None:
        self._stopped = True
        for call in self.calls:
            call.future.cancel()


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call a FakeEngine holds."""

    future: "Future[Any]"
    function: Callable[..., Any]
    args: tuple[Any, ...]


class FakeWeights(Weights):
    """Weights that are there when a test says so."""

    def __init__(self, *ready: str) -> None:
        super().__init__(None, sources=())
        self.there = {name: Path("/nowhere") / name for name in ready}
        self.requested: list[str] = []

    def ready(self) -> dict[str, Path]:
        return dict(self.there)

    def refresh(self) -> None:
        return

    def request(self, name: str) -> None:
        self.requested.append(name)


def carry_out(order: Order) -> Report:
    """What a child answers to an order, without any model: small files, named after the photo."""
    photo = order.photo.name

    def write(kind: str) -> Written:
        data = f"{kind} of {photo}".encode()
        path = order.outbox / f"{kind}-{photo}"
        path.write_bytes(data)
        return Written(path=path, sha256=hashlib.sha256(data).hexdigest(), byte_count=len(data))

    picture = Pictured(
        cutout=write("cutout"), preview=write("preview"), before=write("before"), size_wh=(2, 1)
    )
    return Report(
        pictures=(picture,),
        mask=write("mask") if order.model is not None and order.mask is None else None,
        seconds={"decode": 0.1},
        provider="CPUExecutionProvider",
        peak_bytes=123_000_000,
        threads=1,
    )
