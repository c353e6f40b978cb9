"""What is behind the subject: gradients as CSS draws them, pictures, the blurred photo, shadows."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoproc.imaging import backdrop, compose
from photoproc.imaging.compose import Look
from photoproc.parts import Background, Blur, Colour, Gradient, Keep, Picture, Shadow, Transparent, rgba
from tests.imaging.test_profiles import (
    ADOBE,
    ADOBE_GAMMA,
    SRGB,
    adobe_to_light,
    delta_e,
    matrix_profile,
    srgb_to_light,
)
from tests.pictures import picture

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

NOBODY = "0" * 64
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
TINY = Shadow(colour="#000000", opacity=0.5, blur=0.0, right=0.2, down=0.1)


def seen(background: Background, size_wh: tuple[int, int], behind: U8 | None = None) -> U8:
    """A background alone."""
    gone = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    return compose.compose(
        np.zeros((*gone.shape, 3), np.uint8), gone, Look(background=background, picture=behind)
    )


def field(size_wh: tuple[int, int], colour: tuple[int, int, int]) -> U8:
    return np.full((size_wh[1], size_wh[0], 3), colour, np.uint8)


# Gradients


@given(
    size_wh=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    angle=st.floats(-360, 360),
    colours=st.tuples(*[st.tuples(*[st.integers(0, 255)] * 4)] * 2),
)
def test_a_linear_gradient_is_that_of_css(
    size_wh: tuple[int, int], angle: float, colours: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    start, end = (np.array(colour, float) / 255 for colour in colours)
    gradient = Gradient(
        start=f"#{bytes(colours[0]).hex()}", end=f"#{bytes(colours[1]).hex()}", angle_deg=angle
    )
    out = seen(gradient, size_wh)
    if out.shape[2] == 3:
        out = np.dstack([out, np.full(out.shape[:2], 255, np.uint8)])
    # The ends of its line are where the outermost corners project to (CSS Images 3, 3.1).
    turn = np.radians(angle)
    towards = np.array([np.sin(turn), -np.cos(turn)])
    corners = [np.dot(corner, towards) for corner in product((0, size_wh[0]), (0, size_wh[1]))]
    for y, x in np.ndindex(out.shape[:2]):
        place = (np.dot((x + 0.5, y + 0.5), towards) - min(corners)) / (max(corners) - min(corners))
        alpha = start[3] + (end[3] - start[3]) * place
        colour = start[:3] * start[3] * (1 - place) + end[:3] * end[3] * place  # premultiplied
        assert abs(out[y, x, 3] / 255 - alpha) <= 0.6 / 255
        assert (np.abs(out[y, x, :3] / 255 * alpha - colour) <= 0.6 / 255 + 0.5 * alpha / 255).all()


@pytest.mark.parametrize(
    ("angle", "first", "last"),
    [
        (0, (-1, 0), (0, 0)),
        (90, (0, 0), (0, -1)),
        (180, (0, 0), (-1, 0)),
        (270, (0, -1), (0, 0)),
        (-90, (0, -1), (0, 0)),
        (135, (0, 0), (-1, -1)),
        (360, (-1, 0), (0, 0)),
    ],
)
def test_its_angle_says_where_it_goes(angle: float, first: tuple[int, int], last: tuple[int, int]) -> None:
    out = seen(Gradient(start="#000000", end="#ffffff", angle_deg=angle), (64, 64)).astype(int)
    assert out[first].max() <= 4
    assert out[last].min() >= 251


@pytest.mark.parametrize("size_wh", [(101, 101), (201, 51)])
def test_a_radial_gradient_goes_from_the_middle_to_the_corners(size_wh: tuple[int, int]) -> None:
    out = seen(Gradient(start="#000000", end="#ffffff", shape="radial"), size_wh)[..., 0].astype(float)
    width, height = size_wh
    assert out[height // 2, width // 2] <= 1
    for corner in (out[0, 0], out[0, -1], out[-1, 0], out[-1, -1]):
        assert corner >= 252
    # An ellipse of the picture's shape: halfway along each side it is where it is along the other.
    assert abs(out[height // 2, 0] - 255 / np.sqrt(2)) <= 3
    assert abs(out[0, width // 2] - 255 / np.sqrt(2)) <= 4


def test_a_transparent_end_lends_no_colour() -> None:
    out = seen(Gradient(start="#ff0000", end="#00ff0000", angle_deg=90), (100, 3))
    assert (out[..., 0][out[..., 3] > 0] >= 254).all()
    assert not out[..., 1].any()


# Pictures


def quarters(size_wh: tuple[int, int]) -> U8:
    """Red, green, blue and white, as the corners of a picture."""
    width, height = size_wh
    out = field(size_wh, WHITE)
    out[: height // 2, : width // 2] = RED
    out[: height // 2, width // 2 :] = GREEN
    out[height // 2 :, : width // 2] = BLUE
    return out


@pytest.mark.parametrize("size_wh", [(60, 60), (90, 30), (30, 90), (15, 40), (300, 200), (1, 1)])
@pytest.mark.parametrize("of", [(40, 40), (120, 20)])
def test_a_picture_that_covers_is_cut_about_its_middle(size_wh: tuple[int, int], of: tuple[int, int]) -> None:
    out = seen(Picture(picture=NOBODY), size_wh, quarters(of))
    assert out.shape == (size_wh[1], size_wh[0], 3)
    if min(size_wh) > 8:
        quarter_w, quarter_h = size_wh[0] // 4, size_wh[1] // 4
        for place, colour in (
            ((quarter_h, quarter_w), RED),
            ((quarter_h, -quarter_w), GREEN),
            ((-quarter_h, quarter_w), BLUE),
            ((-quarter_h, -quarter_w), WHITE),
        ):
            assert np.abs(out[place].astype(int) - colour).max() <= 6


def test_a_picture_that_covers_is_not_stretched() -> None:
    behind = field((80, 40), GREEN)
    behind[10:30, 30:50] = RED  # a square in the middle
    out = seen(Picture(picture=NOBODY), (60, 60), behind)
    red = out[..., 0] > 127
    across, down = red.any(axis=0).sum(), red.any(axis=1).sum()
    assert across == down == 30
    assert np.array_equal(red, red[:, ::-1])


@pytest.mark.parametrize(("size_wh", "fitted_wh"), [((60, 60), (60, 30)), ((80, 20), (40, 20))])
def test_a_picture_that_is_contained_is_whole_and_its_colour_around_it(
    size_wh: tuple[int, int], fitted_wh: tuple[int, int]
) -> None:
    out = seen(Picture(picture=NOBODY, fit="contain", colour="#102030"), size_wh, field((40, 20), RED))
    red = (out == RED).all(axis=2)
    assert (red.any(axis=0).sum(), red.any(axis=1).sum()) == fitted_wh
    assert red.sum() == fitted_wh[0] * fitted_wh[1]
    assert (out[~red] == (0x10, 0x20, 0x30)).all()
    assert np.array_equal(red, red[::-1, ::-1])


def test_a_contained_picture_on_nothing_is_transparent_around_it() -> None:
    out = seen(Picture(picture=NOBODY, fit="contain", colour="#ffffff00"), (40, 40), field((40, 20), GREEN))
    assert out.shape == (40, 40, 4)
    assert (out[10:30] == (*GREEN, 255)).all()
    assert not out[:10].any()
    assert not out[30:].any()


# The photo's own background, blurred


def disc(side: int, radius: float) -> U8:
    """The alpha of a disc with a soft edge."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.asarray(np.clip((radius - np.hypot(x, y)) * 64 + 128, 0, 255), np.uint8)


