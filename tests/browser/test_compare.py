"""Models side by side in a real browser: all panes show the same part, by keys, pointer and wheel."""

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from photoproc.jobs import JobState
from tests.browser.jobs import submitted
from tests.pictures import encoded, picture, sample
from tests.server import Server
from tests.waiting import until

pytestmark = pytest.mark.browser

PLACES = """(dialog) => [...dialog.querySelectorAll(".pane")].map((pane) => {
  const box = pane.getBoundingClientRect(), image = pane.querySelector("img.after").getBoundingClientRect();
  const place = [image.left - box.left, image.top - box.top, image.width, image.height];
  return place.map((value) => Math.round(value * 2) / 2);
})"""
EVIL = "<img src=x onerror=window.broken=1>.jpg"


@pytest.fixture(scope="module")
def job(server: Server) -> str:
    """A finished job of four photos with two models, one of which no model can be run on."""
    files = [
        ("astronaut.png", sample("astronaut.png")),
        ("rocket.jpg", sample("rocket.jpg")),
        (EVIL, encoded(picture(1400, 900, seed=3))),
        ("cut.jpg", encoded(picture(900, 600, seed=4))[:30_000]),
    ]
    made = submitted(server.url, files, ("u2netp", "u2net"))
    until(lambda: server.store.job(made).state is JobState.DONE, within_s=180)
    return made


def opened(page: Page, job: str, name: str) -> Locator:
    """The viewer, opened at a photo of the comparison."""
    page.goto(f"/compare?job={job}")
    expect(page.get_by_text("Disagreement of the models’ masks, worst first")).to_be_visible()
    page.locator("button.card", has_text=name).click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("img.after[data-sharp]")).to_have_count(2)
    return dialog


def same_part(dialog: Locator) -> list[float]:
    """Where the cutout is in every pane, which must be the same place."""
    places: list[list[float]] = dialog.evaluate(PLACES)
    assert all(place == places[0] for place in places), places
    return places[0]


def test_photos_come_worst_first_and_those_without_masks_last(page: Page, job: str) -> None:
    page.goto(f"/compare?job={job}")
    expect(page.locator("button.card")).to_have_count(4)
    expect(page.locator("button.card .name").last).to_have_text("cut.jpg")
    expect(page.locator("button.card .far").last).to_have_text("failed")
    expect(page.locator("button.card").last.locator("img")).to_have_count(0)
    expect(page.locator("button.card .none").last).to_have_text("The file ends before the picture does.")
    shares = [float(re.sub("[^0-9.]", "", text)) for text in page.locator(".card .far").all_inner_texts()[:3]]
    assert shares == sorted(shares, reverse=True)
    expect(page.locator(".card img.heat")).to_have_count(3)
    expect(page.locator(".card img.heat").first).to_be_visible()
    page.get_by_role("checkbox", name="Show where masks differ").uncheck()
    expect(page.locator(".card img.heat").first).not_to_be_visible()
    page.get_by_role("checkbox", name="Show where masks differ").check()
    assert page.evaluate("window.broken") is None
    expect(page.locator("button.card .name", has_text=EVIL)).to_be_visible()


def test_what_moves_in_one_pane_moves_in_all(page: Page, job: str) -> None:
    dialog = opened(page, job, "astronaut.png")
    fitted = same_part(dialog)
    box = dialog.locator(".pane").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + 100, y + 50)
    page.mouse.wheel(0, -300)
    page.mouse.wheel(0, -300)
    expect(dialog.locator(".zoom")).to_have_text(re.compile("%$"))
    zoomed = same_part(dialog)
    assert zoomed[2] > 1.2 * fitted[2]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    moved = same_part(dialog)
    assert (moved[0] - zoomed[0], moved[1] - zoomed[1]) == pytest.approx((60, 30), abs=2)
    page.keyboard.press("Shift+ArrowLeft")
    assert same_part(dialog)[0] > moved[0]
    for _ in range(20):
        page.keyboard.press("+")
    expect(dialog.locator(".zoom")).to_have_text("400 %")
    page.keyboard.press("0")
    expect(dialog.locator(".zoom")).to_have_text("Fit")
    assert same_part(dialog) == fitted


def test_what_is_under_the_pointer_stays_there(page: Page, job: str) -> None:
    dialog = opened(page, job, "astronaut.png")
    left, top, width, height = same_part(dialog)
    box = dialog.locator(".pane").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + left + 0.25 * width, box["y"] + top + 0.75 * height)
    page.mouse.wheel(0, -300)
    page.mouse.wheel(0, -300)
    now = same_part(dialog)
    assert (0.25 * width + left - now[0]) / now[2] == pytest.approx(0.25, abs=0.01)
    assert (0.75 * height + top - now[1]) / now[3] == pytest.approx(0.75, abs=0.01)


def test_models_alone_swipe_flick_and_difference_by_keys(page: Page, job: str) -> None:
    dialog = opened(page, job, "astronaut.png")
    page.keyboard.press("2")
    expect(dialog.locator(".pane")).to_have_count(1)
    expect(dialog.locator(".pane .label")).to_contain_text("u2net")
    page.keyboard.press("2")
    expect(dialog.locator(".pane")).to_have_count(2)
    page.keyboard.press("w")
    expect(dialog.locator(".pane")).to_have_count(1)
    expect(dialog.locator(".hold.cut img.after")).to_have_attribute("data-model", "u2netp")
    slider = dialog.get_by_role("slider")
    expect(slider).to_have_value("50")
    page.keyboard.press("Space")
    expect(slider).to_have_value("100")
    slider.press("ArrowLeft")
    expect(slider).to_have_value("99")
    assert (
        dialog.locator(".hold.cut").evaluate("(node) => getComputedStyle(node).clipPath")
        == "inset(0px 1% 0px 0px)"
    )
    page.keyboard.press("f")
    expect(dialog.locator("img.after")).to_have_attribute("data-model", "u2netp")
    page.keyboard.press("Space")
    expect(dialog.locator("img.after")).to_have_attribute("data-model", "u2net")
    page.keyboard.press("d")
    expect(dialog.locator(".pane img.heat")).to_be_visible()
    assert (
        dialog.locator(".pane img.heat").evaluate("(image) => image.decode().then(() => image.naturalWidth)")
        == 512
    )
    page.keyboard.press("s")
    before = dialog.locator(".pane .fit").first.get_attribute("class")
    page.keyboard.press("b")
    expect(dialog.locator(".pane .fit").first).not_to_have_attribute("class", str(before))


