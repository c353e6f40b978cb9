"""Process: drop photos, choose what to do, go."""

from typing import Any

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.jobs import Job
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.weights import Phase
from photoproc.recipe import NO_MODEL, Recipe
from photoproc.service import PhotoService
from photoproc.ui import uploads
from photoproc.ui.status import weights_words
from photoproc.ui.text import duration, escaped, plural, said

_BACKGROUNDS = {"Transparent": "transparent", "Colour": "colour", "Keep": "keep"}
_NO_FACE = {"Keep the whole picture": "keep", "Skip the photo": "skip"}


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


def choose_recipe(photos: PhotoService) -> dict[str, Any]:
    """The options, as the fields of a recipe."""
    background = st.segmented_control(
        "Background",
        list(_BACKGROUNDS),
        default="Transparent",
        required=True,
        key="background",
        persist_state="session",
    )
    keep = background == "Keep"
    fields: dict[str, Any] = {"background": {"kind": _BACKGROUNDS[str(background)]}}
    if background == "Colour":
        fields["background"]["colour"] = st.color_picker(
            "Background colour", "#ffffff", key="colour", persist_state="session"
        )
    chosen = st.multiselect(
        "Models",
        list(CATALOGUE),
        default=[photos.settings.default_model],
        format_func=lambda name: f"{name} · {CATALOGUE[name].nickname}",
        disabled=keep,
        select_all=False,
        filter_mode="contains",
        wrap=True,
        key="models",
        persist_state="session",
        help="With several models every photo is cut out by each, side by side.",
    )
    if keep:
        st.caption("The background stays, so no model runs.")
    else:
        fields["models"] = chosen
        for name in chosen:
            describe_model(photos, name)
    crop = st.segmented_control(
        "Crop", ["None", "Face"], default="None", required=True, key="crop", persist_state="session"
    )
    if crop == "Face":
        margin = st.slider("Space around the face", 0.0, 2.0, 0.6, 0.1, key="margin", persist_state="session")
        missing = st.selectbox(
            "Where there is no face", list(_NO_FACE), key="no_face", persist_state="session"
        )
        fields["framing"] = {"kind": "face", "margin": margin, "no_face": _NO_FACE[str(missing)]}
    return fields


def describe_model(photos: PhotoService, name: str) -> None:
    """A line about a chosen model: what for, its licence, and whether it is there."""
    model = photos.model(name)
    spec = model.spec
    parts = [f"**{name}** {spec.good_at}", spec.licence]
    if model.weights.phase is not Phase.READY:
        parts.append(f"{spec.download_mb} MB, {weights_words(model.weights)}")
    st.caption(" · ".join(parts))
    if not spec.commercial:
        st.caption(f":material/gavel: {name} may not be used commercially ({spec.licence}).")


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


def estimate(photos: PhotoService, tasks_of: dict[str, int]) -> str:
    """About how long it will take, where this machine has run these models before."""
    speeds = photos.speeds()
    if not tasks_of or not all(model in speeds for model in tasks_of):
        return ""
    children = photos.settings.max_concurrent
    return f", about {duration(sum(speeds[model] * count for model, count in tasks_of.items()) / children)}"


def main() -> None:
    """The page."""
    photos = service()
    if job_id := st.query_params.get("job"):  # a second press can interrupt the way to the job's page
        st.switch_page("jobs.py", query_params={"job": job_id})
    source = earlier_job(photos)
    left, right = st.columns([3, 2], gap="large")
    taken = None
    with left:
        if source is not None:
            st.markdown(f"**{plural(source.photo_count, 'photo')}** of “{escaped(source.title)}” again")
            st.caption("Masks that were made before are used again, so only new models take their time.")
            if st.button("Use other photos", icon=":material/close:", type="tertiary"):
                st.query_params.clear()
                st.rerun()
        else:
            taken = choose_photos(photos)
    with right:
        fields = choose_recipe(photos)
        count = source.photo_count if source is not None else len(taken.photos if taken else ())
        models = fields.get("models", [NO_MODEL])
        go = st.button(
            "Process photos",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not count or not models,
            width="stretch",
        )
        if count and models:
            what = f" with {plural(len(models), 'model')}" if "models" in fields else ""
            st.caption(f"{plural(count, 'photo')}{what}{estimate(photos, dict.fromkeys(models, count))}")
        elif not models:
            st.caption("Choose at least one model.")
        if go:
            try:
                job = submit(photos, source, taken, Recipe.model_validate(fields))
            except PhotoprocError as error:
                st.error(said(error.problem), icon=":material/error:")
            else:
                st.switch_page("jobs.py", query_params={"job": job.id})


main()
