"""The tags that people gave to photos of a job.

tags:<job>:<k>         the tags of its photos by their places, twelve photos a record
"""

from collections.abc import Mapping

from photoproc.errors import InputError, not_found
from photoproc.ledger import Ledger

_PER_RECORD = 12
"""Photos a record: twelve times twelve tags of forty letters stay below 32 KiB, whatever the letters."""


class TagBook(Ledger):
    """The part of the store that keeps tags. Each change is one tag, in one transaction."""

    def given_tags(self, job_id: str, photo_count: int) -> dict[int, tuple[str, ...]]:
        """The tags people gave to the photos of a job with so many, by place; only of those that have any."""
        keys = [_key(job_id, place) for place in range(0, photo_count, _PER_RECORD)]
        kept = self._db.get_many(keys)
        return {int(place): tuple(tags) for record in kept.values() for place, tags in record.items()}

    def give_tag(self, job_id: str, place: int, tag: str, *, most: int) -> None:
        """Add a tag to a photo, unless it has it in some case; raises not_found, InputError too_many_tags.

        `most` is how many a photo may be given.
        """
        with self._db.change() as cache:
            record = self._tags_of(job_id, place)
            tags = record.get(str(place), [])
            if _same(tag, tags):
                return
            if len(tags) >= most:
                raise InputError(
                    "too_many_tags",
                    f"This photo has as many tags as a photo may have; “{tag}” is one too many.",
                    "Take one away first.",
                )
            cache.set(_key(job_id, place), {**record, str(place): [*tags, tag]})

    def take_tag(self, job_id: str, place: int, tag: str) -> bool:
        """Take a tag from a photo, in whatever case; returns whether it had it. Raises not_found."""
        with self._db.change() as cache:
            record = self._tags_of(job_id, place)
            tags = record.pop(str(place), [])
            gone = _same(tag, tags)
            left = [one for one in tags if one not in gone]
            if gone:
                cache.set(_key(job_id, place), {**record, **({str(place): left} if left else {})})
            return bool(gone)

    def _tags_of(self, job_id: str, place: int) -> dict[str, list[str]]:
        job: Mapping[str, int] | None = self._db.get(f"job:{job_id}")
        if job is None:
            raise not_found("job")
        if not 0 <= place < job["photo_count"]:
            raise not_found("photo")
        return dict(self._db.get(_key(job_id, place), {}))

    def _forget_tags(self, job_id: str, photo_count: int) -> None:
        for place in range(0, photo_count, _PER_RECORD):
            self._db.cache.delete(_key(job_id, place))


def _key(job_id: str, place: int) -> str:
    return f"tags:{job_id}:{place // _PER_RECORD}"


def _same(tag: str, tags: list[str]) -> list[str]:
    return [one for one in tags if one.casefold() == tag.casefold()]
