"""Photos per second: `rembg.remove` in a loop, `rembg p` over a folder, `snipbg.remove` where snipbg is
installed (pip install snipbg), Photoproc from submit to last cutout.

    python -m tests.benchmarks [--megapixels 1 12 24] [--models u2net u2netp] [--providers auto ncnn]
        [--json FILE]

JPEG bytes in, transparent PNG out, the same photos for all, taken in turn (A B C A B C …). Models run on what
the settings choose (PHOTOPROC_PROVIDER), or on each of `--providers` in turn; rembg's on what rembg chooses.
The ceiling is cores ÷ the time of one bare inference by onnxruntime on one thread, on a card 1 ÷ that of one;
`alone` is one photo with nothing else to do, `of bare` that beside one bare inference on all cores. Models
are loaded and warm before the clock runs. What is a form (`--models u2net-bf16`, once it was made) is
measured against its original.

On a card photos share runs as in any server (PHOTOPROC_GPU_BATCH); `batch` is how many did, in the mean. Give
it `--photos 16` or more there. The ceiling is that of single runs all the same.
"""

import argparse
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from photoproc import bootstrap
from photoproc.bootstrap import Runtime
from photoproc.export import STEPS
from photoproc.models.providers import NAMES, ON_THE_PROCESSOR, label
from photoproc.models.weights import Weights
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.benchmarks.common import RUNS_HERE, jpeg, machine, table

PEERS = ("remove", "folder", *(["snipbg"] if find_spec("snipbg") else []))
"""Functions of `throughput_peer`: what people would use instead."""


class Peer:
    """A process that answers one line with one line; it keeps its model loaded between rounds."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.throughput_peer", *arguments]
        self._process = subprocess.Popen(
            command, env=RUNS_HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: object) -> Any:
        """Send a value, wait for the answer."""
        sending, coming = self._pipe(self._process.stdin), self._pipe(self._process.stdout)
        sending.write(json.dumps(question) + "\n")
        sending.flush()
        return json.loads(coming.readline())

    def close(self) -> None:
        """End the process."""
        self._pipe(self._process.stdin).close()
        self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def run_photoproc(made: Runtime, model: str, files: list[Path]) -> tuple[float, float, dict[str, float]]:
    """Seconds from submit to last cutout, and the means of how many shared a run, and of each step."""
    service = made.service
    batch = service.new_batch()
    photos = [
        p for file in files for p in service.accept(batch, file.name, io.BytesIO(file.read_bytes())).photos
    ]
    started = time.perf_counter()
    job = service.submit(batch, photos, Recipe(models=(model,)))
    pause = threading.Event()
    while not service.job(job.id).state.final:
        pause.wait(0.01)
    took = time.perf_counter() - started
    tasks = service.tasks(job.id)
    assert service.job(job.id).counts.done == len(files), [task.problem for task in tasks]
    assert not any(task.mask_from_cache for task in tasks)
    steps = {step: statistics.mean(task.seconds.get(step, 0.0) for task in tasks) for step in STEPS}
    service.delete(job.id)
    return took, statistics.mean(task.batch for task in tasks), steps


def measure(
    made: Mapping[str, Runtime], peer: Peer, model: str, megapixels: float, photos: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each provider: medians over the rounds, in each of which everybody has the same photos."""
    others: dict[str, list[float]] = {what: [] for what in PEERS}
    own: dict[str, dict[str, list[float]]] = {
        name: {what: [] for what in ("photoproc", "batch", "alone_s", *STEPS)} for name in made
    }
    [children] = {one.settings.max_concurrent for one in made.values()}
    with tempfile.TemporaryDirectory() as folder:
        for lap in range(rounds + 1):
            files = [Path(folder) / f"{lap}-{n}.jpg" for n in range(photos + 1 if lap else 2 * children)]
            for number, file in enumerate(files):
                file.write_bytes(jpeg(megapixels, seed=1000 * lap + number))
            alone, files = files[:1], files[1:] if lap else files
            names = [str(file) for file in files]
            for what in PEERS:
                took = peer.ask([what, names])
                others[what] += [photos / took] if lap else []  # the first lap warms everybody up
            for name, one in made.items():
                took, batch, steps = run_photoproc(one, model, files)
                if lap:
                    then = run_photoproc(one, model, alone)[0]
                    told = {"photoproc": photos / took, "batch": batch, "alone_s": then, **steps}
                    for what, value in told.items():
                        own[name][what].append(value)
                else:  # each child loads the model once more for that
                    for _ in range(2 * children):
                        run_photoproc(one, model, alone)
    return [
        {
            "megapixels": megapixels,
            "provider": name,
            "photos": photos,
            "rounds": rounds,
            **{what: statistics.median(values) for what, values in (others | own[name]).items()},
        }
        for name in made
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 24])
    parser.add_argument("--models", nargs="+", default=["u2net", "u2netp"])
    parser.add_argument("--providers", nargs="+", choices=NAMES, default=[Settings().provider])
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    bootstrap.configure_logging(logging.WARNING)
    print(machine())
    found = []
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure_model(model, model_dir, Path(folder), options))
        report(found[-1])
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "models": found}, indent=1))


