"""What models run on: what was chosen, what there is, and what was really used since the start."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from photoproc.engine import Engine
from photoproc.errors import Problem
from photoproc.models.providers import BATCHING, Choice, Limit, labels

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareState:
    """What models run on, by onnxruntime's names of its execution providers."""

    chosen: str
    """The setting; empty on a cluster, where each worker has its own."""
    there: tuple[str, ...]
    """Empty until a child has told."""
    used: Mapping[str, str]
    """What each model ran on last, for those that have run since the start."""
    problem: Problem | None
    """What was chosen is not there, or not used."""


class Hardware:
    """Notes what models run on, and writes to the log what is not as it was chosen."""

    def __init__(self, engine: Engine, choice: Choice | None) -> None:
        """`choice` is None on a cluster, where each worker has its own."""
        self._engine = engine
        self._choice = choice
        self._there: tuple[str, ...] = ()
        self._used: dict[str, str] = {}
        self._limits: dict[str, Limit] = {}

    def look(self) -> None:
        """Called now and then: ask what there is, and tell the log the first time."""
        if self._there:
            return
        self._there = self._engine.providers()
        if self._there:
            chosen = "" if self._choice is None else self._choice.name
            log.info("providers_found", there=labels(self._there), chosen=chosen)
            self._complain()

    def ran(self, model: str, provider: str) -> None:
        """Note what a model ran on; nothing where it did not run."""
        if provider and self._used.get(model) != provider:
            self._used[model] = provider
            log.info("model_runs_on", model=model, provider=provider)
            self._complain()

    def limited(self, model: str, limit: Limit | None) -> None:
        """Note that a model takes no more photos in one run than that; the log is told once."""
        known = self._limits.get(model)
        if limit is not None and (known is None or limit.photos < known.photos):
            self._limits[model] = limit
            log.warning("model_batch_limited", model=model, photos=limit.photos, why=limit.why)

    def at_once(self, model: str, most: int) -> int:
        """How many photos a model is given for one run, of `most`: several only where it runs on a card."""
        if self._choice is None:
            return 1
        if self._used.get(model, self._choice.of(self._there)) not in BATCHING:
            return 1
        return min(most, self._limits[model].photos) if model in self._limits else most

    def state(self) -> HardwareState:
        """As it is now."""
        return HardwareState(
            chosen="" if self._choice is None else self._choice.name,
            there=self._engine.providers(),
            used=dict(self._used),
            problem=self._problem(),
        )

    def _complain(self) -> None:
        problem = self._problem()
        if problem is not None:
            log.warning("provider_not_used", code=problem.code, why=problem.message)

    def _problem(self) -> Problem | None:
        if self._choice is None or not self._there:
            return None
        if self._choice.is_absent(self._there):
            return self._choice.missing(self._there)
        for model, provider in dict(self._used).items():  # another thread may add to it
            if self._choice.is_passed_over(provider, self._there):
                return self._choice.not_used(model, provider, self._there)
        return None
