"""The gallery of a job's cutouts: a component whose cards update in place, with a viewer."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import streamlit as st

from photoproc.export import STEPS
from photoproc.jobs import Cutout, ExtraKind, Job, Task
from photoproc.models.providers import label
from photoproc.recipe import NO_MODEL
from photoproc.ui.component import component
from photoproc.ui.text import byte_size, duration

_STEP_WORDS = {"load": "load model", "certainty": "check certainty"}
_EXTRA_WORDS: Mapping[ExtraKind, str] = {"mask": "Mask", "sheet": "Sheet, JPEG", "sheet_pdf": "Sheet, PDF"}
_MOST_NEWS = 6
"""Cards that go as news; with more of them the whole gallery does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page of the gallery stands among the cutouts of all pages.

    `first` counts the cutouts before it, of `total`; `previous` and `next` are the numbers of the
    tasks whose cutouts come right before and after it.
    """

    first: int
    total: int
    previous: int | None
    next: int | None


def gallery(
    job: Job, tasks: Sequence[Task], place: Place, *, token: str, key: str, on_seek: Callable[[], None]
) -> None:
    """Show these tasks of a job; `token` is a signed link of it.

    `on_seek` is called when the viewer wants a task of another page: `st.session_state[key].seek`.

    Streamlit sends a component's data whole, but not again where the browser has just these. So they stay as
    they were when the gallery was drawn first, and the few cards that have changed since are told by a small
    component beside it.
    """
    now: dict[str, Any] = {
        "items": [_item(task) for task in tasks],
        "place": asdict(place),
        "opaque": job.recipe.output.show != "cutout" or not job.recipe.sees_through,
        "base": f"/api/v1/jobs/{job.id}/tasks",
        "token": token,
    }
    drawn = st.session_state.get(_drawn(key))
    news = None if drawn is None else _news(drawn, now)
    if news is None:
        # Of a job that is over there are no news: seen again it is the same, which the browser may have.
        drawn = now | {"of": "" if job.state.final else uuid.uuid4().hex}
        st.session_state[_drawn(key)] = drawn
    component("gallery")(data=drawn, key=key, on_seek_change=on_seek)
    if news is not None:  # also where all is as it was then: the gallery may have been told otherwise
        component("news", alone=True)(data=news, key=f"{key}-news")


def draw_whole(key: str) -> None:
    """Draw the gallery of this key whole the next time, without news."""
    st.session_state.pop(_drawn(key), None)


def _drawn(key: str) -> str:
    return f"{key}-drawn"


def _news(drawn: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is new since a gallery was drawn; None where that is so much that it is drawn anew."""
    ids = [[item["id"] for item in one["items"]] for one in (drawn, now)]
    if not drawn["of"] or ids[0] != ids[1] or drawn["token"] != now["token"]:
        return None
    items = [item for item, before in zip(now["items"], drawn["items"], strict=True) if item != before]
    return None if len(items) > _MOST_NEWS else {"of": drawn["of"], "items": items, "place": now["place"]}


def _item(task: Task) -> dict[str, object]:
    item: dict[str, object] = {
        "id": task.number,
        "name": task.photo.name,
        "model": "background kept" if task.model == NO_MODEL else task.model,
        "state": task.state.value,
        "time": duration(sum(task.seconds.values())) if task.seconds else "",
        "said": "",
        "advice": "",
        "notes": [warning.message for warning in sorted(task.warnings, key=lambda one: not one.needs_look)],
        "looks": sum(warning.needs_look for warning in task.warnings),
    }
    if task.problem is not None:
        item |= {"said": task.problem.message, "advice": task.problem.advice}
    if task.cutouts:
        cutouts = [_cutout(place, cutout) for place, cutout in enumerate(task.cutouts)]
        steps = [
            [_STEP_WORDS.get(step, step), duration(task.seconds[step])]
            for step in STEPS
            if step in task.seconds
        ]
        item |= {name: cutouts[0][name] for name in ("after", "before", "ratio")}
        item |= {"cutouts": cutouts, "facts": _facts(task, str(item["model"])), "steps": steps}
    return item


def _cutout(place: int, cutout: Cutout) -> dict[str, object]:
    """One of a task's cutouts, with addresses that go on after the task's own."""
    # The hash is in the address because a browser may keep each picture for ever.
    tail = f"?v={cutout.sha256[:12]}" + (f"&place={place}" if place else "")
    width, height = cutout.size_wh
    download = f"/cutout{tail}&download=1"
    files = [["Cutout", byte_size(cutout.byte_count), download]]
    for extra in cutout.extras:
        address = f"/files/{extra.kind}?place={place}&download=1"
        files.append([_EXTRA_WORDS[extra.kind], byte_size(extra.byte_count), address])
    return {
        "after": f"/preview{tail}",
        "before": f"/before{tail}",
        "full": f"/cutout{tail}",
        "download": download,
        "ratio": width / height,
        "size": f"{width} × {height}",
        "files": files,
    }


def _facts(task: Task, model: str) -> list[list[str]]:
    facts = [["Model", model]]
    if task.provider:
        shared = f", with {task.batch - 1} more in one run" if task.batch > 1 else ""
        facts.append(["Ran on", label(task.provider) + shared])
    if task.mask_from_cache:
        facts.append(["Mask", "from an earlier run"])
    if task.uncertainty is not None:
        facts.append(["Uncertainty", f"{task.uncertainty:.2f}"])
    if task.attempts > 1:
        facts.append(["Attempts", str(task.attempts)])
    return facts
