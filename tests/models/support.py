"""What the model tests share: files, catalogue entries for made ones, and comparing masks."""

import hashlib
import subprocess
import sys
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


def damage(file: Path, how: str) -> None:
    """Spoil a file: it is "gone", "cut short", or another byte is its last."""
    data = file.read_bytes()
    file.unlink()
    if how != "gone":
        file.write_bytes(data[: len(data) // 2] if how == "cut short" else data[:-1] + bytes([data[-1] ^ 1]))


_MEMORY = """
import sys
from pathlib import Path
import numpy as np
from photoproc.models.sessions import opened, session_options
session = opened(Path(sys.argv[1]), session_options(1), [])
given = {session.get_inputs()[0].name: np.zeros((1, 3, 320, 320), np.float32)}
for session.lean in (False, True):
    session.run(None, given)
    status = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("RssAnon:")))
"""


def lean_saves_mb(made: Path) -> float:
    """How much less a process holds after a lean run of a prepared model of 320 × 320 than after another."""
    told = subprocess.check_output([sys.executable, "-c", _MEMORY, str(made)], text=True, timeout=120)
    plain, lean = (int(line) / 1024 for line in told.split())
    return plain - lean
