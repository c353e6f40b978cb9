"""Uploads as they come over the wire: limits by byte, nothing left of what breaks off."""

import io
import json
import socket
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from photoproc.bootstrap import Runtime
from tests.api.conftest import Changed
from tests.api.listening import at_rest, listening
from tests.api.support import Api, check_problem, jpeg
from tests.waiting import until

BOUNDARY = "----photoproc"


@pytest.fixture(scope="module")
def port(running: Runtime) -> Iterator[int]:
    """The port of a real web server with the API."""
    with listening(running.service) as address:
        number = urlsplit(address).port
        assert number is not None
        yield number


@pytest.fixture(autouse=True)
def nothing_else_runs(running: Runtime) -> None:
    """Jobs that other tests have left would come and go among the files that are compared here."""
    at_rest(running.service)


def files(running: Runtime) -> set[Path]:
    """Every file that an upload may leave behind."""
    data = running.settings.data_dir
    return {path for kind in ("photos", "staging", "tmp") for path in (data / kind).rglob("*")}


def part(name: str, data: bytes, file_name: str | None = None) -> bytes:
    named = f'; filename="{file_name}"' if file_name is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def sending(port: int, length: int | None) -> Iterator[socket.socket]:
    """A connection on which the head of a form was sent."""
    with closing(socket.create_connection(("127.0.0.1", port))) as wire:
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        wire.sendall(
            f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost:{port}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{size}\r\n\r\n".encode()
        )
        yield wire


def answered(wire: socket.socket) -> tuple[int, dict[str, object]]:
    """The answer's status and JSON."""
    with wire.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(stream.read(length))


def test_a_photo_is_checked_while_the_next_one_is_still_coming(port: int, running: Runtime) -> None:
    before = files(running)
    body = part("files", jpeg(1), "1.jpg") + part("files", jpeg(2) * 200, "2.jpg") + END
    with sending(port, len(body)) as wire:
        wire.sendall(body[:300_000])
        until(lambda: len(files(running) - before) >= 2)  # the first one whole, the second in part
        wire.sendall(body[300_000:])
        status, job = answered(wire)
    assert (status, job["photo_count"]) == (202, 2)


@pytest.mark.parametrize("sent", [0, 40, 500, 300_000, 600_000])
def test_an_abandoned_upload_leaves_nothing(port: int, running: Runtime, sent: int) -> None:
    before, jobs = files(running), running.service.job_count()
    body = part("files", jpeg(1), "1.jpg") + part("files", jpeg(2) * 300, "2.jpg") + END
    with capture_logs() as logs:
        with sending(port, len(body)) as wire:
            wire.sendall(body[:sent])
            if sent >= 300_000:
                until(lambda: files(running) != before)
        until(lambda: any(one["event"] == "upload_abandoned" for one in logs))
    until(lambda: files(running) == before)
    assert running.service.job_count() == jobs
    assert [one for one in logs if one["log_level"] == "error"] == [], "nobody's mistake"


def test_an_upload_that_is_longer_than_allowed_is_refused_by_its_announcement(
    port: int, running: Runtime
) -> None:
    before = files(running)
    with sending(port, 10**13) as wire:
        status, problem = answered(wire)
    assert (status, problem["code"]) == (413, "request_too_large")
    assert files(running) == before


def test_an_upload_that_does_not_announce_its_length_is_counted(
    port: int, running: Runtime, change: Changed
) -> None:
    before = files(running)
    change(max_request_mb=1)
    piece = part("files", b"\xff\xd8" + bytes(2_000_000), "1.jpg")
    with sending(port, None) as wire:
        wire.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        status, problem = answered(wire)
    assert (status, problem["code"]) == (413, "request_too_large")
    until(lambda: files(running) == before)


def test_an_upload_for_which_there_is_no_room_is_refused_before_it_comes(
    port: int, running: Runtime, change: Changed
) -> None:
    change(max_request_mb=10**9)
    with sending(port, running.service.system().free_bytes) as wire:
        status, problem = answered(wire)
    assert (status, problem["code"]) == (507, "disk_full")


