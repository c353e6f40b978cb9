"""An onnxruntime that pretends to have CUDA: what it is asked is noted, and the CPU does the work."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
PATH = Path(__file__).parent / "path"
"""Put before the real one on PYTHONPATH, it pretends as `PRETENDED_CUDA` says: works, fails."""


class Pretended:
    """`InferenceSession` of an onnxruntime that has these providers.

    Without `works` its sessions fall back to the CPU when they are made, as onnxruntime-gpu does it without
    CUDA's libraries; after `gives_up` with their next run, as it does it where a run fails. More pictures at
    once than `room` are too many for the memory it pretends to have; with `leaves_card` it then goes on with
    the CPU, for good, where the session was not told not to.
    """

    def __init__(self, real: Callable[..., Any], *providers: str, works: bool = True) -> None:
        self._real = real
        self.providers = list(providers)
        self.works = works
        self.gives_up = False
        self.room: int | None = None
        self.leaves_card = False
        self.says = "Failed to allocate memory for requested buffer of size 419430400"
        self.runs: list[int] = []
        """The pictures of each run."""
        self.asked: list[list[Any]] = []

    def get_available_providers(self) -> list[str]:
        return self.providers

    def __call__(self, path: str, sess_options: Any = None, *, providers: Sequence[Any]) -> "_Session":
        self.asked.append(list(providers))
        names = [one if isinstance(one, str) else one[0] for one in providers]
        real = self._real(path, sess_options, providers=[CPU])
        return _Session(self, real, names if self.works else [CPU])


class _Session:
    def __init__(self, maker: Pretended, real: Any, providers: list[str]) -> None:
        self._maker, self._real, self._providers = maker, real, providers
        self._falls_back = True

    def disable_fallback(self) -> None:
        self._falls_back = False

    def enable_fallback(self) -> None:
        self._falls_back = True

    def get_providers(self) -> list[str]:
        return self._providers

    def run(self, outputs: Any, given: Mapping[str, Any], *more: Any) -> Any:
        if self._maker.gives_up:
            self._providers = [CPU]
        pictures = len(next(iter(given.values())))
        self._maker.runs.append(pictures)
        no_room = self._maker.room is not None and pictures > self._maker.room
        if no_room and self._maker.leaves_card and self._falls_back:
            self._providers = [CPU]
        elif no_room:
            # Not before: the module that pretends imports this one first.
            from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

            raise RuntimeException(self._maker.says)
        return self._real.run(outputs, given, *more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def pretend(onnxruntime: Any, *providers: str, works: bool = True) -> Pretended:
    """Change the real module for good: for processes that end after the test."""
    made = Pretended(onnxruntime.InferenceSession, *providers, works=works)
    onnxruntime.InferenceSession = made
    onnxruntime.get_available_providers = made.get_available_providers
    return made
