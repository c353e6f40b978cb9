"""What people take away of a comparison: the report, every figure, the masks."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse

from photoproc import figures
from photoproc.api.callers import Gates
from photoproc.api.pictures import attachment, zipped
from photoproc.api.problems import responses
from photoproc.jobs import Job
from photoproc.recommendation import WEIGHT
from photoproc.service import PhotoService

_Weight = Annotated[
    float, Query(ge=0, le=1, description="What quality weighs against speed: 1 is quality alone.")
]
# A stranger's names are in it: it may run nothing and fetch nothing.
_HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
}
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


_JSON: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}}
}


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["comparisons"])
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type

    @router.get(
        "/jobs/{job_id}/report",
        summary="Get the report",
        response_class=HTMLResponse,
        responses=responses(409),
    )
    def report(job: Read, weight: _Weight = WEIGHT, download: bool = False) -> HTMLResponse:
        """One HTML file that needs nothing else: recommendation, figures, charts, worst photos, votes,
        settings, versions and machine. `download=1` gives it its name."""
        text, name = service().report(job.id, weight=weight)
        headers = {**_HEADERS, "Content-Disposition": attachment(name)} if download else _HEADERS
        return HTMLResponse(text, headers=headers)

    @router.get(
        "/jobs/{job_id}/figures",
        summary="Get every figure",
        response_class=Response,
        responses={**_JSON, **responses(409)},
    )
    def every_figure(job: Read, weight: _Weight = WEIGHT) -> Response:
        """Every figure of the comparison: of its models, its photos, its votes; and what they mean."""
        # Written here, since FastAPI would do it on the event loop: megabytes, where photos are thousands.
        found = figures.as_json(service().findings(job.id, weight=weight))
        return Response(found, media_type="application/json")

    @router.get(
        "/jobs/{job_id}/figures.zip",
        summary="Get every figure as CSV",
        response_class=Response,
        responses={**_ZIP, **responses(409)},
    )
    def tables(job: Read, weight: _Weight = WEIGHT) -> Response:
        """The same as CSV files, with the JSON beside them."""
        return zipped(service().figures_archive(job.id, weight=weight))

    @router.get("/jobs/{job_id}/masks", summary="Get all masks", response_class=Response, responses={**_ZIP})
    def masks(job: Read) -> Response:
        """The masks as PNG at their photos' size, a folder a model, as a ZIP made while it is sent."""
        return zipped(service().masks_archive(job.id))

    return router
