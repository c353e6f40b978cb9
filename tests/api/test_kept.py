"""What is kept beyond a job, over REST: recipes by name, background pictures; recipes tried on a photo."""

import io
import json
import zipfile
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from photoproc import presets
from photoproc.bootstrap import Runtime
from photoproc.parts import Colour, Face, Keep
from photoproc.recipe import Recipe
from photoproc.service import BACKGROUNDS, dashboard_of, trying
from tests.api.conftest import Changed
from tests.api.support import Api, check_problem, jpeg
from tests.api.test_single import left
from tests.pictures import encoded, picture, sample
from tests.portraits import Person, scene
from tests.waiting import until

ANNA, BEN = "a" * 24, "b" * 24
KEYS = SecretStr(f"anna:{ANNA}, ben:{BEN}")
RECIPE = {"models": ["u2netp"], "background": {"kind": "colour", "colour": "tomato"}}


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def saved_names(api: Api, key: str) -> list[str]:
    return [one["name"] for one in api.client.get("/v1/recipes", headers=with_key(key)).json()["saved"]]


# Recipes


def test_a_recipe_is_saved_shown_replaced_and_forgotten(api: Api, running: Runtime) -> None:
    answer = api.client.put("/v1/recipes/Shop at dusk", json=RECIPE)
    assert answer.status_code == 200
    saved = answer.json()
    assert saved["name"] == "Shop at dusk"
    assert saved["recipe"]["background"] == {"kind": "colour", "colour": "#ff6347"}
    word = saved["page"].removeprefix("/?recipe=")
    assert presets.from_link(word) == Recipe.of_fields(RECIPE) == running.service.recipe("Shop at dusk")
    listed = api.client.get("/v1/recipes").json()
    assert [one["name"] for one in listed["built_in"]] == list(presets.BUILT_IN)
    assert {one["recipe"]["models"][0] for one in listed["built_in"]} == {"u2netp"}
    assert saved in listed["saved"]
    changed = api.client.put("/v1/recipes/Shop at dusk", json={"background": {"kind": "keep"}}).json()
    assert changed["recipe"]["models"] == []
    assert [one for one in api.client.get("/v1/recipes").json()["saved"] if one["name"] == saved["name"]] == [
        changed
    ]
    assert api.client.delete("/v1/recipes/Shop at dusk").status_code == 204
    check_problem(api.client.delete("/v1/recipes/Shop at dusk"), 404, "not_found")


def test_everybody_has_recipes_of_their_own(api: Api, change: Changed) -> None:
    change(api_keys=KEYS)
    check_problem(api.client.get("/v1/recipes"), 401, "key_missing")
    check_problem(api.client.put("/v1/recipes/Mine", json=RECIPE), 401, "key_missing")
    assert api.client.put("/v1/recipes/Mine", json=RECIPE, headers=with_key(ANNA)).status_code == 200
    assert (saved_names(api, ANNA), saved_names(api, BEN)) == (["Mine"], [])
    check_problem(api.client.delete("/v1/recipes/Mine", headers=with_key(BEN)), 404, "not_found")
    check_problem(api.post({"a.jpg": jpeg()}, "Mine", with_key(BEN)), 422, "invalid_recipe")
    assert api.post({"a.jpg": jpeg()}, "Mine", with_key(ANNA)).status_code == 202
    assert api.client.delete("/v1/recipes/Mine", headers=with_key(ANNA)).status_code == 204


def test_where_people_sign_in_a_page_has_the_teams_recipes(
    api: Api, running: Runtime, change: Changed
) -> None:
    change(sign_in=True)
    running.service.save_recipe("Shop white", Recipe.of_fields(RECIPE))  # as pages do
    page = with_key(running.service.sign(dashboard_of("alice@example.org")))
    assert [one["name"] for one in api.client.get("/v1/recipes", headers=page).json()["saved"]] == [
        "Shop white"
    ]
    form = {"files": ("a.jpg", jpeg(seed=61))}
    made = api.client.post("/v1/jobs", headers=page, files=form, data={"recipe": "Shop white"})
    assert made.status_code == 202, made.text
    assert made.json()["owner"] == "alice@example.org"
    job = made.json()["id"]
    until(lambda: running.service.job(job).state.final)
    running.service.delete(job)
    running.service.forget_recipe("Shop white", "")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("Passport", 422, "recipe_name"),
        ("{}", 422, "recipe_name"),
        (" ", 422, "recipe_name"),
        ("x" * 81, 422, "invalid_request"),
        ("a/b", 404, "not_found"),
    ],
)
def test_a_name_that_cannot_be_is_refused(api: Api, name: str, status: int, code: str) -> None:
    check_problem(api.client.put(f"/v1/recipes/{name}", json=RECIPE), status, code)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "models"),
        ({**RECIPE, "size": {"aspect": "wide"}}, "size.aspect"),
        ({**RECIPE, "crop": "face"}, "crop"),
        ({**RECIPE, "background": {"kind": "colour", "colour": "redish"}}, "background.colour"),
        ([], "recipe"),
    ],
)
def test_a_wrong_recipe_is_not_saved_and_names_its_field(api: Api, body: object, field: str) -> None:
    answer = api.client.put("/v1/recipes/Wrong", json=body)
    assert check_problem(answer, 422, "invalid_recipe")["title"].startswith(f"{field}: ")
    assert "Wrong" not in [one["name"] for one in api.client.get("/v1/recipes").json()["saved"]]


