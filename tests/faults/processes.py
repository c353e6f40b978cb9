"""Looking at processes from outside, by /proc."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that has ended but was not waited for does not)."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_stopped(pid: int) -> bool:
    return _stat(pid)[0] == "T"


def children_of(pid: int) -> list[int]:
    """The living child processes of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                state, parent, *_ = _stat(int(entry.name))
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def workers_of(pid: int) -> list[int]:
    """The children of a server that run tasks (not those that track its semaphores and the like)."""
    return [child for child in children_of(pid) if "spawn_main" in command_of(child)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def maps(pid: int) -> str:
    """What a process has in its memory: the libraries it has loaded, among others."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that tests started."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return re.sub(r"^.*\) ", "", text).split()
