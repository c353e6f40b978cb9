"""The background thread: claim -> engine -> publish. `run_once` does the work."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from photoproc import child
from photoproc.blobs import STAGING_LIFE_S, Blobs
from photoproc.child import Order
from photoproc.clock import Clock
from photoproc.engine import Engine
from photoproc.errors import PhotoprocError, Problem, ServiceError, TaskError
from photoproc.gathering import Gathering
from photoproc.hardware import Hardware
from photoproc.jobs import TaskState
from photoproc.models.catalogue import CATALOGUE, VITMATTE
from photoproc.models.weights import Weights
from photoproc.orders import Orders
from photoproc.publishing import Flight, Publisher, flights, mistake, poison, without_cutout
from photoproc.recipe import NO_MODEL
from photoproc.records import Claim
from photoproc.settings import Settings
from photoproc.store import Store

log = structlog.get_logger()

_TICK_S = 0.25
_LOOK_AT_DISK_S = 3.0
ASK_AGAIN_S = 300.0
"""After this long, weights that could not be had are asked for again."""
_SWEEP_S = 3600.0
_MAX_LOST = 10


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
        self._gathering = Gathering(self.hardware, settings.gpu_batch)
        self._publisher = Publisher(
            store=store,
            blobs=blobs,
            engine=engine,
            weights=weights,
            hardware=self.hardware,
            gathering=self._gathering,
            clock=clock,
            max_attempts=settings.max_attempts,
        )
        self._orders = Orders(
            blobs=blobs,
            weights=weights,
            max_pixels=settings.max_pixels,
            ask_for_refiner=partial(self._ask_for, VITMATTE.name),
        )
        self._owner = uuid.uuid4().hex
        self._flights: list[Flight] = []
        self._others: dict[str, tuple[int, float]] = {}
        self._due: dict[str, float] = {}
        self._uploads: dict[tuple[str, int], float] = {}
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
                self._publisher.finish(flight)
            except ServiceError as error:
                held_up = error
                continue
            except Exception as error:  # a mistake of ours ends the attempt, not the worker
                log.exception("publish_failed", job=flight.claim.job_id, task=flight.claim.number)
                self._publisher.failed_attempt(flight.claim, mistake(error))
            self._flights.remove(flight)
            self._blobs.empty_outbox(flight.claim.token)
        if held_up is not None:
            raise held_up

    # Running

    def _reconcile(self) -> None:
        """Kill what was cancelled or deleted, with all that shares its call; queue again what is claimed here
        but not under way."""
        running = self._store.running()
        wanted = {task.token for task in running if not task.cancelled}
        needed = {flight.future for flight in self._flights if flight.claim.token in wanted}
        for future in {flight.future for flight in self._flights} - needed:
            if not future.done():
                self._engine.cancel(future)
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
        self._publisher.wait_for_room()
        ready = [NO_MODEL, *(name for name in self._weights.ready() if name != VITMATTE.name)]
        while not self._stopping.is_set():
            free = self._engine.capacity - len({flight.future for flight in self._flights})
            if free <= 0:
                return
            models = [name for name in ready if self._engine.takes(name)]
            self._blobs.check_space()
            self._turn += 1
            start = self._turn % len(models)
            claim = self._next([*models[start:], *models[:start]])
            if claim is None:
                return
            more = partial(self._next, [claim.model])
            calls = self._gathering.dealt(self._gathering.gathered(claim, more, free), free)
            begun = [self._launch(claims, others=len(calls) > 1) for claims in calls]
            if not all(begun):
                return  # or it would be claimed again at once

    def _next(self, models: Sequence[str]) -> Claim | None:
        """Claim the next task for one of these models."""
        while True:
            claim = self._store.claim(self._owner, models, token=uuid.uuid4().hex, now=self._clock.now())
            if claim is None or claim.attempt <= self._settings.max_attempts:
                return claim
            problem = Problem(code="server_lost", message="The server ended while it was worked on.")
            given_up = poison(problem, claim.attempt - 1)
            self._publisher.publish(claim, without_cutout(claim, TaskState.FAILED, given_up))

    def _launch(self, claims: Sequence[Claim], *, others: bool) -> bool:
        """Hand tasks to the engine in one call; False where one of them cannot be taken now.

        `others`: more is claimed already.
        """
        taken = [(claim, order) for claim in claims if (order := self._orders.order(claim)) is not None]
        future = self._submitted(taken, others=others)
        if future is None:
            for claim, _ in taken:
                self._blobs.empty_outbox(claim.token)
            taken = []
        else:
            future.add_done_callback(lambda _: self._wake.set())
            self._flights += flights(future, taken)
        flying = {claim.token for claim, _ in taken}
        left = [claim for claim in claims if claim.token not in flying]
        for claim in left:
            self._store.give_back(claim, charge=False, now=self._clock.now())
        return not left

    def _submitted(self, taken: Sequence[tuple[Claim, Order]], *, others: bool) -> "Future[Any] | None":
        with suppress(TaskError):
            if len(taken) > 1:
                orders = [order for _, order in taken]
                return self._engine.submit(child.run_many, orders, parts=len(orders))
            for claim, order in taken:
                alone = not others and self._is_alone(claim)
                return self._engine.submit(child.run, replace(order, alone=alone))
        return None

    def _is_alone(self, claim: Claim) -> bool:
        """Whether a task is all that is to be done. One of several is not: their times are compared."""
        if self._flights:
            return False
        with suppress(ServiceError):  # deleted meanwhile
            if self._store.job(claim.job_id).counts.total == 1:
                return not self._store.queued_models([NO_MODEL, *self._weights.ready()])
        return False

    def _ask_for_weights(self) -> None:
        """Fetch what queued tasks wait for; a model that could not be had is asked for again later."""
        missing = [name for name in CATALOGUE if name not in self._weights.ready()]
        for name in self._store.queued_models(missing):
            self._ask_for(name)

    def _ask_for(self, name: str) -> None:
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
