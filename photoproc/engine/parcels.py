"""Calls and answers that travel between machines: the files they name go along as bytes.

An order names the photo, the mask and the background on the server's disk; a report names what was written
into an outbox. Weights do not travel: whoever runs a call has its own.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import photoproc
from photoproc import child
from photoproc.child import Order, Pictured, Report, Written
from photoproc.errors import Problem
from photoproc.models.catalogue import VITMATTE, ModelSpec


@cache
def code() -> str:
    """A digest of Photoproc's own code on this machine, as it was when this was first asked.

    What travels is unpacked field by field, so both ends have to be the same.
    """
    found, top = hashlib.sha256(), Path(photoproc.__file__).parent
    for path in sorted(top.rglob("*.py")):
        found.update(f"{path.relative_to(top)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A call on its way; `files` are those its order names, by the field that does."""

    function: Callable[..., Any]
    args: tuple[object, ...]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of a call: its answer, with the files a report names, or the problem."""

    answer: Any = None
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problem: Problem | None = None


def packed(function: Callable[..., Any], args: tuple[object, ...]) -> Parcel:
    """A call with what it needs of this disk; raises OSError where the photo cannot be read."""
    if not args or not isinstance(args[0], Order):
        return Parcel(function=function, args=args)
    order = args[0]
    files = {"photo": order.photo.read_bytes()}
    for name, path in (("mask", order.mask), ("background", order.background)):
        data = child.read_mask(path)
        if data is not None:
            files[name] = data
    return Parcel(function=function, args=args, files=files)


def unpacked(parcel: Parcel, folder: Path, weights_of: Callable[[ModelSpec], Path]) -> tuple[object, ...]:
    """The arguments of a call as they are in `folder` on this machine; raises OSError."""
    if not parcel.files:
        return parcel.args
    order = parcel.args[0]
    assert isinstance(order, Order)
    here = {name: folder / name for name in parcel.files}
    for name, path in here.items():
        path.write_bytes(parcel.files[name])
    outbox = folder / "outbox"
    outbox.mkdir()
    moved = replace(
        order,
        photo=here["photo"],
        mask=here.get("mask"),
        background=here.get("background"),
        outbox=outbox,
        weights=None if order.model is None else weights_of(order.model),
        refiner=None if order.refiner is None else weights_of(VITMATTE),
    )
    return (moved, *parcel.args[1:])


def replied(answer: object) -> Reply:
    """An answer with the files it names; raises OSError."""
    if not isinstance(answer, Report):
        return Reply(answer=answer)
    files: dict[str, bytes] = {}

    def taken(written: Written) -> Written:
        files[written.path.name] = written.path.read_bytes()
        return written

    return Reply(answer=_with_files(answer, taken), files=files)


def delivered(reply: Reply, args: tuple[object, ...]) -> Any:
    """An answer, its files written into the outbox that the call was given; raises OSError."""
    if not isinstance(reply.answer, Report):
        return reply.answer
    order = args[0]
    assert isinstance(order, Order)
    write = partial(child.write, order.outbox)
    try:
        return _with_files(reply.answer, lambda written: write(reply.files[written.path.name]))
    except OSError as error:
        if not child.is_disk_full(error):
            raise
        return Report(problem=child.disk_full())


def _with_files(report: Report, change: Callable[[Written], Written]) -> Report:
    """The report with each of its files as `change` makes it."""

    def changed(picture: Pictured) -> Pictured:
        return replace(
            picture,
            cutout=change(picture.cutout),
            preview=change(picture.preview),
            before=change(picture.before),
            level=None if picture.level is None else change(picture.level),
            extras=tuple((kind, change(file)) for kind, file in picture.extras),
        )

    return replace(
        report,
        pictures=tuple(changed(picture) for picture in report.pictures),
        mask=None if report.mask is None else change(report.mask),
    )
