"""Which model to use: the sentence, its evidence, and when that is too thin."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from photoproc.comparison import ModelTimes, Spread
from photoproc.judging import Ballot, Choice, Ranking, rank
from photoproc.recommendation import Candidate, candidates, recommend
from photoproc.trial_result import ModelFigures, Trial, TrialPhoto, TrialState


def times(model: str, seconds: float | None, count: int = 20) -> ModelTimes:
    warm = None if seconds is None else Spread(count=count, mean=seconds, p50=seconds, p95=seconds)
    return ModelTimes(
        model=model, done=count, failed=0, kept=0, warm=warm, inference=warm, cold=None, load=None
    )


def voted(wins: Mapping[tuple[str, str], int]) -> Ranking:
    """A ranking by votes: how often the first of each two won."""
    ballots = [
        Ballot(*((one, other, Choice.LEFT) if number % 2 else (other, one, Choice.RIGHT)))
        for (one, other), count in wins.items()
        for number in range(count)
    ]
    return rank(sorted({name for pair in wins for name in pair}), ballots)


CLEAR = voted({("sharp", "small"): 33, ("small", "sharp"): 8})
BOTH = (times("sharp", 3.1), times("small", 1.0))


def test_the_preferred_model_is_named_with_its_evidence() -> None:
    said = recommend(candidates(BOTH, CLEAR), CLEAR)
    assert said.model == "sharp"
    assert said.sentence == (
        "sharp: preferred in 80 % of 41 votes [95 %: 66–90], takes 3.1 × as long as small, the fastest."
    )
    assert said.thin == ()


def test_the_weight_decides_between_models_of_the_front() -> None:
    found = candidates(BOTH, CLEAR)
    assert [one.on_front for one in found] == [True, True]
    assert recommend(found, CLEAR, weight=1).model == "sharp"
    fast = recommend(found, CLEAR, weight=0)
    assert fast.model == "small"
    assert fast.sentence.endswith("the fastest, 1.0 s a photo.")


def test_a_model_that_is_worse_and_slower_is_not_on_the_front() -> None:
    ranking = voted({("sharp", "small"): 20, ("small", "slow"): 20, ("sharp", "slow"): 20})
    found = candidates((*BOTH, times("slow", 9.0)), ranking)
    assert [one.on_front for one in found] == [True, True, False]


def test_without_votes_only_speed_is_compared_and_nothing_recommended() -> None:
    said = recommend(candidates(BOTH, None), None)
    assert said.model is None
    assert said.sentence == (
        "Nobody has voted yet, so nothing is known of quality. "
        "small is the fastest (1.0 s a photo), sharp takes 3.1 × as long."
    )
    nothing = recommend(candidates((times("sharp", None), times("small", None)), None), None)
    assert "all masks are from earlier runs" in nothing.sentence


def test_a_few_votes_are_too_early_to_say() -> None:
    few = voted({("sharp", "small"): 2, ("small", "sharp"): 1})
    said = recommend(candidates(BOTH, few), few, weight=1)
    assert said.sentence.startswith(
        "Too early to say after 3 votes. So far the votes speak for sharp: preferred in 67 % of 3 votes"
    )
    assert said.thin == ()
    untimed = candidates((times("sharp", None), times("small", 1.0)), few)
    for found, weight, why in (
        (candidates(BOTH, few), 0.5, "votes and speed together speak"),
        (candidates(BOTH, few), 0, "speed alone speaks"),
        (untimed, 0.5, "the votes speak"),
    ):
        assert f"So far {why} for" in recommend(found, few, weight=weight).sentence


def test_what_is_weak_is_said() -> None:
    alike = {("sharp", "fine"): 1, ("fine", "sharp"): 1}
    ranking = voted({("sharp", "small"): 40, ("fine", "small"): 40, **alike})
    found = candidates((*BOTH, times("fine", 5.0), times("new", 2.0, count=3)), ranking)
    said = recommend(found, ranking, weight=1)
    assert any(text.startswith("The votes do not tell it apart from") for text in said.thin)
    assert "new was not voted on." in said.thin
    assert "Times rest on few photos (new from 3)." in said.thin


def test_masks_of_an_earlier_run_have_no_time_and_a_trial_gives_one() -> None:
    kept = (times("sharp", None), times("small", None))
    said = recommend(candidates(kept, CLEAR), CLEAR)
    assert "its time is not known, since its masks are from an earlier run" in said.sentence
    assert said.thin == ("Speed is not weighed: sharp, small ran only in earlier jobs. Run a time trial.",)
    half = candidates((times("sharp", None), times("small", 1.0)), CLEAR)
    assert recommend(half, CLEAR, weight=0.1).model == "sharp", "it does not lose for want of a measurement"
    unvoted = candidates((times("sharp", None), times("small", 1.0)), None)
    assert "Times cannot be compared: sharp ran only in earlier jobs." in recommend(unvoted, None).sentence
    trial = {"sharp": (2.0, 24), "small": (0.5, 24)}
    assert "takes 4.0 × as long as small" in recommend(candidates(kept, CLEAR, trial), CLEAR).sentence


def test_a_model_without_a_time_is_said_to_have_done_what_it_did() -> None:
    once = Spread(count=2, mean=4.0, p50=4.0, p95=4.0)
    cold = replace(times("small", None, count=2), cold=once, load=once)
    none = times("broken", None, count=0)
    both = candidates((times("sharp", 3.0), cold), None)
    assert recommend(both, None).sentence == (
        "Nobody has voted yet, so nothing is known of quality. "
        "Times cannot be compared: small ran only with cold starts here. Run a time trial."
    )
    assert "there are none of small." in recommend(both, None, over=False).sentence
    every = recommend(candidates((cold, none, times("kept", None)), None), None).sentence
    assert every.endswith(
        "and nothing of times: small ran only with cold starts here; broken finished no photo here; "
        "kept ran only in earlier jobs. Run a time trial."
    )
    said = recommend(candidates((times("sharp", 3.0), cold), CLEAR), CLEAR, weight=0)
    assert said.thin == ("Speed is not weighed: small ran only with cold starts here. Run a time trial.",)
    votes = voted({("small", "sharp"): 33})
    assert (
        "since it ran only with cold starts here"
        in recommend(candidates((times("sharp", 3.0), cold), votes), votes).sentence
    )


def trial_of(took: Mapping[str, Sequence[float]], *, others: float = 0.0) -> Trial:
    """A time trial of one round, of so many seconds a photo."""
    figures = tuple(
        ModelFigures(
            model=name, cold={}, rounds=(tuple(one),), steps={}, provider="", threads=1, peak_bytes=None
        )
        for name, one in took.items()
    )
    return Trial(
        job_id="j",
        state=TrialState.DONE,
        models=tuple(took),
        photos=tuple(TrialPhoto(place=place, name=f"{place}.jpg") for place in range(8)),
        rounds=1,
        threads=1,
        started_at=0,
        figures=figures,
        others=(others,),
    )


def test_a_time_trial_says_how_much_longer_and_whether_at_all() -> None:
    found = candidates(BOTH, CLEAR)
    clear = trial_of({"small": [1.0] * 8, "sharp": [2.9, 2.9, 2.9, 3.0, 3.0, 3.0, 3.0, 3.0]})
    assert "takes 3.0 × as long as small" in recommend(found, CLEAR, trial=clear).sentence
    assert recommend(found, CLEAR, trial=clear).thin == ()
    few = trial_of({"small": [1.0] * 3, "sharp": [3.0] * 3})
    assert "takes 3.0 × as long as small" in recommend(found, CLEAR, trial=few).sentence
    unclear = trial_of({"small": [1.0] * 8, "sharp": [0.9, 1.4] * 4}, others=0.5)
    said = recommend(found, CLEAR, trial=unclear)
    assert "takes about as long as small" in said.sentence
    assert said.thin == ("Other work disturbed the time trial: its times may be too long.",)
    unvoted = recommend(candidates(BOTH, None), None, trial=unclear)
    assert said.thin[0] in unvoted.thin, "before the first vote as well"


def test_many_votes_for_neither_are_said() -> None:
    votes = [Ballot("sharp", "small", Choice.LEFT), *[Ballot("small", "sharp", Choice.BOTH_BAD)] * 2] * 30
    ranking = rank(["sharp", "small"], votes)
    said = recommend(candidates(BOTH, ranking), ranking, weight=1)
    assert "In 60 of 90 votes both were called bad." in said.thin


POINTS = st.tuples(st.floats(-3, 3), st.floats(0.01, 100))


@given(
    st.lists(POINTS, min_size=2, max_size=6, unique_by=lambda one: one[0]), st.floats(0, 1), st.floats(0, 1)
)
def test_what_is_recommended_is_never_worse_for_more_weight_on_quality(
    models: list[tuple[float, float]], one: float, other: float
) -> None:
    quality = {str(place): 1 / (1 + math.exp(-strength)) for place, (strength, _) in enumerate(models)}
    found = [
        Candidate(model=name, quality=quality[name], seconds=seconds, timed=9, on_front=True)
        for name, (_, seconds) in zip(quality, models, strict=True)
    ]
    less, more = (recommend(found, None, weight=weight).model for weight in sorted((one, other)))
    assert less is not None
    assert more is not None
    assert quality[more] >= quality[less] - 1e-9


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=2))
def test_on_the_front_is_what_no_other_beats(seconds: dict[str, float]) -> None:
    names = sorted(seconds)  # in which each is preferred to those after it
    wins = [Ballot(one, other, Choice.LEFT) for one in names for other in names if one < other]
    found = candidates([times(name, seconds[name]) for name in names], rank(names, wins))
    for one in found:
        better = [name for name in names if name < one.model]
        assert one.on_front is all(seconds[name] > seconds[one.model] for name in better)
