"""Checks a running server as somebody would who builds on it: by HTTP and WebSocket, from its address alone.

    python -m tests.workflow http://localhost:8501 [--key KEY]

Prints a table and ends with 1 where anything is not as documented. The jobs it makes there it deletes.
"""

import argparse
import csv
import hashlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable

import httpx2
from PIL import Image
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.visitor import (
    API,
    Json,
    Visit,
    WrongError,
    body_of,
    check,
    check_log,
    check_sum,
    equal,
    photo,
    picture,
    problem,
    zipped,
)

_UNKNOWN = "0" * 32

Check = Callable[[Visit], None]
CHECKS: list[tuple[str, Check]] = []


def named(name: str) -> Callable[[Check], Check]:
    """Puts a check into the table."""

    def kept(run: Check) -> Check:
        CHECKS.append((name, run))
        return run

    return kept


@named("alive, ready, documented")
def health(visit: Visit) -> None:
    equal(visit.get(f"{API}/health"), {"status": "ok"}, "health")
    equal(visit.keyless.get("/api/docs").status_code, 200, "the status of the documentation")
    paths = visit.get("/api/openapi.json")["paths"]
    for path in ("/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/archive", "/v1/remove"):
        check(path in paths, f"{path} is not in the OpenAPI document")
    until = time.monotonic() + visit.patience_s
    while (answer := visit.http.get(f"{API}/ready")).status_code == 503 and time.monotonic() < until:
        time.sleep(0.5)  # weights may be on their way
    equal(body_of(answer, 200), {"ready": True, "reasons": {}}, "readiness")


@named("models with licences and states; one is ready")
def models(visit: Visit) -> None:
    catalogue = visit.get(f"{API}/models")
    states = {one["name"]: one["state"] for one in catalogue["items"]}
    check(all(one["licence"] for one in catalogue["items"]), "a model has no licence")
    check(catalogue["default"] in states, "the default model is not in the catalogue")
    ready = [name for name, state in states.items() if state == "ready"]
    check(ready, f"no model is ready: {states}")
    visit.model = catalogue["default"] if catalogue["default"] in ready else ready[0]
    problem(visit.http.post(f"{API}/models/no-such-model/download"), 404, "not_found")


@named("figures for Prometheus")
def metrics(visit: Visit) -> None:
    answer = visit.http.get(f"{API}/metrics")
    equal(answer.status_code, 200, "the status")
    check("photoproc_queue_depth" in answer.text, "the queue's depth is not among the figures")


@named("who calls: no key and a wrong one are refused")
def keys(visit: Visit) -> None:
    problem(visit.keyless.get(f"{API}/jobs"), 401, "key_missing")
    problem(visit.keyless.get(f"{API}/jobs", headers={"X-Api-Key": "wrong"}), 401, "key_unknown")
    bearer = {"Authorization": f"Bearer {visit.key}"}
    equal(visit.keyless.get(f"{API}/jobs", headers=bearer).status_code, 200, "the status by Bearer")


@named("one photo, as body and as form")
def one_photo(visit: Visit) -> None:
    given = photo(0)
    asked: Json = {"model": visit.model}
    cutout = picture(visit.http.post(f"{API}/remove", params=asked, content=given), "png")
    equal(cutout.size, Image.open(io.BytesIO(given)).size, "its size")
    equal(cutout.getchannel("A").getextrema(), (0, 255), "the range of its alpha")
    asked |= {"background": "colour", "colour": "#336699", "crop": "face", "aspect": "1:1"}
    answer = visit.http.post(f"{API}/remove", params=asked, files={"file": ("a.jpg", given)})
    face = picture(answer, "png")
    check(face.width == face.height < cutout.height, f"the face crop is {face.size}")
    check("A" not in face.getbands(), "a background colour leaves holes")
    asked = {"model": visit.model, "crop": "subject", "width": 96, "height": 64, "format": "webp"}
    subject = picture(visit.http.post(f"{API}/remove", params=asked, content=given), "webp")
    equal((subject.size, subject.mode), ((96, 64), "RGBA"), "the subject in the size asked for")
    wrong = visit.http.post(f"{API}/remove", params={"aspect": "wide"}, content=given)
    check("size.aspect" in problem(wrong, 422, "invalid_recipe")["title"], "the wrong field is not named")


