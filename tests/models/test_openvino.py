"""OpenVINO: the same masks as onnxruntime's, told apart from it, and nothing sent to anybody."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models import graphs, openvino, probe
from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.forms import form_spec
from photoproc.models.matting import Matting, Prediction
from photoproc.models.openvino import OpenVinoError, OpenVinoSession
from photoproc.models.providers import CPU, OPENVINO, Choice, version_of
from photoproc.models.sessions import available, of_runtime, out_of_memory
from photoproc.samples import form_photos
from tests.models import own_onnx, tiny_onnx
from tests.models.support import damage, lean_saves_mb, soft_iou, spec_for, weights_file
from tests.models.test_network import placed as placed_custom
from tests.pictures import picture

CHOSEN = Choice(name="openvino")
LIMITS = probe.Limits(timeout_s=60)

pytestmark = pytest.mark.skipif(
    not version_of("openvino"), reason="there is no OpenVINO for this kind of machine"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


def ran(spec: ModelSpec, path: Path, folder: Path | None, choice: Choice, *, threads: int = 1) -> Prediction:
    """What a fresh process would say of the same picture."""
    matting = Matting(threads=threads, graphs=folder, choice=choice)
    matting.load(spec, path)
    return matting.predict(picture(*spec.input_wh), spec)


@pytest.mark.models
@pytest.mark.parametrize("name", ["u2netp", "u2net"])
def test_the_real_models_give_the_masks_that_onnxruntime_gives(
    name: str, model_dir: Path, folder: Path
) -> None:
    spec, path = CATALOGUE[name], weights_file(model_dir, name)
    plain = ran(spec, path, folder, Choice(name="cpu"))
    first, again = (ran(spec, path, folder, CHOSEN, threads=threads) for threads in (1, 2))
    assert (plain.provider, first.provider, again.provider) == (CPU, OPENVINO, OPENVINO)
    assert np.abs(first.mask.astype(int) - plain.mask).max() <= 1
    assert np.array_equal(first.mask, again.mask), "it depends on the number of threads"
    [place] = folder.glob("*openvino*")
    assert {file.name for file in place.iterdir()} == {"graph.xml", "graph.bin", "sha256.json"}


@pytest.mark.models
def test_a_form_in_bfloat16_is_what_it_runs_without_being_chosen(model_dir: Path, folder: Path) -> None:
    path, original = weights_file(model_dir, "u2netp"), CATALOGUE["u2netp"]
    form = replace(form_spec(original, "bf16"), checksum=original.checksum, download_mb=5)
    photo = Image.open(form_photos()[1][0]).convert("RGB").resize((320, 320), Image.Resampling.LANCZOS)
    for choice in (Choice(), Choice(name="cpu", required=True)):
        matting, made = Matting(threads=1, graphs=folder, choice=choice), []
        for spec in (original, form):
            matting.load(spec, path)
            made.append(matting.predict(photo, spec))
        assert [one.provider for one in made] == [CPU, OPENVINO]
        assert soft_iou(made[1].mask, made[0].mask) > 0.9


def in_bfloat16(spec: ModelSpec) -> ModelSpec:
    """A custom model as a form."""
    assert spec.network is not None
    return replace(spec, network=replace(spec.network, precision="bf16"))


def test_where_it_is_not_installed_its_forms_fail_and_no_mask_of_the_original_is_taken_for_theirs(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path = placed_custom(tmp_path, own_onnx.averaging())
    form = in_bfloat16(spec)
    assert ran(form, path, folder, Choice()).provider == OPENVINO
    with pytest.raises(ModelError, match="OpenVINO did not run here"):
        ran(form, path, None, Choice())
    monkeypatch.setattr("photoproc.models.sessions.version_of", lambda _: "")
    assert OPENVINO not in available()
    with pytest.raises(ModelError, match="provider_missing"):
        ran(form, path, folder, Choice())
    with pytest.raises(ModelError, match="openvino is not installed"):
        ran(spec, path, folder, Choice(name="openvino", required=True))


def test_a_form_is_tried_as_it_will_run(tmp_path: Path) -> None:
    spec, path = placed_custom(tmp_path, own_onnx.misread(), own_onnx.TOML + 'output = "sum"')
    plain, form = (probe.run(one, path, LIMITS, Event()) for one in (spec, in_bfloat16(spec)))
    assert plain is not None
    assert plain.problem is None
    assert form is not None
    assert form.problem is not None
    assert form.problem.code == "custom_shape"


def test_what_is_known_of_a_form_ends_with_another_openvino(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = placed_custom(tmp_path, own_onnx.averaging())
    both = spec, in_bfloat16(spec)
    before = [probe.rules_of(one) for one in both]
    monkeypatch.setattr(
        "photoproc.models.probe.version_of", lambda of: "9" if of == "openvino" else version(of)
    )
    after = [probe.rules_of(one) for one in both]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_it_is_fit_for_one_output_of_a_file_and_not_for_the_other(tmp_path: Path, folder: Path) -> None:
    found = []
    for output in ("mean", "sum"):
        toml = f'{own_onnx.TOML}output = "{output}"'
        spec, path = placed_custom(tmp_path, own_onnx.misread(), toml)
        found.append(ran(spec, path, folder, CHOSEN))
        assert np.array_equal(found[-1].mask, ran(spec, path, None, Choice(name="cpu")).mask)
    assert [one.provider for one in found] == [OPENVINO, CPU]


def test_other_values_are_another_mask() -> None:
    values = np.linspace(0, 1, 100).reshape(10, 10)
    assert graphs._alike(values + 0.003, values)
    assert not graphs._alike(values + 0.005, values)
    assert not graphs._alike(values[:5], values)


@pytest.mark.parametrize(
    "data",
    [own_onnx.averaging(dynamic=True), own_onnx.averaging(kind=own_onnx.FLOAT16)],
    ids=["any size", "16"],
)
def test_it_runs_networks_of_any_size_and_of_16_bits(data: bytes, tmp_path: Path, folder: Path) -> None:
    spec, path = placed_custom(tmp_path, data)
    found, plain = ran(spec, path, folder, CHOSEN), ran(spec, path, None, Choice(name="cpu"))
    assert (found.provider, plain.provider) == (OPENVINO, CPU)
    assert np.abs(found.mask.astype(int) - plain.mask).max() <= 1


def test_what_was_prepared_and_is_lost_is_prepared_anew(tmp_path: Path, folder: Path) -> None:
    spec, path = placed_custom(tmp_path, own_onnx.averaging())
    matting = Matting(threads=1, graphs=folder, choice=CHOSEN)
    matting.load(spec, path)
    shutil.rmtree(folder)
    matting.threads = 2
    matting.load(spec, path)
    assert matting.predict(picture(*spec.input_wh), spec).provider == OPENVINO


def test_who_prepares_another_for_too_long_is_not_waited_for(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path = placed_custom(tmp_path, own_onnx.averaging())
    monkeypatch.setattr(graphs, "_PATIENCE_S", 0.05)
    with FileLock(f"{folder}.lock"):
        assert ran(spec, path, folder, CHOSEN).provider == CPU
    assert ran(spec, path, folder, CHOSEN).provider == OPENVINO


def test_a_model_of_which_it_makes_something_else_is_onnxruntimes_and_is_looked_at_once(
    tmp_path: Path, folder: Path
) -> None:
    # It sums up all of a picture where this operator is to sum up its channels.
    path = tmp_path / "silueta.onnx"
    path.write_bytes(tiny_onnx.flat(320))
    spec = spec_for(path.read_bytes())
    assert OpenVinoSession(path, threads=1).get_outputs()[0].shape == [1, 1, 1, 1]
    found = ran(spec, path, folder, CHOSEN)
    assert found.provider == CPU
    assert not found.mask.any()
    [place] = folder.glob("*openvino*")
    assert [file.name for file in place.iterdir()] == ["sha256.json"]
    made = (place / "sha256.json").stat().st_mtime_ns
    assert ran(spec, path, folder, CHOSEN).provider == CPU
    assert (place / "sha256.json").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    "error",
    [
        OpenVinoError("Check 'ptr' failed: Failed to allocate 117350400 bytes of memory"),
        OpenVinoError("Exception from src/inference/src/dev/plugin.cpp:59: can't alloc"),
        MemoryError(),
        OSError("no room"),
    ],
    ids=str,
)
def test_what_kept_it_from_being_looked_at_says_nothing_of_the_model(
    error: Exception, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    spec, path = placed_custom(tmp_path, own_onnx.averaging())
    with monkeypatch.context() as now:
        now.setattr(openvino, "convert", fails)
        assert ran(spec, path, folder, CHOSEN).provider == CPU
        assert not list(folder.glob("*openvino*"))
    assert ran(spec, path, folder, CHOSEN).provider == OPENVINO


def test_a_file_that_cannot_be_written_is_no_fault_of_the_network(tmp_path: Path) -> None:
    _, path = placed_custom(tmp_path, own_onnx.averaging())
    with pytest.raises(OSError, match="graph"):
        openvino.convert(path, path / "graph.xml")


def test_what_it_cannot_read_is_told_of_as_ever(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "silueta.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(OpenVinoError):
        OpenVinoSession(path, threads=1)
    with pytest.raises(ModelError, match="cannot be loaded"):
        ran(spec_for(b"no model"), path, folder, CHOSEN)


@pytest.mark.parametrize(
    ("name", "how"), [("graph.xml", "cut short"), ("graph.bin", "changed"), ("sha256.json", "gone")]
)
def test_a_damaged_one_is_made_again(name: str, how: str, tmp_path: Path, folder: Path) -> None:
    spec, path = placed_custom(tmp_path, own_onnx.averaging())
    made = graphs.prepared(path, spec, folder, provider=OPENVINO)
    assert made is not None
    damage(made.with_name(name), how)
    assert not graphs._is_whole(made.parent)
    assert graphs.prepared(path, spec, folder, provider=OPENVINO) == made
    assert graphs._is_whole(made.parent)
    assert ran(spec, path, folder, CHOSEN).provider == OPENVINO


def test_a_run_that_cannot_be_is_an_error_of_the_model(tmp_path: Path) -> None:
    _, path = placed_custom(tmp_path, own_onnx.averaging(side=32))
    session = OpenVinoSession(path, threads=1)
    with pytest.raises(OpenVinoError) as raised:
        session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 7, 7), np.float32)})
    assert of_runtime(raised.value)
    assert not out_of_memory(raised.value)
    with pytest.raises(OpenVinoError, match="nope"):
        session.run(["nope"], {session.get_inputs()[0].name: np.zeros((1, 3, 32, 32), np.float32)})


def test_what_it_takes_and_gives_is_told_in_onnxruntimes_words(tmp_path: Path) -> None:
    _, path = placed_custom(tmp_path, own_onnx.averaging(side=32))
    session = OpenVinoSession(path, threads=1)
    [given], [found] = session.get_inputs(), session.get_outputs()
    assert (given.type, given.shape) == ("tensor(float)", [1, 3, 32, 32])
    values = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    [named] = session.run([found.name], {given.name: values})
    [first] = session.run(None, {given.name: values})
    assert np.allclose(named, values.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(named, first)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_it_takes_no_core_for_itself(tmp_path: Path) -> None:
    _, path = placed_custom(tmp_path, own_onnx.averaging(side=320))
    before = os.sched_getaffinity(0)
    session = OpenVinoSession(path, threads=1)
    session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 320, 320), np.float32)})
    each = {task: os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}
    assert set(map(frozenset, each.values())) == {frozenset(before)}


_SENT = """
import sys
from pathlib import Path
from photoproc.models.openvino import OpenVinoSession, convert
convert(Path(sys.argv[1]), Path(sys.argv[2]))
OpenVinoSession(Path(sys.argv[2]), threads=1)
print(sorted(name for name in sys.modules if "telemetry" in name or name.startswith("openvino.tools.")))
"""


def test_what_sends_statistics_of_its_use_is_never_imported(tmp_path: Path) -> None:
    _, path = placed_custom(tmp_path, own_onnx.averaging())
    command = [sys.executable, "-c", _SENT, str(path), str(tmp_path / "graph.xml")]
    assert subprocess.check_output(command, text=True, timeout=120) == "[]\n"
    plainly = "import sys, openvino; print('openvino_telemetry' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", plainly], text=True, env={"CI": "1"}) == "True\n"


@pytest.mark.models
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_lean_run_gives_its_memory_back(model_dir: Path, tmp_path: Path) -> None:
    made = tmp_path / "graph.xml"
    openvino.convert(weights_file(model_dir, "u2net"), made)
    assert lean_saves_mb(made) > 80
