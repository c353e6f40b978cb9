"""The store: nothing acknowledged is lost, nothing is published twice, no count is off."""

import itertools
import pickle
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diskcache
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from photoproc.errors import Problem, ServiceError
from photoproc.jobs import Counts, Cutout, Extra, JobState, Photo, Refusal, TaskState, Warn
from photoproc.recipe import Recipe
from photoproc.records import Claim, Outcome
from photoproc.store import Store
from tests.waiting import at_once

DONE = Outcome(state=TaskState.DONE)
FAILED = Outcome(state=TaskState.FAILED, problem=Problem(code="x", message="x"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


RACES = 1000


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = Store(folder)
    yield opened
    opened.close()


def photos(count: int) -> list[Photo]:
    return [
        Photo(name=f"{n}.jpg", sha256=f"{n:064x}", byte_count=n, format="JPEG", size_wh=(n, 2 * n))
        for n in range(count)
    ]


def create(
    store: Store, name: str, count: int = 1, models: tuple[str, ...] = ("u2net",), key: str | None = None
) -> str:
    return store.create_job(
        job_id=name,
        title=name,
        recipe=Recipe(models=models),
        photos=photos(count),
        refused=(),
        now=1,
        key=key,
    )


class Claimer:
    """Claims for an owner, with a fresh token each time."""

    def __init__(self, store: Store, owner: str = "me") -> None:
        self.store, self.owner, self.tokens = store, owner, 0

    def __call__(self, *models: str) -> Claim | None:
        self.tokens += 1
        token = f"{self.owner}-{self.tokens}"
        return self.store.claim(self.owner, models or ("u2net",), token=token, now=2)

    def must(self, *models: str) -> Claim:
        claim = self(*models)
        assert claim is not None
        return claim


def count_of(store: Store, job_id: str) -> Counts:
    return store.job(job_id).counts


# Submitting


def test_a_created_job_is_found_with_all_that_was_given(store: Store) -> None:
    given = [
        Photo(
            name="a/ü.jpg",
            sha256="f" * 64,
            byte_count=7,
            format="PNG",
            size_wh=(3, 4),
            output="a/ü",
            warnings=(Warn(code="renamed", message="m"),),
        )
    ]
    refusal = Refusal(name="bad.txt", problem=Problem(code="not_a_picture", message="no", advice="do"))
    recipe = Recipe(models=("u2net", "u2netp"))
    store.create_job(job_id="j", title="t", recipe=recipe, photos=given, refused=[refusal], now=5)
    job = store.job("j")
    assert (job.title, job.created_at, job.recipe, job.photo_count) == ("t", 5, recipe, 1)
    assert job.refused == (refusal,)
    assert job.state is JobState.QUEUED
    assert list(store.photos("j")) == given
    assert [(task.model, task.photo) for task in store.tasks("j")] == [
        ("u2net", given[0]),
        ("u2netp", given[0]),
    ]


def test_jobs_are_listed_newest_first_over_many_pages(store: Store) -> None:
    names = [f"{n}" for n in range(120)]
    for name in names:
        create(store, name)
    store.delete_job("60")
    assert list(store.job_ids()) == [name for name in reversed(names) if name != "60"]


def test_photos_and_tasks_are_in_order_over_many_pages(store: Store) -> None:
    create(store, "j", 120, ("u2net", "u2netp"))
    assert [photo.name for photo in store.photos("j")] == [f"{n}.jpg" for n in range(120)]
    chosen = [0, 99, 100, 101, 239]
    assert [(task.number, task.photo.name, task.model) for task in store.tasks("j", chosen)] == [
        (n, f"{n // 2}.jpg", ("u2net", "u2netp")[n % 2]) for n in chosen
    ]


def test_the_same_key_gives_the_same_job(store: Store) -> None:
    assert create(store, "one", key="k") == "one"
    assert create(store, "two", key="k") == "one"
    assert store.job_of_key("k") == "one"
    assert list(store.job_ids()) == ["one"]
    store.delete_job("one")
    assert store.job_of_key("k") is None
    assert create(store, "two", key="k") == "two"


def test_the_same_key_from_two_threads_at_once_gives_one_job(store: Store) -> None:
    for key in map(str, range(20)):
        made: list[str] = []
        at_once(
            *(
                partial(lambda name, key, made: made.append(create(store, name, key=key)), name, key, made)
                for name in (f"{key}-1", f"{key}-2")
            )
        )
        assert len(made) == 2
        assert len(set(made)) == 1
    assert len(list(store.job_ids())) == 20


def test_a_job_that_cannot_be_recorded_leaves_nothing(store: Store) -> None:
    broken = Photo(name="x", sha256="y", byte_count=1, format="PNG", size_wh=(1, 1), output=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.create_job(
            job_id="j", title="", recipe=Recipe(models=("u2net",)), photos=[broken], refused=(), now=1
        )
    assert list(store.job_ids()) == []
    assert Claimer(store)() is None


# Claiming


def test_tasks_are_claimed_in_order_and_once(store: Store) -> None:
    create(store, "j", 3)
    claim = Claimer(store)
    assert [claim.must().number for _ in range(3)] == [0, 1, 2]
    assert claim() is None
    assert count_of(store, "j") == Counts(running=3)


def test_a_claim_carries_what_running_it_takes(store: Store) -> None:
    create(store, "j", 60, ("u2net", "u2netp"))
    claim = Claimer(store, "me")
    for _ in range(55):
        claim.must("u2netp")
    last = claim.must("u2netp")
    assert (last.job_id, last.number, last.model, last.attempt) == ("j", 111, "u2netp", 1)
    assert last.photo == photos(60)[55]
    assert last.recipe == Recipe(models=("u2net", "u2netp"))
    assert {(task.owner, task.cancelled) for task in store.running()} == {("me", False)}


def test_jobs_take_turns(store: Store) -> None:
    for name in "abc":
        create(store, name, 3)
    claim = Claimer(store)
    assert [claim.must().job_id for _ in range(9)] == list("abcabcabc")


def test_a_small_job_does_not_wait_for_a_large_one(store: Store) -> None:
    create(store, "large", 100)
    claim = Claimer(store)
    claim.must()
    create(store, "small", 1)
    assert "small" in [claim.must().job_id for _ in range(2)]


def test_a_model_that_is_not_ready_blocks_nobody(store: Store) -> None:
    create(store, "waits", 2, ("bria-rmbg",))
    create(store, "mixed", 2, ("bria-rmbg", "u2net"))
    create(store, "runs", 2, ("u2net",))
    claim = Claimer(store)
    found = [claim.must("u2net") for _ in range(4)]
    assert Counter(one.job_id for one in found) == {"mixed": 2, "runs": 2}
    assert claim("u2net") is None
    assert store.queued_models(["u2net", "bria-rmbg"]) == ["bria-rmbg"]
    assert [claim.must("u2net", "bria-rmbg").job_id for _ in range(4)] == ["waits", "mixed"] * 2


def test_a_model_whose_name_continues_another_has_its_own_queue(store: Store) -> None:
    create(store, "j", 1, ("x-5",))
    claim = Claimer(store)
    assert claim("x") is None
    assert claim("x-5") is not None


@pytest.mark.parametrize("end", [Store.cancel, Store.delete_job])
def test_a_model_nobody_waits_for_any_more_is_not_asked_for(
    store: Store, end: Callable[..., object], folder: Path
) -> None:
    create(store, "j", 2, ("bria-rmbg",))
    assert store.queued_models(["bria-rmbg"]) == ["bria-rmbg"]
    end(store, "j", now=3) if end is Store.cancel else end(store, "j")
    assert store.queued_models(["bria-rmbg"]) == []


# Publishing and giving back


def test_publishing_completes_a_task_and_its_job(store: Store) -> None:
    create(store, "j", 2)
    claim = Claimer(store)
    first, second = claim.must(), claim.must()
    sheet = Extra(kind="sheet_pdf", file="s", sha256="t", byte_count=30)
    cutout = Cutout(file="f", preview="p", before="b", sha256="s", byte_count=9, size_wh=(1, 2))
    face = Cutout(
        file="g", preview="q", before="c", sha256="u", byte_count=1, size_wh=(3, 4), face=2, extras=(sheet,)
    )
    outcome = Outcome(
        state=TaskState.DONE,
        cutouts=(cutout, face),
        warnings=(Warn(code="w", message="m"),),
        seconds={"inference": 1.5},
        provider="CPU",
        mask_from_cache=True,
        peak_bytes=700_000_000,
        threads=2,
    )
    assert store.publish(first, outcome, now=10)
    assert store.job("j").state is JobState.RUNNING
    assert store.publish(second, FAILED, now=11)
    job = store.job("j")
    assert (job.state, job.started_at, job.finished_at, job.output_bytes) == (JobState.DONE, 2, 11, 40)
    assert job.counts == Counts(done=1, failed=1, needs_look=1)
    done, failed = store.tasks("j")
    assert (done.cutouts, done.warnings, done.seconds) == ((cutout, face), outcome.warnings, outcome.seconds)
    assert (done.provider, done.mask_from_cache, done.finished_at) == ("CPU", True, 10)
    assert (done.peak_bytes, done.threads, failed.peak_bytes) == (700_000_000, 2, None)
    assert (failed.state, failed.problem) == (TaskState.FAILED, FAILED.problem)
    assert store.running() == []


def test_what_an_earlier_version_kept_has_no_memory_and_threads(store: Store) -> None:
    create(store, "j", 1)
    assert store.publish(Claimer(store).must(), DONE, now=3)
    with store._db.change() as cache:
        kept = cache.get("task:j:0")
        for name in ("peak_bytes", "threads"):
            del kept["outcome"][name]
        cache.set("task:j:0", kept)
    (task,) = store.tasks("j")
    assert (task.state, task.peak_bytes, task.threads) == (TaskState.DONE, None, None)


def work_a_second(store: Store, at: Iterator[int], tasks: int) -> None:
    """Claim and publish so many tasks, one a second."""
    for _ in range(tasks):
        begun = store.claim("me", ["u2net"], token=f"work-{(now := next(at))}", now=now)
        assert begun is not None
        assert store.publish(begun, DONE, now=now + 1)


def test_speed_and_time_left_leave_out_when_the_server_was_down(store: Store) -> None:
    create(store, "j", 20)
    work_a_second(store, itertools.count(100), 8)
    assert store.claim("me", ["u2net"], token="lost", now=108) is not None
    assert store.take_back("me", beat=store.heartbeats(["me"])["me"], max_lost=3, now=1300) == 1
    work_a_second(store, itertools.count(1301), 2)
    job = store.job("j")
    assert (job.photos_per_s, job.remaining_s) == (1.0, 10.0)
    work_a_second(store, itertools.count(1303), 10)
    assert store.job("j").took_s == 20


def test_a_task_that_is_tried_again_much_later_adds_what_it_takes_alone(store: Store) -> None:
    create(store, "j", 2)
    for number, (now, outcome) in enumerate(((100.0, DONE), (101.0, FAILED))):
        begun = store.claim("me", ["u2net"], token=str(number), now=now)
        assert begun is not None
        assert store.publish(begun, outcome, now=now + 0.5)
    assert store.job("j").took_s == 1.5
    store.retry("j", (TaskState.FAILED,), now=1300)
    assert store.job("j").took_s is None
    again = store.claim("me", ["u2net"], token="again", now=1301)
    assert again is not None
    assert store.publish(again, DONE, now=1302)
    assert store.job("j").took_s == 2.5


def test_gaps_in_which_other_jobs_have_their_turn_are_time_it_took(store: Store) -> None:
    create(store, "j", 4)
    for number in range(4):
        begun = store.claim("me", ["u2net"], token=str(number), now=100 + 5 * number)
        assert begun is not None
        assert store.publish(begun, DONE, now=101 + 5 * number)
    job = store.job("j")
    assert (job.photos_per_s, job.took_s, job.paused_s) == (0.2, 16, 0)


def uncertain(value: float) -> Outcome:
    """A task that is done, but whose model disagrees with itself."""
    return replace(DONE, uncertainty=value, warnings=(Warn(code="uncertain", message="m"),))


def test_which_tasks_are_uncertain_is_known_without_reading_them_and_forgotten_with_the_job(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoproc.ledger._UNCERTAIN_PER_RECORD", 5)
    create(store, "j", 14)
    claim = Claimer(store)
    certain = replace(DONE, uncertainty=0.02)
    for number in range(13):
        outcome = {3: uncertain(0.5), 12: uncertain(0.75), 7: certain}.get(number, DONE)
        assert store.publish(claim.must(), outcome, now=3)
    assert store.uncertain("j") == {3: 0.5, 12: 0.75}
    found = [task.uncertainty for task in store.tasks("j", [3, 7, 8, 12, 13])]
    assert found == [0.5, 0.02, None, 0.75, None]
    assert store.job("j").counts.needs_look == 2
    store.delete_job("j")
    with pytest.raises(ServiceError):
        store.uncertain("j")
    ((left,),) = store._db.cache._sql("SELECT COUNT(*) FROM Cache WHERE key LIKE 'uncertain:%'").fetchall()
    assert left == 0


def test_a_job_of_which_nothing_succeeded_has_failed(store: Store) -> None:
    create(store, "j", 1)
    store.publish(Claimer(store).must(), FAILED, now=3)
    assert store.job("j").state is JobState.FAILED


def test_a_cancellation_and_a_completion_at_once_end_as_one_of_them(store: Store) -> None:
    ends: Counter[JobState] = Counter()
    for number in range(RACES):
        name = create(store, f"{number:032x}")
        claim, counted = Claimer(store, f"o{number}").must(), list[bool]()
        at_once(
            lambda claim=claim, counted=counted: counted.append(store.publish(claim, DONE, now=3)),  # type: ignore[misc]
            lambda name=name: store.cancel(name, now=3),  # type: ignore[misc]
        )
        job = store.job(name)
        ends[job.state] += 1
        assert job.counts == (Counts(done=1) if counted == [True] else Counts(cancelled=1))
        assert job.state is (JobState.DONE if counted == [True] else JobState.CANCELLED)
    assert store.running() == []
    assert set(ends) <= {JobState.DONE, JobState.CANCELLED}
    assert ends.total() == RACES


def test_publishing_twice_counts_once_and_changes_nothing(store: Store) -> None:
    create(store, "j", 2)
    claim = Claimer(store).must()
    assert store.publish(claim, DONE, now=3)
    before = store.job("j")
    assert store.publish(claim, FAILED, now=4)  # the caller may not delete what was published
    assert store.job("j") == before
    assert next(store.tasks("j")).state is TaskState.DONE


def test_a_claim_that_was_taken_back_cannot_publish(store: Store) -> None:
    create(store, "j", 1)
    stale = Claimer(store, "dead").must()
    store.take_back("dead", beat=store.heartbeats(["dead"])["dead"], max_lost=9, now=3)
    assert not store.publish(stale, DONE, now=4)
    fresh = Claimer(store, "alive").must()
    assert not store.publish(stale, DONE, now=5)
    assert not store.give_back(stale, charge=True, now=5)
    assert count_of(store, "j") == Counts(running=1)
    assert store.publish(fresh, DONE, now=6)
    assert not store.publish(stale, DONE, now=7)
    assert count_of(store, "j") == Counts(done=1)


def test_a_given_back_task_is_claimed_again_and_charged_if_asked(store: Store) -> None:
    create(store, "j", 1)
    claim = Claimer(store)
    first = claim.must()
    assert store.give_back(first, charge=True, now=3)
    second = claim.must()
    assert store.give_back(second, charge=False, now=4)
    third = claim.must()
    assert (first.attempt, second.attempt, third.attempt) == (1, 2, 2)
    assert not store.publish(first, DONE, now=5)
    assert next(store.tasks("j")).attempts == 2


# Leases


def test_tasks_of_a_lost_owner_are_queued_again_uncharged(store: Store) -> None:
    create(store, "j", 3)
    lost = Claimer(store, "lost")
    lost.must()
    lost.must()
    kept = Claimer(store, "kept").must()
    assert store.take_back("lost", beat=store.heartbeats(["lost"])["lost"], max_lost=9, now=3) == 2
    assert count_of(store, "j") == Counts(queued=2, running=1)
    assert [Claimer(store, "next").must().attempt for _ in range(2)] == [1, 1]
    assert store.publish(kept, DONE, now=4)


def test_an_owner_whose_heart_beats_meanwhile_keeps_its_tasks(store: Store) -> None:
    create(store, "j", 2)
    claim = Claimer(store, "slow")
    claim.must()
    seen = store.heartbeats(["slow"])["slow"]
    store.heartbeat("slow")
    assert store.take_back("slow", beat=seen, max_lost=9, now=3) == 0
    seen = store.heartbeats(["slow"])["slow"]
    claim.must()  # claiming is a sign of life as well
    assert store.take_back("slow", beat=seen, max_lost=9, now=3) == 0
    assert count_of(store, "j") == Counts(running=2)


def test_a_task_that_ends_every_server_is_charged_in_the_end(store: Store) -> None:
    create(store, "j", 1)
    attempts = []
    for number in range(4):
        owner = f"server-{number}"
        attempts.append(Claimer(store, owner).must().attempt)
        store.take_back(owner, beat=store.heartbeats([owner])[owner], max_lost=2, now=3)
    assert attempts == [1, 1, 1, 2]


# Cancelling, retrying, deleting


def test_cancelling_ends_queued_tasks_at_once_and_running_ones_unpublished(store: Store) -> None:
    create(store, "j", 3)
    claim = Claimer(store)
    done, running = claim.must(), claim.must()
    store.publish(done, DONE, now=3)
    store.cancel("j", now=4)
    assert store.job("j").state is JobState.CANCELLING
    assert count_of(store, "j") == Counts(done=1, running=1, cancelled=1)
    assert [task.cancelled for task in store.running()] == [True]
    assert not store.publish(running, DONE, now=5)
    job = store.job("j")
    assert (job.state, job.counts, job.finished_at) == (
        JobState.CANCELLED,
        Counts(done=1, cancelled=2),
        5,
    )
    store.cancel("j", now=6)
    assert store.job("j") == job
    assert claim() is None


def test_a_cancelled_job_takes_a_given_back_task_for_cancelled(store: Store) -> None:
    create(store, "j", 1)
    claim = Claimer(store).must()
    store.cancel("j", now=3)
    store.give_back(claim, charge=False, now=4)
    assert store.job("j").state is JobState.CANCELLED
    assert Claimer(store)() is None


def test_cancelling_what_is_finished_changes_nothing(store: Store) -> None:
    create(store, "j", 1)
    store.publish(Claimer(store).must(), DONE, now=3)
    before = store.job("j")
    store.cancel("j", now=4)
    assert store.job("j") == before


def test_retrying_queues_failed_tasks_afresh(store: Store) -> None:
    create(store, "j", 3)
    claim = Claimer(store)
    store.publish(claim.must(), FAILED, now=3)
    store.publish(claim.must(), DONE, now=3)
    store.publish(claim.must(), FAILED, now=3)
    assert store.retry("j", [TaskState.FAILED], now=4) == [0, 2]
    job = store.job("j")
    assert (job.state, job.counts, job.finished_at) == (JobState.RUNNING, Counts(queued=2, done=1), None)
    assert next(store.tasks("j")).problem is None
    again = [claim.must(), claim.must()]
    assert [(one.number, one.attempt) for one in again] == [(0, 1), (2, 1)]
    for one in again:
        store.publish(one, DONE, now=5)
    assert store.job("j").state is JobState.DONE
    assert store.retry("j", [TaskState.FAILED], now=6) == []


def test_a_cancelled_job_is_retried_once_nothing_of_it_runs(store: Store) -> None:
    create(store, "j", 2)
    running = Claimer(store).must()
    store.cancel("j", now=3)
    with pytest.raises(ServiceError) as caught:
        store.retry("j", [TaskState.CANCELLED], now=4)
    assert caught.value.problem.code == "job_cancelling"
    store.publish(running, DONE, now=5)
    assert store.retry("j", [TaskState.CANCELLED], now=6) == [0, 1]
    claim = Claimer(store, "next")
    assert [store.publish(claim.must(), DONE, now=7) for _ in range(2)] == [True, True]
    assert store.job("j").state is JobState.DONE


def test_a_deleted_job_is_gone_and_what_runs_for_it_publishes_nothing(store: Store, folder: Path) -> None:
    create(store, "other", 1)
    create(store, "j", 60, ("u2net", "u2netp"), key="k")
    claim = Claimer(store)
    running = claim.must("u2netp")
    store.delete_job("j")
    assert not store.publish(running, DONE, now=3)
    assert not store.give_back(running, charge=False, now=3)
    assert list(store.job_ids()) == ["other"]
    assert [claim.must("u2net", "u2netp").job_id, claim("u2net", "u2netp")] == ["other", None]
    for read in (store.job, store.states, lambda j: list(store.tasks(j)), lambda j: list(store.photos(j))):
        with pytest.raises(ServiceError) as caught:
            read("j")
        assert caught.value.problem.code == "not_found"
    with sqlite3.connect(folder / "cache.db") as database:
        rows = database.execute("SELECT key FROM Cache WHERE key LIKE '%:j%' OR key LIKE 'key:%'").fetchall()
    database.close()
    assert [key for (key,) in rows if not key.startswith("jobs:")] == []


def test_photos_of_a_job_deleted_meanwhile_are_not_silently_fewer(store: Store) -> None:
    create(store, "j", 60)
    reading = store.photos("j")
    assert next(reading).name == "0.jpg"
    store.delete_job("j")
    with pytest.raises(ServiceError):
        list(reading)


def test_a_renamed_job_keeps_all_else(store: Store) -> None:
    create(store, "j", 2)
    store.rename("j", "new")
    assert store.job("j").title == "new"
    assert count_of(store, "j") == Counts(queued=2)


# At the same time


def test_eight_threads_run_each_of_300_tasks_exactly_once(store: Store) -> None:
    for name in "abc":
        create(store, name, 100)
    published: list[tuple[str, int]] = []

    def run(owner: str) -> None:
        claim = Claimer(store, owner)
        while (claimed := claim()) is not None:
            if claim.tokens % 7 == 0:
                assert store.give_back(claimed, charge=False, now=3)
            elif store.publish(claimed, DONE, now=3):
                published.append((claimed.job_id, claimed.number))

    at_once(*(lambda owner=f"t{n}": run(owner) for n in range(8)))
    assert sorted(published) == [(name, n) for name in "abc" for n in range(100)]
    assert [count_of(store, name) for name in "abc"] == [Counts(done=100)] * 3
    assert store.running() == []


def test_cancel_against_completion_leaves_one_state_and_exact_counts(store: Store) -> None:
    for name in (f"j{number}" for number in range(200)):
        create(store, name, 2)
        claim = Claimer(store, name).must()
        told: list[bool] = []

        def finish(claim: Claim = claim, told: list[bool] = told) -> None:
            told.append(store.publish(claim, DONE, now=3))

        at_once(finish, partial(store.cancel, name, now=3))
        job = store.job(name)
        assert job.counts == (Counts(done=1, cancelled=1) if told == [True] else Counts(cancelled=2))
        assert (job.state, job.finished_at) == (JobState.CANCELLED, 3)
    assert store.running() == []


# On disk


def test_reopening_finds_everything(store: Store, folder: Path) -> None:
    create(store, "j", 3, key="k")
    create(store, "waits", 1, ("u2netp",))
    claim = Claimer(store)
    store.publish(claim.must(), DONE, now=3)
    running = claim.must()
    before = (store.job("j"), list(store.tasks("j")), store.running(), list(store.job_ids()))
    store.close()
    again = Store(folder)
    assert (again.job("j"), list(again.tasks("j")), again.running(), list(again.job_ids())) == before
    assert again.job_of_key("k") == "j"
    assert again.queued_models(["u2netp"]) == ["u2netp"]
    assert again.publish(running, DONE, now=4)
    again.close()


def test_a_new_store_knows_that_it_never_held_a_job(store: Store) -> None:
    assert store.untouched
    create(store, "j")
    store.delete_job("j")
    assert not store.untouched


def test_nothing_is_evicted_and_every_commit_is_synced_also_after_reopening(folder: Path) -> None:
    for _ in range(2):
        store = Store(folder)
        create(store, f"j{time.monotonic_ns()}")
        with sqlite3.connect(folder / "cache.db") as database:
            kept = dict(database.execute("SELECT key, value FROM Settings"))
        database.close()
        wanted = {"eviction_policy": "none", "cull_limit": 0, "statistics": 0, "sqlite_synchronous": 2}
        assert {name: kept[name] for name in wanted} == wanted
        asked: list[tuple[object, object]] = []

        def ask(store: Store = store, asked: list[tuple[object, object]] = asked) -> None:
            sql = store._db.cache._sql
            asked.append(tuple(sql(f"PRAGMA {n}").fetchone()[0] for n in ("journal_mode", "synchronous")))
            store.close()

        at_once(ask, ask)  # each thread has a connection of its own
        ask()
        assert asked == [("wal", 2)] * 3


def test_a_database_that_does_not_keep_the_settings_is_refused(
    folder: Path,
) -> None:
    Store(folder).close()
    with sqlite3.connect(folder / "cache.db") as database:
        # As a program would that shares the folder: what is written to the table comes out otherwise.
        database.execute(
            "CREATE TRIGGER meddle AFTER INSERT ON Settings WHEN NEW.key = 'cull_limit' "
            "BEGIN UPDATE Settings SET value = 10 WHERE key = 'cull_limit'; END"
        )
        database.execute(
            "CREATE TRIGGER meddle2 AFTER UPDATE ON Settings WHEN NEW.key = 'cull_limit' AND NEW.value != 10 "
            "BEGIN UPDATE Settings SET value = 10 WHERE key = 'cull_limit'; END"
        )
    database.close()
    with pytest.raises(ServiceError) as caught:
        Store(folder)
    assert caught.value.problem.code == "store_settings"


def test_a_file_system_that_gives_no_write_ahead_log_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = diskcache.Cache.reset

    def ignoring(cache: Any, key: str, *args: Any, **options: Any) -> Any:
        if key == "sqlite_journal_mode" and args:  # SQLite keeps the old mode and raises nothing
            return setattr(cache, key, args[0])
        return reset(cache, key, *args, **options)

    monkeypatch.setattr(diskcache.Cache, "reset", ignoring)
    with pytest.raises(ServiceError) as caught:
        Store(folder)
    assert caught.value.problem.code == "store_settings"


def test_only_this_user_may_look_into_the_folder(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    Store(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


class Bomb:
    """Unpickling it says so."""

    went_off = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return Bomb.explode, ()

    @staticmethod
    def explode() -> None:
        Bomb.went_off = True


@pytest.mark.parametrize("filename", [None, "planted.val"])
def test_a_planted_pickle_is_refused_and_never_unpickled(
    store: Store, folder: Path, filename: str | None
) -> None:
    create(store, "j")
    load = pickle.dumps(Bomb())
    (folder / "planted.val").write_bytes(load)
    with sqlite3.connect(folder / "cache.db") as database:
        for mode in (1, 2, 3, 4):
            database.execute(
                "UPDATE Cache SET mode = ?, filename = ?, value = ? WHERE key = 'job:j'",
                (mode, filename, load if filename is None else None),
            )
            database.commit()
            with pytest.raises(ServiceError) as caught:
                store.job("j")
            assert caught.value.problem.code == "store_foreign"
    database.close()
    assert not Bomb.went_off


def test_large_records_stay_in_the_synced_database(store: Store, folder: Path) -> None:
    create(store, "j", 2000)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".db", ".db-wal", ".db-shm"}


# In trouble


@contextmanager
def locked_elsewhere(folder: Path) -> Iterator[None]:
    """Another process holds the write lock."""
    code = (
        "import sqlite3, sys; con = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "con.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder / "cache.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield
        other.communicate(b"")


def test_while_another_process_writes_reads_work_and_writes_say_busy_in_time(
    store: Store, folder: Path
) -> None:
    create(store, "j", 2)
    claim = Claimer(store).must()
    took: list[float] = []

    def write(action: Callable[[], object]) -> None:
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            action()
        took.append(time.monotonic() - started)
        assert caught.value.problem.code == "store_busy"

    def read() -> None:
        started = time.monotonic()
        assert store.job("j").counts == Counts(queued=1, running=1)
        assert len(list(store.tasks("j"))) == 2
        assert len(store.running()) == 1
        assert time.monotonic() - started < 1
        store.close()

    with locked_elsewhere(folder):
        spent = time.process_time()
        at_once(
            lambda: write(lambda: store.publish(claim, DONE, now=3)),
            lambda: write(lambda: store.cancel("j", now=3)),
            lambda: write(lambda: create(store, "k")),
            read,
        )
        assert time.process_time() - spent < 1, "waiting must not spin"
    assert len(took) == 3
    assert max(took) <= 5.5
    assert store.publish(claim, DONE, now=4)
    create(store, "k")
    assert count_of(store, "j") == Counts(queued=1, done=1)


def test_a_full_disk_is_said_to_be_one_and_the_change_is_undone(store: Store) -> None:
    create(store, "j", 2)
    claim = Claimer(store).must()
    ((pages,),) = store._db.cache._sql("PRAGMA page_count").fetchall()
    store._db.cache._sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ServiceError) as caught:
        create(store, "large", 3000)
    assert caught.value.problem.code == "disk_full"
    assert list(store.job_ids()) == ["j"]
    store._db.cache._sql(f"PRAGMA max_page_count = {pages + 100_000}")
    assert store.publish(claim, DONE, now=3)
    create(store, "large", 3000)
    assert count_of(store, "large") == Counts(queued=3000)


def test_a_commit_that_fails_leaves_the_store_open_to_others(store: Store, folder: Path) -> None:
    create(store, "j", 1)
    store._db.cache._sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    store._db.cache._sql("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    store._db.cache._sql("PRAGMA foreign_keys = ON")
    with pytest.raises(ServiceError), store._db.change() as cache:
        cache._sql("INSERT INTO child VALUES (1)")  # found out by COMMIT only
    other = Store(folder)
    assert Claimer(other).must().job_id == "j"
    other.close()
    store.rename("j", "still writable")


def test_a_store_that_may_not_be_written_says_so_at_once(store: Store) -> None:
    create(store, "j", 1)
    store._db.cache._sql("PRAGMA query_only = ON")
    started = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        store.rename("j", "x")
    assert caught.value.problem.code == "store_failed"
    assert time.monotonic() - started < 1


# All of it in any order


def test_events_are_numbered_without_gaps_and_read_from_any_point(store: Store) -> None:
    create(store, "j", 50)
    for number in range(50):
        claim = store.claim("a", ["u2net"], token=f"t{number}", now=number)
        assert claim is not None
        assert store.publish(claim, DONE, now=number)
    for after in (0, 1, 31, 32, 33, 63, 64, 99, 100):
        found = store.events("j", after=after, limit=7)
        assert [event.cursor for event in found] == list(range(after + 1, min(100, after + 7) + 1))
    assert store.events("j", after=0, limit=10_000)[-1].state is JobState.DONE
    with pytest.raises(ServiceError, match="no such job"):
        store.events("gone", after=0, limit=1)


def test_thousands_that_move_at_once_are_one_short_event(store: Store) -> None:
    create(store, "j", 5000)
    store.cancel("j", now=1)
    (event,) = store.events("j", after=0, limit=10)
    assert event.numbers == tuple(range(5000))
    assert event.state is JobState.CANCELLED
    ((kept,),) = store._db.cache._sql(
        "SELECT MAX(LENGTH(value)) FROM Cache WHERE key = 'events:j:0'"
    ).fetchall()
    assert kept < 300


def test_the_log_of_a_job_that_is_older_than_the_log_itself_has_a_gap_and_no_wrong_numbers(
    store: Store,
) -> None:
    create(store, "j", 40)
    for number in range(35):
        assert store.claim("a", ["u2net"], token=f"t{number}", now=1)
    store._db.cache.delete("events:j:0")
    store._db.cache.delete("events:j:1")
    assert store.claim("a", ["u2net"], token="t", now=1)
    assert [event.cursor for event in store.events("j", after=35, limit=9)] == [36]
    assert [event.cursor for event in store.events("j", after=33, limit=9)] == [36]
    assert store.events("j", after=3, limit=9) == []


def test_a_deleted_job_leaves_no_event(store: Store) -> None:
    create(store, "j", 40)
    for number in range(40):
        assert store.claim("a", ["u2net"], token=f"t{number}", now=1)
    store.delete_job("j")
    ((left,),) = store._db.cache._sql("SELECT COUNT(*) FROM Cache WHERE key LIKE 'events:%'").fetchall()
    assert left == 0


def test_a_job_can_be_finished_without_a_model(store: Store) -> None:
    create(store, "j", 3, ("u2net", "bria-rmbg"))
    for number in range(3):
        claim = store.claim("a", ["u2net"], token=f"t{number}", now=1)
        assert claim is not None
        store.publish(claim, DONE, now=1)
    assert store.leave_out("j", "bria-rmbg", now=2) == [1, 3, 5]
    job = store.job("j")
    assert (job.state, job.counts.done, job.counts.skipped) == (JobState.DONE, 3, 3)
    (task,) = store.tasks("j", [1])
    assert task.problem is not None
    assert task.problem.code == "model_left_out"
    assert store.queued_models(["bria-rmbg"]) == []
    assert store.retry("j", [TaskState.SKIPPED], now=3) == [1, 3, 5]
    assert store.claim("a", ["bria-rmbg"], token="again", now=4) is not None


def test_jobs_are_read_on_from_one_of_them(store: Store) -> None:
    names = [create(store, f"{n:03}") for n in range(120)]
    newest = list(reversed(names))
    for place in (0, 49, 50, 68, 119):
        cursor = store.cursor(newest[place])
        assert list(store.job_ids(after=cursor)) == newest[place + 1 :]
    cursor = store.cursor(newest[30])
    for name in newest[:31]:  # as who cleans up page by page does
        store.delete_job(name)
    assert list(store.job_ids(after=cursor)) == newest[31:]


def test_a_cursor_that_somebody_made_up_costs_no_more_than_a_true_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [create(store, f"{n:03}") for n in range(120)]
    read: list[str] = []
    get = store._db.get

    def counted(key: str, default: object = None) -> Any:
        read.append(key)
        return get(key, default)

    monkeypatch.setattr(store._db, "get", counted)
    assert set(store.job_ids(after=f"999999999-7-{'0' * 32}")) <= set(names)
    assert len(read) < 10


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of operations, the store agrees with a model made of plain dictionaries."""

    models = ("u2net", "u2netp")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "store")
        self.states: dict[str, list[str]] = {}
        self.cancelled: set[str] = set()
        self.claims: list[tuple[Claim, str]] = []
        self.live: dict[str, tuple[str, int]] = {}  # token -> its task
        self.made = self.tokens = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.states)))

    @rule(count=st.integers(1, 4), models=st.sampled_from([("u2net",), ("u2netp",), ("u2net", "u2netp")]))
    def submit(self, count: int, models: tuple[str, ...]) -> None:
        self.made += 1
        name = create(self.store, f"j{self.made}", count, models)
        self.states[name] = ["queued"] * (count * len(models))

    @rule(models=st.sampled_from([("u2net",), ("u2netp",), ("u2netp", "u2net")]), owner=st.sampled_from("ab"))
    def claim(self, models: tuple[str, ...], owner: str) -> None:
        self.tokens += 1
        token = f"t{self.tokens}"
        claim = self.store.claim(owner, models, token=token, now=self.tokens)
        if claim is None:
            waiting = {
                task.model
                for name, states in self.states.items()
                for task in self.store.tasks(name)
                if states[task.number] == "queued"
            }
            assert not waiting & set(models)
            return
        assert claim.model in models
        assert self.states[claim.job_id][claim.number] == "queued"
        self.states[claim.job_id][claim.number] = "running"
        self.claims.append((claim, owner))
        self.live[token] = (claim.job_id, claim.number)

    def settle(self, claim: Claim, state: str) -> bool:
        """What the model says of ending a claim with this state; whether it counts."""
        if self.live.pop(claim.token, None) is None:
            return False
        counts = claim.job_id not in self.cancelled
        self.states[claim.job_id][claim.number] = state if counts else "cancelled"
        return counts

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), state=st.sampled_from([TaskState.DONE, TaskState.FAILED, TaskState.SKIPPED]))
    def publish(self, data: st.DataObject, state: TaskState) -> None:
        claim, _ = data.draw(st.sampled_from(self.claims))
        was_live = claim.token in self.live
        counted = self.settle(claim, state.value)
        told = self.store.publish(claim, Outcome(state=state), now=5)
        assert told == counted or not was_live  # a second time is told what the first was

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), charge=st.booleans())
    def give_back(self, data: st.DataObject, charge: bool) -> None:
        claim, _ = data.draw(st.sampled_from(self.claims))
        held = claim.token in self.live
        self.settle(claim, "queued")
        assert self.store.give_back(claim, charge=charge, now=5) == held

    @rule(owner=st.sampled_from("ab"))
    def take_back(self, owner: str) -> None:
        beat = self.store.heartbeats([owner])[owner]
        lost = [claim for claim, of in self.claims if of == owner and claim.token in self.live]
        assert self.store.take_back(owner, beat=beat, max_lost=3, now=5) == len(lost)
        for claim in lost:
            self.settle(claim, "queued")

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = self.pick(data)
        self.store.cancel(name, now=5)
        states = self.states[name]
        if "queued" in states or "running" in states:
            self.cancelled.add(name)
            self.states[name] = ["cancelled" if state == "queued" else state for state in states]

    @precondition(lambda self: self.states)
    @rule(data=st.data(), model=st.sampled_from(models))
    def leave_out(self, data: st.DataObject, model: str) -> None:
        name = self.pick(data)
        left = [task.number for task in self.store.tasks(name) if task.model == model]
        left = [number for number in left if self.states[name][number] == "queued"]
        assert self.store.leave_out(name, model, now=5) == left
        for number in left:
            self.states[name][number] = "skipped"

    @precondition(lambda self: self.states)
    @rule(data=st.data(), which=st.sampled_from([("failed",), ("cancelled",), ("failed", "skipped")]))
    def retry(self, data: st.DataObject, which: tuple[str, ...]) -> None:
        name = self.pick(data)
        states, chosen = self.states[name], [TaskState(one) for one in which]
        if name in self.cancelled and "running" in states:
            with pytest.raises(ServiceError):
                self.store.retry(name, chosen, now=5)
            return
        again = self.store.retry(name, chosen, now=5)
        assert again == [number for number, state in enumerate(states) if state in which]
        if again:
            self.cancelled.discard(name)
            self.states[name] = ["queued" if state in which else state for state in states]

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self.pick(data)
        self.store.delete_job(name)
        del self.states[name]
        self.live = {token: task for token, task in self.live.items() if task[0] != name}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(Path(self.folder.name) / "store")

    @invariant()
    def agrees(self) -> None:
        assert set(self.store.job_ids()) == set(self.states) >= set(self.store.unfinished())
        for name, states in self.states.items():
            job = self.store.job(name)
            assert [task.state.value for task in self.store.tasks(name)] == states
            assert job.counts == Counts(**Counter(states))
            finished = job.counts.done + job.counts.failed + job.counts.skipped + job.counts.cancelled
            submitted = job.photo_count * len(job.recipe.task_models)
            assert submitted == finished + job.counts.queued + job.counts.running
            assert job.state.final == (finished == submitted) == (job.finished_at is not None)
            assert job.state.final == (name not in self.store.unfinished())
        assert {(one.job_id, one.number) for one in self.store.running()} == set(self.live.values())

    @invariant()
    def the_log_tells_the_whole_story(self) -> None:
        for name, states in self.states.items():
            told = ["queued"] * len(states)
            job = self.store.job(name)
            log = self.store.events(name, after=0, limit=10_000)
            assert [event.cursor for event in log] == list(range(1, job.revision + 1))
            for event in log:
                for number in event.numbers:
                    told[number] = event.to.value
                assert event.counts == Counts(**Counter(told))
            assert told == states
            if log:
                assert (log[-1].state, log[-1].counts) == (job.state, job.counts)

    @invariant()
    def nothing_is_forgotten_in_the_queues(self) -> None:
        queued = {
            task.model
            for name in self.states
            for task in self.store.tasks(name)
            if not task.state.final and task.state is TaskState.QUEUED
        }
        assert set(self.store.queued_models(self.models)) == queued


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
