"""What every onnxruntime session has in common: its options, the memory they share, their errors."""

from functools import cache
from typing import Any

import onnxruntime


def session_options(threads: int, *, shared: bool = False) -> Any:
    """How onnxruntime is to run a model: so many threads, silent, without memory patterns, which would
    reserve each run's memory in one more block.

    `shared` sessions run in one arena, which grows by what is asked for instead of by powers of two:
    together u2net and u2netp take 0.57 GB so, instead of 1.5 GB, and run no slower. It is never given back,
    so it is for small models that come and go; the memory of any other ends with its session.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    if shared:
        _shared_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@cache
def _shared_arena() -> None:
    cpu = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(cpu, as_requested)


def of_onnxruntime(error: Exception) -> bool:
    """Whether onnxruntime raised it."""
    return type(error).__module__.startswith("onnxruntime")


def out_of_memory(error: Exception) -> bool:
    """Whether it is onnxruntime's way to say that memory ran out."""
    return of_onnxruntime(error) and any(
        word in str(error) for word in ("bad_alloc", "bad allocation", "Failed to allocate")
    )
