"""The real server as a process, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).parents[1]


class Server:
    """`streamlit run app.py` over a data folder."""

    def __init__(self, data_dir: Path, model_dir: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.log = data_dir.parent / f"{data_dir.name}-server-{self.port}.log"
        env = os.environ | {
            "PHOTOPROC_DATA_DIR": str(data_dir),
            "PHOTOPROC_MODEL_DIR": str(model_dir),
            "PHOTOPROC_FETCH_DEFAULT_MODEL": "0",
            "PHOTOPROC_DEFAULT_MODEL": "u2netp",
            "PHOTOPROC_OFFLINE": "1",
            "PHOTOPROC_MAX_CONCURRENT": "2",
            "PHOTOPROC_MIN_FREE_DISK_MB": "1",
            **{f"PHOTOPROC_{name.upper()}": value for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)

    def wait(self, *, within_s: float = 60.0) -> "Server":
        """Wait until it answers."""

        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.healthy()

        until(answers, within_s=within_s)
        return self

    def healthy(self) -> bool:
        """Whether it answers now."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def kill(self) -> None:
        """`kill -9`, the server process alone."""
        self.process.kill()
        self.process.wait()

    def terminate(self, *, within_s: float) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=within_s)

    def close(self) -> None:
        """End it however it is."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def serving(data_dir: Path, model_dir: Path, **settings: str) -> Iterator[Server]:
    """A server that answers, ended afterwards. Settings by their name without the prefix."""
    server = Server(data_dir, model_dir, **settings)
    try:
        yield server.wait()
    finally:
        server.close()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
