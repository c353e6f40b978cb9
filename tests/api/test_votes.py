"""Votes over REST: blind until they are given, one whatever is sent twice, by a key or a link for it only."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from photoproc.bootstrap import Runtime
from photoproc.recipe import Recipe
from photoproc.voting import voting
from tests.api.conftest import Changed
from tests.api.support import Api, check_problem, jpeg
from tests.waiting import at_once, until

pytestmark = pytest.mark.models
BOTH = {"models": ["u2netp", "u2net"]}


@pytest.fixture(scope="module")
def masks(running: Runtime) -> Iterator[None]:
    """The masks of the jobs below, which are kept as long as any job has their photos."""
    service = running.service
    batch = service.new_batch()
    photos = [
        photo
        for number in range(3)
        for photo in service.accept(batch, f"{number}.jpg", io.BytesIO(jpeg(number))).photos
    ]
    made = service.submit(batch, photos, Recipe.of_fields(BOTH))
    until(lambda: service.job(made.id).state.final, within_s=180)
    yield
    service.delete(made.id)


@pytest.fixture
def job(api: Api, masks: None) -> Iterator[str]:
    """A finished job of three photos with two models."""
    made = str(api.made({f"photo {number}.jpg": jpeg(number) for number in range(3)}, BOTH)["id"])
    until(lambda: api.job(made)["state"] == "done", within_s=180)
    yield made
    api.client.delete(f"/v1/jobs/{made}")


def ballot(api: Api, job: str, voter: str = "Ann", *besides: str, **query: str) -> dict[str, Any]:
    sent = {"voter": voter, "besides": list(besides)}
    answer = api.client.post(f"/v1/jobs/{job}/ballots", json=sent, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def vote(api: Api, found: dict[str, Any], choice: str = "left", voter: str = "Ann") -> dict[str, Any]:
    link = found["ballot"]["links"]["vote"].removeprefix("/api")
    answer = api.client.post(link, json={"voter": voter, "choice": choice})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_ballot_and_its_pictures_do_not_tell_the_models(api: Api, running: Runtime, job: str) -> None:
    found = ballot(api, job)
    assert (found["remaining"], found["votes"]) == (3, 0)
    shown = found["ballot"]
    assert not re.search("u2net|task|place", json.dumps(found))
    bodies = {}
    for which in ("left", "right", "original"):
        answer = api.client.get(shown["links"][which].removeprefix("/api"))
        assert answer.status_code == 200
        said = " ".join(f"{name}: {value}" for name, value in answer.headers.items()).lower()
        assert "u2net" not in said
        assert "content-disposition" not in said
        assert "immutable" in answer.headers["cache-control"]
        assert "1970" in answer.headers["last-modified"]
        bodies[which] = answer.content
    outcome = vote(api, found)
    models = {task["model"]: task for task in api.job(job)["tasks"] if task["photo"] == shown["photo"]}
    for side in ("left", "right"):
        task = models[outcome[side]]
        link = task["cutouts"][0]["link"].removeprefix("/api")
        cutout = api.client.get(link)
        assert cutout.content == bodies[side]
        kept = api.client.get(shown["links"][side].removeprefix("/api"))
        assert kept.headers["etag"] != cutout.headers["etag"]
        with Image.open(io.BytesIO(bodies[side])) as image:
            assert list(image.size) == shown[f"{side}_wh"]


def test_pictures_are_kept_by_browsers_and_come_small_as_well(api: Api, job: str) -> None:
    link = ballot(api, job)["ballot"]["links"]["left"].removeprefix("/api")
    full = api.client.get(link)
    again = api.client.get(link, headers={"If-None-Match": full.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    small = api.client.get(f"{link}&size=small")
    assert (small.headers["content-type"], full.headers["content-type"]) == ("image/webp", "image/png")
    part = api.client.get(link, headers={"Range": "bytes=0-7", "If-Range": full.headers["etag"]})
    assert (part.status_code, part.content) == (206, full.content[:8])
    check_problem(api.client.get(link, headers={"Range": "bytes=99999999-"}), 416, "range_not_satisfiable")


def test_a_vote_sent_again_and_from_two_tabs_is_one(api: Api, job: str) -> None:
    found = ballot(api, job)
    assert ballot(api, job)["ballot"]["id"] == found["ballot"]["id"]
    answers: list[dict[str, Any]] = []
    at_once(
        *(lambda choice=choice: answers.append(vote(api, found, choice)) for choice in ["left", "tie"] * 3)
    )
    assert all(one == answers[0] for one in answers)
    listed = api.client.get(f"/v1/jobs/{job}/votes").json()
    assert listed == {"items": [answers[0]], "total": 1}
    assert datetime.fromisoformat(answers[0]["at"]).tzinfo is not None
    assert {answers[0]["left"], answers[0]["right"]} == {"u2netp", "u2net"}
    assert ballot(api, job)["ballot"]["id"] != found["ballot"]["id"]


def test_a_vote_is_taken_back(api: Api, job: str) -> None:
    found = ballot(api, job)
    vote(api, found)
    link = found["ballot"]["links"]["vote"].removeprefix("/api")
    check_problem(api.client.delete(link, params={"voter": "Ben"}), 404, "ballot_gone")
    again = api.client.delete(link, params={"voter": "Ann"})
    assert again.status_code == 200
    assert again.json()["photo"] == found["ballot"]["photo"]
    assert api.client.get(f"/v1/jobs/{job}/votes").json()["total"] == 0
    check_problem(api.client.post(link, json={"voter": "Ann", "choice": "left"}), 404, "ballot_gone")
    assert ballot(api, job)["ballot"]["id"] == again.json()["id"]


def test_through_and_ranked(api: Api, job: str) -> None:
    empty = api.client.get(f"/v1/jobs/{job}/ranking").json()
    assert (empty["votes"], empty["enough"], empty["standings"]) == (0, False, [])
    for remaining in (3, 2, 1):
        found = ballot(api, job)
        assert found["remaining"] == remaining
        outcome = vote(api, found, "tie")
        side = "left" if outcome["left"] == "u2net" else "right"
        link = found["ballot"]["links"]["vote"].removeprefix("/api")
        api.client.delete(link, params={"voter": "Ann"})
        vote(api, ballot(api, job), side)
    assert ballot(api, job) == {"ballot": None, "remaining": 0, "votes": 3}
    ranked = api.client.get(f"/v1/jobs/{job}/ranking").json()
    assert [one["model"] for one in ranked["standings"]] == ["u2net", "u2netp"]
    assert (ranked["votes"], ranked["enough"], ranked["side_bias"]) == (3, False, False)
    assert (ranked["both_bad"]["share"], ranked["both_bad"]["total"]) == (0, 3)
    first = ranked["standings"][0]
    assert (first["preferred"]["share"], first["preferred"]["total"]) == (1, 3)
    assert first["low"] <= first["strength"] <= first["high"]
    page = api.client.get(f"/v1/jobs/{job}/votes", params={"offset": 1, "limit": 1}).json()
    assert (len(page["items"]), page["total"]) == (1, 3)


def test_a_link_to_pictures_lets_nobody_vote_and_one_to_vote_does(
    api: Api, running: Runtime, job: str, change: Changed
) -> None:
    change(api_keys=SecretStr(f"anna:{'a' * 24}"))
    to_vote, to_look = running.service.sign(voting(job)), running.service.sign(job)
    address = f"/v1/jobs/{job}/ballots"
    sent = {"voter": "Ann"}
    check_problem(api.client.post(address, json=sent), 401, "key_missing")
    check_problem(api.client.post(address, json=sent, params={"token": to_look}), 403, "link_invalid")
    found = ballot(api, job, token=to_vote)
    link = found["ballot"]["links"]["vote"].removeprefix("/api")
    said = {"voter": "Ann", "choice": "left"}
    check_problem(api.client.post(link, json=said, params={"token": to_look}), 403, "link_invalid")
    assert api.client.post(link, json=said, params={"token": to_vote}).status_code == 200
    assert api.client.get(found["ballot"]["links"]["left"].removeprefix("/api")).status_code == 200
    assert api.client.get(f"/v1/jobs/{job}/ranking", params={"token": to_look}).json()["votes"] == 1
    stranger = {"Authorization": f"Bearer {'a' * 24}"}
    check_problem(api.client.post(address, json=sent, headers=stranger), 404, "not_found")


def test_links_of_a_vote_open_nothing_that_tells_the_models(
    api: Api, running: Runtime, job: str, change: Changed
) -> None:
    """Every route there is, with the token of a ballot's pictures and with the one that lets people vote."""
    change(api_keys=SecretStr(f"anna:{'a' * 24}"))
    to_vote = running.service.sign(voting(job))
    shown = ballot(api, job, token=to_vote)["ballot"]
    assert "token" not in shown["links"]["vote"]
    links = [shown["links"][which] for which in ("left", "right", "original")]
    (of_pictures,) = {link.rpartition("token=")[2] for link in links}
    given = {"job_id": job, "ballot": shown["id"], "which": "left"}
    paths = api.client.get("/openapi.json").json()["paths"]
    opened: dict[str, list[str]] = {of_pictures: [], to_vote: []}
    for token, found in opened.items():
        for path, methods in paths.items():
            if "{job_id}" not in path:
                continue
            here = re.sub(r"\{(\w+)\}", lambda part: given.get(part[1], "0"), path)
            for method in sorted({"get", "post", "put", "patch", "delete"} & methods.keys()):
                answer = api.client.request(method, here.removeprefix("/api"), params={"token": token})
                if answer.status_code not in (401, 403):
                    found.append(f"{method} {path.partition('{job_id}')[2]}")
    assert opened[of_pictures] == ["get /ballots/{ballot}/pictures/{which}"]
    assert sorted(opened[to_vote]) == [
        "delete /ballots/{ballot}/vote",
        "get /ballots",
        "post /ballots",
        "post /ballots/{ballot}/vote",
    ]
    for link in links:
        assert api.client.get(link.removeprefix("/api")).status_code == 200
    to_look = running.service.sign(job)
    address = f"/v1/jobs/{job}/ballots/{shown['id']}/pictures/left"
    assert api.client.get(address, params={"token": to_look}).status_code == 200
    far = api.client.get(f"/v1/jobs/{job}/ballots", params={"token": to_vote}).json()
    assert far == {"votes": 0, "enough": False}


