"""What the tests of the API share."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.pictures import encoded, picture
from tests.waiting import until


def local(api: FastAPI, host: str = "127.0.0.1") -> TestClient:
    """A client on the server's own machine (or elsewhere)."""
    return TestClient(api, base_url="http://localhost:8501", client=(host, 50000))


def jpeg(seed: int = 0) -> bytes:
    """A small photo."""
    return encoded(picture(seed=seed))


def zipped(*names: str) -> bytes:
    """A ZIP of small photos."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for seed, name in enumerate(names):
            packed.writestr(name, jpeg(100 + seed))
    return out.getvalue()


class Api:
    """The requests tests make again and again."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(
        self,
        files: Mapping[str, bytes],
        recipe: object = None,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> Response:
        """Make a job."""
        if recipe is not None:
            fields["recipe"] = recipe if isinstance(recipe, str) else json.dumps(recipe)
        parts = [("files", (name, data)) for name, data in files.items()]
        return self.client.post("/v1/jobs", files=parts, data=fields, headers=headers)

    def made(self, files: Mapping[str, bytes], recipe: object = None, **fields: str) -> dict[str, Any]:
        """A job that was accepted."""
        answer = self.post(files, recipe, None, **fields)
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def job(self, job_id: str, **query: object) -> dict[str, Any]:
        """A job with its tasks."""
        answer = self.client.get(f"/v1/jobs/{job_id}", params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def finished(self, files: Mapping[str, bytes], recipe: object = None) -> dict[str, Any]:
        """A job that is finished."""
        job_id = self.made(files, recipe)["id"]
        until(lambda: self.job(job_id)["state"] in ("done", "failed", "cancelled"))
        return self.job(job_id)


def check_problem(answer: Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem document with this status and code."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    return body
