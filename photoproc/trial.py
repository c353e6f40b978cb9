"""Time trials: what each model of a job takes alone on the machine, on the same photos, in turn.

The server's worker begins no task meanwhile; that of another server on the same data folder does, and what
it takes counts as other work. Whoever runs one holds a lock on the data folder, which ends with its
server: a record that says “running” while nobody holds the lock is of a trial that was interrupted.
"""

import math
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace

import structlog
from filelock import FileLock, Timeout

from photoproc.blobs import Blobs
from photoproc.clock import Clock
from photoproc.engine import Engine
from photoproc.errors import InputError, PhotoprocError, Problem, ServiceError, not_found
from photoproc.jobs import Job, TaskState
from photoproc.measuring import Measuring, Plan, rounds_for
from photoproc.models.weights import Weights
from photoproc.recipe import NO_MODEL
from photoproc.settings import Settings
from photoproc.store import Store
from photoproc.trial_plan import about_s, chosen, orders
from photoproc.trial_result import Kept, LeftOut, Trial, TrialPhoto, TrialState, kept, trial_of
from photoproc.worker import Worker

log = structlog.get_logger()

PHOTOS = 8
"""How many photos are measured, where nobody says."""
MAX_PHOTOS = 24
MAX_ROUNDS = 20
_LIMIT_S = 15 * 60.0
_GRACE_S = 30.0
_LOOK_S = 0.1
_LEAVE_S = 5.0
_ENDED = {
    "trial_stopped": TrialState.STOPPED,
    "trial_interrupted": TrialState.INTERRUPTED,
}
_OPEN = {TaskState.QUEUED.code, TaskState.RUNNING.code}
_STOPPED = Problem(code="trial_stopped", message="It was stopped.", advice="")
_INTERRUPTED = Problem(
    code="trial_interrupted", message="The server ended while it was measured.", advice="Run it again."
)
_UNKNOWN = Problem(
    code="trial_error",
    message="It met an error it does not know.",
    advice="Run it again; if it fails again, the log has the details.",
)


@dataclass(slots=True, kw_only=True)
class _Running:
    """The trial that runs now: how it began, its runs, and why it is to end where somebody wants that."""

    trial: Trial
    token: str
    measuring: Measuring
    lock: FileLock
    state: TrialState = TrialState.WAITING
    reason: Problem = field(default=_STOPPED)
    thread: threading.Thread | None = None

    def now(self) -> Trial:
        """How it stands."""
        photos, left_out = self.measuring.photos, self.measuring.left_out
        return replace(
            self.trial,
            state=self.state,
            photos=tuple(self.trial.photos[place] for place in photos),
            left_out=tuple(
                LeftOut(**asdict(self.trial.photos[place]), problem=problem) for place, problem in left_out
            ),
            turn=self.measuring.turn,
            done=self.measuring.done,
            others=self.measuring.others,
        )


