"""The service: what it acknowledges is on disk, what it deletes is gone, and no door leads past it."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from photoproc.blobs import Blobs
from photoproc.child import Order
from photoproc.errors import ModelError, PhotoprocError, Problem, ServiceError
from photoproc.intake import Accepted, Intake
from photoproc.jobs import Counts, Job, JobState, TaskState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from photoproc.store import Store
from photoproc.worker import Worker
from tests.fakes import FakeClock, FakeEngine, FakeWeights, carry_out
from tests.pictures import encoded, picture
from tests.waiting import at_once

U2NET = Recipe(models=("u2net",))


class Desk:
    """A service with a worker that tests drive round by round."""

    def __init__(self, settings: Settings, *models: str, **more: Any) -> None:
        """With these models ready, u2net where none is named; the service is given `more`."""
        self.settings = settings
        self.engine, self.clock = FakeEngine(2), FakeClock()
        self.weights = FakeWeights(*(models or ("u2net",)))
        self.store = Store(settings.data_dir / "store")
        self.blobs = Blobs(settings.data_dir, min_free_bytes=0)
        self.worker = Worker(
            store=self.store,
            blobs=self.blobs,
            engine=self.engine,
            weights=self.weights,
            clock=self.clock,
            settings=settings,
        )
        self.service = PhotoService(
            store=self.store,
            blobs=self.blobs,
            intake=Intake(self.blobs, FakeEngine(immediate=True), settings),
            engine=self.engine,
            previewer=FakeEngine(immediate=True),
            worker=self.worker,
            weights=self.weights,
            clock=self.clock,
            settings=settings,
            link_key="secret",
            **more,
        )

    def upload(self, *names: str, batch: str | None = None) -> Accepted:
        """Upload a picture of its own for each name, the same for the same name."""
        batch = batch or self.service.new_batch()
        photos: list[Any] = []
        for name in names:
            data = encoded(picture(8, 6, seed=sum(map(ord, name))), "PNG")
            accepted = self.service.accept(batch, name, io.BytesIO(data))
            assert not accepted.refused
            photos += accepted.photos
        return Accepted(batch=batch, photos=tuple(photos), refused=())

    def submit(self, *names: str, recipe: Recipe = U2NET, **options: Any) -> Job:
        accepted = self.upload(*names or ("a.png",))
        return self.service.submit(accepted.batch, accepted.photos, recipe, **options)

    def run(self, answer: Callable[[Order], object] = carry_out) -> None:
        for _ in range(20):
            self.engine.run_all(answer)
            self.worker.run_once()

    def files(self) -> list[str]:
        root = self.settings.data_dir
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if path.parts[0] not in ("store", "reserve"))


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    made = Desk(settings)
    yield made
    made.store.close()


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(PhotoprocError) as caught:
        action()
    return caught.value.problem.code


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


# Submitting


def test_a_submitted_job_is_on_disk_and_its_uploads_are_its_own(desk: Desk) -> None:
    job = desk.submit("b/ü.png", "a.png", title="My job")
    assert (job.title, job.state, job.counts) == ("My job", JobState.QUEUED, Counts(queued=2))
    assert not any(name.startswith(("staging", "tmp")) for name in desk.files())
    desk.store.close()
    again = Desk(desk.settings)
    assert [task.photo.name for task in again.service.tasks(job.id)] == ["b/ü.png", "a.png"]
    assert [task.photo.output for task in again.service.tasks(job.id)] == ["b/ü", "a"]
    again.run()
    assert again.service.job(job.id).counts == Counts(done=2)
    again.store.close()


def test_the_same_photo_twice_is_two_tasks_and_one_file(desk: Desk) -> None:
    job = desk.submit("a.png", "a.png")
    assert [task.photo.output for task in desk.service.tasks(job.id)] == ["a", "a (2)"]
    assert len(list((desk.settings.data_dir / "jobs" / job.id / "photos").iterdir())) == 1
    desk.run()
    assert desk.service.job(job.id).counts.done == 2


def test_what_cannot_become_a_job_is_refused_and_leaves_no_folder(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = desk.upload("a.png")
    submit = partial(desk.service.submit, accepted.batch)
    many = accepted.photos * (desk.settings.max_photos_per_job + 1)
    assert code_of(lambda: submit((), U2NET)) == "no_photos"
    assert code_of(lambda: submit(many, U2NET)) == "too_many_photos"
    with pytest.raises(ModelError):
        submit(accepted.photos, Recipe(models=("none-such",)))
    with monkeypatch.context() as full:
        full.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=-1))
        assert code_of(lambda: submit(accepted.photos, U2NET)) == "disk_full"
    for error in (ServiceError("store_busy", "", ""), ZeroDivisionError()):
        with monkeypatch.context() as broken:
            broken.setattr(desk.store, "create_job", raising(error))
            with pytest.raises(type(error)):
                submit(accepted.photos, U2NET)
    other = desk.service.new_batch()
    assert code_of(lambda: desk.service.submit(other, accepted.photos, U2NET)) == "upload_expired"
    assert list((desk.settings.data_dir / "jobs").iterdir()) == []
    assert desk.service.jobs() == []
    job = submit(accepted.photos, U2NET)  # nothing of that has spoiled the uploads
    assert job.counts == Counts(queued=1)


def test_the_same_key_gives_the_same_job_also_after_its_uploads_are_gone(desk: Desk) -> None:
    accepted = desk.upload("a.png")
    first = desk.service.submit(accepted.batch, accepted.photos, U2NET, key="k")
    assert desk.service.submit(accepted.batch, accepted.photos, U2NET, key="k") == first
    again = desk.upload("a.png")  # a client that begins all over
    assert desk.service.submit(again.batch, again.photos, U2NET, key="k").id == first.id
    assert not any(name.startswith("staging") for name in desk.files())
    assert len(desk.service.jobs()) == 1


def test_a_double_click_makes_one_job(desk: Desk) -> None:
    for key in map(str, range(25)):
        accepted = desk.upload("a.png", "b.png", "c.png")
        made: list[str] = []

        def click(accepted: Accepted = accepted, key: str = key, made: list[str] = made) -> None:
            made.append(desk.service.submit(accepted.batch, accepted.photos, U2NET, key=key).id)

        at_once(click, click, click)
        assert len(set(made)) == 1
    assert len(desk.service.jobs()) == 25
    folders = {path.name for path in (desk.settings.data_dir / "jobs").iterdir()}
    assert folders == {job.id for job in desk.service.jobs()}
    desk.run()
    assert {len(list((desk.blobs.photo(name, "x")).parent.iterdir())) for name in folders} == {3}


def test_a_key_of_a_deleted_job_makes_a_new_one(desk: Desk) -> None:
    first = desk.submit(key="k")
    desk.service.delete(first.id)
    assert desk.submit(key="k").id != first.id


def test_photos_are_processed_again_with_another_recipe_without_uploading(desk: Desk) -> None:
    first = desk.submit("a.png", "x/a.png", "a.PNG")
    desk.run()
    second = desk.service.process_again(first.id, Recipe(models=("u2net", "u2netp")), title="Again")
    assert (second.title, second.counts) == ("Again", Counts(queued=6))
    desk.service.delete(first.id)
    desk.run()
    tasks = [task for task in desk.service.tasks(second.id) if task.model == "u2net"]
    assert [(task.state, task.mask_from_cache) for task in tasks] == [(TaskState.DONE, True)] * 3
    for task in tasks:
        assert sum(warning.code == "renamed" for warning in task.photo.warnings) <= 1
    assert code_of(lambda: desk.service.process_again(first.id, U2NET)) == "not_found"


# Following and deciding


def test_jobs_are_listed_in_pages_newest_first(desk: Desk) -> None:
    ids = [desk.submit().id for _ in range(5)]
    assert [job.id for job in desk.service.jobs()] == ids[::-1]
    assert [job.id for job in desk.service.jobs(offset=1, limit=2)] == [ids[3], ids[2]]


def test_tasks_are_listed_by_state(desk: Desk) -> None:
    job = desk.submit(*(f"{n}.png" for n in range(6)))
    desk.worker.run_once()
    desk.engine.run_all(carry_out)
    desk.worker.run_once()
    listed = {
        state: [task.number for task in desk.service.tasks(job.id, states=[state])] for state in TaskState
    }
    assert [listed[state] for state in (TaskState.DONE, TaskState.RUNNING, TaskState.QUEUED)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    assert [task.number for task in desk.service.tasks(job.id, offset=4, limit=1)] == [4]


def test_a_job_is_cancelled_retried_and_renamed(desk: Desk) -> None:
    job = desk.submit("a.png", "b.png", "c.png")
    desk.worker.run_once()
    desk.service.cancel(job.id)
    desk.service.cancel(job.id)
    assert desk.service.job(job.id).state is JobState.CANCELLING
    assert code_of(lambda: desk.service.retry(job.id, [TaskState.CANCELLED])) == "job_cancelling"
    desk.run()
    assert desk.service.job(job.id).counts == Counts(cancelled=3)
    assert desk.service.retry(job.id) == 0
    assert desk.service.retry(job.id, [TaskState.CANCELLED]) == 3
    desk.run()
    assert desk.service.job(job.id).counts == Counts(done=3)
    desk.service.rename(job.id, "  New  ")
    assert desk.service.job(job.id).title == "New"
    desk.service.rename(job.id, " ")
    assert desk.service.job(job.id).title == "Untitled"


def test_deleting_leaves_no_byte_of_a_job_and_all_of_the_others(desk: Desk) -> None:
    before = desk.files()
    other = desk.submit("shared.png")
    desk.run()
    kept = desk.files()
    job = desk.submit("shared.png", "own.png")
    desk.run()
    running = desk.submit("third.png")
    desk.worker.run_once()
    desk.service.delete(job.id)
    desk.service.delete(running.id)
    desk.run()
    assert desk.files() == kept
    desk.service.delete(other.id)
    assert desk.files() == before
    assert code_of(lambda: desk.service.delete(other.id)) == "not_found"


# Pictures, links, archive


def test_pictures_are_found_once_they_are_there(desk: Desk) -> None:
    job = desk.submit("a.png")
    service, queued = desk.service, desk.service.task(job.id, 0)
    assert service.original(queued).read_bytes()[:4] == b"\x89PNG"
    for early in (lambda: service.cutout(queued), lambda: service.mask(queued)):
        assert code_of(early) == "not_found"
    desk.run()
    task = service.task(job.id, 0)
    path, cutout = service.cutout(task)
    assert path.read_bytes().startswith(b"cutout of")
    assert cutout == task.cutout
    assert service.output(job.id, cutout.preview).read_bytes().startswith(b"preview of")
    assert service.output(job.id, cutout.before).read_bytes().startswith(b"before of")
    assert service.mask(task).read_bytes().startswith(b"mask of")
    assert service.original(task).read_bytes()[:4] == b"\x89PNG"
    for absent in (
        lambda: service.cutout(task, 1),
        lambda: service.companion(task, 0, "mask"),
        lambda: service.companion(task, 1, "mask"),
        lambda: service.preview(task, 1, longest=99),
        lambda: service.output(job.id, "no such file"),
        lambda: service.task(job.id, 1),
        lambda: service.task(job.id, -1),
    ):
        assert code_of(absent) == "not_found"


def test_the_archive_has_the_cutouts_and_a_manifest(desk: Desk) -> None:
    job = desk.submit("x/a.png", "b.png")
    desk.run()
    archive = desk.service.archive(job.id)
    data = b"".join(archive.chunks)
    assert len(data) == archive.byte_count
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert {"x/a.png", "b.png", "manifest.csv", "manifest.json"} <= set(packed.namelist())
        assert packed.read("b.png").startswith(b"cutout of ")


def test_a_link_opens_its_job_until_it_expires(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = desk.submit(), desk.submit()
    token = desk.service.sign(one.id)
    desk.service.check_link(one.id, token)
    assert code_of(lambda: desk.service.check_link(other.id, token)) == "link_invalid"
    assert code_of(lambda: desk.service.check_link(one.id, token + "x")) == "link_invalid"
    assert code_of(lambda: desk.service.check_link(one.id, "")) == "link_invalid"
    late = time.time() + desk.settings.link_lifetime_s + 2
    monkeypatch.setattr(time, "time", lambda: late)
    assert code_of(lambda: desk.service.check_link(one.id, token)) == "link_expired"


@pytest.mark.parametrize("share", [0.6, 1.5, -0.1], ids=["half is over", "expired", "a clock set back"])
def test_a_link_is_the_same_until_half_its_life_is_over_however_the_clock_went(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    job = desk.submit()
    token = desk.service.sign(job.id)
    assert desk.service.sign(job.id) == token
    then = time.time() + share * desk.settings.link_lifetime_s
    monkeypatch.setattr(time, "time", lambda: then)
    again = desk.service.sign(job.id)
    assert again != token
    desk.service.check_link(job.id, again)


ODD = ["", "x", "../../etc", "0" * 31, "0" * 33, "G" * 32, "0" * 31 + "/", "0" * 32, "0" * 31 + "\n"]


@pytest.mark.parametrize("odd", ODD)
def test_ids_that_are_not_ours_reach_neither_store_nor_disk(desk: Desk, odd: str) -> None:
    service = desk.service
    for action in (
        lambda: service.job(odd),
        lambda: service.tasks(odd),
        lambda: service.task_numbers(odd),
        lambda: service.cancel(odd),
        lambda: service.retry(odd),
        lambda: service.rename(odd, "x"),
        lambda: service.delete(odd),
        lambda: service.task(odd, 0),
        lambda: service.numbered_tasks(odd, [0]),
        lambda: service.output(odd, "0-token.png"),
        lambda: service.try_on_job(odd, 0, U2NET),
        lambda: service.try_on_upload(odd, "0" * 64, U2NET),
        lambda: service.archive(odd),
        lambda: service.process_again(odd, U2NET),
        lambda: service.thumbnail(odd, "0" * 64),
    ):
        assert code_of(action) == "not_found"
    if odd != "0" * 32:  # which a batch might be called
        before = desk.files()
        accepted = desk.upload("a.png")
        for door in (
            lambda: service.accept(odd, "a.png", io.BytesIO(b"x")),
            lambda: service.drop_batch(odd),
            lambda: service.submit(odd, accepted.photos, U2NET),
        ):
            assert code_of(door) == "not_found"
        service.drop_batch(accepted.batch)
        assert desk.files() == before


# Models and the tool


def test_models_are_listed_with_their_weights_and_fetched_on_request(desk: Desk) -> None:
    names = [model.spec.name for model in desk.service.models()]
    assert {"u2net", "u2netp"} <= set(names)
    assert desk.service.model("u2net").spec.name == "u2net"
    desk.service.download_model("u2netp")
    assert desk.weights.requested == ["u2netp"]
    for action in (lambda: desk.service.model("none-such"), lambda: desk.service.download_model("none-such")):
        with pytest.raises(ModelError):
            action()


def test_weights_that_could_not_be_had_are_asked_for_again_once_in_a_while(desk: Desk) -> None:
    for seconds, asked in ((0, 0), (200, 0), (100, 1), (299, 1), (1, 2)):
        desk.clock.advance(seconds)
        desk.service.ask_again("u2netp")
        assert desk.weights.requested == ["u2netp"] * asked
    desk.service.ask_again("none-such")
    desk.clock.advance(300)
    desk.service.ask_again("none-such")  # taken away meanwhile


def test_the_state_of_the_tool_counts_what_is_queued_and_runs(desk: Desk) -> None:
    desk.submit("a.png", "b.png", "c.png")
    desk.worker.run_once()
    state = desk.service.system()
    assert (state.tasks_running, state.tasks_queued, state.worker_alive) == (2, 1, False)
    assert state.used_bytes > 0
    assert state.free_bytes < state.disk_bytes
    assert desk.service.system(with_disk_use=False).used_bytes == -1
    desk.worker.problem = Problem(code="x", message="x")
    assert desk.service.system().worker_problem == desk.worker.problem


def test_many_threads_may_call_it_at_once(desk: Desk) -> None:
    names = [f"{n}.png" for n in range(3)]

    def session() -> None:
        for _ in range(5):
            job = desk.submit(*names)
            desk.service.jobs()
            desk.service.cancel(job.id)
            desk.service.retry(job.id, [TaskState.CANCELLED])
            desk.service.delete(desk.submit(*names).id)
        desk.store.close()

    at_once(*[session] * 6)
    assert {job.counts.queued for job in desk.service.jobs()} == {3}
    assert len(desk.service.jobs()) == 30
    desk.run()


# Lost cutouts


def lose(desk: Desk, job: Job, number: int, data: bytes | None = None) -> None:
    """Another program deletes a task's cutout, or leaves these bytes of it."""
    cutout = desk.service.task(job.id, number).cutout
    assert cutout is not None
    path = desk.service.output(job.id, cutout.file)
    path.unlink() if data is None else path.write_bytes(data)


