"""From votes to a ranking: known strengths are found again, and nothing is claimed without evidence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.judging import Ballot, Choice, rank, share

MODELS = ("a", "b", "c")


def voted(
    strengths: dict[str, float], count: int, rng: np.random.Generator, *, ties: float = 0
) -> list[Ballot]:
    """Votes of people who choose as Bradley and Terry say, sides by chance."""
    ballots = []
    for _ in range(count):
        left, right = (str(name) for name in rng.choice(list(strengths), 2, replace=False))
        chance = 1 / (1 + math.exp(strengths[right] - strengths[left]))
        choice = Choice.LEFT if rng.random() < chance else Choice.RIGHT
        ballots.append(Ballot(left, right, Choice.TIE if rng.random() < ties else choice))
    return ballots


def test_known_strengths_are_recovered() -> None:
    strengths = {"a": 1.0, "b": 0.1, "c": -1.1}
    found = rank(MODELS, voted(strengths, 4000, np.random.default_rng(1)))
    assert [one.model for one in found.standings] == ["a", "b", "c"]
    for one in found.standings:
        assert one.strength == pytest.approx(strengths[one.model], abs=0.12)
    assert (found.enough, found.ahead, found.side_bias) == (True, True, False)


def test_the_intervals_cover_the_truth_in_nine_of_ten_simulations() -> None:
    strengths = {"a": 0.8, "b": 0.0, "c": -0.8}
    covered = dict.fromkeys(MODELS, 0)
    for seed in range(200):
        found = rank(MODELS, voted(strengths, 90, np.random.default_rng(seed)), seed=seed, rounds=120)
        for one in found.standings:
            covered[one.model] += one.low <= strengths[one.model] <= one.high
    assert min(covered.values()) >= 180, covered


@pytest.mark.parametrize("count", [2, 3, 6])
def test_equal_models_are_seldom_called_enough_however_many_they_are(count: int) -> None:
    even = dict.fromkeys("abcdef"[:count], 0.0)
    claimed = sum(
        rank(list(even), voted(even, 40 * count, np.random.default_rng(n)), seed=n, rounds=120).enough
        for n in range(60)
    )
    assert claimed <= 7  # one in twenty, with six models by pairs alone one in three


@pytest.mark.parametrize("votes", [0, 1, 2, 4])
def test_few_votes_are_not_enough(votes: int) -> None:
    found = rank(MODELS, [Ballot("a", "b", Choice.LEFT)] * votes)
    assert (found.enough, found.ahead, found.votes) == (False, False, votes)
    assert all(math.isfinite(one.strength) for one in found.standings)


def test_equal_models_are_rarely_told_apart() -> None:
    even = dict.fromkeys(MODELS, 0.0)
    claimed = sum(
        rank(MODELS, voted(even, 60, np.random.default_rng(n)), seed=n, rounds=120).ahead for n in range(60)
    )
    assert claimed <= 7


def test_a_tie_counts_half_for_each_and_two_bad_ones_as_well() -> None:
    wins = [Ballot("a", "b", Choice.LEFT), Ballot("b", "a", Choice.LEFT)] * 10
    ties = [Ballot("a", "b", Choice.TIE)] * 10 + [Ballot("b", "a", Choice.BOTH_BAD)] * 10
    for ballots in (wins, ties):
        found = rank(("a", "b"), ballots)
        assert [one.strength for one in found.standings] == pytest.approx([0, 0], abs=1e-6)
        assert [one.preferred.share for one in found.standings] == [0.5, 0.5]
    assert [one.bad for one in rank(("a", "b"), ties).standings] == [10, 10]


def test_how_often_both_were_bad_is_of_all_votes() -> None:
    ballots = [Ballot("a", "b", Choice.BOTH_BAD), Ballot("c", "a", Choice.BOTH_BAD)]
    ballots += [Ballot("a", "b", Choice.LEFT)] * 2 + [Ballot("b", "c", Choice.TIE)]
    found = rank(MODELS, [*ballots, Ballot("a", "gone", Choice.BOTH_BAD)])
    assert found.both_bad == share(2, 5)
    assert rank(MODELS, []).both_bad == share(0, 0)


def test_who_always_clicks_left_is_noticed_and_moves_nobody() -> None:
    rng = np.random.default_rng(5)
    pairs = [rng.choice(MODELS, 2, replace=False) for _ in range(80)]
    ballots = [Ballot(str(left), str(right), Choice.LEFT) for left, right in pairs]
    found = rank(MODELS, ballots)
    assert found.side_bias
    assert found.left.share == 1
    assert max(abs(one.strength) for one in found.standings) < 0.6


def test_a_model_that_always_wins_has_a_finite_strength() -> None:
    found = rank(("a", "b"), [Ballot("a", "b", Choice.LEFT)] * 30)
    assert found.standings[0].model == "a"
    assert math.isfinite(found.standings[0].strength)
    assert found.ahead
    assert found.standings[0].preferred.low > 0.85


def test_votes_on_models_that_are_gone_are_left_out() -> None:
    found = rank(("a", "b"), [Ballot("a", "gone", Choice.LEFT), Ballot("a", "b", Choice.RIGHT)])
    assert found.votes == 1
    assert rank(("a",), [Ballot("a", "b", Choice.LEFT)]).votes == 0


@given(st.floats(0, 1), st.integers(1, 500))
def test_the_interval_of_a_share_is_wilsons(part: float, count: int) -> None:
    wins = part * count
    found = share(wins, count)
    assert 0 <= found.low <= found.share + 1e-9
    assert found.share - 1e-9 <= found.high <= 1
    for bound in (found.low, found.high):  # its definition: the score test just rejects
        if 1e-6 < bound < 1 - 1e-6:
            score = abs(found.share - bound) / math.sqrt(bound * (1 - bound) / count)
            assert score == pytest.approx(1.959964, rel=1e-4)
