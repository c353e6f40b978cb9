"""The part of the service that takes uploads in, and makes jobs of them."""

import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypedDict

from photoproc.errors import InputError, ServiceError
from photoproc.intake import Accepted, Intake, Reception
from photoproc.jobdesk import JobDesk, checked
from photoproc.jobs import Job, Photo, Refusal, Warn
from photoproc.library import Library
from photoproc.names import display_name, output_paths
from photoproc.recipe import Recipe


class Submissions(JobDesk, Library):
    """From uploads to jobs."""

    _intake: Intake

    def new_batch(self) -> str:
        """A place to stage uploads in until they become a job."""
        return uuid.uuid4().hex

    def copy_batch(self, batch: str) -> str:
        """Another place with the uploads that are in this one, as far as they are still there."""
        made = self.new_batch()
        self._blobs.copy_batch(checked(batch, "upload"), made)
        return made

    def is_staged(self, batch: str, photo: Photo) -> bool:
        """Whether an upload is still there."""
        return self._blobs.staged(checked(batch, "upload"), photo.sha256).is_file()

    def accept(self, batch: str, name: str, stream: BinaryIO) -> Accepted:
        """Check one upload (photo or ZIP) and stage its photos; see `Intake.accept`."""
        self.warm_up()  # somebody is about to look
        return self._intake.accept(checked(batch, "upload"), name, stream)

    def check_space(self, coming_bytes: int) -> None:
        """Raise ServiceError disk_full, data_quota where there is no room for an upload of so many bytes."""
        self._blobs.check_quota(coming_bytes)
        self._blobs.check_space(coming_bytes)

    def reception(self, batch: str) -> Reception:
        """Take in several uploads piece by piece; see `Intake.reception`."""
        return self._intake.reception(checked(batch, "upload"))

    def scratch(self) -> AbstractContextManager[Path]:
        """A path for a file that is needed only now."""
        return self._blobs.scratch()

    def unwrap(self, body: Path, target: Path, media_type: str, field: str) -> dict[str, str]:
        """Take a base64 file out of a form, and return its other fields; see `Intake.unwrap`."""
        return self._intake.unwrap(body, target, media_type, field)

    def thumbnail(self, batch: str, sha256: str) -> Path:
        """The file of a small picture of a staged photo; raises not_found, PhotoError."""
        return self._intake.thumbnail(checked(batch, "upload"), sha256)

    def drop_batch(self, batch: str) -> None:
        """Forget staged uploads."""
        self._blobs.drop_batch(checked(batch, "upload"))

    def submit(
        self,
        batch: str,
        photos: Sequence[Photo],
        recipe: Recipe,
        *,
        refused: Sequence[Refusal] = (),
        title: str = "",
        key: str | None = None,
        owner: str = "",
    ) -> Job:
        """Make a job of staged photos. Once this returns it is on disk and will be run.

        The same `key` gives the same job, however often and from wherever at once; `owner` is the
        name of the API key it belongs to. Raises InputError
        (no photos, too many), ModelError model_unknown and ServiceError (upload_expired, disk_full,
        store_busy).
        """
        sources = [self._blobs.staged(checked(batch, "upload"), photo.sha256) for photo in photos]
        try:
            job = self._create(
                sources,
                photos,
                recipe,
                refused=refused,
                title=title,
                key=key,
                owner=owner,
                background=self.background_of(recipe),
            )
        except (ServiceError, InputError):
            made = self.made_by(key)  # by a twin of this call, which took the uploads with it
            if made is None:
                raise
            job = made
        self._blobs.drop_batch(batch)
        return job

    def made_by(self, key: str | None) -> Job | None:
        """The job that an idempotency key made, if it did and the job is still there."""
        job_id = None if key is None else self._store.job_of_key(key)
        try:
            return None if job_id is None else self._store.job(job_id)
        except ServiceError as error:
            if error.problem.code == "not_found":  # deleted between the two reads
                return None
            raise

    def process_again(
        self,
        job_id: str,
        recipe: Recipe,
        *,
        title: str = "",
        key: str | None = None,
        owner: str | None = None,
    ) -> Job:
        """A new job over the photos of an earlier one; masks it made are used again.

        The same `key` gives the same job. It belongs to `owner`, or to the earlier one's without.
        """
        made = self.made_by(key)
        if made is not None:
            return made
        earlier = self._store.job(checked(job_id))
        photos = [_as_uploaded(photo) for photo in self._store.photos(job_id)]
        sources = [self._blobs.photo(job_id, photo.sha256) for photo in photos]
        return self._create(
            sources,
            photos,
            recipe,
            title=title or earlier.title,
            key=key,
            owner=earlier.owner if owner is None else owner,
            background=self.background_of(recipe, self._blobs.photo(job_id, recipe.picture or "")),
        )

    def _create(
        self,
        sources: Sequence[Path],
        photos: Sequence[Photo],
        recipe: Recipe,
        *,
        refused: Sequence[Refusal] = (),
        title: str = "",
        key: str | None = None,
        owner: str = "",
        background: Path | None = None,
    ) -> Job:
        for model in recipe.models:
            self._weights.spec(model)
        self.check_refiner(recipe)
        if not photos:
            raise InputError("no_photos", "There are no photos to process.", "Add at least one photo.")
        if len(photos) > self.settings.max_photos_per_job:
            raise InputError(
                "too_many_photos",
                f"These are {len(photos):,} photos; a job takes {self.settings.max_photos_per_job:,}.",
                "Split them into several jobs.",
            )
        self.check_space(0)
        job_id = uuid.uuid4().hex
        self._blobs.open_job(job_id, dict.fromkeys([*sources, *([background] if background else [])]))
        given: _Given = {
            "title": display_name(title or title_of(photos)),
            "recipe": recipe,
            "photos": _with_outputs(photos),
            "refused": refused,
            "now": self._clock.now(),
            "key": key,
            "owner": owner,
        }
        try:
            self._blobs.note_job(job_id, **given)
            made = self._store.create_job(job_id=job_id, **given)
        except BaseException:
            self._blobs.close_job(job_id)
            raise
        if made != job_id:
            self._blobs.close_job(job_id)
        self._worker.wake()
        return self._store.job(made)

    def check_certainty(self, job_id: str) -> Job:
        """A job over the same photos with the same recipe that checks certainty too; however often, one job.

        Masks are used again, so each model looks twice, not three times. Raises as `process_again`, and
        RecipeError where no model runs.
        """
        job = self.job(job_id)
        recipe = Recipe.of_fields(job.recipe.model_dump(mode="json") | {"certainty": True})
        return self.process_again(job.id, recipe, title=f"{job.title} · certainty", key=f"{job.id}-certainty")


class _Given(TypedDict):
    """What a job is made of."""

    title: str
    recipe: Recipe
    photos: Sequence[Photo]
    refused: Sequence[Refusal]
    now: float
    key: str | None
    owner: str


def _with_outputs(photos: Sequence[Photo]) -> list[Photo]:
    named = []
    for photo, (path, changed) in zip(photos, output_paths(photo.name for photo in photos), strict=True):
        warnings = photo.warnings
        if changed:
            warnings = (*warnings, Warn(code="renamed", message=f"Its cutout is called {path}."))
        named.append(replace(photo, output=path, warnings=warnings))
    return named


def _as_uploaded(photo: Photo) -> Photo:
    kept = tuple(warning for warning in photo.warnings if warning.code != "renamed")
    return replace(photo, output="", warnings=kept)


def title_of(photos: Sequence[Photo]) -> str:
    """What a job of these photos is called, where nobody says it."""
    if not photos:
        return ""
    first = Path(photos[0].name.replace("\\", "/")).name
    return first if len(photos) == 1 else f"{first} and {len(photos) - 1} more"
