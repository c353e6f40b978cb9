"""Votes in the store: none is lost, none counts twice, and they go with their job."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from photoproc.errors import ServiceError
from photoproc.judging import Choice
from photoproc.store import Store
from photoproc.votebook import PER_RECORD, RESERVED_S, Slip, is_reserved
from tests.test_service import code_of
from tests.test_store import create
from tests.waiting import at_once

PAIRS = [(place, left, right) for place in range(400) for left, right in (("a", "b"), ("b", "a"))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    create(opened, "j", 3, models=("a", "b"))
    yield opened
    opened.close()


def handed(store: Store, voter: str, number: int, *, now: float = 10, job: str = "j") -> Slip:
    """A pair of its own for a voter."""
    token = f"{voter}{number}".encode().hex()
    slip = store.hand_out(job, voter, token=token, now=now, besides=(), choose=lambda _: PAIRS[number])
    assert slip is not None
    return slip


def test_a_vote_is_kept_as_it_was_given_also_by_the_next_server(store: Store, tmp_path: Path) -> None:
    slip = handed(store, "Ann", 0)
    assert store.votes("j") == []
    given = store.cast("j", slip.id, "Ann", Choice.LEFT, now=12.5)
    assert (given.choice, given.left, given.right) == (Choice.LEFT, "a", "b")
    again = Store(tmp_path / "store")
    (vote,) = again.votes("j")
    assert (vote.at, vote.voter, vote.place) == (12.5, "Ann", 0)
    assert (vote.left, vote.right, vote.choice) == ("a", "b", Choice.LEFT)
    again.close()


def test_what_is_said_twice_of_a_pair_is_one_vote_the_first(store: Store) -> None:
    slip = handed(store, "Ann", 0)
    first = store.cast("j", slip.id, "Ann", Choice.LEFT, now=12)
    assert store.cast("j", slip.id, "Ann", Choice.LEFT, now=13) == first
    assert store.cast("j", slip.id, "Ann", Choice.RIGHT, now=14) == first
    assert len(store.votes("j")) == store.votes_revision("j") == 1


def test_a_double_click_from_many_threads_is_one_vote(store: Store) -> None:
    slip = handed(store, "Ann", 0)
    at_once(*(partial(store.cast, "j", slip.id, "Ann", choice, now=12) for choice in [*Choice] * 3))
    assert len(store.votes("j")) == store.votes_revision("j") == 1


def test_no_vote_is_lost_where_many_vote_at_once(store: Store) -> None:
    count, voters = 40, [f"voter {number}" for number in range(6)]

    def act(voter: str, first: int) -> None:
        for number in range(first, first + count):
            slip = handed(store, voter, number)
            store.cast("j", slip.id, voter, Choice.TIE, now=number)

    at_once(*(partial(act, voter, count * place) for place, voter in enumerate(voters)))
    votes = store.votes("j")
    assert sorted((vote.place, vote.left) for vote in votes) == sorted(
        (place, left) for place, left, _ in PAIRS[: count * len(voters)]
    )
    assert store.votes_revision("j") == len(votes) == count * len(voters)


def test_only_its_voter_may_vote_on_a_pair_or_take_it_back(store: Store) -> None:
    slip = handed(store, "Ann", 0)
    assert code_of(lambda: store.cast("j", slip.id, "Ben", Choice.TIE, now=1)) == "ballot_gone"
    store.cast("j", slip.id, "Ann", Choice.TIE, now=1)
    assert code_of(lambda: store.take_back_vote("j", slip.id, "Ben", token="ff", now=2)) == "ballot_gone"
    assert len(store.votes("j")) == 1


def test_a_vote_taken_back_is_gone_and_what_comes_late_does_not_bring_it_back(store: Store) -> None:
    slip = handed(store, "Ann", 0)
    store.cast("j", slip.id, "Ann", Choice.LEFT, now=1)
    anew = store.take_back_vote("j", slip.id, "Ann", token="ff", now=2)
    assert store.votes("j") == []
    assert (anew.pair, anew.choice, anew.id != slip.id) == (slip.pair, None, True)
    assert code_of(lambda: store.cast("j", slip.id, "Ann", Choice.LEFT, now=3)) == "ballot_gone"
    assert code_of(lambda: store.take_back_vote("j", slip.id, "Ann", token="fe", now=3)) == "ballot_gone"
    store.cast("j", anew.id, "Ann", Choice.RIGHT, now=4)
    assert [vote.choice for vote in store.votes("j")] == [Choice.RIGHT]
    assert store.votes_revision("j") == 3


def test_a_deleted_job_takes_its_votes_along_and_gets_no_more(store: Store) -> None:
    slips = [handed(store, "Ann", number) for number in range(PER_RECORD + 3)]
    store.cast("j", slips[0].id, "Ann", Choice.LEFT, now=1)
    other = create(store, "k", 3, models=("a", "b"))
    kept = handed(store, "Ann", 0, job=other)
    store.cast(other, kept.id, "Ann", Choice.LEFT, now=1)
    store.delete_job("j")
    assert store.votes("j") == []
    assert not [key for key in store._db.cache.iterkeys() if key.startswith("ballots:j")]
    assert code_of(lambda: store.cast("j", slips[1].id, "Ann", Choice.LEFT, now=2)) == "ballot_gone"
    assert code_of(lambda: handed(store, "Ann", 1)) == "not_found"
    assert len(store.votes(other)) == 1


def test_records_stay_small_whatever_voters_and_models_are_called(store: Store) -> None:
    voter, left, right = "\U0001f4f7" * 60, "m" * 100, "n" * 100
    for number in range(2 * PER_RECORD):
        slip = store.hand_out(
            "j",
            voter,
            token="f" * 32,
            now=1.5e9 + 0.123456,
            besides=(),
            choose=lambda _: (10**6, left, right),
        )
        assert slip is not None
        store.cast("j", slip.id, voter, Choice.BOTH_BAD, now=1.5e9 + 0.654321)
        assert slip.id == f"{number:x}-{'f' * 32}"
    sizes = [
        len(json.dumps(store._db.cache[key], ensure_ascii=False).encode())
        for key in store._db.cache.iterkeys()
        if key.startswith("ballots:j:")
    ]
    assert len(sizes) == 2
    assert max(sizes) < 32 * 1024


def test_a_vote_whose_transaction_fails_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slip = handed(store, "Ann", 0)
    whole = type(store._db.cache).set

    def broken(cache: object, key: str, *args: object, **named: object) -> object:
        if key == "ballots:j":  # the last of what a vote writes
            raise sqlite3.OperationalError("disk I/O error")
        return whole(cache, key, *args, **named)

    monkeypatch.setattr(type(store._db.cache), "set", broken)
    with pytest.raises(ServiceError):
        store.cast("j", slip.id, "Ann", Choice.LEFT, now=1)
    monkeypatch.undo()
    assert (store.votes("j"), store.votes_revision("j")) == ([], 0)
    store.cast("j", slip.id, "Ann", Choice.LEFT, now=2)
    assert len(store.votes("j")) == 1


def test_who_hands_out_knows_of_all_that_is_handed_out_at_the_same_time(store: Store) -> None:
    def first_free(slips: Sequence[Slip]) -> tuple[int, str, str]:
        return PAIRS[2 * len({slip.place for slip in slips})]

    def act(voter: str) -> None:
        store.hand_out("j", voter, token=voter.encode().hex(), now=1, besides=(), choose=first_free)

    at_once(*(partial(act, f"voter {number}") for number in range(8)))
    found: list[Slip] = []
    store.hand_out("j", "x", token="00", now=1, besides=(), choose=lambda slips: found.extend(slips))
    assert sorted(slip.place for slip in found) == list(range(8))


def test_a_pair_is_reserved_for_minutes_and_longer_for_who_asks_again(store: Store) -> None:
    slip = handed(store, "Ann", 0, now=100)
    assert is_reserved(slip, 100 + RESERVED_S - 1)
    assert not is_reserved(slip, 100 + RESERVED_S)
    again = partial(store.hand_out, "j", "Ann", token="aa", choose=lambda slips: slips[0])
    renewed = again(now=100 + RESERVED_S - 1, besides=())
    assert renewed is not None
    assert (renewed.id, is_reserved(renewed, 100 + RESERVED_S + 60)) == (slip.id, True)
    store.hand_out("j", "Ann", token="bb", now=900, besides=(slip.id,), choose=lambda _: PAIRS[1])
    assert is_reserved(store.slip("j", slip.id), 1000)


def test_places_nobody_voted_on_for_a_day_are_given_anew(store: Store) -> None:
    old = handed(store, "Ann", 0, now=100)
    voted = handed(store, "Ann", 1, now=100)
    store.cast("j", voted.id, "Ann", Choice.TIE, now=101)
    for number in range(2, 5):
        handed(store, "Ben", number, now=100 + 2 * 86_400)
    assert store._head("j")["count"] == 4
    assert code_of(lambda: store.slip("j", old.id)) == "ballot_gone"
    assert store.slip("j", voted.id).choice is Choice.TIE


def test_a_pair_that_is_renewed_is_not_given_anew_in_the_same_breath(store: Store) -> None:
    old, at_hand = handed(store, "Ann", 0, now=100), handed(store, "Ann", 1, now=100)
    later = 100 + 2 * 86_400
    besides = (at_hand.id, old.id)
    fresh = store.hand_out("j", "Ann", token="aa", now=later, besides=besides, choose=lambda _: PAIRS[2])
    assert fresh is not None
    assert fresh.id not in besides
    for slip in (old, at_hand):
        store.cast("j", slip.id, "Ann", Choice.LEFT, now=later + 1)
    assert len(store.votes("j")) == 2


@pytest.mark.parametrize(
    "slip_id", ["", "-", "x-00", "0", "0-", "fffffff-00", "-1-00", "ffffffffffff-00", "0-é"]
)
def test_made_up_ids_are_not_found(store: Store, slip_id: str) -> None:
    handed(store, "Ann", 0)
    calls: list[Callable[[], object]] = [
        lambda: store.slip("j", slip_id),
        lambda: store.cast("j", slip_id, "Ann", Choice.TIE, now=1),
        lambda: store.take_back_vote("j", slip_id, "Ann", token="00", now=1),
    ]
    assert [code_of(call) for call in calls] == ["ballot_gone"] * 3
