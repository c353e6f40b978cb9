"""Forms of a model: its network in numbers of 8 or 16 bits, made here, and offered where it is faster here.

int8 and fp16 are other files, made by onnxruntime. bf16 is the original's own file, which OpenVINO computes
in bfloat16 (as many bits of exponent as in 32, and 7 of fraction) on processors that can.

A form is a custom model, `u2net-int8.onnx` with `u2net-int8.toml`, whose description has a table [form]: what
it was made of, and what both took on this machine. `form_making` makes them; nothing does so unasked.
"""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from photoproc import machine
from photoproc.errors import ModelError, Problem
from photoproc.models.catalogue import CATALOGUE, ModelSpec, Network, Precision
from photoproc.models.providers import Choice, build, version_of

Kind = Literal["bf16", "int8", "fp16"]
KINDS: tuple[Kind, ...] = ("bf16", "int8", "fp16")
_MAKERS: Mapping[Kind, str] = {"bf16": "openvino", "int8": "onnx", "fp16": "onnx"}
"""The packages that make them."""

_IMAGENET = (0.485, 0.456, 0.406)
_U2 = Network(mean=_IMAGENET, std=(0.229, 0.224, 0.225))
FED: Mapping[str, Network] = {
    **dict.fromkeys(("u2net", "u2netp", "silueta", "u2net_human_seg"), _U2),
    "isnet-general-use": Network(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)),
    "isnet-anime": Network(mean=_IMAGENET, std=(1.0, 1.0, 1.0)),
}
"""The models that have forms: how rembg feeds and reads them, which a test compares with rembg itself."""

LEAST_GAIN = 0.05
"""A form is offered where it saves this share of the time or more."""

_Seconds = Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)]
_Rounds = Annotated[tuple[_Seconds, ...], Field(min_length=3, max_length=100)]
_Text = Annotated[str, Field(max_length=300)]


class Form(BaseModel):
    """The table [form]. Checksums are `algorithm:hex`; the seconds are of one photo each, in turn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: _Text
    kind: Kind
    original: _Text
    """The checksum of the weights it was made of; `made` is that of its own file."""
    made: _Text
    original_s: _Rounds
    form_s: _Rounds
    soft_iou: Annotated[float, Field(ge=0, le=1)]
    """The mean soft IoU of its masks with the original's."""
    measured_on: _Text
    """What both ran on, as `runs_on` tells it."""

    @model_validator(mode="after")
    def _in_turn(self) -> "Form":
        if len(self.original_s) != len(self.form_s):
            raise ValueError("original_s and form_s must have as many numbers as each other")
        return self


_MEASURABLE = ("form_slower", "form_unclear", "form_moved")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormState:
    """A form that there is: `problem` says why it is not offered."""

    name: str
    form: Form
    path: Path
    problem: Problem | None

    @property
    def sound(self) -> bool:
        """Whether it is as it was made, so that measuring it again is enough."""
        return self.problem is None or self.problem.code in _MEASURABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """The forms that there are, by name, which is being made, and why others could not be, by name."""

    made: Mapping[str, FormState] = field(default_factory=dict)
    at_work: str | None = None
    problems: Mapping[str, Problem] = field(default_factory=dict)


Speed = Literal["faster", "not faster", "unclear"]


