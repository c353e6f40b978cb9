"""Who calls: by API key, from this machine, from the dashboard, or with a signed link."""

import hmac
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import limits
import structlog
from fastapi import Depends, Path, Query
from fastapi.security import APIKeyHeader, HTTPBearer
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection

from photoproc.api.doors import LOCAL_NAMES, host_name
from photoproc.api.problems import ApiError
from photoproc.errors import Problem, ServiceError, not_found
from photoproc.jobs import Job
from photoproc.people import Person
from photoproc.service import DASHBOARD, PhotoService
from photoproc.voting import ballot_pictures, voting

log = structlog.get_logger()

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")

JobId = Annotated[str, Path(description="A job's id: 128 random bits in 32 letters.")]
TaskNumber = Annotated[int, Path(ge=0, le=10_000_000)]
Token = Annotated[str | None, Query(max_length=400, description="A signed link, in place of a key.")]


class Door:
    """Lets callers in, or says why not."""

    def __init__(self, service: Callable[[], PhotoService]) -> None:
        self._service = service
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def caller(self, connection: HTTPConnection) -> Person:
        """Who calls; raises ApiError key_missing, key_unknown, loopback_only, … or too_many_requests."""
        service = self._service()
        keys = service.settings.keys
        self._check_origin(connection, service.settings.origins)
        given = _given_key(connection)
        if given is not None and (keys or service.seen_through(given) is not None):
            caller = self._by_key(service, keys, given)
            log.info("api_call", caller=caller.name or DASHBOARD, path=connection.url.path)
            return caller
        if keys or service.settings.sign_in:
            raise ApiError(
                Problem(
                    code="key_missing",
                    message="This server wants an API key.",
                    advice="Send it as “Authorization: Bearer <key>” or “X-Api-Key: <key>”.",
                ),
                headers={"WWW-Authenticate": "Bearer"},
            )
        _check_local(connection)
        return Person("", sees_all=True)

    def job(
        self,
        connection: HTTPConnection,
        job_id: str,
        token: str | None,
        *signed_for: Callable[[str], str],
    ) -> Job:
        """A job that the caller, or a link signed for it, may see; raises not_found and as `caller` does.

        `signed_for` make of the job's id what a link may be signed for; without any, it is the id.
        """
        service = self._service()
        self._check_origin(connection, service.settings.origins)
        if token is not None:
            _check_link(service, [subject(job_id) for subject in signed_for or (str,)], token)
            return service.job(job_id)
        caller = self.caller(connection)
        job = service.job(job_id)
        if not caller.may_change(job):
            raise not_found("job")
        return job

    def _by_key(self, service: PhotoService, keys: Mapping[str, str], given: str) -> Person:
        # Every key is compared, so that the time it takes does not tell which one was close.
        known = [name for name, key in keys.items() if hmac.compare_digest(key.encode(), given.encode())]
        if known:
            self._check_rate(service, known[0])
            return Person(known[0])
        seen = service.seen_through(given)
        if seen is not None:
            return seen
        problem = Problem(
            code="key_unknown",
            message="This API key is not known.",
            advice="Ask whoever runs this server.",
        )
        raise ApiError(problem, headers={"WWW-Authenticate": "Bearer"})

    def _check_rate(self, service: PhotoService, name: str) -> None:
        item = limits.parse(service.settings.rate_limit)
        if self._limiter.hit(item, name):
            return
        wait_s = max(1, math.ceil(self._limiter.get_window_stats(item, name).reset_time - time.time()))
        problem = Problem(
            code="too_many_requests",
            message=f"More than {service.settings.rate_limit} requests came with this key.",
            advice=f"Try again in {wait_s} s.",
        )
        raise ApiError(problem, headers={"Retry-After": str(wait_s)})

    @staticmethod
    def _check_origin(connection: HTTPConnection, allowed: tuple[str, ...]) -> None:
        """A page of another site may call only if that site is allowed: its visitor is not its owner."""
        origin = connection.headers.get("origin")
        if origin is None or origin.rstrip("/") in allowed:
            return
        if origin.partition("://")[2].lower() == connection.headers.get("host", "").lower() != "":
            return
        raise ApiError(
            Problem(
                code="origin_not_allowed",
                message=f"Pages of {origin} may not call this server.",
                advice="Whoever runs it can add that origin to PHOTOPROC_ALLOWED_ORIGINS.",
            )
        )


