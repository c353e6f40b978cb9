"""What remove.bg's clients see; one that is published and was written elsewhere is among them."""

import base64
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import remove_bg_api  # type: ignore[import-untyped]
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from pydantic import SecretStr

from photoproc.api import forms
from photoproc.bootstrap import Runtime
from tests.api.conftest import Changed
from tests.api.listening import at_rest, listening
from tests.api.support import local
from tests.api.test_single import left
from tests.pictures import encoded, opened_sample, picture

ASTRONAUT = encoded(opened_sample("astronaut.png"), quality=92)
NOTHING = encoded(Image.new("RGB", (64, 64), (90, 90, 90)))
KEY = "0123456789abcdef"


@pytest.fixture
def nothing_left(running: Runtime) -> Iterator[None]:
    """However it ends, no picture and no job of it stays."""
    at_rest(running.service)
    before, jobs = left(running), running.service.job_count()
    yield
    at_rest(running.service)
    assert (left(running), running.service.job_count()) == (before, jobs)


pytestmark = pytest.mark.usefixtures("nothing_left")


def removed(client: TestClient, photo: bytes = ASTRONAUT, **fields: str) -> Response:
    return client.post("/v1.0/removebg", files={"image_file": ("a.jpg", photo)}, data=fields)


def opened(answer: Response) -> Image.Image:
    """The picture of an answer, whose headers say how large it is."""
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    assert (answer.headers["X-Width"], answer.headers["X-Height"]) == (str(image.width), str(image.height))
    assert answer.headers["X-Credits-Charged"] == "0"
    return image


