"""Finished pictures beside ones drawn here from the recipe's words: compared by structure and colour."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from skimage.metrics import structural_similarity

from photoproc.imaging.encode import to_png
from photoproc.models.catalogue import CATALOGUE
from photoproc.pipeline import Pipeline, Result
from photoproc.recipe import Recipe
from photoproc.work import Model
from tests.pictures import encoded

WIDTH, HEIGHT, RADIUS, CENTRE = 480, 320, 90, (200, 170)
RED, GREEN, BLUE = (200, 40, 40), (60, 160, 70), (40, 60, 200)
MODEL = Model(spec=CATALOGUE["u2netp"], weights=Path("not-needed"))
FINE = 4
"""Edges are drawn so many times as large and then shrunk."""


def disc(size_wh: tuple[int, int], centre: tuple[float, float], radius: float) -> Image.Image:
    """A disc's alpha."""
    large = Image.new("L", (size_wh[0] * FINE, size_wh[1] * FINE))
    (x, y), r = centre, radius
    box = [FINE * (x - r), FINE * (y - r), FINE * (x + r) - 1, FINE * (y + r) - 1]
    ImageDraw.Draw(large).ellipse(box, 255)
    return large.resize(size_wh, Image.Resampling.BOX)


def scene(
    size_wh: tuple[int, int] = (WIDTH, HEIGHT),
    centre: tuple[float, float] = CENTRE,
    radius: float = RADIUS,
    behind: tuple[int, int, int] | Image.Image = GREEN,
) -> Image.Image:
    """The subject, a red disc with a blue one in it, on a background."""
    made = behind.copy() if isinstance(behind, Image.Image) else Image.new("RGB", size_wh, behind)
    made.paste(RED, mask=disc(size_wh, centre, radius))
    made.paste(BLUE, mask=disc(size_wh, centre, radius / 2))
    return made


def gradient(
    size_wh: tuple[int, int], top: tuple[int, int, int], bottom: tuple[int, int, int]
) -> Image.Image:
    """From one colour at the top to another at the bottom."""
    place = ((np.arange(size_wh[1]) + 0.5) / size_wh[1])[:, None, None]
    rows = np.array(top) * (1 - place) + np.array(bottom) * place
    return Image.fromarray(np.broadcast_to(rows, (size_wh[1], size_wh[0], 3)).round().astype(np.uint8))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(threads=1)


def run(pipeline: Pipeline, behind: Path | None = None, /, **fields: object) -> Result:
    """The scene by a recipe; its mask is known, so no model runs."""
    recipe = Recipe.of_fields({"models": ["u2netp"], **fields})
    return pipeline.run(
        encoded(scene(), "PNG"),
        recipe,
        MODEL if recipe.task_models == recipe.models else None,
        max_pixels=10_000_000,
        mask_png=to_png(np.asarray(disc((WIDTH, HEIGHT), CENTRE, RADIUS))),
        background=behind,
    )


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.copy()


def check_like(
    found: Image.Image, wanted: Image.Image, *, structure: float = 0.97, colour: float = 2.0
) -> None:
    """The same to look at: size, structure (SSIM) and the mean difference of colours."""
    assert found.size == wanted.size
    one, other = np.asarray(found.convert("RGB")), np.asarray(wanted.convert("RGB"))
    assert np.abs(one.astype(int) - other).mean() <= colour
    assert structural_similarity(one, other, channel_axis=2) >= structure


def on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