def speed(original_s: tuple[float, ...], form_s: tuple[float, ...]) -> Speed:
    """Whether a form is faster than its original, of times taken in turn.

    What is compared is form ÷ original of each turn. Faster: the median saves 5 % or more, and more than half
    of the turns are apart (their quartiles). Unclear: it saves 5 %, within that noise.
    """
    ratios = [mine / its for mine, its in zip(form_s, original_s, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    if 1 - median < LEAST_GAIN:
        return "not faster"
    return "faster" if 1 - median > high - low else "unclear"


def form_name(name: str, kind: str) -> str:
    """What a form is called: `u2net-int8`."""
    return f"{name}-{kind}"


def runs_on(threads: int, choice: Choice | None = None) -> str:
    """What a measurement holds for: processor, threads, what runs models, and what was chosen of it."""
    told = [machine.processor(), "1 thread" if threads == 1 else f"{threads} threads"]
    packages = [build(), "openvino", *(["ncnn"] if choice is not None and choice.name == "ncnn" else [])]
    told += [f"{package} {number}" for package in packages if (number := version_of(package))]
    if choice is not None and choice.name != "auto":
        told.append(f"on {choice.name}")
    return ", ".join(told)


def times(form: Form) -> str:
    """The median of its inference beside its original's: `0.12 s an inference against 0.31 s`."""
    mine, its = statistics.median(form.form_s), statistics.median(form.original_s)
    return f"{mine:.2f} s an inference against {its:.2f} s"


def refusal(name: str, form: Form, *, threads: int, choice: Choice | None = None) -> Problem | None:
    """Why the form of this name is not offered; None where it is."""
    spec, here = CATALOGUE.get(form.of), runs_on(threads, choice)
    if spec is None or form.of not in FED or spec.checksum != form.original:
        code, message = "form_outdated", f"{name} was made of another {form.of} than there is now."
        advice = "Make it again."
    elif form.measured_on != here:
        code, advice = "form_moved", "Measure it again."
        message = f"{name} was measured on something else ({form.measured_on}; here: {here})."
    elif (found := speed(form.original_s, form.form_s)) == "not faster":
        code, message = "form_slower", f"Made, and not faster here: {times(form)}."
        advice = f"Use {form.of}, or delete it."
    elif found == "unclear":
        code, message = (
            "form_unclear",
            f"Made, and not clearly faster here: {times(form)}, turns too far apart.",
        )
        advice = "Measure it again when this machine does nothing else."
    else:
        return None
    return Problem(code=code, message=message, advice=advice)


def changed(name: str) -> Problem:
    """Of a file that is not the one that was measured."""
    return Problem(
        code="form_changed",
        message=f"{name}.onnx is not the file that was measured.",
        advice="Make it again.",
    )


def check(name: str, kind: str) -> tuple[ModelSpec, Kind]:
    """The model that a form is to be made of, and the form's kind; raises ModelError form_unknown."""
    known = next((one for one in KINDS if one == kind), None)
    if name not in FED or known is None:
        raise ModelError(
            "form_unknown",
            f"There is no {kind} form of {name}.",
            f"There are {' and '.join(KINDS)}, of {', '.join(FED)}.",
        )
    return CATALOGUE[name], known


def can_make(kind: Kind) -> bool:
    """Whether what makes such forms is installed; running those of other files needs none of it."""
    return find_spec(_MAKERS[kind]) is not None  # asked each time: it may be installed meanwhile


def precision(kind: Kind) -> Precision:
    """What OpenVINO is to compute such a form in."""
    return "bf16" if kind == "bf16" else "f32"


def form_spec(spec: ModelSpec, kind: Kind) -> ModelSpec:
    """A form as a custom model, before it is made."""
    return ModelSpec(
        name=form_name(spec.name, kind),
        nickname=f"{kind} form",
        good_at="",
        licence=spec.licence,
        input_wh=spec.input_wh,
        download_mb=0,
        checksum="",
        network=replace(FED[spec.name], precision=precision(kind)),
    )


def toml_of(spec: ModelSpec, form: Form) -> str:
    """The description of a form, with what was measured."""
    assert spec.network is not None
    about: dict[str, object] = {
        "licence": spec.licence,
        "nickname": spec.nickname,
        "good_at": f"{form.of} in {form.kind}: {times(form)} when made, soft IoU {form.soft_iou:.3f} with it",
        "input_size": spec.input_wh,
        "mean": spec.network.mean,
        "std": spec.network.std,
    }
    tables = (("", about), ("\n[form]\n", form.model_dump()))
    return "# Made by Photoproc.\n" + "".join(
        head + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for head, table in tables
    )
