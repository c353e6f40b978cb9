"""Finished jobs go when their time is over, whatever the clock does; what is deleted leaves nothing."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc.blobs import Blobs
from photoproc.child import Report
from photoproc.errors import Problem, ServiceError
from photoproc.housekeeping import GRACE_S, Housekeeper
from photoproc.jobs import JobState
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.test_service import Desk, code_of

DAY_S = 24 * 3600.0
KEPT_S = 14 * DAY_S


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    made = Desk(settings)
    yield made
    made.store.close()


def keeper(desk: Desk) -> Housekeeper:
    return Housekeeper(desk.service, desk.clock)


def days(desk: Desk, house: Housekeeper, count: float) -> list[str]:
    """So many days pass, with a look every six hours; the jobs that went."""
    gone = []
    for _ in range(round(count * 4)):
        desk.clock.advance(DAY_S / 4)
        gone += house.run_once()
    return gone


def test_a_finished_job_goes_after_two_weeks_and_no_other_does(desk: Desk) -> None:
    old = desk.submit("a.png")
    desk.run()
    house = keeper(desk)
    assert desk.service.expires_at(desk.service.job(old.id)) == desk.clock.now() + KEPT_S
    assert days(desk, house, 10) == []
    younger = desk.submit("b.png")
    desk.run()
    waiting = desk.submit("c.png", recipe=Recipe(models=("silueta",)))  # whose weights never come
    assert days(desk, house, 4.75) == []
    assert days(desk, house, 0.5) == [old.id]
    assert code_of(lambda: desk.service.job(old.id)) == "not_found"
    assert days(desk, house, 30) == [younger.id]
    assert desk.service.job(waiting.id).state is JobState.QUEUED
    assert desk.service.expires_at(desk.service.job(waiting.id)) is None


def test_nothing_goes_where_it_is_to_stay(settings: Settings) -> None:
    desk = Desk(settings.model_copy(update={"retention_days": 0}))
    job = desk.submit()
    desk.run()
    assert days(desk, keeper(desk), 400) == []
    assert desk.service.expires_at(desk.service.job(job.id)) is None
    desk.store.close()


@pytest.mark.parametrize("jump", [DAY_S, -DAY_S, 400 * DAY_S, -400 * DAY_S])
def test_a_clock_that_jumps_and_comes_back_takes_nothing(desk: Desk, jump: float) -> None:
    desk.submit()
    desk.run()
    house = keeper(desk)
    assert days(desk, house, 13) == []
    desk.clock.wall += jump
    assert days(desk, house, 0.75) == []
    desk.clock.wall -= jump
    assert days(desk, house, 0.25) == []


def test_a_machine_that_sleeps_each_night_still_tidies_up(desk: Desk) -> None:
    job = desk.submit()
    desk.run()
    house, gone = keeper(desk), []
    for _ in range(30):
        desk.clock.wall += 8 * 3600  # the monotonic clock slept as well
        for _ in range(16):
            desk.clock.advance(3600)
            gone += house.run_once()
    assert gone == [job.id]


def test_a_job_that_was_begun_again_meanwhile_stays(desk: Desk) -> None:
    job = desk.submit()
    desk.run(lambda order: Report(problem=Problem(code="photo_broken", message="Broken.")))
    desk.clock.advance(20 * DAY_S)
    (expired,) = desk.service.expired(desk.clock.now())
    assert expired == job.id
    desk.service.retry(job.id)
    assert code_of(lambda: desk.service.expire(job.id, desk.clock.now())) == "job_in_use"
    assert code_of(lambda: desk.store.delete_job(job.id, finished_before=desk.clock.now())) == "job_in_use"
    assert desk.service.job(job.id).state is JobState.QUEUED


def test_a_clock_that_is_a_day_ahead_at_the_start_takes_nothing_too_early(desk: Desk) -> None:
    job = desk.submit()
    desk.run()
    desk.clock.wall += DAY_S
    house = keeper(desk)
    assert days(desk, house, 13.75) == []
    assert days(desk, house, 0.5) == [job.id]
    assert GRACE_S >= DAY_S


def test_a_deleted_job_leaves_no_byte_of_itself(desk: Desk) -> None:
    stays = desk.submit("stays.png")
    name = "a-telling-name"
    job = desk.submit(f"{name}.png", title=f"{name} title", recipe=Recipe(models=("u2net",), certainty=True))
    desk.run()
    desk.service.rename(job.id, f"{name} again")
    (task,) = desk.service.tasks(job.id)
    root = desk.settings.data_dir
    assert holding(root, name, job.id, task.photo.sha256)
    desk.service.delete(job.id)
    assert holding(root, name, job.id, task.photo.sha256) == []
    assert desk.service.job(stays.id).state is JobState.DONE


def holding(root: Path, *words: str) -> list[str]:
    """The files whose name or content has one of these words."""
    found = []
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if any(word.encode() in data or word in path.name for word in words):
            found.append(str(path))
    return found


def test_the_data_folder_takes_no_more_than_its_quota(tmp_path: Path, settings: Settings) -> None:
    desk = Desk(settings)
    desk.blobs = Blobs(settings.data_dir, min_free_bytes=0, quota_bytes=1_000_000)
    desk.blobs.check_quota(400_000)
    with pytest.raises(ServiceError, match="may hold 1 MB") as refused:
        desk.blobs.check_quota(999_999)
    assert refused.value.problem.code == "data_quota"
    (settings.data_dir / "tmp" / "x").write_bytes(bytes(1_200_000))
    again = Blobs(settings.data_dir, min_free_bytes=0, quota_bytes=1_000_000)
    assert code_of(again.incoming) == "data_quota"
    again.check_space()  # what was accepted is worked on
    desk.store.close()


def test_the_reserve_is_held_only_where_there_is_more_than_enough_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(tmp_path, min_free_bytes=1_000_000)
    monkeypatch.setattr(blobs, "free_bytes", lambda: 10_000_000)
    blobs.keep_reserve()
    assert not blobs.give_up_reserve()
    monkeypatch.setattr(blobs, "free_bytes", lambda: 100_000_000)
    blobs.keep_reserve()
    assert blobs.give_up_reserve()
    assert not blobs.give_up_reserve()


def test_what_comes_in_counts_at_once(settings: Settings, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, min_free_bytes=0, quota_bytes=3_000_000)

    def take() -> None:
        coming = blobs.incoming()
        coming.write(bytes(1_000_000), max_bytes=10**9)
        coming.close()

    for _ in range(3):
        take()
    assert code_of(take) == "data_quota"
    assert sum(path.stat().st_size for path in (tmp_path / "tmp").iterdir()) == 3_000_000


def test_what_came_and_was_dropped_again_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoproc.blobs._RECOUNT_S", 0.0)
    blobs = Blobs(tmp_path, min_free_bytes=0, quota_bytes=3_000_000)
    dropped = blobs.incoming()
    dropped.write(bytes(2_900_000), max_bytes=10_000_000)
    dropped.discard()
    assert blobs.receive(io.BytesIO(bytes(2_000_000)), max_bytes=10_000_000).byte_count == 2_000_000


@pytest.mark.parametrize(("free_mb", "held_mb"), [(50, 0), (100, 6), (400, 25), (50_000, 64)])
def test_the_reserve_is_a_share_of_what_is_free_and_enough_for_a_large_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: int, held_mb: int
) -> None:
    blobs = Blobs(tmp_path, min_free_bytes=0)
    monkeypatch.setattr(blobs, "free_bytes", lambda: free_mb << 20)
    blobs.keep_reserve()
    reserve = tmp_path / "reserve"
    assert (reserve.stat().st_size >> 20 if reserve.exists() else 0) == held_mb
