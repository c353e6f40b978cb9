"""The engine on a Dask cluster: what holds for every engine, and what becomes of calls whose worker goes."""

import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from photoproc import child
from photoproc.child import Order
from photoproc.engine import Engine
from photoproc.engine.cluster import DaskEngine, _Seen
from photoproc.engine.local import LocalEngine
from photoproc.engine.parcels import packed
from photoproc.engine.station import Station
from photoproc.errors import TaskError
from photoproc.parts import Keep
from photoproc.recipe import Recipe
from tests.cluster import ROOT, Cluster, clustered, engine_on
from tests.contract.test_engine import EngineContract, error_of, finish, told_by
from tests.faults import acts
from tests.faults.processes import is_alive, kill
from tests.long import by_hand
from tests.pictures import encoded, picture
from tests.waiting import until

pytestmark = pytest.mark.faults

_LIMIT_S = 8.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker with one place."""
    folder = tmp_path_factory.mktemp("cluster")
    with clustered(folder, workers=1, offline=1, task_timeout_s=_LIMIT_S) as made:
        yield made


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[DaskEngine]:
    with engine_on(cluster, places=1) as made:
        yield made


class TestDaskEngine(EngineContract):
    @pytest.fixture
    def engine(self, cluster: Cluster) -> Iterator[Engine]:
        with engine_on(cluster, places=1) as made:
            yield made


def test_a_crash_is_that_calls_alone_and_the_worker_stays(cluster: Cluster, engine: DaskEngine) -> None:
    worker = cluster.workers()
    with pytest.raises(TaskError) as caught:
        finish(engine, engine.submit(acts.kill_yourself))
    assert caught.value.problem.code == "child_crashed"
    assert "signal 9" in caught.value.problem.message
    assert finish(engine, engine.submit(acts.double, 2)) == 4
    assert cluster.workers() == worker


def test_a_call_beyond_its_time_is_killed_by_the_workers_own_limit(
    engine: DaskEngine, tmp_path: Path
) -> None:
    call = engine.submit(acts.hang, tmp_path / "sign")
    assert error_of(engine, call) == "task_timeout"
    pid = told_by(tmp_path / "sign")
    until(lambda: not is_alive(pid))


def test_cancelling_kills_the_child_at_the_worker(engine: DaskEngine, tmp_path: Path) -> None:
    call = engine.submit(acts.hang, tmp_path / "sign")
    pid = told_by(tmp_path / "sign")
    engine.cancel(call)
    assert error_of(engine, call) == "cancelled"
    until(lambda: not is_alive(pid), within_s=_LIMIT_S / 2)
    assert finish(engine, engine.submit(acts.pid)) != pid


def test_calls_that_are_cancelled_as_soon_as_they_are_made_keep_no_place(
    engine: DaskEngine, tmp_path: Path
) -> None:
    calls = [engine.submit(acts.hang, tmp_path / f"{number}") for number in range(20)]
    for call in calls:
        engine.cancel(call)
        assert error_of(engine, call) == "cancelled"
    assert finish(engine, engine.submit(acts.double, 1), within_s=_LIMIT_S) == 2


@pytest.mark.parametrize(("state", "problem"), [("executing", "task_timeout"), ("cancelled", "cancelled")])
def test_a_call_that_was_cancelled_before_its_thread_got_to_it_is_not_begun(
    state: str, problem: str, tmp_path: Path
) -> None:
    station = Station()
    station._engine = LocalEngine(children=1, threads=1, timeout_s=2)
    station._calls, station._unfit = {}, ""
    state_of = SimpleNamespace(tasks={"call": SimpleNamespace(state=state)})
    station._worker = SimpleNamespace(local_directory=str(tmp_path), state=state_of)
    try:
        reply = station.carry_out("call", packed(acts.hang, (tmp_path / "sign",)))
    finally:
        station._engine.stop()
    assert reply.problem is not None
    assert reply.problem.code == problem
    assert (tmp_path / "sign").exists() is (state == "executing")


def test_a_call_whose_worker_is_killed_is_run_again(
    cluster: Cluster, engine: DaskEngine, tmp_path: Path
) -> None:
    call = engine.submit(acts.say_and_wait_for, tmp_path / "sign", tmp_path / "go")
    first = told_by(tmp_path / "sign")
    (tmp_path / "sign").unlink()
    kill(cluster.workers()[0])
    assert told_by(tmp_path / "sign") != first
    until(lambda: not is_alive(first), within_s=10)
    (tmp_path / "go").touch()
    assert finish(engine, call) == "seen"


@by_hand
def test_a_call_that_takes_four_workers_with_it_is_given_up(engine: DaskEngine) -> None:
    assert error_of(engine, engine.submit(acts.kill_parent), within_s=90) == "child_crashed"
    assert finish(engine, engine.submit(acts.double, 1), within_s=60) == 2


def test_calls_end_as_nobodys_fault_when_the_scheduler_is_killed_and_go_on_when_it_is_back(
    cluster: Cluster, engine: DaskEngine, tmp_path: Path
) -> None:
    running, waiting = engine.submit(acts.hang, tmp_path / "sign"), engine.submit(acts.double, 1)
    pid = told_by(tmp_path / "sign")
    cluster.kill_scheduler()
    assert error_of(engine, running, within_s=10) == "engine_restarted"
    assert error_of(engine, waiting, within_s=10) == "engine_restarted"
    until(lambda: engine.capacity == 0)
    assert engine.problem is not None
    assert engine.problem.code == "cluster_unreachable"
    with pytest.raises(TaskError) as caught:
        engine.submit(acts.double, 1)
    assert caught.value.problem.code == "engine_restarted"
    until(lambda: not is_alive(pid), within_s=20)
    cluster.start_scheduler()
    until(lambda: engine.capacity == 1)
    assert engine.problem is None
    assert finish(engine, engine.submit(acts.double, 2)) == 4


def test_a_scheduler_that_stands_still_is_a_lost_one(cluster: Cluster, engine: DaskEngine) -> None:
    cluster.signal_scheduler(signal.SIGSTOP)
    try:
        call = engine.submit(acts.double, 1)
        assert error_of(engine, call, within_s=30) == "engine_restarted"
        assert engine.capacity == 0
    finally:
        cluster.signal_scheduler(signal.SIGCONT)
    until(lambda: engine.capacity == 1)
    assert finish(engine, engine.submit(acts.double, 2)) == 4


def test_an_engine_that_is_stopped_leaves_nothing_running(cluster: Cluster, tmp_path: Path) -> None:
    with engine_on(cluster, places=1) as engine:
        call = engine.submit(acts.hang, tmp_path / "sign")
        pid = told_by(tmp_path / "sign")
    assert error_of(engine, call) == "cancelled"
    until(lambda: not is_alive(pid), within_s=_LIMIT_S / 2)


def problem_of(engine: DaskEngine) -> str:
    """What keeps it from running calls."""
    return "" if engine.problem is None else engine.problem.message


def is_said(engine: DaskEngine, why: str) -> bool:
    return why in problem_of(engine)


def test_a_scheduler_or_a_worker_with_other_code_is_given_no_calls(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "photoproc", other / "photoproc")
    with (other / "photoproc" / "child.py").open("a") as file:
        file.write("# another version\n")
    bare = Cluster(tmp_path, offline=1)
    engine = DaskEngine(bare.address)
    try:
        engine.start()
        for where, why in ("", "has not Photoproc’s code"), (str(other), "has another version"):
            bare.start_scheduler({"PYTHONPATH": where})
            until(partial(is_said, engine, why), within_s=60)
            bare.kill_scheduler()
        bare.start_scheduler()
        bare.start_worker(env={"PYTHONPATH": str(other)})
        until(lambda: "runs another version of Photoproc" in problem_of(engine), within_s=60)
        assert engine.capacity == 0
        bare.end_workers()
        bare.start_worker()
        until(lambda: engine.capacity == 1, within_s=60)
        assert finish(engine, engine.submit(acts.double, 2)) == 4
        assert engine.problem is None
    finally:
        engine.stop()
        bare.close()


def test_a_resource_that_no_worker_has_is_told_of(cluster: Cluster) -> None:
    engine = DaskEngine(cluster.address, resources={"u2net": "GPU"})
    try:
        engine.start()
        until(lambda: "No Dask worker has the resource GPU; photos for u2net wait" in problem_of(engine))
        assert engine.capacity == 1
        assert not engine.takes("u2net")
        assert finish(engine, engine.submit(acts.double, 2)) == 4
    finally:
        engine.stop()


def test_a_cluster_that_is_lost_while_one_asks_has_one_problem_or_the_other() -> None:
    worker = {"nthreads": 1, "resources": {}}

    class Losing(DaskEngine):
        """One that has a worker without the resource at the first look, and has lost it at the next."""

        def __getattribute__(self, name: str) -> Any:
            if name != "_seen":
                return super().__getattribute__(name)
            now = super().__getattribute__(name)
            self._seen = _Seen(problem=self._unreachable("lost"))
            return now

    engine = Losing("dask://localhost:1", resources={"u2net": "GPU"})
    engine._seen = _Seen(workers={"tcp://there": worker}, problem=None)
    codes = [problem and problem.code for problem in (engine.problem, engine.problem)]
    assert codes == ["cluster_resource", "cluster_unreachable"]


@by_hand
def test_a_worker_whose_folder_is_gone_gives_calls_back_and_says_why(tmp_path: Path) -> None:
    with clustered(tmp_path, workers=1, offline=1) as made, engine_on(made, places=1) as engine:
        (tmp_path / "photo").write_bytes(encoded(picture()))
        (tmp_path / "outbox").mkdir()
        asked = Order(
            photo=tmp_path / "photo",
            recipe_json=Recipe(models=(), background=Keep()).to_json(),
            model=None,
            weights=None,
            mask=None,
            outbox=tmp_path / "outbox",
            max_pixels=10_000,
        )
        assert finish(engine, engine.submit(child.run, asked)).problem is None
        shutil.rmtree(tmp_path / "worker-0")
        assert error_of(engine, engine.submit(child.run, asked)) == "worker_unfit"
        assert "No such file" in problem_of(engine)
