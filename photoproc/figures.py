"""Every figure of a comparison as plain data: JSON for programs, CSV for spreadsheets, a row a fact."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from photoproc.comparison import ComparedPhoto, Comparison, ModelTimes
from photoproc.export import STEPS, spreadsheet
from photoproc.jobs import Task
from photoproc.models.catalogue import ModelSpec
from photoproc.recommendation import Candidate, Recommendation
from photoproc.timings import latency_s
from photoproc.trial_result import Trial
from photoproc.votebook import Vote

if TYPE_CHECKING:  # its module loads what only children need
    from photoproc.judging import Ranking

NOTES: Mapping[str, str] = {
    "disagreement": "1 − the mean soft IoU (Σ min ÷ Σ max of alpha) of all pairs of masks of a photo, at "
    "320 × 320. It says where to look, not who is right: models of one family (u2net, u2netp, silueta) err "
    "together.",
    "edge_error": "The mean |difference| of alpha, over all pairs, in a band of 2 % of the side around the "
    "edges of either mask.",
    "apart": "The disagreement of one model's mask with the others'.",
    "warm": "Seconds of tasks that found the model loaded; cold: of those that had to load it. Tasks whose "
    "mask was kept from an earlier run are counted as kept and nowhere else. p50 and p95 are "
    "interpolated (Hyndman and Fan, type 7). A check of certainty is left out.",
    "preferred": "How often it was preferred in blind votes where it was shown; a tie, and two that are both "
    "bad, count half. The interval is Wilson's, 95 %.",
    "strength": "Bradley–Terry, natural logarithm, mean 0; the interval is the bootstrap's, 95 %.",
    "quality": "The chance to be preferred to another of these models, drawn at random, by those strengths.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known of a comparison, at one moment."""

    comparison: Comparison
    ranking: "Ranking | None"
    models: tuple[Candidate, ...]
    recommendation: Recommendation
    made_at: float
    votes: Sequence[Vote] = ()
    trial: Trial | None = None
    specs: Mapping[str, ModelSpec] = field(default_factory=dict)
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    machine: Mapping[str, str | int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Whether the models are weighed by a time trial, not by the job they shared the machine in."""
        return self.trial is not None and any(one.spread is not None for one in self.trial.figures)


def as_data(found: Findings) -> dict[str, Any]:
    """All of it, ready for JSON."""
    job = found.comparison.job
    return {
        "job": job.id,
        "title": job.title,
        "made_at": moment(found.made_at),
        "recipe": json.loads(job.recipe.to_json()),
        "recommendation": asdict(found.recommendation),
        "measured": found.comparison.measured,
        "to_measure": found.comparison.to_measure,
        "models": _models(found),
        "photos": [_photo(one) for one in found.comparison.photos],
        "ranking": None if found.ranking is None else _ranking(found.ranking),
        "votes": [_vote(found, one) for one in found.votes],
        "trial": None if found.trial is None else _trial(found.trial),
        "settings": dict(found.settings),
        "machine": dict(found.machine),
        "versions": dict(found.versions),
        "notes": dict(NOTES),
    }


def as_json(found: Findings) -> bytes:
    """All of it as JSON."""
    return json.dumps(as_data(found), ensure_ascii=False, indent=1, allow_nan=False).encode()


def as_tables(found: Findings) -> dict[str, bytes]:
    """The same as CSV files by name: a row a model, a photo and model, a vote, a run of the time trial."""
    models = [flat(_with_all_columns(row)) for row in _models(found)]
    photos = [_task_row(photo, task) for photo in found.comparison.photos for task in photo.tasks]
    tables = {"models.csv": models, "photos.csv": photos}
    if found.votes:
        tables["votes.csv"] = [_vote(found, one) for one in found.votes]
    if found.trial is not None and found.trial.figures:
        tables["trial.csv"] = list(_runs(found.trial))
    return {name: spreadsheet(rows) for name, rows in tables.items()}


def _models(found: Findings) -> list[dict[str, Any]]:
    rows = zip(found.comparison.times, found.models, strict=True)
    return [_model(times, candidate, found.specs.get(times.model)) for times, candidate in rows]


def _model(times: ModelTimes, candidate: Candidate, spec: ModelSpec | None) -> dict[str, Any]:
    preferred = candidate.preferred
    return {
        **asdict(times),
        "licence": None if spec is None else spec.licence,
        "weights": None if spec is None else spec.checksum,
        "input_wh": None if spec is None else list(spec.input_wh),
        "votes": 0 if preferred is None else int(preferred.total),
        "preferred": None if preferred is None else preferred._asdict(),
        "quality": candidate.quality,
        "quality_low": None if candidate.quality is None else candidate.low,
        "quality_high": None if candidate.quality is None else candidate.high,
        "on_front": candidate.on_front,
    }


def _with_all_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A row a model, in which what was not measured has its columns as well."""
    empty = dict.fromkeys(("count", "mean", "p50", "p95"))
    return row | {name: empty for name in ("warm", "inference", "cold", "load") if row[name] is None}


def flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures as one row: `warm.p50` becomes a column."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            cells |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            cells[prefix + name] = ", ".join(map(str, value))
        else:
            cells[prefix + name] = value
    return cells


def moment(seconds: float) -> str:
    """A time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _photo(one: ComparedPhoto) -> dict[str, Any]:
    distance = one.distance
    return {
        "place": one.place,
        "photo": one.photo.name,
        "sha256": one.photo.sha256,
        "size_wh": list(one.photo.size_wh),
        "disagreement": None if distance is None else distance.disagreement,
        "edge_error": None if distance is None else distance.edge_error,
        "apart": {} if distance is None else dict(distance.apart),
        "tasks": [_task(task) for task in one.tasks],
    }


def _task(task: Task) -> dict[str, Any]:
    return {
        "model": task.model,
        "state": task.state.value,
        "code": None if task.problem is None else task.problem.code,
        "warnings": [warning.code for warning in task.warnings],
        "mask_from_cache": task.mask_from_cache,
        "provider": task.provider or None,
        "uncertainty": task.uncertainty,
        "threads": task.threads,
        "peak_bytes": task.peak_bytes,
        "seconds": dict(task.seconds),
    }


def _task_row(one: ComparedPhoto, task: Task) -> dict[str, Any]:
    distance = one.distance
    return {
        "place": one.place,
        "photo": one.photo.name,
        "model": task.model,
        "state": task.state.value,
        "code": None if task.problem is None else task.problem.code,
        "warnings": ", ".join(warning.code for warning in task.warnings),
        "disagreement": None if distance is None else distance.disagreement,
        "edge_error": None if distance is None else distance.edge_error,
        "apart": None if distance is None else distance.apart.get(task.model),
        "mask_from_cache": task.mask_from_cache,
        "provider": task.provider or None,
        "uncertainty": task.uncertainty,
        "threads": task.threads,
        "peak_bytes": task.peak_bytes,
        "seconds": latency_s(task.seconds) if task.seconds else None,
        **{f"{step}_s": task.seconds.get(step) for step in STEPS},
    }


def _vote(found: Findings, one: Vote) -> dict[str, Any]:
    return {
        "at": moment(one.at),
        "voter": one.voter,
        "place": one.place,
        "photo": found.comparison.photos[one.place].photo.name,
        "left": one.left,
        "right": one.right,
        "choice": one.choice.value,
    }


def _trial(one: Trial) -> dict[str, Any]:
    return {
        "state": one.state.value,
        "problem": None if one.problem is None else one.problem.message,
        "started_at": moment(one.started_at),
        "finished_at": None if one.finished_at is None else moment(one.finished_at),
        "rounds": one.rounds,
        "disturbed": list(one.disturbed),
        "left_out": [asdict(photo) for photo in one.left_out],
        "photos": [photo.name for photo in one.photos],
        "threads": one.threads,
        "others": list(one.others),
        "models": [
            {
                **asdict(figures),
                "spread": None if figures.spread is None else asdict(figures.spread),
                "p50_interval": figures.interval,
                "photos_per_s": figures.photos_per_s,
            }
            for figures in one.figures
        ],
        "ratios": [asdict(ratio) for ratio in one.ratios],
    }


def _runs(one: Trial) -> Iterator[dict[str, Any]]:
    """A row a run of the time trial; round 0 is the first one of a model, which loaded it."""
    for figures in one.figures:
        first = one.photos[0].name if one.photos else ""
        yield {"model": figures.model, "round": 0, "photo": first, "seconds": figures.first}
        for number, took in enumerate(figures.rounds, 1):
            for photo, seconds in zip(one.photos, took, strict=True):
                yield {"model": figures.model, "round": number, "photo": photo.name, "seconds": seconds}


def _ranking(found: "Ranking") -> dict[str, Any]:
    return {
        "votes": found.votes,
        "enough": found.enough,
        "ahead": found.ahead,
        "side_bias": found.side_bias,
        "left": found.left._asdict(),
        "standings": [
            {**asdict(one), "low": _finite(one.low), "high": _finite(one.high)} for one in found.standings
        ],
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: an end that nothing bounds is null."""
    return value if abs(value) < float("inf") else None
