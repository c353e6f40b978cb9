"""From votes to a ranking: Bradley–Terry strengths with what is known of them, and whether sides biased it.

`rank` runs in a child process: choix, scipy and numpy are not the server's to load. It knows the words only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import permutations
from math import inf, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Z = 1.959964
"""The normal distribution's 97.5 % quantile: intervals hold 95 %."""
_ROUNDS = 400
"""Of the bootstrap."""
_TINY = 0.01
"""Of a win, for every two models each way: strengths stay finite, also of votes that leave a pair out."""


class Choice(StrEnum):
    """What somebody said of two cutouts of one photo."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both_bad"


class Ballot(NamedTuple):
    """Which models were on which side, and what was said."""

    left: str
    right: str
    choice: Choice


class Share(NamedTuple):
    """A share with its 95 % interval, and of how many."""

    share: float
    low: float
    high: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model among those that were voted on.

    `strength` is the Bradley–Terry parameter, natural logarithm, with mean 0 over the models; `low` to `high`
    its bootstrap 95 % interval. `preferred` is how often it was preferred where it was shown, with Wilson's
    interval: a tie counts half, and so does a vote that both were bad. `bad` counts those that both were bad.
    `chance` is that of being preferred to another of the models drawn at random, the mean of
    1 ÷ (1 + exp(sⱼ − sᵢ)) over the others' strengths s, with its interval by the same bootstrap: strengths
    move together, so it is not that of the strength's ends.
    """

    model: str
    strength: float
    low: float
    high: float
    preferred: Share
    bad: int
    chance: float = 0.5
    chance_low: float = 0.0
    chance_high: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The models, best first. `enough`: the votes tell at least two of them apart, with 95 % for all pairs.

    `ahead`: they tell the first from the second. `left` is how often the left side won where one did.
    """

    standings: tuple[Standing, ...]
    votes: int
    enough: bool
    ahead: bool
    left: Share

    @property
    def both_bad(self) -> Share:
        """In how many of all votes both were called bad: it tells none apart, and that none is good."""
        return share(sum(one.bad for one in self.standings) // 2, self.votes)

    @property
    def side_bias(self) -> bool:
        """Whether people chose one side more often than chance explains: the exact binomial test, both sides,
        at 5 %."""
        count = round(self.left.total)
        fewer = min(round(self.left.share * count), count - round(self.left.share * count))
        ways, term = 0, 1
        for number in range(fewer + 1):
            ways += term
            term = term * (count - number) // (number + 1)
        return bool(40 * ways <= 1 << count)


def rank(
    models: Sequence[str], ballots: Sequence[Ballot], *, seed: int = 0, rounds: int = _ROUNDS
) -> Ranking:
    """Rank models by votes on pairs of them: Bradley and Terry 1952, fitted by Maystre and Grossglauser's
    I-LSR (2015) as choix has it.

    A tie, and two that are both bad, count half a win for each (Davidson's ties would need a parameter of
    their own). Intervals are percentiles of fits to votes drawn anew with replacement (Efron 1979). Before
    the first vote, each of two models has won once: three votes of one mind prove nothing yet.
    """
    import numpy as np

    names = list(dict.fromkeys(models))
    place = {name: number for number, name in enumerate(names)}
    known = [one for one in ballots if one.left in place and one.right in place and one.left != one.right]
    before = list(permutations(range(len(names)), 2))
    sides = np.array([*before, *((place[one.left], place[one.right]) for one in known)], int).reshape(-1, 2)
    left = np.array([*(1.0 for _ in before), *(_points(one.choice) for one in known)])
    fitted = _fit(len(names), sides, left)
    drawn = np.random.default_rng(seed)
    again = np.array(
        [
            _fit(len(names), sides[some], left[some])
            for some in (drawn.integers(0, len(left), len(left)) for _ in range(rounds if known else 0))
        ]
    ).reshape(-1, len(names))
    order = np.argsort(-fitted, kind="stable")
    chance, chances = _chances(fitted[None])[0], _chances(again)
    apart = _apart(again[:, order])
    return Ranking(
        standings=tuple(
            replace(
                _standing(names[one], fitted[one], again[:, one], known),
                chance=float(chance[one]),
                chance_low=float(np.percentile(chances[:, one], 2.5)) if len(again) else 0.0,
                chance_high=float(np.percentile(chances[:, one], 97.5)) if len(again) else 1.0,
            )
            for one in order
        ),
        votes=len(known),
        enough=any(apart),
        ahead=bool(apart) and apart[0],
        left=share(
            sum(one.choice is Choice.LEFT for one in known),
            sum(one.choice in (Choice.LEFT, Choice.RIGHT) for one in known),
        ),
    )


def share(wins: float, count: float) -> Share:
    """A share of `count` with Wilson's score interval of 95 % (1927)."""
    if not count:
        return Share(0.5, 0.0, 1.0, 0)
    part, square = wins / count, _Z * _Z
    middle = (part + square / (2 * count)) / (1 + square / count)
    reach = _Z / (1 + square / count) * sqrt(part * (1 - part) / count + square / (4 * count * count))
    return Share(part, max(0.0, middle - reach), min(1.0, middle + reach), count)


