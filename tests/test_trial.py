"""Time trials: models in turn, nothing beside them, and an end that is said whatever happens."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc import child, machine, measuring
from photoproc.child import Order, Report
from photoproc.engine import ChildInfo
from photoproc.errors import Problem, ServiceError, TaskError
from photoproc.jobs import Job, TaskState
from photoproc.measuring import rounds_for, turns
from photoproc.parts import Keep
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from photoproc.trial_plan import chosen, spread_over
from photoproc.trial_result import Trial, TrialState
from tests.fakes import FakeClock, carry_out
from tests.test_service import Desk as ServiceDesk
from tests.test_service import code_of
from tests.waiting import at_once, until

BOTH = Recipe(models=("u2netp", "u2net"))
TOOK = {"u2netp": 0.5, "u2net": 1.5, "silueta": 0.7}


class Bench:
    """Where fake children of trials run: it knows the order of their runs, and holds them where a test
    wants that."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.children: list[Child] = []
        self.open = threading.Event()
        self.open.set()
        self.answer: Callable[[Order, int], Report] = answer

    def engine(self) -> "Child":
        self.children.append(Child(self))
        return self.children[-1]


def answer(order: Order, run: int) -> Report:
    """What a child reports of its first run, and of later ones."""
    assert order.model is not None
    assert order.mask is None, "the model has to run"
    assert order.photo.is_file()
    assert order.outbox.is_dir()
    (order.outbox / "cutout").write_bytes(b"left behind")
    seconds = {"decode": 0.1, "inference": TOOK[order.model.name] - 0.1 + (0.001 * run)}
    return Report(
        seconds={"load": 2.0, **seconds} if run == 0 else seconds,
        provider="CPUExecutionProvider",
        peak_bytes=1000 + run,
        threads=1,
    )


class Child:
    """An engine of one fake child."""

    capacity = 1

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._runs = 0
        self.stopped = False

    def submit(self, function: Callable[..., Any], *args: Any, parts: int = 1) -> "Future[Any]":
        future: Future[Any] = Future()
        if function is child.warm_up:
            future.set_result(1)
            return future
        assert function is child.run
        self._bench.runs.append(args[0].model.name)
        threading.Thread(target=self._carry_out, args=(future, args[0]), daemon=True).start()
        return future

    def _carry_out(self, future: "Future[Any]", order: Order) -> None:
        self._bench.open.wait(30)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(self._bench.answer(order, self._runs))
            except TaskError as error:
                future.set_exception(error)
        self._runs += 1

    def result(self, future: "Future[Any]") -> Any:
        try:
            return future.result(timeout=30)
        except CancelledError as error:
            raise TaskError("cancelled", "It was cancelled.", "") from error

    def cancel(self, future: "Future[Any]") -> None:
        future.cancel()

    def supervise(self) -> None:
        return

    def children(self) -> list[ChildInfo]:
        return []

    def stop(self) -> None:
        self.stopped = True


class Desk(ServiceDesk):
    """A service with a worker that runs, fake children, and a bench for trials."""

    def __init__(self, settings: Settings) -> None:
        self.bench = Bench()
        super().__init__(settings, "u2net", "u2netp", trial_engine=self.bench.engine)

    def of(self, count: int = 2, recipe: Recipe = BOTH, **options: Any) -> Job:
        """A job of so many photos."""
        return self.submit(*(f"{number}.png" for number in range(count)), recipe=recipe, **options)

    def done(self, count: int = 2, recipe: Recipe = BOTH) -> Job:
        """A job whose tasks are all finished."""
        job = self.of(count, recipe)
        for _ in range(50):
            self.worker.run_once()
            self.engine.run_all(carry_out)
        return self.service.job(job.id)

    def trial(self, job: Job) -> Trial:
        found = self.service.trial(job.id)
        assert found is not None
        return found

    def ended(self, job: Job) -> Trial:
        """The job's trial, once it has ended."""
        until(lambda: self.trial(job).state.final and not self.service.trial_runs)
        return self.trial(job)

    def left(self) -> list[Path]:
        return list((self.settings.data_dir / "tmp").iterdir())


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    made = Desk(settings)
    yield made
    made.bench.open.set()
    made.service.end_trials()
    made.worker.stop()
    made.store.close()


