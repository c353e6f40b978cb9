"""The pipeline with real models: rembg's masks, what each option does, and what is told about it."""

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from photoproc.errors import ModelError, PhotoError, TaskError
from photoproc.models.catalogue import CATALOGUE
from photoproc.pipeline import Model, Pipeline, Result
from photoproc.recipe import Colour, FaceCrop, Keep, Recipe
from photoproc.samples import sample_photos
from tests.models import tiny_onnx
from tests.models.support import mean_error, soft_iou, spec_for, weights_file
from tests.pictures import (
    encoded,
    exif_orientation,
    opened_sample,
    picture,
    png_chunks,
    sample,
    srgb_profile,
)

U8 = NDArray[np.uint8]

MAX_PIXELS = 50_000_000
MODELS = ("u2netp", "u2net")
SAMPLES = [name for name, _ in sample_photos()]
ASTRONAUT = (172, 60, 274, 190)
"""Where the face is in the sample."""

# `import rembg` compiles for a minute unless numba is told not to.
_RUN_REMBG = """
import sys
import numpy as np
from PIL import Image
from rembg import new_session, remove
out, models, *files = sys.argv[1:]
masks = {}
for model in models.split(","):
    session = new_session(model)
    for number, file in enumerate(files):
        masks[f"{model}-{number}"] = np.asarray(remove(Image.open(file), session=session, only_mask=True))
np.savez(out, **masks)
"""

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(threads=2)


@pytest.fixture(scope="module")
def models(model_dir: Path) -> dict[str, Model]:
    return {name: Model(spec=CATALOGUE[name], weights=weights_file(model_dir, name)) for name in MODELS}


@pytest.fixture(scope="module")
def rembg_masks(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], U8]:
    """What rembg itself says of each sample: full-size masks by model and sample."""
    out = tmp_path_factory.mktemp("rembg") / "masks.npz"
    files = [str(path) for _, path in sample_photos()]
    env = os.environ | {"NUMBA_DISABLE_JIT": "1", "U2NET_HOME": str(model_dir)}
    command = [sys.executable, "-c", _RUN_REMBG, str(out), ",".join(MODELS), *files]
    subprocess.run(command, env=env, check=True, capture_output=True)
    with np.load(out) as masks:
        return {
            (model, name): masks[f"{model}-{number}"]
            for model in MODELS
            for number, name in enumerate(SAMPLES)
        }


def pixels(data: bytes) -> U8:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def run(
    pipeline: Pipeline, photo: bytes, recipe: Recipe, model: Model | None = None, mask: bytes | None = None
) -> Result:
    return pipeline.run(photo, recipe, model, max_pixels=MAX_PIXELS, mask_png=mask)


SMALL = Recipe(models=("u2netp",))
FACE = Recipe(background=Keep(), framing=FaceCrop())


def test_the_samples_are_those_the_dashboard_offers() -> None:
    assert SAMPLES == ["astronaut.png", "cat.png", "coffee.png", "rocket.jpg"]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("model", MODELS)
def test_masks_are_those_of_rembg(
    model: str,
    name: str,
    pipeline: Pipeline,
    models: dict[str, Model],
    rembg_masks: dict[tuple[str, str], U8],
) -> None:
    cutout = pixels(run(pipeline, sample(name), Recipe(models=(model,)), models[model]).png)
    theirs = rembg_masks[model, name]
    assert cutout.shape == (*theirs.shape, 4)
    assert theirs.any()
    assert soft_iou(cutout[..., 3], theirs) >= 0.995
    assert mean_error(cutout[..., 3], theirs) <= 1.0


def test_the_cutout_is_the_photo_where_the_mask_is_and_nothing_elsewhere(
    pipeline: Pipeline, models: dict[str, Model]
) -> None:
    photo = np.asarray(opened_sample("cat.png"))
    result = run(pipeline, sample("cat.png"), SMALL, models["u2netp"])
    cutout = pixels(result.png)
    kept, gone = cutout[..., 3] > 0, cutout[..., 3] == 0
    assert result.size_wh == (photo.shape[1], photo.shape[0])
    assert np.array_equal(cutout[..., :3][kept], photo[kept])
    assert not cutout[gone].any()
    assert kept.any()
    assert gone.any()
    assert set(png_chunks(result.png)) <= {b"IHDR", b"iCCP", b"IDAT", b"IEND"}
    assert result.warnings == ()