def test_a_disk_that_fills_up_on_the_way_ends_the_upload(
    api: Api, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(running)

    def full(self: object, needed: int = 0) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("photoproc.files.os.fsync", full)
    check_problem(api.post({"a.jpg": jpeg()}), 507, "disk_full")
    assert files(running) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        part("files", jpeg(), "1.jpg"),  # no end
        part("files", jpeg(), "1.jpg")[:-9],
        b"--wrong\r\n\r\n--wrong--\r\n",
        f"--{BOUNDARY}\r\nX: y\r\n\r\nz\r\n".encode() + END,
        f"--{BOUNDARY}\r\nX: {'y' * 99_999}\r\n\r\nz\r\n".encode() + END,
        part("recipe", b" " * 999_999) + END,
    ],
)
def test_a_form_that_cannot_be_read_is_refused_and_leaves_nothing(
    api: Api, running: Runtime, body: bytes
) -> None:
    before = files(running)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = api.client.post("/v1/jobs", content=body, headers=headers)
    check_problem(answer, 400, "form_broken")
    assert files(running) == before


def test_a_boundary_longer_than_any_is_refused(api: Api) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={'x' * 400}"}
    check_problem(api.client.post("/v1/jobs", content=b"--", headers=headers), 400, "form_broken")


def test_the_zips_of_one_upload_unpack_to_no_more_than_one_may(
    api: Api, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = running.settings.model_copy(update={"max_archive_expanded_mb": 1})
    monkeypatch.setattr(running.service._intake, "_settings", small)
    packed = {}
    for number in range(3):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(f"{number}.jpg", jpeg(number) + bytes(450_000))
        packed[f"{number}.zip"] = out.getvalue()
    job = api.made(packed, {"models": ["bria-rmbg"]})
    assert [one["code"] for one in job["refused"]] == ["archive_too_large"]
    assert job["photo_count"] == 2


def test_what_is_no_form_is_refused(api: Api) -> None:
    for kind in ("application/json", "multipart/form-data", "", "multipart/mixed; boundary=x"):
        answer = api.client.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind})
        check_problem(answer, 415, "not_a_form")


def test_a_field_in_which_no_file_was_chosen_is_no_file(api: Api) -> None:
    body = part("files", b"", "") + part("files", jpeg(), "a.jpg") + END
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    job = api.client.post("/v1/jobs", content=body, headers=headers).json()
    assert (job["photo_count"], job["refused"]) == (1, [])


def test_more_files_than_a_job_takes_are_refused(api: Api, running: Runtime, change: Changed) -> None:
    before = files(running)
    change(max_photos_per_job=3)
    answer = api.post({f"{n}.jpg": jpeg(n) for n in range(5)})
    check_problem(answer, 422, "too_many_photos")
    assert files(running) == before


def test_a_file_over_its_limit_costs_only_itself(
    api: Api, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = running.settings.model_copy(update={"max_file_mb": 1})
    monkeypatch.setattr(running.service._intake, "_settings", small)
    job = api.made({"large.bmp": b"BM" + bytes(1_100_000), "a.jpg": jpeg()})
    assert [photo["name"] for photo in job["accepted"]] == ["a.jpg"]
    assert [(one["name"], one["code"]) for one in job["refused"]] == [("large.bmp", "file_too_large")]


def test_a_name_with_any_letters_arrives_as_it_was(api: Api) -> None:
    names = ["日本 ü.jpg", "a'b&c;.jpg", "<img src=x onerror=alert(1)>.jpg"]
    job = api.made({name: jpeg(place) for place, name in enumerate(names)})
    assert [photo["name"] for photo in job["accepted"]] == names


def test_the_same_photo_twice_is_two_photos_of_one_file(api: Api, running: Runtime) -> None:
    job = api.made({"a.jpg": jpeg(77), "b.jpg": jpeg(77)}, {"models": ["bria-rmbg"]})
    assert job["photo_count"] == 2
    kept = running.settings.data_dir / "jobs" / job["id"] / "photos"
    assert len(list(kept.iterdir())) == 1
    assert io.BytesIO(next(kept.iterdir()).read_bytes()).getvalue() == jpeg(77)