def test_a_job_is_made_by_the_name_of_a_recipe(api: Api, running: Runtime) -> None:
    api.client.put("/v1/recipes/Ours", json=RECIPE)
    try:
        assert api.made({"a.jpg": jpeg()}, "Ours")["recipe"]["background"]["colour"] == "#ff6347"
    finally:
        api.client.delete("/v1/recipes/Ours")
    made = api.finished({"a.png": sample("astronaut.png")}, "Passport")
    assert made["recipe"]["framing"]["preset"] == "passport"
    (cutout,) = made["tasks"][0]["cutouts"]
    assert cutout["output"] == "a.jpg"
    assert cutout["size_wh"][0] / cutout["size_wh"][1] == pytest.approx(413 / 531, abs=0.01)
    assert [one["kind"] for one in cutout["also"]] == ["sheet", "sheet_pdf"]
    before = running.service.job_count()
    said = check_problem(api.post({"a.jpg": jpeg()}, "No such recipe"), 422, "invalid_recipe")
    assert said["title"].startswith("recipe: ")
    assert running.service.job_count() == before


# Background pictures

WALL = Image.new("RGB", (60, 60), (0, 0, 200))
WALL.paste((0, 200, 0), (30, 0, 60, 60))


def uploaded(api: Api, data: bytes) -> dict[str, Any]:
    answer = api.client.post("/v1/backgrounds", content=data)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_job_puts_its_subjects_on_an_uploaded_picture(api: Api, running: Runtime) -> None:
    before = left(running)
    wall = uploaded(api, encoded(WALL, "PNG"))
    assert wall["size_wh"] == [60, 60]
    form = api.client.post("/v1/backgrounds", files={"file": ("w.png", encoded(WALL, "PNG"))})
    assert form.json() == wall
    recipe = {"models": ["u2netp"], "background": {"kind": "picture", "picture": wall["id"]}}
    job = api.finished({"a.png": sample("astronaut.png")}, recipe)
    cutout = Image.open(
        io.BytesIO(api.client.get(job["tasks"][0]["links"]["cutout"].removeprefix("/api")).content)
    )
    assert cutout.mode == "RGB"
    assert cutout.getpixel((5, 5)) == (0, 0, 200)
    assert cutout.getpixel((505, 5)) == (0, 200, 0)
    kept = np.asarray(cutout)[400, 250]
    with Image.open(io.BytesIO(sample("astronaut.png"))) as photo:
        assert np.abs(kept.astype(int) - np.asarray(photo.convert("RGB"))[400, 250]).max() <= 1
    assert api.client.delete(f"/v1/backgrounds/{wall['id']}").status_code == 204
    check_problem(api.client.delete(f"/v1/backgrounds/{wall['id']}"), 404, "not_found")
    said = check_problem(api.post({"a.jpg": jpeg()}, recipe), 422, "background_missing")
    assert said["title"].startswith("background.picture: ")
    api.client.delete(f"/v1/jobs/{job['id']}")
    until(lambda: left(running) <= before)  # what others left was perhaps still going
    assert not list((running.settings.data_dir / "backgrounds").iterdir())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"no picture at all", "not_a_picture"),
        (b"GIF89a\x01\x00\x01\x00\x00", "not_a_picture"),
    ],
)
def test_what_is_no_picture_becomes_no_background(api: Api, running: Runtime, data: bytes, code: str) -> None:
    before = left(running)
    check_problem(api.client.post("/v1/backgrounds", content=data), 400, code)
    two = [
        ("file", ("a.png", encoded(picture(), "PNG"))),
        ("file", ("b.png", encoded(picture(seed=1), "PNG"))),
    ]
    check_problem(api.client.post("/v1/backgrounds", files=two), 400, "one_photo")
    assert left(running) == before
    assert running.service.backgrounds() == []


