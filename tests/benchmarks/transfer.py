"""Gigabytes in and out: what they do to the server's memory, and how long 500 photos keep one waiting.

    python -m tests.benchmarks.transfer [--gigabytes 1]

Aims: at most 64 MB more resident memory either way; 500 photos of 1 MB taken within 2 s of their last byte.
"""

import argparse
import http.client
import io
import json
import os
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from photoproc.models.weights import Weights
from tests.benchmarks.common import machine, table
from tests.server import Server, serving
from tests.waiting import until

_PIECE = 1 << 20
_BOUNDARY = "photoproc-benchmark"
_WAITS = json.dumps({"models": ["bria-rmbg"]})
"""A model without weights: what is measured is the upload, not inference."""
_KEEPS = json.dumps({"background": {"kind": "keep"}})


def noise(side: int, seed: int) -> bytes:
    """A JPEG that no compression makes smaller."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=97)
    return out.getvalue()


def another(photo: bytes) -> bytes:
    """The same photo as a file of its own: a few bytes before its end mark differ."""
    return photo[:-2] + os.urandom(16) + photo[-2:]


class Memory:
    """The resident memory of a process, watched while something happens."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.before_mb = self.peak_mb = self._now()

    def _now(self) -> float:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every 20 ms until the block ends."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.02):
                self.peak_mb = max(self.peak_mb, self._now())

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    @property
    def more_mb(self) -> float:
        """How much more it was at most than at the start."""
        return self.peak_mb - self.before_mb


def part(name: str, file_name: str | None = None) -> bytes:
    """What stands before a part of the form."""
    named = f'; filename="{file_name}"' if file_name else ""
    return f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode()


def post(server: Server, length: int, body: Iterable[bytes]) -> tuple[dict[str, Any], float, float]:
    """Send a form; the job, the seconds of sending, and those from the last byte to the answer."""
    end = f"--{_BOUNDARY}--\r\n".encode()
    recipe = part("recipe") + _WAITS.encode() + b"\r\n"
    connection = http.client.HTTPConnection("localhost", server.port, timeout=600)
    connection.putrequest("POST", "/api/v1/jobs")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
    connection.putheader("Content-Length", str(len(recipe) + length + len(end)))
    connection.endheaders()
    started = time.perf_counter()
    connection.send(recipe)
    for piece in body:
        connection.send(piece)
    connection.send(end)
    sent = time.perf_counter()
    answer = connection.getresponse()
    job = json.loads(answer.read())
    assert answer.status == 202, job
    connection.close()
    return job, sent - started, time.perf_counter() - sent


def upload_zip(server: Server, folder: Path, gigabytes: float) -> list[str]:
    """One large ZIP."""
    photo, path = noise(2300, 1), folder / "large.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(max(1, int(gigabytes * 1e9 / len(photo)))):
            packed.writestr(f"{number}.jpg", another(photo))
    head, size = part("files", "large.zip"), path.stat().st_size

    def body() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        yield b"\r\n"

    memory = Memory(server.pid)
    with memory.watched():
        job, sending_s, waiting_s = post(server, len(head) + size + 2, body())
    path.unlink()
    requests.delete(f"{server.url}{job['links']['self']}", timeout=60).raise_for_status()
    said = f"{job['photo_count']} photos, {size / 1e6 / sending_s:.0f} MB/s"
    return [f"ZIP of {size / 1e9:.2f} GB in", said, f"{waiting_s:.2f}", f"{memory.more_mb:+.0f}", "64 MB"]


def upload_photos(server: Server, count: int = 500) -> list[str]:
    """Many photos in one request."""
    photo = noise(850, 2)
    files = [part("files", f"{number}.jpg") + another(photo) + b"\r\n" for number in range(count)]
    memory = Memory(server.pid)
    with memory.watched():
        job, sending_s, waiting_s = post(server, sum(map(len, files)), files)
    assert job["photo_count"] == count
    requests.delete(f"{server.url}{job['links']['self']}", timeout=60).raise_for_status()
    said = f"{count * len(photo) / 1e6 / sending_s:.0f} MB/s"
    name = f"{count} photos of {len(photo) / 1e6:.1f} MB in"
    return [name, said, f"{waiting_s:.2f}", f"{memory.more_mb:+.0f}", "2 s, 64 MB"]


def download(server: Server, gigabytes: float) -> list[str]:
    """One large ZIP of cutouts."""
    count = max(1, round(gigabytes * 1e9 / 61e6))  # a PNG of so much noise has 61 MB
    files = [("files", (f"{number}.jpg", noise(4500, number))) for number in range(count)]
    job = requests.post(f"{server.url}/api/v1/jobs", files=files, data={"recipe": _KEEPS}, timeout=600).json()
    address = f"{server.url}{job['links']['self']}"
    until(lambda: requests.get(address, timeout=60).json()["state"] == "done", within_s=1800)
    memory, come, started = Memory(server.pid), 0, time.perf_counter()
    archive = f"{server.url}{job['links']['archive']}"
    with memory.watched(), requests.get(archive, stream=True, timeout=600) as answer:
        for piece in answer.iter_content(_PIECE):
            come += len(piece)
    assert come == int(answer.headers["content-length"])
    took = time.perf_counter() - started
    return [
        f"ZIP of {come / 1e9:.2f} GB out",
        f"{come / 1e6 / took:.0f} MB/s",
        "",
        f"{memory.more_mb:+.0f}",
        "64 MB",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1)
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", model_dir) as server:
        small = [("files", ("a.jpg", noise(300, 3)))]
        for _ in range(3):  # what it loads for the first request is not the request's
            requests.post(f"{server.url}/api/v1/jobs", files=small, data={"recipe": _KEEPS}, timeout=60)
        rows = [
            upload_zip(server, Path(folder), options.gigabytes),
            upload_photos(server),
            download(server, options.gigabytes),
        ]
    print(machine() + "\n")
    print(table(["", "", "s after the last byte", "peak memory, MB", "aim"], rows))


if __name__ == "__main__":
    main()
