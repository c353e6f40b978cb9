"""The worker: what is claimed is published once or queued again, whatever happens around it."""

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from photoproc.blobs import Blobs
from photoproc.child import Order, Report
from photoproc.errors import Problem, ServiceError, TaskError
from photoproc.jobs import Counts, JobState, Photo, Task, TaskState
from photoproc.models.catalogue import CATALOGUE
from photoproc.parts import Keep
from photoproc.recipe import Recipe
from photoproc.records import Claim, Outcome
from photoproc.settings import Settings
from photoproc.store import Store
from photoproc.worker import Worker
from tests.fakes import FakeClock, FakeEngine, FakeWeights, carry_out
from tests.waiting import at_once, until

BATCH = "b" * 32


@dataclass
class World:
    """A worker with all it works on, driven round by round."""

    settings: Settings
    clock: FakeClock = field(default_factory=FakeClock)
    weights: FakeWeights = field(default_factory=lambda: FakeWeights("u2net"))

    def __post_init__(self) -> None:
        self.engine, self.inspector = FakeEngine(2), FakeEngine(1)
        self.store = Store(self.settings.data_dir / "store")
        self.blobs = Blobs(self.settings.data_dir, min_free_bytes=0)
        self.worker = self.another_worker(self.engine)
        self.jobs = 0

    def another_worker(self, engine: FakeEngine, clock: FakeClock | None = None) -> Worker:
        return Worker(
            store=self.store,
            blobs=self.blobs,
            engine=engine,
            weights=self.weights,
            clock=clock or self.clock,
            settings=self.settings,
            supervised=(self.inspector,),
        )

    def submit(self, count: int = 1, recipe: Recipe | None = None) -> str:
        self.jobs += 1
        name = f"{self.jobs:032x}"
        photos = []
        for number in range(count):
            received = self.blobs.receive(io.BytesIO(f"photo {number}".encode()), max_bytes=99)
            self.blobs.stage(BATCH, received)
            photo = Photo(
                name=f"{number}.jpg", sha256=received.sha256, byte_count=9, format="JPEG", size_wh=(2, 1)
            )
            photos.append(photo)
        self.blobs.open_job(name, [self.blobs.staged(BATCH, photo.sha256) for photo in photos])
        self.store.create_job(
            job_id=name,
            title=name,
            recipe=recipe or Recipe(models=("u2net",)),
            photos=photos,
            refused=(),
            now=self.clock.now(),
        )
        self.blobs.drop_batch(BATCH)
        return name

    def round(self, answer: Callable[[Order], object] | None = carry_out) -> None:
        """Children answer what is under way (unless told not to), then the worker has its round."""
        if answer is not None:
            self.engine.run_all(answer)
        self.worker.run_once()

    def finish(self, job_id: str, answer: Callable[[Order], object] = carry_out) -> None:
        for _ in range(50):
            if self.store.job(job_id).state.final:
                return
            self.round(answer)
        raise AssertionError("the job does not end")

    def counts(self, job_id: str) -> Counts:
        return self.store.job(job_id).counts

    def tasks(self, job_id: str) -> list[Task]:
        return list(self.store.tasks(job_id))

    def orders(self) -> list[Order]:
        return [call.args[0] for call in self.engine.calls]

    def outputs(self, job_id: str) -> list[str]:
        return sorted(path.name for path in (self.settings.data_dir / "jobs" / job_id / "out").iterdir())

    def tmp(self) -> list[Path]:
        return list((self.settings.data_dir / "tmp").iterdir())


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    made = World(settings)
    yield made
    made.store.close()


def crash(order: Order) -> Report:
    raise TaskError("child_crashed", "The process working on it died.", "")


def crash_on(sha256: str) -> Callable[[Order], Report]:
    return lambda order: crash(order) if order.photo.name == sha256 else carry_out(order)


def problem_report(code: str) -> Callable[[Order], Report]:
    return lambda order: Report(problem=Problem(code=code, message=code), seconds={"decode": 0.3})


# Going well


