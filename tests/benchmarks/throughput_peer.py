"""The other side of `throughput`: rembg's own loop, or bare inference, in a process of its own.

    python -m tests.benchmarks.throughput_peer rembg|ceiling MODEL WEIGHTS

Reads one JSON value a line from standard input, answers with seconds.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def rembg_loop(session: Any, files: list[str]) -> float:
    """Seconds for `rembg.remove` over the files, one after another, as its documentation shows it."""
    import rembg

    started = time.perf_counter()
    for file in files:
        rembg.remove(Path(file).read_bytes(), session=session)
    return time.perf_counter() - started


def bare_inference(weights: str, size: int, runs: int) -> float:
    """The median seconds of one inference on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    values = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    took = []
    for _ in range(runs + 2):
        started = time.perf_counter()
        session.run(None, {session.get_inputs()[0].name: values})
        took.append(time.perf_counter() - started)
    return statistics.median(took[2:])


def main() -> None:
    """Answer until the input ends."""
    kind, model, weights = sys.argv[1:]
    session = None
    for line in sys.stdin:
        asked = json.loads(line)
        if kind == "ceiling":
            from photoproc.models.catalogue import CATALOGUE

            answer = bare_inference(weights, CATALOGUE[model].input_wh[0], asked)
        else:
            if session is None:
                from rembg.sessions import sessions

                # rembg's own class and default options; only the place of the file is ours.
                here = {"download_models": classmethod(lambda *_, **__: weights)}
                session = type("Local", (sessions[model],), here)(model, onnxruntime.SessionOptions())
            answer = rembg_loop(session, asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
