"""Framing: squares around faces, always inside the picture."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from photoproc.imaging.framing import cut, face_square

Face = tuple[float, float, float, float]

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
margins = st.floats(0, 4)


@st.composite
def pictures_with_faces(draw: st.DrawFn) -> tuple[Face, tuple[int, int]]:
    """A face box, as detectors give them: with fractions, and partly outside at times."""
    width, height = draw(sizes)
    left = draw(st.floats(-0.2 * width, width))
    top = draw(st.floats(-0.2 * height, height))
    across = draw(st.floats(0, 1.2 * width))
    down = draw(st.floats(0, 1.2 * height))
    return (left, top, left + across, top + down), (width, height)


@given(case=pictures_with_faces(), margin=margins)
def test_the_square_is_square_inside_and_never_empty(
    case: tuple[Face, tuple[int, int]], margin: float
) -> None:
    face, (width, height) = case
    left, top, right, bottom = face_square(face, (width, height), margin)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == bottom - top


@given(size=sizes, margin=margins, data=st.data())
def test_a_face_that_fits_is_not_cut(size: tuple[int, int], margin: float, data: st.DataObject) -> None:
    width, height = size
    shorter = min(size)
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, min(width, left + shorter)))
    bottom = data.draw(st.integers(top + 1, min(height, top + shorter)))
    square = face_square((left, top, right, bottom), size, margin)
    # A side of an odd length cannot be in the middle of an even one: half a pixel at most.
    assert square[0] <= left + 0.5
    assert square[1] <= top + 0.5
    assert square[2] >= right - 0.5
    assert square[3] >= bottom - 0.5


def test_the_margin_is_a_share_of_the_longer_side_on_each_side() -> None:
    assert face_square((400, 300, 500, 400), (1000, 800), 0.5) == (350, 250, 550, 450)
    assert face_square((400, 300, 440, 400), (1000, 800), 0.0) == (370, 300, 470, 400)


def test_near_the_border_the_square_moves_before_it_shrinks() -> None:
    assert face_square((0, 0, 100, 100), (1000, 800), 0.5) == (0, 0, 200, 200)
    assert face_square((900, 700, 1000, 800), (1000, 800), 0.5) == (800, 600, 1000, 800)
    assert face_square((400, 300, 600, 500), (1000, 800), 4.0) == (100, 0, 900, 800)


def test_cutting_takes_the_pixels_of_the_box() -> None:
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    part = cut(picture, (2, 1, 6, 4))
    assert part.shape == (3, 4, 3)
    assert np.array_equal(part[0, 0], picture[1, 2])
    assert np.array_equal(part[-1, -1], picture[3, 5])
