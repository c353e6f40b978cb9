"""What is above a job's gallery: how far it is, what it waits for, and what can be done now."""

from dataclasses import dataclass

import streamlit as st

from photoproc.errors import PhotoprocError, Problem
from photoproc.jobs import Job, JobState, TaskState
from photoproc.models.weights import Phase, WeightsState
from photoproc.service import PhotoService
from photoproc.ui.address import go, go_to_list
from photoproc.ui.comparing import compare_with_another
from photoproc.ui.heading import offer_to_delete
from photoproc.ui.links import link_token
from photoproc.ui.status import say_what_holds_up, weights_words
from photoproc.ui.text import byte_size, escaped, exact_time, plural, progress_line, said, state_words
from photoproc.ui.visitor import offer_to_share, visitor

_FOR_GOOD = frozenset(
    ("empty_file", "file_too_large", "not_a_picture", "photo_broken", "photo_too_large", "photo_truncated")
)
"""The photo itself is at fault: however often it is tried, it fails."""
_LOOKED_AT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that a job's page shows and that may change without a click: while it is equal, so is the page."""

    job: Job
    trial_runs: bool
    waits_for: tuple[WeightsState | None, ...]
    held_up: Problem | None
    token: str


def standing(photos: PhotoService, job: Job) -> Standing:
    """How a job stands now."""
    return Standing(
        job=job,
        trial_runs=photos.trial_runs,
        waits_for=tuple(photos.waits_for(name) for name in job.recipe.task_models),
        held_up=photos.held_up(job),
        token=link_token(photos, job.id),
    )


def show_progress(photos: PhotoService, job: Job) -> None:
    """How far it is, what it waits for, what was refused."""
    if not job.state.final:
        st.progress(
            job.counts.finished / max(1, job.counts.total),
            text=f"{state_words(job)} · {progress_line(job)}",
        )
        say_what_holds_up(photos, [job])
        say_what_is_missing(photos, job)
    else:
        until = photos.expires_at(job)
        kept = "" if until is None else f" · kept until {exact_time(until)[:10]}"
        st.markdown(f"**{state_words(job)}** · {progress_line(job)}{kept}")
    show_actions(photos, job)
    if job.refused:
        with st.expander(f"{plural(len(job.refused), 'file')} not accepted"):
            for refusal in job.refused:
                st.markdown(f"**{escaped(refusal.name)}** — {said(refusal.problem)}")


def show_actions(photos: PhotoService, job: Job) -> None:
    """What can be done now. What comes and goes stands last, so that nothing moves under a pointer."""
    counts, over, mine = job.counts, job.state.final, visitor(photos).may_change(job)
    with st.container(horizontal=True):
        st.link_button(
            f"Download ZIP ({byte_size(job.output_bytes)})" if over else "Download ZIP so far",
            f"/api/v1/jobs/{job.id}/archive?token={link_token(photos, job.id)}",
            type="primary" if over and counts.done else "secondary",
            icon=":material/download:",
            disabled=not counts.done,
        )
        if len(job.recipe.task_models) > 1 and st.button("Compare models", icon=":material/compare:"):
            st.switch_page("compare.py", query_params={"job": job.id})
        if over:
            if (
                len(job.recipe.models) == 1
                and job.recipe.models == job.recipe.task_models
                and st.button("Compare with another model", icon=":material/compare:")
            ):
                compare_with_another(photos, job)
            asked = job.recipe.certainty or job.recipe.task_models != job.recipe.models  # or no model ran
            if mine and counts.done and not asked:
                offer_certainty(photos, job)
            if st.button("Process again with…", icon=":material/replay:"):
                st.switch_page("process.py", query_params={"again": job.id})
        elif mine and st.button("Cancel job", icon=":material/cancel:"):
            photos.cancel(job.id)
            st.rerun()
        if mine:
            offer_to_share(photos, job)
            offer_to_delete(photos, job, "Delete job", go_to_list)
            offer_to_try_again(photos, job)


def offer_certainty(photos: PhotoService, job: Job) -> None:
    """A button that has the models look twice more, in a job of its own."""
    pressed = st.button(
        "Check certainty",
        icon=":material/flip:",
        help="The models look twice more at each photo, mirrored and shifted; where one disagrees with "
        "itself, the photo needs a look. Makes a new job; masks are used again.",
    )
    if pressed:
        try:
            checked = photos.check_certainty(job.id)
        except PhotoprocError as error:
            st.error(said(error.problem), icon=":material/error:")
        else:
            go({"job": checked.id})


def offer_to_try_again(photos: PhotoService, job: Job) -> None:
    """Buttons for what another run may help: failures that are not the photo's own, what was left undone."""
    counts, over = job.counts, job.state.final
    offers = [
        (
            TaskState.FAILED,
            f"Retry {counts.failed:,} failed",
            ":material/refresh:",
            job.state is not JobState.CANCELLING and _may_help(photos, job),
        ),
        (
            TaskState.CANCELLED,
            f"Process the {counts.cancelled:,} cancelled",
            ":material/play_arrow:",
            over and counts.cancelled > 0,
        ),
        (
            TaskState.SKIPPED,
            f"Process the {counts.skipped:,} skipped",
            ":material/play_arrow:",
            over and _was_left_out(photos, job),
        ),
    ]
    for state, label, icon, offered in offers:
        if offered and st.button(label, icon=icon):
            photos.retry(job.id, (state,))
            st.rerun()


def _may_help(photos: PhotoService, job: Job) -> bool:
    """Whether another try can help any failed task; where very many failed, they are not all asked."""
    if not job.counts.failed:
        return False
    failed = photos.tasks(job.id, states=(TaskState.FAILED,), limit=_LOOKED_AT)
    return job.counts.failed > _LOOKED_AT or any(
        task.problem is None or task.problem.code not in _FOR_GOOD for task in failed
    )


def _was_left_out(photos: PhotoService, job: Job) -> bool:
    """Whether tasks were skipped for want of a model, which may be there by now."""
    if not job.counts.skipped:
        return False
    skipped = photos.tasks(job.id, states=(TaskState.SKIPPED,))
    return any(task.problem is not None and task.problem.code == "model_left_out" for task in skipped)


def say_what_is_missing(photos: PhotoService, job: Job) -> None:
    """Name the models the job waits for, and why they are not there."""
    models, there = job.recipe.task_models, photos.model_names()
    for name, weights in photos.missing(job).items():
        if weights.phase is not Phase.FAILED or weights.problem is None:
            st.caption(f":material/downloading: Waiting for {escaped(name)}: {weights_words(weights)}")
            continue
        st.warning(f"Waiting for {escaped(name)}. {said(weights.problem)}", icon=":material/cloud_off:")
        if not visitor(photos).may_change(job):
            continue
        with st.container(horizontal=True):
            verb = "Check" if name in there and photos.model(name).spec.custom else "Download"
            if name in there and st.button(f"{verb} {name} again", key=f"again-{name}"):
                photos.download_model(name)
            # With nothing else to finish, this would be to cancel the job.
            if (len(models) > 1 or job.counts.done) and st.button(
                f"Finish without {name}", key=f"out-{name}"
            ):
                photos.leave_out(job.id, name)
                st.rerun()
