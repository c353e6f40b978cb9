"""Uploads as they arrive: a multipart form, taken apart and checked piece by piece, never held in memory."""

import asyncio
import binascii
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import structlog
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from photoproc.api.problems import ApiError
from photoproc.errors import InputError, Problem
from photoproc.files import disk_error
from photoproc.intake import Accepted, Reception, Upload
from photoproc.service import PhotoService
from photoproc.settings import MIB

log = structlog.get_logger()

P = ParamSpec("P")
Answer = TypeVar("Answer")
_threads = ThreadPoolExecutor(4, thread_name_prefix="upload")

_PIECE_BYTES = 256 * 1024
_MAX_FIELD_BYTES = 256 * 1024
_MAX_TEXT_BYTES = MIB
"""Of all text fields together."""
_MAX_HEADER_BYTES = 16 * 1024
_MAX_PARTS = 100_000
_MAX_ENCODED_BYTES = 32 * MIB
"""Of a body that is not multipart and has its file in base64: a child holds all of it in memory."""


@dataclass(slots=True)
class Received:
    """A form that came whole: photos staged in `batch`, its text fields, the names of its file fields."""

    batch: str
    accepted: Accepted
    fields: dict[str, str]
    file_fields: tuple[str, ...] = ()


async def receive(request: Request, service: PhotoService, *, encoded: str | None = None) -> Received:
    """Take in a multipart form with files; nothing is left of one that fails or is abandoned.

    The text field called `encoded` holds a file as base64. Raises ApiError request_too_large, not_a_form,
    InputError form_broken, ServiceError disk_full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise ApiError(
            Problem(
                code="not_a_form",
                message="The request is not a multipart form.",
                advice="Send multipart/form-data with the photos as “files”.",
            )
        )
    await in_thread(check_size, request, service)
    async with _receiving(service) as reception:
        with _Form(reception, options[b"boundary"], service.settings.max_photos_per_job, encoded) as form:
            async for piece in pieces(request, service):
                await in_thread(form.write, piece)
            form.end()
        accepted = await in_thread(reception.finish)
    return Received(accepted.batch, accepted, form.fields, tuple(form.file_fields))


async def receive_encoded(request: Request, service: PhotoService, media_type: str, field: str) -> Received:
    """Take in a JSON object or URL-encoded form with a file as base64 in `field`; raises like `receive`."""
    await in_thread(check_size, request, service)
    with service.scratch() as body, service.scratch() as picture:
        come = 0
        try:
            with body.open("xb") as out:
                async for piece in pieces(request, service):
                    come += len(piece)
                    if come > _MAX_ENCODED_BYTES:
                        raise _encoded_too_large()
                    await in_thread(out.write, piece)
        except OSError as error:
            raise disk_error(error) from error
        fields = await in_thread(service.unwrap, body, picture, media_type, field)
        names = (field,) if picture.exists() else ()
        async with _receiving(service) as reception:
            if names:
                await in_thread(_take, reception, picture)
            accepted = await in_thread(reception.finish)
    return Received(accepted.batch, accepted, fields, names)


async def receive_body(request: Request, service: PhotoService) -> Received:
    """Take in a request whose body is one file; raises like `receive`."""
    await in_thread(check_size, request, service)
    async with _receiving(service) as reception:
        with reception.file("photo") as file:
            async for piece in pieces(request, service):
                await in_thread(file.write, piece)
        accepted = await in_thread(reception.finish)
    return Received(accepted.batch, accepted, {})


def _take(reception: Reception, path: Path) -> None:
    with reception.file("photo") as file, path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            file.write(piece)


async def in_thread(function: Callable[P, Answer], *args: P.args, **options: P.kwargs) -> Answer:
    """Run what may take long: uploads have threads of their own, so that nobody else waits for a ZIP."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, partial(function, *args, **options))


@asynccontextmanager
async def _receiving(service: PhotoService) -> AsyncIterator[Reception]:
    """A reception of which nothing is left where the block raises."""
    batch = service.new_batch()
    reception = service.reception(batch)
    try:
        yield reception
    except BaseException:
        await in_thread(service.drop_batch, batch)
        raise
    finally:
        await in_thread(reception.abandon)


@asynccontextmanager
async def dropped_if_refused(form: Received, service: PhotoService) -> AsyncIterator[None]:
    """Forget a form's photos where the block raises."""
    try:
        yield
    except BaseException:
        await in_thread(service.drop_batch, form.batch)
        raise


def check_size(request: Request, service: PhotoService) -> None:
    """Raise request_too_large, disk_full or data_quota where the length it announces is too much."""
    announced = request.headers.get("content-length", "")
    length = int(announced) if announced.isascii() and announced.isdigit() else 0
    _check_length(length, service)
    service.check_space(length)