@pytest.mark.parametrize("left", [None, b"", b"x"])
def test_a_lost_cutout_costs_its_task_alone_which_can_be_made_again(desk: Desk, left: bytes | None) -> None:
    job = desk.submit("a.png", "b.png", "c.png")
    desk.run()
    before, files = desk.service.job(job.id), desk.files()
    lose(desk, job, 1, left)
    desk.clock.advance(60)
    packed = zipfile.ZipFile(io.BytesIO(b"".join(desk.service.archive(job.id).chunks)))
    assert packed.namelist() == ["a.png", "c.png", "lost cutouts.txt", "manifest.csv", "manifest.json"]
    assert b"b.png" in packed.read("lost cutouts.txt")
    now, task = desk.service.job(job.id), desk.service.task(job.id, 1)
    assert (now.counts, now.finished_at) == (Counts(done=2, failed=1), before.finished_at)
    assert now.output_bytes < before.output_bytes
    assert task.problem is not None
    assert (task.problem.code, task.cutouts) == ("cutout_lost", ())
    assert "b.png" in task.problem.message
    assert task.problem.advice == "Retry it: the photo is still here."
    assert desk.service.retry(job.id) == 1
    desk.run()
    after = desk.service.job(job.id)
    assert (after.counts, after.output_bytes) == (Counts(done=3), before.output_bytes)
    assert len(desk.files()) == len(files), "nothing is left of the first cutout"
    assert "b.png" in zipfile.ZipFile(io.BytesIO(b"".join(desk.service.archive(job.id).chunks))).namelist()


