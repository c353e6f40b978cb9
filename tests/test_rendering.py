"""A photo and its alpha to files: what is made while it is written is what would be made as a whole."""

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photoproc.imaging import framing
from photoproc.imaging.compose import Look
from photoproc.parts import Background, Colour, Output, Shadow, Sheet, Transparent
from photoproc.rendering import Layers, Made, Stopwatch, made


def cut(
    output: Output,
    *,
    kind: Any = np.uint8,
    background: Background | None = None,
    shadow: Shadow | None = None,
    times: int = 1,
) -> Made:
    """A square of noise in the middle of a photo, on nothing or a background."""
    wide, high = 300 * times, 200 * times
    photo = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (high, wide, 3), kind, endpoint=True)
    alpha = np.zeros((high, wide), np.uint8)
    alpha[high // 4 : high // 2, wide // 4 : wide // 2] = 255
    look = Look(background=background or Transparent(), shadow=shadow)
    layers = Layers(colours=photo, photo=photo, own=None, alpha=alpha, look=look, exif=None)
    frame = framing.Frame(centre_xy=(wide / 2, high / 2), size_wh=(wide, high), out_wh=(wide, high))
    return made(layers, frame, output, Stopwatch({}), [], small=False)


def pixels(found: Made) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(found.data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("depth", "bits"), [("input", 16), ("8", 8)])
def test_it_has_the_depth_that_was_asked_for(depth: Any, bits: int) -> None:
    found = cut(Output(depth=depth), kind=np.uint16)
    assert found.data[24] == bits  # of IHDR
    assert pixels(found)[60, 80, 3] == 255


def test_a_shadow_is_around_the_subject() -> None:
    plain, shaded = (pixels(cut(Output(), shadow=one))[..., 3] for one in (None, Shadow(down=0.1, blur=0.02)))
    assert (plain > 0).sum() == 50 * 75
    assert (shaded > 0).sum() > (plain > 0).sum() + 100


def test_a_colour_is_behind_the_subject() -> None:
    found = pixels(cut(Output(), background=Colour(colour="#102030")))
    assert found[0, 0].tolist()[:3] == [16, 32, 48]


def test_a_sheet_is_made_where_it_is_asked_for() -> None:
    assert cut(Output(sheet=Sheet())).extras["sheet"]


@pytest.mark.parametrize("show", ["mask", "pair"])
def test_a_mask_is_shown_where_it_is_asked_for(show: Any) -> None:
    found = cut(Output(show=show))
    mask = found.data if show == "mask" else found.extras["mask"]
    with Image.open(io.BytesIO(mask)) as image:
        assert image.mode == "L"
    assert (pixels(found).ndim == 2) == (show == "mask")


def test_other_formats_have_the_same_pixels() -> None:
    assert np.array_equal(pixels(cut(Output())), pixels(cut(Output(format="tiff"))))


def test_a_large_cutout_is_never_there_as_a_whole() -> None:
    tracemalloc.start()
    try:
        found = cut(Output(), times=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.size_wh == (3000, 2000)
    given = 3000 * 2000 * 4  # the photo and its alpha
    assert peak < given + 3000 * 2000 * 4
