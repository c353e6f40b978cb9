"""Custom models for tests, sound and broken in every way, as ONNX files written by hand; and descriptions."""

import struct
from pathlib import Path

from tests.models.tiny_onnx import _field, _varint

SIDE = 32
FLOAT, INT64, BOOL, FLOAT16 = 1, 7, 9, 10
TOML = """licence = "MIT"
input_size = [32, 32]
mean = [0, 0, 0]
std = [1, 1, 1]
divide_by = 255
activation = "none"
"""
LIKE_U2NET = """licence = "Apache-2.0"
input_size = [320, 320]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


def put(folder: Path, name: str, data: bytes | None, toml: str = TOML) -> Path:
    """A model with its description in a folder; the ONNX file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    if data is not None:
        path.write_bytes(data)
    (folder / f"{name}.toml").write_text(toml)
    return path


def averaging(
    *,
    side: int = SIDE,
    channels: int = 3,
    inputs: int = 1,
    keep: int = 1,
    over: tuple[int, ...] = (1,),
    kind: int = FLOAT,
    opset: int = 13,
    operation: str = "ReduceMean",
    dynamic: bool = False,
) -> bytes:
    """The mean of the channels as a mask, 1 × 1 × side × side; or something near it that does not fit."""
    axes = _ints("axes", list(over))
    node = _node(operation, ["x"], ["y"], axes + _int("keepdims", keep))
    shape: tuple[int | str, ...] = (1, channels, side, side)
    if dynamic:
        shape = ("n", channels, "h", "w")
    given = b"".join(_field(11, _value("xzw"[n], kind, shape)) for n in range(inputs))
    return _model(node + given + _field(12, _value("y", kind, None)), opset)


def two_outputs() -> bytes:
    """The mean of the channels as `mean`, its negative as `less`."""
    axes = _ints("axes", [1]) + _int("keepdims", 1)
    nodes = _node("ReduceMean", ["x"], ["mean"], axes) + _node("Neg", ["mean"], ["less"])
    given = _field(11, _value("x", FLOAT, (1, 3, SIDE, SIDE)))
    made = _field(12, _value("mean", FLOAT, None)) + _field(12, _value("less", FLOAT, None))
    return _model(nodes + given + made)


def misread() -> bytes:
    """The mean of the channels as `mean`, and their sum as `sum`, by an operator that OpenVINO takes for the
    sum of all: its axes are an attribute up to opset 17."""
    axes = _ints("axes", [1]) + _int("keepdims", 1)
    nodes = _node("ReduceMean", ["x"], ["mean"], axes) + _node("ReduceL1", ["x"], ["sum"], axes)
    given = _field(11, _value("x", FLOAT, (1, 3, SIDE, SIDE)))
    made = _field(12, _value("mean", FLOAT, None)) + _field(12, _value("sum", FLOAT, None))
    return _model(nodes + given + made)


def mixing() -> bytes:
    """The mean of the channels, and that of all pictures of a run added."""
    nodes = _node("ReduceMean", ["x"], ["mean"], _ints("axes", [1]) + _int("keepdims", 1))
    nodes += _node("ReduceMean", ["mean"], ["all"], _ints("axes", [0]) + _int("keepdims", 1))
    return _model(nodes + _node("Add", ["mean", "all"], ["y"]) + _ends())


def reshaping() -> bytes:
    """The mean of the channels, brought into the shape of one picture's mask."""
    nodes = _node("ReduceMean", ["x"], ["mean"], _ints("axes", [1]) + _int("keepdims", 1))
    sides = b"".join(side.to_bytes(8, "little") for side in (1, 1, SIDE, SIDE))
    shape = _field(5, _tensor("shape", INT64, (4,), sides))
    return _model(nodes + _node("Reshape", ["mean", "shape"], ["y"]) + shape + _ends())


def no_numbers() -> bytes:
    """The square root of what is below zero: NaN everywhere."""
    axes = _ints("axes", [1]) + _int("keepdims", 1)
    nodes = _node("ReduceMean", ["x"], ["m"], axes) + _node("Sub", ["m", "ten"], ["s"])
    nodes += _node("Sqrt", ["s"], ["y"])
    ten = _field(5, _tensor("ten", FLOAT, (1,), b"\x00\x00\x20\x41"))
    return _model(nodes + ten + _ends())


def hungry(side: int = 2_000_000) -> bytes:
    """It fills a matrix of side × side floats, 16 TB, on its way."""
    size = side.to_bytes(8, "little")
    nodes = _node("ConstantOfShape", ["shape"], ["all"]) + _node("ReduceMax", ["all"], ["m"])
    axes = _ints("axes", [1]) + _int("keepdims", 1)
    nodes += _node("ReduceMean", ["x"], ["mean"], axes) + _node("Add", ["mean", "m"], ["y"])
    shape = _field(5, _tensor("shape", INT64, (2,), size + size))
    return _model(nodes + shape + _ends())


def endless() -> bytes:
    """A loop of 10^15 rounds over a mask."""
    rounds = _field(5, _tensor("rounds", INT64, (), (10**15).to_bytes(8, "little")))
    return _model(_looping() + rounds + _ends())


