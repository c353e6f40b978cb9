"""The main job as a person does it: photos and a ZIP in, progress, a look, the ZIP out."""

import csv
import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from photoproc.samples import sample_photos
from tests.pictures import encoded, picture, sample
from tests.server import Server
from tests.waiting import until

pytestmark = pytest.mark.browser

LONG = "a very long name " * 7 + ".jpg"
BACKGROUND = "(node) => getComputedStyle(node).backgroundColor"
EVIL = "<img src=x onerror=window.broken=1>.jpg"
ADDRESS = "see www.example.com.jpg"


def whole(page: Page) -> None:
    """Wait until the page is all there: until then what is done on it may get lost."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    """Give files to the uploader of the Process page."""
    page.goto("/")
    expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
    whole(page)
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


def colour(css: str) -> tuple[float, ...]:
    """The numbers of a CSS colour: red, green, blue of 255, and alpha of 1."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", css)]
    return (*numbers, 1.0) if len(numbers) == 3 else tuple(numbers)


def over(front: tuple[float, ...], behind: tuple[float, ...]) -> tuple[float, ...]:
    """The colour that a tint makes of what is behind it."""
    return tuple(
        front[3] * one + (1 - front[3]) * other for one, other in zip(front[:3], behind[:3], strict=True)
    )


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The contrast of two colours as WCAG reckons it."""

    def luminance(rgb: tuple[float, ...]) -> float:
        parts = [part / 255 for part in rgb[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


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


def test_a_double_click_is_one_job(page: Page, server: Server) -> None:
    upload(page, ("twice.jpg", encoded(picture(300, 200, seed=970))))
    button = page.get_by_role("button", name="Process photos")
    expect(button).to_be_enabled()
    before = set(server.store.job_ids())
    button.dblclick()
    page.wait_for_url("**/jobs?job=*")
    finish(page)
    assert len(set(server.store.job_ids()) - before) == 1


def test_a_browser_that_is_closed_during_an_upload_leaves_no_job_and_no_upload(
    browser: Browser, server: Server
) -> None:
    jobs, files = set(server.store.job_ids()), files_in(server)
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    slow = page.context.new_cdp_session(page)
    page.goto("/")
    expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
    slow.send("Network.enable")
    slow.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000},
    )
    large = encoded(picture(1500, 1500, seed=971))
    assert len(large) > 400_000
    with page.expect_request(lambda request: "upload_file" in request.url):
        page.locator("input[type=file]").set_input_files(
            FilePayload(name="large.jpg", mimeType="image/jpeg", buffer=large)
        )
    context.close()
    until(server.healthy)
    time.sleep(2)
    assert set(server.store.job_ids()) == jobs
    assert files_in(server) - files == set()


def files_in(server: Server) -> set[str]:
    """What is uploaded and no job's yet, or on its way."""
    return {str(path) for kind in ("staging", "tmp") for path in (server.data_dir / kind).rglob("*")}


def test_the_page_updates_in_place_and_survives_a_reload(page: Page) -> None:
    upload(page, *[(f"{n:02}.jpg", encoded(picture(300, 200, seed=n))) for n in range(12)])
    expect(page.get_by_text("12 photos").first).to_be_visible()
    where = process(page)
    done = page.locator("button.card")  # which photo is the first is not said
    expect(done.first).to_be_visible()
    page.evaluate("window.kept = true")
    done.first.evaluate("(node) => { node.marked = true; }")
    finish(page)
    assert page.evaluate("window.kept")
    # What did not change was not drawn again.
    assert done.evaluate_all("(nodes) => nodes.some((node) => node.marked)")
    expect(page.get_by_text("12 of 12 done").first).to_be_visible()
    page.goto("about:blank")
    page.goto(where)
    expect(page.locator("button.card")).to_have_count(12)


def test_what_was_uploaded_survives_a_reload_and_two_tabs_take_nothing_from_each_other(page: Page) -> None:
    upload(page, *[(f"{n}.jpg", encoded(picture(300, 200, seed=n + 80))) for n in range(2)])
    photos = page.get_by_role("option")
    expect(photos).to_have_count(2)
    page.reload()
    expect(photos).to_have_count(2)
    small = page.locator("li img").first
    page.wait_for_function("(image) => image.naturalWidth > 0", arg=small.element_handle())
    with page.context.expect_page() as opened:
        page.evaluate("() => void window.open('/')")  # it has what this tab remembers
    other = opened.value
    expect(other.get_by_role("option")).to_have_count(2)
    job = process(page)
    finish(page)
    expect(page.get_by_text("2 of 2 done").first).to_be_visible()
    assert process(other) != job
    finish(other)
    page.goto("/")
    expect(page.get_by_text("Photos or ZIP archives")).to_be_visible()
    whole(page)
    page.wait_for_timeout(2000)  # what must not come
    expect(photos).to_have_count(0)


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


