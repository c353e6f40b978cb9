"""Finding faces: where they are in the photo's own pixels, largest first."""

import numpy as np
import pytest
from PIL import Image

from photoproc.models.faces import Face, FaceFinder
from tests.pictures import opened_sample, picture

ASTRONAUT = (172, 60, 274, 190)
"""About where the face is in the sample of 512 × 512 pixels."""


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
    faces = finder.find(np.asarray(both))
    assert len(faces) == 2
    assert faces[0].area > faces[1].area
    assert faces[0].box_xyxy[0] > 308


def test_a_photo_without_people_has_no_faces(finder: FaceFinder) -> None:
    for name in ("coffee.png", "rocket.jpg"):
        assert finder.find(np.asarray(opened_sample(name))) == []


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
