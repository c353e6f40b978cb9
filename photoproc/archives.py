"""ZIPs read by the standard library, whose claims about names and sizes are checked and never trusted."""

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from photoproc.errors import ArchiveError
from photoproc.files import CHUNK_BYTES
from photoproc.settings import MIB, Settings

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRY_BYTES = 512  # of an entry in a ZIP's list: 46, its name, and what tools add
_IGNORED_FILES = ("thumbs.db", "desktop.ini", ".ds_store")
_DAMAGE = (zipfile.BadZipFile, struct.error, EOFError, NotImplementedError, ValueError)


@dataclass(slots=True)
class Budget:
    """How much the archives of one upload may still unpack to, together."""

    left_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a ZIP."""

    name: str
    _packed: zipfile.ZipFile
    _info: zipfile.ZipInfo
    _budget: Budget
    _settings: Settings

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, unpacked; raises ArchiveError."""
        self._check()
        try:
            with self._packed.open(self._info) as file:
                # zipfile stops at the size the entry claims, so no claim can exceed the budget.
                while chunk := file.read(CHUNK_BYTES):
                    self._budget.left_bytes -= len(chunk)
                    yield chunk
        except (*_DAMAGE, zlib.error, OverflowError, RuntimeError) as error:
            raise ArchiveError(
                "archive_entry_broken",
                "This entry of the ZIP is damaged.",
                "Pack it again, or add the photo itself.",
            ) from error

    def _check(self) -> None:
        info, ratio = self._info, self._settings.max_archive_ratio
        _check_entry(info)
        if info.file_size > MIB and info.file_size > ratio * max(info.compress_size, 1):
            raise ArchiveError(
                "archive_ratio",
                f"It unpacks to more than {ratio:g} times its size, as only decompression bombs do.",
                "Add the photo itself instead of the ZIP.",
            )
        if info.file_size > self._budget.left_bytes:
            limit_mb = self._settings.max_archive_expanded_mb
            raise ArchiveError(
                "archive_too_large",
                f"The ZIP unpacks to more than {limit_mb:,} MB.",
                "Split it into several ZIPs.",
            )


def unpack(stream: BinaryIO, settings: Settings, budget: Budget) -> Iterator[Entry]:
    """The entries of a ZIP that may be photos, in its order; raises ArchiveError before the first."""
    try:
        packed = zipfile.ZipFile(cast(BinaryIO, _Listing(stream, settings.max_archive_entries)))
        entries = _listed(packed, settings.max_archive_entries)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise _broken(str(error)) from error
    with packed:
        for info in entries:
            yield Entry(info.filename, packed, info, budget, settings)


def _listed(packed: zipfile.ZipFile, limit: int) -> list[zipfile.ZipInfo]:
    everything = packed.infolist()
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
