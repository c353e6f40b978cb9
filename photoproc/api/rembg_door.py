"""rembg's own HTTP server, as `rembg s` speaks: its clients need another address only."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from photoproc.api import forms, single
from photoproc.api.callers import Gates
from photoproc.api.problems import responses
from photoproc.errors import InputError
from photoproc.finish import Finish, Matting
from photoproc.people import Person
from photoproc.recipe import Recipe
from photoproc.service import PhotoService

_COLOUR = re.compile(r"\s*\d{1,3}\s*(?:,\s*\d{1,3}\s*){2,3}")
_EMPTY_EXTRAS = ("{}", "null")


class Options(BaseModel):
    """The fields of `rembg s` beside the file, with its names and limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(default=None, description="The server's default model without.")
    om: bool = Field(default=False, description="Only the mask.")
    ppm: bool = Field(default=False, description="Smooth the mask and make its edge hard.")
    bgc: str | None = Field(default=None, description="Background, as red,green,blue,alpha from 0 to 255.")
    a: bool = Field(default=False, description="Alpha matting.")
    af: int = Field(default=240, ge=0, le=255, description="Mask above which it is certainly subject.")
    ab: int = Field(default=10, ge=0, le=255, description="Mask below which it is certainly background.")
    ae: int = Field(default=10, ge=0, le=200, description="How many pixels of what is certain are not.")
    dc: bool = Field(default=False, description="Take the old background's colour out of soft edges.")
    vm: bool = Field(default=False, description="ViTMatte; not offered.")
    extras: str | None = Field(default=None, description="Parameters of a model as JSON; not offered.")

    @field_validator("model")
    @classmethod
    def _here(cls, name: str | None, info: ValidationInfo) -> str | None:
        """The names of the models there are come with the request."""
        names = (info.context or {}).get("models", ())
        if name is not None and name not in names:
            raise ValueError(f"there is no such model here; choose one of {', '.join(names)}")
        return name

    @field_validator("vm")
    @classmethod
    def _not_offered(cls, wanted: bool) -> bool:
        if wanted:
            raise ValueError("ViTMatte is for recipes (edges.method) only; use “a” for alpha matting")
        return wanted

    @field_validator("bgc")
    @classmethod
    def _colour(cls, given: str | None) -> str | None:
        if given and (not _COLOUR.fullmatch(given) or max(map(int, given.split(","))) > 255):
            raise ValueError("write three or four numbers from 0 to 255, for example 255,255,255,255")
        return given

    @field_validator("extras")
    @classmethod
    def _no_extras(cls, given: str | None) -> str | None:
        if given and given.strip() not in _EMPTY_EXTRAS:
            raise ValueError("no model here takes extra parameters; leave it out")
        return given

    @property
    def finish(self) -> Finish | None:
        """What is wanted beyond the cutout."""
        if not (self.om or self.ppm or self.bgc or self.a or self.dc):
            return None
        background = None
        if self.bgc and not self.om:
            red, green, blue, *alpha = map(int, self.bgc.split(","))
            background = (red, green, blue, alpha[0] if alpha else 255)
        return Finish(
            show="mask" if self.om else "rgba",
            post_process=self.ppm,
            matting=Matting(self.af, self.ab, self.ae) if self.a else None,
            decontaminate=self.dc,
            background=background,
        )


def _form() -> dict[str, Any]:
    fields = Options.model_json_schema()["properties"]
    file = {"type": "string", "format": "binary"}
    schema = {"type": "object", "required": ["file"], "properties": {"file": file, **fields}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["as rembg s"])
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type

    @router.post(
        "/remove",
        summary="Cut out one photo, as rembg s does",
        openapi_extra=_form(),
        response_class=Response,
        responses={
            200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **responses(413, 415, 504),
        },
    )
    async def remove(request: Request, caller: Called) -> Response:
        """The photo as `file`, the other fields in the form or the query; answers PNG.

        What this server cannot do is refused by the name of its field, never ignored.
        """
        photos = service()
        form = await forms.receive(request, photos)
        async with forms.dropped_if_refused(form, photos):
            options = _options(form, request.query_params, photos.model_names())
            single.check_one(form)
        recipe = Recipe(models=(options.model or photos.settings.default_model,))
        made = await single.cut_out(photos, caller, form, recipe, options.finish)
        return Response(made.data, media_type="image/png")

    @router.get("/remove", summary="Refuse an address, which rembg s would fetch", response_class=Response)
    def remove_url(caller: Called, url: Annotated[str, Query(description="Never fetched.")] = "") -> Response:
        """This server asks no other hosts on a caller's behalf: send the photo itself."""
        raise InputError(
            "url_not_fetched",
            "url: this server fetches no photos from other hosts.",
            "Send the photo itself: POST /api/remove, as “file” of a form.",
        )

    return router


def _options(form: forms.Received, query: Mapping[str, str], models: Sequence[str]) -> Options:
    """The options of a request; raises RequestValidationError that names every field that is wrong."""
    wrong = [
        {"type": "given_twice", "loc": ("query", name), "msg": "It is in the form already."}
        for name in query
        if name in form.fields
    ]
    wrong += [
        {"type": "extra_forbidden", "loc": ("body", name), "msg": "The photo is “file”, and there is one."}
        for place, name in enumerate(form.file_fields)
        if name != "file" or place
    ]
    if wrong:
        raise RequestValidationError(wrong)
    try:
        return Options.model_validate({**form.fields, **query}, context={"models": models})
    except ValidationError as error:
        found = [(one["loc"], one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", *loc), "msg": msg} for loc, msg in found]
        ) from error
