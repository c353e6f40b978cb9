"""What rembg's clients see: the same as of the real `rembg s`, which is started here and asked the same."""

import io
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from fastapi.testclient import TestClient
from PIL import Image, ImageOps
from pydantic import SecretStr

from photoproc.bootstrap import Runtime
from tests.api.conftest import Changed
from tests.api.listening import at_rest, listening
from tests.api.support import check_problem, jpeg
from tests.api.test_single import left
from tests.conftest import skip_or_fail
from tests.models.support import mean_error, soft_iou
from tests.pictures import encoded, exif_orientation, opened_sample
from tests.server import free_port
from tests.waiting import until

_WANTED = Path(__file__).with_name("rembg-server.txt")


@pytest.fixture(scope="module")
def rembg_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what rembg's server needs beside our environment."""
    folder = tmp_path_factory.mktemp("rembg-server")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--target", folder, "-r", _WANTED], capture_output=True, text=True)
    if done.returncode:
        skip_or_fail(f"what rembg's server needs cannot be installed: {done.stderr[-300:]}")
    return folder


@pytest.fixture(scope="module")
def rembg_server(
    rembg_packages: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the real `rembg s` over the same weights."""
    port, log = free_port(), tmp_path_factory.mktemp("rembg") / "log"
    env = os.environ | {
        "PYTHONPATH": str(rembg_packages),
        "U2NET_HOME": str(model_dir),
        "NUMBA_DISABLE_JIT": "1",  # or its import compiles alpha matting for a minute
        "BROWSER": "true",  # it opens one
    }
    rembg = Path(sys.executable).with_name("rembg")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [rembg, "s", "--no-ui", "--host", "127.0.0.1", "--port", str(port)],
            env=env,
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{url}/openapi.json", timeout=5):
            return True
        return False

    try:
        until(answers, within_s=180)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def our_server(running: Runtime) -> Iterator[str]:
    with listening(running.service) as url:
        yield url.removesuffix("/api")


def asked(url: str, photo: bytes, form: Mapping[str, str], query: Mapping[str, str]) -> Image.Image:
    """The picture that a server answers."""
    files = {"file": ("photo.jpg", photo, "image/jpeg")}
    answer = requests.post(f"{url}/api/remove", files=files, data=form, params=query, timeout=120)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    picture = Image.open(io.BytesIO(answer.content))
    picture.load()
    return picture


ASTRONAUT = encoded(opened_sample("astronaut.png"), quality=92)
TURNED = encoded(opened_sample("cat.png"), quality=92, exif=exif_orientation(6))


@pytest.mark.models
@pytest.mark.parametrize("photo", [ASTRONAUT, TURNED], ids=["astronaut", "turned cat"])
@pytest.mark.parametrize(
    ("form", "query"),
    [
        ({"model": "u2netp"}, {}),
        ({"model": "u2net"}, {}),
        ({"model": "u2netp", "om": "true"}, {}),
        ({"model": "u2netp", "ppm": "true"}, {}),
        ({"model": "u2netp", "om": "true", "ppm": "true"}, {}),
        ({"model": "u2netp"}, {"bgc": "255,200,0,255"}),
        ({"model": "u2netp"}, {"bgc": "0,0,255,100"}),
        ({"model": "u2netp", "af": "250", "ab": "5", "ae": "3"}, {}),
    ],
    ids=lambda fields: ",".join(f"{name}={value}" for name, value in fields.items()) or "-",
)
def test_the_answers_are_those_of_the_real_server(
    rembg_server: str, our_server: str, photo: bytes, form: dict[str, str], query: dict[str, str]
) -> None:
    theirs, ours = (asked(url, photo, form, query) for url in (rembg_server, our_server))
    assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
    their_alpha, our_alpha = (
        np.asarray(one if one.mode == "L" else one.getchannel("A")) for one in (theirs, ours)
    )
    assert soft_iou(our_alpha, their_alpha) >= 0.995
    assert mean_error(our_alpha, their_alpha) <= 1
    if "bgc" in query:
        mask = asked(rembg_server, photo, {**form, "om": "true"}, {})
        their_rgb, our_rgb, clean_rgb = (
            np.asarray(one.convert("RGB")) for one in (theirs, ours, clean(photo, mask, query["bgc"]))
        )
        # rembg darkens soft edges (it weighs their colour by the mask twice), so they are compared with
        # its mask put to use once, and the rest with its answer.
        assert mean_error(our_rgb, clean_rgb) <= 1
        alpha = np.asarray(mask)
        firm = (alpha == 0) | (alpha == 255)
        assert np.abs(their_rgb[firm].astype(int) - our_rgb[firm]).max() <= 1


@pytest.mark.models
def test_alpha_matting_is_that_of_the_real_server(rembg_server: str, our_server: str) -> None:
    # Small, because the real one runs here without its compiled loops.
    photo = encoded(opened_sample("astronaut.png").resize((96, 96)), "PNG")
    form = {"model": "u2netp", "a": "true", "ae": "3"}
    theirs, ours = (asked(url, photo, form, {}) for url in (rembg_server, our_server))
    plain = asked(our_server, photo, {"model": "u2netp"}, {})
    their_alpha, our_alpha, mask = (np.asarray(one.getchannel("A")) for one in (theirs, ours, plain))
    assert soft_iou(our_alpha, their_alpha) >= 0.99
    assert mean_error(our_alpha, their_alpha) <= 1
    assert mean_error(our_alpha, their_alpha) < mean_error(mask, their_alpha) / 4


def clean(photo: bytes, mask: Image.Image, colour: str) -> Image.Image:
    """A photo on a colour, by a mask."""
    with Image.open(io.BytesIO(photo)) as image:
        subject = ImageOps.exif_transpose(image).convert("RGB")
    subject.putalpha(mask)
    red, green, blue, alpha = map(int, colour.split(","))
    return Image.alpha_composite(Image.new("RGBA", subject.size, (red, green, blue, alpha)), subject)


@pytest.mark.models
def test_matting_and_decontamination_change_the_soft_edge_alone(our_server: str) -> None:
    photo = encoded(opened_sample("astronaut.png").resize((256, 256)), "PNG")
    model = {"model": "u2netp"}
    plain = np.asarray(asked(our_server, photo, model, {}))
    clean = np.asarray(asked(our_server, photo, {**model, "dc": "true"}, {}))
    matted = np.asarray(asked(our_server, photo, {**model, "a": "true", "ae": "4"}, {}))
    soft = (plain[..., 3] > 0) & (plain[..., 3] < 255)
    assert np.array_equal(clean[..., 3], plain[..., 3])
    assert np.array_equal(clean[~soft], plain[~soft])
    assert (clean[soft] != plain[soft]).any()
    assert not np.array_equal(matted[..., 3], plain[..., 3])
    assert soft_iou(matted[..., 3], plain[..., 3]) > 0.9
    mask = np.asarray(asked(our_server, photo, {**model, "a": "true", "om": "true"}, {}))
    assert np.array_equal(mask, np.asarray(asked(our_server, photo, {**model, "om": "true"}, {})))


def removed(client: TestClient, query: Mapping[str, str] | None = None, **form: str) -> Any:
    return client.post("/remove", files={"file": ("a.jpg", jpeg())}, data=form, params=query)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"a": "perhaps"}, "a"),
        ({"dc": "2"}, "dc"),
        ({"vm": "true"}, "vm"),
        ({"ab": "-1"}, "ab"),
        ({"ae": "201"}, "ae"),
        ({"extras": '{"sam_prompt": []}'}, "extras"),
        ({"model": "sam"}, "model"),
        ({"af": "300"}, "af"),
        ({"bgc": "red"}, "bgc"),
        ({"bgc": "1,2,3,256"}, "bgc"),
        ({"om": "perhaps"}, "om"),
        ({"colour": "red"}, "colour"),
    ],
)
@pytest.mark.parametrize("place", ["form", "query"])
def test_what_cannot_be_done_is_refused_by_its_name(
    client: TestClient, running: Runtime, fields: dict[str, str], named: str, place: str
) -> None:
    at_rest(running.service)
    before = left(running)
    answer = removed(client, None, **fields) if place == "form" else removed(client, fields)
    body = check_problem(answer, 422, "invalid_request")
    assert [one["field"] for one in body["errors"]] == [named]
    assert left(running) == before


def test_fields_that_ask_for_nothing_are_taken(client: TestClient, running: Runtime) -> None:
    at_rest(running.service)
    before, jobs = left(running), running.service.job_count()
    answer = removed(client, a="false", om="0", extras="{}", bgc="")
    assert answer.status_code == 200
    assert (left(running), running.service.job_count()) == (before, jobs)


def test_a_field_is_given_once(client: TestClient) -> None:
    body = check_problem(removed(client, {"om": "true"}, om="false"), 422, "invalid_request")
    assert body["errors"][0]["field"] == "om"


def test_there_is_one_photo_called_file(client: TestClient) -> None:
    other = client.post("/remove", files={"image": ("a.jpg", jpeg())})
    assert check_problem(other, 422, "invalid_request")["errors"][0]["field"] == "image"
    check_problem(
        client.post("/remove", files={"file": ("a.txt", b"no picture at all")}), 400, "not_a_picture"
    )
    check_problem(
        client.post("/remove", data={"file": "text"}, files={"": ("", b"")}), 422, "invalid_request"
    )
    check_problem(client.post("/remove", content=jpeg()), 415, "not_a_form")


def test_addresses_are_not_fetched(client: TestClient) -> None:
    answer = client.get("/remove", params={"url": "http://example.com/a.jpg", "model": "u2netp"})
    assert "url" in check_problem(answer, 400, "url_not_fetched")["title"]


def test_a_server_with_keys_wants_one(client: TestClient, change: Changed) -> None:
    change(api_keys=SecretStr("shop:0123456789abcdef"))
    check_problem(removed(client), 401, "key_missing")
    check_problem(client.get("/remove", params={"url": "http://example.com"}), 401, "key_missing")
    answer = client.post(
        "/remove", files={"file": ("a.jpg", jpeg())}, headers={"X-Api-Key": "0123456789abcdef"}
    )
    assert answer.status_code == 200
