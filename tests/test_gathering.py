"""Tasks that share a call, where a card runs their model: each with its own claim, report and failure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import structlog

from photoproc.child import Order, Report
from photoproc.errors import Problem, TaskError
from photoproc.jobs import Counts, TaskState
from photoproc.models.providers import Limit
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.fakes import FakeEngine, carry_out
from tests.pretended import CPU, CUDA
from tests.test_worker import World

Orders = Order | Sequence[Order]
ALONE = ("child_crashed", "task_timeout", "task_error")


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    made = World(settings)
    made.engine.there = (CUDA, CPU)
    made.worker.run_once()  # which looks what there is
    yield made
    made.store.close()


def answer(orders: Orders) -> Report | tuple[Report, ...]:
    """What a child that has a card answers."""
    if isinstance(orders, Order):
        return on_card(orders)
    return tuple(replace(on_card(order), batch=len(orders)) for order in orders)


def on_card(order: Order) -> Report:
    return replace(carry_out(order), provider=CUDA)


def sizes(engine: FakeEngine) -> list[int]:
    """How many tasks each call has that is under way; 0 for a lone order."""
    return [0 if isinstance(call.args[0], Order) else len(call.args[0]) for call in engine.calls]


def deadly(sha256: str) -> Callable[[Orders], object]:
    """A photo that ends its child, whatever is with it."""

    def answered(orders: Orders) -> object:
        each = [orders] if isinstance(orders, Order) else orders
        if any(order.photo.name == sha256 for order in each):
            raise TaskError("child_crashed", "The process working on it died.", "")
        return answer(orders)

    return answered


def drive(world: World, job: str, reply: Callable[[Orders], object] = answer) -> None:
    for _ in range(50):
        if world.store.job(job).state.final:
            return
        world.engine.run_all(reply)
        world.worker.run_once()
    raise AssertionError("the job does not end")


def test_what_is_queued_shares_calls_and_each_task_is_published_by_itself(world: World) -> None:
    job = world.submit(10)
    world.worker.run_once()
    assert sizes(world.engine) == [4, 4]
    assert world.counts(job) == Counts(queued=2, running=8)
    drive(world, job)
    assert world.counts(job) == Counts(done=10)
    assert [task.batch for task in world.tasks(job)] == [4] * 8 + [1, 1]
    assert {(task.attempts, task.provider) for task in world.tasks(job)} == {(1, CUDA)}
    assert world.worker.in_flight == 0
    assert world.tmp() == []


def test_few_are_dealt_evenly_and_nobody_waits_for_more(world: World) -> None:
    world.submit(3)
    world.worker.run_once()
    assert sizes(world.engine) == [2, 0]
    world.submit(1)
    world.worker.run_once()
    assert sizes(world.engine) == [2, 0], "both children have something to do"


def test_a_lone_photo_is_a_lone_order_with_all_cores(world: World) -> None:
    world.submit(1)
    world.worker.run_once()
    assert sizes(world.engine) == [0]
    assert world.orders()[0].alone


def test_of_two_lone_photos_none_has_all_cores(world: World) -> None:
    world.submit(1)
    world.submit(1)
    world.worker.run_once()
    assert [order.alone for order in world.orders()] == [False, False]


def test_what_is_over_is_forgotten(world: World) -> None:
    job = world.submit(4)
    world.worker.run_once()
    world.engine.run_all(deadly(world.tasks(job)[0].photo.sha256))
    world.worker.run_once()
    assert world.worker._gathering._apart
    drive(world, job)
    assert not world.worker._gathering._apart


def test_the_size_is_a_setting_and_1_turns_it_off(settings: Settings) -> None:
    for most, calls in ((1, [0, 0]), (3, [3, 3])):
        own = settings.model_copy(update={"gpu_batch": most, "data_dir": settings.data_dir / str(most)})
        world = World(own)
        world.engine.there = (CUDA, CPU)
        world.worker.run_once()
        world.submit(9)
        world.worker.run_once()
        assert sizes(world.engine) == calls
        world.store.close()


def test_the_cpu_never_batches(world: World, settings: Settings) -> None:
    world.engine.there = (CPU,)
    world.worker = world.another_worker(world.engine)
    world.worker.run_once()
    world.submit(6)
    world.worker.run_once()
    assert sizes(world.engine) == [0, 0]


def test_a_model_that_fell_back_to_the_cpu_is_batched_no_more(world: World) -> None:
    job = world.submit(6)
    world.worker.run_once()
    world.engine.run_all(lambda orders: tuple(carry_out(order) for order in orders))
    world.worker.run_once()
    assert world.counts(job).done == 6
    world.submit(6)
    world.worker.run_once()
    assert sizes(world.engine) == [0, 0]


def test_a_limit_that_a_child_found_is_kept_to_and_logged_once(world: World) -> None:
    job = world.submit(16)
    world.worker.run_once()
    limit = Limit(photos=2, why="there is too little memory for more photos at once")

    def limited(orders: Orders) -> object:
        found = answer(orders)
        each = (found,) if isinstance(found, Report) else found
        told = tuple(replace(report, limit=limit) for report in each)
        return told[0] if isinstance(orders, Order) else told

    with structlog.testing.capture_logs() as lines:
        world.engine.run_all(limited)
        world.worker.run_once()
        assert sizes(world.engine) == [2, 2]
        drive(world, job, limited)
    [line] = [line for line in lines if line["event"] == "model_batch_limited"]
    assert (line["model"], line["photos"], line["why"]) == ("u2net", 2, limit.why)


def test_comparisons_are_never_batched_and_take_no_others_with_them(world: World) -> None:
    world.weights.there["u2netp"] = world.weights.there["u2net"]
    comparison = world.submit(3, Recipe(models=("u2net", "u2netp")))
    plain = world.submit(6)
    for _ in range(20):
        world.worker.run_once()
        for call in world.engine.calls:
            orders = call.args[0]
            each = [orders] if isinstance(orders, Order) else orders
            several = [len(Recipe.from_json(order.recipe_json).models) > 1 for order in each]
            assert several == [True] or not any(several)
        world.engine.run_all(answer)
    assert (world.counts(comparison).done, world.counts(plain).done) == (6, 6)
    assert {task.batch for task in world.tasks(comparison)} == {1}
    assert max(task.batch for task in world.tasks(plain)) > 1


def test_a_photo_that_fails_in_a_batch_is_the_only_one_that_does(world: World) -> None:
    job = world.submit(4)
    broken = world.tasks(job)[2].photo.sha256

    def answered(orders: Orders) -> object:
        problem = Report(problem=Problem(code="photo_broken", message="It is damaged."))
        each = [orders] if isinstance(orders, Order) else orders
        told = tuple(problem if order.photo.name == broken else on_card(order) for order in each)
        return told[0] if isinstance(orders, Order) else told

    drive(world, job, answered)
    assert [task.state for task in world.tasks(job)] == [
        *(TaskState.DONE, TaskState.DONE, TaskState.FAILED, TaskState.DONE)
    ]
    assert {task.attempts for task in world.tasks(job)} == {1}


@pytest.mark.parametrize("code", ALONE)
def test_a_call_that_ends_without_an_answer_charges_nobody_and_all_of_it_run_alone(
    world: World, code: str
) -> None:
    job = world.submit(8)
    world.worker.run_once()
    assert sizes(world.engine) == [4, 4]
    world.engine.fail_all(code)
    world.worker.run_once()
    assert world.counts(job).failed == 0
    assert sizes(world.engine) == [0, 0]
    drive(world, job)
    assert {(task.state, task.attempts, task.batch) for task in world.tasks(job)} == {(TaskState.DONE, 1, 1)}


def test_the_photo_that_ends_its_children_is_found_and_only_it_is_charged(world: World) -> None:
    job = world.submit(12)
    guilty = world.tasks(job)[5]
    drive(world, job, deadly(guilty.photo.sha256))
    tasks = world.tasks(job)
    assert world.counts(job) == Counts(done=11, failed=1)
    assert tasks[5].problem is not None
    assert (tasks[5].problem.code, tasks[5].attempts) == ("poison", 3)
    assert {task.attempts for task in tasks if task.number != 5} == {1}
    assert world.tmp() == []
    again = world.submit(8)
    world.worker.run_once()
    assert sizes(world.engine) == [4, 4], "what is over is remembered no more"
    drive(world, again)


@pytest.mark.parametrize("code", ["engine_restarted", "cancelled"])
def test_a_call_that_ended_by_no_photo_of_it_is_made_again_as_it_was(world: World, code: str) -> None:
    job = world.submit(8)
    world.worker.run_once()
    world.engine.fail_all(code)
    world.worker.run_once()
    assert sizes(world.engine) == [4, 4]
    drive(world, job)
    assert {task.attempts for task in world.tasks(job)} == {1}


def test_cancelling_one_job_of_a_batch_drops_its_results_and_keeps_the_others(world: World) -> None:
    one, other = world.submit(2), world.submit(6)
    world.worker.run_once()
    assert sizes(world.engine) == [4, 4]
    world.store.cancel(one, now=0.0)
    world.worker.run_once()
    assert not any(call.future.cancelled() for call in world.engine.calls)
    drive(world, other)
    assert (world.counts(one), world.counts(other)) == (Counts(cancelled=2), Counts(done=6))
    assert world.outputs(one) == []
    assert world.tmp() == []


def test_a_batch_that_nobody_wants_any_more_is_stopped(world: World) -> None:
    job = world.submit(8)
    world.worker.run_once()
    calls = list(world.engine.calls)
    world.store.cancel(job, now=0.0)
    world.worker.run_once()
    assert all(call.future.cancelled() for call in calls)
    world.worker.run_once()
    assert world.counts(job) == Counts(cancelled=8)
    assert world.tmp() == []


def test_an_order_tells_the_size_of_its_photo(world: World) -> None:
    world.submit(2)
    world.worker.run_once()
    assert [order.pixels for order in world.orders()] == [2, 2]


def test_a_worker_that_stops_queues_a_batch_again_uncharged(world: World) -> None:
    job = world.submit(6)
    world.worker.run_once()
    world.worker._drain()
    assert world.counts(job) == Counts(queued=6)
    assert {task.attempts for task in world.tasks(job)} == {0}
    assert world.tmp() == []
