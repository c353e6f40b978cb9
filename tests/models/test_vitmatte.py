"""ViTMatte: fed as rembg feeds it, on a network of one node with the same inputs and outputs."""

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models.catalogue import CATALOGUE, VITMATTE, ModelSpec
from photoproc.models.matting import _rembg_sessions
from photoproc.models.vitmatte import ViTMatte
from photoproc.models.weights import Weights
from tests.models import tiny_onnx
from tests.models.support import U8
from tests.pictures import opened_sample, picture


def averaging() -> bytes:
    """The network's shapes, 1 × 4 × side × side to 1 × 1 × side × side: the mean of colours and trimap."""
    side = VITMATTE.input_wh[0]
    tensor, field = tiny_onnx._tensor, tiny_onnx._field
    axes = field(1, "axes") + field(8, 1) + field(20, 7)
    node = field(1, "pixel_values") + field(2, "alphas") + field(4, "ReduceMean") + field(5, axes)
    graph = field(1, node) + field(2, "tiny")
    graph += field(11, tensor("pixel_values", (1, 4, side, side)))
    graph += field(12, tensor("alphas", (1, 1, side, side)))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def placed(folder: Path, data: bytes) -> tuple[Path, ModelSpec]:
    """A file, and the entry that vouches for it."""
    path = folder / VITMATTE.file_name
    path.write_bytes(data)
    return path, replace(VITMATTE, checksum=f"sha256:{hashlib.sha256(data).hexdigest()}")


@pytest.fixture
def network(tmp_path: Path) -> ViTMatte:
    path, spec = placed(tmp_path, averaging())
    return ViTMatte(path, threads=1, spec=spec)


@pytest.fixture
def rembgs() -> Any:
    """rembg's module; its package is entered as we do it, without numba."""
    _rembg_sessions()
    return importlib.import_module("rembg.matting")


def trimap_for(photo: Image.Image) -> U8:
    """Background, a band and a subject, side by side."""
    trimap = np.zeros((photo.height, photo.width), np.uint8)
    trimap[:, photo.width // 3 :] = 128
    trimap[:, photo.width // 2 :] = 255
    return trimap


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 5), (640, 427), (1024, 1024), (1500, 900)])
def test_the_alpha_has_the_pictures_size(network: ViTMatte, size_wh: tuple[int, int]) -> None:
    photo = picture(*size_wh)
    alpha = network.refine(np.asarray(photo), trimap_for(photo))
    assert alpha.shape == (size_wh[1], size_wh[0])
    assert alpha.dtype == np.uint8


def test_the_network_is_fed_and_read_as_rembg_does_it(
    network: ViTMatte, rembgs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = onnxruntime.InferenceSession(
        str(tmp_path / VITMATTE.file_name), providers=["CPUExecutionProvider"]
    )
    monkeypatch.setattr(rembgs, "_get_session", lambda _: session)
    photo = opened_sample("astronaut.png").resize((700, 500))
    mask = Image.fromarray(trimap_for(photo))
    expected = np.asarray(rembgs.vitmatte_alpha(photo, mask))
    found = network.refine(np.asarray(photo), np.asarray(rembgs.trimap_from_mask(mask)))
    assert np.array_equal(found, expected)


def test_file_source_checksum_and_size_are_those_of_rembgs_default(
    rembgs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, str]] = []
    for name in ("MODEL_CHECKSUM_DISABLED", "U2NET_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", lambda url, known_hash, **_: fetched.append((url, known_hash)))
    path = rembgs._ViTMatteFiles.download_models()
    assert fetched == [(VITMATTE.url, VITMATTE.checksum)]
    assert Path(path) == Weights(tmp_path).write_path(VITMATTE)
    assert VITMATTE.input_wh == (rembgs.INPUT_SIZE, rembgs.INPUT_SIZE)


def test_it_is_no_model_to_choose_for_backgrounds() -> None:
    assert VITMATTE.name not in CATALOGUE


def test_a_file_that_is_not_the_published_one_is_not_loaded(tmp_path: Path) -> None:
    path, _ = placed(tmp_path, averaging())
    with pytest.raises(ModelError, match="weights_checksum"):
        ViTMatte(path, threads=1)


def test_weights_that_are_no_network_are_refused_with_advice(tmp_path: Path) -> None:
    path, spec = placed(tmp_path, b"not a network")
    with pytest.raises(ModelError, match="model_broken") as refused:
        ViTMatte(path, threads=1, spec=spec)
    assert refused.value.problem.advice


def test_a_network_with_other_inputs_fails_as_broken(tmp_path: Path) -> None:
    path, spec = placed(tmp_path, tiny_onnx.averaging(1024))
    photo = picture()
    with pytest.raises(ModelError, match="model_broken") as refused:
        ViTMatte(path, threads=1, spec=spec).refine(np.asarray(photo), trimap_for(photo))
    assert refused.value.problem.advice


def test_running_out_of_memory_is_told_from_a_broken_network(
    network: ViTMatte, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException("Failed to allocate memory")

    monkeypatch.setattr(network, "_session", type("Session", (), {"run": fail})())
    photo = picture()
    with pytest.raises(MemoryError):
        network.refine(np.asarray(photo), trimap_for(photo))
