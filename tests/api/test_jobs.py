"""Jobs over REST: made of a form, listed, looked at, cancelled, tried again, deleted."""

import asyncio
import io
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from photoproc.bootstrap import Runtime
from photoproc.jobs import Job
from photoproc.models.weights import Weights
from tests.api.support import Api, check_problem, jpeg, zipped
from tests.pictures import encoded
from tests.waiting import at_once, until

SLOW = {"models": ["bria-rmbg"]}
"""Weights that are not there: such a job waits until it is cancelled."""


@pytest.fixture
def waiting(api: Api) -> str:
    """A job that does not begin."""
    return str(api.made({"a.jpg": jpeg(), "b.jpg": jpeg(1)}, SLOW)["id"])


def test_a_form_of_photos_and_zips_becomes_a_job(api: Api) -> None:
    answer = api.post(
        {"größe 1.jpg": jpeg(), "trip.zip": zipped("x/1.jpg", "x/2.jpg"), "notes.txt": b"text"},
        {"models": ["u2netp"]},
        title="Holiday",
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}" == job["links"]["self"]
    assert [photo["name"] for photo in job["accepted"]] == ["größe 1.jpg", "x/1.jpg", "x/2.jpg"]
    assert [(one["name"], one["code"]) for one in job["refused"]] == [("notes.txt", "not_a_picture")]
    assert (job["title"], job["photo_count"], sum(job["counts"].values())) == ("Holiday", 3, 3)
    until(lambda: api.job(job["id"])["state"] == "done")
    archive = api.client.get(job["links"]["archive"].removeprefix("/api"))
    with zipfile.ZipFile(io.BytesIO(archive.content)) as packed:
        assert {"größe 1.png", "x/1.png", "x/2.png"} <= set(packed.namelist())


def test_a_file_sent_with_its_folder_keeps_it(api: Api) -> None:
    job = api.finished({"holiday/day 1/a.jpg": jpeg()})
    assert job["tasks"][0]["output"] == "holiday/day 1/a.png"


def test_without_a_recipe_the_default_model_runs(api: Api) -> None:
    assert api.made({"a.jpg": jpeg()})["recipe"]["models"] == ["u2netp"]


def test_the_smallest_recipe_is_transparent_and_uncropped(api: Api) -> None:
    recipe = api.made({"a.jpg": jpeg()}, {"models": ["u2netp"]})["recipe"]
    assert recipe["background"] == {"kind": "transparent"}
    assert recipe["framing"] == {"kind": "none"}


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ("{", "recipe"),
        ({"models": []}, "models"),
        ({"models": ["u2netp"], "background": {"kind": "colour", "colour": "nope"}}, "background.colour"),
        ({"models": ["u2netp"], "frames": {}}, "frames"),
    ],
)
def test_a_recipe_that_is_not_valid_is_refused_by_field(
    api: Api, running: Runtime, recipe: object, field: str
) -> None:
    before = running.service.job_count()
    problem = check_problem(api.post({"a.jpg": jpeg()}, recipe), 422, "invalid_recipe")
    assert problem["title"].startswith(field)
    assert running.service.job_count() == before
    assert not list((running.settings.data_dir / "staging").iterdir())


def test_an_unknown_model_is_refused(api: Api) -> None:
    check_problem(api.post({"a.jpg": jpeg()}, {"models": ["u3net"]}), 422, "model_unknown")


def test_files_of_which_none_can_be_used_make_no_job(api: Api) -> None:
    problem = check_problem(api.post({"a.txt": b"text", "b.jpg": b""}), 422, "no_photos")
    assert [(one["name"], one["code"]) for one in problem["refused"]] == [
        ("a.txt", "not_a_picture"),
        ("b.jpg", "empty_file"),
    ]
    check_problem(api.post({}, {"models": ["u2netp"]}), 415, "not_a_form")


