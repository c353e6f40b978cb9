"""Tasks on other machines: the workers of a Dask cluster.

Calls are made by `Client.submit`. `Client.get_executor` would do nearly the same, but where the scheduler is
lost while an answer is being fetched, its future never ends.
"""

import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import dask
import structlog
from distributed import Client, KilledWorker

from photoproc.child import Order
from photoproc.engine import ChildInfo
from photoproc.engine.parcels import Reply, code, delivered, packed
from photoproc.engine.station import NAME, Station, carry_out
from photoproc.errors import Problem, TaskError

log = structlog.get_logger()
Answer = TypeVar("Answer")

_LOOK_S = 1.0
"""How often it looks whether the scheduler is there, and which workers."""
_CONNECT_S = 5.0
_CLOSE_S = 2.0
_INSIST_S = 10.0
"""The scheduler ignores a cancellation that comes while it unpacks the call, so it is told for so long."""
_LOST = ("cluster_unreachable", "cluster_differs")
_WRITERS = 2
"""Threads that write what comes back to disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    client: Client
    far: Any
    """Dask's own future."""
    resource: str | None
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the last look at the cluster found: in one piece, since other threads read it meanwhile."""

    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: Problem | None


class DaskEngine:
    """Runs calls on the workers of a Dask cluster, whose scheduler may come and go.

    Every call ends: while the scheduler is away as engine_restarted, which is not the task's fault. Dask
    itself runs a call again whose worker is lost; one that has lost it four workers is child_crashed.
    """

    def __init__(self, address: str, *, resources: Mapping[str, str] | None = None) -> None:
        """`address` is the scheduler's, `dask://host:port`; `resources` what a model needs of a worker."""
        self._address = address.removeprefix("dask://")
        self._needs = dict(resources or {})
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._seen = _Seen(problem=self._unreachable("it was not asked yet"))
        self._flights: dict[Future[Any], _Flight] = {}
        self._unwanted: dict[Any, float] = {}
        """Dask's futures of calls that were cancelled, and when (monotonic)."""
        self._unfit: Problem | None = None
        """Why the last call that a worker could not run was given back, until one is run."""
        self._stopped = False
        self._wake = threading.Event()
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="engine-write")
        self._watch = threading.Thread(target=self._look, name="engine-cluster", daemon=True)
        # Photos are the graphs it would warn of.
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "10GB"})

    @property
    def capacity(self) -> int:
        return sum(int(worker["nthreads"]) for worker in self._seen.workers.values())

    @property
    def problem(self) -> Problem | None:
        seen = self._seen
        return seen.problem or self._unfit or self._without_resource(seen.workers)

    def takes(self, model: str) -> bool:
        resource = self._needs.get(model)
        if resource is None:
            return True
        with self._lock:
            used = Counter(flight.resource for flight in self._flights.values())
        return used[resource] < _places(self._seen.workers, resource)

    def start(self) -> None:
        """Begin to look for the scheduler; returns at once."""
        self._watch.start()

    def submit(self, function: Callable[..., Answer], *args: object, parts: int = 1) -> "Future[Answer]":
        with self._lock:
            if self._stopped:
                raise TaskError("engine_stopped", "The server is stopping.", "")
            client = self._client
        if client is None or client.status != "running":
            self._wake.set()
            raise _restarted()
        answer: Future[Answer] = Future()
        try:
            parcel = packed(function, args)
        except OSError as error:  # as a child would tell of it
            answer.set_exception(error)
            return answer
        resource = self._resource_of(args)
        try:
            far = client.submit(
                carry_out,
                parcel,
                key=f"photoproc-{uuid.uuid4().hex}",
                resources=None if resource is None else {resource: 1},
            )
        except (OSError, RuntimeError, TimeoutError) as error:  # lost a moment ago
            self._wake.set()
            raise _restarted() from error
        with self._lock:
            self._flights[answer] = _Flight(client=client, far=far, resource=resource, args=args)
            lost = self._client is not client
        if lost:  # nobody else will end it
            self._land(answer, error=_restarted())
        else:
            client.loop.add_callback(self._fetch, answer)
        return answer

    def result(self, future: "Future[Answer]") -> Answer:
        try:
            return future.result()
        except CancelledError as error:
            raise TaskError("cancelled", "It was cancelled.", "") from error
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(
                "task_error",
                f"The step ended with {type(error).__name__}.",
                "Retry it; if it fails again, the log has the details.",
            ) from error

    def cancel(self, future: "Future[Any]") -> None:
        if not future.cancel():
            return
        with self._lock:
            flight = self._flights.pop(future, None)
            if flight is not None:
                self._unwanted[flight.far] = time.monotonic()
        if flight is not None:
            flight.client.loop.add_callback(partial(flight.client.cancel, [flight.far], asynchronous=True))

    def supervise(self) -> None:
        """Nothing: its own thread looks after the cluster, which may keep it waiting."""

    def children(self) -> list[ChildInfo]:
        return [
            ChildInfo(pid=pid, alive=True, machine=address)
            for address, worker in self._seen.workers.items()
            for pid in worker["metrics"][NAME]["children"]
        ]

    def providers(self) -> tuple[str, ...]:
        told = (worker["metrics"][NAME]["providers"] for worker in self._seen.workers.values())
        return tuple(dict.fromkeys(name for names in told for name in names))

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            client, self._client = self._client, None
            flights, self._flights = self._flights, {}
        self._wake.set()
        for answer in flights:
            answer.cancel()
        if client is not None:  # whose calls the scheduler then forgets, and the workers kill
            _close(client)
        if self._watch.is_alive():
            self._watch.join(_CONNECT_S + _CLOSE_S)
        self._writers.shutdown()

    # The scheduler

    def _look(self) -> None:
        while not self._stopped:
            try:
                client = self._client or self._connected()
                self._count(client)
            except Exception as error:  # noqa: BLE001, a scheduler that goes away makes all kinds
                self._lose(error)
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _connected(self) -> Client:
        host, _, port = self._address.rpartition(":")
        # A client that finds nobody leaves a thread behind, so it is made only where somebody answers.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        client = Client(self._address, timeout=_CONNECT_S, set_as_default=False, name=NAME)
        try:
            self._compare(client)
            client.register_plugin(Station())
            with self._lock:
                if self._stopped:
                    raise OSError("the server is stopping")
                self._client = client
        except BaseException:
            _close(client)
            raise
        log.info("cluster_connected", scheduler=self._address)
        return client

    def _compare(self, client: Client) -> None:
        """Raise UnlikeError unless the scheduler, which unpacks calls on their way, has the same code."""
        try:
            same = client.run_on_scheduler(code) == code()
        except OSError:
            raise
        except Exception as error:
            raise _UnlikeError(f"it has not Photoproc’s code ({error})") from error
        if not same:
            raise _UnlikeError("it has another version of Photoproc’s code")

    def _count(self, client: Client) -> None:
        if client.status != "running":
            raise OSError("the connection was lost")
        known = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_CONNECT_S)["workers"]
        told = {  # by those whose children have been started
            address: _why_unfit(worker["metrics"][NAME])
            for address, worker in known.items()
            if worker["status"] == "running" and NAME in worker["metrics"]
        }
        workers = {address: known[address] for address, unfit in told.items() if not unfit}
        if set(workers) != set(self._seen.workers):
            log.info("cluster_workers", scheduler=self._address, workers=sorted(workers))
        self._seen = _Seen(workers=workers, problem=None if workers else self._without_workers(told))
        self._insist(client)

    def _insist(self, client: Client) -> None:
        """Say again what was cancelled a moment ago."""
        since = time.monotonic() - _INSIST_S
        with self._lock:
            self._unwanted = {far: at for far, at in self._unwanted.items() if at > since}
            again = list(self._unwanted)
        if again:
            client.cancel(again)

    def _lose(self, error: Exception) -> None:
        """No client any more: what is under way is given back, and it is tried again."""
        with self._lock:
            client, self._client = self._client, None
            self._unwanted = {}
            flights = list(self._flights)
        if self._stopped:
            return
        before = self._seen.problem
        if client is not None or before is None or before.code not in _LOST:
            log.warning("cluster_lost", scheduler=self._address, why=str(error), tasks=len(flights))
        self._unfit = None
        self._seen = _Seen(
            problem=self._unlike(error) if isinstance(error, _UnlikeError) else self._unreachable(str(error))
        )
        for answer in flights:
            self._land(answer, error=_restarted())
        if client is not None:
            _close(client)

    def _unreachable(self, why: str) -> Problem:
        return Problem(
            code="cluster_unreachable",
            message=f"The Dask scheduler at {self._address} cannot be reached ({why}).",
            advice="Start it there, or look at the network; photos wait, and go on by themselves.",
        )

    def _unlike(self, why: Exception) -> Problem:
        return Problem(
            code="cluster_differs",
            message=f"The Dask scheduler at {self._address} cannot pass photos on: {why}.",
            advice="Start it in this version’s folder (README, Beyond one machine); photos wait meanwhile.",
        )

    def _without_resource(self, workers: Mapping[str, Mapping[str, Any]]) -> Problem | None:
        """The problem that models wait for a resource which none of the workers has."""
        missing = {model: need for model, need in self._needs.items() if not _places(workers, need)}
        if not missing or not workers:
            return None
        models, needs = ", ".join(missing), ", ".join(sorted(set(missing.values())))
        return Problem(
            code="cluster_resource",
            message=f"No Dask worker has the resource {needs}; photos for {models} wait.",
            advice=f"Start one with “--resources {next(iter(missing.values()))}=1”, or change "
            "PHOTOPROC_CLUSTER_RESOURCES.",
        )

    def _without_workers(self, told: Mapping[str, str]) -> Problem:
        """The problem that there is no worker, or none that can run anything (`told` has why, by address)."""
        why = "".join(f"; {address} cannot run photos: {unfit}" for address, unfit in told.items())
        return Problem(
            code="cluster_empty",
            message=f"The Dask scheduler at {self._address} has no workers for photos{why}.",
            advice=f"Start some with “dask worker {self._address} --no-nanny”; photos wait meanwhile.",
        )

    # Resources

    def _resource_of(self, args: tuple[object, ...]) -> str | None:
        order = args[0] if args else None
        model = order.model if isinstance(order, Order) else None
        return None if model is None else self._needs.get(model.name)

    # Answers

    async def _fetch(self, answer: "Future[Any]") -> None:
        """In the client's loop: wait for the reply of a call, then have it written to disk."""
        flight = self._flights.get(answer)
        if flight is None:
            return
        try:
            reply: Reply = await flight.client.gather(flight.far, asynchronous=True)
        except CancelledError:  # by nobody here: the scheduler is lost, or has forgotten it
            self._wake.set()
            self._land(answer, error=_restarted())
        except KilledWorker as error:
            self._land(answer, error=_crashed(error))
        except OSError as error:
            log.warning("cluster_reply_lost", why=str(error))
            self._wake.set()
            self._land(answer, error=_restarted())
        except Exception as error:  # noqa: BLE001, whatever was raised is the call's
            self._land(answer, error=error)
        else:
            with suppress(RuntimeError):  # it is stopping
                self._writers.submit(self._deliver, answer, reply)

    def _deliver(self, answer: "Future[Any]", reply: Reply) -> None:
        with self._lock:
            flight = self._flights.pop(answer, None)
        if flight is None or not answer.set_running_or_notify_cancel():
            return
        try:
            if reply.problem is not None:
                if reply.problem.code == "worker_unfit":
                    self._unfit = reply.problem
                answer.set_exception(_as_error(reply.problem))
            else:
                self._unfit = None
                answer.set_result(delivered(reply, flight.args))
        except Exception as error:  # noqa: BLE001, or the call would never end
            answer.set_exception(error)

    def _land(self, answer: "Future[Any]", *, error: Exception) -> None:
        """End a call by an error, unless it has ended."""
        with self._lock:
            self._flights.pop(answer, None)
        with suppress(InvalidStateError):
            answer.set_exception(error)


class _UnlikeError(Exception):
    """The other end has not the same code."""


def _places(workers: Mapping[str, Mapping[str, Any]], resource: str) -> int:
    """How many calls that need it these workers can run at once."""
    return sum(
        min(int(worker["nthreads"]), int(worker["resources"].get(resource, 0))) for worker in workers.values()
    )


def _why_unfit(told: Mapping[str, Any]) -> str:
    """Why a worker is given no calls; empty where it is. One of another version may tell other things."""
    if told.get("code") != code():
        return "it runs another version of Photoproc: start it again with the server’s"
    return str(told["unfit"])


def _close(client: Client) -> None:
    with suppress(OSError, RuntimeError, TimeoutError):
        client.close(timeout=_CLOSE_S)


def _as_error(problem: Problem) -> TaskError:
    return TaskError(problem.code, problem.message, problem.advice)


def _restarted() -> TaskError:
    return TaskError("engine_restarted", "The connection to the Dask scheduler was lost.", "")


def _crashed(error: Exception) -> TaskError:
    return TaskError(
        "child_crashed",
        f"Each Dask worker that ran it was lost ({error}).",
        "Look at the logs of the workers: their machines may have too little memory.",
    )
