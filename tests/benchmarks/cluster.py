"""What a Dask cluster on this machine adds to a task, against children of the server's own.

    python -m tests.benchmarks.cluster [--calls 60]

One scheduler and one worker with one child, beside a local engine with one child; calls in turn (A B A B),
one at a time. Once a function that does nothing; once a JPEG of a megapixel, decoded and encoded as PNG (its
bytes travel there; picture, preview and the photo's own preview back). Aim: 30 ms at most.
"""

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from photoproc import child
from photoproc.child import Order, Report
from photoproc.engine import Engine
from photoproc.engine.local import LocalEngine
from photoproc.parts import Keep
from photoproc.recipe import Recipe
from tests.benchmarks.common import jpeg, machine, table
from tests.cluster import clustered, engine_on
from tests.faults import acts


def nothing(engine: Engine) -> object:
    """A call that does nothing."""
    return engine.result(engine.submit(acts.double, 1))


def photo_call(folder: Path) -> Callable[[Engine], object]:
    """A task of a photo without a model."""
    photo = folder / "photo"
    photo.write_bytes(jpeg(1, 0))
    recipe = Recipe(models=(), background=Keep())

    def call(engine: Engine) -> Report:
        outbox = folder / uuid.uuid4().hex
        outbox.mkdir()
        order = Order(
            photo=photo,
            recipe_json=recipe.to_json(),
            model=None,
            weights=None,
            mask=None,
            outbox=outbox,
            max_pixels=50_000_000,
        )
        report = engine.result(engine.submit(child.run, order))
        assert report.pictures[0].cutout.path.stat().st_size == report.pictures[0].cutout.byte_count
        return report

    return call


def timed(call: Callable[[Engine], object], engine: Engine) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    call(engine)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=60)
    calls = parser.parse_args().calls
    rows = []
    with tempfile.TemporaryDirectory() as name, clustered(Path(name) / "cluster", workers=1) as cluster:
        local = LocalEngine(children=1, threads=os.cpu_count() or 1, timeout_s=60)
        with engine_on(cluster, places=1) as remote:
            for what, call in (("nothing", nothing), ("1 megapixel", photo_call(Path(name)))):
                for engine in (local, remote) * 3:
                    call(engine)
                pairs = [(timed(call, local), timed(call, remote)) for _ in range(calls)]
                here, there = zip(*pairs, strict=True)
                added = sorted(b - a for a, b in pairs)
                rows.append(
                    [
                        what,
                        *(f"{statistics.median(one):.1f}" for one in (here, there, added)),
                        f"{added[int(0.95 * len(added))]:.1f}",
                    ]
                )
        local.stop()
    print(machine())
    print(table(["a call (ms)", "local", "Dask", "added (median)", "added (p95)"], rows))


if __name__ == "__main__":
    main()
