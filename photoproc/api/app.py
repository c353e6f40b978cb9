"""The FastAPI application mounted at `/api`."""

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

import photoproc
from photoproc.api import (
    callers,
    comparisons,
    events,
    jobs,
    kept,
    pictures,
    problems,
    rembg_door,
    removebg_door,
    reports,
    single,
    tags,
    tools,
    trials,
    votes,
)
from photoproc.service import PhotoService

_ABOUT = """Background removal for batches of photos: jobs go in, cutouts come out.

Send `Authorization: Bearer <key>` or `X-Api-Key: <key>` where the server wants a key. Errors are problem
documents (RFC 9457) with a stable `code`. The links in a job open its pictures, ZIP and log without a key
until they expire."""


def create_api(service: Callable[[], PhotoService], *, origins: tuple[str, ...] = ()) -> FastAPI:
    """The API over a service, which is asked for at each request; `origins` may call from other sites."""
    api: FastAPI = FastAPIOffline(
        title="Photoproc",
        version=photoproc.__version__,
        description=_ABOUT,
        redoc_url=None,
        responses=problems.COMMON,
    )
    problems.install(api)
    api.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "X-Api-Key", "Idempotency-Key", "Content-Type"],
        expose_headers=[
            *("Location", "Retry-After", "Content-Disposition", "ETag"),
            *("X-Width", "X-Height", "X-Type", "X-Credits-Charged", "X-Not-Applied", "X-Warnings"),
        ],
    )
    door = callers.Door(service)
    gates = callers.gates(door)
    for router in (
        tools.create(service, gates),
        jobs.create(service, gates),
        pictures.create(service, gates),
        events.create(service, gates, door),
        comparisons.create(service, gates),
        reports.create(service, gates),
        trials.create(service, gates),
        votes.create(service, gates),
        tags.create(service, gates),
        single.create(service, gates),
        kept.create(service, gates),
    ):
        api.include_router(router, prefix="/v1")
    api.include_router(rembg_door.create(service, gates))
    api.include_router(removebg_door.create(service, gates), prefix="/v1.0")
    web = Path(photoproc.__file__).with_name("web")
    api.mount("/client", StaticFiles(directory=web, html=True), name="client")
    return api
