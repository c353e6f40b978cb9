"""Encoding: what goes into a PNG comes out of it, and nothing else is in there."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from photoproc.imaging import encode
from tests.pictures import picture, png_chunks, srgb_profile

U8 = NDArray[np.uint8]

arrays = st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([(), (3,), (4,)])).flatmap(
    lambda shape: hnp.arrays(np.uint8, (shape[0], shape[1], *shape[2]))
)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@settings(deadline=None)
@given(picture=arrays)
def test_a_png_gives_back_every_value(picture: U8) -> None:
    image = opened(encode.to_png(picture))
    assert (
        image.mode == {2: "L", 3: "RGB", 4: "RGBA"}[picture.ndim if picture.ndim == 2 else picture.shape[2]]
    )
    assert np.array_equal(np.asarray(image), picture)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_png_holds_pixels_and_nothing_else(mode: str) -> None:
    assert set(png_chunks(encode.to_png(np.asarray(picture(mode=mode))))) == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_profile_of_the_values_is_kept(mode: str) -> None:
    original, profile = np.asarray(picture(mode=mode)), srgb_profile()
    data = encode.to_png(original, profile)
    assert opened(data).info["icc_profile"] == profile
    assert set(png_chunks(data)) == {b"IHDR", b"iCCP", b"IDAT", b"IEND"}
    assert np.array_equal(np.asarray(opened(data)), original)


def test_a_damaged_profile_does_not_cost_the_picture() -> None:
    original = np.asarray(picture())
    for profile in (b"x" * 16 + b"RGB " + b"y" * 200, srgb_profile()[:150]):
        assert np.array_equal(np.asarray(opened(encode.to_png(original, profile))), original)


def test_parts_of_pictures_are_encoded_as_they_look() -> None:
    part = np.asarray(picture(64, 48))[5:40:2, 9:30, ::-1]
    assert np.array_equal(np.asarray(opened(encode.to_png(part))), part)


@settings(deadline=None)
@given(mask=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_kept_mask_is_read_back_exactly(mask: U8) -> None:
    again = encode.from_mask_png(encode.to_png(mask))
    assert again is not None
    assert np.array_equal(again, mask)


def test_a_damaged_mask_is_no_mask() -> None:
    data = encode.to_png(np.asarray(picture(mode="L")))
    for damaged in (b"", data[:10], data[: len(data) // 2], b"GIF89a" + data):
        assert encode.from_mask_png(damaged) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_preview_is_a_webp_of_the_same_picture(mode: str) -> None:
    original = Image.radial_gradient("L").convert(mode)
    if mode == "RGBA":
        original.putalpha(Image.linear_gradient("L"))
    preview = opened(encode.to_preview(np.asarray(original), srgb_profile()))
    assert (preview.format, preview.mode, preview.size) == ("WEBP", mode, original.size)
    assert preview.info["icc_profile"] == srgb_profile()
    seen, meant = np.asarray(preview, int), np.asarray(original, int)
    assert np.abs(seen - meant)[128:].mean() < 4
    assert np.array_equal(seen[..., 3:], meant[..., 3:])


@given(size_wh=st.tuples(st.integers(1, 60_000), st.integers(1, 60_000)), longest=st.integers(1, 2000))
def test_a_preview_fits_its_frame_and_is_never_larger_than_the_picture(
    size_wh: tuple[int, int], longest: int
) -> None:
    width, height = encode.preview_size(size_wh, longest)
    assert 1 <= width <= min(size_wh[0], longest)
    assert 1 <= height <= min(size_wh[1], longest)
    assert max(width, height) == min(longest, max(size_wh))
    assert abs(width * size_wh[1] - height * size_wh[0]) <= max(size_wh)
