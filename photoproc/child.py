"""What runs inside a child process: orders in, reports out, files on disk in between.

Orders and reports are small; pictures travel as files. Heavy imports happen inside functions:
the server imports this module only to name the functions.
"""

import errno
import gc
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from photoproc import machine
from photoproc.errors import PhotoprocError, Problem, not_found
from photoproc.jobs import ExtraKind, Warn
from photoproc.models.catalogue import ModelSpec
from photoproc.models.providers import Choice, Limit
from photoproc.recipe import Recipe

if TYPE_CHECKING:
    from photoproc.pipeline import Pipeline
    from photoproc.rendering import Made
    from photoproc.work import Work

Step = TypeVar("Step")

_MOST_PIXELS = 64_000_000
"""Of decoded photos that a child holds at the same time: 0.2 GB, and 0.6 GB where they have 16 bits."""

_NICENESS = 10
"""Children take what the server leaves, so that pages stay quick while every core works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One task for a child. `outbox` is a folder on the file system the results will stay on."""

    photo: Path
    recipe_json: str
    model: ModelSpec | None
    weights: Path | None
    mask: Path | None
    """The mask this model made of this photo before, if it did."""
    outbox: Path
    max_pixels: int
    background: Path | None = None
    """The recipe's background picture, where it has one."""
    refiner: Path | None = None
    """ViTMatte's weights, where the recipe wants them and they are there."""
    uncertainty: float | None = None
    """What is known already of how much the model disagrees with itself about the photo."""
    longest: int | None = None
    """For a live preview: the photo is taken this small, and only a preview is made."""
    alone: bool = False
    """Nothing else waits: the model runs on all cores."""
    pixels: int = 0
    """How many the photo has, by its header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file a child wrote and synced to disk."""

    path: Path
    sha256: str
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictured:
    """The files of one cutout; `extras` by their kind."""

    cutout: Written
    preview: Written
    before: Written
    size_wh: tuple[int, int]
    face: int = 0
    level: Written | None = None
    extras: tuple[tuple[ExtraKind, Written], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an order: pictures, or the problem with the photo or the model.

    `seconds` has the steps that ran, also where one of them met the problem.
    """

    pictures: tuple[Pictured, ...] = ()
    mask: Written | None = None
    seconds: Mapping[str, float] | None = None
    provider: str = ""
    warnings: tuple[Warn, ...] = ()
    uncertainty: float | None = None
    problem: Problem | None = None
    peak_bytes: int | None = None
    """The most resident memory of the child meanwhile, with all the models it holds."""
    threads: int | None = None
    """Inference threads of the model, where it ran."""
    batch: int = 1
    """How many photos shared the run of the model."""
    limit: Limit | None = None
    """How many photos the model takes in one run, where that was found out."""


def start(threads: int, memory_mb: int, graphs: Path | None = None, choice: Choice | None = None) -> None:
    """Make this process a child: ends with its parent, yields to it, is the first to go without memory.

    `graphs` is where prepared models are kept, `choice` what models are to run on.
    """
    _end_with_parent()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    os.environ["VIPS_CONCURRENCY"] = str(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if sys.platform == "linux":
        with suppress(OSError):  # some containers keep /proc from being written
            Path("/proc/self/oom_score_adj").write_text("900")
        if memory_mb:
            import resource

            _, most = resource.getrlimit(resource.RLIMIT_AS)
            limit = memory_mb * 1024 * 1024
            limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    _Own.threads, _Own.graphs, _Own.choice = threads, graphs, choice
    _Own.is_limited = memory_mb > 0


class _Own:
    threads = 1
    is_limited = False
    graphs: Path | None = None
    choice: Choice | None = None


@cache
def _pipeline() -> "Pipeline":
    import cv2

    from photoproc.pipeline import Pipeline

    cv2.setNumThreads(_Own.threads)
    return Pipeline(threads=_Own.threads, graphs=_Own.graphs, choice=_Own.choice)


def warm_up() -> int:
    """Import what a first task would import; returns the process id."""
    _pipeline()
    return os.getpid()


def providers() -> tuple[str, ...]:
    """The execution providers that onnxruntime has on this machine, by its names for them, the best first."""
    from photoproc.models.sessions import available

    return available()


def warm_up_inspecting() -> int:
    """Import what reading a header needs; returns the process id."""
    from photoproc.imaging import decode  # noqa: F401

    return os.getpid()


def run(order: Order) -> Report:
    """Carry out an order. Problems of the photo or the model are reported, not raised."""
    machine.forget_peak()
    threads = max(machine.cores(), _Own.threads) if order.alone and _may_use_all(order) else _Own.threads
    [report] = _carried_out([order], threads)
    return replace(report, peak_bytes=machine.peak_bytes())


def run_many(orders: Sequence[Order]) -> tuple[Report, ...]:
    """Carry out orders with the same model, which runs for several of them at once where it can.

    One report an order. Problems of a photo are reported in its own; what is raised ends all.
    """
    machine.forget_peak()
    reports: list[Report] = []
    for group in _held_together(orders):
        made = _carried_out(group, _Own.threads)
        codes = [report.problem.code if report.problem else "" for report in made]
        for place, code in enumerate(codes):
            # It may do without the others, whose photos are still there with what went wrong.
            if len(group) > 1 and code in ("out_of_memory", "provider_missing"):
                gc.collect()
                [made[place]] = _carried_out([group[place]], _Own.threads)
        reports += made
    return tuple(replace(report, peak_bytes=machine.peak_bytes()) for report in reports)


def _held_together(orders: Sequence[Order]) -> list[list[Order]]:
    """The same in groups whose photos are decoded and held at once."""
    groups: list[list[Order]] = []
    pixels = 0
    for order in orders:
        pixels += order.pixels
        if not groups or pixels > _MOST_PIXELS:
            groups.append([])
            pixels = order.pixels
        groups[-1].append(order)
    return groups


def _may_use_all(order: Order) -> bool:
    """Whether the model may be loaded once more, for all cores; threads take address space as well."""
    return not _Own.is_limited and (order.model is None or order.model.fits_twice)


def _carried_out(orders: Sequence[Order], threads: int) -> list[Report]:
    begun = [_or_problem(partial(_prepared, order, threads), {}) for order in orders]
    _pipeline().find_masks([one for one in begun if not isinstance(one, Report)])
    # Each photo is let go of before the next is finished, and the last one before memory is looked for.
    reports = [_finished(order, begun.pop(0), threads) for order in orders]
    if len(orders) == 1 and reports[0].problem == out_of_memory():
        _pipeline.cache_clear()  # the models it holds may be what leaves no room for the next photo
        gc.collect()
    return reports


def _prepared(order: Order, threads: int, seconds: dict[str, float]) -> "Work":
    from photoproc.work import Model

    try:
        photo = order.photo.read_bytes()
    except FileNotFoundError as error:  # its job was deleted meanwhile
        raise not_found("photo") from error
    model = None
    if order.model is not None and order.weights is not None:
        model = Model(spec=order.model, weights=order.weights)
    return _pipeline().prepare(
        photo,
        Recipe.from_json(order.recipe_json),
        model,
        max_pixels=order.max_pixels,
        mask_png=read_mask(order.mask),
        background=order.background,
        refiner=order.refiner,
        uncertainty=order.uncertainty,
        longest=order.longest,
        threads=threads,
        seconds=seconds,
    )


def _finished(order: Order, work: "Work | Report", threads: int) -> Report:
    if isinstance(work, Report):  # it met a problem before
        return work
    seconds = work.clock.seconds
    result = _or_problem(lambda _: _pipeline().finish(work), seconds)
    if isinstance(result, Report):
        return result
    try:
        return Report(
            pictures=tuple(_keep(order.outbox, made) for made in result.pictures),
            mask=None if result.mask_png is None else write(order.outbox, result.mask_png),
            seconds=seconds,
            provider=result.provider,
            warnings=result.warnings,
            uncertainty=result.uncertainty,
            threads=threads if "inference" in seconds else None,
            batch=result.batch,
            limit=result.limit,
        )
    except OSError as error:
        if not is_disk_full(error):
            raise
        return Report(problem=disk_full())


def _or_problem(step: Callable[[dict[str, float]], Step], seconds: dict[str, float]) -> Step | Report:
    """What a step makes (it is given `seconds` to fill), or the report of the problem it met."""
    try:
        return step(seconds)
    except PhotoprocError as error:
        return Report(problem=error.problem, seconds=seconds)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return Report(problem=out_of_memory(), seconds=seconds)


def _keep(outbox: Path, made: "Made") -> Pictured:
    return Pictured(
        cutout=write(outbox, made.data),
        preview=write(outbox, made.preview),
        before=write(outbox, made.before),
        size_wh=made.size_wh,
        face=made.face,
        level=None if made.level is None else write(outbox, made.level),
        extras=tuple((kind, write(outbox, data)) for kind, data in made.extras.items()),
    )


def out_of_memory() -> Problem:
    """The problem of a task that needed more memory than there is."""
    return Problem(
        code="out_of_memory",
        message="The task needed more memory than a child process may use.",
        advice="Use a smaller photo or model, or ask whoever runs this server to lower "
        "PHOTOPROC_MAX_CONCURRENT.",
    )


def is_disk_full(error: OSError) -> bool:
    """Whether it says that the disk, or somebody's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full() -> Problem:
    """The problem of results that found no room on the disk."""
    return Problem(
        code="disk_full",
        message="The disk of the data folder is full.",
        advice="Delete finished jobs or make room; the task is run again by itself.",
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether it says that memory ran out: libraries in C have exceptions of their own for it."""
    foreign = type(error).__module__.partition(".")[0] in ("cv2", "pyvips")
    return isinstance(error, MemoryError) or (foreign and "memory" in str(error).lower())


def read_mask(path: Path | None) -> bytes | None:
    """The file of a mask; None where there is none."""
    try:
        return None if path is None else path.read_bytes()
    except FileNotFoundError:  # its last job was deleted meanwhile; make it again
        return None


def write(outbox: Path, data: bytes) -> Written:
    """Write a file of results under a name of its own, synced to disk; raises OSError."""
    path = outbox / f"{os.getpid()}-{os.urandom(8).hex()}"
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Written(path=path, sha256=hashlib.sha256(data).hexdigest(), byte_count=len(data))


def _end_with_parent() -> None:
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch(wait: Callable[[list[int]], object]) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(connection.wait,), name="parent-watch", daemon=True).start()
