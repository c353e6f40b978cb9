"""Starting and ending a server: tidying up only when alone, keeping secrets, ending in time."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import structlog.testing

from photoproc import bootstrap, starting
from photoproc.bootstrap import Runtime, configure_logging
from photoproc.errors import ServiceError
from photoproc.jobs import Counts
from photoproc.settings import Settings
from tests.test_store import DONE, create
from tests.waiting import at_once

ROOT = Path(__file__).parents[1]


@pytest.fixture
def make(settings: Settings) -> Iterator[Callable[[], Runtime]]:
    made: list[Runtime] = []

    def runtime() -> Runtime:
        made.append(Runtime(settings.model_copy(update={"max_concurrent": 1})))
        return made[-1]

    yield runtime
    for one in made:
        one.stop()


def test_forms_are_made_and_judged_for_what_the_settings_choose(settings: Settings) -> None:
    runtime = Runtime(settings.model_copy(update={"provider": "openvino"}))
    models = runtime._weights
    runtime.stop()
    assert models._maker._choice.name == models._custom._limits.choice.name == "openvino"


def leave_behind(settings: Settings) -> Path:
    """A file as a crash leaves it."""
    left = settings.data_dir / "tmp" / "left-behind"
    left.write_text("x")
    return left


def orphan(settings: Settings) -> Path:
    folder = settings.data_dir / "jobs" / ("f" * 32)
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "0-x.png").write_text("cutout")
    return folder


def test_a_server_that_is_alone_tidies_up(make: Callable[[], Runtime], settings: Settings) -> None:
    runtime = make()
    left = leave_behind(settings)
    runtime.start()
    assert not left.exists()


def test_a_second_server_touches_nothing_that_may_be_the_firsts(
    make: Callable[[], Runtime], settings: Settings
) -> None:
    first, second, third = make(), make(), make()
    first.start()
    left = leave_behind(settings)
    create(first._store, "a" * 32)
    first._store.claim("first", ["u2net"], token="t", now=1)
    second.start()
    assert left.exists()
    assert len(first._store.running()) == 1
    at_once(first.stop)
    third.start()
    assert left.exists(), "the second server still runs"
    second.stop()
    third.stop()
    make().start()
    assert not left.exists()


def test_a_seat_of_a_server_that_was_killed_is_free(make: Callable[[], Runtime], settings: Settings) -> None:
    runtime = make()
    code = (
        "import sys; from pathlib import Path; from photoproc.bootstrap import Runtime;"
        "from photoproc.settings import Settings;"
        "runtime = Runtime(Settings(data_dir=Path(sys.argv[1]))); runtime._take_seat();"
        "print('here', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(settings.data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"here\n"
        left = leave_behind(settings)
        runtime._take_seat()
        assert left.exists()
        runtime.stop()
        other.kill()
    make()._take_seat()
    assert not left.exists()
    assert len(list((settings.data_dir / "servers").iterdir())) == 1


def test_folders_of_no_job_go_but_not_where_the_store_is_new(
    make: Callable[[], Runtime], settings: Settings
) -> None:
    runtime = make()
    folder = orphan(settings)
    runtime._take_seat()
    assert folder.exists(), "the store may have been lost; the cutouts must not be lost with it"
    create(runtime._store, "a" * 32)
    runtime.stop()
    make()._take_seat()
    assert not folder.exists()


def test_claims_of_a_server_that_was_killed_are_queued_at_once_and_what_it_never_published_goes(
    make: Callable[[], Runtime], settings: Settings
) -> None:
    runtime = make()
    out = settings.data_dir / "jobs" / ("a" * 32) / "out"
    out.mkdir(parents=True)
    create(runtime._store, "a" * 32, 2)
    for token in ("first" * 5, "second" * 5):
        claim = runtime._store.claim("dead", ["u2net"], token=token, now=1)
        assert claim is not None
        (out / f"{claim.number}-{token[:12]}.png").write_text("cutout")
        if claim.number == 0:
            runtime._store.publish(claim, DONE, now=2)
    runtime._take_seat()
    assert [path.name for path in out.iterdir()] == ["0-firstfirstfi.png"]
    assert runtime._store.job("a" * 32).counts == Counts(queued=1, done=1)
    assert runtime._store.running() == []


def test_the_data_folder_and_the_key_of_links_are_this_users_own(
    make: Callable[[], Runtime], settings: Settings
) -> None:
    make()
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.data_dir / "link.key").stat().st_mode) == 0o600


def test_links_outlive_a_restart(make: Callable[[], Runtime], settings: Settings) -> None:
    token = make().service.sign("a" * 32)
    make().service.check_link("a" * 32, token)
    assert len((settings.data_dir / "link.key").read_text()) == 64
    assert [path.name for path in settings.data_dir.glob("link.key*")] == ["link.key"]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import structlog; from photoproc.bootstrap import configure_logging; configure_logging();"
        "log = structlog.get_logger();\n"
        "for _ in range(3): log.info('event')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: log.exception('worse')\n"
        "print('still here')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=writer, cwd=ROOT, check=False
    )
    os.close(writer)
    assert done.stdout == b"still here\n"


def test_log_lines_name_the_event_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        structlog.get_logger().info("job_made", job="abc")
    finally:
        structlog.reset_defaults()
    assert "event=job_made" in (line := capsys.readouterr().err)
    assert "job=abc" in line


def test_servers_that_start_at_once_all_find_a_place(make: Callable[[], Runtime], settings: Settings) -> None:
    runtimes = [make() for _ in range(4)]
    leave_behind(settings)
    at_once(*(runtime._take_seat for runtime in runtimes))
    assert len(list((settings.data_dir / "servers").iterdir())) == 4


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_data_folder_that_is_a_file_is_named_with_what_to_do(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    (tmp_path / "file").write_text("x")
    folder = tmp_path / "file" / below
    monkeypatch.setattr(bootstrap, "_runtime", None)
    monkeypatch.setattr(bootstrap, "_ended", False)
    said = f"PHOTOPROC_DATA_DIR: the folder {folder} cannot be used: .* is a file.* Name another folder"
    with pytest.raises(SystemExit, match=said):
        bootstrap.runtime(settings.model_copy(update={"data_dir": folder}))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "its disk is read-only. Name a folder on a disk"),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "this user may not write there. Give the folder",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "its disk is full. Make room"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error. Name another folder."),
    ],
)
def test_what_is_wrong_with_the_data_folder_is_said_in_words(error: OSError, said: str) -> None:
    told = starting.data_folder(Path("/data"), error)
    assert told.startswith("PHOTOPROC_DATA_DIR: the folder /data cannot be used: ")
    assert said in told


def test_a_variable_that_is_no_setting_is_logged_at_the_start(
    make: Callable[[], Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOPROC_MAX_CONCURENT", "1")
    runtime = make()
    with structlog.testing.capture_logs() as lines:
        runtime.start()
    (line,) = [line for line in lines if line["event"] == "setting_unknown"]
    assert "Was PHOTOPROC_MAX_CONCURRENT meant?" in line["why"]
    assert any("MAX_CONCURENT" in one for one in runtime.service.system().unknown_settings)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ServiceError("store_damaged", "It is damaged.", "Stop the others."),
            "It is damaged. Stop the others.",
        ),
        (PermissionError(13, "Permission denied", "/data"), "Permission denied"),
    ],
)
def test_a_server_that_cannot_start_says_why_and_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails(_: Settings) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "Runtime", fails)
    monkeypatch.setattr(bootstrap, "_runtime", None)
    monkeypatch.setattr(bootstrap, "_ended", False)
    with pytest.raises(SystemExit, match=said) as ended:
        bootstrap.runtime(settings)
    assert str(ended.value).startswith("Photoproc cannot start.")
