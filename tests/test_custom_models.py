"""A team's own model beside a public one, over a real server with real children: from job to comparison."""

import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc import bootstrap
from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.jobs import Job, TaskState
from photoproc.models.weights import Phase
from photoproc.recipe import Recipe
from photoproc.service import PhotoService
from photoproc.settings import Settings
from tests.api.support import Api, check_problem, jpeg, local
from tests.models import own_onnx
from tests.models.own_onnx import LIKE_U2NET, put
from tests.models.support import weights_file
from tests.pages.support import choose, control, dashboard, labels, plain, press
from tests.pictures import sample
from tests.test_service import code_of
from tests.waiting import until

pytestmark = pytest.mark.models
BOTH = Recipe(models=("u2netp", "team"))
HOSTILE = "<img src=x>\u202e[a](b)"


class Team:
    """A server whose model folder has u2netp, a copy of it as `team`, and files that are no models."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.home = folder / "models"
        self.home.mkdir()
        self.u2netp = weights_file(model_dir, "u2netp")
        (self.home / "u2netp.onnx").symlink_to(self.u2netp)
        self.restore()
        put(self.home, "broken", own_onnx.averaging(inputs=2), own_onnx.TOML.replace("MIT", "*In-house*"))
        put(self.home, HOSTILE, b"")
        put(self.home, "typo", b"", "license = 'MIT'")
        self.runtime = Runtime(
            Settings(
                data_dir=folder / "data",
                model_dir=self.home,
                default_model="u2netp",
                offline=True,
                max_concurrent=1,
                min_free_disk_mb=1,
            )
        )

    @property
    def service(self) -> PhotoService:
        return self.runtime.service

    def restore(self) -> None:
        put(self.home, "team", self.u2netp.read_bytes(), LIKE_U2NET + 'nickname = "<b>ours"\n')

    def phase(self, name: str = "team") -> Phase | None:
        found = [one.weights.phase for one in self.service.models() if one.spec.name == name]
        return found[0] if found else None

    def weights_id(self) -> str:
        return self.service.model("team").spec.weights_id

    def submit(self, recipe: Recipe = BOTH, *names: str) -> Job:
        batch = self.service.new_batch()
        photos = [
            photo
            for name in names or ("coffee.png", "cat.png")
            for photo in self.service.accept(batch, name, io.BytesIO(sample(name))).photos
        ]
        return self.service.submit(batch, photos, recipe)

    def finished(self, recipe: Recipe = BOTH, *names: str) -> Job:
        job = self.submit(recipe, *names)
        until(lambda: self.service.job(job.id).state.final)
        return self.service.job(job.id)

    def masks(self, job: Job) -> list[bytes]:
        return [self.service.mask(task).read_bytes() for task in self.service.tasks(job.id)]


@pytest.fixture(scope="module")
def started(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = Team(tmp_path_factory.mktemp("team"), model_dir)
    made.runtime.start()
    yield made
    made.runtime.stop()


@pytest.fixture
def team(started: Team) -> Iterator[Team]:
    """The server as the process's own, with `team` in its folder and ready; without jobs in the end."""
    before = bootstrap._runtime
    bootstrap.install(started.runtime)
    if not (started.home / "team.toml").exists() or own_is_other(started):
        started.restore()
    until(lambda: started.phase() is Phase.READY and started.phase("broken") is Phase.FAILED)
    yield started
    for job in started.service.jobs(limit=None):
        started.service.delete(job.id)
    bootstrap.install(before)


def own_is_other(team: Team) -> bool:
    path = team.home / "team.onnx"
    return not path.exists() or path.stat().st_size != team.u2netp.stat().st_size


