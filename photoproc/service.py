"""PhotoService: the one façade that pages, API and command line call."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from photoproc import export
from photoproc.blobs import Blobs
from photoproc.clock import Clock
from photoproc.comparison import Comparisons
from photoproc.decision import Decisions
from photoproc.engine import Engine, LocalEngine
from photoproc.errors import InputError, PhotoError, ServiceError, not_found
from photoproc.finish import Finish, Finished
from photoproc.intake import Accepted, Intake, Reception
from photoproc.jobs import (
    LEVEL_SIDE,
    STATE_OF_CODE,
    Cutout,
    Extra,
    ExtraKind,
    Job,
    JobState,
    Photo,
    Refusal,
    Task,
    TaskState,
    Warn,
)
from photoproc.library import Library, Tried
from photoproc.links import Links
from photoproc.models.weights import Weights
from photoproc.names import display_name, output_paths
from photoproc.overview import Overview
from photoproc.recipe import Recipe
from photoproc.records import Event
from photoproc.settings import Settings
from photoproc.store import Store
from photoproc.tags import Tags
from photoproc.trial import Trials
from photoproc.voting import Voting
from photoproc.worker import Worker

BACKGROUNDS = "backgrounds"
"""What the dashboard's links to pictures of the library are signed for."""

DASHBOARD = "dashboard"
"""What a link of the dashboard's own is signed for: who holds one may do what the dashboard does."""


