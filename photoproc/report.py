"""A comparison as one HTML file that needs nothing else: no script, no outside request."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from photoproc.comparison import ComparedPhoto, Spread
from photoproc.figures import NOTES, Findings, moment
from photoproc.jobs import TaskState
from photoproc.models.providers import label
from photoproc.timings import Ratio

WORST = 12
"""Photos that are shown."""
MISSING = 50
"""Lines of what failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of words, the first column's to the left."""

    heading: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    words: bool = False
    """Whether the other columns are words as well, not figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A chart as SVG, which is put in as it is."""

    caption: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Of a shown photo, as WebP: itself, what lies over it, and a cutout by model; None where it is gone."""

    photo: bytes | None
    heat: bytes | None
    cutouts: Mapping[str, bytes | None]


def html(found: Findings, charts: Sequence[Drawn], worst: Sequence[tuple[ComparedPhoto, Pictures]]) -> str:
    """The report. Names are put in as text, whatever they contain."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("report.html")
    job, left = found.comparison.job, found.comparison.to_measure - found.comparison.measured
    return page.render(
        title=job.title,
        made_at=moment(found.made_at).replace("T", " ").replace("+00:00", " UTC"),
        photos=_count(job.photo_count, "photo"),
        models=found.models,
        recommendation=found.recommendation,
        tables=[_models(found), *_missing(found), *_trial(found), *_votes(found)],
        charts=charts,
        unmeasured=_count(left, "photo") if left else "",
        worst=[_worst(photo, pictures) for photo, pictures in worst],
        facts=_facts(found),
        notes=NOTES,
        recipe=json.dumps(json.loads(job.recipe.to_json()), indent=1, ensure_ascii=False),
    )


def _models(found: Findings) -> Table:
    times = found.comparison.times
    head = ["Model", "Photo, p50", "p95", "mean", "Model alone", "First", "Loading", "Photos/s"]
    rows = [
        [
            one.model,
            _of(one.warm, "p50"),
            _of(one.warm, "p95"),
            _of(one.warm, "mean"),
            _of(one.inference, "p50"),
            _of(one.cold, "mean"),
            _of(one.load, "mean"),
            "–" if one.photos_per_s is None else f"{one.photos_per_s:.2g}",
            f"{one.done:,}",
            f"{one.failed:,}",
            f"{one.kept:,}",
            _megabytes(one.peak_bytes),
            ", ".join(map(str, one.threads)) or "–",
            ", ".join(label(name) for name in one.providers) or "–",
        ]
        for one in times
    ]
    notes = [NOTES["warm"]]
    return Table(
        heading="What each model took",
        head=[*head, "Done", "Failed", "Masks kept", "Memory", "Threads", "Ran on"],
        rows=rows,
        notes=notes,
    )


def _missing(found: Findings) -> list[Table]:
    """Which photos have no cutout of which model, and why."""
    job = found.comparison.job
    rows = [
        [one.photo.name, task.model, task.state.value if task.problem is None else task.problem.message]
        for one in found.comparison.photos
        for task in one.tasks
        if task.state.final and task.state is not TaskState.DONE
    ]
    rows += [[refusal.name, "not accepted", refusal.problem.message] for refusal in job.refused]
    if not rows:
        return []
    more = len(rows) - MISSING
    notes = [f"And {_count(more, 'more')}: see tasks.csv of the figures."] if more > 0 else []
    head = ["Photo", "Model", "What happened"]
    return [Table(heading="Without a cutout", head=head, rows=rows[:MISSING], notes=notes, words=True)]