# The order of runs


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5))
def test_every_model_meets_every_photo_once_a_round_and_each_is_first_in_its_turn(
    models: int, photos: int, rounds: int
) -> None:
    names = [f"m{number}" for number in range(models)]
    found = list(turns(names, photos, rounds))
    assert len(found) == len(set(found)) == models * photos * rounds
    for place in range(0, len(found), models):
        step = found[place : place + models]
        assert len({(turn.round, turn.photo) for turn in step}) == 1
        assert {turn.model for turn in step} == set(names)
        assert step[0].model == names[(step[0].round - 1) % models]
    assert [turn.round for turn in found] == sorted(turn.round for turn in found)


@given(st.integers(1, 200), st.integers(1, 24))
def test_photos_are_spread_from_the_first_to_the_last(there: int, wanted: int) -> None:
    found = spread_over(range(there), wanted)
    assert len(set(found)) == len(found) == min(there, wanted)
    assert found == sorted(found)
    assert wanted == 1 or (found[0], found[-1]) == (0, there - 1)
    steps = [after - before for before, after in pairwise(found)]
    assert not steps or max(steps) - min(steps) <= 1


@pytest.mark.parametrize(("photos", "rounds"), [(1, 12), (2, 6), (4, 3), (5, 3), (8, 3), (24, 3)])
def test_few_photos_are_measured_in_more_rounds(photos: int, rounds: int) -> None:
    assert rounds_for(photos) == rounds


# Going well


def test_models_take_turns_after_each_was_loaded(desk: Desk) -> None:
    job = desk.done(2)
    begun = desk.service.start_trial(job.id, rounds=3)
    assert (begun.state, begun.total, begun.done) == (TrialState.WAITING, 14, 0)
    trial = desk.ended(job)
    ab, ba = ["u2netp", "u2net"], ["u2net", "u2netp"]
    assert desk.bench.runs == ab + 2 * ab + 2 * ba + 2 * ab
    assert (trial.state, trial.done, trial.problem) == (TrialState.DONE, 14, None)
    assert [photo.name for photo in trial.photos] == ["0.png", "1.png"]
    assert len(desk.bench.children) == 2
    assert all(one.stopped for one in desk.bench.children)
    assert desk.left() == []


def test_the_figures_are_those_of_the_runs_the_first_one_apart(desk: Desk) -> None:
    job = desk.done(2)
    desk.service.start_trial(job.id, rounds=3)
    trial = desk.ended(job)
    small, large = trial.figures
    assert (small.model, large.model) == ("u2netp", "u2net")
    assert small.cold["load"] == 2.0
    assert small.first == pytest.approx(2.5)
    assert small.rounds == tuple(
        tuple(pytest.approx(0.5 + 0.001 * run) for run in runs) for runs in ((1, 2), (3, 4), (5, 6))
    )
    assert small.spread is not None
    assert small.spread.count == 6
    assert small.spread.p50 == pytest.approx(0.5035)
    assert small.interval is None, "two photos say nothing of others"
    assert small.steps == {"decode": pytest.approx(0.1), "inference": pytest.approx(0.4035)}
    assert small.photos_per_s == pytest.approx(1 / 0.5035)
    assert (small.provider, small.threads, small.peak_bytes) == ("CPUExecutionProvider", 1, 1006)
    (ratio,) = trial.ratios
    assert (ratio.slower, ratio.faster, ratio.told_apart) == ("u2net", "u2netp", False)
    assert ratio.times == pytest.approx(3, rel=0.02)


def test_six_photos_say_something_of_others(desk: Desk) -> None:
    job = desk.done(6)
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert trial.rounds == 3
    # The runs of a model count up from 1: the second of its three on each photo is the median.
    assert trial.figures[0].interval == pytest.approx((0.507, 0.512))
    (ratio,) = trial.ratios
    assert (ratio.slower, ratio.faster, ratio.told_apart) == ("u2net", "u2netp", True)


