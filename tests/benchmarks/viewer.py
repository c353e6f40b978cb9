"""How soon photos of 12 megapixels are seen in the viewer of a comparison, in a real Chromium.

    python -m tests.benchmarks.viewer [--megapixels 12] [--photos 4] [--models u2netp u2net]

From the click on a card: until every pane has painted its preview; until every pane shows at least the pixels
the screen has there; and, from the click on “100 %”, until every pane shows the cutout's own pixels. Each
photo is opened once, in a fresh browser profile, so that neither the browser nor the server has made or seen
any of it. Aim: sharp within 1 s.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from photoproc.jobs import JobState
from photoproc.models.weights import Weights
from tests.benchmarks.common import jpeg, machine, table
from tests.browser.jobs import submitted
from tests.conftest import CHROMIUM_FLAGS
from tests.server import serving
from tests.waiting import until

_SCREENS = (
    ("1440 × 900", 1440, 900, 1.0),
    ("1440 × 900, twice the dots", 1440, 900, 2.0),
    ("phone", 390, 844, 3.0),
)
_OPEN = """async ([card, many]) => {
  const root = card.getRootNode(), dialog = root.querySelector("dialog"), begun = performance.now();
  const frame = () => new Promise(requestAnimationFrame);
  const all = async (good) => {
    for (;; await frame()) {
      const found = [...dialog.querySelectorAll("img.after")];
      if (found.length !== many || !found.every(good)) continue;
      // One that gets a better picture in this moment cannot be decoded.
      const decoded = await Promise.all(found.map((image) => image.decode().then(() => true, () => false)));
      await frame();
      if (decoded.every(Boolean)) return performance.now();
    }
  };
  card.click();
  const seen = await all((image) => image.complete && image.naturalWidth) - begun;
  const sharp = await all((image) => image.dataset.sharp) - begun;
  const shown = dialog.querySelector("img.after").naturalWidth, pressed = performance.now();
  dialog.querySelector("[data-do=fit]").click();
  const full = await all((image) => image.dataset.full) - pressed;
  return [seen, sharp, full, shown];
}"""


def opened(
    browser: Browser, address: str, place: int, screen: tuple[str, int, int, float], many: int
) -> list[float]:
    """Milliseconds until one photo was seen, sharp, and full; and the width of what was sharp."""
    _, width, height, dots = screen
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=dots)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    card = page.locator("button.card", has=page.get_by_text(f"{place}.jpg", exact=True))
    expect(card).to_be_visible(timeout=120_000)
    expect(page.get_by_text("Disagreement of the models’ masks")).to_be_visible(timeout=120_000)
    page.wait_for_load_state("networkidle")
    found: list[float] = page.evaluate(_OPEN, [card.element_handle(), many])
    context.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--models", nargs="+", default=["u2netp", "u2net"])
    parser.add_argument("--photos", type=int, default=4, help="for each kind of screen")
    options = parser.parse_args()
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    rows = []
    with (
        tempfile.TemporaryDirectory() as data,
        serving(Path(data) / "data", model_dir) as server,
        sync_playwright() as play,
    ):
        photos = [jpeg(options.megapixels, seed=seed) for seed in range(options.photos * len(_SCREENS))]
        files = [(f"{place}.jpg", photo) for place, photo in enumerate(photos)]
        job = submitted(server.url, files, options.models)
        until(lambda: server.store.job(job).state is JobState.DONE, within_s=1800)
        sizes = [task.cutout.byte_count for task in server.tasks(job) if task.cutout is not None]
        print(f"{machine()}\nload average {os.getloadavg()[0]:.1f}")
        print(f"{len(photos)} photos, cutouts of {statistics.median(sizes) / 1e6:.1f} MB (median)\n")
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        for turn, screen in enumerate(_SCREENS):
            places = range(turn * options.photos, (turn + 1) * options.photos)
            address = f"{server.url}/compare?job={job}"
            laps = [opened(browser, address, place, screen, len(options.models)) for place in places]
            columns = list(zip(*laps, strict=True))
            figures = [f"{statistics.median(column):.0f} ({max(column):.0f})" for column in columns[:3]]
            rows.append([screen[0], *figures, f"{statistics.median(columns[3]):.0f}"])
        browser.close()
        print(
            table(["ms, median (max)", "previews", "sharp", "own pixels at 100 %", "sharp at, px wide"], rows)
        )
        print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
