"""Profiles: wide-gamut pictures look the same converted as they did with their profile.

What colours are is computed here by the definition of each space, apart from the code that is tested.
"""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

from photoproc.imaging import profiles
from tests.pictures import srgb_profile

F64 = NDArray[np.float64]

# RGB to XYZ of illuminant D50, as profiles have it; rows are red, green, blue.
SRGB = np.array([[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]])
ADOBE = np.array([[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]])
P3 = np.array([[0.51512, 0.24120, 0.0], [0.29198, 0.69225, 0.04182], [0.15710, 0.06656, 0.78308]])
WHITE = np.array([0.9642, 1.0, 0.8249])
ADOBE_GAMMA = 563 / 256


def srgb_to_light(values: F64) -> F64:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_from_light(light: F64) -> F64:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def adobe_to_light(values: F64) -> F64:
    return values**ADOBE_GAMMA


def adobe_from_light(light: F64) -> F64:
    return np.maximum(light, 0) ** (1 / ADOBE_GAMMA)


def lab(xyz: F64) -> F64:
    ratio = xyz / WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1)


def delta_e(one: F64, other: F64) -> F64:
    return np.asarray(np.linalg.norm(lab(one) - lab(other), axis=-1))


def matrix_profile(matrix: F64, gamma: float) -> bytes:
    """A version 2 profile of three primaries and a gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def point(xyz: F64) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(fixed(value) for value in xyz)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(78 + 1)
    bodies = {
        b"desc": name + bytes(-len(name) % 4),
        b"cprt": b"text" + bytes(4) + b"none",
        b"wtpt": point(WHITE),
    }
    bodies |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(point, matrix), strict=True))
    bodies |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    at, table, data = 128 + 4 + 12 * len(bodies), b"", b""
    for tag, body in bodies.items():
        table += tag + struct.pack(">II", at + len(data), len(body))
        data += body
    head = struct.pack(
        ">I4sI4s4s4s12x4s", at + len(data), b"test", 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    head = head.ljust(68, b"\0") + b"".join(fixed(value) for value in WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(bodies)) + table + data


Depth = type[np.uint8] | type[np.uint16]
Space = tuple[bytes, F64, Callable[[F64], F64], Callable[[F64], F64]]


def adobe_rgb() -> Space:
    return matrix_profile(ADOBE, ADOBE_GAMMA), ADOBE, adobe_to_light, adobe_from_light


def display_p3() -> Space:
    return pyvips.Operation.call("profile_load", "p3"), P3, srgb_to_light, srgb_from_light


SPACES = pytest.mark.parametrize("space", [adobe_rgb, display_p3])
DEPTHS = pytest.mark.parametrize(("dtype", "mean", "worst"), [(np.uint8, 0.4, 1.5), (np.uint16, 0.05, 1.0)])


def stored_as(dtype: Depth, values: NDArray[np.generic]) -> profiles.U8 | profiles.U16:
    """The same values of 8 or 16 bits."""
    return values.astype(np.uint8) if dtype is np.uint8 else values.astype(np.uint16)


def noise(dtype: Depth, bands: int) -> profiles.U8 | profiles.U16:
    return stored_as(dtype, np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 7, bands)))


def wide_picture(dtype: Depth, space: Space) -> tuple[profiles.U8 | profiles.U16, F64]:
    """Colours that sRGB has, as values of a wider space; and the XYZ that they mean."""
    _, matrix, to_light, from_light = space
    colours = srgb_to_light(np.random.default_rng(0).uniform(0.02, 0.98, (60, 80, 3))) @ SRGB
    values = from_light((colours @ np.linalg.inv(matrix)).clip(0, 1))
    stored = stored_as(dtype, (values * np.iinfo(dtype).max).round())
    return stored, to_light(stored / np.iinfo(dtype).max) @ matrix


@SPACES
@DEPTHS
def test_a_wide_picture_looks_the_same_converted(
    dtype: Depth, mean: float, worst: float, space: Callable[[], Space]
) -> None:
    stored, meant = wide_picture(dtype, space())
    converted = profiles.to_srgb(stored, space()[0])
    assert converted.dtype == dtype
    seen = srgb_to_light(converted / np.iinfo(dtype).max) @ SRGB
    difference = delta_e(seen, meant)
    assert difference.mean() < mean
    assert difference.max() < worst
    # Without the conversion it would not.
    assert delta_e(srgb_to_light(stored / np.iinfo(dtype).max) @ SRGB, meant).mean() > 3


@SPACES
def test_readers_see_the_same_with_the_profile_kept_as_converted(space: Callable[[], Space]) -> None:
    stored, _ = wide_picture(np.uint8, space())
    lab_profile = ImageCms.createProfile("LAB")

    def seen(picture: NDArray[np.uint8], icc: bytes) -> NDArray[np.int_]:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        image = ImageCms.profileToProfile(Image.fromarray(picture), source, lab_profile, outputMode="LAB")
        assert image is not None
        return np.asarray(image).astype(np.int8).astype(int)

    kept = seen(stored.astype(np.uint8), space()[0])
    converted = seen(profiles.to_srgb(stored.astype(np.uint8), space()[0]), srgb_profile())
    difference = np.abs((kept - converted + 128) % 256 - 128)
    assert difference.mean() < 0.6
    assert difference.max() <= 4


def test_8_and_16_bits_are_converted_to_the_same_colours() -> None:
    stored, _ = wide_picture(np.uint8, adobe_rgb())
    narrow = profiles.to_srgb(stored, adobe_rgb()[0])
    wide = profiles.to_srgb(stored.astype(np.uint16) * 257, adobe_rgb()[0])
    difference = delta_e(srgb_to_light(narrow / 255) @ SRGB, srgb_to_light(wide / 65535) @ SRGB)
    assert difference.mean() < 0.4
    assert difference.max() < 1.5


def test_16_bit_shades_stay_smooth() -> None:
    ramp = np.repeat(np.arange(0, 65536, 16, dtype=np.uint16)[None, :, None], 3, axis=2)
    steps = np.diff(profiles.to_srgb(ramp, adobe_rgb()[0]).astype(int), axis=1)
    assert steps.min() >= 0
    assert len(np.unique(profiles.to_srgb(ramp, adobe_rgb()[0]))) > 3500


def test_srgb_values_stay_when_their_profile_says_srgb() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    assert np.abs(profiles.to_srgb(stored, srgb_profile()).astype(int) - stored).max() <= 1


def test_colours_that_srgb_lacks_become_the_nearest_it_has() -> None:
    green = np.array([[[0, 255, 0]]], np.uint8)
    assert tuple(profiles.to_srgb(green, adobe_rgb()[0])[0, 0]) == (0, 255, 0)
    deep_green = np.array([[[0, 65535, 0]]], np.uint16)
    red, full, _ = profiles.to_srgb(deep_green, adobe_rgb()[0])[0, 0]
    assert (red, full) == (0, pytest.approx(65535, abs=100))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_and_white_stay_what_they_are(dtype: Depth) -> None:
    top = np.iinfo(dtype).max
    ends = stored_as(dtype, np.array([[[0, 0, 0], [top, top, top]]]))
    for space in (adobe_rgb(), display_p3()):
        assert np.abs(profiles.to_srgb(ends, space[0]).astype(int) - ends).max() <= top // 4000


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_not_touched(dtype: Depth) -> None:
    values = noise(dtype, 4)
    converted = profiles.to_srgb(values, adobe_rgb()[0])
    assert np.array_equal(converted[..., 3], values[..., 3])
    assert np.array_equal(converted[..., :3], profiles.to_srgb(values[..., :3].copy(), adobe_rgb()[0]))
    assert not np.array_equal(converted, values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "icc",
    [None, b"", b"x" * 16 + b"RGB " + b"y" * 200, srgb_profile()[:150], srgb_profile()[:400]],
    ids=["none", "empty", "noise", "cut short", "cut later"],
)
def test_without_a_usable_profile_values_stay(icc: bytes | None, dtype: Depth) -> None:
    values = noise(dtype, 3)
    assert np.array_equal(profiles.to_srgb(values, icc), values)
    assert profiles.colour_in((1, 2, 3, 4), icc) == (1, 2, 3, 4)


def test_gray_has_no_colours_to_convert() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(profiles.to_srgb(mask, adobe_rgb()[0]), mask)


@SPACES
def test_a_colour_is_seen_as_meant_in_a_picture_of_another_profile(space: Callable[[], Space]) -> None:
    icc, matrix, to_light, _ = space()
    for colour in ((255, 255, 255), (0, 0, 0), (200, 40, 60), (30, 120, 250)):
        *there, alpha = profiles.colour_in((*colour, 77), icc)
        assert alpha == 77
        meant = srgb_to_light(np.array(colour) / 255) @ SRGB
        assert delta_e(to_light(np.array(there) / 255) @ matrix, meant) < 1.5


@SPACES
def test_an_srgb_picture_is_seen_as_it_was_in_another_profile(space: Callable[[], Space]) -> None:
    icc, matrix, to_light, _ = space()
    original = np.random.default_rng(0).integers(5, 250, (30, 40, 3), dtype=np.uint8)
    there = profiles.from_srgb(original, icc)
    difference = delta_e(to_light(there / 255) @ matrix, srgb_to_light(original / 255) @ SRGB)
    assert difference.mean() < 0.4
    assert difference.max() < 1.5
    assert np.array_equal(profiles.from_srgb(original, srgb_profile()[:150]), original)
    assert np.array_equal(profiles.from_srgb(original, None), original)
