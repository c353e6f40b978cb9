"""Forms of models: fed as rembg feeds the original, measured, offered only where they are faster here."""

import hashlib
import importlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from photoproc.errors import ModelError, ServiceError
from photoproc.make_form import make_form
from photoproc.models import custom, forms
from photoproc.models.catalogue import CATALOGUE, ModelSpec
from photoproc.models.checksums import digest
from photoproc.models.form_making import WORK_PREFIX, FormMaker, Order, clear_all, run
from photoproc.models.forms import FED, Form, Speed
from photoproc.models.matting import Matting
from photoproc.models.probe import Limits
from photoproc.models.providers import Choice
from photoproc.models.registry import Models
from photoproc.models.weights import Phase
from photoproc.settings import Settings
from tests.conftest import skip_or_fail
from tests.faults.processes import children_of, command_of, kill
from tests.long import LONG, by_hand
from tests.models import own_onnx
from tests.models.support import U8, spec_for, weights_file
from tests.pictures import picture
from tests.waiting import until

MADE: tuple[forms.Kind, ...] = forms.KINDS if LONG else ("bf16", "int8")
"""fp16 is made the same way as int8, and takes as long."""
STEADY = (0.30, 0.31, 0.30, 0.29, 0.30, 0.31)


def a_form(**values: object) -> Form:
    """A form of u2netp in int8, faster here, with its `made` as that of the bytes `form`."""
    told: dict[str, object] = {
        "of": "u2netp",
        "kind": "int8",
        "original": CATALOGUE["u2netp"].checksum,
        "made": f"sha256:{hashlib.sha256(own_onnx.averaging(side=320)).hexdigest()}",
        "original_s": STEADY,
        "form_s": tuple(one / 2 for one in STEADY),
        "soft_iou": 0.97,
        "measured_on": forms.runs_on(1),
    }
    return Form.model_validate(told | values)


def put_form(home: Path, form: Form, data: bytes | None = None) -> Path:
    """A form in a model folder, whose network is the mean of the channels, as if it had been made."""
    spec = forms.form_spec(CATALOGUE[form.of], form.kind)
    folder = home / "models" / spec.name
    data = own_onnx.averaging(side=320) if data is None else data
    return own_onnx.put(folder, spec.name, data, forms.toml_of(spec, form))


def models_of(home: Path, *, threads: int = 1) -> Models:
    limits = Limits(timeout_s=120, threads=threads)
    return Models(home, probes=home.parent / "probes", limits=limits, sources=())


def settled(models: Models, name: str) -> Models:
    """The same models, after a look at the folder and once this one was checked."""
    models.refresh()
    until(lambda: models.state(name).phase is not Phase.CHECKING)
    return models


@pytest.mark.parametrize(
    ("form_s", "found"),
    [
        (tuple(one / 2 for one in STEADY), "faster"),
        (tuple(one * 0.94 for one in STEADY), "faster"),
        (tuple(one * 0.96 for one in STEADY), "not faster"),
        (STEADY, "not faster"),
        (tuple(one * 1.1 for one in STEADY), "not faster"),
        ((0.15, 0.40, 0.20, 0.45, 0.26, 0.27), "unclear"),
        ((0.15, 0.16, 0.15, 0.14, 0.90, 0.16), "faster"),  # one turn in which something else ran
    ],
)
def test_a_form_is_faster_where_it_saves_five_per_cent_and_more_than_the_noise(
    form_s: tuple[float, ...], found: Speed
) -> None:
    assert forms.speed(STEADY, form_s) == found


