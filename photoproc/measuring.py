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
from pathlib import Path
from typing import Any, TypeVar

from photoproc import child, machine
from photoproc.blobs import Blobs
from photoproc.child import Order, Report
from photoproc.clock import Clock
from photoproc.engine import Engine
from photoproc.errors import TaskError
from photoproc.trial_result import ModelFigures, Turn

Answer = TypeVar("Answer")

_ROUNDS = 3
_RUNS = 12


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


def spread_over(places: Sequence[int], count: int) -> list[int]:
    """So many of them, evenly spread from the first to the last; all where they are no more."""
    if len(places) <= count:
        return list(places)
    if count == 1:
        return [places[len(places) // 2]]
    return [places[round(number * (len(places) - 1) / (count - 1))] for number in range(count)]


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
        self.turn: Turn | None = None
        self.done = 0

    @property
    def others(self) -> tuple[float | None, ...]:
        """For each finished round, which share of all cores' time other work took."""
        return tuple(self._others)

    def stop(self) -> None:
        """End it soon: `run` raises TaskError cancelled."""
        self.ending.set()
        with self._lock:
            if self._asked is not None:
                engine, future = self._asked
                engine.cancel(future)

    def run(self) -> None:
        """All runs; fewer rounds where they take longer than the limit, but one at least.

        Raises TaskError: child_crashed, task_timeout, cancelled, trial_too_long, or the problem a run met.
        """
        until = self._clock.monotonic() + self._limit_s
        with ExitStack() as stack:
            for model in self._plan.orders:
                engine = self._engines[model] = self._engine_of()
                stack.callback(engine.stop)
            for engine in self._engines.values():
                self._ask(engine, child.warm_up)
            for model in self._plan.orders:
                self._run(Turn(round=0, photo=0, model=model))
            every = turns(list(self._plan.orders), len(self._plan.photos), self._plan.rounds)
            a_round = len(self._plan.orders) * len(self._plan.photos)
            for _ in range(self._plan.rounds):
                load, made = _Load(self._pids(), self._clock), dict[str, list[Report]]()
                for turn in (next(every) for _ in range(a_round)):
                    if self._clock.monotonic() >= until:
                        self._end_early()
                        return
                    made.setdefault(turn.model, []).append(self._run(turn))
                self._others.append(load.others())
                self._rounds.append(made)

    def figures(self) -> tuple[ModelFigures, ...]:
        """What each model took in the rounds that are finished, once each was loaded."""
        rounds = list(self._rounds)
        if len(self._cold) < len(self._plan.orders):
            return ()
        return tuple(
            _figures(model, cold, [one[model] for one in rounds]) for model, cold in self._cold.items()
        )

    def _run(self, turn: Turn) -> Report:
        self.turn = turn
        name, path = self._plan.photos[turn.photo]
        token = f"trial-{uuid.uuid4().hex}"
        try:
            order = replace(self._plan.orders[turn.model], photo=path, outbox=self._blobs.outbox(token))
            report = self._ask(self._engines[turn.model], child.run, order)
        except TaskError as error:
            if error.problem.code == "cancelled":
                raise
            raise _failed(
                turn, name, error.problem.code, error.problem.message, error.problem.advice
            ) from error
        finally:
            self._blobs.empty_outbox(token)
        if report.problem is not None:
            problem = report.problem
            raise _failed(turn, name, problem.code, problem.message, problem.advice)
        if turn.round == 0:
            self._cold[turn.model] = report
        elif "load" in (report.seconds or {}):
            raise _failed(turn, name, "child_crashed", "Its process had died and was replaced.", "")
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

    def _end_early(self) -> None:
        if not self._rounds:
            raise TaskError(
                "trial_too_long",
                f"Not one round was finished within {self._limit_s / 60:g} minutes.",
                "Run it with fewer photos.",
            )

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
        rounds=tuple(tuple(sum((report.seconds or {}).values()) for report in made) for made in rounds),
        steps={step: statistics.fmean(run.get(step, 0.0) for run in runs) for step in steps},
        provider=cold.provider,
        threads=cold.threads,
        peak_bytes=max(peaks, default=None),
    )


def _failed(turn: Turn, name: str, code: str, message: str, advice: str) -> TaskError:
    when = f"in round {turn.round}" if turn.round else "when it was loaded"
    return TaskError(code, f"{turn.model} failed {when}, on “{name}”: {message}", advice or "Run it again.")