def test_a_check_of_certainty_is_not_run_and_not_counted(desk: Desk) -> None:
    job = desk.done(1, Recipe(models=("u2netp", "u2net"), certainty=True))
    asked: list[Recipe] = []

    def note(order: Order, run: int) -> Report:
        asked.append(Recipe.from_json(order.recipe_json))
        made = answer(order, run)
        return replace(made, seconds={**(made.seconds or {}), "certainty": 9.0})

    desk.bench.answer = note
    desk.service.start_trial(job.id, rounds=1)
    trial = desk.ended(job)
    assert {recipe.certainty for recipe in asked} == {False}
    assert trial.figures[0].first == pytest.approx(2.5)
    assert trial.figures[0].warm == pytest.approx((0.501,))


def test_nothing_of_a_trial_is_published_or_kept_as_a_mask(desk: Desk) -> None:
    job = desk.of(2)
    desk.service.start_trial(job.id)
    desk.ended(job)
    assert desk.service.job(job.id).counts.queued == 4
    assert not any(path.is_file() for path in (desk.settings.data_dir / "masks").rglob("*"))
    assert list((desk.settings.data_dir / "jobs" / job.id / "out").iterdir()) == []


def test_a_single_model_is_measured_as_well(desk: Desk) -> None:
    job = desk.done(1, Recipe(models=("u2netp",)))
    assert desk.service.start_trial(job.id).rounds == 12
    trial = desk.ended(job)
    assert (trial.state, len(trial.figures[0].warm), trial.ratios) == (TrialState.DONE, 12, [])


def test_photos_on_which_a_model_failed_are_left_out(desk: Desk) -> None:
    job = desk.of(3)
    bad = next(iter(desk.service.tasks(job.id, limit=1))).photo.sha256

    def fail(order: Order) -> Report:
        if order.photo.name == bad:
            return Report(problem=Problem(code="photo_broken", message="Broken."))
        return carry_out(order)

    for _ in range(20):
        desk.worker.run_once()
        desk.engine.run_all(fail)
    assert desk.service.job(job.id).counts.failed == 2
    desk.service.start_trial(job.id)
    assert [photo.place for photo in desk.ended(job).photos] == [1, 2]


def test_photos_that_are_done_come_first_and_others_where_they_are_too_few(desk: Desk) -> None:
    job = desk.of(12)
    for _ in range(3):  # two children: three of the photos
        desk.worker.run_once()
        desk.engine.run_all(carry_out)
    desk.worker.run_once()
    states = desk.store.states(job.id)
    done = [place for place in range(12) if states[2 * place : 2 * place + 2] == 2 * TaskState.DONE.code]
    assert 0 < len(done) < 4
    ((place, _),) = chosen(desk.service.job(job.id), 1, store=desk.store)
    assert place in done
    some = [place for place, _ in chosen(desk.service.job(job.id), 8, store=desk.store)]
    assert set(done) < set(some)
    assert (len(some), some) == (8, sorted(some))


def bad(name: str, *, good: int) -> Callable[[Order, int], Report]:
    """Answers of children for which one photo is broken, after so many good runs of u2net on it."""
    runs: dict[str, int] = {}

    def run(order: Order, number: int) -> Report:
        assert order.model is not None
        if order.model.name == "u2net" and order.photo.name == name:
            runs[name] = runs.get(name, 0) + 1
            if runs[name] > good:
                return Report(problem=Problem(code="photo_broken", message="Broken.", advice="A."))
        return answer(order, number)

    return run


