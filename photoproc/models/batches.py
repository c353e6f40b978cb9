"""Several pictures in one run of a model: each is fed to it and read by itself, as it is where it is alone.

rembg's sessions feed, run and read in one function, `predict`. It is called twice here: to learn what it
would feed the network, and to read what the network gave.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from photoproc.models.sessions import of_runtime, out_of_memory

Found = list[NDArray[Any]]

_FARTHEST = 1 / 255
"""How far what a network gives may be from what it gives of a picture alone, in the mean and as a part of
the range of its values: one step of a mask. Cards choose how to compute by the size of the batch, and then
round otherwise; a network that mixes the pictures up is farther off by a multiple."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What a network is asked for and given for one picture, by name."""

    outputs: Any
    given: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of one picture: what the network gave, or the error; and how many shared the run."""

    found: Found | Exception
    shared: int


def fed(session: Any, picture: Image.Image) -> Fed:
    """What the network is fed of an RGB picture; nothing is run."""
    with _standing_in(session, None):
        try:
            session.predict(picture)
        except _Asked as asked:
            return asked.fed
    raise AssertionError("it predicts without its network")


def read(session: Any, picture: Image.Image, found: Found) -> NDArray[np.uint8]:
    """The mask (height × width) in what the network gave of this picture."""
    # A model that sees the same everywhere gives 0/0, which becomes an empty mask.
    with _standing_in(session, found), np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(session.predict(picture)[0].convert("L"))


def in_runs(session: Any, each: Sequence[Fed], most: int, smaller: Callable[[int], None]) -> list[Ran]:
    """Run all of these, up to `most` at once.

    Where that fails it goes on with half as many, so what fails alone fails for itself; where memory was too
    little, `smaller` is told how many are tried from now on.
    """
    made: list[Ran] = []
    while len(made) < len(each):
        group = each[len(made) : len(made) + most]
        try:
            made += [Ran(found=found, shared=len(group)) for found in _run(session, group)]
        except Exception as error:
            no_memory = isinstance(error, MemoryError) or out_of_memory(error)
            if not no_memory and not of_runtime(error):
                raise
            if len(group) == 1:
                made.append(Ran(found=error, shared=1))
                continue
            most = (len(group) + 1) // 2
            if no_memory:
                smaller(most)
    return made


def why_not(session: Any, size_wh: tuple[int, int]) -> str:
    """Why a model is not to run several pictures at once; empty where two give what each gives alone."""
    each = [fed(session, scene) for scene in _scenes(size_wh)]
    try:
        together = _run(session, each)
        alone = [_run(session, [one])[0] for one in each]
    except Exception as error:
        if isinstance(error, MemoryError) or out_of_memory(error):
            return "there is too little memory for two photos at once"
        if not of_runtime(error) and not isinstance(error, IndexError):
            raise
        return "it cannot run two photos at once"
    for place, both in enumerate(zip(*alone, strict=True)):
        farthest = _FARTHEST * float(np.ptp(np.stack([np.asarray(one, np.float64) for one in both])))
        for found, wanted in zip(together, both, strict=True):
            if found[place].shape != wanted.shape or not _distance(found[place], wanted) <= farthest:
                return "two photos at once do not give what each gives alone"
    return ""


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean())


def _run(session: Any, group: Sequence[Fed]) -> list[Found]:
    """What the network gives of each, from one run."""
    inner, outputs = session.inner_session, group[0].outputs
    if len(group) == 1:
        return [inner.run(outputs, group[0].given)]
    stacked = {name: np.concatenate([one.given[name] for one in group]) for name in group[0].given}
    inner.disable_fallback()  # too little room for several is no reason to leave the card for good
    try:
        found = inner.run(outputs, stacked)
    finally:
        inner.enable_fallback()
    return [[part[place : place + 1] for part in found] for place in range(len(group))]


def _scenes(size_wh: tuple[int, int]) -> Iterator[Image.Image]:
    """Two pictures with a subject each, at different places: a light disc on dark, a dark box on light."""
    width, height = size_wh
    slope = Image.linear_gradient("L").resize(size_wh)
    disc = Image.merge("RGB", [slope.point(lambda value: value // 3)] * 3)
    ImageDraw.Draw(disc).ellipse((width // 8, height // 8, width // 2, height // 2), fill=(250, 220, 180))
    yield disc
    box = Image.merge("RGB", [slope.rotate(90).resize(size_wh).point(lambda value: 155 + value // 3)] * 3)
    ImageDraw.Draw(box).rectangle((width // 3, height // 2, width * 7 // 8, height * 7 // 8), fill=(3, 4, 9))
    yield box


@contextmanager
def _standing_in(session: Any, found: Found | None) -> Iterator[None]:
    """A session whose network tells what it is fed or, where something was found, just gives that."""
    inner, session.inner_session = session.inner_session, _StandIn(session.inner_session, found)
    if found is not None:
        session.normalize = lambda *_, **__: {}  # it was fed before
    try:
        yield
    finally:
        session.inner_session = inner
        vars(session).pop("normalize", None)


class _StandIn:
    def __init__(self, inner: Any, found: Found | None) -> None:
        self._inner, self._found = inner, found

    def run(self, outputs: Any, given: Mapping[str, NDArray[Any]]) -> Found:
        if self._found is None:
            raise _Asked(Fed(outputs=outputs, given=given))
        return self._found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Asked(Exception):  # noqa: N818, the answer and not an error
    def __init__(self, fed: Fed) -> None:
        self.fed = fed
