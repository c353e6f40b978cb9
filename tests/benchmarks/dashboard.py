"""A crowd on the dashboard while the children work: what pages take, whether the server's loop is held up.

    python -m tests.benchmarks.dashboard [--seconds 60] [--sessions 20] [--active 5]

Sessions speak Streamlit's protocol over sockets, as a browser does, and redraw what a page asks to have
redrawn; the active ones go from page to page. Aims: pages p95 ≤ 1 s, `GET /health` p99 ≤ 200 ms.
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from photoproc.models.weights import Weights
from tests.benchmarks.common import machine, table
from tests.benchmarks.load import cpu_s, row, watched_job
from tests.server import serving

_PAUSE_S = 1.0
"""What a person looks at a page for, at least, before going on."""


@dataclass
class Session:
    """One browser tab: a socket, the pages it knows, and the redraws it was asked for."""

    socket: ClientConnection
    address: str
    pages: dict[str, str] = field(default_factory=dict)
    here: str = ""
    timers: dict[str, float] = field(default_factory=dict)
    redraws: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Take what the server sends, for ever."""
        async for data in self.socket:
            assert isinstance(data, bytes)
            message = ForwardMsg.FromString(data)
            match message.WhichOneof("type"):
                case "new_session":
                    self.here = message.new_session.page_script_hash
                case "navigation":
                    self.pages = {
                        page.url_pathname: page.page_script_hash for page in message.navigation.app_pages
                    }
                case "auto_rerun":
                    self.timers[message.auto_rerun.fragment_id] = message.auto_rerun.interval
                case "stop_auto_rerun":
                    for name in message.stop_auto_rerun.fragment_ids:
                        self.timers.pop(name, None)
                case "delta" if message.delta.new_element.WhichOneof("type") == "exception":
                    self.errors.append(message.delta.new_element.exception.message)
                case "script_finished" if message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    self._finished.set()
                case _:
                    pass

    async def draw(self, page: str | None = None, query: str = "", fragment: str = "") -> float:
        """Ask for a page, or a part of this one, and wait until it is drawn; the seconds it took."""
        message = BackMsg()
        if page is not None:
            self.timers.clear()
        run = message.rerun_script
        run.query_string = query
        run.page_script_hash = self.here if page is None else self.pages.get(page, "")
        run.fragment_id, run.is_auto_rerun = fragment, bool(fragment)
        run.context_info.url = f"{self.address}/{page or ''}"
        self._finished.clear()
        begun = time.perf_counter()
        await self.socket.send(message.SerializeToString())
        await asyncio.wait_for(self._finished.wait(), 60)
        return time.perf_counter() - begun


async def sit(session: Session, job: str, until: float) -> None:
    """Have a job's page open, and redraw what it asks for."""
    await session.draw("jobs", f"job={job}")
    while time.monotonic() < until:
        await asyncio.sleep(min(session.timers.values(), default=1.0))
        for name in list(session.timers):
            session.redraws.append(await session.draw(query=f"job={job}", fragment=name))


async def wander(session: Session, job: str, until: float) -> list[float]:
    """Go from page to page; what each took."""
    took: list[float] = []
    walk = itertools.cycle([("jobs", ""), ("jobs", f"job={job}"), ("", ""), ("compare", ""), ("system", "")])
    for page, query in walk:
        if time.monotonic() >= until:
            return took
        took.append(await session.draw(page, query))
        await asyncio.sleep(_PAUSE_S)
    return took


async def crowd(address: str, job: str, sessions: int, active: int, seconds: float) -> dict[str, Any]:
    """All of it; what the pages and the redraws took."""
    made = []
    for _ in range(sessions):
        socket = await connect(
            address.replace("http", "ws", 1) + "/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
        )
        made.append(Session(socket, address))
    listening = [asyncio.create_task(one.listen()) for one in made]
    first = [await one.draw() for one in made]
    assert all({"jobs", "compare", "system"} <= set(one.pages) for one in made)
    until = time.monotonic() + seconds
    idle = [asyncio.create_task(sit(one, job, until)) for one in made[active:]]
    walks = await asyncio.gather(*(wander(one, job, until) for one in made[:active]))
    await asyncio.gather(*idle)
    for task in listening:
        task.cancel()
    for one in made:
        assert one.errors == [], one.errors
        await one.socket.close()
    return {
        "first": first,
        "pages": list(itertools.chain(*walks)),
        "redraws": [took for one in made for took in one.redraws],
    }


def main() -> None:
    """Measure and print; or be the crowd, in a process of its own."""
    if len(sys.argv) > 2 and sys.argv[1] == "crowd":
        print(json.dumps(asyncio.run(crowd(**json.loads(sys.argv[2])))), flush=True)
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--active", type=int, default=5)
    parser.add_argument(
        "--job", type=int, default=1500, help="photos of the job that keeps the children at work"
    )
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", model_dir) as server:
        job = watched_job(server, options.job)
        server.done_at_least(job, 2)
        given = {
            "address": server.url,
            "job": job,
            "sessions": options.sessions,
            "active": options.active,
            "seconds": options.seconds,
        }
        before, cpu, begun = server.counts(job).finished, cpu_s(server.pid), time.monotonic()
        people = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.dashboard", "crowd", json.dumps(given)],
            stdout=subprocess.PIPE,
        )
        health: list[float] = []
        while people.poll() is None:
            asked = time.perf_counter()
            assert server.healthy()
            health.append(time.perf_counter() - asked)
            time.sleep(0.05)
        assert people.stdout is not None
        found = json.loads(people.stdout.read())
        took = time.monotonic() - begun
        done, cpu = server.counts(job).finished - before, cpu_s(server.pid) - cpu
        assert server.counts(job).queued, "the children ran out of work: give --job more photos"
    rows = [
        row("first page of a session", found["first"], ""),
        row(f"page, {options.active} of {options.sessions} active", found["pages"], "p95 ≤ 1,000"),
        row("redraw that a page asks for", found["redraws"], ""),
        row("GET /health", health, ""),
    ]
    print(f"{machine()}\n{done / took:.1f} tasks/s meanwhile; the server took {cpu / took:.0%} of a core\n")
    print(table(["ms", "count", "p50", "p95", "max", "aim"], rows))
    print(f"GET /health p99 {1000 * np.percentile(health, 99):.0f} ms (aim ≤ 200)")


if __name__ == "__main__":
    main()
