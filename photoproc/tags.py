"""What photos are called beside their names: the folders they came in, and tags that people give them."""

from collections.abc import Iterable, Mapping

from photoproc.errors import InputError, not_found
from photoproc.names import display_name
from photoproc.store import Store

MOST, LONGEST = 12, 40
"""Tags a photo, with its folders; and letters a tag."""


class Tags:
    """The part of the service that knows tags."""

    def __init__(self, *, store: Store) -> None:
        self._tag_book = store

    def tags(self, job_id: str) -> Mapping[int, tuple[str, ...]]:
        """The tags of a job's photos by place, folders first; of those that have any. Raises not_found."""
        names = [photo.name for photo in self._tag_book.photos(job_id)]
        given = self._tag_book.given_tags(job_id, len(names))
        found = {place: distinct((*folders(name), *given.get(place, ()))) for place, name in enumerate(names)}
        return {place: tags for place, tags in found.items() if tags}

    def given_tags(self, job_id: str) -> Mapping[int, tuple[str, ...]]:
        """Those that people gave, which can be taken away again. Raises not_found."""
        return self._tag_book.given_tags(job_id, self._tag_book.job(job_id).photo_count)

    def tag(
        self, job_id: str, place: int, *, add: str | None = None, remove: str | None = None
    ) -> tuple[str, ...]:
        """Give a photo a tag, or take one from it; returns all it has then.

        Other people's tags stay, also those that are given at this moment. To give one that is there
        already, or to take one that is not, changes nothing. Raises not_found, and InputError tag_invalid,
        too_many_tags, tag_of_folder (a folder's name stays).
        """
        fixed = folders(self._name(job_id, place))
        if remove is not None:
            gone = _tidy(remove)
            if gone.casefold() in {one.casefold() for one in fixed}:
                raise InputError(
                    "tag_of_folder",
                    f"“{gone}” is the folder this photo came in: it stays.",
                    "Take away tags that were added here.",
                )
            self._tag_book.take_tag(job_id, place, gone)
        if add is not None:
            more = checked(add)
            if more.casefold() not in {one.casefold() for one in fixed}:
                self._tag_book.give_tag(job_id, place, more, most=MOST - len(fixed))
        return self.tags(job_id).get(place, ())

    def _name(self, job_id: str, place: int) -> str:
        models = max(1, len(self._tag_book.job(job_id).recipe.task_models))
        if place >= self._tag_book.job(job_id).photo_count:
            raise not_found("photo")
        (task,) = self._tag_book.tasks(job_id, [place * models])
        return task.photo.name


def folders(name: str) -> tuple[str, ...]:
    """The folders of a photo's name, outermost first, as tags: `shoes/red/01.jpg` has `shoes` and `red`."""
    parts = name.replace("\\", "/").split("/")[:-1]
    shown = (_tidy(part) for part in parts if part.strip() not in ("", ".", ".."))
    return distinct(part if len(part) <= LONGEST else f"{part[: LONGEST - 1]}…" for part in shown if part)


def distinct(tags: Iterable[str]) -> tuple[str, ...]:
    """Those that differ not only in case, in their order, as many as a photo may have."""
    found: dict[str, str] = {}
    for tag in tags:
        found.setdefault(tag.casefold(), tag)
    return tuple(found.values())[:MOST]


def checked(tag: str) -> str:
    """A tag as it is kept: trimmed, without anything invisible; raises InputError tag_invalid."""
    shown = _tidy(tag)
    if not shown or len(shown) > LONGEST or "/" in shown or "\\" in shown or shown in (".", ".."):
        raise InputError(
            "tag_invalid",
            "A tag cannot be empty." if not shown else f"“{shown[:60]}” cannot be a tag.",
            f"Use up to {LONGEST} letters, without “/” and “\\”.",
        )
    return shown


def _tidy(text: str) -> str:
    words = " ".join(text.split())
    return display_name(words) if words else ""
