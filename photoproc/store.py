"""Jobs, tasks and the queue, in one diskcache (SQLite) that survives `kill -9`.

    job:<job>              what was submitted
    progress:<job>         the states of its tasks (a letter each), counts and times
    photos:<job>:<k>       its photos, fifty a record
    task:<job>:<n>         what became of a task
    running                every claimed task: its attempt token, owner and model
    owner:<owner>          a server's heartbeat, counting up
    queue:<model>:-<seq>   jobs with queued tasks for a model, taken in turn
    jobs:<k>               job ids in order of creation, fifty a record
    unfinished             the jobs with queued or running tasks
    key:<key>              the job made for an idempotency key
    events:<job>:<k>       the log of its changes, thirty-two a record
    figures:<model>        how its tasks ended here and what their steps took
    uncertain:<job>:<k>    the tasks whose model is uncertain, and how much, of five hundred a record
    ballots:<job>…         votes on its cutouts
    tags:<job>:<k>         the tags people gave its photos, twelve photos a record

Every change happens in one transaction of SQLite, synced to disk. `ledger.py` keeps progress and log,
`queue.py` the tasks that run, `votebook.py` votes, `tagbook.py` tags, `shelf.py` recipes, distances of masks
and time trials; here are the jobs themselves.
"""

import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from photoproc.errors import Problem, ServiceError, in_use, not_found
from photoproc.jobs import (
    STATE_OF_CODE,
    Counts,
    Cutout,
    Job,
    JobState,
    Photo,
    Refusal,
    Task,
    TaskState,
    Warn,
    job_state,
)
from photoproc.queue import Queue
from photoproc.recipe import Recipe
from photoproc.records import (
    PHOTOS_PER_RECORD,
    Event,
    Progress,
    cutout_of,
    photo_of,
    recipe_of,
    refusal_of,
)
from photoproc.shelf import Shelf
from photoproc.tagbook import TagBook
from photoproc.votebook import Votebook

_JOBS_PER_PAGE = 50
_TASKS_AT_ONCE = 200
_LEFT_OUT = Problem(
    code="model_left_out",
    message="It was left out: the job was finished without this model.",
    advice="Process the skipped ones once the model is there.",
)


