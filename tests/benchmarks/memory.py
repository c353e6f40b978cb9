"""The most memory of the server and all that it has started, while large photos are processed.

    python -m tests.benchmarks.memory [--megapixels 24] [--photos 8] [--models u2net u2netp] [--children 2]
        [--provider auto]

A real server and its children; what several processes share (libraries) is counted once: PSS, Linux's
proportional set size, summed over all of them every few milliseconds. Aim: 1.2 GB with two children at 24
megapixels. Models one after the other, each with a server of its own.
"""

import argparse
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from photoproc.models.weights import Weights
from tests.benchmarks.common import jpeg, machine, table
from tests.faults.processes import children_of
from tests.server import Server, serving

_LOOK_S = 0.02


def pss_mb(pid: int) -> float:
    """A process's share of memory, in MB; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    return [pid, *(one for child in children_of(pid) for one in below(child))]


@contextmanager
def watched(pid: int) -> Iterator[dict[str, float]]:
    """The most of all processes together, of the server, and of any other one, in MB."""
    most = {"all": 0.0, "server": 0.0, "a child": 0.0}
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            server, *others = (pss_mb(one) for one in below(pid))
            for name, value in (("all", server + sum(others)), ("server", server)):
                most[name] = max(most[name], value)
            most["a child"] = max(most["a child"], *others, 0.0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def hand_in(server: Server, photos: list[bytes], model: str) -> str:
    """A job; its id."""
    answer = httpx2.post(
        f"{server.url}/api/v1/jobs",
        files=[("files", (f"{number}.jpg", data)) for number, data in enumerate(photos)],
        data={"recipe": json.dumps({"models": [model]})},
        timeout=300,
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--models", nargs="+", default=["u2net", "u2netp"])
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--provider", default="auto")
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    photos = [jpeg(options.megapixels, seed) for seed in range(options.photos)]
    rows = []
    for model in options.models:
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(
                Path(folder) / "data", model_dir, max_concurrent=options.children, provider=options.provider
            ) as server,
            watched(server.pid) as most,
        ):
            job = hand_in(server, photos, model)
            server.finished(job, within_s=1800)
            assert server.counts(job).done == len(photos)
        rows.append([model, *(f"{value:,.0f}" for value in most.values())])
    print(f"{machine()}\n{options.photos} photos of {options.megapixels:g} megapixels\n")
    print(table(["most, MB", *most], rows))


if __name__ == "__main__":
    main()
