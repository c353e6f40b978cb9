"""Uploads to checked photos: sniffed by content, limits counted by byte, archives unpacked.

Pictures are only copied here; their headers are read in a child process (`inspect`), so that a file
made to bring down a parser brings down nothing else. Archives are read by the standard library, whose
claims about names and sizes are checked and never trusted.
"""

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from photoproc import child
from photoproc.blobs import Blobs, Received
from photoproc.engine import Engine
from photoproc.errors import ArchiveError, PhotoError, PhotoprocError, Problem
from photoproc.jobs import Photo, Refusal, Warn
from photoproc.names import display_name
from photoproc.settings import MIB, Settings

if TYPE_CHECKING:
    from photoproc.imaging.decode import PhotoInfo

    _Answer = Future[PhotoInfo | Problem]

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OTHER_ARCHIVES = {
    b"Rar!\x1a\x07": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRY_BYTES = 512  # of an entry in a ZIP's list: 46, its name, and what tools add
_IGNORED_FILES = ("thumbs.db", "desktop.ini", ".ds_store")


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
        shown = display_name(name)
        head = stream.read(16)
        stream.seek(0)
        if head.startswith(_ZIP_MAGIC):
            items = self._unpack(shown, stream)
        else:
            items = iter([_Item(shown, lambda: self._receive_photo(stream, head))])
        return self._check(batch, items)

    def thumbnail(self, batch: str, sha256: str) -> Path:
        """The small picture of a staged photo, made in a child the first time; raises PhotoError."""
        target = self._blobs.thumbnail(batch, sha256)
        if not target.is_file():
            source = self._blobs.staged(batch, sha256)
            asked = self._inspector.submit(child.thumbnail, source, target, self._settings.max_pixels)
            problem = self._inspector.result(asked)
            if problem is not None:
                raise PhotoError(problem.code, problem.message, problem.advice)
        return target

    def _receive_photo(self, stream: BinaryIO, head: bytes) -> Received:
        for magic, kind in _OTHER_ARCHIVES.items():
            if head.startswith(magic):
                raise ArchiveError(
                    "archive_unsupported", f"This is a {kind} archive.", "Pack the photos as a ZIP instead."
                )
        if not head:
            raise PhotoError("empty_file", "The file is empty.", "Copy or download it again.")
        return self._blobs.receive(stream, max_bytes=self._settings.max_file_mb * MIB)

    def _check(self, batch: str, items: "Iterator[_Item]") -> Accepted:
        """Receive all items, have their headers read in a child, and sort them into good and refused."""
        came: list[Received] = []
        waiting: list[tuple[str, _Asked | Problem]] = []
        try:
            for item in items:
                try:
                    received = item.receive()
                except (PhotoError, ArchiveError) as error:
                    waiting.append((item.name, error.problem))
                    continue
                came.append(received)
                waiting.append((item.name, _Asked(received, self._ask(received, item.name))))
            return self._sort(batch, waiting)
        finally:
            for received in came:
                self._blobs.discard(received)  # what was staged is no longer there

    def _sort(self, batch: str, waiting: "Iterable[tuple[str, _Asked | Problem]]") -> Accepted:
        photos: list[Photo] = []
        refused: list[Refusal] = []
        for name, asked in waiting:
            verdict = (
                asked if isinstance(asked, Problem) else self._verdict(name, asked.received, asked.answer)
            )
            if isinstance(verdict, Problem):
                refused.append(Refusal(name=name, problem=verdict))
            elif isinstance(asked, _Asked):
                self._blobs.stage(batch, asked.received)
                photos.append(verdict)
        return Accepted(batch=batch, photos=tuple(photos), refused=tuple(refused))

    def _ask(self, received: Received, name: str) -> "_Answer":
        return self._inspector.submit(child.inspect, received.path, name, self._settings.max_pixels)

    def _verdict(self, name: str, received: Received, answer: "_Answer") -> Photo | Problem:
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
                answer = self._ask(received, name)
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

    # Archives

    def _unpack(self, archive: str, stream: BinaryIO) -> "Iterator[_Item]":
        try:
            with zipfile.ZipFile(_Listing(stream, self._settings.max_archive_entries)) as packed:
                entries = self._listed(packed)
                yield from self._entries(archive, packed, entries)
        except (
            zipfile.BadZipFile,
            struct.error,
            ValueError,
            OSError,
            EOFError,
            NotImplementedError,
        ) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            yield _Item(archive, _raising(_broken(str(error))))
        except ArchiveError as error:
            yield _Item(archive, _raising(error))

    def _listed(self, packed: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        """The entries that may be photos; raises ArchiveError where the archive breaks a limit."""
        everything, limit = packed.infolist(), self._settings.max_archive_entries
        entries = [entry for entry in everything if not _ignored(entry)]
        if len(everything) > limit:
            raise _too_many(limit)
        if not entries:
            raise ArchiveError("archive_empty", "The ZIP has no files in it.", "Add photos to it.")
        ends = 0
        for entry in sorted(everything, key=lambda entry: entry.header_offset):
            if entry.header_offset < ends:
                raise _broken("entries overlap")
            ends = entry.header_offset + entry.compress_size
        return entries

    def _entries(
        self, archive: str, packed: zipfile.ZipFile, entries: list[zipfile.ZipInfo]
    ) -> "Iterator[_Item]":
        budget = _Budget(self._settings.max_archive_expanded_mb * MIB)
        for entry in entries:
            yield _Item(display_name(entry.filename), partial(self._extract, packed, entry, budget))

    def _extract(self, packed: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: "_Budget") -> Received:
        _check_entry(entry)
        ratio = self._settings.max_archive_ratio
        if entry.file_size > MIB and entry.file_size > ratio * max(entry.compress_size, 1):
            raise ArchiveError(
                "archive_ratio",
                f"It unpacks to more than {ratio:g} times its size, as only decompression bombs do.",
                "Add the photo itself instead of the ZIP.",
            )
        if entry.file_size > budget.left_bytes:
            raise _too_large(self._settings.max_archive_expanded_mb)
        try:
            with packed.open(entry) as file:
                head = file.read(16)
                if head.startswith(_ZIP_MAGIC):
                    raise ArchiveError(
                        "archive_nested", "It is a ZIP within the ZIP.", "Unpack it and add its photos."
                    )
                # zipfile stops at the size the entry claims, so no claim can exceed the budget.
                received = self._receive_photo(cast(BinaryIO, _Joined(head, cast(BinaryIO, file))), head)
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            EOFError,
            NotImplementedError,
            OverflowError,
            RuntimeError,
            ValueError,
        ) as error:
            raise ArchiveError(
                "archive_entry_broken",
                "This entry of the ZIP is damaged.",
                "Pack it again, or add the photo itself.",
            ) from error
        budget.left_bytes -= received.byte_count
        return received


@dataclass(slots=True)
class _Budget:
    """How much an archive may still unpack to."""

    left_bytes: int


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    receive: Callable[[], Received]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A received file whose header a child was asked to read."""

    received: Received
    answer: "_Answer"


class _Listing(io.RawIOBase):
    """A ZIP's stream that is not read into memory whole, whatever length its list of entries claims."""

    def __init__(self, stream: BinaryIO, max_entries: int) -> None:
        self._stream = stream
        self._max_entries = max_entries

    def read(self, size: int = -1) -> bytes:
        if size > self._max_entries * _ENTRY_BYTES + MIB:
            raise _too_many(self._max_entries)
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True


class _Joined(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head + self._rest.read(size - len(head) if size >= 0 else -1)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename.replace("\\", "/")
    if entry.flag_bits & 0x1:
        raise ArchiveError(
            "archive_encrypted", "It is protected by a password.", "Pack it again without a password."
        )
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        raise ArchiveError(
            "archive_unsafe_name", "Its name points outside the ZIP.", "Pack it again with plain names."
        )
    if (entry.external_attr >> 16) & 0o170000 == 0o120000:
        raise ArchiveError("archive_link", "It is a link, not a file.", "Add the photo that it points to.")
    if entry.compress_type not in _METHODS:
        raise ArchiveError(
            "archive_method",
            "It is compressed in an unusual way.",
            "Pack it again as an ordinary ZIP (deflate).",
        )


def _ignored(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.replace("\\", "/").split("/")
    is_folder = len(parts) > 1 and not parts[-1]
    return (
        is_folder
        or parts[0] == "__MACOSX"
        or parts[-1].startswith("._")
        or parts[-1].lower() in _IGNORED_FILES
    )


def _too_many(limit: int) -> ArchiveError:
    return ArchiveError(
        "archive_too_many", f"The ZIP has more than {limit:,} entries.", "Split it into several ZIPs."
    )


def _broken(why: str) -> ArchiveError:
    return ArchiveError(
        "archive_broken", f"The ZIP is damaged ({why}).", "Copy or download it again, or pack it again."
    )


def _too_large(limit_mb: int) -> ArchiveError:
    return ArchiveError(
        "archive_too_large", f"The ZIP unpacks to more than {limit_mb:,} MB.", "Split it into several ZIPs."
    )


def _raising(error: PhotoprocError) -> Callable[[], Received]:
    def fail() -> Received:
        raise error

    return fail
