"""The server is killed, or asked to end, in the middle of a time trial: it is over, and said to be."""

import json
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.long import LONG
from tests.server import Server, serving, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]


def asked(server: Server, job: str, method: str = "GET", query: str = "") -> dict[str, Any]:
    """What the server says of a job's time trial."""
    address = f"{server.url}/api/v1/jobs/{job}/trial{query}"
    with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.parametrize(
    "end",
    [
        Server.kill,
        *([partial(Server.interrupt, within_s=10), partial(Server.terminate, within_s=10)] if LONG else []),
    ],
)
def test_a_trial_whose_server_ends_was_interrupted_and_jobs_go_on_with_the_next(
    end: Callable[[Server], None], tmp_path: Path, model_dir: Path
) -> None:
    job = submit(tmp_path / "data", 2)
    with serving(tmp_path / "data", model_dir) as server:
        server.finished(job)
        asked(server, job, "POST", "?rounds=20")
        until(lambda: asked(server, job)["done"] >= 3, within_s=90)
        waiting = submit(tmp_path / "data", 2)
        end(server)  # and its children with it
        server.start()
        server.ready()
        found = asked(server, job)
        assert (found["state"], found["problem"]["code"]) == ("interrupted", "trial_interrupted")
        server.finished(waiting)
        assert server.counts(waiting).done == 2
        asked(server, job, "POST", "?rounds=1&photos=1")
        until(lambda: asked(server, job)["state"] == "done", within_s=90)