@pytest.mark.parametrize("radius", [0.005, 0.03, 0.2])
@pytest.mark.parametrize("side", [97, 900])
def test_a_blurred_background_has_no_halo_of_the_subject(radius: float, side: int) -> None:
    alpha = disc(side, side * 0.3)
    share = alpha[..., None] / 255
    photo = (np.array(RED) * share + np.array(GREEN) * (1 - share) + 0.5).astype(np.uint8)
    layer = backdrop.of(
        Blur(radius=radius), (side, side), photo=photo, alpha=alpha, inside=None, icc=None, picture=None
    )
    assert layer is not None
    assert layer.alpha is None
    assert layer.rgb.shape == photo.shape
    assert (np.abs(layer.rgb[alpha == 0].astype(int) - GREEN) <= 8).all()
    out = compose.compose(photo, alpha, Look(background=Blur(radius=radius)))
    assert np.array_equal(out[alpha == 255], photo[alpha == 255])
    assert np.array_equal(out[alpha == 0], layer.rgb[alpha == 0])


def test_what_is_behind_a_subject_without_a_soft_edge_is_as_around_it() -> None:
    alpha = np.where(disc(300, 90) > 127, 255, 0).astype(np.uint8)
    photo = np.where(alpha[..., None] > 0, np.array(RED, np.uint8), np.array(GREEN, np.uint8))
    layer = backdrop.of(
        Blur(radius=0.01), (300, 300), photo=photo, alpha=alpha, inside=None, icc=None, picture=None
    )
    assert layer is not None
    assert (np.abs(layer.rgb.astype(int) - GREEN) <= 1).all()


def test_what_lies_beyond_the_photo_does_not_darken_the_blur() -> None:
    photo, inside = field((200, 100), BLUE), np.full((100, 200), 255, np.uint8)
    photo[:30], inside[:30] = 0, 0  # a frame that reaches beyond the photo's upper edge
    alpha = np.zeros((100, 200), np.uint8)
    out = compose.compose(photo, alpha, Look(background=Blur(radius=0.1)), inside=inside)
    assert (np.abs(out.astype(int) - BLUE) <= 2).all()


def test_a_wider_blur_leaves_less_to_be_seen() -> None:
    photo = np.asarray(picture(300, 200).resize((600, 400)))
    gone = np.zeros((400, 600), np.uint8)
    spreads = [
        float(compose.compose(photo, gone, Look(background=Blur(radius=radius))).std(axis=(0, 1)).mean())
        for radius in (0.002, 0.01, 0.05)
    ]
    assert photo.std() > spreads[0] > 2 * spreads[1] > 4 * spreads[2]


