"""Files that are on disk completely and durably, or not at all."""

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from photoproc.child import is_disk_full
from photoproc.errors import PhotoError, ServiceError

CHUNK_BYTES = 1 << 20
_LOOK_AT_DISK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that has come in completely, still nobody's."""

    path: Path
    sha256: str
    byte_count: int


class Incoming:
    """A file that is coming in: written, hashed and counted piece by piece.

    Ends by `close` or `discard`, or by what they and `write` raise: PhotoError file_too_large, ServiceError
    disk_full, data_quota. `take_room` is told of bytes that have come in, and raises where they are too many.
    """

    def __init__(self, path: Path, take_room: Callable[[int], None]) -> None:
        self._take_room = take_room
        self.path = path
        self._out = path.open("xb")
        self._digest = hashlib.sha256()
        self.byte_count = 0
        self._looked_at = 0

    def write(self, data: bytes, *, max_bytes: int) -> None:
        """Take the next piece."""
        self.byte_count += len(data)
        try:
            if self.byte_count > max_bytes:
                raise PhotoError(
                    "file_too_large",
                    f"It is larger than {max_bytes / 1e6:.0f} MB.",
                    "Add a smaller file, or ask whoever runs this server to raise the limit.",
                )
            if self.byte_count - self._looked_at > _LOOK_AT_DISK_BYTES:
                self._take_room(self.byte_count - self._looked_at)
                self._looked_at = self.byte_count
            self._digest.update(data)
            self._out.write(data)
        except OSError as error:
            self.discard()
            raise disk_error(error) from error
        except BaseException:
            self.discard()
            raise

    def close(self, *, sync: bool = True) -> Received:
        """The file, synced to disk unless it is only passing through."""
        try:
            with self._out:
                self._out.flush()
                if sync:
                    os.fsync(self._out.fileno())
            self._take_room(self.byte_count - self._looked_at)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise disk_error(error) from error
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        return Received(path=self.path, sha256=self._digest.hexdigest(), byte_count=self.byte_count)

    def discard(self) -> None:
        """Forget what has come. Idempotent."""
        with suppress(OSError):  # what is buffered may find no room
            self._out.close()
        self.path.unlink(missing_ok=True)


def is_whole(path: Path, byte_count: int) -> bool:
    """Whether a file is there and as long as it was written.

    One that cannot be looked at just now is not lost for that: whoever reads it meets the error itself.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_size == byte_count


def entries(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder."""
    return (path for path in entries(folder) if path.is_file())


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy on file systems without them (then nothing is shared, and all is safe)."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """A copy that is there completely and durably, or not at all."""
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
    try:
        with source.open("rb") as given, part.open("xb") as out:
            shutil.copyfileobj(given, out, CHUNK_BYTES)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError) -> ServiceError:
    """An error of the file system as ours: disk_full or disk_error."""
    return ServiceError(
        "disk_full" if is_disk_full(error) else "disk_error",
        f"The data folder cannot be written: {error.strerror or error}.",
        "Make room on the disk (or look at its permissions), then try again.",
    )