@named("a recipe by name: saved, used, forgotten")
def by_name(visit: Visit) -> None:
    name = f"workflow {time.time_ns()}"
    wanted = {
        "models": [visit.model],
        "background": {"kind": "gradient", "start": "#ffffff", "end": "#88aacc"},
        "framing": {"kind": "subject", "margin": 0.1},
        "size": {"aspect": "1:1"},
        "output": {"format": "jpeg", "longest": 64, "name": "{n}-{stem}", "sheet": {}},
    }
    saved = body_of(visit.http.put(f"{API}/recipes/{name}", json=wanted), 200)
    try:
        there = visit.get(f"{API}/recipes")
        check(saved in there["saved"], "it is not among the saved recipes")
        check("Passport" in [one["name"] for one in there["built_in"]], "no passport recipe comes with it")
        made = body_of(
            visit.http.post(f"{API}/jobs", files={"files": ("a.jpg", photo(14))}, data={"recipe": name}), 202
        )
        visit.made.append(made["id"])
    finally:
        equal(visit.http.delete(f"{API}/recipes/{name}").status_code, 204, "the status")
    problem(visit.http.delete(f"{API}/recipes/{name}"), 404, "not_found")
    job = visit.ended(made["id"])
    equal(job["recipe"], saved["recipe"], "the recipe of the job")
    (cutout,) = job["tasks"][0]["cutouts"]
    equal((cutout["output"], cutout["size_wh"]), ("1-a.jpg", [64, 64]), "the cutout")
    equal(picture(visit.keyless.get(cutout["link"]), "jpeg").size, (64, 64), "its size")
    equal([one["output"] for one in cutout["also"]], ["1-a-sheet.jpg", "1-a-sheet.pdf"], "what goes with it")
    sheet = visit.keyless.get(cutout["also"][1]["link"])
    equal(sheet.headers.get("content-type"), "application/pdf", "the type of the sheet")


@named("many photos: a job, live by WebSocket")
def live(visit: Visit) -> None:
    visit.uploads = {f"photo-{number}.jpg": photo(number) for number in range(6)}
    job = visit.submit(visit.uploads)
    visit.heard, code = visit.listen(job["id"])
    equal([one["name"] for one in job["accepted"]], list(visit.uploads), "what was accepted")
    equal(job["refused"], [], "what was refused")
    snapshot, *changes = visit.heard
    equal((snapshot["type"], len(snapshot["states"])), ("snapshot", 6), "the first event")
    check(changes, "the job had ended before the first event came")
    equal(code, 1000, "the code that the socket is closed with")
    visit.jobs["many"] = visit.get(snapshot["job"]["links"]["self"])
    check_log(changes, snapshot["cursor"], visit.jobs["many"])
    equal((changes[-1]["job"]["state"], changes[-1]["job"]["counts"]["done"]), ("done", 6), "the end")


@named("a cut WebSocket goes on; polling tells the same")
def resumed(visit: Visit) -> None:
    job, (_, *changes) = visit.jobs["many"], visit.heard
    polled = visit.poll(job["id"], limit=3)
    check_log(polled, 0, job)
    equal(polled[len(polled) - len(changes) :], changes, "the polled log")
    again, code = visit.listen(job["id"], f"?after={polled[4]['cursor']}")
    equal((again, code), (polled[5:], 1000), "the rest of the log")


@named("a ZIP with folders, live by polling")
def folders(visit: Visit) -> None:
    inside = {"trip/day 1/a.jpg": photo(7), "trip/ünïcode.jpg": photo(8), "trip/notes.txt": b"no picture"}
    recipe = {"models": [visit.model], "background": {"kind": "colour", "colour": "#ffffff"}}
    made = visit.submit({"trip.zip": zipped(inside | {"__MACOSX/a.jpg": b"?"})}, recipe)
    equal([one["name"] for one in made["accepted"]], list(inside)[:2], "what was accepted")
    equal([one["code"] for one in made["refused"]], ["not_a_picture"], "why the text was refused")
    events = visit.poll(made["id"], limit=500)
    job = visit.get(f"{API}/jobs/{made['id']}")
    check_log(events, 0, job)
    equal([task["output"] for task in job["tasks"]], ["trip/day 1/a.png", "trip/ünïcode.png"], "outputs")
    visit.jobs["folders"] = job