def measure_model(model: str, model_dir: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All rows of a model, and what a bare inference takes."""
    made = {
        name: Runtime(Settings(data_dir=folder / name, model_dir=model_dir, provider=name))
        for name in options.providers
    }
    for runtime in made.values():
        runtime.start()
        form = runtime.service.forms().made.get(model)
        wait_for_weights(runtime, model)
        original = model if form is None else form.form.of
        weights = wait_for_weights(runtime, original)
    peer = Peer(original, str(weights))
    cores = os.cpu_count() or 1
    try:
        provider = peer.ask(["provider"])
        one, all_cores = peer.ask(["inference", 1, 10]), peer.ask(["inference", cores, 10])
        rows = [
            row
            for size in options.megapixels
            for row in measure(made, peer, model, size, options.photos, options.rounds)
        ]
    finally:
        for runtime in made.values():
            runtime.stop()
        peer.close()
    return {
        "model": model,
        "original": original,
        "inference_s": one,
        "inference_all_cores_s": all_cores,
        "provider": provider,
        "ceiling": (cores if provider in ON_THE_PROCESSOR else 1) / one,
        "rows": rows,
    }


def wait_for_weights(made: Runtime, model: str) -> Path:
    """The verified weights of a model."""
    pause = threading.Event()
    while (path := made.service.model(model).weights.path) is None:
        pause.wait(0.1)
    return path


def report(found: dict[str, Any]) -> None:
    """Print the table of a model."""
    limit, alone = found["ceiling"], found["inference_all_cores_s"]
    lines = [
        [
            f"{row['megapixels']:g} MP",
            row["provider"],
            *(f"{row[what]:.2f}" for what in (*PEERS, "photoproc")),
            f"{row['photoproc'] / row['remove']:.2f}×",
            f"{row['photoproc'] / limit:.0%}",
            f"{row['batch']:.1f}",
            f"{row['alone_s']:.2f}",
            f"{row['alone_s'] / alone:.2f}×",
            *(f"{row[step] * 1000:.0f}" for step in STEPS if step != "load"),
        ]
        for row in found["rows"]
    ]
    head = [
        "photos",
        "provider",
        *(f"{what}/s" for what in PEERS),
        "photoproc/s",
        "ratio",
        "of ceiling",
        "batch",
        "alone s",
        "of bare",
    ]
    head += [f"{step} ms" for step in STEPS if step != "load"]
    print(
        f"\n{found['model']}; one bare inference of {found['original']} on {label(found['provider'])}, "
        f"on one thread {found['inference_s']:.3f} s, on all cores {alone:.3f} s; "
        f"ceiling {limit:.2f} photos/s\n"
    )
    print(table(head, lines))


if __name__ == "__main__":
    main()
