"""What some runs say: intervals that hold what they promise, and ratios that are the same both ways."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.timings import Ratio, median_interval, ratios, times_as_long

seconds = st.floats(0.001, 1000)
pairs = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("count", "k"),
    [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (24, 7), (25, 8), (30, 10), (50, 18), (100, 40)],
)
def test_the_interval_is_that_of_the_sign_test(count: int, k: int) -> None:
    """The places as tables of it have them (two-sided, 5 %)."""
    assert median_interval(range(1, count + 1)) == (k, count + 1 - k)


@pytest.mark.parametrize("count", range(6))
def test_a_few_values_say_nothing(count: int) -> None:
    assert median_interval([1.0] * count) is None


@given(st.lists(seconds, min_size=6, max_size=60))
def test_the_interval_is_around_the_median_and_of_what_was_seen(values: list[float]) -> None:
    found = median_interval(values)
    assert found is not None
    low, high = found
    assert low <= statistics.median(values) <= high
    assert {low, high} <= set(values)


@pytest.mark.parametrize("count", [6, 12, 24, 60])
@pytest.mark.parametrize("draw", ["lognormal", "heavy"])
def test_the_interval_covers_what_the_runs_were_drawn_from(count: int, draw: str) -> None:
    chance, covered = random.Random(count), 0
    for _ in range(1000):
        if draw == "lognormal":
            values, true = [chance.lognormvariate(0.5, 0.3) for _ in range(count)], math.exp(0.5)
        else:
            values, true = [chance.paretovariate(1.1) for _ in range(count)], 2 ** (1 / 1.1)
        found = median_interval(values)
        assert found is not None
        covered += found[0] <= true <= found[1]
    assert covered >= 930  # 950 or more are promised; so few are three deviations off


@given(pairs)
def test_the_other_way_round_is_one_divided_by_it(found: list[tuple[float, float]]) -> None:
    these, those = [one for one, _ in found], [other for _, other in found]
    times, interval = times_as_long(these, those)
    back, inverse = times_as_long(those, these)
    assert times * back == pytest.approx(1)
    assert (interval is None) == (inverse is None) == (len(found) < 6)
    if interval is not None and inverse is not None:
        assert interval[0] * inverse[1] == pytest.approx(1)
        assert interval[0] <= times * (1 + 1e-9)
        assert times <= interval[1] * (1 + 1e-9)


@given(pairs, st.floats(0.01, 100))
def test_a_factor_between_two_is_found_whatever_the_photos_differ(
    found: list[tuple[float, float]], factor: float
) -> None:
    those = [other for _, other in found]
    times, _ = times_as_long([factor * other for other in those], those)
    assert times == pytest.approx(factor)


def test_models_with_a_known_ratio_are_told_apart_and_equal_ones_are_not() -> None:
    chance, wrong, covered = random.Random(5), 0, 0
    for _ in range(200):
        photo = [chance.lognormvariate(0, 1) for _ in range(24)]  # photos of many sizes
        runs = {
            name: [one * factor * chance.lognormvariate(0, 0.05) for one in photo]
            for name, factor in {"a": 1.0, "b": 1.0, "slow": 3.0}.items()
        }
        by_pair = {frozenset((one.slower, one.faster)): one for one in ratios(runs)}
        wrong += by_pair[frozenset("ab")].told_apart
        three = by_pair[frozenset(("a", "slow"))]
        assert three.told_apart
        assert (three.slower, three.faster) == ("slow", "a")
        assert three.interval is not None
        covered += three.interval[0] <= 3 <= three.interval[1]
    assert wrong <= 20  # 5 % of 200 at most; twice that is five deviations off
    assert covered >= 180


def test_too_few_runs_tell_nothing_apart_and_no_runs_are_left_out() -> None:
    (found,) = ratios({"a": [1.0, 1.0], "b": [5.0, 5.0], "none": []})
    assert found == Ratio(slower="b", faster="a", times=found.times, interval=None)
    assert found.times == pytest.approx(5)
    assert not found.told_apart
    assert ratios({"a": [1.0]}) == []
