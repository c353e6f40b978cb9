"""Several pictures in one run of a model on a card: the same masks, and what does not fit or cannot be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.matting import Matting, Prediction
from photoproc.models.onnx_file import free_batch, has_fixed_batch
from photoproc.models.providers import Choice
from tests.models import own_onnx
from tests.models.support import U8, weights_file
from tests.models.test_network import placed
from tests.pictures import opened_sample, picture
from tests.pretended import CPU, CUDA, Pretended

SMALL = CATALOGUE["u2netp"]
CHECK = [2, 1, 1]
"""The runs that tell whether a model can be run for several."""


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """An onnxruntime that has CUDA."""
    made = Pretended(onnxruntime.InferenceSession, CUDA, CPU)
    monkeypatch.setattr(onnxruntime, "InferenceSession", made)
    monkeypatch.setattr(onnxruntime, "get_available_providers", made.get_available_providers)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


def small_photos() -> list[Image.Image]:
    names = ("cat.png", "astronaut.png", "coffee.png", "rocket.jpg")
    return [opened_sample(name).convert("RGB").resize((320, 320)) for name in names]


def loaded(spec: ModelSpec, weights: Path, folder: Path | None, choice: Choice | None = None) -> Matting:
    matting = Matting(threads=1, graphs=folder, choice=choice)
    matting.load(spec, weights, batch=True)
    return matting


def masks(found: list[Prediction | Exception]) -> list[U8]:
    assert all(isinstance(one, Prediction) for one in found), found
    return [one.mask for one in found if isinstance(one, Prediction)]


def alike(some: list[U8], others: list[U8]) -> bool:
    return [one.tobytes() for one in some] == [one.tobytes() for one in others]


@pytest.mark.models
def test_masks_of_a_batch_are_those_of_single_runs_to_the_byte(
    model_dir: Path, folder: Path, card: Pretended
) -> None:
    weights, photos = weights_file(model_dir, "u2netp"), small_photos()
    alone = Matting(threads=1)
    alone.load(SMALL, weights)
    wanted = [alone.predict(photo, SMALL).mask for photo in photos]
    card.runs.clear()
    matting = loaded(SMALL, weights, folder)
    found = matting.predict_each(photos, SMALL)
    assert alike(masks(found), wanted)
    assert card.runs == [*CHECK, 4]
    assert [(one.provider, one.batch) for one in found if isinstance(one, Prediction)] == [(CUDA, 4)] * 4
    assert matting.limit(SMALL) is None
    again = matting.predict(photos[2], SMALL)
    assert (again.mask.tobytes(), again.batch) == (wanted[2].tobytes(), 1)


@pytest.mark.models
@pytest.mark.parametrize("name", ["u2netp", "u2net"])
def test_a_batch_of_one_is_made_one_of_any_size_and_nothing_else_is_changed(
    name: str, model_dir: Path, tmp_path: Path
) -> None:
    weights, freed = weights_file(model_dir, name), tmp_path / "freed.onnx"
    assert has_fixed_batch(weights)
    free_batch(weights, freed)
    assert not has_fixed_batch(freed)
    one, other = (onnxruntime.InferenceSession(str(path)) for path in (weights, freed))
    assert [side.shape for side in other.get_inputs()] == [["batch", 3, 320, 320]]
    assert not any(side.shape[0] == 1 for side in other.get_outputs())
    noise = np.random.default_rng(1).normal(size=(3, 3, 320, 320)).astype(np.float32)
    [given] = [side.name for side in one.get_inputs()]
    together = other.run(None, {given: noise})
    for place in range(3):
        single = one.run(None, {given: noise[place : place + 1]})
        assert all((both[place] == alone[0]).all() for both, alone in zip(together, single, strict=True))


def test_a_file_that_takes_any_number_is_used_as_it_is(folder: Path, tmp_path: Path, card: Pretended) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging(dynamic=True))
    matting = loaded(spec, path, folder)
    assert len(masks(matting.predict_each([picture(32, 32)] * 3, spec))) == 3
    assert card.runs == [*CHECK, 3]
    assert not folder.exists()


def test_what_was_made_for_it_is_kept_and_made_again_where_it_is_damaged(
    folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    loaded(spec, path, folder)
    [place] = folder.iterdir()
    file = place / "graph.onnx"
    whole, at = file.read_bytes(), file.stat().st_mtime_ns
    loaded(spec, path, folder)
    assert file.stat().st_mtime_ns == at
    file.write_bytes(whole[:-3])
    loaded(spec, path, folder)
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "said",
    [
        "Failed to allocate memory for requested buffer of size 419430400",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "std::bad_alloc: bad allocation",
        "bfc_arena.cc:359 onnxruntime::BFCArena::AllocateRawInternal Available memory of 1024 is "
        "smaller than requested bytes of 4096",
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_size_is_remembered(
    said: str, folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    photos = [picture(32, 32, seed=seed) for seed in range(4)]
    matting = loaded(spec, path, folder)
    wanted = masks(matting.predict_each(photos, spec))
    card.says, card.room = said, 2
    card.runs.clear()
    assert alike(masks(matting.predict_each(photos, spec)), wanted)
    assert alike(masks(matting.predict_each(photos, spec)), wanted)
    assert card.runs == [4, 2, 2, 2, 2]
    limit = matting.limit(spec)
    assert limit is not None
    assert (limit.photos, "memory" in limit.why) == (2, True)


def test_too_little_room_for_a_batch_is_no_reason_to_leave_the_card(
    folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    matting = loaded(spec, path, folder)
    card.room, card.leaves_card = 1, True
    card.runs.clear()
    found = matting.predict_each([picture(32, 32)] * 2, spec)
    assert [one.provider for one in found if isinstance(one, Prediction)] == [CUDA, CUDA]
    card.room = 0
    assert matting.predict(picture(32, 32), spec).provider == CPU  # as it is where nothing is batched
    assert card.runs == [2, 1, 1, 1]


def test_a_photo_that_does_not_fit_alone_is_the_only_one_that_fails(
    folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    matting = loaded(spec, path, folder)
    card.room = 1
    card.runs.clear()
    assert len(masks(matting.predict_each([picture(32, 32)] * 3, spec))) == 3
    assert card.runs == [3, 2, 1, 1, 1]
    card.room = 0
    found = matting.predict_each([picture(32, 32)] * 2, spec)
    assert [type(one) for one in found] == [MemoryError, MemoryError]


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (own_onnx.mixing, "two photos at once do not give what each gives alone"),
        (own_onnx.reshaping, "it cannot run two photos at once"),
    ],
)
def test_a_model_that_cannot_runs_one_by_one_and_says_why(
    network: Callable[[], bytes], why: str, folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, network())
    photos = [picture(32, 32, seed=seed) for seed in range(3)]
    matting = loaded(spec, path, folder)
    limit = matting.limit(spec)
    assert limit is not None
    assert (limit.photos, limit.why) == (1, why)
    card.runs.clear()
    found = matting.predict_each(photos, spec)
    assert card.runs == [1, 1, 1]
    alone = Matting(threads=1)
    alone.load(spec, path)
    assert alike(masks(found), [alone.predict(photo, spec).mask for photo in photos])
    matting.load(spec, path, batch=True)  # which asks it no second time
    assert card.runs == [1] * 6


def test_two_that_do_not_fit_are_not_tried_again(folder: Path, tmp_path: Path, card: Pretended) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    card.room = 1
    matting = loaded(spec, path, folder)
    limit = matting.limit(spec)
    assert limit is not None
    assert "memory" in limit.why
    card.runs.clear()
    assert len(masks(matting.predict_each([picture(32, 32)] * 2, spec))) == 2
    assert card.runs == [1, 1]


@pytest.mark.parametrize("name", ["cpu", "rocm", "coreml", "directml"])
def test_the_cpu_and_what_wants_fixed_sizes_never_batch(
    name: str, folder: Path, tmp_path: Path, card: Pretended
) -> None:
    card.providers = [f"{one}ExecutionProvider" for one in ("MIGraphX", "CoreML", "Dml", "CPU")]
    spec, path = placed(tmp_path, own_onnx.averaging())
    matting = loaded(spec, path, folder, Choice(name=name))
    assert matting.has(spec, batch=True)
    card.runs.clear()
    found = matting.predict_each([picture(32, 32)] * 3, spec)
    assert [one.batch for one in found if isinstance(one, Prediction)] == [1, 1, 1]
    assert card.runs == [1, 1, 1]
    assert not any(folder.glob("*-batch"))


def test_a_model_that_fell_back_to_the_cpu_does_not_batch(
    folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    card.works = False
    matting = loaded(spec, path, folder)
    assert len(masks(matting.predict_each([picture(32, 32)] * 2, spec))) == 2
    assert card.runs == [1, 1]
    assert matting.limit(spec) is None


def test_a_model_loaded_for_one_photo_is_loaded_anew_for_several(
    folder: Path, tmp_path: Path, card: Pretended
) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    matting = Matting(threads=1, graphs=folder)
    matting.load(spec, path)
    assert matting.has(spec)
    assert not matting.has(spec, batch=True)
    matting.load(spec, path, batch=True)
    assert matting.has(spec, batch=True)
    assert len(matting._sessions) == 1
