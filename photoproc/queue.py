"""The running side of the store: claims, leases and publication.

Claiming writes token and owner in one transaction; publishing checks the token in the one that
completes the task, so a task may run twice and is published once. A lease is an owner's heartbeat:
it is lost when the counter has not moved for a while on the observer's monotonic clock, so no jump
of a wall clock ends or prolongs one.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from photoproc.errors import ServiceError
from photoproc.jobs import TaskState
from photoproc.ledger import Ledger, queue_prefix
from photoproc.records import (
    PHOTOS_PER_RECORD,
    Claim,
    Figures,
    Outcome,
    Progress,
    Running,
    photo_of,
    recipe_of,
)


class Queue(Ledger):
    """Tasks to run, those that run, and what became of them."""

    def queued_models(self, models: Sequence[str]) -> list[str]:
        """Which of these models have queued tasks."""
        with self._db.change() as cache:  # diskcache peeks inside a transaction
            return [model for model in models if cache.peek(prefix=queue_prefix(model))[0] is not None]

    def claim(self, owner: str, models: Sequence[str], *, token: str, now: float) -> Claim | None:
        """Take the next task for one of these models, jobs in turn; None where nothing is queued.

        It is a heartbeat as well.
        """
        with self._db.change() as cache:
            for model in models:
                while True:
                    entry, job_id = cache.peek(prefix=queue_prefix(model))
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
        try:
            recipe = recipe_of(record["recipe"])
        except ServiceError:
            return None  # it waits for the version that can read it, and holds up nobody
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
        self._move(job_id, progress, [number], TaskState.RUNNING, now)
        running = self._db.cache.get("running", {})
        running[f"{job_id}:{number}"] = {"token": token, "owner": owner, "model": model}
        self._db.cache.set("running", running)
        self._beat(owner)
        chunk = self._db.cache.get(f"photos:{job_id}:{place // PHOTOS_PER_RECORD}")
        return Claim(
            job_id=job_id,
            number=number,
            model=model,
            token=token,
            attempt=attempt,
            photo=photo_of(chunk[place % PHOTOS_PER_RECORD]),
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
                self._learn(claim.model, outcome)
                if outcome.uncertainty and any(one.code == "uncertain" for one in outcome.warnings):
                    self._note_uncertain(claim.job_id, claim.number, outcome.uncertainty)
            look = any(warning.needs_look for warning in outcome.warnings)
            self._move(claim.job_id, progress, [claim.number], state, now, look=look and counts)
            return counts

    def figures(self, models: Sequence[str]) -> dict[str, Figures]:
        """What each model's tasks have taken here so far; only the models that have run."""
        found = {model: self._db.get(f"figures:{model}") for model in models}
        return {model: Figures(**record) for model, record in found.items() if record is not None}

    def _learn(self, model: str, outcome: Outcome) -> None:
        known = Figures(**self._db.cache.get(f"figures:{model}", {}))
        self._db.cache.set(f"figures:{model}", asdict(known.with_outcome(outcome)))

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
        if state is TaskState.QUEUED:
            progress = self._enqueue(job_id, model, progress)
        self._move(job_id, progress, [number], state, now)
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
                before = self._progress(job_id)
                taken += self._requeue(job_id, int(number), entry["model"], entry["token"], charge, now)
                self._did_not_work(job_id, before)
            cache.delete(f"owner:{owner}")
        return taken

    def _did_not_work(self, job_id: str, before: Progress | None) -> None:
        """Note that a job was last worked on when it was thought to be: its server was gone since."""
        progress = self._progress(job_id)
        if before is not None and progress is not None:
            self._put(job_id, replace(progress, worked_at=before.worked_at))

    def _release(self, job_id: str, number: int, token: str) -> Progress | None:
        """Strike a task off the running ones; None where the token is not (any more) its own."""
        running = self._db.cache.get("running", {})
        entry = running.get(f"{job_id}:{number}")
        if entry is None or entry["token"] != token:
            return None
        del running[f"{job_id}:{number}"]
        self._db.cache.set("running", running)
        return self._progress(job_id)
