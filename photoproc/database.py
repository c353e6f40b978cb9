"""The database under the store: diskcache (SQLite), set so that it never loses or drops a record."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import diskcache

from photoproc.errors import ServiceError

_BUSY_S = 4.0
_MODE_RAW = 1
_MANY = """SELECT json_group_object(key, json(value)) FROM Cache
WHERE raw = 1 AND key IN (SELECT value FROM json_each(?))"""
_SETTINGS: Mapping[str, object] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "sqlite_journal_mode": "wal",
    "sqlite_synchronous": 2,
    "sqlite_secure_delete": 1,  # what is deleted is overwritten: names of photos may say much
}


class JsonDisk(diskcache.Disk):  # type: ignore[misc]
    """String keys and JSON values, in the database and never in files; nothing is ever unpickled."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError("keys are strings")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if not raw or type(key) is not str:
            raise ServiceError("store_foreign", "The store holds a record that is not ours.", "Restore it.")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
        return 0, _MODE_RAW, None, json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> Any:
        if mode != _MODE_RAW or filename is not None or type(value) is not str:
            raise ServiceError("store_foreign", "The store holds a record that is not ours.", "Restore it.")
        return json.loads(value)


class Database:
    """A diskcache that several threads and processes change in transactions.

    Raises ServiceError: store_busy, disk_full, store_damaged, store_failed, store_settings, store_foreign.
    """

    def __init__(self, directory: Path) -> None:
        self._writing = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        try:
            self.cache = diskcache.Cache(str(directory), disk=JsonDisk, timeout=0.5, **_SETTINGS)
            self._check_settings()
        except sqlite3.Error as error:
            raise _store_error(error) from error

    def close(self) -> None:
        """Close this thread's connection."""
        self.cache.close()

    def get(self, key: str, default: object = None) -> Any:
        """A record, as it was last committed (or, inside a transaction, changed)."""
        try:
            return self.cache.get(key, default)
        except sqlite3.Error as error:
            raise _store_error(error) from error

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """The records of these keys, as far as there are any.

        As one row of SQL: at every row, SQLite lets go of the interpreter's lock, and on a busy machine each
        time may mean a wait of milliseconds until the thread has it back.
        """
        try:
            ((row,),) = self.cache._sql(_MANY, (json.dumps(list(keys)),)).fetchall()
        except sqlite3.Error as error:
            raise _store_error(error) from error
        found: dict[str, Any] = json.loads(row)
        return found

    @contextmanager
    def change(self) -> Iterator[Any]:
        """A write transaction; waits a bounded time for other writers, then raises store_busy."""
        until = time.monotonic() + _BUSY_S
        try:
            with ExitStack() as stack:
                # Threads of this process queue up here: SQLite would have them poll, some for long.
                if self._writing.acquire(timeout=_BUSY_S):
                    stack.callback(self._writing.release)
                self._begin(stack, until)
                yield self.cache
        except sqlite3.Error as error:
            self._roll_back()
            raise _store_error(error) from error

    def _begin(self, stack: ExitStack, until: float) -> None:
        while True:
            try:
                stack.enter_context(self.cache.transact())
                return
            except diskcache.Timeout as error:
                # It is what diskcache makes of every error here; only being locked is worth waiting for.
                reason = error.__context__
                if reason is None or not _is_busy(reason) or time.monotonic() >= until:
                    raise _store_error(reason) from error

    def _roll_back(self) -> None:
        """End what a failed commit may have left open; it would keep everybody else from writing."""
        with suppress(sqlite3.Error):
            self.cache._con.rollback()

    def check(self) -> None:
        """Raise ServiceError store_damaged where the database's pages do not fit each other."""
        try:
            ((said,),) = self.cache._sql("PRAGMA quick_check(1)").fetchall()
        except sqlite3.Error as error:
            raise _store_error(error) from error
        if said != "ok":
            raise _store_error(sqlite3.DatabaseError(said), damaged=True)

    def empty_log(self) -> None:
        """Have what was written go from the log (WAL) into the database; not where somebody reads it."""
        with suppress(sqlite3.Error, diskcache.Timeout):  # the next time, then
            self.cache._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _check_settings(self) -> None:
        """Ask the database itself: a file system may not give what was asked for (WAL, above all)."""
        kept = {name: self.cache.reset(name) for name in _SETTINGS}
        for name in ("journal_mode", "synchronous"):
            ((kept[f"sqlite_{name}"],),) = self.cache._sql(f"PRAGMA {name}").fetchall()
        for name, wanted in _SETTINGS.items():
            if kept[name] != wanted:
                raise ServiceError(
                    "store_settings",
                    f"The store does not keep {name}={wanted}.",
                    "Put the data folder on a local disk and share it with no other program.",
                )


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: BaseException) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_full(error: BaseException) -> bool:
    # To the last byte: then even the memory that connections share, a file, finds no room.
    no_room = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
    return no_room or _code(error) == sqlite3.SQLITE_FULL


def _is_damage(error: BaseException) -> bool:
    return _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _store_error(error: BaseException | None, *, damaged: bool = False) -> ServiceError:
    """An error of SQLite as ours. A failed roll-back hides the reason for it, which is what counts."""
    reasons, reason = [], error
    while reason is not None:
        reasons.append(reason)
        reason = reason.__context__
    if any(_is_full(one) for one in reasons):
        return ServiceError(
            "disk_full", "The disk is full: the store cannot be written.", "Make room, then try again."
        )
    if any(_is_busy(one) for one in reasons):
        return ServiceError(
            "store_busy",
            "The store is locked by another program.",
            "Try again in a moment; close programs that have its database open.",
        )
    if damaged or any(_is_damage(one) for one in reasons):
        return ServiceError(
            "store_damaged",
            "The store's database is damaged.",
            "Start the server again: it puts the damaged one aside and finds the jobs from their folders.",
        )
    return ServiceError(
        "store_failed", f"The store's database failed: {error}.", "Look at the data folder and its disk."
    )
