"""Framing: frames of the shape asked for, whatever is asked for; and what is rendered in them."""

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoproc.errors import TaskError
from photoproc.imaging.framing import Frame, plan, render, render_cutout, subject_box
from photoproc.models.faces import Face as FoundFace
from photoproc.parts import FACE_PRESETS, Face, Framing, Size, Subject, WholePicture

U8 = NDArray[np.uint8]

ASPECTS = ("original", "1:1", "4:5", "3:4", "2:3", "16:9")


def found(x: float, y: float, unit: float, roll_deg: float = 0.0) -> FoundFace:
    """A face with its eyes around a place, so far from eyes to chin."""
    cos, sin = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))

    def at(right: float, down: float) -> tuple[float, float]:
        return x + (right * cos - down * sin) * unit, y + (right * sin + down * cos) * unit

    middle = at(0, 0.25)
    return FoundFace(
        box_xyxy=(
            middle[0] - 0.6 * unit,
            middle[1] - 0.75 * unit,
            middle[0] + 0.6 * unit,
            middle[1] + 0.75 * unit,
        ),
        score=0.9,
        landmarks=(at(-0.3, 0), at(0.3, 0), at(0, 0.3), at(-0.25, 0.6), at(0.25, 0.6)),
        chin=at(0, 1),
    )


def codes(frame: Frame) -> list[str]:
    """The codes of a frame's warnings."""
    return [warn.code for warn in frame.warnings]


