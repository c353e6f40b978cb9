"""Which model to use, on top of a comparison; its charts, whose points open photos; what to take away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from photoproc import charts
from photoproc.comparison import Comparison
from photoproc.figures import Findings
from photoproc.recommendation import WEIGHT
from photoproc.ui.control import chosen, draw, key_of, renew
from photoproc.ui.text import escaped, plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Photos that a bar or a point of a chart stands for, by their places."""

    label: str
    places: tuple[int, ...]


def chosen_weight(job_id: str) -> float:
    """What quality weighs against speed, as chosen with the slider below."""
    return float(chosen(_weight_name(job_id), _asked_weight())) / 100


def show_recommendation(found: Findings) -> None:
    """The sentence, why to doubt it, and the weight it is for."""
    said, job_id = found.recommendation, found.comparison.job.id
    words, weigh = st.columns([3, 1], gap="large", vertical_alignment="center")
    with words:
        st.markdown(f"**{escaped(said.sentence)}**")
        if said.thin:
            st.caption(escaped(" ".join(said.thin)))
    if found.ranking is not None and found.ranking.votes:
        with weigh:
            _choose_weight(job_id)


def _choose_weight(job_id: str) -> None:
    """The slider; what it says is in the address, where it is not what anybody begins with."""
    weight = draw(
        st.slider,
        "Weight of quality against speed",
        0,
        100,
        name=_weight_name(job_id),
        begin=_asked_weight(),
        step=5,
        format="%d %%",
        help="The recommended model has the largest weight × quality + (1 − weight) × (the fastest "
        "time ÷ its time). Quality is the chance to be preferred, by the votes.",
    )
    if weight == round(WEIGHT * 100):
        st.query_params.pop("weight", None)
    elif weight != _asked_weight():
        st.query_params["weight"] = str(weight)


def _asked_weight() -> int:
    """In per cent, as the address has it."""
    asked = st.query_params.get("weight", "")
    return int(asked) if asked.isdecimal() and int(asked) <= 100 else round(WEIGHT * 100)


def show_take_away(found: Findings, token: str) -> None:
    """Report, figures, masks."""
    job = found.comparison.job
    tail = f"?token={token}&weight={found.recommendation.weight}"
    with st.container(horizontal=True):
        for label, what, icon in (
            ("Report", f"report{tail}&download=1", ":material/description:"),
            ("Figures (CSV, JSON)", f"figures.zip{tail}", ":material/table:"),
            ("Masks (ZIP)", f"masks?token={token}", ":material/gradient:"),
        ):
            st.link_button(label, f"/api/v1/jobs/{job.id}/{what}", icon=icon, type="tertiary")


def show_charts(found: Findings) -> None:
    """Time, quality against time, disagreement; a click shows the photos below."""
    comparison, job_id = found.comparison, found.comparison.job.id
    times, front = charts.latency(comparison), charts.front(found.models)
    # What a click needs, and no more: the session keeps it.
    names = {one.place: one.photo.name for one in comparison.photos}
    bins = charts.bins(comparison.photos)
    furthest = {one.model: _furthest(comparison, one.model) for one in found.models}
    left, right = st.columns(2, gap="large")
    with left:
        if times is None:
            st.caption("No model ran here: all masks are from an earlier run, so there are no times to show.")
        else:
            said = "Time of each photo, runs that had to load the model left out; the mark is the median"
            _chart(
                times,
                f"latency-{job_id}",
                lambda one: Chosen(label=names[one["place"]], places=(one["place"],)),
                job_id,
                said,
            )
    with right:
        if comparison.measured:
            said = "How many photos have how much disagreement"
            bars = charts.disagreement(comparison.photos)
            _chart(bars, f"far-{job_id}", lambda one: _by_bin(bins[one["bin"]]), job_id, said)
    if front is not None:
        said = "Quality against time; on the dashed line no other model is both better and faster"
        _chart(
            front,
            f"front-{job_id}",
            lambda one: _by_model(one["model"], furthest),
            job_id,
            said,
        )


def chosen_photos(job_id: str) -> Chosen | None:
    """What was last clicked in a chart, until it is forgotten."""
    found: Chosen | None = st.session_state.get(_chosen_key(job_id))
    return found


def forget_chosen(job_id: str) -> None:
    """Show all photos again, and charts in which nothing is chosen."""
    st.session_state.pop(_chosen_key(job_id), None)
    renew(_chosen_key(job_id))


def _chart(
    chart: Any, key: str, photos_of: Callable[[Mapping[str, Any]], Chosen], job_id: str, said: str
) -> None:
    st.caption(said)
    key = f"{key}-{key_of(_chosen_key(job_id))}"

    def take() -> None:
        picked: Sequence[Mapping[str, Any]] = st.session_state[key].selection.get(charts.SELECTED, [])
        if picked:
            st.session_state[_chosen_key(job_id)] = photos_of(picked[0])
        else:
            st.session_state.pop(_chosen_key(job_id), None)

    st.altair_chart(chart, key=key, on_select=take, selection_mode=charts.SELECTED, alt=said)


def _by_bin(one: charts.Bin) -> Chosen:
    return Chosen(label=f"disagreement {one.words}", places=one.places)


def _by_model(model: str, furthest: Mapping[str, tuple[int, ...]]) -> Chosen:
    far = furthest[model]
    label = f"{plural(len(far), 'photo')} on which no model is further from the others than {model}"
    return Chosen(label=label, places=far)


def _furthest(found: Comparison, model: str) -> tuple[int, ...]:
    """The photos on which no model is further from the others than this one."""
    return tuple(
        one.place
        for one in found.photos
        if one.distance is not None
        and model in one.distance.apart
        and one.distance.apart[model] >= max(one.distance.apart.values())
    )


def _weight_name(job_id: str) -> str:
    return f"weight-{job_id}"


def _chosen_key(job_id: str) -> str:
    return f"chosen-{job_id}"
