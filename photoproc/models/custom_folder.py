"""The custom models of the model folders while the server runs: which there are, and whether they run."""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from photoproc.errors import Problem
from photoproc.jobs import Refusal
from photoproc.models import custom, forms, probe
from photoproc.models.catalogue import ModelSpec
from photoproc.models.checksums import digest
from photoproc.models.forms import Form, FormState
from photoproc.models.probe import Limits, Probe
from photoproc.models.weights import Phase, WeightsState, signature

log = structlog.get_logger()

_SETTLE_S = 2.0
"""A file with which something is wrong and that grows in so long is still being copied there."""

Seen = tuple[ModelSpec, tuple[str, int, int] | None, Form | None]
"""What was found: the description without a checksum, the ONNX file as it was then, of a form its table."""
Try = Callable[[ModelSpec, Path, Limits, threading.Event], Probe | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    seen: Seen
    path: Path
    spec: ModelSpec
    state: WeightsState

    @property
    def offered(self) -> bool:
        """Whether it is a model to choose: a form with which something is wrong is none."""
        return self.seen[2] is None or self.state.phase is not Phase.FAILED


class CustomModels:
    """Looks at the folders when told to; a thread that ends with its work reads and tries what is new.

    What came of a probe is kept in `kept_in`, by the file's SHA-256 and all else it depends on, so that
    a file is run once and not at every start. Thread-safe.
    """

    def __init__(
        self,
        folders: Callable[[], Sequence[Path]],
        *,
        kept_in: Path,
        limits: Limits,
        run: Try = probe.run,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._folders, self._kept_in, self._limits, self._run = folders, kept_in, limits, run
        self._on_change = on_change
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._refused: tuple[Refusal, ...] = ()
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._afresh: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def listen(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` (from a background thread) whenever a model becomes ready or fails."""
        self._on_change = on_change

    def stop(self) -> None:
        """Give up what is under way, which is tried again at the next start."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout=5)

    def specs(self) -> dict[str, ModelSpec]:
        """The models, by name, ready or not; of forms those that are offered."""
        with self._lock:
            return {name: entry.spec for name, entry in self._entries.items() if entry.offered}

    def forms(self) -> dict[str, FormState]:
        """All forms of models that were made, by name, offered or not."""
        with self._lock:
            return {
                name: FormState(name=name, form=form, path=entry.path, problem=entry.state.problem)
                for name, entry in self._entries.items()
                if (form := entry.seen[2]) is not None
            }

    def refused(self) -> tuple[Refusal, ...]:
        """The descriptions that are none, each with the reason."""
        return self._refused

    def state(self, name: str) -> WeightsState | None:
        """What is known of a model; None where there is none of that name."""
        with self._lock:
            entry = self._entries.get(name)
            return None if entry is None else entry.state

    def ready(self) -> dict[str, Path]:
        """The file of each model that was checked and runs."""
        with self._lock:
            return {name: entry.path for name, entry in self._entries.items() if entry.state.path is not None}

    def refresh(self) -> None:
        """Look at the folders again: what came or changed is checked in the background."""
        with self._looking:
            found = custom.look(self._folders())
            for refusal in set(found.refused) - set(self._refused):
                log.warning("custom_refused", file=refusal.name, code=refusal.problem.code)
            self._refused = found.refused
            entries = {}
            with self._lock:
                for name, (spec, path) in found.models.items():
                    seen = spec, _file(path), found.forms.get(name)
                    known = self._entries.get(name)
                    entries[name] = (
                        known if known is not None and known.seen == seen else self._new(seen, path)
                    )
                fresh = [name for name in entries if entries[name] is not self._entries.get(name)]
                self._entries = entries
            for name in fresh:
                if entries[name].state.phase is Phase.CHECKING:
                    self._ask(name)

    def check_again(self, name: str) -> None:
        """Read and try a model anew, whatever is known of it; nothing where it is gone."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.state.phase is Phase.CHECKING:
                return
            self._afresh.add(name)
            self._entries[name] = self._as_now(entry)
            checking = self._entries[name].state.phase is Phase.CHECKING
        if checking:
            self._ask(name)

    def _ask(self, name: str) -> None:
        self._asked.put(name)
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._serve, name="custom-check", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while (name := self._next()) is not None:
            with self._lock:
                entry = self._entries.get(name)
            if entry is not None and entry.state.phase is Phase.CHECKING:
                self._check(name, entry)
                self._on_change()

    def _next(self) -> str | None:
        """What was asked for; None ends the thread, and who asks after that starts another."""
        with self._lock:
            if self._asked.empty() or self._stopping.is_set():
                self._thread = None
                return None
            return self._asked.get()

    def _check(self, name: str, entry: _Entry) -> None:
        """Read and try what was seen, and note it, unless that is no longer what is there."""
        spec, before, form = entry.seen
        try:
            checksum = f"sha256:{digest(entry.path, 'sha256')}"
            size_mb = max(1, round(entry.path.stat().st_size / 1e6))
        except OSError as error:
            self._note(name, entry, spec, _failed(_unreadable(spec, error)))
            return
        spec = replace(spec, checksum=checksum, download_mb=size_mb)
        if form is not None and form.made != checksum:
            self._note(name, entry, spec, _failed(forms.changed(name)))
            return
        with self._lock:
            afresh = name in self._afresh
            self._afresh.discard(name)
        tried = None if afresh else self._kept(spec)
        if tried is None:
            tried = self._run(spec, entry.path, self._limits, self._stopping)
            if tried is None:
                return
            if tried.problem is not None:
                self._stopping.wait(_SETTLE_S)
            if _file(entry.path) != before:
                self._look_again(name, entry)
                return
            self._keep(spec, tried)
        if tried.problem is None:
            log.info("custom_ready", model=name, load_s=tried.load_s, run_s=tried.run_s)
            state = WeightsState(phase=Phase.READY, fraction=1.0, path=entry.path, ran_s=tried.run_s)
        else:
            log.warning("custom_failed", model=name, code=tried.problem.code, why=tried.problem.message)
            state = _failed(tried.problem)
        self._note(name, entry, spec, state)

    def _note(self, name: str, entry: _Entry, spec: ModelSpec, state: WeightsState) -> None:
        with self._lock:
            if self._entries.get(name) is entry:
                self._entries[name] = replace(entry, spec=spec, state=state)

    def _look_again(self, name: str, entry: _Entry) -> None:
        """It changed while it was tried: it is seen as it is now, and tried again."""
        with self._lock:
            if self._entries.get(name) is not entry:
                return
            self._entries[name] = self._as_now(entry)
        self._asked.put(name)

    def _as_now(self, entry: _Entry) -> _Entry:
        spec, _, form = entry.seen
        return self._new((spec, _file(entry.path), form), entry.path)

    def _new(self, seen: Seen, path: Path) -> _Entry:
        spec, file, form = seen
        problem = _no_file(spec) if file is None else None
        if problem is None and form is not None:
            problem = forms.refusal(spec.name, form, threads=self._limits.threads, choice=self._limits.choice)
        state = WeightsState(phase=Phase.CHECKING) if problem is None else _failed(problem)
        return _Entry(seen=seen, path=path, spec=spec, state=state)

    def _kept(self, spec: ModelSpec) -> Probe | None:
        try:
            return Probe.of_json(self._place(spec).read_text())
        except (OSError, ValueError):
            return None

    def _keep(self, spec: ModelSpec, tried: Probe) -> None:
        place = self._place(spec)
        part = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(tried.to_json())
            os.replace(part, place)
        except OSError as error:  # then it is tried again at the next start
            log.warning("probe_not_kept", model=spec.name, why=str(error))
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _place(self, spec: ModelSpec) -> Path:
        return self._kept_in / f"{hashlib.sha256(probe.rules_of(spec).encode()).hexdigest()[:40]}.json"


def _file(path: Path) -> tuple[str, int, int] | None:
    """The file as it is now; None where there is none, or a pipe or device, which could be read for ever."""
    return signature(path) if path.is_file() else None


def _failed(problem: Problem) -> WeightsState:
    return WeightsState(phase=Phase.FAILED, problem=problem)


def _no_file(spec: ModelSpec) -> Problem:
    return Problem(
        code="custom_no_file",
        message=f"There is no {spec.file_name} beside {spec.name}.toml.",
        advice="Put it there; it is noticed by itself.",
    )


def _unreadable(spec: ModelSpec, error: OSError) -> Problem:
    return Problem(
        code="weights_unreadable",
        message=f"{spec.file_name} cannot be read: {error.strerror or error}.",
        advice="See to it that the server may read it; then check it again.",
    )