def test_every_step_is_timed_and_loading_only_when_it_happens(models: dict[str, Model]) -> None:
    pipeline = Pipeline(threads=1)
    steps = {"decode", "inference", "compose", "framing", "encode", "preview"}
    started = time.perf_counter()
    cold = run(pipeline, sample("coffee.png"), SMALL, models["u2netp"])
    took = time.perf_counter() - started
    warm = run(pipeline, sample("coffee.png"), SMALL, models["u2netp"])
    assert set(cold.seconds) == steps | {"load"}
    assert set(warm.seconds) == steps
    assert all(seconds >= 0 for seconds in (*cold.seconds.values(), *warm.seconds.values()))
    assert 0.5 * took < sum(cold.seconds.values()) <= took
    assert cold.provider == warm.provider == "CPUExecutionProvider"
    assert cold.png == warm.png


def test_a_known_mask_gives_the_same_cutout_without_the_model(
    pipeline: Pipeline, models: dict[str, Model], tmp_path: Path
) -> None:
    first = run(pipeline, sample("cat.png"), SMALL, models["u2netp"])
    assert first.mask_png is not None
    assert pixels(first.mask_png).shape == (320, 320)
    nowhere = replace(models["u2netp"], weights=tmp_path / "no such file")
    again = run(Pipeline(threads=1), sample("cat.png"), SMALL, nowhere, first.mask_png)
    assert again.png == first.png
    assert again.mask_png is None
    assert not {"inference", "load"} & set(again.seconds)
    assert again.provider == ""


def test_a_damaged_mask_is_made_again(pipeline: Pipeline, models: dict[str, Model]) -> None:
    first = run(pipeline, sample("cat.png"), SMALL, models["u2netp"])
    assert first.mask_png is not None
    again = run(pipeline, sample("cat.png"), SMALL, models["u2netp"], first.mask_png[:100])
    assert again.png == first.png
    assert again.mask_png == first.mask_png
    assert "inference" in again.seconds


def test_a_colour_takes_the_place_of_the_background(pipeline: Pipeline, models: dict[str, Model]) -> None:
    photo = np.asarray(opened_sample("cat.png"))
    alpha = pixels(run(pipeline, sample("cat.png"), SMALL, models["u2netp"]).png)[..., 3]
    recipe = Recipe(models=("u2netp",), background=Colour(colour="#10c0ff"))
    cutout = pixels(run(pipeline, sample("cat.png"), recipe, models["u2netp"]).png)
    assert cutout.shape == photo.shape
    assert (cutout[alpha == 0] == (0x10, 0xC0, 0xFF)).all()
    assert np.array_equal(cutout[alpha == 255], photo[alpha == 255])


def test_keeping_the_background_gives_the_photo_back_and_runs_no_model(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("coffee.png"), Recipe(background=Keep()))
    assert np.array_equal(pixels(result.png), np.asarray(opened_sample("coffee.png")))
    assert result.mask_png is None
    assert result.provider == ""
    assert not {"inference", "load"} & set(result.seconds)


