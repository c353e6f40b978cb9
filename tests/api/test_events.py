"""A job's log: by WebSocket and by polling the same, from any cursor, for many listeners."""

import json
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from photoproc.bootstrap import Runtime
from tests.api.conftest import Changed
from tests.api.support import Api, jpeg
from tests.waiting import at_once, until

HERE = "ws://localhost:8501"
WAITING = {"models": ["bria-rmbg"]}
Event = dict[str, Any]


def listen(client: TestClient, job_id: str, query: str = "") -> tuple[list[Event], int]:
    """Everything a socket says, and the code it is closed with."""
    heard: list[Event] = []
    with client.websocket_connect(f"{HERE}/v1/jobs/{job_id}/events{query}") as socket:
        while True:
            try:
                heard.append(json.loads(socket.receive_text()))
            except WebSocketDisconnect as closed:
                return heard, closed.code


def polled(client: TestClient, job_id: str, after: int, limit: int = 500) -> list[Event]:
    """Everything there is to poll for."""
    found: list[Event] = []
    while True:
        query = {"after": after, "limit": limit}
        page = client.get(f"/v1/jobs/{job_id}/events", params=query).json()
        found += page["events"]
        after = page["cursor"]
        if page["final"]:
            return found
        assert page["events"], "the job had ended"


def replay(events: list[Event], count: int) -> list[str]:
    """The states of tasks that events lead to."""
    states = ["queued"] * count
    for event in events:
        if event["type"] == "tasks":
            for number in event["tasks"]:
                states[number] = event["state"]
    return states


def test_a_socket_tells_a_job_from_snapshot_to_end(api: Api, client: TestClient) -> None:
    job = api.made({f"{n}.jpg": jpeg(n) for n in range(4)})
    heard, code = listen(client, job["id"])
    assert code == 1000
    assert heard[0]["type"] == "snapshot"
    assert len(heard[0]["states"]) == 4
    assert heard[-1]["job"]["state"] == "done"
    assert heard[-1]["job"]["counts"]["done"] == 4
    cursors = [event["cursor"] for event in heard]
    assert cursors == list(range(cursors[0], cursors[0] + len(cursors)))
    assert api.job(job["id"])["revision"] == cursors[-1]


def test_polling_and_the_socket_tell_the_same(api: Api, client: TestClient) -> None:
    job = api.finished({f"{n}.jpg": jpeg(n) for n in range(3)} | {"broken.jpg": jpeg(9)[:-200]})
    heard, _ = listen(client, job["id"], "?after=0")
    changes = [event for event in heard if event["type"] == "tasks"]
    assert changes == polled(client, job["id"], 0) == polled(client, job["id"], 0, limit=1)
    assert replay(changes, 4) == ["done", "done", "done", "failed"]


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_socket_goes_on_from_a_cursor(api: Api, client: TestClient, after: int) -> None:
    job = api.finished({f"{n}.jpg": jpeg(n) for n in range(3)})
    heard, code = listen(client, job["id"], f"?after={after}")
    assert code == 1000
    assert [event["cursor"] for event in heard if event["type"] == "tasks"] == list(range(after + 1, 7))


def test_every_socket_ends_by_telling_the_final_state(api: Api, client: TestClient) -> None:
    job = api.finished({"a.jpg": jpeg()})
    for query in ("", f"?after={job['revision']}", "?after=999"):
        heard, code = listen(client, job["id"], query)
        assert (heard[-1]["job"]["state"], code) == ("done", 1000)


def test_a_retried_job_goes_on_in_the_same_log(api: Api, client: TestClient) -> None:
    job = api.finished({"broken.jpg": jpeg()[:-200]})
    seen = job["revision"]
    client.post(f"/v1/jobs/{job['id']}/retry")
    heard, _ = listen(client, job["id"], f"?after={seen}")
    changes = [event for event in heard if event["type"] == "tasks"]
    assert [event["state"] for event in changes] == ["queued", "running", "failed"]


def test_many_listeners_hear_all_of_it(api: Api, client: TestClient) -> None:
    job = api.made({"a.jpg": jpeg(), "b.jpg": jpeg(1)}, WAITING)
    heard: list[list[Event]] = []
    ready = threading.Semaphore(0)

    def hear() -> None:
        with client.websocket_connect(f"{HERE}/v1/jobs/{job['id']}/events") as socket:
            mine = [json.loads(socket.receive_text())]
            ready.release()
            mine.append(json.loads(socket.receive_text()))
            heard.append(mine)

    def cancel() -> None:
        for _ in range(12):
            assert ready.acquire(timeout=20)
        client.post(f"/v1/jobs/{job['id']}/cancel")

    at_once(cancel, *[hear] * 12)
    assert len(heard) == 12
    assert all([event["cursor"] for event in mine] == [0, 1] for mine in heard)
    assert all(mine[1]["tasks"] == [0, 1] for mine in heard)


def test_a_listener_hears_that_the_job_was_deleted(api: Api, client: TestClient) -> None:
    job = api.made({"a.jpg": jpeg()}, WAITING)
    with client.websocket_connect(f"{HERE}/v1/jobs/{job['id']}/events") as socket:
        socket.receive_text()
        client.delete(f"/v1/jobs/{job['id']}")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 4404


def test_who_may_not_listen_is_refused_before_the_socket_opens(
    api: Api, client: TestClient, running: Runtime, change: Changed
) -> None:
    job = api.made({"a.jpg": jpeg()}, WAITING)

    def refused(address: str, headers: dict[str, str]) -> tuple[int, str]:
        with (
            pytest.raises(WebSocketDenialResponse) as raised,
            client.websocket_connect(f"{HERE}{address}", headers=headers),
        ):
            pass
        return raised.value.status_code, raised.value.json()["code"]

    path = f"/v1/jobs/{job['id']}/events"
    assert refused(f"/v1/jobs/{'0' * 32}/events", {}) == (404, "not_found")
    assert refused(path, {"Origin": "https://evil.example"}) == (403, "origin_not_allowed")
    assert refused(f"{path}?token=x", {}) == (403, "link_invalid")
    change(api_keys=SecretStr(f"anna:{'a' * 24}"))
    assert refused(path, {}) == (401, "key_missing")
    assert refused(path, {"X-Api-Key": "a" * 24}) == (404, "not_found")  # the dashboard's own, not Anna's
    with client.websocket_connect(f"{HERE}{path}?token={running.service.sign(job['id'])}") as socket:
        assert json.loads(socket.receive_text())["type"] == "snapshot"


def test_a_cancelled_job_tells_where_it_stands(api: Api, client: TestClient) -> None:
    job = api.made({f"{n}.jpg": jpeg(n) for n in range(30)})
    until(lambda: api.job(job["id"])["counts"]["done"])
    client.post(f"/v1/jobs/{job['id']}/cancel")
    heard, _ = listen(client, job["id"], "?after=0")
    states = replay(heard, 30)
    counts = heard[-1]["job"]["counts"]
    assert heard[-1]["job"]["state"] == "cancelled"
    assert {state: states.count(state) for state in set(states)} == {
        state: count for state, count in counts.items() if count
    }
