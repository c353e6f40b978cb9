"""Trying a custom model: it is run once, in a process that may hang, crash or eat memory as it likes."""

import json
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from photoproc.errors import Problem
from photoproc.models.asking import StoppedError, TooLongError, ask, how_it_ended
from photoproc.models.catalogue import ModelSpec, Network
from photoproc.models.providers import Choice, build, version_of

log = structlog.get_logger()

RULES = 1
"""Counted up when models are tried in another way: what is known of them then is asked anew."""
_LEAST_MB = 2048
"""Address space: u2netp needs 800 MB of it, u2net 1500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a probe may take. `memory_mb` of address space; 0: half of the machine's, at least 2 GiB."""

    timeout_s: float
    memory_mb: int = 0
    threads: int = 1
    choice: Choice = field(default_factory=Choice)
    """What models are to run on, for which forms are measured; what is tried runs on the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of it: what loading and one run took, or the problem."""

    problem: Problem | None = None
    load_s: float = 0.0
    run_s: float = 0.0

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "Probe":
        """As it was kept; raises ValueError where it was not written by `to_json`."""
        try:
            told = json.loads(text)
            problem = None if told["problem"] is None else Problem(**told["problem"])
            return cls(problem=problem, load_s=float(told["load_s"]), run_s=float(told["run_s"]))
        except (TypeError, KeyError) as error:
            raise ValueError("this is no probe") from error


def rules_of(spec: ModelSpec) -> str:
    """All that the outcome depends on: the file, how it is used, what runs it."""
    told = [RULES, version_of(build()), json_of_spec(spec)]
    if spec.precision != "f32":
        told.append(version_of("openvino"))
    return json.dumps(told, sort_keys=True)


def json_of_spec(spec: ModelSpec) -> dict[str, Any]:
    """A custom model's spec as JSON."""
    assert spec.network is not None
    return {
        "name": spec.name,
        "checksum": spec.checksum,
        "input_wh": spec.input_wh,
        "network": asdict(spec.network),
    }


def spec_of_json(told: dict[str, Any]) -> ModelSpec:
    """The spec that `json_of_spec` wrote, with what running it takes."""
    network = told["network"]
    lists = {field: tuple(network[field]) for field in ("mean", "std")}
    width, height = told["input_wh"]
    return ModelSpec(
        name=told["name"],
        nickname="",
        good_at="",
        licence="",
        input_wh=(width, height),
        download_mb=0,
        checksum=told["checksum"],
        network=Network(**{**network, **lists}),
    )


def run(spec: ModelSpec, path: Path, limits: Limits, stopping: threading.Event) -> Probe | None:
    """Load a model and run it once on noise, on the processor; None where it was stopped meanwhile.

    Never raises for what the file does: a process that crashed, took too long or was killed is a problem.
    """
    asked = {
        "spec": json_of_spec(spec),
        "path": str(path),
        "threads": limits.threads,
        "memory_mb": limits.memory_mb or max(_LEAST_MB, _half_of_memory_mb()),
    }
    try:
        code, said = ask(
            "photoproc.models.probe_child",
            asked,
            stopping=stopping,
            timeout_s=limits.timeout_s,
            env={"OMP_NUM_THREADS": str(limits.threads)},
        )
    except OSError as error:
        return Probe(problem=_crashed(spec, f"it could not be started: {error.strerror}"))
    except StoppedError:
        return None
    except TooLongError:
        return Probe(problem=_too_long(spec, limits.timeout_s))
    return _answer(spec, code, said)


def _answer(spec: ModelSpec, code: int, said: bytes) -> Probe:
    try:
        told = json.loads(said)
        if told["problem"] is None:
            return Probe(load_s=told["load_s"], run_s=told["run_s"])
        code_, message, advice = told["problem"]
        return Probe(problem=Problem(code=code_, message=message, advice=advice))
    except (ValueError, KeyError, TypeError):
        log.warning("probe_crashed", model=spec.name, exit_code=code)
        return Probe(problem=_crashed(spec, how_it_ended(code)))


def _crashed(spec: ModelSpec, how: str) -> Problem:
    return Problem(
        code="custom_crashed",
        message=f"{spec.file_name} brought down the process that tried it ({how}).",
        advice="It may need more memory than there is, or be damaged. Export it again, then check it again.",
    )


def _too_long(spec: ModelSpec, timeout_s: float) -> Problem:
    return Problem(
        code="custom_timeout",
        message=f"{spec.file_name} took longer than {timeout_s:g} s for one picture and was stopped.",
        advice="Use a smaller input_size or network, or ask whoever runs this server to raise "
        "PHOTOPROC_TASK_TIMEOUT_S; then check it again.",
    )


def _half_of_memory_mb() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // 1024 // 1024
