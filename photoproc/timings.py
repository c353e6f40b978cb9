"""What some runs say of how long something takes, and of how much longer than something else."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Interval = tuple[float, float]
Rounds = Sequence[Sequence[float]]
"""Seconds above 0, by round and photo; every round has the same photos in the same order."""

_TAIL = 0.025
_CHECK = "certainty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Seconds of several runs; quantiles are interpolated between them (Hyndman and Fan's type 7)."""

    count: int
    mean: float
    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread | None":
        """None of none."""
        if not seconds:
            return None
        cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else []
        p50, p95 = (cuts[49], cuts[94]) if cuts else (seconds[0], seconds[0])
        return cls(count=len(seconds), mean=statistics.fmean(seconds), p50=p50, p95=p95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One takes `times` as long as the other: the median over photos, with its 95 % interval.

    The interval is about photos like these; None where they are too few to say.
    """

    slower: str
    faster: str
    times: float
    interval: Interval | None

    @property
    def told_apart(self) -> bool:
        """Whether the photos say that they differ at all."""
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]


def latency_s(seconds: Mapping[str, float]) -> float:
    """How long a photo took, of its steps: their sum without “certainty”.

    That step looks at the photo again, to check a mask that is there already; no cutout waits for it
    where nobody asks for the check.
    """
    return math.fsum(took for step, took in seconds.items() if step != _CHECK)


def by_photo(rounds: Rounds) -> list[float]:
    """The median of each photo over the rounds: its runs are nearly the same, so it counts once."""
    return [statistics.median(runs) for runs in zip(*rounds, strict=True)]


def median_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the median of what these are drawn from, one independently of the other.

    It goes from the k-th smallest to the k-th largest, where k is the largest with
    P(Binomial(n, 1/2) < k) ≤ 2.5 %, which is the sign test turned round (Conover, Practical Nonparametric
    Statistics, section 3.2): it covers the median in 95 % of cases or more, whatever the distribution. None
    of fewer than six values, which cannot.
    """
    count, below, k = len(values), 0.0, 0
    while k < count and (below := below + math.comb(count, k) / 2**count) <= _TAIL:
        k += 1
    if not k:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def times_as_long(these: Rounds, those: Rounds) -> tuple[float, Interval | None]:
    """How many times as long these runs take as those, and the 95 % interval of that.

    A photo's ratio is the median of its ratios round by round; the whole is the median of the photos', and
    the interval that of their median (see `median_interval`), so it is about photos like these. All of
    logarithms, so that the other way round is just 1 divided by it. As many rounds and photos here as
    there, at least one.
    """
    logs = by_photo([_log_ratios(one, other) for one, other in zip(these, those, strict=True)])
    interval = median_interval(logs)
    middle = math.exp(statistics.median(logs))
    return middle, None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))


def ratios(runs: Mapping[str, Rounds]) -> list[Ratio]:
    """Every pair of those with a run, the fastest (by the median of its photos) first."""
    typical = {name: statistics.median(photos) for name in runs if (photos := by_photo(runs[name]))}
    found = []
    for faster, slower in combinations(sorted(typical, key=typical.__getitem__), 2):
        times, interval = times_as_long(runs[slower], runs[faster])
        found.append(Ratio(slower=slower, faster=faster, times=times, interval=interval))
    return found


def _log_ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [math.log(one / other) for one, other in zip(these, those, strict=True)]
