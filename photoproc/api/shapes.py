"""What the API says, as JSON: the words of `jobs.py` with links and RFC 3339 times."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from photoproc import export, jobs, overview, records
from photoproc.errors import Problem
from photoproc.jobs import JobState, TaskState
from photoproc.models.weights import WeightsState
from photoproc.recipe import NO_MODEL, Recipe

BASE = "/api/v1"
_PAIR = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
Pair = Annotated[tuple[int, int], WithJsonSchema(_PAIR)]
"""Two numbers, in words that all tools for OpenAPI know."""


class Shape(BaseModel):
    """Fields as documented, all of them always there."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class ProblemOut(Shape):
    """Something that went wrong: a stable code, what happened, what to do."""

    code: str
    message: str
    advice: str


class Warned(Shape):
    """Something that was not as asked for but stopped nothing."""

    code: str
    message: str


class Refused(ProblemOut):
    """A file that was not accepted."""

    name: str


class Accepted(Shape):
    """A photo that was accepted."""

    name: str
    sha256: str
    byte_count: int
    format: str
    size_wh: Pair
    warnings: list[Warned]


class Counts(Shape):
    """How many tasks of a job are in each state."""

    queued: int
    running: int
    done: int
    failed: int
    skipped: int
    cancelled: int


class Progress(Shape):
    """The part of a job that changes."""

    state: JobState
    counts: Counts
    needs_look: int
    photos_per_s: float | None
    remaining_s: float | None


class JobLinks(Shape):
    """Where a job's parts are; `events`, `socket` and `archive` open without a key until they expire."""

    self: str
    events: str
    socket: str
    archive: str
    cancel: str
    retry: str
    page: str


class Awaited(Shape):
    """A model that queued tasks wait for, and the state of its weights.

    `state` is checking, downloading, absent or failed: then `problem` says why they cannot be had. It is
    tried again now and then, and with `POST /models/{name}/download`.
    """

    model: str
    state: str
    problem: ProblemOut | None


class _Named(Shape):
    id: str
    title: str
    owner: str
    created_at: datetime


class JobOut(Progress, _Named):
    """A job. `waits_for` has the models whose weights are not there yet."""

    started_at: datetime | None
    finished_at: datetime | None
    photo_count: int
    revision: int
    output_bytes: int
    recipe: Recipe
    refused: list[Refused]
    waits_for: list[Awaited]
    links: JobLinks


class JobMade(JobOut):
    """A new job, with what was accepted."""

    accepted: list[Accepted]


class JobPage(Shape):
    """Jobs, newest first; `next` is the cursor of the next page."""

    items: list[JobOut]
    next: str | None


class FileOut(Shape):
    """A file that goes with a cutout."""

    kind: jobs.ExtraKind
    output: str
    byte_count: int
    sha256: str
    link: str


class CutoutOut(Shape):
    """A finished picture; `face` is the number of the face it is of, where each has one."""

    face: int | None
    output: str
    size_wh: Pair
    byte_count: int
    sha256: str
    link: str
    preview: str
    before: str
    also: list[FileOut]


class TaskLinks(Shape):
    """A task's pictures, which open without a key until the links expire; null where there is none."""

    original: str
    cutout: str | None
    mask: str | None
    preview: str | None
    before: str | None


class TaskOut(Shape):
    """One photo with one model. `output` to `sha256` and the links are of the first of its cutouts.

    `peak_bytes` is the most memory its child had meanwhile, whatever other models it holds included;
    `threads` are those of the model's inference, where it ran; `batch` is how many photos shared its run on
    a graphics card, which took each of them its part of the time.
    `uncertainty` is how much the model disagrees with itself about the photo, 0 to 1, where the recipe asks.
    """

    number: int
    photo: str
    model: str
    state: TaskState
    attempts: int
    problem: ProblemOut | None
    warnings: list[Warned]
    seconds: dict[str, float]
    provider: str
    mask_from_cache: bool
    uncertainty: float | None
    finished_at: datetime | None
    peak_bytes: int | None
    threads: int | None
    batch: int
    output: str | None
    size_wh: Pair | None
    byte_count: int | None
    sha256: str | None
    links: TaskLinks
    cutouts: list[CutoutOut]