@pytest.mark.parametrize(
    ("place", "good", "when"), [(1, 1, "in round 2"), (0, 0, "when it was loaded"), (0, 2, "in round 2")]
)
def test_a_photo_that_fails_is_left_out_with_all_its_runs_and_the_trial_goes_on(
    desk: Desk, place: int, good: int, when: str
) -> None:
    job = desk.done(3)
    photos = [task.photo for task in desk.service.tasks(job.id) if task.number % 2 == 0]
    desk.bench.answer = bad(photos[place].sha256, good=good)
    desk.service.start_trial(job.id, rounds=3)
    trial = desk.ended(job)
    assert (trial.state, trial.problem) == (TrialState.DONE, None)
    assert [photo.place for photo in trial.photos] == [one for one in range(3) if one != place]
    (left,) = trial.left_out
    assert (left.place, left.name) == (place, f"{place}.png")
    assert left.problem == Problem(
        code="photo_broken", message=f"u2net failed {when}, on “{place}.png”: Broken.", advice="A."
    )
    assert [[len(made) for made in one.rounds] for one in trial.figures] == [[2, 2, 2]] * 2
    assert (len(trial.others), trial.done, trial.total) == (3, 14, 14)
    assert all("load" in one.cold for one in trial.figures), "of a fresh child, whatever failed before"
    assert all(one.stopped for one in desk.bench.children)
    desk.store.close()
    again = Desk(desk.settings)
    assert again.trial(job) == trial
    again.store.close()


def test_a_photo_that_kills_a_child_is_left_out_as_well(desk: Desk) -> None:
    job = desk.done(2)
    one = next(iter(desk.service.tasks(job.id, limit=1))).photo.sha256

    def die(order: Order, run: int) -> Report:
        if order.photo.name == one:
            raise TaskError("child_crashed", "The process working on it died (signal 9).", "")
        return answer(order, run)

    desk.bench.answer = die
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert (trial.state, [photo.place for photo in trial.photos]) == (TrialState.DONE, [1])
    assert [left.problem.code for left in trial.left_out] == ["child_crashed"]


@pytest.mark.parametrize("code", ["disk_full", "provider_missing"])
def test_what_is_not_a_photos_fault_leaves_none_out(desk: Desk, code: str) -> None:
    job = desk.done(2)
    desk.bench.answer = lambda *_: Report(problem=Problem(code=code, message="Full.", advice="A."))
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert (trial.state, trial.problem and trial.problem.code) == (TrialState.FAILED, code)
    assert (len(trial.photos), trial.left_out) == (2, ())


def test_rounds_in_which_other_work_took_the_cores_are_marked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = desk.done(1)
    # Two looks a round: 10 s of four cores, of which others took 2 s, 20 s (and the children 8 s), nothing.
    busy = iter([0.0, 2.0, 2.0, 30.0, 30.0, 31.0])
    ours = iter([0.0, 0.0, 0.0, 8.0, 8.0, 9.0])
    looks = iter([0.0, 10.0, 10.0, 20.0, 20.0, 30.0])

    class Clock(FakeClock):
        pass

    monkeypatch.setattr(machine, "busy_s", lambda: next(busy))
    monkeypatch.setattr(machine, "worked_s", lambda _: next(ours))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    real = measuring._Load

    class Load(real):  # type: ignore[misc, valid-type]
        def __init__(self, pids: list[int], clock: FakeClock) -> None:
            clock = Clock()
            clock.mono = next(looks)
            super().__init__(pids, clock)

        def others(self) -> float | None:
            self._clock.mono = next(looks)
            found: float | None = super().others()
            return found

    monkeypatch.setattr(measuring, "_Load", Load)
    desk.service.start_trial(job.id, rounds=3)
    trial = desk.ended(job)
    assert trial.others == (0.05, 0.5, 0.0)
    assert trial.disturbed == (2,)


# The worker


def test_the_worker_begins_nothing_meanwhile_and_goes_on_afterwards(desk: Desk) -> None:
    job = desk.done(1)
    desk.worker.start()
    desk.bench.open.clear()
    desk.service.start_trial(job.id)
    until(lambda: desk.trial(job).state is TrialState.RUNNING)
    other = desk.of(1, Recipe(models=("u2netp",)))
    desk.worker.wake()
    threading.Event().wait(0.6)  # two rounds of the worker
    assert desk.engine.calls == []
    assert desk.service.job(other.id).counts.queued == 1
    assert (desk.worker.is_held, desk.service.trial_runs, desk.service.system().worker_held) == (True,) * 3
    desk.bench.open.set()
    desk.ended(job)
    until(lambda: desk.engine.calls)
    assert not desk.worker.is_held
    until(lambda: desk.engine.run_all(carry_out) + desk.service.job(other.id).counts.done)
    until(lambda: desk.service.job(other.id).state.final)


