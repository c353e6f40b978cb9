"""Several models over the same photos: how far their masks are apart, and what each took.

A comparison is a job with two models or more. Nothing here says who is right: models of one family (u2net,
u2netp, silueta) are trained on the same photos and err together.
"""

import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from photoproc import child_masks
from photoproc.blobs import Blobs
from photoproc.engine import Engine
from photoproc.errors import InputError, PhotoError, not_found
from photoproc.jobs import STATE_OF_CODE, Job, Photo, Task, TaskState
from photoproc.recipe import NO_MODEL
from photoproc.store import Store
from photoproc.timings import Spread as Spread
from photoproc.timings import latency_s

AT_ONCE = 24
"""Photos whose masks are compared in one call: about a quarter of a second."""
_LONGEST = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far the masks of a photo are apart, 0 (the same) to 1; see `imaging.agreement` for the formulas.

    `apart` has the disagreement of each model with the others.
    """

    disagreement: float
    edge_error: float
    apart: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPhoto:
    """A photo with its tasks, one a model; `distance` is None while fewer than two masks can be compared."""

    place: int
    photo: Photo
    tasks: tuple[Task, ...]
    distance: Distance | None = None

    @property
    def uncertain(self) -> bool:
        """Whether a model disagrees much with itself about it, where that was checked."""
        return any(warning.code == "uncertain" for task in self.tasks for warning in task.warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTimes:
    """What a model took in a job. Tasks whose mask was kept from before ran no model and count nowhere else.

    `warm` has the whole of tasks that found the model loaded, `inference` the model alone in those; `cold`
    the whole of tasks that had to load it first, `load` only that. `steps` are means over all that ran it.
    """

    model: str
    done: int
    failed: int
    kept: int
    warm: Spread | None
    inference: Spread | None
    cold: Spread | None
    load: Spread | None
    steps: Mapping[str, float] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    photos_per_s: float | None = None
    """With all children at work on it: children ÷ the mean of warm tasks."""
    peak_bytes: int | None = None
    """The most memory a child had while the model ran, with whatever other models it holds."""
    threads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A job's models side by side: its photos in their order, of which so many are measured so far."""

    job: Job
    photos: tuple[ComparedPhoto, ...]
    times: tuple[ModelTimes, ...]
    measured: int
    to_measure: int


