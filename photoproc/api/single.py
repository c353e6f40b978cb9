"""One photo in, the finished picture out: a job like any other, waited for and then forgotten."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from photoproc.api import forms, jobs, pictures, shapes
from photoproc.api.callers import Gates
from photoproc.api.problems import ApiError, responses
from photoproc.errors import InputError, ModelError, PhotoprocError, Problem, RecipeError, ServiceError
from photoproc.finish import Finish, Finished
from photoproc.jobs import Job, Task, TaskState
from photoproc.models.weights import Phase
from photoproc.parts import Face
from photoproc.people import Person
from photoproc.recipe import Recipe, invalid_recipe
from photoproc.service import PhotoService

_LOOK_AGAIN_S = 0.05
_OF_NAMES = ("renamed", "name_mismatch", "name_shown_otherwise")
"""Warnings of the photo's name, which the answer does not have (and a photo in the body neither)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished picture: a PNG, or what was asked for and how that came out; and the task that made it."""

    data: bytes
    task: Task
    media_type: str = "image/png"
    finished: Finished | None = None


class Asked(BaseModel):
    """The fields of a recipe that an address can hold; `recipe` is a whole one, in place of the others."""

    model_config = ConfigDict(extra="forbid")

    recipe: str | None = Field(
        default=None, max_length=8000, description="A whole recipe as JSON, or the name of a saved one."
    )
    model: str | None = Field(default=None, description="The default model without.")
    background: Literal["transparent", "colour", "gradient", "blur", "keep"] | None = None
    colour: str | None = Field(
        default=None, max_length=100, description="Of the background, any CSS colour; white without."
    )
    crop: Literal["none", "subject", "face"] = "none"
    margin: float | None = Field(
        default=None, ge=0, le=2, description="Around the subject, as a share of its longer side."
    )
    preset: Literal["headshot", "half_body", "passport", "us_passport", "avatar"] | None = None
    no_face: Literal["keep", "skip", "fail"] = "keep"
    aspect: str | None = Field(default=None, description="width:height, or “original”.")
    width: int | None = Field(default=None, ge=1, le=12_000)
    height: int | None = Field(default=None, ge=1, le=12_000)
    format: Literal["png", "webp", "jpeg", "avif", "tiff"] = "png"
    quality: int = Field(default=90, ge=1, le=100)

    def to_recipe(self, photos: PhotoService, caller: Person) -> Recipe:
        """As a recipe; raises RecipeError, and InputError recipe_twice."""
        if self.recipe is not None:
            others = sorted(self.model_fields_set - {"recipe"})
            if others:
                raise InputError(
                    "recipe_twice", f"{others[0]}: the recipe says it all.", "Leave it out, or the recipe."
                )
            return _of_one(jobs.recipe_called(photos, self.recipe, caller))
        for field, crop in (("margin", "subject"), ("preset", "face"), ("no_face", "face")):
            if field in self.model_fields_set and self.crop != crop:
                said = f"{field}: it goes with crop={crop} alone."
                raise RecipeError("invalid_recipe", said, "Leave it out, or change the crop.")
        kind = self.background or ("transparent" if self.colour is None else "colour")
        fields: dict[str, Any] = {
            "background": {"kind": kind} | ({} if self.colour is None else {"colour": self.colour}),
            "models": [] if kind == "keep" else [self.model or photos.settings.default_model],
            "output": {"format": self.format, "quality": self.quality},
        }
        size = {"aspect": self.aspect, "width": self.width, "height": self.height}
        if any(value is not None for value in size.values()):
            fields["size"] = size
        if self.crop == "subject":
            fields["framing"] = {"kind": "subject"} | ({} if self.margin is None else {"margin": self.margin})
        elif self.crop == "face":
            fields["framing"] = {"kind": "face", "no_face": self.no_face}
            fields["framing"] |= {} if self.preset is None else {"preset": self.preset}
        return Recipe.of_fields(fields)


