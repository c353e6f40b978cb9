"""A form made and measured, in a process of its own: `python -m photoproc.models.form_child`.

Reads one line of JSON from standard input (see `form_making.run`), and writes one to standard output: the
problem, or null. Ends when its input does, which is when whoever asked is gone.
"""

import errno
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from photoproc.errors import ModelError, Problem
from photoproc.models import form_making, form_measure, forms
from photoproc.models.catalogue import ModelSpec
from photoproc.models.checksums import digest, verify
from photoproc.models.forms import Form
from photoproc.models.probe_child import end_with_asker
from photoproc.models.providers import Choice


def main() -> None:
    """Answer, and leave at once."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_asker, daemon=True).start()
    with suppress(OSError):  # it may take more memory than there is: then it goes, not the server
        Path("/proc/self/oom_score_adj").write_text("900")
    problem = answer_to(asked)
    told = None if problem is None else [problem.code, problem.message, problem.advice]
    sys.stdout.write(json.dumps({"problem": told}) + "\n")
    sys.stdout.flush()
    os._exit(0)


def answer_to(asked: dict[str, Any]) -> Problem | None:
    """Make a form, or measure one again, and write it down; the problem where that cannot be."""
    name = forms.form_name(asked["model"], asked["kind"])
    try:
        _make(
            Path(asked["original"]),
            Path(asked["folder"]),
            asked["model"],
            asked["kind"],
            threads=asked["threads"],
            choice=Choice(**asked["choice"]),
            again=asked["again"],
        )
    except ModelError as error:
        return error.problem
    except MemoryError:
        return Problem(
            code="form_memory",
            message=f"There was too little memory to make {name}.",
            advice="Try it when this machine does nothing else.",
        )
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else error.strerror or str(error)
        return Problem(
            code="form_not_written",
            message=f"{name} could not be written into {asked['folder']}: {why}.",
            advice="Make room there; then make it again." if full else "Look at that folder.",
        )
    return None


def _make(
    original: Path, folder: Path, model: str, kind: str, *, threads: int, choice: Choice, again: bool
) -> None:
    """Make the form in its folder, or measure (`again`) the one that is there.

    The original's file stays as it is; the form's own get their names when all is known of them. Raises
    ModelError, MemoryError, OSError.
    """
    spec, known = forms.check(model, kind)
    form = forms.form_spec(spec, known)
    if not again and not forms.can_make(known):
        package, files = (
            ("openvino", "openvino") if known == "bf16" else ("onnx", "-r requirements-forms.txt")
        )
        raise ModelError(
            "form_needs_package",
            f"Making {forms.form_name(model, known)} needs the package {package}, which is not installed.",
            f"Have whoever runs this server do: pip install {files}",
        )
    onnx, toml = folder / f"{form.name}.onnx", folder / f"{form.name}.toml"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, form.name), _work_in(folder) as work:
        verify(original, spec)
        file = onnx if again else work / "form.onnx"
        if not again:
            _check_space(folder, original)
            _convert(original, file, spec, form, known)
        form = replace(form, checksum=f"sha256:{digest(file, 'sha256')}", download_mb=1)
        measured = form_measure.measure(
            spec, original, form, file, threads=threads, choice=choice, graphs=work / "graphs"
        )
        told = Form(
            of=model,
            kind=known,
            original=spec.checksum,
            made=form.checksum,
            original_s=measured.original_s,
            form_s=measured.form_s,
            soft_iou=measured.soft_iou,
            measured_on=forms.runs_on(threads, choice),
        )
        _publish(work, file, onnx, toml, forms.toml_of(form, told))


def _convert(original: Path, file: Path, spec: ModelSpec, form: ModelSpec, kind: forms.Kind) -> None:
    if kind == "bf16":  # the same file, of which each name is one
        try:
            os.link(original, file)
        except OSError:
            shutil.copyfile(original, file)
        return
    from photoproc.models import form_convert

    try:
        form_convert.convert(original, file, kind, form)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # whatever two libraries say of a network that they cannot take
        if "bad_alloc" in str(error) or "allocat" in str(error):
            raise MemoryError(str(error)) from error
        raise ModelError(
            "form_broken",
            f"{spec.name} cannot be made into {kind}: {' '.join(str(error).split())[:200]}.",
            f"Use {spec.name} as it is.",
        ) from error


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    lock = FileLock(folder / f".{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ModelError(
            "form_elsewhere", f"{name} is being made already.", "Wait until that is done."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _work_in(folder: Path) -> Iterator[Path]:
    """A folder for what is not done, onnxruntime's too; what killed processes left is cleared away."""
    form_making.clear(folder)
    work = Path(tempfile.mkdtemp(prefix=form_making.WORK_PREFIX, dir=folder))
    tempfile.tempdir = str(work)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_space(folder: Path, original: Path) -> None:
    """There are up to five copies for a while, most of them onnxruntime's own."""
    if shutil.disk_usage(folder).free < 5 * original.stat().st_size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _publish(work: Path, file: Path, onnx: Path, toml: Path, told: str) -> None:
    """Both files get their names; a process that is killed meanwhile leaves none that is not described."""
    described = work / "form.toml"
    described.write_text(told)
    for path in (file, described):
        with path.open("rb") as written:
            os.fsync(written.fileno())
    if file != onnx:
        toml.unlink(missing_ok=True)
        os.replace(file, onnx)
    os.replace(described, toml)


if __name__ == "__main__":
    main()
