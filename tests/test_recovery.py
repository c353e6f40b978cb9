"""Jobs found again from their folders when the database is lost: what they were, and what was decided."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from photoproc import journal
from photoproc.child import Order, Report
from photoproc.errors import Problem, ServiceError
from photoproc.jobs import Counts, JobState, TaskState
from photoproc.recipe import Recipe
from photoproc.recovery import opened, write_missing
from photoproc.settings import Settings
from photoproc.store import Store
from tests.fakes import carry_out
from tests.test_service import Desk

BOTH = Recipe(models=("u2net", "silueta"))


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    made = Desk(settings)
    yield made
    made.store.close()


def found_again(desk: Desk) -> Store:
    """The store of the same folder after its database became garbage."""
    desk.store.close()
    damage(desk)
    return opened(desk.settings.data_dir, is_alone=lambda: True)


def damage(desk: Desk) -> None:
    """Another program has written over the database."""
    for path in (desk.settings.data_dir / "store").glob("cache.db*"):
        path.write_bytes(b"garbage" * 1000)


def garbage(path: Path) -> None:
    """Another program has written over it."""
    path.write_bytes(os.urandom(200_000))


def torn(path: Path) -> None:
    """Its beginning is as it was, and pages behind it are not."""
    data = bytearray(path.read_bytes())
    for start in range(8192, len(data), 8192):
        data[start : start + 2048] = os.urandom(2048)
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Only its beginning is there."""
    os.truncate(path, 5000)


def empty(path: Path) -> None:
    """A power cut left nothing in it."""
    path.write_bytes(b"")


@pytest.mark.parametrize("wreck", [garbage, torn, cut, empty, Path.unlink])
def test_whatever_is_wrong_with_the_database_jobs_are_found_again(
    desk: Desk, wreck: Callable[[Path], None]
) -> None:
    jobs = [desk.submit(f"{number}.png").id for number in range(8)]
    desk.run()
    desk.store.close()
    folder = desk.settings.data_dir / "store"
    for name in ("cache.db-wal", "cache.db-shm"):
        (folder / name).unlink(missing_ok=True)
    wreck(folder / "cache.db")
    store = opened(desk.settings.data_dir, is_alone=lambda: True)
    assert sorted(store.job_ids()) == sorted(jobs)
    assert {store.job(one).state for one in jobs} == {JobState.DONE}
    assert len(list(desk.settings.data_dir.glob("store-damaged-*"))) == 1
    assert store.notice() is not None
    swept(desk, store)
    assert sorted(path.name for path in (desk.settings.data_dir / "jobs").iterdir()) == sorted(jobs)
    store.close()


def test_a_store_without_a_job_where_there_is_no_folder_of_one_is_a_new_one(settings: Settings) -> None:
    for _ in range(2):
        store = opened(settings.data_dir, is_alone=lambda: True)
        assert store.notice() is None
        store.close()


def test_of_a_job_that_was_handed_in_twice_at_once_the_first_is_found_again(desk: Desk) -> None:
    job = desk.submit("a.png", key="once")
    desk.run()
    folder = desk.settings.data_dir / "jobs" / job.id
    twin = folder.with_name("f" * 32)  # of the one that lost, whose server was killed before it was removed
    shutil.copytree(folder, twin)
    store = found_again(desk)
    assert list(store.job_ids()) == [job.id]
    assert store.job(job.id).counts == Counts(done=1)
    assert not twin.exists()
    store.close()


def test_a_job_that_was_being_deleted_does_not_come_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, job = desk.submit("a.png"), desk.submit("b.png")
    desk.run()
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            desk.service.delete(job.id)
    store = found_again(desk)
    assert list(store.job_ids()) == [kept.id]
    swept(desk, store)
    assert list((desk.settings.data_dir / "tmp").iterdir()) == []
    store.close()


def test_a_job_is_what_it_was(desk: Desk) -> None:
    job = desk.submit("a.png", "b.png", recipe=BOTH, title="Shoes", owner="anna", key="once")
    desk.run()
    desk.service.rename(job.id, "Boots")
    before, tasks = desk.store.job(job.id), list(desk.store.tasks(job.id))
    store = found_again(desk)
    after = store.job(job.id)
    for what in ("title", "owner", "created_at", "recipe", "photo_count", "counts", "output_bytes", "state"):
        assert getattr(after, what) == getattr(before, what) or what == "title", what
    assert after.title == "Boots"
    assert list(store.tasks(job.id)) == tasks
    assert store.job_of_key("once") == job.id
    assert store.notice() is not None
    store.keep_notice(None)
    assert store.notice() is None
    store.close()


