"""Picture bytes on disk.

    photos/ab/<sha256>                      every photo once, by content
    masks/ab/<sha256>/<model>-<weights>.png masks of that photo
    masks/ab/<sha256>/….uncertainty         how much that model disagrees with itself about it
    staging/<batch>/<sha256>                uploads that are not yet part of a job
    jobs/<job>/photos/<sha256>              the job's photos, and its background picture
    jobs/<job>/out/<task>-<token>*          its cutouts and previews
    jobs/<job>/job.json, ended.jsonl        what is written down of it, see `journal.py`
    backgrounds/<sha256>                    pictures to put subjects on
    graphs/                                 prepared models, see `models.graphs`
    tmp/                                    being written
    reserve                                 room for deleting on a full disk

Staging and jobs hold hard links to `photos/`, so the file system counts the references: a photo with
a single link belongs to nobody and goes, with its masks. No order of crashes, deletions and uploads
can take a photo from a job that holds it.
"""

import json
import math
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from photoproc import journal
from photoproc.child import Pictured, Report
from photoproc.errors import ServiceError, not_found
from photoproc.files import (
    CHUNK_BYTES,
    Incoming,
    Received,
    disk_error,
    entries,
    files_in,
    is_whole,
    link,
    sync_folder,
)
from photoproc.jobs import Cutout, Extra, Task, TaskState
from photoproc.models.catalogue import CATALOGUE

log = structlog.get_logger()

_COUNT_AGAIN_S = 60.0
_RESERVE_BYTES = 64 << 20
"""At most, and a sixteenth of what is free: to delete a job the database's log takes some 1.2 KB a task."""
_LEAST_RESERVE_BYTES = 4 << 20
_RECOUNT_S = 5.0
"""How soon it is counted again before somebody is turned away."""
_FORMULA = 1
"""Which formula of `imaging.certainty` the figures kept are of: count up with every change of it."""

GRAPHS = "graphs"
"""The folder of prepared models. They are no data: no quota counts them, and anybody may delete them."""

STAGING_LIFE_S = 24 * 3600
"""Uploads that become no job are collected after a day."""


