"""The part of the service that reads jobs and tasks, and decides what becomes of them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from photoproc.errors import Problem, ServiceError, in_use, not_found
from photoproc.jobs import STATE_OF_CODE, Job, JobState, Photo, Task, TaskState
from photoproc.names import display_name
from photoproc.overview import Overview
from photoproc.records import Event


class JobDesk(Overview):
    """What there is, and what is to be done with it."""

    def job_count(self) -> int:
        """How many jobs there are."""
        return sum(1 for _ in self._store.job_ids())

    def jobs(self, *, offset: int = 0, limit: int | None = 50, owner: str | None = None) -> list[Job]:
        """Jobs, newest first; all of them where `limit` is None, those of an owner where one is given."""
        ids = self._store.job_ids()
        if owner is None:  # those before need not be read
            ids, offset = islice(ids, offset, None), 0
        found = (job for job in map(self._found, ids) if job is not None and owner in (None, job.owner))
        return list(islice(found, offset, None if limit is None else offset + limit))

    def _found(self, job_id: str) -> Job | None:
        """None where it was deleted between two reads."""
        with suppress(ServiceError):
            return self._store.job(job_id)
        return None

    def job(self, job_id: str) -> Job:
        """A job; raises not_found."""
        return self._store.job(checked(job_id))

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
        return self._store.standing(checked(job_id))

    def snapshot(self, job_id: str) -> tuple[Job, str]:
        """A job and the states of its tasks, a letter each, at one moment; raises not_found."""
        return self._store.snapshot(checked(job_id))

    def events(self, job_id: str, *, after: int, limit: int = 500) -> list[Event]:
        """What changed in a job since revision `after`, oldest first; raises not_found."""
        return self._store.events(checked(job_id), after=after, limit=limit)

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
        return list(self._store.tasks(checked(job_id), chosen))

    def task_numbers(
        self, job_id: str, *, states: Sequence[TaskState] | None = None, needs_look: bool = False
    ) -> list[int]:
        """The numbers of a job's tasks, of some states where given, or those worth a look."""
        wanted = {code for code, state in STATE_OF_CODE.items() if states is None or state in states}
        codes = {code for code in wanted if code.isupper() or not needs_look}
        return [number for number, code in enumerate(self._store.states(checked(job_id))) if code in codes]

    def uncertain_first(self, job_id: str, numbers: Sequence[int]) -> list[int]:
        """Numbers of tasks: those whose model is uncertain by how much, then the others in their order."""
        uncertain = self._store.uncertain(checked(job_id))
        return sorted(numbers, key=lambda number: -uncertain.get(number, 0.0))

    def photos(self, job_id: str) -> Iterator[Photo]:
        """A job's photos, in order; raises not_found."""
        return self._store.photos(checked(job_id))

    def numbered_tasks(self, job_id: str, numbers: Sequence[int]) -> list[Task]:
        """The tasks with these numbers; raises not_found."""
        return list(self._store.tasks(checked(job_id), numbers))

    def task(self, job_id: str, number: int) -> Task:
        """One task; raises not_found."""
        return next(self._store.tasks(checked(job_id), [number]))

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

    def cancel(self, job_id: str) -> None:
        """Cancel a job: queued tasks at once, running ones within seconds. Idempotent."""
        if self._store.cancel(checked(job_id), now=self._clock.now()):
            self._blobs.note(job_id, cancelled=True)
        self._worker.wake()

    def retry(self, job_id: str, states: Sequence[TaskState] = (TaskState.FAILED,)) -> int:
        """Queue failed (or cancelled) tasks again; returns how many."""
        remains = [cutout for task in self.tasks(job_id, states=states) for cutout in task.remains]
        numbers = self._store.retry(checked(job_id), states, now=self._clock.now())
        if numbers:
            self._blobs.drop_output(job_id, remains)
            self._blobs.note(job_id, retried=numbers)
        self._worker.wake()
        return len(numbers)

    def leave_out(self, job_id: str, model: str) -> int:
        """Skip what is queued for a model, so that the job ends without it; returns how many tasks."""
        numbers = self._store.leave_out(checked(job_id), model, now=self._clock.now())
        if numbers:
            self._blobs.note(job_id, left_out=numbers)
        self._worker.wake()
        return len(numbers)

    def rename(self, job_id: str, title: str) -> None:
        """Give a job another title."""
        title = display_name(title.strip()) if title.strip() else "Untitled"
        self._store.rename(checked(job_id), title)
        self._blobs.note_title(job_id, title)

    def share(self, job_id: str, shared: bool) -> None:
        """Let everybody who is signed in and knows its address see a job, or its owner alone."""
        self._store.share(checked(job_id), shared)

    def delete(self, job_id: str, *, finished_before: float = math.inf) -> None:
        """Delete a job with all its pictures; what runs for it stops. Works on a full disk as well.

        Raises not_found, and job_in_use where it is to have finished before a moment and has not.
        """
        checked(job_id)
        try:
            self._store.delete_job(job_id, finished_before=finished_before)
        except ServiceError as error:
            if error.problem.code != "disk_full" or not self._blobs.give_up_reserve():
                raise
            self._store.delete_job(job_id, finished_before=finished_before)
        self._worker.wake()
        self._blobs.close_job(job_id)
        self._store.forget_deleted()
        self.keep_reserve()

    def notice(self) -> Problem | None:
        """What everybody should know, until somebody says that it is known."""
        return self._store.notice()

    def forget_notice(self) -> None:
        """It is known."""
        self._store.keep_notice(None)

    def keep_reserve(self) -> None:
        """See that there is room to delete something, also once the disk is full."""
        self._blobs.keep_reserve()

    def expires_at(self, job: Job) -> float | None:
        """When a job's time is over (it goes within a day or two of that); None where it stays.

        Seconds since the epoch, as all times that people read.
        """
        days = self.settings.retention_days
        return None if not days or job.finished_at is None else job.finished_at + days * 86_400

    def expire(self, job_id: str, now: float) -> None:
        """Delete a job if its time is over; raises job_in_use where it is not, and as `delete` does."""
        before = now - self.settings.retention_days * 86_400
        if (self.job(job_id).finished_at or math.inf) >= before:
            raise in_use()
        self.delete(job_id, finished_before=before)

    def expired(self, now: float) -> Iterator[str]:
        """The finished jobs whose time is over, oldest first."""
        for job in reversed(self.jobs(limit=None)):
            at = self.expires_at(job)
            if at is not None and at < now:
                yield job.id


def checked(given: str, what: str = "job") -> str:
    """Ids come from addresses and become paths: anything but one of ours is simply not found."""
    if len(given) != 32 or not all(char in "0123456789abcdef" for char in given):
        raise not_found(what)
    return given
