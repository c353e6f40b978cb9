"""What is kept beyond a job: saved recipes, and pictures to put subjects on."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from photoproc import presets
from photoproc.api import shapes, single
from photoproc.api.callers import Gates
from photoproc.api.pictures import Sha256, Signed
from photoproc.api.problems import responses
from photoproc.errors import InputError, not_found
from photoproc.people import Person
from photoproc.recipe import Recipe
from photoproc.service import BACKGROUNDS, PhotoService

_MAX_RECIPE_BYTES = 64 * 1024
_RECIPE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Recipe"}}},
    }
}
_Name = Annotated[str, Path(min_length=1, max_length=80)]


class RecipeOut(shapes.Shape):
    """A recipe with its name, and as a link to the dashboard."""

    name: str
    recipe: Recipe
    page: str


class RecipesOut(shapes.Shape):
    """The recipes there are; those that come with the program are for the default model."""

    built_in: list[RecipeOut]
    saved: list[RecipeOut]


class BackgroundOut(shapes.Shape):
    """A background picture; `id` is what a recipe calls it."""

    id: str
    size_wh: shapes.Pair
    byte_count: int


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["recipes"])
    Called = Annotated[Person, Depends(gates.caller)]  # noqa: N806, a type

    @router.get("/recipes", summary="List recipes")
    def recipes(caller: Called) -> RecipesOut:
        """Recipes that come with the program, and those the caller has saved."""
        photos = service()
        ours = {name: photos.recipe(name, "") for name in presets.BUILT_IN}
        saved = photos.recipes(caller.shelf)
        return RecipesOut(
            built_in=[_shown(name, one) for name, one in ours.items()],
            saved=[_shown(name, one) for name, one in saved.items()],
        )

    @router.put("/recipes/{name}", summary="Save a recipe", openapi_extra=_RECIPE, responses=responses(413))
    async def save(request: Request, caller: Called, name: _Name) -> RecipeOut:
        """Keep a recipe under a name; a job's form takes that name as `recipe`."""
        recipe = Recipe.from_json(await _small_body(request))
        return _shown(await asyncio.to_thread(service().save_recipe, name, recipe, caller.shelf), recipe)

    @router.delete("/recipes/{name}", status_code=204, summary="Forget a recipe")
    def forget(caller: Called, name: _Name) -> None:
        """Forget a saved recipe; jobs made with it keep theirs."""
        service().forget_recipe(name, caller.shelf)

    @router.post(
        "/backgrounds",
        status_code=201,
        summary="Upload a background picture",
        openapi_extra=single.body(),
        responses=responses(413, 415),
    )
    async def upload(request: Request, caller: Called) -> BackgroundOut:
        """A picture as the body, or as `file` of a form; the same picture has the same id."""
        form = await single.receive_one(request, service())
        photo = form.accepted.photos[0]
        picture = await asyncio.to_thread(service().keep_background, form.batch, photo)
        return BackgroundOut(id=picture, size_wh=photo.size_wh, byte_count=photo.byte_count)

    @router.delete("/backgrounds/{picture}", status_code=204, summary="Forget a background picture")
    def forget_background(caller: Called, picture: Sha256) -> None:
        """Forget a picture; jobs made with it keep it. Pictures are shared, so keys cannot do this."""
        if caller.owner is not None:
            raise not_found("background picture")
        service().forget_background(picture)

    @router.get("/backgrounds/{picture}/thumbnail", include_in_schema=False)
    def thumbnail(picture: Sha256, token: Signed) -> Response:
        """A small picture of a background."""
        service().check_link(BACKGROUNDS, token)
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(service().background_thumbnail(picture), media_type="image/webp", headers=headers)

    return router


async def _small_body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_RECIPE_BYTES:
            raise InputError("request_too_large", "A recipe has 64 KB at most.", "Send the recipe alone.")
    return body


def _shown(name: str, recipe: Recipe) -> RecipeOut:
    return RecipeOut(name=name, recipe=recipe, page=f"/?recipe={presets.to_link(recipe)}")
