"""Every figure of a comparison as plain data: JSON for programs, CSV for spreadsheets, a row a fact."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from photoproc.comparison import ComparedPhoto, Comparison, ModelTimes
from photoproc.export import STEPS, spreadsheet
from photoproc.jobs import Task
from photoproc.models.catalogue import CATALOGUE
from photoproc.recommendation import Candidate, Recommendation

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
    "interpolated (Hyndman and Fan, type 7).",
    "preferred": "How often it was preferred in blind votes where it was shown, ties half; the interval is "
    "Wilson's, 95 %.",
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
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    machine: Mapping[str, str | int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def as_data(found: Findings) -> dict[str, Any]:
    """All of it, ready for JSON."""
    job = found.comparison.job
    return {
        "job": job.id,
        "title": job.title,
        "made_at": moment(found.made_at),
        "recipe": json.loads(job.recipe.to_json()),
        "recommendation": asdict(found.recommendation),
        "models": [
            model_row(times, candidate)
            for times, candidate in zip(found.comparison.times, found.models, strict=True)
        ],
        "photos": [_photo(one) for one in found.comparison.photos],
        "ranking": None if found.ranking is None else _ranking(found.ranking),
        "settings": dict(found.settings),
        "machine": dict(found.machine),
        "versions": dict(found.versions),
        "notes": dict(NOTES),
    }


def as_json(found: Findings) -> bytes:
    """All of it as JSON."""
    return json.dumps(as_data(found), ensure_ascii=False, indent=1, allow_nan=False).encode()


def as_tables(found: Findings) -> dict[str, bytes]:
    """The same as CSV files by name: a row a model, a row a photo and model."""
    models = [
        flat(_with_all_columns(model_row(times, candidate)))
        for times, candidate in zip(found.comparison.times, found.models, strict=True)
    ]
    photos = [_task_row(photo, task) for photo in found.comparison.photos for task in photo.tasks]
    return {"models.csv": spreadsheet(models), "photos.csv": spreadsheet(photos)}


def model_row(times: ModelTimes, candidate: Candidate) -> dict[str, Any]:
    """What is known of a model."""
    spec = CATALOGUE.get(times.model)
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
        "seconds": sum(task.seconds.values()) if task.seconds else None,
        **{f"{step}_s": task.seconds.get(step) for step in STEPS},
    }


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
