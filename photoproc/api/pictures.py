"""A task's pictures and a job's ZIP, streamed from disk."""

import base64
import json
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from photoproc import export, presets
from photoproc.api import problems
from photoproc.api.callers import Gates, JobId, TaskNumber
from photoproc.errors import InputError, Problem, not_found
from photoproc.jobs import ExtraKind, Job, Photo
from photoproc.library import Tried
from photoproc.service import PhotoService, trying
from photoproc.settings import MIB

_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "HEIF": "image/heif",
    "AVIF": "image/avif",
}
TYPE_OF_SUFFIX = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".pdf": "application/pdf",
}
CUTOUTS = [kind for kind in TYPE_OF_SUFFIX.values() if kind.startswith("image/")]
# Pictures never change under their address; what a stranger made is shown and never run.
_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
_MAX_DATA_URL_BYTES = 32 * MIB
_TOLD = 10
"""Warnings in a header: proxies take no more than a few kilobytes."""
_Known = Annotated[str | None, Header(alias="If-None-Match", include_in_schema=False)]
_Place = Annotated[
    int, Query(ge=0, le=1000, description="Which of the task's cutouts, where it has several.")
]
_Side = Annotated[int | None, Query(ge=16, le=8192, description="The longest side, in pixels.")]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Signed = Annotated[str, Query(max_length=400, description="A signed link.")]
Word = Annotated[str, Query(max_length=8000, description="A recipe, as the dashboard's links have it.")]
_Shown = Literal["after", "before"]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_NO_SUCH_RANGE = Problem(
    code="range_not_satisfiable",
    message="The picture has no such range of bytes.",
    advice="Ask for bytes within the length in Content-Range, or for all of it.",
)
_DATA_URL = {
    "schema": {
        "type": "object",
        "required": ["data_url"],
        "properties": {"data_url": {"type": "string", "description": "The picture in base64."}},
    }
}


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["pictures"])
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type

    @router.get(
        "/jobs/{job_id}/archive", summary="Download the ZIP", **_answers("application/zip", ranged=False)
    )
    def archive(job: Read) -> Response:
        """The finished cutouts and the manifest, as a ZIP streamed from disk."""
        return zipped(service().archive(job.id))

    @router.get(
        "/jobs/{job_id}/tasks/{number}/cutout",
        summary="Get a cutout",
        **_answers(*CUTOUTS, "application/json"),
    )
    def cutout(
        job: Read,
        number: TaskNumber,
        place: _Place = 0,
        download: bool = False,
        form: Annotated[Literal["file", "data_url"], Query(alias="as")] = "file",
        known: _Known = None,
    ) -> Response:
        """The finished picture; `as=data_url` gives it inside JSON, `download=1` with its name."""
        task = service().task(job.id, number)
        path, found = service().cutout(task, place)
        kind = TYPE_OF_SUFFIX[path.suffix]
        if form == "data_url":
            if found.byte_count > _MAX_DATA_URL_BYTES:
                raise InputError(
                    "picture_too_large",
                    f"A data URL is for pictures of up to {_MAX_DATA_URL_BYTES // MIB} MB.",
                    "Get it as a file: leave “as” away.",
                )
            encoded = base64.b64encode(_read(path)).decode("ascii")
            return JSONResponse({"data_url": f"data:{kind};base64,{encoded}"})
        name = FilePath(export.output_name(job, task, found)).name if download else None
        return send_file(path, kind, found.sha256, known, name)

    @router.get(
        "/jobs/{job_id}/tasks/{number}/files/{kind}",
        summary="Get what goes with a cutout",
        **_answers(*CUTOUTS, "application/pdf"),
    )
    def extra(
        job: Read,
        number: TaskNumber,
        kind: ExtraKind,
        place: _Place = 0,
        download: bool = False,
        known: _Known = None,
    ) -> Response:
        """The mask of a pair, or a sheet to print, where the recipe asks for them."""
        task = service().task(job.id, number)
        path, found, of = service().companion(task, place, kind)
        name = FilePath(export.extra_name(export.output_name(job, task, of), found)).name
        return send_file(path, TYPE_OF_SUFFIX[path.suffix], found.sha256, known, name if download else None)

    @router.get("/jobs/{job_id}/tasks/{number}/original", summary="Get the photo", **_answers("image/*"))
    def original(job: Read, number: TaskNumber, download: bool = False, known: _Known = None) -> Response:
        """The photo as it was uploaded."""
        photo = service().task(job.id, number).photo
        path = service().original(service().task(job.id, number))
        name = FilePath(photo.name.replace("\\", "/")).name if download else None
        return send_file(path, media_type(photo), photo.sha256, known, name)

    @router.get("/jobs/{job_id}/tasks/{number}/mask", summary="Get the mask", **_answers("image/png"))
    def mask(job: Read, number: TaskNumber, known: _Known = None) -> Response:
        """The model's mask as an 8-bit gray PNG, at the model's own resolution."""
        task = service().task(job.id, number)
        path = service().mask(task)
        return send_file(path, "image/png", f"{task.photo.sha256}-{path.stem}", known)

    @router.get("/jobs/{job_id}/tasks/{number}/preview", summary="Get a preview", **_answers("image/webp"))
    def preview(
        job: Read, number: TaskNumber, place: _Place = 0, max_side: _Side = None, known: _Known = None
    ) -> Response:
        """A small WebP of the cutout; never larger than the cutout itself."""
        task = service().task(job.id, number)
        _, found = service().cutout(task, place)
        if max_side is None:
            return small(job, found.preview, known)
        tag = f"{found.sha256}-{max_side}"
        if known is not None and _matches(known, tag):
            return _unchanged(tag)
        data = service().preview(task, place, longest=max_side)
        return Response(data, media_type="image/webp", headers={**_HEADERS, "ETag": f'"{tag}"'})

    @router.get(
        "/jobs/{job_id}/tasks/{number}/before", summary="Get the photo, small", **_answers("image/webp")
    )
    def before(job: Read, number: TaskNumber, place: _Place = 0, known: _Known = None) -> Response:
        """A small WebP of the same part of the photo as the cutout shows."""
        _, found = service().cutout(service().task(job.id, number), place)
        return small(job, found.before, known)

    def small(job: Job, file: str, known: str | None) -> Response:
        path = service().output(job.id, file)
        return send_file(path, "image/webp", path.name, known)

    @router.get("/uploads/{batch}/{sha256}/thumbnail", include_in_schema=False)
    def thumbnail(
        batch: JobId,
        sha256: Sha256,
        token: Signed,
    ) -> Response:
        """A small picture of an uploaded photo that is not part of a job yet."""
        service().check_link(batch, token)
        return send_file(service().thumbnail(batch, sha256), "image/webp", sha256, None)

    @router.get("/uploads/{batch}/{sha256}/try", include_in_schema=False)
    def try_on_upload(
        batch: JobId, sha256: Sha256, token: Signed, recipe: Word, show: _Shown = "after"
    ) -> Response:
        """What a recipe makes of an uploaded photo that is not part of a job yet, small."""
        service().check_link(batch, token)
        return _tried(service().try_on_upload(batch, sha256, presets.from_link(recipe)), show)

    @router.get("/jobs/{job_id}/tasks/{number}/try", include_in_schema=False)
    def try_on_job(
        job_id: JobId, number: TaskNumber, token: Signed, recipe: Word, show: _Shown = "after"
    ) -> Response:
        """What a recipe would make of a photo of a job, small; a link to the job's pictures is not enough."""
        service().check_link(trying(job_id), token)
        return _tried(service().try_on_job(job_id, number, presets.from_link(recipe)), show)

    return router


