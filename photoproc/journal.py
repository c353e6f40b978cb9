"""A job beside its pictures: what was handed in, and how each task ended, should the database be lost.

    jobs/<job>/job.json      what was handed in
    jobs/<job>/ended.jsonl   a line for each task that ended, and for each decision that changed something

Nothing reads it while the database is there, so a line that could not be written costs only that task: it
would be run again.
"""

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from photoproc.files import sync_folder
from photoproc.jobs import Photo, Refusal
from photoproc.recipe import Recipe

log = structlog.get_logger()

_JOB, _ENDED = "job.json", "ended.jsonl"


@dataclass(frozen=True, slots=True)
class Journal:
    """What is written down of one job."""

    submitted: Mapping[str, Any]
    ended: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By the task's number: its `outcome` as the store keeps it, its `token`, its `finished_at`."""
    cancelled: bool = False
    left_out: frozenset[int] = frozenset()
    """The numbers of tasks that were skipped."""

    @property
    def created_at(self) -> float:
        """When it was handed in; 0 where that is not written down."""
        at = self.submitted.get("created_at")
        return float(at) if isinstance(at, int | float) else 0.0


def write_job(
    folder: Path,
    *,
    title: str,
    recipe: Recipe,
    photos: Sequence[Photo],
    refused: Sequence[Refusal],
    now: float,
    key: str | None,
    owner: str,
) -> None:
    """Write down what was handed in, durably; raises OSError."""
    _write(
        folder,
        {
            "title": title,
            "recipe": json.loads(recipe.to_json()),
            "photos": [asdict(photo) for photo in photos],
            "refused": [asdict(refusal) for refusal in refused],
            "created_at": now,
            "key": key,
            "owner": owner,
        },
    )


def is_there(folder: Path) -> bool:
    """Whether a job is written down."""
    return (folder / _JOB).exists()


def rename(folder: Path, title: str) -> None:
    """Write down another title."""
    with suppress(OSError, ValueError):
        _write(folder, json.loads((folder / _JOB).read_text()) | {"title": title})


def note(folder: Path, **what: object) -> None:
    """Write down that a task ended, or what somebody decided: `cancelled`, and by their numbers which tasks
    were `left_out` or `retried`."""
    try:
        with (folder / _ENDED).open("a") as file:  # behind half a line, of a server that was killed
            file.write("\n" + json.dumps(what, ensure_ascii=False, separators=(",", ":")) + "\n")
    except OSError as error:  # the disk is full, or the job was deleted just now
        log.warning("journal_not_written", job=folder.name, why=str(error))


def read(folder: Path) -> Journal | None:
    """What is written down of the job of a folder; None where that is not whole."""
    try:
        submitted = json.loads((folder / _JOB).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(submitted, dict):
        return None
    ended: dict[int, Mapping[str, Any]] = {}
    cancelled, left_out = False, set[int]()
    for line in _lines(folder):
        if _has_outcome(line):
            ended[line["number"]] = line
            left_out.discard(line["number"])
        again = _numbers(line.get("retried"))
        for number in again:
            ended.pop(number, None)
        left_out = (left_out | _numbers(line.get("left_out"))) - again
        cancelled = (cancelled or line.get("cancelled") is True) and not again
    return Journal(submitted, ended, cancelled, frozenset(left_out))


def _has_outcome(line: Mapping[str, Any]) -> bool:
    outcome = line.get("outcome")
    return (
        isinstance(line.get("number"), int)
        and isinstance(line.get("token"), str)
        and isinstance(line.get("finished_at"), int | float)
        and isinstance(outcome, dict)
        and isinstance(outcome.get("state"), str)
        and isinstance(outcome.get("cutouts"), list)
    )


def _numbers(found: object) -> set[int]:
    return {number for number in found if isinstance(number, int)} if isinstance(found, list) else set()


def _lines(folder: Path) -> list[dict[str, Any]]:
    found = []
    with suppress(OSError):
        for text in (folder / _ENDED).read_text(errors="replace").splitlines():
            with suppress(ValueError):  # half a line, of a server that was killed
                line = json.loads(text)
                if isinstance(line, dict):
                    found.append(line)
    return found


def _write(folder: Path, record: Mapping[str, Any]) -> None:
    part = folder / f"{_JOB}.{uuid.uuid4().hex}"
    with part.open("w") as file:
        json.dump(record, file, ensure_ascii=False, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / _JOB)
    sync_folder(folder)
