"""The ZIP people take away: exact in size, whole, and with a manifest that agrees with it."""

import csv
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc import export
from photoproc.errors import Problem
from photoproc.jobs import Counts, Cutout, Job, JobState, Photo, Refusal, Task, TaskState, Warn
from photoproc.names import output_paths
from photoproc.recipe import Keep, Recipe
from tests.pictures import encoded, picture

REFUSAL = Refusal(
    name="notes.txt", problem=Problem(code="not_a_picture", message="It is text.", advice="Export it.")
)


def job(recipe: Recipe, title: str = "My shoot") -> Job:
    return Job(
        id="0" * 32,
        title=title,
        created_at=1_700_000_000.0,
        recipe=recipe,
        photo_count=1,
        refused=(REFUSAL,),
        state=JobState.DONE,
        counts=Counts(),
        revision=1,
        started_at=None,
        finished_at=None,
        photos_per_s=None,
        remaining_s=None,
        output_bytes=0,
    )


def task(number: int, name: str, model: str, state: TaskState = TaskState.DONE, **fields: Any) -> Task:
    photo = Photo(
        name=name,
        sha256=f"{number:064d}",
        byte_count=1,
        format="JPEG",
        size_wh=(40, 30),
        output=output_paths([name])[0][0],
    )
    whole = Task(job_id="0" * 32, number=number, model=model, photo=photo, state=state, attempts=1)
    return replace(whole, **fields)


