"""Photo, Job, Task: the words as types, and the one table of what may follow what.

A job's tasks are numbered photo by photo: task ``n`` is photo ``n // models``, model ``n % models``.
Their states are kept together as one string, a letter a task, so that counting, filtering and
cancelling a job of thousands costs one record. A capital letter marks a task that is worth a look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from photoproc.errors import Problem
from photoproc.recipe import Recipe

ExtraKind = Literal["mask", "sheet", "sheet_pdf"]

LEVEL_SIDE = 1600
"""The longer side of a cutout's level: what a screen shows of it beside another model's."""


class TaskState(StrEnum):
    """Where a task is; the value's first letter is its code in a job's state string."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def code(self) -> str:
        """One letter, distinct for each state."""
        return self.value[0]

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the task by itself."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


class JobState(StrEnum):
    """Where a job is, derived from its tasks and from whether it was cancelled."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the job by itself."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


STATE_OF_CODE: Mapping[str, TaskState] = {state.code: state for state in TaskState} | {
    TaskState.DONE.code.upper(): TaskState.DONE
}

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.SKIPPED, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(TaskState) - {TaskState.RUNNING},
    TaskState.DONE: frozenset({TaskState.FAILED}),  # its cutout was lost
    TaskState.SKIPPED: frozenset({TaskState.QUEUED}),
    TaskState.FAILED: frozenset({TaskState.QUEUED}),
    TaskState.CANCELLED: frozenset({TaskState.QUEUED}),
}


def move(states: str, numbers: Sequence[int], to: TaskState, *, look: bool = False) -> str:
    """The state string with some tasks moved; raises ValueError where the table forbids it.

    `look` marks tasks that are done as worth a look.
    """
    code = to.code.upper() if look and to is TaskState.DONE else to.code
    letters = list(states)
    for number in numbers:
        now = STATE_OF_CODE[letters[number]]
        if to not in TRANSITIONS[now]:
            raise ValueError(f"a task cannot go from {now} to {to}")
        letters[number] = code
    return "".join(letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many tasks of a job are in each state."""

    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    needs_look: int = 0
    """How many of the done ones are worth a look."""

    @classmethod
    def of(cls, states: str) -> "Counts":
        """Count a state string."""
        looks = states.count(TaskState.DONE.code.upper())
        found = {state.value: states.count(state.code) for state in TaskState}
        return cls(**found | {"done": found["done"] + looks, "needs_look": looks})

    @property
    def total(self) -> int:
        """All tasks."""
        return self.queued + self.running + self.finished

    @property
    def finished(self) -> int:
        """Tasks to which nothing more happens by itself."""
        return self.done + self.failed + self.skipped + self.cancelled


def job_state(counts: Counts, *, cancelled: bool) -> JobState:
    """The job's state: `cancelled` says whether somebody asked to cancel it."""
    if counts.running and cancelled:
        return JobState.CANCELLING
    if counts.running or (counts.queued and counts.finished):
        return JobState.RUNNING
    if counts.queued:
        return JobState.QUEUED
    if counts.cancelled:
        return JobState.CANCELLED
    return JobState.FAILED if counts.failed and not (counts.done or counts.skipped) else JobState.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """Something that was not as asked for but did not stop the task (or the photo)."""

    code: str
    message: str

    @property
    def needs_look(self) -> bool:
        """Whether the picture may have suffered in a way that nobody chose.

        A name never shows in a picture, and to keep a photo without a face whole is what the recipe says.
        """
        return self.code not in ("renamed", "name_mismatch", "name_shown_otherwise", "no_face")


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One input picture of a job. `name` is as uploaded, `output` is the safe path (no suffix)."""

    name: str
    sha256: str
    byte_count: int
    format: str
    size_wh: tuple[int, int]
    output: str = ""
    warnings: tuple[Warn, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A file that was not accepted, and why."""

    name: str
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A file that goes with a cutout: its mask, or a sheet to print."""

    kind: ExtraKind
    file: str
    sha256: str
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutout:
    """A finished picture of a task, as kept on disk. Names are file names in the job's folder.

    `face` is the number of the face it was framed around, largest first, where each has a cutout; else 0.
    `level` is a WebP between the preview and all of it, where several models are compared and it is so large.
    """

    file: str
    preview: str
    before: str
    sha256: str
    byte_count: int
    size_wh: tuple[int, int]
    face: int = 0
    level: str = ""
    extras: tuple[Extra, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Everything it has on disk."""
        level = [self.level] if self.level else []
        return (self.file, self.preview, self.before, *level, *(extra.file for extra in self.extras))

    @property
    def kept(self) -> "tuple[Cutout | Extra, ...]":
        """Those of them whose sizes are noted: what people take away."""
        return (self, *self.extras)

    @property
    def total_bytes(self) -> int:
        """Of what people take away: the picture and what goes with it."""
        return sum(file.byte_count for file in self.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One photo with one model. `seconds` maps a step's name to what it took."""

    job_id: str
    number: int
    model: str
    photo: Photo
    state: TaskState
    attempts: int = 0
    cutouts: tuple[Cutout, ...] = ()
    """One where it is done; more where each face has its own."""
    remains: tuple[Cutout, ...] = ()
    """What its cutouts were, where one of them was lost and it failed for that."""
    problem: Problem | None = None
    warnings: tuple[Warn, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    provider: str = ""
    mask_from_cache: bool = False
    weights_id: str = ""
    """The weights that made its mask; empty of tasks without one, and of those before it was noted."""
    uncertainty: float | None = None
    """How much the model disagrees with itself about the photo, 0 to 1; None where it was not asked."""
    finished_at: float | None = None
    peak_bytes: int | None = None
    """The most memory its child had meanwhile, other models it holds included; None where nobody knows."""
    threads: int | None = None
    """Inference threads of the model; None where it did not run."""
    batch: int = 1
    """How many photos shared the run of the model; their parts of its time are alike."""

    @property
    def cutout(self) -> Cutout | None:
        """The first of its cutouts."""
        return self.cutouts[0] if self.cutouts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One submission: photos × recipe, with how far it is."""

    id: str
    title: str
    created_at: float
    recipe: Recipe
    photo_count: int
    refused: tuple[Refusal, ...]
    state: JobState
    counts: Counts
    revision: int
    started_at: float | None
    finished_at: float | None
    photos_per_s: float | None
    """Measured over the last finished tasks; None while there is nothing to measure."""
    remaining_s: float | None
    """Estimated from that rate; None while unknown or once finished."""
    output_bytes: int
    owner: str = ""
    """The name of the API key, or of the person who signed in, that made it; else empty."""
    shared: bool = False
    """Whether everybody who is signed in may see it."""
    paused_s: float = 0.0
    """How long nothing was done for it between its start and its end: what it took is the rest."""

    @property
    def took_s(self) -> float | None:
        """How long it was worked on; None while that is not over, or not known."""
        if self.started_at is None or self.finished_at is None:
            return None
        took_s = self.finished_at - self.started_at - self.paused_s
        return took_s if took_s > 0 else None
