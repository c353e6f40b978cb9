"""The gallery of a job's cutouts: a component whose cards update in place, with a viewer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from photoproc.export import STEPS
from photoproc.jobs import Cutout, ExtraKind, Job, Task
from photoproc.models.providers import label
from photoproc.recipe import NO_MODEL
from photoproc.ui.component import component
from photoproc.ui.text import byte_size, duration

_STEP_WORDS = {"load": "load model", "certainty": "check certainty"}
_EXTRA_WORDS: Mapping[ExtraKind, str] = {"mask": "Mask", "sheet": "Sheet, JPEG", "sheet_pdf": "Sheet, PDF"}


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
    """
    data = {
        "items": [_item(task, token) for task in tasks],
        "place": asdict(place),
        "opaque": job.recipe.output.show != "cutout" or not job.recipe.sees_through,
    }
    component("gallery")(data=data, key=key, on_seek_change=on_seek)


def _item(task: Task, token: str) -> dict[str, object]:
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
        cutouts = [_cutout(task, place, cutout, token) for place, cutout in enumerate(task.cutouts)]
        steps = [
            [_STEP_WORDS.get(step, step), duration(task.seconds[step])]
            for step in STEPS
            if step in task.seconds
        ]
        item |= {**cutouts[0], "cutouts": cutouts, "facts": _facts(task, str(item["model"])), "steps": steps}
    return item


def _cutout(task: Task, place: int, cutout: Cutout, token: str) -> dict[str, object]:
    """The addresses of one of a task's cutouts, and of what goes with it."""
    base = f"/api/v1/jobs/{task.job_id}/tasks/{task.number}"
    # The hash is in the address because a browser may keep each picture for ever.
    tail = f"?token={token}&v={cutout.sha256[:12]}" + (f"&place={place}" if place else "")
    width, height = cutout.size_wh
    download = f"{base}/cutout{tail}&download=1"
    files = [["Cutout", byte_size(cutout.byte_count), download]]
    for extra in cutout.extras:
        address = f"{base}/files/{extra.kind}?token={token}&place={place}&download=1"
        files.append([_EXTRA_WORDS[extra.kind], byte_size(extra.byte_count), address])
    return {
        "after": f"{base}/preview{tail}",
        "before": f"{base}/before{tail}",
        "full": f"{base}/cutout{tail}",
        "download": download,
        "ratio": width / height,
        "size": f"{width} × {height}",
        "files": files,
    }


def _facts(task: Task, model: str) -> list[list[str]]:
    facts = [["Model", model]]
    if task.provider:
        facts.append(["Ran on", label(task.provider)])
    if task.mask_from_cache:
        facts.append(["Mask", "from an earlier run"])
    if task.uncertainty is not None:
        facts.append(["Uncertainty", f"{task.uncertainty:.2f}"])
    if task.attempts > 1:
        facts.append(["Attempts", str(task.attempts)])
    return facts
