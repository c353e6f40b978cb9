"""The tags of a job's photos: their folders, and what people call them."""

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from photoproc.api import shapes
from photoproc.api.callers import Gates
from photoproc.api.problems import responses
from photoproc.jobs import Job
from photoproc.service import PhotoService
from photoproc.tags import LONGEST, MOST

_Place = Annotated[int, Path(ge=0, le=10_000_000, description="The photo's place in its job, from 0.")]
_Tag = Annotated[
    str, Path(min_length=1, max_length=LONGEST, description="Without “/”; capitals make no difference.")
]


class TagsOut(shapes.Shape):
    """A photo's tags, its folders first; `given` are those that can be taken away again."""

    place: int
    tags: list[str]
    given: list[str]


class JobTagsOut(shapes.Shape):
    """The tags of a job's photos, of those that have any."""

    job: str
    photos: list[TagsOut]


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["comparisons"])
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type
    Owned = Annotated[Job, Depends(gates.owned)]  # noqa: N806

    @router.get("/jobs/{job_id}/tags", summary="List tags")
    def tags(job: Read) -> JobTagsOut:
        """The folders that photos came in, and the tags that people gave them."""
        given = service().given_tags(job.id)
        found = service().tags(job.id)
        return JobTagsOut(job=job.id, photos=[_shown(place, found[place], given) for place in sorted(found)])

    @router.put(
        "/jobs/{job_id}/photos/{place}/tags/{tag}", summary="Tag a photo", description=_about("Give it a tag")
    )
    def give(job: Owned, place: _Place, tag: _Tag) -> TagsOut:
        found = service().tag(job.id, place, add=tag)
        return _shown(place, found, service().given_tags(job.id))

    @router.delete(
        "/jobs/{job_id}/photos/{place}/tags/{tag}",
        summary="Take a tag away",
        description=_about("Take a tag from it"),
        responses=responses(409),
    )
    def take(job: Owned, place: _Place, tag: _Tag) -> TagsOut:
        found = service().tag(job.id, place, remove=tag)
        return _shown(place, found, service().given_tags(job.id))

    return router


def _about(what: str) -> str:
    return f"{what}, whatever others do meanwhile. A photo has {MOST} at most. Idempotent."


def _shown(place: int, tags: tuple[str, ...], given: Mapping[int, tuple[str, ...]]) -> TagsOut:
    mine = {one.casefold() for one in given.get(place, ())}
    return TagsOut(place=place, tags=list(tags), given=[one for one in tags if one.casefold() in mine])
