"""The runs of a time trial: each model in a child of its own, one at work at a time, in turn."""

import math
import os
import statistics
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from photoproc import child, machine
from photoproc.blobs import Blobs
from photoproc.child import Order, Report
from photoproc.clock import Clock
from photoproc.engine import Engine
from photoproc.errors import Problem, TaskError
from photoproc.timings import latency_s
from photoproc.trial_result import ModelFigures, Turn

Answer = TypeVar("Answer")

_ROUNDS = 3
_RUNS = 12
_NOT_THE_PHOTOS_FAULT = (
    *("cancelled", "disk_full", "engine_restarted", "engine_stopped", "provider_missing", "weights_changed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run: an order a model, and the photos' names and files; the order's own photo and outbox
    are filled in for each run."""

    orders: Mapping[str, Order]
    photos: Sequence[tuple[str, Path]]
    rounds: int


def turns(models: Sequence[str], photos: int, rounds: int) -> Iterator[Turn]:
    """A B A B …: on each photo every model in turn, and another one first in each round.

    So whatever drifts while it is measured (a processor that warms up) hits all models alike.
    """
    for number in range(rounds):
        first = number % len(models)
        for photo in range(photos):
            for model in (*models[first:], *models[:first]):
                yield Turn(round=number + 1, photo=photo, model=model)


def rounds_for(photos: int) -> int:
    """How many rounds, where nobody says: twelve runs of each model, and three rounds at least."""
    return max(_ROUNDS, math.ceil(_RUNS / max(1, photos)))


class _UnfitError(TaskError):
    """A model failed on the photo of the turn."""


class Measuring:
    """The runs of one trial, in the thread that calls `run`; others look at it, and `stop` it."""

    def __init__(
        self, plan: Plan, *, engine_of: Callable[[], Engine], blobs: Blobs, clock: Clock, limit_s: float
    ) -> None:
        self._plan = plan
        self._engine_of = engine_of
        self._blobs = blobs
        self._clock = clock
        self._limit_s = limit_s
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._asked: tuple[Engine, Future[Any]] | None = None
        self._cold: dict[str, Report] = {}
        self._rounds: list[dict[str, list[Report]]] = []
        self._others: list[float | None] = []
        self.ending = threading.Event()
        self.photos = tuple(range(len(plan.photos)))
        """The plan's photos that are measured, by their places in it; turns count in these."""
        self.left_out: tuple[tuple[int, Problem], ...] = ()
        """Those that a model failed on, and how."""
        self.turn: Turn | None = None
        self.done = 0

    @property
    def others(self) -> tuple[float | None, ...]:
        """For each finished round, which share of all cores' time other work took."""
        return tuple(self._others) if self.photos else ()

    def stop(self) -> None:
        """End it soon: `run` raises TaskError cancelled."""
        self.ending.set()
        with self._lock:
            if self._asked is not None:
                engine, future = self._asked
                engine.cancel(future)

    def run(self) -> None:
        """All runs. Fewer rounds where they take longer than the limit; an error where that is none.

        A photo that a model fails on is left out, with its earlier runs, and the round is begun anew
        without it, in fresh children. Raises TaskError: the failure of the last photo there was,
        trial_too_long, cancelled, child_crashed where a child died between runs, disk_full, weights_changed.
        """
        until = self._clock.monotonic() + self._limit_s
        while len(self._rounds) < self._plan.rounds:
            try:
                if not self._go_on(until):
                    break
            except _UnfitError as error:
                self._leave_out(error.problem)
                if not self.photos:
                    raise
        if not self._rounds:
            raise TaskError(
                "trial_too_long",
                f"Not one round was finished within {self._limit_s / 60:g} minutes.",
                "Run it with fewer photos.",
            )

    def figures(self) -> tuple[ModelFigures, ...]:
        """What each model took in the rounds that are finished, once each was loaded."""
        rounds = list(self._rounds)
        if not self._cold or not self.photos:
            return ()
        return tuple(
            _figures(model, cold, [one[model] for one in rounds]) for model, cold in self._cold.items()
        )

    def _go_on(self, until: float) -> bool:
        """Load each model in a fresh child, then run the rounds that are left; False where time is up."""
        if self._clock.monotonic() >= until:
            return False
        cold: dict[str, Report] = {}
        models, photos = list(self._plan.orders), len(self.photos)
        self.done = len(self._rounds) * len(models) * photos
        with ExitStack() as stack:
            for model in models:
                engine = self._engines[model] = self._engine_of()
                stack.callback(engine.stop)
            for engine in self._engines.values():
                self._ask(engine, child.warm_up)
            for model in models:
                if self._clock.monotonic() >= until:
                    return False
                cold[model] = self._run(Turn(round=0, photo=0, model=model))
            self._cold = cold
            every = groupby(turns(models, photos, self._plan.rounds), key=lambda turn: turn.round)
            for number, its_turns in every:
                if number <= len(self._rounds):
                    continue
                load, made = _Load(self._pids(), self._clock), dict[str, list[Report]]()
                for turn in its_turns:
                    if self._clock.monotonic() >= until:
                        return False
                    made.setdefault(turn.model, []).append(self._run(turn))
                self._others.append(load.others())
                self._rounds.append(made)
        return True

    def _leave_out(self, problem: Problem) -> None:
        """Forget the photo of the turn, and what was measured of it."""
        assert self.turn is not None
        place, self.turn = self.turn.photo, None
        self.left_out += ((self.photos[place], problem),)
        self.photos = (*self.photos[:place], *self.photos[place + 1 :])
        for made in self._rounds:
            for reports in made.values():
                del reports[place]

    def _run(self, turn: Turn) -> Report:
        self.turn = turn
        name, path = self._plan.photos[self.photos[turn.photo]]
        token = f"trial-{uuid.uuid4().hex}"
        try:
            order = replace(self._plan.orders[turn.model], photo=path, outbox=self._blobs.outbox(token))
            report = self._ask(self._engines[turn.model], child.run, order)
        except TaskError as error:
            if error.problem.code == "cancelled":
                raise
            raise _failed(turn, name, error.problem) from error
        finally:
            self._blobs.empty_outbox(token)
        if report.problem is not None:
            raise _failed(turn, name, report.problem)
        if turn.round and "load" in (report.seconds or {}):
            raise TaskError(
                "child_crashed",
                f"The process of {turn.model} died between two runs, before round {turn.round} was over.",
                "Run it again.",
            )
        self.done += 1
        return report

    def _ask(self, engine: Engine, function: Callable[..., Answer], *args: object) -> Answer:
        with self._lock:
            if self.ending.is_set():
                raise TaskError("cancelled", "It was stopped.", "")
            future = engine.submit(function, *args)
            self._asked = (engine, future)
        try:
            return engine.result(future)
        finally:
            with self._lock:
                self._asked = None

    def _pids(self) -> list[int]:
        return [one.pid for engine in self._engines.values() for one in engine.children()]


class _Load:
    """How much other work the machine does from now on, besides that of these processes."""

    def __init__(self, pids: Sequence[int], clock: Clock) -> None:
        self._pids, self._clock = pids, clock
        self._busy_s, self._ours_s = machine.busy_s(), machine.worked_s(pids)
        self._since = clock.monotonic()

    def others(self) -> float | None:
        """The share of all cores' time that it took, 0 to 1; None where the system does not tell."""
        busy_s, all_s = machine.busy_s(), (self._clock.monotonic() - self._since) * (os.cpu_count() or 1)
        if busy_s is None or self._busy_s is None or all_s <= 0:
            return None
        theirs = busy_s - self._busy_s - (machine.worked_s(self._pids) - self._ours_s)
        return min(1.0, max(0.0, theirs / all_s))


def _figures(model: str, cold: Report, rounds: Sequence[Sequence[Report]]) -> ModelFigures:
    runs = [report.seconds or {} for made in rounds for report in made]
    steps = dict.fromkeys(step for run in runs for step in run)
    peaks = [one.peak_bytes for made in ([cold], *rounds) for one in made if one.peak_bytes is not None]
    return ModelFigures(
        model=model,
        cold=dict(cold.seconds or {}),
        rounds=tuple(tuple(latency_s(report.seconds or {}) for report in made) for made in rounds),
        steps={step: statistics.fmean(run.get(step, 0.0) for run in runs) for step in steps},
        provider=cold.provider,
        threads=cold.threads,
        peak_bytes=max(peaks, default=None),
    )


def _failed(turn: Turn, name: str, problem: Problem) -> TaskError:
    when = f"in round {turn.round}" if turn.round else "when it was loaded"
    kind = TaskError if problem.code in _NOT_THE_PHOTOS_FAULT else _UnfitError
    message = f"{turn.model} failed {when}, on “{name}”: {problem.message}"
    return kind(problem.code, message, problem.advice or "Run it again.")
