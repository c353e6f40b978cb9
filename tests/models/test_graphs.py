"""Prepared models: the same masks, one copy for all processes, never in the way of the weights themselves."""

import os
import subprocess
import sys
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import pytest

from photoproc.errors import ModelError
from photoproc.models import graphs
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.matting import Matting
from tests.models.support import mean_error, spec_for, weights_file
from tests.pictures import picture

SMALL = CATALOGUE["u2netp"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


@pytest.fixture
def weights(model_dir: Path) -> Path:
    return weights_file(model_dir, "u2netp")


def mask(weights: Path, folder: Path | None, *, lean: bool = False) -> bytes:
    matting = Matting(threads=1, graphs=folder)
    matting.load(SMALL, weights)
    return matting.predict(picture(320, 320), SMALL, lean=lean).mask.tobytes()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_masks_are_the_same_to_the_byte_and_the_model_is_prepared_once(weights: Path, folder: Path) -> None:
    plain = mask(weights, None)
    assert mask(weights, folder) == plain
    assert files(folder) == ["graph.onnx", "sha256.json", "weights.bin"]
    [place] = folder.iterdir()
    made = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    assert mask(weights, folder) == mask(weights, folder, lean=True) == plain
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == made


@pytest.mark.parametrize("name", ["graph.onnx", "weights.bin", "sha256.json"])
@pytest.mark.parametrize("how", ["cut short", "changed", "gone"])
def test_a_damaged_one_is_made_again(weights: Path, folder: Path, name: str, how: str) -> None:
    whole = mask(weights, folder)
    [file] = folder.rglob(name)
    data = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2] if how == "cut short" else data[:-9] + bytes(9))
    assert mask(weights, folder) == whole
    [place] = folder.iterdir()
    os.utime(file, (1, 1))
    assert graphs.prepared(weights, SMALL, folder) == place / "graph.onnx"
    assert file.stat().st_mtime == 1  # it was whole


def test_without_room_or_a_folder_to_write_to_the_weights_themselves_are_loaded(
    weights: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = mask(weights, None)
    (tmp_path / "file").touch()
    assert mask(weights, tmp_path / "file" / "below") == plain
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(
        "photoproc.models.graphs.shutil.disk_usage", lambda _: usage(4 * weights.stat().st_size - 1)
    )
    assert mask(weights, folder) == plain
    assert files(folder) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(
    weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    plain = mask(weights, None)
    monkeypatch.setattr("photoproc.models.graphs.os.fsync", full)
    assert mask(weights, folder) == plain
    assert list(folder.iterdir()) == []


def test_a_loaded_model_is_loaded_for_other_threads_without_its_file(
    weights: Path, folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "u2netp.onnx"
    own.write_bytes(weights.read_bytes())
    matting = Matting(threads=1, graphs=folder)
    matting.load(SMALL, own)
    one = matting.predict(picture(320, 320), SMALL).mask
    own.unlink()
    matting.threads = 2
    matting.load(SMALL, own)
    two = matting.predict(picture(320, 320), SMALL).mask
    assert mean_error(one, two) <= 1
    with pytest.raises(
        ModelError, match="cannot be read"
    ):  # which a process that has not loaded it does read
        Matting(threads=1, graphs=folder).load(SMALL, own)


def test_a_prepared_model_that_is_gone_is_no_reason_to_fail(weights: Path, folder: Path) -> None:
    matting = Matting(threads=1, graphs=folder)
    matting.load(SMALL, weights)
    one = matting.predict(picture(320, 320), SMALL).mask
    for threads, left in ((2, ()), (3, ("graph.onnx",))):
        for file in [file for file in folder.rglob("*.*") if file.is_file() and file.name not in left]:
            file.unlink()
        matting.threads = threads
        matting.load(SMALL, weights)
        assert mean_error(one, matting.predict(picture(320, 320), SMALL).mask) <= 1


def test_a_file_that_is_no_model_is_told_of_as_ever(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "silueta.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Matting(threads=1, graphs=folder).load(spec_for(b"no model"), path)
    assert list(folder.iterdir()) == []


def test_two_at_once_keep_one(weights: Path, folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from photoproc.models.graphs import prepared;"
        "from photoproc.models.catalogue import CATALOGUE;"
        "print(prepared(Path(sys.argv[1]), CATALOGUE['u2netp'], Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(weights), str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate(timeout=120)[0].strip() for process in running}
    [place] = folder.iterdir()
    assert told == {str(place / "graph.onnx")}


def test_whoever_is_killed_while_preparing_leaves_nothing_half_in_its_place(
    model_dir: Path, folder: Path
) -> None:
    weights, spec = weights_file(model_dir, "u2net"), CATALOGUE["u2net"]
    code = (
        "import sys; from pathlib import Path; from photoproc.models.graphs import prepared;"
        "from photoproc.models.catalogue import CATALOGUE; print('begun', flush=True);"
        "prepared(Path(sys.argv[1]), CATALOGUE['u2net'], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(weights), str(folder)]
    left = 0
    for number in range(6):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1 + 0.2 * number)
            process.kill()
        left += any(folder.glob(".*"))
        for place in folder.glob("[!.]*"):
            assert {path.name for path in place.iterdir()} == {"graph.onnx", "weights.bin", "sha256.json"}
    assert left, "none was killed while it wrote"
    assert graphs.prepared(weights, spec, folder) is not None


def test_those_used_last_stay_and_what_was_left_unfinished_goes(weights: Path, folder: Path) -> None:
    for number in range(12):
        (folder / f"old-{number}").mkdir(parents=True)
        os.utime(folder / f"old-{number}", (number + 1, number + 1))
    (folder / ".half-1").mkdir()
    os.utime(folder / ".half-1", (1, 1))
    (folder / ".half-2").mkdir()
    place = graphs.prepared(weights, SMALL, folder)
    assert place is not None
    kept = {path.name for path in folder.iterdir()}
    assert kept == {place.parent.name, ".half-2", *(f"old-{number}" for number in range(4, 12))}


def test_another_processor_or_version_has_its_own(
    weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = graphs.prepared(weights, SMALL, folder)
    monkeypatch.setattr(graphs, "_what_runs", lambda: "another")
    second = graphs.prepared(weights, SMALL, folder)
    assert first is not None
    assert second is not None
    assert first.parent != second.parent
    assert len(list(folder.iterdir())) == 2


_MEMORY = """
import sys
from pathlib import Path
from PIL import Image
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.matting import Matting
matting = Matting(threads=1, graphs=Path(sys.argv[2]) if sys.argv[2] else None)
spec = CATALOGUE["u2net"]
matting.load(spec, Path(sys.argv[1]))
for lean in (False, True):
    matting.predict(Image.new("RGB", (320, 320), "red"), spec, lean=lean)
    status = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("RssAnon:")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_numbers_are_mapped_and_a_lean_run_gives_its_memory_back(model_dir: Path, folder: Path) -> None:
    weights = weights_file(model_dir, "u2net")
    graphs.prepared(weights, CATALOGUE["u2net"], folder)

    def own_mb(graphs: Path | None) -> list[float]:
        command = [sys.executable, "-c", _MEMORY, str(weights), str(graphs or "")]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return [int(line) / 1024 for line in ran.stdout.split()]

    (plain, plain_after), (mapped, mapped_after) = own_mb(None), own_mb(folder)
    weights_mb = weights.stat().st_size / 2**20
    assert mapped < plain - 0.8 * weights_mb
    assert plain_after < plain - 150
    assert mapped_after < mapped - 150
    assert mapped_after < 100  # neither weights nor what it ran in
