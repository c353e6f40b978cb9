"""The API keeps to its own OpenAPI document, whatever is sent to it: schemathesis asks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import SecretStr
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CaseMetadata, TestPhase
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from photoproc import bootstrap
from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from tests.api.support import Api, check_problem, jpeg, local
from tests.pictures import encoded, opened_sample
from tests.waiting import until

KEY = "k" * 24
Case = schemathesis.Case[Any]
SUBJECT = encoded(opened_sample("astronaut.png").resize((96, 96)))
JobOf = Callable[[str], str]

schema = schemathesis.openapi.from_asgi("/openapi.json", create_api(bootstrap.service))
schema.config.generation.update(with_security_parameters=False)
schema.config.update(request_timeout=120)


@schema.auth()
class Key:
    """Every request comes with a good key; schemathesis then tries others and none."""

    def get(self, case: Case, context: schemathesis.AuthContext) -> str:
        return KEY

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["X-Api-Key"] = data


@pytest.fixture(scope="module", autouse=True)
def keyed(running: Runtime) -> Iterator[None]:
    """The server wants a key."""
    kept = running.service.settings
    keys = {"api_keys": SecretStr(f"anna:{KEY}"), "rate_limit": "100000/minute"}
    running.service.settings = kept.model_copy(update=keys)
    until(lambda: not running.service.readiness())
    yield
    running.service.settings = kept


@pytest.fixture(scope="module")
def anna(running: Runtime, keyed: None) -> Iterator[Api]:
    """A client with the key; what she made is deleted in the end."""
    with local(create_api(bootstrap.service)) as client:
        client.headers["X-Api-Key"] = KEY
        yield Api(client)
    for job in running.service.jobs_after(None, owner="anna", limit=10_000)[0]:
        running.service.delete(job.id)
    for name in running.service.recipes("anna"):
        running.service.forget_recipe(name, "anna")
    for background in running.service.backgrounds():
        running.service.forget_background(background)


@pytest.fixture(scope="module")
def job_of(anna: Api) -> JobOf:
    """A job for a method: one that is finished to look at, one that waits to be deleted."""
    beside = {"models": ["u2netp"], "output": {"show": "pair", "sheet": {}}}
    kept = anna.finished({"whole.jpg": SUBJECT, "half.jpg": jpeg(1)[:-200]}, beside)["id"]

    def job_of(method: str) -> str:
        if method == "DELETE":
            return str(anna.made({"a.jpg": jpeg()}, {"models": ["bria-rmbg"]})["id"])
        return str(kept)

    return job_of


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: Case, job_of: JobOf) -> None:
    unfit: list[Any] = []
    if case.method in ("POST", "PUT") or case.path == "/remove":
        # No schema says of a text that it must be a picture, a model's name, a key to a job; nor which parts
        # of a recipe go together.
        unfit.append(positive_data_acceptance)
    at_home(case, job_of)
    if with_subject(case):
        unfit.append(negative_data_rejection)
    case.call_and_validate(excluded_checks=unfit)


def meta_of(case: Case) -> CaseMetadata:
    """How a case was made."""
    assert case.meta is not None
    return case.meta


def at_home(case: Case, job_of: JobOf) -> None:
    """Have a case that is right so far ask for a job and a task that are there."""
    meta = meta_of(case)
    if meta.is_negative_at(ParameterLocation.BODY):
        case.headers.pop("idempotency-key", None)  # one that made a job before answers with it, unread
    if "job_id" not in case.path_parameters or meta.is_negative_at(ParameterLocation.PATH):
        return
    case.path_parameters["job_id"] = job_of(case.method)
    if "number" in case.path_parameters:
        case.path_parameters["number"] = int(case.path_parameters["number"]) % 3
    if not meta.is_negative_at(ParameterLocation.QUERY):
        case.query.pop("token", None)


def with_subject(case: Case) -> bool:
    """Have some cases show something: what is made up has no foreground, of which remove.bg's API tells."""
    meta = meta_of(case)
    right = meta.generation.mode.is_positive and meta.phase.name is TestPhase.FUZZING
    if right and case.path in ("/v1/remove", "/v1/backgrounds"):
        case.media_type, case.body = "multipart/form-data", {"file": SUBJECT}  # type: ignore[dict-item]
        return True
    if case.path != "/v1.0/removebg" or not right:
        return False
    given: Any = case.body
    chosen = {name: given[name] for name in ("size", "type", "crop", "format") if name in given}
    case.media_type = "multipart/form-data"
    case.body = {**chosen, "image_file": SUBJECT}  # type: ignore[dict-item]
    return True


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=5-1", "bytes=x-y", "lines=1-2"])
def test_a_range_that_is_not_there_is_refused_like_everything_else(
    anna: Api, job_of: JobOf, wanted: str
) -> None:
    address = f"/v1/jobs/{job_of('GET')}/tasks/0/cutout"
    size = anna.client.get(address).headers["content-length"]
    answer = anna.client.get(address, headers={"Range": wanted})
    check_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/jobs", "GET, POST"),
        (f"/v1/jobs/{'0' * 32}", "GET, DELETE"),
        ("/v1/jobs/x/cancel", "POST"),
        ("/openapi.json", "GET, HEAD"),
        ("/v1/recipes", "GET"),
        ("/v1/backgrounds", "POST"),
        (f"/v1/backgrounds/{'0' * 64}", "DELETE"),
    ],
)
def test_a_wrong_method_is_told_all_that_there_are(anna: Api, path: str, methods: str) -> None:
    answer = anna.client.put(path)
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == methods


def test_a_field_that_nobody_reads_is_refused_by_name(anna: Api, running: Runtime) -> None:
    batches = len(running.service._blobs.batches())
    answer = anna.post({"a.jpg": jpeg()}, receipe='{"models": ["u2netp"]}')
    said = check_problem(answer, 422, "invalid_request")
    assert [one["field"] for one in said["errors"]] == ["receipe"]
    answer = anna.client.post("/v1/jobs", files={"photo": ("a.jpg", jpeg())})
    said = check_problem(answer, 422, "invalid_request")
    assert [one["field"] for one in said["errors"]] == ["photo"]
    assert len(running.service._blobs.batches()) == batches


def test_the_form_of_one_photo_has_the_fields_of_its_address_and_no_others(anna: Api) -> None:
    document = anna.client.get("/openapi.json").json()["paths"]["/v1/remove"]["post"]
    form = document["requestBody"]["content"]["multipart/form-data"]["schema"]
    address = {one["name"] for one in document["parameters"] if one["in"] == "query"}
    assert form["additionalProperties"] is False
    assert set(form["properties"]) == {"file", *address}
    assert form["properties"]["width"] | {"title": ""} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 12_000,
        "title": "",
    }