def check_refused(answer: Response, status: int, code: str, named: str = "") -> dict[str, Any]:
    """The answer is one of remove.bg's errors."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json()["errors"]
    assert error["code"] == code
    assert named in error["title"]
    found: dict[str, Any] = error
    return found


@pytest.fixture
def published(
    running: Runtime, change: Changed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[remove_bg_api.RemoveBg]]:
    """The client from the package index, with nothing changed but its base URL."""
    change(api_keys=SecretStr(f"shop:{KEY}"))
    with listening(running.service) as url:
        monkeypatch.setattr(remove_bg_api, "API_URL", f"{url}/v1.0")
        yield remove_bg_api.RemoveBg


# It leaves the photo's file for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_published_client_cuts_out_a_file(published: type[Any], tmp_path: Path) -> None:
    photo, out = tmp_path / "a.jpg", tmp_path / "out.png"
    photo.write_bytes(ASTRONAUT)
    client = published(KEY)
    assert client.remove_bg_file(str(photo), str(out), size="full", raw=False) == str(out)
    with Image.open(out) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (512, 512))
        assert image.getchannel("A").getextrema() == (0, 255)
    assert client.account.balance() == 0
    assert client.account.free_api_calls() == 0


def test_a_published_client_sends_base64_and_options(published: type[Any]) -> None:
    options = {
        "image_file_b64": "",
        "size": "full",
        "format": "jpg",
        "bg_color": "ff0000",
        "crop": "true",
        "crop_margin": "10px",
    }
    data = published(KEY).remove_bg_base64(base64.b64encode(ASTRONAUT).decode(), data=options)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    red, green, blue = image.getpixel((3, 3))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15


def test_a_published_client_understands_the_errors(published: type[Any]) -> None:
    errors = remove_bg_api.Errors
    with pytest.raises(errors.ApiErrorCode403):
        published("another key of some length")
    client = published(KEY)
    with pytest.raises(errors.ApiErrorCode400):
        client.remove_bg_url("http://example.com/a.jpg")
    with pytest.raises(errors.ApiErrorCode400):
        client.remove_bg_bytes(b"no picture at all, only text")


def test_a_published_client_understands_that_it_asks_too_often(published: type[Any], change: Changed) -> None:
    client = published(KEY)
    change(api_keys=SecretStr(f"shop:{KEY}"), max_queued_tasks_per_key=0)
    with pytest.raises(remove_bg_api.Errors.ApiErrorCode429):
        client.remove_bg_bytes(ASTRONAUT)


@pytest.mark.parametrize("way", ["text of a form", "urlencoded", "json"])
def test_the_picture_may_come_as_base64(client: TestClient, way: str) -> None:
    fields = {"image_file_b64": base64.b64encode(ASTRONAUT).decode(), "size": "full", "crop": "false"}
    if way == "text of a form":
        answer = client.post("/v1.0/removebg", files={name: (None, text) for name, text in fields.items()})
    elif way == "urlencoded":
        answer = client.post("/v1.0/removebg", data=fields)
    else:
        answer = client.post("/v1.0/removebg", json={**fields, "crop": False, "roi": None})
    assert opened(answer).size == (512, 512)


def test_the_answer_may_be_json(client: TestClient) -> None:
    files = {"image_file": ("a.jpg", ASTRONAUT)}
    answer = client.post("/v1.0/removebg", files=files, headers={"Accept": "application/json"})
    data = base64.b64decode(answer.json()["data"]["result_b64"])
    assert Image.open(io.BytesIO(data)).size == (500, 500)
    assert answer.headers["X-Width"] == "500"


def test_a_preview_has_a_quarter_of_a_megapixel_unless_more_is_wanted(client: TestClient) -> None:
    large = encoded(opened_sample("astronaut.png").resize((1500, 1200)))
    assert opened(removed(client, large)).size == (559, 447)
    assert opened(removed(client, large, size="medium")).size == (1369, 1095)
    assert opened(removed(client, large, size="auto")).size == (1500, 1200)
    assert opened(removed(client, encoded(opened_sample("astronaut.png").resize((80, 80))))).size == (80, 80)


def test_formats(client: TestClient) -> None:
    assert removed(client).headers["content-type"] == "image/png"
    jpg = opened(removed(client, format="jpg"))
    assert (jpg.format, jpg.getpixel((0, 0))) == ("JPEG", (255, 255, 255))
    on_colour = removed(client, bg_color="gold")
    assert on_colour.headers["content-type"] == "image/jpeg"
    seen = np.asarray(opened(on_colour))[0, 0].astype(int)
    assert np.abs(seen - (255, 215, 0)).max() <= 4
    through = opened(removed(client, bg_color="00ff0080"))
    assert (through.mode, through.getchannel("A").getextrema()[0]) == ("RGBA", 128)


def test_a_zip_has_the_colours_and_the_alpha(client: TestClient) -> None:
    answer = removed(client, format="zip", size="full")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.namelist() == ["color.jpg", "alpha.png"]
        colour, alpha = (Image.open(io.BytesIO(packed.read(name))) for name in packed.namelist())
    assert (colour.format, colour.mode, alpha.mode) == ("JPEG", "RGB", "L")
    assert colour.size == alpha.size == (512, 512)
    difference = np.asarray(colour).astype(int) - np.asarray(opened_sample("astronaut.png"))
    assert np.abs(difference).mean() < 4  # the photo's own, also where nothing is left


def test_the_alpha_alone(client: TestClient) -> None:
    alpha = opened(removed(client, channels="alpha", size="full"))
    cutout = opened(removed(client, size="full"))
    assert (alpha.mode, alpha.format) == ("L", "PNG")
    assert np.array_equal(np.asarray(alpha), np.asarray(cutout.getchannel("A")))


def test_cropping_leaves_the_subject_and_its_margin(client: TestClient) -> None:
    tight = opened(removed(client, size="full", crop="true"))
    seen = np.asarray(tight.getchannel("A")) > 12
    assert seen[0].any()
    assert seen[-1].any()
    assert seen[:, 0].any()
    assert seen[:, -1].any()
    wide = opened(removed(client, size="full", crop="true", crop_margin="10px 20px 30px 40px"))
    assert wide.size == (tight.width + 60, tight.height + 40)
    assert np.array_equal(np.asarray(wide)[10:-30, 40:-20], np.asarray(tight))
    half = opened(removed(client, size="full", crop="true", crop_margin="50%"))
    assert half.size == pytest.approx((2 * tight.width, 2 * tight.height), abs=1)


def test_nothing_outside_of_the_region_is_kept(client: TestClient) -> None:
    whole = np.asarray(opened(removed(client, size="full")).getchannel("A"))
    part = np.asarray(opened(removed(client, size="full", roi="25% 0px 256px 100%")).getchannel("A"))
    assert np.array_equal(part[:, 128:256], whole[:, 128:256])
    assert part[:, :128].max() == part[:, 256:].max() == 0


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("size", "huge", "invalid_size"),
        ("format", "webp", "invalid_format"),
        ("type", "cloud", "invalid_type"),
        ("channels", "rgb", "invalid_channels"),
        ("bg_color", "greenish", "invalid_bg_color"),
        ("bg_color", "#12345", "invalid_bg_color"),
        ("bg_image_url", "http://example.com/a.jpg", "invalid_bg_image_url"),
        ("crop", "maybe", "invalid_crop"),
        ("crop_margin", "60%", "invalid_crop_margin"),
        ("crop_margin", "1px 2px 3px", "invalid_crop_margin"),
        ("roi", "0 0 10 10", "invalid_roi"),
        ("roi", "0px 0px 513px 10px", "roi_exceeds_bounds"),
        ("roi", "50% 0% 50% 100%", "roi_region_empty"),
        ("scale", "50%", "invalid_scale"),
        ("position", "center", "invalid_position"),
        ("add_shadow", "true", "invalid_add_shadow"),
        ("shadow_type", "drop", "unknown_parameter"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(
    client: TestClient, field: str, value: str, code: str
) -> None:
    check_refused(removed(client, ASTRONAUT, **{field: value}), 400, code, field)


def test_every_wrong_option_is_named_at_once(client: TestClient) -> None:
    errors = removed(client, size="huge", format="webp").json()["errors"]
    assert [one["code"] for one in errors] == ["invalid_size", "invalid_format"]


def test_what_is_given_and_changes_nothing_is_said(client: TestClient) -> None:
    plain = removed(
        client, type="auto", semitransparency="true", scale="original", add_shadow="false", roi=""
    )
    assert "X-Not-Applied" not in plain.headers
    hinted = removed(client, type="person", semitransparency="false", crop_margin="10px")
    assert hinted.headers["X-Not-Applied"] == "type, semitransparency, crop_margin"
    assert hinted.headers["X-Type"] == "other"
    assert "X-Type" not in removed(client, type_level="none").headers


def test_there_is_one_picture(client: TestClient) -> None:
    address, encoded_photo = "http://example.com/a.jpg", base64.b64encode(ASTRONAUT).decode()
    check_refused(client.post("/v1.0/removebg", data={"size": "auto"}), 400, "missing_source")
    check_refused(client.post("/v1.0/removebg", json={}), 400, "missing_source")
    check_refused(client.post("/v1.0/removebg", data={"image_url": address}), 400, "invalid_image_url")
    check_refused(removed(client, image_url=address), 400, "multiple_sources")
    check_refused(removed(client, image_file_b64=encoded_photo), 400, "multiple_sources")
    files = {"image_file": ("a.jpg", ASTRONAUT), "bg_image_file": ("b.jpg", ASTRONAUT)}
    check_refused(client.post("/v1.0/removebg", files=files), 400, "invalid_bg_image_file")
    check_refused(
        client.post("/v1.0/removebg", files={"file": ("a.jpg", ASTRONAUT)}), 400, "unknown_parameter"
    )


def test_a_picture_that_cannot_be_used_is_refused(client: TestClient, change: Changed) -> None:
    check_refused(removed(client, b"no picture, only text"), 400, "invalid_file_type")
    check_refused(removed(client, ASTRONAUT[:2000]), 400, "failed_to_read_image")
    check_refused(removed(client, NOTHING), 400, "unknown_foreground")
    check_refused(removed(client, roi="0px 0px 2px 2px"), 400, "unknown_foreground")
    check_refused(client.post("/v1.0/removebg", json=[1]), 400, "form_broken")
    check_refused(client.post("/v1.0/removebg", json={"image_file_b64": "*!*"}), 400, "form_broken")
    deep = client.post("/v1.0/removebg", content=b"[" * 100_000, headers={"Content-Type": "application/json"})
    check_refused(deep, 400, "form_broken")
    for text in ("*!*", "abc", "YWJj" * 100_000 + "x"):
        answer = client.post("/v1.0/removebg", files={"image_file_b64": (None, text)})
        check_refused(answer, 400, "form_broken")
    change(max_request_mb=0)
    check_refused(removed(client), 400, "file_too_large")


def test_base64_outside_of_multipart_has_a_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_MAX_ENCODED_BYTES", 50_000)
    photo = base64.b64encode(ASTRONAUT).decode()
    check_refused(client.post("/v1.0/removebg", json={"image_file_b64": photo}), 400, "file_too_large")
    files = {"image_file_b64": (None, photo)}
    assert client.post("/v1.0/removebg", files=files).status_code == 200


def test_who_is_not_let_in_reads_so_in_its_own_words(
    running: Runtime, client: TestClient, change: Changed
) -> None:
    check_refused(removed(local(client.app, "192.0.2.1")), 403, "auth_failed")  # type: ignore[arg-type]
    change(api_keys=SecretStr(f"shop:{KEY}"))
    check_refused(removed(client), 403, "auth_failed")
    check_refused(client.get("/v1.0/account", headers={"X-Api-Key": "x" * 16}), 403, "auth_failed")
    change(api_keys=SecretStr(f"shop:{KEY}"), rate_limit="1/minute")
    answers = [client.get("/v1.0/account", headers={"X-Api-Key": KEY}) for _ in range(2)]
    check_refused(answers[1], 429, "rate_limit_exceeded")
    assert int(answers[1].headers["Retry-After"]) > 0


def test_what_takes_too_long_is_answered_with_its_job(
    running: Runtime, client: TestClient, change: Changed
) -> None:
    change(remove_timeout_s=0.0)
    answer = removed(client, encoded(picture(seed=77)))
    check_refused(answer, 504, "still_running")
    running.service.delete(answer.json()["job"])