WHITE = {"kind": "colour", "colour": "white"}
CASES: Mapping[str, tuple[Mapping[str, object], Image.Image]] = {
    "a colour": ({"background": {"kind": "colour", "colour": "orange"}}, scene(behind=(255, 165, 0))),
    "a gradient": (
        {"background": {"kind": "gradient", "start": "#102030", "end": "#e0d0c0"}},
        scene(behind=gradient((WIDTH, HEIGHT), (16, 32, 48), (224, 208, 192))),
    ),
    "the blurred photo": ({"background": {"kind": "blur"}}, scene()),
    "kept": ({"background": {"kind": "keep"}}, scene()),
    "around the subject": (
        {"background": WHITE, "framing": {"kind": "subject", "margin": 0.1}},
        scene((216, 216), (108, 108), RADIUS, (255, 255, 255)),
    ),
    "around the subject, 2:1, padded": (
        {"background": WHITE, "framing": {"kind": "subject", "margin": 0.1}, "size": {"aspect": "2:1"}},
        scene((432, 216), (216, 108), RADIUS, (255, 255, 255)),
    ),
    "the whole photo, square, padded": (
        {"background": WHITE, "size": {"aspect": "1:1"}},
        scene((480, 480), (CENTRE[0], CENTRE[1] + 80), RADIUS, (255, 255, 255)),
    ),
    "cut to a square around the subject": (
        {"background": WHITE, "size": {"aspect": "1:1", "fit": "cut"}},
        scene((320, 320), (160, 170), RADIUS, (255, 255, 255)),
    ),
    "scaled to a width": (
        {"background": WHITE, "size": {"width": 240}},
        scene((240, 160), (100, 85), RADIUS / 2, (255, 255, 255)),
    ),
    "enlarged": (
        {"background": WHITE, "size": {"width": 960, "enlarge": True}},
        scene((960, 640), (400, 340), RADIUS * 2, (255, 255, 255)),
    ),
    "bounded by its longest side": (
        {"background": WHITE, "output": {"longest": 120}},
        scene((120, 80), (50, 42.5), RADIUS / 4, (255, 255, 255)),
    ),
    "smaller by five pixels": (
        {"background": WHITE, "edges": {"shrink_px": 5}},
        Image.composite(
            scene(), Image.new("RGB", (WIDTH, HEIGHT), "white"), disc((WIDTH, HEIGHT), CENTRE, RADIUS - 5)
        ),
    ),
    "feathered": (
        {"background": WHITE, "edges": {"feather_px": 6}},
        Image.composite(
            scene(),
            Image.new("RGB", (WIDTH, HEIGHT), "white"),
            disc((WIDTH, HEIGHT), CENTRE, RADIUS).filter(ImageFilter.GaussianBlur(6)),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_picture_is_as_the_recipe_says(pipeline: Pipeline, name: str) -> None:
    fields, wanted = CASES[name]
    (made,) = run(pipeline, **fields).pictures
    found = opened(made.data)
    assert found.size == made.size_wh
    check_like(found, wanted)


def test_on_nothing_the_subject_is_all_there_is(pipeline: Pipeline) -> None:
    found = opened(run(pipeline).pictures[0].data)
    assert found.mode == "RGBA"
    check_like(on_white(found), scene(behind=(255, 255, 255)))
    pixels = np.asarray(found)
    assert not pixels[pixels[..., 3] == 0].any()


@pytest.mark.parametrize("fit", ["cover", "contain"])
def test_a_background_picture_fills_the_cutout_or_is_seen_whole(
    pipeline: Pipeline, tmp_path: Path, fit: str
) -> None:
    square = gradient((300, 300), (0, 0, 0), (250, 250, 250))
    path = tmp_path / "background"
    path.write_bytes(encoded(square, "PNG"))
    (made,) = run(
        pipeline,
        path,
        background={"kind": "picture", "picture": "0" * 64, "fit": fit, "colour": "#ff00ff"},
    ).pictures
    if fit == "cover":
        behind = square.resize((480, 480)).crop((0, 80, 480, 400))
    else:
        behind = Image.new("RGB", (WIDTH, HEIGHT), "#ff00ff")
        behind.paste(square.resize((320, 320)), (80, 0))
    check_like(opened(made.data), scene(behind=behind))


def test_a_shadow_lies_where_it_falls_and_the_subject_on_top_of_it(pipeline: Pipeline) -> None:
    shadow = {"right": 0.2, "down": 0.1, "blur": 0.05, "opacity": 0.5, "colour": "black"}
    found = opened(run(pipeline, background=WHITE, shadow=shadow).pictures[0].data)
    longer = 2 * RADIUS
    moved = (CENTRE[0] + 0.2 * longer, CENTRE[1] + 0.1 * longer)
    dark = disc((WIDTH, HEIGHT), moved, RADIUS).filter(ImageFilter.GaussianBlur(0.05 * longer))
    behind = Image.composite(
        Image.new("RGB", (WIDTH, HEIGHT)),
        Image.new("RGB", (WIDTH, HEIGHT), "white"),
        dark.point(lambda v: v // 2),
    )
    check_like(found, scene(behind=behind))


@pytest.mark.parametrize(
    ("form", "more"),
    [
        ("png", {}),
        ("tiff", {}),
        ("webp", {"lossless": True}),
        ("webp", {"quality": 90}),
        ("avif", {"quality": 90}),
        ("avif", {"lossless": True}),
        ("jpeg", {"quality": 95}),
    ],
)
def test_every_format_holds_the_same_picture(pipeline: Pipeline, form: str, more: dict[str, object]) -> None:
    output = {"format": form, **more}
    (made,) = run(pipeline, background=WHITE, output=output).pictures
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.format == form.upper()
    check_like(opened(made.data), scene(behind=(255, 255, 255)), structure=0.95)


def test_a_pair_is_the_photo_and_its_mask(pipeline: Pipeline) -> None:
    (made,) = run(pipeline, output={"show": "pair"}, framing={"kind": "subject", "margin": 0.1}).pictures
    check_like(opened(made.data), scene((216, 216), (108, 108)))
    check_like(opened(made.extras["mask"]), disc((216, 216), (108, 108), RADIUS))


def test_a_mask_alone_is_gray(pipeline: Pipeline) -> None:
    found = opened(run(pipeline, output={"show": "mask"}).pictures[0].data)
    assert found.mode == "L"
    check_like(found, disc((WIDTH, HEIGHT), CENTRE, RADIUS))


def test_the_preview_shows_what_the_file_will_hold(pipeline: Pipeline) -> None:
    fields = {"background": {"kind": "gradient"}, "shadow": {}, "size": {"aspect": "4:5"}}
    (made,) = run(pipeline, **fields).pictures
    (tried,) = pipeline.run(
        encoded(scene(), "PNG"),
        Recipe.of_fields({"models": ["u2netp"], **fields}),
        MODEL,
        max_pixels=10_000_000,
        mask_png=to_png(np.asarray(disc((WIDTH, HEIGHT), CENTRE, RADIUS))),
        longest=240,
    ).pictures
    assert tried.data == b""
    small = opened(tried.preview)
    check_like(small, opened(made.data).convert("RGB").resize(small.size), structure=0.93, colour=3.0)
