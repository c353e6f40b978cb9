"""One photo in, the finished picture out."""

import hashlib
import io
import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from photoproc.bootstrap import Runtime
from tests.api.conftest import Changed
from tests.api.support import Api, check_problem, jpeg
from tests.pictures import encoded, opened_sample, sample
from tests.waiting import until

SUBJECT = encoded(opened_sample("astronaut.png").resize((96, 96)))


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
    more = left(running) - before  # of jobs that other tests left to be done
    assert not [path for path in more if hashlib.sha256(photo).hexdigest() in str(path)]
    folders = {path.parents[1].name for path in before if path.parents[2].name == "jobs"}
    assert {path.parents[1].name for path in more if path.parents[2].name == "jobs"} <= folders
    assert running.service.job_count() == jobs


def test_the_recipe_is_in_the_query(api: Api) -> None:
    query = {"background": "colour", "colour": "#ff0000", "crop": "face", "aspect": "1:1", "model": "u2netp"}
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
        ({"crop": "face", "no_face": "fail", "background": "keep"}, 400, "no_face_failed"),
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


@pytest.mark.parametrize(
    ("fields", "query", "said"),
    [
        ({"modell": "u2netp"}, {}, "modell: there is no such field."),
        ({"model": "u3net"}, {}, "u3net"),
        ({"width": "99999"}, {}, "width: it may be at most 12,000."),
        ({"format": "gif"}, {"model": "u2netp"}, "format: there is only 'png'"),
        ({"width": "x", "modell": "u2netp"}, {}, "; modell: there is no such field."),
        ({"colour": "reddish"}, {"model": "u2netp"}, "background.colour: "),
    ],
)
def test_fields_of_a_form_are_read_or_refused_by_their_names(
    api: Api, running: Runtime, fields: dict[str, str], query: dict[str, str], said: str
) -> None:
    before = left(running)
    answer = api.client.post("/v1/remove", params=query, files={"file": jpeg()}, data=fields)
    assert said in answer.json()["title"]
    assert answer.status_code == 422
    assert left(running) == before


@pytest.mark.models
def test_fields_of_a_form_and_of_the_address_are_one_recipe(api: Api) -> None:
    fields = {"format": "webp", "colour": "rgb(0 128 255)", "width": "64"}
    answer = api.client.post(
        "/v1/remove", params={"aspect": "1:1"}, files={"file": sample("coffee.png")}, data=fields
    )
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (64, 64)
        assert image.mode == "RGB"
        red, green, blue = image.convert("RGB").getpixel((1, 1))  # type: ignore[misc]
        assert (red < 12, abs(green - 128) < 12, blue > 243) == (True, True, True)
    named = api.client.post("/v1/remove?recipe=Product shot", content=sample("coffee.png"))
    assert (named.status_code, named.headers["content-type"]) == (200, "image/jpeg")


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"margin": "0.2"}, {"crop": "subject"}),
        ({"quality": "80"}, {"format": "webp"}),
        ({"format": "jpeg"}, {"colour": "red"}),
        ({"margin": "0.20", "crop": "subject"}, {"margin": "0.2"}),
        ({"background": "keep"}, {"background": "keep"}),
    ],
)
def test_the_address_is_judged_with_the_form(api: Api, query: dict[str, str], fields: dict[str, str]) -> None:
    answer = api.client.post("/v1/remove", params=query, files={"file": SUBJECT}, data=fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("query", "fields", "field"),
    [
        ({"format": "png"}, {"format": "webp"}, "format"),
        ({"margin": "0.2", "crop": "subject"}, {"margin": "0.3"}, "margin"),
        ({"recipe": "Passport"}, {"recipe": "Product shot"}, "recipe"),
        ({"recipe": "Product shot"}, {"model": "u2netp"}, "model"),
        ({"model": "u2netp"}, {"recipe": "Product shot"}, "model"),
    ],
)
def test_an_address_and_a_form_that_differ_are_refused_by_the_field(
    api: Api, running: Runtime, query: dict[str, str], fields: dict[str, str], field: str
) -> None:
    before = left(running)
    answer = api.client.post("/v1/remove", params=query, files={"file": jpeg()}, data=fields)
    problem = check_problem(answer, 422, "recipe_twice")
    assert problem["title"].startswith(f"{field}: ")
    assert left(running) == before


