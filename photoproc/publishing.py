"""What becomes of a task when its call is over: published, queued again, or given up."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from photoproc.blobs import Blobs
from photoproc.child import Order, Report
from photoproc.clock import Clock
from photoproc.engine import Engine
from photoproc.errors import Problem, ServiceError, TaskError
from photoproc.gathering import Gathering
from photoproc.hardware import Hardware
from photoproc.jobs import TaskState
from photoproc.models.catalogue import ModelSpec
from photoproc.models.weights import Weights
from photoproc.records import Claim, Outcome
from photoproc.store import Store

log = structlog.get_logger()

_FULL_DISK_PAUSE_S = 5.0
_NOT_THE_TASKS_FAULT = (
    *("engine_restarted", "engine_stopped", "cancelled", "disk_full", "weights_changed", "worker_unfit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A claimed task in the hands of the engine; `place` is its own in the answer of a shared call."""

    claim: Claim
    future: "Future[Any]"
    """Of a report or, where the call is shared, of several."""
    mask_from_cache: bool
    spec: ModelSpec | None
    """The model as it was then: a custom one may be another by now."""
    place: int | None = None


def flights(future: "Future[Any]", taken: Sequence[tuple[Claim, Order]]) -> list[Flight]:
    """The flights of the tasks that share a call, or of the one that has it to itself."""
    return [
        Flight(
            claim=claim,
            future=future,
            mask_from_cache=order.mask is not None,
            spec=order.model,
            place=place if len(taken) > 1 else None,
        )
        for place, (claim, order) in enumerate(taken)
    ]


