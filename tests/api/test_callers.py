"""Who may call: keys, this machine, origins, quotas, signed links."""

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.people import Person
from photoproc.service import dashboard_of
from photoproc.settings import Settings
from tests.api.conftest import Changed
from tests.api.support import Api, check_problem, jpeg, local

ANNA, BEN, CLEO = "a" * 24, "b" * 24, "c" * 24
KEYS = SecretStr(f"anna:{ANNA}, ben:{BEN}")

ANYBODY = dashboard_of("")


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_keys_only_this_machine_is_answered(running: Runtime, client: TestClient) -> None:
    assert client.get("/v1/jobs").status_code == 200
    elsewhere = local(create_api(lambda: running.service), host="10.0.0.7")
    problem = check_problem(elsewhere.get("/v1/jobs"), 403, "loopback_only")
    assert "PHOTOPROC_API_KEYS" in problem["detail"]
    assert elsewhere.get("/v1/health").status_code == 200


def test_without_keys_a_key_is_neither_needed_nor_in_the_way(running: Runtime, client: TestClient) -> None:
    assert client.get("/v1/jobs", headers=with_key("whatever a client always sends")).status_code == 200
    elsewhere = local(create_api(lambda: running.service), host="10.0.0.7")
    check_problem(elsewhere.get("/v1/jobs", headers=with_key("whatever")), 403, "loopback_only")
    assert elsewhere.get("/v1/jobs", headers=with_key(running.service.sign(ANYBODY))).status_code == 200


def test_without_keys_the_server_goes_by_its_local_name_only(client: TestClient) -> None:
    for host in ("rebound.example", "localhost.example:8501", "10.0.0.7"):
        check_problem(client.get("/v1/jobs", headers={"Host": host}), 403, "host_not_allowed")
    for host in ("127.0.0.1:8501", "[::1]:8501", "LOCALHOST"):
        assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_where_there_are_keys_one_is_needed(client: TestClient, change: Changed) -> None:
    change(api_keys=KEYS)
    answer = client.get("/v1/jobs")
    check_problem(answer, 401, "key_missing")
    assert answer.headers["www-authenticate"] == "Bearer"
    for wrong in ("x" * 24, ANNA[:-1], ANNA + "a", "ä", "anna"):
        headers = [(b"x-api-key", wrong.encode())]
        check_problem(client.get("/v1/jobs", headers=headers), 401, "key_unknown")
    assert client.get("/v1/jobs", headers=with_key(ANNA)).status_code == 200
    assert client.get("/v1/jobs", headers={"X-Api-Key": BEN}).status_code == 200


def test_anothers_job_is_as_unknown_as_none(api: Api, change: Changed) -> None:
    change(api_keys=KEYS)
    made = api.post({"a.jpg": jpeg()}, headers=with_key(ANNA)).json()
    assert made["owner"] == "anna"
    path = f"/v1/jobs/{made['id']}"
    others = [
        api.client.request(method, path + way, headers=with_key(BEN))
        for method, way in (
            ("GET", ""),
            ("GET", "/events"),
            ("GET", "/archive"),
            ("GET", "/tasks/0/original"),
            ("POST", "/cancel"),
            ("POST", "/retry"),
            ("DELETE", ""),
        )
    ]
    unknown = api.client.get(f"/v1/jobs/{'0' * 32}", headers=with_key(BEN))
    assert {answer.text for answer in others} == {unknown.text}
    assert {answer.status_code for answer in others} == {404}
    assert api.client.get(path, headers=with_key(ANNA)).status_code == 200
    listed = api.client.get("/v1/jobs", headers=with_key(BEN)).json()["items"]
    assert made["id"] not in [job["id"] for job in listed]


def test_idempotency_keys_of_two_callers_do_not_meet(api: Api, change: Changed) -> None:
    change(api_keys=KEYS)
    jobs = [
        api.post({"a.jpg": jpeg()}, headers=with_key(key) | {"Idempotency-Key": "same"}).json()
        for key in (ANNA, BEN)
    ]
    assert jobs[0]["id"] != jobs[1]["id"]


def test_the_links_of_a_job_open_without_a_key(api: Api, running: Runtime, change: Changed) -> None:
    change(api_keys=KEYS)
    job = api.post({"a.jpg": jpeg()}, headers=with_key(ANNA)).json()
    elsewhere = local(create_api(lambda: running.service), host="10.0.0.7")
    for name in ("events", "archive"):
        assert elsewhere.get(job["links"][name].removeprefix("/api")).status_code == 200
    assert elsewhere.get(job["links"]["self"].removeprefix("/api")).status_code == 401
    cancel = job["links"]["archive"].removeprefix("/api").replace("/archive?", "/cancel?")
    assert elsewhere.post(cancel).status_code == 401


def test_a_dashboards_link_opens_what_its_person_may_see_now(
    client: TestClient, running: Runtime, change: Changed
) -> None:
    everything, anna, root = (running.service.sign(dashboard_of(name)) for name in ("", "anna@a", "root@a"))
    assert running.service.seen_through(everything) == Person("", sees_all=True, on_page=True)
    change(sign_in=True, admins="Root@a")
    assert running.service.seen_through(everything) is None, "from before people had to sign in"
    assert running.service.seen_through(anna) == Person("anna@a", on_page=True)
    assert running.service.seen_through(root) == Person("root@a", sees_all=True, on_page=True)
    assert running.service.seen_through(running.service.sign("0" * 32)) is None
    check_problem(client.get("/v1/jobs"), 401, "key_missing")
    check_problem(client.get("/v1/jobs", headers=with_key(everything)), 401, "key_missing")
    assert client.get("/v1/jobs", headers=with_key(anna)).status_code == 200
    change(admins="")
    assert running.service.seen_through(root) == Person("root@a", on_page=True), "no admin any more"


