"""Composing: exact where opaque, nothing where transparent, rounded in between."""

import io
import tracemalloc
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from photoproc.imaging import compose, png
from photoproc.imaging.compose import Look, Samples
from photoproc.parts import Background, Blur, Colour, Gradient, Keep, Picture, Shadow, Transparent, rgba
from tests.pictures import picture, sample

U8 = NDArray[np.uint8]

EPSILON = 0.003
"""OpenCV's blendLinear divides by the sum of the weights and 1e-5, which takes 255e-5 at most."""

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
alphas_of = st.sampled_from([0, 1, 2, 127, 128, 254, 255]) | st.integers(0, 255)


@st.composite
def layers(draw: st.DrawFn) -> tuple[U8, U8]:
    """A small photo (height × width × 3) and an alpha for it; some are not contiguous, as crops are."""
    height, width = draw(sizes)
    margin = draw(st.integers(0, 2))
    rgb = draw(hnp.arrays(np.uint8, (height + margin, width + margin, 3)))
    alpha = draw(hnp.arrays(np.uint8, (height + margin, width + margin), elements=alphas_of))
    return rgb[margin:, margin:], alpha[margin:, margin:]


colours = st.tuples(*[st.integers(0, 255)] * 3).map(lambda rgb: Colour(colour=f"#{bytes(rgb).hex()}"))


@given(layer=layers())
def test_on_nothing_the_subject_is_exact_and_what_was_removed_is_gone(layer: tuple[U8, U8]) -> None:
    rgb, alpha = layer
    out = compose.compose(rgb, alpha, Look(background=Transparent()))
    assert out.dtype == np.uint8
    assert np.array_equal(out[..., 3], alpha)
    assert np.array_equal(out[..., :3][alpha > 0], rgb[alpha > 0])
    assert not out[..., :3][alpha == 0].any()


@given(layer=layers(), background=colours)
def test_on_a_colour_each_value_is_the_rounded_blend(layer: tuple[U8, U8], background: Colour) -> None:
    rgb, alpha = layer
    before = rgb.copy()
    out = compose.compose(rgb, alpha, Look(background=background))
    below = rgba(background.colour)[:3]
    assert out.shape == rgb.shape
    for y, x, channel in np.ndindex(rgb.shape):
        weight = int(alpha[y, x])
        exact = (int(rgb[y, x, channel]) * weight + below[channel] * (255 - weight)) / 255
        assert abs(int(out[y, x, channel]) - exact) <= 0.5 + EPSILON
    assert np.array_equal(out[alpha == 255], rgb[alpha == 255])
    assert (out[alpha == 0] == below).all()
    assert np.array_equal(rgb, before)


@given(layer=layers())
def test_keeping_the_background_keeps_the_photo_and_its_own_transparency(layer: tuple[U8, U8]) -> None:
    rgb, alpha = layer
    assert np.array_equal(compose.compose(rgb, None, Look(background=Keep())), rgb)
    assert np.array_equal(compose.compose(rgb, alpha, Look(background=Keep()))[..., 3], alpha)


@pytest.mark.parametrize(("background", "bands"), [(Transparent(), 4), (Colour(), 3), (Keep(), 3)])
def test_a_photo_without_alpha_is_opaque(background: Background, bands: int) -> None:
    rgb = np.asarray(picture())
    out = compose.compose(rgb, None, Look(background=background))
    assert out.shape == (*rgb.shape[:2], bands)
    assert np.array_equal(out[..., :3], rgb)
    assert (out[..., 3:] == 255).all()


@given(masks=sizes.flatmap(lambda size: st.tuples(*[hnp.arrays(np.uint8, size, elements=alphas_of)] * 2)))
def test_the_mask_stays_within_the_photos_own_transparency(masks: tuple[U8, U8]) -> None:
    mask, own = masks
    both = compose.combine_alpha(mask, own)
    assert both.dtype == np.uint8
    assert (np.abs(both - mask.astype(float) * own / 255) <= 0.5).all()
    assert (both <= np.minimum(mask, own)).all()
    assert np.array_equal(compose.combine_alpha(mask, np.full_like(mask, 255)), mask)


def test_a_photo_without_transparency_takes_the_mask_as_it_is() -> None:
    mask = np.asarray(picture(mode="L"))
    assert compose.combine_alpha(mask, None) is mask


