"""Encoding: what goes into a file comes out of it in other readers, and nothing else is in there."""

import io
import itertools
from typing import Literal

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from photoproc.errors import TaskError
from photoproc.imaging import decode, encode
from photoproc.imaging.compose import OnNothing
from photoproc.parts import Output
from tests.pictures import picture, png_chunks, srgb_profile

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
Format = Literal["png", "webp", "jpeg", "avif", "tiff"]

FORMATS: tuple[Format, ...] = ("png", "webp", "jpeg", "avif", "tiff")
SHAPES = ("L", "RGB", "RGBA")
PLACE = b"Ober-Ramstadt"

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
    assert np.abs(seen - meant)[..., 3:].max(initial=0) <= 2


@given(size_wh=st.tuples(st.integers(1, 60_000), st.integers(1, 60_000)), longest=st.integers(1, 2000))
def test_a_preview_fits_its_frame_and_is_never_larger_than_the_picture(
    size_wh: tuple[int, int], longest: int
) -> None:
    width, height = encode.preview_size(size_wh, longest)
    assert 1 <= width <= min(size_wh[0], longest)
    assert 1 <= height <= min(size_wh[1], longest)
    assert max(width, height) == min(longest, max(size_wh))
    assert abs(width * size_wh[1] - height * size_wh[0]) <= max(size_wh)


# What an output asks for


