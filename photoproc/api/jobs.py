"""Jobs: made, listed, looked at, cancelled, tried again, deleted."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from photoproc.api import forms, shapes
from photoproc.api.callers import Gates, Token
from photoproc.api.problems import ApiError, responses
from photoproc.errors import Problem, RecipeError, ServiceError
from photoproc.jobs import Job, JobState, TaskState
from photoproc.people import Person
from photoproc.recipe import Recipe
from photoproc.service import PhotoService

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Photos and ZIPs of photos; a file's name may hold folders.",
                        },
                        "recipe": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/Recipe"},
                            "description": "JSON, or a saved name; the default model on nothing without.",
                            "examples": ['{"models": ["u2net"]}'],
                        },
                        "title": {"type": "string"},
                    },
                }
            }
        },
    }
}
_MANY_TASKS = 5_000
_Key = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="The same key gives the same job, however often."),
]
_Limit = Annotated[int, Query(ge=1, le=200)]


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["jobs"])
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type
    Owned = Annotated[Job, Depends(gates.owned)]  # noqa: N806

    def shown(job: Job) -> shapes.JobOut:
        photos = service()
        return shapes.job_out(job, photos.missing(job), photos.sign(job.id))

    def made(job: Job) -> shapes.JobMade:
        photos = service()
        fields = shapes.job_fields(job, photos.missing(job), photos.sign(job.id))
        return shapes.JobMade(**fields, accepted=[shapes.accepted(one) for one in photos.photos(job.id)])

    @router.post(
        "/jobs", status_code=202, openapi_extra=_FORM, responses=responses(413, 415), summary="Make a job"
    )
    async def submit(
        request: Request, response: Response, caller: Called, idempotency_key: _Key = None
    ) -> shapes.JobMade:
        """Upload photos and ZIPs as a form; they are checked while they come. Answers once all is on disk."""
        photos = service()
        key = None if idempotency_key is None else f"{caller.name}/{idempotency_key}"
        job = await asyncio.to_thread(photos.made_by, key)
        if job is None:
            await asyncio.to_thread(check_quota, photos, caller, 1)
            form = await forms.receive(request, photos)
            job = await asyncio.to_thread(submit_form, photos, form, caller, key)
        else:
            async for _ in forms.pieces(request, photos):
                pass  # many clients read no answer before they have sent everything
        response.headers["Location"] = f"{shapes.BASE}/jobs/{job.id}"
        return await asyncio.to_thread(made, job)

    @router.get("/jobs", summary="List jobs")
    def listed(
        caller: Called,
        cursor: Annotated[str | None, Query(pattern="^[0-9]{1,9}-[0-9]{1,9}-[0-9a-f]{32}$")] = None,
        state: JobState | None = None,
        limit: _Limit = 50,
    ) -> shapes.JobPage:
        """The caller's jobs, newest first, a page at a time."""
        found, following = service().jobs_after(cursor, owner=caller.owner, state=state, limit=limit)
        return shapes.JobPage(items=[shown(job) for job in found], next=following)

    @router.get("/jobs/{job_id}", summary="Look at a job", response_model=shapes.JobDetail)
    async def detail(
        knock: Annotated[Callable[[], Job], Depends(gates.knock)],
        token: Token = None,
        cursor: Annotated[
            int | None, Query(ge=0, le=10_000_000, description="The first task's number.")
        ] = None,
        state: TaskState | None = None,
        needs_look: Annotated[bool, Query(description="Only tasks that are done and worth a look.")] = False,
        limit: _Limit = 50,
    ) -> Response:
        """A job with its counts and a page of its tasks."""
        # It is asked for most of all, and reads a few records that nobody's writing locks: on a busy machine
        # the way to a thread and back takes longer than all it does here. Only looking through many tasks
        # takes longer yet.
        photos, job = service(), knock()
        token = token or photos.sign(job.id)  # who came by a link gets no fresh one
        first = cursor or 0
        if state is None and not needs_look:
            numbers: Sequence[int] = range(first, job.counts.total)
        else:
            look = partial(
                photos.task_numbers, job.id, states=None if state is None else (state,), needs_look=needs_look
            )
            found = look() if job.counts.total <= _MANY_TASKS else await asyncio.to_thread(look)
            numbers = found[bisect_left(found, first) :]
        tasks = photos.numbered_tasks(job.id, numbers[:limit])
        answer = shapes.JobDetail(
            **shapes.job_fields(job, photos.missing(job), token),
            tasks=[shapes.task_out(job, task, token) for task in tasks],
            next=numbers[limit] if len(numbers) > limit else None,
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    @router.post("/jobs/{job_id}/cancel", summary="Cancel a job")
    def cancel(job: Owned) -> shapes.JobOut:
        """Queued tasks at once, running ones within seconds; what is finished stays. Idempotent."""
        service().cancel(job.id)
        return shown(service().job(job.id))

    @router.post("/jobs/{job_id}/retry", summary="Try failed tasks again")
    def retry(
        job: Owned,
        caller: Called,
        state: Annotated[
            tuple[Literal["failed", "cancelled", "skipped"], ...], Query(description="Which tasks.")
        ] = ("failed",),
    ) -> shapes.JobOut:
        """Queue failed tasks again (or cancelled ones). Idempotent: where there are none, nothing happens."""
        photos, states = service(), [TaskState(one) for one in state]
        check_quota(photos, caller, len(photos.task_numbers(job.id, states=states)))
        photos.retry(job.id, states)
        return shown(service().job(job.id))

    @router.delete("/jobs/{job_id}", status_code=204, summary="Delete a job")
    def delete(job: Owned) -> None:
        """Delete a job with all its pictures; what runs for it stops."""
        service().delete(job.id)

    return router


def submit_form(service: PhotoService, form: forms.Received, caller: Person, key: str | None = None) -> Job:
    """Make a job of a form; its uploads are forgotten where that fails."""
    try:
        _check_names(form)
        text = form.fields.get("recipe", "").strip()
        recipe = recipe_called(service, text, caller)
        if not form.accepted.photos:
            refused = [
                shapes.Refused(name=one.name, **shapes.problem(one.problem).model_dump()).model_dump()
                for one in form.accepted.refused
            ]
            problem = Problem(
                code="no_photos",
                message="None of the files can be used." if refused else "There are no photos in the form.",
                advice="Send photos or ZIPs of photos as “files”.",
            )
            raise ApiError(problem, refused=refused)
        check_quota(service, caller, len(form.accepted.photos) * len(recipe.task_models))
        return service.submit(
            form.batch,
            form.accepted.photos,
            recipe,
            refused=form.accepted.refused,
            title=form.fields.get("title", "")[:200],
            key=key,
            owner=caller.name,
        )
    except BaseException:
        service.drop_batch(form.batch)
        raise


def recipe_called(service: PhotoService, text: str, caller: Person) -> Recipe:
    """A recipe as JSON, or the name of a saved one; the default model on nothing without."""
    text = text.strip()
    if not text:
        return Recipe(models=(service.settings.default_model,))
    if text.startswith("{"):
        return Recipe.from_json(text)
    try:
        return service.recipe(text, caller.shelf)
    except ServiceError as error:
        raise RecipeError(
            "invalid_recipe",
            "recipe: it is no JSON object, and no saved recipe has this name.",
            "GET /api/v1/recipes lists the names.",
        ) from error


def _check_names(form: forms.Received) -> None:
    """Raise RequestValidationError for fields nobody reads: with a misspelt recipe another would be used."""
    wrong = dict.fromkeys(name for name in form.fields if name not in ("recipe", "title"))
    wrong |= dict.fromkeys(name for name in form.file_fields if name != "files")
    if wrong:
        said = "there is no such field; photos are “files”, the texts “recipe” and “title”"
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("body", name), "msg": said} for name in wrong]
        )


def check_quota(service: PhotoService, caller: Person, more: int) -> None:
    """Raise quota_exceeded where a key would have too many unfinished tasks with so many more."""
    limit = service.settings.max_queued_tasks_per_key
    if caller.name and more and service.unfinished_tasks(caller.name) + more > limit:
        whose = "You" if caller.on_page else "This key"
        problem = Problem(
            code="quota_exceeded",
            message=f"{whose} would have more than {limit:,} unfinished tasks.",
            advice="Wait until some are finished, cancel a job, or send fewer photos.",
        )
        raise ApiError(problem, headers={"Retry-After": "30"})
