"""remove.bg's API: its clients need another base URL and a key of this server."""

import base64
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from photoproc.api import forms, problems, removebg_options, single
from photoproc.api.callers import Gates
from photoproc.api.problems import ApiError
from photoproc.api.removebg_options import SOURCES, Options, OptionsError
from photoproc.errors import PhotoprocError
from photoproc.people import Person
from photoproc.recipe import Recipe
from photoproc.service import PhotoService

_CODES: Mapping[str, str] = {
    "request_too_large": "file_too_large",
    "photo_too_large": "resolution_too_high",
    "not_a_picture": "invalid_file_type",
    "photo_broken": "failed_to_read_image",
    "photo_truncated": "failed_to_read_image",
    "empty_file": "failed_to_read_image",
    "no_photos": "missing_source",
    "one_photo": "multiple_sources",
}
"""Our codes in remove.bg's words; the others stay as they are."""

_MEDIA = {"png": "image/png", "jpg": "image/jpeg", "zip": "application/zip"}
_NO_CREDITS = {"subscription": 0, "payg": 0, "enterprise": 0, "total": 0}
_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["title", "code"],
    "properties": {"title": _TEXT, "code": _TEXT, "detail": _TEXT},
}
_ERRORS = {
    "type": "object",
    "required": ["errors"],
    "properties": {"errors": {"type": "array", "minItems": 1, "items": _ERROR}},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": _ERRORS}}}
    for status, text in (
        (400, "A parameter or the picture cannot be used"),
        (403, "Who calls is not let in"),
        (404, "It is gone"),
        (429, "Too many requests"),
        (500, "It went wrong here"),
        (503, "The server is stopping or busy"),
        (504, "It takes too long"),
        (507, "The disk is full"),
    )
}


class _Route(APIRoute):
    """A route whose errors are remove.bg's, also those about who calls."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except PhotoprocError as error:
                return _refusal(error)

        return handled


def _body() -> dict[str, Any]:
    fields = Options.model_json_schema()["properties"]
    sources = {
        "image_file_b64": {"type": "string", "description": "The photo as base64, up to 32 MB."},
        "image_url": {"type": "string", "description": "Refused: nothing is fetched from other hosts."},
    }
    file = {"image_file": {"type": "string", "format": "binary"}}
    plain = {"schema": {"type": "object", "properties": {**sources, **fields}}}
    multipart = {"schema": {"type": "object", "properties": {**file, **sources, **fields}}}
    content = {
        "multipart/form-data": multipart,
        "application/x-www-form-urlencoded": plain,
        "application/json": plain,
    }
    return {"requestBody": {"required": True, "content": content}}


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["as remove.bg"], route_class=_Route)
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type
    binary = {"schema": {"type": "string", "format": "binary"}}
    result = {"schema": {"type": "object", "required": ["data"]}}

    @router.post(
        "/removebg",
        summary="Cut out one photo, as remove.bg does",
        openapi_extra=_body(),
        response_class=Response,
        responses={
            200: {"content": {**dict.fromkeys(_MEDIA.values(), binary), "application/json": result}},
            **_RESPONSES,
        },
    )
    async def removebg(request: Request, caller: Called) -> Response:
        """remove.bg's parameters; the picture is the answer, or with `Accept: application/json` base64.

        What this server cannot do is refused by the name of its parameter. Hints that change nothing are
        listed in `X-Not-Applied`.
        """
        photos = service()
        form = await _receive(request, photos)
        async with forms.dropped_if_refused(form, photos):
            _check_source(form)
            options = removebg_options.read(form.fields)
            single.check_one(form)
            finish = options.finish(form.accepted.photos[0].size_wh)
        recipe = Recipe(models=(photos.settings.default_model,))
        made = await single.cut_out(photos, caller, form, recipe, finish)
        return _answer(made, options, request)

    @router.get("/account", summary="Credits, as remove.bg tells them", responses=_RESPONSES)
    def account(caller: Called) -> dict[str, Any]:
        """There are no credits here: all are 0, and no call costs any."""
        return {"data": {"attributes": {"credits": _NO_CREDITS, "api": {"free_calls": 0, "sizes": "all"}}}}

    return router


async def _receive(request: Request, photos: PhotoService) -> forms.Received:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("application/json", "application/x-www-form-urlencoded"):
        return await forms.receive_encoded(request, photos, media_type, "image_file_b64")
    return await forms.receive(request, photos, encoded="image_file_b64")


def _check_source(form: forms.Received) -> None:
    """There is one picture, and no address in its place; takes the address out of the fields."""
    address = form.fields.pop("image_url", "").strip()
    for name in form.file_fields:
        if name == "bg_image_file":
            raise removebg_options.invalid(
                name, "This server takes a bg_color; it has no background pictures."
            )
        if name not in SOURCES:
            error = {"title": f"Unknown parameter {name}", "code": "unknown_parameter"}
            raise OptionsError([error | {"detail": "The picture is image_file or image_file_b64."}])
    if len(form.file_fields) + bool(address) > 1:
        raise OptionsError(
            [
                {
                    "title": "Multiple image sources given",
                    "code": "multiple_sources",
                    "detail": "Give one of them.",
                }
            ]
        )
    if address:
        raise removebg_options.invalid(
            "image_url", "This server fetches no pictures from other hosts: send it as image_file."
        )
    if not form.file_fields:
        detail = "Please provide the picture as image_file or image_file_b64."
        raise OptionsError([{"title": "No image given", "code": "missing_source", "detail": detail}])


def _answer(made: single.Made, options: Options, request: Request) -> Response:
    assert made.finished is not None
    if not made.finished.has_subject:
        title = "Could not identify foreground in image."
        detail = "The model found no subject in the picture, or none in the region."
        raise OptionsError([{"title": title, "code": "unknown_foreground", "detail": detail}])
    width, height = made.finished.size_wh
    headers = {"X-Width": str(width), "X-Height": str(height), "X-Credits-Charged": "0"}
    if options.type_level != "none":
        headers["X-Type"] = "other"  # nothing here tells a person from a car
    if options.not_applied:
        headers["X-Not-Applied"] = ", ".join(options.not_applied)
    wanted = request.headers.get("accept", "")
    if "application/json" in wanted and "image/" not in wanted:
        encoded = base64.b64encode(made.data).decode("ascii")
        return JSONResponse({"data": {"result_b64": encoded}}, headers=headers)
    return Response(made.data, media_type=_MEDIA[made.finished.form], headers=headers)


def _refusal(error: PhotoprocError) -> JSONResponse:
    """An error of ours as one of remove.bg's, which knows fewer status codes."""
    status = problems.status_of(error)
    problem = error.problem
    code = _CODES.get(problem.code, problem.code)
    if status in (401, 403):
        status, code = 403, "auth_failed"
    elif status == 429:
        code = "rate_limit_exceeded"
    elif 400 <= status < 500 and status != 404:
        status = 400
    errors = [{"title": problem.message, "code": code, "detail": problem.advice}]
    if isinstance(error, OptionsError):
        errors = error.errors
    more = dict(error.members) if isinstance(error, ApiError) else {}
    headers = error.headers if isinstance(error, ApiError) else None
    return JSONResponse({"errors": errors, **more}, status_code=status, headers=headers)
