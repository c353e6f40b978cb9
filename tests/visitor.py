"""What `workflow` sees of a server, and how it says what is wrong there."""

import io
import json
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
from PIL import Image
from skimage import data as samples
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

API = "/api/v1"
_ASK_AGAIN_S = 0.25
_COUNTED = ("queued", "running", "done", "failed", "skipped", "cancelled")
Json = dict[str, Any]


class WrongError(Exception):
    """The server is not as documented."""


@dataclass(slots=True)
class Visit:
    """One run: the server, and what earlier checks left for later ones."""

    url: str
    key: str | None
    patience_s: float
    model: str = ""
    jobs: dict[str, Json] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    heard: list[Json] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    http: httpx2.Client = field(init=False)
    keyless: httpx2.Client = field(init=False)
    """For signed links, which need no key."""

    def __post_init__(self) -> None:
        self.http = httpx2.Client(base_url=self.url, headers=self.headers, timeout=self.patience_s)
        self.keyless = httpx2.Client(base_url=self.url, timeout=self.patience_s)

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"X-Api-Key": self.key}

    def get(self, path: str, **query: Any) -> Json:
        """JSON from an address that must answer 200."""
        return body_of(self.http.get(path, params=query), 200)

    def submit(
        self, files: Mapping[str, bytes], recipe: Json | None = None, *, idempotency_key: str | None = None
    ) -> Json:
        """A job that was accepted."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        parts = [("files", (name, data)) for name, data in files.items()]
        asked = {"recipe": json.dumps({"models": [self.model]} if recipe is None else recipe)}
        answer = self.http.post(f"{API}/jobs", files=parts, data=asked, headers=headers)
        job = body_of(answer, 202)
        self.made.append(job["id"])
        equal(answer.headers.get("location"), f"{API}/jobs/{job['id']}", "Location")
        return job

    def listen(self, job_id: str, query: str = "") -> tuple[list[Json], int | None]:
        """Everything a WebSocket says, and the code it is closed with."""
        heard: list[Json] = []
        address = f"ws{self.url.removeprefix('http')}{API}/jobs/{job_id}/events{query}"
        with connect(address, additional_headers=self.headers, max_size=None) as socket:
            with suppress(ConnectionClosed):
                while True:
                    heard.append(json.loads(socket.recv(timeout=self.patience_s)))
            return heard, socket.close_code

    def poll(self, job_id: str, *, limit: int) -> list[Json]:
        """Everything the polling form of the log says until the job has ended."""
        found: list[Json] = []
        cursor, until = 0, time.monotonic() + self.patience_s
        while True:
            page = self.get(f"{API}/jobs/{job_id}/events", after=cursor, limit=limit)
            check(len(page["events"]) <= limit, f"a page of {limit} events has {len(page['events'])}")
            found, cursor = found + page["events"], page["cursor"]
            if page["final"]:
                return found
            check(time.monotonic() < until, f"the job had not ended after {self.patience_s:g} s")
            if not page["events"]:
                time.sleep(_ASK_AGAIN_S)

    def ended(self, job_id: str) -> Json:
        """A job once it has ended."""
        self.poll(job_id, limit=500)
        return self.get(f"{API}/jobs/{job_id}", limit=200)

    def close(self) -> None:
        """Leave nothing behind."""
        with suppress(httpx2.HTTPError):
            for job_id in self.made:
                self.http.delete(f"{API}/jobs/{job_id}")
        self.http.close()
        self.keyless.close()


def check(holds: object, said: str) -> None:
    """Say what is wrong unless it holds."""
    if not holds:
        raise WrongError(said)


def equal(got: object, wanted: object, what: str) -> None:
    """Say what is wrong unless both are the same."""
    check(got == wanted, f"{what} is {got!r}, not {wanted!r}")


def body_of(answer: httpx2.Response, status: int) -> Json:
    """The JSON of an answer that must have this status."""
    where = f"{answer.request.method} {answer.request.url.path}"
    check(answer.status_code == status, f"{where}: {answer.status_code}, not {status}: {answer.text[:200]}")
    body = answer.json()
    check(isinstance(body, dict), f"{where} answers no object")
    return dict(body)


def problem(answer: httpx2.Response, status: int, code: str) -> Json:
    """The answer is a problem document of this status and code, with advice."""
    body = body_of(answer, status)
    equal(answer.headers.get("content-type"), "application/problem+json", "its type")
    equal((body.get("status"), body.get("code")), (status, code), "status and code")
    check(body.get("title") and body.get("detail"), f"{code} comes without a message or advice")
    return body


def picture(answer: httpx2.Response, kind: str) -> Image.Image:
    """The picture in an answer that must have one of this kind."""
    equal(answer.status_code, 200, f"the status of {answer.request.url.path}")
    equal(answer.headers.get("content-type"), f"image/{kind}", "its type")
    try:
        image = Image.open(io.BytesIO(answer.content))
        image.load()
    except OSError as error:
        raise WrongError(f"{answer.request.url.path} is no whole picture") from error
    return image


def photo(number: int) -> bytes:
    """A JPEG; each number gives another."""
    shown = (samples.astronaut, samples.cat, samples.coffee, samples.rocket)[number % 4]()
    image = Image.fromarray(shown)
    out = io.BytesIO()
    image.crop((0, 0, image.width - number, image.height - number)).save(out, "JPEG", quality=90)
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def check_log(events: list[Json], after: int, job: Json) -> None:
    """Cursors follow `after` without a gap, and the changes lead to where the tasks of the job stand."""
    equal([one["cursor"] for one in events], list(range(after + 1, after + 1 + len(events))), "cursors")
    states = {task: one["state"] for one in events for task in one["tasks"]}
    tasks = {task["number"]: task["state"] for task in job["tasks"]}
    equal(states, {task: tasks[task] for task in states}, "what the log leads to")
    equal(events[-1]["job"]["state"], job["state"], "the last state in the log")
    equal(events[-1]["job"]["counts"], job["counts"], "the last counts in the log")


def check_sum(job: Json, total: int) -> None:
    """Every task is in one state."""
    equal(sum(job["counts"][state] for state in _COUNTED), total, "the sum of the counts")