def test_what_slows_both_down_in_a_turn_decides_nothing() -> None:
    busy = (0.30, 0.60, 0.31, 0.90, 0.30, 0.75)
    assert forms.speed(busy, tuple(one * 0.8 for one in busy)) == "faster"


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({}, None, ""),
        (
            {"form_s": tuple(one + 0.03 for one in STEADY)},
            "form_slower",
            "not faster here: 0.33 s an inference against 0.30 s",
        ),
        ({"form_s": (0.15, 0.40, 0.20, 0.45, 0.26, 0.27)}, "form_unclear", "turns too far apart"),
        ({"original": "md5:0"}, "form_outdated", "made of another u2netp than there is now"),
        ({"of": "u3net"}, "form_outdated", "another u3net"),
        ({"measured_on": forms.runs_on(1, Choice(name="cpu"))}, "form_moved", ", on cpu; here: "),
        ({"measured_on": "AMD EPYC, 1 thread, onnxruntime 1.0.0"}, "form_moved", "onnxruntime 1.0.0; here"),
    ],
)
def test_a_form_that_is_not_offered_says_why(values: dict[str, object], code: str | None, said: str) -> None:
    problem = forms.refusal("u2netp-int8", a_form(**values), threads=1)
    assert (problem and problem.code) == code
    if problem is not None:
        assert said in problem.message
        assert problem.advice
    assert forms.refusal("u2netp-int8", a_form(**values), threads=2) is not None, (
        "it was measured on one thread"
    )


def test_a_form_is_described_as_it_is_read(tmp_path: Path) -> None:
    form = a_form()
    put_form(tmp_path, form)
    found = custom.look([tmp_path])
    assert found.forms == {"u2netp-int8": form}
    spec, _ = found.models["u2netp-int8"]
    assert (
        spec.good_at == "u2netp in int8: 0.15 s an inference against 0.30 s when made, soft IoU 0.970 with it"
    )
    assert spec.network == FED["u2netp"]


