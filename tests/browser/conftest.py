"""A real Chromium and a real server for the browser tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.conftest import skip_or_fail
from tests.server import Server, serving

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or Playwright's own; skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as play:
        try:
            launched = play.chromium.launch(executable_path=found, args=FLAGS)
        except Error as error:
            skip_or_fail(f"no Chromium on this machine (apt-get install chromium): {error.message[:100]}")
            return
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an empty data folder."""
    with serving(tmp_path_factory.mktemp("browser") / "data", model_dir) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page that must stay free of script errors and of requests to anywhere else."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: None if _local(request.url) else errors.append(request.url))
    yield opened
    context.close()
    assert errors == []


def _local(url: str) -> bool:
    return url.startswith(("http://localhost", "ws://localhost", "data:", "blob:"))
