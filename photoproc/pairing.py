"""Which two cutouts a voter is asked about next, and which of them is on the left.

Asking is dear, so the pair that says most comes first: masks that are nearly the same can hardly be told
apart by anybody, and what was asked often is known already.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from random import Random
from typing import NamedTuple

UNKNOWN = 0.1
"""The disagreement of masks that were not compared yet: worth asking before those known to be alike."""
_ALIKE = 0.01
"""Added to each disagreement: pairs of equal masks still differ in how often they were asked about."""


class Pair(NamedTuple):
    """Two models' cutouts of the photo at a place of a job; `one` comes before `other` in the alphabet."""

    place: int
    one: str
    other: str

    @classmethod
    def of(cls, place: int, left: str, right: str) -> "Pair":
        """The pair of two models, given in any order."""
        one, other = sorted((left, right))
        return cls(place, one, other)


def pairs_of(rows: Mapping[int, Sequence[str]]) -> list[Pair]:
    """All pairs, of the models that have a cutout of the photo at each place."""
    return [Pair.of(place, *two) for place, models in rows.items() for two in combinations(models, 2)]


def between(apart: Mapping[str, float], one: str, other: str) -> float:
    """How far two masks of a photo are apart, told by how far each of n is from the others in the mean.

    For two and three masks it is exact. For more it is the least-squares solution where a pair's distance
    is a part of one mask plus a part of the other: ((n − 1)(a₁ + a₂) − Σa) ÷ (n − 2), within 0 and 1.
    """
    count = len(apart)
    if count < 3:
        return apart[one]
    found = ((count - 1) * (apart[one] + apart[other]) - sum(apart.values())) / (count - 2)
    return min(1.0, max(0.0, found))


def worth(disagreement: float | None, on_photo: int, on_models: int) -> float:
    """What a vote on a pair may tell: more the further the masks are apart, less with every vote on this
    pair, and with every vote on its models over those on the two models asked about least."""
    distance = UNKNOWN if disagreement is None else disagreement
    return (distance + _ALIKE) / ((1 + on_photo) * (1 + on_models))


def next_pair(
    known: Mapping[Pair, float | None],
    *,
    asked: Sequence[Pair],
    mine: Collection[Pair],
    reserved: Collection[Pair],
    seed: str,
) -> Pair | None:
    """The pair worth most of those a voter has not had; None where he has had all.

    `known` has the pairs there are with the disagreement of their masks, `asked` a pair for each vote and
    for each that somebody looks at, `mine` those the voter has had, `reserved` those others look at, which
    come last. Among equals the seed decides.
    """
    open_ = [pair for pair in known if pair not in mine]
    open_ = [pair for pair in open_ if pair not in reserved] or open_
    if not open_:
        return None
    on_photo, on_models = dict(Counter(asked)), dict(Counter((pair.one, pair.other) for pair in asked))
    least = min(on_models.get(models, 0) for models in {(pair.one, pair.other) for pair in known})
    value = [
        worth(known[pair], on_photo.get(pair, 0), on_models.get((pair.one, pair.other), 0) - least)
        for pair in open_
    ]
    most = max(value)
    return Random(seed).choice([pair for pair, its in zip(open_, value, strict=True) if its == most])  # noqa: S311  # no secret


def sides(pair: Pair, seed: str) -> tuple[str, str]:
    """The models on the left and on the right: a fair coin, thrown by the seed."""
    return (pair.one, pair.other) if Random(f"sides {seed}").random() < 0.5 else (pair.other, pair.one)  # noqa: S311