class Store(Queue, Votebook, TagBook, Shelf):
    """The records. Safe for many threads and for several processes on one machine."""

    # Submitting

    def create_job(
        self,
        *,
        job_id: str,
        title: str,
        recipe: Recipe,
        photos: Sequence[Photo],
        refused: Sequence[Refusal],
        now: float,
        key: str | None = None,
        owner: str = "",
    ) -> str:
        """Record a job and queue its tasks; once this returns, the job is acknowledged.

        Returns its id: that of an earlier job where `key` made one before.
        """
        models = recipe.task_models
        with self._db.change() as cache:
            if key is not None and (earlier := cache.get(f"key:{key}")) is not None:
                return str(earlier)
            for start in range(0, len(photos), PHOTOS_PER_RECORD):
                chunk = [asdict(photo) for photo in photos[start : start + PHOTOS_PER_RECORD]]
                cache.set(f"photos:{job_id}:{start // PHOTOS_PER_RECORD}", chunk)
            progress = Progress(states=TaskState.QUEUED.code * (len(photos) * len(models)))
            progress = progress.finish_if_over(now)
            for model in models if photos else ():
                progress = self._enqueue(job_id, model, progress)
            self._put(job_id, progress)
            record = {
                "title": title,
                "created_at": now,
                "recipe": json.loads(recipe.to_json()),
                "photo_count": len(photos),
                "refused": [asdict(refusal) for refusal in refused],
                "key": key,
                "owner": owner,
                "page": self._add_to_index(job_id),
            }
            cache.set(f"job:{job_id}", record)
            if key is not None:
                cache.set(f"key:{key}", job_id)
        return job_id

    def _add_to_index(self, job_id: str) -> int:
        last = int(self._db.cache.get("jobs:last", 0))
        ids = list(self._db.cache.get(f"jobs:{last}", []))
        if len(ids) >= _JOBS_PER_PAGE:
            last, ids = last + 1, []
            self._db.cache.set("jobs:last", last)
        self._db.cache.set(f"jobs:{last}", [*ids, job_id])
        return last

    # Reading

    @property
    def untouched(self) -> bool:
        """Whether it never held a job: then it knows nothing of folders it does not list."""
        return self._db.get("jobs:0") is None

    def job_of_key(self, key: str) -> str | None:
        """The job made for an idempotency key, if it still exists."""
        found = self._db.get(f"key:{key}")
        return None if found is None else str(found)

    def job_ids(self, *, after: str | None = None) -> Iterator[str]:
        """All jobs, newest first; or those that were made before the one whose cursor is `after`."""
        first, older = int(self._db.get("jobs:last", 0)), None
        if after is not None:
            place, count, job_id = after.split("-")
            first = min(first, int(place))  # a made-up cursor may name a page millions further
            ids = self._db.get(f"jobs:{first}", [])
            # Where the job is gone, so many older ones stood beside it.
            older = ids.index(job_id) if job_id in ids else int(count)
        for page in range(first, -1, -1):
            ids = self._db.get(f"jobs:{page}", [])
            yield from reversed(ids if older is None else ids[:older])
            older = None

    def cursor(self, job_id: str) -> str:
        """Where to go on with `job_ids` after a job, also if it is deleted meanwhile; raises not_found."""
        record = self._db.get(f"job:{job_id}")
        ids = [] if record is None else self._db.get(f"jobs:{record['page']}", [])
        if job_id not in ids:
            raise not_found("job")
        return f"{record['page']}-{ids.index(job_id)}-{job_id}"

    def unfinished(self) -> list[str]:
        """The jobs with queued or running tasks, oldest first."""
        return list(self._db.get("unfinished", []))

    def job(self, job_id: str) -> Job:
        """A job with its counts; raises not_found."""
        return self.snapshot(job_id)[0]

    def snapshot(self, job_id: str) -> tuple[Job, str]:
        """A job and the states of its tasks, a letter each, at one moment; raises not_found."""
        record = self._db.get(f"job:{job_id}")
        progress = self._progress(job_id)
        if record is None or progress is None:
            raise not_found("job")
        return self._job_of(job_id, record, progress), progress.states

    def _job_of(self, job_id: str, record: Mapping[str, Any], progress: Progress) -> Job:
        counts = Counts.of(progress.states)
        rate = progress.tasks_per_s()
        models = max(1, len(progress.states) // max(1, record["photo_count"]))
        unfinished = counts.queued + counts.running
        return Job(
            id=job_id,
            title=record["title"],
            created_at=record["created_at"],
            recipe=recipe_of(record["recipe"]),
            photo_count=record["photo_count"],
            refused=tuple(refusal_of(one) for one in record["refused"]),
            state=job_state(counts, cancelled=progress.cancelled),
            counts=counts,
            revision=progress.revision,
            started_at=progress.started_at,
            finished_at=progress.finished_at,
            photos_per_s=rate / models if rate else None,
            remaining_s=unfinished / rate if rate and unfinished else None,
            output_bytes=progress.output_bytes,
            paused_s=progress.paused_s,
            owner=record.get("owner", ""),
            shared=record.get("shared", False),
        )

    def standing(self, job_id: str) -> tuple[JobState, int]:
        """A job's state and revision, for who asks again and again; raises not_found."""
        progress = self._progress(job_id)
        if progress is None:
            raise not_found("job")
        return job_state(Counts.of(progress.states), cancelled=progress.cancelled), progress.revision

    def events(self, job_id: str, *, after: int, limit: int) -> list[Event]:
        """What changed since revision `after`, oldest first, at most `limit`; raises not_found."""
        found = self._logged(job_id, after, limit)
        if not found and self._progress(job_id) is None:
            raise not_found("job")
        return found

    def states(self, job_id: str) -> str:
        """The states of a job's tasks, a letter each; raises not_found."""
        progress = self._progress(job_id)
        if progress is None:
            raise not_found("job")
        return progress.states

    def photos(self, job_id: str) -> Iterator[Photo]:
        """A job's photos, in order; raises not_found, at any moment, where it is deleted."""
        for start in range(0, self.job(job_id).photo_count, PHOTOS_PER_RECORD):
            chunk = self._db.get(f"photos:{job_id}:{start // PHOTOS_PER_RECORD}")
            if chunk is None:
                raise not_found("job")  # deleted meanwhile
            yield from (photo_of(record) for record in chunk)

    def tasks(self, job_id: str, numbers: Sequence[int] | None = None) -> Iterator[Task]:
        """The tasks with these numbers (all, in order, where None); raises not_found."""
        record, progress = self._db.get(f"job:{job_id}"), self._progress(job_id)
        if record is None or progress is None:
            raise not_found("job")
        models = recipe_of(record["recipe"]).task_models
        chosen = range(len(progress.states)) if numbers is None else numbers
        for start in range(0, len(chosen), _TASKS_AT_ONCE):
            asked = chosen[start : start + _TASKS_AT_ONCE]
            if not all(0 <= number < len(progress.states) for number in asked):
                raise not_found("task")
            chunks = dict.fromkeys(_photos_key(job_id, number // len(models)) for number in asked)
            kept = self._db.get_many([*chunks, *(f"task:{job_id}:{number}" for number in asked)])
            for number in asked:
                place = number // len(models)
                chunk = kept.get(_photos_key(job_id, place), [])
                if place % PHOTOS_PER_RECORD >= len(chunk):
                    raise not_found("job")  # deleted meanwhile
                task = Task(
                    job_id=job_id,
                    number=number,
                    model=models[number % len(models)],
                    photo=photo_of(chunk[place % PHOTOS_PER_RECORD]),
                    state=STATE_OF_CODE[progress.states[number]],
                )
                yield _as_kept(task, kept.get(f"task:{job_id}:{number}", {}))

    # Deciding

    def cancel(self, job_id: str, *, now: float) -> bool:
        """Cancel what is queued; what is running stops soon and publishes nothing. Idempotent.

        Whether there was anything to cancel.
        """
        with self._db.change():
            progress = self._progress(job_id)
            if progress is None:
                raise not_found("job")
            counts = Counts.of(progress.states)
            if not counts.queued and (progress.cancelled or not counts.running):
                return False
            queued = [n for n, code in enumerate(progress.states) if code == TaskState.QUEUED.code]
            self._leave_queues(progress)
            progress = replace(progress, lanes={}, cancelled=True)
            self._move(job_id, progress, queued, TaskState.CANCELLED, now)
            return True

    def leave_out(
        self, job_id: str, model: str, *, now: float, only: Container[int] | None = None
    ) -> list[int]:
        """Skip what is queued for a model, so that the job ends without it; the numbers of those tasks.

        Of these tasks `only`, where they are given.
        """
        with self._db.change() as cache:
            record, progress = cache.get(f"job:{job_id}"), self._progress(job_id)
            if record is None or progress is None:
                raise not_found("job")
            models = recipe_of(record["recipe"]).task_models
            queued = [
                number
                for number, code in enumerate(progress.states)
                if code == TaskState.QUEUED.code and models[number % len(models)] == model
            ]
            left = [number for number in queued if only is None or number in only]
            if left:
                for number in left:  # a task that was tried before has the record of that attempt
                    cache.delete(f"task:{job_id}:{number}")
                lanes = dict(progress.lanes)
                if left == queued:
                    cache.delete(lanes.pop(model))
                self._move(job_id, replace(progress, lanes=lanes), left, TaskState.SKIPPED, now)
            return left

    def retry(self, job_id: str, states: Sequence[TaskState], *, now: float) -> list[int]:
        """Queue again all tasks in these states (failed, cancelled); their numbers."""
        with self._db.change() as cache:
            record, progress = cache.get(f"job:{job_id}"), self._progress(job_id)
            if record is None or progress is None:
                raise not_found("job")
            if progress.cancelled and Counts.of(progress.states).running:
                raise ServiceError(
                    "job_cancelling", "The job is still being cancelled.", "Try again in a few seconds."
                )
            models = recipe_of(record["recipe"]).task_models
            numbers = [n for n, code in enumerate(progress.states) if STATE_OF_CODE[code] in states]
            for number in numbers:
                cache.delete(f"task:{job_id}:{number}")
            for model in {models[number % len(models)] for number in numbers}:
                progress = self._enqueue(job_id, model, progress)
            if numbers:
                progress = replace(progress, cancelled=False, recent=())
                self._move(job_id, progress, numbers, TaskState.QUEUED, now)
            return numbers

    def lose(self, job_id: str, lost: Mapping[int, tuple[Sequence[Cutout], Problem]], *, now: float) -> None:
        """Have tasks that are done fail, whose cutouts are lost, so that they can be tried again.

        By number, with the cutouts they had and why; a task that has others by now stays as it is.
        """
        with self._db.change() as cache:
            progress, numbers = self._progress(job_id), []
            if progress is None:
                raise not_found("job")
            for number, (cutouts, problem) in sorted(lost.items()):
                key = f"task:{job_id}:{number}"
                kept = cache.get(key, {})
                outcome = kept.get("outcome", {})
                there = [cutout_of(record) for record in _cutouts(outcome)]
                if STATE_OF_CODE[progress.states[number]] is not TaskState.DONE or there != list(cutouts):
                    continue
                told = {"state": TaskState.FAILED.value, "problem": asdict(problem)}
                cache.set(key, kept | {"outcome": outcome | told})
                gone = sum(cutout.total_bytes for cutout in there)
                progress = replace(progress, output_bytes=progress.output_bytes - gone)
                numbers.append(number)
            if numbers:
                self._move(job_id, progress, numbers, TaskState.FAILED, now)

    def rename(self, job_id: str, title: str) -> None:
        """Give a job another title."""
        self._alter(job_id, title=title)

    def share(self, job_id: str, shared: bool) -> None:
        """Let everybody who is signed in see a job, or its owner alone."""
        self._alter(job_id, shared=shared)

    def _alter(self, job_id: str, **fields: object) -> None:
        with self._db.change() as cache:
            record = cache.get(f"job:{job_id}")
            if record is None:
                raise not_found("job")
            cache.set(f"job:{job_id}", record | fields)

    def delete_job(self, job_id: str, *, finished_before: float = math.inf) -> None:
        """Forget a job; what runs for it can no longer be published.

        Raises not_found, and job_in_use where it is to have finished before a moment and has not.
        """
        with self._db.change() as cache:
            record, progress = cache.get(f"job:{job_id}"), self._progress(job_id)
            if record is None or progress is None:
                raise not_found("job")
            at = progress.finished_at
            if finished_before < math.inf and (at is None or at >= finished_before):
                raise in_use()
            ids = list(cache.get(f"jobs:{record['page']}", []))
            cache.set(f"jobs:{record['page']}", [one for one in ids if one != job_id])
            if record["key"] is not None:
                cache.delete(f"key:{record['key']}")
            running = cache.get("running", {})
            mine = [place for place in running if place.startswith(f"{job_id}:")]
            if mine:
                cache.set("running", {place: running[place] for place in running if place not in mine})
            self._forget(job_id, progress)
            self._forget_votes(job_id)
            self._forget_tags(job_id, record["photo_count"])
            cache.delete(f"job:{job_id}")
            self._forget_shelf(job_id, record["photo_count"], record["recipe"]["models"])
            for start in range(0, record["photo_count"], PHOTOS_PER_RECORD):
                cache.delete(f"photos:{job_id}:{start // PHOTOS_PER_RECORD}")
            for number in range(len(progress.states)):
                cache.delete(f"task:{job_id}:{number}")

    def check(self) -> None:
        """Raise ServiceError store_damaged where the database is damaged."""
        self._db.check()

    def restore(self, job_id: str, ended: Mapping[int, Mapping[str, Any]]) -> None:
        """Have tasks of a job that was just recorded end as they did: by number, see `journal.Journal`."""
        with self._db.change() as cache:
            progress = self._progress(job_id)
            if progress is None:
                raise not_found("job")
            groups: dict[tuple[TaskState, bool], list[int]] = {}
            last = 0.0
            for number, one in sorted(ended.items()):
                outcome, at = one["outcome"], float(one["finished_at"])
                state = TaskState(outcome["state"])
                kept = {"attempts": 1, "outcome": outcome, "finished_at": at, "token": one["token"]}
                cache.set(f"task:{job_id}:{number}", kept)
                warnings = [Warn(**warning) for warning in outcome["warnings"]]
                groups.setdefault((state, any(one.needs_look for one in warnings)), []).append(number)
                made = sum(cutout_of(record).total_bytes for record in outcome["cutouts"])
                progress = replace(progress, output_bytes=progress.output_bytes + made)
                if progress.started_at is None or at < progress.started_at:
                    progress = replace(progress, started_at=at)
                if outcome.get("uncertainty") and any(one.code == "uncertain" for one in warnings):
                    self._note_uncertain(job_id, number, outcome["uncertainty"])
                last = max(last, at)
            begun = {(TaskState.RUNNING, False): sorted(ended)} if ended else {}
            for (state, look), numbers in [*begun.items(), *groups.items()]:
                self._move(job_id, progress, numbers, state, last, look=look)
                moved = self._progress(job_id)
                assert moved is not None
                progress = moved

    def forget_deleted(self) -> None:
        """Leave nothing of what was deleted in the database's files, unless they are in use."""
        self._db.empty_log()


def _photos_key(job_id: str, place: int) -> str:
    """The record of the photo at this place of a job."""
    return f"photos:{job_id}:{place // PHOTOS_PER_RECORD}"


def _cutouts(outcome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The cutouts of an outcome; there was one at most before each face could have its own."""
    earlier = outcome.get("cutout")
    found: Sequence[Mapping[str, Any]] = outcome.get("cutouts", [] if earlier is None else [earlier])
    return found


def _as_kept(task: Task, kept: Mapping[str, Any]) -> Task:
    """A task with what became of it."""
    task = replace(task, attempts=kept.get("attempts", 0))
    outcome = kept.get("outcome")
    # While a retry is under way, the last outcome is not this attempt's.
    if outcome is None or not task.state.final:
        return replace(task, problem=_LEFT_OUT) if task.state is TaskState.SKIPPED else task
    cutouts = tuple(cutout_of(record) for record in _cutouts(outcome))
    done = task.state is TaskState.DONE
    return replace(
        task,
        cutouts=cutouts if done else (),
        remains=() if done else cutouts,
        problem=None if outcome["problem"] is None else Problem(**outcome["problem"]),
        warnings=tuple(Warn(**one) for one in outcome["warnings"]),
        seconds=outcome["seconds"] or {},
        provider=outcome["provider"],
        mask_from_cache=outcome["mask_from_cache"],
        weights_id=outcome.get("weights_id", ""),
        uncertainty=outcome.get("uncertainty"),
        finished_at=kept.get("finished_at"),
        peak_bytes=outcome.get("peak_bytes"),  # earlier versions did not measure it
        threads=outcome.get("threads"),
        batch=outcome.get("batch", 1),
    )
