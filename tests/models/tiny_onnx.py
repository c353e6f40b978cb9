"""ONNX models of one node, written by hand: the `onnx` package is not needed for that."""

_INT, _BYTES = 0, 2
_FLOAT, _OPSET, _IR = 1, 13, 8


def averaging(side: int) -> bytes:
    """1 × 3 × side × side in, the mean of the channels, 1 × 1 × side × side, out."""
    axes = _field(1, "axes") + _field(8, 1) + _field(20, 7)
    return _model(side, "ReduceMean", axes)


def flat(side: int) -> bytes:
    """The same shapes, but it sees the same everywhere: the sign of a number that cannot be negative."""
    return _model(side, "ReduceL1", _field(1, "axes") + _field(8, 1) + _field(20, 7), then="IsNaN")


def _model(side: int, operation: str, attribute: bytes, then: str | None = None) -> bytes:
    middle = "y" if then is None else "z"
    nodes = _field(1, _field(1, "x") + _field(2, middle) + _field(4, operation) + _field(5, attribute))
    if then is not None:
        cast = _field(1, "to") + _field(3, _FLOAT) + _field(20, 2)
        nodes += _field(1, _field(1, "z") + _field(2, "b") + _field(4, then))
        nodes += _field(1, _field(1, "b") + _field(2, "y") + _field(4, "Cast") + _field(5, cast))
    graph = (
        nodes
        + _field(2, "tiny")
        + _field(11, _tensor("x", (1, 3, side, side)))
        + _field(12, _tensor("y", (1, 1, side, side)))
    )
    return _field(1, _IR) + _field(7, graph) + _field(8, _field(1, "") + _field(2, _OPSET))


def _tensor(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, dims)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """A protobuf field: a number, or anything with a length."""
    if isinstance(value, int):
        return _varint(number << 3 | _INT) + _varint(value)
    body = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
