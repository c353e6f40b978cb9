"""The pipeline with real models: rembg's masks, what each option does, and what is told about it."""

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from photoproc.errors import ModelError, PhotoError, PhotoprocError, TaskError
from photoproc.models.catalogue import CATALOGUE
from photoproc.parts import Colour, Face, Keep, Picture, Size, Transparent
from photoproc.pipeline import Pipeline, Result
from photoproc.recipe import Recipe
from photoproc.rendering import Made
from photoproc.samples import sample_photos
from photoproc.work import Model
from tests.models import tiny_onnx
from tests.models.support import mean_error, soft_iou, spec_for, weights_file
from tests.pictures import (
    encoded,
    exif_orientation,
    opened_sample,
    picture,
    png16,
    png_chunks,
    sample,
    srgb_profile,
)
from tests.portraits import Person, scene

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
    pipeline: Pipeline,
    photo: bytes,
    recipe: Recipe,
    model: Model | None = None,
    mask: bytes | None = None,
    **more: Any,
) -> Result:
    return pipeline.run(photo, recipe, model, max_pixels=MAX_PIXELS, mask_png=mask, **more)


def only(result: Result) -> Made:
    """The one cutout of a photo."""
    (made,) = result.pictures
    return made


def drawn(result: Result) -> U8:
    """The pixels of the one cutout."""
    return pixels(only(result).data)


SMALL = Recipe(models=("u2netp",))
# Neither turned nor beyond the photo's edge, so that its pixels are the photo's own.
FACE = Recipe(background=Keep(), framing=Face(head=0.6, eye_line=0.36, align=False))


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
    cutout = drawn(run(pipeline, sample(name), Recipe(models=(model,)), models[model]))
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
    cutout = drawn(result)
    kept, gone = cutout[..., 3] > 0, cutout[..., 3] == 0
    assert only(result).size_wh == (photo.shape[1], photo.shape[0])
    assert np.array_equal(cutout[..., :3][kept], photo[kept])
    assert not cutout[gone].any()
    assert kept.any()
    assert gone.any()
    assert set(png_chunks(only(result).data)) <= {b"IHDR", b"iCCP", b"IDAT", b"IEND"}
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
    assert only(cold).data == only(warm).data


def test_a_known_mask_gives_the_same_cutout_without_the_model(
    pipeline: Pipeline, models: dict[str, Model], tmp_path: Path
) -> None:
    first = run(pipeline, sample("cat.png"), SMALL, models["u2netp"])
    assert first.mask_png is not None
    assert pixels(first.mask_png).shape == (320, 320)
    nowhere = replace(models["u2netp"], weights=tmp_path / "no such file")
    again = run(Pipeline(threads=1), sample("cat.png"), SMALL, nowhere, first.mask_png)
    assert only(again).data == only(first).data
    assert again.mask_png is None
    assert not {"inference", "load"} & set(again.seconds)
    assert again.provider == ""


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_previews_made_beside_the_file_are_the_same(models: dict[str, Model], form: str) -> None:
    photo = encoded(opened_sample("astronaut.png").resize((2000, 2000)), "JPEG")
    fields = {"models": list(MODELS), "output": {"format": form}, "background": {"kind": "colour"}}
    recipe = Recipe.of_fields(fields if form == "jpeg" else {**fields, "background": {"kind": "transparent"}})
    masked = Pipeline(threads=1).run(photo, recipe, models["u2netp"], max_pixels=MAX_PIXELS)
    made = [
        Pipeline(threads=threads).run(
            photo, recipe, models["u2netp"], max_pixels=MAX_PIXELS, mask_png=masked.mask_png
        )
        for threads in (1, 2)
    ]
    assert made[0].pictures == made[1].pictures == masked.pictures
    assert made[0].pictures[0].level is not None
    assert [result.warnings for result in made] == [masked.warnings] * 2


def test_a_damaged_mask_is_made_again(pipeline: Pipeline, models: dict[str, Model]) -> None:
    first = run(pipeline, sample("cat.png"), SMALL, models["u2netp"])
    assert first.mask_png is not None
    again = run(pipeline, sample("cat.png"), SMALL, models["u2netp"], first.mask_png[:100])
    assert only(again).data == only(first).data
    assert again.mask_png == first.mask_png
    assert "inference" in again.seconds


