"""What a measurement was made on."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from photoproc import machine


def host() -> Mapping[str, str | int]:
    """The system, the processor, how many of its cores this process may use, the memory in bytes, Python."""
    found: dict[str, str | int] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": machine.cores(),
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf"):
        found["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
