"""Hostile files through the whole server: each ends as it should, and its siblings finish."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.benchmarks.transfer import Memory
from tests.pictures import sample
from tests.security.hostile import DONE, FAILED, Hostile, archives, named, single
from tests.server import Server, serving
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]
GOOD = ("a good one.png", sample("astronaut.png"))
RECIPE = json.dumps({"models": ["u2netp"]})


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    with serving(folder / "data", model_dir, max_file_mb=60) as made:
        yield made
        log = made.log()
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
        assert "worker_error" not in log


def sent(server: Server, files: list[tuple[str, bytes]]) -> dict[str, Any]:
    """Files as one job; what the server answers once all of it is over."""
    form = [("files", (name, data)) for name, data in files]
    answer = httpx2.post(f"{server.url}/api/v1/jobs", files=form, data={"recipe": RECIPE}, timeout=300)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    server.finished(job, within_s=300)
    found: dict[str, Any] = httpx2.get(f"{server.url}/api/v1/jobs/{job}?limit=200", timeout=60).json()
    assert found["next"] is None
    return found


def ends(found: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """What became of each file, by the name it is shown with: its state or code, and all that is said."""
    by_name = {task["photo"]: (task["state"], task) for task in found["tasks"]}
    return by_name | {one["name"]: (one["code"], one) for one in found["refused"]}


def check_all(server: Server, files: list[Hostile]) -> dict[str, Any]:
    found = sent(server, [GOOD, *((one.name, one.data) for one in files)])
    counts = found["counts"]
    assert len(found["tasks"]) == counts["done"] + counts["failed"] + counts["skipped"] + counts["cancelled"]
    assert len(found["tasks"]) + len(found["refused"]) == 1 + len(files), "nothing is dropped silently"
    return found


def test_every_hostile_file_ends_as_it_should_and_the_server_stays_small(server: Server) -> None:
    files = list(single())
    sent(server, [GOOD])
    memory = Memory(server.pid)
    with memory.watched():
        found = check_all(server, files)
    became = ends(found)
    assert became["a good one.png"][0] == DONE
    for one in files:
        end, told = became[one.name]
        assert end in one.ends, (one.name, end, told)
        if end != DONE:
            problem = told if end != FAILED else told["problem"]
            assert problem["message"], one.name
            assert problem["advice"], one.name
        if one.warning:
            assert one.warning in [warning["code"] for warning in told["warnings"]], one.name
    grown_mb = memory.peak_mb - memory.before_mb
    print(f"the server's memory: {memory.before_mb:.0f} MB before, {memory.peak_mb:.0f} MB at the most")
    assert grown_mb <= 50


def test_every_hostile_zip_ends_as_it_should(server: Server) -> None:
    for one in archives():
        memory = Memory(server.pid)
        with memory.watched():
            found = sent(server, [GOOD, (one.name, one.data)])
        assert {each["name"]: each["code"] for each in found["refused"]} == one.codes, one.name
        assert all(each["message"] and each["advice"] for each in found["refused"]), one.name
        assert [task["photo"] for task in found["tasks"]] == [GOOD[0], *one.photos], one.name
        assert {task["state"] for task in found["tasks"]} == {DONE}, one.name
        assert memory.peak_mb - memory.before_mb <= 50, one.name
        until(lambda: list((server.data_dir / "tmp").iterdir()) == [])


def test_names_attack_nothing_that_shows_them(server: Server) -> None:
    found = check_all(server, list(named()))
    assert {task["state"] for task in found["tasks"]} == {DONE}
    for task in found["tasks"]:
        name = task["photo"]
        assert not any(char in name for char in "\r\n\0\u202e"), name
        answer = httpx2.get(f"{server.url}{task['links']['cutout']}&download=1", timeout=60)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert "\n" not in answer.headers["content-disposition"]
    answer = httpx2.get(f"{server.url}{found['links']['archive']}", timeout=60)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            assert not name.startswith("/")
            assert ".." not in name.split("/")
            assert "\\" not in name
        rows = list(csv.reader(io.StringIO(archive.read("manifest.csv").decode("utf-8-sig"))))
    for row in rows[1:]:
        for cell in row:
            number = cell.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
