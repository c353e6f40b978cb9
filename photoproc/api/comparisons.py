"""Comparisons: the models of a job side by side."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from photoproc import comparison
from photoproc.api import shapes
from photoproc.api.callers import Gates
from photoproc.api.problems import responses
from photoproc.comparison import Comparison, Spread
from photoproc.jobs import Job
from photoproc.service import PhotoService

_Place = Annotated[int, Path(ge=0, le=10_000_000, description="The photo's place in its job, from 0.")]


class SpreadOut(shapes.Shape):
    """Seconds of so many runs."""

    count: int
    mean: float
    p50: float
    p95: float


class TimesOut(shapes.Shape):
    """What a model took. `kept` tasks had their mask from before and count nowhere else; `warm` found the
    model loaded, `cold` had to load it first. `peak_bytes` is the most memory of a child that ran it, which
    may hold other models as well; a time trial has the model's own."""

    model: str
    done: int
    failed: int
    kept: int
    warm: SpreadOut | None
    inference: SpreadOut | None
    cold: SpreadOut | None
    load: SpreadOut | None
    steps: dict[str, float]
    providers: list[str]
    photos_per_s: float | None
    peak_bytes: int | None
    threads: list[int]


class ComparedOut(shapes.Shape):
    """A photo: how far its masks are apart, 0 (the same) to 1, null while fewer than two can be compared.

    `uncertain` says whether a model disagrees much with itself about it, where the recipe asks for that.
    """

    place: int
    photo: str
    tasks: list[int]
    disagreement: float | None
    edge_error: float | None
    apart: dict[str, float]
    uncertain: bool


class ComparisonOut(shapes.Shape):
    """A job's models side by side, the photos on which they disagree most first (before them uncertain ones).

    Disagreement is 1 − the mean soft IoU of all pairs of masks. It is no accuracy: related models err
    together. Ask again while `measured` is less than `to_measure`.
    """

    job: str
    models: list[TimesOut]
    photos: list[ComparedOut]
    measured: int
    to_measure: int


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["comparisons"])
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type

    @router.get("/jobs/{job_id}/comparison", summary="Compare a job's models", responses=responses(409))
    def compared(job: Read) -> ComparisonOut:
        """Where the models of a job disagree, and what each took."""
        return _shown(service().comparison(job.id))

    @router.get(
        "/jobs/{job_id}/photos/{place}/difference",
        summary="Get where masks differ",
        response_class=Response,
        responses={200: {"content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def difference(job: Read, place: _Place) -> Response:
        """A transparent WebP to lie over the photo: from yellow to red where its masks differ."""
        headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(service().difference(job.id, place), media_type="image/webp", headers=headers)

    return router


def _shown(found: Comparison) -> ComparisonOut:
    return ComparisonOut(
        job=found.job.id,
        models=[_times(one) for one in found.times],
        photos=[_photo(one) for one in comparison.worst_first(found.photos)],
        measured=found.measured,
        to_measure=found.to_measure,
    )


def _times(one: comparison.ModelTimes) -> TimesOut:
    return TimesOut(
        model=one.model,
        done=one.done,
        failed=one.failed,
        kept=one.kept,
        warm=_spread(one.warm),
        inference=_spread(one.inference),
        cold=_spread(one.cold),
        load=_spread(one.load),
        steps=dict(one.steps),
        providers=list(one.providers),
        photos_per_s=one.photos_per_s,
        peak_bytes=one.peak_bytes,
        threads=list(one.threads),
    )


def _photo(one: comparison.ComparedPhoto) -> ComparedOut:
    distance = one.distance
    return ComparedOut(
        place=one.place,
        photo=one.photo.name,
        tasks=[task.number for task in one.tasks],
        disagreement=None if distance is None else distance.disagreement,
        edge_error=None if distance is None else distance.edge_error,
        apart={} if distance is None else dict(distance.apart),
        uncertain=one.uncertain,
    )


def _spread(found: Spread | None) -> SpreadOut | None:
    if found is None:
        return None
    return SpreadOut(count=found.count, mean=found.mean, p50=found.p50, p95=found.p95)
