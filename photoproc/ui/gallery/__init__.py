"""The gallery of a job's cutouts: a component whose cards update in place, with a viewer."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from photoproc.export import STEPS
from photoproc.jobs import Task
from photoproc.recipe import NO_MODEL
from photoproc.ui.text import byte_size, duration

_HERE = Path(__file__).parent
_STEP_WORDS = {"load": "load model"}


@cache
def _component() -> Any:
    return st.components.v2.component(
        "photoproc_gallery",
        html=(_HERE / "gallery.html").read_text(),
        css=(_HERE / "gallery.css").read_text(),
        js=(_HERE / "gallery.js").read_text(),
    )


def gallery(tasks: Sequence[Task], *, token: str, key: str) -> None:
    """Show these tasks; `token` is a signed link of their job."""
    _component()(data={"items": [_item(task, token) for task in tasks]}, key=key)


def _item(task: Task, token: str) -> dict[str, object]:
    item: dict[str, object] = {
        "id": task.number,
        "name": task.photo.name,
        "model": "background kept" if task.model == NO_MODEL else task.model,
        "state": task.state.value,
        "time": duration(sum(task.seconds.values())) if task.seconds else "",
        "said": "",
        "advice": "",
        "look": "",
        "notes": [warning.message for warning in task.warnings],
    }
    if task.problem is not None:
        item |= {"said": task.problem.message, "advice": task.problem.advice}
    looks = [warning.message for warning in task.warnings if warning.needs_look]
    if looks:
        item["look"] = looks[0] + (f" (+{len(looks) - 1})" if len(looks) > 1 else "")
    if task.cutout is not None:
        base = f"/api/v1/jobs/{task.job_id}/tasks/{task.number}"
        # The hash is in the address because a browser may keep each picture for ever.
        tail = f"?token={token}&v={task.cutout.sha256[:12]}"
        width, height = task.cutout.size_wh
        facts = [
            ["Size", f"{width} × {height}"],
            ["File", byte_size(task.cutout.byte_count)],
            ["Model", str(item["model"])],
        ]
        if task.provider:
            facts.append(["Ran on", task.provider.removesuffix("ExecutionProvider")])
        if task.mask_from_cache:
            facts.append(["Mask", "from an earlier run"])
        if task.attempts > 1:
            facts.append(["Attempts", str(task.attempts)])
        item |= {
            "after": f"{base}/preview{tail}",
            "before": f"{base}/before{tail}",
            "full": f"{base}/cutout{tail}",
            "download": f"{base}/cutout{tail}&download=1",
            "facts": facts,
            "steps": [
                [_STEP_WORDS.get(step, step), duration(task.seconds[step])]
                for step in STEPS
                if step in task.seconds
            ],
        }
    return item
