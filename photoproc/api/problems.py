"""Errors on the wire: problem documents (RFC 9457) with the stable codes of `errors.py`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from photoproc.errors import InputError, ModelError, PhotoprocError, Problem

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

_STATUS: Mapping[str, int] = {
    "not_found": 404,
    "model_unknown": 422,
    "poison": 422,
    "cancelled": 409,
    "key_missing": 401,
    "key_unknown": 401,
    "loopback_only": 403,
    "origin_not_allowed": 403,
    "host_not_allowed": 403,
    "link_invalid": 403,
    "link_expired": 410,
    "job_cancelling": 409,
    "upload_expired": 409,
    "request_too_large": 413,
    "not_a_form": 415,
    "invalid_request": 422,
    "invalid_recipe": 422,
    "recipe_link_broken": 422,
    "recipe_name": 422,
    "recipe_twice": 422,
    "too_many_recipes": 422,
    "too_many_backgrounds": 422,
    "background_missing": 422,
    "weights_missing": 409,
    "superseded": 409,
    "one_model": 409,
    "no_model": 409,
    "trial_running": 409,
    "trial_elsewhere": 409,
    "others_wait": 409,
    "nothing_to_vote": 409,
    "ballot_gone": 404,
    "cutout_gone": 409,
    "cutout_lost": 410,
    "voter_name": 422,
    "tag_invalid": 422,
    "too_many_tags": 422,
    "tag_of_folder": 409,
    "no_photos": 422,
    "too_many_photos": 422,
    "too_many_requests": 429,
    "quota_exceeded": 429,
    "picture_too_large": 413,
    "out_of_memory": 503,
    "engine_stopped": 503,
    "engine_restarted": 503,
    "stopping": 503,
    "store_busy": 503,
    "still_running": 504,
    "disk_full": 507,
    "data_quota": 507,
}

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "What happened."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do about it."},
        "code": {"type": "string", "description": "Stable; scripts may compare it."},
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of a route's errors."""
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)
    }


COMMON = responses(400, 401, 403, 404, 409, 410, 422, 429, 500, 503, 507)


class ApiError(PhotoprocError):
    """An error with more to say: members of the problem document, and headers of the answer."""

    def __init__(
        self,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(problem.code, problem.message, problem.advice)
        self.headers = headers
        self.members = members


def status_of(error: PhotoprocError) -> int:
    """The status code of an error."""
    kinds = ((InputError, 400), (ModelError, 503), (PhotoprocError, 500))
    return _STATUS.get(error.problem.code, next(code for kind, code in kinds if isinstance(error, kind)))


def document(
    problem: Problem, status: int, headers: Mapping[str, str] | None = None, **members: object
) -> JSONResponse:
    """An answer that is a problem document."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": problem.message,
            "status": status,
            "detail": problem.advice,
            "code": problem.code,
            **members,
        },
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer(error: PhotoprocError) -> JSONResponse:
    """An error of ours as an answer."""
    if isinstance(error, ApiError):
        return document(error.problem, status_of(error), error.headers, **error.members)
    return document(error.problem, status_of(error))


def install(api: FastAPI) -> None:
    """Have every error answered by a problem document."""
    api.add_exception_handler(PhotoprocError, _ours)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(Exception, _unforeseen)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, PhotoprocError)
    return answer(error)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("api_error", path=request.url.path, exc_info=error)
    problem = Problem(
        code="internal_error",
        message="The server met an error it does not know.",
        advice="Try again; if it stays, the server's log has the details.",
    )
    return document(problem, 500)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        {"field": ".".join(str(part) for part in one["loc"][1:]), "message": str(one["msg"])}
        for one in error.errors()
    ]
    named = "; ".join(f"{one['field']}: {one['message']}" for one in found)
    problem = Problem(
        code="invalid_request",
        message=f"The request is not valid ({named}).",
        advice="The documentation at /api/docs lists what each field takes.",
    )
    return document(problem, 422, errors=found)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = HTTPStatus(error.status_code), error.headers
    if status is HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods_here(request)):
        headers = {"Allow": ", ".join(methods)}
    problem = Problem(
        code=status.name.lower(),
        message=f"{status.phrase}.",
        advice="The documentation at /api/docs lists what there is.",
    )
    return document(problem, status, headers)


def _methods_here(request: Request) -> list[str]:
    """The methods of an address: of all routes at it, while Starlette names those of the first."""
    here = {key: request.scope[key] for key in ("type", "path", "root_path", "headers")}
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE")
        if any(route.matches({**here, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
