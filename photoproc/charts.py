"""The figures of a comparison as Altair charts, for the page and for the report.

Each has a selection parameter `SELECTED`, and says in `place`, `model` or `bin` what was clicked; `chosen` is
what is from the start.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from photoproc.comparison import ComparedPhoto, Comparison
from photoproc.jobs import TaskState
from photoproc.recommendation import Candidate
from photoproc.timings import latency_s

if TYPE_CHECKING:
    import altair

SELECTED = "chosen"
MOST_POINTS = 500
"""Photos that have points: more would only lie over each other."""
_BINS = 12
_ACCENT, _PALE, _WARM = "#12988a", "#7fb5ab", "#c07a1b"
"""Readable on white and on the dark theme's ground."""
_PADDING = {"right": 8}
"""Room for the last label of the axis, which is cut otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Photos whose disagreement is from `low` to below `high`, by their places."""

    low: float
    high: float
    places: tuple[int, ...]

    @property
    def words(self) -> str:
        """Its range, in per cent."""
        return f"{self.low * 100:.3g} to {self.high * 100:.3g} %"


def bins(photos: Sequence[ComparedPhoto]) -> list[Bin]:
    """Disagreement in a dozen bins of equal, round width, from 0 to the largest."""
    far = {one.place: one.distance.disagreement for one in photos if one.distance is not None}
    if not far:
        return []
    wide = _round_up(max(far.values()) / _BINS)
    count = max(1, math.ceil(max(far.values()) / wide + 1e-9))
    held: list[list[int]] = [[] for _ in range(count)]
    for place, value in far.items():
        held[min(count - 1, int(value / wide))].append(place)
    return [
        Bin(low=number * wide, high=(number + 1) * wide, places=tuple(places))
        for number, places in enumerate(held)
    ]


def disagreement(photos: Sequence[ComparedPhoto], *, chosen: str | None = None) -> "altair.Chart":
    """How many photos have how much disagreement; a bar's `bin` is its number in `bins`."""
    import altair as alt

    along = alt.Axis(format="%", tickCount=6, labelOverlap=True)
    counts = [len(one.places) for one in bins(photos)] or [1]
    rows = [
        {"bin": number, "low": one.low, "high": one.high, "photos": len(one.places), "range": one.words}
        for number, one in enumerate(bins(photos))
    ]
    bars: altair.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color=_WARM, cursor="pointer")
        .encode(
            x=alt.X("low:Q", title="Disagreement", bin=alt.Bin(binned=True), axis=along),
            x2="high:Q",
            y=alt.Y("photos:Q", title="Photos", axis=alt.Axis(values=_whole(max(counts)), format="d")),
            opacity=_unless_others_are_chosen(alt, "bin"),
            tooltip=[alt.Tooltip("range:N", title="Disagreement"), alt.Tooltip("photos:Q", title="Photos")],
        )
        .add_params(_selection(alt, "bin", chosen))
        .properties(height=180, padding=_PADDING)
    )
    return bars


def latency(found: Comparison, *, chosen: str | None = None) -> "altair.LayerChart | None":
    """A point for each photo that found its model loaded, by the model; and the median. None without any.

    Of very many photos every second one has a point, or every third …; the median is that of all.

    A point's `place` is its photo's.
    """
    import altair as alt

    rows = [
        {
            "model": task.model,
            "seconds": round(latency_s(task.seconds), 4),
            "photo": photo.photo.name[:80],
            "place": photo.place,
            "beside": (photo.place * 0.618034) % 1,  # so that points of one time lie beside each other
        }
        for photo in found.photos[:: 1 + len(found.photos) // MOST_POINTS]
        for task in photo.tasks
        if task.state is TaskState.DONE and "inference" in task.seconds and "load" not in task.seconds
    ]
    if not rows:
        return None
    order = [one.model for one in found.times]
    medians = [
        {"model": one.model, "median": one.warm.p50, "p95": one.warm.p95} for one in found.times if one.warm
    ]
    points = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(size=45, color=_PALE, cursor="pointer")
        .encode(
            x=alt.X("seconds:Q", title="Seconds a photo, model loaded", scale=alt.Scale(zero=True)),
            y=alt.Y("model:N", title=None, sort=order),
            yOffset=alt.YOffset("beside:Q", scale=alt.Scale(domain=[-0.4, 1.4])),
            opacity=_unless_others_are_chosen(alt, "place", otherwise=0.75),
            tooltip=[
                alt.Tooltip("photo:N", title="Photo"),
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("seconds:Q", title="Seconds", format=".3f"),
            ],
        )
        .add_params(_selection(alt, "place", chosen))
    )
    ticks = (
        alt.Chart(alt.InlineData(values=medians))
        .mark_tick(color=_WARM, thickness=4, size=34)
        .encode(
            x="median:Q",
            y=alt.Y("model:N", sort=order),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("median:Q", title="p50, seconds", format=".3f"),
                alt.Tooltip("p95:Q", title="p95, seconds", format=".3f"),
            ],
        )
    )
    # The points above, or one under the median could not be clicked.
    layered: altair.LayerChart = (ticks + points).properties(height=40 + 48 * len(order), padding=_PADDING)
    return layered


