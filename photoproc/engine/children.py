"""A child process as the server has it: started, given one call after the other, killed."""

import os
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, get_context, spawn
from typing import Any

from photoproc import calls
from photoproc.calls import Answer, Told

# glibc reads this where a process starts: blocks of memory are asked for in huge pages, which come at once
# where pages of 4 KB come one by one. A photo of 24 megapixels takes a tenth less time so. Others ignore it.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
# GCC's OpenMP, which ncnn uses, reads this where it is loaded: threads that wait for each other sleep. Where
# they spin while other programs want the cores, a photo on two threads took 10 s instead of 1.5.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_CONTEXT = get_context("spawn")
_NAME = "photoproc-child"
_END_S = 5.0
"""How long a child that has closed its pipe may take to end."""

_PROCESSES = threading.Lock()
"""Held while a process is started, sent a signal or waited for: what multiprocessing notes of them is not
made for several threads, and the id of one that was waited for may be another's."""

_preparation_data = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """What a new child is told, which for ours does not name the main module to import.

    That is Streamlit's command line or, while a page runs, the page's script: it changes in any
    thread at any moment, so it cannot be swapped while a child starts.
    """
    told = _preparation_data(name)
    if name == _NAME:
        told.pop("init_main_from_name", None)
        told.pop("init_main_from_path", None)
    return told


spawn.get_preparation_data = _without_main


class Child:
    """A process that answers calls. One thread talks with it; any may kill it."""

    def __init__(self, told: Told, warm_up: Callable[[], object] | None) -> None:
        """Start it; raises OSError where that cannot be done."""
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=calls.serve, args=(theirs, told, warm_up), name=_NAME, daemon=True
        )
        self.since = time.monotonic()
        try:
            with _PROCESSES:
                self._process.start()
        except OSError:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid or 0
        self._is_killed = False

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a call; one that was killed may take a while to free its memory."""
        return not self._is_killed and not connection.wait([self._process.sentinel], 0)

    def ready(self) -> Answer:
        """Wait until it can be given calls; what its warm-up answered. Raises EOFError where it ended."""
        return self._answer()

    def ask(self, call: memoryview) -> Answer:
        """The answer to a call. Raises BrokenPipeError where the child ended before it had the call, and
        EOFError where it ended later."""
        try:
            self._pipe.send_bytes(call)
            self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise BrokenPipeError from error
        return self._answer()

    def _answer(self) -> Answer:
        try:
            answer: Answer = self._pipe.recv()
        except Exception as error:  # it ended, or what it says cannot be read here
            raise EOFError from error
        return answer

    def kill(self) -> None:
        """End it, whatever it does; what it writes is nobody's yet."""
        self._is_killed = True
        with _PROCESSES:
            self._process.kill()

    def end(self) -> int | None:
        """Let it end, or kill it; returns its exit code, that of a signal negative, None where not even that
        ends it now."""
        self._pipe.close()
        connection.wait([self._process.sentinel], _END_S)
        self.kill()  # which does nothing to one that has ended
        pause, until = threading.Event(), time.monotonic() + _END_S
        while (code := self._exit_code()) is None and time.monotonic() < until:
            pause.wait(0.01)
        return code

    def _exit_code(self) -> int | None:
        with _PROCESSES:
            return self._process.exitcode
