"""What a job and its comparison are headed with: the title, which can be changed, and how to delete it."""

from collections.abc import Callable

import streamlit as st

from photoproc.jobs import Job
from photoproc.service import PhotoService
from photoproc.ui.text import escaped, plural


def show_title(photos: PhotoService, job: Job) -> None:
    """The title, also of the browser's tab, and a way to give the job another."""
    st.set_page_config(page_title=f"{job.title} · Photoproc")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(escaped(job.title), anchor=False, width="content")
        rename = st.popover("Rename", icon=":material/edit:", type="tertiary")
    with rename, st.form("rename", border=False):
        title = st.text_input("Title", job.title, max_chars=200)
        if st.form_submit_button("Save title"):
            photos.rename(job.id, title)
            st.rerun()


def offer_to_delete(photos: PhotoService, job: Job, label: str, after: Callable[[], object]) -> None:
    """A button that says what goes with the job, and one that deletes it."""
    with st.popover(label, icon=":material/delete:"):
        more = ", its votes, tags and time trial" if len(job.recipe.task_models) > 1 else ""
        st.markdown(
            f"Delete “{escaped(job.title)}” with its {plural(job.photo_count, 'photo')} "
            f"and {plural(job.counts.done, 'cutout')}{more}? This cannot be undone."
        )
        if st.button("Delete for good"):
            photos.delete(job.id)
            after()
