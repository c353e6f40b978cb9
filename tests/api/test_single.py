"""One photo in, the finished picture out."""

import io
from pathlib import Path

import pytest
from PIL import Image

from photoproc.bootstrap import Runtime
from tests.api.conftest import Changed
from tests.api.support import Api, check_problem, jpeg
from tests.pictures import sample
from tests.waiting import until


def left(running: Runtime) -> set[Path]:
    """Every picture file there is."""
    data = running.settings.data_dir
    kinds = ("photos", "jobs", "staging", "masks", "tmp")
    return {path for kind in kinds for path in (data / kind).rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["body", "form"])
def test_a_photo_is_answered_with_its_cutout_and_forgotten(api: Api, running: Runtime, way: str) -> None:
    before, jobs = left(running), running.service.job_count()
    photo = sample("astronaut.png")
    if way == "body":
        answer = api.client.post("/v1/remove", content=photo, headers={"Content-Type": "image/png"})
    else:
        answer = api.client.post("/v1/remove", files={"file": ("a.png", photo)})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    cutout = Image.open(io.BytesIO(answer.content))
    assert (cutout.mode, cutout.size) == ("RGBA", (512, 512))
    assert cutout.getchannel("A").getextrema() == (0, 255)
    assert left(running) == before
    assert running.service.job_count() == jobs


def test_the_recipe_is_in_the_query(api: Api) -> None:
    query = {"background": "colour", "colour": "#ff0000", "crop": "face", "model": "u2netp"}
    answer = api.client.post("/v1/remove", params=query, content=sample("astronaut.png"))
    cutout = Image.open(io.BytesIO(answer.content))
    assert cutout.mode == "RGB"
    assert cutout.size[0] == cutout.size[1] < 512
    assert cutout.getpixel((0, 0)) == (255, 0, 0)


def test_a_colour_alone_is_the_backgrounds(api: Api) -> None:
    answer = api.client.post("/v1/remove", params={"colour": "#00ff00"}, content=sample("astronaut.png"))
    assert Image.open(io.BytesIO(answer.content)).getpixel((500, 5)) == (0, 255, 0)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"backgroud": "keep"}, 422, "invalid_request"),
        ({"background": "transparent", "colour": "#ffffff"}, 422, "invalid_recipe"),
        ({"model": "u3net"}, 422, "model_unknown"),
        ({"background": "plaid"}, 422, "invalid_request"),
        ({"background": "colour", "colour": "red-ish"}, 422, "invalid_recipe"),
        ({"crop": "face", "no_face": "skip", "background": "keep"}, 400, "no_face"),
    ],
)
def test_what_cannot_be_done_is_said(
    api: Api, running: Runtime, query: dict[str, str], status: int, code: str
) -> None:
    before = left(running)
    check_problem(api.client.post("/v1/remove", params=query, content=jpeg()), status, code)
    assert left(running) == before


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "empty_file"), (b"hello there, no picture", "not_a_picture"), (jpeg()[:-200], "photo_truncated")],
)
def test_a_photo_that_cannot_be_used_is_refused(api: Api, body: bytes, code: str) -> None:
    check_problem(api.client.post("/v1/remove", content=body), 400, code)


def test_one_photo_is_one_photo(api: Api) -> None:
    two = [("file", ("a.jpg", jpeg())), ("file", ("b.jpg", jpeg(1)))]
    check_problem(api.client.post("/v1/remove", files=two), 400, "one_photo")


def test_where_it_takes_too_long_the_job_goes_on(api: Api, change: Changed) -> None:
    change(remove_timeout_s=0.01)
    problem = check_problem(
        api.client.post("/v1/remove", content=sample("astronaut.png")), 504, "still_running"
    )
    assert problem["links"]["self"].endswith(problem["job"])
    until(lambda: api.job(problem["job"])["state"] == "done")