class Comparisons:
    """The part of the service that compares models."""

    def __init__(self, *, store: Store, blobs: Blobs, engine: Engine, previewer: Engine) -> None:
        self._compared = store
        self._masks = blobs
        self._runs_tasks, self._compares = engine, previewer
        self._measuring = threading.Lock()

    def measure(self, job_id: str, *, at_most: int | None = AT_ONCE) -> tuple[int, int]:
        """Compare masks of photos that were not yet, of so many at most (all of them where None).

        Returns of how many photos the masks are compared, and of how many they can be by now. Cheap where
        nothing is left to do. While somebody else measures, all of them waits for that and some of them do
        not. Raises not_found, and InputError one_model.
        """
        job, states = self._compared.snapshot(job_id)
        models = _several(job)
        ready = {
            place: names
            for place in range(job.photo_count)
            if len(names := _done_names(states[place * len(models) : (place + 1) * len(models)], models)) > 1
        }
        if not self._measuring.acquire(blocking=at_most is None):
            return len(ready) - len(self._unmeasured(job, ready)), len(ready)
        try:
            wanted = self._unmeasured(job, ready) or self._found_again(job, models, ready)
            count = len(wanted) if at_most is None else min(at_most, len(wanted))
            for start in range(0, count, AT_ONCE):
                self._measure(job, models, wanted[start : min(start + AT_ONCE, count)])
        finally:
            self._measuring.release()
        return len(ready) - len(wanted) + count, len(ready)

    def comparison(self, job_id: str, *, measure: bool = True) -> Comparison:
        """A job's models side by side; raises not_found, and InputError one_model.

        With `measure` some of the photos whose masks were not compared yet are, so that who asks again and
        again sees all of them soon; `measured` and `to_measure` say how far that is.
        """
        if measure:
            self.measure(job_id)
        job = self._compared.job(job_id)
        models = _several(job)
        tasks = list(self._compared.tasks(job_id))
        rows = [tasks[start : start + len(models)] for start in range(0, len(tasks), len(models))]
        kept = self._compared.distances(job_id, job.photo_count)
        ready = {place: _names(_done(row)) for place, row in enumerate(rows) if len(_done(row)) > 1}
        wanted = {place for place, names in ready.items() if kept.get(place, {}).get("models") != names}
        photos = tuple(
            ComparedPhoto(
                place=place,
                photo=row[0].photo,
                tasks=tuple(row),
                distance=distance_of(kept[place]) if place in ready and place not in wanted else None,
            )
            for place, row in enumerate(rows)
        )
        children = self._runs_tasks.capacity
        times = tuple(
            _times(model, tasks[lane :: len(models)], children) for lane, model in enumerate(models)
        )
        return Comparison(
            job=job, photos=photos, times=times, measured=len(ready) - len(wanted), to_measure=len(ready)
        )

    def difference(self, job_id: str, place: int) -> bytes:
        """A WebP over a photo of a job, where the masks of its models differ; raises not_found."""
        models = self._compared.job(job_id).recipe.task_models
        numbers = range(place * len(models), (place + 1) * len(models))
        done = _done(list(self._compared.tasks(job_id, numbers)))
        if len(done) < 2:
            raise not_found("mask")
        wide, high = done[0].photo.size_wh
        scale = min(1.0, _LONGEST / max(wide, high))
        size_wh = (max(1, round(wide * scale)), max(1, round(high * scale)))
        with self._masks.scratch() as target:
            answer = self._compares.submit(child_masks.show_difference, self._paths(done), size_wh, target)
            problem = self._compares.result(answer)
            if problem is not None:
                raise PhotoError(problem.code, problem.message, problem.advice)
            return target.read_bytes()

    def _unmeasured(self, job: Job, ready: Mapping[int, Sequence[str]]) -> list[int]:
        """The places of photos whose masks are to be compared, of those that can be."""
        kept = self._compared.distances(job.id, job.photo_count)
        return [place for place, names in ready.items() if kept.get(place, {}).get("models") != names]

    def _found_again(self, job: Job, models: Sequence[str], ready: Mapping[int, Sequence[str]]) -> list[int]:
        """The places of photos that had a mask missing or damaged when compared, and have others now."""
        kept = self._compared.distances(job.id, job.photo_count)
        lost = [place for place in ready if place in kept and kept[place]["found"] is None]
        numbers = [place * len(models) + lane for place in lost for lane in range(len(models))]
        tasks = list(self._compared.tasks(job.id, numbers)) if numbers else []
        rows = (tasks[start : start + len(models)] for start in range(0, len(tasks), len(models)))
        stamps = {place: _stamps(self._paths(_done(row))) for place, row in zip(lost, rows, strict=True)}
        return [
            place for place, now in stamps.items() if all(now) and now != list(kept[place].get("stamps", ()))
        ]

    def _measure(self, job: Job, models: Sequence[str], places: Sequence[int]) -> None:
        numbers = [place * len(models) + lane for place in places for lane in range(len(models))]
        tasks = list(self._compared.tasks(job.id, numbers))
        rows = [_done(tasks[start : start + len(models)]) for start in range(0, len(tasks), len(models))]
        paths = [self._paths(done) for done in rows]
        stamps = [_stamps(masks) for masks in paths]
        distances = self._compares.result(self._compares.submit(child_masks.compare, paths))
        fresh: dict[int, dict[str, object]] = {}
        for place, done, found, stamp in zip(places, rows, distances, stamps, strict=True):
            fresh[place] = {"models": _names(done), "found": found}
            if found is None:
                fresh[place]["stamps"] = stamp
        self._compared.keep_distances(job.id, fresh)

    def _paths(self, done: Sequence[Task]) -> list[Path | None]:
        """The files of their masks; None where one is lost."""
        return [self._masks.mask_of(task) for task in done]