def front(
    models: Sequence[Candidate], *, alone: bool, chosen: str | None = None
) -> "altair.LayerChart | None":
    """How often a model is preferred against what it takes, with the Pareto front; None before votes.

    `alone` says that the times are those of a time trial. A point has its `model`.
    """
    import altair as alt

    rows: list[dict[str, Any]] = [
        {
            "model": one.model,
            "seconds": one.seconds,
            "quality": one.quality,
            "low": one.low,
            "high": one.high,
            "front": "on the front" if one.on_front else "another is better and faster",
        }
        for one in models
        if one.quality is not None and one.seconds is not None
    ]
    if not rows:
        return None
    longest = 1.3 * max(float(row["seconds"]) for row in rows)  # beside a point stands its name
    x = alt.X(
        "seconds:Q",
        title=f"Seconds a photo (median of {'the time trial' if alone else 'this job'})",
        scale=alt.Scale(domain=[0, longest]),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y("quality:Q", title="Preferred to another (Bradley–Terry)", axis=alt.Axis(format="%"))
    base = alt.Chart(alt.InlineData(values=rows))
    reach = base.mark_rule(color=_PALE, strokeWidth=2).encode(x=x, y=alt.Y("low:Q", title=""), y2="high:Q")
    line = (
        base.transform_filter("datum.front == 'on the front'")
        .mark_line(color=_ACCENT, strokeDash=[4, 3], interpolate="step-after")
        .encode(x=x, y=y, order="seconds:Q")
    )
    points = (
        base.mark_point(size=140, filled=True, opacity=1, cursor="pointer")
        .encode(
            x=x,
            y=y.scale(alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "front:N",
                title=None,
                scale=alt.Scale(
                    domain=["on the front", "another is better and faster"], range=[_ACCENT, _WARM]
                ),
                legend=alt.Legend(orient="top", direction="vertical"),
            ),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("quality:Q", title="Preferred to another (Bradley–Terry)", format=".0%"),
                alt.Tooltip("low:Q", title="from", format=".0%"),
                alt.Tooltip("high:Q", title="to", format=".0%"),
                alt.Tooltip("seconds:Q", title="Seconds a photo", format=".3f"),
            ],
        )
        .add_params(_selection(alt, "model", chosen))
    )
    names = base.mark_text(align="left", dx=11, dy=-9, color="#808080").encode(x=x, y=y, text="model:N")
    layered: altair.LayerChart = (reach + line + points + names).properties(height=300, padding=_PADDING)
    return layered


def _selection(alt: Any, field: str, chosen: str | None) -> Any:
    """Of marks by this field; one may be chosen from the start."""
    begun = {} if chosen is None else {"value": [{field: chosen if field == "model" else int(chosen)}]}
    return alt.selection_point(name=SELECTED, fields=[field], **begun)


def _unless_others_are_chosen(alt: Any, field: str, otherwise: float = 1.0) -> Any:
    chosen = alt.selection_point(name=SELECTED, fields=[field])
    return alt.when(chosen).then(alt.value(otherwise)).otherwise(alt.value(0.25))


def _whole(most: int) -> list[int]:
    """A handful of whole numbers from 0 to at least the largest."""
    step = max(1, math.ceil(most / 5))
    return list(range(0, most + step, step))


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten; 1 % at least."""
    value = max(value, 0.01)
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 2.5, 5, 10) if step * unit >= value - 1e-12)