def test_a_custom_model_makes_masks_beside_a_public_one_and_both_are_compared(team: Team) -> None:
    job = team.finished()
    tasks = team.service.tasks(job.id)
    assert [(task.model, task.state, task.weights_id != "") for task in tasks] == [
        ("u2netp", TaskState.DONE, True),
        ("team", TaskState.DONE, True),
    ] * 2
    masks = team.masks(job)
    assert masks[0::2] == masks[1::2], "the same network"
    assert masks[0] != masks[2]
    found = team.service.comparison(job.id)
    assert [one.distance.disagreement for one in found.photos if one.distance] == [0.0, 0.0]
    assert [(one.model, one.done, one.kept) for one in found.times] == [("u2netp", 2, 0), ("team", 2, 0)]
    assert "team" in team.service.speeds()
    assert "team" in team.service.figures()
    packed = b"".join(team.service.archive(job.id).chunks)
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    assert {"u2netp/coffee.png", "team/coffee.png"} <= set(names)
    again = team.finished()
    assert all(task.mask_from_cache for task in team.service.tasks(again.id))
    assert team.service.masks_kept([tasks[0].photo], "team") == 1


def test_a_replaced_file_makes_masks_of_its_own_and_earlier_jobs_keep_theirs(team: Team) -> None:
    first = team.finished()
    known, masks = team.weights_id(), team.masks(first)
    put(team.home, "team", own_onnx.averaging(side=320), own_onnx.TOML.replace("32, 32", "320, 320"))
    until(lambda: team.phase() is Phase.READY and team.weights_id() != known)
    second = team.finished()
    tasks = team.service.tasks(second.id)
    assert [task.mask_from_cache for task in tasks] == [True, False] * 2
    assert team.masks(second)[1] != masks[1]
    assert team.masks(first) == masks
    distances = [one.distance for one in team.service.comparison(second.id).photos]
    assert all(one is not None and one.disagreement > 0.1 for one in distances)
    assert [
        one.distance.disagreement for one in team.service.comparison(first.id).photos if one.distance
    ] == [
        0.0,
        0.0,
    ]


def test_what_was_made_by_a_model_that_is_gone_stays_and_what_waits_for_it_is_told(team: Team) -> None:
    job = team.finished()
    other = team.finished(BOTH, "coffee.png")
    figures = team.service.comparison(job.id)
    put(team.home, "team", own_onnx.endless(), own_onnx.TOML)
    until(lambda: team.phase() is Phase.CHECKING)
    waiting = team.submit()
    assert waiting.state.final is False
    for end in ("toml", "onnx"):
        (team.home / f"team.{end}").unlink()
    until(lambda: team.phase() is None)
    assert code_of(lambda: team.submit()) == "model_unknown"
    assert code_of(lambda: team.service.model("team")) == "model_unknown"
    assert team.service.comparison(job.id).photos == figures.photos
    assert team.service.comparison(other.id).measured == 1, "also where it was not measured before"
    assert len(team.masks(job)) == 4
    assert team.service.difference(job.id, 0)

    until(lambda: team.service.job(waiting.id).counts.done == 2)
    missing = team.service.waits_for("team")
    assert missing is not None
    assert missing.problem is not None
    assert missing.problem.code == "model_gone"
    app = dashboard("jobs.py", job=waiting.id)
    assert "team is not in the model folder any more. Put team.onnx and team.toml back" in plain(app)
    assert "Download team again" not in labels(app)
    press(app, "Finish without team")
    until(lambda: team.service.job(waiting.id).state.final)
    assert team.service.job(waiting.id).counts.skipped == 2
    page = dashboard("compare.py", job=job.id)
    assert "| **team** |" in plain(page)
    again = dashboard("process.py", again=job.id)
    assert list(control(again, "Models").value) == ["u2netp"]


def test_a_model_that_comes_back_is_waited_for_and_used(team: Team) -> None:
    for end in ("toml", "onnx"):
        shutil.copy(team.home / f"team.{end}", team.home.parent / f"kept.{end}")
    put(team.home, "team", None, "licence = 1")
    until(lambda: team.phase() is None)
    for end in ("onnx", "toml"):
        os.replace(team.home.parent / f"kept.{end}", team.home / f"team.{end}")
    until(lambda: team.phase() is Phase.READY)
    assert team.finished(Recipe(models=("team",)), "coffee.png").counts.done == 1


