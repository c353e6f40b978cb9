"""A full disk, to the last byte: uploads are refused, nothing is lost, all goes on when there is room."""

import io
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from photoproc.bootstrap import Runtime
from photoproc.errors import ServiceError
from photoproc.jobs import Counts
from photoproc.recipe import Recipe
from photoproc.settings import Settings
from tests.conftest import skip_or_fail
from tests.pictures import encoded, picture
from tests.server import Server, check_published_once, submit
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.models]
SIZE_MB = 400  # the program that hands jobs in beforehand wants 200 MB free


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(where)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        skip_or_fail(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.fixture
def server(disk: Path, model_dir: Path) -> Iterator[Server]:
    made = Server(disk / "data", model_dir, min_free_disk_mb=10)
    yield made
    made.close()
    print(made.log()[-5000:])


class Filler:
    """Another program's file, which leaves so much of the disk free."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "filler"

    def leave(self, free_bytes: int) -> None:
        """Grow until only so much is free; 0 means until there is no room."""
        with self._file.open("ab") as file:
            while True:
                left = shutil.disk_usage(self._file.parent).free - free_bytes
                if left <= 0:
                    return
                try:
                    file.write(bytes(min(left, 1 << 20)))
                    file.flush()
                except OSError:
                    return

    def go(self) -> None:
        """Make room again."""
        self._file.unlink(missing_ok=True)


def upload(server: Server, megabytes: int, seed: int = 1) -> httpx2.Response:
    """A photo of about so many megabytes, as a job."""
    side = int((megabytes * 1e6 / 3) ** 0.5)
    data = encoded(picture(side, side, seed=seed), "BMP")
    files = [("files", ("photo.bmp", data))]
    return httpx2.post(
        f"{server.url}/api/v1/jobs", files=files, data={"recipe": '{"models": ["u2netp"]}'}, timeout=120
    )


def test_an_upload_without_room_is_refused_and_one_with_room_again_is_not(disk: Path, server: Server) -> None:
    job = submit(server.data_dir, 3)
    server.start()
    server.ready()
    server.finished(job)
    filler, before = Filler(disk), list(server.store.job_ids())
    filler.leave(14_000_000)  # the server keeps 10 MB free
    for seed in range(3):
        answer = upload(server, 12, seed)
        assert answer.status_code == 507
        assert answer.json()["code"] == "disk_full"
        assert answer.json()["detail"]
    assert list(server.store.job_ids()) == before
    until(lambda: list((server.data_dir / "tmp").iterdir()) == [])
    assert list((server.data_dir / "staging").iterdir()) == []
    check_readable(server, job)
    filler.go()
    answer = upload(server, 12)
    assert answer.status_code == 202
    server.finished(answer.json()["id"])
    assert server.counts(answer.json()["id"]) == Counts(done=1)


def test_a_job_that_meets_a_full_disk_goes_on_when_there_is_room(disk: Path, server: Server) -> None:
    old, job = submit(server.data_dir, 2), submit(server.data_dir, 24)
    server.start()
    server.done_at_least(job, 5)
    filler = Filler(disk)
    filler.leave(0)
    until(lambda: "disk_full" in server.log(), within_s=60)
    before = server.counts(job)
    assert upload(server, 1).status_code == 507
    check_readable(server, old)
    assert httpx2.get(f"{server.url}/", timeout=30).status_code == 200
    filler.leave(0)
    deleted = httpx2.delete(f"{server.url}/api/v1/jobs/{old}", timeout=60)
    assert deleted.status_code in (200, 204), deleted.text
    assert "reserve_given_up" in server.log()
    assert not (server.data_dir / "jobs" / old).exists()
    assert server.counts(job).failed == 0
    filler.go()
    server.finished(job)
    assert server.counts(job) == Counts(done=24)
    assert server.counts(job).done >= before.done
    assert {task.attempts for task in server.tasks(job)} == {1}, "a full disk is no task's fault"
    check_published_once(server, job, 24)
    until(lambda: list((server.data_dir / "tmp").iterdir()) == [])


def test_a_server_starts_on_a_full_disk_and_jobs_can_be_seen_and_deleted(disk: Path, server: Server) -> None:
    job = submit(server.data_dir, 3)
    server.start()
    server.ready()
    server.finished(job)
    until(lambda: (server.data_dir / "reserve").exists())
    server.terminate(within_s=20)
    server.store.close()  # or the files of its log would stay
    Filler(disk).leave(0)
    server.start()
    server.ready()
    assert "reserve_given_up" in server.log()
    check_readable(server, job)
    deleted = httpx2.delete(f"{server.url}/api/v1/jobs/{job}", timeout=60)
    assert deleted.status_code == 204, deleted.text
    assert not (server.data_dir / "jobs" / job).exists()


def test_where_nothing_can_be_given_up_a_full_disk_ends_the_start_in_one_line(
    disk: Path, server: Server
) -> None:
    submit(server.data_dir, 1)
    (server.data_dir / "reserve").unlink(missing_ok=True)
    Filler(disk).leave(0)
    server._log = disk.with_name("server.log")
    server.start()
    check_ended(server, "its disk is full. Make room on it")


def test_a_data_folder_that_cannot_be_written_ends_the_start_in_one_line(disk: Path, server: Server) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    server._log = disk.with_name("server.log")
    server.start()
    check_ended(server, "its disk is read-only")


def check_ended(server: Server, said: str) -> None:
    """It does not start, and says why and of which folder."""
    assert server.ended() == 1
    assert "Traceback" not in server.log()
    assert f"PHOTOPROC_DATA_DIR: the folder {server.data_dir} cannot be used: {said}" in server.log()


def test_the_largest_job_can_be_deleted_on_a_full_disk(disk: Path) -> None:
    settings = Settings(data_dir=disk / "data", offline=True, fetch_default_model=False, min_free_disk_mb=1)
    runtime, filler = Runtime(settings), Filler(disk)
    try:
        service = runtime.service
        batch = service.new_batch()
        (photo,) = service.accept(batch, "0.jpg", io.BytesIO(encoded(picture()))).photos
        photos = [replace(photo, name=f"{number}.jpg") for number in range(settings.max_photos_per_job)]
        job = service.submit(batch, photos, Recipe(models=("u2netp",)))
        assert service.job(job.id).counts.total == 10_000
        service.keep_reserve()
        filler.leave(0)
        with pytest.raises(ServiceError, match="disk"):
            service.accept(service.new_batch(), "1.jpg", io.BytesIO(encoded(picture(seed=1))))
        service.delete(job.id)
        assert list(service.jobs()) == []
        assert list((settings.data_dir / "jobs").iterdir()) == []
    finally:
        runtime.stop()


def check_readable(server: Server, job: str) -> None:
    """What is there can be had."""
    assert httpx2.get(f"{server.url}/api/v1/jobs/{job}", timeout=30).status_code == 200
    assert httpx2.get(f"{server.url}/api/v1/jobs/{job}/tasks/0/cutout", timeout=30).status_code == 200
    assert httpx2.get(f"{server.url}/api/v1/jobs/{job}/archive", timeout=30).status_code == 200
