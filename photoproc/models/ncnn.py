"""ncnn, Tencent's runtime for processors: a network in it, used as onnxruntime's sessions are.

It computes convolutions of 3 × 3 by Winograd's method (A. Lavin and S. Gray, Fast Algorithms for
Convolutional Neural Networks, 2015), in 32 bits and with a quarter of the multiplications; the numbers laid
out for that take three times the room. Its own converter needs PyTorch, so the few operators of networks
like u2net are converted here; what has others is onnxruntime's to run.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from photoproc import machine
from photoproc.models.openvino import Value
from photoproc.models.providers import NCNN

SUFFIX = ".param"
"""What the file of a network in ncnn's own form ends with; `.bin` beside it has its numbers, and `.json` the
names that its inputs and outputs had."""

FORM = 1
"""Counted up when another form is written, or other networks are converted."""

_MAGIC = 7767517
_NO_MEMORY = -100
"""What ncnn returns where it was given no memory."""
_LEAST_OPSET = 11
"""Before, Resize was another operator."""
_BINARY = {"Add": 0, "Sub": 1, "Mul": 2}
_RELU = 1


class NcnnError(RuntimeError):
    """ncnn cannot load a network, or run it; for want of memory as well, which it does not always say."""


class NotConvertedError(NcnnError):
    """A network has an operator that is not converted, or is none."""


class NcnnSession:
    """A loaded network. Not thread-safe."""

    batched = False

    def __init__(self, path: Path, *, threads: int) -> None:
        """Load what `convert` wrote. Raises NcnnError, and MemoryError."""
        self.lean = False
        """Whether a run's memory is given back at once; asking for it anew takes a tenth of u2net's time."""
        try:
            import ncnn

            told = json.loads(path.with_suffix(".json").read_text())
        except (ImportError, OSError, ValueError) as error:
            raise NcnnError(str(error)) from error
        self._mat, self._network = ncnn.Mat, ncnn.Net()
        options = self._network.opt
        options.num_threads = threads
        options.blob_allocator, options.workspace_allocator = _pools()
        for fewer in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
            setattr(options, f"use_{fewer}", False)
        _checked(self._network.load_param(str(path)), "load the network")
        _checked(self._network.load_model(str(path.with_suffix(".bin"))), "load the numbers")
        self._inputs, self._outputs = ([Value(**one) for one in told[key]] for key in ("inputs", "outputs"))
        self._blobs: dict[str, str] = told["blobs"]

    def run(self, outputs: Sequence[str] | None, given: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """What the network gives, as onnxruntime does it: those outputs, or all. Raises NcnnError."""
        if self.lean:
            machine.trim()
        asked = [one.name for one in self._outputs] if outputs is None else outputs
        extractor = self._network.create_extractor()
        try:
            for one in self._inputs:
                values = np.ascontiguousarray(given[one.name], np.float32)
                if list(values.shape) != one.shape:
                    raise NcnnError(f"it is given {values.shape}, and takes {one.shape}")
                own = self._mat(values[0]).clone()  # without that it is NumPy's memory, also after this
                _checked(extractor.input(self._blobs[one.name], own), "take its input")
            found = [self._extracted(extractor, name) for name in asked]
        except KeyError as error:
            raise NcnnError(f"it has no {error}") from error
        finally:
            del extractor
            if self.lean:
                for pool in _pools():
                    pool.clear()
                machine.trim()
        return found

    def _extracted(self, extractor: Any, name: str) -> NDArray[Any]:
        code, values = extractor.extract(self._blobs[name])
        _checked(code, "run")
        return np.array(values, np.float32)[None]  # a copy: its memory is used for the next run

    def get_providers(self) -> list[str]:
        """What it runs on, by a name like those of onnxruntime."""
        return [NCNN]

    def get_inputs(self) -> list[Value]:
        """What it takes."""
        return self._inputs

    def get_outputs(self) -> list[Value]:
        """What it gives."""
        return self._outputs


def convert(weights: Path, file: Path, *, input_wh: tuple[int, int]) -> None:
    """Write an ONNX file that sees pictures of this size in ncnn's own form.

    Raises NotConvertedError where it has what is not converted; where that cannot be found out NcnnError,
    MemoryError, or OSError: it cannot be written, or is not there itself, or the package onnx is not.
    """
    try:
        graph = _folded(weights, file.with_suffix(".onnx"), input_wh)
    except ImportError as error:
        raise OSError(f"onnx cannot be loaded: {error}") from error
    try:
        made = _Written(graph)
        for node in graph.node:
            made.add(node)
        text, told = made.text(), made.told()
    except (LookupError, ValueError, TypeError) as error:
        raise NotConvertedError(f"it is put together in a way that is not converted: {error!r}") from error
    file.write_text(text)
    with file.with_suffix(".bin").open("xb") as numbers:
        for part in made.numbers:
            numbers.write(part)
    file.with_suffix(".json").write_text(json.dumps(told))


def _folded(weights: Path, file: Path, input_wh: tuple[int, int]) -> Any:
    """The network for that size, with whatever is constant computed, by onnxruntime."""
    import onnx

    try:
        model = onnx.load(weights)
        if any(one.domain in ("", "ai.onnx") and one.version < _LEAST_OPSET for one in model.opset_import):
            raise NotConvertedError("its operators are of an old kind")
        [given] = [one for one in model.graph.input if one.name not in _tensors(model.graph)]
        for side, size in zip(given.type.tensor_type.shape.dim, (1, 3, *input_wh[::-1]), strict=True):
            side.dim_value = size
        del model.graph.value_info[:]
        for one in model.graph.output:
            one.type.tensor_type.ClearField("shape")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        del model
        return onnx.shape_inference.infer_shapes(onnx.load(file)).graph
    except (OSError, MemoryError, NcnnError):
        raise
    except Exception as error:  # protobuf's, onnx's and onnxruntime's have no common kind
        kind = NcnnError if type(error).__module__.startswith("onnxruntime") else NotConvertedError
        raise kind(str(error)) from error
    finally:
        file.unlink(missing_ok=True)


@dataclass(kw_only=True)
class _Layer:
    kind: str
    given: list[str]
    found: str
    numbers: dict[int, int | float] = field(default_factory=dict)


class _Written:
    """A network as ncnn's text and numbers."""

    def __init__(self, graph: Any) -> None:
        import onnx

        self._graph = graph
        self._attributes = onnx.helper.get_node_attr_value
        self._array = onnx.numpy_helper.to_array
        self._constants = _tensors(graph)
        self._shapes = {
            one.name: [side.dim_value for side in one.type.tensor_type.shape.dim]
            for one in (*graph.input, *graph.value_info, *graph.output)
        }
        self._inputs = [one.name for one in graph.input if one.name not in self._constants]
        self._asked = Counter(name for node in graph.node for name in node.input)
        self._asked.update(one.name for one in graph.output)
        self._layers = [_Layer(kind="Input", given=[], found=name) for name in self._inputs]
        self.numbers: list[bytes] = []

    def add(self, node: Any) -> None:
        """One operator more. Raises NcnnError where it is none of those that are converted."""
        given = [name for name in node.input if name and name not in self._constants]
        known = node.op_type in ("Conv", "Resize")  # which have constants
        if len(node.output) != 1 or not given or (len(given) != len(node.input) and not known):
            raise _not_converted(node)
        [found] = node.output
        layer = _Layer(kind=node.op_type, given=given, found=found)
        shapes = [self._shapes.get(name, []) for name in (*given, found)]
        if node.domain not in ("", "ai.onnx") or any(
            len(shape) != 4 or shape[0] != 1 or not all(shape) for shape in shapes
        ):
            raise _not_converted(node)
        match node.op_type:
            case "Conv":
                self._convolution(node, layer)
            case "Relu":
                last = self._layers[-1]
                if last.kind.startswith("Conv") and last.found == given[0] and self._asked[given[0]] == 1:
                    last.found, last.numbers[9] = found, _RELU
                    return
                layer.kind = "ReLU"
            case "MaxPool":
                self._pooling(node, layer)
            case "Resize":
                self._resized(node, layer)
            case "Concat" if self._number(node, "axis", 0) in (1, -3):
                layer.numbers = {0: 0}
            case "Add" | "Sub" | "Mul" if len(given) == 2 and shapes[0] == shapes[1]:
                layer.kind, layer.numbers = "BinaryOp", {0: _BINARY[node.op_type]}
            case "Sigmoid":
                pass
            case _:
                raise _not_converted(node)
        self._layers.append(layer)

    def _number(self, node: Any, name: str, usual: Any) -> Any:
        there = any(one.name == name for one in node.attribute)
        value = self._attributes(node, name) if there else usual
        return value.decode() if isinstance(value, bytes) else value

    def _window(self, node: Any, kernel: Sequence[int]) -> dict[int, int | float]:
        """Width and height of the window, of its steps, and of the gaps in it."""
        if len(kernel) != 2 or self._number(node, "auto_pad", "NOTSET") != "NOTSET":
            raise _not_converted(node)
        return {
            place + over: int(size)
            for place, sizes in (
                (1, kernel),
                (2, self._number(node, "dilations", [1, 1])),
                (3, self._number(node, "strides", [1, 1])),
            )
            for over, size in ((10, sizes[0]), (0, sizes[1]))
        }

    def _convolution(self, node: Any, layer: _Layer) -> None:
        constants = [self._constants.get(name) for name in node.input[1:]]
        if len(layer.given) != 1 or not constants or None in constants:
            raise _not_converted(node)
        arrays = [np.ascontiguousarray(self._array(one), "<f4") for one in constants]
        if any(one.data_type != 1 for one in constants if one is not None):  # 32 bits
            raise _not_converted(node)
        kernel, groups = arrays[0], self._number(node, "group", 1)
        top, left, bottom, right = self._number(node, "pads", [0, 0, 0, 0])
        layer.kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
        layer.numbers = {0: kernel.shape[0], **self._window(node, kernel.shape[2:])}
        layer.numbers |= {4: left, 14: top, 15: right, 16: bottom, 5: int(len(arrays) > 1), 6: kernel.size}
        if groups > 1:
            layer.numbers[7] = groups
        self.numbers += [bytes(4), *(one.tobytes() for one in arrays)]  # 0: of 32 bits, as they are

    def _pooling(self, node: Any, layer: _Layer) -> None:
        window = self._window(node, self._number(node, "kernel_shape", []))
        top, left, bottom, right = self._number(node, "pads", [0, 0, 0, 0])
        if window.pop(2) != 1 or window.pop(12) != 1:
            raise _not_converted(node)
        ceiling = bool(self._number(node, "ceil_mode", 0))
        for side, over, first, last in zip(
            self._shapes[layer.given[0]][2:], (10, 0), (top, left), (bottom, right), strict=True
        ):
            steps = -(-(side + first + last - window[1 + over]) // window[3 + over])
            if ceiling and steps * window[3 + over] >= side + first:  # onnxruntime leaves such a window out
                raise _not_converted(node)
        layer.kind = "Pooling"
        layer.numbers = {0: 0, 1: window[1], 11: window[11], 2: window[3], 12: window[13]}
        layer.numbers |= {3: left, 13: top, 14: right, 15: bottom, 5: int(not ceiling)}

    def _resized(self, node: Any, layer: _Layer) -> None:
        how = self._number(node, "coordinate_transformation_mode", "half_pixel")
        [before, after] = (self._shapes[name] for name in (layer.given[0], layer.found))
        halves = how == "half_pixel" or (how == "pytorch_half_pixel" and min(after[2:]) > 1)
        usual = all(
            self._number(node, name, value) == value
            for name, value in (("mode", "linear"), ("antialias", 0), ("keep_aspect_ratio_policy", "stretch"))
        )
        factors = self._constants.get(node.input[2]) if len(node.input) > 2 else None
        scales = [] if factors is None else self._array(factors).tolist()
        exact = all(old * scale == new for old, scale, new in zip(before, scales, after, strict=bool(scales)))
        if (
            len(layer.given) != 1
            or before[:2] != after[:2]
            or not usual
            or "mode" not in (one.name for one in node.attribute)  # else nearest
            or not (how == "align_corners" or (halves and exact))
        ):
            raise _not_converted(node)
        height, width = after[2:]
        layer.kind = "Interp"
        layer.numbers = {0: 2, 3: height, 4: width, 6: int(how == "align_corners")}

    def text(self) -> str:
        """What ncnn is to compute. What several layers take is split for them."""
        lines: list[str] = []
        names: dict[str, list[str]] = {}
        count = 0
        for place, layer in enumerate(self._layers):
            taken = [names[name].pop() for name in layer.given]
            numbers = [f"{key}={value}" for key, value in sorted(layer.numbers.items())]
            blob = f"b{place}"
            lines.append(_line(layer.kind, f"l{place}", taken, [blob], numbers))
            count += 1
            uses = self._asked[layer.found]
            names[layer.found] = [blob]
            if uses > 1:
                names[layer.found] = [f"{blob}_{use}" for use in range(uses)]
                lines.append(_line("Split", f"s{place}", [blob], names[layer.found], []))
                count += uses
        self._blobs = {name: names[name][-1] for name in (one.name for one in self._graph.output)}
        self._blobs |= {name: f"b{place}" for place, name in enumerate(self._inputs)}
        return "\n".join([str(_MAGIC), f"{len(lines)} {count}", *lines, ""])

    def told(self) -> dict[str, Any]:
        """The names of inputs and outputs, of what they are, and where they are in ncnn's text."""
        outputs = [one.name for one in self._graph.output]
        each = {
            key: [asdict(Value(name=name, type="tensor(float)", shape=[*self._shapes[name]])) for name in of]
            for key, of in (("inputs", self._inputs), ("outputs", outputs))
        }
        return {**each, "blobs": self._blobs}


@cache
def _pools() -> tuple[Any, Any]:
    """What the runs of all sessions take their memory from, and keep for the next."""
    import ncnn

    return ncnn.PoolAllocator(), ncnn.PoolAllocator()


def _line(kind: str, name: str, given: list[str], found: list[str], numbers: list[str]) -> str:
    return " ".join([kind, name, str(len(given)), str(len(found)), *given, *found, *numbers])


def _tensors(graph: Any) -> dict[str, Any]:
    return {one.name: one for one in graph.initializer}


def _not_converted(node: Any) -> NotConvertedError:
    return NotConvertedError(f"{node.op_type} is not converted as it is used here")


def _checked(code: int, what: str) -> None:
    if code == _NO_MEMORY:
        raise MemoryError(f"ncnn has too little memory to {what}")
    if code != 0:
        raise NcnnError(f"ncnn could not {what} ({code})")
