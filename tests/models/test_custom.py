"""Descriptions of custom models: what they may say, what is refused and how that is told."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from photoproc.errors import ModelError, Problem
from photoproc.models import custom
from photoproc.models.catalogue import CATALOGUE, WITH_REFINER, ModelSpec, Network
from photoproc.names import safe_path
from tests.models.own_onnx import LIKE_U2NET, TOML, put


def refusal(folder: Path) -> tuple[str, Problem]:
    """The only thing in a folder, which is refused."""
    found = custom.look([folder])
    assert not found.models
    (one,) = found.refused
    return one.name, one.problem


def test_the_smallest_description_is_a_model_with_the_usual_ways_of_rembg(tmp_path: Path) -> None:
    path = put(tmp_path, "team-v2", b"anything", LIKE_U2NET)
    found = custom.look([tmp_path])
    assert not found.refused
    assert found.models == {
        "team-v2": (
            ModelSpec(
                name="team-v2",
                nickname="own",
                good_at="",
                licence="Apache-2.0",
                input_wh=(320, 320),
                download_mb=0,
                checksum="",
                network=Network(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            ),
            path,
        )
    }
    spec, _ = found.models["team-v2"]
    assert spec.custom
    assert spec.weights_id == ""
    assert not any(public.custom for public in WITH_REFINER.values())


def test_all_fields_are_read(tmp_path: Path) -> None:
    toml = """
        licence = "CC BY-NC 4.0 (Non-Commercial)"
        input_size = [512, 256]
        mean = [0, 0.5, 1]
        std = [1, 0.5, 0.25]
        divide_by = 255
        activation = "sigmoid"
        output = "alpha"
        nickname = "shoes"
        good_at = "our shoes"
    """
    put(tmp_path, "shoes", None, toml)
    spec, _ = custom.look([tmp_path]).models["shoes"]
    assert (spec.nickname, spec.good_at, spec.input_wh) == ("shoes", "our shoes", (512, 256))
    assert not spec.commercial
    assert spec.network == Network(
        mean=(0, 0.5, 1), std=(1, 0.5, 0.25), divide_by=255, activation="sigmoid", output="alpha"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("licence", None), "licence: it is missing."),
        (("licence", '"  "'), "licence: it is empty."),
        (("licence", f'"{"x" * 121}"'), "licence: String should have at most 120 characters."),
        (("licence", "7"), "licence: should be a valid string."),
        (("input_size", None), "input_size: it is missing."),
        (("input_size", "[320]"), "input_size.1: it is missing."),
        (("input_size", "[320, 320, 3]"), "input_size: it has too many numbers."),
        (("input_size", "[0, 320]"), "input_size.0: should be greater than or equal to 16."),
        (("input_size", "[320, 5000]"), "input_size.1: should be less than or equal to 4096."),
        (("input_size", '["320", 320]'), "input_size.0: should be a valid integer."),
        (("input_size", "320"), "input_size: it must be numbers in brackets, [0.5, 0.5, 0.5]."),
        (("mean", "[0, 0]"), "mean.2: it is missing."),
        (("mean", "[nan, 0, 0]"), "mean.0: should be a finite number."),
        (("mean", "[inf, 0, 0]"), "mean.0: should be a finite number."),
        (("mean", '[0, "a", 0]'), "mean.1: should be a valid number."),
        (("std", "[1, 0, 1]"), "std: they must be greater than 0."),
        (("std", None), "std: it is missing."),
        (("divide_by", "127"), "divide_by: should be 'max' or 255."),
        (
            ("activation", '"softmax"'),
            "activation: should be 'minmax', 'sigmoid', 'sigmoid-minmax' or 'none'.",
        ),
        (("output", '""'), "output: String should have at least 1 character."),
        (("url", '"http://example.com/a.onnx"'), "url: there is no such field."),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(
    change: tuple[str, str | None], said: str, tmp_path: Path
) -> None:
    field, value = change
    lines = [line for line in TOML.splitlines() if not line.startswith(field)]
    put(tmp_path, "team", b"", "\n".join([*lines, *([] if value is None else [f"{field} = {value}"])]))
    name, problem = refusal(tmp_path)
    assert name == "team.toml"
    assert (problem.code, problem.message) == ("custom_toml", said)
    assert "Mend the .toml" in problem.advice


def test_several_wrong_fields_are_said_together(tmp_path: Path) -> None:
    put(tmp_path, "team", b"", "colour = 1\nsize = 2\n")
    _, problem = refusal(tmp_path)
    assert problem.message == (
        "licence: it is missing; input_size: it is missing; mean: it is missing (3 more)."
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"licence = ", "It is not TOML: Invalid value"),
        (b"\xff\xfe\x00", "It is not TOML: 'utf-8' codec"),
        (b"a = " + b"[" * 5000, "It is nested too deep."),
        (b"a = " + b"9" * 5000, "It is not TOML: Exceeds the limit"),
        (b"# " + b"x" * custom.MAX_TOML_BYTES, "It has more than 16 KiB."),
        (b"", "licence: it is missing"),
    ],
)
def test_what_is_no_toml_is_said(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_bytes(data)
    _, problem = refusal(tmp_path)
    assert problem.code == "custom_toml"
    assert problem.message.startswith(said)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "lost.toml").symlink_to(tmp_path / "nowhere")
    found = custom.look([tmp_path])
    assert [(one.name, one.problem.message) for one in found.refused] == [
        ("folder.toml", "It is not a file."),
        ("lost.toml", "It is not a file."),
        ("pipe.toml", "It is not a file."),
    ]


def test_words_of_a_description_cannot_hide_characters(tmp_path: Path) -> None:
    put(tmp_path, "team", None, TOML.replace('"MIT"', '"M\\u202eI\\u0007T"') + 'good_at = "a\\u2066b"\n')
    spec, _ = custom.look([tmp_path]).models["team"]
    assert (spec.licence, spec.good_at) == ("M�I�T", "a�b")


@pytest.mark.parametrize("name", [*WITH_REFINER, "U2NET", "None", "vitmatte-small-distinctions-646"])
def test_names_of_public_models_are_taken(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, b"")
    _, problem = refusal(tmp_path)
    assert problem.code == "custom_name"
    assert "comes with the program" in problem.message


HOSTILE = [
    *(
        "<img src=x onerror=alert(1)>",
        "..",
        ".hidden",
        "a b",
        "a\u202eb",
        "a\nb",
        "x" * 61,
        "[a](http:",
        "CON",
    ),
    *("con.onnx", "team.", "team.png", "manifest.csv", "-rf", "é", "a'b", "$(rm)", "`a`", ":red[a]", "a\\b"),
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_with_a_hostile_name_is_refused_and_shown_without_its_tricks(
    name: str, tmp_path: Path
) -> None:
    put(tmp_path, name, b"")
    shown, problem = refusal(tmp_path)
    assert problem.code == "custom_name"
    assert "1 to 60 letters" in problem.message
    assert "Rename" in problem.advice
    shown.encode()
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs")]


@given(st.text(max_size=70))
@example("a" * 60)
@example("team-v1.2_b")
def test_a_name_that_is_taken_is_the_same_on_every_file_system(name: str) -> None:
    try:
        custom.check_name(name)
    except ModelError:
        return
    assert name.isascii()
    assert 0 < len(name) <= 60
    assert safe_path(f"{name}/x") == f"{name}/x"
    assert name.casefold() not in CATALOGUE


@given(st.binary(max_size=300))
def test_whatever_is_in_a_description_nothing_is_raised_but_its_problem(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "team.toml").write_bytes(data)
        found = custom.look([Path(folder)])
        assert len(found.models) + len(found.refused) == 1


def test_both_layouts_and_all_folders_are_looked_at_and_the_first_of_a_name_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    nested = put(first / "models" / "deep", "deep", b"")
    flat = put(first, "flat", b"")
    put(first, "Deep", b"")
    other = put(second, "other", b"")
    put(second, "flat", b"")
    found = custom.look([first, second, tmp_path / "gone", first])
    assert {name: path for name, (_, path) in found.models.items()} == {
        "deep": nested,
        "flat": flat,
        "other": other,
    }
    assert [(one.name, one.problem.code) for one in found.refused] == [
        ("Deep.toml", "custom_name"),
        ("flat.toml", "custom_name"),
    ]
    assert "There is a model deep already" in found.refused[0].problem.message


def test_a_model_without_a_description_is_told_of_and_rembgs_own_are_not(tmp_path: Path) -> None:
    for name in ("sam.onnx", "u2net.onnx", "ours.onnx", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found = custom.look([tmp_path])
    assert found.models == {}
    assert [(one.name, one.problem.code) for one in found.refused] == [("ours.onnx", "custom_toml")]
    assert "there is no ours.toml beside it" in found.refused[0].problem.message


def test_a_folder_full_of_other_things_is_not_read_to_its_end(tmp_path: Path) -> None:
    for number in range(custom.MAX_FILES + 5):
        (tmp_path / f"{number:03}.toml").write_text(TOML)
    found = custom.look([tmp_path])
    assert len(found.models) == custom.MAX_FILES
    (refused,) = found.refused
    assert "more than 200" in refused.problem.message
