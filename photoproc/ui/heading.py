"""What a job and its comparison are headed with: the title, which can be changed, and how to delete it."""

from collections.abc import Callable

import streamlit as st

from photoproc.errors import PhotoprocError, ServiceError
from photoproc.jobs import Job
from photoproc.service import PhotoService
from photoproc.ui.control import key_of, renew
from photoproc.ui.guard import guarded
from photoproc.ui.text import escaped, plural, said
from photoproc.ui.timer import stop_timer
from photoproc.ui.visitor import opened

GONE = "This job was deleted, or is not shared with you any more."
_LOOK_EVERY_S = 5.0


def show_title(photos: PhotoService, job: Job, *, may_change: bool) -> None:
    """The title, also of the browser's tab, and a way to give the job another for those who may."""
    st.set_page_config(page_title=f"{job.title} · Photoproc")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(escaped(job.title), anchor=False, width="content")
        if not may_change:
            return
        shown, field = f"rename-{job.id}", f"title-{job.id}"
        rename = st.popover("Rename", icon=":material/edit:", type="tertiary", key=key_of(shown))

    def save() -> None:
        try:
            photos.rename(job.id, st.session_state[field])
        except PhotoprocError as error:
            st.toast(said(error.problem), icon=":material/error:")
        else:
            renew(shown)  # another one, which is closed

    with rename, st.form("rename", border=False):
        st.text_input("Title", job.title, max_chars=200, key=field)
        st.form_submit_button("Save title", on_click=save)


def show_while_there(photos: PhotoService, job_id: str, show: Callable[[], object]) -> None:
    """Draw a line of a job's head, again every few seconds; in its place, that the job is gone by now.

    A page that has nothing more to do would not notice either: how old a job is, or that it was deleted.
    """

    @st.fragment(run_every=_LOOK_EVERY_S)
    @guarded
    def line() -> None:
        try:
            opened(photos, job_id)
        except ServiceError as error:
            if error.problem.code != "not_found":
                raise
            st.error(GONE, icon=":material/delete:")
            stop_timer()
        else:
            show()

    line()


def offer_to_delete(
    photos: PhotoService, job: Job, label: str, after: Callable[[], object], *, plain: bool = False
) -> None:
    """A button that says what goes with the job, and one that deletes it; `plain` among plain ones."""
    with st.popover(label, icon=":material/delete:", type="tertiary" if plain else "secondary"):
        more = ", its votes, tags and time trial" if len(job.recipe.task_models) > 1 else ""
        st.markdown(
            f"Delete “{escaped(job.title)}” with its {plural(job.photo_count, 'photo')} "
            f"and {plural(job.counts.done, 'cutout')}{more}? This cannot be undone."
        )
        if st.button("Delete for good"):
            photos.delete(job.id)
            after()
