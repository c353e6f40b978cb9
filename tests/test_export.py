"""The ZIP people take away: exact in size, whole, and with a manifest that agrees with it."""

import csv
import hashlib
import io
import json
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc import export
from photoproc.errors import Problem
from photoproc.files import is_whole
from photoproc.jobs import (
    Counts,
    Cutout,
    Extra,
    ExtraKind,
    Job,
    JobState,
    Photo,
    Refusal,
    Task,
    TaskState,
    Warn,
)
from photoproc.names import display_name, output_paths
from photoproc.parts import Face, Keep, Output, Sheet
from photoproc.recipe import Recipe
from tests.pictures import encoded, picture

REFUSAL = Refusal(
    name="notes.txt", problem=Problem(code="not_a_picture", message="It is text.", advice="Export it.")
)


def job(recipe: Recipe, title: str = "My shoot", photo_count: int = 1) -> Job:
    return Job(
        id="0" * 32,
        title=title,
        created_at=1_700_000_000.0,
        recipe=recipe,
        photo_count=photo_count,
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
            cutouts=(cutout,),
            seconds={"decode": 0.01234567, "inference": 1.5},
            provider="CPUExecutionProvider",
            threads=2,
            peak_bytes=345_678_912,
            warnings=(Warn(code="no_face", message="No face was found."),),
        )

    def of_faces(
        self, number: int, name: str, model: str, faces: int, *kinds: ExtraKind, suffix: str = ".png"
    ) -> Task:
        """A task with a cutout for each face (0: for the whole photo), and what goes with each."""
        cutouts = []
        for face in range(1, faces + 1) if faces else (0,):
            stem = f"{number}-token-{face}"
            endings: dict[ExtraKind, str] = {
                "mask": f"-mask{suffix}",
                "sheet": "-sheet.jpg",
                "sheet_pdf": "-sheet.pdf",
            }
            extras = []
            for kind in kinds:
                data = f"{stem} {kind}".encode()
                (self.root / (stem + endings[kind])).write_bytes(data)
                sha256 = hashlib.sha256(data).hexdigest()
                extras.append(
                    Extra(kind=kind, file=stem + endings[kind], sha256=sha256, byte_count=len(data))
                )
            (self.root / (stem + suffix)).write_bytes(stem.encode())
            cutout = Cutout(
                file=stem + suffix,
                preview="p.webp",
                before="b.webp",
                sha256=hashlib.sha256(stem.encode()).hexdigest(),
                byte_count=len(stem),
                size_wh=(4, 5),
                face=face,
                extras=tuple(extras),
            )
            cutouts.append(cutout)
        return task(number, name, model, cutouts=tuple(cutouts))

    def whole(self, file: Cutout | Extra) -> Path | None:
        path = self.root / file.file
        return path if is_whole(path, file.byte_count) else None

    def archive(
        self, recipe: Recipe, tasks: list[Task], title: str = "My shoot", photo_count: int = 1
    ) -> export.Archive:
        return export.archive(job(recipe, title, photo_count), tasks, self.whole)


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
    assert archive.byte_count is not None
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
    assert (rows[0]["threads"], rows[0]["peak_bytes"]) == (2, 345_678_912)
    assert rows[0]["warnings"] == ["no_face: No face was found."]
    assert (rows[0]["photo_wh"], rows[0]["cutout_wh"]) == ([40, 30], [30, 20])
    in_csv = csv_rows(packed)
    assert [row["photo"] for row in in_csv] == [row["photo"] for row in rows]
    assert [row["reason"] for row in in_csv] == ["", "It failed 3 times.", "No face.", "", ""]
    assert (in_csv[0]["threads"], in_csv[1]["threads"]) == ("2", "")
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


def entries(archive: export.Archive) -> list[str]:
    """What is in a ZIP, but for the manifests."""
    return opened(archive).namelist()[:-2]


def named(template: str, **fields: Any) -> Recipe:
    return Recipe(models=("u2net",), output=Output(name=template), **fields)


def test_a_template_says_what_files_are_called_within_the_folders_of_the_input(folder: Folder) -> None:
    tasks = [folder.done(0, "a/b/c.jpg", "u2net"), folder.done(1, "d.jpg", "u2net")]
    archive = folder.archive(named("{date} {job}/{n} {stem} {model}"), tasks, "A/B: shoot", photo_count=120)
    assert entries(archive) == [
        "a/b/2023-11-14 A_B_ shoot/001 c u2net.png",
        "2023-11-14 A_B_ shoot/002 d u2net.png",
    ]


