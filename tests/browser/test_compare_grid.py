"""The grid of a comparison and more of its viewer: filters, tags, many models, backdrops, touch."""

import re
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect

from photoproc import ui
from photoproc.jobs import TaskState
from tests.browser.jobs import submitted
from tests.browser.test_compare import same_part
from tests.pictures import encoded, picture, sample
from tests.server import Server
from tests.waiting import until

pytestmark = pytest.mark.browser

MODELS = ("u2netp", "u2net", "silueta", "isnet-general-use", "u2net_human_seg")
"""The first two run; the others' weights are not there, so that the page goes on refreshing."""
EVIL = "<img src=x onerror=window.broken=1>"


@pytest.fixture(scope="module")
def job(server: Server) -> str:
    """A job of four photos in folders, one of which is cut off, one not what its name says."""
    files = [
        ("shoes/astronaut.png", sample("astronaut.png")),
        ("shoes/glass/coffee.jpg", sample("coffee.png")),
        ("rocket.jpg", sample("rocket.jpg")),
        ("cut.jpg", encoded(picture(900, 600, seed=4))[:30_000]),
    ]
    made = submitted(server.url, files, MODELS)
    final = (TaskState.DONE, TaskState.FAILED)
    until(lambda: sum(task.state in final for task in server.tasks(made)) == 8, within_s=180)
    return made


def shown(page: Page, count: int, of: int = 4) -> list[str]:
    """The names of the photos shown, which must be so many."""
    expect(page.locator("button.card")).to_have_count(count)
    expect(page.locator(".bar .count")).to_have_text(
        f"{count} of {of} photos" if count < of else f"{of} photos"
    )
    return sorted(page.locator("button.card .name").all_inner_texts())


def grid(page: Page, job: str, query: str = "") -> None:
    page.goto(f"/compare?job={job}{query}")
    expect(page.get_by_label("Find by name", exact=True)).to_be_visible()


def opened(page: Page, job: str, name: str, sharp: int = 2) -> Locator:
    grid(page, job)
    page.locator("button.card", has_text=name).click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("img.after[data-sharp]")).to_have_count(sharp)
    return dialog


def tag(server: Server, job: str, place: int, name: str, method: str = "PUT") -> None:
    """What somebody else does meanwhile."""
    address = f"{server.url}/api/v1/jobs/{job}/photos/{place}/tags/{quote(name, safe='')}"
    urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=30).close()