def smooth(mode: str = "RGB") -> U8:
    """A picture that lossy formats keep well."""
    across, down = (
        np.asarray(make("L").resize((96, 64))) for make in (Image.linear_gradient, Image.radial_gradient)
    )
    rgba = np.dstack((across, down, 255 - across, 255 - down // 2))
    return np.ascontiguousarray({"L": down, "RGB": rgba[..., :3], "RGBA": rgba}[mode])


def deep(mode: str = "RGB") -> U16:
    bands = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    values = np.random.default_rng(0).integers(0, 65536, (40, 56, bands), dtype=np.uint16)
    return np.ascontiguousarray(values[..., 0]) if bands == 1 else values


def camera() -> bytes:
    """What a phone writes: turned, here, with this lens."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Orientation], exif[Base.XResolution] = "ACME", 6, 72.0
    exif.get_ifd(IFD.Exif)[Base.LensModel] = "50mm F1.8"
    exif.get_ifd(IFD.Exif)[Base.MakerNote] = PLACE
    exif.get_ifd(IFD.GPSInfo).update({1: "N", 2: (49.0, 50.0, 1.0), 28: PLACE})
    return exif.tobytes()


def saved(
    picture: U8 | U16, output: Output, *, icc: bytes | None = None, exif: bytes | None = None
) -> tuple[bytes, Image.Image]:
    data = encode.encode(picture, output, icc=icc, exif=exif)
    return data, opened(data)


@pytest.mark.parametrize(
    ("form", "mode"), [pair for pair in itertools.product(FORMATS, SHAPES) if pair != ("jpeg", "RGBA")]
)
def test_each_format_holds_the_picture(form: Format, mode: str) -> None:
    original = smooth(mode)
    _, image = saved(original, Output(format=form))
    assert image.format == form.upper()
    assert image.size == (96, 64)
    assert ("A" in image.mode) == (mode == "RGBA")
    seen = np.asarray(image.convert(mode), int)
    assert np.abs(seen - original).mean() < (0.01 if form in ("png", "tiff") else 2)


@pytest.mark.parametrize("mode", SHAPES)
@pytest.mark.parametrize("form", ["png", "webp", "avif", "tiff"])
def test_lossless_is_without_any_loss_and_keeps_alpha(form: Format, mode: str) -> None:
    original = np.asarray(picture(mode=mode)).copy()
    if mode == "RGBA":
        original[..., 3] = np.asarray(picture(mode="L", seed=1)).clip(1, 255)  # zero may lose its colour
    _, image = saved(original, Output(format=form, lossless=True))
    assert np.array_equal(np.asarray(image.convert(mode)), original)


def test_cv2_reads_the_same_from_a_png_and_a_tiff() -> None:
    for values, form in itertools.product((np.asarray(picture()), deep()), FORMATS):
        if form not in ("png", "tiff"):
            continue
        data = encode.encode(values, Output(format=form), icc=None, exif=None)
        again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert again is not None
        assert again.dtype == values.dtype
        assert np.array_equal(again[..., ::-1], values)


def test_jpeg_is_never_given_transparency() -> None:
    with pytest.raises(ValueError, match="transparency"):
        encode.encode(smooth("RGBA"), Output(format="jpeg"), icc=None, exif=None)


@pytest.mark.parametrize("form", ["webp", "jpeg", "avif"])
def test_a_higher_quality_is_nearer_and_larger(form: Format) -> None:
    original = np.asarray(Image.fromarray(smooth()).resize((256, 256)))
    original = (
        (original + np.random.default_rng(0).normal(0, 12, original.shape)).clip(0, 255).astype(np.uint8)
    )
    sizes, errors = [], []
    for quality in (20, 60, 89, 90, 100):
        data, image = saved(original, Output(format=form, quality=quality))
        sizes.append(len(data))
        errors.append(np.abs(np.asarray(image, int) - original).mean())
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("quality", [90, 94, 100])
def test_the_busiest_picture_fits_into_a_jpeg_with_all_that_belongs_to_it(quality: int) -> None:
    noise = np.asarray(picture(500, 400))
    icc = srgb_profile() + bytes(300_000)
    output = Output(format="jpeg", quality=quality, metadata="keep", dpi=300)
    _, image = saved(noise, output, icc=icc, exif=camera())
    assert image.info["icc_profile"] == icc
    assert np.abs(np.asarray(image, int) - noise).mean() < 25


# 16 bits


@pytest.mark.parametrize("mode", SHAPES)
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_16_bits_come_back_exactly(form: Format, mode: str) -> None:
    original = deep(mode)
    data = encode.encode(original, Output(format=form, dpi=300), icc=None, exif=None)
    pixels = decode.decode(data, max_pixels=10_000, deep=True)
    assert pixels.deep is not None
    assert np.array_equal(pixels.deep, original[..., :3] if original.ndim == 3 else np.dstack([original] * 3))
    if mode == "RGBA":
        assert pixels.alpha is not None
        assert np.abs(pixels.alpha - original[..., 3] / 257).max() < 1
    again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert again is not None
    assert again.dtype == np.uint16


@pytest.mark.parametrize("mode", SHAPES)
def test_a_tiff_says_what_its_channels_are(mode: str) -> None:
    for values, bits in ((np.asarray(picture(mode=mode)), 8), (deep(mode), 16)):
        data = encode.encode(values, Output(format="tiff"), icc=None, exif=None)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            [page] = file.pages
            assert isinstance(page, tifffile.TiffPage)
            assert (page.bitspersample, page.samplesperpixel) == (
                bits,
                values.size // 64 // 48 if bits == 8 else values.size // 40 // 56,
            )
            assert page.photometric == (1 if mode == "L" else 2)
            assert tuple(page.extrasamples) == ((2,) if mode == "RGBA" else ()), (
                "alpha that nothing was multiplied with"
            )
            assert (page.compression, page.predictor) == (8, 2)


@pytest.mark.parametrize("form", FORMATS)
def test_16_bits_are_rounded_where_only_8_are_wanted_or_possible(form: Format) -> None:
    values = np.tile(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64, 1), 3)
    output = Output(format=form, depth="8", lossless=True, quality=100)
    _, image = saved(values, output)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - (values / 257).round()).max() <= (2 if form == "jpeg" else 0)
    if form not in ("png", "tiff"):
        assert encode.encode(values, output.model_copy(update={"depth": "input"}), icc=None, exif=None)


def test_every_16_bit_value_becomes_the_nearest_8_bit_one() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(encode.to_8bit(values), (values / 257).round())
    assert encode.to_8bit(np.uint8([[1, 255]])).tolist() == [[1, 255]]  # type: ignore[arg-type]


# Profile, density, camera


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
def test_every_format_carries_the_profile_of_its_colours(form: Format, lossless: bool) -> None:
    output = Output(format=form, lossless=lossless)
    assert saved(smooth(), output, icc=srgb_profile())[1].info["icc_profile"] == srgb_profile()
    assert not saved(smooth(), output)[1].info.get("icc_profile")
    assert not saved(smooth("L"), output, icc=srgb_profile())[1].info.get("icc_profile")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
def test_a_damaged_profile_costs_no_picture_in_any_format(form: Format, lossless: bool) -> None:
    for profile in (b"x" * 16 + b"RGB " + b"y" * 200, srgb_profile()[:150]):
        _, image = saved(smooth(), Output(format=form, lossless=lossless), icc=profile)
        assert np.abs(np.asarray(image, int) - smooth()).mean() < 2


def density(data: bytes, form: Format) -> tuple[float, ...] | None:
    """Dots per inch, as the format has them."""
    image = opened(data)
    if form == "tiff":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = file.pages[0].tags  # type: ignore[union-attr]
            assert {tag.code for tag in tags} >= {256, 257, 258}
            return image.info["dpi"] if 282 in tags else None
    if form in ("webp", "avif"):
        exif = image.getexif()
        return (
            (exif[Base.XResolution], exif[Base.YResolution]) if exif.get(Base.ResolutionUnit) == 2 else None
        )
    found: tuple[float, ...] | None = image.info.get("dpi")
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_the_density_is_what_was_asked_for_or_none(form: Format, lossless: bool, keep: bool) -> None:
    output = Output(format=form, lossless=lossless, metadata="keep" if keep else "strip")
    found = density(saved(smooth(), output, exif=camera())[0], form)
    assert found is None or (keep and found == (72, 72)), "72 is EXIF's word for unknown"
    printed = output.model_copy(update={"dpi": 300})
    assert density(saved(smooth(), printed, exif=camera())[0], form) == pytest.approx((300, 300), rel=1e-4)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
def test_what_the_camera_wrote_is_kept_if_asked_for_without_its_place(form: Format, lossless: bool) -> None:
    assert PLACE in camera()
    output = Output(format=form, lossless=lossless, metadata="keep")
    data, image = saved(smooth(), output, exif=camera(), icc=srgb_profile())
    exif = image.getexif()
    assert exif[Base.Make] == "ACME"
    assert exif.get_ifd(IFD.Exif)[Base.LensModel] == "50mm F1.8"
    assert exif.get(Base.Orientation, 1) == 1
    assert not exif.get_ifd(IFD.GPSInfo)
    assert Base.GPSInfo not in exif
    assert PLACE not in data
    assert image.info["icc_profile"] == srgb_profile()
    assert np.abs(np.asarray(image, int) - smooth()).mean() < 2


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_nothing_of_the_camera_is_left_by_default(form: Format, lossless: bool, mode: str) -> None:
    data, image = saved(smooth(mode), Output(format=form, lossless=lossless), exif=camera())
    assert b"ACME" not in data
    assert b"Exif" not in data
    assert b"eXIf" not in data
    if form != "tiff":  # whose own fields are read as EXIF
        assert not image.getexif()
    assert not image.getexif().get_ifd(IFD.Exif)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
def test_a_damaged_camera_block_costs_no_picture(form: Format, lossless: bool) -> None:
    for block in (b"", b"Exif\0\0", b"noise" * 20, camera()[:60], camera() + bytes(70_000)):
        output = Output(format=form, lossless=lossless, metadata="keep", dpi=300)
        _, image = saved(smooth(), output, exif=block)
        assert image.size == (96, 64)


# Size


@pytest.mark.parametrize(("form", "limit"), [("webp", 16_383), ("jpeg", 65_500)])
def test_a_format_with_a_largest_side_says_so_beyond_it(form: Format, limit: int) -> None:
    assert saved(np.zeros((1, limit, 3), np.uint8), Output(format=form))[1].width == limit
    for shape in ((1, limit + 1, 3), (limit + 1, 1, 3)):
        with pytest.raises(TaskError, match=str(limit)) as refused:
            encode.encode(np.zeros(shape, np.uint8), Output(format=form), icc=None, exif=None)
        assert refused.value.problem.code == "too_large_for_format"
        assert "PNG" in refused.value.problem.advice


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_other_formats_hold_any_ribbon(form: Format) -> None:
    assert saved(np.zeros((1, 70_000, 3), np.uint8), Output(format=form))[1].width == 70_000


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (3, 1, 3), (1, 7), (5, 5, 3)])
def test_the_smallest_pictures_are_pictures(form: Format, lossless: bool, shape: tuple[int, ...]) -> None:
    _, image = saved(np.full(shape, 200, np.uint8), Output(format=form, lossless=lossless))
    assert image.size == shape[1::-1]
    assert abs(int(np.asarray(image.convert("L"))[0, 0]) - 200) <= 3


@pytest.mark.parametrize("form", FORMATS)
def test_parts_of_pictures_are_encoded_as_they_look_in_every_format(form: Format) -> None:
    part = np.asarray(Image.fromarray(smooth()).resize((300, 200)))[10:150:2, 20:200, ::-1]
    _, image = saved(part, Output(format=form))
    assert np.abs(np.asarray(image, int) - part).mean() < 2


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_made_row_by_row_is_a_png_and_nothing_else(form: Format) -> None:
    rows = OnNothing(np.full((3, 4, 3), 200, np.uint8), np.full((3, 4), 255, np.uint8))
    if form == "png":
        assert encode.encode(rows, Output(format=form), icc=None, exif=None)
        return
    with pytest.raises(ValueError, match=r"transparency|row by row"):
        encode.encode(rows, Output(format=form), icc=None, exif=None)
