"""A server that is to run models on CUDA, without it or by an onnxruntime that pretends; and on ncnn."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photoproc.jobs import Task, TaskState
from photoproc.models.providers import NCNN
from tests.pretended import CPU, CUDA, PATH
from tests.server import ROOT, Server, serving, submit
from tests.waiting import until

pytestmark = pytest.mark.faults

_PRETENDING = {"PYTHONPATH": os.pathsep.join([str(PATH), str(ROOT)])}


def run(model_dir: Path, folder: Path, cuda: str, required: int) -> tuple[Task, str]:
    """What became of a photo, and what the server said."""
    job_id = submit(folder / "data", 1)
    env = _PRETENDING | {"PRETENDED_CUDA": cuda}
    with serving(
        folder / "data", model_dir, env=env, max_concurrent=1, provider="cuda", provider_required=required
    ) as server:
        server.finished(job_id)
        until(lambda: "event=providers_found" in server.log())
        [task] = server.tasks(job_id)
        return task, server.log()


@pytest.mark.models
def test_a_model_runs_on_what_is_required_and_its_task_says_so(model_dir: Path, tmp_path: Path) -> None:
    task, log = run(model_dir, tmp_path, "works", 1)
    assert (task.state, task.provider) == (TaskState.DONE, CUDA)
    assert "event=provider_not_used" not in log


@pytest.mark.models
def test_a_model_that_falls_back_silently_fails_where_that_is_forbidden(
    model_dir: Path, tmp_path: Path
) -> None:
    task, _ = run(model_dir, tmp_path, "fails", 1)
    assert task.state is TaskState.FAILED
    assert task.problem is not None
    assert task.problem.code == "provider_missing"
    assert "u2netp is to run on CUDA (NVIDIA)" in task.problem.message
    assert "then retry" in task.problem.advice
    assert task.attempts == 1


@pytest.mark.models
def test_elsewhere_it_runs_on_the_cpu_and_the_log_says_so(model_dir: Path, tmp_path: Path) -> None:
    task, log = run(model_dir, tmp_path, "fails", 0)
    assert (task.state, task.provider) == (TaskState.DONE, CPU)
    assert "event=provider_not_used" in log


@pytest.mark.models
def test_ncnn_runs_a_model_of_a_real_server_and_its_task_says_so(model_dir: Path, tmp_path: Path) -> None:
    cutouts = {}
    for provider, wanted in (("cpu", CPU), ("ncnn", NCNN)):
        folder = tmp_path / provider
        job_id = submit(folder, 1)
        with serving(folder, model_dir, max_concurrent=1, provider=provider, provider_required=1) as server:
            server.finished(job_id)
            [task] = server.tasks(job_id)
            assert (task.state, task.provider) == (TaskState.DONE, wanted)
            assert task.cutout is not None
            file = folder / "jobs" / job_id / "out" / task.cutout.file
            cutouts[provider] = np.asarray(Image.open(file)).astype(int)
    assert cutouts["cpu"][..., 3].max() > 200
    assert np.abs(cutouts["ncnn"] - cutouts["cpu"])[..., 3].max() <= 1


def test_a_server_does_not_start_without_what_is_required(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path / "models", provider="cuda", provider_required=1)
    try:
        server.start()
        until(lambda: "Photoproc cannot start." in server.log(), within_s=60)
        assert "CUDA (NVIDIA)" in server.log()
        assert "PHOTOPROC_PROVIDER=auto" in server.log()
        assert server._process is not None
        assert server._process.wait(30) != 0
    finally:
        server.close()


def test_the_stand_in_is_the_real_onnxruntime_but_for_what_it_pretends() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import onnxruntime; print(onnxruntime.__file__)"],
        env=os.environ | _PRETENDING | {"PRETENDED_CUDA": "works"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "site-packages" in said
