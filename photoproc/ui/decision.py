"""Which model to use, on top of a comparison; its charts, whose points open photos; what to take away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from photoproc import charts
from photoproc.comparison import Comparison
from photoproc.figures import Findings
from photoproc.recommendation import WEIGHT
from photoproc.ui.control import chosen, draw, key_of, renew, turns
from photoproc.ui.text import escaped, plural

_CHOSEN = "chosen"
"""What was clicked in a chart, in the address: `place.3`, `bin.0`, `model.u2net`."""


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
    timed = any(one.warm for one in comparison.times)
    weighed = any(one.quality is not None and one.seconds is not None for one in found.models)
    left, right = st.columns(2, gap="large")
    with left:
        if not timed:
            st.caption("No model ran here: all masks are from an earlier run, so there are no times to show.")
        else:
            said = "Time of each photo, runs that had to load the model left out; the mark is the median"
            _chart(lambda one: charts.latency(comparison, chosen=one), "place", job_id, said)
    with right:
        if comparison.measured:
            said = "How many photos have how much disagreement"
            _chart(lambda one: charts.disagreement(comparison.photos, chosen=one), "bin", job_id, said)
    if weighed:
        said = "Quality against time; on the dashed line no other model is both better and faster"
        _chart(lambda one: charts.front(found.models, alone=found.alone, chosen=one), "model", job_id, said)


def chosen_photos(found: Comparison) -> Chosen | None:
    """What was last clicked in a chart, as the address has it, until it is forgotten."""
    what, _, which = st.query_params.get(_CHOSEN, "").partition(".")
    number = int(which) if which.isdecimal() else -1
    if what == "place" and 0 <= number < len(found.photos):
        return Chosen(label=found.photos[number].photo.name, places=(number,))
    if what == "bin" and 0 <= number < len(bins := charts.bins(found.photos)):
        return Chosen(label=f"disagreement {bins[number].words}", places=bins[number].places)
    if what == "model" and which in found.job.recipe.task_models:
        far = _furthest(found, which)
        label = f"{plural(len(far), 'photo')} on which no model is further from the others than {which}"
        return Chosen(label=label, places=far)
    return None


def turn_of(job_id: str) -> int:
    """How often something was chosen in the charts of a job."""
    return turns().get(_charts_name(job_id), 0)


def forget_unwanted(job_id: str, told: Mapping[str, Any] | None) -> None:
    """Show all photos again where the viewer's state says that what is chosen is no longer wanted."""
    if told and told.get("forgotten") == turn_of(job_id):
        st.query_params.pop(_CHOSEN, None)


def _chart(draw: Callable[[str | None], Any], kind: str, job_id: str, said: str) -> None:
    """A chart whose marks stand for photos; `draw` is told which `kind` of mark is chosen from the start.

    It is drawn anew, under another key, where it shows another one as chosen than the address has.
    """
    st.caption(said)
    name, (what, _, which) = f"{kind}-{job_id}", st.query_params.get(_CHOSEN, "").partition(".")
    asked = which if what == kind and (kind == "model" or which.isdecimal()) else None
    shown: dict[str, tuple[str | None, str | None]] = st.session_state.setdefault("shown in charts", {})
    begun, now = shown.setdefault(name, (asked, asked))
    if now != asked:
        renew(name)
        begun, _ = shown[name] = (asked, asked)
    key = key_of(name)

    def take() -> None:
        picked: Sequence[Mapping[str, Any]] = st.session_state[key].selection.get(charts.SELECTED, [])
        mark = str(next(iter(picked[0].values()))) if picked else None
        renew(_charts_name(job_id))
        if mark is None:
            st.query_params.pop(_CHOSEN, None)
        else:
            st.query_params[_CHOSEN] = f"{kind}.{mark}"
        shown[name] = (begun, mark)  # last: where the run is ended before, the chart begins with the mark

    st.altair_chart(draw(begun), key=key, on_select=take, selection_mode=charts.SELECTED, alt=said)


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


def _charts_name(job_id: str) -> str:
    return f"charts of {job_id}"