def test_the_photos_own_transparency_stays_transparent(pipeline: Pipeline, models: dict[str, Model]) -> None:
    whole = opened_sample("cat.png")
    own = Image.new("L", whole.size, 255)
    own.paste(0, (0, 0, whole.width // 2, whole.height))
    see_through = whole.copy()
    see_through.putalpha(own)
    plain = pixels(run(pipeline, encoded(whole, "PNG"), SMALL, models["u2netp"]).png)
    cutout = pixels(run(pipeline, encoded(see_through, "PNG"), SMALL, models["u2netp"]).png)
    assert not cutout[:, : whole.width // 2].any()
    assert np.array_equal(cutout[:, whole.width // 2 :], plain[:, whole.width // 2 :])
    kept = pixels(run(pipeline, encoded(see_through, "PNG"), Recipe(background=Keep())).png)
    assert np.array_equal(kept[..., 3], np.asarray(own))


def test_a_turned_photo_comes_out_upright(pipeline: Pipeline, models: dict[str, Model]) -> None:
    upright = opened_sample("cat.png")
    stored = ImageOps.exif_transpose(_oriented(upright, 8))
    data = encoded(stored, "PNG", exif=exif_orientation(6).tobytes())
    turned = run(pipeline, data, SMALL, models["u2netp"])
    assert turned.png == run(pipeline, encoded(upright, "PNG"), SMALL, models["u2netp"]).png


def _oriented(image: Image.Image, orientation: int) -> Image.Image:
    copy = image.copy()
    copy.getexif()[0x0112] = orientation
    return copy


def test_the_profile_of_the_photo_is_kept(pipeline: Pipeline) -> None:
    profile = srgb_profile()
    result = run(pipeline, encoded(picture(), "JPEG", icc_profile=profile), Recipe(background=Keep()))
    for data in (result.png, result.preview, result.before):
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["icc_profile"] == profile


def test_previews_are_small_and_show_the_same_part(pipeline: Pipeline, models: dict[str, Model]) -> None:
    photo = encoded(opened_sample("astronaut.png").resize((1600, 1600)), "JPEG")
    recipe = Recipe(models=("u2netp",), framing=FaceCrop(margin=1.2))
    result = run(pipeline, photo, recipe, models["u2netp"])
    cutout, after, before = pixels(result.png), pixels(result.preview), pixels(result.before)
    assert min(cutout.shape[:2]) > 768
    assert after.shape == (768, 768, 4)
    assert before.shape == (768, 768, 3)
    seen = np.asarray(Image.fromarray(cutout).resize((768, 768)))[..., 3].astype(int)
    assert np.abs(seen - after[..., 3]).mean() < 4
    opaque = after[..., 3] == 255
    assert np.abs(after[..., :3].astype(int) - before)[opaque].mean() < 6


# Faces


def place_of(part: U8, whole: U8) -> tuple[int, int, int, int]:
    """The box of a picture within another, found by its pixels."""
    height, width = part.shape[:2]
    for top in range(whole.shape[0] - height + 1):
        for left in range(whole.shape[1] - width + 1):
            if np.array_equal(whole[top, left : left + width], part[0]) and np.array_equal(
                whole[top : top + height, left : left + width], part
            ):
                return left, top, left + width, top + height
    raise AssertionError("it is not there")


def test_a_face_crop_is_a_square_that_holds_the_face(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("astronaut.png"), FACE)
    cutout = pixels(result.png)
    left, top, right, bottom = place_of(cutout, np.asarray(opened_sample("astronaut.png")))
    assert right - left == bottom - top < 400
    assert left <= ASTRONAUT[0]
    assert top <= ASTRONAUT[1]
    assert right >= ASTRONAUT[2]
    assert bottom >= ASTRONAUT[3]
    assert result.size_wh == (right - left, bottom - top)
    assert result.warnings == ()


def test_a_wider_margin_takes_more_around_the_face(pipeline: Pipeline) -> None:
    sizes = [
        run(pipeline, sample("astronaut.png"), replace_margin(margin)).size_wh[0]
        for margin in (0.0, 0.3, 0.6)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def replace_margin(margin: float) -> Recipe:
    return Recipe(background=Keep(), framing=FaceCrop(margin=margin))


def test_a_cropped_cutout_is_the_same_part_of_the_whole_one(
    pipeline: Pipeline, models: dict[str, Model]
) -> None:
    whole = pixels(run(pipeline, sample("astronaut.png"), SMALL, models["u2netp"]).png)
    left, top, right, bottom = place_of(
        pixels(run(pipeline, sample("astronaut.png"), FACE).png), np.asarray(opened_sample("astronaut.png"))
    )
    recipe = Recipe(models=("u2netp",), framing=FaceCrop())
    cropped = pixels(run(pipeline, sample("astronaut.png"), recipe, models["u2netp"]).png)
    assert np.array_equal(cropped, whole[top:bottom, left:right])


def test_a_photo_without_a_face_is_kept_whole_with_a_warning(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("coffee.png"), FACE)
    assert np.array_equal(pixels(result.png), np.asarray(opened_sample("coffee.png")))
    assert [warning.code for warning in result.warnings] == ["no_face"]


def test_a_photo_without_a_face_can_be_skipped_instead(pipeline: Pipeline) -> None:
    recipe = Recipe(background=Keep(), framing=FaceCrop(no_face="skip"))
    with pytest.raises(TaskError, match="no_face"):
        run(pipeline, sample("coffee.png"), recipe)


def test_a_skipped_photo_costs_no_inference(pipeline: Pipeline, tmp_path: Path) -> None:
    recipe = Recipe(models=("u2net",), framing=FaceCrop(no_face="skip"))
    absent = Model(spec=CATALOGUE["u2net"], weights=tmp_path / "never read")
    with pytest.raises(TaskError, match="no_face"):
        pipeline.run(sample("coffee.png"), recipe, absent, max_pixels=50_000_000)


def test_of_several_faces_the_largest_is_used_and_that_is_told(pipeline: Pipeline) -> None:
    whole = opened_sample("astronaut.png")
    both = Image.new("RGB", (820, 512), "gray")
    both.paste(whole.resize((300, 300)), (0, 100))
    both.paste(whole, (308, 0))
    result = run(pipeline, encoded(both, "PNG"), FACE)
    assert [warning.code for warning in result.warnings] == ["several_faces"]
    left, _, _, _ = place_of(pixels(result.png), np.asarray(both))
    assert left > 308


# What goes wrong


def test_a_model_that_finds_nothing_is_told(pipeline: Pipeline, tmp_path: Path) -> None:
    data = tiny_onnx.flat(320)
    (tmp_path / "silueta.onnx").write_bytes(data)
    model = Model(spec=spec_for(data), weights=tmp_path / "silueta.onnx")
    result = run(pipeline, sample("coffee.png"), Recipe(models=("silueta",)), model)
    assert [warning.code for warning in result.warnings] == ["nothing_left"]
    assert not pixels(result.png).any()


def test_weights_damaged_on_disk_are_not_used(model_dir: Path, tmp_path: Path) -> None:
    short = tmp_path / "u2netp.onnx"
    short.write_bytes(weights_file(model_dir, "u2netp").read_bytes()[: 1 << 20])
    with pytest.raises(ModelError, match="weights_checksum"):
        run(Pipeline(threads=1), sample("cat.png"), SMALL, Model(spec=CATALOGUE["u2netp"], weights=short))


@pytest.mark.parametrize(
    ("photo", "code"),
    [
        (b"no picture", "not_a_picture"),
        (sample("rocket.jpg")[:20_000], "photo_truncated"),
    ],
)
def test_a_photo_that_cannot_be_decoded_says_why(pipeline: Pipeline, photo: bytes, code: str) -> None:
    with pytest.raises(PhotoError, match=code):
        run(pipeline, photo, Recipe(background=Keep()))


def test_a_photo_over_the_limit_is_not_decoded_here_either(pipeline: Pipeline) -> None:
    with pytest.raises(PhotoError, match="photo_too_large"):
        pipeline.run(sample("cat.png"), Recipe(background=Keep()), None, max_pixels=1000)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 300), (300, 1), (2000, 3)])
def test_the_smallest_and_narrowest_photos_have_cutouts(
    size_wh: tuple[int, int], pipeline: Pipeline, models: dict[str, Model]
) -> None:
    recipe = Recipe(models=("u2netp",), framing=FaceCrop())
    result = run(pipeline, encoded(picture(*size_wh), "PNG"), recipe, models["u2netp"])
    assert pixels(result.png).shape == (size_wh[1], size_wh[0], 4)
    assert result.size_wh == size_wh
