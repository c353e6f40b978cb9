"""What some runs say: intervals that hold what they promise, and ratios that are the same both ways."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.timings import Ratio, Rounds, by_photo, latency_s, median_interval, ratios, times_as_long
from photoproc.trial_result import ModelFigures

seconds = st.floats(0.001, 1000)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 12))
pairs = sizes.flatmap(
    lambda size: st.lists(
        st.lists(st.tuples(seconds, seconds), min_size=size[1], max_size=size[1]),
        min_size=size[0],
        max_size=size[0],
    )
)
"""Runs of two models by round and photo."""


def parted(found: list[list[tuple[float, float]]]) -> tuple[Rounds, Rounds]:
    return [[one for one, _ in made] for made in found], [[other for _, other in made] for made in found]


def test_a_check_of_certainty_is_no_latency() -> None:
    steps = {"decode": 0.125, "inference": 0.5, "certainty": 1.0, "encode": 0.25}
    assert latency_s(steps) == 0.875
    assert latency_s({}) == 0


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
def test_the_other_way_round_is_one_divided_by_it(found: list[list[tuple[float, float]]]) -> None:
    these, those = parted(found)
    times, interval = times_as_long(these, those)
    back, inverse = times_as_long(those, these)
    assert times * back == pytest.approx(1)
    assert (interval is None) == (inverse is None) == (len(found[0]) < 6), "it is photos that count"
    if interval is not None and inverse is not None:
        assert interval[0] * inverse[1] == pytest.approx(1)
        assert interval[0] <= times * (1 + 1e-9)
        assert times <= interval[1] * (1 + 1e-9)


@given(pairs, st.floats(0.01, 100))
def test_a_factor_between_two_is_found_whatever_the_photos_differ(
    found: list[list[tuple[float, float]]], factor: float
) -> None:
    _, those = parted(found)
    times, _ = times_as_long([[factor * other for other in made] for made in those], those)
    assert times == pytest.approx(factor)


def test_a_photo_counts_once_with_its_median_however_often_it_ran() -> None:
    rounds = [[1.0, 9.0, 5.0], [2.0, 9.0, 5.0], [30.0, 9.0, 4.0]]
    assert by_photo(rounds) == [2.0, 9.0, 5.0]
    assert median_interval(by_photo(rounds * 10)) is None


def simulated(chance: random.Random, noise: float, photos: int = 8) -> tuple[Rounds, Rounds]:
    """A trial as it is run: photos spread by 0.3, ratios around 1.2 by 0.1 from photo to photo (logarithms),
    three rounds with so much noise."""
    base = [chance.lognormvariate(0, 0.3) for _ in range(photos)]
    slower = [took * chance.lognormvariate(math.log(1.2), 0.1) for took in base]
    small, large = (
        [[took * chance.lognormvariate(0, noise) for took in each] for _ in range(3)]
        for each in (base, slower)
    )
    return small, large


def model_figures(rounds: Rounds) -> ModelFigures:
    return ModelFigures(
        model="m",
        cold={},
        rounds=tuple(map(tuple, rounds)),
        steps={},
        provider="",
        threads=1,
        peak_bytes=None,
    )


@pytest.mark.parametrize("photos", [6, 8, 24])
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_intervals_of_a_trial_cover_what_photos_like_these_take(noise: float, photos: int) -> None:
    """500 simulated trials: of 95 % or more, 93 % is two deviations off."""
    chance, medians, factors = random.Random(11), 0, 0
    for _ in range(500):
        small, large = simulated(chance, noise, photos)
        figures = model_figures(small)
        assert figures.interval is not None
        assert figures.spread is not None
        assert figures.interval[0] <= figures.spread.p50 <= figures.interval[1]
        medians += figures.interval[0] <= 1.0 <= figures.interval[1]
        interval = times_as_long(large, small)[1]
        assert interval is not None
        factors += interval[0] <= 1.2 <= interval[1]
    assert medians >= 465
    assert factors >= 465


def test_models_with_a_known_ratio_are_told_apart_and_equal_ones_are_not() -> None:
    chance, wrong = random.Random(5), 0
    for _ in range(200):
        photo = [chance.lognormvariate(0, 1) for _ in range(8)]  # photos of many sizes
        runs = {
            name: [[one * factor * chance.lognormvariate(0, 0.05) for one in photo] for _ in range(3)]
            for name, factor in {"a": 1.0, "b": 1.0, "slow": 1.3}.items()
        }
        by_pair = {frozenset((one.slower, one.faster)): one for one in ratios(runs)}
        wrong += by_pair[frozenset("ab")].told_apart
        slow = by_pair[frozenset(("a", "slow"))]
        assert slow.told_apart
        assert (slow.slower, slow.faster) == ("slow", "a")
    assert wrong <= 20  # 5 % of 200 at most; twice that is five deviations off


def test_too_few_photos_tell_nothing_apart_and_no_runs_are_left_out() -> None:
    (found,) = ratios({"a": [[1.0, 1.0]] * 12, "b": [[5.0, 5.0]] * 12, "none": []})
    assert found == Ratio(slower="b", faster="a", times=found.times, interval=None)
    assert found.times == pytest.approx(5)
    assert not found.told_apart
    assert ratios({"a": [[1.0]]}) == []
