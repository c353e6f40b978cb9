"""Asking a process of its own, which may hang, crash or eat memory as it likes: a line in, a line out."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_LOOK_S = 0.1
_ROOT = Path(__file__).parents[2]


class StoppedError(Exception):
    """Nobody wants the answer any more."""


class TooLongError(Exception):
    """There was no answer in time."""


def ask(
    module: str,
    asked: Mapping[str, object],
    *,
    stopping: threading.Event,
    timeout_s: float = float("inf"),
    env: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """The exit code and the output of a module that is run with a line of JSON as its input.

    The process has ended when this returns or raises: StoppedError, TooLongError, and OSError where it
    cannot be started.
    """
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        bufsize=0,  # or what was not written to a process that died would be written when it is closed
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(asked).encode() + b"\n")
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_LOOK_S)
                if stopping.is_set():
                    raise StoppedError
                if time.monotonic() > deadline and process.poll() is None:
                    raise TooLongError
            return process.returncode, process.stdout.read()
        finally:
            process.kill()


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
