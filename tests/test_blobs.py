"""Picture files: no photo goes while somebody holds it, none stays when nobody does."""

import errno
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from photoproc.blobs import Blobs
from photoproc.child import Pictured, Report, Written
from photoproc.errors import PhotoError, ServiceError
from photoproc.jobs import Cutout, ExtraKind
from photoproc.settings import MIB
from tests.waiting import at_once

BATCH, OTHER = "b" * 32, "c" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def blobs(root: Path) -> Blobs:
    return Blobs(root, min_free_bytes=0)


def upload(blobs: Blobs, data: bytes = b"photo", batch: str = BATCH) -> Path:
    """Stage a photo; returns its staged file."""
    received = blobs.receive(io.BytesIO(data), max_bytes=1000)
    blobs.stage(batch, received)
    return blobs.staged(batch, received.sha256)


def make_job(blobs: Blobs, name: str, *datas: bytes) -> list[str]:
    """A job of photos uploaded for it; returns their hashes."""
    staged = [upload(blobs, data) for data in datas]
    blobs.open_job(name, staged)
    blobs.drop_batch(BATCH)
    return [path.name for path in staged]


def add_mask(blobs: Blobs, root: Path, sha256: str, data: bytes = b"mask") -> Path:
    written = root / "tmp" / "a-mask"
    written.write_bytes(data)
    blobs.keep_mask(sha256, "u2net", "w1", written)
    mask = blobs.mask(sha256, "u2net", "w1")
    assert mask is not None
    return mask


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def no_links(source: object, target: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["links", "no links"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On a file system with hard links, and on one without."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_links)
    return str(request.param)


# Receiving


def test_what_is_received_is_counted_and_hashed(blobs: Blobs) -> None:
    data = os.urandom(3_000_000)
    received = blobs.receive(io.BytesIO(data), max_bytes=len(data))
    assert received.byte_count == len(data)
    assert received.sha256 == hashlib.sha256(data).hexdigest()
    assert received.path.read_bytes() == data


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(blobs: Blobs, root: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        blobs.receive(io.BytesIO(b"x" * 11), max_bytes=10)
    assert caught.value.problem.code == "file_too_large"
    assert files(root) == set()


class Failing:
    """A stream or file that fails in the middle."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.given = error, False

    def read(self, size: int) -> bytes:
        if self.given:
            raise self.error
        self.given = True
        return b"some"


@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ServiceError, "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ServiceError, "disk_full"),
        (OSError(errno.EIO, "Input/output error"), ServiceError, "disk_error"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_an_upload_that_fails_midway_leaves_nothing(
    blobs: Blobs, root: Path, error: BaseException, raised: type[BaseException], code: str | None
) -> None:
    with pytest.raises(raised) as caught:
        blobs.receive(cast(BinaryIO, Failing(error)), max_bytes=100)
    if isinstance(caught.value, ServiceError):
        assert caught.value.problem.code == code
    assert files(root) == set()


def test_a_disk_below_its_reserve_takes_nothing_more(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(root, min_free_bytes=100)
    monkeypatch.setattr(blobs, "free_bytes", lambda: 99)
    for refused in (blobs.check_space, lambda: blobs.receive(io.BytesIO(b"x"), max_bytes=9)):
        with pytest.raises(ServiceError) as caught:
            refused()
        assert caught.value.problem.code == "disk_full"
    assert files(root) == set()
    monkeypatch.setattr(blobs, "free_bytes", lambda: 100)
    blobs.check_space()


def test_what_is_said_of_a_low_disk_has_what_is_free_wanted_and_to_come(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(root, min_free_bytes=200 * MIB)
    monkeypatch.setattr(blobs, "free_bytes", lambda: 200 * MIB - 1)
    with pytest.raises(
        ServiceError, match=r"209 MB are free, 210 MB are kept free \(PHOTOPROC_MIN_FREE_DISK_MB"
    ):
        blobs.check_space()
    with pytest.raises(ServiceError, match="and 5 MB are to come"):
        blobs.check_space(5_000_000)


def test_a_disk_that_fills_up_while_a_file_comes_ends_it_before_it_is_full(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(root, min_free_bytes=100)
    free = iter([1000, 99])
    monkeypatch.setattr(blobs, "free_bytes", lambda: next(free))
    incoming = blobs.incoming()
    incoming.write(bytes(16 << 20), max_bytes=1 << 30)
    with pytest.raises(ServiceError) as caught:
        incoming.write(bytes(1 << 20), max_bytes=1 << 30)
    assert caught.value.problem.code == "disk_full"
    assert files(root) == set()


def test_an_announced_upload_that_would_eat_the_reserve_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(root, min_free_bytes=100)
    monkeypatch.setattr(blobs, "free_bytes", lambda: 1000)
    blobs.check_space(900)
    with pytest.raises(ServiceError):
        blobs.check_space(901)


def test_staging_and_discarding_leave_nothing_in_tmp(blobs: Blobs, root: Path, either: str) -> None:
    upload(blobs)
    upload(blobs)  # the same photo again
    upload(blobs, batch=OTHER)
    blobs.discard(blobs.receive(io.BytesIO(b"y"), max_bytes=9))
    assert [name for name in files(root) if name.startswith("tmp/")] == []


# Who holds a photo


def test_a_photo_lives_until_the_last_job_that_holds_it_goes_and_its_masks_with_it(
    blobs: Blobs, root: Path
) -> None:
    (sha,) = make_job(blobs, "one", b"shared")
    make_job(blobs, "two", b"shared", b"own")
    mask = add_mask(blobs, root, sha)
    blobs.close_job("one")
    assert blobs.photo("two", sha).read_bytes() == b"shared"
    assert mask.is_file()
    blobs.close_job("two")
    assert files(root) == set()


def test_a_photo_is_kept_once_however_many_hold_it(blobs: Blobs, root: Path) -> None:
    for name in ("one", "two"):
        make_job(blobs, name, b"x" * 500)
    upload(blobs, b"x" * 500)
    assert blobs.used_bytes() < 2 * 500 + sum(
        path.lstat().st_size for path in root.rglob("*") if path.is_dir()
    )
    assert len({path.stat().st_ino for path in root.rglob("*") if path.is_file()}) == 1


def test_a_staged_upload_protects_its_photo(blobs: Blobs, root: Path) -> None:
    (sha,) = make_job(blobs, "one", b"shared")
    mask = add_mask(blobs, root, sha)
    staged = upload(blobs, b"shared")
    blobs.close_job("one")
    assert staged.read_bytes() == b"shared"
    assert mask.is_file()
    blobs.drop_batch(BATCH)
    assert files(root) == set()


def test_dropping_uploads_takes_nothing_from_a_job(blobs: Blobs, root: Path, either: str) -> None:
    (sha,) = make_job(blobs, "one", b"shared")
    upload(blobs, b"shared")
    upload(blobs, b"other")
    blobs.drop_batch(BATCH)
    assert blobs.photo("one", sha).read_bytes() == b"shared"
    assert len(files(root)) == (2 if either == "links" else 1)


def test_a_job_can_be_made_of_another_jobs_photos(blobs: Blobs, either: str) -> None:
    (sha,) = make_job(blobs, "one", b"photo")
    blobs.open_job("two", [blobs.photo("one", sha)])
    blobs.close_job("one")
    assert blobs.photo("two", sha).read_bytes() == b"photo"


def test_everything_goes_with_the_last_job(blobs: Blobs, root: Path, either: str) -> None:
    (sha,) = make_job(blobs, "one", b"photo")
    add_mask(blobs, root, sha)
    blobs.close_job("one")
    assert files(root) == set()


def test_a_job_of_expired_uploads_is_refused_and_leaves_nothing(
    blobs: Blobs, root: Path, either: str
) -> None:
    staged = upload(blobs)
    with pytest.raises(ServiceError) as caught:
        blobs.open_job("j", [staged, blobs.staged(BATCH, "0" * 64)])
    assert caught.value.problem.code == "upload_expired"
    assert not (root / "jobs" / "j").exists()
    assert staged.is_file()


def test_uploads_and_deletions_at_once_never_take_a_photo_from_a_job(blobs: Blobs) -> None:
    keep = "keep"
    for _ in range(60):
        staged = upload(blobs, b"shared", OTHER)
        make_job(blobs, "old", b"shared")
        at_once(
            lambda: blobs.close_job("old"),
            lambda: upload(blobs, b"shared", "d" * 32),
            lambda staged=staged: blobs.open_job(keep, [staged]),  # type: ignore[misc]
        )
        blobs.drop_batch(OTHER)
        blobs.drop_batch("d" * 32)
        assert blobs.photo(keep, staged.name).read_bytes() == b"shared"
        blobs.close_job(keep)


# Without hard links


def test_a_copy_that_fails_midway_is_never_taken_for_the_photo(
    blobs: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    staged = upload(blobs, b"photo")

    def half(source: BinaryIO, target: BinaryIO, length: int) -> None:
        target.write(source.read(2))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("shutil.copyfileobj", half)
        with pytest.raises(ServiceError) as caught:
            blobs.open_job("j", [staged])
        assert caught.value.problem.code == "disk_full"
        with pytest.raises(ServiceError):
            upload(blobs, b"photo", OTHER)
    assert not (root / "jobs" / "j").exists()
    assert upload(blobs, b"photo", OTHER).read_bytes() == b"photo"
    blobs.open_job("j", [blobs.staged(OTHER, staged.name)])
    assert blobs.photo("j", staged.name).read_bytes() == b"photo"
    assert {path.read_bytes() for path in root.rglob("photos/**/*") if path.is_file()} == {b"photo"}


# Results


def attempt(
    blobs: Blobs,
    token: str,
    mask: bool = False,
    faces: Sequence[int] = (0,),
    extras: Sequence[ExtraKind] = (),
) -> Report:
    """What a child leaves in the outbox of an attempt."""
    outbox = blobs.outbox(token)

    def write(name: str) -> Written:
        (outbox / name).write_bytes(f"{token}-{name}".encode())
        return Written(path=outbox / name, sha256="f" * 64, byte_count=len(name))

    def pictured(face: int) -> Pictured:
        of = f"-{face}" if face else ""
        return Pictured(
            cutout=write(f"cutout{of}"),
            preview=write(f"preview{of}"),
            before=write(f"before{of}"),
            size_wh=(3, 4),
            face=face,
            extras=tuple((kind, write(f"{kind}{of}")) for kind in extras),
        )

    return Report(pictures=tuple(pictured(face) for face in faces), mask=write("mask") if mask else None)


def adopt(blobs: Blobs, job_id: str, number: int, token: str, report: Report) -> list[Cutout]:
    return blobs.adopt(job_id, number, token, report, suffix=".png")


def test_an_attempts_pictures_move_into_the_job(blobs: Blobs, root: Path) -> None:
    make_job(blobs, "j", b"photo")
    report = attempt(blobs, "t" * 32)
    (cutout,) = adopt(blobs, "j", 7, "t" * 32, report)
    assert (cutout.sha256, cutout.byte_count, cutout.size_wh) == ("f" * 64, 6, (3, 4))
    contents = [blobs.output("j", name).read_text() for name in (cutout.file, cutout.preview, cutout.before)]
    assert contents == [f"{'t' * 32}-{name}" for name in ("cutout", "preview", "before")]
    blobs.empty_outbox("t" * 32)
    assert list((root / "tmp").iterdir()) == []


def test_each_cutout_of_an_attempt_has_files_of_its_own_and_what_goes_with_it(
    blobs: Blobs, root: Path
) -> None:
    make_job(blobs, "j", b"photo")
    report = attempt(blobs, "t", faces=(1, 2), extras=("mask", "sheet", "sheet_pdf"))
    cutouts = blobs.adopt("j", 7, "t", report, suffix=".jpg")
    assert [cutout.face for cutout in cutouts] == [1, 2]
    names = [name for cutout in cutouts for name in cutout.files]
    assert len(set(names)) == len(names) == 12
    assert {path.name for path in (root / "jobs/j/out").iterdir()} == set(names)
    for cutout in cutouts:
        kinds = ["cutout", "preview", "before", *(extra.kind for extra in cutout.extras)]
        texts = [blobs.output("j", name).read_text() for name in cutout.files]
        assert texts == [f"t-{kind}-{cutout.face}" for kind in kinds]
        suffixes = [Path(name).suffix for name in cutout.files]
        assert suffixes == [".jpg", ".webp", ".webp", ".jpg", ".jpg", ".pdf"]
    blobs.drop_output("j", cutouts)
    assert list((root / "jobs/j/out").iterdir()) == []


def test_what_an_attempt_of_a_lost_server_moved_is_found_by_its_token(blobs: Blobs, root: Path) -> None:
    make_job(blobs, "j", b"photo")
    (other,) = adopt(blobs, "j", 77, "t", attempt(blobs, "t"))
    blobs.empty_outbox("t")
    blobs.adopt("j", 7, "t", attempt(blobs, "t", faces=(1, 2), extras=("mask", "sheet")), suffix=".webp")
    blobs.drop_attempt("j", 7, "t")
    assert {path.name for path in (root / "jobs/j/out").iterdir()} == set(other.files)


def test_moving_them_again_after_an_error_changes_nothing(blobs: Blobs) -> None:
    make_job(blobs, "j", b"photo")
    report = attempt(blobs, "t")
    assert adopt(blobs, "j", 7, "t", report) == adopt(blobs, "j", 7, "t", report)
    assert blobs.output("j", "7-t.png").read_text() == "t-cutout"


def test_attempts_never_overwrite_each_other(blobs: Blobs) -> None:
    make_job(blobs, "j", b"photo")
    (first,) = adopt(blobs, "j", 7, "first", attempt(blobs, "first"))
    (second,) = adopt(blobs, "j", 7, "second", attempt(blobs, "second"))
    blobs.drop_output("j", [second])
    blobs.drop_output("j", [second])
    assert blobs.output("j", first.file).read_text() == "first-cutout"
    with pytest.raises(ServiceError) as caught:
        blobs.output("j", second.file)
    assert caught.value.problem.code == "not_found"


def test_results_of_a_deleted_job_find_no_place(blobs: Blobs, root: Path) -> None:
    make_job(blobs, "j", b"photo")
    report = attempt(blobs, "t")
    blobs.close_job("j")
    with pytest.raises(ServiceError) as caught:
        adopt(blobs, "j", 7, "t", report)
    assert caught.value.problem.code == "not_found"
    blobs.empty_outbox("t")
    assert files(root) == set()


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EACCES, "disk_error")],
)
@pytest.mark.parametrize("what", ["adopt", "outbox", "open_job", "stage", "thumbnail"])
def test_errors_of_the_disk_are_named(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, number: int, code: str, what: str
) -> None:
    (sha,) = make_job(blobs, "j", b"photo")
    staged = upload(blobs)
    report = attempt(blobs, "t")
    received = blobs.receive(io.BytesIO(b"new"), max_bytes=9)
    actions: dict[str, Callable[[], object]] = {
        "adopt": lambda: adopt(blobs, "j", 7, "t", report),
        "outbox": lambda: blobs.outbox("u"),
        "open_job": lambda: blobs.open_job("k", [staged]),
        "stage": lambda: blobs.stage(OTHER, received),
        "thumbnail": lambda: blobs.thumbnail(BATCH, sha),
    }

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(ServiceError) as caught:
        actions[what]()
    assert caught.value.problem.code == code


def test_a_thumbnail_of_dropped_uploads_is_not_found(blobs: Blobs) -> None:
    staged = upload(blobs)
    assert blobs.thumbnail(BATCH, staged.name).parent.is_dir()
    blobs.drop_batch(BATCH)
    with pytest.raises(ServiceError) as caught:
        blobs.thumbnail(BATCH, staged.name)
    assert caught.value.problem.code == "not_found"


def test_masks_are_told_apart_by_photo_model_and_weights(blobs: Blobs, root: Path) -> None:
    (sha,) = make_job(blobs, "j", b"photo")
    assert add_mask(blobs, root, sha).read_bytes() == b"mask"
    assert blobs.mask(sha, "u2net", "w2") is None
    assert blobs.mask(sha, "u2netp", "w1") is None
    assert blobs.mask("0" * 64, "u2net", "w1") is None


def test_what_a_model_is_uncertain_of_is_kept_beside_its_mask_and_goes_with_it(
    blobs: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sha,) = make_job(blobs, "j", b"photo")
    blobs.keep_uncertainty(sha, "u2net", "w1", 0.25)
    assert blobs.uncertainty(sha, "u2net", "w1") is None  # there is no mask it could belong to
    mask = add_mask(blobs, root, sha)
    before = files(root)
    blobs.keep_uncertainty(sha, "u2net", "w1", 0.25)
    assert blobs.uncertainty(sha, "u2net", "w1") == 0.25
    assert blobs.mask(sha, "u2net", "w1") == mask
    assert blobs.uncertainty(sha, "u2net", "w2") is None
    assert blobs.uncertainty(sha, "u2netp", "w1") is None
    (kept,) = {root / name for name in files(root) - before}
    for damaged in ("", "[]", '{"formula": 1}', '{"formula": 1, "uncertainty": 7.0}', kept.read_text()[:-4]):
        kept.write_text(damaged)
        assert blobs.uncertainty(sha, "u2net", "w1") is None
    blobs.keep_uncertainty(sha, "u2net", "w1", 0)
    assert blobs.uncertainty(sha, "u2net", "w1") == 0
    with monkeypatch.context() as later:  # what another formula gave says nothing
        later.setattr("photoproc.blobs._FORMULA", 99)
        assert blobs.uncertainty(sha, "u2net", "w1") is None
    blobs.close_job("j")
    assert files(root) == set()


def test_a_mask_that_cannot_be_kept_is_forgotten(
    blobs: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sha,) = make_job(blobs, "j", b"photo")
    written = root / "tmp" / "m"
    written.write_bytes(b"mask")
    monkeypatch.setattr(os, "replace", no_links)
    blobs.keep_mask(sha, "u2net", "w1", written)
    assert blobs.mask(sha, "u2net", "w1") is None
    assert not written.exists()


# Tidying up


def test_a_sweep_removes_orphans_only(blobs: Blobs, root: Path) -> None:
    (live_sha,) = make_job(blobs, "live", b"live")
    (dead_sha,) = make_job(blobs, "dead", b"dead")
    staged = upload(blobs, b"staged")
    for sha in (live_sha, dead_sha):
        add_mask(blobs, root, sha)
    staged_mask = add_mask(blobs, root, staged.name)
    adopt(blobs, "live", 0, "t", attempt(blobs, "t"))
    blobs.receive(io.BytesIO(b"half"), max_bytes=9)
    orphan = upload(blobs, b"orphan", OTHER)
    orphan.unlink()  # as if the server had ended between staging and dropping
    late = add_mask(blobs, root, "9" * 64)  # as if a job had been deleted while its mask was kept
    before = files(root)

    blobs.sweep({"live"})

    gone = before - files(root)
    assert {name.split("/")[0] for name in gone} == {"jobs", "photos", "masks", "tmp", "staging"}
    assert not any(live_sha in name for name in gone)
    assert all("live" not in name.split("/") for name in gone)
    unwanted = (dead_sha, orphan.name, staged.name)  # the session that staged it ended with its server
    assert not any(one in name for one in unwanted for name in files(root))
    assert not staged_mask.exists()
    assert not late.exists()
    assert list((root / "tmp").iterdir()) == []
    assert blobs.output("live", "0-t.png").is_file()


def test_a_sweep_that_does_not_know_the_jobs_leaves_them_all(blobs: Blobs, root: Path) -> None:
    (sha,) = make_job(blobs, "j", b"photo")
    adopt(blobs, "j", 0, "t", attempt(blobs, "t"))
    blobs.empty_outbox("t")
    before = files(root)
    blobs.sweep(None)
    assert files(root) == before
    assert blobs.photo("j", sha).is_file()


def test_a_sweep_without_hard_links_keeps_jobs(
    blobs: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    (sha,) = make_job(blobs, "live", b"live")
    make_job(blobs, "dead", b"dead")
    staged = upload(blobs, b"staged")
    blobs.sweep({"live"})
    assert not staged.exists()
    assert files(root) == {f"jobs/live/photos/{sha}"}


def test_a_copy_of_a_batch_stays_when_the_batch_goes(blobs: Blobs) -> None:
    one, two = upload(blobs, b"one"), upload(blobs, b"two")
    blobs.copy_batch(BATCH, OTHER)
    blobs.copy_batch("d" * 32, "e" * 32)
    blobs.drop_batch(BATCH)
    assert not one.exists()
    assert [blobs.staged(OTHER, path.name).read_bytes() for path in (one, two)] == [b"one", b"two"]
    assert [name for name, _ in blobs.batches()] == [OTHER]


def test_the_folders_are_this_users_own(root: Path, blobs: Blobs) -> None:
    upload(blobs)
    assert {path.stat().st_mode & 0o077 for path in root.rglob("*") if path.is_dir()} == {0}


def test_cutouts_never_published_can_be_dropped_twice(blobs: Blobs) -> None:
    cutout = Cutout(file="a", preview="b", before="c", sha256="s", byte_count=1, size_wh=(1, 1))
    blobs.drop_output("none", [cutout])
