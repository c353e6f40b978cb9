"""Models as onnxruntime, OpenVINO and ncnn prepare them for this processor, kept on disk.

    <folder>/<weights>-<what runs them>/graph.onnx      how they are computed
    <folder>/<weights>-<what runs them>/weights.bin     their numbers, laid out as this processor wants them
    <folder>/<weights>-openvino-…/graph.xml, graph.bin  for OpenVINO, which lays numbers out in each process
    <folder>/<weights>-ncnn-…/graph.param, .bin, .json  for ncnn, which does so as well
    <folder>/<weights>-…/sha256.json                    the checksums of these files
    <folder>/<weights>-batch/…                          for a card: the weights, for any number of pictures

A prepared model is loaded in a moment, and its numbers are mapped from the file: all processes that run it
share one copy. They are what onnxruntime makes of the same file each time it loads it, so masks are the same.
"""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import onnxruntime
from filelock import FileLock
from numpy.typing import NDArray

from photoproc import machine
from photoproc.models import ncnn, openvino
from photoproc.models.catalogue import ModelSpec
from photoproc.models.checksums import digest
from photoproc.models.ncnn import NotConvertedError
from photoproc.models.onnx_file import free_batch, has_fixed_batch
from photoproc.models.openvino import OpenVinoError
from photoproc.models.providers import CPU, NCNN, OPENVINO, PACKAGES, version_of
from photoproc.models.sessions import of_runtime, opened, out_of_memory, session_options

_GRAPH, _NUMBERS, _SUMS = "graph.onnx", "weights.bin", "sha256.json"
_KEPT = 8
"""Of other models or for other processors as many as this stay, those used last."""
_ROOM = 4
"""None is made where the disk has less free than so many times the weights."""
_LEAST_MAPPED_BYTES = 1024
_UNFINISHED_S = 3600.0
_DEATHS = 2
"""Where so many processes died while they converted a model, none tries again for that long: a task has three
attempts, so its photo is not lost to that."""
_PATIENCE_S = 60.0
"""So long another process is waited for that prepares one; then the weights themselves are loaded."""
_FARTHEST = 1 / 255
"""One step of a mask, as a part of the range of its values."""


def prepared(weights: Path, spec: ModelSpec, folder: Path, *, provider: str = CPU) -> Path | None:
    """The prepared model of these weights, which were verified; made now where there is none yet.

    For onnxruntime, or for OpenVINO or ncnn: None as well where that gives other masks than onnxruntime, or
    cannot run the model.

    None where it cannot be kept: then the weights themselves are loaded, as onnxruntime's errors about
    them are for whoever does that.
    """
    if provider in PACKAGES:
        used, library = _used(spec), PACKAGES[provider][0]
        if provider == NCNN:
            used += f" {ncnn.FORM}"
        place = folder / f"{spec.weights_id}-{library}-{_what_runs(used, library)}"
        name = f"graph{openvino.SUFFIX if provider == OPENVINO else ncnn.SUFFIX}"
        return _kept(place, weights, partial(_convert, spec=spec, name=name), name)
    return _kept(folder / f"{spec.weights_id}-{_what_runs()}", weights, _prepare)


def for_batches(weights: Path, spec: ModelSpec, folder: Path) -> Path | None:
    """These weights, which were verified, in a file that runs any number of pictures at once.

    It is their own where it does already; else a copy in which just that is changed, made now where there is
    none yet. None where it cannot be kept or changed.
    """
    try:
        if not has_fixed_batch(weights):
            return weights
    except (OSError, ValueError):
        return None
    return _kept(folder / f"{spec.weights_id}-batch", weights, _free)


def options_for(options: Any) -> Any:
    """The session options of a prepared model: nothing is left to be prepared."""
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _used(spec: ModelSpec) -> str:
    """What is made of a file: one file may be two models, of which a runtime is fit for one."""
    return f"{spec.input_wh} {None if spec.network is None else spec.network.output}"


