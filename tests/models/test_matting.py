"""Running models: the sessions of rembg, on files that are verified, with what happened reported."""

import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.matting import Matting, Prediction
from tests.models import tiny_onnx
from tests.models.support import U8, spec_for, weights_file
from tests.pictures import picture

NORMAL = {
    "silueta": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "isnet-general-use": ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
}


def placed(folder: Path, data: bytes, name: str = "silueta") -> tuple[ModelSpec, Path]:
    """A model file on disk and the catalogue entry that vouches for it."""
    path = folder / f"{name}.onnx"
    path.write_bytes(data)
    return spec_for(data, name), path


def predict(photo: Image.Image, spec: ModelSpec, path: Path) -> Prediction:
    """What a model makes of a photo in a fresh process."""
    matting = Matting(threads=1)
    matting.load(spec, path)
    return matting.predict(photo, spec)


def averaged(photo: Image.Image, name: str) -> U8:
    """What a model that averages the channels makes of a photo, between its extremes."""
    mean, std = NORMAL[name]
    values = np.asarray(photo, float)
    seen = ((values / values.max() - mean) / std).mean(axis=2)
    return np.asarray((seen - seen.min()) / (seen.max() - seen.min()) * 255, np.uint8)


@pytest.mark.parametrize("name", ["silueta", "isnet-general-use"])
def test_a_model_is_loaded_and_run_by_rembgs_own_session(name: str, tmp_path: Path) -> None:
    side = CATALOGUE[name].input_wh[0]
    spec, path = placed(tmp_path, tiny_onnx.averaging(side), name)
    photo = picture(side, side)
    found = predict(photo, spec, path)
    assert found.mask.shape == (side, side)
    assert found.mask.dtype == np.uint8
    assert np.abs(found.mask.astype(int) - averaged(photo, name)).max() <= 1
    assert found.provider == "CPUExecutionProvider"


