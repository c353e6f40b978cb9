"""In the dark, what the browser draws by itself is dark as well."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser


def brightest(control: Locator) -> float:
    """Of a control, from 0 to 255."""
    with Image.open(io.BytesIO(control.screenshot())) as seen:
        return float(np.asarray(seen.convert("L")).max())


def test_no_slider_is_a_white_bar(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto("/")
    page.get_by_role("button", name="Try with sample photos").click()
    before = page.get_by_role("slider", name="How much of the photo before to show")
    expect(before).to_be_visible()
    assert brightest(before) < 150
    page.get_by_role("button", name="Process photos").click()
    size = page.get_by_role("slider", name="Size of the pictures")
    expect(size).to_be_visible()
    assert brightest(size) < 150
    page.locator("button.card").first.click()
    assert brightest(page.locator("dialog .slide input")) < 150
