"""A comparison of 200 photos with 3 models, used in a browser: seconds of each step, memory of the server.

    python -m tests.benchmarks.session --photos 200 --rounds 5

The third model is a custom one: u2netp's file under another name. Nothing is timed before the job is done.
A step is timed from the click (or key) until what it leads to is to be seen; pictures that load after that
are not waited for, but for the viewer's, which are there when all panes are sharp.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from photoproc.models.weights import Weights
from photoproc.store import Store
from tests.benchmarks.common import jpeg, machine, table
from tests.benchmarks.transfer import Memory
from tests.browser.jobs import submitted
from tests.conftest import CHROMIUM_FLAGS
from tests.server import Server, serving
from tests.waiting import until

MODELS = ("u2netp", "u2net", "copy")
_TOML = """licence = "Apache-2.0"
input_size = [320, 320]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


def models_in(folder: Path) -> Path:
    """A model folder with the real weights, and u2netp's once more as a custom model."""
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    weights = Weights(Path(own) if own else None).folders()[0]
    (folder / "models").mkdir(parents=True)
    for name in MODELS[:2]:
        shutil.copytree(weights / "models" / name, folder / "models" / name)
    shutil.copy(weights / "models" / "u2netp" / "u2netp.onnx", folder / "copy.onnx")
    (folder / "copy.toml").write_text(_TOML)
    return folder


def photos(count: int, megapixels: float) -> Iterator[tuple[str, bytes]]:
    """Photos by their names, in two folders."""
    for number in range(count):
        yield f"{'shoes' if number % 2 else 'bags'}/{number:03}.jpg", jpeg(megapixels, seed=number)


class Steps:
    """What a person does, with how long each step took."""

    def __init__(self, page: Page, job: str) -> None:
        self.page, self.job = page, job
        self.took: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.took[what].append(time.perf_counter() - begun)

    def round(self) -> None:
        """Once through all pages."""
        page = self.page
        cards, link = page.locator("button.card"), page.get_by_role("link", exact=True, name="Jobs")
        with self.timed("list of jobs"):
            link.click()
            expect(page.locator("a .title").first).to_be_visible()
        with self.timed("the job's page"):
            page.locator("a .title").first.click()
            expect(cards.first).to_be_visible()
        with self.timed("its comparison"):
            page.get_by_role("button", name="Compare models").click()
            expect(page.locator(".card .meter").first).to_be_visible()
        dialog = page.locator("dialog[open]")
        sharp: Callable[[], None] = lambda: expect(dialog.locator("img.after[data-sharp]")).to_have_count(3)  # noqa: E731
        with self.timed("a photo in the viewer, all panes sharp"):
            page.locator(".card", has=page.locator(".meter")).first.click()
            sharp()
        with self.timed("the next photo"):
            page.keyboard.press("ArrowRight")
            expect(dialog.locator(".place")).to_have_text(re.compile("^2 of"))
            sharp()
        page.keyboard.press("Escape")
        with self.timed("voting"):
            page.get_by_role("link", exact=True, name="Vote").click()
            page.locator("a .title").first.click()
            expect(page.get_by_text(re.compile("Your name|Which is better"))).to_be_visible()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--megapixels", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    expect.set_options(timeout=120_000)
    with tempfile.TemporaryDirectory() as folder:
        model_dir = models_in(Path(folder) / "models")
        with serving(Path(folder) / "data", model_dir) as server, sync_playwright() as play:
            until(lambda: ready(server), within_s=300)
            begun = time.perf_counter()
            job = submitted(server.url, photos(options.photos, options.megapixels), MODELS)
            finished(server.store, job)
            ran_s = time.perf_counter() - begun
            memory = Memory(server.pid)
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
            page = browser.new_page(base_url=server.url, viewport={"width": 1440, "height": 900})
            with memory.watched():
                begun = time.perf_counter()
                page.goto(f"/compare?job={job}")
                expect(page.locator(".card .meter").first).to_be_visible()
                measured_s = time.perf_counter() - begun
                steps = Steps(page, job)
                for _ in range(options.rounds):
                    steps.round()
                with (
                    steps.timed("the report"),
                    urllib.request.urlopen(f"{server.url}/api/v1/jobs/{job}/report", timeout=120) as answer,
                ):
                    report_mb = len(answer.read()) / 1e6
            browser.close()
    rows = [
        [what, f"{statistics.median(took):.2f}", f"{max(took):.2f}", str(len(took))]
        for what, took in steps.took.items()
    ]
    print(f"{machine()}\nload {os.getloadavg()[0]:.1f}")
    print(f"{options.photos} photos of {options.megapixels:g} megapixels with {', '.join(MODELS)}")
    print(f"The job took {ran_s:.0f} s; all masks were compared after {measured_s:.1f} s more.\n")
    print(table(["seconds to", "median", "slowest", "times"], rows))
    print(f"\nThe report has {report_mb:.1f} MB. The server's memory: {memory.before_mb:.0f} MB before,")
    print(f"{memory.peak_mb:.0f} MB at the most, {memory.after_mb:.0f} MB after.")


def ready(server: Server) -> bool:
    """Whether all models can run."""
    with urllib.request.urlopen(f"{server.url}/api/v1/models", timeout=10) as answer:
        models = json.load(answer)["items"]
    return {one["name"] for one in models if one["state"] == "ready"} >= set(MODELS)


def finished(store: Store, job: str) -> None:
    """Wait for the job."""
    until(lambda: store.job(job).state.final, within_s=7200)


if __name__ == "__main__":
    main()