def test_a_cutout_that_cannot_be_looked_at_just_now_is_not_taken_for_lost(desk: Desk) -> None:
    job = desk.submit("a.png", "b.png")
    desk.run()
    cutout = desk.service.task(job.id, 0).cutout
    assert cutout is not None
    path = desk.service.output(job.id, cutout.file)
    path.rename(path.with_suffix(".kept"))
    path.symlink_to(path)  # every look ends with an error, as on a disk that is away for a moment
    assert not desk.service.notice_lost(job.id, list(desk.service.tasks(job.id)))
    assert desk.service.job(job.id).counts == Counts(done=2)


def test_a_lost_cutout_that_is_asked_for_is_named_with_what_to_do(desk: Desk) -> None:
    job = desk.submit("a.png", "b.png")
    desk.run()
    task = desk.service.task(job.id, 0)
    lose(desk, job, 0)
    for _ in range(2):
        with pytest.raises(ServiceError, match=r"a\.png") as caught:
            desk.service.cutout(task)
        assert caught.value.problem.code == "cutout_lost"
        assert desk.service.job(job.id).counts == Counts(done=1, failed=1)
        task = desk.service.task(job.id, 0)
    desk.service.original(task).unlink()
    assert "process the photo again" in desk.service._problem_of_lost(task).advice


def test_what_was_made_again_meanwhile_is_not_taken_for_lost(desk: Desk) -> None:
    job = desk.submit("a.png")
    desk.run()
    seen = desk.service.tasks(job.id)
    lose(desk, job, 0)
    assert desk.service.notice_lost(job.id, seen)
    desk.service.retry(job.id)
    desk.run()
    desk.service.notice_lost(job.id, seen)
    assert desk.service.job(job.id).counts == Counts(done=1)
