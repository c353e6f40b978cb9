"""`python -m tests.workflow` passes a server that is right, and fails one that is not."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests import workflow
from tests.long import by_hand
from tests.server import free_port, serving
from tests.visitor import Json, Visit

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[1]
KEY = "a-key-of-some-length"


def visited(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What somebody sees who types the command."""
    command = [sys.executable, "-m", "tests.workflow", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


class AlteringTransport(httpx2.BaseTransport):
    """Damages ZIPs on their way, and swallows deletions."""

    def __init__(self) -> None:
        self._inner = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":
            return httpx2.Response(204)
        answer = self._inner.handle_request(request)
        if not request.url.path.endswith("/archive"):
            return answer
        content = bytearray(answer.read())
        content[len(content) // 2] ^= 1
        return httpx2.Response(answer.status_code, headers=answer.headers, content=bytes(content))

    def close(self) -> None:
        self._inner.close()


class AlteredVisit(Visit):
    """A visit through such a transport, on which WebSockets lose an event."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.http = httpx2.Client(base_url=self.url, timeout=self.patience_s, transport=AlteringTransport())
        self.keyless = self.http

    def listen(self, job_id: str, query: str = "") -> tuple[list[Json], int | None]:
        heard, code = super().listen(job_id, query)
        return [*heard[:1], *heard[2:]], code


def test_a_server_that_is_right_passes(model_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", model_dir, api_keys=f"me:{KEY}") as server:
        seen = visited(server.url, "--key", KEY)
        left = list(server.store.job_ids())
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert seen.stdout.count(" ok ") == len(workflow.CHECKS)
    assert left == []


@by_hand
def test_what_is_wrong_is_said_by_name(model_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", model_dir) as server:
        visit = AlteredVisit(server.url, None, 300)
        try:
            rows = workflow.run(visit)
        finally:
            visit.close()
    assert {name for name, _, wrong in rows if wrong} == {
        "a recipe by name: saved, used, forgotten",
        "many photos: a job, live by WebSocket",
        "a cut WebSocket goes on; polling tells the same",
        "the whole job as a ZIP with its manifest",
        "an unknown id is a 404 everywhere",
        "deleted is gone",
    }
    said = workflow.report(rows)
    assert f"6 of {len(workflow.CHECKS) - 1} checks failed." in said
    assert "the damaged file in the ZIP is" in said


def test_nobody_there_is_a_failure() -> None:
    seen = visited(f"http://localhost:{free_port()}")
    assert seen.returncode == 1
    assert "no answer" in seen.stdout


@contextmanager
def saying(text: bytes) -> Iterator[str]:
    """A server that says the same to everything."""

    class Parrot(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Parrot) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("text", [b"{}", b"[]", b"not JSON"])
def test_another_program_on_the_port_is_a_failure(text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with saying(text) as url:
        assert workflow.main([url]) == 1
    assert "1 of 1 checks failed." in capsys.readouterr().out


def test_checks_have_names_of_their_own() -> None:
    names = [name for name, _ in workflow.CHECKS]
    assert len(set(names)) == len(names)


def test_it_knows_nothing_of_the_server_but_what_is_documented() -> None:
    asked = "import sys, tests.workflow; print([name for name in sys.modules if 'photoproc' in name])"
    said = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
