"""Custom models loaded and run: the formulas, and the same network as a public and as a custom model."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from photoproc.errors import ModelError
from photoproc.imaging import compose
from photoproc.models import custom
from photoproc.models.catalogue import CATALOGUE, Activation, ModelSpec, Network
from photoproc.models.matting import Matting
from photoproc.models.network import fed, mask_of
from tests.models import own_onnx
from tests.models.support import U8, weights_file
from tests.pictures import opened_sample, picture

PLAIN = Network(mean=(0, 0, 0), std=(1, 1, 1), divide_by=255, activation="none")


def spec_with(network: Network = PLAIN, wide: int = 3, high: int = 2) -> ModelSpec:
    return ModelSpec(
        name="own",
        nickname="own",
        good_at="",
        licence="MIT",
        input_wh=(wide, high),
        download_mb=1,
        checksum="sha256:0",
        network=network,
    )


def placed(folder: Path, data: bytes, toml: str = own_onnx.TOML) -> tuple[ModelSpec, Path]:
    """A custom model in a folder, and its spec as it is once the file was read."""
    path = own_onnx.put(folder, "own", data, toml)
    spec, _ = custom.look([folder]).models["own"]
    return replace(spec, checksum=f"sha256:{hashlib.sha256(data).hexdigest()}", download_mb=1), path


def masks(spec: ModelSpec, path: Path, *photos: Image.Image) -> list[U8]:
    """What a model makes of photos that are at its size already."""
    matting = Matting(threads=1)
    matting.load(spec, path)
    return [matting.predict(photo, spec).mask for photo in photos]


@given(
    arrays.arrays(np.uint8, (2, 3, 3)),
    st.tuples(*[st.floats(-2, 2)] * 3),
    st.tuples(*[st.floats(0.01, 4)] * 3),
    st.sampled_from(["max", 255]),
)
def test_a_picture_is_fed_as_documented(
    rgb: U8, mean: tuple[float, float, float], std: tuple[float, float, float], by: str
) -> None:
    network = Network(mean=mean, std=std, divide_by="max" if by == "max" else 255)
    seen = fed(rgb, network)
    assert seen.shape == (1, 3, 2, 3)
    assert seen.dtype == np.float32
    largest = (max(int(rgb.max()), 1e-6)) if by == "max" else 255
    for row in range(2):
        for column in range(3):
            for channel in range(3):
                value = (rgb[row, column, channel] / largest - mean[channel]) / std[channel]
                assert seen[0, channel, row, column] == pytest.approx(value, rel=1e-5, abs=1e-6)


VALUES = np.array([[-3.0, -0.5, 0.0], [0.25, 1.0, 5.0]], np.float32)
SIGMOID = 1 / (1 + np.exp(-VALUES))


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        ("none", VALUES.clip(0, 1)),
        ("sigmoid", SIGMOID),
        ("minmax", (VALUES + 3) / 8),
        ("sigmoid-minmax", (SIGMOID - SIGMOID.min()) / (SIGMOID.max() - SIGMOID.min())),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (1, 1, 2, 3), (1, 1, 1, 2, 3)])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_an_output_is_read_as_documented(
    activation: Activation, wanted: np.ndarray, shape: tuple[int, ...], kind: type
) -> None:
    network = replace(PLAIN, activation=activation)
    mask = mask_of(VALUES.astype(kind).reshape(shape), spec_with(network))
    assert mask.dtype == np.uint8
    assert mask.shape == (2, 3)
    assert np.abs(mask - (wanted * 255).astype(np.uint8).astype(int)).max() <= 1


@pytest.mark.parametrize("value", [0.0, 7.0, -1e30, 1e30])
def test_an_output_that_is_the_same_everywhere_is_an_empty_mask_where_extremes_count(value: float) -> None:
    same = np.full((2, 3), value, np.float32)
    assert not mask_of(same, spec_with(replace(PLAIN, activation="minmax"))).any()
    assert not mask_of(same, spec_with(replace(PLAIN, activation="sigmoid-minmax"))).any()
    assert mask_of(np.full((2, 3), 1e30), spec_with(replace(PLAIN, activation="sigmoid"))).min() == 255


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (np.zeros((3, 2)), "custom_shape", "its mask is 3 × 2 and must be 1 × 1 × 2 × 3"),
        (np.zeros((1, 2, 2, 3)), "custom_shape", "its mask is 1 × 2 × 2 × 3 and"),
        (np.zeros(6), "custom_shape", "its mask is 6 and"),
        (np.array(1.0), "custom_shape", "its mask is one number and"),
        (np.zeros((2, 3), bool), "custom_shape", "made of bool"),
        (np.full((2, 3), np.nan), "custom_values", "NaN"),
        (np.array([[0, 0, np.inf], [0, 0, 0]]), "custom_values", "infinite"),
    ],
)
def test_what_is_no_mask_is_said(found: np.ndarray, code: str, said: str) -> None:
    with pytest.raises(ModelError, match=code) as refused:
        mask_of(found, spec_with())
    assert said in refused.value.problem.message
    assert refused.value.problem.message.startswith("own.onnx ")


@pytest.mark.parametrize("kind", [own_onnx.FLOAT, own_onnx.FLOAT16])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_custom_model_is_run(kind: int, dynamic: bool, tmp_path: Path) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging(kind=kind, dynamic=dynamic))
    photo = picture(32, 32)
    (mask,) = masks(spec, path, photo)
    assert np.abs(mask - np.asarray(photo, float).mean(axis=2)).max() <= 1.01


def test_the_output_that_is_named_is_the_mask(tmp_path: Path) -> None:
    photo = picture(32, 32)
    first, path = placed(tmp_path, own_onnx.two_outputs())
    assert first.network is not None
    (mean,) = masks(first, path, photo)
    assert mean.any()
    named = replace(first, network=replace(first.network, output="less"))
    (less,) = masks(named, path, photo)
    assert not less.any(), "what is below zero is cut off"
    lost = replace(first, network=replace(first.network, output="alpha"))
    with pytest.raises(ModelError, match="custom_shape") as refused:
        Matting(threads=1).load(lost, path)
    assert "no output alpha; there is mean, less" in refused.value.problem.message


@pytest.mark.models
def test_the_same_network_makes_the_same_mask_as_a_public_and_as_a_custom_model(
    model_dir: Path, tmp_path: Path
) -> None:
    source = weights_file(model_dir, "u2netp")
    spec, path = placed(tmp_path, source.read_bytes(), own_onnx.LIKE_U2NET)
    photos = [
        compose.shrink_for_model(np.asarray(opened_sample(name).convert("RGB")), (320, 320))
        for name in ("astronaut.png", "coffee.png", "cat.png")
    ]
    photos.append(Image.new("RGB", (320, 320)))
    ours = masks(spec, path, *photos)
    theirs = masks(CATALOGUE["u2netp"], source, *photos)
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one, other)
    assert ours[0].max() == 255


def test_a_file_that_is_not_the_one_that_was_checked_is_never_loaded(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, own_onnx.averaging())
    path.write_bytes(own_onnx.two_outputs())
    with pytest.raises(ModelError, match="weights_changed"):
        Matting(threads=1).load(spec, path)
    path.unlink()
    with pytest.raises(ModelError, match="weights_changed"):
        Matting(threads=1).load(spec, path)


def test_a_photo_on_which_a_custom_model_fails_is_told_why(tmp_path: Path) -> None:
    spec, path = placed(tmp_path, own_onnx.no_numbers())
    with pytest.raises(ModelError, match="custom_values"):
        masks(spec, path, picture(32, 32))
