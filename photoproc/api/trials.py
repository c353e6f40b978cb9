"""Time trials: the models of a job, each alone on the machine."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from photoproc.api import shapes
from photoproc.api.callers import Gates, JobId
from photoproc.api.comparisons import SpreadOut
from photoproc.api.problems import responses
from photoproc.errors import not_found
from photoproc.jobs import Job
from photoproc.people import Person
from photoproc.service import PhotoService
from photoproc.timings import Ratio
from photoproc.trial import MAX_PHOTOS, MAX_ROUNDS, PHOTOS
from photoproc.trial_result import ModelFigures, Trial, TrialState, Turn

_Photos = Annotated[int, Query(ge=1, le=MAX_PHOTOS, description="On so many, spread over the job.")]
_Rounds = Annotated[
    int | None,
    Query(ge=1, le=MAX_ROUNDS, description="Without it: as many as make 12 runs of each model, at least 3."),
]


class TurnOut(shapes.Shape):
    """The run that is under way. `round` counts from 1; 0 is the first run of each model, which loads it.
    `photo` is its index among the trial's."""

    round: int
    photo: int
    model: str


class TrialPhotoOut(shapes.Shape):
    """A photo that is measured; `place` is its place in the job, from 0."""

    place: int
    name: str


class LeftOutOut(TrialPhotoOut):
    """A photo that a model failed on: none of its runs, of any model, is counted."""

    problem: shapes.ProblemOut


class FiguresOut(shapes.Shape):
    """What a model took, in seconds, alone in a child of its own.

    `cold` has the steps of its first run, in a fresh child, `first` their sum; `warm` is of all later runs,
    `steps` their means, `rounds` each of them by round and photo. `warm.p50` is the median of the photos,
    each of which counts once with the median of its runs; `interval` is the 95 % interval of that, for
    photos like these (by the sign test; null of fewer than six photos, which say nothing of others).
    `photos_per_s` is that of one child; `peak_bytes` is the child's most memory.
    """

    model: str
    first: float
    cold: dict[str, float]
    warm: SpreadOut | None
    interval: list[float] | None
    steps: dict[str, float]
    rounds: list[list[float]]
    photos_per_s: float | None
    provider: str
    threads: int | None
    peak_bytes: int | None


class RatioOut(shapes.Shape):
    """`slower` takes `times` as long as `faster`: the median over photos of a photo's own ratio, which is the
    median over its rounds; with the 95 % interval for photos like these (null of fewer than six). Where
    that is null or includes 1 they are not `told_apart`."""

    slower: str
    faster: str
    times: float
    interval: list[float] | None
    told_apart: bool


class TrialOut(shapes.Shape):
    """A time trial: waiting for tasks that run, running, then done, failed, stopped or interrupted.

    `photos` are those that count, `left_out` those that a model failed on. `others` has for each finished
    round which share of all cores' time other work took; `disturbed` are the rounds (from 1) in which that
    was more than a tenth. `earlier` is the trial before, while this one has no figures of finished rounds.
    """

    job: str
    state: TrialState
    problem: shapes.ProblemOut | None
    done: int
    total: int
    turn: TurnOut | None
    photos: list[TrialPhotoOut]
    left_out: list[LeftOutOut]
    rounds: int
    threads: int
    started_at: datetime | None
    finished_at: datetime | None
    others: list[float | None]
    disturbed: list[int]
    models: list[FiguresOut]
    ratios: list[RatioOut]
    earlier: "TrialOut | None"


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["comparisons"])
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806
    Owned = Annotated[Job, Depends(gates.owned)]  # noqa: N806

    @router.post(
        "/jobs/{job_id}/trial", status_code=202, summary="Run a time trial", responses=responses(409)
    )
    def start(job_id: JobId, caller: Called, photos: _Photos = PHOTOS, rounds: _Rounds = None) -> TrialOut:
        """Each model alone, in turn on the same photos, in several rounds, for 15 minutes at most; this
        server begins no task meanwhile.

        Takes the place of an earlier one, once it has ended with a finished round. Where one of this job
        runs already, that one is the answer. With an API key it is refused (`others_wait`) while photos of
        others wait or run; and with or without one, while any do, for as long after a trial as that took.
        """
        if not caller.may_change(service().job(job_id)):
            raise not_found("job")
        return _shown(service().start_trial(job_id, photos=photos, rounds=rounds, by=caller.name))

    @router.get("/jobs/{job_id}/trial", summary="Look at a time trial")
    def look(job: Read) -> TrialOut:
        """How far the job's last time trial is, or what came of it."""
        return _known(service().trial(job.id))

    @router.delete("/jobs/{job_id}/trial", summary="Stop a time trial", responses=responses(409))
    def stop(job: Owned) -> TrialOut:
        """End it within a second or two; what its finished rounds say is kept. Idempotent."""
        return _known(service().stop_trial(job.id))

    return router


def _known(trial: Trial | None) -> TrialOut:
    if trial is None:
        raise not_found("time trial")
    return _shown(trial)


def _shown(trial: Trial) -> TrialOut:
    return TrialOut(
        job=trial.job_id,
        state=trial.state,
        problem=None if trial.problem is None else shapes.problem(trial.problem),
        done=trial.done,
        total=trial.total,
        turn=None if trial.turn is None else _turn(trial.turn),
        photos=[TrialPhotoOut(place=one.place, name=one.name) for one in trial.photos],
        left_out=[
            LeftOutOut(place=one.place, name=one.name, problem=shapes.problem(one.problem))
            for one in trial.left_out
        ],
        rounds=trial.rounds,
        threads=trial.threads,
        started_at=shapes.moment(trial.started_at),
        finished_at=shapes.moment(trial.finished_at),
        others=list(trial.others),
        disturbed=list(trial.disturbed),
        models=[_figures(one) for one in trial.figures],
        ratios=[_ratio(one) for one in trial.ratios],
        earlier=None if trial.earlier is None or trial.told is trial else _shown(trial.earlier),
    )


def _turn(turn: Turn) -> TurnOut:
    return TurnOut(round=turn.round, photo=turn.photo, model=turn.model)


def _figures(one: ModelFigures) -> FiguresOut:
    warm = one.spread
    return FiguresOut(
        model=one.model,
        first=one.first,
        cold=dict(one.cold),
        warm=None
        if warm is None
        else SpreadOut(count=warm.count, mean=warm.mean, p50=warm.p50, p95=warm.p95),
        interval=None if one.interval is None else list(one.interval),
        steps=dict(one.steps),
        rounds=[list(each) for each in one.rounds],
        photos_per_s=one.photos_per_s,
        provider=one.provider,
        threads=one.threads,
        peak_bytes=one.peak_bytes,
    )


def _ratio(one: Ratio) -> RatioOut:
    return RatioOut(
        slower=one.slower,
        faster=one.faster,
        times=one.times,
        interval=None if one.interval is None else list(one.interval),
        told_apart=one.told_apart,
    )