def test_without_a_form_a_recipe_is_refused_before_the_photo_comes(api: Api, running: Runtime) -> None:
    answer = api.client.post("/v1/remove", params={"margin": "0.2"}, content=b"no photo")
    assert check_problem(answer, 422, "invalid_recipe")["title"].startswith("margin: ")


def test_a_file_by_another_name_is_refused(api: Api, running: Runtime) -> None:
    before = left(running)
    answer = api.client.post("/v1/remove", files={"photo": jpeg()})
    problem = check_problem(answer, 422, "invalid_request")
    assert [one["field"] for one in problem["errors"]] == ["photo"]
    assert left(running) == before


def test_where_it_takes_too_long_the_job_goes_on(api: Api, change: Changed) -> None:
    change(remove_timeout_s=0.01)
    problem = check_problem(
        api.client.post("/v1/remove", content=sample("astronaut.png")), 504, "still_running"
    )
    assert problem["links"]["self"].endswith(problem["job"])
    until(lambda: api.job(problem["job"])["state"] == "done")


def test_a_model_that_cannot_be_had_is_said_at_once(api: Api, running: Runtime, change: Changed) -> None:
    change(remove_timeout_s=600)
    before = left(running)
    for _ in range(2):  # when it turns out, and when it is known
        answer = api.client.post("/v1/remove", content=jpeg(), params={"model": "silueta"})
        problem = check_problem(answer, 503, "weights_unreachable")
        assert "silueta could not be downloaded" in problem["title"]
        assert "silueta.onnx" in problem["detail"]
    assert left(running) == before


