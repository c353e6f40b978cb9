"""Custom models: a team's own `name.onnx` in a model folder, described by `name.toml` beside it.

The smallest description:

    licence = "MIT"
    input_size = [320, 320]          # width, height
    mean = [0.485, 0.456, 0.406]     # red, green, blue
    std = [0.229, 0.224, 0.225]

It may also have `divide_by` ("max", as rembg does it, or 255), `activation` ("minmax", "sigmoid",
"sigmoid-minmax" or "none"), `output` (the name of the output that is the mask; the first without),
`nickname` and `good_at`. `models.network` has the formulas. `models.forms` has the table [form], which the
program writes for those it makes.

Nothing here opens the ONNX file. What cannot be taken for a model is refused, with the reason, and
never raised: whoever puts files into the folder is somebody else than whoever looks at the page.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from photoproc.errors import ModelError, Problem
from photoproc.jobs import Refusal
from photoproc.models.catalogue import VITMATTE, WITH_REFINER, Activation, ModelSpec, Network
from photoproc.models.forms import Form, precision
from photoproc.names import display_name, filled
from photoproc.recipe import NO_MODEL

MAX_TOML_BYTES = 16 * 1024
MAX_FILES = 200
"""So many descriptions are read; a folder with more of them is something else."""

_SUFFIX = ".toml"
_OTHERS = ("sam", "u2net_cloth_seg")
"""What else rembg keeps in its folder: they take more than a picture, or give more than a mask."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,58}[A-Za-z0-9_-])?")
_TAKEN = {
    name.casefold()
    for spec in WITH_REFINER.values()
    for name in (spec.name, spec.file_name.removesuffix(".onnx"))
} | {NO_MODEL, VITMATTE.name}


def _shown(text: str) -> str:
    shown = display_name(text.strip())
    if not text.strip():
        raise ValueError("it is empty")
    return shown


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if min(values) <= 0:
        raise ValueError("they must be greater than 0")
    return values


_Side = Annotated[int, Field(strict=True, ge=16, le=4096)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e6, le=1e6)]
_Triple = tuple[_Number, _Number, _Number]
_Word = Annotated[str, Field(strict=True, max_length=40), AfterValidator(_shown)]
_Line = Annotated[str, Field(strict=True, max_length=120), AfterValidator(_shown)]


class Description(BaseModel):
    """What a TOML file says of a custom model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: _Line
    input_size: tuple[_Side, _Side]
    mean: _Triple
    std: Annotated[_Triple, AfterValidator(_positive)]
    divide_by: Literal["max", 255] = "max"
    activation: Activation = "minmax"
    output: Annotated[str, Field(strict=True, min_length=1, max_length=200)] | None = None
    nickname: _Word = "own"
    good_at: _Line = ""
    form: Form | None = None
    """Of a form that the program made of a public model: what it was made of and measured with."""

    def spec(self, name: str) -> ModelSpec:
        """As an entry of the catalogue, whose checksum and size are known once the file was read."""
        return ModelSpec(
            name=name,
            nickname=self.nickname,
            good_at=self.good_at,
            licence=self.licence,
            input_wh=self.input_size,
            download_mb=0,
            checksum="",
            network=Network(
                mean=self.mean,
                std=self.std,
                divide_by=self.divide_by,
                activation=self.activation,
                output=self.output,
                precision="f32" if self.form is None else precision(self.form.kind),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in the model folders: models with the file each is to be in, and what is none."""

    models: dict[str, tuple[ModelSpec, Path]]
    refused: tuple[Refusal, ...]
    forms: dict[str, Form]
    """Of those of the models that are forms of others."""


def look(folders: Iterable[Path]) -> Found:
    """The custom models in these folders, flat or as rembg keeps its own (`models/name/name.onnx`).

    The first of a name is taken. Never raises: what cannot be read is among the refused.
    """
    models: dict[str, tuple[ModelSpec, Path]] = {}
    forms: dict[str, Form] = {}
    refused: list[Refusal] = []
    places: dict[str, Path] = {}
    folders = list(folders)
    for count, toml in enumerate(_descriptions(folders)):
        if count == MAX_FILES:
            refused.append(_too_many(toml))
            break
        name = toml.name[: -len(_SUFFIX)]
        try:
            check_name(name)
            if (other := places.get(name.casefold())) is not None:
                raise _problem("custom_name", f"There is a model {other.stem} already, by {other}.", "name")
            places[name.casefold()] = toml
            told = read(toml)
            models[name] = (told.spec(name), toml.with_name(f"{name}.onnx"))
            if told.form is not None:
                forms[name] = told.form
        except ModelError as error:
            refused.append(Refusal(name=display_name(toml.name), problem=error.problem))
    refused += _undescribed(folders)
    return Found(models=dict(sorted(models.items())), refused=tuple(refused), forms=forms)


