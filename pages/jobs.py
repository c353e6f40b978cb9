"""Jobs: the list of them, or one of them with its progress and its cutouts."""

import time

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, JobState, TaskState
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.weights import Phase
from photoproc.service import PhotoService
from photoproc.ui.gallery import gallery
from photoproc.ui.guard import guarded
from photoproc.ui.joblist import job_list
from photoproc.ui.links import link_token
from photoproc.ui.status import weights_words
from photoproc.ui.text import (
    ago,
    byte_size,
    escaped,
    exact_time,
    plural,
    progress_line,
    said,
    state_words,
)

_PER_PAGE = 24
_JOBS_PER_PAGE = 25
_SHOW = ("All", "Done", "Needs a look", "Failed", "Skipped", "Cancelled")


def list_jobs(photos: PhotoService) -> None:
    """All jobs, newest first; live while any of them runs."""
    st.subheader("Jobs")
    if not photos.jobs(limit=1):
        st.markdown("A job is a batch of photos with what to do to them. Yours will be listed here.")
        if st.button("Process photos", type="primary", icon=":material/content_cut:"):
            st.switch_page("process.py")
        return
    wanted = st.text_input("Search", placeholder="Title or model", label_visibility="collapsed")

    @st.fragment(run_every=2.0)
    @guarded
    def live() -> None:
        found = [job for job in photos.jobs(limit=None) if _matches(job, wanted)] if wanted.strip() else None
        count = photos.job_count() if found is None else len(found)
        if not count:
            st.caption(f"No job's title or model contains “{escaped(wanted)}”.")
            return
        pages = -(-count // _JOBS_PER_PAGE)
        page = min(pages, st.pagination(pages, key="jobs-page") if pages > 1 else 1)
        first = (page - 1) * _JOBS_PER_PAGE
        if found is None:
            shown = photos.jobs(offset=first, limit=_JOBS_PER_PAGE)
        else:
            shown = found[first : first + _JOBS_PER_PAGE]
        opened = job_list(photos, shown, now=time.time(), key="job-list")
        if opened is not None:
            st.query_params["job"] = opened
            st.rerun()

    live()


def _matches(job: Job, wanted: str) -> bool:
    text = " ".join((job.title, *job.recipe.models)).casefold()
    return all(word in text for word in wanted.casefold().split())


def one_job(photos: PhotoService, job_id: str) -> None:
    """A job: progress and actions on top, its cutouts below."""
    try:
        job = photos.job(job_id)
    except PhotoprocError as error:
        st.error(said(error.problem), icon=":material/error:")
        if st.button("Show all jobs"):
            st.query_params.clear()
            st.rerun()
        return
    if st.button("All jobs", icon=":material/arrow_back:", type="tertiary"):
        st.query_params.clear()
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(escaped(job.title), anchor=False, width="content")
        rename = st.popover("Rename", icon=":material/edit:", type="tertiary")
    with rename, st.form("rename", border=False):
        title = st.text_input("Title", job.title, max_chars=200)
        if st.form_submit_button("Save title"):
            photos.rename(job_id, title)
            st.rerun()
    models = ", ".join(job.recipe.models) or "background kept"
    st.caption(
        f"{plural(job.photo_count, 'photo')} · {escaped(models)} · {ago(job.created_at, time.time())}",
        help=exact_time(job.created_at),
    )

    @st.fragment(run_every=None if job.state.final else 1.0)
    @guarded
    def live() -> None:
        now = photos.job(job_id)
        show_progress(photos, now)
        show_tasks(photos, now)
        if now.state.final and not job.state.final:
            st.rerun()

    live()


def show_progress(photos: PhotoService, job: Job) -> None:
    """How far it is, what it waits for, and what can be done now."""
    if not job.state.final:
        st.progress(
            job.counts.finished / max(1, job.counts.total),
            text=f"{state_words(job)} · {progress_line(job)}",
        )
        say_what_is_missing(photos, job)
    else:
        st.markdown(f"**{state_words(job)}** · {progress_line(job)}")
    show_actions(photos, job)
    if job.refused:
        with st.expander(f"{plural(len(job.refused), 'file')} not accepted"):
            for refusal in job.refused:
                st.markdown(f"**{escaped(refusal.name)}** — {said(refusal.problem)}")


def show_actions(photos: PhotoService, job: Job) -> None:
    """What can be done now. What comes and goes stands last, so that nothing moves under a pointer."""
    counts, over = job.counts, job.state.final
    with st.container(horizontal=True):
        st.link_button(
            f"Download ZIP ({byte_size(job.output_bytes)})" if over else "Download ZIP so far",
            f"/api/v1/jobs/{job.id}/archive?token={link_token(photos, job.id)}",
            type="primary" if over and counts.done else "secondary",
            icon=":material/download:",
            disabled=not counts.done,
        )
        if over:
            if st.button("Process again with…", icon=":material/replay:"):
                st.switch_page("process.py", query_params={"again": job.id})
        elif st.button("Cancel job", icon=":material/cancel:"):
            photos.cancel(job.id)
            st.rerun()
        with st.popover("Delete job", icon=":material/delete:"):
            st.markdown(
                f"Delete “{escaped(job.title)}” with its {plural(job.photo_count, 'photo')} "
                f"and {plural(counts.done, 'cutout')}? This cannot be undone."
            )
            if st.button("Delete for good"):
                photos.delete(job.id)
                st.query_params.clear()
                st.rerun()
        if (
            counts.failed
            and job.state is not JobState.CANCELLING
            and st.button(f"Retry {counts.failed:,} failed", icon=":material/refresh:")
        ):
            photos.retry(job.id)
            st.rerun()
        if over and counts.cancelled:
            again = f"Process the {counts.cancelled:,} cancelled"
            if st.button(again, icon=":material/play_arrow:"):
                photos.retry(job.id, (TaskState.CANCELLED,))
                st.rerun()


def say_what_is_missing(photos: PhotoService, job: Job) -> None:
    """Name the models the job waits for, and why they are not there."""
    for name in job.recipe.task_models:
        if name not in CATALOGUE:
            continue
        weights = photos.model(name).weights
        if weights.phase is Phase.READY:
            continue
        if weights.phase is Phase.FAILED and weights.problem is not None:
            st.warning(f"Waiting for {name}. {said(weights.problem)}", icon=":material/cloud_off:")
            if st.button(f"Download {name} again", key=f"again-{name}"):
                photos.download_model(name)
        else:
            st.caption(f":material/downloading: Waiting for {name}: {weights_words(weights)}")


def show_tasks(photos: PhotoService, job: Job) -> None:
    """The gallery, by state and by page."""
    counts = {"All": job.counts.total, "Needs a look": job.counts.needs_look}
    counts |= {state.value.capitalize(): getattr(job.counts, state.value) for state in TaskState}
    # Always the same choices: the bar neither moves nor forgets what is chosen while counts change.
    chosen = st.segmented_control(
        "Show",
        _SHOW,
        default="All",
        required=True,
        format_func=lambda word: f"{word} {counts[word]:,}",
        key=f"show-{job.id}",
        label_visibility="collapsed",
    )
    look = chosen == "Needs a look"
    states = None if look or chosen == "All" else (TaskState(chosen.lower()),)
    numbers = photos.task_numbers(job.id, states=states, needs_look=look)
    pages = max(1, -(-len(numbers) // _PER_PAGE))
    page = min(pages, st.pagination(pages, key=f"page-{job.id}-{chosen}") if pages > 1 else 1)
    first = (page - 1) * _PER_PAGE
    tasks = photos.tasks(job.id, states=states, needs_look=look, offset=first, limit=_PER_PAGE)
    gallery(tasks, token=link_token(photos, job.id), key=f"gallery-{job.id}")


def main() -> None:
    """The page."""
    photos = service()
    job_id = st.query_params.get("job")
    if job_id:
        one_job(photos, job_id)
    else:
        list_jobs(photos)


main()