def test_it_waits_until_running_tasks_have_ended(desk: Desk) -> None:
    job = desk.done(1)
    slow = desk.of(1, Recipe(models=("u2netp",)))
    desk.worker.start()
    until(lambda: desk.engine.calls)
    desk.service.start_trial(job.id)
    threading.Event().wait(0.4)
    assert desk.trial(job).state is TrialState.WAITING
    assert desk.bench.runs == []
    desk.engine.run_all(carry_out)
    assert desk.ended(job).state is TrialState.DONE
    assert desk.service.job(slow.id).counts.done == 1


def test_it_does_not_wait_for_ever(desk: Desk) -> None:
    job = desk.done(1)
    desk.of(1, Recipe(models=("u2netp",)))
    desk.worker.run_once()
    assert desk.worker.in_flight == 1
    desk.service.start_trial(job.id)

    def over() -> bool:
        desk.clock.advance(desk.settings.task_timeout_s)
        return desk.trial(job).state.final

    until(over)
    trial = desk.ended(job)
    assert (trial.state, trial.problem and trial.problem.code) == (TrialState.FAILED, "trial_no_quiet")
    assert not desk.worker.is_held


def test_what_takes_too_long_ends_with_the_rounds_it_has(desk: Desk) -> None:
    job = desk.done(1)

    def slow(order: Order, run: int) -> Report:
        desk.clock.advance(100)
        return answer(order, run)

    desk.bench.answer = slow
    desk.service.start_trial(job.id, rounds=20)
    trial = desk.ended(job)
    # 900 s: two runs to load, then three rounds of two; the tenth run would begin after that.
    assert (trial.state, len(trial.others), trial.rounds) == (TrialState.DONE, 3, 20)
    assert [len(one.rounds) for one in trial.figures] == [3, 3]

    def slower(order: Order, run: int) -> Report:
        desk.clock.advance(300)
        return answer(order, run)

    desk.bench.answer = slower
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert (trial.state, trial.problem and trial.problem.code) == (TrialState.FAILED, "trial_too_long")


def test_no_masks_are_compared_beside_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.done(1)
    desk.bench.open.clear()
    desk.service.start_trial(job.id)

    def submit(*_: object) -> None:
        raise AssertionError("that would disturb the trial")

    monkeypatch.setattr(desk.service._compares, "submit", submit)
    found = desk.service.comparison(job.id)
    assert (found.measured, found.to_measure) == (0, 1)
    desk.bench.open.set()
    desk.ended(job)
    with pytest.raises(AssertionError, match="disturb"):
        desk.service.comparison(job.id)


# Ends


def test_stopping_ends_it_and_keeps_the_rounds_that_are_finished(desk: Desk) -> None:
    job = desk.done(1)

    def hold(order: Order, run: int) -> Report:
        if run == 2:
            desk.bench.open.clear()
        return answer(order, run)

    desk.bench.answer = hold
    desk.service.start_trial(job.id, rounds=5)
    until(lambda: not desk.bench.open.is_set())
    until(lambda: desk.trial(job).done >= 5)
    stopped = desk.service.stop_trial(job.id)
    assert stopped is not None
    trial = desk.ended(job)
    assert (trial.state, trial.problem and trial.problem.code) == (TrialState.STOPPED, "trial_stopped")
    assert [len(one.rounds) for one in trial.figures] == [1, 1]
    assert desk.service.stop_trial(job.id) == trial
    assert not desk.worker.is_held
    assert desk.left() == []


def test_a_child_that_dies_is_said_and_the_worker_goes_on(desk: Desk) -> None:
    job = desk.done(1)

    def die(order: Order, run: int) -> Report:
        if run == 1 and order.model is not None and order.model.name == "u2net":
            raise TaskError("child_crashed", "The process working on it died (signal 9).", "")
        return answer(order, run)

    desk.bench.answer = die
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert trial.state is TrialState.FAILED
    assert trial.problem == Problem(
        code="child_crashed",
        message="u2net failed in round 1, on “0.png”: The process working on it died (signal 9).",
        advice="Run it again.",
    )
    assert not desk.worker.is_held


