"""The doors of a real server: its names, where it listens, what browsers are told, paths elsewhere."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import ROOT, Server, free_port, serving


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doors")
    with serving(folder / "data", model_dir, allowed_hosts="photos.example") as made:
        yield made


def asked(server: Server, path: str, *, host: str | None = None, **headers: str) -> http.client.HTTPResponse:
    """What a request is answered, sent as it is, whatever its path."""
    wire = http.client.HTTPConnection("localhost", server.port, timeout=30)
    wire.putrequest("GET", path, skip_host=True)
    wire.putheader("Host", host or f"localhost:{server.port}")
    wire.putheader("Connection", "Upgrade" if headers else "close")
    for name, value in headers.items():
        wire.putheader(name, value)
    wire.endheaders()
    answer = wire.getresponse()
    if answer.status == 101:
        wire.close()
    return answer


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8501", "192.168.1.5", "photos.example"]
)
def test_it_answers_to_its_names_and_to_addresses(server: Server, host: str) -> None:
    assert asked(server, "/", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "[::1", "a@b:c:d"]
)
@pytest.mark.parametrize("path", ["/", "/api/v1/jobs", "/_stcore/health", "/api/client/"])
def test_by_another_name_nothing_is_to_be_had(server: Server, host: str, path: str) -> None:
    answer = asked(server, path, host=host)
    assert answer.status == 421
    assert b"PHOTOPROC_ALLOWED_HOSTS" in answer.read()


def test_a_socket_by_another_name_is_refused(server: Server) -> None:
    socket = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 22 + "=="}
    assert asked(server, "/_stcore/stream", **socket).status == 101
    assert asked(server, "/_stcore/stream", host="evil.example", **socket).status == 403


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/api/client/", "/api/docs", "/api/v1/jobs", "/api/v1/jobs/x", "/nothing.js"]
)
def test_browsers_are_told_what_pages_may_do(server: Server, path: str) -> None:
    headers = asked(server, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Referrer-Policy"] == "same-origin"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    answers = path.startswith("/api/v1/")
    assert policy["default-src"] == ("'none'" if answers else "'self'")
    assert ("script-src" in policy) is not answers
    assert policy["frame-ancestors"] == ("'none'" if answers else "'self'")


ELSEWHERE = [
    "/api/client/../../../app.py",
    "/api/client/..%2f..%2f..%2fapp.py",
    "/api/client/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/api/client//etc/passwd",
    "/static/../../../../../../etc/passwd",
    "/static/..%5c..%5c..%5cetc%5cpasswd",
    "/media/../../etc/passwd",
    "/component/../../../etc/passwd",
    "/app/static/../../app.py",
    "/_stcore/bidi-components/../../app.py",
    "/api/v1/jobs/../../../etc/passwd",
    "/api/v1/jobs/..%2f..%2fstore/tasks/0/cutout",
    f"/api/v1/jobs/{'0' * 32}/tasks/0/files/..%2f..%2flink.key",
    "/api/v1/recipes/..%2f..%2flink.key",
    "//etc/passwd",
    "/%00",
    "/link.key",
    "/.streamlit/config.toml",
    "/.git/config",
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_no_path_reaches_the_file_system(server: Server, path: str) -> None:
    answer = asked(server, path)
    told = answer.read()
    assert answer.status < 500
    secret = (server.data_dir / "link.key").read_bytes()
    for within in (secret, b"root:", b"import streamlit", b"[server]", b"repositoryformatversion"):
        assert within not in told


@pytest.mark.parametrize(
    "path", ["/api/client", "/static/", "/static", "/api/", "/media/", "/component/", "/app/static/"]
)
def test_no_folder_is_listed(server: Server, path: str) -> None:
    told = asked(server, path).read().lower()
    assert b"index of" not in told
    assert b"photo-processor.js</a>" not in told


def started(tmp_path: Path, address: str) -> tuple[int | None, str]:
    """What becomes of a server within a minute: the code it ended with (None: it runs), and what it said."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOPROC_")}
    env |= {"PHOTOPROC_DATA_DIR": str(tmp_path / "data"), "PHOTOPROC_FETCH_DEFAULT_MODEL": "0"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py"]
    command += ["--server.port", str(free_port()), "--server.address", address]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            code: int | None = process.wait(60)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        return code, log.read()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])
def test_it_does_not_listen_for_others_unless_that_is_meant(tmp_path: Path, address: str) -> None:
    code, said = started(tmp_path, address)
    assert code not in (0, None)
    assert "PHOTOPROC_ALLOW_ANONYMOUS=1" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("setting", [{"allow_anonymous": 1}, {"api_keys": "shop:a-key-of-some-length"}])
def test_it_listens_for_others_where_it_is_told_so(
    model_dir: Path, tmp_path: Path, setting: dict[str, object]
) -> None:
    everywhere = {"STREAMLIT_SERVER_ADDRESS": "0.0.0.0"}
    server = Server(tmp_path / "data", model_dir, env=everywhere, **setting)  # type: ignore[arg-type]
    try:
        server.start()
        server.ready()
        assert json.loads(asked(server, "/api/v1/health", host="192.168.1.5").read()) == {"status": "ok"}
    finally:
        server.close()


def test_the_data_folder_is_its_owners_alone(server: Server) -> None:
    for path in (server.data_dir, *(folder for folder in server.data_dir.rglob("*") if folder.is_dir())):
        assert path.stat().st_mode & 0o077 == 0, path
