"""ncnn: the same masks as onnxruntime's, each operator as onnxruntime computes it, and what it cannot run."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from photoproc.errors import ModelError
from photoproc.models import graphs, ncnn
from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.forms import runs_on
from photoproc.models.matting import Prediction
from photoproc.models.ncnn import NcnnError, NcnnSession, NotConvertedError
from photoproc.models.providers import CPU, NCNN, OPENVINO, Choice
from photoproc.models.sessions import available, of_runtime, opened, session_options
from tests.models import own_onnx
from tests.models.support import damage, lean_saves_mb, weights_file
from tests.models.test_network import placed as placed_custom
from tests.models.test_openvino import in_bfloat16, ran

CHOSEN = Choice(name="ncnn")
SIDE = own_onnx.SIDE

SCALES: dict[str, list[float]] = {
    "none": [],
    "twice": [1, 1, 2, 2],
    "half": [1, 1, 0.5, 0.5],
    "about": [1, 1, 2.005, 2.005],
    "channels": [1, 2, 2, 1],
}

Node = tuple[str, Sequence[str], str, dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


def network(
    *nodes: Node,
    kernels: Sequence[tuple[int, ...]] = (),
    kind: int = TensorProto.FLOAT,
    sides: tuple[int | str, int | str] = (SIDE, SIDE),
    outputs: Sequence[str] = ("y",),
    constant: NDArray[Any] | None = None,
    opset: int = 17,
) -> bytes:
    """A network from x to y; its kernels are w0, w1 …, and each has a bias b0, b1 …; and a constant c."""
    random = np.random.default_rng(0)
    numbers = []
    for place, shape in enumerate(kernels):
        for name, of in ((f"w{place}", shape), (f"b{place}", shape[:1])):
            values = random.normal(size=of).astype(helper.tensor_dtype_to_np_dtype(kind))
            numbers.append(numpy_helper.from_array(values, name))
    for name, several in SCALES.items():
        numbers.append(numpy_helper.from_array(np.array(several, np.float32), name))
    numbers += [] if constant is None else [numpy_helper.from_array(constant, "c")]
    graph = helper.make_graph(
        [helper.make_node(operator, given, [found], **more) for operator, given, found, more in nodes],
        "made",
        [helper.make_tensor_value_info("x", kind, [1, 3, *sides])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        numbers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def conv(given: str = "x", found: str = "y", number: int = 0, **more: Any) -> Node:
    return "Conv", [given, f"w{number}", f"b{number}"], found, {"kernel_shape": [3, 3], **more}


def resize(given: str, by: str, how: str, mode: str = "linear") -> Node:
    return "Resize", [given, "none", by], "y", {"mode": mode, "coordinate_transformation_mode": how}


SAME: dict[str, Any] = {"pads": [1, 1, 1, 1]}
WIDE = (16, 3, 3, 3)
MASK = (1, 16, 3, 3)

CONVERTED: dict[str, bytes] = {
    "Winograd": network(conv(found="a", **SAME), conv("a", number=1, **SAME), kernels=[WIDE, (16, 16, 3, 3)]),
    "no bias": network(("Conv", ["x", "w0"], "y", SAME), kernels=[WIDE]),
    "gaps": network(conv(dilations=[2, 3], pads=[2, 3, 2, 3]), kernels=[WIDE]),
    "steps": network(conv(strides=[2, 1], **SAME), kernels=[WIDE]),
    "uneven": network(conv(pads=[0, 1, 2, 3]), kernels=[WIDE]),
    "not square": network(conv(kernel_shape=[1, 5], pads=[0, 2, 0, 2]), kernels=[(8, 3, 1, 5)]),
    "groups": network(
        conv(found="a", **SAME), conv("a", number=1, group=4, **SAME), kernels=[WIDE, (8, 4, 3, 3)]
    ),
    "ReLU": network(conv(found="a", **SAME), ("Relu", ["a"], "y", {}), kernels=[WIDE]),
    "ReLU of what is used besides": network(
        conv(found="a", **SAME), ("Relu", ["a"], "b", {}), ("Add", ["a", "b"], "y", {}), kernels=[WIDE]
    ),
    "ReLU of the picture": network(("Relu", ["x"], "y", {})),
    "pool": network(("MaxPool", ["x"], "y", {"kernel_shape": [2, 2], "strides": [2, 2]})),
    "pool, ceiling": network(
        ("MaxPool", ["x"], "y", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}), sides=(31, 46)
    ),
    "pool, floor": network(
        ("MaxPool", ["x"], "y", {"kernel_shape": [2, 2], "strides": [2, 2]}), sides=(31, 46)
    ),
    "pool, uneven": network(
        ("MaxPool", ["x"], "y", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]})
    ),
    "larger": network(resize("x", "twice", "half_pixel")),
    "larger, PyTorch": network(resize("x", "twice", "pytorch_half_pixel")),
    "smaller": network(resize("x", "half", "half_pixel")),
    "corners": network(resize("x", "twice", "align_corners")),
    "sum": network(conv(**SAME, found="a"), ("Sub", ["x", "a"], "y", {}), kernels=[(3, 3, 3, 3)]),
    "product": network(conv(**SAME, found="a"), ("Mul", ["a", "x"], "y", {}), kernels=[(3, 3, 3, 3)]),
    "one with itself": network(("Add", ["x", "x"], "y", {})),
    "together": network(
        conv(found="a", **SAME),
        ("Concat", ["a", "x", "a"], "b", {"axis": 1}),
        ("Sigmoid", ["b"], "y", {}),
        kernels=[WIDE],
    ),
    "from the end": network(("Concat", ["x", "x"], "y", {"axis": -3})),
    "any size": network(conv(**SAME), kernels=[WIDE], sides=("h", "w")),
    "outputs, one of them used": network(
        conv(found="a", **SAME),
        conv("a", "y", **SAME),
        kernels=[(3, 3, 3, 3)],
        outputs=("y", "a"),
    ),
    "not square, all of it": network(
        conv(found="a", strides=[1, 2], pads=[1, 0, 0, 2]),
        ("MaxPool", ["a"], "b", {"kernel_shape": [3, 2], "strides": [2, 1]}),
        resize("b", "twice", "half_pixel"),
        kernels=[WIDE],
        sides=(46, 31),
    ),
}


def both(data: bytes, folder: Path) -> list[list[NDArray[Any]]]:
    """What ncnn and onnxruntime give."""
    folder.mkdir(exist_ok=True)
    weights, made = folder / "made.onnx", folder / "graph.param"
    weights.write_bytes(data)
    plain = opened(weights, session_options(1), [CPU])
    height, width = (side if isinstance(side, int) else SIDE for side in plain.get_inputs()[0].shape[2:])
    ncnn.convert(weights, made, input_wh=(width, height))
    values = np.random.default_rng(1).normal(size=(1, 3, height, width))
    # Of 64 bits for ncnn: what is converted for it has to live as long as its run.
    return [
        session.run(None, {"x": values.astype(kind)})
        for session, kind in ((NcnnSession(made, threads=1), np.float64), (plain, np.float32))
    ]


@pytest.mark.parametrize("name", CONVERTED)
def test_an_operator_gives_what_it_gives_by_onnxruntime(name: str, folder: Path) -> None:
    for found, plain in zip(*both(CONVERTED[name], folder), strict=True):
        assert found.shape == plain.shape
        assert np.ptp(plain) > 0.5
        assert np.abs(found - plain).max() < 1e-4 * np.ptp(plain)


def pool(**more: Any) -> Node:
    return "MaxPool", ["x"], "y", {"kernel_shape": [2, 2], **more}


@pytest.mark.parametrize(
    "data",
    [
        own_onnx.averaging(),
        network(resize("x", "twice", "asymmetric", "nearest")),
        network(resize("x", "twice", "half_pixel", "cubic")),
        network(("Resize", ["x", "twice"], "y", {"mode": "linear"}), opset=10),
        network(resize("x", "about", "half_pixel")),
        network(resize("x", "channels", "half_pixel")),
        network(
            ("Resize", ["x", "none", "half"], "y", {"mode": "linear", "antialias": 1}),
            opset=18,
        ),
        network(("Concat", ["x", "x"], "y", {"axis": 2})),
        network(("Concat", ["x", "c"], "y", {"axis": 1}), constant=np.ones((1, 2, SIDE, SIDE), np.float32)),
        network(("Conv", ["x", "x"], "y", {})),
        network(("Conv", ["x", "w0"], "y", {"auto_pad": "SAME_UPPER"}), kernels=[WIDE]),
        network(pool(dilations=[2, 2])),
        network(pool(kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1)),
        network(("Split", ["x"], "y", {"axis": 2}), opset=11),
        network(conv(found="a", **SAME), ("Add", ["a", "b0"], "y", {}), kernels=[(SIDE, 3, 3, 3)]),
        network(("Relu", ["c"], "y", {}), constant=np.ones((1, 1, SIDE, SIDE), np.float32)),
        network(conv(**SAME), kernels=[WIDE], kind=TensorProto.FLOAT16),
        b"no model",
        b"",
    ],
    ids=[
        *("mean", "nearest", "cubic", "old", "about", "channels", "antialias", "rows", "constant"),
        *("no kernel", "auto", "gaps", "beyond", "one part", "row", "no picture", "16 bits", "none", "empty"),
    ],
)
def test_what_is_not_converted_is_said(data: bytes, tmp_path: Path) -> None:
    weights = tmp_path / "made.onnx"
    weights.write_bytes(data)
    with pytest.raises(NotConvertedError):
        ncnn.convert(weights, tmp_path / "graph.param", input_wh=(SIDE, SIDE))
    assert [file.name for file in tmp_path.iterdir()] == ["made.onnx"]


@pytest.mark.models
@pytest.mark.parametrize("name", ["u2netp", "u2net"])
def test_the_real_models_give_the_masks_that_onnxruntime_gives(
    name: str, model_dir: Path, folder: Path
) -> None:
    spec, path = CATALOGUE[name], weights_file(model_dir, name)
    plain = ran(spec, path, folder, Choice(name="cpu"))
    first, again = (ran(spec, path, folder, CHOSEN, threads=threads) for threads in (1, 2))
    assert (plain.provider, first.provider, again.provider) == (CPU, NCNN, NCNN)
    assert plain.mask.max() == 255
    assert np.abs(first.mask.astype(int) - plain.mask).max() <= 1
    assert np.array_equal(first.mask, again.mask), "it depends on the number of threads"
    [place] = folder.glob("*ncnn*")
    assert {file.name for file in place.iterdir()} == {
        *("graph.param", "graph.bin", "graph.json", "sha256.json")
    }


def masked(tmp_path: Path, more: str = "") -> tuple[ModelSpec, Path]:
    """A custom model that it runs."""
    data = network(
        conv(found="a", **SAME), conv("a", "m", 1, **SAME), ("Sigmoid", ["m"], "y", {}), kernels=[WIDE, MASK]
    )
    return placed_custom(tmp_path, data, own_onnx.TOML + more)


def test_what_it_cannot_run_is_onnxruntimes_and_is_looked_at_once(tmp_path: Path, folder: Path) -> None:
    spec, path = placed_custom(tmp_path, own_onnx.averaging())
    assert ran(spec, path, folder, CHOSEN).provider == CPU
    [place] = folder.glob("*ncnn*")
    assert [file.name for file in place.iterdir()] == ["sha256.json"]
    made = (place / "sha256.json").stat().st_mtime_ns
    assert ran(spec, path, folder, CHOSEN).provider == CPU
    assert (place / "sha256.json").stat().st_mtime_ns == made
    with pytest.raises(ModelError, match="ncnn cannot run it"):
        ran(spec, path, folder, Choice(name="ncnn", required=True))


@pytest.mark.parametrize(
    "error", [NcnnError("ncnn could not load the numbers (-1)"), MemoryError(), OSError()], ids=repr
)
def test_what_kept_it_from_being_looked_at_says_nothing_of_the_model(
    error: Exception, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    spec, path = masked(tmp_path)
    for module, name in ((ncnn, "convert"), (onnx, "load")):
        with monkeypatch.context() as now:
            now.setattr(module, name, fails)
            assert ran(spec, path, folder, CHOSEN).provider == CPU
    assert not list(folder.glob("*ncnn*"))
    assert ran(spec, path, folder, CHOSEN).provider == NCNN


def test_what_gives_another_mask_is_onnxruntimes(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrongly(weights: Path, file: Path, *, input_wh: tuple[int, int]) -> None:
        right(weights, file, input_wh=input_wh)
        file.write_text(file.read_text().replace("Sigmoid", "ReLU"))

    spec, path = masked(tmp_path)
    right: Callable[..., None] = ncnn.convert
    with monkeypatch.context() as now:
        now.setattr(ncnn, "convert", wrongly)
        assert ran(spec, path, folder, CHOSEN).provider == CPU
    [place] = folder.glob("*ncnn*")
    assert [file.name for file in place.iterdir()] == ["sha256.json"]
    assert ran(spec, path, folder / "another", CHOSEN).provider == NCNN


_DIES = """
import os, sys
from pathlib import Path
from photoproc.models import graphs, ncnn
from photoproc.models.providers import NCNN
from tests.models.test_ncnn import masked
ncnn.convert = lambda *_, **__: os.abort()
print(graphs.prepared(*reversed(masked(Path(sys.argv[1]))), Path(sys.argv[2]), provider=NCNN))
"""


def test_a_model_that_kills_whoever_prepares_it_does_so_twice(tmp_path: Path, folder: Path) -> None:
    command = [sys.executable, "-c", _DIES, str(tmp_path), str(folder)]
    ended = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(3)]
    assert [one.returncode for one in ended] == [-6, -6, 0]
    assert ended[2].stdout == "None\n"
    spec, path = masked(tmp_path)
    assert ran(spec, path, folder, CHOSEN).provider == CPU
    for left in folder.glob(".*ncnn*"):  # an hour later
        os.utime(left, (0, 0))
    assert ran(spec, path, folder, CHOSEN).provider == NCNN


@pytest.mark.parametrize(
    ("name", "how"), [("graph.param", "cut short"), ("graph.bin", "changed"), ("graph.json", "gone")]
)
def test_a_damaged_one_is_made_again(name: str, how: str, tmp_path: Path, folder: Path) -> None:
    spec, path = masked(tmp_path)
    made = graphs.prepared(path, spec, folder, provider=NCNN)
    assert made is not None
    damage(made.with_name(name), how)
    assert not graphs._is_whole(made.parent)
    assert graphs.prepared(path, spec, folder, provider=NCNN) == made
    assert ran(spec, path, folder, CHOSEN).provider == NCNN


@pytest.mark.parametrize("name", ["graph.param", "graph.bin", "graph.json"])
def test_what_cannot_be_loaded_is_an_error_of_the_model(name: str, tmp_path: Path, folder: Path) -> None:
    spec, path = masked(tmp_path)
    made = graphs.prepared(path, spec, folder, provider=NCNN)
    assert made is not None
    made.with_name(name).unlink()
    with pytest.raises(NcnnError) as raised:
        NcnnSession(made, threads=1)
    assert of_runtime(raised.value)


def test_a_run_that_cannot_be_is_an_error_of_the_model(tmp_path: Path, folder: Path) -> None:
    spec, path = masked(tmp_path)
    made = graphs.prepared(path, spec, folder, provider=NCNN)
    assert made is not None
    session = NcnnSession(made, threads=1)
    [given], [found] = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("x", "tensor(float)", [1, 3, SIDE, SIDE])
    assert (found.name, found.shape) == ("y", [1, 1, SIDE, SIDE])
    values = np.zeros((1, 3, SIDE, SIDE), np.float32)
    for outputs, of in ((["y"], {"x": values[..., 1:]}), (["z"], {"x": values}), (["y"], {"z": values})):
        with pytest.raises(NcnnError) as raised:
            session.run(outputs, of)
        assert of_runtime(raised.value)


@pytest.mark.skipif(OPENVINO not in available(), reason="there is no OpenVINO for this kind of machine")
def test_forms_in_bfloat16_stay_openvinos(tmp_path: Path, folder: Path) -> None:
    spec, path = masked(tmp_path)
    found: Prediction = ran(in_bfloat16(spec), path, folder, Choice(name="ncnn", required=True))
    assert found.provider == OPENVINO
    assert not CHOSEN.is_passed_over(OPENVINO, available())
    assert CHOSEN.is_passed_over(CPU, available())


@pytest.mark.parametrize("missing", ["ncnn", "onnx"])
def test_where_a_package_is_not_installed_that_is_said(
    missing: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path = masked(tmp_path)
    monkeypatch.setattr("photoproc.models.sessions.version_of", lambda of: "" if of == missing else "1")
    assert NCNN not in available()
    assert ran(spec, path, folder, CHOSEN).provider == CPU
    with pytest.raises(ModelError, match="ncnn or onnx is not installed") as raised:
        ran(spec, path, folder, Choice(name="ncnn", required=True))
    assert "pip install ncnn onnx" in raised.value.problem.advice


def test_what_was_measured_of_a_form_ends_with_another_ncnn_where_that_is_chosen() -> None:
    assert "ncnn 1" in runs_on(1, CHOSEN)
    assert "ncnn" not in runs_on(1)


@pytest.mark.models
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_lean_run_gives_its_memory_back(model_dir: Path, tmp_path: Path) -> None:
    made = tmp_path / "graph.param"
    ncnn.convert(weights_file(model_dir, "u2netp"), made, input_wh=(320, 320))
    assert lean_saves_mb(made) > 80
