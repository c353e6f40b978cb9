"""What some runs say of how long something takes, and of how much longer than something else."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Interval = tuple[float, float]

_TAIL = 0.025


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
    """One takes `times` as long as the other: the median of run by run, with its 95 % interval.

    `interval` is None where the runs are too few to say.
    """

    slower: str
    faster: str
    times: float
    interval: Interval | None

    @property
    def told_apart(self) -> bool:
        """Whether the runs say that they differ at all."""
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]


def latency_s(seconds: Mapping[str, float]) -> float:
    """What a task took, by its steps, but for the check of certainty: jobs with and without it compare."""
    return sum(seconds.values()) - seconds.get("certainty", 0.0)


def median_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the median: from the k-th smallest value to the k-th largest.

    k is the largest with P(Binomial(n, 1/2) < k) ≤ 2.5 %, which is the sign test turned round (Conover,
    Practical Nonparametric Statistics, section 3.2): it covers the median in 95 % of cases or more, whatever
    the distribution. None of fewer than six values, which cannot.
    """
    count, below, k = len(values), 0.0, 0
    while k < count and (below := below + math.comb(count, k) / 2**count) <= _TAIL:
        k += 1
    if not k:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def times_as_long(these: Sequence[float], those: Sequence[float]) -> tuple[float, Interval | None]:
    """How many times as long these runs take as those, pair by pair, and the 95 % interval of that.

    The median of the ratios, taken of their logarithms, so that the other way round is just 1 divided
    by it. Seconds above 0, as many here as there, at least one.
    """
    logs = [math.log(one / other) for one, other in zip(these, those, strict=True)]
    interval = median_interval(logs)
    middle = math.exp(statistics.median(logs))
    return middle, None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))


def ratios(runs: Mapping[str, Sequence[float]]) -> list[Ratio]:
    """Every pair, the fastest (by its median) first; runs of the same place belong together."""
    fastest_first = sorted(
        (name for name in runs if runs[name]), key=lambda name: statistics.median(runs[name])
    )
    found = []
    for faster, slower in combinations(fastest_first, 2):
        times, interval = times_as_long(runs[slower], runs[faster])
        found.append(Ratio(slower=slower, faster=faster, times=times, interval=interval))
    return found
