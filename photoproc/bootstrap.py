"""Wires everything, in one place; `service()` is the process's one instance."""

import logging
import os
import secrets
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO, TypeVar, cast

import structlog
from filelock import FileLock, Timeout

from photoproc import child, recovery, starting
from photoproc.blobs import GRAPHS, Blobs
from photoproc.child import is_disk_full
from photoproc.clock import SystemClock
from photoproc.engine.local import LocalEngine
from photoproc.errors import ServiceError, TaskError
from photoproc.housekeeping import Housekeeper
from photoproc.intake import Intake
from photoproc.models.probe import Limits
from photoproc.models.registry import Models
from photoproc.service import PhotoService
from photoproc.settings import MIB, Settings, misspelt
from photoproc.worker import Worker

if TYPE_CHECKING:
    from photoproc.engine.cluster import DaskEngine

log = structlog.get_logger()

T = TypeVar("T")
_INSPECT_TIMEOUT_S = 30.0
_PREVIEW_TIMEOUT_S = 60.0


class Runtime:
    """The running parts of one server: built by `start`, ended by `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        data = settings.data_dir
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        data.chmod(0o700)
        self._seat = FileLock(data / "servers" / f"{uuid.uuid4().hex}.lock", thread_local=False)
        self._clock = SystemClock()
        self._blobs = Blobs(
            data,
            min_free_bytes=settings.min_free_disk_mb * MIB,
            quota_bytes=settings.quota_mb * MIB,
        )
        with FileLock(data / "servers.lock"):
            self._store = self._with_room(partial(recovery.opened, data, is_alone=self._is_alone))
        self._engine = _engine(settings)
        # Headers of uploads are read in children of their own, so that uploads need not wait for tasks.
        self._inspector = LocalEngine(children=2, threads=1, timeout_s=_INSPECT_TIMEOUT_S)
        # Previews, and pictures that other APIs want otherwise, wait neither for tasks nor hold up uploads.
        self._previewer = LocalEngine(
            children=1,
            threads=1,
            timeout_s=_PREVIEW_TIMEOUT_S,
            memory_mb=settings.child_memory_mb,
            graphs=data / GRAPHS,
            choice=settings.provider_choice,
        )
        self._weights = Models(
            settings.model_dir,
            probes=data / "probes",
            limits=Limits(
                timeout_s=settings.task_timeout_s,
                memory_mb=settings.child_memory_mb,
                threads=settings.threads_per_child,
                choice=settings.provider_choice,
            ),
            sources=() if settings.offline else None,
        )
        self._worker = Worker(
            store=self._store,
            blobs=self._blobs,
            engine=self._engine,
            weights=self._weights,
            clock=self._clock,
            settings=settings,
            supervised=(self._inspector, self._previewer),
        )
        self._weights.listen(self._worker.wake)
        self.service = PhotoService(
            store=self._store,
            blobs=self._blobs,
            intake=Intake(self._blobs, self._inspector, settings),
            engine=self._engine,
            previewer=self._previewer,
            worker=self._worker,
            weights=self._weights,
            clock=self._clock,
            settings=settings,
            link_key=_link_key(data / "link.key"),
        )
        self._housekeeper = Housekeeper(self.service, self._clock)

    def start(self) -> None:
        """Clean up after a crash, then begin to work.

        Raises ServiceError provider_missing, and what asking a child for providers may end in.
        """
        self._check_provider()
        self._with_room(self._take_seat)
        for known in misspelt(os.environ):
            log.warning("setting_unknown", why=known)
        self._weights.start()
        if self.settings.fetch_default_model:
            self._weights.request(self.settings.default_model)
        self._inspector.start(child.warm_up_inspecting)
        self._engine.start()
        self._worker.start()
        self._housekeeper.start()

    def stop(self) -> None:
        """Give back what runs, end the children; at most a few seconds."""
        self.service.end_trials()
        self._housekeeper.stop()
        self._worker.stop()
        self._weights.stop()
        self._inspector.stop()
        self._previewer.stop()
        self._engine.stop()
        self._seat.release()
        self._store.close()

    def _check_provider(self) -> None:
        """Ask a child for what models are required to run on. On a cluster each worker looks for itself."""
        choice = self.settings.provider_choice
        if not choice.required or self.settings.engine != "local":
            return
        try:
            there = self._engine.result(self._engine.submit(child.providers))
            problem = None if choice.is_met(choice.of(there)) else choice.missing(there)
        except TaskError as error:
            problem = error.problem
        if problem is not None:
            self._engine.stop()
            raise ServiceError(problem.code, problem.message, problem.advice)

    def _with_room(self, step: Callable[[], T]) -> T:
        """A step of the start; on a full disk once more without the reserve, so that jobs can be deleted."""
        try:
            return step()
        except (ServiceError, OSError) as error:
            full = is_disk_full(error) if isinstance(error, OSError) else error.problem.code == "disk_full"
            if not full or not self._blobs.give_up_reserve():
                raise
        return step()

    def _is_alone(self) -> bool:
        """Whether no other server is at work on the data folder."""
        return not self._others()

    def _others(self) -> list[Path]:
        """The seats that are taken; those of servers that ended are cleared away."""
        return [seat for seat in (self.settings.data_dir / "servers").glob("*.lock") if not _is_free(seat)]

    def _take_seat(self) -> None:
        """Join the servers of this data folder; one that is alone tidies it up first.

        Leases keep two servers from running the same task, but nothing keeps one from tidying away
        what another is just writing. Whoever comes meanwhile waits.
        """
        seats = self.settings.data_dir / "servers"
        seats.mkdir(exist_ok=True, mode=0o700)
        with FileLock(self.settings.data_dir / "servers.lock"):
            others = self._others()
            self._seat.acquire()
            if others:
                log.warning("data_folder_shared", folder=str(self.settings.data_dir))
                return
            self._worker.inherit()
            # A store that never held a job may not be the one that belongs to these folders.
            jobs = None if self._store.untouched else set(self._store.job_ids())
            self._blobs.sweep(jobs)
        recovery.write_missing(self._store, self.settings.data_dir)


_runtime: Runtime | None = None
_ended = False
_guard = threading.Lock()
_stopping = threading.Lock()


def runtime(settings: Settings | None = None) -> Runtime:
    """The process's runtime, started at first use, with settings of its environment where none are given."""
    global _runtime
    with _guard:
        if _ended:
            raise ServiceError("stopping", "The server is stopping.", "Start it again.")
        if _runtime is None:
            configure_logging()
            settings = settings or starting.load_settings()
            try:
                _runtime = Runtime(settings)
                _runtime.start()
            except ServiceError as error:
                full = error.problem.code == "disk_full"
                told = f"{error.problem.message} {error.problem.advice}"
                told = starting.full_disk(settings.data_dir) if full else told
                raise SystemExit(f"Photoproc cannot start.\n{told}") from None
            except OSError as error:
                told = starting.data_folder(settings.data_dir, error)
                raise SystemExit(f"Photoproc cannot start.\n{told}") from None
        return _runtime


