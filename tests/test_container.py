"""The image: what goes into it, and that it works from nothing but that, without a network; compose.yaml.

There is no Docker here. The Dockerfile's steps are carried out in a folder (tests/container.py).
"""

import io
import json
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from PIL import Image as Picture

from photoproc.settings import Settings
from tests.conftest import skip_or_fail
from tests.container import Image, build, let_through, running, steps
from tests.faults.processes import maps, workers_of
from tests.pictures import encoded, opened_sample
from tests.server import ROOT, free_port
from tests.waiting import until

KEY = "a key for the tests"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built from a fresh folder: real packages, real weights."""
    folder = tmp_path_factory.mktemp("image")
    yield build(ROOT, folder)
    shutil.rmtree(folder)


@pytest.mark.faults
@pytest.mark.models
def test_without_keys_it_refuses_to_listen_as_the_server_does(image: Image) -> None:
    with running(image, STREAMLIT_SERVER_PORT=str(free_port())) as container:
        assert container.wait(within_s=30) != 0
        assert "on 0.0.0.0 anybody who reaches this machine could use it" in container.log()


@pytest.mark.faults
@pytest.mark.models
def test_it_makes_a_cutout_from_what_is_in_it_and_writes_nothing_but_its_data(image: Image) -> None:
    assert [path.name for path in image.at("/models").rglob("*.onnx")] == ["u2net.onnx"]
    assert image.at(".streamlit/config.toml").read_bytes() == (ROOT / ".streamlit/config.toml").read_bytes()
    port = free_port()
    before = image.files("/data", "/tmp")
    with running(
        image,
        STREAMLIT_SERVER_PORT=str(port),
        PHOTOPROC_API_KEYS=f"tests:{KEY}",
        PHOTOPROC_OFFLINE="1",
        PHOTOPROC_MAX_CONCURRENT="1",
        PHOTOPROC_MIN_FREE_DISK_MB="1",
    ) as container:
        assert not container.healthy(), "it cannot be yet"
        until(container.healthy)
        assert httpx2.get(f"http://localhost:{port}/").status_code == 200
        photo = opened_sample("astronaut.png").resize((256, 256))
        answer = httpx2.post(
            f"http://localhost:{port}/api/v1/remove",
            files={"file": ("photo.jpg", encoded(photo))},
            data={"recipe": json.dumps({"models": ["u2net"], "edges": {"method": "matting"}})},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        loaded = "".join(maps(pid) for pid in workers_of(container.pid))
        assert container.stop(within_s=10) in (0, -signal.SIGTERM)
        assert "xternal" not in container.log(), "Streamlit would ask another host for its address"

    alpha = Picture.open(io.BytesIO(answer.content)).getchannel("A")
    assert (alpha.size, alpha.getpixel((5, 5)), alpha.getpixel((110, 110))) == ((256, 256), 0, 255)
    assert sum(alpha.histogram()[1:255]) > 0, "alpha matting gives soft edges"
    assert image.at("/data/store").is_dir()
    assert image.files("/data", "/tmp") == before, "nothing written, fetched or compiled besides"
    assert "onnxruntime" in loaded
    assert "llvmlite" not in loaded, "numba would compile its kernels"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        skip_or_fail("no hadolint (there is no wheel of it for Windows)")
    else:
        done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_it_is_nobodys_root_and_its_python_is_pinned_to_a_minor_version_we_test_with() -> None:
    said = steps((ROOT / "Dockerfile").read_text())
    assert [step.rest for step in said if step.word == "USER"] == ["10001"]
    base = next(step.rest for step in said if step.word == "FROM")
    python, _, flavour = base.removeprefix("python:").partition("-")
    assert python in ("3.11", "3.12", "3.13")
    assert flavour.startswith("slim-")
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11,<3.14"
    )


def test_a_build_sees_the_application_and_nobodys_secrets_or_photos(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    seen = [
        *("app.py", "constraints.txt", "pages/jobs.py", "photoproc/api/app.py", "photoproc/web/index.html"),
        *("requirements.txt", "requirements-cluster.txt", "requirements-forms.txt"),
        *("requirements-ncnn.txt", ".streamlit/config.toml"),
    ]
    unseen = [
        *(".streamlit/secrets.toml", ".env", ".git/config", "data/jobs/1/photo.jpg", "requirements-dev.txt"),
        *("tests/conftest.py", "photoproc/__pycache__/jobs.pyc", "photoproc/api/__pycache__/app.pyc"),
        *("other/app.py", "README.md"),
    ]
    for name in (*seen, *unseen):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert let_through(tmp_path) == sorted(seen)


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


def test_compose_publishes_the_server_to_this_machine_alone_and_nothing_else(
    services: dict[str, dict[str, Any]],
) -> None:
    assert {name: service.get("ports") for name, service in services.items()} == {
        "server": ["127.0.0.1:8501:8501"],
        "scheduler": None,
        "worker": None,
    }
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in services.values())


def test_compose_keeps_data_and_models_where_the_image_has_them(services: dict[str, dict[str, Any]]) -> None:
    env = dict(
        pair.split("=", 1)
        for step in steps((ROOT / "Dockerfile").read_text())
        if step.word == "ENV"
        for pair in step.rest.split()
    )
    volumes = [volume.split(":")[1] for volume in services["server"]["volumes"]]
    assert volumes == [env["PHOTOPROC_DATA_DIR"], env["PHOTOPROC_MODEL_DIR"]]


def test_compose_has_a_dask_cluster_only_where_its_profile_is_asked_for(
    services: dict[str, dict[str, Any]],
) -> None:
    profiles = {name: service.get("profiles") for name, service in services.items()}
    assert profiles == {"server": None, "scheduler": ["cluster"], "worker": ["cluster"]}
    assert services["scheduler"]["command"] == ["dask", "scheduler"]
    worker = " ".join(services["worker"]["command"])
    assert worker.startswith("dask worker tcp://scheduler:8786 --nthreads ${PLACES:-2} --no-nanny ")
    # Several that build one image at the same time can get into each other's way.
    built = {name: service["build"]["args"] for name, service in services.items() if "build" in service}
    assert built == {"server": {"EXTRA_REQUIREMENTS": "requirements-cluster.txt"}}
    assert {service["image"] for service in services.values()} == {"photoproc"}


def test_compose_sets_only_what_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    known = {f"PHOTOPROC_{name.upper()}" for name in Settings.model_fields}
    assert set(services["server"]["environment"]) <= known
