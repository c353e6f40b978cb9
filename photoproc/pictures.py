"""The part of the service that gives out pictures: of jobs, of the library, and as a ZIP."""

from collections.abc import Callable
from pathlib import Path

from photoproc import export
from photoproc.errors import PhotoError, ServiceError, not_found
from photoproc.finish import Finish, Finished
from photoproc.intake import Intake
from photoproc.jobdesk import JobDesk, checked
from photoproc.jobs import LEVEL_SIDE, Cutout, Extra, ExtraKind, Photo, Task
from photoproc.library import Library, Tried
from photoproc.recipe import Recipe


class Pictures(JobDesk, Library):
    """What was made, and what it was made of."""

    _intake: Intake

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
        return self._blobs.output(checked(job_id), file)

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
            self._intake.thumbnail(checked(batch, "upload"), photo.sha256)
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
        path = self._blobs.staged(checked(batch, "upload"), sha256)
        if not path.is_file():
            raise not_found("photo")
        return self.try_recipe(path, sha256, recipe, who=batch)

    def try_on_job(self, job_id: str, number: int, recipe: Recipe) -> Tried:
        """A recipe tried on a photo of a job; see `try_recipe`."""
        task = self.task(job_id, number)
        kept = self._blobs.photo(job_id, recipe.picture or "")
        return self.try_recipe(self.original(task), task.photo.sha256, recipe, who=job_id, otherwise=kept)
