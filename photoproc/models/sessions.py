"""Sessions of a network, by onnxruntime, OpenVINO or ncnn: their options, shared memory and errors."""

from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from photoproc import machine
from photoproc.errors import ModelError, Problem
from photoproc.models import ncnn, openvino
from photoproc.models.catalogue import Precision
from photoproc.models.ncnn import NcnnError, NcnnSession
from photoproc.models.openvino import OpenVinoError, OpenVinoSession
from photoproc.models.providers import CPU, ON_THE_PROCESSOR, PACKAGES, Choice, version_of

_NO_MEMORY = (
    *("bad_alloc", "bad allocation", "Failed to allocate", "out of memory", "OUT_OF_MEMORY", "ALLOC_FAILED"),
    "is smaller than requested bytes",  # the bound on a card's memory
    *("can't alloc", "Cannot allocate memory", "Resource temporarily unavailable"),  # OpenVINO's
)


def session_options(threads: int, *, shared: bool = False) -> Any:
    """How onnxruntime is to run a model: so many threads, silent, without memory patterns, which would
    reserve each run's memory in one more block, and without reuse of memory by plan, which keeps a block
    from its first use to its last: u2net needs 0.22 GB for a run so, instead of 0.40, and is as fast. Threads
    that wait for each other sleep instead of spinning, which costs nothing and is a sixth less work where
    other programs want the cores.

    `shared` sessions run in one arena, which grows by what is asked for instead of by powers of two. It is
    never given back, so it is for small models that come and go; the memory of any other ends with its
    session.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if shared:
        _shared_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


class Session:
    """A session of onnxruntime whose runs can give their memory back at once."""

    def __init__(self, session: Any, *, batched: bool = False) -> None:
        self._session = session
        self.batched = batched
        """Whether it takes several pictures in one run."""
        self.lean = False
        """Whether it does: zeroing it anew then takes a sixth of u2net's time."""

    def run(self, outputs: Any, given: Any) -> Any:
        """As onnxruntime's."""
        options = onnxruntime.RunOptions()
        if self.lean:
            machine.trim()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        found = self._session.run(outputs, given, options)
        if self.lean:
            machine.trim()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def opened(
    path: Path, options: Any, providers: list[Any], *, batched: bool = False, precision: Precision = "f32"
) -> Session | OpenVinoSession | NcnnSession:
    """A session of a file: OpenVINO and ncnn run what is in their form, onnxruntime any other. Raises what
    they do."""
    if path.suffix == openvino.SUFFIX:
        return OpenVinoSession(path, threads=options.intra_op_num_threads, precision=precision)
    if path.suffix == ncnn.SUFFIX:
        return NcnnSession(path, threads=options.intra_op_num_threads)
    providers = [one for one in providers if one not in tuple(PACKAGES)]
    return Session(onnxruntime.InferenceSession(str(path), options, providers=providers), batched=batched)


def available() -> tuple[str, ...]:
    """The execution providers that there are, by onnxruntime's names, the best first.

    OpenVINO is the package of that name, and not what a build of onnxruntime may have of it.
    """
    there = [name for name in onnxruntime.get_available_providers() if name not in PACKAGES]
    at = there.index(CPU) if CPU in there else len(there)
    there[at:at] = [name for name, needed in PACKAGES.items() if all(map(version_of, needed))]
    return tuple(there)


def providers_for(choice: Choice) -> list[Any]:
    """What a model is to run on, the best first, with options where onnxruntime takes any.

    Raises ModelError provider_missing where it has not what is required.
    """
    there = available()
    provider = choice.of(there)
    if not choice.is_met(provider):
        raise _raised(choice.missing(there))
    if provider in ON_THE_PROCESSOR:
        return [provider] if provider == CPU else [provider, CPU]
    options: dict[str, str] = {}
    if provider in ("CUDAExecutionProvider", "ROCMExecutionProvider") and choice.memory_mb:
        # Grown by what is asked for, or the next power of two would meet the bound too early.
        options = {"gpu_mem_limit": str(choice.memory_mb << 20), "arena_extend_strategy": "kSameAsRequested"}
    return [(provider, options) if options else provider, CPU]


def threads_matter(choice: Choice) -> bool:
    """Whether models run on the processor, and not on a card."""
    return choice.of(available()) in ON_THE_PROCESSOR


def ran_on(session: Any, choice: Choice, model: str) -> str:
    """The execution provider a loaded model runs on, by onnxruntime's name for it.

    onnxruntime takes the CPU, with a word on standard error, where it cannot load a provider's libraries, and
    where a run fails. Raises ModelError provider_missing where another is required.
    """
    provider = str(session.get_providers()[0])
    if not choice.is_met(provider):
        raise _raised(choice.not_used(model, provider, available()))
    return provider


def _raised(problem: Problem) -> ModelError:
    return ModelError(problem.code, problem.message, problem.advice)


@cache
def _shared_arena() -> None:
    cpu = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(cpu, as_requested)


def of_runtime(error: Exception) -> bool:
    """Whether onnxruntime, OpenVINO or ncnn raised it."""
    return isinstance(error, OpenVinoError | NcnnError) or type(error).__module__.startswith("onnxruntime")


def out_of_memory(error: Exception) -> bool:
    """Whether it is their way to say that memory ran out, also for its threads."""
    if isinstance(error, RuntimeError) and "Cannot allocate memory" in str(error):
        return True
    return of_runtime(error) and any(word in str(error) for word in _NO_MEMORY)
