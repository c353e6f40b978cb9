"""Gigabytes through the API: how fast, and what they change of the server's resident memory.

    python -m tests.benchmarks.transfer [--gigabytes 1] [--folder DIR]

A ZIP of large photos goes in (made as it is sent), the ZIP of a job's cutouts comes out, and many photos
go in at once. Aims: 64 MB of resident memory, and 500 photos of 1 MB accepted within 2 s of their last byte.
"""

import argparse
import http.client
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from photoproc.models.weights import Weights
from tests.benchmarks.common import jpeg, machine, table
from tests.server import Server, serving
from tests.waiting import until

_MB = 1_000_000
_PHOTO_MB = 10
_BOUNDARY = "a-line-between-parts"
_WAITS = {"models": ["bria-rmbg"]}
"""Weights that are not there: nothing runs beside the upload."""
_KEEPS = {"background": {"kind": "keep"}}
"""Nothing but decoding and encoding."""
_WARM = 3
"""Photos of a first, small round, after which the server has what it keeps anyway."""


class Memory:
    """The resident memory of a process before, at its peak and after something happens."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self.before_mb = self._mb("VmRSS")
        self.peak_mb = self.after_mb = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While it happens; the kernel keeps the peak."""
        (self._process / "clear_refs").write_text("5")
        yield
        self.peak_mb, self.after_mb = self._mb("VmHWM"), self._mb("VmRSS")

    def _mb(self, field: str) -> float:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / _MB for line in lines if line.startswith(field))


