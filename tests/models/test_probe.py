"""Trying custom models in a process of its own: every way to be broken ends as a message, and in time."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from photoproc.models import custom, probe
from photoproc.models.onnx_file import has_external_data
from photoproc.models.probe import Limits, Probe
from tests.faults.processes import children_of, command_of, is_alive
from tests.models import own_onnx
from tests.models.support import weights_file
from tests.waiting import until

QUICK = Limits(timeout_s=60)
ROOT = Path(__file__).parents[2]


def tried(folder: Path, data: bytes, toml: str = own_onnx.TOML, limits: Limits = QUICK) -> Probe:
    own_onnx.put(folder, "team", data, toml)
    spec, path = custom.look([folder]).models["team"]
    found = probe.run(spec, path, limits, threading.Event())
    assert found is not None
    return found


def probes_running() -> list[int]:
    return [pid for pid in children_of(os.getpid()) if "probe_child" in command_of(pid)]


@pytest.mark.parametrize(
    "data",
    [own_onnx.averaging(), own_onnx.averaging(dynamic=True), own_onnx.averaging(kind=own_onnx.FLOAT16)],
)
def test_a_sound_model_runs_and_its_seconds_are_told(data: bytes, tmp_path: Path) -> None:
    found = tried(tmp_path, data)
    assert found.problem is None
    assert 0 < found.load_s < 30
    assert 0 < found.run_s < 30
    assert Probe.of_json(found.to_json()) == found
    assert not probes_running()


@pytest.mark.models
def test_a_real_network_runs(model_dir: Path, tmp_path: Path) -> None:
    data = weights_file(model_dir, "u2netp").read_bytes()
    assert tried(tmp_path, data, own_onnx.LIKE_U2NET).problem is None
    cut = tried(tmp_path, data[:-100_000], own_onnx.LIKE_U2NET).problem
    assert cut is not None
    assert (cut.code, "cut short" in cut.message) == ("custom_broken", True)
    other_size = tried(tmp_path, data).problem
    assert other_size is not None
    assert other_size.code == "custom_shape"


BROKEN: list[tuple[bytes, str, str]] = [
    (b"", "custom_broken", "it is empty"),
    (bytes(range(256)) * 40, "custom_broken", "not ONNX"),
    (b"<html>Please log in</html>", "custom_broken", "not ONNX"),
    (b"\x08\x08", "custom_broken", "cannot be run"),
    (own_onnx.averaging(inputs=2), "custom_shape", "it takes 2 inputs (x, z)"),
    (own_onnx.averaging(channels=1), "custom_shape", "its input is 1 × 1 × 32 × 32; by its TOML"),
    (own_onnx.averaging(side=64), "custom_shape", "its input is 1 × 3 × 64 × 64; by its TOML"),
    (own_onnx.averaging(kind=6), "custom_shape", "not of 32 or 16 bit floats"),
    (own_onnx.averaging(over=(1, 2), keep=0), "custom_shape", "its mask is 1 × 32 and"),
    (own_onnx.averaging(over=(0,)), "custom_shape", "its mask is 1 × 3 × 32 × 32 and"),
    (own_onnx.no_numbers(), "custom_values", "NaN"),
    (
        own_onnx.averaging(opset=99),
        "custom_broken",
        "for ONNX opset 99, and the onnxruntime here knows those up to 2",
    ),
    (own_onnx.averaging(operation="Teleport"), "custom_broken", "No Op registered for Teleport"),
    (own_onnx.external(), "custom_external", "in another file"),
    (own_onnx.external("../../../etc/passwd"), "custom_external", "in another file"),
    (own_onnx.external(in_subgraph=True), "custom_external", "in another file"),
    (own_onnx.hungry(), "custom_memory", "more memory"),
]


@pytest.mark.parametrize(("data", "code", "said"), BROKEN)
def test_a_broken_model_ends_as_a_message(data: bytes, code: str, said: str, tmp_path: Path) -> None:
    problem = tried(tmp_path, data).problem
    assert problem is not None
    assert (problem.code, said in problem.message) == (code, True), problem.message
    assert problem.message.startswith("team.onnx ")
    assert problem.advice
    assert len(problem.message) < 400
    assert str(tmp_path) not in problem.message


def test_one_that_takes_for_ever_is_stopped(tmp_path: Path) -> None:
    began = time.monotonic()
    problem = tried(tmp_path, own_onnx.endless(), limits=Limits(timeout_s=3)).problem
    assert problem is not None
    assert (problem.code, "longer than 3 s" in problem.message) == ("custom_timeout", True)
    assert time.monotonic() - began < 30
    assert not probes_running()


def in_a_probe(folder: Path, act: Callable[[int, threading.Event], None]) -> Probe | None:
    """What comes of an endless model to whose process something is done."""
    own_onnx.put(folder, "team", own_onnx.endless())
    spec, path = custom.look([folder]).models["team"]
    stopping = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(probe.run, spec, path, QUICK, stopping)
        until(probes_running)
        act(probes_running()[0], stopping)
        return future.result(timeout=30)


def test_one_that_crashes_its_process_is_told(tmp_path: Path) -> None:
    found = in_a_probe(tmp_path, lambda pid, _: os.kill(pid, signal.SIGSEGV))
    assert found is not None
    assert found.problem is not None
    assert found.problem.code == "custom_crashed"
    assert "signal 11" in found.problem.message


def test_a_server_that_stops_ends_the_probe(tmp_path: Path) -> None:
    assert in_a_probe(tmp_path, lambda _, stopping: stopping.set()) is None
    assert not probes_running()


_ASK = """
import sys, threading
from pathlib import Path
from photoproc.models import custom, probe
spec, path = custom.look([Path(sys.argv[1])]).models["team"]
probe.run(spec, path, probe.Limits(timeout_s=60), threading.Event())
"""


def test_a_server_that_is_killed_takes_the_probe_with_it(tmp_path: Path) -> None:
    own_onnx.put(tmp_path, "team", own_onnx.endless())
    with subprocess.Popen([sys.executable, "-c", _ASK, str(tmp_path)], cwd=ROOT) as server:
        until(lambda: children_of(server.pid))
        (pid,) = children_of(server.pid)
        server.kill()
    until(lambda: not is_alive(pid), within_s=20)


def test_memory_is_limited_as_told(tmp_path: Path) -> None:
    problem = tried(
        tmp_path, own_onnx.hungry(side=40_000), limits=Limits(timeout_s=60, memory_mb=4000)
    ).problem
    assert problem is not None
    assert problem.code == "custom_memory"


def test_a_kept_probe_that_is_damaged_is_none() -> None:
    wrong = '{"problem": 7, "load_s": 1, "run_s": 1}', '{"problem": null, "load_s": "a", "run_s": 1}'
    for text in ("", "{}", "[]", *wrong):
        with pytest.raises(ValueError):  # noqa: PT011, json's own or ours
            Probe.of_json(text)


@given(st.binary(max_size=200))
@example(b"\x3a\x02\x2a\x00")
@example(b"\xff" * 20)
def test_any_bytes_are_either_looked_through_or_no_onnx(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            has_external_data(Path(file.name))
        except ValueError:
            return


@pytest.mark.models
def test_a_real_network_keeps_its_weights_in_its_file(model_dir: Path) -> None:
    assert not has_external_data(weights_file(model_dir, "u2netp"))
    assert not has_external_data(weights_file(model_dir, "u2net"))
