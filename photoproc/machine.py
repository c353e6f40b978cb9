"""What the kernel tells: the processor, the memory of this process, and how busy the machine's cores are."""

import ctypes
import math
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_IDLE = (3, 4)
"""Columns of a line of /proc/stat that are no work: idle, and waiting for a disk."""
_COUNTED = 8
"""Its columns without those of guests, which are in the first two already."""
_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores this process may use: those it may run on, or fewer where its container has a quota."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Cores' worth of time that Linux's control groups, version 2 or 1, let this process have."""
    with suppress(OSError, ValueError, IndexError):
        groups = [line.split(":", 2) for line in (_PROC / "self" / "cgroup").read_text().splitlines()]
        for _, kinds, path in groups:
            if kinds and "cpu" not in kinds.split(","):
                continue
            top = _CGROUPS / kinds
            place = top / path.lstrip("/")
            # A container sees its own group as the root, whatever the path says.
            for folder in _up(place, top):
                yield from _quota(folder)


def _up(place: Path, top: Path) -> Iterator[Path]:
    """A folder and those around it, as far as `top`."""
    while place != top and top in place.parents:
        yield place
        place = place.parent
    yield top


def _quota(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        most, period = (folder / "cpu.max").read_text().split()
        yield int(most) / int(period)  # or it is "max"
    with suppress(OSError, ValueError):
        most, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(most) > 0:
            yield int(most) / int(period)


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