def _undescribed(folders: Iterable[Path]) -> Iterator[Refusal]:
    """The ONNX files flat in a folder that nothing is said of: they may be somebody's model."""
    for home in dict.fromkeys(folders):
        for path in _entries(home)[:MAX_FILES]:
            name = path.name.removesuffix(".onnx")
            rembgs = name.casefold() in _TAKEN or name.casefold().startswith(_OTHERS)
            if name == path.name or rembgs or path.with_name(f"{name}{_SUFFIX}").exists():
                continue
            shown = display_name(name)
            message = f"Nothing says what it needs: there is no {shown}{_SUFFIX} beside it."
            advice = "Write one, with the licence, input_size, mean and std: the README has an example."
            problem = Problem(code="custom_toml", message=message, advice=advice)
            yield Refusal(name=display_name(path.name), problem=problem)


def check_name(name: str) -> None:
    """Raise ModelError custom_name unless it can be a custom model's name, everywhere."""
    if name.casefold() in _TAKEN:
        raise _problem("custom_name", f"{name} is the name of a model that comes with the program.", "name")
    if not _NAME.fullmatch(name) or filled("{name}/x", {"name": name}) != f"{name}/x":
        raise _problem(
            "custom_name",
            "This cannot be the name of a model: it has 1 to 60 letters (a to z), digits and . _ -, "
            "begins with a letter or digit, and is a name that every file system takes.",
            "name",
        )


def read(toml: Path) -> Description:
    """A description; raises ModelError custom_toml that says which field is wrong, and how."""
    try:
        if not toml.is_file():
            raise _problem("custom_toml", "It is not a file.", "toml")
        with toml.open("rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
    except OSError as error:
        raise _problem("custom_toml", f"It cannot be read: {error.strerror or error}.", "toml") from error
    if len(data) > MAX_TOML_BYTES:
        raise _problem("custom_toml", f"It has more than {MAX_TOML_BYTES // 1024} KiB.", "toml")
    try:
        return Description.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise _problem("custom_toml", _wrong(error), "toml") from error
    except RecursionError as error:
        raise _problem("custom_toml", "It is nested too deep.", "toml") from error
    except ValueError as error:  # not UTF-8, not TOML, or a number beyond all bounds
        raise _problem("custom_toml", f"It is not TOML: {_short(str(error))}.", "toml") from error


def _descriptions(folders: Iterable[Path]) -> Iterator[Path]:
    """Every `….toml` in the folders and in those of single models, always in the same order."""
    for home in dict.fromkeys(folders):
        for folder in (*(path for path in _entries(home / "models") if path.is_dir()), home):
            for path in _entries(folder):
                if path.name.lower().endswith(_SUFFIX):
                    yield path


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except OSError:  # it is not there, or not ours to read; the System page names the folders
        return []


_REASONS = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field",
    "too_short": "it has too few numbers",
    "too_long": "it has too many numbers",
    "tuple_type": "it must be numbers in brackets, [0.5, 0.5, 0.5]",
}


def _wrong(error: ValidationError) -> str:
    found: list[Any] = [*error.errors(include_url=False, include_input=False)]
    parts = []
    for one in found[:3]:
        field = ".".join(display_name(str(part))[:40] for part in one["loc"]) or "file"
        reason = str(one["msg"]).removeprefix("Value error, ").removeprefix("Input ")
        parts.append(f"{field}: {_REASONS.get(one['type'], reason)}")
    more = f" ({len(found) - 3} more)" if len(found) > 3 else ""
    return f"{'; '.join(parts)}{more}."


def _short(text: str) -> str:
    return display_name(text.strip().rstrip("."))[:200]


def _too_many(toml: Path) -> Refusal:
    return Refusal(
        name=display_name(toml.name),
        problem=Problem(
            code="custom_too_many",
            message=f"There are more than {MAX_FILES} TOML files in the model folders; no more are read.",
            advice="Take away those that describe no model.",
        ),
    )


_ADVICE = {
    "name": "Rename the .toml and the .onnx file.",
    "toml": "Mend the .toml file; it is read again by itself.",
}


def _problem(code: str, message: str, advice: str) -> ModelError:
    return ModelError(code, message, _ADVICE[advice])