def test_swipe_and_flick_by_mouse(page: Page, job: str) -> None:
    dialog = opened(page, job, "astronaut.png")
    page.keyboard.press("2")
    expect(dialog.locator(".pane")).to_have_count(1)
    dialog.get_by_role("button", name="Side by side").click()  # all of them again
    expect(dialog.locator(".pane")).to_have_count(2)
    dialog.get_by_role("button", name="Swipe").click()
    expect(dialog.locator(".pane .label")).to_have_text(["u2netp", "u2net"])
    slider, box = dialog.get_by_role("slider"), dialog.locator(".pane").bounding_box()
    assert box is not None

    def at(share: float) -> tuple[float, float]:
        return box["x"] + share * box["width"], box["y"] + 0.5 * box["height"]

    page.mouse.move(*at(0.5))
    page.mouse.down()
    page.mouse.move(*at(0.6))
    page.mouse.move(*at(0.75))
    page.mouse.up()
    expect(slider).to_have_value("75")
    page.mouse.click(*at(0.2))
    expect(slider).to_have_value("20")
    page.mouse.move(*at(0.4))
    page.mouse.wheel(0, -300)
    zoomed = dialog.locator(".fit").first.evaluate("(fit) => getComputedStyle(fit).transform")
    page.mouse.down()  # away from the line the picture is moved
    page.mouse.move(*at(0.45))
    page.mouse.move(*at(0.5))
    page.mouse.up()
    expect(slider).to_have_value("20")
    moved = dialog.locator(".fit").first.evaluate("(fit) => getComputedStyle(fit).transform")
    assert moved != zoomed
    dialog.get_by_role("button", name="Flick").click()
    expect(dialog.locator("img.after")).to_have_attribute("data-model", "u2netp")
    page.mouse.click(*at(0.5))
    expect(dialog.locator("img.after")).to_have_attribute("data-model", "u2net")
    dialog.get_by_role("button", name="Flick").click()
    expect(dialog.locator("img.after")).to_have_attribute("data-model", "u2netp")


def test_a_photo_is_in_the_address_and_keys_go_on(page: Page, job: str, browser: Browser) -> None:
    dialog = opened(page, job, "astronaut.png")
    expect(page).to_have_url(re.compile(r"job=\w+&photo=0$"))
    name = dialog.locator(".what .name")
    place = dialog.locator(".place").inner_text()
    page.keyboard.press("ArrowRight" if place.startswith("1") else "ArrowLeft")
    expect(name).not_to_have_text("astronaut.png")
    shown = name.inner_text()
    page.reload()
    expect(page.locator("dialog[open] .what .name")).to_have_text(shown)
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"job=\w+$"))


def test_back_closes_the_viewer_and_forward_opens_it_again(page: Page, job: str) -> None:
    page.goto("/compare")
    page.locator(f"a[href*='{job}'] .title").click()
    expect(page.locator("button.card")).to_have_count(4)
    grid, dialog, drawn = page.url, page.locator("dialog"), page.locator(".grid")
    drawn.evaluate("(node) => { node.kept = true; }")
    page.locator("button.card").nth(1).click()
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".place")).to_have_text("1 of 4")
    page.go_back()
    expect(dialog).not_to_be_visible()
    assert page.url == grid
    page.go_forward()
    expect(dialog.locator(".place")).to_have_text("1 of 4")
    page.reload()
    expect(dialog.locator(".place")).to_have_text("1 of 4")
    page.keyboard.press("Escape")
    page.wait_for_url(grid)
    expect(dialog).not_to_be_visible()
    page.locator("button.card").nth(2).click()
    page.keyboard.press("Escape")
    page.locator("button.card").nth(3).click()  # at once, before the browser has gone back
    expect(dialog.locator(".place")).to_have_text("4 of 4")
    page.keyboard.press("Escape")
    page.wait_for_url(grid)
    page.go_back()  # all that was opened was taken back: what is next is the list
    page.wait_for_url("**/compare")
    expect(page.locator(f"a[href*='{job}'] .title")).to_be_visible()


def test_a_photo_that_failed_says_why_in_the_viewer(page: Page, job: str) -> None:
    page.goto(f"/compare?job={job}")
    page.locator("button.card", has_text="cut.jpg").click()
    panes = page.locator("dialog[open] .pane")
    expect(panes).to_have_count(2)
    expect(panes.first).to_contain_text("u2netp: The file ends before the picture does.")


def test_on_a_phone_panes_lie_one_above_the_other(page: Page, job: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    dialog = opened(page, job, "astronaut.png")
    first, second = (dialog.locator(".pane").nth(place).bounding_box() for place in (0, 1))
    assert first is not None
    assert second is not None
    assert (second["x"], second["width"]) == (first["x"], first["width"])
    assert second["y"] >= first["y"] + first["height"]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    same_part(dialog)