class Trials:
    """The part of the service that runs time trials: one at a time on a data folder."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        worker: Worker,
        weights: Weights,
        clock: Clock,
        settings: Settings,
        engine_of: Callable[[], Engine],
    ) -> None:
        self._trial_store, self._trial_files = store, blobs
        self._holds, self._trial_weights = worker, weights
        self._trial_clock, self._trial_limits = clock, settings
        self._engine_of = engine_of
        self._beginning = threading.Lock()
        self._runs: _Running | None = None
        self._rests_until = -math.inf
        self._left = False

    @property
    def trial_runs(self) -> bool:
        """Whether this server runs a time trial now, so that jobs wait."""
        return self._runs is not None

    def start_trial(
        self, job_id: str, *, photos: int = PHOTOS, rounds: int | None = None, by: str = ""
    ) -> Trial:
        """Measure a job's models, in the background, on so many of its photos (spread over the job).

        Without `rounds` there are as many as make twelve runs of each model, and three at least. Where one
        of this job runs already, it is that one. `by` is the API key that asks: its trial holds up nobody
        else's tasks. While there are tasks to run, a trial waits its turn for as long as the last one took.
        Raises not_found, InputError (no_model, no_photos), ModelError weights_missing, and ServiceError
        (trial_running, others_wait, stopping).
        """
        job = self._trial_store.job(job_id)
        each = orders(job, weights=self._trial_weights, blobs=self._trial_files, settings=self._trial_limits)
        measured = chosen(job, photos, store=self._trial_store)
        rounds = rounds or rounds_for(len(measured))
        with self._beginning:
            if self._left:
                raise ServiceError("stopping", "The server is stopping.", "Start it again.")
            if self._runs is not None:
                if self._runs.trial.job_id == job_id:
                    return self._runs.now()
                raise self._another(job, self._runs.trial.job_id)
            self._give_way(by)
            lock = self._lock()
            try:
                lock.acquire(blocking=False)
            except Timeout as error:
                raise self._another(job, None) from error
            before = self._kept(job_id)
            told = None if before is None else before[0].told
            trial = Trial(
                job_id=job_id,
                earlier=None if told is None else replace(told, earlier=None),
                state=TrialState.WAITING,
                models=tuple(each),
                photos=tuple(TrialPhoto(place=place, name=photo.name) for place, photo in measured),
                rounds=rounds,
                threads=self._trial_limits.threads_per_child,
                started_at=self._trial_clock.now(),
            )
            plan = Plan(
                orders=each,
                photos=[(photo.name, self._trial_files.photo(job_id, photo.sha256)) for _, photo in measured],
                rounds=rounds,
            )
            measuring = Measuring(
                plan,
                engine_of=self._engine_of,
                blobs=self._trial_files,
                clock=self._trial_clock,
                limit_s=_LIMIT_S,
            )
            running = _Running(trial=trial, token=uuid.uuid4().hex, measuring=measuring, lock=lock)
            try:
                if not self._keep(trial, running.token):
                    raise not_found("job")
            except BaseException:
                lock.release()
                raise
            self._runs = running
            running.thread = threading.Thread(target=self._run, args=(running,), name="trial", daemon=True)
            running.thread.start()
            return trial

    def trial(self, job_id: str) -> Trial | None:
        """A job's last time trial: how far it is, or what came of it; None where there was none.

        Raises not_found.
        """
        running = self._runs
        if running is not None and running.trial.job_id == job_id:
            return running.now()
        found = self._kept(job_id)
        if found is None:
            self._trial_store.standing(job_id)  # or raises not_found
            return None
        trial, token = found
        return trial if trial.state.final else self._interrupted(job_id, token)

    def stop_trial(self, job_id: str) -> Trial | None:
        """End a job's time trial within seconds, if one runs; the rounds it finished are kept.

        Raises not_found, and ServiceError trial_elsewhere where another server runs it.
        """
        running = self._runs
        if running is None or running.trial.job_id != job_id:
            found = self.trial(job_id)
            if found is not None and not found.state.final:
                raise ServiceError(
                    "trial_elsewhere",
                    "Another server of this data folder runs the time trial.",
                    "Stop it there.",
                )
            return found
        running.measuring.stop()
        return running.now()

    def end_trials(self) -> None:
        """For the end of the server: what runs is interrupted, nothing begins any more."""
        with self._beginning:
            self._left, running = True, self._runs
        if running is not None and running.thread is not None:
            running.reason = _INTERRUPTED
            running.measuring.stop()
            running.thread.join(timeout=_LEAVE_S)

    def drop_trial(self, job_id: str) -> None:
        """End what runs of a job that was deleted."""
        running = self._runs
        if running is not None and running.trial.job_id == job_id:
            running.measuring.stop()

    def trial_estimate(self, job_id: str) -> tuple[int, float | None]:
        """How many photos a time trial would measure, and about how many seconds it would take.

        As many as the job's last whole one took, else by what tasks took here; None while a model of it
        never ran here. Raises not_found.
        """
        job, store = self._trial_store.job(job_id), self._trial_store
        try:
            photos = len(chosen(job, PHOTOS, store=store))
        except InputError:
            return 0, None
        found = self.trial(job_id)
        last = None if found is None else found.told
        if last is not None and last.state is TrialState.DONE and last.finished_at is not None:
            return photos, last.finished_at - last.started_at
        return photos, about_s(job, 1 + photos * rounds_for(photos), store=store)

    # Running

    def _run(self, running: _Running) -> None:
        trial, measuring = running.trial, running.measuring
        problem: Problem | None
        state, problem = TrialState.FAILED, _UNKNOWN
        begun = self._trial_clock.monotonic()
        log.info("trial_started", job=trial.job_id, models=len(trial.models), photos=len(trial.photos))
        try:
            with self._holds.held():
                self._wait_until_quiet(running)
                running.state = TrialState.RUNNING
                measuring.run()
            state, problem = TrialState.DONE, None
        except PhotoprocError as error:
            problem = running.reason if measuring.ending.is_set() else error.problem
            state = _ENDED.get(problem.code, TrialState.FAILED)
        finally:
            ended = replace(
                running.now(),
                state=state,
                problem=problem,
                figures=measuring.figures(),
                finished_at=self._trial_clock.now(),
            )
            log.info("trial_ended", job=trial.job_id, state=state.value, code=problem and problem.code)
            try:
                self._keep(ended, running.token)
            finally:
                with self._beginning:
                    now = self._trial_clock.monotonic()
                    self._runs, self._rests_until = None, 2 * now - begun
                    running.lock.release()

    def _wait_until_quiet(self, running: _Running) -> None:
        """Return once the tasks that were running have ended; nothing begins meanwhile."""
        limit_s = self._trial_limits.task_timeout_s + _GRACE_S
        until = self._trial_clock.monotonic() + limit_s
        while self._holds.in_flight:
            if running.measuring.ending.wait(_LOOK_S):
                return  # which the first run will find as well
            if self._trial_clock.monotonic() >= until:
                raise ServiceError(
                    "trial_no_quiet",
                    f"The tasks that were running did not end within {limit_s / 60:.0f} minutes.",
                    "Run it again when the queue is empty.",
                )

    def _give_way(self, by: str) -> None:
        """Raise ServiceError others_wait where tasks go first; see `start_trial`."""
        owners, ready = set(), {NO_MODEL, *self._trial_weights.ready()}
        for job_id in self._trial_store.unfinished():
            with suppress(ServiceError):  # deleted meanwhile
                job, states = self._trial_store.snapshot(job_id)
                models = job.recipe.task_models
                lanes = [lane for lane, model in enumerate(models) if model in ready]  # others wait anyway
                if any(_OPEN & set(states[lane :: len(models)]) for lane in lanes):
                    owners.add(job.owner)
        if by and owners - {by}:
            raise ServiceError(
                "others_wait",
                "Other people have photos in the queue, which would wait until the time trial has ended.",
                "Run it when the queue is empty.",
            )
        rest_s = self._rests_until - self._trial_clock.monotonic()
        if owners and rest_s > 0:
            raise ServiceError(
                "others_wait",
                "Photos in the queue have waited for the last time trial; now it is their turn.",
                f"Run it when the queue is empty, or in {math.ceil(rest_s)} s.",
            )

    # What is kept

    def _keep(self, trial: Trial, token: str) -> bool:
        records: Kept = kept(trial, token)
        return self._trial_store.keep_trial(trial.job_id, records.record, records.figures)

    def _kept(self, job_id: str) -> tuple[Trial, str] | None:
        record = self._trial_store.trial(job_id)
        return None if record is None else (trial_of(job_id, record), record["token"])

    def _interrupted(self, job_id: str, token: str) -> Trial | None:
        """The trial whose record says that it runs: it does in another server, or was interrupted."""
        with self._beginning, self._alone() as alone:
            found = self._kept(job_id)  # it may have ended meanwhile, or another may have begun
            if found is None or found[0].state.final or found[1] != token:
                return None if found is None else found[0]
            if not alone and self._trial_store.last_trial() == token:
                return found[0]
            trial = replace(
                found[0],
                state=TrialState.INTERRUPTED,
                problem=_INTERRUPTED,
                finished_at=self._trial_clock.now(),
            )
            self._keep(trial, token)
            return trial

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody runs a time trial on this data folder; nobody begins one meanwhile."""
        lock = self._lock()
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self) -> FileLock:
        return FileLock(self._trial_limits.data_dir / "trial.lock", thread_local=False)

    def _another(self, asked: Job, job_id: str | None) -> ServiceError:
        """The error for who would begin a second one; names of other people's jobs are not told."""
        of = "another job"
        if job_id is not None:
            with suppress(ServiceError):  # deleted meanwhile, so it ends soon
                other = self._trial_store.job(job_id)
                of = f"“{other.title}”" if other.owner == asked.owner else of
        return ServiceError(
            "trial_running",
            f"A time trial of {of} is running, and two would disturb each other.",
            "Wait until it has ended, or stop it.",
        )