@given(size_wh=st.tuples(st.integers(1, 700), st.integers(1, 700)), value=st.integers(0, 255))
def test_an_even_mask_stays_even_at_every_size(size_wh: tuple[int, int], value: int) -> None:
    scaled = compose.scale_mask(np.full((320, 320), value, np.uint8), size_wh)
    assert scaled.shape == (size_wh[1], size_wh[0])
    assert scaled.dtype == np.uint8
    assert (scaled == value).all()


@pytest.mark.parametrize(
    "size_wh", [(320, 320), (512, 384), (2000, 1500), (200, 150), (1000, 100), (90, 900), (1, 7), (40_000, 5)]
)
def test_a_mask_is_scaled_as_rembg_scales_it(size_wh: tuple[int, int]) -> None:
    blob = Image.new("L", (320, 320))
    blob.paste(255, (60, 90, 250, 300))
    blob.paste(picture(80, 90, "L"), (100, 100))
    expected = np.asarray(blob.resize(size_wh, Image.Resampling.LANCZOS), int)
    scaled = compose.scale_mask(np.asarray(blob), size_wh).astype(int)
    assert np.abs(scaled - expected).mean() <= 0.05
    assert np.minimum(scaled, expected).sum() >= 0.999 * np.maximum(scaled, expected).sum()