def test_filters_are_kept_in_the_address_and_over_refreshes(page: Page, server: Server, job: str) -> None:
    grid(page, job)
    assert len(shown(page, 4)) == 4
    page.get_by_label("Tag", exact=True).select_option("shoes")
    assert shown(page, 2) == ["shoes/astronaut.png", "shoes/glass/coffee.jpg"]
    expect(page).to_have_url(re.compile(r"&tag=shoes$"))
    page.get_by_label("Find by name", exact=True).fill("Coffee")
    assert shown(page, 1) == ["shoes/glass/coffee.jpg"]
    tag(server, job, 1, "cup")  # which comes with the next refresh
    expect(page.locator(".card .tags")).to_have_text("shoes · glass · cup")
    assert shown(page, 1) == ["shoes/glass/coffee.jpg"]
    page.reload()
    assert shown(page, 1) == ["shoes/glass/coffee.jpg"]
    expect(page.get_by_label("Tag", exact=True)).to_have_value("shoes")
    expect(page.get_by_label("Find by name", exact=True)).to_have_value("Coffee")
    page.get_by_label("Find by name", exact=True).fill("no such name")
    expect(page.get_by_text("No photo is like that.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    shown(page, 4)
    expect(page).to_have_url(re.compile(rf"\?job={job}$"))
    tag(server, job, 1, "cup", "DELETE")


def test_photos_are_filtered_by_warning_and_by_the_model_that_failed(page: Page, job: str) -> None:
    grid(page, job)
    page.get_by_label("Warning", exact=True).select_option("failed")
    assert shown(page, 1) == ["cut.jpg"]
    page.get_by_label("Warning", exact=True).select_option(label="Name mismatch (1)")
    assert shown(page, 1) == ["shoes/glass/coffee.jpg"]
    grid(page, job, "&model=u2net")
    assert shown(page, 1) == ["cut.jpg"]
    expect(page.get_by_role("combobox", name="Model")).to_have_value("u2net")


def test_another_order_is_chosen_and_kept(page: Page, job: str) -> None:
    grid(page, job)
    page.get_by_label("Worst first, by").select_option("u2net")
    expect(page).to_have_url(re.compile("by=u2net"))
    page.reload()
    expect(page.get_by_label("Worst first, by")).to_have_value("u2net")
    assert shown(page, 4)[0] == "cut.jpg"
    expect(page.locator("button.card .name").last).to_have_text("cut.jpg")


def test_tags_are_added_and_taken_away_in_the_viewer(page: Page, server: Server, job: str) -> None:
    dialog = opened(page, job, "astronaut")
    page.keyboard.press("t")
    field = dialog.get_by_label("Add a tag")
    expect(field).to_be_focused()
    expect(dialog.locator(".chip")).to_have_text(["shoes"])
    for typed in (" hair ", "HAIR", "Shoes", EVIL):
        field.fill(typed)
        field.press("Enter")
        expect(field).to_have_value("")
    expect(dialog.locator(".chip > span")).to_have_text(["shoes", "hair", EVIL])
    until(lambda: server.store.given_tags(job, 4) == {0: ("hair", EVIL)})
    field.fill("a/b")
    field.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("A tag is without “/”")
    field.fill("")
    dialog.get_by_role("button", name=f"Take away the tag {EVIL}").click()
    expect(dialog.locator(".chip > span")).to_have_text(["shoes", "hair"])
    field.press("Escape")  # of the field, not of the viewer
    expect(field).not_to_be_visible()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("button.card", has_text="astronaut").locator(".tags")).to_have_text("shoes · hair")
    page.get_by_label("Tag", exact=True).select_option(label="hair (1)")
    assert shown(page, 1) == ["shoes/astronaut.png"]
    page.locator("button.card").click()
    page.keyboard.press("t")
    page.locator("dialog[open]").get_by_role("button", name="Take away the tag hair").click()
    expect(page.locator("dialog[open] .chip > span")).to_have_text(["shoes"])  # it stays open, filter or not
    page.reload()
    shown(page, 0)
    assert page.evaluate("window.broken") is None
    until(lambda: server.store.given_tags(job, 4) == {})


def test_tags_of_other_photos_are_offered(page: Page, server: Server, job: str) -> None:
    tag(server, job, 2, "night")
    dialog = opened(page, job, "astronaut")
    page.keyboard.press("t")
    offered = dialog.locator("datalist option")
    assert sorted(offered.evaluate_all("(all) => all.map((one) => one.value)")) == ["glass", "night"]
    tag(server, job, 2, "night", "DELETE")


def test_of_five_models_four_are_shown_that_can_be_chosen(page: Page, job: str) -> None:
    dialog = opened(page, job, "astronaut")
    expect(dialog.locator(".pane")).to_have_count(4)
    models = dialog.get_by_role("group", name="Models shown")
    pressed = models.get_by_role("button", pressed=True)
    expect(pressed).to_have_text(list(MODELS[:4]))
    models.get_by_role("button", name="u2net_human_seg").click()  # the first that was chosen goes
    expect(pressed).to_have_text(list(MODELS[1:]))
    expect(dialog.locator("img.after")).to_have_attribute("data-model", "u2net")
    for name in ("silueta", "isnet-general-use", "u2net_human_seg"):
        models.get_by_role("button", name=name).click()
    expect(pressed).to_have_text(["u2net"])
    models.get_by_role("button", name="u2net", exact=True).click()  # the last one stays
    expect(pressed).to_have_text(["u2net"])
    models.get_by_role("button", name="u2netp").click()
    expect(dialog.locator(".pane .label b")).to_have_text(["1  u2netp", "2  u2net"])
    expect(page).to_have_url(re.compile(r"panes=1\.0"))
    page.reload()
    expect(dialog.locator(".pane .label b")).to_have_text(["1  u2netp", "2  u2net"])
    page.keyboard.press("2")
    expect(dialog.locator(".pane .label b")).to_have_text(["2  u2net"])
    page.keyboard.press("3")  # nobody is there
    expect(dialog.locator(".pane .label b")).to_have_text(["2  u2net"])


def test_a_backdrop_is_chosen_by_menu_or_key_and_its_colour_remembered(page: Page, job: str) -> None:
    dialog = opened(page, job, "astronaut")
    menu, colour = dialog.get_by_label("Backdrop", exact=True), dialog.get_by_label("Colour of the backdrop")
    fit = dialog.locator(".pane .fit").first
    menu.select_option("black")
    expect(fit).to_have_css("background-color", "rgb(0, 0, 0)")
    expect(colour).not_to_be_visible()
    expect(dialog.locator(".panes")).to_be_focused()
    page.keyboard.press("b")
    expect(menu).to_have_value("colour")
    colour.fill("#336699")
    expect(fit).to_have_css("background-color", "rgb(51, 102, 153)")
    page.reload()
    expect(fit).to_have_css("background-color", "rgb(51, 102, 153)")
    page.evaluate("localStorage.clear()")


@pytest.fixture
def phone(browser: Browser, server: Server) -> Iterator[Page]:
    """A page that is touched."""
    context = browser.new_context(
        base_url=server.url, viewport={"width": 390, "height": 844}, has_touch=True, device_scale_factor=2
    )
    opened_page = context.new_page()
    opened_page.set_default_timeout(60_000)
    yield opened_page
    context.close()


def touch(cdp: CDPSession, kind: str, points: Sequence[tuple[float, float]] = ()) -> None:
    """Fingers on the glass, as the browser's own driver reports them."""
    given = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
    cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})


