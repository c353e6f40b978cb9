"""Which model to use, in a sentence with its evidence: what people preferred against what it takes.

Quality comes from blind votes alone. Disagreement of masks says where to look, never who is right, so it has
no part in this.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from photoproc.comparison import ModelTimes
from photoproc.timings import Ratio
from photoproc.trial_result import Trial

if TYPE_CHECKING:  # its module loads what only children need
    from photoproc.judging import Ranking, Share

_FEW_TIMES = 5
"""Times of fewer photos than this are called thin evidence."""
_COLD = "ran only with cold starts here"
_NONE_DONE = "finished no photo here"
_KEPT = "ran only in earlier jobs"
"""Why there is no time of a model with which photos were finished: all its masks are from earlier runs."""
_ALIKE = 1.05
"""Times that differ by less are called the same, where no time trial says more."""
_DISTURBED = ("Other work disturbed the time trial: its times may be too long.",)
WEIGHT = 0.7
"""What quality weighs against speed where nobody chose: people who compare care about their pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model as it is weighed.

    `quality` is the chance that it is preferred to another of these models, drawn at random, with its 95 %
    interval from `low` to `high` (`Standing.chance`). None without votes. `seconds` is the median of a photo
    with the model loaded, on `timed` photos; None where it never ran here so, and `why_untimed` says why.
    `on_front`: no other is both as good and as fast (Pareto), and better in one.
    """

    model: str
    quality: float | None = None
    low: float = 0.0
    high: float = 1.0
    preferred: "Share | None" = None
    seconds: float | None = None
    timed: int = 0
    why_untimed: str = _KEPT
    on_front: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to use. `model` is None where nothing can be said; `thin` has the reasons to doubt it."""

    model: str | None
    sentence: str
    thin: tuple[str, ...]
    weight: float


def candidates(
    times: Sequence[ModelTimes],
    ranking: "Ranking | None",
    alone: Mapping[str, tuple[float, int]] | None = None,
) -> tuple[Candidate, ...]:
    """The models of a comparison, in their order.

    `alone` has the median seconds of those that ran in a time trial, and on how many photos; they go
    before those of the job, where models shared the machine.
    """
    alone = alone or {}
    strengths = {} if ranking is None or not ranking.votes else {one.model: one for one in ranking.standings}
    found = []
    for one in times:
        seconds, timed = alone.get(one.model, (one.warm.p50, one.warm.count) if one.warm else (None, 0))
        candidate = Candidate(model=one.model, seconds=seconds, timed=timed, why_untimed=_why_untimed(one))
        if (mine := strengths.get(one.model)) is not None and len(strengths) > 1:
            candidate = replace(
                candidate,
                quality=mine.chance,
                low=mine.chance_low,
                high=mine.chance_high,
                preferred=mine.preferred,
            )
        found.append(candidate)
    return tuple(replace(one, on_front=_on_front(one, found)) for one in found)


def recommend(
    models: Sequence[Candidate],
    ranking: "Ranking | None",
    *,
    weight: float = WEIGHT,
    trial: Trial | None = None,
    over: bool = True,
) -> Recommendation:
    """The model for a weight of quality against speed, 0 (speed alone) to 1 (quality alone).

    It has the largest weight × quality + (1 − weight) × (fastest time ÷ its time), among those on the front.
    A time trial says how much longer one takes, and whether it does. `over`: the job has ended.
    """
    ratios = () if trial is None else trial.ratios
    timed = [one for one in models if one.seconds is not None]
    judged = [one for one in models if one.quality is not None]
    fastest = min(timed, key=_seconds, default=None)
    disturbed = _DISTURBED if trial is not None and trial.disturbed else ()
    if not judged:
        found = _by_time(models, timed, fastest, weight, ratios, over=over)
        return replace(found, thin=(*found.thin, *disturbed))
    weighs = len(timed) == len(models)  # or a model would lose for want of a measurement

    def worth(one: Candidate) -> float:
        speed = 0.0 if fastest is None or not weighs else _seconds(fastest) / _seconds(one)
        return weight * (one.quality or 0.0) + (1 - weight) * speed

    best = max(
        [one for one in judged if one.on_front or not weighs] or judged,
        key=lambda one: (worth(one), one.quality),
    )
    thin = (*_doubts(best, models, ranking), *disturbed)
    said = f"{best.model}: {_evidence(best, fastest if weighs else None, ratios)}."
    if ranking is not None and not ranking.enough:
        why = "the votes speak" if weight == 1 or not weighs else "votes and speed together speak"
        why = "speed alone speaks" if weight == 0 and weighs else why
        said = f"Too early to say after {_count(ranking.votes, 'vote')}. So far {why} for {said}"
    return Recommendation(model=best.model, sentence=said, thin=thin, weight=weight)