def _trial(found: Findings) -> list[Table]:
    trial = found.trial
    if trial is None or not any(one.spread for one in trial.figures):
        return []
    rows = [
        [
            one.model,
            _of(one.spread, "p50"),
            "–" if one.interval is None else f"{one.interval[0]:.3g} to {one.interval[1]:.3g} s",
            _of(one.spread, "p95"),
            f"{one.first:.3g} s",
            "–" if "load" not in one.cold else f"{one.cold['load']:.3g} s",
            "–" if one.photos_per_s is None else f"{one.photos_per_s:.2g}",
            _megabytes(one.peak_bytes),
        ]
        for one in trial.figures
    ]
    notes = [
        f"Each model alone in a child with {_count(trial.threads, 'thread')}, in turn on "
        f"{_count(len(trial.photos), 'photo')}, {len(trial.others)} of {_count(trial.rounds, 'round')}, "
        "while jobs waited.",
        *map(_ratio, trial.ratios),
    ]
    if any(one.interval for one in trial.figures):
        notes.append(
            "Intervals are for photos like these, by the sign test over photos, each of which counts once."
        )
    if trial.left_out:
        notes.append(
            f"{_count(len(trial.left_out), 'photo')} left out, since a model failed: "
            f"{', '.join(one.name for one in trial.left_out)}."
        )
    if trial.disturbed:
        notes.append(
            f"Other work disturbed {_count(len(trial.disturbed), 'round')}: the times may be too long."
        )
    head = ["Model", "Photo, p50", "95 % interval", "p95", "First", "Loading", "Photos/s", "Memory"]
    return [Table(heading="Time trial", head=head, rows=rows, notes=notes)]


def _ratio(one: Ratio) -> str:
    said = f"{one.slower} takes {one.times:.2f} × as long as {one.faster}"
    if one.interval is None:
        return f"{said}, in too few photos to be sure."
    said += f" [{one.interval[0]:.2f}–{one.interval[1]:.2f}]"
    return f"{said}." if one.told_apart else f"{said}: the two cannot be told apart."


def _votes(found: Findings) -> list[Table]:
    ranking = found.ranking
    if ranking is None or not ranking.votes:
        return []
    rows = [
        [
            one.model,
            _percent(one.preferred.share),
            f"{_percent(one.preferred.low)} to {_percent(one.preferred.high)}",
            f"{one.preferred.total:.0f}",
            f"{one.strength:+.2f}",
            f"{one.low:+.2f} to {one.high:+.2f}",
            f"{one.bad:,}",
        ]
        for one in ranking.standings
    ]
    notes = [f"{ranking.votes:,} blind votes. {NOTES['preferred']} {NOTES['strength']}"]
    if not ranking.enough:
        notes.append("Not enough votes: the intervals tell no two models apart.")
    if ranking.side_bias:
        notes.append(f"People chose the left side in {_percent(ranking.left.share)} of decisions.")
    head = ["Model", "Preferred", "95 % interval", "Votes", "Strength", "95 % interval", "Both bad"]
    return [Table(heading="Votes", head=head, rows=rows, notes=notes)]


def _worst(photo: ComparedPhoto, pictures: Pictures) -> dict[str, object]:
    distance = photo.distance
    return {
        "name": photo.photo.name,
        "disagreement": "–" if distance is None else _percent(distance.disagreement),
        "edges": "–" if distance is None else _percent(distance.edge_error),
        "photo": [_data_url(layer) for layer in (pictures.photo, pictures.heat) if layer is not None],
        "shots": [
            {
                "model": task.model,
                "said": task.problem.message if task.problem is not None else "",
                "source": "" if (cutout := pictures.cutouts.get(task.model)) is None else _data_url(cutout),
            }
            for task in photo.tasks
        ],
    }


def _facts(found: Findings) -> list[tuple[str, str]]:
    told = {**found.machine, **found.settings}
    memory = told.pop("memory_bytes", None)
    facts = [(name.replace("_", " ").capitalize(), str(value)) for name, value in told.items()]
    if memory is not None:
        facts.append(("Memory", f"{int(memory) / 1e9:.0f} GB"))
    facts.append(("Versions", ", ".join(f"{name} {number}" for name, number in found.versions.items())))
    return facts


def _data_url(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"


def _megabytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.0f} MB"


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _of(spread: Spread | None, which: str) -> str:
    return "–" if spread is None else f"{getattr(spread, which):.3g} s"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share < 0.0995 else f"{share * 100:.0f} %"