def test_the_same_idempotency_key_gives_the_same_job(api: Api, running: Runtime) -> None:
    before = running.service.job_count()
    headers = {"Idempotency-Key": "once"}
    first = api.post({"a.jpg": jpeg()}, headers=headers)
    again = api.post({"a.jpg": jpeg()}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["accepted"] == again.json()["accepted"]
    assert (
        api.post({"a.jpg": jpeg()}, headers={"Idempotency-Key": "other"}).json()["id"] != again.json()["id"]
    )
    assert running.service.job_count() == before + 2


def test_requests_with_the_same_key_at_once_make_one_job(api: Api, running: Runtime) -> None:
    before = running.service.job_count()
    found = set[str]()

    def send() -> None:
        found.add(api.post({"a.jpg": jpeg()}, headers={"Idempotency-Key": "together"}).json()["id"])

    at_once(*[send] * 6)
    assert len(found) == 1
    assert running.service.job_count() == before + 1


def test_jobs_are_listed_by_pages_and_by_state(api: Api, waiting: str) -> None:
    done = [api.finished({"a.jpg": jpeg()})["id"] for _ in range(3)]
    first = api.client.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["items"]] == [done[2], done[1]]
    second = api.client.get("/v1/jobs", params={"limit": 2, "cursor": first["next"]}).json()
    assert [job["id"] for job in second["items"]] == [done[0], waiting]
    queued = api.client.get("/v1/jobs", params={"state": "queued", "limit": 1}).json()
    assert [job["id"] for job in queued["items"]] == [waiting]


