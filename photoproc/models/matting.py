"""Running a model: rembg's sessions, or our own for custom models, one for each model and child process."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc import machine
from photoproc.errors import ModelError
from photoproc.models.batches import Ran, fed, in_runs, read, why_not
from photoproc.models.catalogue import LOADED_MB, ModelSpec
from photoproc.models.checksums import verify
from photoproc.models.graphs import for_batches, options_for, prepared
from photoproc.models.network import NetworkSession
from photoproc.models.providers import BATCHING, CPU, ON_THE_PROCESSOR, OPENVINO, Choice, Limit
from photoproc.models.sessions import (
    available,
    of_runtime,
    opened,
    out_of_memory,
    providers_for,
    ran_on,
    session_options,
    threads_matter,
)

_SMALL_SIDE = 320
"""Models that see pictures of this many pixels a side, or fewer, share the memory they run in: u2net, u2netp
and silueta, half a gigabyte at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A mask at the model's own size (height × width, uint8), and what made it."""

    mask: NDArray[np.uint8]
    provider: str
    """The execution provider that ran, by onnxruntime's name for it."""
    batch: int = 1
    """How many pictures shared the run."""


class Matting:
    """The loaded models of this process: those used last.

    Not thread-safe: a child runs one task at a time.
    """

    def __init__(self, *, threads: int, graphs: Path | None = None, choice: Choice | None = None) -> None:
        """`graphs` is the folder of prepared models; without one each process prepares its own. `choice` is
        what models are to run on."""
        self._graphs = graphs
        self._choice = choice or Choice()
        self.threads = threads
        """Of what is loaded and run from now on. They are fixed when a model is loaded, so one that runs on
        one core and on all of them is loaded twice."""
        self._sessions: dict[tuple[ModelSpec, int], Any] = {}
        self._prepared: dict[tuple[ModelSpec, str], Path] = {}
        """Of loaded models, which need no second check to be loaded for other threads."""
        self._limits: dict[ModelSpec, Limit] = {}

    def limit(self, spec: ModelSpec) -> Limit | None:
        """How many pictures a model takes in one run at most, where that was found out; on a card only."""
        return self._limits.get(spec)

    def _place(self, spec: ModelSpec) -> tuple[ModelSpec, int]:
        return spec, self.threads if threads_matter(self._choice) else 0

    def has(self, spec: ModelSpec, *, batch: bool = False) -> bool:
        """Whether the model is loaded, for so many threads where these matter.

        And, with `batch`, so that it takes several pictures in one run, if it can do that here at all.
        """
        session = self._sessions.get(self._place(spec))
        return session is not None and (
            not batch or session.inner_session.batched or not self._may_batch(spec)
        )

    def load(self, spec: ModelSpec, weights: Path, *, batch: bool = False) -> None:
        """Load a model, and let go of those used longest ago where they are too many.

        With `batch` so that it takes several pictures in one run, where it can. Raises ModelError
        weights_checksum, weights_unreadable, weights_changed, provider_missing or model_broken, and
        MemoryError.
        """
        place = self._place(spec)
        self._sessions.pop(place, None)
        while self._sessions and sum(one.download_mb for one in (*self._loaded(), spec)) > LOADED_MB:
            del self._sessions[next(iter(self._sessions))]
        self._prepared = {one: path for one, path in self._prepared.items() if one[0] in self._loaded()}
        session = self._batched(spec, weights) if batch and self._may_batch(spec) else None
        session = session or self._session(spec, weights)
        if spec.precision == "bf16" and session.inner_session.get_providers()[0] != OPENVINO:
            raise _not_in_bfloat16(spec)
        self._sessions[place] = session
        machine.trim()  # a third of what loading takes is only for loading

    def _loaded(self) -> list[ModelSpec]:
        return [spec for spec, _ in self._sessions]

    def predict(self, picture: Image.Image, spec: ModelSpec, *, lean: bool = False) -> Prediction:
        """Predict the mask of an RGB picture that is at `spec.input_wh` already, by a loaded model.

        `lean`: what the run takes is given back at once. Raises ModelError model_broken or provider_missing,
        and MemoryError.
        """
        [found] = self.predict_each([picture], spec, lean=lean)
        if isinstance(found, Exception):
            raise found
        return found

    def predict_each(
        self, pictures: Sequence[Image.Image], spec: ModelSpec, *, lean: bool = False
    ) -> list[Prediction | Exception]:
        """The same of several pictures, in one run where the model was loaded for that, on a card.

        What is raised for one of them stands in its place; for all of them provider_missing is raised.
        """
        place = self._place(spec)
        session = self._sessions[place] = self._sessions.pop(place)  # the order is that of their last use
        inner = session.inner_session
        inner.lean = lean
        most = self._limits[spec].photos if spec in self._limits else len(pictures)
        if not inner.batched or inner.get_providers()[0] not in BATCHING:
            most = 1
        try:
            each = [fed(session, picture) for picture in pictures]
        except Exception as error:
            told = _told(error, spec)
            if told is error:
                raise
            raise told from error
        ran = in_runs(session, each, most, partial(self._lower, spec))
        try:
            provider = ran_on(inner, self._choice, spec.name)
        except ModelError:  # it gave the provider up in this run: the next task may have better luck
            del self._sessions[place]
            raise
        return [
            _predicted(session, picture, one, spec, provider)
            for picture, one in zip(pictures, ran, strict=True)
        ]

    def _lower(self, spec: ModelSpec, photos: int) -> None:
        self._limits[spec] = Limit(photos=photos, why="there is too little memory for more photos at once")

    def _may_batch(self, spec: ModelSpec) -> bool:
        limit = self._limits.get(spec)
        on_card = self._choice.of(available()) in BATCHING
        return on_card and self._graphs is not None and (limit is None or limit.photos > 1)

    def _batched(self, spec: ModelSpec, weights: Path) -> Any | None:
        """A session that takes several pictures in one run; None, and a limit, where the model cannot."""
        assert self._graphs is not None
        verify(weights, spec)
        path, why = for_batches(weights, spec, self._graphs), "its file cannot be changed for that"
        if path is not None:
            try:
                session = self._ready(spec, path, batched=True)
            except ModelError as error:
                if error.problem.code == "provider_missing":
                    raise
                why = "onnxruntime cannot load it for more than one"
            else:
                on_card = session.inner_session.get_providers()[0] in BATCHING
                why = why_not(session, spec.input_wh) if on_card else ""
                if not why:
                    return session
        self._limits[spec] = Limit(photos=1, why=why)
        return None

    def _session(self, spec: ModelSpec, weights: Path) -> Any:
        provider = self._choice.of(available())
        if provider in ON_THE_PROCESSOR and self._graphs is not None:  # which models are prepared for
            if spec.precision == "bf16":
                provider = OPENVINO if OPENVINO in available() else CPU
            for prepared_for in dict.fromkeys((provider, CPU)):
                session = self._of_prepared(spec, weights, self._graphs, prepared_for)
                if session is not None:
                    return session
        verify(weights, spec)
        return self._ready(spec, weights)

    def _ready(self, spec: ModelSpec, path: Path, *, is_prepared: bool = False, batched: bool = False) -> Any:
        """A session of a file that was verified."""
        providers = providers_for(self._choice)
        small = not spec.custom and max(spec.input_wh) <= _SMALL_SIDE
        options = session_options(self.threads, shared=small and providers == [CPU])
        session = self._opened(
            spec, path, options_for(options) if is_prepared else options, providers, batched=batched
        )
        ran_on(session.inner_session, self._choice, spec.name)
        return session

    def _of_prepared(self, spec: ModelSpec, weights: Path, folder: Path, provider: str) -> Any | None:
        """A session of the prepared model; None where it has none, or it is lost meanwhile."""
        for graph in (self._prepared.pop((spec, provider), None), None):  # what was known may be lost
            if graph is None:
                verify(weights, spec)
                graph = prepared(weights, spec, folder, provider=provider)
            if graph is None:
                return None
            try:
                session = self._ready(spec, graph, is_prepared=True)
            except ModelError:
                continue
            self._prepared[spec, provider] = graph
            return session
        return None

    @staticmethod
    def _opened(spec: ModelSpec, path: Path, options: Any, providers: list[Any], *, batched: bool) -> Any:
        try:
            inner = opened(path, options, providers, batched=batched, precision=spec.precision)
            return NetworkSession(inner, spec) if spec.custom else _of_rembg(spec, inner)
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError(str(error)) from error
            if of_runtime(error):
                raise ModelError(
                    "model_broken",
                    f"The weights of {spec.name} cannot be loaded.",
                    f"Check {spec.name} again on the System page."
                    if spec.custom
                    else "Delete the file and download it again on the System page.",
                ) from error
            raise


