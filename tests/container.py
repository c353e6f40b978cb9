"""A Dockerfile's steps, carried out in a folder: what Docker would do, as far as it goes without root.

An image is a folder that stands for `/`, and one virtual environment that stands for the base image's Python.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults.processes import children_of, is_alive, kill
from tests.waiting import until

NEEDS_ROOT = ("useradd", "chown")
"""Programs whose part of a RUN is left out; the user's home is made all the same."""

_NETWORK = re.compile(r"(PIP|UV)_|(HTTPS?|NO|ALL)_PROXY$|SSL_CERT|REQUESTS_CA", re.IGNORECASE)
"""Variables that tell a build how to reach the package index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An instruction: its word in capitals, and what follows it, on one line."""

    word: str
    rest: str


def steps(text: str) -> list[Step]:
    """The instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        Step(word=word.upper(), rest=rest.strip())
        for word, _, rest in (line.partition(" ") for line in whole.splitlines())
    ]


def let_through(root: Path) -> list[str]:
    """The files below `root` that its .dockerignore lets a build see, by their names from there."""
    rules = [
        (_pattern(line.lstrip("!")), line.startswith("!"))
        for line in (root / ".dockerignore").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]

    def seen(name: str) -> bool:
        """The last rule that fits the file, or a folder it is in, decides."""
        return next((keeps for fits, keeps in reversed(rules) if fits(name)), True)

    files = (path for path in root.rglob("*") if path.is_file())
    return sorted(name for name in (path.relative_to(root).as_posix() for path in files) if seen(name))


def _pattern(glob: str) -> Callable[[str], bool]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = re.sub(
        r"\*\*/|\*\*|\*|\?|[^*?]+",
        lambda part: parts.get(part[0], re.escape(part[0])),
        glob.strip().strip("/"),
    )
    compiled = re.compile(f"{expression}(?:/.*)?")
    return lambda name: compiled.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What the steps so far have made. `root` stands for `/`; paths, ENV too, are the Dockerfile's."""

    root: Path
    venv: Path
    base: str
    env: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "root"
    volumes: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def at(self, path: str) -> Path:
        """Where a path of the image is."""
        return Path(f"{self.root}/{os.path.join(self.workdir, path).lstrip('/')}")

    def environment(self, **given: str) -> dict[str, str]:
        """The variables of a process in it, which sees none of the tests' own."""
        mapped = {
            name: f"{self.root}{value}" if value[:1] == "/" else value for name, value in self.env.items()
        }
        own = {
            "PATH": f"{self.venv}/bin:/usr/bin:/bin",
            "HOME": str(self.at("/home/photoproc")),
            "TMPDIR": str(self.at("/tmp")),
        }
        return own | mapped | given

    def files(self, *without: str) -> dict[str, tuple[int, int]]:
        """Size and time of all there is, its libraries as well, but for what is below these paths of it.

        What Python compiles of libraries is passed over: pip does that when it installs them, uv does not.
        """
        left_out = {str(self.at(path)) for path in without}
        found = {}
        for folder in (self.root, self.venv):
            for inner, folders, names in os.walk(folder):
                folders[:] = [name for name in folders if os.path.join(inner, name) not in left_out]
                if folder == self.venv and inner.endswith("__pycache__"):
                    names = [name for name in names if not name.endswith(".pyc")]
                for name in names:
                    about = os.stat(os.path.join(inner, name))
                    found[os.path.join(inner, name)] = about.st_size, about.st_mtime_ns
        return found


def build(source: Path, folder: Path, **args: str) -> Image:
    """Carry out the Dockerfile of `source` in an empty folder, with these build arguments."""
    context = let_through(source)
    stages: dict[str, Image] = {}
    image: Image | None = None
    for step in steps((source / "Dockerfile").read_text()):
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            image = _begin(folder, f"stage{len(stages)}", base, stages.get(base))
            stages[name or "last"] = image
            continue
        assert image is not None
        image = _carry_out(image, step, source, context, stages, args)
        stages[list(stages)[-1]] = image
    assert image is not None
    image.at("/home/photoproc").mkdir(parents=True)
    return image


def _begin(folder: Path, name: str, base: str, earlier: Image | None) -> Image:
    root = folder / name
    if earlier is not None:
        shutil.copytree(earlier.root, root)
        return replace(earlier, root=root, args={})
    (root / "tmp").mkdir(parents=True)
    venv = folder / "venv"
    assert not venv.exists(), "one base image, as there is one Python"
    make = ["uv", "venv", "--quiet", "--seed", "--python", sys.executable]
    subprocess.run([*(make if shutil.which("uv") else [sys.executable, "-m", "venv"]), venv], check=True)
    return Image(root=root, venv=venv, base=base)


