"""What people take away: a ZIP streamed from disk, with a manifest of every task."""

import csv
import io
import json
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from zipstream import ZIP_STORED, ZipStream

from photoproc.jobs import Job, Task, TaskState
from photoproc.names import safe_path

_FOLDERS = re.compile(r"[/\\]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
STEPS = ("decode", "load", "inference", "framing", "compose", "encode", "preview")
_FIELDS = (
    *("photo", "output", "model", "state", "code", "reason", "advice", "warnings"),
    *("photo_sha256", "photo_wh", "cutout_sha256", "cutout_wh", "cutout_bytes", "attempts", "provider"),
    *("mask_from_cache", *(f"{step}_s" for step in STEPS)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A ZIP on its way out. `byte_count` is exact; `chunks` can be read once."""

    file_name: str
    byte_count: int
    chunks: Generator[bytes, None, None]


def output_name(task: Task, models: Sequence[str]) -> str:
    """A cutout's path in the ZIP: the input's folders and stem, under its model where there are several."""
    folder = f"{task.model}/" if len(models) > 1 else ""
    return f"{folder}{task.photo.output}.png"


def archive(job: Job, tasks: Sequence[Task], file_of: Callable[[str], Path]) -> Archive:
    """The job's cutouts, `manifest.csv` and `manifest.json`. `file_of` finds a cutout's file.

    Pictures are compressed already, so they are stored; that makes the size known beforehand.
    """
    rows = [manifest_row(task, job.recipe.task_models) for task in tasks]
    stream = ZipStream(compress_type=ZIP_STORED, sized=True)
    stream.comment = f"Photoproc job {job.id}"
    for task in tasks:
        if task.state is TaskState.DONE and task.cutout is not None:
            stream.add_path(str(file_of(task.cutout.file)), output_name(task, job.recipe.task_models))
    stream.add(manifest_csv(rows), "manifest.csv")
    stream.add(manifest_json(job, rows), "manifest.json")
    return Archive(
        file_name=f"{safe_path(_FOLDERS.sub('_', job.title) + '.x')}.zip",
        byte_count=len(stream),
        chunks=iter(stream),
    )


def manifest_row(task: Task, models: Sequence[str]) -> dict[str, object]:
    """Everything the manifest says of a task."""
    cutout = task.cutout if task.state is TaskState.DONE else None
    row: dict[str, object] = {
        "photo": task.photo.name,
        "output": output_name(task, models) if cutout else None,
        "model": task.model,
        "state": task.state.value,
        "code": task.problem.code if task.problem else None,
        "reason": task.problem.message if task.problem else None,
        "advice": task.problem.advice if task.problem else None,
        "warnings": [f"{warning.code}: {warning.message}" for warning in task.warnings],
        "photo_sha256": task.photo.sha256,
        "photo_wh": list(task.photo.size_wh),
        "cutout_sha256": cutout.sha256 if cutout else None,
        "cutout_wh": list(cutout.size_wh) if cutout else None,
        "cutout_bytes": cutout.byte_count if cutout else None,
        "attempts": task.attempts,
        "provider": task.provider or None,
        "mask_from_cache": task.mask_from_cache if cutout else None,
    }
    for step in STEPS:
        seconds = task.seconds.get(step)
        row[f"{step}_s"] = None if seconds is None else round(seconds, 4)
    return row


def manifest_csv(rows: Sequence[dict[str, object]]) -> bytes:
    """The manifest for spreadsheets: UTF-8 with a mark, so that Excel reads it as such."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _FIELDS)
    writer.writeheader()
    for row in rows:
        writer.writerow({field: _cell(row[field]) for field in _FIELDS})
    return out.getvalue().encode("utf-8-sig")


def manifest_json(job: Job, rows: Sequence[dict[str, object]]) -> bytes:
    """The manifest for programs, with the recipe and what was refused."""
    document = {
        "job": job.id,
        "title": job.title,
        "created_at": datetime.fromtimestamp(job.created_at, UTC).isoformat(),
        "recipe": json.loads(job.recipe.to_json()),
        "refused": [
            {
                "name": refusal.name,
                "code": refusal.problem.code,
                "reason": refusal.problem.message,
                "advice": refusal.problem.advice,
            }
            for refusal in job.refused
        ],
        "tasks": rows,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = "×".join(map(str, value)) if all(isinstance(one, int) for one in value) else "; ".join(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value  # a spreadsheet would run it as a formula
    return value
