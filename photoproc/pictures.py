"""The part of the service that gives out pictures: of jobs, of the library, and as a ZIP."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from photoproc import export
from photoproc.errors import PhotoError, Problem, ServiceError, not_found
from photoproc.finish import Finish, Finished
from photoproc.intake import Intake
from photoproc.jobdesk import JobDesk, checked
from photoproc.jobs import LEVEL_SIDE, Cutout, Extra, ExtraKind, Photo, Task
from photoproc.library import Library, Tried
from photoproc.recipe import Recipe

log = structlog.get_logger()


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
        """One of a task's cutouts and its file; raises not_found, and cutout_lost where it is gone."""
        if task.remains and task.problem is not None:
            raise ServiceError(task.problem.code, task.problem.message, task.problem.advice)
        if not task.cutouts:
            raise ServiceError(
                "not_found", f"This task has no cutout: it is {task.state}.", "There is one once it is done."
            )
        if place >= len(task.cutouts):
            raise not_found("cutout")
        cutout = task.cutouts[place]
        return self._whole(task, cutout), cutout

    def _whole(self, task: Task, file: Cutout | Extra) -> Path:
        path = self._blobs.whole(task.job_id, file)
        if path is None:
            self.notice_lost(task.job_id, [task])
            problem = self._problem_of_lost(task)
            raise ServiceError(problem.code, problem.message, problem.advice)
        return path

    def notice_lost(self, job_id: str, tasks: Sequence[Task]) -> bool:
        """Have those of these tasks fail whose cutouts are no longer whole on disk; whether there were any.

        Then everybody is told, and they can be tried again.
        """
        lost = {
            task.number: (task.cutouts, self._problem_of_lost(task))
            for task in tasks
            if self._blobs.is_lost(task)
        }
        if not lost:
            return False
        log.error("cutouts_lost", job=job_id, tasks=sorted(lost))
        try:
            self._store.lose(job_id, lost, now=self._clock.now())
        except ServiceError as error:  # a full disk, a job deleted just now: who looks next notices again
            log.warning("cutouts_lost_not_noted", job=job_id, code=error.problem.code)
            return False
        return True

    def _problem_of_lost(self, task: Task) -> Problem:
        there = self.original(task).is_file()
        return Problem(
            code="cutout_lost",
            message=f"The cutout of “{task.photo.name}” is gone: its file is missing from the server's disk, "
            "or damaged.",
            advice="Retry it: the photo is still here."
            if there
            else "Its photo is gone as well: process the photo again.",
        )

    def companion(self, task: Task, place: int, kind: ExtraKind) -> tuple[Path, Extra, Cutout]:
        """What goes with a cutout, its file, and the cutout; raises not_found, cutout_lost."""
        _, cutout = self.cutout(task, place)
        found = next((extra for extra in cutout.extras if extra.kind == kind), None)
        if found is None:
            raise not_found("file")
        return self._whole(task, found), found, cutout

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
        if self.notice_lost(job_id, tasks):
            tasks = list(self._store.tasks(job_id))
        return export.archive(job, tasks, partial(self._blobs.whole, job_id))

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