@named("the whole job as a ZIP with its manifest")
def archives(visit: Visit) -> None:
    for job in (visit.jobs["many"], visit.jobs["folders"]):
        answer = visit.keyless.get(job["links"]["archive"])
        equal(
            (answer.status_code, answer.headers.get("content-type")), (200, "application/zip"), "the answer"
        )
        equal(answer.headers.get("content-length"), str(len(answer.content)), "Content-Length")
        check("filename*=UTF-8''" in answer.headers["content-disposition"], "the ZIP has no name")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
            equal(packed.testzip(), None, "the damaged file in the ZIP")
            rows = json.loads(packed.read("manifest.json"))["tasks"]
            lines = list(csv.DictReader(io.StringIO(packed.read("manifest.csv").decode("utf-8-sig"))))
            files = {name: packed.read(name) for name in packed.namelist() if name.endswith(".png")}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        equal({row["output"]: row["cutout_sha256"] for row in rows}, sums, "the manifest")
        equal({task["output"]: task["sha256"] for task in job["tasks"]}, sums, "what the tasks say")
        equal([line["output"] for line in lines], [row["output"] for row in rows], "the CSV manifest")


@named("pictures one by one: kinds, ETag, ranges")
def pictures(visit: Visit) -> None:
    task = visit.jobs["many"]["tasks"][1]
    links, here = task["links"], f"{API}/jobs/{visit.jobs['many']['id']}/tasks/1"
    answer = visit.keyless.get(links["cutout"])
    cutout = picture(answer, "png")
    equal(list(cutout.size), task["size_wh"], "the cutout's size")
    equal(hashlib.sha256(answer.content).hexdigest(), task["sha256"], "the cutout's SHA-256")
    equal(visit.keyless.get(links["original"]).content, visit.uploads["photo-1.jpg"], "the original")
    mask = picture(visit.keyless.get(links["mask"]), "png")
    equal(mask.mode, "L", "the mask's mode")
    small = picture(visit.http.get(f"{here}/preview", params={"max_side": 96}), "webp")
    equal(max(small.size), 96, "the preview's longer side")
    picture(visit.keyless.get(links["before"]), "webp")
    unchanged = visit.http.get(f"{here}/cutout", headers={"If-None-Match": answer.headers["etag"]})
    equal((unchanged.status_code, unchanged.content), (304, b""), "the answer to its ETag")
    part = visit.http.get(f"{here}/cutout", headers={"Range": "bytes=8-99"})
    equal((part.status_code, part.content), (206, answer.content[8:100]), "the answer to a range")
    named_file = visit.http.get(f"{here}/cutout", params={"download": True})
    check("photo-1.png" in named_file.headers["content-disposition"], "a download has no name")
    inline = visit.get(f"{here}/cutout", **{"as": "data_url"})
    check(inline["data_url"].startswith("data:image/png;base64,"), "there is no data URL")


@named("an idempotency key makes one job")
def idempotent(visit: Visit) -> None:
    key = hashlib.sha256(str(time.time_ns()).encode()).hexdigest()
    files = {"once.jpg": photo(10)}
    first = visit.submit(files, idempotency_key=key)
    equal(visit.submit(files, idempotency_key=key)["id"], first["id"], "the job of the same key")
    check(visit.submit(files)["id"] != first["id"], "without the key it is the same job")


@named("bad files and recipes are refused by name")
def refused(visit: Visit) -> None:
    job = visit.submit({"notes.txt": b"just text", "good.jpg": photo(11)})
    equal([one["name"] for one in job["accepted"]], ["good.jpg"], "what was accepted")
    (notes,) = job["refused"]
    equal((notes["name"], notes["code"]), ("notes.txt", "not_a_picture"), "what was refused")
    check(notes["advice"], "there is no advice")
    alone = visit.http.post(f"{API}/jobs", files={"files": ("notes.txt", b"just text")})
    equal(problem(alone, 422, "no_photos")["refused"][0]["name"], "notes.txt", "what was refused")
    wrong = visit.http.post(f"{API}/jobs", files={"files": ("a.jpg", photo(11))}, data={"recipe": '{"x": 1}'})
    problem(wrong, 422, "invalid_recipe")
    problem(visit.http.post(f"{API}/jobs", json={}), 415, "not_a_form")


@named("a damaged photo fails alone, and can be retried")
def damaged(visit: Visit) -> None:
    job = visit.submit({"whole.jpg": photo(12), "half.jpg": photo(13)[:-2000]})
    ended = visit.ended(job["id"])
    equal([task["state"] for task in ended["tasks"]], ["done", "failed"], "the states")
    check(ended["tasks"][1]["problem"]["advice"], "there is no advice")
    body_of(visit.http.post(f"{API}/jobs/{job['id']}/retry"), 200)
    events = visit.poll(job["id"], limit=500)
    again = [one["state"] for one in events if one["cursor"] > ended["revision"]]
    equal(again, ["queued", "running", "failed"], "what the retry did")


