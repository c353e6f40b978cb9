"""The background thread: claim -> engine -> publish. `run_once` does the work."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from photoproc import child
from photoproc.blobs import STAGING_LIFE_S, Blobs
from photoproc.child import Order, Report
from photoproc.clock import Clock
from photoproc.engine import Engine
from photoproc.errors import PhotoprocError, Problem, ServiceError, TaskError
from photoproc.hardware import Hardware
from photoproc.jobs import TaskState
from photoproc.models.catalogue import CATALOGUE, VITMATTE, ModelSpec
from photoproc.models.weights import Weights
from photoproc.recipe import NO_MODEL
from photoproc.records import Claim, Outcome
from photoproc.settings import Settings
from photoproc.store import Store

log = structlog.get_logger()

_TICK_S = 0.25
_LOOK_AT_DISK_S = 3.0
ASK_AGAIN_S = 300.0
"""After this long, weights that could not be had are asked for again."""
_SWEEP_S = 3600.0
_MAX_LOST = 10
_FULL_DISK_PAUSE_S = 5.0
_NOT_THE_TASKS_FAULT = (
    *("engine_restarted", "engine_stopped", "cancelled", "disk_full", "weights_changed", "worker_unfit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    claim: Claim
    future: "Future[Report]"
    mask_from_cache: bool
    spec: ModelSpec | None
    """The model as it was then: a custom one may be another by now."""


class Worker:
    """Moves tasks from the queue through the engine and into the job folders."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        engine: Engine,
        weights: Weights,
        clock: Clock,
        settings: Settings,
        supervised: Iterable[Engine] = (),
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._engine = engine
        self._weights = weights
        self._clock = clock
        self._settings = settings
        self._supervised = (engine, *supervised)
        self.hardware = Hardware(engine, settings.provider_choice if settings.engine == "local" else None)
        self._owner = uuid.uuid4().hex
        self._flights: list[_Flight] = []
        self._others: dict[str, tuple[int, float]] = {}
        self._due: dict[str, float] = {}
        self._uploads: dict[tuple[str, int], float] = {}
        self._held_up: tuple[float, Problem] | None = None
        self._turn = 0
        self._claiming = threading.Lock()
        self._holds = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem: Problem | None = None
        """Why the last round could not do its work, for the System page; None when all is well."""

    def start(self) -> None:
        """Run in a background thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop claiming, queue again (uncharged) what is running, and end the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=8)

    def wake(self) -> None:
        """Look at the queue now: something was submitted, cancelled or became ready."""
        self._wake.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def in_flight(self) -> int:
        """Tasks in the hands of the engine."""
        return len(self._flights)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No task is begun meanwhile; those that run are finished (see `in_flight`) and published."""
        with self._claiming:  # so that nothing is being claimed once this has begun
            self._holds += 1
        try:
            yield
        finally:
            with self._claiming:
                self._holds -= 1
            self._wake.set()

    @property
    def is_held(self) -> bool:
        """Whether somebody keeps it from beginning tasks."""
        return self._holds > 0

    def _run(self) -> None:
        log.info("worker_started", owner=self._owner, children=self._engine.capacity)
        while not self._stopping.is_set():
            try:
                self.run_once()
                self._note(None)
            except PhotoprocError as error:
                self._note(error.problem)
                self._stopping.wait(1.0)
            except Exception:
                self.problem = Problem(
                    code="worker_error",
                    message="The worker met an error it does not know; it goes on.",
                    advice="The log has the details.",
                )
                jobs = sorted({flight.claim.job_id for flight in self._flights})
                log.exception("worker_error", jobs=jobs)
                self._stopping.wait(1.0)
            self._wake.wait(_TICK_S)
            self._wake.clear()
        self._drain()
        log.info("worker_stopped", owner=self._owner)

    def _note(self, problem: Problem | None) -> None:
        """Keep what holds the work up, if anything; log it once for each reason, and when it is over."""
        before, self.problem = self.problem, problem
        if problem is None and before is not None:
            log.info("worker_goes_on", after=before.code)
        elif problem is not None and (before is None or before.code != problem.code):
            log.warning("worker_held_up", code=problem.code, why=problem.message)

    def inherit(self) -> None:
        """Queue again all that is claimed, without waiting for a lease: for a server that is alone."""
        claimed = self._store.running()
        for task in claimed:
            self._blobs.drop_attempt(task.job_id, task.number, task.token)
        for owner, beat in self._store.heartbeats(sorted({task.owner for task in claimed})).items():
            self._take_from(owner, beat)

    def run_once(self) -> None:
        """One round: heartbeat, collect, stop what lost its claim, take back, claim what fits."""
        for engine in self._supervised:
            engine.supervise()
        if self._is_due("heartbeat", self._settings.lease_s / 4):
            if self._flights:
                self._store.heartbeat(self._owner)
            self._take_back()
        self._collect()
        self._reconcile()
        if self._is_due("weights", _LOOK_AT_DISK_S):
            self._weights.refresh()
            self._ask_for_weights()
            self.hardware.look()
        if self._is_due("uploads", _SWEEP_S):
            self._drop_old_uploads()
        with self._claiming:
            if not self._holds:
                self._claim()

    def _drop_old_uploads(self) -> None:
        """Collect uploads that this server has seen unchanged for a day, by its monotonic clock."""
        now = self._clock.monotonic()
        self._uploads = {batch: self._uploads.get(batch, now) for batch in self._blobs.batches()}
        for (name, _), since in self._uploads.items():
            if now - since >= STAGING_LIFE_S:
                self._blobs.drop_batch(name)

    # Finished

    def _collect(self) -> None:
        held_up: ServiceError | None = None
        for flight in [flight for flight in self._flights if flight.future.done()]:
            # It leaves the list only once the store knows: an error before that is met again.
            try:
                self._finish(flight)
            except ServiceError as error:
                held_up = error
                continue
            except Exception as error:  # a mistake of ours ends the attempt, not the worker
                log.exception("publish_failed", job=flight.claim.job_id, task=flight.claim.number)
                self._failed_attempt(flight.claim, _mistake(error))
            self._flights.remove(flight)
            self._blobs.empty_outbox(flight.claim.token)
        if held_up is not None:
            raise held_up

    def _finish(self, flight: _Flight) -> None:
        claim = flight.claim
        try:
            report = self._engine.result(flight.future)
        except TaskError as error:
            if error.problem.code == "task_error":
                log.exception("step_failed", job=claim.job_id, task=claim.number)
            self._failed_attempt(claim, error.problem)
            return
        self.hardware.ran(claim.model, report.provider)
        problem = report.problem
        if problem is None:
            self._keep(flight, report)
        elif problem.code in _NOT_THE_TASKS_FAULT:
            if problem.code == "weights_changed":
                self._weights.request(claim.model)
            self._failed_attempt(claim, problem)
        else:
            state = TaskState.SKIPPED if problem.code == "no_face" else TaskState.FAILED
            self._publish(claim, _without_cutout(claim, state, problem, report.seconds))

    def _keep(self, flight: _Flight, report: Report) -> None:
        claim = flight.claim
        try:
            suffix = claim.recipe.output.suffix
            cutouts = self._blobs.adopt(claim.job_id, claim.number, claim.token, report, suffix=suffix)
        except ServiceError as error:
            if error.problem.code == "disk_full":
                raise
            self._failed_attempt(claim, error.problem)  # which does nothing where the job was deleted
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
            weights_id="" if flight.spec is None else flight.spec.weights_id,
        )
        # Before it is done: a task that is has its mask, wherever the server ends, and who deletes its job
        # then deletes the mask as well.
        mask_of = (claim.photo.sha256, claim.model, outcome.weights_id)
        if report.mask is not None:
            self._blobs.keep_mask(*mask_of, report.mask.path)
        if report.uncertainty is not None and "certainty" in (report.seconds or {}):
            self._blobs.keep_uncertainty(*mask_of, report.uncertainty)
        if not self._publish(claim, outcome):
            self._blobs.drop_output(claim.job_id, cutouts)
            self._blobs.drop_unheld(claim.photo.sha256)

    def _publish(self, claim: Claim, outcome: Outcome) -> bool:
        now = self._clock.now()
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

    def _failed_attempt(self, claim: Claim, problem: Problem) -> None:
        """An attempt that ended without an answer: again, until it has had its share."""
        if problem.code in _NOT_THE_TASKS_FAULT:
            self._store.give_back(claim, charge=False, now=self._clock.now())
            told = {"code": problem.code, "why": problem.message}
            log.info("task_given_back", job=claim.job_id, task=claim.number, **told)
            if problem.code == "disk_full":
                self._held_up = (self._clock.monotonic() + _FULL_DISK_PAUSE_S, problem)
        elif claim.attempt < self._settings.max_attempts:
            log.warning("attempt_failed", job=claim.job_id, task=claim.number, code=problem.code)
            self._store.give_back(claim, charge=True, now=self._clock.now())
        else:
            self._publish(claim, _without_cutout(claim, TaskState.FAILED, _poison(problem, claim.attempt)))

    # Running

    def _reconcile(self) -> None:
        """Kill what was cancelled or deleted; queue again what is claimed here but not under way."""
        running = self._store.running()
        wanted = {task.token for task in running if not task.cancelled}
        for flight in self._flights:
            if flight.claim.token not in wanted and not flight.future.done():
                self._engine.cancel(flight.future)
        flying = {flight.claim.token for flight in self._flights}
        for task in running:
            if task.owner == self._owner and task.token not in flying:
                self._store.give_back(task, charge=False, now=self._clock.now())

    def _take_back(self) -> None:
        """Queue again what belongs to servers whose heartbeat stands still."""
        owners = {task.owner for task in self._store.running()} - {self._owner}
        beats = self._store.heartbeats(sorted(owners))
        now = self._clock.monotonic()
        self._others = {
            owner: seen if (seen := self._others.get(owner)) is not None and seen[0] == beat else (beat, now)
            for owner, beat in beats.items()
        }
        for owner, (beat, since) in list(self._others.items()):
            if now - since >= self._settings.lease_s:
                self._take_from(owner, beat)
                del self._others[owner]

    def _take_from(self, owner: str, beat: int) -> None:
        taken = self._store.take_back(owner, beat=beat, max_lost=_MAX_LOST, now=self._clock.now())
        log.warning("tasks_taken_back", owner=owner, tasks=taken)

    # Claiming

    def _claim(self) -> None:
        self._wait_for_room()
        ready = [NO_MODEL, *(name for name in self._weights.ready() if name != VITMATTE.name)]
        while len(self._flights) < self._engine.capacity and not self._stopping.is_set():
            models = [name for name in ready if self._engine.takes(name)]
            self._blobs.check_space()
            self._turn += 1
            start = self._turn % len(models)
            claim = self._store.claim(
                self._owner,
                [*models[start:], *models[:start]],
                token=uuid.uuid4().hex,
                now=self._clock.now(),
            )
            if claim is None:
                return
            if claim.attempt > self._settings.max_attempts:
                problem = Problem(code="server_lost", message="The server ended while it was worked on.")
                poison = _poison(problem, claim.attempt - 1)
                self._publish(claim, _without_cutout(claim, TaskState.FAILED, poison))
            elif not self._launch(claim):
                self._store.give_back(claim, charge=False, now=self._clock.now())
                return  # or it would be claimed again at once

    def _wait_for_room(self) -> None:
        """Raise disk_full for a while after a child met it, though the reserve seems to be free."""
        if self._held_up is None:
            return
        until, problem = self._held_up
        if self._clock.monotonic() < until:
            raise ServiceError(problem.code, problem.message, problem.advice)
        self._held_up = None

    def _launch(self, claim: Claim) -> bool:
        """Hand a task to the engine; False where it cannot take it now."""
        spec = self._weights.specs().get(claim.model)
        weights = self._weights.ready().get(claim.model)
        if claim.model != NO_MODEL and (spec is None or weights is None):  # lost between claiming and now
            return False
        refiner = self._weights.ready().get(VITMATTE.name)
        if refiner is None and claim.recipe.edges.method == "vitmatte":
            if self._is_due("weights:refiner", ASK_AGAIN_S):
                self._weights.request(VITMATTE.name)
            return False
        mask = uncertainty = None
        if spec is not None:
            mask = self._blobs.mask(claim.photo.sha256, spec.name, spec.weights_id)
            if claim.recipe.certainty:
                uncertainty = self._blobs.uncertainty(claim.photo.sha256, spec.name, spec.weights_id)
        order = Order(
            photo=self._blobs.photo(claim.job_id, claim.photo.sha256),
            recipe_json=claim.recipe.to_json(),
            model=spec,
            weights=weights,
            mask=mask,
            outbox=self._blobs.outbox(claim.token),
            max_pixels=self._settings.max_pixels,
            background=self._background(claim),
            refiner=refiner,
            uncertainty=uncertainty,
            alone=self._is_alone(claim),
        )
        try:
            future = self._engine.submit(child.run, order)
        except TaskError:
            self._blobs.empty_outbox(claim.token)
            return False
        future.add_done_callback(lambda _: self._wake.set())
        flight = _Flight(claim=claim, future=future, mask_from_cache=mask is not None, spec=spec)
        self._flights.append(flight)
        return True

    def _is_alone(self, claim: Claim) -> bool:
        """Whether a task is all that is to be done. One of several is not: their times are compared."""
        if self._flights:
            return False
        with suppress(ServiceError):  # deleted meanwhile
            if self._store.job(claim.job_id).counts.total == 1:
                return not self._store.queued_models([NO_MODEL, *self._weights.ready()])
        return False

    def _background(self, claim: Claim) -> Path | None:
        picture = claim.recipe.picture
        return None if picture is None else self._blobs.photo(claim.job_id, picture)

    def _ask_for_weights(self) -> None:
        """Fetch what queued tasks wait for; a model that could not be had is asked for again later."""
        missing = [name for name in CATALOGUE if name not in self._weights.ready()]
        for name in self._store.queued_models(missing):
            if self._is_due(f"weights:{name}", ASK_AGAIN_S):
                self._weights.request(name)

    def _drain(self) -> None:
        """Publish what is finished, queue the rest again; what fails here, the lease puts right."""
        for step in (self._collect, self._give_all_back):
            try:
                step()
            except Exception:
                log.exception("drain_failed", step=step.__name__)

    def _give_all_back(self) -> None:
        flights, self._flights = self._flights, []
        for flight in flights:
            self._engine.cancel(flight.future)
        for flight in flights:
            self._store.give_back(flight.claim, charge=False, now=self._clock.now())
            self._blobs.empty_outbox(flight.claim.token)

    def _is_due(self, what: str, every_s: float) -> bool:
        now = self._clock.monotonic()
        if now < self._due.get(what, now):
            return False
        self._due[what] = now + every_s
        return True


def _without_cutout(
    claim: Claim, state: TaskState, problem: Problem, seconds: Mapping[str, float] | None = None
) -> Outcome:
    return Outcome(state=state, problem=problem, warnings=claim.photo.warnings, seconds=seconds)


def _poison(problem: Problem, attempts: int) -> Problem:
    times = "once" if attempts == 1 else f"{attempts} times"
    return Problem(
        code="poison",
        message=f"It failed {times} and is given up. The last reason: {problem.message}",
        advice=problem.advice or "Try it alone, or with another model.",
    )


def _mistake(error: BaseException) -> Problem:
    return Problem(
        code="task_error",
        message=f"Its result could not be kept ({type(error).__name__}).",
        advice="Retry it; if it fails again, the log has the details.",
    )
