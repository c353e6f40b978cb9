"""A job's log: as a WebSocket, and the same by polling."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
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
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type

    @router.get("/jobs/{job_id}/events", name="Read a job's log")
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
                await follow(socket, service, job_id, after, token, leaving)
            finally:
                leaving.cancel()

    return router


async def follow(
    socket: WebSocket,
    service: Callable[[], PhotoService],
    job_id: str,
    after: int | None,
    token: str | None,
    leaving: "asyncio.Task[None]",
) -> None:
    """Send what happens in a job until it has ended or the listener has left."""
    told = False
    while not leaving.done():
        try:
            sent, cursor = await asyncio.to_thread(read, service(), job_id, after, _AT_ONCE, token)
            over = not sent and (await asyncio.to_thread(service().standing, job_id))[0].final
            if over and not told:  # whoever listens hears at least where the job stands
                sent, cursor = await asyncio.to_thread(read, service(), job_id, None, 1, token)
            after = cursor
        except PhotoprocError as error:
            code = _GONE if error.problem.code == "not_found" else 1011
            await socket.close(code, error.problem.code)
            return
        for event in sent:
            await socket.send_text(event.model_dump_json())
            told = True
        if over:
            await socket.close(1000)
            return
        if not sent:
            await asyncio.wait([leaving], timeout=_LOOK_AGAIN_S)


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
    return [shapes.snapshot(job, states, link, time.time())], job.revision


async def _until_left(socket: WebSocket) -> None:
    """Return when the listener closes; what it says meanwhile is not heard."""
    message: dict[str, Any] = {}
    while message.get("type") != "websocket.disconnect":
        message = dict(await socket.receive())
