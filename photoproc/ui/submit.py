"""The last step: from photos and a recipe to a job."""

import re
from collections.abc import Iterable, Sequence

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, Photo
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.submissions import title_of
from photoproc.ui import uploads
from photoproc.ui.options import estimate
from photoproc.ui.text import plural, said
from photoproc.ui.visitor import visitor

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
            _called(given, recipe),
            key="process",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not given or recipe is None,
            width="stretch",
        )
    if given and recipe is None:
        st.caption("First put right what the options say in red, or still ask for.")
    if given and recipe is not None:
        models = recipe.models if recipe.task_models == recipe.models else ()
        words = estimate(photos, given, models, certainty=recipe.certainty)
        st.caption(words + (" · side by side under Compare" if len(models) > 1 else ""))
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
    batch, who = uploads.current(photos).batch, visitor(photos)
    others = [job.title for job in photos.jobs(limit=None, owner=who.name)]
    if source is not None:
        title = numbered(source.title, others)
        key = f"{source.id}-{batch}"
        job = photos.process_again(source.id, recipe, title=title, key=key, owner=who.name)
    else:
        assert taken is not None
        title = title_of(taken.photos)
        uploads.forget(taken)  # or a page that is loaded again meanwhile would offer what is a job already
        try:
            job = photos.submit(
                batch,
                taken.photos,
                recipe,
                refused=taken.refused,
                title=numbered(title, others) if title in others else title,
                key=batch,
                owner=who.name,
            )
        except PhotoprocError:
            uploads.leave(photos, taken)
            raise
    uploads.start_over(photos)
    return job


def numbered(title: str, others: Iterable[str]) -> str:
    """A title with the number that none of the others has: “Shoes” is followed by “Shoes (2)”."""
    found = _NUMBERED.fullmatch(title)
    base = found[1] if found else title
    same = (_NUMBERED.fullmatch(other) for other in others)
    taken = [int(one[2]) for one in same if one and one[1] == base]
    return f"{base} ({max(taken, default=1) + 1})"