def _predicted(
    session: Any, picture: Image.Image, ran: Ran, spec: ModelSpec, provider: str
) -> Prediction | Exception:
    if isinstance(ran.found, Exception):
        return _told(ran.found, spec)
    try:
        mask = read(session, picture, ran.found)
    except (ModelError, MemoryError, ValueError, IndexError) as error:
        return _told(error, spec)
    return Prediction(mask=mask, provider=provider, batch=ran.shared)


def _told(error: Exception, spec: ModelSpec) -> Exception:
    """What is said of an error in a run; raises what is none of onnxruntime's or the model's."""
    if isinstance(error, MemoryError | ModelError):  # a custom model's, which says more
        return error
    if out_of_memory(error):
        told: Exception = MemoryError(str(error))
    elif of_runtime(error) or isinstance(error, ValueError | IndexError):
        told = ModelError(
            "model_broken", f"The model {spec.name} could not run on this photo.", "Choose another model."
        )
    else:
        raise error
    told.__cause__ = error
    return told


def _not_in_bfloat16(spec: ModelSpec) -> ModelError:
    """As its original's masks are no masks of a form."""
    return ModelError(
        "provider_missing",
        f"{spec.name} is its original in bfloat16, which OpenVINO did not run here: the package openvino is "
        "missing, there was no room (data folder, memory) to prepare it, or a graphics card was chosen.",
        "Use its original, or see to that and retry.",
    )


