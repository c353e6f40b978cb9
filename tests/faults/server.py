"""The real server as a process, to be mistreated: started, watched through its data folder, killed."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from photoproc.bootstrap import Runtime
from photoproc.jobs import Counts, Photo, Task, TaskState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from photoproc.store import Store
from tests.faults.processes import children_of, is_alive, kill, maps, workers_of
from tests.pictures import encoded, picture
from tests.waiting import until

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(models=("u2netp",))


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


class Server:
    """A server on a data folder. What is known of its jobs is read from the folder."""

    def __init__(self, data_dir: Path, model_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.store = Store(data_dir / "store")
        self._log = data_dir.with_name(f"{data_dir.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOPROC_")}
        self._env = kept | {
            "PHOTOPROC_DATA_DIR": str(data_dir),
            "PHOTOPROC_MODEL_DIR": str(model_dir),
            "PHOTOPROC_FETCH_DEFAULT_MODEL": "0",
            "PHOTOPROC_OFFLINE": "1",
            "PHOTOPROC_MAX_CONCURRENT": "2",
            **{f"PHOTOPROC_{name.upper()}": str(value) for name, value in settings.items()},
        }

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        command += ["--server.port", str(self.port), "--server.fileWatcherType", "none"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=log, stderr=log)

    def ready(self) -> None:
        """Return once it answers."""
        until(self.healthy, within_s=60)

    def healthy(self) -> bool:
        """Whether it answers that it is well, within two seconds."""
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}/api/v1/health", timeout=2) as answer:
                return bool(json.load(answer) == {"status": "ok"})
        except OSError:
            return False

    def kill(self) -> None:
        """`kill -9`: of the server process alone; its children must go by themselves."""
        self._end(signal.SIGKILL, within_s=10, children_within_s=10)

    def terminate(self, *, within_s: float) -> None:
        """SIGTERM; it must end in time, and its children with it."""
        self._end(signal.SIGTERM, within_s=within_s, children_within_s=5)

    def _end(self, number: int, *, within_s: float, children_within_s: float) -> None:
        assert self._process is not None
        left = children_of(self.pid)
        self._process.send_signal(number)
        self._process.wait(within_s)
        self._process = None
        try:
            until(lambda: not any(is_alive(pid) for pid in left), within_s=children_within_s)
        finally:
            for pid in left:
                kill(pid)

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            left = [self.pid, *children_of(self.pid)]
            for pid in left:
                kill(pid, signal.SIGKILL)
            self._process.wait()
        self.store.close()

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

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
        """The children that run models; the one that reads headers never loads any."""
        return [pid for pid in workers_of(self.pid) if "onnxruntime" in maps(pid)]

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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