def _tried(tried: Tried, show: str) -> Response:
    told = json.dumps([{"code": one.code, "message": one.message} for one in tried.warnings[:_TOLD]])
    headers = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Warnings": quote(told),
        "X-Cutouts": str(tried.cutouts),
    }
    data = tried.after if show == "after" else tried.before
    return Response(data, media_type="image/webp", headers=headers)


def attachment(file_name: str) -> str:
    """A Content-Disposition header that saves under a name, whatever letters it has (RFC 6266)."""
    plain = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in file_name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


def zipped(packed: export.Archive) -> Response:
    """A ZIP, streamed."""
    headers = {"Content-Disposition": attachment(packed.file_name)}
    if packed.byte_count is not None:
        headers["Content-Length"] = str(packed.byte_count)
    return _ClosingResponse(packed.chunks, media_type="application/zip", headers=headers)


def media_type(photo: Photo) -> str:
    """The media type of a photo as it was uploaded."""
    return _TYPES.get(photo.format, "application/octet-stream")


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


class _PictureResponse(FileResponse):
    """A file, or a part of it; a range that it has not is refused like everything else, and a file that is
    deleted before it is opened is not found."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin: Message | None = None
        refused = False

        async def pass_on(message: Message) -> None:
            nonlocal begin, refused
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                refused = True
                size = f"bytes */{self.headers['content-length']}"
                answer = problems.document(_NO_SUCH_RANGE, 416, {"Content-Range": size})
                await answer(scope, receive, send)
            elif message["type"] == "http.response.start":
                begin = message  # until there is something of the file
            elif not refused:
                if begin is not None:
                    await send(begin)
                    begin = None
                await send(message)

        try:
            await super().__call__(scope, receive, pass_on)
        except FileNotFoundError:
            if begin is None:
                raise
            await problems.answer(not_found("picture"))(scope, receive, send)


def _answers(*media_types: str, ranged: bool = True) -> Mapping[str, Any]:
    content = {kind: _DATA_URL if kind == "application/json" else _BINARY for kind in media_types}
    responses: dict[int | str, dict[str, Any]] = {200: {"content": content}}
    if ranged:
        responses |= {206: {"description": "A part of it."}, 304: {"description": "It has not changed."}}
        responses |= problems.responses(416)
    return {"response_class": Response, "responses": responses}


def send_file(path: FilePath, kind: str, tag: str, known: str | None, name: str | None = None) -> Response:
    """A picture's file, or that it has not changed since it was sent with this tag; raises not_found."""
    if known is not None and _matches(known, tag):
        return _unchanged(tag)
    headers = {**_HEADERS, "ETag": f'"{tag}"'}
    if name is not None:
        headers["Content-Disposition"] = attachment(name)
    try:
        return _PictureResponse(path, media_type=kind, headers=headers, stat_result=os.stat(path))
    except FileNotFoundError as error:  # deleted meanwhile
        raise not_found("picture") from error


def _read(path: FilePath) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise not_found("picture") from error


def _matches(known: str, tag: str) -> bool:
    tags = [one.strip().removeprefix("W/").strip('"') for one in known.split(",")]
    return tag in tags or "*" in tags


def _unchanged(tag: str) -> Response:
    return Response(status_code=304, headers={**_HEADERS, "ETag": f'"{tag}"'})
