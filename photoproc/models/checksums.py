"""Whether a file of weights is what rembg published, or what was checked: for whoever loads it as well, so
nothing is imported here that fetching needs."""

import hashlib
from pathlib import Path

from photoproc.errors import ModelError
from photoproc.models.catalogue import ModelSpec


def digest(path: Path, algorithm: str) -> str:
    """The checksum of a file, in hex; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def verify(path: Path, spec: ModelSpec) -> None:
    """Raise ModelError weights_checksum unless the file is what rembg published.

    A custom model's must be what was checked, or it is weights_changed: it is checked again.
    """
    algorithm, _, expected = spec.checksum.partition(":")
    try:
        actual = digest(path, algorithm or "sha256")
    except OSError as error:
        if spec.custom:
            raise _changed(spec) from error
        raise ModelError(
            "weights_unreadable", f"The weights of {spec.name} cannot be read: {error}.", f"Look at {path}."
        ) from error
    if actual != expected and spec.custom:
        raise _changed(spec)
    if actual != expected:
        raise ModelError(
            "weights_checksum",
            f"The weights of {spec.name} are not what rembg published ({algorithm} {actual[:12]}…).",
            "Download the model again on the System page; if it happens again, the source is damaged.",
        )


def _changed(spec: ModelSpec) -> ModelError:
    return ModelError(
        "weights_changed",
        f"{spec.file_name} is not the file that was checked.",
        "It is checked again by itself; try again in a moment.",
    )
