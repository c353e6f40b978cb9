"""Thousands of photos of all kinds: whether memory or open files grow with them.

    python -m tests.benchmarks.soak [--photos 2000] [--warm 400] [--every 100]

Aims, after the warm-up: at most 5 MB for 100 photos in the server and in its children, and no file more.
"""

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx2
import numpy as np
import pillow_heif

from photoproc.models.weights import Weights
from tests.benchmarks.common import jpeg, machine, photo, table
from tests.faults.processes import workers_of
from tests.pictures import exif_orientation, srgb_profile
from tests.server import Server, serving

_JOB = 50
_DAMAGED = 25
"""Every so many-th file is cut short, or no picture at all."""


def mixed(count: int) -> Iterator[tuple[str, bytes]]:
    """Photos of several kinds and sizes, some upside down, some damaged; each another."""
    pillow_heif.register_heif_opener()
    for number in range(count):
        kind = ("JPEG", "PNG", "WEBP", "TIFF", "HEIF", "BMP")[number % 6]
        if number % _DAMAGED == _DAMAGED - 1:
            whole = jpeg(0.3, seed=number)
            yield f"{number:05}.jpg", whole[: len(whole) // 2] if number % 2 else b"<html>"
        elif kind == "JPEG":
            out = io.BytesIO()
            exif, icc = exif_orientation(number % 8 + 1), srgb_profile()
            photo((0.3, 1, 4)[number % 3], seed=number).save(out, "JPEG", exif=exif, icc_profile=icc)
            yield f"{number:05}.jpg", out.getvalue()
        else:
            out = io.BytesIO()
            mode = "RGBA" if kind in ("PNG", "WEBP") and number % 4 else "RGB"
            photo((0.3, 1)[number % 2], seed=number).convert(mode).save(out, kind)
            yield f"{number:05}.{kind.lower()}", out.getvalue()


def hand_in(server: Server, photos: list[tuple[str, bytes]]) -> str:
    """A job of these; its id."""
    answer = httpx2.post(
        f"{server.url}/api/v1/jobs",
        files=[("files", one) for one in photos],
        data={"recipe": json.dumps({"models": ["u2netp"]})},
        timeout=300,
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def memory_mb(pid: int) -> float:
    """The resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS")), 0.0)


def open_files(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def growth(photos: list[int], values: list[float]) -> float:
    """By how much a value grows with 100 photos: the slope of the straight line nearest to it."""
    return 100 * float(np.polyfit(photos, values, 1)[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--warm", type=int, default=400, help="photos after which it counts")
    parser.add_argument("--every", type=int, default=100, help="photos between two looks")
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    looks: list[tuple[int, float, float, int, int]] = []
    failed, begun = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", model_dir) as server:
        source, come = mixed(options.photos), 0
        while batch := list(islice(source, _JOB)):
            job = hand_in(server, batch)
            server.finished(job, within_s=1800)
            httpx2.get(f"{server.url}/api/v1/jobs/{job}/archive", timeout=300).raise_for_status()
            failed += server.counts(job).failed
            come += len(batch)
            if come % options.every == 0:
                children = workers_of(server.pid)
                look = (
                    come,
                    memory_mb(server.pid),
                    sum(map(memory_mb, children)),
                    open_files(server.pid),
                    sum(map(open_files, children)),
                )
                looks.append(look)
                print(*(f"{value:,.0f}" for value in look), flush=True)
    counted = [look for look in looks if look[0] >= options.warm]
    photos = [look[0] for look in counted]
    names = ("server, MB", "children, MB", "server, open files", "children, open files")
    rows = []
    for place, name in enumerate(names, 1):
        values = [float(look[place]) for look in counted]
        figures = (values[0], values[-1], max(values), growth(photos, values))
        rows.append([name, *(f"{figure:,.2f}" for figure in figures)])
    print(f"{machine()}\n{come:,} photos in {time.monotonic() - begun:,.0f} s, {failed} failed\n")
    print(table([f"after {options.warm}", "first", "last", "most", "for 100 photos"], rows))


if __name__ == "__main__":
    main()
