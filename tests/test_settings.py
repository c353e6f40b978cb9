"""Settings from the environment: defaults, bounds, and what is said where they are wrong."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from photoproc import starting
from photoproc.models.providers import Choice
from photoproc.settings import Settings, misspelt

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PHOTOPROC_{name.upper()}", raising=False)


@pytest.mark.parametrize(("cores", "children", "threads"), [(1, 1, 1), (2, 2, 1), (16, 4, 4)])
def test_children_follow_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, children: int, threads: int
) -> None:
    monkeypatch.setattr("photoproc.machine.cores", lambda: cores)
    settings = Settings()
    assert (settings.max_concurrent, settings.threads_per_child) == (children, threads)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_CONCURRENT", "9", "write 8 or less"),
        ("MAX_CONCURRENT", "0", "write 1 or more"),
        ("DEFAULT_MODEL", "foo", "no such model"),
        ("TASK_TIMEOUT_S", "soon", "write a number, such as 300"),
        ("TASK_TIMEOUT_S", "0", "write more than 0"),
        ("MIN_FREE_DISK_MB", "200MB", "write a whole number, such as 200"),
        ("MAX_FILE_MB", "1.5", "write a whole number, such as 200"),
        ("OFFLINE", "perhaps", "write 1 for yes or 0 for no"),
        ("RATE_LIMIT", "lots", "such as 600/minute or 10/second"),
        ("ENGINE", "cluster", "write local, or dask://host:port"),
        ("ENGINE", "dask://host", "write local, or dask://host:port"),
        ("ENGINE", "dask://host:1/path", "write local, or dask://host:port"),
        ("CLUSTER_RESOURCES", "u2net", "model=RESOURCE pairs"),
        ("PROVIDER", "gpu", "write one of auto, cpu, cuda, rocm, openvino, ncnn, coreml, directml"),
        ("PROVIDER_REQUIRED", "1", "say which one in PHOTOPROC_PROVIDER"),
        ("GPU_MEMORY_MB", "-1", "write 0 or more"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"PHOTOPROC_{name}", value)
    with pytest.raises(SystemExit, match=f"PHOTOPROC_{name}: .*{said}"):
        starting.load_settings()


def test_a_variable_that_is_no_setting_is_named_with_what_was_probably_meant() -> None:
    wrong = {"PHOTOPROC_MAX_CONCURENT": "1", "PHOTOPROC_SIGN_IN": "1", "photoproc_zzzzzz": ""}
    right = {
        "PHOTOPROC_MAX_CONCURRENT": "1",
        "photoproc_offline": "1",
        "PHOTOPROC_TEST_LONG": "1",
        "PATH": "",
    }
    told = misspelt(right | wrong)
    assert told[0] == (
        "PHOTOPROC_MAX_CONCURENT is no setting and is ignored. Was PHOTOPROC_MAX_CONCURRENT meant?"
    )
    assert [one.split()[0] for one in told] == sorted(wrong)
    assert told[2].endswith("is ignored.")


def test_a_cluster_without_dask_installed_ends_the_start_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PHOTOPROC_ENGINE", "dask://photos.example:8786")
    assert starting.load_settings().engine == "dask://photos.example:8786"
    monkeypatch.setitem(sys.modules, "distributed", None)  # as it is to Python where it is not installed
    with pytest.raises(SystemExit, match=r"PHOTOPROC_ENGINE: .*pip install -r requirements-cluster\.txt"):
        starting.load_settings()


def test_models_are_told_which_resource_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOPROC_CLUSTER_RESOURCES", "birefnet-general=GPU, my.own=BIG")
    assert Settings().needs == {"birefnet-general": "GPU", "my.own": "BIG"}


def test_what_models_run_on_is_one_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().provider_choice == Choice()
    for name, value in {"PROVIDER": "cuda", "PROVIDER_REQUIRED": "1", "GPU_MEMORY_MB": "4096"}.items():
        monkeypatch.setenv(f"PHOTOPROC_{name}", value)
    assert Settings().provider_choice == Choice(name="cuda", required=True, memory_mb=4096)


def test_folders_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOPROC_DATA_DIR", "~/photos")
    assert Settings().data_dir == Path.home() / "photos"


def test_the_readme_lists_every_setting_and_shows_only_what_there_is() -> None:
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"^\| `PHOTOPROC_(\w+)`", readme, re.MULTILINE)) == {
        name.upper()
        for name in Settings.model_fields
        if name != "sign_in"  # which secrets.toml says
    }
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme)
    assert len(pictures) == 5
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_the_server_listens_on_localhost_and_tells_nobody() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "localhost"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["maxUploadSize"] == 500
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
    assert config["runner"]["magicEnabled"] is False
    assert {"light", "dark"} <= set(config["theme"])
