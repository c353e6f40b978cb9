"""How far it goes: what one photo costs each part of a cluster, and a simulation of 1, 8 and 64 workers.

    python -m tests.benchmarks.scaling [--megapixels 12] [--model u2net] [--photos 12] [--places 4]

A job runs on a real scheduler and a worker on this machine. Measured are the processor time of server and
scheduler for each photo, the bytes that travel, what the store's two writes and the disk take, and how long
the photo is with the worker. The simulation then has as many tasks under way as there are places: each goes
from part to part, waits its turn there (first come, first served), and takes as long as one of the measured
times drawn by chance. `scaling_model` is that simulation; what it assumes of the network is in `LINKS`.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from photoproc import child, machine
from photoproc.bootstrap import Runtime
from photoproc.models.weights import Weights
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.benchmarks import common, waiting_tasks
from tests.benchmarks.scaling_model import Stop, simulate
from tests.cluster import Cluster, clustered
from tests.waiting import until

LINKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 10e9 / 8}
"""Bytes a second of the scheduler's network in each direction."""
WORKERS = (1, 8, 64)
SERVERS = (1, 4)
TASKS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of one photo, seconds; several where they were measured one by one."""

    worker: tuple[float, ...]
    """With a place of a worker, its children's processor shared with nobody."""
    inference: float
    server: float
    scheduler: float
    claim: tuple[float, ...]
    publish: tuple[float, ...]
    disk: tuple[float, ...]
    travelling: float
    """Bytes, there and back."""


def submitted(made: Runtime, model: str, photos: list[bytes]) -> str:
    """A job of these photos."""
    service = made.service
    batch = service.new_batch()
    accepted = [
        one
        for number, data in enumerate(photos)
        for one in service.accept(batch, f"{number}.jpg", io.BytesIO(data)).photos
    ]
    return service.submit(batch, accepted, Recipe(models=(model,))).id


def measured(cluster: Cluster, folder: Path, model_dir: Path, options: argparse.Namespace) -> Costs:
    """What a job costs, photo by photo, once a first one has warmed all up."""
    settings = Settings(
        data_dir=folder / "data", model_dir=model_dir, default_model=options.model, engine=cluster.address
    )
    made = Runtime(settings)
    made.start()
    try:
        until(
            lambda: options.model in {m.spec.name for m in made.service.models() if m.weights.path},
            within_s=60,
        )
        warm = submitted(made, options.model, [common.jpeg(options.megapixels, 999)])
        until(lambda: made.service.job(warm).state.final, within_s=120)
        photos = [common.jpeg(options.megapixels, seed) for seed in range(options.photos)]
        own, theirs = time.process_time(), machine.worked_s([cluster.scheduler])
        job = submitted(made, options.model, photos)
        accepting = time.process_time() - own
        until(lambda: made.service.job(job).state.final, within_s=600)
        count = len(photos)
        server = (time.process_time() - own - accepting) / count
        scheduler = (machine.worked_s([cluster.scheduler]) - theirs) / count
        tasks = made.service.tasks(job)
        assert made.service.job(job).counts.done == count, [task.problem for task in tasks]
        back = [sum(one.byte_count for one in task.cutouts) for task in tasks]
    finally:
        made.stop()
    store = waiting_tasks.measure(folder / "store", 4, 500)
    return Costs(
        worker=tuple(sum(task.seconds.values()) for task in tasks),
        inference=statistics.median(task.seconds["inference"] for task in tasks),
        server=server,
        scheduler=scheduler,
        claim=tuple(store["claim"]),
        publish=tuple(store["publish"]),
        disk=tuple(written(folder, size) for size in back * 2),
        travelling=statistics.mean(map(len, photos)) + statistics.mean(back),
    )


def written(folder: Path, size: int) -> float:
    """Seconds until a file of that size is safe on disk."""
    data = os.urandom(size)
    begun = time.perf_counter()
    child.write(folder, data).path.unlink()
    return time.perf_counter() - begun


def route(costs: Costs, *, places: int, servers: int, link: float) -> tuple[Stop, ...]:
    """The way of a task. Each byte comes to the scheduler and leaves it, one direction of its link each."""
    own = max(0.0, costs.server - statistics.mean(costs.claim) - statistics.mean(costs.publish))
    return (
        Stop("store", 1, costs.claim),
        Stop("server", servers, (own / 2,)),
        Stop("scheduler", 1, (costs.scheduler / 2,)),
        Stop("network", 1, (costs.travelling / link,)),
        Stop("workers", places, costs.worker),
        Stop("scheduler", 1, (costs.scheduler / 2,)),
        Stop("server", servers, (own / 2,)),
        Stop("disk", 1, costs.disk),
        Stop("store", 1, costs.publish),
    )


def main() -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--places", type=int, default=4, help="of each simulated worker")
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with clustered(folder / "cluster", workers=1, model_dir=model_dir, offline=1) as cluster:
            costs = measured(cluster, folder, model_dir, options)
    print(f"{common.machine()}; load {os.getloadavg()[0]:.1f}")
    report(costs, options)


def report(costs: Costs, options: argparse.Namespace) -> None:
    """Print what was measured and what follows."""
    ms = {
        "with a worker": statistics.mean(costs.worker),
        "of which inference": costs.inference,
        "server's processor": costs.server,
        "scheduler's processor": costs.scheduler,
        "store: claim": statistics.mean(costs.claim),
        "store: publish": statistics.mean(costs.publish),
        "disk": statistics.mean(costs.disk),
    }
    print(f"\n{options.model}, {options.megapixels:g} megapixels; {costs.travelling / 1e6:.1f} MB travel\n")
    print(common.table(["one photo", "ms"], [[what, f"{1000 * value:.1f}"] for what, value in ms.items()]))
    rows = []
    for link, speed in LINKS.items():
        for servers in SERVERS:
            for workers in WORKERS:
                places = workers * options.places
                way = route(costs, places=places, servers=servers, link=speed)
                found = simulate(way, tasks_under_way=places, tasks=TASKS, seed=1)
                rows.append(
                    [
                        f"{workers} × {options.places}",
                        str(servers),
                        link,
                        f"{found.per_s:.1f}",
                        f"{3600 * found.per_s:,.0f}",
                        *(f"{busy:.0%}" for busy in found.busy.values()),
                    ]
                )
    head = ["workers × places", "servers", "network", "photos/s", "photos/h", *found.busy]
    print(f"\nSimulated, {TASKS:,} tasks each; how busy each part is:\n")
    print(common.table(head, rows))


if __name__ == "__main__":
    main()
