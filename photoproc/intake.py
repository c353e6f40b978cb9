"""Uploads to checked photos: sniffed by content, limits counted by byte, archives unpacked.

Pictures are only copied here; their headers are read in a child process (`inspect`), so that a file
made to bring down a parser brings down nothing else.
"""

import io
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

from photoproc import archives, child_files
from photoproc.blobs import Blobs
from photoproc.engine import Engine
from photoproc.errors import ArchiveError, InputError, PhotoError, PhotoprocError, Problem
from photoproc.files import CHUNK_BYTES, Incoming, Received
from photoproc.jobs import Photo, Refusal, Warn
from photoproc.names import display_name
from photoproc.parts import MAX_PIXELS
from photoproc.settings import MIB, Settings

if TYPE_CHECKING:
    from photoproc.imaging.decode import PhotoInfo

    Answer = Future[PhotoInfo | Problem]

Good = TypeVar("Good")

_HEAD_BYTES = 16
THUMBNAIL_SIDE = 240
_OTHER_ARCHIVES = {
    b"Rar!\x1a\x07": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What came of some uploads: photos (staged in `batch`) and refused files, in upload order."""

    batch: str
    photos: tuple[Photo, ...]
    refused: tuple[Refusal, ...]


class Intake:
    """Checks uploads one after another; an instance may be used by several threads."""

    def __init__(self, blobs: Blobs, inspector: Engine, settings: Settings) -> None:
        self._blobs = blobs
        self._inspector = inspector
        self._settings = settings

    def accept(self, batch: str, name: str, stream: BinaryIO) -> Accepted:
        """Check one uploaded file (a photo, or a ZIP of photos) and stage what is good.

        Nothing about the file itself raises: what cannot be used is among the refused. Raises
        ServiceError where the disk is full.
        """
        with self.reception(batch) as coming:
            head = stream.read(_HEAD_BYTES)
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if head.startswith(archives.ZIP_MAGIC) and size <= self._settings.max_archive_mb * MIB:
                coming.take_archive(display_name(name), stream)
            else:
                with coming.file(name) as file:
                    while chunk := stream.read(CHUNK_BYTES):
                        file.write(chunk)
            return coming.finish()

    def reception(self, batch: str) -> "Reception":
        """Take in several files piece by piece; `abandon` it (or leave its context) in the end."""
        return Reception(self, self._blobs, self._settings, batch)

    def thumbnail(self, batch: str, sha256: str) -> Path:
        """The small picture of a staged photo, made in a child the first time; raises PhotoError."""
        target = self._blobs.thumbnail(batch, sha256)
        if not target.is_file():
            self.shrink(self._blobs.staged(batch, sha256), target, THUMBNAIL_SIDE)
        return target

    def shrink(self, source: Path, target: Path, longest: int) -> None:
        """Write a small WebP of a picture, in a child; raises PhotoError."""
        limit = max(self._settings.max_pixels, MAX_PIXELS)  # it may be a cutout
        asked = self._inspector.submit(child_files.thumbnail, source, target, longest, limit)
        problem = self._inspector.result(asked)
        if problem is not None:
            raise PhotoError(problem.code, problem.message, problem.advice)

    def unwrap(self, body: Path, target: Path, media_type: str, field: str) -> dict[str, str]:
        """Have a child take a base64 file out of a form; see `child_files.unwrap`. Raises InputError."""
        answer = self._inspector.submit(child_files.unwrap, body, target, media_type, field)
        return _good(self._inspector.result(answer))

    def ask(self, received: Received, name: str) -> "Answer":
        """Have the header of a received file read in a child."""
        return self._inspector.submit(child_files.inspect, received.path, name, self._settings.max_pixels)

    def verdict(self, name: str, received: Received, answer: "Answer") -> Photo | Problem:
        """What the child says of a file: a photo, or why it is refused."""
        for attempt in range(3):
            try:
                info = self._inspector.result(answer)
                break
            except PhotoprocError as error:
                # A neighbour may have brought the child down: each file gets another try of its own.
                if attempt == 2 or error.problem.code == "task_timeout":
                    return Problem(
                        code="photo_broken",
                        message="Reading it brings the decoder down.",
                        advice="Export it as JPEG or PNG and add it again.",
                    )
                answer = self.ask(received, name)
        if isinstance(info, Problem):
            return info
        warnings = info.warnings
        if "�" in name:
            said = "Its name has characters that cannot be shown; they are replaced."
            warnings = (*warnings, Warn(code="name_shown_otherwise", message=said))
        return Photo(
            name=name,
            sha256=received.sha256,
            byte_count=received.byte_count,
            format=info.format,
            size_wh=info.size_wh,
            warnings=warnings,
        )


def _good(answer: "Good | Problem") -> "Good":
    if isinstance(answer, Problem):
        raise InputError(answer.code, answer.message, answer.advice)
    return answer


@dataclass(frozen=True, slots=True)
class _Asked:
    """A received file whose header a child was asked to read."""

    name: str
    shown: str
    """Its name where it is refused, with the ZIP it came in."""
    received: Received
    answer: "Answer"


class Reception:
    """The files of one request or session as they come; what is not staged in the end is forgotten."""

    def __init__(self, intake: Intake, blobs: Blobs, settings: Settings, batch: str) -> None:
        self._intake = intake
        self._blobs = blobs
        self._settings = settings
        self._batch = batch
        self._came: list[_Asked | Refusal] = []
        self._budget = archives.Budget(settings.max_archive_expanded_mb * MIB)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    @property
    def file_count(self) -> int:
        """How many files came so far; an entry of a ZIP is one."""
        return len(self._came)

    def file(self, name: str, *, archive: str = "") -> "Upload":
        """The next file, to be written piece by piece; `archive` is the ZIP it is an entry of."""
        return Upload(self, self._blobs, self._settings, display_name(name), archive)

    def take_archive(self, shown: str, stream: BinaryIO) -> None:
        """Take in the entries of a ZIP."""
        try:
            for entry in archives.unpack(stream, self._settings, self._budget):
                with self.file(entry.name, archive=shown) as file:
                    try:
                        for chunk in entry.chunks():
                            file.write(chunk)
                    except ArchiveError as error:
                        file.refuse(error.problem)
        except ArchiveError as error:
            self.refuse(shown, error.problem)

    def take_photo(self, name: str, shown: str, received: Received) -> None:
        """Have a received file looked at."""
        self._came.append(_Asked(name, shown, received, self._intake.ask(received, name)))

    def refuse(self, name: str, problem: Problem) -> None:
        """Note why a file is not used."""
        self._came.append(Refusal(name=name, problem=problem))

    def finish(self) -> Accepted:
        """Stage what is good; what was accepted and what was not, in the order it came."""
        photos: list[Photo] = []
        refused: list[Refusal] = []
        for one in self._came:
            if isinstance(one, Refusal):
                refused.append(one)
                continue
            verdict = self._intake.verdict(one.name, one.received, one.answer)
            if isinstance(verdict, Problem):
                refused.append(Refusal(name=one.shown, problem=verdict))
            else:
                self._blobs.stage(self._batch, one.received)
                photos.append(verdict)
        return Accepted(batch=self._batch, photos=tuple(photos), refused=tuple(refused))

    def abandon(self) -> None:
        """Forget what was received and not staged."""
        for one in self._came:
            if isinstance(one, _Asked):
                self._blobs.discard(one.received)


class Upload:
    """One file as it comes: what it is shows in its first bytes. Use it as a context manager."""

    def __init__(
        self, reception: Reception, blobs: Blobs, settings: Settings, name: str, archive: str
    ) -> None:
        self._reception = reception
        self._blobs = blobs
        self._settings = settings
        self._name = name
        self._shown = f"{archive} › {name}" if archive else name
        self._archive = archive
        self._head = b""
        self._file: Incoming | None = None
        self._problem: Problem | None = None

    def write(self, data: bytes) -> None:
        """Take the next piece; nothing about the file raises. Raises ServiceError disk_full."""
        if self._problem is not None:
            return
        try:
            if self._file is None:
                self._head += data
                if len(self._head) >= _HEAD_BYTES:
                    self._begin()
            else:
                self._file.write(data, max_bytes=self._max_bytes)
        except (PhotoError, ArchiveError) as error:
            self.refuse(error.problem)

    def refuse(self, problem: Problem) -> None:
        """Not to be used after all; the first reason counts."""
        self._problem = self._problem or problem
        self.discard()

    def discard(self) -> None:
        """Forget what has come."""
        if self._file is not None:
            self._file.discard()

    @property
    def _is_archive(self) -> bool:
        return self._head.startswith(archives.ZIP_MAGIC)

    @property
    def _max_bytes(self) -> int:
        limit = self._settings.max_archive_mb if self._is_archive else self._settings.max_file_mb
        return limit * MIB

    def _begin(self) -> None:
        for magic, kind in _OTHER_ARCHIVES.items():
            if self._head.startswith(magic):
                raise ArchiveError(
                    "archive_unsupported", f"This is a {kind} archive.", "Pack the photos as a ZIP instead."
                )
        if self._archive and self._is_archive:
            raise ArchiveError(
                "archive_nested", "It is a ZIP within the ZIP.", "Unpack it and add its photos."
            )
        if not self._head:
            raise PhotoError("empty_file", "The file is empty.", "Copy or download it again.")
        self._file = self._blobs.incoming()
        self._file.write(self._head, max_bytes=self._max_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def close(self) -> None:
        """It has come whole: have it looked at, or note why it is refused."""
        try:
            if self._file is None and self._problem is None:
                self._begin()  # shorter than a head
        except (PhotoError, ArchiveError) as wrong:
            self.refuse(wrong.problem)
        if self._problem is not None or self._file is None:
            assert self._problem is not None
            self._reception.refuse(self._shown, self._problem)
        elif self._is_archive:
            self._unpack(self._file.close(sync=False))
        else:
            self._reception.take_photo(self._name, self._shown, self._file.close())

    def _unpack(self, received: Received) -> None:
        try:
            with received.path.open("rb") as stream:
                self._reception.take_archive(self._name, stream)
        finally:
            self._blobs.discard(received)
