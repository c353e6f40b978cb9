"""Face framing on people whose eyes, crown and chin are known, from detection to the finished pixels."""

import math
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photoproc.imaging.framing import Frame, plan, render, render_cutout
from photoproc.imaging.heads import Upright, turned
from photoproc.imaging.portrait import _with_room
from photoproc.models.faces import FaceFinder
from photoproc.parts import FACE_PRESETS, Face, Size
from tests.portraits import CHIN, CROWN, LEFT_EYE, RIGHT_EYE, SIDES, Person, Scene, scene

PRESETS = sorted(FACE_PRESETS)
OFF = 0.02
"""How far eyes and head may be from their target, as a share of the height."""
_SIZE_WH = (1200, 1400)


@cache
def finder() -> FaceFinder:
    """One for all tests: they run in turn."""
    return FaceFinder()


def recipe(preset: str, **more: object) -> tuple[Face, Size]:
    """A preset as a recipe has it."""
    standard = FACE_PRESETS[preset]
    asked = Face.model_validate(
        {"preset": preset, "head": standard.head, "eye_line": standard.eye_line} | more
    )
    return asked, Size.model_validate(standard.size)


def framed(truth: Scene, asked: Face, size: Size, *, masked: bool = True) -> list[Frame]:
    """The frames of a scene."""
    found = finder().find(truth.rgb, thorough=asked.which != "largest")
    photo_wh = (truth.rgb.shape[1], truth.rgb.shape[0])
    return plan(
        asked, size, longest=None, photo_wh=photo_wh, faces=found, alpha=truth.alpha if masked else None
    )


def place(frame: Frame, point: tuple[float, float]) -> tuple[float, float]:
    """Where a place in the photo is in the frame, as shares of its width and height."""
    turn = math.radians(-frame.roll_deg)
    x, y = point[0] - frame.centre_xy[0], point[1] - frame.centre_xy[1]
    across, down = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    return across / frame.size_wh[0] + 0.5, down / frame.size_wh[1] + 0.5


def assert_stands(frame: Frame, person: Person, asked: Face, *, off: float = OFF) -> None:
    """The head is as tall as asked, the eyes are on their line and level, nothing of the head is cut."""
    eyes, crown, chin = (
        place(frame, person.eyes),
        place(frame, person.at(CROWN)),
        place(frame, person.at(CHIN)),
    )
    off += 0.5 / frame.out_wh[1]  # of faces of 40 pixels, a pixel is more than one per cent
    assert chin[1] - crown[1] == pytest.approx(asked.head, abs=off)
    assert eyes[1] == pytest.approx(asked.eye_line, abs=off)
    assert eyes[0] == pytest.approx(0.5, abs=0.06)
    assert_whole(frame, person)
    first, second = place(frame, person.at(RIGHT_EYE)), place(frame, person.at(LEFT_EYE))
    ratio = frame.size_wh[0] / frame.size_wh[1]
    lean = math.degrees(math.atan2(second[1] - first[1], (second[0] - first[0]) * ratio))
    assert abs((lean + 90) % 180 - 90) < 7


def assert_whole(frame: Frame, person: Person) -> None:
    """Crown, chin and both sides are inside."""
    for point in (CROWN, CHIN, (SIDES[0], 70.0), (SIDES[1], 80.0)):
        across, down = place(frame, person.at(point))
        assert 0 <= across <= 1
        assert 0 <= down <= 1


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    preset=st.sampled_from(PRESETS),
    head_px=st.floats(60, 330),
    x=st.floats(700, 1000),
    y=st.floats(700, 850),
    roll_deg=st.floats(-30, 30),
    mirrored=st.booleans(),
    textured=st.booleans(),
)
def test_eyes_and_head_are_within_two_per_cent(
    preset: str, head_px: float, x: float, y: float, roll_deg: float, *, mirrored: bool, textured: bool
) -> None:
    person = Person(eyes=(x, y), head_px=head_px, roll_deg=roll_deg, mirrored=mirrored)
    truth = scene([person], (1700, 1950), textured=textured)  # room for half a body at any angle
    asked, size = recipe(preset, max_roll_deg=40)
    [frame] = framed(truth, asked, size)
    assert_stands(frame, person, asked)


@pytest.mark.parametrize("roll_deg", [-30, -17, 0, 17, 30])
def test_without_a_mask_the_crown_is_a_guess_and_no_head_is_cut(roll_deg: float) -> None:
    person = Person(eyes=(600, 550), head_px=240, roll_deg=roll_deg)
    truth = scene([person], _SIZE_WH, textured=True)
    for preset in PRESETS:
        asked, size = recipe(preset, max_roll_deg=40)
        [frame] = framed(truth, asked, size, masked=False)
        assert_stands(frame, person, asked, off=0.04)


