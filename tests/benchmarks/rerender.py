"""A second look: a changed recipe over the same photos, and the live preview, beside the first run.

    python -m tests.benchmarks.rerender [--megapixels 1 12] [--photos 12] [--rounds 3]

First run and re-render are whole jobs from submit to last cutout, in turn (A B A B …); the preview is
`try_recipe` as the Process page asks for it, one option after the other, with the mask at hand, the first
time on a photo and again. Aims: a
re-render at least 8 times as fast as the first run at 1 megapixel; a preview within 0.5 s.
"""

import argparse
import io
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from photoproc import bootstrap
from photoproc.bootstrap import Runtime
from photoproc.jobs import Job
from photoproc.models.weights import Weights
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from tests.benchmarks.common import jpeg, machine, table
from tests.waiting import until

_CHANGES: Mapping[str, Mapping[str, object]] = {
    "transparent": {},
    "colour": {"background": {"kind": "colour", "colour": "#ffeedd"}},
    "gradient": {"background": {"kind": "gradient"}},
    "blur": {"background": {"kind": "blur"}},
    "shadow": {"background": {"kind": "colour"}, "shadow": {}},
    "subject, 1:1": {"framing": {"kind": "subject"}, "size": {"aspect": "1:1"}},
    "face, headshot": {"framing": {"kind": "face", "preset": "headshot"}},
    "decontaminate": {"edges": {"decontaminate": True}},
    "matting": {"edges": {"method": "matting"}},
}


def finished(service: PhotoService, job: Job) -> None:
    """Wait for a job, as closely as the clock is read."""
    pause = threading.Event()
    while not service.job(job.id).state.final:
        pause.wait(0.005)
    assert service.job(job.id).counts.done == job.photo_count


def lap(service: PhotoService, model: str, photos: list[bytes]) -> tuple[float, float]:
    """Seconds of a first run, and of a re-render on a colour."""
    batch = service.new_batch()
    given = [service.accept(batch, f"{n}.jpg", io.BytesIO(data)).photos[0] for n, data in enumerate(photos)]
    started = time.perf_counter()
    job = service.submit(batch, given, Recipe(models=(model,)))
    finished(service, job)
    first = time.perf_counter() - started
    changed = Recipe.of_fields({**_CHANGES["colour"], "models": [model]})
    started = time.perf_counter()
    again = service.process_again(job.id, changed)
    finished(service, again)
    second = time.perf_counter() - started
    assert all(task.mask_from_cache for task in service.tasks(again.id))
    for made in (job, again):
        service.delete(made.id)
    return first, second


def previews(
    service: PhotoService, model: str, photos: list[bytes]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of the preview with each option, once the mask is there: the first time, and again."""
    first: dict[str, list[float]] = {name: [] for name in _CHANGES}
    again: dict[str, list[float]] = {name: [] for name in _CHANGES}
    for photo in photos:
        batch = service.new_batch()
        (given,) = service.accept(batch, "p.jpg", io.BytesIO(photo)).photos
        service.try_on_upload(batch, given.sha256, Recipe(models=(model,)))  # makes the mask
        for turn, took in enumerate((first, again)):
            for name, fields in _CHANGES.items():
                # A number nobody tried yet: what was tried before is kept.
                recipe = Recipe.of_fields({**fields, "models": [model], "output": {"quality": 1 + turn}})
                started = time.perf_counter()
                service.try_on_upload(batch, given.sha256, recipe)
                took[name].append(time.perf_counter() - started)
        service.drop_batch(batch)
    return first, again


def report(made: Runtime, options: argparse.Namespace) -> None:
    """Measure and print."""
    service, jobs, looks = made.service, [], []
    for megapixels in options.megapixels:
        seeds = range(options.photos)
        laps = [
            lap(service, options.model, [jpeg(megapixels, seed=1000 * turn + seed) for seed in seeds])
            for turn in range(options.rounds + 1)
        ][1:]
        first, second = (statistics.median(column) for column in zip(*laps, strict=True))
        jobs.append(
            [f"{megapixels:g}", f"{first:.2f}", f"{second:.2f}", f"{first / second:.1f}x"],
        )
        tried = [jpeg(megapixels, seed=4 + turn) for turn in range(options.rounds + 2)]
        first_looks, more_looks = previews(service, options.model, tried)
        for name in _CHANGES:
            figures = [
                1000 * float(np.percentile(took[name], share))
                for took in (first_looks, more_looks)
                for share in (50, 100)
            ]
            looks.append([f"{megapixels:g} MP, {name}", *(f"{figure:.0f}" for figure in figures)])
    print(table(["megapixels", "first run s", "re-render s", "ratio"], jobs), end="\n\n")
    print(table(["preview, ms", "first p50", "max", "again p50", "max"], looks))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12])
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    with tempfile.TemporaryDirectory() as folder:
        made = Runtime(
            Settings(data_dir=Path(folder), model_dir=model_dir, default_model=options.model, offline=True)
        )
        made.start()
        bootstrap.install(made)
        try:
            until(lambda: not made.service.readiness())
            print(f"{machine()}\nload average {os.getloadavg()[0]:.1f}\n")
            report(made, options)
        finally:
            bootstrap.install(None)
            made.stop()


if __name__ == "__main__":
    main()
