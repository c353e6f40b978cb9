"""The models of a job side by side: photos worst first, and a viewer in which all models move together."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from photoproc.comparison import ComparedPhoto, Comparison, worst_first
from photoproc.jobs import LEVEL_SIDE, Task, TaskState
from photoproc.recipe import Recipe
from photoproc.tags import folders
from photoproc.timings import latency_s
from photoproc.ui.component import component
from photoproc.ui.text import duration

_SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")


class Chosen(TypedDict):
    """Photos to show alone, by their places, and what they have in common."""

    label: str
    ids: Sequence[int]
    turn: int
    """Another one with each choice."""


def compare(
    found: Comparison,
    *,
    token: str,
    key: str,
    tags: Mapping[int, tuple[str, ...]] | None = None,
    editor: str = "",
    chosen: Chosen | None = None,
) -> None:
    """Show a comparison; `token` is a signed link of its job, `tags` what its photos are tagged by place.

    With a dashboard's link as `editor`, tags can be changed. Of `chosen` photos only those are shown; the
    component's state `forgotten` is the turn of those that are no longer wanted.
    """
    recipe = found.job.recipe
    codes = {warning.code for one in found.photos for task in one.tasks for warning in task.warnings}
    data = {
        "models": list(recipe.models),
        "items": [
            _item(one, recipe, token, (tags or {}).get(one.place, ())) for one in worst_first(found.photos)
        ],
        "opaque": recipe.output.show != "cutout" or not recipe.sees_through,
        "codes": {code: code.replace("_", " ").capitalize() for code in sorted(codes)},
        "chosen": None if chosen is None else {**chosen, "ids": list(chosen["ids"])},
        "edit": {"base": f"/api/v1/jobs/{found.job.id}/photos", "key": editor} if editor else None,
    }
    component("compare")(data=data, key=key, on_forgotten_change=lambda: None)


def _item(one: ComparedPhoto, recipe: Recipe, token: str, tags: tuple[str, ...]) -> dict[str, object]:
    photo, distance = one.photo, one.distance
    job = f"/api/v1/jobs/{one.tasks[0].job_id}"
    # What the masks are of: the photo as it is, unless a browser cannot show it.
    original = f"{job}/tasks/{one.tasks[0].number}/original?token={token}"
    done = next((task for task in one.tasks if task.cutout is not None), None)
    small = "" if done is None else _address(done, "before", token)
    whole = recipe.framing.kind == "none" and recipe.size.aspect is None and recipe.size.width is None
    showable = photo.format.upper() in _SHOWN_BY_BROWSERS
    failed = all(task.state is TaskState.FAILED for task in one.tasks)  # a browser may show half of it
    return {
        "id": one.place,
        "name": photo.name,
        "ratio": photo.size_wh[0] / photo.size_wh[1],
        "small": "" if failed else small if whole or not showable else original,
        "photo": original if showable else small,
        "heat": "" if distance is None else f"{job}/photos/{one.place}/difference?token={token}",
        "disagreement": None if distance is None else distance.disagreement,
        "edge": None if distance is None else distance.edge_error,
        "apart": {} if distance is None else dict(distance.apart),
        "shots": [_shot(task, token) for task in one.tasks],
        "uncertain": _uncertainty(one),
        "looks": any(warning.needs_look for task in one.tasks for warning in task.warnings),
        "codes": sorted({warning.code for task in one.tasks for warning in task.warnings}),
        "tags": list(tags),
        "fixed": len(folders(photo.name)),
    }


def _uncertainty(one: ComparedPhoto) -> tuple[float, str] | None:
    """The most by which a model disagrees with itself, and which; None where none does, or nobody asked."""
    if not one.uncertain:
        return None
    return max((task.uncertainty, task.model) for task in one.tasks if task.uncertainty is not None)


def _shot(task: Task, token: str) -> Mapping[str, object]:
    """What one model made of the photo, or why there is nothing."""
    shot: dict[str, object] = {
        "model": task.model,
        "time": duration(latency_s(task.seconds)),
        "failed": task.state is TaskState.FAILED,
        "looks": any(warning.needs_look for warning in task.warnings),
        "notes": [warning.message for warning in task.warnings],
    }
    if not task.seconds or task.mask_from_cache:
        shot["time"] = "mask from an earlier run" if task.mask_from_cache else ""
    if task.cutout is None:
        said = task.state.value if task.problem is None else task.problem.message
        return {**shot, "said": said, "full": "", "preview": "", "levels": []}
    wide, high = task.cutout.size_wh
    level = f"{_address(task, 'preview', token)}&max_side={LEVEL_SIDE}"
    return {
        **shot,
        "said": "",
        "full": _address(task, "cutout", token),
        "preview": _address(task, "preview", token),
        "levels": [[round(wide * LEVEL_SIDE / max(wide, high)), level]] if task.cutout.level else [],
        "width": wide,
        "ratio": wide / high,
    }


def _address(task: Task, what: str, token: str) -> str:
    assert task.cutout is not None
    return f"/api/v1/jobs/{task.job_id}/tasks/{task.number}/{what}?token={token}&v={task.cutout.sha256[:12]}"
