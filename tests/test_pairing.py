"""Which pair is asked about next: the one that says most, never one the voter had, sides by a fair coin."""

import math
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc.pairing import Pair, between, next_pair, pairs_of, sides, worth

MODELS = ("a", "b", "c", "d")
PAIRS = pairs_of(dict.fromkeys(range(3), MODELS))
DISTANCES = st.none() | st.floats(0, 1)
KNOWN = st.dictionaries(st.sampled_from(PAIRS), DISTANCES)
SOME = st.sets(st.sampled_from(PAIRS))


@given(KNOWN, st.lists(st.sampled_from(PAIRS), max_size=30), SOME, SOME, st.text())
def test_what_comes_next_is_new_to_the_voter_and_nobody_elses_while_there_are_others(
    known: dict[Pair, float | None], asked: list[Pair], mine: set[Pair], reserved: set[Pair], seed: str
) -> None:
    found = next_pair(known, asked=asked, mine=mine, reserved=reserved, seed=seed)
    open_ = set(known) - mine
    assert (found is None) == (not open_)
    if found is not None:
        assert found in open_
        assert found not in reserved or open_ <= reserved
        assert found == next_pair(known, asked=asked, mine=mine, reserved=reserved, seed=seed)


@given(KNOWN, st.lists(st.sampled_from(PAIRS), max_size=30), st.text())
def test_nothing_that_is_open_is_worth_more(
    known: dict[Pair, float | None], asked: list[Pair], seed: str
) -> None:
    found = next_pair(known, asked=asked, mine=(), reserved=(), seed=seed)
    if found is None:
        return
    on_pair, on_models = Counter(asked), Counter(pair[1:] for pair in asked)
    for other in known:
        asked_less = on_pair[other] <= on_pair[found] and on_models[other[1:]] <= on_models[found[1:]]
        further, far = known[other], known[found]
        if asked_less and further is not None and far is not None:
            assert further <= far or math.isclose(further, far, abs_tol=1e-9)


@given(DISTANCES, st.integers(0, 50), st.integers(0, 50), st.floats(0, 1))
def test_worth_falls_with_every_vote_and_rises_with_disagreement(
    distance: float | None, on_photo: int, on_models: int, more: float
) -> None:
    here = worth(distance, on_photo, on_models)
    assert here > worth(distance, on_photo + 1, on_models)
    assert here > worth(distance, on_photo, on_models + 1)
    if distance is not None and more > distance:
        assert here < worth(more, on_photo, on_models) or math.isclose(more, distance)


@given(st.sampled_from(PAIRS), st.text())
def test_sides_are_the_two_models(pair: Pair, seed: str) -> None:
    assert sorted(sides(pair, seed)) == [pair.one, pair.other]
    assert Pair.of(pair.place, *sides(pair, seed)) == pair


def test_each_model_is_on_the_left_as_often_as_on_the_right() -> None:
    lefts = Counter(sides(PAIRS[0], f"{seed}")[0] for seed in range(2000))
    assert abs(lefts["a"] - 1000) < 4 * math.sqrt(500)


def test_voters_who_begin_at_once_begin_with_different_pairs() -> None:
    begun = {
        next_pair(dict.fromkeys(PAIRS), asked=(), mine=(), reserved=(), seed=f"{one}") for one in range(40)
    }
    assert len(begun) > len(PAIRS) / 2


def test_a_voter_is_asked_of_all_models_alike_and_of_the_worst_photos_first() -> None:
    known: dict[Pair, float | None] = {pair: 0.5 - pair.place / 10 for pair in PAIRS}
    asked: list[Pair] = []
    while (pair := next_pair(known, asked=asked, mine=asked, reserved=(), seed="s")) is not None:
        asked.append(pair)
    assert sorted(asked) == sorted(PAIRS)
    assert [pair.place for pair in asked] == [0] * 6 + [1] * 6 + [2] * 6
    assert all(len({pair[1:] for pair in asked[at : at + 6]}) == 6 for at in (0, 6, 12))


@given(st.lists(st.floats(0, 0.5), min_size=6, max_size=6), st.integers(2, 3))
def test_a_pairs_distance_follows_from_the_means_of_two_and_three(distances: list[float], count: int) -> None:
    names = MODELS[:count]
    apart_by = dict(zip(combinations(names, 2), distances, strict=False))
    apart = {name: sum(apart_by[two] for two in apart_by if name in two) / (count - 1) for name in names}
    for one, other in apart_by:
        assert between(apart, one, other) == pytest.approx(apart_by[one, other], abs=1e-9)


@given(st.lists(st.floats(0, 0.5), min_size=4, max_size=4))
def test_of_four_a_mask_that_is_far_from_all_is_far_in_each_pair(parts: list[float]) -> None:
    part = dict(zip(MODELS, parts, strict=True))
    apart = {one: sum(part[one] + part[two] for two in MODELS if two != one) / 3 for one in MODELS}
    for one, other in combinations(MODELS, 2):
        assert between(apart, one, other) == pytest.approx(part[one] + part[other], abs=1e-9)