@st.composite
def sizes(draw: st.DrawFn) -> Size:
    """Every kind of size."""
    fit: Literal["pad", "cut"] = draw(st.sampled_from(("pad", "cut")))
    enlarge = draw(st.booleans())
    side = st.integers(1, 900)
    kind = draw(st.sampled_from(("none", "aspect", "width", "height", "both")))
    if kind == "both":
        width = draw(st.integers(20, 900))
        height = draw(st.integers(max(1, -(-width // 20)), min(900, width * 20)))
        return Size(width=width, height=height, fit=fit, enlarge=enlarge)
    aspect = draw(st.sampled_from((None, *ASPECTS))) if kind != "aspect" else draw(st.sampled_from(ASPECTS))
    return Size(
        aspect=aspect,
        width=draw(side) if kind == "width" else None,
        height=draw(side) if kind == "height" else None,
        fit=fit,
        enlarge=enlarge,
    )


@st.composite
def framings(draw: st.DrawFn) -> Framing:
    """Every kind of framing."""
    kind = draw(st.sampled_from(("none", "subject", "face")))
    if kind == "none":
        return WholePicture()
    if kind == "subject":
        return Subject(margin=draw(st.floats(0, 2)))
    head = draw(st.floats(0.05, 0.9))
    return Face(
        head=head,
        eye_line=draw(st.floats(max(0.05, head * 0.451), min(0.9, 1 - head * 0.501))),
        align=draw(st.booleans()),
        max_roll_deg=draw(st.floats(0, 45)),
        which=draw(st.sampled_from(("largest", "each", "together"))),
    )


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], list[FoundFace], U8 | None]:
    """A photo's size, its faces (partly outside at times), and perhaps a mask."""
    width, height = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    faces = [
        found(
            draw(st.floats(0, width)),
            draw(st.floats(0, height)),
            draw(st.floats(0.5, 200)),
            draw(st.floats(-60, 60)),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    if draw(st.booleans()):
        return (width, height), faces, None
    alpha = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 2))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        alpha[top : draw(st.integers(top, height)), left : draw(st.integers(left, width))] = draw(
            st.integers(1, 255)
        )
    return (width, height), faces, alpha


def test_a_subject_that_is_small_beside_haze_is_found() -> None:
    alpha = np.zeros((400, 400), np.uint8)
    alpha[:390, :300] = 40
    alpha[396:398, 390:394] = 255
    assert subject_box(alpha) == (390, 396, 394, 398)


@settings(max_examples=300, deadline=None)
@given(asked=framings(), size=sizes(), scene=scenes(), longest=st.none() | st.integers(16, 500))
def test_every_frame_has_the_size_and_shape_asked_for_or_says_why_not(
    asked: Framing,
    size: Size,
    scene: tuple[tuple[int, int], list[FoundFace], U8 | None],
    longest: int | None,
) -> None:
    photo_wh, faces, alpha = scene
    for frame in plan(asked, size, longest=longest, photo_wh=photo_wh, faces=faces, alpha=alpha):
        width, height = frame.out_wh
        assert width >= 1
        assert height >= 1
        assert min(frame.size_wh) > 0
        assert longest is None or max(width, height) <= longest
        ratio = size.ratio(photo_wh)
        if ratio is not None:
            assert abs(width - height * ratio) <= max(ratio, 1)
            assert abs(height - width / ratio) <= max(1 / ratio, 1)
        enlarged = width > frame.size_wh[0] + 1 and height > frame.size_wh[1] + 1
        assert not enlarged or (size.enlarge and "enlarged" in codes(frame))
        wanted = size.width or size.height
        got = width if size.width else height
        said = {"smaller_than_asked", "bounded"} & set(codes(frame))
        assert wanted is None or got == wanted or longest is not None or said


@settings(max_examples=200, deadline=None)
@given(asked=framings(), size=sizes(), scene=scenes())
def test_what_is_cut_stays_inside_the_photo_unless_a_head_would_be_cut(
    asked: Framing, size: Size, scene: tuple[tuple[int, int], list[FoundFace], U8 | None]
) -> None:
    photo_wh, faces, alpha = scene
    if isinstance(asked, Face) and faces:
        return
    size = size.model_copy(update={"fit": "cut"})
    [frame] = plan(asked, size, longest=None, photo_wh=photo_wh, faces=[], alpha=alpha)
    left, top, right, bottom = frame.reach_xyxy
    assert min(left, top) >= -1e-6
    # A side may be a pixel longer for the sake of the shape.
    assert right <= photo_wh[0] + 1
    assert bottom <= photo_wh[1] + 1


@settings(max_examples=200, deadline=None)
@given(
    preset=st.sampled_from(sorted(FACE_PRESETS)),
    fit=st.sampled_from(("pad", "cut")),
    which=st.sampled_from(("largest", "each", "together")),
    x=st.floats(100, 900),
    y=st.floats(150, 700),
    unit=st.floats(25, 100),
    roll_deg=st.floats(-30, 30),
)
def test_no_head_is_cut(
    preset: str, fit: str, which: str, x: float, y: float, unit: float, roll_deg: float
) -> None:
    standard = FACE_PRESETS[preset]
    asked = Face.model_validate(
        {"preset": preset, "head": standard.head, "eye_line": standard.eye_line, "which": which}
    )
    faces = [found(x, y, unit, roll_deg), found(1000 - x, 850 - y, unit / 2)]
    size = Size.model_validate({**standard.size, "fit": fit})
    frames = plan(asked, size, longest=None, photo_wh=(1000, 850), faces=faces, alpha=None)
    for frame in frames:
        inside = faces if which == "together" else [faces[frame.face - 1]]
        for face in inside:
            eyes, chin = place(frame, face.eyes_mid), place(frame, face.chin)
            crown = place(
                frame,
                (2.2 * face.eyes_mid[0] - 1.2 * face.chin[0], 2.2 * face.eyes_mid[1] - 1.2 * face.chin[1]),
            )
            for name, (across, down) in {"eyes": eyes, "chin": chin}.items():
                assert -0.01 <= across <= 1.01, name
                assert -0.01 <= down <= 1.01, name
            assert crown[1] >= -0.02 or crown_is_outside(face, (1000, 850))


def crown_is_outside(face: FoundFace, photo_wh: tuple[int, int]) -> bool:
    """Whether the photo itself cuts this head."""
    x = 2.2 * face.eyes_mid[0] - 1.2 * face.chin[0]
    y = 2.2 * face.eyes_mid[1] - 1.2 * face.chin[1]
    return not (0 <= x <= photo_wh[0] and 0 <= y <= photo_wh[1])


def place(frame: Frame, point: tuple[float, float]) -> tuple[float, float]:
    """Where a place in the photo is in the frame, as shares of its width and height."""
    turn = math.radians(-frame.roll_deg)
    x, y = point[0] - frame.centre_xy[0], point[1] - frame.centre_xy[1]
    across, down = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    return across / frame.size_wh[0] + 0.5, down / frame.size_wh[1] + 0.5


# Whole pictures and subjects


def test_without_wishes_the_picture_is_kept_as_it_is() -> None:
    [frame] = plan(WholePicture(), Size(), longest=None, photo_wh=(70, 50), faces=[], alpha=None)
    assert frame.box == (0, 0, 70, 50)
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert np.shares_memory(render(picture, frame), picture)


def test_a_shape_pads_or_cuts() -> None:
    [padded] = plan(WholePicture(), Size(aspect="1:1"), longest=None, photo_wh=(60, 40), faces=[], alpha=None)
    assert padded.box == (0, -10, 60, 50)
    alpha = np.zeros((40, 60), np.uint8)
    alpha[10:20, 40:55] = 255
    size = Size(aspect="1:1", fit="cut")
    [cut] = plan(WholePicture(), size, longest=None, photo_wh=(60, 40), faces=[], alpha=alpha)
    assert cut.box == (20, 0, 60, 40)  # the subject is at the right


def test_the_subject_gets_its_margin_also_beyond_the_photo() -> None:
    alpha = np.zeros((100, 100), np.uint8)
    alpha[0:50, 20:60] = 255
    [frame] = plan(Subject(margin=0.1), Size(), longest=None, photo_wh=(100, 100), faces=[], alpha=alpha)
    assert frame.box == (15, -5, 65, 55)
    size = Size(fit="cut")
    [frame] = plan(Subject(margin=0.1), size, longest=None, photo_wh=(100, 100), faces=[], alpha=alpha)
    assert frame.box == (15, 0, 65, 55)


def test_a_subject_that_a_shape_cuts_is_told() -> None:
    alpha = np.full((100, 400), 255, np.uint8)
    size = Size(aspect="1:1", fit="cut")
    [frame] = plan(Subject(), size, longest=None, photo_wh=(400, 100), faces=[], alpha=alpha)
    assert frame.box == (150, 0, 250, 100)
    assert codes(frame) == ["framing_changed"]


def test_specks_and_haze_are_no_subject() -> None:
    alpha = np.full((1000, 1500), 9, np.uint8)  # a haze that cannot be seen
    alpha[300:700, 401:900] = 255
    alpha[10:16, 20:26] = 255  # a speck
    alpha[900:990, 1200:1400] = 80  # more haze than that
    assert subject_box(alpha) == (401, 300, 900, 700)
    assert subject_box(np.full((10, 10), 12, np.uint8)) is None
    faint = np.zeros((50, 60), np.uint8)
    faint[5:9, 7:30] = 60
    assert subject_box(faint) == (7, 5, 30, 9)  # where there is nothing else, it is the subject


def test_thin_things_belong_to_the_subject() -> None:
    alpha = np.zeros((3000, 4000), np.uint8)
    alpha[1000:2000, 1000:2000] = 255
    alpha[1500, 2000:3003] = 255
    assert subject_box(alpha) == (1000, 1000, 3003, 2000)


# Sizes


def test_nothing_is_made_larger_unasked() -> None:
    size = Size(width=800, height=1000)
    [frame] = plan(WholePicture(), size, longest=None, photo_wh=(400, 500), faces=[], alpha=None)
    assert frame.out_wh == (400, 500)
    assert codes(frame) == ["smaller_than_asked"]
    assert "400 × 500" in frame.warnings[0].message
    assert "800 × 1000" in frame.warnings[0].message
    size = Size(width=800, height=1000, enlarge=True)
    [frame] = plan(WholePicture(), size, longest=None, photo_wh=(400, 500), faces=[], alpha=None)
    assert frame.out_wh == (800, 1000)
    assert codes(frame) == ["enlarged"]


def test_the_longest_side_only_shrinks() -> None:
    [frame] = plan(WholePicture(), Size(), longest=100, photo_wh=(400, 300), faces=[], alpha=None)
    assert frame.out_wh == (100, 75)
    [frame] = plan(WholePicture(), Size(), longest=1000, photo_wh=(400, 300), faces=[], alpha=None)
    assert frame.out_wh == (400, 300)
    assert frame.box is not None


# Faces


def test_a_face_stands_as_asked() -> None:
    asked = Face(head=0.5, eye_line=0.4)
    size = Size(aspect="4:5")
    face = found(500, 500, 50, roll_deg=20)
    [frame] = plan(asked, size, longest=None, photo_wh=(1000, 1000), faces=[face], alpha=None)
    assert frame.roll_deg == pytest.approx(20)
    eyes, chin = place(frame, face.eyes_mid), place(frame, face.chin)
    assert eyes == pytest.approx((0.5, 0.4), abs=0.003)
    assert frame.size_wh[1] == pytest.approx(2.2 * 50 / 0.5, rel=0.01)
    assert chin[1] == pytest.approx(0.4 + 0.5 / 2.2, abs=0.003)


def test_the_masks_crown_counts_not_the_usual_one() -> None:
    face = found(500, 500, 50)
    alpha = np.zeros((1000, 1000), np.uint8)
    alpha[500 - 70 : 900, 450:550] = 255  # a head that ends 1.4 units above the eyes
    asked = Face(head=0.5, eye_line=0.4)
    [frame] = plan(asked, Size(aspect="1:1"), longest=None, photo_wh=(1000, 1000), faces=[face], alpha=alpha)
    assert frame.size_wh[1] == pytest.approx((70 + 50) / 0.5, rel=0.02)


@pytest.mark.parametrize("above", ["arm", "person"])
def test_an_arm_or_a_person_above_a_head_is_not_its_crown(above: str) -> None:
    face = found(500, 500, 50)
    alpha = np.zeros((1000, 1000), np.uint8)
    alpha[500 - 60 : 900, 450:550] = 255
    alpha[0:440, 490:510] = 255
    if above == "person":
        alpha[0:440, 420:580] = 255
    asked = Face(head=0.5, eye_line=0.4)
    [frame] = plan(asked, Size(aspect="1:1"), longest=None, photo_wh=(1000, 1000), faces=[face], alpha=alpha)
    assert frame.size_wh[1] == pytest.approx((60 + 50) / 0.5, rel=0.03)


def test_a_head_that_leans_too_far_is_left_so_and_told() -> None:
    asked = Face(head=0.5, eye_line=0.4, max_roll_deg=15)
    face = found(500, 500, 50, roll_deg=20)
    [frame] = plan(asked, Size(), longest=None, photo_wh=(1000, 1000), faces=[face], alpha=None)
    assert frame.roll_deg == 0
    assert codes(frame) == ["not_aligned"]
    as_it_is = asked.model_copy(update={"align": False})
    [frame] = plan(as_it_is, Size(), longest=None, photo_wh=(1000, 1000), faces=[face], alpha=None)
    assert codes(frame) == []


def test_a_level_head_is_not_resampled() -> None:
    face = found(500, 500, 50, roll_deg=0.6)
    [frame] = plan(Face(), Size(), longest=None, photo_wh=(1000, 1000), faces=[face], alpha=None)
    assert frame.box is not None


@pytest.mark.parametrize("fit", ["pad", "cut"])
def test_a_face_near_the_border(fit: str) -> None:
    size = Size.model_validate({"aspect": "1:1", "fit": fit})
    asked = Face(head=0.5, eye_line=0.4)
    face = found(70, 500, 50)
    [frame] = plan(asked, size, longest=None, photo_wh=(1000, 1000), faces=[face], alpha=None)
    assert place(frame, face.eyes_mid)[1] == pytest.approx(0.4, abs=0.005)
    assert frame.box is not None
    if fit == "pad":
        assert frame.box[0] < 0
        assert place(frame, face.eyes_mid)[0] == pytest.approx(0.5, abs=0.005)
    else:
        assert frame.box[0] == 0


def test_a_head_that_would_be_cut_is_padded_instead() -> None:
    face = found(50, 500, 50)  # a head 110 pixels tall in a photo 80 pixels wide
    size = Size(aspect="16:9", fit="cut")
    [frame] = plan(Face(), size, longest=None, photo_wh=(80, 1000), faces=[face], alpha=None)
    assert frame.size_wh[1] > 110
    assert frame.box is not None
    assert frame.box[0] < 0


def test_the_photos_edge_is_not_shown_as_the_end_of_a_body() -> None:
    face = found(500, 500, 50)
    alpha = np.zeros((700, 1000), np.uint8)
    alpha[500 - 60 : 620, 450:550] = 255
    alpha[620:, 300:700] = 255
    asked = Face(head=0.28, eye_line=0.26, preset="half_body")
    [frame] = plan(asked, Size(aspect="3:4"), longest=None, photo_wh=(1000, 700), faces=[face], alpha=alpha)
    assert frame.box is not None
    assert frame.box[3] <= 700
    assert codes(frame) == ["framing_changed"]
    assert "28%" in frame.warnings[0].message


def test_a_head_that_the_photo_cuts_is_told_and_nothing_is_shown_above_it() -> None:
    face = found(500, 40, 50, roll_deg=8)
    alpha = np.zeros((1000, 1000), np.uint8)
    alpha[:800, 450:550] = 255
    asked = Face(head=0.5, eye_line=0.4)
    [frame] = plan(asked, Size(aspect="4:5"), longest=None, photo_wh=(1000, 1000), faces=[face], alpha=alpha)
    assert frame.box is not None
    assert frame.box[1] == 0
    assert {"head_cut", "not_aligned"} <= set(codes(frame))


def test_a_photo_that_is_kept_is_not_turned_beyond_its_edges() -> None:
    face = found(200, 75, 50, roll_deg=20)
    size = Size(aspect="1:1", fit="cut")
    asked = Face(head=0.5, eye_line=0.4)
    [frame] = plan(asked, size, longest=None, photo_wh=(400, 150), faces=[face], alpha=None)
    assert frame.roll_deg == 0
    assert frame.inside((400, 150))
    assert "not_aligned" in codes(frame)


def test_a_head_outside_the_range_of_its_preset_is_told() -> None:
    asked = Face(preset="passport", head=0.755, eye_line=0.44)
    size = Size(aspect="1:3")  # a head is wider than that: it gets smaller
    [frame] = plan(asked, size, longest=None, photo_wh=(1000, 1000), faces=[found(500, 500, 50)], alpha=None)
    assert "head_out_of_range" in codes(frame)


def test_which_faces() -> None:
    faces = [found(200, 300, 50), found(600, 350, 40), found(800, 200, 30)]
    size = Size(aspect="1:1")
    wh = (1000, 1000)
    [largest] = plan(Face(which="largest"), size, longest=None, photo_wh=wh, faces=faces, alpha=None)
    assert largest.face == 1
    assert codes(largest) == ["several_faces"]
    each = plan(Face(which="each"), size, longest=None, photo_wh=wh, faces=faces, alpha=None)
    assert [frame.face for frame in each] == [1, 2, 3]
    assert all(not frame.warnings for frame in each)
    [together] = plan(Face(which="together"), size, longest=None, photo_wh=wh, faces=faces, alpha=None)
    assert all(0.05 < share < 0.95 for face in faces for share in place(together, face.eyes_mid))
    [alone] = plan(Face(which="together"), size, longest=None, photo_wh=wh, faces=faces[:1], alpha=None)
    assert alone.size_wh == pytest.approx(largest.size_wh)


def test_no_face_is_kept_skipped_or_failed() -> None:
    size = Size(aspect="1:1")
    [kept] = plan(Face(), size, longest=None, photo_wh=(60, 40), faces=[], alpha=None)
    assert kept.box == (0, -10, 60, 50)
    assert codes(kept) == ["no_face"]
    for choice, code in (("skip", "no_face"), ("fail", "no_face_failed")):
        asked = Face.model_validate({"no_face": choice})
        with pytest.raises(TaskError) as told:
            plan(asked, size, longest=None, photo_wh=(60, 40), faces=[], alpha=None)
        assert told.value.problem.code == code


# Rendering


def dots(size_wh: tuple[int, int], places: list[tuple[float, float]]) -> U8:
    """Soft white dots on black."""
    x, y = np.meshgrid(np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5)
    total = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 50) for px, py in places)
    bright: U8 = np.clip(np.rint(np.asarray(total) * 255), 0, 255).astype(np.uint8)
    return bright