def test_a_round_claims_as_much_as_the_engine_takes_and_the_next_publishes_it(world: World) -> None:
    job = world.submit(5)
    world.round()
    assert len(world.engine.calls) == world.worker.in_flight == 2
    assert world.counts(job) == Counts(queued=3, running=2)
    world.round(answer=None)
    assert len(world.engine.calls) == 2
    world.round()
    assert world.counts(job) == Counts(queued=1, running=2, done=2)
    world.finish(job)
    assert world.store.job(job).state is JobState.DONE
    assert world.worker.in_flight == 0


def test_a_held_worker_finishes_what_runs_and_begins_nothing_until_all_let_go(world: World) -> None:
    job = world.submit(4)
    world.round()
    with world.worker.held():
        world.round()
        assert (world.worker.in_flight, world.worker.is_held) == (0, True)
        assert world.counts(job) == Counts(queued=2, done=2)
        with world.worker.held():
            world.round()
        world.round()
        assert world.counts(job) == Counts(queued=2, done=2)
    assert not world.worker.is_held
    world.finish(job)
    assert world.counts(job) == Counts(done=4)


def test_a_hold_begins_only_after_what_is_being_claimed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit(2)
    claiming, go_on, held = threading.Event(), threading.Event(), threading.Event()
    real = world.worker._launch

    def slow(claims: Sequence[Claim], *, others: bool) -> bool:
        claiming.set()
        assert go_on.wait(20)
        return real(claims, others=others)

    monkeypatch.setattr(world.worker, "_launch", slow)

    def hold() -> None:
        with world.worker.held():
            held.set()
            assert world.worker.in_flight == 2

    def release() -> None:
        assert claiming.wait(20)
        assert not held.wait(0.2)
        go_on.set()

    def claim() -> None:
        world.worker.run_once()

    def wait_then_hold() -> None:
        assert claiming.wait(20)
        hold()

    at_once(claim, wait_then_hold, release)
    assert held.is_set()


def test_only_a_photo_with_nothing_beside_it_has_all_cores(world: World) -> None:
    lone = world.submit(1)
    world.round(answer=None)
    assert [order.alone for order in world.orders()] == [True]
    world.submit(1)  # comes while the other runs
    world.round(answer=None)
    assert [order.alone for order in world.orders()][-1] is False
    world.finish(lone)
    pair, several = world.submit(1), world.submit(3)
    before = len(world.engine.calls)
    world.finish(pair)
    world.finish(several)
    assert not any(order.alone for order in world.orders()[before:]), "the last of several is one of them"


def test_what_is_published_is_what_the_child_reported(world: World) -> None:
    job = world.submit(1)
    world.finish(job)
    (task,) = world.tasks(job)
    assert (task.provider, task.seconds) == ("CPUExecutionProvider", {"decode": 0.1})
    assert (task.peak_bytes, task.threads) == (123_000_000, 1)
    assert task.cutout is not None
    assert world.blobs.output(job, task.cutout.file).read_text() == f"cutout of {task.photo.sha256}"
    assert world.blobs.output(job, task.cutout.before).read_text() == f"before of {task.photo.sha256}"
    assert len(world.outputs(job)) == 3
    assert world.tmp() == []


def test_an_order_names_what_the_child_needs(world: World, settings: Settings) -> None:
    recipe = Recipe(models=("u2net",))
    job = world.submit(1, recipe)
    world.round()
    (order,) = world.orders()
    assert order.photo.read_bytes() == b"photo 0"
    assert Recipe.from_json(order.recipe_json) == recipe
    assert (order.model, order.weights, order.mask) == (CATALOGUE["u2net"], Path("/nowhere/u2net"), None)
    assert order.max_pixels == settings.max_pixels
    assert order.outbox.is_dir()
    assert order.photo == world.blobs.photo(job, order.photo.name)


def test_a_task_without_a_model_needs_no_weights(world: World) -> None:
    world.weights.there.clear()
    job = world.submit(1, Recipe(background=Keep()))
    world.finish(job)
    assert world.counts(job) == Counts(done=1)


def test_a_custom_model_that_was_replaced_under_a_task_is_checked_again_and_the_task_waits_uncharged(
    world: World,
) -> None:
    job = world.submit(1)
    world.round()
    world.round(problem_report("weights_changed"))
    assert world.weights.requested == ["u2net"]
    assert world.counts(job).failed == 0
    world.finish(job)
    (task,) = world.tasks(job)
    assert (task.state, task.attempts) == (TaskState.DONE, 1)