def test_every_job_is_on_one_page(api: Api, running: Runtime, waiting: str) -> None:
    seen, cursor = [], None
    while True:
        page = api.client.get("/v1/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [job.id for job in running.service.jobs(limit=None)]


def test_tasks_come_by_pages_and_by_state(api: Api) -> None:
    photos = {f"{n}.jpg": jpeg(n) for n in range(5)} | {"broken.jpg": jpeg(9)[:-200]}
    job = api.finished(photos, {"models": ["u2netp"]})
    first = api.job(job["id"], limit=4)
    assert [task["number"] for task in first["tasks"]] == [0, 1, 2, 3]
    second = api.job(job["id"], limit=4, cursor=first["next"])
    assert [task["number"] for task in second["tasks"]] == [4, 5]
    assert second["next"] is None
    (failed,) = api.job(job["id"], state="failed")["tasks"]
    assert (failed["photo"], failed["problem"]["code"]) == ("broken.jpg", "photo_truncated")
    assert failed["links"]["cutout"] is None


def test_looking_through_many_tasks_holds_up_nobody(
    api: Api, running: Runtime, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    through: list[bool] = []  # whether on the event loop's thread
    task_numbers = running.service.task_numbers

    def watched(job_id: str, **which: Any) -> list[int]:
        try:
            through.append(asyncio.get_running_loop().is_running())
        except RuntimeError:
            through.append(False)
        return task_numbers(job_id, **which)

    monkeypatch.setattr(running.service, "task_numbers", watched)
    assert [task["number"] for task in api.job(waiting, cursor=1)["tasks"]] == [1]
    assert api.job(waiting, cursor=2)["tasks"] == api.job(waiting, cursor=10_000_000)["tasks"] == []
    assert through == []  # all tasks: no need to look
    few = api.job(waiting, state="queued", limit=1)
    monkeypatch.setattr("photoproc.api.jobs._MANY_TASKS", 1)
    many = api.job(waiting, state="queued", limit=1)
    assert through == [True, False]
    assert [one["number"] for one in few["tasks"]] == [one["number"] for one in many["tasks"]] == [0]
    assert few["next"] == many["next"] == 1
    assert [task["number"] for task in api.job(waiting, state="queued", cursor=1)["tasks"]] == [1]


def test_a_job_is_cancelled_once_however_often(api: Api, waiting: str) -> None:
    for _ in range(2):
        answer = api.client.post(f"/v1/jobs/{waiting}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert api.job(waiting)["revision"] == 1


def test_failed_tasks_are_tried_again(api: Api) -> None:
    job = api.finished({"broken.jpg": jpeg()[:-200]})
    assert job["state"] == "failed"
    answer = api.client.post(f"/v1/jobs/{job['id']}/retry")
    assert (answer.status_code, answer.json()["counts"]["failed"]) == (200, 0)
    until(lambda: api.job(job["id"])["state"] == "failed")
    assert api.job(job["id"])["revision"] == 5


def test_cancelled_tasks_can_be_queued_again(api: Api, waiting: str) -> None:
    api.client.post(f"/v1/jobs/{waiting}/cancel")
    assert api.client.post(f"/v1/jobs/{waiting}/retry").json()["counts"]["queued"] == 0
    again = api.client.post(f"/v1/jobs/{waiting}/retry", params={"state": ["cancelled", "failed"]}).json()
    assert (again["state"], again["counts"]["queued"]) == ("queued", 2)


def test_tasks_worth_a_look_can_be_asked_for(api: Api) -> None:
    job = api.finished({"a.jpg": jpeg(), "flat.png": encoded(Image.new("RGB", (64, 64), "gray"), "PNG")})
    looks = api.job(job["id"], needs_look=True)["tasks"]
    assert [task["photo"] for task in looks] == [
        task["photo"] for task in job["tasks"] if {one["code"] for one in task["warnings"]} & {"nothing_left"}
    ]
    assert job["needs_look"] == len(looks) > 0


def test_a_deleted_job_is_gone(api: Api, waiting: str) -> None:
    assert api.client.delete(f"/v1/jobs/{waiting}").status_code == 204
    check_problem(api.client.delete(f"/v1/jobs/{waiting}"), 404, "not_found")


@pytest.mark.parametrize("job_id", ["0" * 32, "nonsense", "..", "%00", "A" * 32])
@pytest.mark.parametrize("way", ["", "/cancel", "/retry", "/events", "/archive", "/tasks/0/cutout"])
def test_an_id_that_is_not_known_is_not_found(api: Api, job_id: str, way: str) -> None:
    method = "POST" if way in ("/cancel", "/retry") else "GET"
    assert api.client.request(method, f"/v1/jobs/{job_id}{way}").status_code == 404


def test_the_models_are_listed_with_their_state(api: Api, running: Runtime) -> None:
    models = api.client.get("/v1/models").json()
    assert models["default"] == "u2netp"
    states = {model["name"]: model for model in models["items"]}
    assert states["u2netp"]["state"] == "ready"
    assert states["bria-rmbg"]["commercial"] is False
    assert len(states) == len(running.service.models())


def test_a_job_says_which_model_it_waits_for_and_why_that_cannot_be_had(api: Api) -> None:
    made = api.made({"a.jpg": jpeg()}, {"models": ["u2netp", "silueta"]})
    until(lambda: api.job(made["id"])["waits_for"][0]["state"] == "failed")
    for job in (api.job(made["id"]), api.client.get("/v1/jobs", params={"limit": 1}).json()["items"][0]):
        (waits,) = job["waits_for"]
        assert waits["model"] == "silueta"
        assert waits["problem"]["code"] == "weights_unreachable"
        assert waits["problem"]["advice"]
    api.client.post(f"/v1/jobs/{made['id']}/cancel")
    assert api.job(made["id"])["waits_for"] == []


def test_weights_can_be_asked_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr(Weights, "request", lambda self, name: asked.append(name))
    answer = api.client.post("/v1/models/silueta/download")
    assert (answer.status_code, answer.json()["name"]) == (202, "silueta")
    assert asked == ["silueta"]
    check_problem(api.client.post("/v1/models/u3net/download"), 404, "not_found")


def test_the_server_is_ready_or_says_why_not(
    api: Api, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.client.get("/v1/ready").json() == {"ready": True, "reasons": {}}
    changed = running.settings.model_copy(update={"default_model": "silueta"})
    monkeypatch.setattr(running.service, "settings", changed)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 0, "total": 9})())
    answer = api.client.get("/v1/ready")
    assert answer.status_code == 503
    assert set(answer.json()["reasons"]) >= {"disk", "model"}


def test_metrics_count_what_was_done(api: Api, waiting: str) -> None:
    def figure(name: str) -> float:
        text = api.client.get("/v1/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    done = 'photoproc_tasks_ended_total{model="u2netp",state="done"}'
    ran = 'photoproc_step_seconds_count{model="u2netp",step="encode"}'
    before = figure(done), figure(ran)
    api.finished({"a.jpg": jpeg(), "b.jpg": jpeg(1)})
    assert (figure(done), figure(ran)) == (before[0] + 2, before[1] + 2)
    assert figure('photoproc_tasks{model="bria-rmbg",state="queued"}') >= 2
    assert figure("photoproc_children_alive") == 2
    assert figure("photoproc_disk_free_bytes") > 0


def test_the_document_describes_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/remove", "/v1/metrics"} <= set(document["paths"])
    assert client.get("/docs").status_code == 200
    for address in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert client.get(f"/static-offline-docs/{address}").status_code == 200


def test_jobs_of_the_dashboard_are_there_too(api: Api, running: Runtime) -> None:
    service = running.service
    batch = service.new_batch()
    photos = service.accept(batch, "a.jpg", io.BytesIO(jpeg())).photos
    made: Job = service.submit(batch, photos, service.job(api.made({"b.jpg": jpeg()})["id"]).recipe)
    assert api.job(made.id)["owner"] == ""
