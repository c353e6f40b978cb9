"""The last step: from photos and a recipe to a job."""

from collections.abc import Sequence

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, Photo
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui import uploads
from photoproc.ui.options import estimate
from photoproc.ui.text import plural, said


def offer(
    photos: PhotoService,
    source: Job | None,
    taken: uploads.Uploads | None,
    given: Sequence[Photo],
    recipe: Recipe | None,
) -> None:
    """The button, and what it will take."""
    with st.container(key="go-ready" if given and recipe is not None else "go"):
        pressed = st.button(
            _called(given, recipe),
            key="process",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not given or recipe is None,
            width="stretch",
        )
    if given and recipe is not None:
        words = estimate(photos, given, recipe.models if recipe.task_models == recipe.models else ())
        st.caption(words + (" · side by side under Compare" if len(recipe.task_models) > 1 else ""))
    if pressed and recipe is not None:
        try:
            job = _submit(photos, source, taken, recipe)
        except PhotoprocError as error:
            st.error(said(error.problem), icon=":material/error:")
        else:
            st.switch_page("jobs.py", query_params={"job": job.id})


def _called(given: Sequence[Photo], recipe: Recipe | None) -> str:
    """What pressing the button does: with several models it is a comparison."""
    models = 0 if recipe is None else len(recipe.task_models)
    if models < 2:
        return "Process photos"
    return f"Compare {models} models" + (f" on {plural(len(given), 'photo')}" if given else "")


def _submit(photos: PhotoService, source: Job | None, taken: uploads.Uploads | None, recipe: Recipe) -> Job:
    """Make the job; one click is one job, however often it arrives."""
    batch = uploads.current(photos).batch
    if source is not None:
        job = photos.process_again(source.id, recipe, key=f"{source.id}-{batch}")
    else:
        assert taken is not None
        job = photos.submit(batch, taken.photos, recipe, refused=taken.refused, key=batch)
    uploads.start_over(photos)
    return job