def test_what_was_decided_stands(desk: Desk) -> None:
    def fails(order: Order) -> object:
        return Report(problem=Problem(code="photo_broken", message="Broken."))

    failed, cancelled, skipped, retried = (desk.submit(f"{n}.png", recipe=BOTH) for n in range(4))
    desk.service.cancel(cancelled.id)
    desk.run(fails)
    desk.service.leave_out(skipped.id, "silueta")
    desk.service.retry(retried.id)
    desk.run(carry_out)
    store = found_again(desk)
    assert store.job(failed.id).counts == Counts(failed=1, queued=1)
    assert store.job(cancelled.id).state is JobState.CANCELLED
    assert store.job(skipped.id).counts == Counts(failed=1, skipped=1)
    assert store.job(retried.id).counts == Counts(done=1, queued=1)
    (task, _) = store.tasks(failed.id)
    assert task.problem is not None
    assert task.problem.code == "photo_broken"
    store.close()


def test_jobs_come_in_the_order_they_were_handed_in(desk: Desk) -> None:
    jobs = []
    for number in range(6):
        jobs.append(desk.submit(f"{number}.png").id)
        desk.clock.advance(1)
    store = found_again(desk)
    assert list(store.job_ids()) == jobs[::-1]
    store.close()


@pytest.mark.parametrize("lose", [Path.unlink, empty])
def test_a_task_without_its_files_is_run_again(desk: Desk, lose: Callable[[Path], None]) -> None:
    job = desk.submit("a.png", "b.png")
    desk.run()
    (first, _) = desk.store.tasks(job.id)
    assert first.cutout is not None
    lose(desk.settings.data_dir / "jobs" / job.id / "out" / first.cutout.file)
    store = found_again(desk)
    assert store.job(job.id).counts == Counts(done=1, queued=1)
    store.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"title": 1}', '"x"'])
def test_a_folder_that_says_too_little_costs_its_job_alone(desk: Desk, text: str) -> None:
    lost, good = desk.submit("a.png"), desk.submit("b.png")
    desk.run()
    (desk.settings.data_dir / "jobs" / lost.id / "job.json").write_text(text)
    store = found_again(desk)
    assert list(store.job_ids()) == [good.id]
    notice = store.notice()
    assert notice is not None
    assert "1 job whose folder says too little" in notice.message
    swept(desk, store)
    assert sorted(path.name for path in (desk.settings.data_dir / "jobs").iterdir()) == [good.id]
    kept = desk.settings.data_dir / "jobs-lost" / lost.id
    assert len(list((kept / "out").iterdir())) == 3, "its pictures are nobody's rubbish"
    store.close()


def swept(desk: Desk, store: Store) -> None:
    """What a start does next."""
    desk.blobs.sweep(None if store.untouched else set(store.job_ids()))


@pytest.mark.parametrize("ends_at", ["create_job", "restore", "keep_notice", "close"])
def test_a_program_that_ends_while_jobs_are_found_again_loses_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ends_at: str
) -> None:
    jobs = [desk.submit(f"{number}.png").id for number in range(5)]
    desk.run()
    left = [3 if ends_at in ("create_job", "restore") else 1]
    real = getattr(Store, ends_at)

    def ends(*given: object, **more: object) -> object:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*given, **more)

    desk.store.close()
    damage(desk)
    with monkeypatch.context() as patched:
        patched.setattr(Store, ends_at, ends)
        with pytest.raises(KeyboardInterrupt):
            opened(desk.settings.data_dir, is_alone=lambda: True)
    store = opened(desk.settings.data_dir, is_alone=lambda: True)
    swept(desk, store)
    assert sorted(store.job_ids()) == sorted(jobs)
    assert {store.job(one).state for one in jobs} == {JobState.DONE}
    assert {path.name for path in (desk.settings.data_dir / "jobs").iterdir()} == set(jobs)
    assert store.notice() is not None
    store.close()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_program_that_ends_between_the_renames_loses_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    job = desk.submit("a.png").id
    desk.run()
    desk.store.close()
    damage(desk)
    real, left = Path.rename, [step]

    def ends(path: Path, target: Path) -> Path:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", ends)
        with pytest.raises(KeyboardInterrupt):
            opened(desk.settings.data_dir, is_alone=lambda: True)
    store = opened(desk.settings.data_dir, is_alone=lambda: True)
    assert list(store.job_ids()) == [job]
    assert store.notice() is not None
    store.close()