def test_two_fingers_zoom_all_panes_and_one_moves_them(phone: Page, job: str) -> None:
    grid(phone, job, "&panes=0.1")
    phone.locator("button.card", has_text="astronaut").tap()
    dialog = phone.locator("dialog[open]")
    expect(dialog.locator("img.after[data-sharp]")).to_have_count(2)
    fitted = same_part(dialog)
    box = dialog.locator(".pane").nth(1).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    cdp = phone.context.new_cdp_session(phone)
    touch(cdp, "touchStart", [(x - 30, y), (x + 30, y)])
    for step in range(1, 7):
        touch(cdp, "touchMove", [(x - 30 - 10 * step, y), (x + 30 + 10 * step, y)])
    touch(cdp, "touchEnd")
    expect(dialog.locator(".zoom")).to_have_text(re.compile("%$"))
    zoomed = same_part(dialog)
    assert zoomed[2] / fitted[2] == pytest.approx(3, rel=0.1)  # the fingers are three times as far apart
    middle = (x - box["x"], y - box["y"])
    for axis in (0, 1):  # and what was between them stays there
        before = (middle[axis] - fitted[axis]) / fitted[2 + axis]
        assert (middle[axis] - zoomed[axis]) / zoomed[2 + axis] == pytest.approx(before, abs=0.02)
    touch(cdp, "touchStart", [(x, y)])
    for step in range(1, 5):
        touch(cdp, "touchMove", [(x + 10 * step, y - 5 * step)])
    touch(cdp, "touchEnd")
    moved = same_part(dialog)
    assert (moved[0] - zoomed[0], moved[1] - zoomed[1]) == pytest.approx((40, -20), abs=2)
    touch(cdp, "touchStart", [(x - 100, y), (x + 100, y)])
    for step in range(1, 10):
        touch(cdp, "touchMove", [(x - 100 + 10 * step, y), (x + 100 - 10 * step, y)])
    touch(cdp, "touchEnd")
    expect(dialog.locator(".zoom")).to_have_text("Fit")
    assert same_part(dialog) == fitted
    assert phone.evaluate("window.scrollY") == 0


