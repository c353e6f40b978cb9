"""A custom model run once, in a process of its own: `python -m photoproc.models.probe_child`.

Reads one line of JSON from standard input (see `probe.run`), and writes one to standard output. Ends when
its input does, which is when whoever asked is gone.
"""

import json
import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from photoproc.errors import ModelError, Problem
from photoproc.models.catalogue import ModelSpec
from photoproc.models.onnx_file import has_external_data
from photoproc.names import display_name


def main() -> None:
    """Answer, and leave at once: what a broken model would do in the end is of no interest."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_asker, daemon=True).start()
    _limit_memory(asked["memory_mb"])
    from photoproc.models.probe import spec_of_json

    answer = answer_to(spec_of_json(asked["spec"]), Path(asked["path"]), threads=asked["threads"])
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)


def answer_to(spec: ModelSpec, path: Path, *, threads: int) -> dict[str, Any]:
    """What came of loading a model and running it on noise: seconds of both, or the problem."""
    try:
        return {"problem": None, **_tried(spec, path, threads)}
    except ModelError as error:
        problem = error.problem
    except MemoryError:
        problem = _no_memory(spec)
    return {"problem": [problem.code, problem.message, problem.advice]}


def _tried(spec: ModelSpec, path: Path, threads: int) -> dict[str, float]:
    try:
        if has_external_data(path):
            raise ModelError(
                "custom_external",
                f"{spec.file_name} keeps its weights in another file.",
                "Save it as one file (onnx.save_model with save_as_external_data=False).",
            )
    except (ValueError, OSError) as error:
        raise _broken(spec, f"it is not ONNX, or cut short: {error}") from error

    import numpy as np
    import onnxruntime
    from PIL import Image

    from photoproc.models.network import NetworkSession
    from photoproc.models.openvino import OpenVinoSession
    from photoproc.models.providers import CPU, OPENVINO
    from photoproc.models.sessions import available, opened, session_options

    onnxruntime.set_default_logger_severity(4)
    width, height = spec.input_wh
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    try:
        began = time.perf_counter()
        if spec.precision == "f32" or OPENVINO not in available():
            session = NetworkSession(opened(path, session_options(threads), [CPU]), spec)
        else:
            session = NetworkSession(OpenVinoSession(path, threads=threads, precision=spec.precision), spec)
        loaded = time.perf_counter()
        session.predict(Image.fromarray(noise))
        return {"load_s": loaded - began, "run_s": time.perf_counter() - loaded}
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # whatever a stranger's file brings about is the answer
        if "bad_alloc" in str(error) or "allocat" in str(error):
            raise MemoryError(str(error)) from error
        raise _broken(spec, str(error).replace(str(path), spec.file_name)) from error


_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .{0,300}? failed: ?"
    r"|/\S*onnxruntime\S* .{0,400}?\)(?: const)? "
)
"""What onnxruntime says around its reasons: codes, the file's name, places in its own source."""


_TOO_NEW = re.compile(r"Opset (\d+) is under development.*till opset (\d+)")


def _broken(spec: ModelSpec, why: str) -> ModelError:
    told = display_name(_NOISE.sub("", " ".join(why.split()))).rstrip(". ")
    if (opsets := _TOO_NEW.search(why)) is not None:
        told = f"it is for ONNX opset {opsets[1]}, and the onnxruntime here knows those up to {opsets[2]}"
    return ModelError(
        "custom_broken",
        f"{spec.file_name} cannot be run: {told}.",
        "Export it again, for the ONNX operators that the onnxruntime of this server knows (System page).",
    )


def _no_memory(spec: ModelSpec) -> Problem:
    return Problem(
        code="custom_memory",
        message=f"{spec.file_name} needs more memory than a model may use here.",
        advice="Use a smaller input_size or network, or ask whoever runs this server about "
        "PHOTOPROC_CHILD_MEMORY_MB.",
    )


def end_with_asker() -> None:
    """Leave as soon as standard input ends."""
    while sys.stdin.readline():
        pass
    os._exit(1)


def _limit_memory(memory_mb: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    with suppress(OSError):  # some containers keep /proc from being written
        Path("/proc/self/oom_score_adj").write_text("900")
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_mb * 1024 * 1024
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