def test_a_task_keeps_which_weights_made_its_mask_though_the_model_is_another_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(1)
    world.round()
    other = replace(CATALOGUE["u2net"], checksum="sha256:" + "f" * 64)
    monkeypatch.setattr(world.weights, "specs", lambda: {"u2net": other})
    world.finish(job)
    (task,) = world.tasks(job)
    assert task.weights_id == CATALOGUE["u2net"].weights_id
    mask = world.blobs.mask_of(task)
    assert mask is not None
    assert world.blobs.mask(task.photo.sha256, "u2net", other.weights_id) is None
    again = world.submit(1)
    world.round()
    assert [order.mask for order in world.orders()] == [None]
    world.finish(again)
    assert world.tasks(again)[0].weights_id == "f" * 16
    before = replace(task, weights_id="")
    assert world.blobs.mask_of(before) == mask, "as tasks were kept before it was noted"
    assert world.blobs.mask_of(replace(before, model="team")) is None


def test_a_model_that_vanishes_between_claim_and_start_leaves_its_task_queued(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(1)
    monkeypatch.setattr(world.weights, "specs", dict)
    world.round()
    assert not world.engine.calls
    assert world.counts(job) == Counts(queued=1)


def test_all_models_of_a_job_get_their_turn(world: World) -> None:
    world.weights.there["u2netp"] = Path("/nowhere/u2netp")
    world.submit(10, Recipe(models=("u2net", "u2netp")))
    seen: Counter[str] = Counter()
    for _ in range(6):
        world.round()
        seen.update(order.model.name for order in world.orders() if order.model is not None)
    assert min(seen["u2net"], seen["u2netp"]) >= 4


def test_a_mask_made_before_is_used_again(world: World) -> None:
    first = world.submit(2)
    world.finish(first)
    assert [task.mask_from_cache for task in world.tasks(first)] == [False, False]
    again = world.submit(2)
    world.round()
    masks = [order.mask for order in world.orders()]
    assert all(mask is not None and mask.read_text().startswith("mask of") for mask in masks)
    world.finish(again)
    assert [task.mask_from_cache for task in world.tasks(again)] == [True, True]


def test_a_task_that_is_done_has_its_mask(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish, there = world.store.publish, list[bool]()

    def look_and_publish(claim: Claim, outcome: Outcome, *, now: float) -> bool:
        there.append(world.blobs.mask(claim.photo.sha256, claim.model, outcome.weights_id) is not None)
        return publish(claim, outcome, now=now)

    monkeypatch.setattr(world.store, "publish", look_and_publish)
    world.finish(world.submit(2))
    assert there == [True, True]


def test_a_job_that_is_deleted_before_its_task_is_published_leaves_no_mask(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, publish, kept = world.submit(1), world.store.publish, list[int]()
    masks = world.settings.data_dir / "masks"

    def delete_and_publish(claim: Claim, outcome: Outcome, *, now: float) -> bool:
        world.store.delete_job(job)
        world.blobs.close_job(job)
        world.blobs.keep_mask(claim.photo.sha256, claim.model, "late", late)  # as one does that is slower
        kept.append(len(list(masks.rglob("*.png"))))
        return publish(claim, outcome, now=now)

    late = world.settings.data_dir / "tmp" / "late"
    late.write_bytes(b"mask")
    monkeypatch.setattr(world.store, "publish", delete_and_publish)
    for _ in range(3):
        world.round()
    assert kept == [1]
    assert not list(masks.rglob("*.png"))


def checked(order: Order) -> Report:
    """What a child answers where the recipe checks certainty: it looks again only if it has to."""
    report = carry_out(order)
    if order.uncertainty is None:
        return replace(report, uncertainty=0.25, seconds={"decode": 0.1, "certainty": 0.2})
    return replace(report, uncertainty=order.uncertainty)


def test_what_a_model_was_uncertain_of_is_not_asked_again(world: World) -> None:
    recipe = Recipe(models=("u2net",), certainty=True)
    first = world.submit(2, recipe)
    world.round()
    assert [order.uncertainty for order in world.orders()] == [None, None]
    world.finish(first, checked)
    plain = world.submit(2)
    world.round()
    assert [order.uncertainty for order in world.orders()] == [None, None]  # nobody wants to know
    world.finish(plain)
    again = world.submit(2, recipe)
    world.round()
    assert [order.uncertainty for order in world.orders()] == [0.25, 0.25]
    world.finish(again, checked)
    found = {job: [task.uncertainty for task in world.tasks(job)] for job in (first, plain, again)}
    assert found == {first: [0.25, 0.25], plain: [None, None], again: [0.25, 0.25]}
    assert ["certainty" in task.seconds for task in world.tasks(again)] == [False, False]


# Going wrong in a child


def test_a_photo_that_always_crashes_is_poison_after_three_attempts_and_its_siblings_are_done(
    world: World,
) -> None:
    job = world.submit(4)
    bad = world.tasks(job)[1].photo.sha256
    world.finish(job, crash_on(bad))
    assert world.counts(job) == Counts(done=3, failed=1)
    assert world.store.job(job).state is JobState.DONE
    task = world.tasks(job)[1]
    assert task.problem is not None
    assert (task.problem.code, task.attempts) == ("poison", 3)
    assert "died" in task.problem.message
    assert len(world.outputs(job)) == 9
    assert world.tmp() == []


@pytest.mark.parametrize("code", ["child_crashed", "task_timeout", "task_error"])
def test_an_attempt_that_ends_badly_is_charged_and_made_again(world: World, code: str) -> None:
    job = world.submit(1)
    world.round()
    world.engine.fail_all(code)
    world.round(answer=None)
    assert [task.attempts for task in world.tasks(job)] == [2]
    world.finish(job)
    assert world.counts(job) == Counts(done=1)


@pytest.mark.parametrize("code", ["engine_restarted", "engine_stopped"])
def test_an_attempt_that_was_none_of_its_fault_is_not_charged(world: World, code: str) -> None:
    job = world.submit(1)
    for _ in range(6):
        world.round(answer=None)
        assert world.engine.fail_all(code) == 1
    world.round(answer=None)
    assert [task.attempts for task in world.tasks(job)] == [1]
    world.finish(job)
    assert world.counts(job) == Counts(done=1)


def test_a_problem_of_the_photo_fails_its_task_at_once(world: World) -> None:
    job = world.submit(1)
    world.finish(job, problem_report("photo_broken"))
    (task,) = world.tasks(job)
    assert task.problem is not None
    assert (task.state, task.problem.code, task.attempts) == (TaskState.FAILED, "photo_broken", 1)
    assert task.seconds == {"decode": 0.3}


def test_a_photo_without_a_face_is_skipped_where_the_recipe_says_so(world: World) -> None:
    job = world.submit(1)
    world.finish(job, problem_report("no_face"))
    assert world.counts(job) == Counts(skipped=1)
    assert [task.seconds for task in world.tasks(job)] == [{"decode": 0.3}]


def test_an_error_nobody_foresaw_ends_the_attempt_and_not_the_worker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(3)

    def adopt(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(world.blobs, "adopt", adopt)
        world.round()
        world.round()
    world.finish(job)
    assert world.counts(job) == Counts(done=3)


# Cancelling and deleting


def test_cancelling_stops_what_runs_and_publishes_nothing(world: World) -> None:
    job = world.submit(5)
    world.round()
    futures = [call.future for call in world.engine.calls]
    world.store.cancel(job, now=1)
    world.round(answer=None)
    assert all(future.cancelled() for future in futures)
    world.round(answer=None)
    assert world.counts(job) == Counts(cancelled=5)
    assert world.store.job(job).state is JobState.CANCELLED
    assert (world.outputs(job), world.tmp(), world.worker.in_flight) == ([], [], 0)


def test_a_result_that_comes_after_cancelling_is_dropped(world: World) -> None:
    job = world.submit(2)
    world.round()
    world.engine.run_all(carry_out)
    world.store.cancel(job, now=1)
    world.round()
    assert world.counts(job) == Counts(cancelled=2)
    assert (world.outputs(job), world.tmp()) == ([], [])


@pytest.mark.parametrize("finished", [False, True])
def test_deleting_stops_what_runs_and_leaves_no_byte(
    world: World, settings: Settings, finished: bool
) -> None:
    job = world.submit(3)
    world.round()
    futures = [call.future for call in world.engine.calls]
    if finished:
        world.engine.run_all(carry_out)
    world.store.delete_job(job)
    world.blobs.close_job(job)
    world.round(answer=None)
    world.round(answer=None)
    assert finished or all(future.cancelled() for future in futures)
    assert world.worker.in_flight == 0
    left = [path for path in settings.data_dir.rglob("*") if path.is_file() and "store" not in path.parts]
    assert left == []


def test_a_job_cancelled_beside_another_takes_nothing_from_it(world: World) -> None:
    one, other = world.submit(1), world.submit(1)
    world.round()
    world.store.cancel(one, now=1)
    world.finish(other)
    assert world.counts(other) == Counts(done=1)
    assert world.counts(one) == Counts(cancelled=1)


# Servers that are gone


@pytest.fixture
def dead(world: World) -> str:
    """A job of which a server that is no more has claimed a task."""
    job = world.submit(1)
    world.store.claim("dead", ["u2net"], token="t", now=1)
    return job


def test_tasks_of_a_server_that_is_gone_are_taken_back_after_the_lease(world: World, dead: str) -> None:
    lease = world.settings.lease_s
    world.round()
    world.clock.advance(lease - 0.1)
    world.round()
    assert world.counts(dead) == Counts(running=1)
    assert world.worker.in_flight == 0
    world.clock.advance(lease / 4 + 0.1)
    world.round()
    assert world.worker.in_flight == 1
    world.finish(dead)
    (task,) = world.tasks(dead)
    assert (task.state, task.attempts) == (TaskState.DONE, 1)


def test_a_clock_that_jumps_takes_nothing_back(world: World, dead: str) -> None:
    for jump in (86_400, -200_000, 86_400):
        world.round()
        world.clock.wall += jump
        world.clock.mono += world.settings.lease_s / 4
    world.round()
    assert world.counts(dead) == Counts(running=1)


def test_a_server_whose_heart_beats_keeps_its_tasks(world: World, dead: str) -> None:
    for _ in range(20):
        world.round()
        world.store.heartbeat("dead")
        world.clock.advance(world.settings.lease_s / 2)
    assert world.counts(dead) == Counts(running=1)


def test_a_worker_keeps_its_own_heart_beating_while_it_has_tasks(world: World) -> None:
    job = world.submit(1)
    world.round()
    other = FakeEngine(1)
    observer = world.another_worker(other)
    for _ in range(20):
        world.round(answer=None)
        observer.run_once()
        world.clock.advance(world.settings.lease_s / 3)
    assert world.counts(job) == Counts(running=1)
    assert observer.in_flight == 0
    world.finish(job)
    assert world.counts(job) == Counts(done=1)


def test_what_two_servers_ran_counts_once(world: World) -> None:
    job = world.submit(1)
    world.round()  # and then this server stands still for long
    clock, engine = FakeClock(), FakeEngine(1)
    other = world.another_worker(engine, clock)
    other.run_once()
    clock.advance(world.settings.lease_s * 2)
    other.run_once()
    assert engine.run_all(carry_out) == 1
    other.run_once()
    assert world.counts(job) == Counts(done=1)
    published = world.outputs(job)
    world.round()
    assert world.counts(job) == Counts(done=1)
    assert world.outputs(job) == published
    assert world.worker.in_flight == 0


def test_a_task_that_ended_its_server_too_often_is_given_up(world: World) -> None:
    job = world.submit(1)
    for number in range(20):
        owner = f"server-{number}"
        claim = world.store.claim(owner, ["u2net"], token=owner, now=1)
        assert claim is not None
        if claim.attempt > world.settings.max_attempts:
            world.store.give_back(claim, charge=True, now=1)
            break
        beat = world.store.heartbeats([owner])[owner]
        world.store.take_back(owner, beat=beat, max_lost=0, now=1)
    world.round()
    (task,) = world.tasks(job)
    assert task.problem is not None
    assert (task.state, task.problem.code) == (TaskState.FAILED, "poison")
    assert world.engine.calls == []


def test_a_claim_of_ones_own_that_nothing_works_on_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(1)

    def outbox(token: str) -> Path:
        raise ServiceError("disk_error", "no", "")

    with monkeypatch.context() as broken:
        broken.setattr(world.blobs, "outbox", outbox)
        with pytest.raises(ServiceError):
            world.round()
    assert world.counts(job) == Counts(running=1)
    world.round()
    assert world.worker.in_flight == 1
    world.finish(job)
    (task,) = world.tasks(job)
    assert (task.state, task.attempts) == (TaskState.DONE, 1)


# Weights


def test_tasks_wait_for_weights_that_are_asked_for_once_and_go_on_when_they_come(world: World) -> None:
    waiting = world.submit(2, Recipe(models=("u2netp",)))
    other = world.submit(1)
    world.finish(other)
    for _ in range(10):
        world.round()
        world.clock.advance(5)
    assert world.counts(waiting) == Counts(queued=2)
    assert world.store.job(waiting).state is JobState.QUEUED
    assert world.weights.requested == ["u2netp"]
    world.weights.there["u2netp"] = Path("/nowhere/u2netp")
    world.finish(waiting)
    assert world.counts(waiting) == Counts(done=2)
    assert world.weights.requested == ["u2netp"]


def test_weights_that_could_not_be_had_are_asked_for_again_after_a_while(world: World) -> None:
    world.submit(1, Recipe(models=("u2netp",)))
    for _ in range(100):
        world.round()
        world.clock.advance(7)
    assert 2 <= len(world.weights.requested) <= 3


def test_weights_nobody_waits_for_are_not_asked_for(world: World) -> None:
    job = world.submit(1, Recipe(models=("u2netp",)))
    world.store.cancel(job, now=1)
    world.round()
    assert world.weights.requested == []


def test_weights_lost_between_claiming_and_starting_leave_the_task_queued(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(1)
    answers = iter([{"u2net": Path("/x")}, {}])
    monkeypatch.setattr(world.weights, "ready", lambda: next(answers, {}))
    world.worker._is_due("weights", 1000)
    world.round()
    assert world.counts(job) == Counts(queued=1)
    assert [task.attempts for task in world.tasks(job)] == [0]


# Uploads that become no job


def upload(world: World, data: bytes) -> Path:
    received = world.blobs.receive(io.BytesIO(data), max_bytes=99)
    world.blobs.stage(BATCH, received)
    return world.blobs.staged(BATCH, received.sha256)


def test_uploads_nobody_added_to_for_a_day_are_dropped_while_the_server_runs(world: World) -> None:
    first = upload(world, b"first")
    for hour in range(48):
        if hour == 20:
            second = upload(world, b"second")
        world.round()
        world.clock.advance(3600)
        assert first.exists() == (hour < 44)
    assert not second.exists()


def test_a_clock_that_jumps_drops_no_upload(world: World) -> None:
    staged = upload(world, b"photo")
    for jump in (86_400 * 2, -86_400 * 4, 86_400 * 3):
        world.clock.wall += jump
        world.clock.mono += 3600
        world.round()
    assert staged.exists()


# Trouble with the disk, the store, the engine


def busy(*_: object, **__: object) -> Any:
    raise ServiceError("store_busy", "locked", "")


@pytest.mark.parametrize("operation", ["publish", "give_back", "running", "claim", "heartbeat"])
def test_a_busy_store_delays_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    job = world.submit(4)
    bad = world.tasks(job)[0].photo.sha256
    for _ in range(8):
        with monkeypatch.context() as broken:
            broken.setattr(world.store, operation, busy)
            world.engine.run_all(crash_on(bad))
            try:
                world.worker.run_once()
            except ServiceError as error:
                assert error.problem.code == "store_busy"  # noqa: PT017
        world.clock.advance(world.settings.lease_s / 4)
        world.round(crash_on(bad))
    world.finish(job, crash_on(bad))
    assert world.counts(job) == Counts(done=3, failed=1)
    assert len(world.outputs(job)) == 9
    assert world.tmp() == []


def test_a_publication_that_fails_only_after_it_was_recorded_keeps_its_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(1)
    world.round()
    publish = world.store.publish

    def publish_and_fail(*args: Any, **options: Any) -> bool:
        publish(*args, **options)
        raise ServiceError("disk_full", "the log could not be written", "")

    with monkeypatch.context() as broken:
        broken.setattr(world.store, "publish", publish_and_fail)
        with pytest.raises(ServiceError):
            world.round()
    world.round()
    (task,) = world.tasks(job)
    assert task.cutout is not None
    assert world.blobs.output(job, task.cutout.file).is_file()
    assert world.worker.in_flight == 0


def test_a_result_that_cannot_be_kept_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(2)
    adopt = world.blobs.adopt

    def adopt_second(job_id: str, number: int, *rest: Any, suffix: str) -> Any:
        if number == 0:
            raise ServiceError("disk_full", "full", "")
        return adopt(job_id, number, *rest, suffix=suffix)

    world.round()
    with monkeypatch.context() as broken:
        broken.setattr(world.blobs, "adopt", adopt_second)
        for _ in range(3):
            with pytest.raises(ServiceError):
                world.round()
        assert world.counts(job) == Counts(running=1, done=1)
    world.round()
    assert world.counts(job) == Counts(done=2)
    assert {task.attempts for task in world.tasks(job)} == {1}


def test_a_job_whose_folder_is_gone_fails_and_is_not_run_for_ever(world: World) -> None:
    job = world.submit(1)
    world.round()
    folder = world.settings.data_dir / "jobs" / job / "out"
    folder.rmdir()
    for _ in range(5):
        world.round()
    assert world.counts(job) == Counts(failed=1)


def test_a_full_disk_in_a_child_charges_nobody_and_pauses(world: World) -> None:
    job = world.submit(1)
    world.round()
    world.engine.run_all(problem_report("disk_full"))
    for _ in range(3):
        with pytest.raises(ServiceError) as caught:
            world.round(answer=None)
        assert caught.value.problem.code == "disk_full"
    assert world.counts(job) == Counts(queued=1)
    world.clock.advance(10)
    world.finish(job)
    (task,) = world.tasks(job)
    assert (task.state, task.attempts) == (TaskState.DONE, 1)


def test_below_the_reserve_nothing_is_claimed_but_what_runs_is_published(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(3)
    world.round()

    def full() -> None:
        raise ServiceError("disk_full", "full", "")

    with monkeypatch.context() as broken:
        broken.setattr(world.blobs, "check_space", full)
        with pytest.raises(ServiceError):
            world.round()
        assert world.counts(job) == Counts(queued=1, done=2)
    world.finish(job)
    assert world.counts(job) == Counts(done=3)


def test_an_engine_that_takes_nothing_now_leaves_tasks_queued_uncharged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(2)

    def submit(*_: object) -> Any:
        raise TaskError("engine_restarted", "", "")

    with monkeypatch.context() as broken:
        broken.setattr(world.engine, "submit", submit)
        for _ in range(5):
            world.round()
    assert world.counts(job) == Counts(queued=2)
    assert (world.worker.in_flight, world.tmp()) == (0, [])
    world.finish(job)
    assert {task.attempts for task in world.tasks(job)} == {1}


@pytest.mark.parametrize("operation", ["heartbeat", "running", "claim"])
def test_both_engines_are_supervised_each_round_also_while_the_store_is_busy(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    world.submit(1)
    world.round()
    seen: list[str] = []
    monkeypatch.setattr(world.engine, "supervise", lambda: seen.append("tasks"))
    monkeypatch.setattr(world.inspector, "supervise", lambda: seen.append("headers"))
    monkeypatch.setattr(world.store, operation, busy)
    for _ in range(2):
        world.clock.advance(world.settings.lease_s)
        with pytest.raises(ServiceError):
            world.round(answer=None)
    assert seen == ["tasks", "headers"] * 2


# The thread


@pytest.fixture
def started(world: World) -> Iterator[World]:
    world.worker.start()
    yield world
    world.worker.stop()
    assert not world.worker.alive


def test_a_stopping_worker_publishes_what_is_finished_and_queues_the_rest_uncharged(
    started: World,
) -> None:
    job = started.submit(5)
    started.worker.wake()
    until(lambda: len(started.engine.calls) == 2)
    first, second = started.engine.calls
    started.engine.calls = [first]
    started.engine.run_all(carry_out)
    until(lambda: started.counts(job).done == 1)
    started.worker.stop()
    assert second.future.cancelled()
    assert started.counts(job) == Counts(queued=4, done=1)
    assert {task.attempts for task in started.tasks(job)} == {0, 1}
    assert [task.attempts for task in started.tasks(job) if task.state is TaskState.QUEUED] == [0] * 4
    assert started.store.running() == []
    assert started.tmp() == []


def test_a_worker_that_stops_publishes_what_its_children_have_just_finished(world: World) -> None:
    job = world.submit(1)
    world.round()
    world.engine.run_all(carry_out)
    world.worker.stop()
    world.worker.start()  # only to see the work of others off
    world.worker.stop()
    assert world.counts(job) == Counts(done=1)


def test_a_stopped_worker_goes_on_after_a_restart(started: World) -> None:
    job = started.submit(3)
    started.worker.wake()
    until(lambda: started.worker.in_flight == 2)
    started.worker.stop()
    started.worker = started.another_worker(started.engine)
    started.finish(job)
    assert started.counts(job) == Counts(done=3)


def test_a_result_wakes_the_worker_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photoproc.worker._TICK_S", 60.0)
    world.worker.start()
    job = world.submit(1)
    world.worker.wake()
    until(lambda: world.engine.calls)
    world.engine.run_all(carry_out)
    until(lambda: world.counts(job).done == 1, within_s=30)
    world.worker.stop()


@pytest.mark.parametrize(
    ("error", "code"),
    [(ServiceError("store_busy", "locked", ""), "store_busy"), (ZeroDivisionError(), "worker_error")],
)
def test_the_worker_outlives_errors_says_so_and_goes_on(
    started: World, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(started.store, "claim", fail)
        until(lambda: started.worker.problem is not None)
        assert started.worker.problem is not None
        assert started.worker.problem.code == code
        assert started.worker.alive
    job = started.submit(1)
    until(lambda: started.engine.calls)
    assert started.counts(job) == Counts(running=1)
    until(lambda: started.worker.problem is None)


def test_stopping_is_quick_and_certain_where_the_store_is_busy(
    started: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = started.submit(2)
    started.worker.wake()
    until(lambda: started.worker.in_flight == 2)
    calls = list(started.engine.calls)
    monkeypatch.setattr(started.store, "give_back", busy)
    monkeypatch.setattr(started.store, "publish", busy)
    started.worker.stop()
    assert not started.worker.alive
    assert all(call.future.cancelled() for call in calls)
    monkeypatch.undo()
    # The heartbeat has ended with it, so the next server takes them back.
    started.worker = started.another_worker(started.engine)
    for _ in range(10):
        started.clock.advance(started.settings.lease_s / 3)
        started.round()
    assert started.counts(job) == Counts(done=2)


def test_what_holds_the_work_up_is_logged_once_and_that_it_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[str] = []
    enough = threading.Event()

    def round_() -> None:
        rounds.append("round")
        if len(rounds) < 4:
            code = "disk_full" if len(rounds) < 3 else "store_busy"
            raise ServiceError(code, f"for the {len(rounds)}. time", "")
        enough.set()

    monkeypatch.setattr(world.worker, "run_once", round_)
    monkeypatch.setattr(world.worker._stopping, "wait", lambda _: None)
    with capture_logs() as logs:
        world.worker.start()
        for _ in range(100):
            world.worker.wake()
            if enough.wait(0.1):
                break
        world.worker.stop()
    said = [(line["event"], line.get("code", line.get("after"))) for line in logs]
    assert [one for one in said if one[0] in ("worker_held_up", "worker_goes_on")] == [
        ("worker_held_up", "disk_full"),
        ("worker_held_up", "store_busy"),
        ("worker_goes_on", "store_busy"),
    ]
