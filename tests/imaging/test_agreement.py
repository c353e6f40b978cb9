"""How far masks are from each other: against closed forms, and against the definitions by brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from photoproc.imaging.agreement import (
    SIDE,
    Agreement,
    agreement,
    at_one_size,
    band_error,
    heat,
    soft_iou,
    spread,
)

F32 = NDArray[np.float32]
small = arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32))


def square(left: int, top: int, side: int, value: int = 255, size: int = SIDE) -> NDArray[np.uint8]:
    """A square subject in a mask."""
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


@given(small, small)
def test_soft_iou_is_what_it_is_defined_as(one: F32, other: F32) -> None:
    least = sum(min(a, b) for a, b in zip(one.flat, other.flat, strict=True))
    most = sum(max(a, b) for a, b in zip(one.flat, other.flat, strict=True))
    found = soft_iou(one, other)
    assert found == pytest.approx(least / most if most else 1.0, abs=1e-5)
    assert 0 <= found <= 1
    assert soft_iou(other, one) == found
    assert soft_iou(one, one) == pytest.approx(1)


@given(arrays(np.bool_, (7, 9)), arrays(np.bool_, (7, 9)))
def test_of_hard_masks_it_is_the_jaccard_index(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> None:
    both, either = int((one & other).sum()), int((one | other).sum())
    found = soft_iou(one.astype(np.float32), other.astype(np.float32))
    assert found == pytest.approx(both / either if either else 1)


@given(small, small)
def test_the_band_is_what_lies_near_an_edge_of_either(one: F32, other: F32) -> None:
    height, width = one.shape
    chosen = []
    for row, column in np.ndindex(height, width):
        near = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
        if any(len(set((mask[near] >= 0.5).flat)) == 2 for mask in (one, other)):
            chosen.append(abs(float(one[row, column]) - float(other[row, column])))
    assert band_error(one, other) == pytest.approx(np.mean(chosen) if chosen else 0, abs=1e-5)


@pytest.mark.parametrize("apart", [0, 10, 40, 100])
def test_moved_squares_disagree_by_the_closed_form(apart: int) -> None:
    one, other = square(50, 60, 100), square(50 + apart, 60, 100)
    found = agreement([one, other])
    assert found.disagreement == pytest.approx(1 - (100 - apart) / (100 + apart))
    assert found.apart == (found.disagreement, found.disagreement)


def test_where_only_edges_differ_the_edge_error_says_more() -> None:
    found = agreement([square(50, 50, 200), square(52, 52, 196)])
    assert found.disagreement == pytest.approx(1 - 196**2 / 200**2)
    assert found.edge_error > 2 * found.disagreement
    hole = square(50, 50, 200)
    hole[140:160, 140:160] = 128
    assert agreement([square(50, 50, 200), hole]).edge_error < 0.02


def test_each_mask_is_told_how_far_it_is_from_the_others() -> None:
    same, odd = square(50, 50, 100), square(50, 50, 20)
    found = agreement([same, same, odd])
    pairs = [0, 1 - 20**2 / 100**2, 1 - 20**2 / 100**2]
    assert found.disagreement == pytest.approx(np.mean(pairs))
    assert found.apart == pytest.approx((pairs[1] / 2, pairs[1] / 2, pairs[1]))


@given(st.lists(arrays(np.uint8, (16, 16)), min_size=2, max_size=4), st.randoms())
def test_the_order_of_masks_means_nothing(masks: list[NDArray[np.uint8]], random: object) -> None:
    found, turned = agreement(masks), agreement(masks[::-1])
    assert found.disagreement == pytest.approx(turned.disagreement)
    assert found.edge_error == pytest.approx(turned.edge_error)
    assert found.apart == pytest.approx(turned.apart[::-1])
    assert 0 <= found.disagreement <= 1
    mean = np.mean([1 - soft_iou(at_one_size(one), at_one_size(two)) for one, two in combinations(masks, 2)])
    assert found.disagreement == pytest.approx(mean)


def test_sizes_of_models_do_not_matter() -> None:
    large = square(192, 192, 320, size=1024)
    assert agreement([large, square(60, 60, 100)]).disagreement < 0.02


def test_empty_masks_agree_and_an_empty_one_disagrees_with_any_other() -> None:
    nothing = np.zeros((SIDE, SIDE), np.uint8)
    assert agreement([nothing, nothing]) == Agreement(disagreement=0, edge_error=0, apart=(0, 0))
    assert agreement([nothing, square(1, 1, 50)]).disagreement == 1
    with pytest.raises(ValueError, match="one mask"):
        agreement([nothing])


def test_the_spread_shows_where_any_two_masks_differ() -> None:
    masks = [square(0, 0, 160), square(0, 0, 160, value=200), square(0, 0, 80)]
    found = spread(masks, (32, 16))
    assert found.shape == (16, 32)
    assert (found[1, 2], found[1, 12], found[12, 28]) == (55, 255, 0)


def test_heat_is_clear_where_masks_agree_and_redder_where_they_differ_more() -> None:
    shown = heat(np.array([[0, 10, 128, 255]], np.uint8))
    assert shown[0, 0].tolist() == [0, 0, 0, 0]
    assert (np.diff(shown[0, :, 3].astype(int)) > 0).all()
    assert (np.diff(shown[0, 1:, 1].astype(int)) < 0).all()
    assert shown[0, 3].tolist() == [255, 0, 0, 230]
