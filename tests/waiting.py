"""Waiting for something to come true, with a deadline."""

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], bool], *, within_s: float = 90.0) -> None:
    """Wait for a condition, looking often; fails with the deadline."""
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.05)