class Folder:
    """Cutouts on disk, and the finished tasks they are of."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def done(self, number: int, name: str, model: str, data: bytes | None = None) -> Task:
        data = encoded(picture(30 + number, 20, "RGBA", seed=number), "PNG") if data is None else data
        file = f"{number}-token.png"
        (self.root / file).write_bytes(data)
        cutout = Cutout(
            file=file,
            preview="p.webp",
            before="b.webp",
            sha256=hashlib.sha256(data).hexdigest(),
            byte_count=len(data),
            size_wh=(30 + number, 20),
        )
        return task(
            number,
            name,
            model,
            cutout=cutout,
            seconds={"decode": 0.01234567, "inference": 1.5},
            provider="CPUExecutionProvider",
            warnings=(Warn(code="no_face", message="No face was found."),),
        )

    def archive(self, recipe: Recipe, tasks: list[Task], title: str = "My shoot") -> export.Archive:
        return export.archive(job(recipe, title), tasks, lambda file: self.root / file)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


ONE = Recipe(models=("u2net",))
TWO = Recipe(models=("u2net", "u2netp"))
FAILED = Problem(code="poison", message="It failed 3 times.", advice="Try it alone.")


def opened(archive: export.Archive) -> zipfile.ZipFile:
    data = b"".join(archive.chunks)
    assert len(data) == archive.byte_count
    packed = zipfile.ZipFile(io.BytesIO(data))
    assert packed.testzip() is None
    return packed


def csv_rows(packed: zipfile.ZipFile) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(packed.read("manifest.csv").decode("utf-8-sig"))))


def test_the_size_is_known_before_the_first_byte_and_the_zip_is_whole(folder: Folder) -> None:
    tasks = [folder.done(0, "a.jpg", "u2net"), folder.done(1, "dé/写真.jpg", "u2net")]
    packed = opened(folder.archive(ONE, tasks))
    assert packed.namelist() == ["a.png", "dé/写真.png", "manifest.csv", "manifest.json"]
    assert packed.read("a.png") == (folder.root / "0-token.png").read_bytes()


def test_large_cutouts_are_streamed_in_pieces(folder: Folder) -> None:
    tasks = [folder.done(number, f"{number}.jpg", "u2net", bytes(6_000_000)) for number in range(2)]
    archive = folder.archive(ONE, tasks)
    sizes = [len(chunk) for chunk in archive.chunks]
    assert sum(sizes) == archive.byte_count > 12_000_000
    assert max(sizes) <= 1_100_000


def test_several_models_have_a_folder_each(folder: Folder) -> None:
    tasks = [folder.done(0, "d/a.jpg", "u2net"), folder.done(1, "d/a.jpg", "u2netp")]
    assert opened(folder.archive(TWO, tasks)).namelist()[:2] == ["u2net/d/a.png", "u2netp/d/a.png"]


def test_a_kept_background_needs_no_folder_however_many_models_were_named(folder: Folder) -> None:
    recipe = Recipe(models=("u2net", "u2netp"), background=Keep())
    assert opened(folder.archive(recipe, [folder.done(0, "a.jpg", "none")])).namelist()[0] == "a.png"


def test_both_manifests_list_every_task_with_its_fate(folder: Folder) -> None:
    tasks = [
        folder.done(0, "a.jpg", "u2net"),
        task(1, "b.jpg", "u2net", TaskState.FAILED, problem=FAILED, attempts=3),
        task(2, "c.jpg", "u2net", TaskState.SKIPPED, problem=Problem(code="no_face", message="No face.")),
        task(3, "d.jpg", "u2net", TaskState.CANCELLED),
        task(4, "e.jpg", "u2net", TaskState.QUEUED),
    ]
    packed = opened(folder.archive(ONE, tasks))
    document = json.loads(packed.read("manifest.json"))
    rows = document["tasks"]
    assert [row["photo"] for row in rows] == [f"{letter}.jpg" for letter in "abcde"]
    assert [row["state"] for row in rows] == ["done", "failed", "skipped", "cancelled", "queued"]
    assert (rows[1]["code"], rows[1]["reason"], rows[1]["advice"], rows[1]["attempts"]) == (
        *("poison", "It failed 3 times.", "Try it alone."),
        3,
    )
    assert rows[2]["code"] == "no_face"
    assert [row["output"] for row in rows] == ["a.png", None, None, None, None]
    assert (rows[0]["decode_s"], rows[0]["inference_s"], rows[0]["load_s"]) == (0.0123, 1.5, None)
    assert rows[0]["provider"] == "CPUExecutionProvider"
    assert rows[0]["warnings"] == ["no_face: No face was found."]
    assert (rows[0]["photo_wh"], rows[0]["cutout_wh"]) == ([40, 30], [30, 20])
    in_csv = csv_rows(packed)
    assert [row["photo"] for row in in_csv] == [row["photo"] for row in rows]
    assert [row["reason"] for row in in_csv] == ["", "It failed 3 times.", "No face.", "", ""]
    assert (in_csv[0]["photo_wh"], in_csv[0]["inference_s"]) == ("40×30", "1.5")
    assert packed.namelist() == ["a.png", "manifest.csv", "manifest.json"]


def test_the_json_manifest_says_what_was_asked_for_and_what_was_refused(folder: Folder) -> None:
    document = json.loads(opened(folder.archive(TWO, [])).read("manifest.json"))
    assert Recipe.from_json(json.dumps(document["recipe"])) == TWO
    assert document["refused"] == [
        {"name": "notes.txt", "code": "not_a_picture", "reason": "It is text.", "advice": "Export it."}
    ]
    assert document["title"] == "My shoot"
    assert document["created_at"] == "2023-11-14T22:13:20+00:00"


def test_checksums_in_the_manifest_are_those_of_the_members(folder: Folder) -> None:
    tasks = [
        folder.done(2 * photo + place, f"{photo}.jpg", model)
        for photo in range(3)
        for place, model in enumerate(TWO.models)
    ]
    packed = opened(folder.archive(TWO, tasks))
    rows = json.loads(packed.read("manifest.json"))["tasks"]
    assert len(rows) == 6
    for row in rows:
        member = packed.read(row["output"])
        assert hashlib.sha256(member).hexdigest() == row["cutout_sha256"]
        assert len(member) == row["cutout_bytes"]
    assert [row["cutout_sha256"] for row in csv_rows(packed)] == [row["cutout_sha256"] for row in rows]


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", "＝1.jpg"])
def test_names_that_spreadsheets_would_run_are_defused(folder: Folder, name: str) -> None:
    packed = opened(folder.archive(ONE, [folder.done(0, name, "u2net")]))
    [row] = csv_rows(packed)
    assert row["photo"] == f"'{name}"
    assert row["output"][0] not in "=+-@\t＝"
    assert json.loads(packed.read("manifest.json"))["tasks"][0]["photo"] == name


def test_the_csv_opens_as_utf_8_and_survives_commas_quotes_and_lines(folder: Folder) -> None:
    names = ['a,"b".jpg', "ü;é.jpg", "two\nlines.jpg"]
    packed = opened(
        folder.archive(ONE, [task(i, name, "u2net", TaskState.FAILED) for i, name in enumerate(names)])
    )
    assert packed.read("manifest.csv").startswith(b"\xef\xbb\xbf")
    assert [row["photo"] for row in csv_rows(packed)] == names


@given(
    uploads=st.lists(
        st.sampled_from(
            [
                "a.jpg",
                "A.png",
                "a.png/a.jpg",
                "u2net/a.jpg",
                "manifest.csv/x.jpg",
                "manifest.json",
                "e\u0301.jpg",
            ]
        )
        | st.text(min_size=1, max_size=6),
        max_size=8,
    ),
    models=st.sampled_from([("u2net",), ("u2net", "u2netp")]),
)
def test_no_two_members_of_a_zip_collide(uploads: list[str], models: tuple[str, ...]) -> None:
    members = ["manifest.csv", "manifest.json"]
    for name, (path, _) in zip(uploads, output_paths(uploads), strict=True):
        for model in models:
            one = task(0, name, model)
            members.append(export.output_name(replace(one, photo=replace(one.photo, output=path)), models))
    files = {member.casefold() for member in members}
    folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    assert len(files) == len(members)
    assert not files & folders


@pytest.mark.parametrize(
    ("title", "file_name"),
    [
        ("My shoot", "My shoot.zip"),
        ("IMG_1.jpg and 3 more", "IMG_1.jpg and 3 more.zip"),
        ("../../etc/passwd", "_.._etc_passwd.zip"),
        ("C:\\x", "C__x.zip"),
        ("con", "con_.zip"),
        ("v/" * 150, f"{'v_' * 60}.zip"),
    ],
)
def test_the_zip_is_called_after_the_job_safely(folder: Folder, title: str, file_name: str) -> None:
    assert folder.archive(ONE, [], title).file_name == file_name


def test_a_job_without_cutouts_still_has_its_manifest(folder: Folder) -> None:
    packed = opened(folder.archive(ONE, [task(0, "a.jpg", "u2net", TaskState.FAILED, problem=FAILED)]))
    assert packed.namelist() == ["manifest.csv", "manifest.json"]