def test_with_a_key_backgrounds_are_added_and_not_forgotten(
    api: Api, running: Runtime, change: Changed
) -> None:
    change(api_keys=KEYS)
    check_problem(api.client.post("/v1/backgrounds", content=jpeg()), 401, "key_missing")
    answer = api.client.post("/v1/backgrounds", content=jpeg(), headers=with_key(ANNA))
    assert answer.status_code == 201
    address = f"/v1/backgrounds/{answer.json()['id']}"
    check_problem(api.client.delete(address, headers=with_key(ANNA)), 404, "not_found")
    recipe = {"models": ["bria-rmbg"], "background": {"kind": "picture", "picture": answer.json()["id"]}}
    made = api.post({"a.jpg": jpeg()}, recipe, with_key(BEN))  # pictures are shared
    assert made.status_code == 202
    running.service.forget_background(answer.json()["id"])


def test_a_background_is_shown_to_who_has_a_link(api: Api, running: Runtime) -> None:
    wall = uploaded(api, encoded(WALL, "PNG"))["id"]
    address = f"/v1/backgrounds/{wall}/thumbnail"
    answer = api.client.get(address, params={"token": running.service.sign(BACKGROUNDS)})
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (60, 60)
    check_problem(api.client.get(address, params={"token": "x"}), 403, "link_invalid")
    check_problem(api.client.get(address), 422, "invalid_request")
    other = running.service.sign("0" * 32)
    check_problem(api.client.get(address, params={"token": other}), 403, "link_invalid")
    running.service.forget_background(wall)
    token = running.service.sign(BACKGROUNDS)
    check_problem(api.client.get(address, params={"token": token}), 404, "not_found")


# Trying


