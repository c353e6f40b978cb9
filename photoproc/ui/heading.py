"""What a job and its comparison are headed with: the title, which can be changed, and how to delete it."""

from collections.abc import Callable

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.jobs import Job
from photoproc.service import PhotoService
from photoproc.ui.control import key_of, renew
from photoproc.ui.text import escaped, plural, said


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
