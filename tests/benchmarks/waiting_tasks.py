"""What the queue's operations take while ten thousand tasks wait, beside a second server that uses it too.

    python -m tests.benchmarks.waiting_tasks [--tasks 10000] [--rounds 500]

Aim: p95 ≤ 20 ms for each.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from photoproc.jobs import Cutout, Photo, TaskState
from photoproc.recipe import Recipe
from photoproc.records import Claim, Outcome
from photoproc.store import Store
from tests.benchmarks.common import machine, table

PHOTOS = 500
SIZE_WH = (4000, 3000)
RECIPE = Recipe(models=("u2netp",))


def hand_in(store: Store, name: str) -> None:
    """A job of `PHOTOS` photos."""
    photos = [
        Photo(
            name=f"IMG_{n:05}.jpg",
            sha256=f"{n:064x}",
            byte_count=4_000_000,
            format="JPEG",
            size_wh=(4000, 3000),
        )
        for n in range(PHOTOS)
    ]
    store.create_job(job_id=name, title=name, recipe=RECIPE, photos=photos, refused=(), now=time.time())


def claim(store: Store, owner: str, number: int) -> Claim:
    """The next task."""
    taken = store.claim(owner, RECIPE.models, token=f"{owner}-{number}", now=time.time())
    assert taken is not None
    return taken


def done(taken: Claim) -> Outcome:
    """What is published of a task that is done."""
    file = f"{taken.number:05}-{taken.token}"
    cutout = Cutout(
        file=f"{file}.png",
        preview=f"{file}.webp",
        before=f"{file}-before.webp",
        sha256=f"{taken.number:064x}",
        byte_count=9,
        size_wh=SIZE_WH,
    )
    seconds = {"decode": 0.1, "inference": 0.5, "encode": 0.3}
    return Outcome(state=TaskState.DONE, cutouts=(cutout,), seconds=seconds)


def work_beside(folder: Path, over: Event) -> None:
    """Another server on the folder, whose two children take 0.5 s a task."""
    store, number = Store(folder), 0
    while not over.wait(0.25):
        number += 1
        taken = claim(store, "other", number)
        store.publish(taken, done(taken), now=time.time())
        store.heartbeat("other")
    store.close()


def measure(folder: Path, jobs: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, by what it was."""
    took: dict[str, list[float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        took.setdefault(name, []).append(time.perf_counter() - begun)

    store = Store(folder)
    for number in range(jobs):
        with timed(f"hand in {PHOTOS} photos"):
            hand_in(store, f"job-{number:04}")
    over = multiprocessing.get_context("spawn").Event()
    beside = multiprocessing.get_context("spawn").Process(target=work_beside, args=(folder, over))
    beside.start()
    time.sleep(2)
    for number in range(rounds):
        with timed("claim"):
            taken = claim(store, "me", number)
        with timed("heartbeat"):
            store.heartbeat("me")
        with timed("publish"):
            assert store.publish(taken, done(taken), now=time.time())
        with timed("a job and its counts"):
            store.job(taken.job_id)
        if number % 10 == 0:
            with timed("the 50 newest jobs"):
                for job_id, _ in zip(store.job_ids(), range(50), strict=False):
                    store.job(job_id)
    for number in range(jobs):
        with timed("cancel a job"):
            store.cancel(f"job-{number:04}", now=time.time())
    over.set()
    beside.join()
    store.close()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        took = measure(Path(folder) / "store", options.tasks // PHOTOS, options.rounds)
    rows = [
        [name, f"{len(all_of):,}", *(f"{1000 * np.percentile(all_of, share):.1f}" for share in (50, 95, 100))]
        for name, all_of in took.items()
    ]
    print(f"{machine()}\n{options.tasks:,} tasks waiting; load {os.getloadavg()[0]:.1f}\n")
    print(table(["ms", "count", "p50", "p95", "max"], rows))


if __name__ == "__main__":
    main()
