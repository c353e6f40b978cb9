"""What the model tests share: files, catalogue entries for made ones, and comparing masks."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoproc.models.catalogue import CATALOGUE, ModelSpec

U8 = NDArray[np.uint8]


def weights_file(model_dir: Path, name: str) -> Path:
    """The file of a model in a folder of either of rembg's layouts."""
    places = (model_dir / "models" / name / f"{name}.onnx", model_dir / f"{name}.onnx")
    return next(path for path in places if path.is_file())


def spec_for(data: bytes, name: str = "silueta") -> ModelSpec:
    """The catalogue entry of a model, as if rembg had published this file."""
    return replace(
        CATALOGUE[name], checksum=f"sha256:{hashlib.sha256(data).hexdigest()}", download_mb=1, wheel=None
    )


def soft_iou(ours: U8, theirs: U8) -> float:
    """How much of two masks is common, counting gray as part; 1.0 where they are the same."""
    one, other = ours.astype(float), theirs.astype(float)
    return float(np.minimum(one, other).sum() / max(np.maximum(one, other).sum(), 1.0))


def mean_error(ours: U8, theirs: U8) -> float:
    """The mean difference of two masks, in steps of 1/255."""
    return float(np.abs(ours.astype(float) - theirs.astype(float)).mean())
