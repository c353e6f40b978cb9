"""Finding faces: where they are in the photo's own pixels, largest first."""

import math

import numpy as np
import pytest
from PIL import Image

from photoproc.models import faces
from photoproc.models.faces import Face, FaceFinder
from photoproc.models.patches import TILE_WH, tiles
from tests.pictures import opened_sample, picture
from tests.portraits import CHIN, Person, Scene, scene

ASTRONAUT = (172, 60, 274, 190)
"""About where the face is in the sample of 512 × 512 pixels."""
FACE = 110 / 163
"""Her face, from the forehead to the chin, as a share of her head."""


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def overlap(face: Face, box: tuple[float, float, float, float]) -> float:
    """Intersection over union of a face and a box."""
    left, top, right, bottom = face.box_xyxy
    across = min(right, box[2]) - max(left, box[0])
    down = min(bottom, box[3]) - max(top, box[1])
    common = max(across, 0) * max(down, 0)
    return common / (face.area + (box[2] - box[0]) * (box[3] - box[1]) - common)


def assert_found(found: list[Face], truth: Scene, *, within: float = 0.05) -> None:
    """Every person once, nobody else, and the eyes where they are (as a share of the head)."""
    assert len(found) == len(truth.people)
    for person in truth.people:
        nearest = min(found, key=lambda face: math.dist(face.eyes_mid, person.eyes))
        assert math.dist(nearest.eyes_mid, person.eyes) < within * person.head_px


def test_the_astronauts_face_is_found_where_it_is(finder: FaceFinder) -> None:
    [face] = finder.find(np.asarray(opened_sample("astronaut.png")))
    assert overlap(face, ASTRONAUT) > 0.7
    assert 0.5 < face.score <= 1


def test_a_face_in_a_large_photo_is_told_in_its_own_pixels(finder: FaceFinder) -> None:
    large = opened_sample("astronaut.png").resize((3000, 2000))
    [face] = finder.find(np.asarray(large))
    left, top, right, bottom = ASTRONAUT
    across, down = 3000 / 512, 2000 / 512
    assert overlap(face, (left * across, top * down, right * across, bottom * down)) > 0.6


def test_several_faces_come_largest_first(finder: FaceFinder) -> None:
    whole = opened_sample("astronaut.png")
    both = Image.new("RGB", (820, 512), "gray")
    both.paste(whole.resize((300, 300)), (0, 100))
    both.paste(whole, (308, 0))
    found = finder.find(np.asarray(both))
    assert len(found) == 2
    assert found[0].area > found[1].area
    assert found[0].box_xyxy[0] > 308


def test_eyes_chin_and_roll_are_measured(finder: FaceFinder) -> None:
    for roll_deg in (-30, -15, 0, 15, 30):
        for mirrored in (False, True):
            person = Person(eyes=(600, 500), head_px=400, roll_deg=roll_deg, mirrored=mirrored)
            truth = scene([person], (1200, 1200))
            [face] = finder.find(truth.rgb)
            assert math.dist(face.eyes_mid, person.eyes) < 0.02 * 400
            assert math.dist(face.chin, person.at(CHIN)) < 0.05 * 400
            assert face.roll_deg == pytest.approx(roll_deg, abs=5.5)


def test_the_persons_right_eye_comes_first(finder: FaceFinder) -> None:
    [face] = finder.find(scene([Person(eyes=(300, 250), head_px=200)], (600, 600)).rgb)
    right, left, nose, mouth_right, mouth_left = face.landmarks
    assert right[0] < nose[0] < left[0]
    assert mouth_right[0] < nose[0] < mouth_left[0]
    assert right[1] < nose[1] < mouth_right[1] < face.chin[1]


def test_a_photo_without_people_has_no_faces(finder: FaceFinder) -> None:
    for name in ("coffee.png", "rocket.jpg"):
        for thorough in (False, True):
            assert finder.find(np.asarray(opened_sample(name)), thorough=thorough) == []


@pytest.mark.parametrize(
    "size_wh",
    [
        (1, 1),
        (9, 9),
        (3, 2000),
        (2000, 3),
        (1024, 3),
        (1024, 6),
        (1024, 32),
        (1024, 15),
        (32, 20),
        (4000, 45),
    ],
)
def test_no_face_is_seen_in_the_noise_of_small_and_narrow_pictures(
    finder: FaceFinder, size_wh: tuple[int, int]
) -> None:
    for seed in range(3):
        assert finder.find(np.asarray(picture(*size_wh, seed=seed))) == []


