"""Custom models while the server runs: checked once, noticed when they come, change and go."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoproc.errors import ModelError, Problem
from photoproc.models.catalogue import CATALOGUE, VITMATTE, ModelSpec
from photoproc.models.custom_folder import CustomModels
from photoproc.models.probe import Limits, Probe
from photoproc.models.registry import Models
from photoproc.models.weights import Phase, WeightsState
from tests.models import own_onnx
from tests.models.own_onnx import TOML, put
from tests.waiting import until

LIMITS = Limits(timeout_s=60)
GOOD = Probe(load_s=0.25, run_s=0.5)
BAD = Probe(problem=Problem(code="custom_broken", message="It is broken.", advice="Mend it."))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photoproc.models.custom_folder._SETTLE_S", 0.05)


class Desk:
    """Custom models of a folder, whose probes end as a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "models"
        self.runs: list[ModelSpec] = []
        self.ends: Probe | None = GOOD
        self.gate = threading.Event()
        self.gate.set()
        self.changes = 0
        self.models = self.start()

    def start(self) -> CustomModels:
        """A server's look at the folder, as at its start."""
        made = CustomModels(lambda: [self.home], kept_in=self.folder / "probes", limits=LIMITS, run=self._run)
        made.listen(self._changed)
        made.refresh()
        return made

    def _changed(self) -> None:
        self.changes += 1

    def _run(self, spec: ModelSpec, path: Path, limits: Limits, stopping: threading.Event) -> Probe | None:
        self.runs.append(spec)
        assert limits == LIMITS
        self.gate.wait(30)
        return None if stopping.is_set() else self.ends

    def settled(self, name: str = "team") -> WeightsState:
        self.models.refresh()
        until(lambda: (state := self.models.state(name)) is None or state.phase is not Phase.CHECKING)
        found = self.models.state(name)
        assert found is not None
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.gate.set()
    made.models.stop()


def test_a_model_is_checking_then_ready(desk: Desk) -> None:
    desk.gate.clear()
    path = put(desk.home, "team", b"network" * 300_000)
    desk.models.refresh()
    assert desk.models.state("team") == WeightsState(phase=Phase.CHECKING)
    assert desk.models.specs()["team"].weights_id == ""
    assert desk.models.ready() == {}
    until(lambda: desk.runs)
    desk.gate.set()
    assert desk.settled() == WeightsState(phase=Phase.READY, fraction=1.0, path=path, ran_s=0.5)
    assert desk.models.ready() == {"team": path}
    spec = desk.models.specs()["team"]
    assert (len(spec.weights_id), spec.download_mb) == (16, 2)
    until(lambda: desk.changes == 1)


def test_a_model_that_was_run_is_not_run_again_at_the_next_start(desk: Desk) -> None:
    put(desk.home, "team", b"network")
    assert desk.settled().phase is Phase.READY
    put(desk.home, "bad", b"broken")
    desk.ends = BAD
    assert desk.settled("bad").problem == BAD.problem
    assert len(desk.runs) == 2
    desk.models.stop()
    desk.models = desk.start()
    assert desk.settled().ran_s == 0.5
    assert desk.settled("bad").problem == BAD.problem
    assert len(desk.runs) == 2


def test_a_damaged_note_of_a_probe_means_another_one(desk: Desk) -> None:
    put(desk.home, "team", b"network")
    desk.settled()
    (note,) = (desk.folder / "probes").iterdir()
    note.write_text('{"problem": 1')
    desk.models = desk.start()
    assert desk.settled().phase is Phase.READY
    assert len(desk.runs) == 2
    assert json.loads(note.read_text())["run_s"] == 0.5


def test_a_replaced_file_is_another_model_and_is_run(desk: Desk) -> None:
    put(desk.home, "team", b"network")
    desk.settled()
    before = desk.models.specs()["team"]
    put(desk.home, "team", b"network, trained on")
    desk.models.refresh()
    assert desk.settled().phase is Phase.READY
    after = desk.models.specs()["team"]
    assert after.weights_id != before.weights_id
    assert len(desk.runs) == 2
    put(desk.home, "team", b"network")
    desk.models.refresh()
    desk.settled()
    assert desk.models.specs()["team"] == before
    assert len(desk.runs) == 2, "it is known from before"


def test_a_description_that_changed_is_tried_anew(desk: Desk) -> None:
    put(desk.home, "team", b"network")
    desk.settled()
    (desk.home / "team.toml").write_text(TOML.replace('"none"', '"sigmoid"'))
    desk.models.refresh()
    desk.settled()
    assert [spec.network.activation for spec in desk.runs if spec.network] == ["none", "sigmoid"]