def test_a_loaded_model_needs_its_file_no_more(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    matting = Matting(threads=1)
    assert not matting.has(spec)
    matting.load(spec, path)
    assert matting.has(spec)
    path.unlink()
    assert matting.predict(picture(320, 320), spec).mask.any()


def test_a_model_on_one_core_and_on_all_is_loaded_for_each_and_sees_the_same(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    matting, masks = Matting(threads=1), []
    for threads in (1, 2, 1):
        matting.threads = threads
        if not matting.has(spec):
            matting.load(spec, path)
        masks.append(matting.predict(picture(320, 320), spec).mask)
    assert np.array_equal(masks[0], masks[1])
    loaded = matting._sessions
    options = {key: one.inner_session.get_session_options() for key, one in loaded.items()}
    assert {key[1]: one.intra_op_num_threads for key, one in options.items()} == {1: 1, 2: 2}
    spins = {one.get_session_config_entry("session.intra_op.allow_spinning") for one in options.values()}
    assert spins == {"0"}


def test_models_are_kept_apart(tmp_path: Path) -> None:
    matting = Matting(threads=1)
    specs = []
    for name in NORMAL:
        spec, path = placed(tmp_path, tiny_onnx.averaging(CATALOGUE[name].input_wh[0]), name)
        matting.load(spec, path)
        specs.append(spec)
    for spec in specs:
        assert matting.predict(picture(*spec.input_wh), spec).mask.shape == spec.input_wh


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs models of these sizes in turn; tells which are in memory before each is loaded, and at the end."""
    alive: list[tuple[str, weakref.ref[object]]] = []
    real = onnxruntime.InferenceSession

    def run(matting: Matting, *sizes_mb: int) -> list[str]:
        found = []
        for size_mb in sizes_mb:
            spec, path = placed(tmp_path, tiny_onnx.averaging(320))
            spec = replace(spec, download_mb=size_mb)

            def inference_session(*given: object, size_mb: int = size_mb, **options: object) -> object:
                found.append(" ".join(name for name, session in alive if session() is not None))
                session = real(*given, **options)
                alive.append((str(size_mb), weakref.ref(session)))
                return session

            monkeypatch.setattr(onnxruntime, "InferenceSession", inference_session)
            if not matting.has(spec):
                matting.load(spec, path)
            matting.predict(picture(320, 320), spec)
        return [*found, " ".join(name for name, session in alive if session() is not None)]

    return run


def test_models_stay_loaded_up_to_a_limit_and_the_one_used_longest_ago_goes_first(
    loaded: Callable[..., list[str]],
) -> None:
    sizes = (176, 177, 178, 176, 179)
    assert loaded(Matting(threads=1), *sizes) == ["", "176", "176 177", "176 178", "176 178 179"]


def test_a_model_over_the_limit_is_loaded_alone_and_after_the_others_are_gone(
    loaded: Callable[..., list[str]],
) -> None:
    assert loaded(Matting(threads=1), 176, 973, 1024, 176, 973) == ["", "", "", "", "", "973"]


_RESIDENT = """
import sys
from pathlib import Path
from PIL import Image
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.matting import Matting
matting = Matting(threads=1)
for path in map(Path, sys.argv[1:]):
    matting.load(CATALOGUE[path.stem], path)
    matting.predict(Image.new("RGB", (320, 320)), CATALOGUE[path.stem])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_models_share_the_memory_they_run_in(model_dir: Path) -> None:
    paths = [str(weights_file(model_dir, name)) for name in ("u2netp", "u2net")]
    ran = subprocess.run(
        [sys.executable, "-c", _RESIDENT, *paths], capture_output=True, text=True, check=True, timeout=300
    )
    # 0.6 GB; in an arena of their own each, with memory patterns, 1.5 GB.
    assert int(ran.stdout) < 900 * 1024


_GIVEN_BACK = """
import sys
from dataclasses import replace
from pathlib import Path
from PIL import Image
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.matting import Matting
def resident():
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:"))
small, large = map(Path, sys.argv[1:])
matting = Matting(threads=1)
huge = replace(CATALOGUE["u2net"], download_mb=700, input_wh=(1024, 1024))  # as one of the largest models is
matting.load(huge, large)
matting.predict(Image.new("RGB", (320, 320)), huge)
print(resident())
matting.load(CATALOGUE["u2netp"], small)
print(resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_a_large_model_ran_in_is_given_back_when_it_goes(model_dir: Path) -> None:
    paths = [str(weights_file(model_dir, name)) for name in ("u2netp", "u2net")]
    ran = subprocess.run(
        [sys.executable, "-c", _GIVEN_BACK, *paths], capture_output=True, text=True, check=True, timeout=300
    )
    before, after = map(int, ran.stdout.split())
    assert after < before - 300 * 1024


def test_inference_gets_the_threads_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[onnxruntime.SessionOptions] = []
    real = onnxruntime.InferenceSession

    def inference_session(
        path: str, sess_options: onnxruntime.SessionOptions, providers: list[str]
    ) -> object:
        made.append(sess_options)
        return real(path, sess_options=sess_options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", inference_session)
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    Matting(threads=3).load(spec, path)
    [options] = made
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_a_model_that_sees_the_same_everywhere_gives_an_empty_mask(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.flat(320))
    assert not predict(picture(320, 320), spec, path).mask.any()


def test_weights_cut_short_are_never_loaded(model_dir: Path, tmp_path: Path) -> None:
    short = tmp_path / "u2netp.onnx"
    short.write_bytes(weights_file(model_dir, "u2netp").read_bytes()[:-1000])
    with pytest.raises(ModelError, match="weights_checksum"):
        predict(picture(320, 320), CATALOGUE["u2netp"], short)


def test_weights_that_are_gone_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights_unreadable"):
        predict(picture(320, 320), CATALOGUE["u2netp"], tmp_path / "u2netp.onnx")


@pytest.mark.parametrize(
    "data", [b"this is no model", tiny_onnx.averaging(64)], ids=["no model", "takes another size"]
)
def test_weights_that_do_not_run_are_a_broken_model(data: bytes, tmp_path: Path) -> None:
    spec, path = placed(tmp_path, data)
    with pytest.raises(ModelError, match="model_broken") as refused:
        predict(picture(320, 320), spec, path)
    assert "silueta" in refused.value.problem.message
    assert refused.value.problem.advice


@pytest.mark.parametrize(
    "message",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc",
        "[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 26214400",
    ],
)
def test_running_out_of_memory_is_told_from_a_broken_model(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(message)

    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    matting = Matting(threads=1)
    matting.load(spec, path)
    monkeypatch.setattr(type(matting._sessions[spec, 1]), "predict", fail)
    with pytest.raises(MemoryError):
        matting.predict(picture(320, 320), spec)


def test_an_unknown_model_name_cannot_be_loaded_by_accident(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    with pytest.raises(KeyError):
        Matting(threads=1).load(replace(spec, name="u3net"), path)


def test_running_a_model_leaves_no_telemetry_in_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    _, path = placed(tmp_path, tiny_onnx.averaging(320))
    code = (
        "import sys; from pathlib import Path; from PIL import Image;"
        "from photoproc.models.matting import Matting; from tests.models.support import spec_for;"
        "path = Path(sys.argv[1]); spec = spec_for(path.read_bytes());"
        "matting = Matting(threads=1); matting.load(spec, path);"
        "matting.predict(Image.new('RGB', (320, 320)), spec)"
    )
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT")}
    env = kept | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(path)], env=env, check=True, capture_output=True)
    assert list(home.rglob("*")) == []
