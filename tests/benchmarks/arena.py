"""The memory of a child's models in one shared arena, and in onnxruntime's defaults; and how fast they run.

    python -m tests.benchmarks.arena

Each way loads u2netp and u2net in a process of its own and runs each some times, on one thread; the ways
take turns. Resident memory is that at the end, and the most there was.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from photoproc import machine as kernel
from photoproc.models.sessions import session_options
from photoproc.models.weights import Weights
from tests.benchmarks.common import machine, table

WAYS = ("onnxruntime's defaults", "one shared arena")


def options(way: str) -> Any:
    if way == WAYS[1]:
        return session_options(1, shared=True)
    plain = onnxruntime.SessionOptions()
    plain.intra_op_num_threads = plain.inter_op_num_threads = 1
    return plain


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def measure(way: str, paths: list[str], runs: int) -> dict[str, float]:
    """What this process came to; only its first call says something of memory."""
    picture = np.random.default_rng(0).random((1, 3, 320, 320), np.float32)
    found, sessions = {}, []
    for path in paths:
        session = onnxruntime.InferenceSession(path, options(way), providers=["CPUExecutionProvider"])
        sessions.append(session)  # both stay loaded
        if way == WAYS[1]:
            kernel.trim()
        took = []
        for _ in range(runs):
            begun = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: picture})
            took.append(time.perf_counter() - begun)
        found[f"{Path(path).stem}, s"] = statistics.median(took)
    return {**found, "resident, MB": resident_mb(), "peak, MB": (kernel.peak_bytes() or 0) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    folder = Weights(Path(own) if own else None).folders()[0] / "models"
    paths = [str(folder / name / f"{name}.onnx") for name in ("u2netp", "u2net")]
    if asked.way:
        print(json.dumps(measure(asked.way, paths, asked.runs)))
        return
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(asked.rounds):
        for way in WAYS:
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.arena",
                "--way",
                way,
                "--runs",
                str(asked.runs),
            ]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            for what, value in json.loads(ran.stdout).items():
                found[way][what].append(value)
    print(machine())
    head = ["", *found[WAYS[0]]]
    rows = [[way, *(f"{statistics.median(values):.3g}" for values in found[way].values())] for way in WAYS]
    print(table(head, rows))


if __name__ == "__main__":
    main()