def _points(choice: Choice) -> float:
    """The left side's part of a win."""
    return {Choice.LEFT: 1.0, Choice.RIGHT: 0.0}.get(choice, 0.5)


def _fit(count: int, sides: "NDArray[np.int_]", left: "NDArray[np.float64]") -> "NDArray[np.float64]":
    import choix
    import numpy as np

    if count < 2:
        return np.zeros(count)
    wins = np.full((count, count), _TINY)
    np.fill_diagonal(wins, 0)
    np.add.at(wins, (sides[:, 0], sides[:, 1]), left)
    np.add.at(wins, (sides[:, 1], sides[:, 0]), 1 - left)
    found: NDArray[np.float64] = np.array(choix.ilsr_pairwise_dense(wins, max_iter=1000, tol=1e-6))
    found -= found.mean()
    return found


def _chances(strengths: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Of each model to be preferred to another: rounds × models, as the strengths are."""
    import numpy as np

    count = strengths.shape[1]
    if count < 2:
        return np.full_like(strengths, 0.5)
    pairs = 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))
    found: NDArray[np.float64] = (pairs.sum(axis=2) - 0.5) / (count - 1)  # without itself
    return found


def _apart(again: "NDArray[np.float64]") -> list[bool]:
    """Which pairs of models the votes tell apart: (0, 1), (0, 2), …, by their bootstrapped strengths
    (rounds × models).

    All pairs together are told apart wrongly in 5 % of cases, however many they are: percentile intervals
    of all differences, as much wider as it takes for 95 % of rounds to be within all of them at once (Mandel
    and Betensky 2008). A pair is told apart where its interval leaves out 0.
    """
    import numpy as np

    rounds, count = again.shape
    one, other = np.triu_indices(count, 1)
    if not rounds or not len(one):
        return [False] * len(one)
    drawn = again[:, one] - again[:, other]
    rank = drawn.argsort(axis=0).argsort(axis=0)
    furthest = np.maximum(rank, rounds - 1 - rank).max(axis=1)
    last = int(np.quantile(furthest, 0.95, method="higher"))
    drawn.sort(axis=0)
    return [bool(far) for far in (drawn[rounds - 1 - last] > 0) | (drawn[last] < 0)]


def _standing(name: str, strength: float, again: "NDArray[np.float64]", known: Sequence[Ballot]) -> Standing:
    import numpy as np

    low, high = np.percentile(again, (2.5, 97.5)) if len(again) else (-inf, inf)
    mine = [ballot for ballot in known if name in (ballot.left, ballot.right)]
    points = (_points(one.choice) if one.left == name else 1 - _points(one.choice) for one in mine)
    return Standing(
        model=name,
        strength=float(strength),
        low=float(low),
        high=float(high),
        preferred=share(sum(points), len(mine)),
        bad=sum(ballot.choice is Choice.BOTH_BAD for ballot in mine),
    )
