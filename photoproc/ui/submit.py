"""The last step: from photos and a recipe to a job."""

import re
from collections.abc import Iterable, Sequence

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, Photo
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.ui import uploads
from photoproc.ui.options import estimate
from photoproc.ui.text import said

_NUMBERED = re.compile(r"(.+) \((\d{1,3})\)")


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
            "Process photos",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not given or recipe is None,
            width="stretch",
        )
    if given and recipe is not None:
        models = recipe.models if recipe.task_models == recipe.models else ()
        st.caption(estimate(photos, given, models, certainty=recipe.certainty))
    if pressed and recipe is not None:
        try:
            job = _submit(photos, source, taken, recipe)
        except PhotoprocError as error:
            st.error(said(error.problem), icon=":material/error:")
        else:
            st.switch_page("jobs.py", query_params={"job": job.id})


def _submit(photos: PhotoService, source: Job | None, taken: uploads.Uploads | None, recipe: Recipe) -> Job:
    """Make the job; one click is one job, however often it arrives."""
    batch = uploads.current(photos).batch
    if source is not None:
        title = numbered(source.title, [job.title for job in photos.jobs(limit=None)])
        job = photos.process_again(source.id, recipe, title=title, key=f"{source.id}-{batch}")
    else:
        assert taken is not None
        job = photos.submit(batch, taken.photos, recipe, refused=taken.refused, key=batch)
    uploads.start_over(photos)
    return job


def numbered(title: str, others: Iterable[str]) -> str:
    """A title with the number that none of the others has: “Shoes” is followed by “Shoes (2)”."""
    found = _NUMBERED.fullmatch(title)
    base = found[1] if found else title
    same = (_NUMBERED.fullmatch(other) for other in others)
    taken = [int(one[2]) for one in same if one and one[1] == base]
    return f"{base} ({max(taken, default=1) + 1})"
