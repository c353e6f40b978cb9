"""The README's examples, as they stand there: curl, Python, HTML and React against a real server."""

import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from tests.clients.conftest import REACT, Open
from tests.pictures import encoded, opened_sample
from tests.server import ROOT, Server

pytestmark = pytest.mark.browser

WEB = ROOT / "photoproc" / "web"


def example(language: str, sign: str) -> str:
    """The one example in a language that has these words."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (found,) = [block for block in blocks if sign in block]
    return str(found)


def here(text: str, server: Server) -> str:
    """An example with the address of the test's server."""
    assert "http://localhost:8501" in text
    return text.replace("http://localhost:8501", server.url)


def mode_of(picture: bytes) -> str:
    """The colours a picture has."""
    with Image.open(io.BytesIO(picture)) as image:
        return image.mode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files the examples speak of."""
    photo = encoded(opened_sample("astronaut.png"))
    (tmp_path / "photo.jpg").write_bytes(photo)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        packed.writestr("trip/1.jpg", photo)
    return tmp_path


def test_the_tour_with_curl(server: Server, folder: Path) -> None:
    tour = here(example("sh", "# one photo"), server)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", tour], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    for name in ("cutout.png", "first.png"):
        assert mode_of((folder / name).read_bytes()) == "RGBA"
    with zipfile.ZipFile(folder / "cutouts.zip") as packed:
        assert {"photo.png", "trip/1.png", "manifest.json"} <= set(packed.namelist())


def test_the_example_in_python(server: Server, folder: Path) -> None:
    script = here(example("python", "websockets"), server)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("done")
    with zipfile.ZipFile(folder / "cutouts.zip") as packed:
        assert mode_of(packed.read("photo.png")) == "RGB"


def test_the_element_in_a_page(server: Server, open_page: Open) -> None:
    page = open_page(f"{server.url}/api/v1/health")
    html = here(example("html", "<photo-processor"), server)
    page.route(f"{server.url}/mine.html", lambda route: route.fulfill(content_type="text/html", body=html))
    page.goto(f"{server.url}/mine.html")
    expect(page.locator("photo-processor").get_by_role("button", name="Choose photos")).to_be_visible()


def test_the_component_in_react(server: Server, open_page: Open, react_build: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in (WEB / "photo-processor.js", WEB / "PhotoProcessor.jsx", REACT / "index.html"):
        shutil.copy(file, mine)
    (mine / "Cutouts.jsx").write_text(here(example("jsx", "<PhotoProcessor"), server))
    (mine / "main.jsx").write_text(
        'import { createRoot } from "react-dom/client";\nimport { Cutouts } from "./Cutouts.jsx";\n'
        'createRoot(document.getElementById("app")).render(<Cutouts />);\n'
    )
    (mine / "node_modules").symlink_to(REACT / "node_modules")
    vite = [str(REACT / "node_modules" / ".bin" / "vite"), "build", "--base", "/mine/"]
    built = subprocess.run(vite, cwd=mine, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr

    def serve(route: Route) -> None:
        route.fulfill(path=mine / "dist" / route.request.url.split("/mine/")[1])

    page = open_page(f"{server.url}/api/v1/health")
    page.route(f"{server.url}/mine/**", serve)
    page.goto(f"{server.url}/mine/index.html")
    expect(page.locator("photo-processor").get_by_role("button", name="Choose photos")).to_be_visible()
