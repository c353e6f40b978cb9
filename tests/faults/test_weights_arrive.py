"""Weights come late: what waited for them starts by itself, and a server ends while they come."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from photoproc.jobs import Counts, JobState
from tests.long import LONG
from tests.models import own_onnx
from tests.models.support import weights_file
from tests.pictures import encoded, picture
from tests.server import NO_RELEASE, Server, check_published_once, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A model folder with nothing in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def make(tmp_path: Path, empty: Path) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def server(**settings: Any) -> Server:
        made.append(Server(tmp_path / "data", empty, **settings))
        return made[-1]

    yield server
    for one in made:
        one.close()
        print(one.log()[-5000:])


def test_a_job_waits_for_weights_and_starts_when_they_are_put_into_the_folder(
    make: Callable[..., Server], empty: Path, model_dir: Path
) -> None:
    server = make()
    job = submit(server.data_dir, 3)
    server.start()
    server.ready()
    until(lambda: len(server.engine_children()) == 2)  # all is there but the weights
    assert server.counts(job) == Counts(queued=3)

    part = empty / "copying"
    shutil.copyfile(weights_file(model_dir, "u2netp"), part)
    assert server.counts(job) == Counts(queued=3)
    part.rename(empty / "u2netp.onnx")
    server.done_at_least(job, 1, within_s=30)
    server.finished(job)
    job_now = server.store.job(job)
    assert (job_now.state, job_now.counts) == (JobState.DONE, Counts(done=3))
    assert {task.attempts for task in server.tasks(job)} == {1}
    check_published_once(server, job, 3)


@pytest.mark.parametrize("asked", [Server.terminate, Server.interrupt], ids=["SIGTERM", "Ctrl-C"])
def test_a_server_that_ends_during_a_download_takes_pip_along_and_leaves_nothing_half(
    make: Callable[..., Server], empty: Path, asked: Callable[..., None]
) -> None:
    server = make(env=NO_RELEASE, offline=0, fetch_default_model=1)
    server.start()
    with server.held_download():
        server.ready()
        asked(server, within_s=10)
    assert [path.name for path in empty.rglob("*") if path.is_file()] == [".u2netp.onnx.lock"]


def truncated(sound: bytes) -> bytes:
    return sound[: len(sound) // 2]


def swapped(sound: bytes) -> bytes:
    """As long, and another network by a few bytes."""
    return sound[:-1000] + bytes(1000)


@pytest.mark.parametrize("damage", [swapped, *([truncated] if LONG else [])])
def test_weights_that_are_not_what_they_should_be_are_never_loaded_and_no_other_model_minds(
    make: Callable[..., Server], empty: Path, model_dir: Path, damage: Callable[[bytes], bytes]
) -> None:
    sound = weights_file(model_dir, "u2netp").read_bytes()
    (empty / "u2netp.onnx").write_bytes(damage(sound))
    own_onnx.put(empty, "mean", own_onnx.averaging())
    server = make()
    waiting = submit(server.data_dir, 2)
    server.start()
    server.ready()
    until(lambda: model(server, "mean")["state"] == "ready")
    other = hand_in(server, "mean")
    server.finished(other)
    assert server.counts(other) == Counts(done=1)

    told = with_problem(server, "u2netp")
    assert told["state"] != "ready"
    message = told["problem"]["message"]  # at first of the check, then of the vain download
    assert "not what rembg published" in message or "damaged or another one" in message
    assert server.counts(waiting) == Counts(queued=2), "not lost, and not run with the wrong weights"
    part = empty / "copying"
    part.write_bytes(sound)
    part.replace(empty / "u2netp.onnx")
    server.finished(waiting)
    assert server.counts(waiting) == Counts(done=2)
    assert {task.attempts for task in server.tasks(waiting)} == {1}


def model(server: Server, name: str) -> dict[str, Any]:
    """What the server says of a model; nothing of one it does not know yet."""
    items = httpx2.get(f"{server.url}/api/v1/models").json()["items"]
    return next((one for one in items if one["name"] == name), {"state": ""})


def with_problem(server: Server, name: str) -> dict[str, Any]:
    """What the server says of a model as soon as it has a problem, which it has not while it downloads it."""
    seen = [model(server, name)]

    def told() -> bool:
        seen.append(model(server, name))
        return seen[-1].get("problem") is not None

    until(told)
    return seen[-1]


def hand_in(server: Server, name: str) -> str:
    """A job of one photo for a model."""
    file = ("photo.png", encoded(picture(60, 40), "PNG"))
    answer = httpx2.post(
        f"{server.url}/api/v1/jobs", files={"files": file}, data={"recipe": json.dumps({"models": [name]})}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])
