"""A cluster of real processes under a whole server: its cutouts are the same, and whatever is lost of it, no
task is."""

import io
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from photoproc.bootstrap import Runtime
from photoproc.jobs import JobState, TaskState
from photoproc.machine import worked_s
from photoproc.parts import Output, Picture
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from tests.cluster import Cluster, clustered
from tests.faults.processes import children_of, is_alive, kill
from tests.long import LONG, by_hand
from tests.pictures import encoded, picture, sample
from tests.server import check_published_once, serving
from tests.server import submit as submit_to
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]
AWAY_S = 20.0 if LONG else 5.0
"""How long the scheduler is gone."""

RECIPE = Recipe(models=("u2netp",))

Serve = Callable[..., PhotoService]


@pytest.fixture(scope="module")
def cluster(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clustered(tmp_path_factory.mktemp("cluster"), model_dir=model_dir, offline=1) as made:
        yield made


@pytest.fixture
def serve(model_dir: Path, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server without its web part, with these settings; it is stopped after the test."""
    made: list[Runtime] = []

    def start(**settings: object) -> PhotoService:
        common: dict[str, object] = {
            "data_dir": tmp_path / f"data-{len(made)}",
            "model_dir": model_dir,
            "default_model": "u2netp",
            "offline": True,
            "max_concurrent": 1,  # as each worker has one place
            "min_free_disk_mb": 1,
        }
        made.append(Runtime(Settings.model_validate(common | settings)))
        made[-1].start()
        return made[-1].service

    yield start
    for one in made:
        one.stop()


def hand_in(service: PhotoService, photos: list[bytes], recipe: Recipe = RECIPE) -> str:
    batch = service.new_batch()
    accepted = [
        photo
        for number, data in enumerate(photos)
        for photo in service.accept(batch, f"{number:03}", io.BytesIO(data)).photos
    ]
    assert len(accepted) == len(photos)
    return service.submit(batch, accepted, recipe).id


def small(count: int) -> list[bytes]:
    return [encoded(picture(160, 120, seed=number)) for number in range(count)]


def finished(service: PhotoService, job_id: str, *, within_s: float = 180) -> None:
    until(lambda: service.job(job_id).state.final, within_s=within_s)


def done(service: PhotoService, job_id: str) -> int:
    return service.job(job_id).counts.done


def made(service: PhotoService, job_id: str) -> list[object]:
    """What became of each task of a job: all there is but figures of time and memory, files as bytes."""
    finished(service, job_id)
    return [
        (
            *(task.photo.name, task.model, task.state, task.problem, task.warnings, task.uncertainty),
            *(task.mask_from_cache, task.threads, task.provider, service.mask(task).read_bytes()),
            [
                (cutout.size_wh, [service.output(job_id, name).read_bytes() for name in cutout.files])
                for cutout in task.cutouts
            ],
        )
        for task in service.tasks(job_id)
    ]


def has_lost_nothing(service: PhotoService, job_id: str, count: int) -> None:
    """Every task is done at its first attempt that counts, by one cutout whose files are there."""
    finished(service, job_id)
    tasks = list(service.tasks(job_id))
    assert [task.state for task in tasks] == [TaskState.DONE] * count
    assert all(task.attempts == 1 and len(task.cutouts) == 1 for task in tasks)
    named = [name for task in tasks for name in task.cutouts[0].files]
    assert len(set(named)) == len(named)
    folder = service.output(job_id, named[0]).parent
    assert {file.name for file in folder.iterdir()} == set(named)


def test_its_files_are_those_of_the_local_engine_to_the_byte(cluster: Cluster, serve: Serve) -> None:
    photos = [sample("astronaut.png"), encoded(picture(320, 240))]
    several = Recipe(models=("u2netp", "u2net"), output=Output(show="pair"), certainty=True)
    found = []
    for engine in ("local", cluster.address):
        service = serve(engine=engine)
        batch = service.new_batch()
        backdrop = service.accept(batch, "backdrop", io.BytesIO(encoded(picture(200, 200, seed=9)))).photos[0]
        behind = Picture(picture=service.keep_background(batch, backdrop))
        fresh = made(service, hand_in(service, photos[:1], several))
        again = made(service, hand_in(service, photos, Recipe(models=("u2netp",), background=behind)))
        found.append((fresh, again))
    assert found[0] == found[1]
    fresh, again = found[1]
    assert len(fresh) == 2
    assert len(again) == 2


def test_a_worker_that_is_killed_takes_no_task_with_it(cluster: Cluster, serve: Serve) -> None:
    service = serve(engine=cluster.address)
    job_id = hand_in(service, small(16))
    for _ in range(2):
        before = done(service, job_id)
        until(lambda before=before: done(service, job_id) >= before + 4)  # type: ignore[misc]
        victim = cluster.workers()[0]
        its = children_of(victim)
        kill(victim)
        until(lambda its=its: not any(is_alive(pid) for pid in its), within_s=20)  # type: ignore[misc]
    has_lost_nothing(service, job_id, 16)


def test_a_scheduler_that_is_killed_and_comes_back_takes_no_task_with_it(
    cluster: Cluster, serve: Serve
) -> None:
    service = serve(engine=cluster.address)
    job_id = hand_in(service, small(16))
    until(lambda: done(service, job_id) >= 5)
    cluster.kill_scheduler()
    until(lambda: "engine" in service.readiness())
    problem = service.system().worker_problem
    assert problem is not None
    assert problem.code == "cluster_unreachable"
    until(lambda: service.job(job_id).counts.running == 0)
    kept = service.job(job_id).counts
    threading.Event().wait(AWAY_S)
    assert service.job(job_id).counts == kept
    cluster.start_scheduler()
    has_lost_nothing(service, job_id, 16)
    assert service.system().worker_problem is None


@by_hand  # what cancels a call at its worker is in contract/test_cluster_engine.py
def test_cancelling_a_job_kills_what_works_on_it(cluster: Cluster, serve: Serve) -> None:
    service = serve(engine=cluster.address)
    until(lambda: len(service.system().children) == 2, within_s=60)
    photos = [encoded(picture(1600, 1200, seed=seed)) for seed in range(8)]
    long = Recipe(models=("u2net",), certainty=True)
    has_lost_nothing(service, hand_in(service, photos[:2], long), 2)  # from now on the children are warm
    at_it = {child.pid: worked_s([child.pid]) for child in service.system().children}
    job_id = hand_in(service, photos[2:], long)
    for pid, before in at_it.items():
        until(lambda pid=pid, before=before: worked_s([pid]) > before + 0.2)  # type: ignore[misc]
        kill(pid, signal.SIGSTOP)  # so that it is at it for ever
    assert done(service, job_id) == 0
    service.cancel(job_id)
    finished(service, job_id, within_s=20)
    assert service.job(job_id).state is JobState.CANCELLED
    until(lambda: not any(is_alive(pid) for pid in at_it), within_s=20)
    has_lost_nothing(service, hand_in(service, small(4)), 4)


@by_hand
def test_photos_wait_for_a_scheduler_that_comes_late_and_for_a_worker_that_can_run_them(
    model_dir: Path, tmp_path: Path, serve: Serve
) -> None:
    late = Cluster(tmp_path, model_dir=model_dir, offline=1)
    service = serve(engine=late.address)
    job_id = hand_in(service, small(2))
    until(lambda: "engine" in service.readiness())
    try:
        late.start_scheduler()
        until(lambda: "has no workers" in service.readiness().get("engine", ""))
        late.start_worker(nanny=True)
        until(lambda: "--no-nanny" in service.readiness().get("engine", ""))
        assert service.job(job_id).counts.queued == 2
        late.end_workers()
        late.start_worker()
        has_lost_nothing(service, job_id, 2)
    finally:
        late.close()


@by_hand
def test_a_worker_without_the_weights_gives_tasks_back_and_others_run_them(
    model_dir: Path, tmp_path: Path, serve: Serve
) -> None:
    with clustered(tmp_path / "bare", workers=1, model_dir=tmp_path / "none", offline=1) as cluster:
        service = serve(engine=cluster.address)
        job_id = hand_in(service, small(3))
        until(lambda: service.job(job_id).counts.running == 1)
        cluster.start_worker(env={"PHOTOPROC_MODEL_DIR": str(model_dir)})
        has_lost_nothing(service, job_id, 3)


@by_hand
def test_a_worker_without_what_models_are_required_to_run_on_says_so_and_others_run_them(
    model_dir: Path, tmp_path: Path, serve: Serve
) -> None:
    required = {"provider": "cuda", "provider_required": 1}
    with clustered(tmp_path / "bare", workers=1, model_dir=model_dir, offline=1, **required) as cluster:
        service = serve(engine=cluster.address)
        job_id = hand_in(service, small(2))
        until(lambda: "CUDA (NVIDIA)" in service.readiness().get("engine", ""), within_s=60)
        assert service.job(job_id).counts.queued == 2
        cluster.start_worker(env={"PHOTOPROC_PROVIDER": "auto", "PHOTOPROC_PROVIDER_REQUIRED": "0"})
        has_lost_nothing(service, job_id, 2)
        assert {task.provider for task in service.tasks(job_id)} == {"CPUExecutionProvider"}


@by_hand
def test_a_server_that_is_killed_goes_on_where_it_was(
    cluster: Cluster, model_dir: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", model_dir, engine=cluster.address) as server:
        job_id = submit_to(server.data_dir, 30)
        server.done_at_least(job_id, 3)
        server.kill()
        server.start()
        server.finished(job_id)
        check_published_once(server, job_id, 30)


@by_hand
def test_a_model_that_needs_a_resource_runs_only_where_a_worker_has_it(
    cluster: Cluster, serve: Serve
) -> None:
    service = serve(engine=cluster.address, cluster_resources="u2net=GPU")
    job_id = hand_in(service, small(3), Recipe(models=("u2net", "u2netp")))
    until(lambda: done(service, job_id) == 3)
    waiting = [task for task in service.tasks(job_id) if task.state is not TaskState.DONE]
    assert [(task.model, task.state) for task in waiting] == [("u2net", TaskState.QUEUED)] * 3
    cluster.start_worker("--resources GPU=1")
    has_lost_nothing(service, job_id, 6)