def test_a_child_that_was_replaced_between_its_runs_is_not_taken_for_a_slow_one(desk: Desk) -> None:
    job = desk.done(1)
    desk.bench.answer = lambda order, run: answer(order, 0 if run == 2 else run)
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert trial.problem is not None
    assert (trial.problem.code, "died between two runs" in trial.problem.message) == ("child_crashed", True)


def test_it_fails_where_no_photo_is_left(desk: Desk) -> None:
    job = desk.of(2)
    desk.bench.answer = lambda *_: Report(
        problem=Problem(code="photo_broken", message="Broken.", advice="A.")
    )
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert trial.problem == Problem(
        code="photo_broken", message="u2netp failed when it was loaded, on “1.png”: Broken.", advice="A."
    )
    assert trial.state is TrialState.FAILED
    assert [left.place for left in trial.left_out] == [0, 1]
    assert (trial.photos, trial.figures, trial.others) == ((), (), ())


def test_a_mistake_of_ours_is_an_end_as_well(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.done(1)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def mistake(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(measuring, "turns", mistake)
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    assert (trial.state, trial.problem and trial.problem.code) == (TrialState.FAILED, "trial_error")
    until(lambda: not any(one.name == "trial" for one in threading.enumerate()))  # while nobody hears it
    assert not desk.worker.is_held


def test_deleting_the_job_ends_its_trial_and_forgets_it(desk: Desk) -> None:
    job = desk.done(2)
    desk.service.start_trial(job.id)
    desk.ended(job)
    desk.bench.open.clear()
    desk.service.start_trial(job.id)
    until(lambda: desk.trial(job).state is TrialState.RUNNING)
    desk.service.delete(job.id)
    until(lambda: not desk.service.trial_runs)
    assert desk.store.trial(job.id) is None
    assert code_of(lambda: desk.service.trial(job.id)) == "not_found"
    with desk.store._db.change() as cache:
        assert not [key for key in cache if key.startswith(f"trial:{job.id}")]
    desk.bench.open.set()
    other = desk.done(1)
    desk.service.start_trial(other.id)
    assert desk.ended(other).state is TrialState.DONE


def test_the_end_of_the_server_interrupts_it_at_once(desk: Desk) -> None:
    job = desk.done(1)
    desk.bench.open.clear()
    desk.service.start_trial(job.id)
    until(lambda: desk.trial(job).state is TrialState.RUNNING)
    desk.service.end_trials()
    trial = desk.trial(job)
    assert (trial.state, trial.problem and trial.problem.code) == (
        TrialState.INTERRUPTED,
        "trial_interrupted",
    )
    assert not desk.worker.is_held
    assert code_of(lambda: desk.service.start_trial(job.id)) == "stopping"


# Kept, and begun twice


def test_a_result_is_read_again_after_a_restart(desk: Desk) -> None:
    job = desk.done(2)
    desk.service.start_trial(job.id)
    trial = desk.ended(job)
    desk.store.close()
    again = Desk(desk.settings)
    assert again.trial(job) == trial
    again.store.close()


def test_earlier_figures_stand_until_another_trial_has_ended_with_a_round(desk: Desk) -> None:
    job = desk.done(1)
    desk.service.start_trial(job.id, rounds=2)
    first = desk.ended(job)
    assert (first.told, first.earlier) == (first, None)
    desk.bench.open.clear()
    for _ in range(2):  # stopped twice: it is still the first that stands
        desk.service.start_trial(job.id, rounds=1)
        until(lambda: desk.trial(job).state is TrialState.RUNNING)
        assert desk.trial(job).told == first
        desk.service.stop_trial(job.id)
        stopped = desk.ended(job)
        assert (stopped.state, stopped.figures, stopped.told) == (TrialState.STOPPED, (), first)
    desk.service.start_trial(job.id, rounds=1)
    until(lambda: desk.trial(job).state is TrialState.RUNNING)
    desk.service.end_trials()
    assert (desk.trial(job).state, desk.trial(job).told) == (TrialState.INTERRUPTED, first)
    desk.bench.open.set()
    desk.store.close()
    again = Desk(desk.settings)
    again.service.start_trial(job.id, rounds=1)
    last = again.ended(job)
    assert (last.told, last.earlier, len(last.figures[0].rounds)) == (last, None, 1)
    again.store.close()


def test_a_server_that_was_killed_leaves_an_interrupted_trial_not_a_running_one(desk: Desk) -> None:
    job = desk.done(1)
    desk.bench.open.clear()
    begun = desk.service.start_trial(job.id)
    until(lambda: desk.trial(job).state is TrialState.RUNNING)
    again = Desk(desk.settings)
    elsewhere = again.trial(job)
    assert elsewhere.state is TrialState.WAITING, "as it was begun: its server lives"
    assert code_of(lambda: again.service.stop_trial(job.id)) == "trial_elsewhere"
    assert code_of(lambda: again.service.start_trial(job.id)) == "trial_running"
    assert desk.service._runs is not None
    desk.service._runs.lock.release()  # as the kernel does when the server is killed
    trial = again.trial(job)
    assert (trial.state, trial.started_at) == (TrialState.INTERRUPTED, begun.started_at)
    assert again.trial(job) == trial
    again.service.start_trial(job.id)
    assert again.ended(job).state is TrialState.DONE
    # What the dead one would still write is of a trial that is no longer there.
    desk.service.stop_trial(job.id)
    until(lambda: not desk.service.trial_runs)
    assert again.trial(job).state is TrialState.DONE
    again.store.close()


def test_what_another_trial_left_running_is_interrupted_though_one_runs_now(desk: Desk) -> None:
    lost, job = desk.done(1), desk.done(1)
    desk.bench.open.clear()
    desk.service.start_trial(lost.id)
    until(lambda: desk.trial(lost).state is TrialState.RUNNING)
    assert desk.service._runs is not None
    desk.service._runs.lock.release()
    again = Desk(desk.settings)
    again.bench.open.clear()
    again.service.start_trial(job.id)
    third = Desk(desk.settings)
    assert third.trial(lost).state is TrialState.INTERRUPTED
    assert not third.trial(job).state.final
    again.bench.open.set()
    assert again.ended(job).state is TrialState.DONE
    for one in (again, third):
        one.store.close()


def test_two_who_begin_at_once_have_the_same_trial(desk: Desk) -> None:
    job = desk.done(1)
    desk.bench.open.clear()
    found: list[Trial] = []
    at_once(*[lambda: found.append(desk.service.start_trial(job.id)) for _ in range(6)])
    assert len({trial.started_at for trial in found}) == 1
    desk.bench.open.set()
    desk.ended(job)
    assert len(desk.bench.children) == 2


def test_a_second_jobs_trial_is_refused_and_told_why(desk: Desk) -> None:
    job, other = desk.done(1), desk.done(1)
    desk.bench.open.clear()
    desk.service.start_trial(job.id)
    with pytest.raises(ServiceError, match=r"A time trial of “0.png” is running.*\[trial_running\]"):
        desk.service.start_trial(other.id)
    assert desk.service.trial(other.id) is None
    strange = desk.of(1, owner="anna")
    with pytest.raises(ServiceError, match=r"of another job is running"):
        desk.service.start_trial(strange.id)


def test_a_key_holds_up_nobody_else_and_the_dashboard_may(desk: Desk) -> None:
    job, own = desk.done(1), desk.of(1, owner="anna")
    desk.of(1, owner="ben")
    assert code_of(lambda: desk.service.start_trial(own.id, by="anna")) == "others_wait"
    assert not desk.service.trial_runs
    desk.service.start_trial(job.id)
    assert desk.ended(job).state is TrialState.DONE


def test_tasks_that_wait_for_a_model_keep_no_trial_waiting(desk: Desk) -> None:
    own = desk.done(1)
    desk.of(1, Recipe(models=("silueta",)), owner="ben")
    desk.service.start_trial(own.id, by="anna")
    assert desk.ended(own).state is TrialState.DONE


def test_a_key_need_not_wait_for_its_own_tasks(desk: Desk) -> None:
    own = desk.of(1, owner="anna")
    desk.service.start_trial(own.id, by="anna")
    assert desk.ended(own).state is TrialState.DONE


def test_tasks_have_as_long_between_two_trials_as_the_last_one_took(desk: Desk) -> None:
    job = desk.done(1)

    def slow(order: Order, run: int) -> Report:
        desk.clock.advance(10)
        return answer(order, run)

    desk.bench.answer = slow
    desk.service.start_trial(job.id, rounds=1)  # four runs of ten seconds
    desk.ended(job)
    desk.service.start_trial(job.id, rounds=1)  # nothing waits
    desk.ended(job)
    desk.of(1)
    desk.clock.advance(39)
    assert code_of(lambda: desk.service.start_trial(job.id)) == "others_wait"
    desk.clock.advance(1)
    desk.service.start_trial(job.id, rounds=1)
    assert desk.ended(job).state is TrialState.DONE


def test_what_cannot_be_measured_is_refused_with_the_reason(desk: Desk) -> None:
    kept = desk.of(1, Recipe(background=Keep()))
    assert code_of(lambda: desk.service.start_trial(kept.id)) == "no_model"
    missing = desk.of(1, Recipe(models=("silueta",)))
    assert code_of(lambda: desk.service.start_trial(missing.id)) == "weights_missing"
    broken = desk.of(1)
    for _ in range(20):
        desk.worker.run_once()
        desk.engine.run_all(lambda _: Report(problem=Problem(code="photo_broken", message="Broken.")))
    assert {task.state for task in desk.service.tasks(broken.id)} == {TaskState.FAILED}
    assert code_of(lambda: desk.service.start_trial(broken.id)) == "no_photos"
    assert code_of(lambda: desk.service.start_trial("0" * 32)) == "not_found"
    assert code_of(lambda: desk.service.trial("0" * 32)) == "not_found"
    assert not desk.service.trial_runs


def test_records_stay_small_however_much_is_measured(desk: Desk) -> None:
    job = desk.done(24)
    desk.service.start_trial(job.id, photos=24, rounds=20)
    trial = desk.ended(job)
    assert len(trial.figures[0].warm) == 480
    with desk.store._db.change() as cache:
        for key in (f"trial:{job.id}", f"trial:{job.id}:u2net", f"trial:{job.id}:u2netp"):
            assert len(str(cache.get(key))) < 32 * 1024


def test_how_long_it_takes_is_told_from_what_tasks_took_here(desk: Desk) -> None:
    assert desk.service.trial_estimate(desk.of(1).id) == (1, None)
    job = desk.of(2, Recipe(models=("u2netp",)))
    report = Report(seconds={"load": 3.0, "decode": 0.5, "inference": 1.5}, provider="CPU")
    for _ in range(20):
        desk.worker.run_once()
        desk.engine.run_all(
            lambda order: (
                carry_out(order)
                if order.model is not None and order.model.name == "u2net"
                else _with(order, report)
            )
        )
    # Two photos, six rounds, and the first run with loading.
    count, about = desk.service.trial_estimate(job.id)
    assert count == 2
    assert about == pytest.approx(13 * 2.0 + 3.0)
    desk.service.start_trial(job.id)
    took = desk.ended(job)
    assert took.finished_at is not None
    assert desk.service.trial_estimate(job.id) == (2, took.finished_at - took.started_at)


def test_photos_that_failed_are_not_counted_in_what_it_would_measure(desk: Desk) -> None:
    job = desk.of(3, Recipe(models=("u2netp",)))
    for _ in range(20):
        desk.worker.run_once()
        desk.engine.run_all(
            lambda order: (
                Report(problem=Problem(code="photo_broken", message="Broken."))
                if order.photo.name == desk.service.tasks(job.id)[1].photo.sha256
                else carry_out(order)
            )
        )
    states = [task.state for task in desk.service.tasks(job.id)]
    assert states == [TaskState.DONE, TaskState.FAILED, TaskState.DONE]
    assert desk.service.trial_estimate(job.id)[0] == 2


def _with(order: Order, report: Report) -> Report:
    made = carry_out(order)
    return Report(pictures=made.pictures, mask=made.mask, seconds=report.seconds, provider="CPU")
