"""What the store hands out and what it keeps: claims, outcomes, a job's progress, and their JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from typing import Any

from pydantic import ValidationError

from photoproc.errors import Problem, ServiceError
from photoproc.jobs import Counts, Cutout, Extra, JobState, Photo, Refusal, TaskState, Warn, job_state, move
from photoproc.recipe import Recipe

_RECENT = 24
_PAUSE_S = 10.0
"""When none of a job's tasks ran for as long, it was not being worked on."""
PHOTOS_PER_RECORD = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to run a task once. Whoever publishes must show its token."""

    job_id: str
    number: int
    model: str
    token: str
    attempt: int
    photo: Photo
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended for good: `state` is done, failed or skipped."""

    state: TaskState
    cutouts: tuple[Cutout, ...] = ()
    problem: Problem | None = None
    warnings: tuple[Warn, ...] = ()
    seconds: Mapping[str, float] | None = None
    provider: str = ""
    mask_from_cache: bool = False
    peak_bytes: int | None = None
    threads: int | None = None
    batch: int = 1
    """How many photos shared the run of the model: its time is their part of that."""
    weights_id: str = ""
    uncertainty: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the tasks of a model have taken here: how many ended how, and the seconds of their steps.

    `task_s` is what a task takes, smoothed over the last ones; None before the first that ran the model.
    `steps` has for each step how often it ran and the seconds of all its runs together.
    """

    task_s: float | None = None
    ended: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def with_outcome(self, outcome: Outcome) -> "Figures":
        """With one more task."""
        state, seconds = outcome.state.value, outcome.seconds or {}
        steps = dict(self.steps)
        for step, took in seconds.items():
            count, total = steps.get(step, (0, 0.0))
            steps[step] = (count + 1, total + took)
        task_s = self.task_s
        if outcome.state is TaskState.DONE and "inference" in seconds:
            took = sum(seconds.values()) - seconds.get("load", 0.0) - seconds.get("certainty", 0.0)
            task_s = took if task_s is None else 0.8 * task_s + 0.2 * took
        return Figures(task_s=task_s, ended={**self.ended, state: self.ended.get(state, 0) + 1}, steps=steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A claimed task."""

    job_id: str
    number: int
    model: str
    token: str
    owner: str
    cancelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The part of a job that changes.

    `recent` is when the last tasks finished (wall time, moved past later pauses), `lanes` the models in whose
    queues it waits, with its place in each. `paused_s` is for how long none of its tasks ran in between:
    the server was down, the disk full, or all were done until some were tried again. `worked_at` is when one
    was last seen to run.
    """

    states: str
    lanes: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    cancelled: bool = False
    started_at: float | None = None
    finished_at: float | None = None
    recent: tuple[float, ...] = ()
    output_bytes: int = 0
    worked_at: float | None = None
    paused_s: float = 0.0

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Progress":
        """As it was kept."""
        return cls(**{**record, "recent": tuple(record["recent"])})

    def to_record(self) -> dict[str, object]:
        """As it is kept."""
        return asdict(self)

    def moved(self, numbers: Sequence[int], to: TaskState, now: float, *, look: bool = False) -> "Progress":
        """With some tasks in another state."""
        progress = replace(
            self._after_pause(now) if to is TaskState.RUNNING else self,
            states=move(self.states, numbers, to, look=look),
            revision=self.revision + 1,
            started_at=now if to is TaskState.RUNNING and self.started_at is None else self.started_at,
            worked_at=now if to is TaskState.RUNNING or self._runs else self.worked_at,
        )
        return progress.finish_if_over(now)

    @property
    def _runs(self) -> bool:
        return TaskState.RUNNING.code in self.states

    def _after_pause(self, now: float) -> "Progress":
        """Without the time since a task last ran, where that is too long to be the turn of other jobs."""
        idle_s = 0.0 if self._runs or self.worked_at is None else now - self.worked_at
        if idle_s < _PAUSE_S:
            return self
        recent = tuple(at + idle_s for at in self.recent)
        return replace(self, recent=recent, paused_s=self.paused_s + idle_s)

    def counted(self, outcome: Outcome, now: float) -> "Progress":
        """With an outcome in its figures."""
        made = sum(cutout.total_bytes for cutout in outcome.cutouts)
        return replace(self, recent=(*self.recent, now)[-_RECENT:], output_bytes=self.output_bytes + made)

    def finish_if_over(self, now: float) -> "Progress":
        """With the time of its end, where nothing is left to do; what is lost later does not change it."""
        counts = Counts.of(self.states)
        ended_at = now if self.finished_at is None else self.finished_at
        return replace(self, finished_at=ended_at if counts.finished == counts.total else None)

    def tasks_per_s(self) -> float | None:
        """Tasks finished a second over the last ones, once there are enough to say."""
        if len(self.recent) < 3 or self.recent[-1] <= self.recent[0]:
            return None
        return (len(self.recent) - 1) / (self.recent[-1] - self.recent[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of a job: these tasks are now in this state, and the job stands so.

    `cursor` is the job's revision: it counts up by one with each event. `at` is wall time.
    """

    cursor: int
    at: float
    numbers: tuple[int, ...]
    to: TaskState
    needs_look: bool
    state: JobState
    counts: Counts
    tasks_per_s: float | None


def event_record(
    progress: Progress, numbers: Sequence[int], to: TaskState, now: float, *, look: bool
) -> dict[str, object]:
    """An event as it is kept: after it, the job's progress was this."""
    return {
        "cursor": progress.revision,
        "at": now,
        "tasks": _spans(numbers),
        "to": to.value,
        "look": look,
        "counts": astuple(Counts.of(progress.states)),
        "cancelled": progress.cancelled,
        "rate": progress.tasks_per_s(),
    }


def event_of(record: Mapping[str, Any]) -> Event:
    """An event from its record."""
    counts = Counts(**dict(zip((one.name for one in fields(Counts)), record["counts"], strict=True)))
    spans = (range(first, last + 1) for first, last in record["tasks"])
    return Event(
        cursor=record["cursor"],
        at=record["at"],
        numbers=tuple(number for span in spans for number in span),
        to=TaskState(record["to"]),
        needs_look=record["look"],
        state=job_state(counts, cancelled=record["cancelled"]),
        counts=counts,
        tasks_per_s=record["rate"],
    )


def _spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as pairs of a first and a last one: thousands that move at once stay a short record."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans


def photo_of(record: Mapping[str, Any]) -> Photo:
    """A photo from its record."""
    warnings = tuple(Warn(**one) for one in record["warnings"])
    width, height = record["size_wh"]
    return Photo(**{**record, "warnings": warnings, "size_wh": (width, height)})


def cutout_of(record: Mapping[str, Any]) -> Cutout:
    """A cutout from its record."""
    width, height = record["size_wh"]
    extras = tuple(Extra(**extra) for extra in record.get("extras", ()))
    return Cutout(**{**record, "size_wh": (width, height), "extras": extras})


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """A recipe from its record; raises ServiceError record_unreadable where another version wrote it."""
    try:
        return Recipe.model_validate(record)
    except ValidationError as error:
        raise ServiceError(
            "record_unreadable",
            "The recipe of this job was written by another version of the program.",
            "Use that version, or process the photos again.",
        ) from error


def refusal_of(record: Mapping[str, Any]) -> Refusal:
    """A refusal from its record."""
    return Refusal(name=record["name"], problem=Problem(**record["problem"]))
