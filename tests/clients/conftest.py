"""What the client tests share: Chromium, servers, and the React example as built."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page

from tests.conftest import skip_or_fail
from tests.server import Server, serving

REACT = Path(__file__).with_name("react")

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an empty data folder."""
    with serving(tmp_path_factory.mktemp("clients") / "data", model_dir) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens an address; pages must stay free of script errors and of requests to anywhere else."""
    wrong: list[str] = []
    contexts = []

    def opened(url: str, *, width: int = 1440, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: None if _local(request.url) else wrong.append(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def _local(url: str) -> bool:
    return url.startswith(("http://localhost", "ws://localhost", "data:", "blob:"))


@pytest.fixture(scope="session")
def react_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built example: `19` and `18` inside, for each React."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # all processes of these tests build it once, and none while another does
    done = shared / "react-is-built"
    with FileLock(shared / "react.lock"):
        if not done.exists():
            _build()
            done.touch()
    return REACT / "dist"


def _build() -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        skip_or_fail("no Node.js on this machine (apt-get install nodejs npm)")
    assert npm is not None
    installed, wanted = REACT / "node_modules/.package-lock.json", REACT / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        fetched = subprocess.run([npm, "ci"], cwd=REACT, capture_output=True, text=True)
        if fetched.returncode:
            skip_or_fail(f"npm could not fetch the example's packages: {fetched.stderr[-300:]}")
    built = subprocess.run([npm, "run", "build"], cwd=REACT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
