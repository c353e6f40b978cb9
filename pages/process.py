"""Process: drop photos, choose what to do, go."""

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, Photo
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui import uploads
from photoproc.ui.address import go
from photoproc.ui.large import large_upload
from photoproc.ui.options import choose_recipe, estimate
from photoproc.ui.text import escaped, plural, said

_LARGE = "For gigabytes and whole folders: straight to disk, with progress by the byte."


def choose_photos(photos: PhotoService) -> uploads.Uploads:
    """The uploader, and what came of it."""
    now = uploads.current(photos)
    uploads.keep_over_pages(now, f"uploader-{now.widget}")
    files = st.file_uploader(
        "Photos or ZIP archives",
        accept_multiple_files=True,
        key=f"uploader-{now.widget}",
        help="JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF, by content; a ZIP keeps its folders.",
    )
    with st.container(horizontal=True):
        samples = st.button("Try with sample photos", icon=":material/image:", type="tertiary")
        if st.button("Large upload", icon=":material/drive_folder_upload:", type="tertiary", help=_LARGE):
            go({"large": "1"})
        after = st.empty()
    taken = uploads.take_in(photos, files, samples=samples)
    if taken.accepted and after.button("Clear", icon=":material/clear_all:", type="tertiary"):
        photos.drop_batch(taken.batch)
        uploads.start_over(photos)
        st.rerun()
    uploads.show(photos, taken)
    return taken


def earlier_job(photos: PhotoService) -> Job | None:
    """The job whose photos are to be processed again, where the address names one that exists."""
    again = st.query_params.get("again")
    if not again:
        return None
    try:
        return photos.job(again)
    except PhotoprocError as error:
        st.query_params.clear()
        st.warning(said(error.problem), icon=":material/warning:")
        return None


def show_earlier(photos: PhotoService, source: Job) -> list[Photo]:
    """The photos of the earlier job, and the ways out."""
    st.markdown(f"**{plural(source.photo_count, 'photo')}** of “{escaped(source.title)}” again")
    with st.container(horizontal=True):
        if st.button("Back to the job", icon=":material/arrow_back:", type="tertiary"):
            st.switch_page("jobs.py", query_params={"job": source.id})
        if st.button("Use other photos", icon=":material/close:", type="tertiary"):
            go({})
    uploads.show_again(photos, source)
    return list(photos.photos(source.id))


def upload_large(photos: PhotoService) -> None:
    """The API's own client: gigabytes go straight to disk."""
    with st.container(horizontal=True):
        if st.button("Back", icon=":material/arrow_back:", type="tertiary"):
            go({})
        job_id = st.empty()
    made = large_upload(photos)
    if made and job_id.button("Open the job’s page", icon=":material/open_in_new:", type="tertiary"):
        st.switch_page("jobs.py", query_params={"job": made})


def submit(photos: PhotoService, source: Job | None, taken: uploads.Uploads | None, recipe: Recipe) -> Job:
    """Make the job; one click is one job, however often it arrives."""
    batch = uploads.current(photos).batch
    if source is not None:
        job = photos.process_again(source.id, recipe, key=f"{source.id}-{batch}")
    else:
        assert taken is not None
        job = photos.submit(batch, taken.photos, recipe, refused=taken.refused, key=batch)
    uploads.start_over(photos)
    return job


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
    left, right = st.columns([3, 2], gap="large")
    taken = None
    with left:
        if source is not None:
            given = show_earlier(photos, source)
        else:
            taken = choose_photos(photos)
            given = taken.photos
    with right:
        fields = choose_recipe(
            photos, source.recipe if source else None, f"-{source.id}" if source is not None else ""
        )
        models = fields.get("models")
        with st.container(key="go-ready" if given else "go"):
            pressed = st.button(
                "Process photos",
                type="primary",
                icon=":material/play_arrow:",
                disabled=not given or models == [],
                width="stretch",
            )
        if models == []:
            st.caption("Choose at least one model.")
        elif given:
            st.caption(estimate(photos, given, models or []))
        if pressed:
            try:
                job = submit(photos, source, taken, Recipe.model_validate(fields))
            except PhotoprocError as error:
                st.error(said(error.problem), icon=":material/error:")
            else:
                st.switch_page("jobs.py", query_params={"job": job.id})


main()
