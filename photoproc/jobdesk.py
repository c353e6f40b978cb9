"""The part of the service that reads jobs and tasks, and decides what becomes of them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from photoproc.errors import ServiceError, not_found
from photoproc.jobs import STATE_OF_CODE, Job, JobState, Photo, Task, TaskState
from photoproc.names import display_name
from photoproc.overview import Overview
from photoproc.records import Event


class JobDesk(Overview):
    """What there is, and what is to be done with it."""

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
        self._store.cancel(checked(job_id), now=self._clock.now())
        self._worker.wake()

    def retry(self, job_id: str, states: Sequence[TaskState] = (TaskState.FAILED,)) -> int:
        """Queue failed (or cancelled) tasks again; returns how many."""
        count = self._store.retry(checked(job_id), states, now=self._clock.now())
        self._worker.wake()
        return count

    def leave_out(self, job_id: str, model: str) -> int:
        """Skip what is queued for a model, so that the job ends without it; returns how many tasks."""
        count = self._store.leave_out(checked(job_id), model, now=self._clock.now())
        self._worker.wake()
        return count

    def rename(self, job_id: str, title: str) -> None:
        """Give a job another title."""
        self._store.rename(checked(job_id), display_name(title.strip()) if title.strip() else "Untitled")

    def delete(self, job_id: str) -> None:
        """Delete a job with all its pictures; what runs for it stops."""
        self._store.delete_job(checked(job_id))
        self._worker.wake()
        self._blobs.close_job(job_id)


def checked(given: str, what: str = "job") -> str:
    """Ids come from addresses and become paths: anything but one of ours is simply not found."""
    if len(given) != 32 or not all(char in "0123456789abcdef" for char in given):
        raise not_found(what)
    return given
