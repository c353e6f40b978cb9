"""A photo and its mask, finished in other ways than a recipe's."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import PhotoError, TaskError
from photoproc.finish import Finish, Length, Margins
from photoproc.imaging import encode
from photoproc.imaging import finish as finishing
from tests.pictures import encoded, srgb_profile

U8 = NDArray[np.uint8]

MASK = np.zeros((30, 40), np.uint8)
MASK[10:20, 5:25] = 255


def photo(size_wh: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object) -> bytes:
    return encoded(Image.new(mode, size_wh, (200, 100, 50, 128)[: len(mode)]), "PNG", **options)


def finished(asked: Finish, data: bytes | None = None, mask: U8 = MASK) -> Image.Image:
    data, report = finishing.finish(data or photo(), encode.to_png(mask), asked, max_pixels=10**6)
    image = Image.open(io.BytesIO(data))
    assert (image.size, {"PNG": "png", "JPEG": "jpg"}[str(image.format)]) == (report.size_wh, report.form)
    return image


def test_a_crop_has_the_subject_and_margins_that_may_reach_beyond_the_photo() -> None:
    margins = Margins(Length(12), Length(0.5, True), Length(1), Length(0))
    image = finished(Finish(crop=margins))
    assert image.size == (20 + 10, 10 + 12 + 1)
    alpha = np.asarray(image.getchannel("A"))
    assert np.array_equal(alpha[12:22, :20], np.full((10, 20), 255))
    assert alpha.sum() == 255 * 200


def test_the_faintest_haze_is_not_the_subject() -> None:
    hazy = MASK.copy()
    hazy[0, 0] = 12
    assert finished(Finish(crop=Margins()), mask=hazy).size == (20, 10)


def test_a_picture_without_a_subject_stays_whole_and_says_so() -> None:
    data, report = finishing.finish(
        photo(), encode.to_png(np.zeros_like(MASK)), Finish(crop=Margins()), max_pixels=10**6
    )
    assert (report.size_wh, report.has_subject) == ((40, 30), False)
    assert Image.open(io.BytesIO(data)).size == (40, 30)


def test_the_mask_alone_knows_nothing_of_the_photos_transparency() -> None:
    own = photo(mode="RGBA")
    assert finished(Finish(show="mask"), own).getextrema() == (0, 255)
    assert finished(Finish(show="alpha"), own).getextrema() == (0, 128)


def test_form_and_limit_follow_what_is_transparent() -> None:
    limits = {"max_pixels": 800, "max_png_pixels": 100}
    assert finished(Finish(form="auto", **limits)).format == "PNG"  # type: ignore[arg-type]
    assert finished(Finish(form="auto", **limits)).size == (11, 8)  # type: ignore[arg-type]
    opaque = finished(Finish(form="auto", background=(1, 2, 3, 255), **limits))  # type: ignore[arg-type]
    assert (opaque.format, opaque.size) == ("JPEG", (32, 24))


def test_a_colour_lies_behind_the_subject_and_the_profile_is_kept() -> None:
    image = finished(Finish(background=(0, 0, 255, 255)), photo(icc_profile=srgb_profile()))
    assert "icc_profile" in image.info
    assert image.getpixel((0, 0)) == (0, 0, 255, 255)
    assert image.getpixel((10, 15)) == (200, 100, 50, 255)


def test_a_smoothed_mask_is_hard_and_without_specks() -> None:
    rough = MASK.copy()
    rough[2, 35] = 255
    rough[15, 15] = 0
    image = np.asarray(finished(Finish(show="mask", post_process=True), mask=rough))
    assert set(np.unique(image)) == {0, 255}
    assert (image[2, 35], image[15, 15]) == (0, 255)


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(TaskError) as broken:
        finishing.finish(photo(), b"no mask", Finish(), max_pixels=10**6)
    assert broken.value.problem.code == "mask_broken"
    with pytest.raises(PhotoError):
        finishing.finish(b"no photo", encode.to_png(MASK), Finish(), max_pixels=10**6)


@given(
    size_wh=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    box=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30), st.integers(1, 30)),
    beyond=st.integers(0, 50),
    limit=st.integers(1, 4000),
)
def test_any_cut_has_the_size_it_is_to_have_and_something_of_the_picture(
    size_wh: tuple[int, int], box: tuple[int, int, int, int], beyond: int, limit: int
) -> None:
    left, top = min(box[0], size_wh[0] - 1), min(box[1], size_wh[1] - 1)
    right, bottom = min(left + box[2], size_wh[0]), min(top + box[3], size_wh[1])
    wide = finishing.with_margins((left, top, right, bottom), Margins(*[Length(beyond)] * 4))
    size = finishing.bounded((wide[2] - wide[0], wide[3] - wide[1]), limit)
    found = finishing.cut(Image.new("L", size_wh, 255), wide, size)
    assert found.size == size
    assert np.asarray(found).max() == 255
