"""What is kept beside jobs: recipes by name, how far masks are apart, time trials.

recipes:<owner>        the recipes somebody saved, by name
apart:<job>:<k>        how far the masks of its photos are from each other, fifty photos a record
trial:<job>            its last time trial, and in trial:<job>:<model> what each model took
notice                 what everybody should know
trialing               the token of the time trial that was begun last, whatever the job
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from photoproc.errors import Problem, ServiceError
from photoproc.ledger import Ledger
from photoproc.recipe import Recipe
from photoproc.records import PHOTOS_PER_RECORD, recipe_of


class Shelf(Ledger):
    """The records of these. What belongs to a job goes with it."""

    def recipes(self, owner: str) -> dict[str, Recipe]:
        """The recipes an owner saved, by name."""
        kept = self._db.get(f"recipes:{owner}", {})
        found = {}
        for name in sorted(kept, key=str.casefold):
            with suppress(ServiceError):  # of another version
                found[name] = recipe_of(kept[name])
        return found

    def save_recipe(self, name: str, recipe: Recipe, owner: str) -> None:
        """Keep a recipe under a name, in place of one that had it."""
        with self._db.change() as cache:
            kept = cache.get(f"recipes:{owner}", {})
            cache.set(f"recipes:{owner}", {**kept, name: json.loads(recipe.to_json())})

    def forget_recipe(self, name: str, owner: str) -> bool:
        """Forget a saved recipe; returns whether there was one."""
        with self._db.change() as cache:
            kept = cache.get(f"recipes:{owner}", {})
            cache.set(f"recipes:{owner}", {one: kept[one] for one in kept if one != name})
            return name in kept

    def distances(self, job_id: str, photo_count: int) -> dict[int, dict[str, Any]]:
        """What `keep_distances` kept of a job with so many photos, by the photo's place."""
        places = range(0, photo_count, PHOTOS_PER_RECORD)
        kept = self._db.get_many([_apart_key(job_id, place) for place in places])
        return {int(place): found for record in kept.values() for place, found in record.items()}

    def keep_distances(self, job_id: str, found: Mapping[int, Mapping[str, Any]]) -> None:
        """Keep how far masks of some photos of a job are from each other; nothing where it is deleted."""
        with self._db.change() as cache:
            if cache.get(f"job:{job_id}") is None:
                return
            for place, distance in found.items():
                key = _apart_key(job_id, place)
                cache.set(key, {**cache.get(key, {}), str(place): dict(distance)})

    def trial(self, job_id: str) -> dict[str, Any] | None:
        """What `keep_trial` kept of a job; `figures` in the order of its models, where there are any."""
        record = self._db.get(f"trial:{job_id}")
        if record is None:
            return None
        keys = [f"trial:{job_id}:{model}" for model in record["models"]]
        kept = self._db.get_many(keys)
        return {**record, "figures": [kept[key] for key in keys if key in kept]}

    def keep_trial(
        self, job_id: str, record: Mapping[str, Any], figures: Sequence[Mapping[str, Any]] = ()
    ) -> bool:
        """Keep how a time trial of a job stands; returns whether it does.

        Nothing is kept where the job is deleted. A trial that has ended is kept only in place of itself: what
        is no longer there under its `token` was begun anew meanwhile.
        """
        with self._db.change() as cache:
            if cache.get(f"job:{job_id}") is None:
                return False
            kept = cache.get(f"trial:{job_id}")
            if kept is None or kept["token"] != record["token"]:
                if record["finished_at"] is not None:
                    return False
                cache.set("trialing", record["token"])
            for model in record["models"]:
                cache.delete(f"trial:{job_id}:{model}")
            for one in figures:
                cache.set(f"trial:{job_id}:{one['model']}", dict(one))
            cache.set(f"trial:{job_id}", dict(record))
            return True

    def notice(self) -> Problem | None:
        """What everybody should know, until somebody says that it is known."""
        found = self._db.get("notice")
        return None if found is None else Problem(**found)

    def keep_notice(self, notice: Problem | None) -> None:
        """Keep what everybody should know; None where it is known."""
        with self._db.change() as cache:
            if notice is None:
                cache.delete("notice")
            else:
                cache.set("notice", asdict(notice))

    def last_trial(self) -> str | None:
        """The token of the time trial that was begun last."""
        found = self._db.get("trialing")
        return None if found is None else str(found)

    def _forget_shelf(self, job_id: str, photo_count: int, models: Sequence[str]) -> None:
        """Delete what belongs to a job; in the transaction that deletes it."""
        for place in range(0, photo_count, PHOTOS_PER_RECORD):
            self._db.cache.delete(_apart_key(job_id, place))
        self._db.cache.delete(f"trial:{job_id}")
        for model in models:
            self._db.cache.delete(f"trial:{job_id}:{model}")


def _apart_key(job_id: str, place: int) -> str:
    return f"apart:{job_id}:{place // PHOTOS_PER_RECORD}"