def worst_first(photos: Sequence[ComparedPhoto]) -> list[ComparedPhoto]:
    """Photos a model is uncertain about, then by how much masks disagree, then in their order.

    Those that cannot be compared are last of either.
    """

    def rank(one: ComparedPhoto) -> tuple[bool, float]:
        return one.uncertain, -1.0 if one.distance is None else one.distance.disagreement

    return sorted(photos, key=rank, reverse=True)


def most_apart(photos: Sequence[ComparedPhoto]) -> list[ComparedPhoto]:
    """The photos whose masks are compared, those on which they disagree most first."""
    known = [one for one in photos if one.distance is not None]
    return sorted(known, key=lambda one: one.distance.disagreement if one.distance else 0.0, reverse=True)


def _several(job: Job) -> Sequence[str]:
    """The models of a job; raises InputError one_model where there is just one."""
    if len(job.recipe.task_models) < 2:
        raise InputError(
            "one_model",
            f"“{job.title}” was processed with one model: there is nothing to compare.",
            "Process its photos again with two models or more.",
        )
    return job.recipe.task_models


def _done_names(states: str, models: Sequence[str]) -> list[str]:
    """The models that are done with a photo, by the states of its tasks."""
    return [name for code, name in zip(states, models, strict=True) if STATE_OF_CODE[code] is TaskState.DONE]


def _done(row: Sequence[Task]) -> list[Task]:
    return [task for task in row if task.state is TaskState.DONE and task.model != NO_MODEL]


def _stamps(masks: Sequence[Path | None]) -> list[int]:
    """When each file was written, in nanoseconds; 0 where there is none."""
    found = []
    for path in masks:
        try:
            found.append(0 if path is None else path.stat().st_mtime_ns)
        except FileNotFoundError:
            found.append(0)
    return found


def _names(done: Sequence[Task]) -> list[str]:
    return [task.model for task in done]


def distance_of(kept: Mapping[str, object]) -> Distance | None:
    """A distance as the store keeps it; None where a mask was gone."""
    found, models = kept["found"], kept["models"]
    if found is None:
        return None
    assert isinstance(found, Sequence)
    assert isinstance(models, Sequence)
    disagreement, edge_error, apart = found
    return Distance(
        disagreement=disagreement, edge_error=edge_error, apart=dict(zip(models, apart, strict=True))
    )


def _times(model: str, tasks: Sequence[Task], children: int) -> ModelTimes:
    done = [task for task in tasks if task.state is TaskState.DONE]
    ran = [task for task in done if "inference" in task.seconds]
    cold = [task for task in ran if "load" in task.seconds]
    warm = [task for task in ran if "load" not in task.seconds]
    whole = Spread.of([latency_s(task.seconds) for task in warm])
    steps = dict.fromkeys(step for task in ran for step in task.seconds)
    return ModelTimes(
        model=model,
        done=len(done),
        failed=sum(task.state is TaskState.FAILED for task in tasks),
        kept=len(done) - len(ran),
        warm=whole,
        inference=Spread.of([task.seconds["inference"] for task in warm]),
        cold=Spread.of([latency_s(task.seconds) for task in cold]),
        load=Spread.of([task.seconds["load"] for task in cold]),
        steps={step: statistics.fmean(task.seconds.get(step, 0.0) for task in ran) for step in steps},
        providers=tuple(dict.fromkeys(task.provider for task in ran if task.provider)),
        photos_per_s=children / whole.mean if whole is not None and whole.mean else None,
        peak_bytes=max((task.peak_bytes for task in ran if task.peak_bytes is not None), default=None),
        threads=tuple(dict.fromkeys(task.threads for task in ran if task.threads is not None)),
    )