def test_the_photo_reaches_the_model_as_rembg_would_send_it() -> None:
    photo = picture(2400, 1700)
    sent = compose.shrink_for_model(np.asarray(photo), (320, 320))
    assert sent.mode == "RGB"
    meant = np.asarray(photo.resize((320, 320), Image.Resampling.LANCZOS), int)
    assert np.abs(np.asarray(sent) - meant).max() <= 1
    assert (np.asarray(sent) != meant).mean() < 0.01


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_small_copies_average_what_they_leave_out(mode: str) -> None:
    photo = np.asarray(picture(640, 480, mode))
    small = compose.shrink_picture(photo, (64, 48))
    assert small.shape == (48, 64, *photo.shape[2:])
    assert abs(float(small.mean()) - float(photo.mean())) < 1
    assert small.std() < photo.std() * 0.55
    assert compose.shrink_picture(photo, (640, 480)) is photo


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    wanted=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    seed=st.integers(0, 99),
)
def test_a_mask_at_another_size_is_pillows(size: tuple[int, int], wanted: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    meant = np.asarray(Image.fromarray(mask).resize(wanted, Image.Resampling.LANCZOS), int)
    assert np.abs(compose.scale_mask(mask, wanted) - meant).max() <= 1


# Every background

css_colours = st.tuples(*[st.integers(0, 255)] * 4).map(lambda four: f"#{bytes(four).hex()}")
shadows = st.none() | st.builds(
    Shadow,
    colour=css_colours,
    opacity=st.floats(0, 1),
    blur=st.sampled_from([0.0, 0.1, 0.3]),
    right=st.floats(-0.5, 0.5),
    down=st.floats(-0.5, 0.5),
)
backgrounds = st.one_of(
    st.just(Transparent()),
    st.builds(Colour, colour=css_colours),
    st.builds(
        Gradient,
        start=css_colours,
        end=css_colours,
        shape=st.sampled_from(["linear", "radial"]),
        angle_deg=st.floats(-360, 360),
    ),
    st.builds(
        Picture, picture=st.just("0" * 64), fit=st.sampled_from(["cover", "contain"]), colour=css_colours
    ),
    st.builds(Blur, radius=st.floats(0.001, 0.2)),
    st.just(Keep()),
)
BEHIND = np.asarray(picture(30, 20, seed=9))


def deep(rgb: U8) -> Samples:
    """The same picture with 16 bits a sample, and values that 8 bits do not have."""
    spread = rgb.astype(np.uint16) * 257 ^ np.arange(rgb.size, dtype=np.uint16).reshape(rgb.shape) % 256
    return cast(Samples, spread)


@given(layer=layers(), background=backgrounds, shadow=shadows, sixteen=st.booleans())
def test_opaque_pixels_leave_as_they_came_on_every_background(
    layer: tuple[U8, U8], background: Background, shadow: Shadow | None, sixteen: bool
) -> None:
    rgb, alpha = (deep(layer[0]) if sixteen else layer[0]), layer[1]
    out = compose.compose(rgb, alpha, Look(background=background, shadow=shadow, picture=BEHIND))
    assert out.dtype == rgb.dtype
    assert out.shape[:2] == alpha.shape
    opaque = alpha == 255
    assert out[..., :3][opaque].tobytes() == rgb[opaque].tobytes()
    assert (out[..., 3:][opaque] == np.iinfo(rgb.dtype).max).all()


@given(layer=layers(), colour=css_colours, sixteen=st.booleans())
def test_on_a_translucent_colour_it_is_porter_and_duffs_over(
    layer: tuple[U8, U8], colour: str, sixteen: bool
) -> None:
    rgb, alpha = (deep(layer[0]) if sixteen else layer[0]), layer[1]
    full, below = np.iinfo(rgb.dtype).max, rgba(colour)
    out = compose.compose(rgb, alpha, Look(background=Colour(colour=colour)))
    for y, x in np.ndindex(alpha.shape):
        above = float(alpha[y, x]) / 255
        rest = (1 - above) * below[3] / 255
        if below[3] < 255:
            assert abs(float(out[y, x, 3]) / full - (above + rest)) <= 0.5 / 255 + 1e-9
        if below[3] < 255 and out[y, x, 3] == 0:
            assert not out[y, x].any()
            continue
        for channel in range(3):
            behind = below[channel] / 255 * full
            exact = (float(rgb[y, x, channel]) * above + behind * rest) / (above + rest)
            assert abs(float(out[y, x, channel]) - exact) < 1


@given(layer=layers(), background=backgrounds, shadow=shadows)
def test_16_bits_show_what_8_bits_show(
    layer: tuple[U8, U8], background: Background, shadow: Shadow | None
) -> None:
    rgb, alpha = layer
    look = Look(background=background, shadow=shadow, picture=BEHIND)
    wide = cast(Samples, rgb.astype(np.uint16) * 257)
    eight, sixteen = compose.compose(rgb, alpha, look), compose.compose(wide, alpha, look)
    assert sixteen.dtype == np.uint16
    assert (np.abs(sixteen / 257 - eight) <= 1.01).all()


@pytest.mark.parametrize("background", [Transparent(), Colour(colour="#ff000080"), Colour(), Gradient()])
def test_nothing_of_what_was_removed_stays_in_the_file(background: Background) -> None:
    rgb, alpha = np.asarray(picture(seed=1)), np.zeros((48, 64), np.uint8)
    other = np.asarray(picture(seed=2))
    look = Look(background=background)
    assert np.array_equal(compose.compose(rgb, alpha, look), compose.compose(other, alpha, look))


@pytest.mark.parametrize("top", [255, 65535])
def test_a_preview_of_a_cutout_has_no_darker_edge_and_shows_what_the_file_shows(top: int) -> None:
    kind = np.uint8 if top == 255 else np.uint16
    cutout = np.zeros((240, 360, 4), kind)
    cutout[60:181, 100:251] = np.array([200, 120, 40, 255]) * (top // 255)
    cutout[60:181, 251, :3] = cutout[100, 100, :3]
    cutout[60:181, 251, 3] = top // 2
    small = compose.shrink_cutout(cutout, (90, 60))
    assert small.shape == (60, 90, 4)
    assert small.dtype == np.uint8
    seen = small[..., 3] > 0
    assert seen[30, 50]
    assert np.abs(small[seen][:, :3].astype(int) - (200, 120, 40)).max() <= 2
    assert not small[~seen].any()
    assert abs(small[..., 3].mean() - cutout[..., 3].mean() / (top / 255)) < 2.55


@pytest.mark.parametrize("shape", [(150, 100), (150, 100, 3)])
def test_a_preview_of_an_opaque_picture_averages_it(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    small = compose.shrink_cutout(values, (20, 30))
    assert small.shape == (30, 20, *shape[2:])
    assert abs(float(small.mean()) - float(values.mean())) < 6
    assert small.std() < 0.6 * values.std()


@given(
    half_wh=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    ratio=st.sampled_from([1, 1.5, 2, 4]),
    channels=st.sampled_from([1, 3, 4]),
    top=st.sampled_from([255, 65535]),
    seed=st.integers(0, 99),
)
def test_a_preview_has_the_means_of_what_is_seen(
    half_wh: tuple[int, int], ratio: float, channels: int, top: int, seed: int
) -> None:
    size_wh = (2 * half_wh[0], 2 * half_wh[1])
    shape = (round(size_wh[1] * ratio), round(size_wh[0] * ratio), *([channels] if channels > 1 else []))
    kind = np.uint8 if top == 255 else np.uint16
    cutout = np.random.default_rng(seed).integers(0, top, shape, kind, endpoint=True)
    small = compose.shrink_cutout(cast(Samples, cutout), size_wh).astype(np.float32)
    skipped = 2 if ratio == 4 and channels == 4 else 1
    part = (cutout[::skipped, ::skipped] / (top / 255)).astype(np.float32)
    if channels == 4:
        for picture in (part, small):
            picture[..., :3] *= picture[..., 3:] / 255
    means = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA)
    assert np.abs(small - means).max() <= 2


@pytest.mark.parametrize("wide", [945, 1008, 1200])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_preview_that_is_a_little_smaller_looks_as_by_area(wide: int, channels: int) -> None:
    with Image.open(io.BytesIO(sample("coffee.png"))) as small:
        photo = np.asarray(small.convert("RGB").resize((wide, wide * 3 // 4), Image.Resampling.LANCZOS))
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    given = rgba[..., 0] if channels == 1 else rgba[..., :channels]
    seen = compose.shrink_cutout(given, (900, 675)).astype(int)
    off = np.abs(seen - cv2.resize(given, (900, 675), interpolation=cv2.INTER_AREA))
    assert off.mean() < 0.5  # the nearest pixels are off by 3, a sharper filter by 0.7
    assert off.max() <= 20


@pytest.mark.parametrize("height", [3, 5, 63, 65])
def test_a_narrow_preview_has_every_row(height: int) -> None:
    for shape in ((height, 3000, 3), (3000, height, 3)):
        values = np.zeros(shape, np.uint8)
        values[(-1,) if shape[0] == height else (slice(None), -1)] = 255
        longest = (1000, 1) if shape[0] == height else (1, 1000)
        small = compose.shrink_cutout(values, longest)
        assert abs(float(small.mean()) - 255 / height) < 4.5


@pytest.mark.parametrize("height", [255, 256, 257, 700])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_plain_background_is_behind_every_row(height: int, kind: Any) -> None:
    draw = np.random.default_rng(height)
    rgb = draw.integers(0, np.iinfo(kind).max, (height, 40, 3), kind)
    alpha = draw.choice([0, 0, 0, 255, 255, 77], (height, 40)).astype(np.uint8)
    alpha[: height // 2, 1:] = 0
    on = compose.compose(rgb, alpha, Look(background=Colour(colour="#204060")))
    behind = np.array([0x20, 0x40, 0x60]) * (1 if kind == np.uint8 else 257)
    share = (alpha / 255)[..., None]
    assert np.abs(on - (rgb * share + behind * (1 - share))).max() <= 1
    assert (on[alpha == 0] == behind).all()
    assert (on[alpha == 255] == rgb[alpha == 255]).all()


def test_a_preview_of_a_large_cutout_takes_little_memory() -> None:
    cutout = np.full((4000, 4000, 4), 200, np.uint8)
    tracemalloc.start()
    try:
        compose.shrink_cutout(cutout, (1600, 1600))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < cutout.nbytes / 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size_wh", [(1, 1), (7, 300), (2500, 131)])
def test_a_subject_on_nothing_is_the_same_row_by_row_and_as_a_whole(
    kind: Any, size_wh: tuple[int, int]
) -> None:
    draw = np.random.default_rng(1)
    rgb = draw.integers(0, np.iinfo(kind).max, (size_wh[1], size_wh[0], 3), kind, endpoint=True)
    alpha = draw.choice([0, 255, 77], (size_wh[1], size_wh[0])).astype(np.uint8)
    whole = compose.compose(rgb, alpha, Look(background=Transparent()))
    rows = compose.OnNothing(rgb, alpha)
    assert (rows.shape, rows.dtype) == (whole.shape, whole.dtype)
    assert png.write(rows, dpi=72) == png.write(whole, dpi=72)
    for small_wh in (size_wh, (max(1, size_wh[0] // 2), max(1, size_wh[1] // 2)), (1, 1)):
        small = compose.shrink_cutout(rows, small_wh)
        assert np.array_equal(small, compose.shrink_cutout(whole, small_wh))


def test_a_subject_on_nothing_is_written_without_being_there_as_a_whole() -> None:
    rgb = np.full((4000, 4000, 3), 200, np.uint8)
    rows = compose.OnNothing(rgb, np.full((4000, 4000), 255, np.uint8))
    tracemalloc.start()
    try:
        png.write(rows)
        compose.shrink_cutout(rows, (1600, 1600))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * rows.alpha.nbytes / 2
