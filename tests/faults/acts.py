"""What tests have child processes do: answer, fail, die, hang."""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path


def double(number: int) -> int:
    return 2 * number


def raise_value_error() -> int:
    raise ValueError("of the function itself")


def pid() -> int:
    return os.getpid()


def take(seconds: float) -> float:
    """Be busy for so long."""
    threading.Event().wait(seconds)
    return seconds


def wait_for(sign: Path) -> str:
    """Be busy until a file is there."""
    while not sign.exists():
        threading.Event().wait(0.02)
    return "seen"


def say_and_wait_for(said: Path, sign: Path) -> str:
    """Write the process id to a file, then be busy until another is there."""
    say(said)
    return wait_for(sign)


def kill_parent() -> None:
    """Take the process with it that gave the call."""
    os.kill(os.getppid(), signal.SIGKILL)
    threading.Event().wait()


def kill_yourself(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    threading.Event().wait()


def signal_yourself(number: int) -> int:
    os.kill(os.getpid(), number)
    return number


def segfault() -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    """End the process as a library would that calls exit()."""
    os._exit(code)


def hang(sign: Path) -> None:
    """Write the process id to a file, then never end, and do not heed SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    say(sign)
    threading.Event().wait()


def spin(sign: Path) -> None:
    """Write the process id to a file, then compute for ever."""
    say(sign)
    while True:
        pass


def hang_once(sign: Path) -> int:
    """As `hang`, but only whoever comes first."""
    if not sign.exists():
        hang(sign)
    return os.getpid()


def sign_in(folder: Path) -> int:
    """Leave a file that is named after the process."""
    (folder / f"{os.getpid()}").touch()
    return os.getpid()


_held: list[bytearray] = []


def hold(megabytes: int) -> int:
    """Have so much memory from now on, as a child with models has."""
    _held.append(bytearray(os.urandom(2**20) * megabytes))
    return os.getpid()


def close_all_and_go_on() -> None:
    """Close every file, the pipe among them, and compute for ever."""
    os.closerange(3, 1000)
    while True:
        pass


class Unreadable:
    """An answer that cannot be read where it goes."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return raise_value_error, ()


def answer_unreadably() -> Unreadable:
    return Unreadable()


def say_much(sign: Path, length: int) -> bytes:
    """Write the process id to a file, then answer at length."""
    say(sign)
    return bytes(length)


def say(sign: Path) -> None:
    part = sign.with_name(f"{sign.name}.part")
    part.write_text(str(os.getpid()))
    part.replace(sign)


def modules() -> tuple[list[str], str | None]:
    """What is imported here, and the file of the main module."""
    return sorted(sys.modules), getattr(sys.modules["__main__"], "__file__", None)


def allocate(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024 * 1024))


def threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def variable(name: str) -> str | None:
    """A variable of this process's environment."""
    return os.environ.get(name)


def huge_pages_mb() -> int:
    """How much of 64 MB of this process's memory is in huge pages (Linux)."""
    held = bytearray(64 << 20)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    held.clear()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:")) >> 10