class Blobs:
    """The picture files under one data folder."""

    def __init__(self, root: Path, *, min_free_bytes: int, quota_bytes: int = 0) -> None:
        self._root = root
        self._min_free_bytes = min_free_bytes
        self._quota_bytes = quota_bytes
        self._used = (-math.inf, 0)
        self._counting = threading.Lock()
        for name in ("photos", "masks", "staging", "jobs", "backgrounds", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    # Coming in

    def incoming(self) -> Incoming:
        """A new file to write; raises ServiceError disk_full, data_quota."""
        self.check_quota()
        self.check_space()
        try:
            return Incoming(self._root / "tmp" / f"in-{uuid.uuid4().hex}", self._take_room)
        except OSError as error:
            raise disk_error(error) from error

    def receive(self, source: BinaryIO, *, max_bytes: int) -> Received:
        """Write a stream to disk; nothing is left behind when it fails.

        Raises PhotoError file_too_large and ServiceError disk_full.
        """
        incoming = self.incoming()
        try:
            while chunk := source.read(CHUNK_BYTES):
                incoming.write(chunk, max_bytes=max_bytes)
        except OSError as error:
            incoming.discard()
            raise disk_error(error) from error
        except BaseException:
            incoming.discard()
            raise
        return incoming.close()

    def stage(self, batch: str, received: Received) -> None:
        """Keep a received file as a photo of an upload batch."""
        blob = self._photo(received.sha256)
        staged = self.staged(batch, received.sha256)
        try:
            blob.parent.mkdir(exist_ok=True, mode=0o700)
            staged.parent.mkdir(exist_ok=True, mode=0o700)
            try:
                link(blob, staged)
                received.path.unlink()
            except FileNotFoundError:  # its first time here
                os.replace(received.path, staged)
                link(staged, blob)
        except OSError as error:
            raise disk_error(error) from error

    def staged(self, batch: str, sha256: str) -> Path:
        """The file of a photo of an upload batch."""
        return self._root / "staging" / batch / sha256

    def thumbnail(self, batch: str, sha256: str) -> Path:
        """Where the small picture of a staged photo is, or is to be; raises not_found, disk_full."""
        folder = self._root / "staging" / batch / "thumbnails"
        if not self.staged(batch, sha256).is_file():
            raise not_found("photo")
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
        except FileNotFoundError as error:  # dropped meanwhile
            raise not_found("photo") from error
        except OSError as error:
            raise disk_error(error) from error
        return folder / f"{sha256}.webp"

    def discard(self, received: Received) -> None:
        """Forget a received file."""
        received.path.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A path for a file that is needed only now."""
        path = self._root / "tmp" / f"scratch-{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def batches(self) -> list[tuple[str, int]]:
        """The upload batches there are, each with when it was last added to (wall time, ns)."""
        found = []
        for folder in entries(self._root / "staging"):
            with suppress(FileNotFoundError):  # dropped meanwhile
                found.append((folder.name, folder.stat().st_mtime_ns))
        return found

    def drop_batch(self, batch: str) -> None:
        """Forget an upload batch: photos of no job are deleted."""
        folder = self._root / "staging" / batch
        hashes = [file.name for file in files_in(folder)]
        shutil.rmtree(folder, ignore_errors=True)
        self._collect(hashes)

    def copy_batch(self, batch: str, other: str) -> None:
        """Give a new upload batch the photos of another one; raises ServiceError disk_full."""
        folder = self._root / "staging" / other
        try:
            for file in files_in(self._root / "staging" / batch):
                folder.mkdir(exist_ok=True, mode=0o700)
                with suppress(FileNotFoundError):  # dropped meanwhile
                    link(file, folder / file.name)
        except OSError as error:
            self.drop_batch(other)
            raise disk_error(error) from error

    # Jobs

    def open_job(self, job_id: str, photos: Iterable[Path]) -> None:
        """Make a job's folder and link photos (staged, or of another job) into it, durably.

        Raises ServiceError upload_expired where a photo is gone, disk_full where it cannot be written.
        """
        folder = self._root / "jobs" / job_id
        try:
            for part in ("photos", "out"):
                (folder / part).mkdir(parents=True, mode=0o700)
            for photo in photos:
                link(photo, folder / "photos" / photo.name)
            for path in (folder / "photos", folder, folder.parent):
                sync_folder(path)
        except FileNotFoundError as error:
            self.close_job(job_id)
            raise ServiceError(
                "upload_expired", "Some of the uploaded photos are no longer there.", "Add them again."
            ) from error
        except OSError as error:
            self.close_job(job_id)
            raise disk_error(error) from error

    def note_job(self, job_id: str, **given: Any) -> None:
        """Write down what a job is made of; see `journal.write_job`. Raises ServiceError disk_full."""
        try:
            journal.write_job(self._root / "jobs" / job_id, **given)
        except OSError as error:
            raise disk_error(error) from error

    def note(self, job_id: str, **what: object) -> None:
        """Write down what became of a task, or was decided of its job; see `journal.note`."""
        journal.note(self._root / "jobs" / job_id, **what)

    def note_title(self, job_id: str, title: str) -> None:
        """Write down a job's other title."""
        journal.rename(self._root / "jobs" / job_id, title)

    def close_job(self, job_id: str) -> None:
        """Delete a job's folder, and each photo and mask that no other job holds."""
        folder = self._root / "jobs" / job_id
        hashes = [file.name for file in files_in(folder / "photos")]
        going = self._root / "tmp" / f"job-{uuid.uuid4().hex}"
        with suppress(OSError):  # in one step, so that no half of it is ever taken for a job
            folder = folder.rename(going)
        shutil.rmtree(folder, ignore_errors=True)
        self._collect(hashes)
        with self._counting:  # anew when somebody asks
            self._used = (-math.inf, 0)

    def photo(self, job_id: str, sha256: str) -> Path:
        """The file of a job's photo."""
        return self._root / "jobs" / job_id / "photos" / sha256

    def output(self, job_id: str, file: str) -> Path:
        """A file of a job's results; raises not_found where it is gone."""
        path = self._root / "jobs" / job_id / "out" / file
        if not path.is_file():
            raise not_found("file")
        return path

    def whole(self, job_id: str, file: Cutout | Extra) -> Path | None:
        """The file of a cutout, or of what goes with it; None where it is gone or not as it was written."""
        path = self._root / "jobs" / job_id / "out" / file.file
        return path if is_whole(path, file.byte_count) else None

    def is_lost(self, task: Task) -> bool:
        """Whether a finished task's cutouts are no longer whole."""
        files = (file for cutout in task.cutouts for file in cutout.kept)
        return any(self.whole(task.job_id, file) is None for file in files)

    def outbox(self, token: str) -> Path:
        """A fresh folder for what one attempt writes."""
        path = self._root / "tmp" / f"out-{token}"
        try:
            path.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise disk_error(error) from error
        return path

    def empty_outbox(self, token: str) -> None:
        """Forget what an attempt left behind."""
        shutil.rmtree(self._root / "tmp" / f"out-{token}", ignore_errors=True)

    def adopt(self, job_id: str, number: int, token: str, report: Report, *, suffix: str) -> list[Cutout]:
        """Move an attempt's pictures into the job's folder, durably, under names of this attempt.

        `suffix` is that of its pictures. Raises ServiceError disk_full, not_found where the job's folder
        is gone.
        """
        folder = self._root / "jobs" / job_id / "out"
        cutouts = [
            _adopted(picture, f"{_output_stem(number, token)}{f'-{place}' if place else ''}", suffix)
            for place, picture in enumerate(report.pictures)
        ]
        try:
            for cutout, picture in zip(cutouts, report.pictures, strict=True):
                files = (
                    picture.cutout,
                    picture.preview,
                    picture.before,
                    *([] if picture.level is None else [picture.level]),
                    *(file for _, file in picture.extras),
                )
                for name, file in zip(cutout.files, files, strict=True):
                    if file.path.exists() or not (folder / name).exists():  # else moved by an earlier try
                        os.replace(file.path, folder / name)
            sync_folder(folder)
        except FileNotFoundError as error:
            raise not_found("job") from error
        except OSError as error:
            raise disk_error(error) from error
        return cutouts

    def drop_output(self, job_id: str, cutouts: Iterable[Cutout]) -> None:
        """Delete the files of cutouts that were not published."""
        for cutout in cutouts:
            for name in cutout.files:
                (self._root / "jobs" / job_id / "out" / name).unlink(missing_ok=True)

    def drop_attempt(self, job_id: str, number: int, token: str) -> None:
        """Delete what an attempt that was never published may have moved into the job's folder."""
        for path in (self._root / "jobs" / job_id / "out").glob(f"{_output_stem(number, token)}[.-]*"):
            path.unlink(missing_ok=True)

    # Masks

    def mask(self, sha256: str, model: str, weights_id: str) -> Path | None:
        """The mask a model made of a photo before, if it is there; an emptied file is none."""
        path = self._mask(sha256, model, weights_id)
        return None if not path.is_file() or is_whole(path, 0) else path

    def mask_of(self, task: Task) -> Path | None:
        """The mask of a finished task, by the weights that made it, wherever those are now."""
        spec = CATALOGUE.get(task.model)  # whose masks alone were made before the weights were noted
        weights_id = task.weights_id or (spec.weights_id if spec is not None else "")
        if task.state is not TaskState.DONE or not weights_id:
            return None
        return self.mask(task.photo.sha256, task.model, weights_id)

    def keep_mask(self, sha256: str, model: str, weights_id: str, written: Path) -> None:
        """Keep a mask durably, also for next time. Where it cannot be kept, its photo cannot be compared."""
        path = self._mask(sha256, model, weights_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(written, path)
        except OSError as error:
            written.unlink(missing_ok=True)
            log.warning("mask_not_kept", photo=sha256, model=model, why=str(error))
            return
        try:
            sync_folder(path.parent)
            sync_folder(path.parent.parent)
        except OSError as error:  # it is there, until the machine loses power
            log.warning("mask_not_synced", photo=sha256, model=model, why=str(error))

    def drop_unheld(self, sha256: str) -> None:
        """Forget a photo's masks where no job or upload holds it any more."""
        self._collect([sha256])

    def uncertainty(self, sha256: str, model: str, weights_id: str) -> float | None:
        """How much a model disagrees with itself about a photo, where that is known, else None."""
        try:
            found = json.loads(self._uncertainty(sha256, model, weights_id).read_text())
        except (OSError, ValueError):  # never kept, or not whole after a crash: it is found out again
            return None
        ours = isinstance(found, dict) and found.get("formula") == _FORMULA
        value = found.get("uncertainty") if ours else None
        return value if isinstance(value, float) and 0 <= value <= 1 else None

    def keep_uncertainty(self, sha256: str, model: str, weights_id: str, value: float) -> None:
        """Keep it beside the mask, and as long. Losing it only costs time, so this fails silently."""
        path = self._uncertainty(sha256, model, weights_id)
        with suppress(OSError), self.scratch() as written:
            written.write_text(json.dumps({"formula": _FORMULA, "uncertainty": float(value)}))
            os.replace(written, path)

    # Background pictures

    def keep_background(self, staged: Path) -> None:
        """Keep a staged photo as a background; raises ServiceError disk_full, upload_expired."""
        try:
            link(staged, self.background(staged.name))
            sync_folder(self._root / "backgrounds")
        except FileNotFoundError as error:
            raise ServiceError(
                "upload_expired", "The picture is no longer there.", "Add it again."
            ) from error
        except OSError as error:
            raise disk_error(error) from error

    def background(self, sha256: str) -> Path:
        """Where a background picture is, if it is there."""
        return self._root / "backgrounds" / sha256

    def drop_background(self, sha256: str) -> None:
        """Forget a background picture; its bytes go unless a job holds them."""
        self.background(sha256).unlink(missing_ok=True)
        self._collect([sha256])

    def backgrounds(self) -> list[str]:
        """The background pictures there are, newest first."""
        found = []
        for path in entries(self._root / "backgrounds"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path.name))
        return [name for _, name in sorted(found, reverse=True)]

    # Housekeeping

    def check_space(self, coming_bytes: int = 0) -> None:
        """Raise ServiceError disk_full where less than the reserve is free, or will be after an upload."""
        free = self.free_bytes()
        if free - coming_bytes < self._min_free_bytes:
            raise ServiceError(
                "disk_full",
                f"The disk of the data folder has too little room: {free // 10**6:,} MB are free, "
                f"{-(-self._min_free_bytes // 10**6):,} MB are kept free (PHOTOPROC_MIN_FREE_DISK_MB)"
                + (f", and {-(-coming_bytes // 10**6):,} MB are to come." if coming_bytes else "."),
                "Delete finished jobs or make room, then try again.",
            )

    def check_quota(self, coming_bytes: int = 0) -> None:
        """Raise ServiceError data_quota where the data folder holds all it may, or will after an upload."""
        if not self._quota_bytes or self.used_bytes() + coming_bytes <= self._quota_bytes:
            return
        # What came in and was dropped again still counts until it is counted anew.
        if self.used_bytes(since_s=_RECOUNT_S) + coming_bytes > self._quota_bytes:
            raise ServiceError(
                "data_quota",
                f"The data folder may hold {self._quota_bytes / 1e6:,.0f} MB, and holds "
                f"{self.used_bytes() / 1e6:,.0f} MB.",
                "Delete finished jobs, or ask whoever runs this server to raise PHOTOPROC_QUOTA_MB.",
            )

    def free_bytes(self) -> int:
        """Bytes free on the data folder's disk."""
        return shutil.disk_usage(self._root).free

    def used_bytes(self, *, since_s: float = _COUNT_AGAIN_S) -> int:
        """Bytes of all files, each counted once however often it is linked.

        Counted so many seconds ago at the most; what came in since is added.
        """
        with self._counting:  # who comes meanwhile waits for the one count
            counted_at, found = self._used
            if time.monotonic() - counted_at > since_s:
                found = self._counted()
                self._used = (time.monotonic(), found)
            return found

    def _take_room(self, byte_count: int) -> None:
        """So many bytes more have come in; raises ServiceError disk_full or data_quota if too many."""
        with self._counting:
            counted_at, found = self._used
            self._used = (counted_at, found + byte_count)
        self.check_quota()
        self.check_space()

    def _counted(self) -> int:
        sizes: dict[tuple[int, int], int] = {}
        for path in self._root.rglob("*"):
            if self._root / GRAPHS in path.parents:
                continue
            try:
                found = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode):
                sizes[found.st_dev, found.st_ino] = found.st_size
        return sum(sizes.values())

    def keep_reserve(self) -> None:
        """Hold some room, for deleting on a full disk, where there is more than enough of it."""
        path = self._root / "reserve"
        size = min(_RESERVE_BYTES, (self.free_bytes() - self._min_free_bytes) // 16)
        if path.exists() or size < _LEAST_RESERVE_BYTES:
            return
        try:
            with path.open("xb") as file:
                file.write(bytes(size))  # written, since there are file systems without fallocate
        except OSError:
            path.unlink(missing_ok=True)

    def give_up_reserve(self) -> bool:
        """Make the room that was held free; whether there was any."""
        try:
            (self._root / "reserve").unlink()
        except OSError:
            return False
        log.warning("reserve_given_up", folder=str(self._root))
        return True

    def sweep(self, live_jobs: set[str] | None) -> None:
        """Delete what a crash left behind: folders of no job, uploads, temporary files.

        Only for the start, before anything writes: the sessions and requests whose uploads are here
        ended with the last server. `live_jobs` is None where nobody knows: then all jobs' folders stay.
        """
        for path in entries(self._root / "tmp"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in entries(self._root / "jobs"):
            if live_jobs is not None and folder.name not in live_jobs:
                self.close_job(folder.name)
        for batch, _ in self.batches():
            self.drop_batch(batch)
        for kind in ("photos", "masks"):
            for shelf in entries(self._root / kind):
                self._collect([entry.name for entry in entries(shelf)])

    def _collect(self, hashes: Iterable[str]) -> None:
        for sha256 in hashes:
            blob = self._photo(sha256)
            try:
                if blob.stat().st_nlink > 1:
                    continue
            except FileNotFoundError:
                pass
            blob.unlink(missing_ok=True)
            shutil.rmtree(self._root / "masks" / sha256[:2] / sha256, ignore_errors=True)

    def _photo(self, sha256: str) -> Path:
        return self._root / "photos" / sha256[:2] / sha256

    def _mask(self, sha256: str, model: str, weights_id: str) -> Path:
        return self._root / "masks" / sha256[:2] / sha256 / f"{model}-{weights_id}.png"

    def _uncertainty(self, sha256: str, model: str, weights_id: str) -> Path:
        return self._mask(sha256, model, weights_id).with_suffix(".uncertainty")


def _output_stem(number: int, token: str) -> str:
    return f"{number}-{token[:12]}"


def _adopted(picture: Pictured, stem: str, suffix: str) -> Cutout:
    """A child's pictures as a cutout, with the names its files are to have."""
    endings = {"mask": f"-mask{suffix}", "sheet": "-sheet.jpg", "sheet_pdf": "-sheet.pdf"}
    return Cutout(
        file=stem + suffix,
        preview=f"{stem}-after.webp",
        before=f"{stem}-before.webp",
        sha256=picture.cutout.sha256,
        byte_count=picture.cutout.byte_count,
        size_wh=picture.size_wh,
        face=picture.face,
        level="" if picture.level is None else f"{stem}-level.webp",
        extras=tuple(
            Extra(kind=kind, file=stem + endings[kind], sha256=file.sha256, byte_count=file.byte_count)
            for kind, file in picture.extras
        ),
    )
