"""Execution providers: what onnxruntime can run models on, what was chosen, and what people call them.

Nothing of onnxruntime is imported here: the server asks a child which providers there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from photoproc.errors import Problem

CPU = "CPUExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
"""What the package openvino runs, by the name that onnxruntime's builds with OpenVINO use."""

NCNN = "NcnnExecutionProvider"
"""What the package ncnn runs, by a name of the same kind."""

ON_THE_PROCESSOR = (CPU, OPENVINO, NCNN)
"""Where threads matter."""
PACKAGES: Mapping[str, tuple[str, ...]] = {OPENVINO: ("openvino",), NCNN: ("ncnn", "onnx")}
"""What is no part of onnxruntime, and which packages it needs. It runs only what is prepared for it."""

BATCHING = ("CUDAExecutionProvider", "ROCMExecutionProvider")
"""Cards that are given several photos in one run. MIGraphX compiles a model anew for each size of a batch,
and CoreML and DirectML want sizes that are fixed."""

_BY_NAME: Mapping[str, tuple[str, ...]] = {
    "cpu": (CPU,),
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
    "openvino": (OPENVINO,),
    "ncnn": (NCNN,),
    "coreml": ("CoreMLExecutionProvider",),
    "directml": ("DmlExecutionProvider",),
}
"""onnxruntime's names of what can be chosen; AMD's cards are run by MIGraphX since onnxruntime 1.23."""
_AUTO = ("cuda", "rocm")
"""What is used without being asked for, as rembg does it. CoreML is in every onnxruntime for macOS, and is
often slower than the CPU; DirectML rembg never uses by itself. OpenVINO and ncnn are faster than onnxruntime
on the CPU, and take more memory: each child has a copy of the weights."""
NAMES = ("auto", *_BY_NAME)

_LABELS: Mapping[str, str] = {
    "CUDAExecutionProvider": "CUDA (NVIDIA)",
    "MIGraphXExecutionProvider": "MIGraphX (AMD ROCm)",
    "ROCMExecutionProvider": "ROCm (AMD)",
    OPENVINO: "OpenVINO (CPU)",
    NCNN: "ncnn (CPU)",
    "CoreMLExecutionProvider": "CoreML (Apple)",
    "DmlExecutionProvider": "DirectML (Windows)",
    "TensorrtExecutionProvider": "TensorRT (NVIDIA)",
}
_BUILDS = tuple(f"onnxruntime-{kind}" for kind in ("gpu", "migraphx", "rocm", "directml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What models are to run on: one of `NAMES`.

    `required`: a model fails rather than run on anything else. `memory_mb` bounds what each loaded model
    takes of a graphics card's memory (by CUDA, and by AMD's provider of old, not by MIGraphX); 0: no bound.
    """

    name: str = "auto"
    required: bool = False
    memory_mb: int = 0

    def of(self, there: Sequence[str]) -> str:
        """Which of onnxruntime's providers that is, of those there are: the CPU where none is."""
        return next((name for name in self._wanted() if name in there), CPU)

    def is_met(self, provider: str) -> bool:
        """Whether a model that runs on this provider does as it is required to."""
        is_form = provider == OPENVINO and self.name in ("cpu", "ncnn")  # in bfloat16
        return not self.required or provider in self._wanted() or is_form

    def is_absent(self, there: Sequence[str]) -> bool:
        """Whether something was chosen by name that is not among these."""
        return self.name != "auto" and self.of(there) not in self._wanted()

    def is_passed_over(self, provider: str, there: Sequence[str]) -> bool:
        """Whether a model runs on this provider though, of those there are, it should on another."""
        best = self.of(there)
        if provider == OPENVINO and best in (CPU, NCNN):  # a form in bfloat16
            return False
        return provider not in self._wanted() and best != provider

    def _wanted(self) -> tuple[str, ...]:
        names = _AUTO if self.name == "auto" else (self.name,)
        return tuple(provider for name in names for provider in _BY_NAME[name])

    def missing(self, there: Sequence[str]) -> Problem:
        """The problem that nothing of what was chosen is among these."""
        wanted = " or ".join(label(name) for name in self._wanted())
        packages = next((PACKAGES[name] for name in self._wanted() if name in PACKAGES), ())
        if packages:
            has = f"{' or '.join(packages)} is not installed"
            install = f"Run pip install {' '.join(packages)}"
        else:
            able = labels([name for name in there if name not in PACKAGES])
            has = f"the {build()} that is installed can use {able or 'nothing'} only"
            install = "Install the onnxruntime for it with its drivers (README, Graphics cards)"
        return Problem(
            code="provider_missing",
            message=f"Models are to run on {wanted}, and {has}.",
            advice=f"{install}, or set PHOTOPROC_PROVIDER=auto and PHOTOPROC_PROVIDER_REQUIRED=0.",
        )

    def not_used(self, model: str, provider: str, there: Sequence[str]) -> Problem:
        """The problem that a model was loaded for the best of what there is, and runs on this."""
        wanted, used = label(self.of(there)), label(provider)
        if self.of(there) in PACKAGES:
            library = PACKAGES[self.of(there)][0]
            return Problem(
                code="provider_missing",
                message=f"{model} is to run on {wanted} and ran on {used}: there was no room (data folder, "
                f"memory) to prepare it, or {library} cannot run it, or makes other masks of it than "
                "onnxruntime.",
                advice="With PHOTOPROC_PROVIDER=auto that is what is wanted."
                if not self.required
                else "Choose another model. PHOTOPROC_PROVIDER_REQUIRED=0 lets it run on the CPU.",
            )
        then = (
            "then retry. PHOTOPROC_PROVIDER_REQUIRED=0 lets models run on the CPU."
            if self.required
            else "then restart the server. With PHOTOPROC_PROVIDER=cpu the CPU is what is wanted."
        )
        return Problem(
            code="provider_missing",
            message=f"{model} is to run on {wanted}; onnxruntime could not use it and ran on {used}.",
            advice="Look at the server's log for the library that is missing, often CUDA or cuDNN in another "
            f"version, or for a lack of memory on the card; {then}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many photos a model takes in one run at most, and why not more."""

    photos: int
    why: str


def label(provider: str) -> str:
    """What people call a provider."""
    return _LABELS.get(provider, provider.removesuffix("ExecutionProvider"))


def labels(providers: Sequence[str]) -> str:
    """What people call them, without those that run no model: Azure's sends them to a service."""
    return ", ".join(label(name) for name in providers if name != "AzureExecutionProvider")


@cache
def version_of(package: str) -> str:
    """The version of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def build() -> str:
    """The name of the package that is onnxruntime here: there is one for each kind of hardware."""
    return next((name for name in _BUILDS if version_of(name)), "onnxruntime")
