"""Options with their effect in sight, and recipes that are kept, as a person does it."""

import base64
import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from photoproc.parts import Colour, Gradient, Subject
from tests.browser.test_main_job import finish, process, upload, whole
from tests.pictures import encoded, picture, sample
from tests.server import Server

pytestmark = pytest.mark.browser

DRAWN = """(image) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}"""


def looked_at(page: Page, old: str | None = None) -> Locator:
    """The preview's picture, once it is there (and another one than the old one)."""
    image = page.locator(".st-key-look .after")
    expect(image).to_have_attribute("src", re.compile("^blob:"), timeout=90_000)
    if old is not None:
        expect(image).not_to_have_attribute("src", old)
    expect(page.locator(".st-key-look [aria-busy=false]")).to_have_count(1)
    return image


def source(image: Locator) -> str:
    """Where a picture comes from, which is another place for each."""
    return image.get_attribute("src") or ""


def corner(image: Locator) -> tuple[int, ...]:
    """The colour of a picture's top left pixel, with alpha."""
    with Image.open(io.BytesIO(base64.b64decode(image.evaluate(DRAWN)))) as drawn:
        pixel = drawn.convert("RGBA").getpixel((2, 2))
    assert isinstance(pixel, tuple)
    return tuple(int(channel) for channel in pixel)


