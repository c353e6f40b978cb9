"""Photos per second: `rembg.remove` in a loop, and Photoproc from submit to last cutout.

    python -m tests.benchmarks.throughput --megapixels 1 12 --model u2net

JPEG bytes in, transparent PNG out, the same photos for both, taken in turn (A B A B …). The ceiling is
cores ÷ the time of one bare inference on one thread. Models are loaded and warm before the clock runs.
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
from pathlib import Path
from typing import IO, Any

from photoproc import bootstrap
from photoproc.bootstrap import Runtime
from photoproc.export import STEPS
from photoproc.models.weights import Weights
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.benchmarks.common import RUNS_HERE, jpeg, machine, table


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


def run_photoproc(made: Runtime, model: str, files: list[Path]) -> tuple[float, dict[str, float]]:
    """Seconds from submit to last cutout, and the mean of each step."""
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
    return took, steps


def measure(
    made: Runtime, peer: Peer, model: str, megapixels: float, photos: int, rounds: int
) -> dict[str, Any]:
    """One row: medians over the rounds."""
    ours, theirs, steps = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for lap in range(rounds + 1):
            files = [
                Path(folder) / f"{lap}-{n}.jpg"
                for n in range(photos if lap else made.settings.max_concurrent)
            ]
            for number, file in enumerate(files):
                file.write_bytes(jpeg(megapixels, seed=1000 * lap + number))
            other = peer.ask([str(file) for file in files])
            own, detail = run_photoproc(made, model, files)
            if lap:  # the first lap warms both up
                theirs.append(photos / other)
                ours.append(photos / own)
                steps.append(detail)
    return {
        "megapixels": megapixels,
        "photos": photos,
        "rounds": rounds,
        "rembg_photos_per_s": statistics.median(theirs),
        "photoproc_photos_per_s": statistics.median(ours),
        "steps_s": {step: statistics.median(lap[step] for lap in steps) for step in STEPS},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12])
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model_dir = os.environ.get("PHOTOPROC_MODEL_DIR")
        found = Weights(Path(model_dir) if model_dir else None)
        bootstrap.configure_logging(logging.WARNING)
        made = Runtime(
            Settings(data_dir=Path(folder), model_dir=found.folders()[0], default_model=options.model)
        )
        made.start()
        weights = wait_for_weights(made, options.model)
        ceiling = Peer("ceiling", options.model, str(weights))
        peer = Peer("rembg", options.model, str(weights))
        try:
            single = ceiling.ask(10)
            rows = [
                measure(made, peer, options.model, size, options.photos, options.rounds)
                for size in options.megapixels
            ]
        finally:
            made.stop()
            peer.close()
            ceiling.close()
    report(options.model, single, rows, options.json)


def wait_for_weights(made: Runtime, model: str) -> Path:
    """The verified weights of a model."""
    pause = threading.Event()
    while (path := made.service.model(model).weights.path) is None:
        pause.wait(0.1)
    return path


def report(model: str, single_s: float, rows: list[dict[str, Any]], target: Path | None) -> None:
    """Print the table; write everything as JSON where asked."""
    limit = (os.cpu_count() or 1) / single_s
    lines = [
        [
            f"{row['megapixels']:g} MP",
            f"{row['rembg_photos_per_s']:.2f}",
            f"{row['photoproc_photos_per_s']:.2f}",
            f"{row['photoproc_photos_per_s'] / row['rembg_photos_per_s']:.2f}×",
            f"{row['photoproc_photos_per_s'] / limit:.0%}",
            *(f"{row['steps_s'][step] * 1000:.0f}" for step in STEPS if step != "load"),
        ]
        for row in rows
    ]
    head = ["photos", "rembg/s", "photoproc/s", "ratio", "of ceiling"]
    head += [f"{step} ms" for step in STEPS if step != "load"]
    print(
        f"{machine()}\n{model}: one inference on one thread {single_s:.3f} s, ceiling {limit:.2f} photos/s\n"
    )
    print(table(head, lines))
    if target is not None:
        found = {"machine": machine(), "model": model, "single_inference_s": single_s, "rows": rows}
        target.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