def _by_time(
    models: Sequence[Candidate],
    timed: Sequence[Candidate],
    fastest: Candidate | None,
    weight: float,
    ratios: Sequence[Ratio],
    *,
    over: bool,
) -> Recommendation:
    """What can be said before the first vote."""
    nobody = "Nobody has voted yet, so nothing is known of quality"
    if fastest is None and not over:
        said = f"{nobody}; there are no times yet."
        return Recommendation(model=None, sentence=said, thin=(), weight=weight)
    if fastest is None:
        kept = all(one.why_untimed == _KEPT for one in models)
        why = "all masks are from earlier runs" if kept else _untimed(models)
        said = f"{nobody}, and nothing of times: {why}. Run a time trial."
        return Recommendation(model=None, sentence=said, thin=(), weight=weight)
    if len(timed) < len(models):
        said = f"{nobody}. Times cannot be compared: {_untimed(models)}. Run a time trial."
        if not over:
            names = ", ".join(one.model for one in models if one.seconds is None)
            said = f"{nobody}. Times cannot be compared yet: there are none of {names}."
        return Recommendation(model=None, sentence=said, thin=(), weight=weight)
    others = [one for one in sorted(timed, key=_seconds) if one is not fastest]
    said = f"{nobody}. {fastest.model} is the fastest ({_short(_seconds(fastest))} a photo)"
    said += "".join(f", {one.model} takes {_times_as_long(one, fastest, ratios)}" for one in others) + "."
    return Recommendation(model=None, sentence=said, thin=_few(timed), weight=weight)


def _evidence(best: Candidate, fastest: Candidate | None, ratios: Sequence[Ratio]) -> str:
    share = best.preferred
    parts = []
    if share is not None and share.total:
        interval = f"[95 %: {share.low * 100:.0f}–{share.high * 100:.0f}]"
        parts.append(f"preferred in {share.share * 100:.0f} % of {_count(share.total, 'vote')} {interval}")
    if best.seconds is None:
        kept = best.why_untimed == _KEPT
        why = "its masks are from an earlier run" if kept else f"it {best.why_untimed}"
        parts.append(f"its time is not known, since {why}")
    elif fastest is best:
        parts.append(f"the fastest, {_short(best.seconds)} a photo")
    elif fastest is None:
        parts.append(f"{_short(best.seconds)} a photo")
    elif fastest is not None:
        parts.append(f"takes {_times_as_long(best, fastest, ratios)} as {fastest.model}, the fastest")
    return ", ".join(parts)


def _doubts(best: Candidate, models: Sequence[Candidate], ranking: "Ranking | None") -> tuple[str, ...]:
    """What is weak in the evidence, a sentence each."""
    found = []
    if ranking is not None and ranking.enough and not ranking.ahead:
        first, second, *_ = (one.model for one in ranking.standings)
        if best.model in (first, second):
            other = second if best.model == first else first
            found.append(f"The votes do not tell it apart from {other}.")
    if ranking is not None and (bad := sum(one.bad for one in ranking.standings) // 2) > ranking.votes / 4:
        found.append(f"In {bad} of {_count(ranking.votes, 'vote')} both were called bad.")
    found += [f"{one.model} was not voted on." for one in models if one.quality is None]
    return (*found, *_few(models))


def _few(models: Sequence[Candidate]) -> tuple[str, ...]:
    if any(one.seconds is None for one in models):
        return (f"Speed is not weighed: {_untimed(models)}. Run a time trial.",)
    few = [one for one in models if one.timed < _FEW_TIMES]
    words = ", ".join(f"{one.model} from {one.timed}" for one in few)
    return (f"Times rest on few photos ({words}).",) if few else ()


def _why_untimed(times: ModelTimes) -> str:
    """What is so of a model without a time."""
    if times.cold is not None:
        return _COLD
    return _KEPT if times.done else _NONE_DONE


def _untimed(models: Sequence[Candidate]) -> str:
    """Models without a time, and why: `a, b ran only in earlier jobs; c finished no photo here`."""
    names: dict[str, list[str]] = {}
    for one in models:
        if one.seconds is None:
            names.setdefault(one.why_untimed, []).append(one.model)
    return "; ".join(f"{', '.join(those)} {why}" for why, those in names.items())


def _on_front(one: Candidate, models: Sequence[Candidate]) -> bool:
    """Whether no other is at least as good in both and better in one; what is unknown cannot be better."""

    def place(other: Candidate) -> tuple[float, float]:
        return (-1.0 if other.quality is None else other.quality, -_seconds(other))

    quality, speed = place(one)
    return not any(
        better >= quality and faster >= speed and (better, faster) != (quality, speed)
        for better, faster in map(place, models)
    )


def _seconds(one: Candidate) -> float:
    return math.inf if one.seconds is None else one.seconds


def _times_as_long(one: Candidate, fastest: Candidate, ratios: Sequence[Ratio]) -> str:
    """`3.1 × as long`; `as long` where they take the same, as far as is known."""
    timed = next((two for two in ratios if (two.slower, two.faster) == (one.model, fastest.model)), None)
    times = _seconds(one) / max(1e-9, _seconds(fastest)) if timed is None else timed.times
    # A trial of too few photos has no interval, and says as little of others as a job does.
    alike = times < _ALIKE if timed is None or timed.interval is None else not timed.told_apart
    return "about as long" if alike else f"{times:.1f} × as long"


def _short(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def _count(count: float, word: str) -> str:
    return f"{count:.0f} {word}{'' if count == 1 else 's'}"