@cache
def _what_runs(used: str = "", library: str = "openvino") -> str:
    """A short name of the versions of what runs models, of the processor's abilities, and of the rest."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    able = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    told = f"{onnxruntime.__version__} {version_of(library)} {platform.machine()} {able} {used}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _kept(place: Path, weights: Path, write: Callable[[Path, Path], None], name: str = _GRAPH) -> Path | None:
    try:
        if not _is_whole(place):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One at a time: preparing takes twice the memory of running.
            with FileLock(f"{place.parent}.lock", timeout=_PATIENCE_S):
                if not _is_whole(place):
                    shutil.rmtree(place, ignore_errors=True)
                    _make(weights, place, write)
        os.utime(place)
    except Exception as error:
        if isinstance(error, OSError | ValueError | MemoryError) or of_runtime(error):
            return None
        raise
    return place / name if (place / name).exists() else None


def _is_whole(place: Path) -> bool:
    try:
        sums = json.loads((place / _SUMS).read_text())
        return all(digest(place / name, "sha256") == sums[name] for name in sums)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(weights: Path, place: Path, write: Callable[[Path, Path], None]) -> None:
    """Prepare it beside and move it into its place."""
    folder = place.parent
    _forget(folder)
    if shutil.disk_usage(folder).free < _ROOM * weights.stat().st_size:
        raise OSError("too little room")
    part = folder / f".{place.name}-{uuid4().hex}"
    try:
        part.mkdir(mode=0o700)
        write(weights, part)
        sums = {file.name: digest(file, "sha256") for file in sorted(part.iterdir())}
        (part / _SUMS).write_text(json.dumps(sums))
        for name in (*sums, _SUMS):
            with (part / name).open("rb") as file:
                os.fsync(file.fileno())
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _prepare(weights: Path, part: Path) -> None:
    options = session_options(1)
    options.optimized_model_filepath = str(part / _GRAPH)
    for name, value in {"file_name": _NUMBERS, "min_size_in_bytes": str(_LEAST_MAPPED_BYTES)}.items():
        options.add_session_config_entry(f"session.optimized_model_external_initializers_{name}", value)
    onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def _convert(weights: Path, part: Path, *, spec: ModelSpec, name: str) -> None:
    """Nothing is written where the runtime cannot run this model, or does not give what onnxruntime gives.

    Raises OpenVinoError, NcnnError, MemoryError or OSError where that could not be found out: for want of
    memory, room or a library, or because processes died of it.
    """
    unfinished = part.parent.glob(f"{part.name.rpartition('-')[0]}-*")  # one at a time: of who died, and this
    if len(list(unfinished)) > _DEATHS:
        raise OSError(f"{_DEATHS} processes died of it")
    try:
        if name.endswith(openvino.SUFFIX):
            openvino.convert(weights, part / name)
        else:
            ncnn.convert(weights, part / name, input_wh=spec.input_wh)
        found = _seen(opened(part / name, session_options(1), []), spec)
        machine.trim()  # before it is loaded once more
        if _alike(found, _seen(opened(weights, session_options(1), [CPU]), spec)):
            return
    except NotConvertedError:
        pass
    except OpenVinoError as error:
        if out_of_memory(error):
            raise
    for file in part.iterdir():
        file.unlink()


def _seen(session: Any, spec: ModelSpec) -> NDArray[Any]:
    """What a network makes of a light disc on a dark slope."""
    [given, *_] = session.get_inputs()
    (width, height), kind = spec.input_wh, np.float16 if given.type == "tensor(float16)" else np.float32
    down, along = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    scene = np.where(down**2 + along**2 < 0.25, 1.5, down - 0.5) + np.zeros((1, 3, height, width))
    mask = spec.network.output if spec.network is not None else None
    return np.asarray(
        session.run(None if mask is None else [mask], {given.name: scene.astype(kind)})[0], np.float64
    )


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two are the same, within one step of a mask in the mean."""
    return one.shape == other.shape and bool(np.abs(one - other).mean() <= _FARTHEST * np.ptp(other))


def _free(weights: Path, part: Path) -> None:
    free_batch(weights, part / _GRAPH)


def _forget(folder: Path) -> None:
    """Remove what is used no more, and what a process that ended left unfinished."""
    used = sorted(((place.stat().st_mtime, place) for place in folder.iterdir()), reverse=True)
    old = time.time() - _UNFINISHED_S
    finished = [place for _, place in used if not place.name.startswith(".")]
    unfinished = [place for at, place in used if place.name.startswith(".") and at < old]
    for place in (*finished[_KEPT:], *unfinished):
        shutil.rmtree(place, ignore_errors=True)