class JobDetail(JobOut):
    """A job with a page of its tasks."""

    tasks: list[TaskOut]
    next: int | None


class Snapshot(Shape):
    """A job as it stands: `states` has a letter a task (q r d f s c; D is done and needs a look)."""

    type: Literal["snapshot"] = "snapshot"
    cursor: int
    at: datetime
    job: JobOut
    states: str


class Change(Shape):
    """Some tasks are now in this state, and their job stands so."""

    type: Literal["tasks"] = "tasks"
    cursor: int
    at: datetime
    tasks: list[int]
    state: TaskState
    needs_look: bool
    job: Progress


class EventPage(Shape):
    """A part of a job's log; ask again with `after` = `cursor`. `final`: nothing more will come."""

    events: list[Snapshot | Change]
    cursor: int
    state: JobState
    final: bool


class ModelOut(Shape):
    """A model, and the state of its weights; `custom`: a team's own, from the model folder."""

    name: str
    nickname: str
    good_at: str
    licence: str
    commercial: bool
    input_wh: Pair
    download_mb: int
    custom: bool
    state: str
    fraction: float
    """Of the download; `elsewhere`: another server downloads it, and how far it is is not known."""
    elsewhere: bool
    problem: ProblemOut | None
    seconds_per_photo: float | None


class ModelsOut(Shape):
    """The public models, then custom ones; `refused` is what was put into the model folder and is none."""

    default: str
    items: list[ModelOut]
    refiner: ModelOut
    """What `edges.method: vitmatte` needs; makes no mask of its own."""
    refused: list[Refused]


Missing = Mapping[str, WeightsState]
"""The models a job waits for, as the service tells them."""


def job_out(job: jobs.Job, missing: Missing, token: str) -> JobOut:
    """A job that waits for these models; `token` signs its links."""
    return JobOut(**job_fields(job, missing, token))


def job_fields(job: jobs.Job, missing: Missing, token: str) -> dict[str, Any]:
    """The fields of a job, for shapes that add to it."""
    path, signed = f"{BASE}/jobs/{job.id}", urlencode({"token": token})
    return {
        **progress(job.state, job.counts, job.photos_per_s, job.remaining_s).model_dump(),
        "id": job.id,
        "title": job.title,
        "owner": job.owner,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
        "photo_count": job.photo_count,
        "revision": job.revision,
        "output_bytes": job.output_bytes,
        "recipe": job.recipe,
        "refused": [refused(one) for one in job.refused],
        "waits_for": [
            Awaited(
                model=name,
                state=one.phase.value,
                problem=None if one.problem is None else problem(one.problem),
            )
            for name, one in missing.items()
        ],
        "links": JobLinks(
            self=path,
            events=f"{path}/events?{signed}",
            socket=f"{path}/events?{signed}",
            archive=f"{path}/archive?{signed}",
            cancel=f"{path}/cancel",
            retry=f"{path}/retry",
            page=f"/jobs?job={job.id}",
        ),
    }


def progress(
    state: JobState, counts: jobs.Counts, photos_per_s: float | None, remaining_s: float | None
) -> Progress:
    """How far a job is."""
    figures = {name: getattr(counts, name) for name in Counts.model_fields}
    return Progress(
        state=state,
        counts=Counts(**figures),
        needs_look=counts.needs_look,
        photos_per_s=photos_per_s,
        remaining_s=remaining_s,
    )


