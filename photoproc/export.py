"""What people take away: a ZIP streamed from disk, with a manifest of every task."""

import csv
import io
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from zipstream import ZIP_STORED, ZipStream

from photoproc.errors import Problem
from photoproc.jobs import Cutout, Extra, ExtraKind, Job, Task, TaskState, Warn
from photoproc.names import distinct, filled, safe_path
from photoproc.parts import Face

_FOLDERS = re.compile(r"[/\\]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
STEPS = ("decode", "load", "inference", "certainty", "edges", "framing", "compose", "encode", "preview")
_EXTRAS: Mapping[ExtraKind, str] = {"mask": "-mask", "sheet": "-sheet", "sheet_pdf": "-sheet"}
LOST = "lost cutouts.txt"
_GONE = Problem(
    code="cutout_lost",
    message="Its file is missing from the server's disk, or damaged.",
    advice="Retry it: the photo is still here.",
)
_FIELDS = (
    *("photo", "output", "also", "face", "model", "state", "code", "reason", "advice", "warnings"),
    *("photo_sha256", "photo_wh", "cutout_sha256", "cutout_wh", "cutout_bytes", "attempts", "provider"),
    *("threads", "batch", "peak_bytes", "mask_from_cache", "uncertainty", *(f"{step}_s" for step in STEPS)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A ZIP on its way out. `byte_count` is exact, None where not known; `chunks` can be read once."""

    file_name: str
    byte_count: int | None
    chunks: Generator[bytes, None, None]


def output_name(job: Job, task: Task, cutout: Cutout) -> str:
    """A cutout's path in the ZIP: the input's folders, then the recipe's template of names.

    Where there are several models each has its folder, and where each face has a cutout its number is
    added, unless the template says where.
    """
    models, template = job.recipe.task_models, job.recipe.output.name
    folder, _, stem = task.photo.output.rpartition("/")
    place = task.number // len(models) + 1
    fields = {
        "stem": stem,
        "model": task.model,
        "n": f"{place:0{len(str(job.photo_count))}}",
        "face": str(cutout.face),
        "job": job.title[:40],
        "date": datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%d"),
    }
    framing = job.recipe.framing
    if "{face}" not in template and isinstance(framing, Face) and framing.which == "each":
        template += "-{face}"
    above = f"{task.model}/" if len(models) > 1 and "{model}" not in template else ""
    return f"{above}{folder}{'/' if folder else ''}{filled(template, fields)}{job.recipe.output.suffix}"


def extra_name(cutout_name: str, extra: Extra) -> str:
    """The path of what goes with a cutout, beside it."""
    path = PurePosixPath(cutout_name)
    return f"{path.with_suffix('')}{_EXTRAS[extra.kind]}{PurePosixPath(extra.file).suffix}"


def archive(job: Job, tasks: Sequence[Task], file_of: Callable[[Cutout | Extra], Path | None]) -> Archive:
    """The job's cutouts, `manifest.csv` and `manifest.json`. `file_of` finds a file; None where it is lost.

    What is lost is left out; the manifests and a text file beside them say so.
    Pictures are compressed already, so they are stored; that makes the size known beforehand.
    """
    stream = ZipStream(compress_type=ZIP_STORED, sized=True)
    stream.comment = f"Photoproc job {job.id}"
    rows, taken, lost = [], {"manifest.csv", "manifest.json", LOST}, list[str]()
    for task in tasks:
        cutouts = task.cutouts or task.remains
        if not cutouts:
            rows.append(manifest_row(task, None, None, ()))
        for cutout in cutouts:
            # The way names are made keeps them apart; should two be the same after all, none is lost.
            name = distinct(output_name(job, task, cutout), taken)
            extras = [(distinct(extra_name(name, extra), taken), extra) for extra in cutout.extras]
            named: list[tuple[str, Cutout | Extra]] = [(name, cutout), *extras]
            files = [(path, file_of(file)) for path, file in named]
            for path, found in files:
                if found is not None:
                    stream.add_path(str(found), path)
            rows.append(_row(task, cutout, files))
            lost += [_sentence(path, rows[-1]) for path, found in files if found is None]
    if lost:
        stream.add("".join(lost).encode(), LOST)
    stream.add(manifest_csv(rows), "manifest.csv")
    stream.add(manifest_json(job, rows), "manifest.json")
    return Archive(
        file_name=file_name(job, ".zip"),
        byte_count=len(stream),
        chunks=iter(stream),
    )


def _row(task: Task, cutout: Cutout, files: Sequence[tuple[str, Path | None]]) -> dict[str, object]:
    """What the manifest says of a cutout and what goes with it, of which files may be lost (None)."""
    (output, found), *extras = files
    also = [path for path, file in extras if file is not None]
    if found is None:
        why = task.problem or _GONE
        told = {"state": "lost", "code": why.code, "reason": why.message, "advice": why.advice}
        return manifest_row(task, None, None, also) | told
    gone = tuple(Warn(code="lost", message=f"{path} is lost.") for path, file in extras if file is None)
    whole = replace(task, state=TaskState.DONE, problem=None, warnings=(*task.warnings, *gone))
    return manifest_row(whole, cutout, output, also)


def _sentence(path: str, row: Mapping[str, object]) -> str:
    advice = row["advice"] or _GONE.advice
    return f"{path} is missing here: its file on the server is gone or damaged. {advice} ({row['photo']})\n"


def file_name(job: Job, ending: str) -> str:
    """A file's name made of the job's title, safe everywhere."""
    return f"{safe_path(_FOLDERS.sub('_', job.title) + '.x')}{ending}"


def manifest_row(
    task: Task, cutout: Cutout | None, output: str | None, extras: Sequence[str]
) -> dict[str, object]:
    """Everything the manifest says of a cutout, or of a task that has none."""
    row: dict[str, object] = {
        "photo": task.photo.name,
        "output": output,
        "also": list(extras),
        "face": cutout.face if cutout and cutout.face else None,
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
        "threads": task.threads,
        "batch": task.batch if "inference" in task.seconds else None,
        "peak_bytes": task.peak_bytes,
        "mask_from_cache": task.mask_from_cache if cutout else None,
        "uncertainty": None if task.uncertainty is None else round(task.uncertainty, 4),
    }
    for step in STEPS:
        seconds = task.seconds.get(step)
        row[f"{step}_s"] = None if seconds is None else round(seconds, 4)
    return row


def manifest_csv(rows: Sequence[dict[str, object]]) -> bytes:
    """The manifest for spreadsheets: UTF-8 with a mark, so that Excel reads it as such."""
    return spreadsheet(rows, _FIELDS)


def spreadsheet(rows: Sequence[Mapping[str, object]], fields: Sequence[str] | None = None) -> bytes:
    """Rows as CSV, with these columns or with all that any has; no cell is run as a formula."""
    fields = fields or list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fields)
    writer.writeheader()
    for row in rows:
        writer.writerow({field: _cell(row.get(field)) for field in fields})
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
