"""The other side of `throughput`: rembg's own loop, snipbg's, or bare inference, in a process of its own.

    python -m tests.benchmarks.throughput_peer MODEL WEIGHTS

Reads a JSON list a line from standard input, the name of a function here and its arguments, and answers with
seconds (`provider` with a name).
"""

import importlib
import json
import os
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


def snipbg(model: str, weights: str, files: list[str]) -> float:
    """Seconds for `snipbg.remove` over the files, as its documentation shows it."""
    library = importlib.import_module("snipbg")
    os.environ["SNIPBG_HOME"] = str(Path(weights).parent)  # where it looks for the same file
    started = time.perf_counter()
    for file in files:
        library.remove(Path(file).read_bytes(), model)
    return time.perf_counter() - started


def provider(model: str, weights: str) -> str:
    """What bare inference runs on, as onnxruntime names it."""
    return str(_bare(weights, 1).get_providers()[0])


def inference(model: str, weights: str, threads: int, runs: int) -> float:
    """The median seconds of one bare inference, on so many threads where it runs on the processor."""
    from photoproc.models.catalogue import CATALOGUE

    size = CATALOGUE[model].input_wh[0]
    session = _bare(weights, threads)
    values = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    took = []
    for _ in range(runs + 2):
        started = time.perf_counter()
        session.run(None, {session.get_inputs()[0].name: values})
        took.append(time.perf_counter() - started)
    return statistics.median(took[2:])


def _bare(weights: str, threads: int) -> Any:
    """A session of onnxruntime, on the card that the settings choose, or the processor: what OpenVINO or ncnn
    gains is measured against that."""
    from photoproc.models.sessions import opened, providers_for
    from photoproc.settings import Settings

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return opened(Path(weights), options, providers_for(Settings().provider_choice))


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
    functions: dict[str, Callable[..., float | str]] = {
        "remove": remove,
        "folder": folder,
        "snipbg": snipbg,
        "inference": inference,
        "provider": provider,
    }
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps(functions[name](model, weights, *given)), flush=True)


if __name__ == "__main__":
    main()
