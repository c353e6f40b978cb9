"""A time trial as it is shown and kept: how far it is, and what each model took, alone on the machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from photoproc.errors import Problem
from photoproc.timings import Interval, Ratio, Spread, by_photo, latency_s, median_interval, ratios

DISTURBED = 0.10
"""A round is called disturbed where other work took more than this share of all cores' time."""


class TrialState(StrEnum):
    """Where a trial is."""

    WAITING = "waiting"
    """For the tasks that still run."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """By somebody."""
    INTERRUPTED = "interrupted"
    """By the end of its server."""

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it."""
        return self not in (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPhoto:
    """A photo of the job that is measured; `place` counts from 0."""

    place: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A photo that a model failed on: no run of it, of any model, is counted. `place` counts from 0."""

    place: int
    name: str
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run: `round` counts from 1 and is 0 for the first run of a model, which loads it. `photo` is the
    photo's index among those of the trial."""

    round: int
    photo: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What a model took, in a child of its own. All in seconds.

    `cold` has the steps of its first run, in a fresh child: `load` is among them. `rounds` has the whole of
    each run after that, by round and photo; `steps` are means over those.
    """

    model: str
    cold: Mapping[str, float]
    rounds: tuple[tuple[float, ...], ...]
    steps: Mapping[str, float]
    provider: str
    threads: int | None
    peak_bytes: int | None
    """The most memory of its child, from the moment it loaded the model."""

    @property
    def warm(self) -> tuple[float, ...]:
        """All runs but the first."""
        return tuple(took for one in self.rounds for took in one)

    @property
    def spread(self) -> Spread | None:
        """Of the runs with the model loaded; None where not one round was finished.

        `p50` is that of the photos, each of which counts once with the median of its runs.
        """
        whole = Spread.of(self.warm)
        return None if whole is None else replace(whole, p50=statistics.median(by_photo(self.rounds)))

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of `spread.p50`, for photos like these; None of fewer than six photos."""
        return median_interval(by_photo(self.rounds))

    @property
    def first(self) -> float:
        """The whole of the first run: loading, then the first photo."""
        return latency_s(self.cold)

    @property
    def photos_per_s(self) -> float | None:
        """Alone: one child, nothing beside it."""
        return 1 / self.spread.mean if self.spread is not None and self.spread.mean else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A time trial of a job's models. `figures` and `others` are of the rounds that are finished, `figures`
    also of the `photos` alone on which no model failed; those on which one did are `left_out`.

    `others` has for each of them which share of all cores' time other work took (the server's own
    included), 0 to 1; None where the system does not tell.
    """

    job_id: str
    state: TrialState
    models: tuple[str, ...]
    photos: tuple[TrialPhoto, ...]
    rounds: int
    threads: int
    started_at: float
    finished_at: float | None = None
    problem: Problem | None = None
    others: tuple[float | None, ...] = ()
    figures: tuple[ModelFigures, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    turn: Turn | None = None
    """The run that is under way."""
    done: int = 0
    earlier: "Trial | None" = None
    """The one before, whose figures stand while this one has none of its own."""

    @property
    def told(self) -> "Trial | None":
        """The one whose figures stand: this one once it has ended with a finished round, else `earlier`."""
        return self if self.others and self.figures else self.earlier

    @property
    def total(self) -> int:
        """How many runs it has: the first of each model, and one a round, photo and model."""
        return len(self.models) * (1 + self.rounds * len(self.photos))

    @property
    def disturbed(self) -> tuple[int, ...]:
        """The rounds, from 1, in which other work took so much that the figures may be off."""
        return tuple(n for n, share in enumerate(self.others, 1) if share is not None and share > DISTURBED)

    @property
    def ratios(self) -> list[Ratio]:
        """How much longer one model takes than another, photo by photo; every pair, the fastest first."""
        return ratios({one.model: one.rounds for one in self.figures})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How a trial is kept: a record of its own, and one a model."""

    record: Mapping[str, Any]
    figures: Sequence[Mapping[str, Any]] = field(default=())


def kept(trial: Trial, token: str) -> Kept:
    """A trial as its records, with the figures of the one that is `told`; `token` is that of its runs."""
    told, earlier = trial.told, None
    if told is not None and told is not trial:
        earlier = {**_record(told), "token": ""}
    figures = trial.figures if told is None else told.figures
    return Kept(
        record={**_record(trial), "token": token, "earlier": earlier},
        figures=[_figures_record(one) for one in figures],
    )


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "state": trial.state.value,
        "models": list(trial.models),
        "photos": [asdict(photo) for photo in trial.photos],
        "rounds": trial.rounds,
        "threads": trial.threads,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        "problem": None if trial.problem is None else asdict(trial.problem),
        "others": [None if share is None else round(share, 4) for share in trial.others],
        "left_out": [asdict(photo) for photo in trial.left_out],
    }


def trial_of(job_id: str, record: Mapping[str, Any]) -> Trial:
    """A trial from its records, as the store hands them out."""
    earlier = record.get("earlier")
    if earlier is not None:
        return replace(
            trial_of(job_id, {**record, "earlier": None, "figures": []}),
            earlier=trial_of(job_id, {**earlier, "figures": record["figures"]}),
        )
    figures = tuple(
        ModelFigures(**{**one, "rounds": tuple(tuple(took) for took in one["rounds"])})
        for one in record["figures"]
    )
    return Trial(
        job_id=job_id,
        state=TrialState(record["state"]),
        models=tuple(record["models"]),
        photos=tuple(TrialPhoto(**photo) for photo in record["photos"]),
        rounds=record["rounds"],
        threads=record["threads"],
        started_at=record["started_at"],
        finished_at=record["finished_at"],
        problem=None if record["problem"] is None else Problem(**record["problem"]),
        others=tuple(record["others"]),
        figures=figures,
        left_out=tuple(
            LeftOut(**{**photo, "problem": Problem(**photo["problem"])})
            for photo in record.get("left_out", [])  # earlier versions left out none
        ),
        done=sum(1 + len(one.warm) for one in figures),
    )


def _figures_record(one: ModelFigures) -> dict[str, Any]:
    return {
        "model": one.model,
        "cold": {step: round(took, 6) for step, took in one.cold.items()},
        "rounds": [[round(took, 6) for took in each] for each in one.rounds],
        "steps": {step: round(took, 6) for step, took in one.steps.items()},
        "provider": one.provider,
        "threads": one.threads,
        "peak_bytes": one.peak_bytes,
    }