def _carry_out(
    image: Image,
    step: Step,
    source: Path,
    context: Sequence[str],
    stages: Mapping[str, Image],
    given: Mapping[str, str],
) -> Image:
    match step.word:
        case "ENV":
            return replace(image, env={**image.env, **_pairs(step.rest)})
        case "ARG":
            ((name, default),) = _pairs(step.rest).items()
            return replace(image, args={**image.args, name: given.get(name, default)})
        case "WORKDIR":
            image.at(step.rest).mkdir(parents=True, exist_ok=True)
            return replace(image, workdir=step.rest)
        case "COPY":
            _copy(image, step.rest.split(), source, context, stages)
        case "RUN":
            _run(image, step.rest)
        case "USER":
            return replace(image, user=step.rest)
        case "VOLUME":
            return replace(image, volumes=(*image.volumes, step.rest))
        case "HEALTHCHECK":
            return replace(image, health=tuple(json.loads(step.rest.partition(" CMD ")[2])))
        case "CMD":
            return replace(image, command=tuple(json.loads(step.rest)))
        case "EXPOSE":
            pass
        case other:
            raise ValueError(f"what {other} does is not known here")
    return image


def _pairs(rest: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(rest))


def _copy(
    image: Image, words: list[str], source: Path, context: Sequence[str], stages: Mapping[str, Image]
) -> None:
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    assert set(options) <= {"from", "chown"}
    *sources, target = [word for word in words if not word.startswith("--")]
    if "from" in options:
        shutil.copytree(stages[options["from"]].at(sources[0]), image.at(target), dirs_exist_ok=True)
        return
    for one in sources:
        whole, inside = _pattern(one), (source / one).is_dir()
        names = [name for name in context if whole(name)]
        assert names, f"nothing that .dockerignore lets through is called {one}"
        for name in names:
            to = Path(name).relative_to(one) if inside else Path(name).name
            place = image.at(target) / to if inside or target.endswith("/") else image.at(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, place)


def _run(image: Image, command: str) -> None:
    assert not set(";|<>") & set(command), "only commands joined by && are known here"
    network = {name: value for name, value in os.environ.items() if _NETWORK.match(name)}
    env = network | image.environment(**image.args, HOME=os.environ["HOME"])
    if uv := shutil.which("uv"):
        tool = image.venv.with_name("quick") / "pip"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/sh\nVIRTUAL_ENV={image.venv} exec {uv} pip "$@"\n')
        tool.chmod(0o755)
        env["PATH"] = f"{tool.parent}:{env['PATH']}"
    for part in command.split("&&"):
        if part.split()[0] in NEEDS_ROOT:
            continue
        mapped = re.sub(r"(?<=\s)/(?=\w)", f"{image.root}/", part)
        done = subprocess.run(
            ["sh", "-ec", mapped], cwd=image.at("."), env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{part}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


class Container:
    """An image's CMD at work, in a process group of its own."""

    def __init__(self, image: Image, **env: str) -> None:
        self._image = image
        self._env = image.environment(**env)
        self._log = image.root.with_name("log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                image.command, cwd=image.at("."), env=self._env, stdout=log, stderr=log, process_group=0
            )
        self.pid = self._process.pid

    def healthy(self) -> bool:
        """Whether the image's HEALTHCHECK says so."""
        assert is_alive(self.pid), self.log()
        done = subprocess.run(
            self._image.health, cwd=self._image.at("."), env=self._env, capture_output=True, check=False
        )
        return done.returncode == 0

    def wait(self, within_s: float) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(within_s)

    def stop(self, within_s: float) -> int:
        """As `docker stop`: SIGTERM; its exit code once it and its children have ended."""
        left = children_of(self.pid)
        kill(self.pid, signal.SIGTERM)
        code = self.wait(within_s)
        until(lambda: not any(is_alive(pid) for pid in left), within_s=5)
        return code

    def close(self) -> None:
        """Leave nothing running."""
        for pid in [self.pid, *children_of(self.pid)] if self._process.poll() is None else []:
            kill(pid)
        self._process.wait()

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()


@contextmanager
def running(image: Image, **env: str) -> Iterator[Container]:
    """The image's CMD with these variables, ended afterwards."""
    container = Container(image, **env)
    try:
        yield container
    finally:
        container.close()