@pytest.mark.parametrize("roll_deg", [0.0, 17.0, -30.0])
@pytest.mark.parametrize("out_wh", [(200, 250), (431, 539), (73, 91)])
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_in_the_photo_is_where_the_frame_says(
    roll_deg: float, out_wh: tuple[int, int], *, deep: bool
) -> None:
    frame = Frame(centre_xy=(151.3, 140.2), size_wh=(200.0, 250.0), roll_deg=roll_deg, out_wh=out_wh)
    for point in ((151.3, 140.2), (120.0, 95.5), (190.7, 180.0)):
        picture = dots((320, 280), [point])
        seen = render(picture.astype(np.uint16) * 257, frame) if deep else render(picture, frame)
        assert seen.shape == (out_wh[1], out_wh[0])
        weight = seen / seen.sum()
        x = (weight.sum(axis=0) * (np.arange(out_wh[0]) + 0.5)).sum() / out_wh[0]
        y = (weight.sum(axis=1) * (np.arange(out_wh[1]) + 0.5)).sum() / out_wh[1]
        assert (x, y) == pytest.approx(place(frame, point), abs=0.15 / out_wh[0])


def test_an_unscaled_frame_is_an_exact_copy_with_nothing_around() -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (40, 60), dtype=np.uint8)
    frame = Frame(centre_xy=(30.0, 20.0), size_wh=(80.0, 30.0), out_wh=(80, 30))
    assert frame.box == (-10, 5, 70, 35)
    seen, seen_alpha = render_cutout(rgb, alpha, frame)
    assert seen_alpha is not None
    assert np.array_equal(seen[:, 10:70], rgb[5:35])
    assert np.array_equal(seen_alpha[:, 10:70], alpha[5:35])
    assert not seen[:, :10].any()
    assert not seen_alpha[:, 70:].any()