def test_each_model_has_a_folder_unless_the_template_says_where(folder: Folder) -> None:
    tasks = [folder.done(number, "d/a.jpg", TWO.models[number % 2]) for number in range(4)]
    tasks = [replace(one, photo=replace(one.photo, output=f"d/a{one.number // 2}")) for one in tasks]
    assert entries(folder.archive(TWO, tasks)) == [
        *("u2net/d/a0.png", "u2netp/d/a0.png", "u2net/d/a1.png", "u2netp/d/a1.png")
    ]
    beside = TWO.model_copy(update={"output": Output(name="{n}-{model}")})
    assert entries(folder.archive(beside, tasks, photo_count=2)) == [
        *("d/1-u2net.png", "d/1-u2netp.png", "d/2-u2net.png", "d/2-u2netp.png")
    ]


@pytest.mark.parametrize(
    ("form", "suffix"), [("webp", ".webp"), ("jpeg", ".jpg"), ("avif", ".avif"), ("tiff", ".tif")]
)
def test_files_have_the_suffix_of_their_format(folder: Folder, form: str, suffix: str) -> None:
    recipe = Recipe.of_fields({"background": {"kind": "keep"}, "output": {"format": form}})
    assert entries(folder.archive(recipe, [folder.done(0, "a.png", "none")])) == [f"a{suffix}"]


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{stem}", ["d/a-1.png", "d/a-2.png", "d/a-3.png"]),
        ("face {face} of {stem}", [f"d/face {face} of a.png" for face in (1, 2, 3)]),
        ("{face}/{stem}", ["d/1/a.png", "d/2/a.png", "d/3/a.png"]),
    ],
)
def test_each_face_has_a_file_with_its_number(folder: Folder, template: str, names: list[str]) -> None:
    recipe = named(template, framing=Face(which="each"))
    packed = opened(folder.archive(recipe, [folder.of_faces(0, "d/a.jpg", "u2net", 3)]))
    assert packed.namelist()[:-2] == names
    rows = json.loads(packed.read("manifest.json"))["tasks"]
    assert [(row["output"], row["face"], row["photo"]) for row in rows] == [
        (name, face, "d/a.jpg") for face, name in enumerate(names, start=1)
    ]
    assert [row["face"] for row in csv_rows(packed)] == ["1", "2", "3"]


def test_what_goes_with_a_cutout_is_beside_it_and_in_its_row(folder: Folder) -> None:
    recipe = named("{stem} done", framing=Face(which="each"))
    photo = folder.of_faces(0, "x/a.b.jpg", "u2net", 2, "mask", "sheet", "sheet_pdf", suffix=".tif")
    recipe = recipe.model_copy(update={"output": recipe.output.model_copy(update={"format": "tiff"})})
    packed = opened(folder.archive(recipe, [photo]))
    assert packed.namelist()[:-2] == [
        f"x/a.b done-{face}{rest}"
        for face in (1, 2)
        for rest in (".tif", "-mask.tif", "-sheet.jpg", "-sheet.pdf")
    ]
    first, second = json.loads(packed.read("manifest.json"))["tasks"]
    assert first["output"] == "x/a.b done-1.tif"
    assert first["also"] == ["x/a.b done-1-mask.tif", "x/a.b done-1-sheet.jpg", "x/a.b done-1-sheet.pdf"]
    assert packed.read(second["also"][2]) == b"0-token-2 sheet_pdf"
    assert csv_rows(packed)[0]["also"] == "; ".join(first["also"])


def test_a_photo_called_like_the_mask_of_another_is_numbered_and_the_manifest_says_so(folder: Folder) -> None:
    recipe = Recipe(models=("u2net",), output=Output(show="pair"))
    tasks = [
        folder.of_faces(0, "a.jpg", "u2net", 0, "mask"),
        folder.of_faces(1, "A-MASK.jpg", "u2net", 0, "mask"),
    ]
    packed = opened(folder.archive(recipe, tasks))
    rows = json.loads(packed.read("manifest.json"))["tasks"]
    assert [(row["output"], row["also"]) for row in rows] == [
        ("a.png", ["a-mask.png"]),
        ("A-MASK (2).png", ["A-MASK (2)-mask.png"]),
    ]
    assert packed.read("A-MASK (2).png") == b"1-token-0"


pieces = st.sampled_from(
    ["{stem}", "{n}", "{model}", "{face}", "{job}", "{date}", "/", ".png", "manifest", "-mask"]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=3)


@st.composite
def templates(draw: st.DrawFn) -> str:
    needed = draw(st.sampled_from(["{stem}", "{n}"]))
    parts = draw(st.permutations([needed, *draw(st.lists(pieces | texts, max_size=4))]))
    return "".join(parts).replace("}{", "}-{")  # fields that touch are refused