def test_a_photo_that_is_all_subject_and_one_pixel_can_be_blurred_too() -> None:
    for size_wh in ((1, 1), (1, 40), (300, 2)):
        photo = np.asarray(picture(*size_wh))
        out = compose.compose(photo, np.full(photo.shape[:2], 254, np.uint8), Look(background=Blur()))
        assert out.shape == photo.shape


# Shadows


def square(side: int = 200) -> U8:
    """The alpha of an opaque square of 60 pixels, 50 from the left and 40 from the top."""
    alpha = np.zeros((side, side), np.uint8)
    alpha[40:100, 50:110] = 255
    return alpha


def test_a_shadow_falls_where_asked_and_not_over_the_subject() -> None:
    alpha = square()
    subject = np.asarray(picture(200, 200))
    out = compose.compose(subject, alpha, Look(background=Colour(), shadow=TINY)).astype(int)
    fallen = np.zeros_like(alpha)
    fallen[40 + 6 : 100 + 6, 50 + 12 : 110 + 12] = 255  # shares of the subject's 60 pixels
    assert np.array_equal(out[alpha == 255], subject[alpha == 255])
    assert (np.abs(out[(fallen == 255) & (alpha == 0)] - 127.5) <= 1).all()
    assert (out[(fallen == 0) & (alpha == 0)] == 255).all()


def test_on_nothing_a_shadow_is_its_colour_with_its_opacity() -> None:
    alpha = square()
    shadow = TINY.model_copy(update={"colour": "#0000ff80"})
    out = compose.compose(field((200, 200), RED), alpha, Look(background=Transparent(), shadow=shadow))
    assert tuple(out[103, 115]) == (0, 0, 255, 64)  # half of 50 %
    assert tuple(out[60, 60]) == (*RED, 255)
    assert not out[20, 20].any()


def test_a_soft_shadow_fades_outwards_and_weighs_the_same() -> None:
    alpha = square()
    darks = []
    for blur in (0.0, 0.1):
        shadow = Shadow(colour="#000000", opacity=1.0, blur=blur, right=0.0, down=0.0)
        layer = backdrop.with_shadow(None, alpha, shadow, None)
        assert layer is not None
        assert layer.alpha is not None
        darks.append(layer.alpha.astype(int))
    hard, soft = darks
    assert np.array_equal(hard, alpha)
    outwards = soft[70, 80:]
    assert (np.diff(outwards) <= 0).all()
    assert 100 < soft[70, 110] < 155
    assert abs(soft.sum() / hard.sum() - 1) < 0.02


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_no_subject_or_no_opacity_is_no_shadow(opacity: float) -> None:
    shadow = Shadow(opacity=opacity)
    alpha = square() if opacity == 0 else np.full((200, 200), 127, np.uint8)
    photo = np.asarray(picture(200, 200))
    plain = compose.compose(photo, alpha, Look(background=Gradient()))
    assert np.array_equal(compose.compose(photo, alpha, Look(background=Gradient(), shadow=shadow)), plain)


def test_a_kept_background_has_no_shadow() -> None:
    photo, alpha = np.asarray(picture(200, 200)), square()
    plain = compose.compose(photo, alpha, Look(background=Keep()))
    assert np.array_equal(compose.compose(photo, alpha, Look(background=Keep(), shadow=TINY)), plain)


# Profiles


@pytest.mark.parametrize("colour", ["#ff0000", "#8040c0", "#ffffff", "#123456"])
def test_colours_look_in_a_wide_photo_as_they_were_meant(colour: str) -> None:
    wide = matrix_profile(ADOBE, ADOBE_GAMMA)
    meant = srgb_to_light(np.array(rgba(colour)[:3]) / 255) @ SRGB
    gone, photo = np.zeros((40, 40), np.uint8), field((40, 40), GREEN)
    behind = field((10, 10), rgba(colour)[:3])
    alike: tuple[Background, ...] = (
        Colour(colour=colour),
        Gradient(start=colour, end=colour),
        Picture(picture=NOBODY),
        Picture(picture=NOBODY, fit="contain", colour=colour),
    )
    for background in alike:
        out = compose.compose(photo, gone, Look(background=background, icc=wide, picture=behind))
        shown = adobe_to_light(out.reshape(-1, 3) / 255) @ ADOBE
        assert delta_e(shown, meant).max() < 1.5
    assert not np.array_equal(out[0, 0], rgba("#ff0000")[:3]) or colour != "#ff0000"


def test_a_shadows_colour_is_as_meant_too() -> None:
    wide = matrix_profile(ADOBE, ADOBE_GAMMA)
    shadow = Shadow(colour="#ff0000", opacity=1.0, blur=0.0, right=0.5, down=0.5)
    out = compose.compose(
        field((200, 200), GREEN), square(), Look(background=Colour(), shadow=shadow, icc=wide)
    )
    meant = srgb_to_light(np.array([1.0, 0.0, 0.0])) @ SRGB
    assert float(delta_e(adobe_to_light(out[115, 120] / 255) @ ADOBE, meant)) < 1.5