def test_models_come_and_go_and_broken_descriptions_are_told(desk: Desk) -> None:
    assert desk.models.state("team") is None
    put(desk.home, "team", None)
    problem = desk.settled().problem
    assert problem is not None
    assert (problem.code, "no team.onnx beside team.toml" in problem.message) == ("custom_no_file", True)
    put(desk.home, "team", b"network")
    assert desk.settled().phase is Phase.READY
    (desk.home / "team.toml").write_text("licence = 1")
    desk.models.refresh()
    assert desk.models.specs() == {}
    assert desk.models.ready() == {}
    assert [one.name for one in desk.models.refused()] == ["team.toml"]
    (desk.home / "team.toml").write_text(TOML)
    assert desk.settled().phase is Phase.READY
    assert desk.models.refused() == ()
    (desk.home / "team.onnx").unlink()
    assert desk.settled().phase is Phase.FAILED
    (desk.home / "team.toml").unlink()
    desk.models.refresh()
    assert desk.models.state("team") is None


def test_a_file_that_changes_while_it_is_tried_is_tried_as_it_is_in_the_end(desk: Desk) -> None:
    desk.gate.clear()
    desk.ends = BAD
    put(desk.home, "team", b"half a net")
    desk.models.refresh()
    until(lambda: desk.runs)
    put(desk.home, "team", b"half a network and the rest")
    desk.ends = GOOD
    desk.gate.set()
    assert desk.settled().phase is Phase.READY
    until(lambda: len(desk.runs) == 2)
    assert len(list((desk.folder / "probes").iterdir())) == 1, "nothing is kept of the half"


def test_check_again_runs_it_again_and_for_what_is_gone_does_nothing(desk: Desk) -> None:
    desk.ends = BAD
    put(desk.home, "team", b"network")
    assert desk.settled().phase is Phase.FAILED
    desk.ends = GOOD
    desk.models.check_again("team")
    assert desk.settled().phase is Phase.READY
    assert len(desk.runs) == 2
    desk.models.check_again("gone")
    assert desk.models.state("gone") is None


def test_a_file_with_an_old_date_and_size_that_was_replaced_is_seen_when_asked(desk: Desk) -> None:
    path = put(desk.home, "team", b"network")
    desk.settled()
    before, was = desk.models.specs()["team"], path.stat()
    path.write_bytes(b"other__")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    desk.models.refresh()
    assert desk.models.specs()["team"] == before
    desk.models.check_again("team")
    assert desk.settled().phase is Phase.READY
    assert desk.models.specs()["team"].weights_id != before.weights_id


def test_pipes_are_not_waited_for(desk: Desk) -> None:
    put(desk.home, "team", None)
    os.mkfifo(desk.home / "team.onnx")
    problem = desk.settled().problem
    assert problem is not None
    assert problem.code == "custom_no_file"


def test_a_server_that_stops_keeps_nothing_of_a_probe_under_way(desk: Desk) -> None:
    desk.gate.clear()
    put(desk.home, "team", b"network")
    desk.models.refresh()
    until(lambda: desk.runs)
    desk.models._stopping.set()
    desk.gate.set()
    desk.models.stop()
    assert not (desk.folder / "probes").exists()
    desk.models = desk.start()
    assert desk.settled().phase is Phase.READY


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Models]:
    made = Models(tmp_path / "models", probes=tmp_path / "probes", limits=LIMITS, sources=())
    put(tmp_path / "models", "team", own_onnx.averaging())
    put(tmp_path / "models" / "models" / "broken", "broken", own_onnx.no_numbers())
    put(tmp_path / "models", "u2net", None)
    made.start()
    yield made
    made.stop()


def test_custom_models_stand_after_the_public_ones(models: Models) -> None:
    until(lambda: "team" in models.ready())
    assert list(models.specs()) == [*CATALOGUE, "broken", "team"]
    assert models.spec("team").custom
    assert models.state("u2net").phase is Phase.ABSENT
    assert models.state(VITMATTE.name).phase is Phase.ABSENT
    assert [one.name for one in models.refused()] == ["u2net.toml"]
    until(lambda: models.state("broken").phase is Phase.FAILED)
    problem = models.state("broken").problem
    assert problem is not None
    assert problem.code == "custom_values"
    for ask in (models.spec, models.state):
        with pytest.raises(ModelError, match="model_unknown") as refused:
            ask("u3net")
        assert "bria-rmbg, broken, team" in refused.value.problem.advice


def test_a_broken_model_is_checked_again_when_it_is_asked_for(models: Models, tmp_path: Path) -> None:
    until(lambda: models.state("broken").phase is Phase.FAILED)
    models.request("broken")
    assert models.state("broken").phase is Phase.CHECKING
    until(lambda: models.state("broken").phase is Phase.FAILED)
    models.request("gone")
    put(tmp_path / "models" / "models" / "broken", "broken", own_onnx.two_outputs())
    models.refresh()
    until(lambda: "broken" in models.ready())
