"""Waiting for something to become true, up to a deadline, without sleeping blindly."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def until(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    """Return as soon as the condition holds; fail where it does not in time."""
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.02)


def at_once(*actions: Callable[[], object]) -> None:
    """Run actions in a thread each, all starting together; raises what a failing one raised."""
    gate = threading.Barrier(len(actions))

    def act(action: Callable[[], object]) -> None:
        gate.wait()
        action()

    with ThreadPoolExecutor(len(actions)) as pool:
        running = [pool.submit(act, action) for action in actions]
    for one in running:
        one.result()