class Growing(io.RawIOBase):
    """What a ZIP is written into while it is sent: nothing of it stays."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending += data
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        """What was written since last time."""
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


def photos(count: int, size_bytes: int) -> Iterator[bytes]:
    """JPEGs of this size, each another: a picture, and bytes behind its end as cameras write them."""
    head, rng = jpeg(0.3, seed=1), np.random.default_rng()
    for _ in range(count):
        yield head + rng.bytes(size_bytes - len(head))


def zipped(megabytes: int) -> Iterator[bytes]:
    """A ZIP of large photos, piece by piece."""
    out = Growing()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for number, photo in enumerate(photos(megabytes // _PHOTO_MB, _PHOTO_MB * _MB)):
            packed.writestr(f"trip/{number:04}.jpg", photo)
            yield out.taken()
    yield out.taken()


def form(files: Iterator[tuple[str, Iterator[bytes]]], recipe: dict[str, Any]) -> Iterator[bytes]:
    """A multipart form, piece by piece."""
    yield _part('name="recipe"') + json.dumps(recipe).encode() + b"\r\n"
    for name, pieces in files:
        yield _part(f'name="files"; filename="{name}"')
        yield from pieces
        yield b"\r\n"
    yield f"--{_BOUNDARY}--\r\n".encode()


def _part(disposition: str) -> bytes:
    return f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()


def post(server: Server, body: Iterator[bytes]) -> tuple[dict[str, Any], float, float]:
    """Send a form as it is made; the job, and the seconds to the last byte and from it to the answer."""
    connection = http.client.HTTPConnection("localhost", server.port, timeout=600)
    connection.putrequest("POST", "/api/v1/jobs")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    started = time.perf_counter()
    for piece in body:
        if piece:
            connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    connection.send(b"0\r\n\r\n")
    sent = time.perf_counter()
    answer = connection.getresponse()
    job = json.loads(answer.read())
    answered = time.perf_counter()
    connection.close()
    assert answer.status == 202, job
    return job, sent - started, answered - sent


def delete(server: Server, job: dict[str, Any]) -> None:
    """Make room for the next round."""
    assert httpx2.delete(server.url + job["links"]["self"], timeout=60).status_code == 204


def upload(server: Server, megabytes: int) -> list[str]:
    """A ZIP goes in."""
    delete(server, post(server, form(iter([("trip.zip", zipped(_WARM * _PHOTO_MB))]), _WAITS))[0])
    memory = Memory(server.pid)
    with memory.watched():
        job, sending, answering = post(server, form(iter([("trip.zip", zipped(megabytes))]), _WAITS))
    assert len(job["accepted"]) == megabytes // _PHOTO_MB
    delete(server, job)
    return row("upload of a ZIP", megabytes, sending + answering, memory)


def upload_many(server: Server, count: int) -> tuple[list[str], float]:
    """Many photos go in; also the seconds from the last byte to the answer."""

    def files(count: int) -> Iterator[tuple[str, Iterator[bytes]]]:
        made = photos(count, _MB)
        return ((f"{number}.jpg", iter([photo])) for number, photo in enumerate(made))

    delete(server, post(server, form(files(_WARM), _WAITS))[0])
    memory = Memory(server.pid)
    with memory.watched():
        job, sending, answering = post(server, form(files(count), _WAITS))
    assert len(job["accepted"]) == count
    delete(server, job)
    return row(f"upload of {count} photos of 1 MB", count, sending + answering, memory), answering


def noise(count: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Photos whose cutouts are large: noise, of which no PNG is small."""
    rng = np.random.default_rng()
    for number in range(count):
        out = io.BytesIO()
        pixels = rng.integers(0, 256, (4000, 4000, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, "JPEG", quality=30)
        yield f"{number}.jpg", iter([out.getvalue()])


def download(server: Server, megabytes: int) -> list[str]:
    """A ZIP comes out."""
    first = finished(server, noise(1))
    each_mb = first["output_bytes"] / _MB
    drain(server, first)
    delete(server, first)
    job = finished(server, noise(max(1, round(megabytes / each_mb))))
    memory = Memory(server.pid)
    started = time.perf_counter()
    with memory.watched():
        came = drain(server, job)
    took = time.perf_counter() - started
    assert came >= job["output_bytes"]
    delete(server, job)
    return row("download of a ZIP", round(came / _MB), took, memory)


def finished(server: Server, files: Iterator[tuple[str, Iterator[bytes]]]) -> dict[str, Any]:
    """A job whose cutouts are made."""
    made = post(server, form(files, _KEEPS))[0]

    def job() -> dict[str, Any]:
        found: dict[str, Any] = httpx2.get(server.url + made["links"]["self"], timeout=60).json()
        return found

    until(lambda: job()["state"] == "done", within_s=3600)
    return job()


def drain(server: Server, job: dict[str, Any]) -> int:
    """Take a job's ZIP; how many bytes came."""
    came = 0
    with httpx2.stream("GET", server.url + job["links"]["archive"], timeout=600) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw(1 << 20):
            came += len(piece)
    return came


def row(name: str, megabytes: int, took: float, memory: Memory) -> list[str]:
    """A line of the table."""
    figures = [memory.before_mb, memory.peak_mb, memory.after_mb, memory.peak_mb - memory.before_mb]
    return [
        name,
        f"{megabytes:,}",
        f"{took:.1f}",
        f"{megabytes / took:.0f}",
        *(f"{one:.0f}" for one in figures),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--photos", type=int, default=500, help="of 1 MB, in one request")
    parser.add_argument("--folder", type=Path, help="for the server's data, on a disk with room for it")
    options = parser.parse_args()
    megabytes = round(options.gigabytes * 1000)
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        serving(Path(folder) / "data", model_dir) as server,
    ):
        rows = [upload(server, megabytes)]
        many, answering = upload_many(server, options.photos)
        rows += [many, download(server, megabytes)]
    print(f"{machine()}\nload average before {load:.1f}, after {os.getloadavg()[0]:.1f}\n")
    head = ["", "MB", "s", "MB/s", "RSS before", "peak", "after", "change (aim ≤ 64)"]
    print(table(head, rows))
    print(
        f"\n{options.photos} photos: {answering:.2f} s from the last byte to the answer (aim ≤ 2 s for 500)"
    )


if __name__ == "__main__":
    main()
