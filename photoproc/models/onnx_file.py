"""What has to be known of an ONNX file before it is loaded: whether its weights are elsewhere.

Such a file names others by path, which would be read from wherever that leads, and its checksum would
say nothing of them. The `onnx` package is not needed to see that: a protobuf file is a tree of numbered
fields, and those that can hold a tensor are few.
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
            for number, wire, value, length in _fields(data, start, end):
                if kind == _TENSOR and (
                    number == _EXTERNAL_DATA or (number == _DATA_LOCATION and wire == _VARINT and value == 1)
                ):
                    return True
                inner = _WITHIN[kind].get(number)
                if inner is not None and wire == _BYTES:
                    waiting.append((inner, value, value + length))
    return False


def _fields(data: Data, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and value, of each field; of those with a length, where it begins and the length."""
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
        yield number, wire, value, length


def _varint(data: Data, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("it ends in the middle of a number")
