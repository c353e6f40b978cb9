"""Having a form of a model made or measured again, in a process of its own, one at a time."""

import json
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from photoproc.errors import ModelError, Problem
from photoproc.models.asking import StoppedError, ask, how_it_ended
from photoproc.models.forms import FED, KINDS, form_name
from photoproc.models.providers import Choice

log = structlog.get_logger()

WORK_PREFIX = ".making-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be made: the form of a kind of a model, whose weights are `original`, in `folder`.

    `again`: the form that is there is measured, and not made.
    """

    model: str
    kind: str
    original: Path
    folder: Path
    threads: int
    choice: Choice = field(default_factory=Choice)
    again: bool = False

    @property
    def name(self) -> str:
        """The form's name."""
        return form_name(self.model, self.kind)


def run(order: Order, stopping: threading.Event) -> Problem | None:
    """Carry it out; the problem where that cannot be, or it was stopped.

    Never raises for what the child does.
    """
    asked = {
        "model": order.model,
        "kind": order.kind,
        "original": str(order.original),
        "folder": str(order.folder),
        "threads": order.threads,
        "choice": asdict(order.choice),
        "again": order.again,
    }
    try:
        code, said = ask("photoproc.models.form_child", asked, stopping=stopping)
    except OSError as error:
        return _ended(order, f"it could not be started: {error.strerror}")
    except StoppedError:
        return _ended(order, "the server is stopping")
    finally:
        clear(order.folder, name=order.name)
    return _answer(order, code, said)


def _answer(order: Order, code: int, said: bytes) -> Problem | None:
    try:
        told = json.loads(said)["problem"]
        return None if told is None else Problem(code=told[0], message=told[1], advice=told[2])
    except (ValueError, KeyError, TypeError, IndexError):
        return _ended(order, how_it_ended(code))


def _ended(order: Order, how: str) -> Problem:
    return Problem(
        code="form_crashed",
        message=f"The process that made {order.name} ended before it was done ({how}).",
        advice="It may need more memory than is free. Try it when this machine does nothing else.",
    )


def clear(folder: Path, *, name: str | None = None) -> None:
    """Delete what was not finished there; with the name of a form, unless another process makes it now."""
    lock = None if name is None else FileLock(folder / f".{name}.lock", timeout=0)
    left = list(folder.glob(f"{WORK_PREFIX}*"))
    if not left:
        return
    try:
        if lock is not None:
            lock.acquire()
    except (Timeout, OSError):
        return
    for work in left:
        shutil.rmtree(work, ignore_errors=True)
    if lock is not None:
        lock.release()


class FormMaker:
    """One form at a time is made; a thread that ends with its work waits for it. Thread-safe."""

    def __init__(
        self,
        *,
        threads: int,
        choice: Choice | None = None,
        on_end: Callable[[], None] = lambda: None,
        carry_out: Callable[[Order, threading.Event], Problem | None] = run,
    ) -> None:
        """`on_end` is called when a form is done, before another can be begun."""
        self._threads, self._on_end, self._run = threads, on_end, carry_out
        self._choice = choice or Choice()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._at_work: Order | None = None
        self._problems: dict[str, Problem] = {}

    @property
    def at_work(self) -> str | None:
        """The name of the form that is being made or measured."""
        order = self._at_work
        return None if order is None else order.name

    def problems(self) -> dict[str, Problem]:
        """Why forms could not be made when that was last tried, by their names."""
        with self._lock:
            return dict(self._problems)

    def start(self, model: str, kind: str, original: Path, folder: Path, *, again: bool) -> None:
        """Begin; raises ModelError form_elsewhere where another is being made."""
        order = Order(
            model=model,
            kind=kind,
            original=original,
            folder=folder,
            threads=self._threads,
            choice=self._choice,
            again=again,
        )
        with self._lock:
            if self._at_work is not None:
                raise ModelError(
                    "form_elsewhere",
                    f"{self._at_work.name} is being made; one is made at a time.",
                    f"Make {order.name} when that is done.",
                )
            self._problems.pop(order.name, None)
            self._at_work = order
            self._thread = threading.Thread(target=self._serve, args=(order,), name="make-form", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End what is under way; nothing of it stays."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout=5)

    def forget(self, name: str) -> None:
        """A form that was deleted has no problems."""
        with self._lock:
            self._problems.pop(name, None)

    def _serve(self, order: Order) -> None:
        problem = self._run(order, self._stopping)
        log.info("form_made", form=order.name, problem="" if problem is None else problem.message)
        self._on_end()
        with self._lock:
            self._at_work = None
            if problem is not None:
                self._problems[order.name] = problem


def clear_all(homes: Iterable[Path]) -> None:
    """Delete what makings that were killed left in these model folders."""
    for home in homes:
        for name in (form_name(model, kind) for model in FED for kind in KINDS):
            clear(home / "models" / name, name=name)
