"""A crowd on a busy server: sockets that listen and uploads at once while the children work.

    python -m tests.benchmarks.load [--seconds 60] [--sockets 50] [--uploads 20]

Who listens, who uploads and who asks are processes of their own. Aims: `GET /jobs/{id}` p95 ≤ 50 ms, and
every update at every socket within 1 s of when it happened.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import httpx2
import numpy as np
from websockets.asyncio.client import connect

from photoproc.models.weights import Weights
from tests.benchmarks.common import jpeg, machine, table
from tests.server import Server, serving
from tests.waiting import at_once

_ASK_EVERY_S = 0.05
_NICENESS = 10
"""Of who uploads: their work would be another machine's."""
_WAITS = json.dumps({"models": ["bria-rmbg"]})
"""A model without weights: uploads become jobs that wait, and the children stay with the one watched."""


# Each client is a process: `python -m tests.benchmarks.load <client> <json>`. It writes "ready", reads a
# line that starts it, later one that ends it, and writes what it found.


def hear(url: str, job_id: str, sockets: int) -> dict[str, Any]:
    """Listen at many sockets; the delay of each update."""
    return asyncio.run(_hear(url.replace("http", "ws", 1), job_id, sockets))


async def _hear(url: str, job_id: str, sockets: int) -> dict[str, Any]:
    delays: list[float] = []
    gaps = 0
    listening = asyncio.Semaphore(0)

    async def one() -> None:
        nonlocal gaps
        async with connect(f"{url}/api/v1/jobs/{job_id}/events", max_size=None) as socket:
            cursor = json.loads(await socket.recv())["cursor"]
            listening.release()
            async for message in socket:
                now, event = time.time(), json.loads(message)
                gaps += event["cursor"] != cursor + 1
                cursor = event["cursor"]
                delays.append(now - datetime.fromisoformat(event["at"]).timestamp())

    tasks = [asyncio.create_task(one()) for _ in range(sockets)]
    for _ in tasks:
        await listening.acquire()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    delays.clear()
    await asyncio.to_thread(sys.stdin.readline)
    alive = sum(not task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"delays": delays, "gaps": gaps, "alive": alive}


def _end_at_a_line(over: threading.Event) -> None:
    sys.stdin.readline()
    over.set()


def ask(url: str, job_id: str) -> dict[str, Any]:
    """Ask after a job again and again; when each answer came and what it took."""
    over, took = threading.Event(), list[tuple[float, float]]()
    with httpx2.Client(timeout=60) as http:
        address = f"{url}/api/v1/jobs/{job_id}"
        assert http.get(address).status_code == 200
        print("ready", flush=True)
        sys.stdin.readline()
        threading.Thread(target=_end_at_a_line, args=(over,), daemon=True).start()
        while not over.is_set():
            started = time.time()
            status = http.get(address).status_code
            took.append((started, time.time() - started))
            assert status == 200, status
            over.wait(max(0.0, _ASK_EVERY_S - took[-1][1]))
    return {"took": took}


def upload(url: str, uploads: int, photos: int, photo_bytes: int) -> dict[str, Any]:
    """Many uploads at once; when each began and what it took."""
    os.nice(_NICENESS)
    rng, took = np.random.default_rng(), list[tuple[float, float]]()
    head = jpeg(0.1, seed=1)
    sent = [head + rng.bytes(photo_bytes - len(head)) for _ in range(uploads * photos)]

    def one(first: int) -> None:
        mine = enumerate(sent[first : first + photos])
        files = [("files", (f"{first}-{number}.jpg", data)) for number, data in mine]
        started = time.time()
        answer = httpx2.post(f"{url}/api/v1/jobs", files=files, data={"recipe": _WAITS}, timeout=300)
        took.append((started, time.time() - started))
        assert answer.status_code == 202, answer.text

    print("ready", flush=True)
    sys.stdin.readline()
    at_once(*(partial(one, number * photos) for number in range(uploads)))
    return {"took": took}


