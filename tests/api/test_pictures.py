"""A task's pictures over REST: types, names, ETags, ranges, sizes."""

import base64
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from photoproc.api import pictures
from photoproc.bootstrap import Runtime
from tests.api.support import Api, check_problem
from tests.pictures import encoded, picture, sample
from tests.waiting import until


@pytest.fixture(scope="module")
def photo() -> bytes:
    return sample("astronaut.png")


@pytest.fixture
def links(api: Api, running: Runtime, photo: bytes) -> dict[str, str]:
    """The addresses of the pictures of a finished task."""
    kept: dict[str, Any] = getattr(running, "test_links", {})
    if not kept:
        kept |= api.finished({"who/astronaut.png": photo})["tasks"][0]["links"]
        running.test_links = kept  # type: ignore[attr-defined]
    return {kind: link.removeprefix("/api") for kind, link in kept.items()}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_the_original_is_the_file_that_was_sent(
    client: TestClient, links: dict[str, str], photo: bytes
) -> None:
    answer = client.get(links["original"])
    assert (answer.headers["content-type"], answer.content) == ("image/png", photo)
    named = client.get(f"{links['original']}&download=1").headers["content-disposition"]
    assert "astronaut.png" in named
    assert "who" not in named


def test_originals_have_the_type_of_their_content(api: Api) -> None:
    kinds = {"JPEG": "image/jpeg", "WEBP": "image/webp", "TIFF": "image/tiff", "GIF": "image/gif"}
    files = {f"{kind}.bin": encoded(picture(seed=3), kind) for kind in kinds}
    for task in api.job(api.made(files, {"models": ["bria-rmbg"]})["id"])["tasks"]:
        answer = api.client.get(task["links"]["original"].removeprefix("/api"))
        assert answer.headers["content-type"] == kinds[task["photo"].removesuffix(".bin")]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_mask_is_gray_and_of_the_models_size(client: TestClient, links: dict[str, str]) -> None:
    answer = client.get(links["mask"])
    assert answer.headers["content-type"] == "image/png"
    mask = opened(answer.content)
    assert (mask.mode, mask.size) == ("L", (320, 320))
    shares = mask.histogram()
    assert sum(shares[:20]) > 10_000
    assert sum(shares[230:]) > 10_000


def test_a_kept_background_has_no_mask(api: Api) -> None:
    job = api.finished({"a.png": encoded(picture(), "PNG")}, {"background": {"kind": "keep"}})
    assert job["tasks"][0]["links"]["mask"] is None
    check_problem(api.client.get(f"/v1/jobs/{job['id']}/tasks/0/mask"), 404, "not_found")


def test_a_preview_has_the_size_asked_for_and_is_never_larger_than_the_cutout(
    client: TestClient, links: dict[str, str]
) -> None:
    for side, wanted in ((16, 16), (200, 200), (8192, 512)):
        answer = client.get(f"{links['preview']}&max_side={side}")
        assert answer.headers["content-type"] == "image/webp"
        assert max(opened(answer.content).size) == wanted
        assert opened(answer.content).mode == "RGBA"
    for wrong in ("0", "9000", "x"):
        check_problem(client.get(f"{links['preview']}&max_side={wrong}"), 422, "invalid_request")


@pytest.mark.parametrize("kind", ["cutout", "original", "mask", "preview", "before", "preview&max_side=99"])
def test_what_has_not_changed_is_not_sent_again(client: TestClient, links: dict[str, str], kind: str) -> None:
    kind, _, query = kind.partition("&")
    address = f"{links[kind]}&{query}"
    first = client.get(address)
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get(address, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_parts_of_a_picture_join_to_the_whole(client: TestClient, links: dict[str, str]) -> None:
    whole = client.get(links["cutout"])
    parts = [
        client.get(links["cutout"], headers={"Range": part, "If-Range": whole.headers["etag"]})
        for part in ("bytes=0-999", "bytes=1000-")
    ]
    assert [part.status_code for part in parts] == [206, 206]
    assert b"".join(part.content for part in parts) == whole.content


def test_a_cutout_can_be_had_as_a_data_url(client: TestClient, links: dict[str, str]) -> None:
    whole = client.get(links["cutout"])
    url = client.get(f"{links['cutout']}&as=data_url").json()["data_url"]
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == whole.content
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'


def test_the_cutout_of_an_unfinished_task_is_not_found(api: Api) -> None:
    job = api.made({"a.png": encoded(picture(), "PNG")}, {"models": ["bria-rmbg"]})
    for kind in ("cutout", "mask", "preview", "before", "preview?max_side=99"):
        check_problem(api.client.get(f"/v1/jobs/{job['id']}/tasks/0/{kind}"), 404, "not_found")


def test_a_file_that_is_gone_is_not_found(api: Api, running: Runtime) -> None:
    job = api.finished({"a.png": encoded(picture(), "PNG")})
    (running.settings.data_dir / "jobs" / job["id"] / "photos" / "x").parent.joinpath(
        hashlib.sha256(encoded(picture(), "PNG")).hexdigest()
    ).unlink()
    check_problem(api.client.get(f"/v1/jobs/{job['id']}/tasks/0/original"), 404, "not_found")


def test_a_lost_cutout_is_gone_by_name_the_zip_has_the_rest_and_a_retry_makes_it_again(
    api: Api, running: Runtime
) -> None:
    job = api.finished({"a.jpg": encoded(picture(seed=91)), "b.jpg": encoded(picture(seed=92))})["id"]
    cutout = running.service.task(job, 0).cutout
    assert cutout is not None
    running.service.output(job, cutout.file).write_bytes(b"")
    packed = api.client.get(f"/v1/jobs/{job}/archive")
    assert packed.status_code == 200
    names = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
    assert names == ["b.png", "lost cutouts.txt", "manifest.csv", "manifest.json"]
    for picture_of in ("cutout", "preview", "before"):
        answer = api.client.get(f"/v1/jobs/{job}/tasks/0/{picture_of}")
        check_problem(answer, 410, "cutout_lost")
        assert "a.jpg" in answer.json()["title"]
        assert "Retry it" in answer.json()["detail"]
    assert api.job(job)["counts"]["failed"] == 1
    api.client.post(f"/v1/jobs/{job}/retry")
    until(lambda: running.service.job(job).counts.done == 2)
    assert api.client.get(f"/v1/jobs/{job}/tasks/0/cutout").status_code == 200


@pytest.mark.parametrize("part", [None, "bytes=0-1"])
def test_a_picture_that_is_deleted_while_it_is_answered_is_not_found(
    tmp_path: Path, part: str | None
) -> None:
    file = tmp_path / "picture"
    file.write_bytes(b"12345")
    answers = [pictures.send_file(file, "image/png", "tag", None) for _ in range(2)]
    headers = {} if part is None else {"Range": part}
    assert TestClient(answers[0]).get("/", headers=headers).content == (b"12345" if part is None else b"12")
    file.unlink()
    check_problem(TestClient(answers[1]).get("/", headers=headers), 404, "not_found")
