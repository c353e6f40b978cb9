"""The simulation behind README's "How far it goes" is right where the answer is known otherwise."""

import math
import random
from collections.abc import Sequence

import pytest

from tests.benchmarks.scaling_model import Stop, simulate


def exponential(mean_s: float, seed: int) -> tuple[float, ...]:
    chance = random.Random(seed)
    drawn = [chance.expovariate(1 / mean_s) for _ in range(20_000)]
    scale = mean_s / (math.fsum(drawn) / len(drawn))
    return tuple(one * scale for one in drawn)


def expected(demands_s: Sequence[float], *, think_s: float, tasks_under_way: int) -> float:
    """Tasks a second of such a network by exact mean value analysis, for exponentially distributed times.

    `demands_s` are of parts that serve one at a time, `think_s` of one with a place for everybody.
    M. Reiser, S. S. Lavenberg: Mean-Value Analysis of Closed Multichain Queuing Networks, J. ACM 27 (1980).
    """
    waiting, per_s = [0.0] * len(demands_s), 0.0
    for number in range(1, tasks_under_way + 1):
        there = [demand * (1 + length) for demand, length in zip(demands_s, waiting, strict=True)]
        per_s = number / (think_s + sum(there))
        waiting = [per_s * seconds for seconds in there]
    return per_s


@pytest.mark.parametrize("under_way", [1, 4, 16, 64])
def test_it_agrees_with_mean_value_analysis(under_way: int) -> None:
    demands = (0.02, 0.05, 0.01)
    route = [Stop(str(n), 1, exponential(seconds, n)) for n, seconds in enumerate(demands)]
    route.insert(1, Stop("workers", under_way, exponential(1.0, 9)))
    found = simulate(route, tasks_under_way=under_way, tasks=40_000, seed=3)
    assert found.per_s == pytest.approx(expected(demands, think_s=1.0, tasks_under_way=under_way), rel=0.02)
    # What a part does is what comes through it (the utilisation law).
    assert found.busy["1"] == pytest.approx(found.per_s * 0.05, rel=0.02)


def test_a_part_that_two_stops_share_is_one_and_limits_what_comes_through() -> None:
    route = (Stop("store", 1, (0.01,)), Stop("workers", 64, (0.1,)), Stop("store", 1, (0.03,)))
    found = simulate(route, tasks_under_way=64, tasks=5_000, seed=1)
    assert found.per_s == pytest.approx(1 / 0.04, rel=0.01)
    assert found.busy["store"] == pytest.approx(1, abs=0.01)
    assert found.busy["workers"] == pytest.approx(25 * 0.1 / 64, rel=0.02)


def test_without_waiting_it_is_arithmetic() -> None:
    route = (Stop("server", 1, (0.5,)), Stop("workers", 1, (1.5,)))
    found = simulate(route, tasks_under_way=1, tasks=1_000, seed=1)
    assert found.per_s == pytest.approx(0.5)
    assert found.busy == pytest.approx({"server": 0.25, "workers": 0.75})