class Publisher:
    """Puts reports into the job folders and the store."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        engine: Engine,
        weights: Weights,
        hardware: Hardware,
        gathering: Gathering,
        clock: Clock,
        max_attempts: int,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._engine = engine
        self._weights = weights
        self._hardware = hardware
        self._gathering = gathering
        self._clock = clock
        self._max_attempts = max_attempts
        self._held_up: tuple[float, Problem] | None = None

    def finish(self, flight: Flight) -> None:
        """Publish what came of a task, or queue it again; raises ServiceError where that is not possible."""
        claim = flight.claim
        try:
            answer = self._engine.result(flight.future)
        except TaskError as error:
            if error.problem.code == "task_error" and not flight.place:
                log.exception("step_failed", job=claim.job_id, task=claim.number)
            if flight.place is not None and error.problem.code not in _NOT_THE_TASKS_FAULT:
                self._set_apart(claim, error.problem)
            else:
                self.failed_attempt(claim, error.problem)
            return
        report: Report = answer if flight.place is None else answer[flight.place]
        self._hardware.ran(claim.model, report.provider)
        self._hardware.limited(claim.model, report.limit)
        problem = report.problem
        if problem is None:
            self._keep(flight, report)
        elif problem.code in _NOT_THE_TASKS_FAULT:
            if problem.code == "weights_changed":
                self._weights.request(claim.model)
            self.failed_attempt(claim, problem)
        else:
            state = TaskState.SKIPPED if problem.code == "no_face" else TaskState.FAILED
            self.publish(claim, without_cutout(claim, state, problem, report.seconds))

    def _keep(self, flight: Flight, report: Report) -> None:
        claim = flight.claim
        try:
            suffix = claim.recipe.output.suffix
            cutouts = self._blobs.adopt(claim.job_id, claim.number, claim.token, report, suffix=suffix)
        except ServiceError as error:
            if error.problem.code == "disk_full":
                raise
            self.failed_attempt(claim, error.problem)  # which does nothing where the job was deleted
            return
        outcome = Outcome(
            state=TaskState.DONE,
            cutouts=tuple(cutouts),
            warnings=(*claim.photo.warnings, *report.warnings),
            seconds=report.seconds,
            provider=report.provider,
            mask_from_cache=flight.mask_from_cache and report.mask is None,
            uncertainty=report.uncertainty,
            peak_bytes=report.peak_bytes,
            threads=report.threads,
            batch=report.batch,
            weights_id="" if flight.spec is None else flight.spec.weights_id,
        )
        # Before it is done: a task that is has its mask, wherever the server ends, and who deletes its job
        # then deletes the mask as well.
        mask_of = (claim.photo.sha256, claim.model, outcome.weights_id)
        if report.mask is not None:
            self._blobs.keep_mask(*mask_of, report.mask.path)
        if report.uncertainty is not None and "certainty" in (report.seconds or {}):
            self._blobs.keep_uncertainty(*mask_of, report.uncertainty)
        if not self.publish(claim, outcome):
            self._blobs.drop_output(claim.job_id, cutouts)
            self._blobs.drop_unheld(claim.photo.sha256)

    def publish(self, claim: Claim, outcome: Outcome) -> bool:
        """Complete a task; whether that counts. Raises ServiceError."""
        now = self._clock.now()
        self._gathering.forget(claim)
        published = self._store.publish(claim, outcome, now=now)
        if published:
            told = asdict(outcome) | {"state": outcome.state.value}
            self._blobs.note(
                claim.job_id, number=claim.number, outcome=told, token=claim.token, finished_at=now
            )
        log.info(
            "task_finished",
            job=claim.job_id,
            task=claim.number,
            model=claim.model,
            state=outcome.state.value,
            code=outcome.problem.code if outcome.problem else None,
            published=published,
        )
        return published

    def _set_apart(self, claim: Claim, problem: Problem) -> None:
        """Nobody knows which of those that shared a call ended it without an answer: it runs alone next."""
        self._gathering.set_apart(claim)
        self._store.give_back(claim, charge=False, now=self._clock.now())
        log.warning("task_set_apart", job=claim.job_id, task=claim.number, code=problem.code)

    def failed_attempt(self, claim: Claim, problem: Problem) -> None:
        """An attempt that ended without an answer: again, until it has had its share."""
        if problem.code in _NOT_THE_TASKS_FAULT:
            self._store.give_back(claim, charge=False, now=self._clock.now())
            told = {"code": problem.code, "why": problem.message}
            log.info("task_given_back", job=claim.job_id, task=claim.number, **told)
            if problem.code == "disk_full":
                self._held_up = (self._clock.monotonic() + _FULL_DISK_PAUSE_S, problem)
        elif claim.attempt < self._max_attempts:
            log.warning("attempt_failed", job=claim.job_id, task=claim.number, code=problem.code)
            self._store.give_back(claim, charge=True, now=self._clock.now())
        else:
            self.publish(claim, without_cutout(claim, TaskState.FAILED, poison(problem, claim.attempt)))

    def wait_for_room(self) -> None:
        """Raise disk_full for a while after a child met it, though the reserve seems to be free."""
        if self._held_up is None:
            return
        until, problem = self._held_up
        if self._clock.monotonic() < until:
            raise ServiceError(problem.code, problem.message, problem.advice)
        self._held_up = None


def without_cutout(
    claim: Claim, state: TaskState, problem: Problem, seconds: Mapping[str, float] | None = None
) -> Outcome:
    """The outcome of a task that failed, or that was skipped."""
    return Outcome(state=state, problem=problem, warnings=claim.photo.warnings, seconds=seconds)


def poison(problem: Problem, attempts: int) -> Problem:
    """The problem that a task is given up after so many attempts."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return Problem(
        code="poison",
        message=f"It failed {times} and is given up. The last reason: {problem.message}",
        advice=problem.advice or "Try it alone, or with another model.",
    )


def mistake(error: BaseException) -> Problem:
    """The problem that a result could not be kept, for a reason nobody thought of."""
    return Problem(
        code="task_error",
        message=f"Its result could not be kept ({type(error).__name__}).",
        advice="Retry it; if it fails again, the log has the details.",
    )