def test_on_a_phone_filters_wrap_and_nothing_is_cut_off(phone: Page, job: str) -> None:
    grid(phone, job)
    shown(phone, 4)
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for control in phone.locator(".bar select:visible, .bar input:visible").all():
        box = control.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_a_picture_is_as_large_as_it_is_shown_and_whole_once_zoomed_in(
    browser: Browser, server: Server
) -> None:
    job = submitted(server.url, [("large.jpg", encoded(picture(2400, 1800)))], MODELS[:2])
    server.finished(job)
    context = browser.new_context(
        base_url=server.url, viewport={"width": 1440, "height": 900}, device_scale_factor=2
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    dialog = opened(page, job, "large")
    wide = "(all) => all.map((image) => image.naturalWidth)"
    assert dialog.locator("img.after").evaluate_all(wide) == [1600, 1600]
    assert not any("/cutout?" in one for one in asked)
    dialog.locator(".zoom").click()
    expect(dialog.locator(".zoom")).to_have_text("100 %")
    expect(dialog.locator("img.after[data-full][data-sharp]")).to_have_count(2)
    assert dialog.locator("img.after").evaluate_all(wide) == [2400, 2400]
    page.keyboard.press("0")
    expect(dialog.locator("img.after[data-full][data-sharp]")).to_have_count(2)
    context.close()


CHOSEN = """async ([html, script]) => {
  document.body.innerHTML = html;
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  window.show = (await import(address)).default;
  window.said = [];
  const shot = { time: "", said: "queued", failed: false, looks: false, full: "", preview: "", levels: [] };
  const shots = ["a", "b"].map((model) => ({ ...shot, model, notes: [] }));
  const photo = { ratio: 1, small: "", photo: "", heat: "", apart: {}, shots };
  const far = { disagreement: null, edge: null, uncertain: null };
  const none = { ...far, looks: false, codes: [], tags: [], fixed: 0 };
  const items = [0, 1, 2].map((id) => ({ ...photo, ...none, id, name: `${id}.jpg` }));
  window.draw = (chosen) => window.show({
    data: { models: ["a", "b"], items, opaque: false, codes: {}, chosen, edit: null },
    parentElement: document.body,
    setStateValue: (name, value) => window.said.push([name, value]),
  });
}"""


def test_photos_that_a_chart_stands_for_are_shown_alone_until_they_are_forgotten(page: Page) -> None:
    folder = Path(ui.__file__).parent
    scripts = [folder / "shared.js", *sorted((folder / "compare").glob("*.js"))]
    page.goto("/api/client/photo-processor.js")  # where scripts may run, and none does
    html = (folder / "compare" / "compare.html").read_text()
    page.evaluate(CHOSEN, [html, "".join(path.read_text() for path in scripts)])
    page.evaluate(f"draw({{ label: '{EVIL}', ids: [2, 0], turn: 1 }})")
    assert shown(page, 2, 3) == ["0.jpg", "2.jpg"]
    chip = page.locator(".bar .chip")
    expect(chip).to_have_text(f"{EVIL}×")
    chip.click()
    shown(page, 3, 3)
    expect(chip).not_to_be_visible()
    assert page.evaluate("said") == [["forgotten", 1]]
    page.evaluate(f"draw({{ label: '{EVIL}', ids: [2, 0], turn: 1 }})")  # of a run that began before
    shown(page, 3, 3)
    page.evaluate("draw(null)")
    page.evaluate("draw({ label: 'none', ids: [], turn: 2 })")
    shown(page, 0, 3)
    page.get_by_role("button", name="Clear filters").click()
    shown(page, 3, 3)
    assert page.evaluate("said.length") == 2
