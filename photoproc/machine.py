"""What the kernel tells: the processor, the memory of this process, and how busy the machine's cores are."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_IDLE = (3, 4)
"""Columns of a line of /proc/stat that are no work: idle, and waiting for a disk."""
_COUNTED = 8
"""Its columns without those of guests, which are in the first two already."""


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """What the processor calls itself, or else its kind."""
    with suppress(OSError):
        for line in (_PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def forget_peak() -> bool:
    """Have the kernel measure the most memory of this process anew from now on; whether it does."""
    try:
        (_PROC / "self" / "clear_refs").write_text("5")  # Linux: Documentation/filesystems/proc.rst
    except OSError:  # another system, or a container that keeps it from being written
        return False
    return True


def peak_bytes() -> int | None:
    """The most resident memory of this process since `forget_peak`, in bytes.

    Since it began where that could not be done, which is no less. None where no one tells.
    """
    with suppress(OSError, ValueError):
        for line in (_PROC / "self" / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def trim() -> None:
    """Give memory that is free, but still kept by the C library, back to the system, where it is glibc."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def busy_s() -> float | None:
    """Seconds of work that all cores have done since the start, what other virtual machines took included.

    None where the system does not tell.
    """
    try:
        with (_PROC / "stat").open() as file:
            ticks = [int(part) for part in file.readline().split()[1 : 1 + _COUNTED]]
    except (OSError, ValueError):
        return None
    worked = sum(count for column, count in enumerate(ticks) if column not in _IDLE)
    return worked / _ticks_per_s()


def worked_s(pids: Iterable[int]) -> float:
    """Seconds of work that these processes have done; those that are gone count nothing."""
    ticks = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            # A name may hold anything; it ends with the last parenthesis. utime and stime are 14 and 15.
            columns = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks += int(columns[11]) + int(columns[12])
    return ticks / _ticks_per_s()


def _ticks_per_s() -> float:
    return float(os.sysconf("SC_CLK_TCK"))
