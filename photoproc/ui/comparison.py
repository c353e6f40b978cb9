"""What is around the photos of a comparison: what each model took, and what disagreement means."""

from collections.abc import Sequence

import streamlit as st

from photoproc.comparison import Comparison, ModelTimes, Spread
from photoproc.models.providers import label
from photoproc.ui.text import byte_size, duration, escaped, plural, unbroken

_MEANT = """1 − the mean soft IoU (Σ min ÷ Σ max) of all pairs of masks; “at the edges”: the mean difference
of alpha in a band of 2 % around the edges. It says where to look, not who is right: models of one family
(u2net, u2netp, silueta) err together."""


def show_times(found: Comparison) -> None:
    """A line a model: what it took here, where it ran."""
    if found.job.state.final and not any(one.warm or one.cold for one in found.times):
        st.caption("All masks are from an earlier run: this job has no times. Run a time trial.")
        return
    st.markdown(_table(found.times))
    notes = [
        "p50: half of the photos took less; p95: all but one in twenty. Warm: the model was loaded already. "
        f"{plural(len(found.times), 'model')} shared the machine in this job; a time trial has each alone."
    ]
    if any(one.peak_bytes for one in found.times):
        notes.append("Memory: the most a child had, the other models it holds included.")
    if any(one.kept for one in found.times):
        notes.append("Masks from an earlier run took no time and are not counted.")
    st.caption(" ".join(notes))


def say_how_far(found: Comparison) -> None:
    """What the photos are sorted by, and how many are still to be measured."""
    if found.measured < found.to_measure:
        st.progress(
            found.measured / found.to_measure,
            text=f"Comparing masks: {found.measured:,} of {plural(found.to_measure, 'photo')}",
        )
    elif not found.to_measure:
        st.caption("No photo has masks of two models yet.")
    else:
        before = "; photos a model is uncertain about come before" if found.job.recipe.certainty else ""
        st.caption(f"Disagreement of the models’ masks, worst first{before}", help=_MEANT)
    if found.job.recipe.certainty:
        st.caption(f"Uncertain about: {_uncertain(found)}")


def _uncertain(found: Comparison) -> str:
    """About how many photos each model is uncertain, of those it was asked about."""
    said = []
    for model in found.job.recipe.task_models:
        tasks = [task for one in found.photos for task in one.tasks if task.model == model]
        asked = [task for task in tasks if task.uncertainty is not None]
        many = sum(any(warning.code == "uncertain" for warning in task.warnings) for task in asked)
        said.append(f"{escaped(model)} {many:,} of {plural(len(asked), 'photo')}")
    return " · ".join(said)


def _table(times: Sequence[ModelTimes]) -> str:
    head = [
        "Model",
        "Photo, warm p50",
        "p95",
        "Model alone",
        "Loading",
        "Photos/s",
        "Memory",
        "Threads",
        "Done",
        "Failed",
        "Ran on",
    ]
    rows = [
        [
            f"**{escaped(one.model)}**",
            _time(one.warm, "p50"),
            _time(one.warm, "p95"),
            _time(one.inference, "p50"),
            _time(one.load, "mean"),
            "–" if one.photos_per_s is None else f"{one.photos_per_s:.2g}",
            "–" if one.peak_bytes is None else byte_size(one.peak_bytes),
            ", ".join(map(str, one.threads)) or "–",
            f"{one.done:,}" + (f" ({plural(one.kept, 'mask')} kept)" if one.kept else ""),
            f"{one.failed:,}",
            escaped(", ".join(label(name) for name in one.providers)) or "–",
        ]
        for one in times
    ]
    lines = [head, [":--", *["--:"] * 9, ":--"], *rows]
    return "\n".join(f"| {' | '.join(unbroken(cell) for cell in line)} |" for line in lines)


def _time(spread: Spread | None, which: str) -> str:
    return "–" if spread is None else duration(getattr(spread, which))
