"""Forms of a model beside their original, over a real server: offered, compared, shown, made and deleted."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc import bootstrap, starting
from photoproc.api.app import create_api
from photoproc.bootstrap import Runtime
from photoproc.models import forms
from photoproc.models.weights import Phase
from photoproc.recipe import Recipe
from tests.api.support import Api, local
from tests.models.support import weights_file
from tests.models.test_forms import STEADY, a_form, put_form
from tests.pages.support import control, dashboard, healthy, labels, made_job, plain, press
from tests.test_service import code_of
from tests.waiting import until

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A server with u2netp, and forms of it as if they had been made: two faster, one not."""
    folder = tmp_path_factory.mktemp("forms")
    home = folder / "home"
    home.mkdir()
    (home / "u2netp.onnx").symlink_to(weights_file(model_dir, "u2netp"))
    made = Runtime(
        starting.load_settings().model_copy(
            update={
                "data_dir": folder / "data",
                "model_dir": home,
                "default_model": "u2netp",
                "offline": True,
                "min_free_disk_mb": 1,
            }
        )
    )
    on = forms.runs_on(made.settings.threads_per_child)
    put_form(home, a_form(measured_on=on))
    put_form(home, a_form(kind="fp16", form_s=STEADY, measured_on=on, soft_iou=0.999))
    original = (home / "u2netp.onnx").read_bytes()  # which is what runs, in bfloat16
    digest = f"sha256:{hashlib.sha256(original).hexdigest()}"
    put_form(home, a_form(kind="bf16", measured_on=on, made=digest), original)
    made.start()
    before = bootstrap._runtime  # that of other tests' pages
    bootstrap.install(made)
    for form in ("u2netp-int8", "u2netp-bf16"):
        until(lambda form=form: made.service.model(form).weights.phase is Phase.READY)  # type: ignore[misc]
    until(lambda: made.service.model("u2netp").weights.phase is Phase.READY)
    yield made
    bootstrap.install(before)
    made.stop()


def test_a_form_is_compared_with_its_original_as_any_model(server: Runtime) -> None:
    job = made_job(server.service, "a.jpg", "b.jpg", recipe=Recipe(models=("u2netp", "u2netp-int8")))
    found = server.service.comparison(job.id)
    assert [(one.model, one.done) for one in found.times] == [("u2netp", 2), ("u2netp-int8", 2)]
    assert all(one.distance is not None and one.distance.disagreement > 0 for one in found.photos)
    assert "| **u2netp-int8** |" in plain(dashboard("compare.py", job=job.id))


def test_a_form_in_bfloat16_is_measured_by_a_time_trial_as_it_runs_in_jobs(server: Runtime) -> None:
    service = server.service
    job = made_job(service, "c.jpg", recipe=Recipe(models=("u2netp", "u2netp-bf16")))
    service.start_trial(job.id, photos=1, rounds=1)
    until(lambda: (trial := service.trial(job.id)) is not None and trial.state.final, within_s=120)
    trial = service.trial(job.id)
    assert trial is not None
    assert trial.problem is None
    (ran,) = [task.provider for task in service.tasks(job.id) if task.model == "u2netp-bf16"]
    measured = {one.model: one.provider for one in trial.figures}
    assert measured["u2netp-bf16"] == ran != measured["u2netp"]


def test_only_what_is_faster_can_be_chosen(server: Runtime) -> None:
    names = [word.partition(" · ")[0] for word in control(dashboard("process.py"), "Models").options]
    assert names[:4] == ["u2net", "u2netp", "u2netp-bf16", "u2netp-int8"], "behind what they are forms of"
    with local(create_api(lambda: server.service)) as client:
        models = {one["name"]: one for one in Api(client).client.get("/v1/models").json()["items"]}
    assert models["u2netp-int8"]["good_at"].startswith("u2netp in int8: 0.15 s an inference against 0.30 s")
    assert "u2netp-fp16" not in models
    recipe = Recipe(models=("u2netp-fp16",))
    assert code_of(lambda: made_job(server.service, "a.jpg", recipe=recipe)) == "model_unknown"
    held = server.service.waits_for("u2netp-fp16")  # of a job from when it was faster
    assert held is not None
    assert held.problem is not None
    assert held.problem.code == "form_slower"


def test_the_system_page_shows_what_forms_take_and_makes_measures_and_deletes_them(server: Runtime) -> None:
    app = dashboard("system.py")
    said = plain(app)
    assert (
        "u2netp-int8 · soft IoU 0.970 with u2netp · 0.15 s an inference against 0.30 s, faster here." in said
    )
    slower = "Made, and not faster here: 0.30 s an inference against 0.30 s."
    assert f"u2netp-fp16 · soft IoU 0.999 with u2netp · {slower}" in said
    assert labels(app).count("Measure again") == 3
    assert "Make an int8 form" not in labels(app), "of models that are not there none can be made"
    (delete,) = [button for button in app.button if button.key == "gone-u2netp-fp16"]
    healthy(delete.click().run())
    assert "u2netp-fp16" not in server.service.forms().made
    app = press(dashboard("system.py"), "Make an fp16 form")
    until(lambda: server.service.forms().at_work is None, within_s=300)
    assert server.service.forms().problems == {}
    assert server.service.forms().made["u2netp-fp16"].form.original_s != STEADY
    assert "u2netp-fp16 · soft IoU" in plain(dashboard("system.py"))
