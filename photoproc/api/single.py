"""One photo in, the finished picture out: a job like any other, waited for and then forgotten."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from photoproc.api import forms, jobs, shapes
from photoproc.api.callers import Caller, Gates
from photoproc.api.problems import ApiError, responses
from photoproc.errors import InputError, PhotoprocError, Problem, ServiceError
from photoproc.finish import Finish, Finished
from photoproc.jobs import Task, TaskState
from photoproc.recipe import Recipe
from photoproc.service import PhotoService

_LOOK_AGAIN_S = 0.05
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished picture: a PNG, or what was asked for and how that came out; and the task that made it."""

    data: bytes
    task: Task
    finished: Finished | None = None


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["one photo"])
    Called = Annotated[Caller, Depends(gates.caller)]  # noqa: N806, a type

    @router.post(
        "/remove",
        summary="Cut out one photo",
        openapi_extra=_BODY,
        response_class=Response,
        responses={
            200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **responses(413, 415, 504),
        },
    )
    async def remove(
        request: Request,
        caller: Called,
        model: Annotated[str | None, Query(description="The default model without.")] = None,
        background: Literal["transparent", "colour", "keep"] | None = None,
        colour: Annotated[
            str | None, Query(description="Of the background, as #rrggbb; white without.")
        ] = None,
        crop: Literal["none", "face"] = "none",
        margin: Annotated[float, Query(ge=0, le=2, description="Around the face, in its sizes.")] = 0.6,
        no_face: Literal["keep", "skip"] = "keep",
    ) -> Response:
        """The photo as the body, or as `file` of a form; the finished picture is the answer.

        The photo and the picture are forgotten then. Where it takes too long, the answer is a 504 with
        the job's id, and the job goes on.
        """
        photos = service()
        check_names(request)
        background = background or ("transparent" if colour is None else "colour")
        fields: dict[str, Any] = {"background": {"kind": background}}
        if colour is not None or background == "colour":
            fields["background"]["colour"] = colour or "#ffffff"
        if background != "keep":
            fields["models"] = [model or photos.settings.default_model]
        if crop == "face":
            fields["framing"] = {"kind": "face", "margin": margin, "no_face": no_face}
        recipe = Recipe.of_fields(fields)
        made = await cut_out(photos, caller, await receive_one(request, photos), recipe)
        return Response(made.data, media_type="image/png")

    return router


def check_names(request: Request) -> None:
    """Raise InputError where the query has a field that nobody reads: it is a slip of the pen."""
    known = {param.alias for param in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            raise InputError(
                "invalid_request",
                f"{name}: there is no such field.",
                f"There are {', '.join(sorted(known))}.",
            )


async def receive_one(request: Request, service: PhotoService) -> forms.Received:
    """The one photo of a request: its body, or a file of its form. Raises like `forms.receive`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
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
    caller: Caller,
    form: forms.Received,
    recipe: Recipe,
    finish: Finish | None = None,
) -> Made:
    """Run a job of one photo and model, and forget it when its picture is made.

    `finish` asks for another picture than the recipe's. Raises ApiError still_running with the job's
    id, and what went wrong with the task as InputError.
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
    while not job.state.final:
        if time.monotonic() >= until:
            raise _still_running(service, job.id)
        await asyncio.sleep(_LOOK_AGAIN_S)
        job = await asyncio.to_thread(service.job, job.id)
    try:
        return await asyncio.to_thread(_outcome, service, job.id, finish)
    finally:
        with suppress(ServiceError):  # somebody else deleted it
            await asyncio.to_thread(service.delete, job.id)


def _outcome(service: PhotoService, job_id: str, finish: Finish | None) -> Made:
    task = service.task(job_id, 0)
    if task.state is TaskState.DONE and finish is not None:
        data, finished = service.finish(job_id, 0, finish)
        return Made(data=data, task=task, finished=finished)
    if task.state is TaskState.DONE:
        return Made(data=Path(service.picture(job_id, 0, "cutout")).read_bytes(), task=task)
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
    links = shapes.job_fields(service.job(job_id), service.sign(job_id))["links"].model_dump()
    wait_s = math.ceil(service.settings.remove_timeout_s)
    return ApiError(problem, headers={"Retry-After": str(wait_s)}, job=job_id, links=links)
