"""What has to be known of an ONNX file before it is loaded, or changed in it, without the `onnx` package.

A protobuf file is a tree of numbered fields, and those that matter here are few. Two things are asked:
whether its weights are elsewhere (such a file names others by path, which would be read from wherever that
leads, and its checksum would say nothing of them), and the same network for any number of pictures at once.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

_TENSOR, _SPARSE = "tensor", "sparse"
_WITHIN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: _TENSOR, 15: _SPARSE},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
"""Which fields of each message hold which others (onnx.proto3)."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14

_TO_BATCH: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {11: "value", 12: "value"},
    "value": {2: "type"},
    "type": {1: "tensor_type"},
    "tensor_type": {2: "shape"},
    "shape": {1: "side"},
}
"""The way to the first sides of inputs (11) and outputs (12)."""
_VALUE_INFO = 13
_SIDE_OF_ONE = b"\x08\x01"
_FREE_SIDE = b"\x0a\x07\x12\x05batch"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Data = bytes | mmap.mmap


def has_external_data(path: Path) -> bool:
    """Whether a tensor of the model is kept in another file.

    Raises ValueError where it is no protobuf file, or one that is cut short, and OSError.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        waiting = [("model", 0, len(data))]
        while waiting:
            kind, start, end = waiting.pop()
            for number, wire, value, length, _ in _fields(data, start, end):
                if kind == _TENSOR and (
                    number == _EXTERNAL_DATA or (number == _DATA_LOCATION and wire == _VARINT and value == 1)
                ):
                    return True
                inner = _WITHIN[kind].get(number)
                if inner is not None and wire == _BYTES:
                    waiting.append((inner, value, value + length))
    return False


def has_fixed_batch(path: Path) -> bool:
    """Whether the model takes one input, and that of one picture at a time. Raises as `has_external_data`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        sides = []
        for graph in _within(data, [(0, len(data))], 7):
            for given in _within(data, [graph], 11):
                shape = [given]
                for field in (2, 1, 2, 1):  # its type, of a tensor, the shape of that, a side
                    shape = _within(data, shape[:1], field)
                sides += [data[start:end] for start, end in shape[:1]]
        return sides == [_SIDE_OF_ONE]


def free_batch(path: Path, target: Path) -> None:
    """Write the same model for any number of pictures at once.

    The first side of inputs and outputs is freed where it is 1. What else the file says of shapes is left
    out: onnxruntime works them out itself. Raises as `has_external_data` does.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        target.open("xb") as out,
    ):
        for part in _freed(data, "model", 0, len(data)):
            out.write(part if isinstance(part, bytes) else data[part.start : part.stop])


def _freed(data: Data, kind: str, start: int, end: int) -> list[bytes | range]:
    """The parts of a message, with the batch freed: new ones, and where those are that stay."""
    parts: list[bytes | range] = []
    at = start
    for number, wire, value, _, after in _fields(data, start, end):
        inner = _TO_BATCH[kind].get(number)
        if kind == "shape" and not parts and data[value:after] == _SIDE_OF_ONE:
            parts.append(_FREE_SIDE)
        elif inner is not None and wire == _BYTES and kind != "shape":
            within = _freed(data, inner, value, after)
            parts += [_written(number << 3 | _BYTES), _written(sum(map(len, within))), *within]
        elif (kind, number) != ("graph", _VALUE_INFO):
            parts.append(range(at, after))
        at = after
    return parts


def _within(data: Data, messages: list[tuple[int, int]], field: int) -> list[tuple[int, int]]:
    """Where in these messages those of that number begin and end."""
    return [
        (value, after)
        for start, end in messages
        for number, wire, value, _, after in _fields(data, start, end)
        if number == field and wire == _BYTES
    ]


def _written(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _fields(data: Data, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number, wire type, and value, of each field, and where it ends; of those with a length, the value is
    where it begins, and the length is the fourth."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire, length, value = key >> 3, key & 7, 0, at
        if wire == _VARINT:
            value, at = _varint(data, at, end)
        elif wire == _BYTES:
            length, value = _varint(data, at, end)
            at = value + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field has the unknown type {wire}")
        if at > end or number == 0:
            raise ValueError("it ends in the middle of a field")
        yield number, wire, value, length, at


def _varint(data: Data, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("it ends in the middle of a number")