@named("cancel")
def cancelled(visit: Visit) -> None:
    job = visit.submit({f"{number}.jpg": photo(20 + number) for number in range(30)})
    for _ in range(2):  # it may be asked twice
        body_of(visit.http.post(f"{API}/jobs/{job['id']}/cancel"), 200)
    ended = visit.ended(job["id"])
    equal(ended["state"], "cancelled", "the state")
    check(ended["counts"]["cancelled"] > 0, "no task was cancelled")
    check_sum(ended, 30)


@named("jobs by page and by state")
def listed(visit: Visit) -> None:
    mine = list(dict.fromkeys(reversed(visit.made)))
    found: list[str] = []
    cursor: str | None = None
    while not set(mine) <= set(found):
        page = visit.get(f"{API}/jobs", limit=2, **({"cursor": cursor} if cursor else {}))
        found, cursor = found + [job["id"] for job in page["items"]], page["next"]
        if cursor is None:
            break
    equal([job_id for job_id in found if job_id in mine], mine, "the jobs, newest first")
    wanted = visit.get(f"{API}/jobs", state="cancelled")["items"]
    equal({job["state"] for job in wanted}, {"cancelled"}, "the state of the jobs asked for")


@named("an unknown id is a 404 everywhere")
def unknown(visit: Visit) -> None:
    here = f"{API}/jobs/{_UNKNOWN}"
    for path in ("", "/events", "/archive", "/tasks/0/cutout", "/tasks/0/mask"):
        problem(visit.http.get(here + path), 404, "not_found")
    for path in ("/cancel", "/retry"):
        problem(visit.http.post(here + path), 404, "not_found")
    problem(visit.http.delete(here), 404, "not_found")
    problem(visit.http.get(f"{API}/jobs/{visit.jobs['many']['id']}/tasks/6/cutout"), 404, "not_found")
    try:
        visit.listen(_UNKNOWN)
    except InvalidStatus as refusal:
        equal(refusal.response.status_code, 404, "the answer to a WebSocket")
    else:
        raise WrongError("a WebSocket opens for it")


@named("deleted is gone")
def deleted(visit: Visit) -> None:
    job = visit.jobs["many"]
    equal(visit.http.delete(job["links"]["self"]).status_code, 204, "the status")
    problem(visit.http.get(job["links"]["self"]), 404, "not_found")
    problem(visit.keyless.get(job["links"]["archive"]), 404, "not_found")
    problem(visit.http.delete(job["links"]["self"]), 404, "not_found")


def run(visit: Visit) -> list[tuple[str, float, str]]:
    """Each check's name, seconds and what is wrong (nothing where it is as it should be)."""
    rows: list[tuple[str, float, str]] = []
    for name, made in CHECKS:
        if made is keys and visit.key is None:
            continue  # this server answers its own machine
        started, wrong = time.monotonic(), ""
        try:
            made(visit)
        except WrongError as error:
            wrong = str(error)
        except (httpx2.HTTPError, WebSocketException, OSError) as error:
            wrong = f"no answer: {error!r}"
        except (LookupError, TypeError, ValueError, zipfile.BadZipFile) as error:
            wrong = f"an answer cannot be understood, or an earlier check failed: {error!r}"
        rows.append((name, time.monotonic() - started, wrong))
        if wrong and made is health:
            break  # nothing else can be expected of it
    return rows


def report(rows: list[tuple[str, float, str]]) -> str:
    """The table, and below it what is wrong."""
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'check':{width}}  {'result':6}  seconds"]
    lines += [f"{name:{width}}  {'FAILED' if wrong else 'ok':6}  {took:7.2f}" for name, took, wrong in rows]
    failed = [f"{name}: {wrong}" for name, _, wrong in rows if wrong]
    said = f"{len(failed)} of {len(rows)} checks failed." if failed else f"All {len(rows)} checks passed."
    return "\n".join([*lines, "", said, *failed])


def main(arguments: list[str] | None = None) -> int:
    """Visit a server; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", nargs="?", default="http://localhost:8501")
    parser.add_argument("--key", help="an API key, where the server wants one")
    parser.add_argument("--patience", type=float, default=300, metavar="S", help="for one answer or job")
    options = parser.parse_args(arguments)
    visit = Visit(options.url.rstrip("/"), options.key, options.patience)
    try:
        rows = run(visit)
    finally:
        visit.close()
    print(report(rows))
    return int(any(wrong for _, _, wrong in rows))


if __name__ == "__main__":
    sys.exit(main())
