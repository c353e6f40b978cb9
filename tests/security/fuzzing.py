"""Bytes damaged by chance, for as long as asked, in a process that may end by it."""

import faulthandler
import importlib
import json
import random
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Read = Callable[[bytes], object]
Make = Callable[[Path], tuple[Read, Sequence[bytes]]]
"""What makes, over a fresh folder, a reader and the sound bytes that are damaged for it. The reader
returns, or raises only what it says it may as something else than a finding."""

_EDGES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """How many tries there were, and by how much the process grew after the first tenth, in MB."""

    tries: int
    grown_mb: float


def fuzz(make: Make, folder: Path, seconds: float) -> Fuzzed:
    """Let a reader have damaged bytes; fails where it raises or dies, with the file that did it."""
    command = [sys.executable, "-m", __name__, make.__module__, make.__name__, str(folder), str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    assert ran.returncode == 0, f"over {folder / 'try'}: {ran.returncode}\n{ran.stderr[-3000:]}"
    return Fuzzed(**json.loads(ran.stdout.splitlines()[-1]))


def damaged(draw: random.Random, sound: Sequence[bytes]) -> bytes:
    """One of the sound ones with one to six mistakes in it."""
    data = bytearray(draw.choice(sound))
    for _ in range(draw.randint(1, 6)):
        at, some = draw.randrange(len(data) + 1), draw.randint(1, 64)
        match draw.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << draw.randrange(8)
            case 1:
                data[at : at + some] = draw.randbytes(some)
            case 2:
                data[at:at] = draw.randbytes(some)
            case 3:
                del data[at : at + some]
            case 4:
                del data[at:]
            case 5:
                form = draw.choice(("<H", ">H", "<I", ">I"))
                edge = draw.choice(_EDGES) & (0xFFFF if form[1] == "H" else 0xFFFF_FFFF)
                data[at : at + struct.calcsize(form)] = struct.pack(form, edge)
            case _:
                other = draw.choice(sound)
                data[at:] = other[draw.randrange(len(other) + 1) :]
    return bytes(data)


def _run(make: Make, folder: Path, seconds: float) -> Fuzzed:
    faulthandler.enable()
    read, sound = make(folder)
    tried, draw, tries, warm = folder / "try", random.Random(), 0, 0.0
    begun = time.monotonic()
    while (past := time.monotonic() - begun) < seconds:
        data = damaged(draw, sound)
        tried.write_bytes(data)
        read(data)
        tries += 1
        if past < seconds / 10:
            warm = _peak_mb()
    return Fuzzed(tries, _peak_mb() - warm)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    module, name, where, lasting = sys.argv[1:]
    made = _run(getattr(importlib.import_module(module), name), Path(where), float(lasting))
    print(json.dumps(asdict(made)))
