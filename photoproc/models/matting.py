"""Running a model: rembg's sessions, or our own for custom models, one for each model and child process."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc import machine
from photoproc.errors import ModelError
from photoproc.models.catalogue import LOADED_MB, ModelSpec
from photoproc.models.graphs import options_for, prepared
from photoproc.models.network import NetworkSession
from photoproc.models.providers import CPU, Choice
from photoproc.models.sessions import (
    Session,
    of_onnxruntime,
    out_of_memory,
    providers_for,
    ran_on,
    session_options,
    threads_matter,
)
from photoproc.models.weights import verify

_SMALL_SIDE = 320
"""Models that see pictures of this many pixels a side, or fewer, share the memory they run in: u2net, u2netp
and silueta, half a gigabyte at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A mask at the model's own size (height × width, uint8), and what made it."""

    mask: NDArray[np.uint8]
    provider: str
    """The execution provider that ran, as onnxruntime names it."""


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
        """Of what is loaded and run from now on. onnxruntime fixes them when it loads a model, so one that
        runs on one core and on all of them is loaded twice."""
        self._sessions: dict[tuple[ModelSpec, int], Any] = {}
        self._prepared: dict[ModelSpec, Path] = {}
        """Of loaded models, which need no second check to be loaded for other threads."""

    def _place(self, spec: ModelSpec) -> tuple[ModelSpec, int]:
        return spec, self.threads if threads_matter(self._choice) else 0

    def has(self, spec: ModelSpec) -> bool:
        """Whether the model is loaded, for so many threads where these matter."""
        return self._place(spec) in self._sessions

    def load(self, spec: ModelSpec, weights: Path) -> None:
        """Load a model, and let go of those used longest ago where they are too many.

        Raises ModelError weights_checksum, weights_unreadable, weights_changed, provider_missing or
        model_broken, and MemoryError.
        """
        while self._sessions and sum(one.download_mb for one in (*self._loaded(), spec)) > LOADED_MB:
            del self._sessions[next(iter(self._sessions))]
        self._prepared = {one: path for one, path in self._prepared.items() if one in self._loaded()}
        self._sessions[self._place(spec)] = self._session(spec, weights)
        machine.trim()  # a third of what loading takes is only for loading

    def _loaded(self) -> list[ModelSpec]:
        return [spec for spec, _ in self._sessions]

    def predict(self, picture: Image.Image, spec: ModelSpec, *, lean: bool = False) -> Prediction:
        """Predict the mask of an RGB picture that is at `spec.input_wh` already, by a loaded model.

        `lean`: what the run takes is given back at once. Raises ModelError model_broken or provider_missing,
        and MemoryError.
        """
        place = self._place(spec)
        session = self._sessions[place] = self._sessions.pop(place)  # the order is that of their last use
        session.inner_session.lean = lean
        try:
            # A model that sees the same everywhere gives 0/0, which becomes an empty mask.
            with np.errstate(invalid="ignore", divide="ignore"):
                mask = np.asarray(session.predict(picture)[0].convert("L"))
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError(str(error)) from error
            if isinstance(error, ModelError):  # a custom model's, which says more
                raise
            if of_onnxruntime(error) or isinstance(error, ValueError | IndexError):
                raise ModelError(
                    "model_broken",
                    f"The model {spec.name} could not run on this photo.",
                    "Choose another model.",
                ) from error
            raise
        try:
            provider = ran_on(session.inner_session, self._choice, spec.name)
        except ModelError:  # it gave the provider up in this run: the next task may have better luck
            del self._sessions[place]
            raise
        return Prediction(mask=mask, provider=provider)

    def _session(self, spec: ModelSpec, weights: Path) -> Any:
        providers = providers_for(self._choice, threads=self.threads)
        on_cpu = providers == [CPU]
        small = not spec.custom and max(spec.input_wh) <= _SMALL_SIDE
        options = partial(session_options, self.threads, shared=small and on_cpu)
        session = None
        if on_cpu and self._graphs is not None:  # which they are prepared for
            session = self._of_prepared(spec, weights, self._graphs, options)
        if session is None:
            verify(weights, spec)
            session = self._opened(spec, weights, options(), providers)
        session.inner_session = Session(session.inner_session)
        ran_on(session.inner_session, self._choice, spec.name)
        return session

    def _of_prepared(
        self, spec: ModelSpec, weights: Path, folder: Path, options: Callable[[], Any]
    ) -> Any | None:
        """A session of the prepared model; None where it has none, or it is lost meanwhile."""
        graph = self._prepared.get(spec)
        if graph is None:
            verify(weights, spec)
            graph = prepared(weights, spec, folder)
            if graph is None:
                return None
        try:
            session = self._opened(spec, graph, options_for(options()), [CPU])
        except ModelError:
            self._prepared.pop(spec, None)
            return None
        self._prepared[spec] = graph
        return session

    @staticmethod
    def _opened(spec: ModelSpec, path: Path, options: Any, providers: list[Any]) -> Any:
        try:
            if spec.custom:
                return NetworkSession(path, spec, options, providers)
            base = _rembg_sessions()[spec.name]
            here = {
                # rembg finds (or downloads) the file itself; ours is at hand and verified.
                "download_models": classmethod(lambda *_, **__: str(path)),
                # The provider that ran is reported instead; this takes names only, without options.
                "_warn_on_provider_fallback": lambda *_: None,
            }
            return type(base.__name__, (base,), here)(spec.name, options, providers=providers)
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError(str(error)) from error
            if of_onnxruntime(error):
                raise ModelError(
                    "model_broken",
                    f"The weights of {spec.name} cannot be loaded.",
                    f"Check {spec.name} again on the System page."
                    if spec.custom
                    else "Delete the file and download it again on the System page.",
                ) from error
            raise


def _rembg_sessions() -> dict[str, Any]:
    """rembg's session classes by model name.

    `import rembg` compiles pymatting's numba kernels (a minute on a fresh machine) for alpha matting.
    The sessions need none of it, so the package is entered without running its `__init__`.
    """
    if "rembg" not in sys.modules:
        spec = importlib.util.find_spec("rembg")
        assert spec is not None
        sys.modules["rembg"] = importlib.util.module_from_spec(spec)
    found: dict[str, Any] = importlib.import_module("rembg.sessions").sessions
    return found
