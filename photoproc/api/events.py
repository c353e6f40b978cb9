"""A job's log: as a WebSocket, and the same by polling."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, WebSocket, WebSocketDisconnect

from photoproc.api import problems, shapes
from photoproc.api.callers import Door, Gates, JobId, Token
from photoproc.errors import PhotoprocError
from photoproc.jobs import Job
from photoproc.service import PhotoService

_LOOK_AGAIN_S = 0.2
_AT_ONCE = 500
_GONE = 4404
"""The close code where the job was deleted."""

After = Annotated[
    int | None,
    Query(ge=0, le=1_000_000_000, description="The cursor of the last event seen; a snapshot without."),
]


def create(service: Callable[[], PhotoService], gates: Gates, door: Door) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["events"])
    feeds = _Feeds(service)
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type

    @router.get("/jobs/{job_id}/events", summary="Read a job's log")
    def log(
        job: Read,
        token: Token = None,
        after: After = None,
        limit: Annotated[int, Query(ge=1, le=_AT_ONCE)] = _AT_ONCE,
    ) -> shapes.EventPage:
        """What happened since `after`; the same as the WebSocket at this address sends.

        Also for scripts that cannot hold a socket: ask again with `after` = `cursor` until `final`.
        """
        events, cursor = read(service(), job.id, after, limit, token)
        state, revision = service().standing(job.id)
        return shapes.EventPage(
            events=events, cursor=cursor, state=state, final=state.final and revision == cursor
        )

    @router.websocket("/jobs/{job_id}/events")
    async def socket(socket: WebSocket, job_id: JobId, after: After = None, token: Token = None) -> None:
        try:
            await asyncio.to_thread(door.job, socket, job_id, token)
        except PhotoprocError as error:
            await socket.send_denial_response(problems.answer(error))
            return
        with suppress(WebSocketDisconnect, RuntimeError):  # gone while we were sending
            await socket.accept()
            leaving = asyncio.create_task(_until_left(socket))
            try:
                with feeds.of(job_id) as feed:
                    await follow(socket, feed, after, token, leaving)
            finally:
                leaving.cancel()

    return router


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a feed has read of a job: its last events as JSON, up to `cursor`, and whether it has ended."""

    texts: tuple[str, ...] = ()
    cursor: int = -1
    final: bool = False


class _Feed:
    """What happens in one job, read and written as JSON once for all who listen."""

    def __init__(self, service: Callable[[], PhotoService], job_id: str) -> None:
        self._service, self._job_id = service, job_id
        self._seen = _Seen()
        self.listeners = 0
        self.changed = asyncio.get_running_loop().create_future()
        """Done at the next change, when another one takes its place."""
        self.reading = asyncio.create_task(self._read())
        """Runs while somebody listens; ends with PhotoprocError, not_found where the job was deleted."""
        self.reading.add_done_callback(lambda read: read.cancelled() or read.exception())

    async def since(self, after: int | None, token: str | None) -> tuple[tuple[str, ...], int]:
        """What follows a cursor, and the cursor it leads to; raises PhotoprocError."""
        seen = self._seen
        first = seen.cursor - len(seen.texts)
        if after is not None and first <= after <= seen.cursor:
            return seen.texts[after - first :], seen.cursor
        # Who is new here, or slower than what is kept, has the log read alone.
        events, cursor = await asyncio.to_thread(read, self._service(), self._job_id, after, _AT_ONCE, token)
        return tuple(event.model_dump_json() for event in events), cursor

    def is_over(self, cursor: int) -> bool:
        """Whether nothing will follow a cursor; raises what ended the reading."""
        if self.reading.done():
            self.reading.result()
        return self._seen.final and cursor == self._seen.cursor

    async def _read(self) -> None:
        while True:
            seen = await asyncio.to_thread(self._look, self._seen)
            if seen is not self._seen:
                self._seen = seen
                self.changed.set_result(None)
                self.changed = asyncio.get_running_loop().create_future()
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _look(self, seen: _Seen) -> _Seen:
        state, revision = self._service().standing(self._job_id)
        if revision == seen.cursor:
            return seen if state.final == seen.final else replace(seen, final=state.final)
        if seen.cursor < 0:
            return _Seen((), revision, state.final)
        events, cursor = read(self._service(), self._job_id, seen.cursor, _AT_ONCE, "")
        if not all(isinstance(event, shapes.Change) for event in events):
            return _Seen((), cursor, False)  # the log has a gap: each has it read alone
        texts = (*seen.texts, *(event.model_dump_json() for event in events))
        return _Seen(texts[-_AT_ONCE:], cursor, state.final and cursor == revision)


class _Feeds:
    """One feed for each job that anybody listens to."""

    def __init__(self, service: Callable[[], PhotoService]) -> None:
        self._service = service
        self._feeds: dict[tuple[asyncio.AbstractEventLoop, str], _Feed] = {}

    @contextmanager
    def of(self, job_id: str) -> Iterator[_Feed]:
        """The feed of a job, for one more listener."""
        key = (asyncio.get_running_loop(), job_id)
        feed = self._feeds.get(key)
        if feed is None or feed.reading.done():
            feed = self._feeds[key] = _Feed(self._service, job_id)
        feed.listeners += 1
        try:
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                feed.reading.cancel()
                if self._feeds.get(key) is feed:
                    del self._feeds[key]


async def follow(
    socket: WebSocket, feed: _Feed, after: int | None, token: str | None, leaving: "asyncio.Task[None]"
) -> None:
    """Send what happens in a job until it has ended or the listener has left."""
    told = False
    while not leaving.done():
        changed = feed.changed
        try:
            sent, after = await feed.since(after, token)
            over = feed.is_over(after) and not sent
            if over and not told:  # whoever listens hears at least where the job stands
                sent, after = await feed.since(None, token)
        except PhotoprocError as error:
            code = _GONE if error.problem.code == "not_found" else 1011
            await socket.close(code, error.problem.code)
            return
        for text in sent:
            await socket.send_text(text)
            told = True
        if over:
            await socket.close(1000)
            return
        if not sent:
            await asyncio.wait({leaving, changed, feed.reading}, return_when=asyncio.FIRST_COMPLETED)


def read(
    service: PhotoService, job_id: str, after: int | None, limit: int, token: str | None
) -> tuple[list[shapes.Snapshot | shapes.Change], int]:
    """The events after a cursor and the cursor they lead to; a snapshot where the log does not go on there.

    `token` is the link it was asked by: who came by one gets no fresh one.
    """
    if after is not None:
        if after == service.standing(job_id)[1]:
            return [], after
        found = service.events(job_id, after=after, limit=limit)
        if found and found[0].cursor == after + 1:
            models = max(1, len(service.job(job_id).recipe.task_models))
            return [shapes.change(one, models) for one in found], found[-1].cursor
    job, states = service.snapshot(job_id)
    link = token or service.sign(job_id)
    return [shapes.snapshot(job, states, service.missing(job), link, time.time())], job.revision


async def _until_left(socket: WebSocket) -> None:
    """Return when the listener closes; what it says meanwhile is not heard."""
    message: dict[str, Any] = {}
    while message.get("type") != "websocket.disconnect":
        message = dict(await socket.receive())
