"""The README's screenshots: `python -m tests.screenshots [folder]`, over the built-in samples."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from photoproc.models.weights import Weights
from photoproc.samples import sample_photos
from tests.conftest import CHROMIUM_FLAGS
from tests.server import serving

TARGET = Path(__file__).with_name("screenshots")


def take(page: Page, folder: Path) -> None:
    """Walk through the pages as a new user would."""
    page.goto("/")
    page.locator("input[type=file]").set_input_files([path for _, path in sample_photos()])
    expect(page.get_by_text("4 photos").first).to_be_visible()
    expect(page.get_by_role("button", name="Process photos")).to_be_enabled()
    for image in page.locator("li .stage img").all():
        image.evaluate("(image) => image.decode()")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / "process.png")
    page.get_by_role("button", name="Process photos").click()
    expect(page.get_by_role("link", name="Download ZIP (")).to_be_visible()
    expect(page.get_by_text("Delete job")).to_have_count(1)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / "job.png")
    page.locator("button.card").first.click()
    page.locator(".slide input").fill("45")
    page.locator("dialog .before").evaluate("(image) => image.decode()")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / "viewer.png")
    for name in ("jobs", "system"):
        page.goto(f"/{name}")
        expect(page.locator("h3").first).to_be_visible()
        expect(page.get_by_text("Ready").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / f"{name}.png")


def main() -> None:
    """Start a server and a browser, take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    folder.mkdir(exist_ok=True)
    own = os.environ.get("PHOTOPROC_MODEL_DIR")
    model_dir = Weights(Path(own) if own else None).folders()[0]
    with (
        tempfile.TemporaryDirectory() as data,
        serving(Path(data) / "data", model_dir, default_model="u2net") as server,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(base_url=server.url, viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        take(page, folder)
        browser.close()


if __name__ == "__main__":
    main()
