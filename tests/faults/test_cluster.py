"""A cluster of real processes under a whole server: what it makes, and what is lost when parts of it are: nothing."""

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from photoproc.bootstrap import Runtime
from photoproc.jobs import Task, TaskState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from tests.cluster import Cluster, clustered
from tests.faults.processes import children_of, is_alive, kill
from tests.long import LONG
from tests.pictures import encoded, picture
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]

AWAY_S = 20.0 if LONG else 5.0
"""How long the scheduler is gone."""

RECIPE = Recipe(models=("u2netp",))
RECIPES = {
    "transparent": RECIPE,
    "background": Recipe.from_json(
        '{"models": ["u2netp", "u2net"], "background": {"kind": "colour", "colour": "#336699"},'
        ' "output": {"format": "jpeg", "mask": "beside"}, "certainty": true}'
    ),
}


@pytest.fixture(scope="module")
def cluster(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clustered(tmp_path_factory.mktemp("cluster"), model_dir=model_dir, offline=1) as made:
        yield made


Serve = Callable[..., Runtime]


@pytest.fixture
def serve(model_dir: Path, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server without its web part, with these settings; it is stopped after the test."""
    made: list[Runtime] = []

    def start(**settings: object) -> Runtime:
        common: dict[str, object] = {
            "data_dir": tmp_path / f"data-{len(made)}",
            "model_dir": model_dir,
            "default_model": "u2netp",
            "offline": True,
            "max_concurrent": 1,
            "min_free_disk_mb": 1,
        }
        made.append(Runtime(Settings.model_validate(common | settings)))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop()


def submit(service: PhotoService, count: int, recipe: Recipe = RECIPE, side: int = 320) -> str:
    batch = service.new_batch()
    photos = []
    for number in range(count):
        data = encoded(picture(side, side * 3 // 4, seed=number))
        photos += service.accept(batch, f"{number:03}.jpg", io.BytesIO(data)).photos
    return service.submit(batch, photos, recipe).id


def finished(service: PhotoService, job_id: str, *, within_s: float = 180) -> list[Task]:
    until(lambda: service.job(job_id).state.final, within_s=within_s)
    return list(service.tasks(job_id))


def pictures(service: PhotoService, job_id: str) -> dict[tuple[str, str], list[str]]:
    """The checksums of all files of each task's cutouts, by photo and model."""
    return {
        (task.photo.name, task.model): [
            digest
            for cutout in task.cutouts
            for digest in (cutout.sha256, *(extra.sha256 for extra in cutout.extras))
        ]
        for task in finished(service, job_id)
    }