@pytest.mark.parametrize("preset", PRESETS)
def test_in_12_megapixels(preset: str) -> None:
    asked, size = recipe(preset)
    for head_px, roll_deg, mirrored in ((60, 12, False), (300, -25, True), (900, 8, False)):
        person = Person(eyes=(2100, 1100), head_px=head_px, roll_deg=roll_deg, mirrored=mirrored)
        truth = scene([person], (4000, 3000), textured=True)
        [frame] = framed(truth, asked, size)
        if head_px < 900 or preset != "half_body":  # for which there is no room
            assert_stands(frame, person, asked)


@pytest.mark.parametrize("textured", [False, True])
def test_each_of_several_people_gets_a_frame(*, textured: bool) -> None:
    people = [
        Person(eyes=(400, 420), head_px=190, roll_deg=-20),
        Person(eyes=(1000, 380), head_px=160, roll_deg=5, mirrored=True),
        Person(eyes=(1600, 430), head_px=130, roll_deg=28),
        Person(eyes=(2150, 400), head_px=100, roll_deg=-9, mirrored=True),
    ]
    truth = scene(people, (2500, 1200), textured=textured)
    asked, size = recipe("headshot", which="each", max_roll_deg=40)
    frames = framed(truth, asked, size)
    assert [frame.face for frame in frames] == [1, 2, 3, 4]
    for frame, person in zip(frames, people, strict=True):
        assert_stands(frame, person, asked)


@pytest.mark.parametrize("preset", PRESETS)
def test_all_together_nobodys_head_is_cut(preset: str) -> None:
    people = [
        Person(eyes=(400, 420), head_px=190, roll_deg=-20),
        Person(eyes=(1000, 330), head_px=160, roll_deg=5, mirrored=True),
        Person(eyes=(1600, 530), head_px=130, roll_deg=28),
    ]
    truth = scene(people, (2200, 1200))
    asked, size = recipe(preset, which="together")
    [frame] = framed(truth, asked, size)
    for person in people:
        assert_whole(frame, person)


def test_the_finished_pixels_show_the_eyes_where_the_frame_says() -> None:
    person = Person(eyes=(620, 570), head_px=260, roll_deg=23)
    truth = scene([person], _SIZE_WH)
    marked = truth.rgb.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        x, y = person.at(eye)
        cv2.circle(marked, (round(x - 0.5), round(y - 0.5)), 6, (0, 255, 0), -1)
    asked, size = recipe("passport")
    [frame] = framed(truth, asked, size)
    seen, alpha = render_cutout(marked, truth.alpha, frame)
    assert alpha is not None
    green = (seen[..., 1] > 200) & (seen[..., 0] < 80) & (seen[..., 2] < 80)
    rows, _ = np.nonzero(green)
    assert (rows.mean() + 0.5) / frame.out_wh[1] == pytest.approx(asked.eye_line, abs=OFF)
    crown = np.flatnonzero((alpha > 127).any(axis=1))[0] / frame.out_wh[1]
    chin = place(frame, person.at(CHIN))[1]
    assert chin - crown == pytest.approx(asked.head, abs=OFF)


def test_a_face_is_found_again_where_it_was_put() -> None:
    person = Person(eyes=(620, 570), head_px=260, roll_deg=-27)
    truth = scene([person], _SIZE_WH)
    asked, size = recipe("headshot")
    [frame] = framed(truth, asked, size)
    [again] = finder().find(render(truth.rgb, frame))
    assert abs(again.roll_deg) < 6
    assert again.eyes_mid[1] / frame.out_wh[1] == pytest.approx(asked.eye_line, abs=0.03)


@given(
    eyes=st.floats(0.42, 0.72),
    tall=st.floats(0.5, 0.78),
    least=st.sampled_from([0.0, 32 / 45]),
    roll_deg=st.sampled_from([-20.0, 0.0, 20.0]),
)
def test_hair_does_not_touch_the_frame_where_there_is_leave_to_avoid_it(
    eyes: float, tall: float, least: float, roll_deg: float
) -> None:
    """However high it is piled: `eyes` is how far down the head they are; the head upright, as it is seen."""
    head = Upright(eyes=(500.0, 440.0), left=400, right=600, top=440 - 1000 * tall * eyes, bottom=0)
    head = replace(head, bottom=head.top + 1000 * tall)
    asked = Frame(
        centre_xy=turned((500.0, 500.0), roll_deg), size_wh=(778.0, 1000.0), out_wh=(0, 0), roll_deg=roll_deg
    )
    frame = _with_room(asked, head, least)
    height = frame.size_wh[1]
    crown, chin = (place(frame, turned((500.0, y), roll_deg)) for y in (head.top, head.bottom))
    assert (crown[0], chin[0]) == pytest.approx((0.5, 0.5))
    above, below = crown[1], 1 - chin[1]
    assert min(above, below) > 0.005
    assert frame.size_wh[0] / height == pytest.approx(0.778)
    asked_above = (head.top - 0) / 1000
    if asked_above > 0.04 and (1000 - head.bottom) / 1000 > 0.04:
        assert frame.centre_xy == pytest.approx(asked.centre_xy)  # there was room enough
        assert frame == replace(asked, centre_xy=frame.centre_xy)
    if asked_above > 0.025:
        assert tall - 1000 * tall / height <= 0.02
