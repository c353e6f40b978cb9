"""Seconds from the command to the dashboard and to the first finished photo, as seen in a browser.

    python -m tests.benchmarks.startup --rounds 5 --model u2net

Every round is a server of its own on a fresh data folder, with the weights there and default settings. The
browser runs already; it asks for the page as soon as the server answers, hands in one photo as soon as it
can, and waits for it on the job's page. After the first round, what is read from disk is in memory.
A child is ready when its model could run: from when it is started until it has made a small photo's cutout,
without the inference, where the model was prepared before and where it was not. The imports are those of a
process of its own, beside Streamlit's alone, in turn.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, FilePayload, expect, sync_playwright

from photoproc import child
from photoproc.engine.local import LocalEngine
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.weights import Weights
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.benchmarks.common import jpeg, machine, table
from tests.conftest import CHROMIUM_FLAGS
from tests.server import ROOT, Server
from tests.waiting import until

AIMS_S = {
    "the server answers": 3.0,
    "the dashboard is there": 5.0,
    "the first photo is finished": 20.0,
    "a child is ready, its model never prepared": None,
    "a child is ready": 4.0,
    "imports beyond Streamlit's": 1.0,
}
"""What is measured, from the command on, with the seconds it should take."""

_STREAMLIT = "import streamlit.web.bootstrap, streamlit.web.server.server, streamlit.web.cli"


def start(browser: Browser, model_dir: Path, model: str, photo: bytes) -> tuple[float, ...]:
    """One round: the seconds of each of `AIMS_S`."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(
            Path(folder) / "data",
            model_dir,
            default_model=model,
            fetch_default_model=1,
            max_concurrent=Settings().max_concurrent,
        )
        page = browser.new_page(base_url=server.url)
        try:
            started = time.perf_counter()
            server.start()
            until(server.healthy)
            answers = time.perf_counter() - started
            page.goto("/")
            expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
            dashboard = time.perf_counter() - started
            payload = FilePayload(name="photo.jpg", mimeType="image/jpeg", buffer=photo)
            page.locator("input[type=file]").set_input_files([payload])
            page.get_by_role("button", name="Process photos").click()
            expect(page.get_by_role("link", name="Download ZIP (")).to_be_visible()
            finished = time.perf_counter() - started
            assert "state=done" in server.log(), server.log()
        finally:
            page.close()
            server.close()
    return answers, dashboard, finished


def child_ready(folder: Path, model: str, weights: Path) -> float:
    """Seconds until a new child's model could run."""
    photo, outbox = folder / "photo.jpg", folder / "out"
    photo.write_bytes(jpeg(0.1, seed=0))
    outbox.mkdir(exist_ok=True)
    order = child.Order(
        photo=photo,
        recipe_json=Recipe(models=(model,)).to_json(),
        model=CATALOGUE[model],
        weights=weights,
        mask=None,
        outbox=outbox,
        max_pixels=1_000_000,
    )
    started = time.perf_counter()
    engine = LocalEngine(children=1, threads=1, timeout_s=120, graphs=folder / "graphs")
    try:
        report = engine.result(engine.submit(child.run, order))
        took = time.perf_counter() - started
        assert report.seconds is not None
        return took - report.seconds["inference"]
    finally:
        engine.stop()


def imports() -> float:
    """Seconds of what the server imports beyond Streamlit."""
    took = []
    for code in (_STREAMLIT, f"{_STREAMLIT}; import app"):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        took.append(time.perf_counter() - started)
    return took[1] - took[0]


def without_browser(model: str, weights: Path, rounds: int) -> list[tuple[float, ...]]:
    """What concerns neither pages nor a whole server."""
    found: list[tuple[float, ...]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            first, second = (child_ready(Path(name), model, weights) for _ in range(2))
        found.append((first, second, imports()))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--megapixels", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    photo = jpeg(options.megapixels, seed=0)
    expect.set_options(timeout=120_000)
    load = [os.getloadavg()[0]]
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-headless-shell"),
            args=CHROMIUM_FLAGS,
        )
        browser.new_page().goto("about:blank")
        rounds = [start(browser, model_dir, options.model, photo) for _ in range(options.rounds)]
        browser.close()
    found = Weights(model_dir).find(CATALOGUE[options.model])
    assert found is not None
    others = without_browser(options.model, found, options.rounds)
    load.append(os.getloadavg()[0])
    every = [*zip(*rounds, strict=True), *zip(*others, strict=True)]
    took = dict(zip(AIMS_S, every, strict=True))
    report(options.model, load, took, options.json)


def report(model: str, load: list[float], took: dict[str, tuple[float, ...]], target: Path | None) -> None:
    """Print the table; write everything as JSON where asked."""
    rows = [
        [
            what,
            "" if (aim := AIMS_S[what]) is None else f"{aim:.0f}",
            f"{statistics.median(seconds):.1f}",
            f"{max(seconds):.1f}",
            " ".join(f"{one:.1f}" for one in seconds),
        ]
        for what, seconds in took.items()
    ]
    before, after = load
    print(f"{machine()}\n{model}, load {before:.1f} before and {after:.1f} after")
    print("Seconds from the command until\n")
    print(table(["", "aim", "median", "slowest", "rounds"], rows))
    if target is not None:
        found = {"machine": machine(), "model": model, "load": load, "aims_s": AIMS_S, "took_s": took}
        target.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
