"""The FastAPI application mounted at `/api`."""

from collections.abc import Callable, Generator
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from photoproc import __version__
from photoproc.errors import InputError, PhotoprocError
from photoproc.service import PhotoService

_STATUS = {
    "not_found": 404,
    "link_expired": 410,
    "link_invalid": 403,
    "disk_full": 507,
    "store_busy": 503,
}
_FOR_EVER = MappingProxyType({"Cache-Control": "private, max-age=31536000, immutable"})

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Token = Annotated[str, Query(max_length=400, description="A signed link of this job.")]


def create_api(service: Callable[[], PhotoService]) -> FastAPI:
    """The API over a service, which is asked for at each request."""
    api = FastAPI(title="Photoproc", version=__version__, docs_url=None, redoc_url=None)
    api.add_exception_handler(PhotoprocError, _problem)
    Service = Annotated[PhotoService, Depends(lambda: service())]  # noqa: N806, a type

    @api.get("/v1/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @api.get("/v1/jobs/{job_id}/archive")
    def archive(job_id: JobId, token: Token, photos: Service) -> Response:
        """The job's finished cutouts and its manifest, as a ZIP streamed from disk."""
        photos.check_link(job_id, token)
        packed = photos.archive(job_id)
        headers = {
            "Content-Length": str(packed.byte_count),
            "Content-Disposition": attachment(packed.file_name),
        }
        return _ClosingResponse(packed.chunks, media_type="application/zip", headers=headers)

    @api.get("/v1/jobs/{job_id}/tasks/{number}/{picture}")
    def picture(
        job_id: JobId,
        number: Annotated[int, Path(ge=0, le=10_000_000)],
        picture: Literal["cutout", "preview", "before"],
        token: Token,
        photos: Service,
        download: bool = False,
    ) -> Response:
        """A task's cutout, or a small picture of it or of the same part of the photo."""
        photos.check_link(job_id, token)
        headers = dict(_FOR_EVER)
        if download:
            headers["Content-Disposition"] = attachment(photos.cutout_name(job_id, number))
        return FileResponse(
            photos.picture(job_id, number, picture),
            media_type="image/png" if picture == "cutout" else "image/webp",
            headers=headers,
        )

    @api.get("/v1/uploads/{batch}/{sha256}/thumbnail")
    def thumbnail(
        batch: JobId,
        sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
        token: Token,
        photos: Service,
    ) -> Response:
        """A small picture of an uploaded photo that is not part of a job yet."""
        photos.check_link(batch, token)
        return FileResponse(photos.thumbnail(batch, sha256), media_type="image/webp", headers=dict(_FOR_EVER))

    return api


class _ClosingResponse(StreamingResponse):
    """A stream whose files are closed when it ends, also when the client goes away in the middle."""

    def __init__(self, chunks: Generator[bytes, None, None], **options: Any) -> None:
        super().__init__(chunks, **options)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._chunks.close()


def attachment(file_name: str) -> str:
    """A Content-Disposition header that saves under a name, whatever letters it has (RFC 6266)."""
    plain = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in file_name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


async def _problem(request: Request, error: Exception) -> Response:
    """An error of ours as a problem document (RFC 9457)."""
    assert isinstance(error, PhotoprocError)
    problem = error.problem
    status = _STATUS.get(problem.code, 400 if isinstance(error, InputError) else 500)
    return JSONResponse(
        {
            "type": "about:blank",
            "title": problem.message,
            "status": status,
            "detail": problem.advice,
            "code": problem.code,
        },
        status_code=status,
        media_type="application/problem+json",
    )