def test_a_link_to_a_ballots_pictures_that_has_expired_says_so(
    api: Api, running: Runtime, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ballot(api, job)["ballot"]["links"]["left"].removeprefix("/api")
    monkeypatch.setattr(running.service._links, "_lifetime_s", -1)
    check_problem(api.client.get(link), 410, "link_expired")


def test_a_pair_without_a_cutout_is_said_as_that(
    api: Api, running: Runtime, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.service._store
    whole, sent = store.tasks, {"voter": "Ann"}
    with monkeypatch.context() as meanwhile:
        without = lambda *asked: (replace(task, cutouts=()) for task in whole(*asked))  # noqa: E731
        meanwhile.setattr(store, "tasks", without)
        check_problem(api.client.post(f"/v1/jobs/{job}/ballots", json=sent), 409, "cutout_gone")
    assert api.client.post(f"/v1/jobs/{job}/ballots", json=sent).status_code == 200


def test_what_is_wrong_is_said_by_code(api: Api, job: str) -> None:
    address = f"/v1/jobs/{job}/ballots"
    check_problem(api.client.post(address, json={"voter": " "}), 422, "voter_name")
    check_problem(api.client.post(address, json={"voter": "x" * 61}), 422, "voter_name")
    check_problem(api.client.post(address, json={"voter": "Ann", "x": 1}), 422, "invalid_request")
    found = ballot(api, job)
    link = found["ballot"]["links"]["vote"].removeprefix("/api")
    check_problem(api.client.post(link, json={"voter": "Ann", "choice": "up"}), 422, "invalid_request")
    check_problem(api.client.post(link, json={"voter": "Ben", "choice": "left"}), 404, "ballot_gone")
    check_problem(api.client.get(f"{address}/0-{'0' * 32}/pictures/left"), 404, "ballot_gone")
    check_problem(api.client.get(f"{address}/x/pictures/left"), 422, "invalid_request")
    single = api.finished({"a.jpg": jpeg()}, {"models": ["u2netp"]})["id"]
    check_problem(api.client.post(f"/v1/jobs/{single}/ballots", json={"voter": "Ann"}), 409, "one_model")
    broken = api.finished({"a.jpg": jpeg()[:-200]}, BOTH)["id"]
    check_problem(
        api.client.post(f"/v1/jobs/{broken}/ballots", json={"voter": "Ann"}), 409, "nothing_to_vote"
    )
    for made in (single, broken):
        api.client.delete(f"/v1/jobs/{made}")
    gone = {"voter": "Ann", "choice": "left"}
    check_problem(api.client.post(link.replace(job, single), json=gone), 404, "not_found")