@pytest.mark.parametrize("wrong", ["form_s = [0.1, 0.1, 0.1]", "form_s = [nan, 1, 1]", 'kind = "int4"'])
def test_a_form_with_a_record_that_cannot_be_is_refused(wrong: str, tmp_path: Path) -> None:
    path = put_form(tmp_path, a_form()).with_suffix(".toml")
    key = wrong.partition(" ")[0]
    lines = [wrong if line.startswith(f"{key} = ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    found = custom.look([tmp_path])
    assert not found.models
    assert [one.problem.code for one in found.refused] == ["custom_toml"]


def masks(spec: ModelSpec, path: Path) -> list[U8]:
    matting = Matting(threads=1)
    matting.load(spec, path)
    photos = [picture(*spec.input_wh, seed=seed) for seed in range(2)]
    return [matting.predict(photo, spec).mask for photo in photos]


@pytest.mark.parametrize("name", FED)
def test_a_form_is_fed_and_read_as_rembg_does_it_with_the_original(name: str, tmp_path: Path) -> None:
    data = own_onnx.averaging(side=CATALOGUE[name].input_wh[0])
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(data)
    original = spec_for(data, name)
    as_form = replace(forms.form_spec(original, "int8"), checksum=original.checksum, download_mb=1)
    for ours, theirs in zip(masks(as_form, path), masks(original, path), strict=True):
        assert np.array_equal(ours, theirs)
        assert ours.max() == 255


@pytest.mark.models
@pytest.mark.parametrize("name", ["u2netp", "u2net"])
def test_the_real_network_unchanged_makes_the_same_masks_as_a_form(name: str, model_dir: Path) -> None:
    path = weights_file(model_dir, name)
    form = forms.form_spec(CATALOGUE[name], "int8")
    as_form = replace(form, checksum=CATALOGUE[name].checksum, download_mb=1)
    for ours, theirs in zip(masks(as_form, path), masks(CATALOGUE[name], path), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_form_that_is_faster_is_a_model_and_one_that_is_not_is_none(tmp_path: Path) -> None:
    put_form(tmp_path / "home", a_form())
    put_form(tmp_path / "home", a_form(kind="fp16", form_s=STEADY))
    models = settled(models_of(tmp_path / "home"), "u2netp-int8")
    assert models.state("u2netp-int8").phase is Phase.READY
    assert "u2netp-int8" in models.specs()
    assert "u2netp-fp16" not in models.specs()
    assert "u2netp-fp16" not in models.ready()
    assert {name: one.problem and one.problem.code for name, one in models.forms().made.items()} == {
        "u2netp-int8": None,
        "u2netp-fp16": "form_slower",
    }


def test_forms_are_for_what_is_chosen_to_run_them(tmp_path: Path) -> None:
    put_form(tmp_path / "home", a_form())
    limits = Limits(timeout_s=120, choice=Choice(name="openvino"))
    models = Models(tmp_path / "home", probes=tmp_path / "probes", limits=limits, sources=())
    problem = settled(models, "u2netp-int8").state("u2netp-int8").problem
    assert problem is not None
    assert problem.code == "form_moved"
    assert "here: " in problem.message
    assert "on openvino" in problem.message


def test_a_form_whose_file_is_another_is_not_offered_and_one_that_is_deleted_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = put_form(home, a_form(), own_onnx.averaging(side=320, opset=12))
    models = settled(models_of(home), "u2netp-int8")
    problem = models.state("u2netp-int8").problem
    assert problem is not None
    assert problem.code == "form_changed"
    assert "u2netp-int8" not in models.specs()
    assert not models.forms().made["u2netp-int8"].sound, "it has to be made again"
    models.delete_form("u2netp-int8")
    assert not path.exists()
    assert not path.with_suffix(".toml").exists()
    assert models.forms().made == {}


def test_a_form_cannot_be_made_of_what_is_not_there(tmp_path: Path) -> None:
    models = models_of(tmp_path)
    for model, kind, code in (
        ("u2netp", "int4", "form_unknown"),
        ("birefnet-general", "int8", "form_unknown"),
        ("u2netp", "int8", "form_no_original"),
    ):
        with pytest.raises(ModelError, match=code):
            models.make_form(model, kind)


@pytest.mark.models
def test_a_form_never_takes_the_place_of_a_teams_own_model(tmp_path: Path, model_dir: Path) -> None:
    home = Home(tmp_path, model_dir)
    own = own_onnx.put(home.path, "u2netp-int8", own_onnx.averaging())
    models = settled(models_of(home.path), "u2netp-int8")
    models.start()
    until(lambda: models.state("u2netp").phase is Phase.READY)
    with pytest.raises(ModelError, match="form_taken"):
        models.make_form("u2netp", "int8")
    with pytest.raises(ServiceError, match="not_found"):
        models.delete_form("u2netp-int8")
    models.stop()
    assert own.exists()


class Home:
    """A model folder with the real u2netp, and what makes its forms."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.path = folder / "home"
        self.path.mkdir()
        (self.path / "u2netp.onnx").symlink_to(weights_file(model_dir, "u2netp"))
        self.settings = Settings(data_dir=folder / "data", model_dir=self.path, offline=True)

    def order(self, kind: str = "int8", *, again: bool = False) -> Order:
        folder = self.path / "models" / f"u2netp-{kind}"
        original = (self.path / "u2netp.onnx").resolve()
        return Order(model="u2netp", kind=kind, original=original, folder=folder, threads=1, again=again)

    def files(self) -> set[str]:
        """What lies in the folders of forms, without locks."""
        return {path.name for path in self.path.glob("models/*/*") if path.suffix != ".lock"}


@pytest.fixture
def home(tmp_path: Path, model_dir: Path) -> Home:
    return Home(tmp_path, model_dir)


@pytest.mark.models
def test_a_form_is_measured_on_what_is_chosen(home: Home) -> None:
    problem = run(replace(home.order("bf16"), choice=Choice(name="cuda", required=True)), threading.Event())
    assert problem is not None
    assert problem.code == "provider_missing"
    assert home.files() == set()


@pytest.mark.models
def test_forms_of_u2netp_are_made_measured_and_said_for_what_they_are(home: Home) -> None:
    for kind in MADE:
        said = make_form(home.settings, "u2netp", kind)
        assert any(word in said for word in ("is offered", "not faster here", "not clearly faster"))
    assert home.files() == {f"u2netp-{kind}.{end}" for kind in MADE for end in ("onnx", "toml")}
    models = models_of(home.path, threads=home.settings.threads_per_child)
    models.start()
    until(lambda: all(models.state(f"u2netp-{kind}").phase is not Phase.CHECKING for kind in MADE))
    made = {name: one.form for name, one in models.forms().made.items()}
    models.stop()
    assert "u2netp-fp16" not in MADE or made["u2netp-fp16"].soft_iou > 0.98
    assert made["u2netp-bf16"].soft_iou > 0.9
    assert made["u2netp-bf16"].made == f"sha256:{digest(home.path / 'u2netp.onnx', 'sha256')}", (
        "the same file"
    )
    assert 0.4 < made["u2netp-int8"].soft_iou < 1
    for name, form in made.items():
        path = home.path / "models" / name / f"{name}.onnx"
        assert form.original == CATALOGUE["u2netp"].checksum
        assert form.made == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        if form.kind != "bf16":
            assert path.stat().st_size < 0.6 * (home.path / "u2netp.onnx").stat().st_size
        faster = forms.speed(form.original_s, form.form_s) == "faster"
        assert (name in models.specs()) == faster


@pytest.mark.models
@by_hand
def test_a_form_measured_under_another_onnxruntime_is_measured_again_and_not_made_again(home: Home) -> None:
    assert run(home.order("fp16"), threading.Event()) is None
    path = home.path / "models" / "u2netp-fp16" / "u2netp-fp16.onnx"
    toml = path.with_suffix(".toml")
    toml.write_text(toml.read_text().replace(f'measured_on = "{forms.runs_on(1)}"', 'measured_on = "before"'))
    made = custom.look([home.path]).forms["u2netp-fp16"]
    problem = forms.refusal("u2netp-fp16", made, threads=1)
    assert problem is not None
    assert problem.code == "form_moved"
    as_it_was = path.stat()
    models = models_of(home.path)
    models.start()
    until(lambda: models.state("u2netp").phase is Phase.READY)
    models.make_form("u2netp", "fp16")
    with pytest.raises(ModelError, match="form_elsewhere"):
        models.make_form("u2netp", "int8")
    until(lambda: models.forms().at_work is None, within_s=300)
    models.stop()
    assert models.forms().problems == {}
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (as_it_was.st_mtime_ns, as_it_was.st_ino)
    assert custom.look([home.path]).forms["u2netp-fp16"].measured_on == forms.runs_on(1)


@pytest.mark.models
def test_a_process_that_is_killed_while_it_makes_a_form_leaves_nothing(home: Home) -> None:
    maker, order = FormMaker(threads=1), home.order()
    maker.start("u2netp", "int8", order.original, order.folder, again=False)
    until(lambda: any(order.folder.glob(f"{WORK_PREFIX}*/*")))
    (child,) = [pid for pid in children_of(os.getpid()) if "form_child" in command_of(pid)]
    kill(child, signal.SIGKILL)
    until(lambda: maker.at_work is None)
    assert maker.problems()["u2netp-int8"].code == "form_crashed"
    assert home.files() == set()


@pytest.mark.models
def test_a_server_that_stops_while_a_form_is_made_ends_it_and_leaves_nothing(home: Home) -> None:
    models = models_of(home.path)
    models.start()
    until(lambda: models.state("u2netp").phase is Phase.READY)
    models.make_form("u2netp", "int8")
    until(lambda: any(home.path.glob(f"models/u2netp-int8/{WORK_PREFIX}*")))
    models.stop()
    assert not [pid for pid in children_of(os.getpid()) if "form_child" in command_of(pid)]
    assert home.files() == set()


def test_what_a_server_left_that_was_killed_is_cleared_away_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "models" / "u2net-int8" / f"{WORK_PREFIX}x"
    left.mkdir(parents=True)
    (left / "newer.onnx").write_bytes(b"half")
    clear_all([tmp_path])
    assert not left.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with less room than making a form needs."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(where)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        skip_or_fail(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.models
def test_a_form_for_which_there_is_no_room_is_not_begun(home: Home, small_disk: Path) -> None:
    order = replace(home.order(), folder=small_disk / "models" / "u2netp-int8")
    problem = run(order, threading.Event())
    assert problem is not None
    assert problem.code == "form_not_written"
    assert "u2netp-int8 could not be written into" in problem.message
    assert "the disk is full" in problem.message
    assert [path.name for path in order.folder.iterdir()] == [".u2netp-int8.lock"]


@pytest.mark.models
def test_an_original_that_was_replaced_meanwhile_makes_no_form(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(own_onnx.averaging(side=320))
    problem = run(replace(home.order("fp16"), original=other), threading.Event())
    assert problem is not None
    assert problem.code == "weights_checksum"
    assert home.files() == set()


def test_what_makes_forms_is_found_where_it_is_installed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_MAKERS", {**forms._MAKERS, "int8": "photoproc_none_such"})
    assert not forms.can_make("int8")
    (tmp_path / "photoproc_none_such.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert forms.can_make("int8")
