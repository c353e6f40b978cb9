"""A model's disagreement with itself, against closed forms, brute force and models that cannot disagree."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from photoproc.imaging.certainty import mirrored, self_disagreement, shifted, uncertainty

U8 = NDArray[np.uint8]

sides = st.integers(1, 45)
shapes = st.tuples(sides, sides)
values = st.integers(0, 255) | st.sampled_from([0, 0, 255, 255, 127, 128])


def masks(shape: tuple[int, int]) -> st.SearchStrategy[U8]:
    return arrays.arrays(np.uint8, shape, elements=values)


pictures = shapes.flatmap(lambda shape: arrays.arrays(np.uint8, (*shape, 3)))


def brute_force(mask: U8, unmirrored: U8, of_shifted: U8) -> float:
    """Pixel by pixel, as the formula is written."""
    high, wide = mask.shape
    down, right = round(0.05 * high), round(0.05 * wide)
    if not any(mask[y, x] >= 128 for y in range(high) for x in range(wide)):
        return 1.0
    whole = [(int(mask[y, x]), int(unmirrored[y, x])) for y in range(high) for x in range(wide)]
    part = [
        (int(mask[y, x]), int(of_shifted[y + down, x + right]))
        for y in range(high - down)
        for x in range(wide - right)
    ]

    def iou(pairs: list[tuple[int, int]]) -> float:
        most = sum(max(pair) for pair in pairs)
        return sum(min(pair) for pair in pairs) / most if most else 1.0

    return 1 - (iou(whole) + iou(part)) / 2


@given(shapes.flatmap(lambda shape: st.tuples(masks(shape), masks(shape), masks(shape))))
def test_it_is_the_mean_of_both_looks_where_they_show_the_same(three: tuple[U8, U8, U8]) -> None:
    found = self_disagreement(*three)
    assert found == pytest.approx(brute_force(*three), abs=1e-5)
    assert 0 <= found <= 1


def box(left: int, top: int, right: int, bottom: int) -> U8:
    mask = np.zeros((100, 200), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


@pytest.mark.parametrize(
    ("unmirrored", "of_shifted", "wanted"),
    [
        (box(50, 20, 100, 60), box(60, 25, 110, 65), 0.0),
        (box(75, 20, 125, 60), box(60, 25, 110, 65), (1 - 1 / 3) / 2),  # half of it: 25 of 75 columns
        (
            box(50, 20, 100, 60),
            box(50, 20, 100, 60),
            (1 - 35 * 40 / (2 * 50 * 40 - 35 * 40)) / 2,
        ),  # not moved
        (box(0, 80, 10, 90), box(60, 25, 110, 65), 0.5),  # another subject
        (box(0, 0, 0, 0), box(0, 0, 0, 0), 1.0),
        (box(50, 20, 100, 60) // 2, box(60, 25, 110, 65), (1 - 127 / 255) / 2),  # the same, half as sure
    ],
)
def test_closed_forms(unmirrored: U8, of_shifted: U8, wanted: float) -> None:
    assert self_disagreement(box(50, 20, 100, 60), unmirrored, of_shifted) == pytest.approx(wanted, abs=1e-6)


def test_a_mask_without_a_subject_is_as_uncertain_as_can_be() -> None:
    faint = np.full((20, 20), 127, np.uint8)
    assert self_disagreement(faint, faint, faint) == 1
    assert self_disagreement(faint * 0, faint * 0, faint * 0) == 1
    seen = faint.copy()
    seen[5, 5] = 128
    assert self_disagreement(seen, seen, seen) < 0.01
    whole = np.full((20, 20), 255, np.uint8)
    assert self_disagreement(whole, whole, whole) == 0


def first(picture: U8) -> U8:
    return picture[..., 0]


def inverted(picture: U8) -> U8:
    return 255 - picture[..., 1]


def mixed(picture: U8) -> U8:
    return np.asarray(picture.mean(axis=2) > 100, np.uint8) * 255


@pytest.mark.parametrize("look", [first, inverted, mixed])
@given(picture=pictures)
def test_a_model_that_sees_each_place_alike_wherever_it_is_never_disagrees(
    look: Callable[[U8], U8], picture: U8
) -> None:
    mask = look(picture)
    found = uncertainty(picture, mask, look)
    assert found == (0 if (mask > 127).any() else 1)


@given(picture=pictures)
def test_the_looks_are_at_the_mirrored_and_at_the_shifted_picture(picture: U8) -> None:
    seen: list[U8] = []

    def look(shown: U8) -> U8:
        seen.append(shown)
        return first(shown)

    uncertainty(picture, first(picture), look)
    high, wide = picture.shape[:2]
    down, right = round(0.05 * high), round(0.05 * wide)
    assert [shown.shape for shown in seen] == [picture.shape] * 2
    assert np.array_equal(seen[0], picture[:, ::-1])
    assert np.array_equal(seen[1][down:, right:], picture[: high - down, : wide - right])
    assert np.array_equal(seen[1][:down, right:], np.repeat(picture[:1, : wide - right], down, axis=0))
    assert np.array_equal(mirrored(mirrored(picture)), picture)


def test_a_model_that_goes_by_the_place_and_not_by_the_picture_is_found_out() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    left = box(0, 0, 40, 100)
    assert uncertainty(picture, left, lambda _: left) == pytest.approx((1 + (1 - 30 / 40)) / 2)


def test_a_shifted_mask_lies_where_the_shifted_picture_has_what_it_is_of() -> None:
    mask = box(50, 20, 100, 60)
    assert np.array_equal(shifted(mask), box(60, 25, 110, 65))
