"""The models of a job side by side: photos worst first, and a viewer in which all models move together."""

from collections.abc import Mapping

from photoproc.comparison import ComparedPhoto, Comparison, worst_first
from photoproc.jobs import Task
from photoproc.recipe import Recipe
from photoproc.ui.component import component
from photoproc.ui.text import duration

_SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")


def compare(found: Comparison, *, token: str, key: str) -> None:
    """Show a comparison; `token` is a signed link of its job."""
    recipe = found.job.recipe
    data = {
        "models": list(recipe.models),
        "items": [_item(one, recipe, token) for one in worst_first(found.photos)],
        "opaque": recipe.output.show != "cutout" or not recipe.sees_through,
    }
    component("compare")(data=data, key=key)


def _item(one: ComparedPhoto, recipe: Recipe, token: str) -> dict[str, object]:
    photo, distance = one.photo, one.distance
    job = f"/api/v1/jobs/{one.tasks[0].job_id}"
    # What the masks are of: the photo as it is, unless a browser cannot show it.
    original = f"{job}/tasks/{one.tasks[0].number}/original?token={token}"
    done = next((task for task in one.tasks if task.cutout is not None), None)
    small = "" if done is None else _address(done, "before", token)
    whole = recipe.framing.kind == "none" and recipe.size.aspect is None and recipe.size.width is None
    showable = photo.format.upper() in _SHOWN_BY_BROWSERS
    return {
        "id": one.place,
        "name": photo.name,
        "ratio": photo.size_wh[0] / photo.size_wh[1],
        "small": small if whole or not showable else original,
        "photo": original if showable else small,
        "heat": "" if distance is None else f"{job}/photos/{one.place}/difference?token={token}",
        "disagreement": None if distance is None else distance.disagreement,
        "edge": None if distance is None else distance.edge_error,
        "apart": {} if distance is None else dict(distance.apart),
        "shots": [_shot(task, token) for task in one.tasks],
        "uncertain": one.uncertain,
        "looks": any(warning.needs_look for task in one.tasks for warning in task.warnings),
    }


def _shot(task: Task, token: str) -> Mapping[str, object]:
    """What one model made of the photo, or why there is nothing."""
    shot: dict[str, object] = {"model": task.model, "time": duration(sum(task.seconds.values()))}
    if not task.seconds or task.mask_from_cache:
        shot["time"] = "mask from an earlier run" if task.mask_from_cache else ""
    if task.cutout is None:
        said = task.state.value if task.problem is None else task.problem.message
        return {**shot, "said": said, "full": "", "preview": ""}
    wide, high = task.cutout.size_wh
    return {
        **shot,
        "said": "",
        "full": _address(task, "cutout", token),
        "preview": _address(task, "preview", token),
        "width": wide,
        "ratio": wide / high,
        "notes": [warning.message for warning in task.warnings],
    }


def _address(task: Task, what: str, token: str) -> str:
    assert task.cutout is not None
    return f"/api/v1/jobs/{task.job_id}/tasks/{task.number}/{what}?token={token}&v={task.cutout.sha256[:12]}"
