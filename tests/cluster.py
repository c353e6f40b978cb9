"""A real Dask cluster on this machine: started by its own commands, mistreated, ended."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from photoproc.engine.cluster import DaskEngine
from tests.faults.processes import children_of, is_alive, kill
from tests.server import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[1]
_DASK = f"{sys.executable} -m dask"


class Cluster:
    """A scheduler and workers with one place each, in a folder of their own.

    A worker whose process ends is started again, as whatever runs it on a real machine would do.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self._folder = folder
        self.port = free_port()
        self.address = f"dask://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOPROC_")}
        own = {f"PHOTOPROC_{name.upper()}": str(value) for name, value in settings.items()}
        self._env = kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"} | own
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._keepers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self, env: Mapping[str, str] | None = None) -> None:
        """Start it, on the same port each time; returns at once."""
        command = f"exec {_DASK} scheduler --host 127.0.0.1 --port {self.port} --no-dashboard --no-show"
        self._scheduler = self._run(command, "scheduler", env)

    def kill_scheduler(self) -> None:
        """`kill -9`; its port is free afterwards."""
        assert self._scheduler is not None
        kill(self._scheduler.pid)
        self._scheduler.wait()
        self._scheduler = None

    def signal_scheduler(self, number: int) -> None:
        """Send it a signal."""
        assert self._scheduler is not None
        kill(self._scheduler.pid, number)

    def start_worker(self, *options: str, nanny: bool = False, env: Mapping[str, str] | None = None) -> None:
        """Start one, and have it started again whenever it ends; returns at once."""
        number = len(self._keepers)
        folder = self._folder / f"worker-{number}"
        own = " ".join(options if nanny else ("--no-nanny", *options))
        command = (
            f"while :; do {_DASK} worker tcp://127.0.0.1:{self.port} --nthreads 1 --no-dashboard"
            f" --host 127.0.0.1 --local-directory {folder} {own}; sleep 0.2; done"
        )
        self._keepers.append(self._run(command, f"worker-{number}", env))

    def end_workers(self) -> None:
        """End all workers for good, with all that they have started."""
        keepers, self._keepers = self._keepers, []
        left = [pid for keeper in keepers for pid in (keeper.pid, *_below(keeper.pid))]
        for pid in left:
            kill(pid)
        for keeper in keepers:
            keeper.wait()
        until(lambda: not any(is_alive(pid) for pid in left), within_s=20)

    @property
    def scheduler(self) -> int:
        """Its process."""
        assert self._scheduler is not None
        return self._scheduler.pid

    def workers(self) -> list[int]:
        """The processes of the workers that run."""
        return [pid for keeper in self._keepers for pid in children_of(keeper.pid)[:1]]

    def log(self) -> str:
        """What all have said so far."""
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("*.log")))

    def close(self) -> None:
        """Leave nothing running."""
        self.end_workers()
        if self._scheduler is not None:
            self.kill_scheduler()

    def _run(
        self, command: str, name: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        shell = ["/bin/sh", "-c", command]
        whole = {**self._env, **(env or {})}
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(shell, cwd=self._folder, env=whole, stdout=log, stderr=log)


def _below(pid: int) -> list[int]:
    """All that a process has started, and what that has."""
    return [one for child in children_of(pid) for one in (child, *_below(child))]


@contextmanager
def clustered(folder: Path, *, workers: int = 2, **settings: object) -> Iterator[Cluster]:
    """A cluster that is being started, whose workers have these settings; ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder, **settings)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.close()


@contextmanager
def engine_on(cluster: Cluster, *, places: int) -> Iterator[DaskEngine]:
    """An engine that has found the workers of a cluster; stopped afterwards."""
    engine = DaskEngine(cluster.address)
    try:
        engine.start()
        until(lambda: engine.capacity == places, within_s=90)
        until(lambda: len(engine.children()) == places, within_s=90)
        yield engine
    finally:
        engine.stop()