def test_a_full_disk_while_jobs_are_found_again_ends_the_start_and_loses_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [desk.submit(f"{number}.png").id for number in range(3)]
    desk.run()
    desk.store.close()
    damage(desk)

    def full(*_: object, **__: object) -> None:
        raise ServiceError("disk_full", "Full.", "")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "restore", full)
        with pytest.raises(ServiceError, match="Full"):
            opened(desk.settings.data_dir, is_alone=lambda: True)
    store = opened(desk.settings.data_dir, is_alone=lambda: True)
    assert sorted(store.job_ids()) == sorted(jobs)
    store.close()


def test_jobs_of_a_version_that_wrote_nothing_down_are_written_down_at_the_start(desk: Desk) -> None:
    old, cancelled = desk.submit("a.png", owner="anna"), desk.submit("b.png")
    desk.service.cancel(cancelled.id)
    for job in (old, cancelled):
        folder = desk.settings.data_dir / "jobs" / job.id
        (folder / "job.json").unlink()
        (folder / "ended.jsonl").unlink(missing_ok=True)
    write_missing(desk.store, desk.settings.data_dir)
    store = found_again(desk)
    assert (store.job(old.id).owner, store.job(old.id).counts) == ("anna", Counts(queued=1))
    assert store.job(cancelled.id).state is JobState.CANCELLED
    store.close()


@pytest.mark.parametrize(
    "line",
    [
        '{"number":0,"outcome":{}}',
        '{"number":[1],"outcome":{"state":"done","cutouts":[]},"token":"t","finished_at":1}',
        '{"number":0,"outcome":{"state":"odd","cutouts":[],"warnings":[]},"token":"t","finished_at":1}',
        '{"number":99,"outcome":{"state":"done","cutouts":[],"warnings":[]},"token":"t","finished_at":1}',
        '{"retried":"all"}',
        '{"left_out":"silueta"}',
        "[1]",
    ],
)
def test_an_odd_line_costs_nothing(desk: Desk, line: str) -> None:
    job = desk.submit("a.png", "b.png")
    desk.run()
    with (desk.settings.data_dir / "jobs" / job.id / "ended.jsonl").open("a") as file:
        file.write(line + "\n" + '{"retried":[]}\n')
    store = found_again(desk)
    assert store.job(job.id).counts.done >= 1
    assert store.job(job.id).counts.total == 2
    store.close()


def test_what_changed_nothing_is_not_done_again(desk: Desk) -> None:
    cancelled, done = desk.submit("a.png"), desk.submit("b.png")
    desk.service.cancel(cancelled.id)
    desk.service.retry(cancelled.id)  # nothing has failed
    desk.run()
    desk.service.cancel(done.id)  # it is over
    store = found_again(desk)
    assert store.job(cancelled.id).state is JobState.CANCELLED
    assert store.job(done.id).state is JobState.DONE
    store.close()


def test_what_was_left_out_and_tried_again_is_not_left_out(desk: Desk) -> None:
    job = desk.submit("a.png", recipe=BOTH)
    desk.run()
    desk.service.leave_out(job.id, "silueta")
    desk.service.retry(job.id, (TaskState.SKIPPED,))
    store = found_again(desk)
    assert store.job(job.id).counts == Counts(done=1, queued=1)
    store.close()


def test_half_a_line_does_not_swallow_the_next(desk: Desk) -> None:
    job = desk.submit("a.png", "b.png")
    path = desk.settings.data_dir / "jobs" / job.id / "ended.jsonl"
    path.write_text('{"number":0,"outc')
    desk.service.cancel(job.id)
    store = found_again(desk)
    assert store.job(job.id).state is JobState.CANCELLED
    store.close()


def test_half_a_line_costs_its_task_alone(desk: Desk) -> None:
    job = desk.submit("a.png", "b.png")
    desk.run()
    path = desk.settings.data_dir / "jobs" / job.id / "ended.jsonl"
    path.write_text(path.read_text()[:-30])
    store = found_again(desk)
    assert store.job(job.id).counts == Counts(done=1, queued=1)
    found = journal.read(path.parent)
    assert found is not None
    assert list(found.ended) == [0]
    assert json.loads(path.read_text().splitlines()[1])["outcome"]["state"] == TaskState.DONE.value
    store.close()


def test_a_database_that_another_server_uses_is_left_alone(desk: Desk) -> None:
    desk.store.close()
    (desk.settings.data_dir / "store" / "cache.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(ServiceError, match="damaged"):
        opened(desk.settings.data_dir, is_alone=lambda: False)
    assert (desk.settings.data_dir / "store" / "cache.db").read_bytes().startswith(b"garbage")


def test_a_whole_database_is_simply_opened(desk: Desk) -> None:
    job = desk.submit()
    desk.store.close()
    store = opened(desk.settings.data_dir, is_alone=lambda: pytest.fail("not asked"))
    assert store.job(job.id).id == job.id
    assert store.notice() is None
    store.close()
