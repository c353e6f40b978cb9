"""A job of 2,000 photos, opened in a browser: seconds from the click until all in the first view is shown.

    python -m tests.benchmarks.opening [--photos 2000] [--rounds 9]

One job is done, one half done with the rest waiting; each is opened from the list of jobs, first by a browser
that has seen nothing of it, then again and again. Aim: 1 s.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from photoproc.models.weights import Weights
from tests.benchmarks.common import machine, table
from tests.benchmarks.transfer import Memory
from tests.conftest import CHROMIUM_FLAGS
from tests.large import LargeJob
from tests.server import Server, serving

_DEEP = """
const all = (root, found = []) => {
  for (const node of root.querySelectorAll("*")) {
    found.push(node);
    if (node.shadowRoot) all(node.shadowRoot, found);
  }
  return found;
};
"""
_SHOWN = f"""() => {{{_DEEP}
  const pictures = all(document).filter((node) => node.matches("img.after")).filter((image) => {{
    const box = image.getBoundingClientRect();
    return box.width && box.top < innerHeight && box.bottom > 0;
  }});
  return pictures.length > 0 && pictures.every((image) => image.complete && image.naturalWidth);
}}"""
_NODES = f"() => {{{_DEEP} return all(document).length; }}"


class Visit:
    """A browser that opens one job again and again."""

    def __init__(self, browser: Browser, server: Server, job: LargeJob) -> None:
        self._browser, self._server, self._job = browser, server, job
        self.took: list[float] = []
        self.received_bytes: list[int] = []
        self.nodes = 0

    def make(self, rounds: int) -> None:
        """Open it so often."""
        context = self._browser.new_context(
            base_url=self._server.url, viewport={"width": 1440, "height": 900}
        )
        page = context.new_page()
        received = [0]
        network = context.new_cdp_session(page)

        def took(event: dict[str, float]) -> None:
            received[0] += int(event["encodedDataLength"])

        network.on("Network.loadingFinished", took)
        network.on(
            "Network.webSocketFrameReceived", lambda event: took(_size(event["response"]["payloadData"]))
        )
        network.send("Network.enable")
        for _ in range(rounds):
            self._open(page, received)
        self.nodes = page.evaluate(_NODES)
        context.close()

    def _open(self, page: Page, received: list[int]) -> None:
        page.goto("/jobs")
        job = page.locator(f"a[href*='{self._job.id}']")
        expect(job).to_be_visible()
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        received[0] = 0
        begun = time.perf_counter()
        job.click()
        page.wait_for_function(_SHOWN, polling=10)
        self.took.append(time.perf_counter() - begun)
        self.received_bytes.append(received[0])


def _size(payload: str) -> dict[str, float]:
    """How long a frame of the socket is: its bytes come in base64."""
    return {"encodedDataLength": len(payload) * 3 / 4}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    expect.set_options(timeout=60_000)
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    rows, found = [], shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        jobs = {"done": LargeJob(data, options.photos, done=options.photos)}
        jobs["half done"] = LargeJob(data, options.photos, done=options.photos // 2)
        with serving(data, model_dir) as server, sync_playwright() as play:
            memory = Memory(server.pid)
            browser = play.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
            with memory.watched():
                for what, job in jobs.items():
                    visit = Visit(browser, server, job)
                    visit.make(options.rounds + 1)
                    rows += _rows(what, visit)
            browser.close()
    print(f"{machine()}\nload {os.getloadavg()[0]:.1f}; {options.photos} photos\n")
    print(table(["seconds to open", "median", "slowest", "times", "kB received", "nodes"], rows))
    print(f"\nThe server's memory: {memory.before_mb:.0f} MB before, {memory.peak_mb:.0f} MB at the most.")


def _rows(what: str, visit: Visit) -> list[list[str]]:
    """The first time, and all others."""
    rows = []
    for when, part in (("first", slice(0, 1)), ("again", slice(1, None))):
        took, received = visit.took[part], visit.received_bytes[part]
        figures = [f"{statistics.median(took):.2f}", f"{max(took):.2f}", str(len(took))]
        kilobytes = f"{statistics.median(received) / 1000:.0f}"
        rows.append([f"{what}, {when}", *figures, kilobytes, str(visit.nodes)])
    return rows


if __name__ == "__main__":
    main()
