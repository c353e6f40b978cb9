"""Decoding: by content, upright, 8 bits a channel; what is no picture, damaged or too large is refused."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

from photoproc.errors import PhotoError
from photoproc.imaging import decode, deep, metadata
from tests.pictures import (
    corners,
    encoded,
    exif_orientation,
    picture,
    png16,
    raw_png,
    srgb_profile,
)

MAX_PIXELS = 1_000_000
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]


def error_of(pixels: U8, expected: Image.Image) -> float:
    """The mean difference between decoded pixels and a picture, 0 to 255."""
    return float(np.abs(pixels.astype(int) - np.asarray(expected.convert("RGB"), int)).mean())


def inspected(data: bytes, folder: Path, name: str = "x.jpg") -> decode.PhotoInfo:
    path = folder / "photo"
    path.write_bytes(data)
    return decode.inspect(path, name, max_pixels=MAX_PIXELS)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PhotoError) as refused:
        call()
    assert refused.value.problem.message
    assert refused.value.problem.advice
    return refused.value.problem.code


def refusals(data: bytes, folder: Path) -> set[str]:
    """The codes with which the three ways in refuse a file."""
    return {
        refusal(lambda: inspected(data, folder)),
        refusal(lambda: decode.decode(data, max_pixels=MAX_PIXELS)),
        refusal(lambda: decode.thumbnail(data, longest=16, max_pixels=MAX_PIXELS)),
    }


LOSSLESS = [("PNG", "x.png"), ("TIFF", "x.tif"), ("BMP", "x.bmp")]
LOSSY = [("JPEG", "x.jpg"), ("WEBP", "x.webp"), ("HEIF", "x.heic"), ("AVIF", "x.avif")]


@pytest.mark.parametrize(("kind", "name"), [*LOSSLESS, *LOSSY])
def test_a_photo_of_each_format_decodes_without_a_warning(kind: str, name: str, tmp_path: Path) -> None:
    original = corners()
    data = encoded(original, kind)
    pixels = decode.decode(data, max_pixels=MAX_PIXELS)
    assert pixels.rgb.dtype == np.uint8
    assert error_of(pixels.rgb, original) <= (0 if (kind, name) in LOSSLESS else 5)
    assert pixels.alpha is None
    info = inspected(data, tmp_path, name)
    assert (info.format, info.size_wh, info.warnings) == (kind, original.size, ())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_transparency_comes_beside_the_colours(kind: str) -> None:
    alpha = Image.new("L", (48, 32), 255)
    alpha.paste(0, (0, 0, 24, 32))
    original = corners()
    original.putalpha(alpha)
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = decode.decode(encoded(original, kind, **lossless), max_pixels=MAX_PIXELS)
    assert pixels.rgb.shape == (32, 48, 3)
    assert pixels.alpha is not None
    assert np.abs(pixels.alpha.astype(int) - np.asarray(alpha, int)).mean() < 2


def test_an_alpha_channel_that_hides_nothing_counts_as_none() -> None:
    assert decode.decode(encoded(picture(mode="RGBA"), "PNG"), max_pixels=MAX_PIXELS).alpha is None


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_other_modes_become_rgb_of_the_same_values(mode: str, kind: str) -> None:
    original = picture().convert(mode)
    pixels = decode.decode(encoded(original, kind), max_pixels=MAX_PIXELS)
    assert error_of(pixels.rgb, original) == 0
    assert pixels.alpha is None


def test_gray_with_alpha_keeps_its_alpha() -> None:
    original = picture(mode="L")
    alpha = picture(mode="L", seed=1)
    original.putalpha(alpha)
    pixels = decode.decode(encoded(original, "PNG"), max_pixels=MAX_PIXELS)
    assert pixels.alpha is not None
    assert np.array_equal(pixels.alpha, np.asarray(alpha))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_may_have_a_transparent_colour(kind: str) -> None:
    original = corners().quantize(4)
    index = int(np.asarray(original)[0, 0])
    pixels = decode.decode(encoded(original, kind, transparency=index), max_pixels=MAX_PIXELS)
    assert pixels.alpha is not None
    assert np.array_equal(pixels.alpha == 0, np.asarray(original) == index)
    assert error_of(pixels.rgb, original) == 0


def test_a_gif_gives_its_first_frame_and_says_so(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert error_of(decode.decode(data, max_pixels=MAX_PIXELS).rgb, frames[0]) == 0
    assert [warning.code for warning in inspected(data, tmp_path, "x.gif").warnings] == ["first_frame_only"]


def test_a_tiff_of_several_pages_gives_the_first_and_says_so(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert error_of(decode.decode(data, max_pixels=MAX_PIXELS).rgb, pages[0]) == 0
    [warning] = inspected(data, tmp_path, "x.tiff").warnings
    assert (warning.code, "pages" in warning.message) == ("first_frame_only", True)


def test_16_bit_gray_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 4).round().astype(np.uint16).reshape(4, 64)
    pixels = decode.decode(png16(ramp), max_pixels=MAX_PIXELS)
    expected = ramp.astype(float) / 257
    assert np.abs(pixels.rgb - expected[:, :, None]).max() <= 1
    assert pixels.alpha is None


def test_16_bit_gray_may_have_a_transparent_value() -> None:
    ramp = np.linspace(0, 65535, 64 * 4).round().astype(np.uint16).reshape(4, 64)
    pixels = decode.decode(png16(ramp, transparent=0), max_pixels=MAX_PIXELS)
    assert pixels.alpha is not None
    assert np.array_equal(pixels.alpha == 0, ramp == 0)
    assert np.abs(pixels.rgb[..., 0] - ramp.astype(float) / 257).max() <= 1


@pytest.mark.parametrize("bands", [2, 3])
def test_16_bit_colour_and_alpha_are_scaled(bands: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, bands), dtype=np.uint16)
    pixels = decode.decode(png16(values), max_pixels=MAX_PIXELS)
    assert np.abs(pixels.rgb[..., 0] - values[..., 0] / 257).max() <= 1
    if bands == 2:
        assert pixels.alpha is not None
        assert np.abs(pixels.alpha - values[..., 1] / 257).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    original = corners().convert("CMYK")
    options: dict[str, object] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    pixels = decode.decode(encoded(original, kind, **options), max_pixels=MAX_PIXELS)
    assert error_of(pixels.rgb, corners()) < 5
    assert pixels.icc is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_photos_come_upright_and_their_size_is_told_so(kind: str, orientation: int, tmp_path: Path) -> None:
    turned = corners()
    turned.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(turned)
    exif = exif_orientation(orientation)
    data = encoded(corners(), kind, exif=exif if kind == "TIFF" else exif.tobytes())
    pixels = decode.decode(data, max_pixels=MAX_PIXELS)
    assert pixels.rgb.shape[:2] == (upright.height, upright.width)
    assert error_of(pixels.rgb, upright) < 6
    assert inspected(data, tmp_path).size_wh == upright.size
    small, _ = decode.thumbnail(data, longest=24, max_pixels=MAX_PIXELS)
    assert error_of(small, upright.resize((small.shape[1], small.shape[0]))) < 12


def test_the_content_counts_and_a_name_that_says_otherwise_is_warned_of(tmp_path: Path) -> None:
    data = encoded(picture(), "PNG")
    for name in ("x.jpg", "x.txt", "x"):
        [warning] = inspected(data, tmp_path, name).warnings
        assert warning.code == "name_mismatch"
        assert "PNG" in warning.message
    assert not inspected(data, tmp_path, "X.PNG").warnings


def test_a_truncated_photo_is_refused_when_it_is_decoded(tmp_path: Path) -> None:
    data = encoded(picture(200, 200), "JPEG")[:-2000]
    assert inspected(data, tmp_path).size_wh == (200, 200)
    assert refusal(lambda: decode.decode(data, max_pixels=MAX_PIXELS)) == "photo_truncated"
    assert refusal(lambda: decode.thumbnail(data, longest=16, max_pixels=MAX_PIXELS)) == "photo_truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF"])
def test_wherever_a_file_ends_it_is_refused_in_our_words(kind: str, tmp_path: Path) -> None:
    data = encoded(picture(40, 30), kind)
    for end in range(1, len(data) - 40, max(1, len(data) // 40)):
        with pytest.raises(PhotoError):
            decode.decode(data[:end], max_pixels=MAX_PIXELS)
        with suppress(PhotoError):
            inspected(data[:end], tmp_path)


def test_flipped_bytes_are_decoded_or_refused_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF"):
        whole = encoded(picture(24, 16), kind)
        for _ in range(25):
            data = bytearray(whole)
            for at in rng.integers(0, min(len(data), 400), 3):
                data[at] = rng.integers(256)
            with suppress(PhotoError):
                inspected(bytes(data), tmp_path)
            with suppress(PhotoError):
                decode.decode(bytes(data), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"just some words\r\nand a line", "it is text"),
        ("Grüße, und ein Bericht über 写真".encode(), "it is text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is HTML"),
        (b"\xef\xbb\xbf\n <HTML>", "it is HTML"),
        (b'<?xml version="1.0"?><svg/>', "it is XML or SVG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is SVG"),
        (b"%PDF-1.7\n", "it is PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is PostScript"),
        (b"8BPS\x00\x01", "it is a Photoshop document"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "it is a video"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "it is a damaged HEIC or AVIF"),
        (b"\x00\x01\x02\xff\xfe", "not a picture we can read."),
    ],
)
def test_what_is_no_picture_is_told_what_it_is(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as refused:
        inspected(data, tmp_path)
    assert refused.value.problem.code == "not_a_picture"
    assert words in refused.value.problem.message


def _fits() -> bytes:
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 4", "NAXIS2  = 4", "END")
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880)


def _psd() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 4, 8, 3) + bytes(12) + bytes(2 + 4 * 4 * 3)


def _eps() -> bytes:
    return encoded(picture(8, 8), "EPS")


@pytest.mark.parametrize(
    "data",
    [
        *(pytest.param(make(), id=make.__name__.strip("_")) for make in (_fits, _psd, _eps)),
        *(
            pytest.param(encoded(picture(16, 16), kind), id=kind)
            for kind in ("PPM", "ICO", "TGA", "PCX", "JPEG2000", "DDS", "SGI")
        ),
    ],
)
def test_formats_that_pillow_reads_and_we_do_not_are_refused(data: bytes, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(data)) as image:
        assert image.width
    assert refusals(data, tmp_path) == {"not_a_picture"}


def test_a_pdf_is_refused(tmp_path: Path) -> None:
    assert refusals(encoded(picture(), "PDF"), tmp_path) == {"not_a_picture"}


def _patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    new = struct.pack(form, *values)
    return data[:at] + new + data[at + len(new) :]


def _large_jpeg() -> bytes:
    data = encoded(picture(8, 8), "JPEG")
    return _patched(data, data.index(b"\xff\xc0") + 5, ">HH", 60_000, 60_000)


def _large_tiff() -> bytes:
    tags = [(256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 60_000)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 16)])
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags) + 1) + entries + bytes(4)


def _large_isobmff(kind: str) -> bytes:
    data = encoded(picture(64, 64), kind)
    return _patched(data, data.index(b"ispe") + 8, ">II", 12_000, 12_000)


LARGE = {
    "PNG": raw_png((60_000, 60_000), 8, 2, b"\0"),
    "JPEG": _large_jpeg(),
    "GIF": _patched(encoded(picture(8, 8), "GIF"), 6, "<HH", 60_000, 60_000),
    "BMP": _patched(encoded(picture(8, 8), "BMP"), 18, "<ii", 60_000, 60_000),
    "TIFF": _large_tiff(),
    "WEBP": _patched(encoded(picture(8, 8), "WEBP"), 26, "<HH", 16_000, 16_000),
    "HEIF": _large_isobmff("HEIF"),
    "AVIF": _large_isobmff("AVIF"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_photo_over_the_limit_is_refused_by_its_header_before_decoding(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object) -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert len(LARGE[kind]) < 10_000
    assert refusals(LARGE[kind], tmp_path) == {"photo_too_large"}


def test_the_limit_is_of_pixels_and_the_message_says_both_numbers() -> None:
    data = encoded(picture(100, 50), "PNG")
    assert decode.decode(data, max_pixels=5_000).rgb.shape == (50, 100, 3)
    with pytest.raises(PhotoError, match=r"100×50 \(0 megapixels\)") as refused:
        decode.decode(data, max_pixels=4_999)
    assert refused.value.problem.code == "photo_too_large"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_reading_a_header_decodes_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    assert inspected(encoded(picture(), kind), tmp_path).size_wh == (64, 48)


def test_an_rgb_profile_is_kept_with_rgb_values() -> None:
    profile = srgb_profile()
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        data = encoded(picture(), kind, icc_profile=profile)
        assert decode.decode(data, max_pixels=MAX_PIXELS).icc == profile
        assert decode.thumbnail(data, longest=24, max_pixels=MAX_PIXELS)[1] == profile


@pytest.mark.parametrize("mode", ["L", "LA", "CMYK"])
def test_a_profile_is_dropped_where_the_values_were_not_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = encoded(picture().convert(mode), kind, icc_profile=srgb_profile())
    assert decode.decode(data, max_pixels=MAX_PIXELS).icc is None
    assert decode.thumbnail(data, longest=24, max_pixels=MAX_PIXELS)[1] is None


def test_a_gray_profile_is_dropped_even_beside_rgb_values() -> None:
    profile = bytearray(srgb_profile())
    profile[16:20] = b"GRAY"
    data = encoded(picture(), "JPEG", icc_profile=bytes(profile))
    assert decode.decode(data, max_pixels=MAX_PIXELS).icc is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "PA", "F", "I", "I;16"])
def test_thumbnails_of_every_mode_look_like_the_photo(mode: str) -> None:
    if mode in ("I;16", "I", "F"):
        ramp = np.tile(np.linspace(0, 65535, 300), (200, 1))
        original = Image.fromarray(ramp.astype({"F": np.float32, "I": np.int32}.get(mode, np.uint16)))
        expected = Image.fromarray((ramp / 257).round().astype(np.uint8))
    else:
        original = corners(300, 200).convert(mode)
        expected = original.convert("RGB")
    small, _ = decode.thumbnail(encoded(original, "TIFF"), longest=60, max_pixels=MAX_PIXELS)
    assert small.shape[:2] == (40, 60)
    assert error_of(small[..., :3], expected.resize((60, 40))) < 4


def test_a_thumbnail_keeps_transparency_and_is_never_larger_than_the_photo() -> None:
    original = Image.new("RGBA", (30, 20), (200, 0, 0, 0))
    small, _ = decode.thumbnail(encoded(original, "PNG"), longest=60, max_pixels=MAX_PIXELS)
    assert small.shape == (20, 30, 4)
    assert not small[..., 3].any()


# More than 8 bits


def deep_values(bands: int, width: int = 48, height: int = 32) -> U16:
    """Four different quarters with noise; alpha, where there is one, in all strengths."""
    rng = np.random.default_rng(0)
    values = np.asarray(corners(width, height)).astype(np.uint16) * np.uint16(200)
    values += rng.integers(0, 4000, values.shape, dtype=np.uint16)
    alpha = rng.integers(0, 65536, (height, width, 1), dtype=np.uint16)
    return np.concatenate((values[..., : bands - 1 + bands % 2], alpha), axis=2)[..., :bands]


def deep_png(values: U16) -> bytes:
    """Like `png16`, and with RGBA."""
    height, width = values.shape[:2]
    colour_type = {2: 4, 3: 2, 4: 6}[values.shape[2]] if values.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return raw_png((width, height), 16, colour_type, rows)


def deep_tiff(values: U16, **options: object) -> bytes:
    out = io.BytesIO()
    kind = "rgb" if values.ndim == 3 and values.shape[2] > 2 else "minisblack"
    tifffile.imwrite(out, values, photometric=kind, metadata=None, **options)  # type: ignore[arg-type]
    return out.getvalue()


def deep_heif(values: U16) -> bytes:
    """10 bits; libheif rounds on the way to its YCbCr and back."""
    out = io.BytesIO()
    mode = "RGB;16" if values.shape[2] == 3 else "RGBA;16"
    pillow_heif.from_bytes(mode, values.shape[1::-1], values.tobytes()).save(out, quality=-1, chroma=444)
    return out.getvalue()


def deep_avif(values: U16) -> bytes:
    image = pyvips.Image.new_from_array(values).copy(interpretation="rgb16")
    data: bytes = image.heifsave_buffer(compression="av1", bitdepth=10, lossless=True, effort=0)
    return data


def decoded_deep(data: bytes) -> decode.Pixels:
    pixels = decode.decode(data, max_pixels=MAX_PIXELS, deep=True)
    plain = decode.decode(data, max_pixels=MAX_PIXELS)
    assert np.array_equal(pixels.rgb, plain.rgb), "what the model sees is the same either way"
    assert plain.deep is None
    return pixels


@pytest.mark.parametrize("save", [deep_png, deep_tiff])
@pytest.mark.parametrize("bands", [3, 4])
def test_16_bit_colours_are_all_kept_if_asked_for(bands: int, save: Callable[..., bytes]) -> None:
    values = deep_values(bands)
    options: dict[str, object] = {"extrasamples": ["unassalpha"]} if bands == 4 and save is deep_tiff else {}
    pixels = decoded_deep(save(values, **options))
    assert pixels.deep is not None
    assert np.array_equal(pixels.deep, values[..., :3])
    assert np.abs(pixels.rgb - pixels.deep / 257).max() < 1
    if bands == 3:
        assert pixels.alpha is None
    else:
        assert pixels.alpha is not None
        assert np.abs(pixels.alpha - values[..., 3] / 257).max() < 1
    assert not pixels.warnings


@pytest.mark.parametrize("save", [deep_png, deep_tiff])
def test_16_bit_gray_is_kept_in_three_channels(save: Callable[[U16], bytes]) -> None:
    gray = deep_values(3)[..., 0]
    pixels = decoded_deep(save(np.ascontiguousarray(gray)))
    assert pixels.deep is not None
    assert all(np.array_equal(pixels.deep[..., band], gray) for band in range(3))


def test_16_bit_gray_with_alpha_keeps_both() -> None:
    values = deep_values(2)
    pixels = decoded_deep(deep_png(values))
    assert pixels.deep is not None
    assert pixels.alpha is not None
    assert all(np.array_equal(pixels.deep[..., band], values[..., 0]) for band in range(3))
    assert np.abs(pixels.alpha - values[..., 1] / 257).max() < 1


def test_a_transparent_16_bit_value_is_transparent_in_16_bits_too() -> None:
    ramp = np.linspace(0, 65535, 64 * 4).round().astype(np.uint16).reshape(4, 64)
    pixels = decoded_deep(png16(ramp, transparent=0))
    assert pixels.alpha is not None
    assert np.array_equal(pixels.alpha, np.where(ramp == 0, 0, 255))


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "deflate"},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"rowsperstrip": 5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_16_bit_tiffs_of_every_make_are_read_alike(options: dict[str, object]) -> None:
    values = deep_values(3)
    stored = np.moveaxis(values, 2, 0) if "planarconfig" in options else values
    pixels = decoded_deep(deep_tiff(np.ascontiguousarray(stored), **options))
    assert pixels.deep is not None
    assert np.array_equal(pixels.deep, values)


@pytest.mark.parametrize(("save", "error"), [(deep_heif, 800), (deep_avif, 64)])
@pytest.mark.parametrize("bands", [3, 4])
def test_10_bit_photos_become_16_bit_ones_with_the_same_white(
    bands: int, save: Callable[[U16], bytes], error: int
) -> None:
    values = deep_values(bands)
    values[:8, :8] = 65535
    pixels = decoded_deep(save(values))
    assert pixels.deep is not None
    assert np.abs(pixels.deep[:4, :4].astype(int) - 65535).max() <= error
    assert np.abs(pixels.deep.astype(int) - values[..., :3]).mean() <= error
    assert len(np.unique(pixels.deep)) > 2 * len(np.unique(pixels.rgb))
    assert (pixels.alpha is not None) == (bands == 4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "HEIF", "AVIF", "JPEG", "WEBP", "BMP", "GIF"])
def test_photos_of_8_bits_have_no_more(kind: str) -> None:
    pixels = decoded_deep(encoded(corners(), kind))
    assert pixels.deep is None
    assert not pixels.warnings


def test_8_bits_in_a_16_bit_gray_file_are_8_bits() -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(4, 64)
    pixels = decoded_deep(png16(ramp))
    assert pixels.deep is None
    assert np.array_equal(pixels.rgb[..., 0], ramp)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "gray PNG", "gray TIFF"])
def test_16_bits_come_upright_too(kind: str, orientation: int) -> None:
    values = deep_values(3)
    if kind.startswith("gray"):
        values = np.ascontiguousarray(values[..., 0])
    if kind.endswith("TIFF"):
        data = deep_tiff(values, extratags=[(274, 3, 1, orientation, True)])
    else:
        plain, block = deep_png(values), exif_orientation(orientation).tobytes().removeprefix(b"Exif\0\0")
        chunk = b"eXIf" + block
        data = (
            plain[:33]
            + struct.pack(">I", len(block))
            + chunk
            + struct.pack(">I", zlib.crc32(chunk))
            + plain[33:]
        )
    pixels = decoded_deep(data)
    assert pixels.deep is not None
    assert np.abs(pixels.rgb - pixels.deep / 257).max() <= 1
    upright = Image.fromarray((values.reshape(32, 48, -1)[..., 0] >> 8).astype(np.uint8))
    upright.getexif()[0x0112] = orientation
    meant = np.asarray(ImageOps.exif_transpose(upright))
    assert np.array_equal(pixels.deep[..., 0] >> 8, meant)


DEEP_FILES: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: deep_png(deep_values(4)),
    "gray PNG": lambda: deep_png(np.ascontiguousarray(deep_values(3)[..., 0])),
    "TIFF": lambda: deep_tiff(deep_values(3)),
    "deflated TIFF": lambda: deep_tiff(deep_values(3), compression="deflate"),
    "HEIF": lambda: deep_heif(deep_values(3)),
    "AVIF": lambda: deep_avif(deep_values(3)),
}


@pytest.mark.parametrize("kind", DEEP_FILES)
def test_wherever_a_deep_file_ends_it_is_refused_as_ever(kind: str) -> None:
    data = DEEP_FILES[kind]()

    def outcome(part: bytes, deep: bool) -> str:
        try:
            decode.decode(part, max_pixels=MAX_PIXELS, deep=deep)
        except PhotoError as error:
            return error.problem.code
        return "decoded"

    for end in range(1, len(data), max(1, len(data) // 60)):
        assert outcome(data[:end], True) == outcome(data[:end], False)
    assert outcome(data[: len(data) // 2], True) in ("photo_truncated", "photo_broken", "not_a_picture")


def test_flipped_bytes_in_deep_files_are_decoded_or_refused_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for make in DEEP_FILES.values():
        whole = make()
        for _ in range(40):
            data = bytearray(whole)
            for at in rng.integers(0, min(len(data), 500), 3):
                data[at] = rng.integers(256)
            with suppress(PhotoError):
                pixels = decode.decode(bytes(data), max_pixels=MAX_PIXELS, deep=True)
                assert pixels.deep is None or pixels.deep.shape == pixels.rgb.shape


def not_to_be_called(*_: object) -> None:
    pytest.fail("it was read")


def test_other_parsers_see_only_what_pillow_has_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "read", not_to_be_called)
    for data in (LARGE["PNG"], LARGE["TIFF"], deep_png(deep_values(3))[:-300], b"P6 2 2 65535\n" + bytes(24)):
        with pytest.raises(PhotoError):
            decode.decode(data, max_pixels=MAX_PIXELS, deep=True)


def test_16_bits_that_only_pillow_can_read_are_reduced_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(deep, "read", fails)
    pixels = decode.decode(deep_png(deep_values(4)), max_pixels=MAX_PIXELS, deep=True)
    assert pixels.deep is None
    assert [warning.code for warning in pixels.warnings] == ["depth_reduced"]
    assert pixels.warnings[0].needs_look


# What the camera wrote


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_what_the_camera_wrote_comes_along(kind: str) -> None:
    exif = exif_orientation(6)
    exif[ExifTags.Base.Make] = "ACME"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    exif.load(exif.tobytes())
    data = encoded(corners(), kind, exif=exif if kind == "TIFF" else exif.tobytes())
    block = metadata.clean(decode.decode(data, max_pixels=MAX_PIXELS).exif)
    assert block is not None
    kept = Image.Exif()
    kept.load(block)
    assert (kept[ExifTags.Base.Make], kept.get_ifd(ExifTags.IFD.Exif)) == (
        "ACME",
        {ExifTags.Base.ISOSpeedRatings: 400},
    )


def test_a_photo_without_a_camera_has_nothing_from_it() -> None:
    for kind in ("JPEG", "PNG", "BMP", "GIF"):
        assert decode.decode(encoded(corners(), kind), max_pixels=MAX_PIXELS).exif is None


# Small copies


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_small_copy_is_upright_and_knows_how_large_the_photo_is(kind: str, orientation: int) -> None:
    exif = exif_orientation(orientation)
    data = encoded(corners(480, 320), kind, exif=exif if kind == "TIFF" else exif.tobytes())
    whole = decode.decode(data, max_pixels=MAX_PIXELS)
    small, full_wh = decode.decode_small(data, longest=96, max_pixels=MAX_PIXELS)
    assert full_wh == whole.rgb.shape[1::-1]
    assert small.rgb.shape == ((64, 96, 3) if orientation == 1 else (96, 64, 3))
    assert small.alpha is None
    assert error_of(small.rgb, Image.fromarray(whole.rgb).resize(small.rgb.shape[1::-1])) < 4


def test_a_small_copy_keeps_transparency_and_profile_and_never_grows() -> None:
    original = corners(60, 40)
    original.putalpha(Image.linear_gradient("L").resize((60, 40)))
    data = encoded(original, "PNG", icc_profile=srgb_profile())
    small, full_wh = decode.decode_small(data, longest=30, max_pixels=MAX_PIXELS)
    assert small.alpha is not None
    assert (small.rgb.shape, small.alpha.shape, full_wh) == ((20, 30, 3), (20, 30), (60, 40))
    assert small.icc == srgb_profile()
    same, _ = decode.decode_small(data, longest=500, max_pixels=MAX_PIXELS)
    whole = decode.decode(data, max_pixels=MAX_PIXELS)
    assert whole.alpha is not None
    assert same.alpha is not None
    assert np.array_equal(same.rgb, whole.rgb)
    assert np.array_equal(same.alpha, whole.alpha)


def test_a_small_copy_of_a_ribbon_is_never_empty() -> None:
    small, full_wh = decode.decode_small(
        encoded(picture(2000, 3), "JPEG"), longest=100, max_pixels=MAX_PIXELS
    )
    assert (small.rgb.shape, full_wh) == ((1, 100, 3), (2000, 3))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_small_copies_of_jpegs_of_other_colours_look_like_the_photo(mode: str) -> None:
    original = corners(800, 600).convert(mode)
    small, _ = decode.decode_small(encoded(original, "JPEG"), longest=80, max_pixels=MAX_PIXELS)
    assert error_of(small.rgb, original.convert("RGB").resize((80, 60))) < 5


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"just some words", "not_a_picture"),
        (LARGE["JPEG"], "photo_too_large"),
        (encoded(picture(200, 200), "JPEG")[:-2000], "photo_truncated"),
    ],
)
def test_what_is_no_photo_has_no_small_copy(data: bytes, code: str) -> None:
    assert refusal(lambda: decode.decode_small(data, longest=32, max_pixels=MAX_PIXELS)) == code


def test_a_jpeg_of_a_sampling_without_a_name_is_read_as_pillow_reads_it() -> None:
    data = bytearray(encoded(picture(64, 48), "JPEG", subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x14  # the first component's: 4:4:1
    with Image.open(io.BytesIO(data)) as image:
        theirs = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode.decode(bytes(data), max_pixels=10_000).rgb, theirs)