async def pieces(request: Request, service: PhotoService) -> AsyncIterator[bytes]:
    """The body in pieces worth a trip to a thread; raises request_too_large and upload_abandoned."""
    come, held = 0, bytearray()
    try:
        async for chunk in request.stream():
            come += len(chunk)
            _check_length(come, service)
            held += chunk
            if len(held) >= _PIECE_BYTES:
                yield bytes(held)
                held.clear()
    except ClientDisconnect as error:  # an answer like any other, which nobody hears: no mistake of ours
        log.info("upload_abandoned", path=request.url.path, byte_count=come)
        raise InputError("upload_abandoned", "The upload broke off.", "Send it again.") from error
    if held:
        yield bytes(held)


def _check_length(length: int, service: PhotoService) -> None:
    limit_mb = service.settings.max_request_mb
    if length > limit_mb * MIB:
        problem = Problem(
            code="request_too_large",
            message=f"The request is larger than {limit_mb:,} MB.",
            advice="Send the photos in several jobs, or have PHOTOPROC_MAX_REQUEST_MB raised.",
        )
        raise ApiError(problem, headers={"Connection": "close"})


def _encoded_too_large() -> ApiError:
    problem = Problem(
        code="request_too_large",
        message=f"A picture in base64 may be {_MAX_ENCODED_BYTES // MIB} MB.",
        advice="Send it as a file of a multipart form.",
    )
    return ApiError(problem, headers={"Connection": "close"})


@dataclass(slots=True)
class _Part:
    """One part of the form while it comes."""

    header: bytes = b""
    value: bytes = b""
    headers: dict[str, bytes] = field(default_factory=dict)
    name: str = ""
    text: bytearray = field(default_factory=bytearray)
    upload: Upload | None = None
    base64: "_Base64 | None" = None
    """What decodes the upload, where it comes as text."""
    byte_count: int = 0
    unnamed: bool = False
    """A file field in which no file was chosen."""


class _Base64:
    """Base64 as it comes."""

    def __init__(self) -> None:
        self._held = b""

    def decoded(self, data: bytes) -> bytes:
        """What the next piece adds; raises ValueError where it is none."""
        held = self._held + data.translate(None, b" \t\r\n")
        whole = len(held) // 4 * 4
        self._held = held[whole:]
        return binascii.a2b_base64(held[:whole], strict_mode=True)

    @property
    def whole(self) -> bool:
        """Whether it may end here."""
        return not self._held


class _Form:
    """The parser's events as files of a reception and text fields."""

    def __init__(
        self, reception: Reception, boundary: bytes, max_files: int, encoded: str | None = None
    ) -> None:
        self._reception = reception
        self._max_files = max_files
        self._encoded = encoded
        self._text_bytes = 0
        self.file_fields: list[str] = []
        self._part = _Part()
        self._parts = 0
        self._whole = False
        self.fields: dict[str, str] = {}
        told = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }
        try:
            self._parser = MultipartParser(boundary, told)  # type: ignore[arg-type]
        except FormParserError as error:
            raise _broken(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._part.upload is not None:
            self._part.upload.discard()

    def write(self, data: bytes) -> None:
        """The next bytes of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _broken(str(error)) from error

    def end(self) -> None:
        """Nothing more comes; raises form_broken where the form has not ended."""
        if not self._whole:
            raise _broken("it ends in the middle")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _broken("it has too many parts")
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]
        self._check_header()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._part.header) + len(self._part.value) > _MAX_HEADER_BYTES:
            raise _broken("a header is too long")

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header.decode("latin-1").lower()] = part.value
        part.header = part.value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get("content-disposition", b""))
        if b"name" not in options:
            raise _broken("a part has no name")
        self._part.name = options[b"name"].decode("utf-8", "replace")
        if b"filename" in options:
            name = options[b"filename"].decode("utf-8", "replace")
        elif self._part.name == self._encoded:
            name = ""
            self._part.base64 = _Base64()
        else:
            return
        self._part.unnamed = not name
        if self._reception.file_count >= self._max_files:
            raise InputError(
                "too_many_photos",
                f"A job takes {self._max_files:,} files.",
                "Send them in several jobs.",
            )
        self._part.upload = self._reception.file(name or "unnamed")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.byte_count += end - start
        if part.upload is not None:
            part.upload.write(_plain(part, data[start:end]))
        elif part.byte_count > _MAX_FIELD_BYTES:
            raise _broken(f"the field {part.name} is too long")
        else:
            self._text_bytes += end - start
            if self._text_bytes > _MAX_TEXT_BYTES:
                raise _broken("its fields are too long")
            part.text += data[start:end]

    def _end(self) -> None:
        if self._part.base64 is not None and not self._part.base64.whole:
            raise _broken(f"the field {self._part.name} is not base64")
        part, self._part = self._part, _Part()
        if part.upload is None:
            self.fields[part.name] = part.text.decode("utf-8", "replace")
        elif not part.unnamed or part.byte_count:
            self.file_fields.append(part.name)
            part.upload.close()

    def _all(self) -> None:
        self._whole = True


def _plain(part: _Part, data: bytes) -> bytes:
    if part.base64 is None:
        return data
    try:
        return part.base64.decoded(data)
    except ValueError as error:
        raise _broken(f"the field {part.name} is not base64") from error


def _broken(why: str) -> InputError:
    return InputError("form_broken", f"The form cannot be read: {why}.", "Send it again.")
