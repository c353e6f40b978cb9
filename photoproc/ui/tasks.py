"""The tasks of a job: the filter, the pages and the gallery."""

from contextlib import suppress

import streamlit as st

from photoproc.errors import PhotoprocError
from photoproc.jobs import Job, TaskState
from photoproc.service import PhotoService
from photoproc.ui.address import PAGE, came_back, page_of, turn_to
from photoproc.ui.control import chosen, draw, renew
from photoproc.ui.gallery import Place, draw_whole, gallery
from photoproc.ui.links import link_token

_PER_PAGE = 24
_ALL, _LOOK = "All", "Needs a look"
_UNCERTAINTY = """How much a model disagrees with itself: 1 − the mean soft IoU of its mask with those it
makes of the mirrored photo and of a slightly shifted one. Where it is high, a look is worth it; where it is
low, the mask may be wrong all the same."""
_SHOW = (_ALL, "Done", _LOOK, "Failed", "Skipped", "Cancelled")


def show_tasks(photos: PhotoService, job: Job) -> None:
    """The gallery, by state and by page."""
    shown = _filter(job)
    if job.recipe.certainty:
        st.caption(_sorted_words(job, shown), help=_UNCERTAINTY)
    numbers = _numbers(photos, job, shown)
    first = (page_of(len(numbers), _PER_PAGE, key=PAGE, view=job.id) - 1) * _PER_PAGE
    done = set(photos.task_numbers(job.id, states=(TaskState.DONE,)))
    before = [number for number in numbers[:first] if number in done]
    place = Place(
        first=len(before),
        total=sum(number in done for number in numbers),
        previous=before[-1] if before else None,
        next=next((number for number in numbers[first + _PER_PAGE :] if number in done), None),
    )
    tasks = photos.numbered_tasks(job.id, numbers[first : first + _PER_PAGE])
    if photos.notice_lost(job.id, tasks):
        st.rerun()
    gallery(
        job,
        tasks,
        place,
        token=link_token(photos, job.id),
        key=_gallery(job.id),
        on_seek=lambda: _turn_to_sought(photos, job.id),
    )


def begin_anew(job: Job) -> None:
    """Draw the gallery whole, as where all of the page is drawn."""
    draw_whole(_gallery(job.id))


def _gallery(job_id: str) -> str:
    """What the gallery of a job is called."""
    return f"gallery-{job_id}"


def _numbers(photos: PhotoService, job: Job, shown: str) -> list[int]:
    """The tasks that a choice shows, in the order they are shown."""
    states, look = _wanted(shown)
    numbers = photos.task_numbers(job.id, states=states, needs_look=look)
    return photos.uncertain_first(job.id, numbers) if _sorted(job, look=look) else numbers


def _sorted(job: Job, *, look: bool) -> bool:
    """Whether uncertain ones come first; while a job runs only those worth a look, or all would jump."""
    return job.recipe.certainty and (look or job.state.final)


def _sorted_words(job: Job, shown: str) -> str:
    if _sorted(job, look=shown == _LOOK):
        return "Most uncertain first" if job.counts.needs_look else "No photo is uncertain"
    return "In their order; those the model is uncertain about come first when the job has finished"


def _filter(job: Job) -> str:
    """Which tasks to show, chosen with their counts in sight; `show` in the address."""
    counts = {_ALL: job.counts.total, _LOOK: job.counts.needs_look}
    counts |= {state.value.capitalize(): getattr(job.counts, state.value) for state in TaskState}
    name, asked = _name(job.id), _asked()
    if came_back() and chosen(name, asked) != asked:
        renew(name)
    # Always the same choices: the bar neither moves nor forgets what is chosen while counts change.
    shown = str(
        draw(
            st.segmented_control,
            "Show",
            _SHOW,
            name=name,
            begin=asked,
            required=True,
            format_func=lambda word: f"{word} {counts[word]:,}",
            label_visibility="collapsed",
        )
    )
    if shown != asked:
        _keep_filter(shown, job.id)
    return shown


def _asked() -> str:
    """What the address says is to be shown: it alone keeps that."""
    return next((word for word in _SHOW if _slug(word) == st.query_params.get("show")), _ALL)


def _name(job_id: str) -> str:
    """What the filter of a job is called."""
    return f"show-{job_id}"


def _keep_filter(word: str, job_id: str) -> None:
    turn_to(1, key=PAGE, view=job_id)  # first: where the run is ended after it, the next one does the rest
    if word == _ALL:
        st.query_params.pop("show", None)
    else:
        st.query_params["show"] = _slug(word)


def _turn_to_sought(photos: PhotoService, job_id: str) -> None:
    """Turn to the page with the task the viewer asks for, of all tasks where the filter leaves it out."""
    sought, asked = st.session_state[_gallery(job_id)].seek, _asked()
    with suppress(PhotoprocError):  # the page itself says it
        for shown in (asked, _ALL):
            numbers = _numbers(photos, photos.job(job_id), shown)
            if sought in numbers:
                if shown != asked:
                    _keep_filter(shown, job_id)
                    renew(_name(job_id))
                turn_to(numbers.index(sought) // _PER_PAGE + 1, key=PAGE, view=job_id)
                return


def _wanted(shown: str) -> tuple[tuple[TaskState, ...] | None, bool]:
    """Of which states the tasks are that a choice shows, and whether only those worth a look."""
    look = shown == _LOOK
    return None if look or shown == _ALL else (TaskState(shown.lower()),), look


def _slug(word: str) -> str:
    return word.lower().replace(" ", "-")
