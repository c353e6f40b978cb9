"""The main job as a person does it: photos and a ZIP in, progress, a look, the ZIP out."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from photoproc.samples import sample_photos
from tests.pictures import encoded, picture, sample

pytestmark = pytest.mark.browser

LONG = "a very long name " * 7 + ".jpg"
EVIL = "<img src=x onerror=window.broken=1>.jpg"


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    """Give files to the uploader of the Process page."""
    page.goto("/")
    expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
    page.locator("input[type=file]").set_input_files(
        [FilePayload(name=name, mimeType="application/octet-stream", buffer=data) for name, data in files]
    )


def process(page: Page) -> str:
    """Press Process photos and return the address of the job."""
    page.get_by_role("button", name="Process photos").click()
    page.wait_for_url("**/jobs?job=*")
    return page.url


def finish(page: Page) -> None:
    """Wait for the job on the page to be done."""
    expect(page.get_by_role("link", name="Download ZIP (")).to_be_visible(timeout=120_000)


def zip_of(**files: bytes) -> bytes:
    """A ZIP of these files; a double underscore in a keyword stands for a folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name.replace("__", "/") + ".jpg", data)
    return out.getvalue()


def test_photos_and_a_zip_become_a_zip_of_cutouts(page: Page, tmp_path: Path) -> None:
    photos = [(name, path.read_bytes()) for name, path in sample_photos()[:3]]
    packed = zip_of(
        holiday__beach=encoded(picture(seed=1)), holiday__cat=sample("cat.png"), cat=sample("cat.png")
    )
    upload(page, *photos, ("more.zip", packed), ("notes.txt", b"not a picture"))
    expect(page.get_by_text("6 photos").first).to_be_visible()
    expect(page.get_by_text("1 file not accepted")).to_be_visible()
    expect(page.get_by_text("it is text")).to_be_visible()
    process(page)
    finish(page)
    expect(page.locator("button.card")).to_have_count(6)
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download ZIP (").click()
    target = tmp_path / "out.zip"
    coming.value.save_as(target)
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        names = {name for name in archive.namelist() if name.endswith(".png")}
        assert names == {
            "astronaut.png",
            "cat.png",
            "coffee.png",
            "holiday/beach.png",
            "holiday/cat.png",
            "cat (2).png",
        }
        with Image.open(io.BytesIO(archive.read("astronaut.png"))) as cutout:
            assert (cutout.mode, cutout.size) == ("RGBA", (512, 512))
            low, high = cutout.getchannel("A").getextrema()
            assert (low, high) == (0, 255)
        manifest = json.loads(archive.read("manifest.json"))
        assert [refusal["name"] for refusal in manifest["refused"]] == ["notes.txt"]
        rows = list(csv.DictReader(io.StringIO(archive.read("manifest.csv").decode("utf-8-sig"))))
    assert len(rows) == len(manifest["tasks"]) == 6
    assert {row["state"] for row in rows} == {"done"}
    assert [row["output"] for row in rows if "renamed" in row["warnings"]] == ["cat (2).png"]


def test_the_page_updates_in_place_and_survives_a_reload(page: Page) -> None:
    upload(page, *[(f"{n:02}.jpg", encoded(picture(300, 200, seed=n))) for n in range(12)])
    expect(page.get_by_text("12 photos").first).to_be_visible()
    where = process(page)
    first = page.locator(".card").first
    expect(page.locator("button.card").first).to_be_visible()
    page.evaluate("window.kept = true")
    first.evaluate("(node) => { node.marked = true; }")
    finish(page)
    assert page.evaluate("window.kept")
    assert first.evaluate("(node) => node.marked")  # what did not change was not drawn again
    expect(page.get_by_text("12 of 12 done").first).to_be_visible()
    page.goto("about:blank")
    page.goto(where)
    expect(page.locator("button.card")).to_have_count(12)


def test_closing_the_browser_does_not_stop_the_job(page: Page) -> None:
    upload(page, *[(f"{n}.jpg", encoded(picture(300, 200, seed=n + 50))) for n in range(8)])
    expect(page.get_by_text("8 photos").first).to_be_visible()
    where = process(page)
    other = page.context.new_page()
    page.close()
    other.goto(where)
    finish(other)
    expect(other.get_by_text("8 of 8 done").first).to_be_visible()


def test_the_viewer_is_driven_by_keys(page: Page) -> None:
    upload(page, ("one.png", sample("astronaut.png")), ("two.png", sample("coffee.png")))
    expect(page.get_by_text("2 photos").first).to_be_visible()
    process(page)
    finish(page)
    page.locator("button.card").first.click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".name")).to_have_text("one.png")
    expect(dialog.get_by_text("encode")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".name")).to_have_text("two.png")
    expect(dialog.locator(".place")).to_have_text("2 of 2")
    full = dialog.locator("img.after")
    expect(full).to_have_attribute("src", re.compile("/cutout"))
    assert full.evaluate("(image) => image.naturalWidth") == 600
    page.keyboard.press("Space")
    expect(dialog.locator(".slide input")).to_have_value("100")
    with page.expect_download() as coming:
        page.keyboard.press("d")
    assert coming.value.suggested_filename == "two.png"
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_names_are_shown_and_never_run(page: Page) -> None:
    upload(page, (EVIL, encoded(picture())), (LONG, encoded(picture(seed=1))), ("x.jpg", b"<script>"))
    expect(page.get_by_text("2 photos").first).to_be_visible()
    process(page)
    finish(page)
    expect(page.locator(".card .name").first).to_have_text(EVIL)
    page.goto("/jobs")
    expect(page.locator(".title").first).to_contain_text("onerror")
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize("where", ["/", "/jobs", "/system"])
def test_pages_fit_a_phone(page: Page, where: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(where)
    expect(
        page.locator("[data-testid=stMainBlockContainer] >> text=/Photos or ZIP|Jobs|Models/").first
    ).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
