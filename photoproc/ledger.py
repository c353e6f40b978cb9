"""What the queue and the jobs share: a job's progress, the queues it waits in, the log of its changes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from photoproc.database import Database
from photoproc.errors import not_found
from photoproc.jobs import TaskState
from photoproc.records import Event, Progress, event_of, event_record

EVENTS_PER_RECORD = 32
_UNCERTAIN_PER_RECORD = 500


class Ledger:
    """The records of progress. What changes them runs inside a transaction of the caller's."""

    def __init__(self, directory: Path) -> None:
        self._db = Database(directory)

    def close(self) -> None:
        """Close this thread's connection."""
        self._db.close()

    def _progress(self, job_id: str) -> Progress | None:
        record = self._db.get(f"progress:{job_id}")
        return None if record is None else Progress.of_record(record)

    def _move(
        self,
        job_id: str,
        progress: Progress,
        numbers: Sequence[int],
        to: TaskState,
        now: float,
        *,
        look: bool = False,
    ) -> None:
        """Keep a job's progress with some tasks in another state, and log that."""
        progress = progress.moved(numbers, to, now, look=look)
        self._put(job_id, progress)
        key = _events(job_id, progress.revision)
        entry = event_record(progress, numbers, to, now, look=look)
        self._db.cache.set(key, [*self._db.cache.get(key, []), entry])

    def _logged(self, job_id: str, after: int, limit: int) -> list[Event]:
        """The events that follow revision `after`, oldest first."""
        found: list[Event] = []
        while len(found) < limit:
            record = self._db.get(_events(job_id, after + 1), [])
            new = [event_of(entry) for entry in record if entry["cursor"] > after][: limit - len(found)]
            if not new:
                break
            found += new
            after = new[-1].cursor
        return found

    def uncertain(self, job_id: str) -> dict[int, float]:
        """How uncertain the model was in each task that has that warning; raises not_found."""
        progress = self._progress(job_id)
        if progress is None:
            raise not_found("job")
        found = self._db.get_many(_uncertain(job_id, progress))
        return {int(number): value for record in found.values() for number, value in record.items()}

    def _note_uncertain(self, job_id: str, number: int, uncertainty: float) -> None:
        """So that a job's tasks can be sorted without reading all of them."""
        key = f"uncertain:{job_id}:{number // _UNCERTAIN_PER_RECORD}"
        self._db.cache.set(key, self._db.cache.get(key, {}) | {str(number): round(uncertainty, 4)})

    def _forget(self, job_id: str, progress: Progress) -> None:
        """Delete a job's progress, its places in the queues and its log."""
        for key in _uncertain(job_id, progress):
            self._db.cache.delete(key)
        self._leave_queues(progress)
        self._db.cache.delete(f"progress:{job_id}")
        self._list_unfinished(job_id, False)
        for revision in range(1, progress.revision + 1, EVENTS_PER_RECORD):
            self._db.cache.delete(_events(job_id, revision))

    def _enqueue(self, job_id: str, model: str, progress: Progress) -> Progress:
        """Have the job wait its turn for a model, once."""
        if model in progress.lanes:
            return progress
        key = self._db.cache.push(job_id, prefix=queue_prefix(model))
        return replace(progress, lanes={**progress.lanes, model: key})

    def _leave_queues(self, progress: Progress) -> None:
        for key in progress.lanes.values():
            self._db.cache.delete(key)

    def _put(self, job_id: str, progress: Progress) -> None:
        """Keep a job's progress, and whether it is among the unfinished; in a transaction."""
        self._db.cache.set(f"progress:{job_id}", progress.to_record())
        self._list_unfinished(job_id, progress.finished_at is None)

    def _list_unfinished(self, job_id: str, wanted: bool) -> None:
        found = self._db.cache.get("unfinished", [])
        if wanted and job_id not in found:
            self._db.cache.set("unfinished", [*found, job_id])
        elif not wanted and job_id in found:
            self._db.cache.set("unfinished", [one for one in found if one != job_id])


def queue_prefix(model: str) -> str:
    """Where the jobs that wait for a model stand."""
    # diskcache looks for keys between "<prefix>-000…" and "<prefix>-999…": the colon keeps a model
    # called "x-5" out of the range of one called "x".
    return f"queue:{model}:"


def _uncertain(job_id: str, progress: Progress) -> list[str]:
    records = -(-len(progress.states) // _UNCERTAIN_PER_RECORD)
    return [f"uncertain:{job_id}:{place}" for place in range(records)]


def _events(job_id: str, revision: int) -> str:
    return f"events:{job_id}:{(revision - 1) // EVENTS_PER_RECORD}"
