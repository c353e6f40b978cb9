"""Jobs: the list of them, or one of them with its progress and its cutouts."""

import time

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.jobs import Job
from photoproc.service import PhotoService
from photoproc.ui.address import LIST_PAGE, SEARCH, go, go_to_list, page_of, remember_list, turn_to
from photoproc.ui.guard import guarded
from photoproc.ui.heading import show_title, show_while_there
from photoproc.ui.job import show_progress, standing
from photoproc.ui.joblist import job_list
from photoproc.ui.recipe_words import recipe_words
from photoproc.ui.status import say_what_holds_up
from photoproc.ui.tasks import begin_anew, show_tasks
from photoproc.ui.text import ago, escaped, exact_time, plural, said
from photoproc.ui.visitor import opened, visitor
from photoproc.ui.watching import show_live

_JOBS_PER_PAGE = 25


def list_jobs(photos: PhotoService) -> None:
    """All jobs, newest first; live while any of them runs."""
    st.subheader("Jobs")
    owner = visitor(photos).owner
    if not photos.jobs(limit=1, owner=owner):
        st.markdown("A job is a batch of photos with what to do to them. Yours will be listed here.")
        if st.button("Process photos", type="primary", icon=":material/content_cut:"):
            st.switch_page("process.py")
        return

    @st.fragment(run_every=2.0)
    @guarded
    def live() -> None:
        wanted = st.text_input(
            "Search",
            type="search",
            placeholder="Search by title, model or person",
            label_visibility="collapsed",
            key=SEARCH,
            bind="query-params",
            live=True,
            on_change=lambda: turn_to(1, key=LIST_PAGE),
        )
        found = None
        if owner is not None or (wanted and wanted.strip()):
            found = [job for job in photos.jobs(limit=None, owner=owner) if _matches(job, wanted or "")]
        count = photos.job_count() if found is None else len(found)
        if not count and not wanted:
            st.caption("There are no jobs any more.")
            return
        if not count:
            st.caption(f"No job's title, model or person contains “{escaped(wanted or '')}”.")
            return
        page = page_of(count, _JOBS_PER_PAGE, key=LIST_PAGE)
        remember_list(wanted or "", page)
        first = (page - 1) * _JOBS_PER_PAGE
        if found is None:
            shown = photos.jobs(offset=first, limit=_JOBS_PER_PAGE)
        else:
            shown = found[first : first + _JOBS_PER_PAGE]
        say_what_holds_up(photos, shown)
        opened = job_list(photos, shown, now=time.time(), key="job-list")
        if opened is not None:
            go({"job": opened})

    live()


def _matches(job: Job, wanted: str) -> bool:
    text = " ".join((job.title, job.owner, *job.recipe.models)).casefold()
    return all(word in text for word in wanted.casefold().split())


def one_job(photos: PhotoService, job_id: str) -> None:
    """A job: progress and actions on top, its cutouts below."""
    try:
        job = opened(photos, job_id)
    except PhotoprocError as error:
        st.error(said(error.problem), icon=":material/error:")
        if st.button("Show all jobs"):
            go_to_list()
        return
    if st.button("All jobs", icon=":material/arrow_back:", type="tertiary"):
        go_to_list()
    show_title(photos, job, may_change=visitor(photos).may_change(job))
    by = f" · by {escaped(job.owner)}" if job.owner else ""
    facts = f"{plural(job.photo_count, 'photo')} · {escaped(recipe_words(job.recipe))}"
    show_while_there(
        photos,
        job_id,
        lambda: st.caption(
            f"{facts} · {ago(job.created_at, time.time())}{by}", help=exact_time(job.created_at)
        ),
    )

    begin_anew(job)
    show_live(
        lambda: standing(photos, opened(photos, job_id)),
        lambda now: show_job(photos, now.job),
        over=lambda now: now.job.state.final,
    )


def show_job(photos: PhotoService, job: Job) -> None:
    """The part that changes while the job runs."""
    show_progress(photos, job)
    show_tasks(photos, job)


def main() -> None:
    """The page. On its way to the Process page and back the address names the job as `again`."""
    photos = service()
    job_id = st.query_params.get("job") or st.query_params.get("again")
    if job_id:
        st.session_state["seen_job"] = job_id
        one_job(photos, job_id)
    else:
        list_jobs(photos)


main()