def write(page: Page, label: str, text: str) -> None:
    """Write into a field and leave it."""
    field = page.get_by_role("textbox", name=label)
    field.fill(text)
    field.press("Enter")
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def pick(page: Page, label: str, option: str) -> None:
    """Choose from a list."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def recipe_is(page: Page, name: str) -> None:
    """The recipe that is chosen has this name."""
    chosen = page.locator("[data-testid=stSelectbox]", has=page.get_by_role("combobox", name="Recipe"))
    expect(
        chosen.get_by_text(name, exact=True).or_(chosen.locator(f'input[value="{name}"]')).first
    ).to_be_visible()


def start(page: Page, *names: str) -> Locator:
    """Upload samples; the preview of the first."""
    upload(page, *[(name, sample(name)) for name in names])
    return looked_at(page)


def test_the_preview_changes_with_the_options_in_place(page: Page) -> None:
    image = start(page, "astronaut.png")
    assert corner(image)[3] == 0
    image.evaluate("(node) => { node.marked = true; }")
    before = source(image)
    page.get_by_role("radio", name="Colour").click()
    image = looked_at(page, before)
    assert corner(image) == (255, 255, 255, 255)
    before = source(image)
    write(page, "Background colour", "rgb(255 0 0)")
    red, green, blue, alpha = corner(looked_at(page, before))
    assert (red > 245, green < 10, blue < 10, alpha) == (True, True, True, 255)
    assert image.evaluate("(node) => node.marked")  # the same node: it was not drawn anew
    ratio = "(node) => node.naturalWidth / node.naturalHeight"
    assert image.evaluate(ratio) == pytest.approx(1, abs=0.01)
    before = source(image)
    page.get_by_role("radio", name="Face").click()
    looked_at(page, before)
    before = source(image)
    pick(page, "Portrait", "Half body")
    assert looked_at(page, before).evaluate(ratio) == pytest.approx(3 / 4, abs=0.01)


def test_before_and_after_by_keys(page: Page) -> None:
    start(page, "astronaut.png")
    expect(page.locator(".st-key-look .before")).to_have_attribute("src", re.compile("^blob:"))
    slider = page.get_by_role("slider", name="How much of the photo before")
    page.get_by_role("group", name="Preview").focus()
    page.keyboard.press("Space")
    expect(slider).to_have_value("100")
    expect(page.get_by_role("button", name="Before")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("95")
    page.get_by_role("button", name="Before").press("Enter")
    expect(slider).to_have_value("0")


def test_another_photo_is_chosen_by_click_or_keys_and_stays_chosen(page: Page) -> None:
    image = start(page, "astronaut.png", "coffee.png", "rocket.jpg")
    old = source(image)
    page.get_by_role("option", name="coffee.png").click()
    expect(looked_at(page, old)).to_have_attribute("alt", re.compile("^coffee.png"))
    old = source(image)
    page.get_by_role("option", name="coffee.png").press("ArrowRight")
    expect(page.get_by_role("option", name="rocket.jpg")).to_be_focused()
    expect(looked_at(page, old)).to_have_attribute("alt", re.compile("^rocket.jpg"))
    old = source(image)
    page.get_by_role("radio", name="Blur").click()
    expect(looked_at(page, old)).to_have_attribute("alt", re.compile("^rocket.jpg"))
    expect(page.get_by_role("option", name="rocket.jpg")).to_have_attribute("aria-selected", "true")


def test_with_several_models_each_can_be_looked_at(page: Page) -> None:
    image = start(page, "coffee.png")
    old = source(image)
    page.get_by_role("combobox", name="Models").click()
    page.get_by_role("option", name="u2net · balanced").click()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="u2net", exact=True).click()
    image = looked_at(page, old)
    of_the_second = source(image)
    page.get_by_role("tab", name="u2net", exact=True).press("ArrowLeft")
    expect(page.get_by_role("tab", name="u2netp")).to_have_attribute("aria-selected", "true")
    expect(image).not_to_have_attribute("src", of_the_second)


def test_models_take_the_same_room_whether_one_is_being_chosen_or_not(page: Page) -> None:
    # Else what is below moves away from under the pointer when the list of models is left by clicking on it.
    page.goto("/")
    box = page.get_by_role("combobox", name="Models")
    box.click()
    page.get_by_role("option", name="u2net · balanced").click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("u2net most photos")).to_be_visible()  # drawn with both, which moves all below it
    crop = page.get_by_role("radio", name="Subject")

    def drawn_at() -> object:
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return crop.bounding_box()

    for width in range(1080, 1500, 60):
        page.set_viewport_size({"width": width, "height": 1000})
        box.focus()
        chosen = drawn_at()
        box.blur()
        assert drawn_at() == chosen, width


def test_a_recipe_is_saved_used_again_and_sent_as_a_link(
    page: Page, server: Server, browser: Browser
) -> None:
    page.goto("/")
    page.get_by_role("radio", name="Gradient").click()
    write(page, "From", "tomato")
    write(page, "To", "#102030")
    page.get_by_role("button", name="Save").click()
    write(page, "Name", "Shop, dusk")  # and Enter, which saves it
    expect(page.get_by_role("button", name="Save recipe")).not_to_be_visible()
    recipe_is(page, "Shop, dusk")

    page.goto("about:blank")
    page.goto("/")
    expect(page.get_by_role("radio", name="Transparent")).to_be_checked()
    whole(page)
    pick(page, "Recipe", "Shop, dusk")
    expect(page.get_by_role("radio", name="Gradient")).to_be_checked()
    expect(page.get_by_role("textbox", name="From")).to_have_value("#ff6347")
    page.get_by_role("button", name="Share").click()
    link = page.locator("[data-testid=stCode]").first.inner_text().strip()
    assert link.startswith(f"{server.url}/?recipe=")

    elsewhere = browser.new_context()
    try:
        other = elsewhere.new_page()
        other.goto(link)
        expect(other.get_by_role("radio", name="Gradient")).to_be_checked(timeout=60_000)
        expect(other.get_by_role("textbox", name="To")).to_have_value("#102030")
        upload_here(other)
        process(other)
        finish(other)
        job_id = other.url.partition("job=")[2]
    finally:
        elsewhere.close()
    recipe = server.store.job(job_id).recipe
    assert recipe.background == Gradient(start="#ff6347", end="#102030")
    assert recipe.models == ("u2netp",)


def upload_here(page: Page) -> None:
    """Give a photo to the uploader without leaving the address."""
    page.locator("input[type=file]").set_input_files(
        FilePayload(name="one.jpg", mimeType="image/jpeg", buffer=encoded(picture(300, 200)))
    )
    expect(page.get_by_text("1 photo").first).to_be_visible()


def test_a_broken_link_says_so(page: Page) -> None:
    page.goto("/")
    page.evaluate("sessionStorage.setItem('photoproc-upload', 'f'.repeat(32))")  # of long ago
    page.goto("/?recipe=nonsense")
    said = page.get_by_text("This link holds no recipe.")
    expect(said).to_be_visible()
    expect(page).not_to_have_url(re.compile("recipe="))
    page.wait_for_timeout(2000)  # for the tab's word of what it remembers
    expect(said).to_be_visible()


def test_what_is_wrong_is_said_by_the_field_and_nothing_is_processed(page: Page) -> None:
    image = start(page, "coffee.png")
    page.get_by_role("radio", name="JPEG").click()
    expect(page.get_by_text("JPEG cannot be transparent: choose a background")).to_be_visible()
    expect(page.get_by_role("button", name="Process photos")).to_be_disabled()
    old = source(image)
    page.get_by_role("radio", name="Colour").click()
    looked_at(page, old)
    old = source(image)
    write(page, "Background colour", "no colour")
    expect(page.get_by_text("Background colour: write a CSS colour")).to_be_visible()
    expect(page.get_by_role("button", name="Process photos")).to_be_disabled()
    expect(page.get_by_role("button", name="Share")).to_be_disabled()  # there is no link to it
    assert source(image) == old  # what was last right stays
    write(page, "Background colour", "white")
    expect(page.get_by_text("Background colour: write a CSS colour")).to_have_count(0)
    expect(page.get_by_role("button", name="Process photos")).to_be_enabled()


def test_a_picture_becomes_the_background_and_no_other_file_does(page: Page) -> None:
    image = start(page, "astronaut.png")
    page.get_by_role("radio", name="Picture").click()
    field = page.locator("input[type=file]").nth(1)
    field.set_input_files(FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"hello"))
    expect(page.get_by_text(re.compile("notes.txt: .*text"))).to_be_visible()
    old = source(image)
    blue = encoded(Image.new("RGB", (400, 300), (0, 0, 255)), "PNG")
    field.set_input_files(FilePayload(name="sky.png", mimeType="image/png", buffer=blue))
    red, green, shade, alpha = corner(looked_at(page, old))
    assert (red < 10, green < 10, shade > 245, alpha) == (True, True, True, 255)
    expect(page.get_by_role("listbox", name="Background pictures").get_by_role("option")).to_have_count(1)


def test_the_job_has_the_recipe_that_was_chosen_by_keys_alone(page: Page, server: Server) -> None:
    start(page, "coffee.png")
    page.get_by_role("radio", name="Transparent").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_role("radio", name="Colour")).to_be_checked()
    page.get_by_role("radio", name="None").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_role("slider", name="Space around the subject")).to_be_visible()
    page.get_by_role("slider", name="Space around the subject").press("ArrowRight")
    expect(page.get_by_text("6%", exact=True)).to_be_visible()
    page.get_by_role("button", name="Process photos").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?job=*")
    finish(page)
    recipe = server.store.job(page.url.partition("job=")[2]).recipe
    assert recipe.background == Colour()
    assert recipe.framing == Subject(margin=0.06)


def test_every_face_has_its_cutout_in_the_viewer(page: Page) -> None:
    one = Image.open(io.BytesIO(sample("astronaut.png"))).convert("RGB")
    two = Image.new("RGB", (one.width * 2, one.height))
    two.paste(one, (0, 0))
    two.paste(one, (one.width, 0))
    upload(page, ("twins.png", encoded(two, "PNG")))
    page.get_by_role("radio", name="Face").click()
    pick(page, "Faces", "Each on its own")
    expect(page.get_by_text("One of 2 cutouts.")).to_be_visible(timeout=90_000)
    process(page)
    finish(page)
    expect(page.locator(".badge")).to_have_text("2 faces")
    page.locator("button.card").click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".face")).to_have_text("Face 1 of 2")
    expect(dialog.locator("img.after")).to_have_attribute("src", re.compile("/cutout"))
    page.keyboard.press("ArrowDown")
    expect(dialog.locator(".face")).to_have_text("Face 2 of 2")
    expect(dialog.locator("img.after")).to_have_attribute("src", re.compile("/cutout.*place=1"))
    expect(dialog.get_by_role("button", name="Next face")).to_be_disabled()
    with page.expect_download() as coming:
        dialog.locator(".files a").click()
    assert coming.value.suggested_filename == "twins-2.png"