def _of_rembg(spec: ModelSpec, inner: Any) -> Any:
    """rembg's session of a model. Its own way to make one finds (or downloads) the file and loads it by
    onnxruntime."""
    kind = _rembg_session(spec.name)
    session = kind.__new__(kind)
    session.model_name, session.inner_session = spec.name, inner
    return session


def _rembg_session(name: str) -> Any:
    """rembg's session class of a model. Raises KeyError where it has none.

    It is imported alone where that can be done, which is not so of most of birefnet's: all of them together
    bring scipy, which none that is offered needs, 14 MB and a seventh of a second in each child.
    """
    _entered("rembg")
    package = _entered("rembg.sessions")
    file = name.replace("isnet", "dis").replace("-", "_")
    with suppress(ImportError):  # some want a name of the package
        module = importlib.import_module(f"{package.__name__}.{file}")
        kinds: list[Any] = [kind for kind in vars(module).values() if inspect.isclass(kind)]
        for kind in kinds:
            if kind.__module__ == module.__name__ and kind.name() == name:
                return kind
    return _rembg_sessions()[name]


def _rembg_sessions() -> dict[str, Any]:
    """rembg's session classes by model name."""
    _entered("rembg")
    package = _entered("rembg.sessions")
    if not hasattr(package, "sessions_class"):  # among the last it makes: one that broke off begins again
        package.__spec__.loader.exec_module(package)
    found: dict[str, Any] = package.sessions
    return found


def _entered(package: str) -> Any:
    """A package whose modules can be imported without what its `__init__` would import.

    That of rembg compiles pymatting's numba kernels (a minute on a fresh machine) for alpha matting. From
    then on `import rembg` is of no use in this process.
    """
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        sys.modules[package] = importlib.util.module_from_spec(spec)
    return sys.modules[package]