def test_the_system_page_shows_custom_models_and_says_what_is_none(team: Team) -> None:
    app = dashboard("system.py")
    said = plain(app)
    assert "custom model · Apache-2.0 · 320×320 · 5 MB" in said
    assert "custom model · *In-house* · 32×32" in said
    assert "broken.onnx does not fit: it takes 2 inputs (x, z); it must take one." in said
    assert "typo.toml" in said
    assert "licence: it is missing" in said
    assert "<img src=x>�[a](b).toml" in said
    raw = "\n".join(str(one.value) for one in app.markdown)
    assert "\\<img src=x\\>" in raw
    assert "\\*In\\-house\\*" in raw
    keys = [button.key for button in app.button if button.label == "Check again"]
    assert keys == ["download-broken"]


def test_a_custom_model_can_be_chosen_on_the_process_page(team: Team) -> None:
    app = dashboard("process.py")
    options = control(app, "Models").options
    assert options[-2:] == ["broken · own", "team · <b>ours"]
    app = choose(app, {"Models": ["team", "broken"]})
    said = plain(app)
    assert "team · custom model · Apache-2.0" in said.replace("**", "")
    assert "failed: broken.onnx does not fit" in said
    assert "Check broken again" in labels(app)


@pytest.fixture
def api(team: Team) -> Iterator[Api]:
    with local(create_api(lambda: team.service)) as client:
        yield Api(client)


def test_the_api_lists_custom_models_and_takes_them(api: Api, team: Team) -> None:
    found = api.client.get("/v1/models").json()
    models = {one["name"]: one for one in found["items"]}
    assert [name for name, one in models.items() if one["custom"]] == ["broken", "team"]
    assert (models["team"]["state"], models["team"]["input_wh"]) == ("ready", [320, 320])
    assert (models["broken"]["state"], models["broken"]["problem"]["code"]) == ("failed", "custom_shape")
    refused = {one["name"]: one["code"] for one in found["refused"]}
    assert refused == {"<img src=x>�[a](b).toml": "custom_name", "typo.toml": "custom_toml"}
    made = api.finished({"a.jpg": jpeg()}, {"models": ["team"]})
    (task,) = made["tasks"]
    assert (task["model"], task["state"]) == ("team", "done")
    mask = api.client.get(task["links"]["mask"].removeprefix("/api"))
    assert (mask.status_code, "-team-" in mask.headers["etag"]) == (200, True)
    one = api.client.post("/v1/remove?model=team", content=jpeg(1))
    assert (one.status_code, one.headers["content-type"]) == (200, "image/png")
    plain_door = api.client.post("/remove", files={"file": jpeg(1)}, data={"model": "team"})
    assert plain_door.status_code == 200
    unknown = api.client.post("/remove", files={"file": jpeg(1)}, data={"model": "u3net"})
    assert unknown.status_code == 422
    assert "bria-rmbg, broken, team" in unknown.text
    check_problem(api.post({"a.jpg": jpeg()}, {"models": ["u3net"]}), 422, "model_unknown")


def test_the_api_checks_a_custom_model_again(api: Api, team: Team) -> None:
    answer = api.client.post("/v1/models/broken/download")
    assert (answer.status_code, answer.json()["state"]) == (202, "checking")
    until(lambda: team.phase("broken") is Phase.FAILED)
    check_problem(api.client.post("/v1/models/gone/download"), 404, "not_found")


def test_the_checks_are_kept_over_a_restart(team: Team) -> None:
    kept = sorted(path.name for path in (team.runtime.settings.data_dir / "probes").iterdir())
    assert len(kept) >= 2
    again = Runtime(team.runtime.settings.model_copy(update={"data_dir": team.home.parent / "other"}))
    shutil.copytree(team.runtime.settings.data_dir / "probes", team.home.parent / "other" / "probes")
    again._weights.start()
    until(lambda: "team" in again._weights.ready())
    assert sorted(path.name for path in (team.home.parent / "other" / "probes").iterdir()) == kept
    again.stop()