class PhotoService(Overview, Library, Decisions):
    """Everything a door (page, route, command) may ask for. Thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        intake: Intake,
        engine: Engine,
        previewer: Engine,
        worker: Worker,
        weights: Weights,
        clock: Clock,
        settings: Settings,
        link_key: str,
        trial_engine: Callable[[], Engine] | None = None,
    ) -> None:
        Overview.__init__(
            self,
            store=store,
            blobs=blobs,
            engine=engine,
            worker=worker,
            weights=weights,
            clock=clock,
            settings=settings,
        )
        Library.__init__(
            self,
            store=store,
            blobs=blobs,
            engine=engine,
            previewer=previewer,
            weights=weights,
            settings=settings,
        )
        Comparisons.__init__(self, store=store, blobs=blobs, engine=engine, previewer=previewer)
        Trials.__init__(
            self,
            store=store,
            blobs=blobs,
            worker=worker,
            weights=weights,
            clock=clock,
            settings=settings,
            # Like the children that run tasks, so that the figures can be compared.
            engine_of=trial_engine
            or partial(
                LocalEngine,
                children=1,
                threads=settings.threads_per_child,
                timeout_s=settings.task_timeout_s,
                memory_mb=settings.child_memory_mb,
            ),
        )
        Decisions.__init__(self)
        Tags.__init__(self, store=store)
        Voting.__init__(self, store=store, blobs=blobs, previewer=previewer, clock=clock)
        self._intake = intake
        self._links = Links(link_key, lifetime_s=settings.link_lifetime_s, clock=clock)

    # Uploads and jobs

    def new_batch(self) -> str:
        """A place to stage uploads in until they become a job."""
        return uuid.uuid4().hex

    def accept(self, batch: str, name: str, stream: BinaryIO) -> Accepted:
        """Check one upload (photo or ZIP) and stage its photos; see `Intake.accept`."""
        self.warm_up()  # somebody is about to look
        return self._intake.accept(_checked(batch, "upload"), name, stream)

    def check_space(self, coming_bytes: int) -> None:
        """Raise ServiceError disk_full where there is no room for an upload of so many bytes."""
        self._blobs.check_space(coming_bytes)

    def reception(self, batch: str) -> Reception:
        """Take in several uploads piece by piece; see `Intake.reception`."""
        return self._intake.reception(_checked(batch, "upload"))

    def scratch(self) -> AbstractContextManager[Path]:
        """A path for a file that is needed only now."""
        return self._blobs.scratch()

    def unwrap(self, body: Path, target: Path, media_type: str, field: str) -> dict[str, str]:
        """Take a base64 file out of a form, and return its other fields; see `Intake.unwrap`."""
        return self._intake.unwrap(body, target, media_type, field)

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
            job = self._create(
                sources,
                photos,
                recipe,
                refused=refused,
                title=title,
                key=key,
                owner=owner,
                background=self.background_of(recipe),
            )
        except (ServiceError, InputError):
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
            sources,
            photos,
            recipe,
            title=title or earlier.title,
            key=key,
            owner=earlier.owner,
            background=self.background_of(recipe, self._blobs.photo(job_id, recipe.picture or "")),
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
        background: Path | None = None,
    ) -> Job:
        for model in recipe.models:
            self._weights.spec(model)
        self.check_refiner(recipe)
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
        self._blobs.open_job(job_id, dict.fromkeys([*sources, *([background] if background else [])]))
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
    ) -> tuple[list[Job], str | None]:
        """Jobs of an owner and in a state, newest first, from `cursor` on; and where the next page begins."""
        found: list[Job] = []
        for job_id in self._store.job_ids(after=cursor):
            with suppress(ServiceError):  # deleted between the two reads
                job = self._store.job(job_id)
                if (owner is None or job.owner == owner) and (state is None or job.state is state):
                    found.append(job)
            if len(found) == limit:
                with suppress(ServiceError):
                    return found, self._store.cursor(found[-1].id)
        return found, None

    def standing(self, job_id: str) -> tuple[JobState, int]:
        """A job's state and revision, cheaply; raises not_found."""
        return self._store.standing(_checked(job_id))

    def snapshot(self, job_id: str) -> tuple[Job, str]:
        """A job and the states of its tasks, a letter each, at one moment; raises not_found."""
        return self._store.snapshot(_checked(job_id))

    def events(self, job_id: str, *, after: int, limit: int = 500) -> list[Event]:
        """What changed in a job since revision `after`, oldest first; raises not_found."""
        return self._store.events(_checked(job_id), after=after, limit=limit)

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

    def uncertain_first(self, job_id: str, numbers: Sequence[int]) -> list[int]:
        """Numbers of tasks: those whose model is uncertain by how much, then the others in their order."""
        uncertain = self._store.uncertain(_checked(job_id))
        return sorted(numbers, key=lambda number: -uncertain.get(number, 0.0))

    def masks_kept(self, photos: Sequence[Photo], model: str) -> int:
        """For how many of these photos a model need not run, because its mask of them is kept."""
        spec = self._weights.specs().get(model)
        if spec is None:  # a custom model that is gone
            return 0
        return sum(self._blobs.mask(photo.sha256, model, spec.weights_id) is not None for photo in photos)

    def certainties_kept(self, photos: Sequence[Photo], model: str) -> int:
        """For how many of these photos it is known how much a model disagrees with itself."""
        spec = self._weights.specs().get(model)
        if spec is None:  # a custom model that is gone
            return 0
        kept = (self._blobs.uncertainty(photo.sha256, model, spec.weights_id) for photo in photos)
        return sum(value is not None for value in kept)

    def check_certainty(self, job_id: str) -> Job:
        """A job over the same photos with the same recipe that checks certainty too; however often, one job.

        Masks are used again, so each model looks twice, not three times. Raises as `process_again`, and
        RecipeError where no model runs.
        """
        job = self.job(job_id)
        recipe = Recipe.of_fields(job.recipe.model_dump(mode="json") | {"certainty": True})
        return self.process_again(job.id, recipe, title=f"{job.title} · certainty", key=f"{job.id}-certainty")

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
        self.drop_trial(job_id)
        self._worker.wake()
        self._blobs.close_job(job_id)

    # Pictures

    def original(self, task: Task) -> Path:
        """The file of a task's photo as it was uploaded."""
        return self._blobs.photo(task.job_id, task.photo.sha256)

    def mask(self, task: Task) -> Path:
        """The file of the mask of a finished task, at the model's size; raises not_found."""
        path = self._blobs.mask_of(task)
        if path is None:
            raise not_found("mask")
        return path

    def cutout(self, task: Task, place: int = 0) -> tuple[Path, Cutout]:
        """One of a task's cutouts and its file; raises not_found."""
        if not task.cutouts:
            raise ServiceError(
                "not_found", f"This task has no cutout: it is {task.state}.", "There is one once it is done."
            )
        if place >= len(task.cutouts):
            raise not_found("cutout")
        cutout = task.cutouts[place]
        return self._blobs.output(task.job_id, cutout.file), cutout

    def companion(self, task: Task, place: int, kind: ExtraKind) -> tuple[Path, Extra, Cutout]:
        """What goes with a cutout, its file, and the cutout; raises not_found."""
        _, cutout = self.cutout(task, place)
        found = next((extra for extra in cutout.extras if extra.kind == kind), None)
        if found is None:
            raise not_found("file")
        return self._blobs.output(task.job_id, found.file), found, cutout

    def output(self, job_id: str, file: str) -> Path:
        """A file of a job's results, by the name that a cutout has for it; raises not_found."""
        return self._blobs.output(_checked(job_id), file)

    def preview(self, task: Task, place: int, *, longest: int) -> bytes:
        """A WebP of a cutout of at most `longest` pixels a side; raises not_found."""
        source, found = self.cutout(task, place)
        if longest == LEVEL_SIDE and found.level:
            return self._blobs.output(task.job_id, found.level).read_bytes()
        with self._blobs.scratch() as target:
            self._intake.shrink(source, target, longest)
            return target.read_bytes()

    def finish(self, job_id: str, number: int, asked: Finish) -> tuple[bytes, Finished]:
        """Another picture of a task's photo and mask, as a file; raises not_found, InputError."""
        task = self.task(job_id, number)
        photo, mask = self.original(task), self.mask(task)
        with self._blobs.scratch() as target:
            finished = self.finished(photo, mask, target, asked)
            return target.read_bytes(), finished

    def photos(self, job_id: str) -> Iterator[Photo]:
        """A job's photos, in order; raises not_found."""
        return self._store.photos(_checked(job_id))

    def numbered_tasks(self, job_id: str, numbers: Sequence[int]) -> list[Task]:
        """The tasks with these numbers; raises not_found."""
        return list(self._store.tasks(_checked(job_id), numbers))

    def task(self, job_id: str, number: int) -> Task:
        """One task; raises not_found."""
        return next(self._store.tasks(_checked(job_id), [number]))

    def archive(self, job_id: str) -> export.Archive:
        """The job's finished cutouts and its manifest as a ZIP, streamed."""
        job = self.job(job_id)
        tasks = list(self._store.tasks(job_id))
        file_of: Callable[[str], Path] = lambda file: self._blobs.output(job_id, file)  # noqa: E731
        return export.archive(job, tasks, file_of)

    def keep_background(self, batch: str, photo: Photo) -> str:
        """Keep an uploaded picture as a background; returns its id, and forgets the upload.

        Raises InputError too_many_backgrounds, and PhotoError where it cannot be decoded.
        """
        try:
            self._intake.thumbnail(_checked(batch, "upload"), photo.sha256)
        except PhotoError:
            self._blobs.drop_batch(batch)
            raise
        return super().keep_background(batch, photo)

    def background_thumbnail(self, picture: str) -> bytes:
        """A small WebP of a background picture; raises not_found."""
        with self._blobs.scratch() as target:
            self._intake.shrink(self.background(picture), target, 240)
            return target.read_bytes()

    def try_on_upload(self, batch: str, sha256: str, recipe: Recipe) -> Tried:
        """A recipe tried on a staged photo; see `try_recipe`."""
        path = self._blobs.staged(_checked(batch, "upload"), sha256)
        if not path.is_file():
            raise not_found("photo")
        return self.try_recipe(path, sha256, recipe, who=batch)

    def try_on_job(self, job_id: str, number: int, recipe: Recipe) -> Tried:
        """A recipe tried on a photo of a job; see `try_recipe`."""
        task = self.task(job_id, number)
        kept = self._blobs.photo(job_id, recipe.picture or "")
        return self.try_recipe(self.original(task), task.photo.sha256, recipe, who=job_id, otherwise=kept)

    # Links

    def sign(self, job_id: str) -> str:
        """A token that opens a job's pictures and archive until it expires."""
        return self._links.sign(job_id)

    def check_link(self, subject: str, token: str) -> None:
        """Raise ServiceError link_expired or link_invalid unless the token opens this subject."""
        self._links.check(subject, token)


def trying(job_id: str) -> str:
    """What a link is signed for that lets recipes be tried on a job's photos: pictures' links do not."""
    return f"try:{job_id}"


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
