"""The command that fetches weights, without a network; tests/test_container.py runs it with one."""

from pathlib import Path

import pytest

from photoproc import fetch
from photoproc.errors import ModelError
from photoproc.settings import Settings
from tests.models.support import weights_file


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty model folder, and no network; its path."""
    monkeypatch.setenv("PHOTOPROC_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("PHOTOPROC_OFFLINE", "1")
    return tmp_path


def test_weights_that_cannot_be_had_end_it_with_what_to_do(environment: Path) -> None:
    with pytest.raises(SystemExit, match=rf"u2netp could not be downloaded.*u2netp\.onnx into {environment}"):
        fetch.main(["u2netp"])
    assert list(environment.rglob("*.onnx")) == []


def test_without_names_it_is_the_default_model(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOPROC_DEFAULT_MODEL", "silueta")
    with pytest.raises(SystemExit, match="silueta could not be downloaded"):
        fetch.main([])


@pytest.mark.usefixtures("environment")
def test_a_name_that_no_model_has_ends_it_before_anything_is_fetched() -> None:
    with pytest.raises(SystemExit, match=r"no model called 'u3net'\. Choose one of: u2net, u2netp"):
        fetch.main(["u2netp", "u3net"])


@pytest.mark.models
def test_weights_that_are_there_and_right_are_kept_and_it_says_where(
    environment: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = environment / "u2netp.onnx"
    kept.hardlink_to(weights_file(model_dir, "u2netp"))
    fetch.main(["u2netp"])
    assert [path.name for path in environment.rglob("*.onnx*")] == ["u2netp.onnx"]
    assert capsys.readouterr().out.endswith(f"u2netp is there: {kept}\n")


def test_wrong_weights_are_moved_aside_and_not_taken(settings: Settings, tmp_path: Path) -> None:
    wrong = tmp_path / "models" / "u2netp.onnx"
    wrong.parent.mkdir()
    wrong.write_bytes(b"<html>Please log in</html>")
    with pytest.raises(ModelError, match="u2netp"):
        fetch.fetch(settings, ["u2netp"])
    assert [path.name for path in tmp_path.rglob("*.onnx*")] == ["u2netp.onnx.rejected"]
