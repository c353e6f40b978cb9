"""Process: drop photos, choose what to do, go."""

from pathlib import Path

import streamlit as st

from photoproc import ui
from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, Photo
from photoproc.service import PhotoService
from photoproc.ui import uploads
from photoproc.ui.address import go
from photoproc.ui.large import large_upload
from photoproc.ui.options import choose_recipe
from photoproc.ui.preview import Shown, preview
from photoproc.ui.submit import offer
from photoproc.ui.text import escaped, plural, said
from photoproc.ui.visitor import opened

CSS = Path(ui.__file__).parent / "process.css"
_LARGE = "For gigabytes and whole folders: straight to disk, with progress by the byte."


def choose_photos(photos: PhotoService) -> tuple[uploads.Uploads, Shown | None]:
    """The uploader, and what came of it; and the photo that is chosen."""
    now = uploads.current(photos)
    uploads.keep_over_pages(now, f"uploader-{now.widget}")
    with st.container(key="photos"):
        files = st.file_uploader(
            "Photos or ZIP archives",
            accept_multiple_files=True,
            key=f"uploader-{now.widget}",
            help="JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF, by content; a ZIP keeps its folders.",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        count, offer = st.empty(), st.empty()
        samples = offer.button("Try with sample photos", icon=":material/image:", type="tertiary")
        if st.button("Large upload", icon=":material/drive_folder_upload:", type="tertiary", help=_LARGE):
            go({"large": "1"})
        after = st.empty()
    taken = uploads.take_in(photos, files, samples=samples)
    if taken.accepted:
        offer.empty()
        if after.button("Clear", icon=":material/clear_all:", type="tertiary"):
            photos.drop_batch(taken.batch)
            uploads.start_over(photos)
            st.rerun()
    if taken.photos:
        count.markdown(uploads.counted(taken.photos), width="content")
    return taken, uploads.show(photos, taken)


def earlier_job(photos: PhotoService) -> Job | None:
    """The job whose photos are to be processed again, where the address names one that exists."""
    again = st.query_params.get("again")
    if not again:
        return None
    try:
        return opened(photos, again)
    except PhotoprocError as error:
        st.query_params.clear()
        st.warning(said(error.problem), icon=":material/warning:")
        return None


def show_earlier(photos: PhotoService, source: Job) -> tuple[list[Photo], Shown | None]:
    """The photos of the earlier job, and the ways out; and the photo that is chosen."""
    st.markdown(f"**{plural(source.photo_count, 'photo')}** of “{escaped(source.title)}” again")
    with st.container(horizontal=True):
        if st.button("Back to the job", icon=":material/arrow_back:", type="tertiary"):
            st.switch_page("jobs.py", query_params={"job": source.id})
        if st.button("Use other photos", icon=":material/close:", type="tertiary"):
            go({})
    chosen = uploads.show_again(photos, source)
    return list(photos.photos(source.id)), chosen


def upload_large(photos: PhotoService) -> None:
    """The API's own client: gigabytes go straight to disk."""
    with st.container(horizontal=True):
        if st.button("Back", icon=":material/arrow_back:", type="tertiary"):
            go({})
        job_id = st.empty()
    made = large_upload(photos)
    if made and job_id.button("Open the job’s page", icon=":material/open_in_new:", type="tertiary"):
        st.switch_page("jobs.py", query_params={"job": made})


def go_on_to_job() -> None:
    """Finish the way to a new job, which a second press can interrupt; who comes back from it may stay."""
    job_id = st.query_params.get("job")
    if job_id and st.session_state.get("seen_job") == job_id:
        st.query_params.clear()
    elif job_id:
        st.switch_page("jobs.py", query_params={"job": job_id})


def main() -> None:
    """The page."""
    photos = service()
    go_on_to_job()
    if "large" in st.query_params:
        upload_large(photos)
        return
    source = earlier_job(photos)
    st.html(CSS)
    left, right = st.columns([4, 3], gap="large")
    taken = None
    with left:
        if source is not None:
            given, chosen = show_earlier(photos, source)
        else:
            taken, chosen = choose_photos(photos)
            given = taken.photos
        look = st.container(key="look") if chosen is not None else st.empty()
        if taken is not None and not taken.accepted:
            uploads.seek(photos)
    with right, st.container(key="options"):
        recipe = choose_recipe(
            photos,
            source.recipe if source else None,
            f"-{source.id}" if source is not None else "",
            example=chosen.photo.name if chosen is not None else "photo.jpg",
        )
    with right:
        offer(photos, source, taken, given, recipe)
    if chosen is not None:
        with look:
            models = recipe.models if recipe is not None else ()
            known = [model for model in models if photos.masks_kept([chosen.photo], model)]
            preview(chosen, recipe, known=known, key="preview")


main()
