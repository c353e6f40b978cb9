"""Running models: the sessions of rembg, on files that are verified, with what happened reported."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.matting import Matting
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
    found = Matting(threads=1).predict(photo, spec, path)
    assert found.mask.shape == (side, side)
    assert found.mask.dtype == np.uint8
    assert np.abs(found.mask.astype(int) - averaged(photo, name)).max() <= 1
    assert found.provider == "CPUExecutionProvider"


def test_a_model_is_loaded_once_and_loading_is_timed_apart(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    matting = Matting(threads=1)
    cold = matting.predict(picture(320, 320), spec, path)
    path.unlink()
    warm = matting.predict(picture(320, 320), spec, path)
    assert cold.load_s > 0
    assert warm.load_s == 0
    assert cold.inference_s > 0
    assert warm.inference_s > 0


def test_models_are_kept_apart(tmp_path: Path) -> None:
    matting = Matting(threads=1)
    for name in NORMAL:
        side = CATALOGUE[name].input_wh[0]
        spec, path = placed(tmp_path, tiny_onnx.averaging(side), name)
        assert matting.predict(picture(side, side), spec, path).mask.shape == (side, side)


def test_inference_gets_the_threads_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[onnxruntime.SessionOptions] = []
    real = onnxruntime.InferenceSession

    def inference_session(
        path: str, *, sess_options: onnxruntime.SessionOptions, providers: list[str]
    ) -> object:
        made.append(sess_options)
        return real(path, sess_options=sess_options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", inference_session)
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    Matting(threads=3).predict(picture(320, 320), spec, path)
    [options] = made
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_a_model_that_sees_the_same_everywhere_gives_an_empty_mask(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.flat(320))
    assert not Matting(threads=1).predict(picture(320, 320), spec, path).mask.any()


def test_weights_cut_short_are_never_loaded(model_dir: Path, tmp_path: Path) -> None:
    short = tmp_path / "u2netp.onnx"
    short.write_bytes(weights_file(model_dir, "u2netp").read_bytes()[:-1000])
    with pytest.raises(ModelError, match="weights_checksum"):
        Matting(threads=1).predict(picture(320, 320), CATALOGUE["u2netp"], short)


def test_weights_that_are_gone_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights_unreadable"):
        Matting(threads=1).predict(picture(320, 320), CATALOGUE["u2netp"], tmp_path / "u2netp.onnx")


@pytest.mark.parametrize(
    "data", [b"this is no model", tiny_onnx.averaging(64)], ids=["no model", "takes another size"]
)
def test_weights_that_do_not_run_are_a_broken_model(data: bytes, tmp_path: Path) -> None:
    spec, path = placed(tmp_path, data)
    with pytest.raises(ModelError, match="model_broken") as refused:
        Matting(threads=1).predict(picture(320, 320), spec, path)
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
    def predict(*_: object) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(message)

    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    matting = Matting(threads=1)
    matting.predict(picture(320, 320), spec, path)
    monkeypatch.setattr(type(matting._sessions[spec.name]), "predict", predict)
    with pytest.raises(MemoryError):
        matting.predict(picture(320, 320), spec, path)


def test_an_unknown_model_name_cannot_be_loaded_by_accident(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, tiny_onnx.averaging(320))
    with pytest.raises(KeyError):
        Matting(threads=1).predict(picture(320, 320), replace(spec, name="u3net"), path)


def test_loading_sessions_brings_neither_numba_nor_pymatting() -> None:
    code = (
        "import sys; from photoproc.models.matting import _rembg_sessions; _rembg_sessions();"
        "print([name for name in ('numba', 'pymatting', 'rembg.bg') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