def test_a_recipe_is_tried_on_an_upload_by_its_link(api: Api, running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    (photo,) = service.accept(batch, "a.png", io.BytesIO(sample("astronaut.png"))).photos
    address = f"/v1/uploads/{batch}/{photo.sha256}/try"
    red = Recipe(models=("u2netp",), background=Colour(colour="#ff0000"))
    query = {"token": service.sign(batch), "recipe": presets.to_link(red)}
    after = api.client.get(address, params=query)
    assert (after.status_code, after.headers["content-type"]) == (200, "image/webp")
    assert (after.headers["cache-control"], after.headers["x-cutouts"]) == ("no-store", "1")
    assert json.loads(unquote(after.headers["x-warnings"])) == []
    shown = Image.open(io.BytesIO(after.content)).convert("RGB")
    assert np.abs(np.asarray(shown)[5, -5].astype(int) - (255, 0, 0)).max() < 12
    before = api.client.get(address, params={**query, "show": "before"})
    assert np.asarray(Image.open(io.BytesIO(before.content))).shape == (512, 512, 3)
    check_problem(api.client.get(address, params={**query, "token": "x"}), 403, "link_invalid")
    check_problem(api.client.get(address, params={**query, "recipe": "x"}), 422, "recipe_link_broken")
    far = presets.to_link(Recipe(models=("bria-rmbg",)))
    check_problem(api.client.get(address, params={**query, "recipe": far}), 409, "weights_missing")
    service.drop_batch(batch)
    check_problem(api.client.get(address, params=query), 404, "not_found")


def test_a_recipe_is_tried_on_a_photo_of_a_job(api: Api, running: Runtime) -> None:
    job = api.finished({"a.png": sample("coffee.png")}, {"background": {"kind": "keep"}})
    word = presets.to_link(Recipe(background=Keep(), framing=Face()))
    address = f"/v1/jobs/{job['id']}/tasks/0/try"
    query = {"recipe": word, "token": running.service.sign(trying(job["id"]))}
    answer = api.client.get(address, params=query)
    assert answer.status_code == 200
    (warning,) = json.loads(unquote(answer.headers["x-warnings"]))
    assert warning["code"] == "no_face"
    check_problem(api.client.get(address.replace("/0/", "/7/"), params=query), 404, "not_found")
    pictures_only = {**query, "token": running.service.sign(job["id"])}
    check_problem(api.client.get(address, params=pictures_only), 403, "link_invalid")


# Formats and several cutouts


def links_of(task: dict[str, Any]) -> dict[str, str]:
    return {kind: (link or "").removeprefix("/api") for kind, link in task["links"].items()}


@pytest.mark.parametrize(
    ("form", "kind", "suffix"),
    [
        ("webp", "image/webp", ".webp"),
        ("jpeg", "image/jpeg", ".jpg"),
        ("avif", "image/avif", ".avif"),
        ("tiff", "image/tiff", ".tif"),
        ("png", "image/png", ".png"),
    ],
)
def test_a_cutout_has_the_type_and_the_name_of_its_format(
    api: Api, form: str, kind: str, suffix: str
) -> None:
    recipe = {
        "models": ["u2netp"],
        "background": {"kind": "colour"},
        "output": {"format": form, "show": "pair", "name": "{n} {stem} – {model}"},
    }
    job = api.finished({"größe/a.png": sample("coffee.png")}, recipe)
    (task,) = job["tasks"]
    (cutout,) = task["cutouts"]
    assert cutout["output"] == task["output"] == f"größe/1 a – u2netp{suffix}"
    answer = api.client.get(links_of(task)["cutout"] + "&download=1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, list(image.size)) == (form.upper(), cutout["size_wh"])
    said = answer.headers["content-disposition"]
    assert unquote(said.partition("filename*=UTF-8''")[2]) == f"1 a – u2netp{suffix}"
    (mask,) = cutout["also"]
    beside = api.client.get(mask["link"].removeprefix("/api") + "&download=1")
    assert (beside.headers["content-type"], len(beside.content)) == (kind, mask["byte_count"])
    assert f"u2netp-mask{suffix}" in unquote(beside.headers["content-disposition"])
    with Image.open(io.BytesIO(beside.content)) as image:
        assert list(image.size) == cutout["size_wh"]
    preview = api.client.get(links_of(task)["preview"] + "&max_side=64")
    assert preview.headers["content-type"] == "image/webp"
    assert max(Image.open(io.BytesIO(preview.content)).size) == 64
    inline = api.client.get(links_of(task)["cutout"] + "&as=data_url").json()["data_url"]
    assert inline.startswith(f"data:{kind};base64,")
    again = api.client.get(links_of(task)["cutout"], headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    archive = api.client.get(job["links"]["archive"].removeprefix("/api"))
    with zipfile.ZipFile(io.BytesIO(archive.content)) as packed:
        assert packed.read(cutout["output"]) == answer.content
        assert packed.read(mask["output"]) == beside.content
    assert job["output_bytes"] == cutout["byte_count"] + mask["byte_count"]


def test_each_face_is_found_at_its_place(api: Api) -> None:
    two = scene([Person(eyes=(250, 230), head_px=150), Person(eyes=(620, 250), head_px=220)], (900, 640))
    recipe = {
        "background": {"kind": "keep"},
        "framing": {"kind": "face", "which": "each"},
        "output": {"format": "jpeg", "sheet": {"paper": "a4"}},
    }
    job = api.finished({"two.png": encoded(Image.fromarray(two.rgb), "PNG")}, recipe)
    (task,) = job["tasks"]
    cutouts = task["cutouts"]
    assert [(one["face"], one["output"]) for one in cutouts] == [(1, "two-1.jpg"), (2, "two-2.jpg")]
    assert (task["sha256"], task["size_wh"]) == (cutouts[0]["sha256"], cutouts[0]["size_wh"])
    here = f"/v1/jobs/{job['id']}/tasks/0"
    pictures = []
    for place, cutout in enumerate(cutouts):
        for address in (cutout["link"].removeprefix("/api"), f"{here}/cutout?place={place}"):
            answer = api.client.get(address)
            assert answer.headers["content-type"] == "image/jpeg"
            with Image.open(io.BytesIO(answer.content)) as image:
                assert list(image.size) == cutout["size_wh"]
        pictures.append(answer.content)
        named = api.client.get(f"{here}/cutout", params={"place": place, "download": True})
        assert f"two-{place + 1}.jpg" in named.headers["content-disposition"]
        for kind in ("preview", "before"):
            small = api.client.get(cutout[kind].removeprefix("/api"))
            assert small.headers["content-type"] == "image/webp"
        assert [one["kind"] for one in cutout["also"]] == ["sheet", "sheet_pdf"]
        for extra, kind in zip(cutout["also"], ("image/jpeg", "application/pdf"), strict=True):
            answer = api.client.get(extra["link"].removeprefix("/api"))
            assert (answer.headers["content-type"], len(answer.content)) == (kind, extra["byte_count"])
    assert pictures[0] != pictures[1]
    for path in ("cutout", "preview", "before", "files/sheet"):
        check_problem(api.client.get(f"{here}/{path}", params={"place": 2}), 404, "not_found")
        check_problem(api.client.get(f"{here}/{path}", params={"place": -1}), 422, "invalid_request")
    check_problem(api.client.get(f"{here}/files/mask"), 404, "not_found")
    check_problem(api.client.get(f"{here}/files/secret"), 422, "invalid_request")
    check_problem(api.client.get(f"{here}/mask"), 404, "not_found")
    archive = api.client.get(job["links"]["archive"].removeprefix("/api"))
    with zipfile.ZipFile(io.BytesIO(archive.content)) as packed:
        names = [one["output"] for cutout in cutouts for one in (cutout, *cutout["also"])]
        assert packed.namelist() == [*names, "manifest.csv", "manifest.json"]
        assert packed.read("two-2.jpg") == pictures[1]
