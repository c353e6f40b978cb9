"""The catalogue against rembg itself: which models, from where, with which checksum, at which size."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models.catalogue import CATALOGUE, ModelSpec, spec_of
from photoproc.models.checksums import verify
from photoproc.models.matting import _rembg_sessions
from photoproc.models.weights import Weights
from photoproc.settings import Settings
from tests.models.support import weights_file

EXCLUDED = {
    "sam": "needs points or boxes besides the picture",
    "u2net_cloth_seg": "gives three masks, of garments",
    "birefnet-general-fp16": "is birefnet-general converted on the spot, for GPUs",
    "u2net_custom": "is whatever file the user names",
    "dis_custom": "is whatever file the user names",
    "ben_custom": "is whatever file the user names",
    "withoutbg": "sends the picture to a remote service",
    "atlascloud": "sends the picture to a remote service",
}
SPECS = [pytest.param(spec, id=name) for name, spec in CATALOGUE.items()]


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_CHECKSUM_DISABLED", raising=False)
    monkeypatch.delenv("U2NET_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))


def test_every_model_of_rembg_is_offered_or_left_out_for_a_reason() -> None:
    assert set(_rembg_sessions()) == CATALOGUE.keys() | EXCLUDED.keys()
    assert not CATALOGUE.keys() & EXCLUDED.keys()


def test_a_session_class_that_is_imported_alone_is_the_one_of_its_name() -> None:
    code = (
        "from photoproc.models.catalogue import CATALOGUE\n"
        "from photoproc.models.matting import _rembg_session, _rembg_sessions\n"
        "alone = {name: _rembg_session(name) for name in sorted(CATALOGUE, reverse=True)}\n"
        "assert alone == {name: _rembg_sessions()[name] for name in CATALOGUE}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_everything_offered_runs_here() -> None:
    sessions = _rembg_sessions()
    assert all(sessions[name].is_local() for name in CATALOGUE)
    assert {name for name, session in sessions.items() if not session.is_local()} == {
        "withoutbg",
        "atlascloud",
    }


@pytest.mark.parametrize("spec", SPECS)
def test_source_checksum_and_place_are_those_of_rembg(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, str]] = []
    monkeypatch.setattr("pooch.retrieve", lambda url, known_hash, **_: fetched.append((url, known_hash)))
    path = _rembg_sessions()[spec.name].download_models()
    assert fetched == [(spec.url, spec.checksum)]
    assert Path(path) == Weights(tmp_path).write_path(spec) == Weights(None).write_path(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_the_input_size_is_the_one_rembg_shrinks_to(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sent(Exception):  # noqa: N818, the answer and not an error
        pass

    def normalize(_: object, __: object, mean: object, std: object, size: object, *___: object) -> None:
        raise Sent(size)

    base = _rembg_sessions()[spec.name]
    monkeypatch.setattr(base, "normalize", normalize)
    session: Any = object.__new__(base)
    session.inner_session = type("Inner", (), {"run": None})()
    with pytest.raises(Sent) as sent:
        session.predict(Image.fromarray(np.zeros((4, 4, 3), np.uint8)))
    assert sent.value.args == (spec.input_wh,)


@pytest.mark.parametrize("name", ["u2net", "u2netp"])
def test_the_checksum_fits_the_real_file_and_the_size_is_told_right(name: str, model_dir: Path) -> None:
    path = weights_file(model_dir, name)
    verify(path, CATALOGUE[name])
    assert CATALOGUE[name].download_mb == round(path.stat().st_size / 1e6)


def test_the_models_the_issue_names_are_there_with_their_nicknames() -> None:
    assert {name: CATALOGUE[name].nickname for name in ("u2net", "silueta", "isnet-general-use")} == {
        "u2net": "balanced",
        "silueta": "fast",
        "isnet-general-use": "sharp",
    }
    assert {"u2netp", "u2net_human_seg", "isnet-anime", "bria-rmbg"} < CATALOGUE.keys()
    assert sum(name.startswith("birefnet") for name in CATALOGUE) == 7
    assert Settings.model_fields["default_model"].default == "u2net"


def test_every_model_says_what_it_is() -> None:
    for spec in CATALOGUE.values():
        assert spec.nickname
        assert spec.good_at
        assert spec.licence
        assert spec.download_mb > 0
    for field in ("nickname", "weights_id", "checksum", "release_file"):
        assert len({getattr(spec, field) for spec in CATALOGUE.values()}) == len(CATALOGUE)


def test_only_bria_is_not_for_commercial_use() -> None:
    assert [name for name, spec in CATALOGUE.items() if not spec.commercial] == ["bria-rmbg"]
    assert "non-commercial" in CATALOGUE["bria-rmbg"].licence


def test_an_unknown_model_is_refused_with_those_there_are() -> None:
    with pytest.raises(ModelError, match="model_unknown") as refused:
        spec_of("u3net")
    assert "u3net" in refused.value.problem.message
    assert "isnet-general-use" in refused.value.problem.advice
