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
    speed:<model>          seconds a task of that model takes here

Every change happens in one transaction of SQLite, synced to disk. A lease is an owner's heartbeat:
it is lost when the counter has not moved for a while on the observer's monotonic clock, so no jump
of a wall clock ends or prolongs one.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from photoproc.database import Database
from photoproc.errors import Problem, ServiceError, not_found
from photoproc.jobs import (
    STATE_OF_CODE,
    Counts,
    Job,
    Photo,
    Refusal,
    Task,
    TaskState,
    Warn,
    job_state,
    move,
)
from photoproc.recipe import Recipe
from photoproc.records import Claim, Outcome, Progress, Running, cutout_of, photo_of, refusal_of

_PER_RECORD = 50


class Store:
    """The records. Safe for many threads and for several processes on one machine."""

    def __init__(self, directory: Path) -> None:
        self._db = Database(directory)

    def close(self) -> None:
        """Close this thread's connection."""
        self._db.close()

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
    ) -> str:
        """Record a job and queue its tasks; once this returns, the job is acknowledged.

        Returns its id: that of an earlier job where `key` made one before.
        """
        models = recipe.task_models
        with self._db.change() as cache:
            if key is not None and (earlier := cache.get(f"key:{key}")) is not None:
                return str(earlier)
            for start in range(0, len(photos), _PER_RECORD):
                chunk = [asdict(photo) for photo in photos[start : start + _PER_RECORD]]
                cache.set(f"photos:{job_id}:{start // _PER_RECORD}", chunk)
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
                "page": self._add_to_index(job_id),
            }
            cache.set(f"job:{job_id}", record)
            if key is not None:
                cache.set(f"key:{key}", job_id)
        return job_id

    def _add_to_index(self, job_id: str) -> int:
        last = int(self._db.cache.get("jobs:last", 0))
        ids = list(self._db.cache.get(f"jobs:{last}", []))
        if len(ids) >= _PER_RECORD:
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

    def job_ids(self) -> Iterator[str]:
        """All jobs, newest first."""
        for page in range(int(self._db.get("jobs:last", 0)), -1, -1):
            yield from reversed(self._db.get(f"jobs:{page}", []))

    def unfinished(self) -> list[str]:
        """The jobs with queued or running tasks, oldest first."""
        return list(self._db.get("unfinished", []))

    def job(self, job_id: str) -> Job:
        """A job with its counts; raises not_found."""
        record = self._db.get(f"job:{job_id}")
        progress = self._progress(job_id)
        if record is None or progress is None:
            raise not_found("job")
        counts = Counts.of(progress.states)
        rate = progress.tasks_per_s()
        models = max(1, len(progress.states) // max(1, record["photo_count"]))
        unfinished = counts.queued + counts.running
        return Job(
            id=job_id,
            title=record["title"],
            created_at=record["created_at"],
            recipe=Recipe.model_validate(record["recipe"]),
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
        )

    def states(self, job_id: str) -> str:
        """The states of a job's tasks, a letter each; raises not_found."""
        progress = self._progress(job_id)
        if progress is None:
            raise not_found("job")
        return progress.states

    def photos(self, job_id: str) -> Iterator[Photo]:
        """A job's photos, in order; raises not_found, at any moment, where it is deleted."""
        for start in range(0, self.job(job_id).photo_count, _PER_RECORD):
            chunk = self._db.get(f"photos:{job_id}:{start // _PER_RECORD}")
            if chunk is None:
                raise not_found("job")  # deleted meanwhile
            yield from (photo_of(record) for record in chunk)

    def tasks(self, job_id: str, numbers: Sequence[int] | None = None) -> Iterator[Task]:
        """The tasks with these numbers (all, in order, where None); raises not_found."""
        record, progress = self._db.get(f"job:{job_id}"), self._progress(job_id)
        if record is None or progress is None:
            raise not_found("job")
        models = Recipe.model_validate(record["recipe"]).task_models
        chunk_number, chunk = -1, []
        for number in range(len(progress.states)) if numbers is None else numbers:
            if not 0 <= number < len(progress.states):
                raise not_found("task")
            place = number // len(models)
            if place // _PER_RECORD != chunk_number:
                chunk_number = place // _PER_RECORD
                chunk = self._db.get(f"photos:{job_id}:{chunk_number}", [])
            if place % _PER_RECORD >= len(chunk):
                raise not_found("job")  # deleted meanwhile
            yield self._task(
                job_id,
                number,
                models[number % len(models)],
                photo_of(chunk[place % _PER_RECORD]),
                STATE_OF_CODE[progress.states[number]],
            )

    def _task(self, job_id: str, number: int, model: str, photo: Photo, state: TaskState) -> Task:
        kept = self._db.get(f"task:{job_id}:{number}", {})
        task = Task(
            job_id=job_id,
            number=number,
            model=model,
            photo=photo,
            state=state,
            attempts=kept.get("attempts", 0),
        )
        outcome = kept.get("outcome")
        # While a retry is under way, the last outcome is not this attempt's.
        if outcome is None or not state.final:
            return task
        return replace(
            task,
            cutout=cutout_of(outcome["cutout"]),
            problem=None if outcome["problem"] is None else Problem(**outcome["problem"]),
            warnings=tuple(Warn(**one) for one in outcome["warnings"]),
            seconds=outcome["seconds"] or {},
            provider=outcome["provider"],
            mask_from_cache=outcome["mask_from_cache"],
            finished_at=kept.get("finished_at"),
        )

    def queued_models(self, models: Sequence[str]) -> list[str]:
        """Which of these models have queued tasks."""
        with self._db.change() as cache:  # diskcache peeks inside a transaction
            return [model for model in models if cache.peek(prefix=_queue(model))[0] is not None]

    # Running

    def claim(self, owner: str, models: Sequence[str], *, token: str, now: float) -> Claim | None:
        """Take the next task for one of these models, jobs in turn; None where nothing is queued.

        It is a heartbeat as well.
        """
        with self._db.change() as cache:
            for model in models:
                while True:
                    entry, job_id = cache.peek(prefix=_queue(model))
                    if entry is None:
                        break
                    cache.delete(entry)
                    claim = self._claim_of(job_id, model, owner, token, now)
                    if claim is not None:
                        return claim
        return None

    def _claim_of(self, job_id: str, model: str, owner: str, token: str, now: float) -> Claim | None:
        record, progress = self._db.cache.get(f"job:{job_id}"), self._progress(job_id)
        if record is None or progress is None:
            return None
        recipe = Recipe.model_validate(record["recipe"])
        models = recipe.task_models
        lane = models.index(model)
        queued = progress.states[lane :: len(models)]
        place = queued.find(TaskState.QUEUED.code)
        progress = replace(progress, lanes={one: key for one, key in progress.lanes.items() if one != model})
        if place < 0:
            self._put(job_id, progress)
            return None
        if queued.find(TaskState.QUEUED.code, place + 1) >= 0:
            progress = self._enqueue(job_id, model, progress)
        number = place * len(models) + lane
        kept = self._db.cache.get(f"task:{job_id}:{number}", {})
        attempt = kept.get("attempts", 0) + 1
        self._db.cache.set(f"task:{job_id}:{number}", kept | {"attempts": attempt})
        self._put(job_id, progress.moved(number, TaskState.RUNNING, now))
        running = self._db.cache.get("running", {})
        running[f"{job_id}:{number}"] = {"token": token, "owner": owner, "model": model}
        self._db.cache.set("running", running)
        self._beat(owner)
        chunk = self._db.cache.get(f"photos:{job_id}:{place // _PER_RECORD}")
        return Claim(
            job_id=job_id,
            number=number,
            model=model,
            token=token,
            attempt=attempt,
            photo=photo_of(chunk[place % _PER_RECORD]),
            recipe=recipe,
        )

    def publish(self, claim: Claim, outcome: Outcome, *, now: float) -> bool:
        """Complete a task, if the claim still holds and nobody cancelled it.

        Returns whether the outcome counts; if not, its files are the caller's to delete. To publish
        again what was published changes nothing and counts.
        """
        with self._db.change() as cache:
            progress = self._release(claim.job_id, claim.number, claim.token)
            if progress is None:
                published = cache.get(f"task:{claim.job_id}:{claim.number}", {})
                return bool(published.get("token") == claim.token)
            counts = not progress.cancelled
            state = outcome.state if counts else TaskState.CANCELLED
            if counts:
                kept = cache.get(f"task:{claim.job_id}:{claim.number}", {})
                fields = asdict(outcome)
                fields["state"] = outcome.state.value
                kept |= {"outcome": fields, "finished_at": now, "token": claim.token}
                cache.set(f"task:{claim.job_id}:{claim.number}", kept)
                progress = progress.counted(outcome, now)
                self._learn_speed(claim.model, outcome)
            look = any(warning.needs_look for warning in outcome.warnings)
            self._put(claim.job_id, progress.moved(claim.number, state, now, look=look))
            return counts

    def speeds(self, models: Sequence[str]) -> dict[str, float]:
        """Seconds a task of each model takes here, smoothed over the last ones; only those known."""
        found = {model: self._db.get(f"speed:{model}") for model in models}
        return {model: float(seconds) for model, seconds in found.items() if seconds is not None}

    def _learn_speed(self, model: str, outcome: Outcome) -> None:
        seconds = outcome.seconds or {}
        if "inference" not in seconds:
            return
        took = sum(seconds.values()) - seconds.get("load", 0.0)
        known = self._db.cache.get(f"speed:{model}")
        self._db.cache.set(f"speed:{model}", took if known is None else 0.8 * known + 0.2 * took)

    def give_back(self, claim: Claim | Running, *, charge: bool, now: float) -> bool:
        """Queue a claimed task again; `charge` says whether the attempt counts.

        Returns whether the claim still held. A cancelled job's task becomes cancelled instead.
        """
        with self._db.change():
            return self._requeue(claim.job_id, claim.number, claim.model, claim.token, charge, now)

    def _requeue(self, job_id: str, number: int, model: str, token: str, charge: bool, now: float) -> bool:
        progress = self._release(job_id, number, token)
        if progress is None:
            return False
        if not charge:
            kept = self._db.cache.get(f"task:{job_id}:{number}", {})
            kept["attempts"] = max(0, kept.get("attempts", 1) - 1)
            self._db.cache.set(f"task:{job_id}:{number}", kept)
        state = TaskState.CANCELLED if progress.cancelled else TaskState.QUEUED
        progress = progress.moved(number, state, now)
        if state is TaskState.QUEUED:
            progress = self._enqueue(job_id, model, progress)
        self._put(job_id, progress)
        return True

    def running(self) -> list[Running]:
        """Every claimed task."""
        found = []
        for place, entry in self._db.get("running", {}).items():
            job_id, number = place.split(":")
            progress = self._progress(job_id)
            found.append(
                Running(
                    job_id=job_id,
                    number=int(number),
                    model=entry["model"],
                    token=entry["token"],
                    owner=entry["owner"],
                    cancelled=progress is None or progress.cancelled,
                )
            )
        return found

    def heartbeat(self, owner: str) -> None:
        """Show that an owner with claimed tasks is alive."""
        with self._db.change():
            self._beat(owner)

    def _beat(self, owner: str) -> None:
        self._db.cache.set(f"owner:{owner}", int(self._db.cache.get(f"owner:{owner}", 0)) + 1)

    def heartbeats(self, owners: Sequence[str]) -> dict[str, int]:
        """The counter of each owner; one never seen has 0."""
        return {owner: int(self._db.get(f"owner:{owner}", 0)) for owner in owners}

    def take_back(self, owner: str, *, beat: int, max_lost: int, now: float) -> int:
        """Queue again every task of an owner whose heartbeat still stands at `beat`; returns how many.

        The attempts are not charged: it was the server that ended, not the task. A task that lost
        its server `max_lost` times is charged after all, in case it is what ends them.
        """
        taken = 0
        with self._db.change() as cache:
            if cache.get(f"owner:{owner}", 0) != beat:
                return 0
            for place, entry in dict(cache.get("running", {})).items():
                if entry["owner"] != owner:
                    continue
                job_id, number = place.split(":")
                kept = cache.get(f"task:{place}", {})
                lost = kept.get("lost", 0) + 1
                cache.set(f"task:{place}", kept | {"lost": lost})
                charge = lost > max_lost
                taken += self._requeue(job_id, int(number), entry["model"], entry["token"], charge, now)
            cache.delete(f"owner:{owner}")
        return taken

    def _release(self, job_id: str, number: int, token: str) -> Progress | None:
        """Strike a task off the running ones; None where the token is not (any more) its own."""
        running = self._db.cache.get("running", {})
        entry = running.get(f"{job_id}:{number}")
        if entry is None or entry["token"] != token:
            return None
        del running[f"{job_id}:{number}"]
        self._db.cache.set("running", running)
        return self._progress(job_id)

    # Deciding

    def cancel(self, job_id: str, *, now: float) -> None:
        """Cancel what is queued; what is running stops soon and publishes nothing. Idempotent."""
        with self._db.change():
            progress = self._progress(job_id)
            if progress is None:
                raise not_found("job")
            counts = Counts.of(progress.states)
            if not counts.queued and not counts.running:
                return
            states = progress.states.replace(TaskState.QUEUED.code, TaskState.CANCELLED.code)
            self._leave_queues(progress)
            progress = replace(
                progress, states=states, lanes={}, cancelled=True, revision=progress.revision + 1
            )
            self._put(job_id, progress.finish_if_over(now))

    def retry(self, job_id: str, states: Sequence[TaskState], *, now: float) -> int:
        """Queue again all tasks in these states (failed, cancelled); returns how many."""
        with self._db.change() as cache:
            record, progress = cache.get(f"job:{job_id}"), self._progress(job_id)
            if record is None or progress is None:
                raise not_found("job")
            if progress.cancelled and Counts.of(progress.states).running:
                raise ServiceError(
                    "job_cancelling", "The job is still being cancelled.", "Try again in a few seconds."
                )
            models = Recipe.model_validate(record["recipe"]).task_models
            numbers = [n for n, code in enumerate(progress.states) if STATE_OF_CODE[code] in states]
            letters = list(progress.states)
            for number in numbers:
                letters[number] = move(letters[number], 0, TaskState.QUEUED)
                cache.delete(f"task:{job_id}:{number}")
            for model in {models[number % len(models)] for number in numbers}:
                progress = self._enqueue(job_id, model, progress)
            if numbers:
                progress = replace(
                    progress,
                    states="".join(letters),
                    cancelled=False,
                    finished_at=None,
                    recent=(),
                    revision=progress.revision + 1,
                )
                self._put(job_id, progress)
            return len(numbers)

    def rename(self, job_id: str, title: str) -> None:
        """Give a job another title."""
        with self._db.change() as cache:
            record = cache.get(f"job:{job_id}")
            if record is None:
                raise not_found("job")
            cache.set(f"job:{job_id}", record | {"title": title})

    def delete_job(self, job_id: str) -> None:
        """Forget a job; what runs for it can no longer be published. Raises not_found."""
        with self._db.change() as cache:
            record, progress = cache.get(f"job:{job_id}"), self._progress(job_id)
            if record is None or progress is None:
                raise not_found("job")
            ids = list(cache.get(f"jobs:{record['page']}", []))
            cache.set(f"jobs:{record['page']}", [one for one in ids if one != job_id])
            if record["key"] is not None:
                cache.delete(f"key:{record['key']}")
            running = cache.get("running", {})
            mine = [place for place in running if place.startswith(f"{job_id}:")]
            if mine:
                cache.set("running", {place: running[place] for place in running if place not in mine})
            self._leave_queues(progress)
            cache.delete(f"job:{job_id}")
            cache.delete(f"progress:{job_id}")
            self._list_unfinished(job_id, False)
            for start in range(0, record["photo_count"], _PER_RECORD):
                cache.delete(f"photos:{job_id}:{start // _PER_RECORD}")
            for number in range(len(progress.states)):
                cache.delete(f"task:{job_id}:{number}")

    # Inside

    def _progress(self, job_id: str) -> Progress | None:
        record = self._db.get(f"progress:{job_id}")
        return None if record is None else Progress.of_record(record)

    def _enqueue(self, job_id: str, model: str, progress: Progress) -> Progress:
        """Have the job wait its turn for a model, once."""
        if model in progress.lanes:
            return progress
        key = self._db.cache.push(job_id, prefix=_queue(model))
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


def _queue(model: str) -> str:
    # diskcache looks for keys between "<prefix>-000…" and "<prefix>-999…": the colon keeps a model
    # called "x-5" out of the range of one called "x".
    return f"queue:{model}:"