def hungry_for_white(floats: int) -> bytes:
    """It fills so many floats on its way where the picture is white all over, and none where it has black."""
    nodes = _whiteness(floats) + _node("Reshape", ["count", "one"], ["shape"])
    nodes += _node("ConstantOfShape", ["shape"], ["all"])
    nodes += _node("ReduceSum", ["all"], ["sum"]) + _node("Mul", ["sum", "none"], ["nothing"])
    nodes += _node("Add", ["mean", "nothing"], ["y"])
    one = _field(5, _tensor("one", INT64, (1,), (1).to_bytes(8, "little")))
    none = _field(5, _tensor("none", FLOAT, (), bytes(4)))
    return _model(nodes + one + none + _ends())


def endless_for_white() -> bytes:
    """A loop of 10^15 rounds where the picture is white all over, of none where it has black."""
    nodes = _whiteness(10**15) + _node("Reshape", ["count", "scalar"], ["rounds"])
    scalar = _field(5, _tensor("scalar", INT64, (0,), b""))
    return _model(nodes + scalar + _looping(mean=False) + _ends())


def _whiteness(most: int) -> bytes:
    """Nodes that make `mean` of the channels, and `count`: `most` where the darkest of it is 1, 0 where 0."""
    nodes = _node("ReduceMean", ["x"], ["mean"], _ints("axes", [1]) + _int("keepdims", 1))
    nodes += _node("ReduceMin", ["mean"], ["darkest"], _int("keepdims", 0))
    nodes += _node("Floor", ["darkest"], ["white"]) + _node("Mul", ["white", "most"], ["much"])
    nodes += _node("Cast", ["much"], ["count"], _int("to", INT64))
    return nodes + _field(5, _tensor("most", FLOAT, (), struct.pack("<f", most)))


def _looping(*, mean: bool = True) -> bytes:
    """Nodes that make `y` of the mean of the channels, in as many rounds as `rounds` says."""
    body = _node("Identity", ["go"], ["go_on"]) + _node("Sin", ["v"], ["v_next"])
    body += _field(2, "body")
    body += _field(11, _value("i", INT64, ())) + _field(11, _value("go", BOOL, ()))
    body += _field(11, _value("v", FLOAT, None))
    body += _field(12, _value("go_on", BOOL, ())) + _field(12, _value("v_next", FLOAT, None))
    inner = _field(5, _field(1, "body") + _field(6, body) + _field(20, 5))
    axes = _ints("axes", [1]) + _int("keepdims", 1)
    nodes = _node("ReduceMean", ["x"], ["mean"], axes) if mean else b""
    nodes += _node("Loop", ["rounds", "yes", "mean"], ["y"], inner)
    return nodes + _field(5, _tensor("yes", BOOL, (), b"\x01"))


def external(location: str = "weights.bin", *, in_subgraph: bool = False) -> bytes:
    """A sound model one of whose numbers is in another file."""
    entry = _field(13, _field(1, "location") + _field(2, location))
    elsewhere = _field(1, SIDE * SIDE) + _field(2, FLOAT) + _field(8, "w") + entry + _field(14, 1)
    axes = _ints("axes", [1]) + _int("keepdims", 1)
    nodes = _node("ReduceMean", ["x"], ["y"], axes)
    if in_subgraph:
        constant = _field(5, _field(1, "value") + _field(5, elsewhere) + _field(20, 4))
        body = _field(2, "branch") + _node("Constant", [], ["c"], constant)
        branch = _field(5, _field(1, "then_branch") + _field(6, body) + _field(20, 5))
        return _model(nodes + _node("If", ["x"], ["z"], branch) + _ends())
    return _model(nodes + _field(5, elsewhere) + _ends())


def _ends(side: int = SIDE) -> bytes:
    return _field(11, _value("x", FLOAT, (1, 3, side, side))) + _field(12, _value("y", FLOAT, None))


def _model(graph: bytes, opset: int = 13) -> bytes:
    return _field(1, 8) + _field(7, graph + _field(2, "own")) + _field(8, _field(1, "") + _field(2, opset))


def _node(operation: str, inputs: list[str], outputs: list[str], attributes: bytes = b"") -> bytes:
    ends = b"".join(_field(1, one) for one in inputs) + b"".join(_field(2, one) for one in outputs)
    return _field(1, ends + _field(4, operation) + attributes)


def _ints(name: str, values: list[int]) -> bytes:
    return _field(5, _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, 7))


def _int(name: str, value: int) -> bytes:
    return _field(5, _field(1, name) + _field(3, value) + _field(20, 2))


def _tensor(name: str, kind: int, shape: tuple[int, ...], raw: bytes) -> bytes:
    dims = b"".join(_varint(1 << 3) + _varint(side) for side in shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, raw)


def _value(name: str, kind: int, shape: tuple[int | str, ...] | None) -> bytes:
    """What is said of an input or output; without a shape where it is None."""
    dims = b""
    if shape is not None:
        sides = (_field(1, _field(1 if isinstance(side, int) else 2, side)) for side in shape)
        dims = _field(2, b"".join(sides))
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + dims))