class Client:
    """A client's process."""

    def __init__(self, name: str, **arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load", name, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready\n"

    def say(self) -> None:
        """Start it, or end it."""
        pipe = self._pipe(self._process.stdin)
        pipe.write("\n")
        pipe.flush()

    def found(self) -> dict[str, Any]:
        """What it found, once it has ended."""
        found: dict[str, Any] = json.loads(self._line())
        self._process.wait()
        return found

    def kill(self) -> None:
        """Leave nothing running."""
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        return self._pipe(self._process.stdout).readline()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


CLIENTS: dict[str, Callable[..., dict[str, Any]]] = {"hear": hear, "ask": ask, "upload": upload}


def watched_job(server: Server, photos: int) -> str:
    """A job that keeps the children at work; its id."""
    files = [("files", (f"{number}.jpg", jpeg(0.3, seed=number))) for number in range(photos)]
    recipe = {"recipe": json.dumps({"models": ["u2netp"]})}
    answer = httpx2.post(f"{server.url}/api/v1/jobs", files=files, data=recipe, timeout=300)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def measure(server: Server, job_id: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything the clients found, in a quiet time and while uploads come."""
    pause = threading.Event()
    with ExitStack() as stack:

        def client(name: str, **arguments: object) -> Client:
            made = Client(name, url=server.url, **arguments)
            stack.callback(made.kill)
            return made

        size = {"photos": options.photos, "photo_bytes": options.photo_kb * 1000}
        uploading = [client("upload", uploads=options.uploads, **size) for _ in range(options.rounds)]
        hearing = client("hear", job_id=job_id, sockets=options.sockets)
        asking = client("ask", job_id=job_id)
        before, cpu = server.counts(job_id).finished, cpu_s(server.pid)
        started = time.time()
        hearing.say()
        asking.say()
        pause.wait(options.seconds / 2)
        crowded = time.time()
        uploads: list[tuple[float, float]] = []
        for one in uploading:
            one.say()
            uploads += one.found()["took"]
        pause.wait(max(0.0, started + options.seconds - time.time()))
        ended, counts = time.time(), server.counts(job_id)
        assert counts.queued, "the children ran out of work: give --job more photos"
        for one in (hearing, asking):
            one.say()
        heard, asked = hearing.found(), asking.found()["took"]
        assert heard["gaps"] == 0, "updates are missing"
        assert heard["alive"] == options.sockets, "sockets were closed"
    until = max(at + took for at, took in uploads)
    return {
        "quiet_s": [took for at, took in asked if at < crowded],
        "crowded_s": [took for at, took in asked if crowded <= at < until],
        "delays_s": heard["delays"],
        "uploads_s": [took for _, took in uploads],
        "tasks_per_s": (counts.finished - before) / (ended - started),
        "cpu": (cpu_s(server.pid) - cpu) / (ended - started),
    }


def cpu_s(pid: int) -> float:
    """The processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(name: str, seconds: list[float], aim: str) -> list[str]:
    """A line of the table, in milliseconds."""
    if not seconds:
        return [name, "0", "", "", "", aim]
    figures = [float(np.percentile(seconds, share)) for share in (50, 95, 100)]
    return [name, f"{len(seconds):,}", *(f"{1000 * figure:,.0f}" for figure in figures), aim]


def report(found: dict[str, Any], options: argparse.Namespace) -> str:
    """The table."""
    rows = [
        row("GET /jobs/{id}, quiet", found["quiet_s"], "p95 ≤ 50"),
        row(f"GET /jobs/{{id}}, {options.uploads} uploads at once", found["crowded_s"], "p95 ≤ 50"),
        row(f"update at each of {options.sockets} sockets", found["delays_s"], "max ≤ 1,000"),
        row(f"upload of {options.photos} × {options.photo_kb} KB", found["uploads_s"], ""),
    ]
    return table(["ms", "count", "p50", "p95", "max", "aim"], rows)


def main() -> None:
    """Measure and print; or be one of the clients."""
    if len(sys.argv) > 2 and sys.argv[1] in CLIENTS:
        print(json.dumps(CLIENTS[sys.argv[1]](**json.loads(sys.argv[2]))), flush=True)
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sockets", type=int, default=50)
    parser.add_argument("--uploads", type=int, default=20, help="at once")
    parser.add_argument("--rounds", type=int, default=3, help="of uploads")
    parser.add_argument("--photos", type=int, default=5, help="of an upload")
    parser.add_argument("--photo-kb", type=int, default=1000)
    parser.add_argument("--job", type=int, default=600, help="photos of the job that is watched")
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", model_dir) as server:
        job_id = watched_job(server, options.job)
        server.done_at_least(job_id, 2)
        load = os.getloadavg()[0]
        found = measure(server, job_id, options)
    print(f"{machine()}\nload average before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    print(f"{found['tasks_per_s']:.1f} tasks/s meanwhile; the server took {found['cpu']:.0%} of a core\n")
    print(report(found, options))


if __name__ == "__main__":
    main()
