"""The HTTP door: pictures and archives by signed links, errors as problem documents."""

import asyncio
import gc
import hashlib
import io
import os
import time
import zipfile
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from photoproc.api.app import create_api
from photoproc.api.pictures import attachment
from photoproc.bootstrap import Runtime
from photoproc.jobs import Job
from photoproc.recipe import Recipe
from tests.pictures import encoded, picture
from tests.waiting import until


def local(api: FastAPI) -> TestClient:
    """A client on the server's own machine."""
    return TestClient(api, base_url="http://localhost:8501", client=("127.0.0.1", 50000))


@pytest.fixture
def client(running: Runtime) -> Iterator[TestClient]:
    with local(create_api(lambda: running.service)) as client:
        yield client


@pytest.fixture(scope="module")
def job(running: Runtime) -> Job:
    service = running.service
    batch = service.new_batch()
    photos = [
        photo
        for seed, name in enumerate(("käse/größe 1.jpg", "b.jpg"))
        for photo in service.accept(batch, name, io.BytesIO(encoded(picture(seed=seed)))).photos
    ]
    made = service.submit(batch, photos, Recipe(models=("u2netp",)), title="Käse & Brot")
    until(lambda: service.job(made.id).state.final)
    return service.job(made.id)


def test_health_answers(client: TestClient) -> None:
    assert client.get("/v1/health").json() == {"status": "ok"}


def test_the_archive_is_streamed_with_its_size_and_name(
    client: TestClient, running: Runtime, job: Job
) -> None:
    answer = client.get(f"/v1/jobs/{job.id}/archive", params={"token": running.service.sign(job.id)})
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "filename*=UTF-8''K%C3%A4se%20%26%20Brot.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        assert set(packed.namelist()) == {"käse/größe 1.png", "b.png", "manifest.csv", "manifest.json"}


def test_pictures_have_their_types_and_can_be_kept(client: TestClient, running: Runtime, job: Job) -> None:
    token = running.service.sign(job.id)
    for kind, media in (("cutout", "image/png"), ("preview", "image/webp"), ("before", "image/webp")):
        answer = client.get(f"/v1/jobs/{job.id}/tasks/0/{kind}", params={"token": token})
        assert answer.headers["content-type"] == media
        assert "immutable" in answer.headers["cache-control"]
    (task, _) = running.service.tasks(job.id)
    cutout = client.get(f"/v1/jobs/{job.id}/tasks/0/cutout", params={"token": token, "download": True})
    assert "gr%C3%B6%C3%9Fe%201.png" in cutout.headers["content-disposition"]
    assert task.cutout is not None
    assert hashlib.sha256(cutout.content).hexdigest() == task.cutout.sha256


def test_a_download_leaves_no_trace_in_later_answers(client: TestClient, running: Runtime, job: Job) -> None:
    params = {"token": running.service.sign(job.id)}
    client.get(f"/v1/jobs/{job.id}/tasks/0/cutout", params=params | {"download": "1"})
    later = client.get(f"/v1/jobs/{job.id}/tasks/1/preview", params=params)
    assert "content-disposition" not in later.headers


def test_an_abandoned_download_closes_its_files(running: Runtime, job: Job) -> None:
    path = f"/v1/jobs/{job.id}/archive"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"token={running.service.sign(job.id)}".encode(),
        "headers": [],
    }

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, object]) -> None:
        if message.get("body"):
            raise OSError("the browser went away")

    def held() -> list[str]:
        links = (os.readlink(link) for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link))
        return [link for link in links if job.id in link]

    gc.disable()  # or it might close what the answer left open
    try:
        # In a thread: a browser test before this one may have left its event loop in this one.
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(asyncio.run, create_api(lambda: running.service)(scope, receive, send))
        with pytest.raises(ClientDisconnect):
            answer.result()
        assert held() == []
    finally:
        gc.enable()


def test_a_part_of_a_picture_can_be_asked_for(client: TestClient, running: Runtime, job: Job) -> None:
    params = {"token": running.service.sign(job.id)}
    answer = client.get(f"/v1/jobs/{job.id}/tasks/0/cutout", params=params, headers={"Range": "bytes=1-3"})
    assert (answer.status_code, answer.content) == (206, b"PNG")


def test_a_link_opens_its_own_job_only(client: TestClient, running: Runtime, job: Job) -> None:
    for token in ("", "nonsense", running.service.sign("0" * 32)):
        answer = client.get(f"/v1/jobs/{job.id}/archive", params={"token": token})
        assert (answer.status_code, answer.json()["code"]) == (403, "link_invalid")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_link_expires(
    client: TestClient, running: Runtime, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = running.service.sign(job.id)
    later = int(time.time()) + running.settings.link_lifetime_s + 10
    monkeypatch.setattr("itsdangerous.TimestampSigner.get_timestamp", lambda _: later)
    answer = client.get(f"/v1/jobs/{job.id}/archive", params={"token": token})
    assert (answer.status_code, answer.json()["code"]) == (410, "link_expired")


def test_what_does_not_exist_is_not_found(client: TestClient, running: Runtime, job: Job) -> None:
    nobody = "0" * 32
    answer = client.get(f"/v1/jobs/{nobody}/archive", params={"token": running.service.sign(nobody)})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    params = {"token": running.service.sign(job.id)}
    assert client.get(f"/v1/jobs/{job.id}/tasks/99/cutout", params=params).status_code == 404
    assert client.get(f"/v1/jobs/{job.id}/tasks/0/secrets", params=params).status_code == 404


def test_an_uploaded_photo_has_a_thumbnail(client: TestClient, running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    (photo,) = service.accept(batch, "a.jpg", io.BytesIO(encoded(picture(600, 400)))).photos
    where = f"/v1/uploads/{batch}/{photo.sha256}/thumbnail"
    answer = client.get(where, params={"token": service.sign(batch)})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert client.get(where, params={"token": service.sign("0" * 32)}).status_code == 403
    service.drop_batch(batch)
    assert client.get(where, params={"token": service.sign(batch)}).status_code == 404


@pytest.mark.parametrize("name", ['a".zip', "a\r\nSet-Cookie: x.zip", "日本.zip", "\\x.zip"])
def test_no_name_can_break_out_of_its_header(name: str) -> None:
    header = attachment(name)
    assert header.isascii()
    assert "\r" not in header
    assert "\n" not in header
    assert header.count('"') == 2
