"""Execution providers: which are asked for, and what is said where another one ran."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from photoproc.errors import ModelError
from photoproc.models.catalogue import VITMATTE, ModelSpec
from photoproc.models.matting import Matting
from photoproc.models.providers import NAMES, Choice, label, labels
from photoproc.models.sessions import out_of_memory, providers_for
from photoproc.models.vitmatte import ViTMatte
from tests.models import own_onnx, tiny_onnx
from tests.models.support import spec_for
from tests.models.test_network import placed as placed_custom
from tests.models.test_vitmatte import averaging, trimap_for
from tests.pictures import picture
from tests.pretended import CPU, CUDA, Pretended

MIGRAPHX, ROCM = "MIGraphXExecutionProvider", "ROCMExecutionProvider"
OPENVINO, NCNN = "OpenVINOExecutionProvider", "NcnnExecutionProvider"
COREML, DIRECTML, AZURE = "CoreMLExecutionProvider", "DmlExecutionProvider", "AzureExecutionProvider"
REQUIRED = Choice(name="cuda", required=True)

Have = Callable[..., Pretended]


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Have:
    """An onnxruntime with these providers."""

    def has(*providers: str, works: bool = True) -> Pretended:
        made = Pretended(onnxruntime.InferenceSession, *providers, works=works)
        monkeypatch.setattr(onnxruntime, "InferenceSession", made)
        monkeypatch.setattr(onnxruntime, "get_available_providers", made.get_available_providers)
        return made

    return has


@pytest.fixture
def public(tmp_path: Path) -> tuple[ModelSpec, Path]:
    path = tmp_path / "silueta.onnx"
    path.write_bytes(tiny_onnx.averaging(320))
    return spec_for(path.read_bytes()), path


@pytest.mark.parametrize(
    ("name", "there", "wanted"),
    [
        ("auto", (AZURE, CPU), CPU),
        ("auto", ("TensorrtExecutionProvider", CUDA, CPU), CUDA),
        ("auto", (OPENVINO, CUDA, CPU), CUDA),
        ("auto", (MIGRAPHX, CPU), MIGRAPHX),
        ("auto", (OPENVINO, CPU), CPU),
        ("auto", (COREML, DIRECTML, AZURE, CPU), CPU),
        ("cpu", (CUDA, CPU), CPU),
        ("cuda", (CUDA, CPU), CUDA),
        ("cuda", (OPENVINO, CPU), CPU),
        ("rocm", (ROCM, CPU), ROCM),
        ("rocm", (ROCM, MIGRAPHX, CPU), MIGRAPHX),
        ("openvino", (CUDA, OPENVINO, CPU), OPENVINO),
        ("ncnn", (CUDA, OPENVINO, CPU), NCNN),
        ("ncnn", (CUDA, CPU), CPU),
        ("coreml", (COREML, CPU), COREML),
        ("directml", (DIRECTML, CPU), DIRECTML),
    ],
)
def test_the_best_of_what_was_chosen_is_asked_for_before_the_cpu(
    have: Have, name: str, there: tuple[str, ...], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(*there)
    monkeypatch.setattr("photoproc.models.sessions.version_of", lambda _: "1.0" if OPENVINO in there else "")
    asked = [one if isinstance(one, str) else one[0] for one in providers_for(Choice(name=name))]
    assert asked == ([CPU] if wanted == CPU else [wanted, CPU])


def test_the_real_onnxruntime_here_is_asked_for_what_rembg_asks(public: tuple[ModelSpec, Path]) -> None:
    assert providers_for(Choice()) == [CPU]


def test_what_is_missing_and_what_to_do_about_it_is_told() -> None:
    card, own = Choice(name="cuda").missing((OPENVINO, CPU)), Choice(name="openvino").missing((CPU,))
    assert "the onnxruntime that is installed can use CPU only" in card.message
    assert "pip install openvino" in own.advice


def test_memory_of_a_card_is_bounded_where_that_is_set(have: Have) -> None:
    have(CUDA, CPU)
    limits = {"gpu_mem_limit": str(3 * 1024**3), "arena_extend_strategy": "kSameAsRequested"}
    assert providers_for(Choice(memory_mb=3072)) == [(CUDA, limits), CPU]
    assert providers_for(Choice()) == [CUDA, CPU]
    assert providers_for(Choice(name="cpu", memory_mb=3072)) == [CPU]


def load_public(folder: Path, choice: Choice | None) -> str:
    path = folder / "silueta.onnx"
    path.write_bytes(tiny_onnx.averaging(320))
    return ran(spec_for(path.read_bytes()), path, choice)


def load_custom(folder: Path, choice: Choice | None) -> str:
    return ran(*placed_custom(folder, own_onnx.averaging()), choice)


def load_vitmatte(folder: Path, choice: Choice | None) -> str:
    path = folder / VITMATTE.file_name
    path.write_bytes(averaging())
    spec = replace(VITMATTE, checksum=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    photo = picture(32, 32)
    network = ViTMatte(path, threads=1, spec=spec, choice=choice)
    network.refine(np.asarray(photo), trimap_for(photo))
    return str(network._session.get_providers()[0])


def ran(spec: ModelSpec, path: Path, choice: Choice | None) -> str:
    """The provider that a model says it ran on."""
    matting = Matting(threads=1, choice=choice)
    matting.load(spec, path)
    return matting.predict(picture(*spec.input_wh), spec).provider


every_model = pytest.mark.parametrize("load", [load_public, load_custom, load_vitmatte])
Load = Callable[[Path, Choice | None], str]


@every_model
def test_every_kind_of_model_runs_on_what_was_chosen(have: Have, load: Load, tmp_path: Path) -> None:
    made = have(CUDA, CPU)
    assert load(tmp_path, Choice(name="cuda", required=True, memory_mb=1024)) == CUDA
    assert load(tmp_path, None) == CUDA
    assert load(tmp_path, Choice(name="cpu", required=True)) == CPU
    assert [one[0] if isinstance(one[0], str) else one[0][0] for one in made.asked] == [CUDA, CUDA, CPU]


@every_model
def test_what_falls_back_to_the_cpu_says_so(have: Have, load: Load, tmp_path: Path) -> None:
    have(CUDA, CPU, works=False)
    assert load(tmp_path, Choice(name="cuda", memory_mb=1024)) == CPU
    assert load(tmp_path, None) == CPU


@every_model
@pytest.mark.parametrize("there", [(CUDA, CPU), (CPU,)], ids=["falls back", "is not built in"])
def test_what_is_required_and_cannot_be_had_is_a_problem_with_advice(
    have: Have, load: Load, there: tuple[str, ...], tmp_path: Path
) -> None:
    have(*there, works=False)
    with pytest.raises(ModelError, match="provider_missing") as refused:
        load(tmp_path, REQUIRED)
    assert "CUDA (NVIDIA)" in refused.value.problem.message
    assert "PHOTOPROC_PROVIDER_REQUIRED=0" in refused.value.problem.advice


def test_a_model_that_gives_a_card_up_in_a_run_is_loaded_anew_for_the_next(
    have: Have, public: tuple[ModelSpec, Path]
) -> None:
    made = have(CUDA, CPU)
    spec, path = public
    matting = Matting(threads=1, choice=REQUIRED)
    matting.load(spec, path)
    made.gives_up = True
    with pytest.raises(ModelError, match="provider_missing"):
        matting.predict(picture(320, 320), spec)
    assert not matting.has(spec)
    made.gives_up = False
    matting.load(spec, path)
    assert matting.predict(picture(320, 320), spec).provider == CUDA


def test_one_that_is_not_required_to_goes_on_on_the_cpu(have: Have, public: tuple[ModelSpec, Path]) -> None:
    made = have(CUDA, CPU)
    spec, path = public
    matting = Matting(threads=1)
    matting.load(spec, path)
    made.gives_up = True
    assert matting.predict(picture(320, 320), spec).provider == CPU
    assert matting.has(spec)


def test_a_model_is_on_a_card_once_whatever_threads_it_is_to_have(
    have: Have, public: tuple[ModelSpec, Path]
) -> None:
    made = have(CUDA, CPU)
    spec, path = public
    matting = Matting(threads=1)
    for threads in (1, 2):
        matting.threads = threads
        if not matting.has(spec):
            matting.load(spec, path)
    assert len(made.asked) == 1


@pytest.mark.parametrize("said", ["CUDA failure 2: out of memory", "CUDNN_STATUS_ALLOC_FAILED"])
def test_a_card_without_memory_left_is_told_from_a_broken_model(said: str) -> None:
    error: Any = onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(said)
    assert out_of_memory(error)


def test_providers_have_names_that_people_know() -> None:
    assert labels([CUDA, AZURE, CPU]) == "CUDA (NVIDIA), CPU"
    assert label("XnnpackExecutionProvider") == "Xnnpack"
    assert label("") == ""
    assert set(NAMES) == {"auto", "cpu", "cuda", "rocm", "openvino", "ncnn", "coreml", "directml"}