def test_a_colour_takes_the_place_of_the_background(pipeline: Pipeline, models: dict[str, Model]) -> None:
    photo = np.asarray(opened_sample("cat.png"))
    alpha = drawn(run(pipeline, sample("cat.png"), SMALL, models["u2netp"]))[..., 3]
    recipe = Recipe(models=("u2netp",), background=Colour(colour="#10c0ff"))
    cutout = drawn(run(pipeline, sample("cat.png"), recipe, models["u2netp"]))
    assert cutout.shape == photo.shape
    assert (cutout[alpha == 0] == (0x10, 0xC0, 0xFF)).all()
    assert np.array_equal(cutout[alpha == 255], photo[alpha == 255])


def test_keeping_the_background_gives_the_photo_back_and_runs_no_model(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("coffee.png"), Recipe(background=Keep()))
    assert np.array_equal(drawn(result), np.asarray(opened_sample("coffee.png")))
    assert result.mask_png is None
    assert result.provider == ""
    assert not {"inference", "load"} & set(result.seconds)


def test_the_photos_own_transparency_stays_transparent(pipeline: Pipeline, models: dict[str, Model]) -> None:
    whole = opened_sample("cat.png")
    own = Image.new("L", whole.size, 255)
    own.paste(0, (0, 0, whole.width // 2, whole.height))
    see_through = whole.copy()
    see_through.putalpha(own)
    plain = drawn(run(pipeline, encoded(whole, "PNG"), SMALL, models["u2netp"]))
    cutout = drawn(run(pipeline, encoded(see_through, "PNG"), SMALL, models["u2netp"]))
    assert not cutout[:, : whole.width // 2].any()
    assert np.array_equal(cutout[:, whole.width // 2 :], plain[:, whole.width // 2 :])
    kept = drawn(run(pipeline, encoded(see_through, "PNG"), Recipe(background=Keep())))
    assert np.array_equal(kept[..., 3], np.asarray(own))


def test_a_turned_photo_comes_out_upright(pipeline: Pipeline, models: dict[str, Model]) -> None:
    upright = opened_sample("cat.png")
    stored = ImageOps.exif_transpose(_oriented(upright, 8))
    data = encoded(stored, "PNG", exif=exif_orientation(6).tobytes())
    turned = run(pipeline, data, SMALL, models["u2netp"])
    assert only(turned).data == only(run(pipeline, encoded(upright, "PNG"), SMALL, models["u2netp"])).data


def _oriented(image: Image.Image, orientation: int) -> Image.Image:
    copy = image.copy()
    copy.getexif()[0x0112] = orientation
    return copy


def test_the_profile_of_the_photo_is_kept(pipeline: Pipeline) -> None:
    profile = srgb_profile()
    result = run(pipeline, encoded(picture(), "JPEG", icc_profile=profile), Recipe(background=Keep()))
    for data in (only(result).data, only(result).preview, only(result).before):
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["icc_profile"] == profile


def test_previews_are_small_and_show_the_same_part(pipeline: Pipeline, models: dict[str, Model]) -> None:
    photo = encoded(opened_sample("astronaut.png").resize((1600, 1600)), "JPEG")
    recipe = Recipe(models=("u2netp",), framing=Face(head=0.35), size=Size(aspect="1:1"))
    result = run(pipeline, photo, recipe, models["u2netp"])
    cutout, after, before = drawn(result), pixels(only(result).preview), pixels(only(result).before)
    assert min(cutout.shape[:2]) > 900
    assert after.shape == (900, 900, 4)
    assert before.shape[:2] == (900, 900)
    seen = np.asarray(Image.fromarray(cutout).resize((900, 900)))[..., 3].astype(int)
    assert np.abs(seen - after[..., 3]).mean() < 4
    opaque = after[..., 3] == 255
    assert np.abs(after[..., :3].astype(int) - before[..., :3])[opaque].mean() < 6


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


def test_a_face_crop_is_four_to_five_and_holds_the_face(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("astronaut.png"), FACE)
    cutout = drawn(result)
    left, top, right, bottom = place_of(cutout, np.asarray(opened_sample("astronaut.png")))
    assert abs((right - left) - (bottom - top) * 4 / 5) <= 1
    assert bottom - top < 400
    assert left <= ASTRONAUT[0]
    assert top <= ASTRONAUT[1]
    assert right >= ASTRONAUT[2]
    assert bottom >= ASTRONAUT[3]
    assert only(result).size_wh == (right - left, bottom - top)
    assert result.warnings == ()


def test_the_smaller_the_head_the_more_is_around_it(pipeline: Pipeline) -> None:
    heights = [
        only(run(pipeline, sample("astronaut.png"), with_head(head))).size_wh[1] for head in (0.8, 0.6, 0.4)
    ]
    assert heights[0] < heights[1] < heights[2]


def with_head(head: float) -> Recipe:
    return Recipe(background=Keep(), framing=Face(head=head))


def test_a_cropped_cutout_is_the_same_part_of_the_whole_one(
    pipeline: Pipeline, models: dict[str, Model]
) -> None:
    whole = drawn(run(pipeline, sample("astronaut.png"), SMALL, models["u2netp"]))
    recipe = FACE.model_copy(update={"models": ("u2netp",), "background": Transparent()})
    cropped = drawn(run(pipeline, sample("astronaut.png"), recipe, models["u2netp"]))
    left, top, right, bottom = place_of(cropped, whole)
    assert np.array_equal(cropped, whole[top:bottom, left:right])
    assert (left, top) < ASTRONAUT[:2]
    assert (right, bottom) > ASTRONAUT[2:]


def test_a_photo_without_a_face_is_kept_whole_with_a_warning(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("coffee.png"), FACE)
    assert np.array_equal(drawn(result), np.asarray(opened_sample("coffee.png")))
    assert [warning.code for warning in result.warnings] == ["no_face"]


def test_a_photo_without_a_face_can_be_skipped_instead(pipeline: Pipeline) -> None:
    recipe = Recipe(background=Keep(), framing=Face(no_face="skip"))
    with pytest.raises(TaskError, match="no_face"):
        run(pipeline, sample("coffee.png"), recipe)


def test_a_skipped_photo_costs_no_inference(pipeline: Pipeline, tmp_path: Path) -> None:
    recipe = Recipe(models=("u2net",), framing=Face(no_face="skip"))
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
    left, _, _, _ = place_of(drawn(result), np.asarray(both))
    assert left > 308


TWO_PEOPLE = scene(
    [Person(eyes=(250, 230), head_px=150), Person(eyes=(620, 250), head_px=220, mirrored=True)], (900, 640)
)


@pytest.fixture(scope="module")
def two_people() -> bytes:
    return encoded(Image.fromarray(TWO_PEOPLE.rgb), "PNG")


def test_each_face_has_a_cutout_the_largest_first(pipeline: Pipeline, two_people: bytes) -> None:
    framing = Face(head=0.6, which="each", align=False)
    result = run(pipeline, two_people, Recipe(background=Keep(), framing=framing))
    assert [made.face for made in result.pictures] == [1, 2]
    for made, person in zip(result.pictures, reversed(TWO_PEOPLE.people), strict=True):
        assert pixels(made.data).shape[:2] == made.size_wh[::-1]
        assert abs(made.size_wh[0] / made.size_wh[1] - 4 / 5) < 0.01
        assert abs(person.head_px / made.size_wh[1] - 0.6) < 0.08
        before = pixels(made.before)
        assert np.abs(before[..., :3].astype(int) - pixels(made.preview)[..., :3]).mean() < 2
    assert result.pictures[0].size_wh > result.pictures[1].size_wh
    assert "several_faces" not in [warning.code for warning in result.warnings]


def test_each_face_leaves_with_what_goes_with_it(
    pipeline: Pipeline, models: dict[str, Model], two_people: bytes
) -> None:
    recipe = Recipe.of_fields(
        {
            "models": ["u2netp"],
            "framing": {"kind": "face", "which": "each"},
            "output": {"show": "pair", "sheet": {"copies": 1}},
        }
    )
    result = run(pipeline, two_people, recipe, models["u2netp"])
    assert [made.face for made in result.pictures] == [1, 2]
    for made in result.pictures:
        assert list(made.extras) == ["mask", "sheet", "sheet_pdf"]
        assert pixels(made.extras["mask"]).shape == made.size_wh[::-1]
    first, second = (pixels(made.extras["sheet"]) for made in result.pictures)
    assert not np.array_equal(first, second)


def test_faces_together_are_one_cutout_with_both(pipeline: Pipeline, two_people: bytes) -> None:
    framing = Face(head=0.5, which="together", align=False)
    recipe = Recipe(background=Keep(), framing=framing, size=Size(aspect="3:2", fit="cut"))
    width, height = only(run(pipeline, two_people, recipe)).size_wh
    assert abs(width / height - 3 / 2) < 0.01
    assert width > 370 + 150  # from the one to the other, and half a head at each side


@pytest.mark.parametrize(("no_face", "code"), [("skip", "no_face"), ("fail", "no_face_failed")])
@pytest.mark.parametrize("which", ["largest", "each", "together"])
def test_a_photo_without_a_face_is_skipped_or_fails_as_asked(
    pipeline: Pipeline, no_face: str, code: str, which: str
) -> None:
    framing = {"kind": "face", "no_face": no_face, "which": which}
    recipe = Recipe.of_fields({"background": {"kind": "keep"}, "framing": framing})
    with pytest.raises(TaskError, match=code):
        run(pipeline, sample("coffee.png"), recipe)


def test_a_photo_without_a_face_that_is_kept_is_one_cutout_without_a_number(pipeline: Pipeline) -> None:
    result = run(pipeline, sample("coffee.png"), Recipe(background=Keep(), framing=Face(which="each")))
    assert only(result).face == 0
    assert [warning.code for warning in result.warnings] == ["no_face"]


# What is put out


def output(**fields: object) -> dict[str, object]:
    return {"models": ["u2netp"], "output": fields}


def test_the_mask_alone_is_the_alpha_of_the_cutout(pipeline: Pipeline, models: dict[str, Model]) -> None:
    whole = drawn(run(pipeline, sample("cat.png"), SMALL, models["u2netp"]))
    recipe = Recipe.of_fields(output(show="mask"))
    result = run(pipeline, sample("cat.png"), recipe, models["u2netp"])
    assert drawn(result).ndim == 2
    assert np.array_equal(drawn(result), whole[..., 3])
    assert only(result).extras == {}
    jpeg = Recipe.of_fields(output(show="mask", format="jpeg", quality=100))
    lossy = drawn(run(pipeline, sample("cat.png"), jpeg, models["u2netp"]))
    assert lossy.shape == whole.shape[:2]
    assert mean_error(lossy, whole[..., 3]) < 1


def test_a_pair_is_the_photo_and_the_mask_of_the_same_part(
    pipeline: Pipeline, models: dict[str, Model]
) -> None:
    fields = output(show="pair") | {"framing": {"kind": "subject", "margin": 0.02}}
    framed = Recipe.of_fields({"models": ["u2netp"], "framing": fields["framing"]})
    cutout = drawn(run(pipeline, sample("cat.png"), framed, models["u2netp"]))
    result = run(pipeline, sample("cat.png"), Recipe.of_fields(fields), models["u2netp"])
    colours, mask = drawn(result), pixels(only(result).extras["mask"])
    assert np.array_equal(mask, cutout[..., 3])
    seen = mask > 0
    assert np.array_equal(colours[..., :3][seen], cutout[..., :3][seen])
    assert colours[..., :3][~seen].any()  # what the cutout has lost is still there


def test_a_sheet_has_the_picture_as_often_as_it_fits(pipeline: Pipeline) -> None:
    recipe = Recipe.of_fields(
        {
            "background": {"kind": "keep"},
            "framing": {"kind": "face", "preset": "us_passport"},
            "size": {"width": 300, "height": 300},
            "output": {"dpi": 150, "sheet": {"paper": "4x6in", "copies": 9}},
        }
    )
    result = run(pipeline, sample("astronaut.png"), recipe)
    made = only(result)
    assert "fewer_copies" in [warning.code for warning in result.warnings]
    with Image.open(io.BytesIO(made.data)) as cutout, Image.open(io.BytesIO(made.extras["sheet"])) as sheet:
        inches = [side / round(sheet.info["dpi"][0]) for side in sheet.size]
        assert sorted(round(inch, 2) for inch in inches) == [4, 6]
        assert abs(cutout.width / cutout.info["dpi"][0] - 2) < 0.02
    assert made.extras["sheet_pdf"].startswith(b"%PDF-")


def test_a_transparent_photo_that_becomes_a_jpeg_is_white_there_and_that_is_told(pipeline: Pipeline) -> None:
    photo = Image.new("RGBA", (40, 30), (255, 0, 0, 255))
    photo.paste((0, 0, 255, 0), (0, 0, 20, 30))
    recipe = Recipe.of_fields({"background": {"kind": "keep"}, "output": {"format": "jpeg", "quality": 100}})
    result = run(pipeline, encoded(photo, "PNG"), recipe)
    assert [warning.code for warning in result.warnings] == ["made_opaque"]
    assert drawn(result)[5, 5].min() > 250
    assert drawn(result)[5, 35][0] > 250


@pytest.mark.parametrize("form", ["png", "webp", "jpeg", "avif", "tiff"])
def test_every_format_is_itself(pipeline: Pipeline, form: str) -> None:
    photo = opened_sample("coffee.png")
    recipe = Recipe.of_fields(
        {"background": {"kind": "keep"}, "output": {"format": form, "quality": 95, "longest": 300}}
    )
    result = run(pipeline, encoded(photo, "PNG"), recipe)
    with Image.open(io.BytesIO(only(result).data)) as image:
        assert (image.format, image.size) == (form.upper(), only(result).size_wh)
        assert max(image.size) == 300
        shown = np.asarray(image.convert("RGB"), int)
    small = np.asarray(photo.resize(only(result).size_wh, Image.Resampling.LANCZOS), int)
    assert np.abs(shown - small).mean() < 3


# 16 bits

WIDE = np.random.default_rng(3).integers(0, 65536, (120, 160, 3), dtype=np.uint16)


def sixteen(data: bytes) -> NDArray[np.uint16]:
    """A 16-bit PNG or TIFF, RGB or RGBA."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.dtype == np.uint16
    order = [2, 1, 0, 3][: found.shape[2]]
    return np.asarray(found[..., order], np.uint16)


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_16_bits_stay_16_bits_from_end_to_end(
    form: str, pipeline: Pipeline, models: dict[str, Model]
) -> None:
    fields = {"output": {"format": form}}
    kept = run(pipeline, png16(WIDE), Recipe.of_fields({"background": {"kind": "keep"}, **fields}))
    assert np.array_equal(sixteen(only(kept).data), WIDE)
    cat = np.asarray(opened_sample("cat.png").resize((300, 200))).astype(np.uint16) * 257 ^ np.uint16(0x5A)
    recipe = Recipe.of_fields({"models": ["u2netp"], **fields})
    cutout = sixteen(only(run(pipeline, png16(cat), recipe, models["u2netp"])).data)
    seen = cutout[..., 3] > 0
    assert np.array_equal(cutout[..., :3][seen], cat[seen])
    assert not cutout[~seen].any()
    assert set(np.unique(cutout[..., 3] % 257)) == {0}


@pytest.mark.parametrize(
    "wanted", [{"depth": "8"}, {"format": "webp", "lossless": True}, {"format": "avif", "lossless": True}]
)
def test_16_bits_become_8_where_asked_or_needed(wanted: dict[str, object], pipeline: Pipeline) -> None:
    recipe = Recipe.of_fields({"background": {"kind": "keep"}, "output": wanted})
    found = drawn(run(pipeline, png16(WIDE), recipe))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - WIDE / 257).max() < 1


def test_16_bits_are_scaled_and_put_on_backgrounds_as_8_bits_are(
    pipeline: Pipeline, models: dict[str, Model]
) -> None:
    eight = np.asarray(opened_sample("cat.png"))
    fields = {
        "models": ["u2netp"],
        "background": {"kind": "gradient", "start": "#123456", "end": "#fedcba"},
        "shadow": {},
        "framing": {"kind": "subject", "margin": 0.2},
        "output": {"longest": 200},
    }
    plain = drawn(
        run(pipeline, encoded(Image.fromarray(eight), "PNG"), Recipe.of_fields(fields), models["u2netp"])
    )
    wide = run(pipeline, png16(eight.astype(np.uint16) * 257), Recipe.of_fields(fields), models["u2netp"])
    assert np.abs(sixteen(only(wide).data) / 257 - plain).max() <= 2


# Previews


LOOKS: dict[str, dict[str, object]] = {
    "nothing": {},
    "gradient and shadow": {
        "background": {"kind": "gradient", "start": "#ff8800", "end": "#0044ff", "angle_deg": 90},
        "shadow": {"blur": 0.05, "down": 0.1},
    },
    "blur": {"background": {"kind": "blur", "radius": 0.05}},
    "subject": {"framing": {"kind": "subject", "margin": 0.3}, "size": {"aspect": "1:1"}},
    "sized": {"framing": {"kind": "subject"}, "size": {"width": 1000, "height": 1500}},
    "face": {"framing": {"kind": "face", "preset": "passport"}},
    "soft": {"edges": {"shrink_px": 12.0, "feather_px": 9.0}, "background": {"kind": "colour"}},
    "mask": {"output": {"show": "mask"}},
    "pair": {"output": {"show": "pair"}},
    "small": {"output": {"longest": 200}},
}


def on_checks(picture: U8) -> NDArray[np.float64]:
    """RGB as seen on a board, so that alpha counts and hidden colours do not."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.shape[2] == 3:
        return picture.astype(float)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    board = np.where((x // 16 + y // 16) % 2, 255.0, 160.0)[..., None]
    alpha = picture[..., 3:].astype(float) / 255
    return np.asarray(picture[..., :3] * alpha + board * (1 - alpha))


@pytest.mark.parametrize("look", LOOKS)
def test_a_live_preview_is_the_full_picture_made_small(
    look: str, pipeline: Pipeline, models: dict[str, Model]
) -> None:
    photo = encoded(opened_sample("astronaut.png").resize((2048, 2048)), "JPEG", quality=92)
    recipe = Recipe.of_fields({"models": ["u2netp"], **LOOKS[look]})
    full = run(pipeline, photo, recipe, models["u2netp"])
    preview = run(pipeline, photo, recipe, models["u2netp"], full.mask_png, longest=900)
    assert only(preview).data == b""
    assert only(preview).extras == {}
    seen = pixels(only(preview).preview)
    whole = Image.fromarray(drawn(full))
    small = np.asarray(whole.resize((seen.shape[1], seen.shape[0]), Image.Resampling.LANCZOS))
    assert abs(seen.shape[1] / seen.shape[0] - whole.width / whole.height) < 0.01
    one, other = on_checks(seen), on_checks(small)
    # WebP's own loss and the other way of shrinking stay below this; a shift of two pixels does not. A face
    # is looked for in the small picture, so that it may be turned by another half of a degree.
    assert np.abs(one - other).mean() < (6 if look == "face" else 4)
    assert float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) > 0.985


# Backgrounds from files


def test_a_background_picture_is_read_turned_and_opaque(
    pipeline: Pipeline, models: dict[str, Model], tmp_path: Path
) -> None:
    wall = Image.new("RGBA", (90, 60), (0, 200, 0, 255))
    wall.paste((0, 0, 0, 0), (0, 0, 90, 20))  # nothing above, which is white; turned it is at the right
    (tmp_path / "wall").write_bytes(encoded(wall, "PNG", exif=exif_orientation(6).tobytes()))
    recipe = Recipe(models=("u2netp",), background=Picture(picture="0" * 64))
    cutout = drawn(run(pipeline, sample("cat.png"), recipe, models["u2netp"], background=tmp_path / "wall"))
    alpha = drawn(run(pipeline, sample("cat.png"), SMALL, models["u2netp"]))[..., 3]
    photo = np.asarray(opened_sample("cat.png"))
    assert cutout.shape == photo.shape
    assert np.array_equal(cutout[alpha == 255], photo[alpha == 255])
    assert alpha[5, 5] == alpha[5, -5] == 0
    assert tuple(cutout[5, 5]) == (0, 200, 0)
    assert tuple(cutout[5, -5]) == (255, 255, 255)


@pytest.mark.parametrize("there", [None, "gone", "broken"])
def test_a_background_that_cannot_be_read_is_said(
    there: str | None, pipeline: Pipeline, models: dict[str, Model], tmp_path: Path
) -> None:
    (tmp_path / "broken").write_bytes(b"")
    recipe = Recipe(models=("u2netp",), background=Picture(picture="0" * 64))
    path = None if there is None else tmp_path / there
    with pytest.raises(PhotoprocError, match="background_missing"):
        run(pipeline, sample("cat.png"), recipe, models["u2netp"], background=path)


# What goes wrong


def test_a_model_that_finds_nothing_is_told(pipeline: Pipeline, tmp_path: Path) -> None:
    data = tiny_onnx.flat(320)
    (tmp_path / "silueta.onnx").write_bytes(data)
    model = Model(spec=spec_for(data), weights=tmp_path / "silueta.onnx")
    result = run(pipeline, sample("coffee.png"), Recipe(models=("silueta",)), model)
    assert [warning.code for warning in result.warnings] == ["nothing_left"]
    assert not drawn(result).any()


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
    recipe = Recipe(models=("u2netp",), framing=Face())
    result = run(pipeline, encoded(picture(*size_wh), "PNG"), recipe, models["u2netp"])
    assert drawn(result).shape == (size_wh[1], size_wh[0], 4)
    assert only(result).size_wh == size_wh