KEEP = {"background": {"kind": "keep"}}


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ({"aspect": "wide"}, "invalid_recipe", "size.aspect: "),
        ({"aspect": "1:1", "width": "10", "height": "10"}, "invalid_recipe", "size: "),
        ({"width": "10", "height": "300"}, "invalid_recipe", "size: "),
        ({"colour": "reddish"}, "invalid_recipe", "background.colour: "),
        ({"background": "keep", "colour": "red"}, "invalid_recipe", "background.colour: "),
        ({"format": "jpeg"}, "invalid_recipe", "output: JPEG cannot be transparent"),
        ({"margin": "0.1"}, "invalid_recipe", "margin: "),
        ({"crop": "face", "margin": "0.1"}, "invalid_recipe", "margin: "),
        ({"crop": "subject", "preset": "passport"}, "invalid_recipe", "preset: "),
        ({"no_face": "skip"}, "invalid_recipe", "no_face: "),
        ({"recipe": json.dumps(KEEP), "quality": "80"}, "recipe_twice", "quality: "),
        ({"recipe": json.dumps(KEEP), "model": "u2netp", "crop": "none"}, "recipe_twice", "crop: "),
        ({"recipe": "Passport"}, "invalid_recipe", "output.sheet: "),
        ({"recipe": "Nobody’s"}, "invalid_recipe", "recipe: "),
        ({"recipe": '{"models": ["u2netp"], "crop": "face"}'}, "invalid_recipe", "crop: "),
        ({"recipe": '{"models": ["u2netp", "u2net"]}'}, "invalid_recipe", "models: "),
        (
            {
                "recipe": json.dumps(
                    {"models": ["u2netp"], "background": {"kind": "picture", "picture": "0" * 64}}
                )
            },
            "background_missing",
            "background.picture: ",
        ),
    ],
)
def test_what_is_refused_names_its_field(
    api: Api, running: Runtime, query: dict[str, str], code: str, said: str
) -> None:
    before = left(running)
    problem = check_problem(api.client.post("/v1/remove", params=query, content=jpeg()), 422, code)
    assert problem["title"].startswith(said)
    assert problem["detail"]
    assert left(running) == before


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"width": "0"}, "width"),
        ({"height": "x"}, "height"),
        ({"quality": "101"}, "quality"),
        ({"format": "gif"}, "format"),
        ({"crop": "tight"}, "crop"),
        ({"margin": "3"}, "margin"),
        ({"preset": "visa"}, "preset"),
        ({"no_face": "cry"}, "no_face"),
        ({"colour": "r" * 101}, "colour"),
        ({"recipe": "{" * 8001}, "recipe"),
        ({"qualty": "80"}, "qualty"),
    ],
)
def test_what_the_schema_refuses_names_its_field_too(api: Api, query: dict[str, str], field: str) -> None:
    answer = api.client.post("/v1/remove", params=query, content=jpeg())
    problem = check_problem(answer, 422, "invalid_request")
    assert [one["field"] for one in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("form", "kind", "mode"),
    [
        ("png", "image/png", "RGBA"),
        ("webp", "image/webp", "RGBA"),
        ("avif", "image/avif", "RGBA"),
        ("tiff", "image/tiff", "RGBA"),
        ("jpeg", "image/jpeg", "RGB"),
    ],
)
def test_the_answer_has_the_format_asked_for(api: Api, form: str, kind: str, mode: str) -> None:
    query = {"format": form, "quality": "70"} | ({"colour": "white"} if form == "jpeg" else {})
    answer = api.client.post("/v1/remove", params=query, content=sample("astronaut.png"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    cutout = Image.open(io.BytesIO(answer.content))
    assert (cutout.format, cutout.mode, cutout.size) == (form.upper(), mode, (512, 512))


def test_a_subject_in_a_size_on_a_colour(api: Api) -> None:
    query = {"crop": "subject", "margin": "0.1", "width": "300", "height": "200", "colour": "rebeccapurple"}
    answer = api.client.post("/v1/remove", params=query, content=sample("cat.png"))
    cutout = Image.open(io.BytesIO(answer.content))
    assert (cutout.mode, cutout.size) == ("RGB", (300, 200))
    assert cutout.getpixel((1, 1)) == (0x66, 0x33, 0x99)


def test_a_preset_frames_a_face(api: Api) -> None:
    query = {"crop": "face", "preset": "avatar", "background": "gradient"}
    answer = api.client.post("/v1/remove", params=query, content=sample("astronaut.png"))
    cutout = Image.open(io.BytesIO(answer.content))
    assert cutout.mode == "RGB"
    assert cutout.width == cutout.height


def test_a_whole_recipe_does_what_fields_cannot(api: Api) -> None:
    recipe = {
        "models": ["u2netp"],
        "background": {"kind": "colour", "colour": "#00ff00"},
        "shadow": {"colour": "#ff0000", "opacity": 1.0, "blur": 0.0, "right": 0.1, "down": 0.0},
        "output": {"format": "webp", "lossless": True, "longest": 100},
    }
    given = sample("astronaut.png")
    answer = api.client.post("/v1/remove", params={"recipe": json.dumps(recipe)}, content=given)
    assert answer.headers["content-type"] == "image/webp"
    cutout = Image.open(io.BytesIO(answer.content)).convert("RGB")
    assert max(cutout.size) == 100
    colours = np.asarray(cutout, int).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 255, 0)):
        assert (np.abs(colours - colour).max(axis=1) < 20).sum() > 50


def test_what_was_not_as_asked_is_told_in_a_header(api: Api) -> None:
    query = {"crop": "face", "background": "keep"}
    answer = api.client.post("/v1/remove", params=query, content=sample("coffee.png"))
    assert answer.status_code == 200
    assert unquote(answer.headers["x-warnings"]).startswith("no_face: ")
    plain = api.client.post("/v1/remove", params={"background": "keep"}, content=jpeg())
    assert "x-warnings" not in plain.headers