def test_an_opaque_photo_gets_an_alpha_only_where_it_is_padded() -> None:
    rgb = np.full((40, 60, 3), 200, np.uint8)
    inside = Frame(centre_xy=(30.0, 20.0), size_wh=(60.0, 40.0), out_wh=(30, 20))
    assert render_cutout(rgb, None, inside)[1] is None
    beyond = Frame(centre_xy=(30.0, 20.0), size_wh=(80.0, 40.0), out_wh=(40, 20))
    seen, alpha = render_cutout(rgb, None, beyond)
    assert alpha is not None
    assert (alpha[:, 5:35] == 255).all()
    assert not alpha[:, :5].any()
    assert (seen[:, 5:35] == 200).all()
    turned = Frame(centre_xy=(30.0, 20.0), size_wh=(60.0, 40.0), roll_deg=10, out_wh=(60, 40))
    seen, alpha = render_cutout(rgb, None, turned)
    assert alpha is not None
    assert alpha[0, 0] == 0
    assert (np.abs(seen[alpha > 100].astype(int) - 200) <= 3).all()


@pytest.mark.parametrize("roll_deg", [0.0, 12.0])
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_transparent_does_not_bleed(roll_deg: float, *, deep: bool) -> None:
    rgb = np.zeros((200, 200, 3), np.uint16 if deep else np.uint8)
    most = 65535 if deep else 255
    rgb[:] = (0, most, 0)
    rgb[:, 100:] = (most, 0, 0)
    alpha = np.zeros((200, 200), np.uint8)
    alpha[:, 100:] = 255
    frame = Frame(centre_xy=(100.0, 100.0), size_wh=(150.0, 150.0), roll_deg=roll_deg, out_wh=(60, 60))
    picture = np.dstack([rgb, alpha]) if not deep else None
    seen, seen_alpha = render_cutout(rgb, alpha if not deep else alpha.astype(np.uint16) * 257, frame)
    assert seen_alpha is not None
    visible = seen_alpha > most // 20
    assert visible.any()
    assert (seen[visible][:, 1] == 0).all()
    assert (seen[visible][:, 0] > 0.98 * most).all()
    if picture is not None:
        assert np.array_equal(render(picture, frame), np.dstack([seen, seen_alpha]))