def test_a_name_that_looks_like_an_address_is_no_link(page: Page) -> None:
    upload(page, (ADDRESS, encoded(picture(seed=972))))
    process(page)
    finish(page)
    expect(page.get_by_text("example.com").first).to_be_visible()
    expect(page.locator("a[href*='example']")).to_have_count(0)


def test_two_tabs_show_one_job_and_follow_each_other(page: Page) -> None:
    upload(page, *((f"tab {number}.jpg", encoded(picture(seed=980 + number))) for number in range(40)))
    address = process(page)
    other = page.context.new_page()
    other.set_default_timeout(60_000)
    other.goto(address)
    expect(other.get_by_role("button", name="Cancel job")).to_be_visible()
    page.get_by_role("button", name="Cancel job").click()
    again = re.compile(r"Process the \d+ cancelled")
    for tab in (page, other):
        expect(tab.get_by_role("button", name=again)).to_be_visible()
        expect(tab.get_by_role("button", name="Cancel job")).to_have_count(0)
    other.get_by_role("button", name=again).click()
    for tab in (page, other):
        expect(tab.get_by_text("40 done").first).to_be_visible(timeout=120_000)
    other.close()


def test_a_photo_that_will_fail_says_so_before_it_is_processed(page: Page) -> None:
    whole = sample("rocket.jpg")
    upload(page, ("whole.jpg", whole), ("cut.jpg", whole[: len(whole) // 2]))
    expect(page.get_by_text("1 photo is damaged and will fail: cut.jpg")).to_be_visible()
    card = page.locator("li", has_text="cut.jpg")
    expect(card).to_contain_text("This photo will fail")
    expect(card).to_contain_text("The file ends before the picture does.")
    good = page.locator("li", has_text="whole.jpg").locator("img")
    assert good.evaluate("(image) => image.naturalWidth") > 0


def test_only_what_is_transparent_lies_on_a_checkerboard(page: Page) -> None:
    upload(page, ("one.png", sample("astronaut.png")))
    expect(page.get_by_text("1 photo").first).to_be_visible()
    process(page)
    finish(page)
    fit = page.locator("button.card .fit")
    assert fit.evaluate("(node) => getComputedStyle(node).backgroundImage") != "none"
    assert (
        page.locator("button.card .stage").evaluate("(node) => getComputedStyle(node).backgroundImage")
        == "none"
    )
    box = fit.bounding_box()
    assert box is not None
    assert abs(box["width"] - box["height"]) < 1  # as the picture, not as the card
    page.get_by_role("button", name="Process again with…").click()
    page.get_by_role("radio", name="Colour").click()
    expect(page.get_by_text("Background colour", exact=True)).to_be_visible()
    process(page)
    finish(page)
    expect(page.locator("button.card .fit")).to_be_visible()
    assert fit.evaluate("(node) => getComputedStyle(node).backgroundImage") == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_chosen_can_be_read(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    chosen = page.get_by_role("radio", name="Transparent")
    expect(chosen).to_be_checked()

    def can_be_read() -> bool:
        behind = page.locator(".stApp").evaluate(BACKGROUND)
        text, tint = chosen.evaluate("(node) => getComputedStyle(node).color"), chosen.evaluate(BACKGROUND)
        return contrast(colour(text), over(colour(tint), colour(behind))) >= 4.5

    until(can_be_read)  # colours fade in


def test_on_a_phone_the_next_step_is_in_sight_and_the_sidebar_makes_way(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    upload(page, *[(f"{n}.jpg", encoded(picture(300, 200, seed=n + 90))) for n in range(12)])
    expect(page.get_by_text("12 photos").first).to_be_visible()
    expect(page.get_by_role("button", name="Process photos")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("radio", name="Transparent")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_in_viewport(ratio=1)
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "true")


def test_choosing_jobs_within_a_job_leads_to_the_list(page: Page) -> None:
    upload(page, ("inside.png", sample("astronaut.png")))
    expect(page.get_by_text("1 photo").first).to_be_visible()
    process(page)
    page.get_by_role("link", name="Jobs").click()
    expect(page.locator(".title").first).to_have_text("inside.png")
    assert page.url.endswith("/jobs")


@pytest.mark.parametrize("where", ["/", "/jobs", "/system"])
def test_pages_fit_a_phone(page: Page, where: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(where)
    expect(
        page.locator("[data-testid=stMainBlockContainer] >> text=/Photos or ZIP|Jobs|Models/").first
    ).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