def test_the_dashboards_own_link_is_a_key(client: TestClient, running: Runtime, change: Changed) -> None:
    change(api_keys=KEYS)
    assert client.get("/v1/jobs", headers=with_key(running.service.sign(ANYBODY))).status_code == 200
    of_a_job = running.service.sign("0" * 32)
    check_problem(client.get("/v1/jobs", headers=with_key(of_a_job)), 401, "key_unknown")


def test_pages_of_other_sites_are_refused(api: Api) -> None:
    for origin in ("https://evil.example", "http://localhost:9999", "null"):
        check_problem(api.post({"a.jpg": jpeg()}, headers={"Origin": origin}), 403, "origin_not_allowed")
    assert api.post({"a.jpg": jpeg()}, headers={"Origin": "http://localhost:8501"}).status_code == 202


def test_a_link_does_not_let_pages_of_other_sites_in(api: Api) -> None:
    archive = api.made({"a.jpg": jpeg()})["links"]["archive"].removeprefix("/api")
    evil = {"Origin": "https://evil.example"}
    check_problem(api.client.get(archive, headers=evil), 403, "origin_not_allowed")
    assert api.client.get(archive).status_code == 200


def test_who_came_by_a_link_gets_no_fresh_one(
    api: Api, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.made({"a.jpg": jpeg()})
    token = running.service.sign(job["id"])
    monkeypatch.setattr(running.service._links, "sign", lambda subject: "fresh")
    for way in ("", "/events"):
        answer = api.client.get(f"/v1/jobs/{job['id']}{way}", params={"token": token})
        assert token in answer.text
        assert "fresh" not in answer.text


@pytest.mark.parametrize("header", ["Origin", "Host"])
@pytest.mark.parametrize("value", ["http://[", "[", "http://", "://", "http://[::1"])
def test_an_address_that_cannot_be_read_is_refused(client: TestClient, header: str, value: str) -> None:
    assert client.get("/v1/jobs", headers={header: value}).status_code == 403


def test_pages_of_allowed_sites_may_call(running: Runtime, change: Changed) -> None:
    change(allowed_origins="https://team.example/, https://other.example")
    client = local(create_api(lambda: running.service, origins=running.service.settings.origins))
    headers = {"Origin": "https://team.example"}
    answer = client.get("/v1/jobs", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://team.example"
    preflight = client.options(
        "/v1/jobs",
        headers=headers
        | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key",
        },
    )
    assert preflight.status_code == 200
    stranger = client.get("/v1/jobs", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers
    refused = client.post("/v1/jobs", headers=headers)
    assert refused.headers["access-control-allow-origin"] == "https://team.example"


def test_a_key_has_a_rate(client: TestClient, change: Changed) -> None:
    change(api_keys=KEYS, rate_limit="3/minute")
    answers = [client.get("/v1/jobs", headers=with_key(ANNA)) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    check_problem(answers[3], 429, "too_many_requests")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert client.get("/v1/jobs", headers=with_key(BEN)).status_code == 200


def test_a_key_has_a_quota_of_queued_tasks(api: Api, change: Changed) -> None:
    change(api_keys=SecretStr(f"cleo:{CLEO},dora:{BEN}"), max_queued_tasks_per_key=2)
    recipe = {"models": ["bria-rmbg"]}
    three = {f"{n}.jpg": jpeg(n) for n in range(3)}
    check_problem(api.post(three, recipe, headers=with_key(CLEO)), 429, "quota_exceeded")
    first = api.post({"a.jpg": jpeg(), "b.jpg": jpeg(1)}, recipe, headers=with_key(CLEO))
    assert first.status_code == 202
    second = api.post({"a.jpg": jpeg()}, recipe, headers=with_key(CLEO))
    check_problem(second, 429, "quota_exceeded")
    assert int(second.headers["retry-after"]) > 0
    assert api.post({"a.jpg": jpeg()}, recipe, headers=with_key(BEN)).status_code == 202  # a quota of its own
    api.client.post(f"/v1/jobs/{first.json()['id']}/cancel", headers=with_key(CLEO))
    assert api.post({"a.jpg": jpeg()}, headers=with_key(CLEO)).status_code == 202


@pytest.mark.parametrize("keys", ["anna", "anna:short", f"a/b:{ANNA}", f":{ANNA}", f"anna:{ANNA},anna:{BEN}"])
def test_keys_that_cannot_be_meant_are_refused_at_the_start(keys: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(api_keys=SecretStr(keys))
    assert ANNA not in str(raised.value)


def test_a_rate_that_cannot_be_read_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError):
        Settings(rate_limit="often")


def test_keys_do_not_show_in_the_settings() -> None:
    assert ANNA not in repr(Settings(api_keys=KEYS))


def test_whose_key_it_was_is_logged_and_the_key_is_not(client: TestClient, change: Changed) -> None:
    change(api_keys=KEYS)
    with capture_logs() as logs:
        client.get("/v1/models", headers=with_key(ANNA))
        client.get("/v1/models", headers=with_key("x" * 24))
    calls = [(one["caller"], one["path"]) for one in logs if one["event"] == "api_call"]
    assert calls == [("anna", "/v1/models")]
    assert ANNA not in str(logs)
