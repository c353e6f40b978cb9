"""The other side of `throughput`: rembg's own loop, or bare inference, in a process of its own.

    python -m tests.benchmarks.throughput_peer MODEL WEIGHTS

Reads a JSON list a line from standard input, the name of a function here and its arguments, and answers with
seconds.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

_loaded: dict[str, Any] = {}


def remove(model: str, weights: str, files: list[str]) -> float:
    """Seconds for `rembg.remove` over the files, one after another, as its documentation shows it."""
    import rembg

    session = _session(model, weights)
    started = time.perf_counter()
    for file in files:
        rembg.remove(Path(file).read_bytes(), session=session)
    return time.perf_counter() - started


def folder(model: str, weights: str, files: list[str]) -> float:
    """Seconds for what `rembg p` does with a folder: the same, each into a file."""
    import rembg

    session = _session(model, weights)
    started = time.perf_counter()
    for file in files:
        found = rembg.remove(Path(file).read_bytes(), session=session)
        Path(file).with_suffix(".out.png").write_bytes(found)
    return time.perf_counter() - started


def inference(model: str, weights: str, threads: int, runs: int) -> float:
    """The median seconds of one bare inference on so many threads."""
    from photoproc.models.catalogue import CATALOGUE

    size = CATALOGUE[model].input_wh[0]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    values = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    took = []
    for _ in range(runs + 2):
        started = time.perf_counter()
        session.run(None, {session.get_inputs()[0].name: values})
        took.append(time.perf_counter() - started)
    return statistics.median(took[2:])


def _session(model: str, weights: str) -> Any:
    """rembg's own class and default options; only the place of the file is ours."""
    if model not in _loaded:
        from rembg.sessions import sessions

        here = {"download_models": classmethod(lambda *_, **__: weights)}
        _loaded[model] = type("Local", (sessions[model],), here)(model, onnxruntime.SessionOptions())
    return _loaded[model]


def main() -> None:
    """Answer until the input ends."""
    model, weights = sys.argv[1:]
    functions: dict[str, Callable[..., float]] = {"remove": remove, "folder": folder, "inference": inference}
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps(functions[name](model, weights, *given)), flush=True)


if __name__ == "__main__":
    main()
