"""Weights files: where they are, whether they are what rembg published, and fetching them.

The model folder comes first, then `sources`. Nothing is used, or given its final name, before its
checksum is right.
"""

import hashlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import requests
import structlog

from photoproc.errors import ModelError, Problem
from photoproc.models.catalogue import CATALOGUE, ModelSpec, spec_of
from photoproc.models.sources import WHEEL_PREFIX, PackageIndex, Release, Source

log = structlog.get_logger()

_LEFTOVER_S = 3600


class Phase(StrEnum):
    """What is known of a model's weights."""

    ABSENT = "not downloaded"
    CHECKING = "checking"
    DOWNLOADING = "downloading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsState:
    """A model's weights. `fraction` is 0 to 1 while downloading; `path` is set once ready."""

    phase: Phase
    fraction: float = 0.0
    path: Path | None = None
    problem: Problem | None = None


class Weights:
    """The weights of every model in the catalogue, verified and fetched by one background thread."""

    def __init__(
        self,
        model_dir: Path | None,
        *,
        sources: Iterable[Source] | None = None,
        catalogue: Mapping[str, ModelSpec] = CATALOGUE,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._dir = model_dir
        self._sources = tuple(sources) if sources is not None else (Release(), PackageIndex())
        self._catalogue = catalogue
        self._on_change = on_change
        self._lock = threading.Lock()
        self._states = {name: WeightsState(phase=Phase.ABSENT) for name in catalogue}
        self._seen: dict[str, tuple[str, int, int] | None] = dict.fromkeys(catalogue)
        self._requests: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()
        self._waiting: set[tuple[str, bool]] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to verify what is there and to answer requests."""
        self.refresh()
        self._thread = threading.Thread(target=self._serve, name="weights", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give up what is under way (partial files are removed) and end the thread."""
        self._stopping.set()
        self._requests.put(None)
        if self._thread is not None:
            self._thread.join(timeout=5)

    def listen(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` (from the background thread) whenever a model becomes ready or fails."""
        self._on_change = on_change

    def state(self, name: str) -> WeightsState:
        """What is known of a model's weights."""
        spec_of(name) if name not in self._catalogue else None
        with self._lock:
            return self._states[name]

    def ready(self) -> dict[str, Path]:
        """The verified weights file of each model that has one."""
        with self._lock:
            return {name: state.path for name, state in self._states.items() if state.path is not None}

    def refresh(self) -> None:
        """Look at the disk again: a file that came, went or changed is verified in the background."""
        for name, spec in self._catalogue.items():
            path = self._find(spec)
            seen = _signature(path)
            with self._lock:
                busy = self._states[name].phase is Phase.DOWNLOADING
                changed = seen != self._seen[name]
                if busy or not changed:
                    continue
                self._seen[name] = seen
                phase = Phase.ABSENT if path is None else Phase.CHECKING
                self._states[name] = WeightsState(phase=phase)
            if path is not None:
                self._ask(name, fetch=False)

    def request(self, name: str) -> None:
        """Have a model's weights fetched if they are not there; returns at once."""
        with self._lock:
            if self._states[name].phase in (Phase.READY, Phase.DOWNLOADING):
                return
            if self._states[name].phase is not Phase.CHECKING:
                self._states[name] = WeightsState(phase=Phase.DOWNLOADING)
        self._ask(name, fetch=True)

    def write_path(self, spec: ModelSpec) -> Path:
        """Where a fetched file goes: rembg's layout, so that rembg finds it too."""
        return self._homes()[0] / "models" / spec.name / spec.file_name

    def folders(self) -> tuple[Path, ...]:
        """Where weights are looked for; the first is written to."""
        return tuple(self._homes())

    def _ask(self, name: str, *, fetch: bool) -> None:
        with self._lock:
            if (name, fetch) in self._waiting:
                return
            self._waiting.add((name, fetch))
        self._requests.put((name, fetch))

    def _serve(self) -> None:
        while (asked := self._requests.get()) is not None and not self._stopping.is_set():
            name, fetch = asked
            with self._lock:
                self._waiting.discard(asked)
            spec = self._catalogue[name]
            path, problem = self._check(spec)
            if path is not None:
                self._set(spec, WeightsState(phase=Phase.READY, fraction=1.0, path=path))
            elif fetch:
                self._fetch(spec)
            else:
                phase = Phase.ABSENT if problem is None else Phase.FAILED
                self._set(spec, WeightsState(phase=phase, problem=problem))
            self._on_change()

    def _check(self, spec: ModelSpec) -> tuple[Path | None, Problem | None]:
        """The file on disk that is right, or what is wrong with those there are; they are moved aside."""
        problem = None
        while (path := self._find(spec)) is not None:
            try:
                verify(path, spec)
            except ModelError as error:
                problem = error.problem
                if problem.code != "weights_checksum" or not _move_aside(path):
                    break
                log.warning("weights_rejected", model=spec.name, path=str(path))
                continue
            return path, None
        return None, problem

    def _fetch(self, spec: ModelSpec) -> None:
        self._set(spec, WeightsState(phase=Phase.DOWNLOADING))
        target = self.write_path(spec)
        reasons: list[str] = []
        problem: Problem | None = None
        for source in (one for one in self._sources if one.offers(spec)):
            for attempt in (1, 2):
                try:
                    self._fetch_from(source, spec, target)
                except ModelError as error:  # the checksum: once more, then the next source
                    problem = error.problem
                    log.warning("weights_checksum", model=spec.name, source=source.label, attempt=attempt)
                    continue
                except OSError as error:
                    reasons.append(f"{source.label}: {_short(error)}")
                    log.warning("weights_unreachable", model=spec.name, source=source.label, why=str(error))
                    break
                log.info("weights_fetched", model=spec.name, source=source.label)
                self._set(spec, WeightsState(phase=Phase.READY, fraction=1.0, path=target))
                return
        if problem is None:
            problem = _unreachable(spec, target, reasons)
        self._set(spec, WeightsState(phase=Phase.FAILED, problem=problem))

    def _fetch_from(self, source: Source, spec: ModelSpec, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target)
        free = shutil.disk_usage(target.parent).free
        if free < spec.download_mb * 2_200_000:
            raise OSError(f"only {free // 1_000_000} MB are free in {target.parent}")
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            source.fetch(spec, part, lambda come: self._progress(spec, come))
            verify(part, spec)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def _progress(self, spec: ModelSpec, come: int) -> None:
        if self._stopping.is_set():
            raise OSError("the server is stopping")
        fraction = min(0.99, come / (spec.download_mb * 1_000_000))
        with self._lock:
            self._states[spec.name] = replace(self._states[spec.name], fraction=fraction)

    def _set(self, spec: ModelSpec, state: WeightsState) -> None:
        seen = _signature(self._find(spec))
        with self._lock:
            if state.path is None and (spec.name, True) in self._waiting:
                state = WeightsState(phase=Phase.DOWNLOADING)  # asked for meanwhile, so nothing failed yet
            self._states[spec.name] = state
            self._seen[spec.name] = seen

    def _homes(self) -> list[Path]:
        """Folders with weights, ours to write to first."""
        if self._dir is not None:
            return [self._dir]
        env = os.environ
        legacy = env.get("U2NET_HOME")
        data = env.get("XDG_DATA_HOME")
        home = env.get("REMBG_HOME", os.path.join(data, "rembg") if data else "~/.rembg")
        old = legacy or os.path.join(data or "~", ".u2net")
        return [Path(folder).expanduser() for folder in ([legacy] if legacy else [home, old])]

    def _find(self, spec: ModelSpec) -> Path | None:
        for home in self._homes():
            for path in (home / "models" / spec.name / spec.file_name, home / spec.file_name):
                if path.is_file():
                    return path
        return None


def verify(path: Path, spec: ModelSpec) -> None:
    """Raise ModelError weights_checksum unless the file is what rembg published."""
    algorithm, expected = spec.checksum.split(":")
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(
                file, lambda: hashlib.new(algorithm, usedforsecurity=False)
            ).hexdigest()
    except OSError as error:
        raise ModelError(
            "weights_unreadable", f"The weights of {spec.name} cannot be read: {error}.", f"Look at {path}."
        ) from error
    if actual != expected:
        raise ModelError(
            "weights_checksum",
            f"The weights of {spec.name} are not what rembg published ({algorithm} {actual[:12]}…).",
            "Download the model again on the System page; if it happens again, the source is damaged.",
        )


def _move_aside(path: Path) -> bool:
    """Give a wrong file another name: it may be somebody's own work, so it is not deleted."""
    try:
        os.replace(path, path.with_name(path.name + ".rejected"))
    except OSError as error:
        log.warning("weights_not_moved", path=str(path), why=str(error))
        return False
    return True


def _clear_leftovers(target: Path) -> None:
    """Delete what downloads that were killed left behind; live ones write all the time."""
    for path in (*target.parent.glob(f".{target.name}.*.part"), *target.parent.glob(f"{WHEEL_PREFIX}*")):
        try:
            newest = max(file.stat().st_mtime for file in (path, *path.rglob("*")))
            if time.time() - newest > _LEFTOVER_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue  # its owner is at work on it


def _unreachable(spec: ModelSpec, target: Path, reasons: list[str]) -> Problem:
    return Problem(
        code="weights_unreachable",
        message=f"{spec.name} could not be downloaded ({'; '.join(reasons) or 'no source has it'}).",
        advice=f"Check the network and try again, or put {spec.file_name} into {target.parent} yourself.",
    )


def _signature(path: Path | None) -> tuple[str, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path), found.st_size, found.st_mtime_ns


def _short(error: BaseException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached from here"
    return str(error).strip().rstrip(".")[:200]