def body(fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How OpenAPI says that the body is a photo, or a form with it as `file` and these fields (None: any)."""
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": file, **(fields or {})},
        "additionalProperties": fields is None,
    }
    content = {"image/*": {"schema": file}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _form_fields() -> dict[str, Any]:
    """The schemas of `Asked`, without the null that no text field of a form can be."""
    fields = Asked.model_json_schema()["properties"]
    for field in fields.values():
        kinds = field.pop("anyOf", [])
        field.update(next((kind for kind in kinds if kind != {"type": "null"}), {}))
        if field.get("default", "") is None:
            del field["default"]
    return dict(fields)


def _of_one(recipe: Recipe) -> Recipe:
    """The recipe, if it makes one picture; raises RecipeError that names the field which makes more."""
    framing, output = recipe.framing, recipe.output
    several = {
        "models": len(recipe.task_models) > 1,
        "framing.which": isinstance(framing, Face) and framing.which == "each",
        "output.show": output.show == "pair",
        "output.sheet": output.sheet is not None,
    }
    for field, is_several in several.items():
        if is_several:
            said = f"{field}: there is one picture to answer, and this makes several."
            raise RecipeError("invalid_recipe", said, "Leave it out; or make a job: POST /api/v1/jobs.")
    return recipe


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["one photo"])
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type

    @router.post(
        "/remove",
        summary="Cut out one photo",
        openapi_extra=body(_form_fields()),
        response_class=Response,
        responses={
            200: {
                "content": {
                    kind: {"schema": {"type": "string", "format": "binary"}} for kind in pictures.CUTOUTS
                }
            },
            **responses(413, 415, 504),
        },
    )
    async def remove(request: Request, caller: Called, asked: Annotated[Asked, Query()]) -> Response:
        """The photo as the body, or as `file` of a form; the finished picture is the answer.

        What may stand in the address may also be fields of that form; both are one recipe, and a field
        in both has to say the same. The photo and the picture are forgotten then. Where it takes too
        long, the answer is a 504 with the job's id, and the job goes on.
        """
        photos = service()
        if _is_form(request):
            form = await receive_one(request, photos)
            async with forms.dropped_if_refused(form, photos):
                both = _with_form(asked, form)
                recipe = await asyncio.to_thread(both.to_recipe, photos, caller)
        else:  # a recipe that cannot be used is refused before the photo comes
            recipe = await asyncio.to_thread(asked.to_recipe, photos, caller)
            form = await receive_one(request, photos)
        made = await cut_out(photos, caller, form, recipe)
        told = [f"{one.code}: {one.message}" for one in made.task.warnings if one.code not in _OF_NAMES]
        headers = {"X-Warnings": quote("; ".join(told))} if told else {}
        return Response(made.data, media_type=made.media_type, headers=headers)

    return router


def _with_form(asked: Asked, form: forms.Received) -> Asked:
    """The address's fields with those of a form; raises RecipeError for one that cannot be used.

    InputError recipe_twice says which one is in both with different values; RequestValidationError names
    a file that is not called `file`.
    """
    wrong = [name for place, name in enumerate(form.file_fields) if name != "file" or place]
    if wrong:
        said = "the photo is “file”, and there is one"
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("body", name), "msg": said} for name in wrong]
        )
    try:
        told = Asked.model_validate(form.fields)
    except ValidationError as error:
        raise invalid_recipe(error) from error
    here, there = (one.model_dump(exclude_unset=True) for one in (asked, told))
    for field, value in here.items():
        if there.get(field, value) != value:
            said = f"{field}: the address says something else than the form."
            raise InputError("recipe_twice", said, "Leave it out of one of them.")
    return Asked.model_validate({**here, **there})


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "multipart/form-data"


async def receive_one(request: Request, service: PhotoService) -> forms.Received:
    """The one photo of a request: its body, or a file of its form. Raises like `forms.receive`."""
    if _is_form(request):
        form = await forms.receive(request, service)
    else:
        form = await forms.receive_body(request, service)
    try:
        check_one(form)
    except BaseException:
        await asyncio.to_thread(service.drop_batch, form.batch)
        raise
    return form


def check_one(form: forms.Received) -> None:
    """Raise what is wrong with the photo, or InputError no_photos or one_photo where there is not one."""
    if form.accepted.refused:
        problem = form.accepted.refused[0].problem
        raise InputError(problem.code, problem.message, problem.advice)
    if not form.accepted.photos:
        raise InputError("no_photos", "There is no photo in the request.", "Send one as “file”.")
    if len(form.accepted.photos) > 1:
        raise InputError("one_photo", "This takes one photo.", "Send many as a job: POST /api/v1/jobs.")


async def cut_out(
    service: PhotoService,
    caller: Person,
    form: forms.Received,
    recipe: Recipe,
    finish: Finish | None = None,
) -> Made:
    """Run a job of one photo and model, and forget it when its picture is made.

    `finish` asks for another picture than the recipe's. Raises ApiError still_running with the job's
    id, what went wrong with the task as InputError, and ModelError where the model cannot be had.
    """
    try:
        await asyncio.to_thread(jobs.check_quota, service, caller, 1)
        job = await asyncio.to_thread(
            service.submit, form.batch, form.accepted.photos, recipe, owner=caller.name
        )
    except BaseException:
        await asyncio.to_thread(service.drop_batch, form.batch)
        raise
    until = time.monotonic() + service.settings.remove_timeout_s
    lacks = await asyncio.to_thread(_lacks, service, job)
    while not job.state.final and lacks is None:
        if time.monotonic() >= until:
            raise _still_running(service, job.id)
        await asyncio.sleep(_LOOK_AGAIN_S)
        job = await asyncio.to_thread(service.job, job.id)
        lacks = await asyncio.to_thread(_lacks, service, job)
    try:
        if lacks is not None:
            raise ModelError(lacks.code, lacks.message, lacks.advice)
        return await asyncio.to_thread(_outcome, service, job.id, finish)
    finally:
        with suppress(ServiceError):  # somebody else deleted it
            await asyncio.to_thread(service.delete, job.id)


def _lacks(service: PhotoService, job: Job) -> Problem | None:
    """Why the model that a job waits for cannot be had; None where nothing says that it cannot."""
    for model, weights in service.missing(job).items():
        if weights.phase is Phase.FAILED:
            service.ask_again(model)
            return weights.problem
    return None


def _outcome(service: PhotoService, job_id: str, finish: Finish | None) -> Made:
    task = service.task(job_id, 0)
    if task.state is TaskState.DONE and finish is not None:
        data, finished = service.finish(job_id, 0, finish)
        return Made(data=data, task=task, finished=finished)
    if task.state is TaskState.DONE:
        path, _ = service.cutout(task)
        return Made(data=path.read_bytes(), task=task, media_type=pictures.TYPE_OF_SUFFIX[path.suffix])
    problem = task.problem or Problem(
        code="cancelled", message="The job was cancelled.", advice="Send the photo again."
    )
    ours = ("task_error", "out_of_memory")  # and not the photo's fault
    kind = PhotoprocError if problem.code in ours else InputError
    raise kind(problem.code, problem.message, problem.advice)


def _still_running(service: PhotoService, job_id: str) -> ApiError:
    problem = Problem(
        code="still_running",
        message=f"It takes longer than {service.settings.remove_timeout_s:g} s.",
        advice="The job goes on: look at it under links.self, or delete it.",
    )
    links = shapes.job_fields(service.job(job_id), {}, service.sign(job_id))["links"].model_dump()
    wait_s = math.ceil(service.settings.remove_timeout_s)
    return ApiError(problem, headers={"Retry-After": str(wait_s)}, job=job_id, links=links)