def task_out(job: jobs.Job, task: jobs.Task, token: str) -> TaskOut:
    """A task of a job; `token` signs its links."""
    path, signed = f"{BASE}/jobs/{task.job_id}/tasks/{task.number}", urlencode({"token": token})
    cutouts = [
        _cutout_out(job, task, place, path, signed)
        for place in range(len(task.cutouts) if task.state is TaskState.DONE else 0)
    ]
    first = cutouts[0] if cutouts else None
    has_mask = first is not None and task.model != NO_MODEL
    return TaskOut(
        number=task.number,
        photo=task.photo.name,
        model=task.model,
        state=task.state,
        attempts=task.attempts,
        problem=None if task.problem is None else problem(task.problem),
        warnings=[Warned(code=one.code, message=one.message) for one in task.warnings],
        seconds=dict(task.seconds),
        provider=task.provider,
        mask_from_cache=task.mask_from_cache,
        uncertainty=task.uncertainty,
        finished_at=moment(task.finished_at),
        peak_bytes=task.peak_bytes,
        threads=task.threads,
        batch=task.batch,
        output=first.output if first else None,
        size_wh=first.size_wh if first else None,
        byte_count=first.byte_count if first else None,
        sha256=first.sha256 if first else None,
        links=TaskLinks(
            original=f"{path}/original?{signed}",
            mask=f"{path}/mask?{signed}" if has_mask else None,
            cutout=first.link if first else None,
            preview=first.preview if first else None,
            before=first.before if first else None,
        ),
        cutouts=cutouts,
    )


def _cutout_out(job: jobs.Job, task: jobs.Task, place: int, path: str, signed: str) -> CutoutOut:
    cutout = task.cutouts[place]
    name = export.output_name(job, task, cutout)
    of = f"?{signed}" if place == 0 else f"?place={place}&{signed}"
    return CutoutOut(
        face=cutout.face or None,
        output=name,
        size_wh=cutout.size_wh,
        byte_count=cutout.byte_count,
        sha256=cutout.sha256,
        link=f"{path}/cutout{of}",
        preview=f"{path}/preview{of}",
        before=f"{path}/before{of}",
        also=[
            FileOut(
                kind=extra.kind,
                output=export.extra_name(name, extra),
                byte_count=extra.byte_count,
                sha256=extra.sha256,
                link=f"{path}/files/{extra.kind}{of}",
            )
            for extra in cutout.extras
        ],
    )


def accepted(photo: jobs.Photo) -> Accepted:
    """A photo that was accepted."""
    return Accepted(
        name=photo.name,
        sha256=photo.sha256,
        byte_count=photo.byte_count,
        format=photo.format,
        size_wh=photo.size_wh,
        warnings=[Warned(code=one.code, message=one.message) for one in photo.warnings],
    )


def snapshot(job: jobs.Job, states: str, missing: Missing, token: str, now: float) -> Snapshot:
    """A job at one moment, as the first event."""
    return Snapshot(cursor=job.revision, at=_aware(now), job=job_out(job, missing, token), states=states)


def change(event: records.Event, models: int) -> Change:
    """An event of a job with so many models."""
    unfinished, rate = event.counts.queued + event.counts.running, event.tasks_per_s
    return Change(
        cursor=event.cursor,
        at=_aware(event.at),
        tasks=list(event.numbers),
        state=event.to,
        needs_look=event.needs_look,
        job=progress(
            event.state,
            event.counts,
            rate / models if rate else None,
            unfinished / rate if rate and unfinished else None,
        ),
    )


def model_out(model: overview.ModelState, seconds: float | None) -> ModelOut:
    """A model; `seconds` is what a photo takes with it on this machine, where known."""
    spec, weights = model.spec, model.weights
    return ModelOut(
        name=spec.name,
        nickname=spec.nickname,
        good_at=spec.good_at,
        licence=spec.licence,
        commercial=spec.commercial,
        input_wh=spec.input_wh,
        download_mb=spec.download_mb,
        custom=spec.custom,
        state=weights.phase.value,
        fraction=weights.fraction,
        elsewhere=weights.elsewhere,
        problem=None if weights.problem is None else problem(weights.problem),
        seconds_per_photo=seconds,
    )


def refused(one: jobs.Refusal) -> Refused:
    """A file that was not accepted."""
    return Refused(name=one.name, **problem(one.problem).model_dump())


def problem(found: Problem) -> ProblemOut:
    """A problem."""
    return ProblemOut(code=found.code, message=found.message, advice=found.advice)


def moment(seconds: float | None) -> datetime | None:
    """Wall time in seconds as an aware time in UTC."""
    return None if seconds is None else _aware(seconds)


def _aware(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