def start(settings: Settings) -> None:
    """Start the process's runtime; where that cannot be, end the program with a line that says why.

    By itself the server would show a traceback instead.
    """
    try:
        runtime(settings)
    except SystemExit as ended:
        _StandardError().write(f"{ended}\n")
        os._exit(1)


def service() -> PhotoService:
    """The process's service."""
    return runtime().service


def install(made: Runtime | None) -> None:
    """Use a runtime made elsewhere (a test's) as the process's own; None forgets it."""
    global _runtime, _ended
    with _guard:
        _runtime, _ended = made, False


def shut_down() -> None:
    """Stop the process's runtime for good, if it was started. Idempotent."""
    global _runtime, _ended
    with _stopping:  # whoever comes second waits until it is done
        with _guard:
            made, _runtime, _ended = _runtime, None, True
        if made is not None:  # requests that come meanwhile are told, not kept waiting
            made.stop()


def leave_in_time(limit_s: float = 8.0) -> None:
    """From the main thread: end within `limit_s` of SIGTERM or Ctrl-C, whatever downloads are under way.

    The server by itself waits for open connections first, however long they take.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    served = {number: signal.getsignal(number) for number in numbers}
    asked = threading.Event()

    def leave() -> None:
        asked.wait()
        threading.Thread(target=shut_down, name="shut-down", daemon=True).start()
        time.sleep(limit_s)
        os._exit(0)

    def on_signal(number: int, frame: FrameType | None) -> None:
        asked.set()
        before = served[signal.Signals(number)]
        if callable(before):
            before(number, frame)

    # It waits from the start, because a signal handler had better not start threads.
    threading.Thread(target=leave, name="leave", daemon=True).start()
    for number in numbers:
        signal.signal(number, on_signal)


class _StandardError:
    """Standard error while it can be written: a closed terminal or a full disk stops no work."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logging(level: int = logging.INFO) -> None:
    """One line a record on standard error: time, level, event, then its fields."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "event"], bool_as_flag=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
    )


def _engine(settings: Settings) -> "LocalEngine | DaskEngine":
    if settings.engine == "local":
        return LocalEngine(
            children=settings.max_concurrent,
            threads=settings.threads_per_child,
            timeout_s=settings.task_timeout_s,
            memory_mb=settings.child_memory_mb,
            graphs=settings.data_dir / GRAPHS,
            choice=settings.provider_choice,
        )
    from photoproc.engine.cluster import DaskEngine

    return DaskEngine(settings.engine, resources=settings.needs)


def _link_key(path: Path) -> str:
    """The secret that signs links, made once for a data folder."""
    if not path.exists():
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    return path.read_text()


def _is_free(seat: Path) -> bool:
    """Whether the server of a seat has ended, however it did; its seat is cleared away."""
    try:
        with FileLock(seat, blocking=False):
            seat.unlink(missing_ok=True)
    except Timeout:
        return False
    return True
