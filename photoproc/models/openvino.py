"""OpenVINO, Intel's runtime for processors of any maker: a network in it, used as onnxruntime's sessions are.

It runs a model's file as it is, in the same 32 bits, and faster than onnxruntime does on the processors this
was measured on; and in bfloat16, twice as fast again, where the processor has that.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoproc import machine
from photoproc.models.catalogue import Precision
from photoproc.models.providers import OPENVINO

SUFFIX = ".xml"
"""What the file of a network in OpenVINO's own form ends with; `.bin` beside it has its numbers."""

_TYPES = {"f32": "tensor(float)", "f16": "tensor(float16)"}


class OpenVinoError(RuntimeError):
    """OpenVINO cannot load a network, or run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An input or output of a network, in onnxruntime's words."""

    name: str
    type: str
    shape: list[int | None]


class OpenVinoSession:
    """A loaded network. Not thread-safe."""

    batched = False

    def __init__(self, path: Path, *, threads: int, precision: Precision = "f32") -> None:
        """Load an ONNX file, or what `convert` wrote. Raises OpenVinoError, and MemoryError."""
        self.lean = False
        """Whether a run's memory is given back at once; asking for it anew takes a tenth of u2net's time."""
        properties = _properties(threads, precision)
        try:
            self._network: Any = _core().compile_model(str(path), "CPU", properties)
            self._request: Any = self._network.create_infer_request()
        except (RuntimeError, ImportError, OSError) as error:
            raise OpenVinoError(str(error)) from error
        self._ports: dict[str, Any] = {
            name: port for port in self._network.outputs for name in port.get_names()
        }

    def run(self, outputs: Sequence[str] | None, given: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """What the network gives, as onnxruntime does it: those outputs, or all. Raises OpenVinoError."""
        if self.lean:
            machine.trim()
        try:
            self._request.infer({name: np.ascontiguousarray(values) for name, values in given.items()})
            asked = self._network.outputs if outputs is None else [self._ports[name] for name in outputs]
            found = [self._request.get_tensor(port).data.copy() for port in asked]
            if self.lean:
                self._network.release_memory()
        except (RuntimeError, KeyError) as error:
            raise OpenVinoError(str(error)) from error
        if self.lean:
            machine.trim()
        return found

    def get_providers(self) -> list[str]:
        """What it runs on, by onnxruntime's name for it."""
        return [OPENVINO]

    def get_inputs(self) -> list[Value]:
        """What it takes."""
        return [_value(port) for port in self._network.inputs]

    def get_outputs(self) -> list[Value]:
        """What it gives."""
        return [_value(port) for port in self._network.outputs]


def convert(weights: Path, file: Path) -> None:
    """Write an ONNX file in OpenVINO's own form, which loads faster, its numbers mapped from the disk.

    Raises OpenVinoError where it cannot read it; OSError where it cannot write, or is not there itself.
    """
    try:
        core = _core()
        from openvino import save_model
    except ImportError as error:
        raise OSError(f"OpenVINO cannot be loaded: {error}") from error
    try:
        network = core.read_model(weights)
    except RuntimeError as error:
        raise OpenVinoError(str(error)) from error
    try:
        save_model(network, file, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _properties(threads: int, precision: Precision) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # each process would take the same core
    }


@cache
def _core() -> Any:
    # Its tools for converting models send word of each import to a statistics service, and are not needed.
    sys.modules.setdefault("openvino.tools", None)  # type: ignore[arg-type]
    from openvino import Core

    return Core()


def _value(port: Any) -> Value:
    shape = [side.get_length() if side.is_static else None for side in port.get_partial_shape()]
    kind = port.get_element_type().get_type_name()
    return Value(name=port.get_any_name(), type=_TYPES.get(kind, kind), shape=shape)
