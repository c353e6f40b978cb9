"""File names: harmless to show, safe on every file system, distinct within a job."""

import itertools
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoproc import names as names_module
from photoproc.names import display_name, distinct, filled, output_paths, safe_path
from photoproc.parts import NAME_FIELDS, Output

DEVICES = {
    *("CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"),
    *(f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"),
}
JOINERS = "\u200c\u200d"
FORBIDDEN = set('<>:"|?*\\')
nasty = st.sampled_from(
    [
        *("..", ".", " ", "/", "\\", "C:", "con", "NUL", "aux.", "COM1", "lpt³", "CONIN$", ".png", ".JPG"),
        *("\x00", "\n", "\u202e", "\u200d", "\ud800", "é", "e\u0301", "ﬁ", "ß", "SS", "İ", "K", "\u0345"),
    ]
)
names = st.lists(st.one_of(nasty, st.text(max_size=8)), max_size=9).map("".join)
plain_part = st.from_regex(r"[a-z][a-z0-9_-]{2,12}(\.[a-z]{2})?", fullmatch=True)
plain_paths = st.lists(plain_part, min_size=1, max_size=4).map("/".join)


def folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def check_safe(path: str) -> None:
    """Any file system takes the path."""
    assert path
    assert not PurePosixPath(path).is_absolute()
    assert not PureWindowsPath(path).drive
    assert len(path.encode()) <= 9 * 121
    for part in path.split("/"):
        assert part not in ("", ".", "..")
        assert part == part.strip(" .")
        assert part.partition(".")[0].rstrip().upper() not in DEVICES
        assert not FORBIDDEN & set(part)
        hidden = {"Cc", "Cf", "Cs", "Co"}
        assert not any(unicodedata.category(char) in hidden and char not in JOINERS for char in part)
        assert len(part.encode()) <= 120


@given(name=names)
def test_a_safe_path_is_safe_on_every_file_system(name: str) -> None:
    check_safe(safe_path(name))


@given(many=st.lists(names, max_size=12))
def test_paths_of_a_job_are_distinct_whatever_the_file_system_folds(many: list[str]) -> None:
    paths = [path for path, _ in output_paths(many)]
    assert len(paths) == len(many)
    assert len({folded(path) for path in paths}) == len(many)
    assert len({unicodedata.normalize("NFD", path).casefold() for path in paths}) == len(many)


@given(many=st.lists(names, max_size=12))
def test_no_cutout_is_where_another_one_has_its_folder(many: list[str]) -> None:
    files = {folded(f"{path}.png") for path, _ in output_paths(many)} | {"manifest.csv", "manifest.json"}
    folders = {folded(str(up)) for file in files for up in PurePosixPath(file).parents}
    assert not files & folders


@given(path=plain_paths, suffix=st.sampled_from([".jpg", ".JPEG", ".png", ".heic", ".tif"]))
def test_a_plain_name_keeps_its_folders_and_stem_and_is_not_called_changed(path: str, suffix: str) -> None:
    assert output_paths([path + suffix]) == [(path, False)]


@given(name=names)
def test_a_name_not_called_changed_is_all_there(name: str) -> None:
    [(path, changed)] = output_paths([name])
    if not changed:
        own = unicodedata.normalize("NFC", str(PurePosixPath(name)))
        assert own.startswith(path)
        assert own[len(path) :] == PurePosixPath(own).suffix


@given(name=names)
def test_a_name_made_safe_needs_no_further_change(name: str) -> None:
    path = safe_path(name)
    assert output_paths([f"{path}.jpg"]) == [(path, False)]


@pytest.mark.parametrize(
    ("name", "path", "changed"),
    [
        ("photo", "photo", False),
        ("a/b.jpg", "a/b", False),
        ("a/b/c/d.jpeg", "a/b/c/d", False),
        ("x.y.jpg", "x.y", False),
        ("v1.2/x.y.jpg", "v1.2/x.y", False),
        ("two words.jpg", "two words", False),
        ("Ünïcödé 写真.png", "Ünïcödé 写真", False),
        ("e\u0301.jpg", "é", False),
        ("trailing .jpg", "trailing", True),
        (" leading.jpg", "leading", True),
        (".hidden.jpg", "hidden", True),
        (".jpg", "jpg", True),
        ("...", "photo", True),
        (".. ", "photo", True),
        ("", "photo", True),
        ("a\\b.jpg", "a/b", True),
        ("../../etc/passwd", "etc/passwd", True),
        ("/abs/x.jpg", "abs/x", True),
        ("C:\\x.jpg", "C_/x", True),
        ("what?.jpg", "what_", True),
        ("a\u202egpj.exe.jpg", "a_gpj.exe", True),
        ("CON.jpg", "CON_", True),
        (" con.jpg", "con_", True),
        (".aux.jpg", "aux_", True),
        ("nul.tar.jpg", "nul_.tar", True),
        ("com1 .x.jpg", "com1_ .x", True),
        ("console.jpg", "console", False),
        ("folder.png/x.jpg", "folder_png/x", True),
        ("manifest.csv/x.jpg", "manifest_csv/x", True),
        ("manifest.csv", "manifest", False),
        (f"{'n' * 200}.jpg", "n" * 120, True),
        (f"{'ü' * 100}.jpg", "ü" * 60, True),
        (f"{'/'.join('abcdefghij')}.jpg", "b/c/d/e/f/g/h/i/j", True),
    ],
)
def test_names_people_have(name: str, path: str, changed: bool) -> None:
    assert output_paths([name]) == [(path, changed)]


def test_collisions_are_numbered_and_called_changed() -> None:
    found = output_paths(["a.jpg", "a.png", "A.gif", "a (2).jpg", "b/a.jpg", "a.webp"])
    assert found == [
        ("a", False),
        ("a (2)", True),
        ("A (3)", True),
        ("a (2) (2)", True),
        ("b/a", False),
        ("a (4)", True),
    ]


def test_a_name_of_its_own_keeps_it_when_it_comes_before_the_numbered_one() -> None:
    found = output_paths(["a (2).jpg", "a.jpg", "a.png"])
    assert found == [("a (2)", False), ("a", False), ("a (3)", True)]


def test_many_photos_of_one_name_are_numbered_without_counting_from_one_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    real = names_module._folded

    def counted(path: str) -> str:
        tried.append(path)
        return real(path)

    monkeypatch.setattr(names_module, "_folded", counted)
    paths = [path for path, _ in output_paths(itertools.repeat("IMG.jpg", 1000))]
    assert paths[-1] == "IMG (1000)"
    assert len(set(paths)) == 1000
    assert len(tried) <= 4000


@given(name=names)
def test_a_shown_name_holds_nothing_that_moves_or_hides_text(name: str) -> None:
    shown = display_name(name)
    assert 0 < len(shown) <= 300
    hidden = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert not {unicodedata.category(char) for char in shown if char not in JOINERS} & hidden


def test_a_long_shown_name_keeps_its_beginning_and_its_end() -> None:
    shown = display_name("start/" + "x" * 1000 + "/end.jpg")
    assert len(shown) == 300
    assert shown.startswith("start/")
    assert shown.endswith("/end.jpg")
    assert "…" in shown


@pytest.mark.parametrize("name", ["می‌خواهم.jpg", "👨‍👩‍👧.jpg"])
def test_joiners_within_words_and_emojis_stay(name: str) -> None:
    assert display_name(name) == name
    assert output_paths([name]) == [(name.removesuffix(".jpg"), False)]


# Templates

# Whatever comes from outside has passed `safe_path` or `display_name`, which leave no lone surrogates.
field_values = st.fixed_dictionaries(
    dict.fromkeys(NAME_FIELDS, names.map(lambda name: name.replace("\ud800", "�")))
)


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Any template that a recipe takes."""
    pieces = st.one_of(
        st.sampled_from([f"{{{name}}}" for name in NAME_FIELDS]),
        nasty.filter(lambda text: not set(text) & set("{}\ud800")),
        st.text(max_size=3).filter(lambda text: not set(text) & set("{}")),
    )
    needed = draw(st.sampled_from(["{stem}", "{n}"]))
    parts = draw(st.permutations([needed, *draw(st.lists(pieces, max_size=7))]))
    template = "".join(parts).replace("}{", "}-{")  # fields that touch are refused
    return template if len(template) <= 100 else needed


@given(template=templates(), fields=field_values)
def test_a_filled_template_is_safe_on_every_file_system(template: str, fields: dict[str, str]) -> None:
    check_safe(filled(Output(name=template).name, fields))


@given(template=templates(), fields=field_values)
def test_fields_open_no_folders_of_their_own(template: str, fields: dict[str, str]) -> None:
    folders = [part for part in template.replace("\\", "/").split("/") if part.strip(" .")]
    assert filled(template, fields).count("/") == max(len(folders) - 1, 0)


@given(
    stems=st.lists(names, min_size=2, max_size=2, unique_by=lambda stem: safe_path(f"{stem}.x").casefold())
)
def test_long_names_that_differ_stay_different(stems: list[str]) -> None:
    plain = [safe_path(f"{stem}.x").replace("/", "_") for stem in stems]
    fields = [dict.fromkeys(NAME_FIELDS, "j" * 40) | {"stem": stem} for stem in plain]
    made = [filled("{job}{job}{stem}{job}", one) for one in fields]
    assert made[0] != made[1]
    assert all(len(name.encode()) <= 120 for name in made)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}", "IMG 1"),
        ("{n}-{stem}", "07-IMG 1"),
        ("{date}/{model}/{stem}_{face}", "2026-01-02/u2net/IMG 1_2"),
        ("{job}/{stem}", "A_B shoot/IMG 1"),
        ("\\{stem}", "IMG 1"),
        ("../../{stem}", "IMG 1"),
        ("C:/{stem}", "C_/IMG 1"),
        ("/./{stem}/..", "IMG 1"),
        ("CON/{stem}", "CON_/IMG 1"),
        ("x.png/{stem}.jpg", "x_png/IMG 1.jpg"),
        (" {stem} . ", "IMG 1"),
    ],
)
def test_templates_people_have(template: str, name: str) -> None:
    fields = {
        "stem": "IMG 1",
        "model": "u2net",
        "n": "07",
        "face": "2",
        "job": "A/B shoot",
        "date": "2026-01-02",
    }
    assert filled(template, fields) == name


@given(
    paths=st.lists(st.sampled_from(["a.png", "A.PNG", "a (2).png", "d/a.png", "é.png", "e\u0301.png", "a"]))
)
def test_paths_that_count_as_the_same_are_numbered(paths: list[str]) -> None:
    taken = {"manifest.csv"}
    made = [distinct(path, taken) for path in [*paths, "Manifest.CSV"]]
    assert len({folded(path) for path in made}) == len(made)
    assert made[-1] == "Manifest (2).CSV"
    for path, given_path in zip(made, paths, strict=False):
        assert PurePosixPath(path).suffix == PurePosixPath(given_path).suffix
        assert PurePosixPath(path).parent == PurePosixPath(given_path).parent
