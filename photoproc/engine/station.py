"""What runs inside a Dask worker: children of its own, and the calls that come to it.

The worker itself runs no photo. It has a pool of children like the server's, with this machine's settings,
so a photo that crashes or hangs costs a child, not the worker, and a call that is cancelled is killed.
"""

import asyncio
import logging
import multiprocessing
import threading
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker
from pydantic import ValidationError

from photoproc import child, machine
from photoproc.child import Report
from photoproc.engine.local import LocalEngine
from photoproc.engine.parcels import Parcel, Reply, code, replied, unpacked
from photoproc.errors import ModelError, TaskError
from photoproc.models.catalogue import ModelSpec
from photoproc.models.checksums import verify
from photoproc.models.providers import Choice
from photoproc.models.weights import Phase, Weights
from photoproc.settings import Settings

log = logging.getLogger(f"distributed.{__name__}")  # as the worker's own lines

NAME = "photoproc"
_HELD_S = 15.0
"""A worker that cannot run a call gives it back after so long: at once, it would draw all calls to itself."""
_ASK_AGAIN_S = 5.0
_LOOK_S = 0.2
_UNWANTED = ("cancelled", "released", "forgotten")
"""Dask's states of a call that nobody waits for."""


class Station(WorkerPlugin):  # type: ignore[misc]
    """Children and weights of one Dask worker, made once, whichever servers use it."""

    name = NAME
    idempotent = True

    async def setup(self, worker: Worker) -> None:
        """Start the children: as many as the worker has threads, which share out the machine's cores."""
        self._worker = worker
        self._calls: dict[str, _Call] = {}
        self._engine: LocalEngine | None = None
        self._unfit = ""
        self._providers: tuple[str, ...] = ()
        if multiprocessing.current_process().daemon:
            self._unfit = "it must be started with --no-nanny, or it may not have children"
        try:
            settings = Settings()
        except ValidationError as error:
            self._unfit = f"its settings are not valid ({error.errors()[0]['loc'][0]})"
        self._code = code()
        if self._unfit:
            log.error("worker_unfit: %s", self._unfit)
            worker.metrics[NAME] = self._told
            return
        self._weights = Weights(settings.model_dir, sources=() if settings.offline else None)
        self._weights.start()
        children = worker.state.nthreads
        self._engine = LocalEngine(
            children=children,
            threads=max(1, machine.cores() // children),
            timeout_s=settings.task_timeout_s,
            memory_mb=settings.child_memory_mb,
            graphs=Path(worker.local_directory) / "graphs",
            choice=settings.provider_choice,
        )
        await asyncio.to_thread(self._engine.start)
        await asyncio.to_thread(self._look_at_providers, settings.provider_choice)
        worker.metrics[NAME] = self._told  # nothing is sent to it before

    def _look_at_providers(self, choice: Choice) -> None:
        """Unfit without what models are required to run on."""
        assert self._engine is not None
        try:
            self._providers = self._engine.result(self._engine.submit(child.providers))
        except TaskError as error:
            self._unfit = error.problem.message.rstrip(".")
        else:
            if not choice.is_met(choice.of(self._providers)):
                self._unfit = choice.missing(self._providers).message.rstrip(".")
        if self._unfit:
            log.error("worker_unfit: %s", self._unfit)

    async def teardown(self, worker: Worker) -> None:
        """End the children; what they were at is run elsewhere."""
        for call in list(self._calls.values()):
            call.cancel()
        if self._engine is not None:
            await asyncio.to_thread(self._engine.stop)
            await asyncio.to_thread(self._weights.stop)

    def transition(self, key: str, start: str, finish: str, **_: Any) -> None:
        """Called by Dask: a call that nobody waits for any more is killed."""
        call = self._calls.get(key)
        if call is not None and finish in _UNWANTED:
            call.cancel()

    def carry_out(self, key: str, parcel: Parcel) -> Reply:
        """Run a call in a child; whatever becomes of it is in the reply."""
        call = self._calls[key] = _Call()
        try:
            known = self._worker.state.tasks.get(key)
            if known is not None and known.state in _UNWANTED:  # since before this thread got to it
                call.cancel()
            if self._engine is None or self._unfit:
                call.given_up.wait(_HELD_S)
                raise self._unfit_for(self._unfit)
            own = {"dir": self._worker.local_directory, "prefix": "call-"}
            with TemporaryDirectory(**own, ignore_cleanup_errors=True) as folder:
                args = unpacked(parcel, Path(folder), lambda spec: self._weights_of(spec, call))
                answer = self._engine.result(call.begun(self._engine, parcel, args))
                return replied(answer)
        except TaskError as error:
            if error.problem.code == "task_error":
                log.exception("step_failed: %s", key)
            return Reply(problem=error.problem)
        except OSError as error:
            if child.is_disk_full(error):
                return Reply(answer=Report(problem=child.disk_full()))
            log.exception("worker_unfit: %s", key)
            call.given_up.wait(_HELD_S)
            return Reply(problem=self._unfit_for(str(error)).problem)
        finally:
            del self._calls[key]

    def _weights_of(self, spec: ModelSpec, call: "_Call") -> Path:
        """The verified weights of a model on this machine, fetched if need be; raises TaskError worker_unfit.

        It waits as long as they are being fetched or checked.
        """
        waited_s = 0.0
        while (found := self._own(spec) if spec.custom else self._public(spec)) is None:
            missing = spec.custom or self._weights.state(spec.name).phase is Phase.FAILED
            if missing and waited_s >= _HELD_S:
                failed = None if spec.custom else self._weights.state(spec.name).problem
                why = "no folder of it has them" if failed is None else failed.message.rstrip(".")
                raise self._unfit_for(f"it has no weights of {spec.name} ({why})")
            pause_s = _ASK_AGAIN_S if missing else _LOOK_S
            waited_s += pause_s if missing else 0.0
            if call.given_up.wait(pause_s):
                raise TaskError("cancelled", "It was cancelled.", "")
            if not spec.custom:
                self._weights.request(spec.name)
        return found

    def _public(self, spec: ModelSpec) -> Path | None:
        self._weights.refresh()
        return self._weights.ready().get(spec.name)

    def _own(self, spec: ModelSpec) -> Path | None:
        path = self._weights.find(spec)
        try:
            if path is not None:
                verify(path, spec)
        except ModelError:  # another file of that name
            return None
        return path

    def _unfit_for(self, why: str) -> TaskError:
        return TaskError(
            "worker_unfit",
            f"The Dask worker {self._worker.address} cannot run it: {why}.",
            "Put that right on its machine; meanwhile others run it.",
        )

    def _told(self, _: Worker) -> dict[str, object]:
        """What the worker's heartbeat tells everybody: its living children, or why it cannot have any."""
        there = [] if self._engine is None else self._engine.children()
        return {
            "children": [one.pid for one in there if one.alive],
            "providers": self._providers,
            "unfit": self._unfit,
            "code": self._code,
        }


class _Call:
    """A call at a worker, from when it comes until its reply goes."""

    def __init__(self) -> None:
        self.given_up = threading.Event()
        self._lock = threading.Lock()
        self._running: tuple[LocalEngine, Future[Any]] | None = None

    def begun(self, engine: LocalEngine, parcel: Parcel, args: tuple[object, ...]) -> "Future[Any]":
        """Hand it to a child; raises TaskError cancelled where nobody wants it any more."""
        with self._lock:
            if self.given_up.is_set():
                raise TaskError("cancelled", "It was cancelled.", "")
            future = engine.submit(parcel.function, *args)
            self._running = (engine, future)
            return future

    def cancel(self) -> None:
        """Stop it, wherever it is; the child that runs it is killed."""
        self.given_up.set()
        with self._lock:
            if self._running is not None:
                engine, future = self._running
                engine.cancel(future)


def carry_out(parcel: Parcel) -> Reply:
    """What a worker is asked to do."""
    worker = get_worker()
    station: Station = worker.plugins[NAME]
    return station.carry_out(worker.get_current_task(), parcel)