def test_a_face_in_a_long_strip_is_found(finder: FaceFinder) -> None:
    strip = Image.new("RGB", (6000, 180), "gray")
    strip.paste(opened_sample("astronaut.png").resize((170, 170)), (1000, 5))
    [face] = finder.find(np.asarray(strip))
    left, top, right, bottom = (side * 170 / 512 for side in ASTRONAUT)
    assert overlap(face, (1000 + left, 5 + top, 1000 + right, 5 + bottom)) > 0.5


def test_a_face_that_fills_the_picture_is_found(finder: FaceFinder) -> None:
    truth = scene([Person(eyes=(1500, 900), head_px=4200)], (3000, 3000))
    assert_found(finder.find(truth.rgb), truth)


@pytest.mark.parametrize("roll_deg", [-50, -30, 30, 50])
def test_small_faces_that_lean_are_found(finder: FaceFinder, roll_deg: float) -> None:
    truth = scene([Person(eyes=(520.3, 380.7), head_px=45, roll_deg=roll_deg)], (800, 600), textured=True)
    assert_found(finder.find(truth.rgb), truth, within=0.1)


def test_a_group_of_faces_of_40_pixels_in_12_megapixels_is_found(finder: FaceFinder) -> None:
    people = [
        Person(
            eyes=(200 + 400 * column + 13 * row, 300 + 480 * row + 29 * column),
            head_px=40 / FACE,
            roll_deg=(-30, 0, 18, -12, 30)[(column + row) % 5],
            mirrored=bool(column % 2),
        )
        for row in range(5)
        for column in range(9)
    ]
    truth = scene(people, (4000, 3000), textured=True)
    assert len(finder.find(truth.rgb)) == len(people)
    assert_found(finder.find(truth.rgb, thorough=True), truth, within=0.1)


def test_small_faces_beside_a_large_one_are_found_by_a_thorough_search(finder: FaceFinder) -> None:
    small = [Person(eyes=(2500 + 300 * place, 400 + 150 * place), head_px=60) for place in range(4)]
    large = Person(eyes=(1100, 1200), head_px=900)
    truth = scene([*small, large], (4000, 3000))
    assert_found(finder.find(truth.rgb, thorough=True), truth, within=0.1)
    assert finder.find(truth.rgb)[0].area == pytest.approx(
        finder.find(truth.rgb, thorough=True)[0].area, rel=0.05
    )


def test_a_face_on_the_border_of_tiles_is_found_once(finder: FaceFinder) -> None:
    # The photo is looked at at 0.8165 of its size.
    starts = sorted({left for left, _ in tiles(round(4000 * 0.8165), round(3000 * 0.8165))})
    for start in starts[1:]:
        for across in (0.0, TILE_WH[0] - (starts[1] - starts[0]) - 40):
            person = Person(eyes=((start + across) / 0.8165, 1500), head_px=70)
            truth = scene([person], (4000, 3000))
            assert_found(finder.find(truth.rgb), truth, within=0.1)


def test_tiles_cover_everything_and_overlap() -> None:
    for width, height in ((1024, 768), (1025, 769), (3266, 2449), (8000, 1000), (100, 5000)):
        covered = np.zeros((height, width), np.uint8)
        lefts, tops = set(), set()
        for left, top in tiles(width, height):
            assert left >= 0
            assert top >= 0
            covered[top : top + TILE_WH[1], left : left + TILE_WH[0]] = 1
            lefts.add(left)
            tops.add(top)
        assert covered.all()
        for starts, tile in ((lefts, TILE_WH[0]), (tops, TILE_WH[1])):
            steps = np.diff(sorted(starts))
            assert not len(steps) or steps.max() <= tile - 150


def test_the_second_pass_is_bounded(finder: FaceFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    detect = FaceFinder._detect

    def counted(self: FaceFinder, rgb: faces.U8) -> list[Face]:
        looked_at.append(rgb.shape[0] * rgb.shape[1])
        return detect(self, rgb)

    monkeypatch.setattr(FaceFinder, "_detect", counted)
    assert finder.find(np.full((6000, 8000, 3), 90, np.uint8)) == []
    assert max(looked_at) < 2.5 * faces.DETECT_PIXELS
    assert sum(looked_at) < 18_000_000