@pytest.mark.parametrize("roll_deg", [0.0, 12.0])
def test_shrinking_makes_no_patterns(roll_deg: float) -> None:
    fine = np.zeros((1000, 1000), np.uint8)
    fine[::2] = 255  # lines of a pixel: gray from afar
    frame = Frame(centre_xy=(500.0, 500.0), size_wh=(700.0, 700.0), roll_deg=roll_deg, out_wh=(90, 90))
    seen = render(fine, frame)
    assert abs(int(seen.min()) - 127) <= 4
    assert abs(int(seen.max()) - 127) <= 4


def test_a_frame_far_outside_shows_nothing() -> None:
    rgb = np.full((10, 10, 3), 9, np.uint8)
    for roll_deg in (0.0, 20.0):
        frame = Frame(centre_xy=(500.0, 500.0), size_wh=(31.0, 17.0), roll_deg=roll_deg, out_wh=(15, 8))
        seen, alpha = render_cutout(rgb, None, frame)
        assert seen.shape == (8, 15, 3)
        assert alpha is not None
        assert not seen.any()
        assert not alpha.any()


@settings(max_examples=150, deadline=None)
@given(
    wh=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    centre=st.tuples(st.floats(-30, 90), st.floats(-30, 90)),
    size=st.tuples(st.floats(0.3, 150), st.floats(0.3, 150)),
    roll_deg=st.just(0.0) | st.floats(-45, 45),
    out_wh=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    channels=st.sampled_from((0, 1, 3, 4)),
    deep=st.booleans(),
)
def test_every_frame_of_every_picture_can_be_rendered(
    wh: tuple[int, int],
    centre: tuple[float, float],
    size: tuple[float, float],
    roll_deg: float,
    out_wh: tuple[int, int],
    channels: int,
    *,
    deep: bool,
) -> None:
    shape = (wh[1], wh[0], channels) if channels else (wh[1], wh[0])
    picture = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    frame = Frame(centre_xy=centre, size_wh=size, roll_deg=roll_deg, out_wh=out_wh)
    seen = render(picture.astype(np.uint16) * 257, frame) if deep else render(picture, frame)
    assert seen.dtype == (np.uint16 if deep else np.uint8)
    assert seen.shape == (out_wh[1], out_wh[0], *shape[2:])
