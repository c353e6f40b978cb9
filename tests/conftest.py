"""Fixtures: settings over a fresh folder, the real weights, and no sleeping."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

from photoproc import bootstrap
from photoproc.bootstrap import Runtime
from photoproc.models.weights import Phase, Weights
from photoproc.settings import Settings

CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

bootstrap.configure_logging()  # structlog by itself takes many seconds to draw a traceback


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest begin first: with several at once they would be waited for in the end."""
    ranks = {name: place for place, name in enumerate(("faults", "browser", "models"))}
    first: dict[Path, int] = {}
    for item in items:
        rank = min((ranks.get(mark.name, len(ranks)) for mark in item.iter_markers()), default=len(ranks))
        first[item.path] = min(rank, first.get(item.path, len(ranks)))
    items.sort(key=lambda item: first[item.path])


STRICT = os.environ.get("PHOTOPROC_TEST_STRICT") == "1"
"""Set in CI: what would be skipped for want of something fails instead."""


def skip_or_fail(reason: str) -> None:
    """Skip, saying why; where CI is strict, fail."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """A folder with the real, verified weights of u2net and u2netp; fetched the first time."""
    changed = threading.Event()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    weights = Weights(Path(own) if own else None, on_change=changed.set)
    weights.start()
    try:
        for name in ("u2netp", "u2net"):
            weights.request(name)
            while weights.state(name).phase in (Phase.CHECKING, Phase.DOWNLOADING):
                changed.wait(0.2)
                changed.clear()
            state = weights.state(name)
            if state.path is None:
                skip_or_fail(f"no weights of {name}: {state.problem}")
        found = weights.ready()["u2net"]
        return next(folder for folder in weights.folders() if folder in found.parents)
    finally:
        weights.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings over a fresh data folder, with limits small enough to be met."""
    return Settings(
        data_dir=tmp_path / "data",
        model_dir=tmp_path / "models",
        offline=True,
        fetch_default_model=False,
        max_concurrent=2,
        min_free_disk_mb=1,
    )


@pytest.fixture(scope="session")
def running(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A whole server without its web part: real children, real weights, a fresh data folder."""
    made = Runtime(
        Settings(
            data_dir=tmp_path_factory.mktemp("running"),
            model_dir=model_dir,
            default_model="u2netp",
            offline=True,
            max_concurrent=2,
            min_free_disk_mb=1,
        )
    )
    made.start()
    bootstrap.install(made)
    yield made
    bootstrap.install(None)
    made.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a screen, whole, or Playwright's own; skipped where there is none."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as play:
        try:
            launched = play.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        except Error as error:
            skip_or_fail(f"no Chromium (apt-get install chromium-headless-shell): {error.message[:100]}")
            return
        expect.set_options(timeout=60_000)  # machines that do other things as well
        yield launched
        launched.close()