@given(
    uploads=st.lists(
        st.sampled_from(
            [
                *("a.jpg", "A.png", "a.png/a.jpg", "u2net/a.jpg", "manifest.csv/x.jpg", "manifest.json"),
                *("e\u0301.jpg", "é.jpg", "a-mask.jpg", "a-1.jpg", "a-1-sheet.jpg", "1/a.jpg"),
            ]
        )
        | st.text(min_size=1, max_size=6),
        max_size=6,
    ),
    models=st.sampled_from([("u2net",), ("u2net", "u2netp")]),
    template=templates(),
    faces=st.integers(0, 2),
    title=st.text(max_size=6),
)
def test_no_two_members_of_a_zip_collide_and_the_manifest_names_them_all(
    tmp_path_factory: pytest.TempPathFactory,
    uploads: list[str],
    models: tuple[str, ...],
    template: str,
    faces: int,
    title: str,
) -> None:
    folder = Folder(tmp_path_factory.getbasetemp())
    output = Output(name=template, show="pair", sheet=Sheet())
    recipe = Recipe(models=models, framing=Face(which="each" if faces else "largest"), output=output)
    tasks = []
    for place, (name, (path, _)) in enumerate(zip(uploads, output_paths(uploads), strict=True)):
        for number, model in enumerate(models, start=place * len(models)):
            one = folder.of_faces(number, name, model, faces, "mask", "sheet", "sheet_pdf")
            tasks.append(replace(one, photo=replace(one.photo, output=path)))
    packed = opened(folder.archive(recipe, tasks, display_name(title), photo_count=len(uploads)))
    files = {unicodedata.normalize("NFC", name).casefold() for name in packed.namelist()}
    folders = {str(up) for file in files for up in PurePosixPath(file).parents}
    assert len(files) == len(packed.namelist())
    assert not files & folders
    rows = json.loads(packed.read("manifest.json"))["tasks"]
    listed = [name for row in rows for name in (row["output"], *row["also"])]
    assert [*listed, "manifest.csv", "manifest.json"] == packed.namelist()
    cutouts = [cutout for one in tasks for cutout in one.cutouts]
    for row, cutout in zip(rows, cutouts, strict=True):
        assert hashlib.sha256(packed.read(row["output"])).hexdigest() == cutout.sha256
        sums = [hashlib.sha256(packed.read(name)).hexdigest() for name in row["also"]]
        assert sums == [extra.sha256 for extra in cutout.extras]
        assert row["face"] == (cutout.face or None)


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


def test_what_is_lost_is_left_out_and_named(folder: Folder) -> None:
    tasks = [folder.done(number, f"{name}.jpg", "u2net") for number, name in enumerate("abc")]
    (folder.root / "0-token.png").unlink()
    (folder.root / "1-token.png").write_bytes(b"")
    tasks.append(folder.of_faces(3, "d.jpg", "u2net", 0, "mask"))
    (folder.root / "3-token-0-mask.png").unlink()
    packed = opened(folder.archive(ONE, tasks, photo_count=4))
    assert packed.namelist() == ["c.png", "d.png", export.LOST, "manifest.csv", "manifest.json"]
    rows = json.loads(packed.read("manifest.json"))["tasks"]
    assert [row["state"] for row in rows] == ["lost", "lost", "done", "done"]
    assert [row["output"] for row in rows] == [None, None, "c.png", "d.png"]
    assert all(row["code"] == "cutout_lost" and row["reason"] and row["advice"] for row in rows[:2])
    assert "lost: d-mask.png is lost." in rows[3]["warnings"]
    lines = packed.read(export.LOST).decode().splitlines()
    assert [line.split(" is missing")[0] for line in lines] == ["a.png", "b.png", "d-mask.png"]
    assert all("Retry it" in line for line in lines)


def test_of_a_task_that_lost_a_face_the_others_are_there(folder: Folder) -> None:
    done = folder.of_faces(0, "a.jpg", "u2net", 2)
    (folder.root / "0-token-1.png").unlink()
    gone = Problem(code="cutout_lost", message="It is gone.", advice="Retry it.")
    lost = replace(done, state=TaskState.FAILED, problem=gone, cutouts=(), remains=done.cutouts)
    packed = opened(folder.archive(ONE, [lost]))
    assert len([name for name in packed.namelist() if name.endswith(".png")]) == 1
    rows = json.loads(packed.read("manifest.json"))["tasks"]
    assert [(row["state"], row["reason"]) for row in rows] == [("lost", "It is gone."), ("done", None)]
