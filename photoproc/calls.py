"""A child's end of the pipe: calls come in, answers go out, one at a time."""

import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from photoproc import child
from photoproc.models.providers import Choice

Told = tuple[int, int, Path | None, Choice | None]
"""What `child.start` is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a call: what the function returned, or the name and the traceback of what it raised."""

    value: object = None
    raised: str = ""
    where: str = ""


def serve(pipe: Connection, told: Told, warm_up: Callable[[], object] | None) -> None:
    """Answer calls for as long as there are any; the first answer says that this process is ready.

    A call comes as a pickled function and its arguments; an empty message says that it is here, so whatever
    ends this process from then on has to do with the call.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its children
    child.start(*told)
    pipe.send_bytes(_answered(warm_up or _nothing, ()))
    while True:
        try:
            call = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(b"")
        function, args = ForkingPickler.loads(call)
        pipe.send_bytes(_answered(function, args))


def _nothing() -> None:
    """For children with nothing to do before their first call."""


def _answered(function: Callable[..., object], args: tuple[object, ...]) -> memoryview:
    try:
        return ForkingPickler.dumps(Answer(value=function(*args)))
    except BaseException as error:  # noqa: BLE001 - whoever gave the call is told
        return ForkingPickler.dumps(Answer(raised=type(error).__name__, where=traceback.format_exc()))