def _check_link(service: PhotoService, subjects: Sequence[str], token: str) -> None:
    """Raise ServiceError link_expired or link_invalid unless the token opens one of these subjects."""
    for number, subject in enumerate(subjects, 1):
        try:
            service.check_link(subject, token)
        except ServiceError as error:
            if number == len(subjects) or error.problem.code != "link_invalid":
                raise
        else:
            return


def _given_key(connection: HTTPConnection) -> str | None:
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return connection.headers.get("x-api-key")


def _check_local(connection: HTTPConnection) -> None:
    host = connection.client.host if connection.client is not None else ""
    if host not in _LOOPBACK:
        raise ApiError(
            Problem(
                code="loopback_only",
                message="Without API keys this server answers its own machine only.",
                advice="Whoever runs it can set PHOTOPROC_API_KEYS=“name:key,…” and give you a key.",
            )
        )
    # A site may have its own name resolve to 127.0.0.1, and its pages would then be of the same origin.
    if host_name(connection.headers.get("host", "")) not in LOCAL_NAMES:
        raise ApiError(
            Problem(
                code="host_not_allowed",
                message="Without API keys this server is called by the name localhost only.",
                advice="Use http://localhost, or have PHOTOPROC_API_KEYS set.",
            )
        )


_bearer = HTTPBearer(auto_error=False, description="An API key.")
_header = APIKeyHeader(name="X-Api-Key", auto_error=False, description="An API key.")


@dataclass(frozen=True, slots=True)
class Gates:
    """The dependencies of routes, over one door."""

    caller: Callable[..., Person]
    reader: Callable[..., Job]
    owned: Callable[..., Job]
    voter: Callable[..., Job]
    onlooker: Callable[..., Job]
    knock: Callable[..., Awaitable[Callable[[], Job]]]


def gates(door: Door) -> Gates:
    """`caller`: who calls; `reader`: a job, also by signed link; `owned`: a job, by its caller only;
    `voter`: a job, also by a link that lets people vote on it, and by no other;
    `onlooker`: a job, also by signed link or by one for the pictures of its ballots;
    `knock`: what gives the job that `reader` gives, for a route to call where it runs itself."""

    def caller(
        connection: HTTPConnection,
        _bearer: Annotated[object, Depends(_bearer)],
        _header: Annotated[object, Depends(_header)],
    ) -> Person:
        return door.caller(connection)

    def by_link(*signed_for: Callable[[str], str]) -> Callable[..., Job]:
        def opened(
            connection: HTTPConnection,
            job_id: JobId,
            _bearer: Annotated[object, Depends(_bearer)],
            _header: Annotated[object, Depends(_header)],
            token: Token = None,
        ) -> Job:
            return door.job(connection, job_id, token, *signed_for)

        return opened

    def owned(
        connection: HTTPConnection,
        job_id: JobId,
        _bearer: Annotated[object, Depends(_bearer)],
        _header: Annotated[object, Depends(_header)],
    ) -> Job:
        return door.job(connection, job_id, None)

    async def knock(
        connection: HTTPConnection,
        job_id: JobId,
        _bearer: Annotated[object, Depends(_bearer)],
        _header: Annotated[object, Depends(_header)],
        token: Token = None,
    ) -> Callable[[], Job]:
        return partial(door.job, connection, job_id, token)

    return Gates(
        caller=caller,
        reader=by_link(str),
        owned=owned,
        voter=by_link(voting),
        onlooker=by_link(str, ballot_pictures),
        knock=knock,
    )
