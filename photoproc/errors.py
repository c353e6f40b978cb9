"""Everything that can go wrong and that a user may see.

    PhotoprocError
    ├── InputError            what somebody gave us cannot be used
    │   ├── PhotoError        one picture: empty_file, not_a_picture, photo_too_large, …
    │   ├── ArchiveError      one ZIP or one entry of it: archive_broken, archive_encrypted, …
    │   └── RecipeError       invalid_recipe
    ├── ModelError            model_unknown, weights_unreachable, weights_checksum, custom_shape, …
    ├── TaskError             what happened to a task: child_crashed, task_timeout, no_face, …
    └── ServiceError          the tool itself: store_busy, disk_full, not_found, link_expired

A code is stable: scripts and tests may compare it. The message says what happened, the advice what
to do about it. Both are plain text; whatever shows them escapes them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as data: what is stored, sent between processes and shown."""

    code: str
    message: str
    advice: str = ""


class PhotoprocError(Exception):
    """Base of the tree. `problem` carries the code, the message and the advice."""

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(code, message, advice)
        self.problem = Problem(code=code, message=message, advice=advice)

    def __str__(self) -> str:
        return f"{self.problem.message} [{self.problem.code}]"


class InputError(PhotoprocError):
    """Something a user gave us cannot be used as it is."""


class PhotoError(InputError):
    """One picture cannot be used."""


class ArchiveError(InputError):
    """A ZIP, or one entry of it, cannot be used."""


class RecipeError(InputError):
    """A recipe is not valid."""


class ModelError(PhotoprocError):
    """A model cannot be had or loaded."""


class TaskError(PhotoprocError):
    """A task could not be run to its end."""


class ServiceError(PhotoprocError):
    """The tool itself cannot do what was asked."""


def in_use() -> ServiceError:
    """A job that was to go has not expired."""
    return ServiceError("job_in_use", "The job has not expired.", "It was begun again.")


def not_found(what: str) -> ServiceError:
    """The error for a job, task or file that does not exist (any more)."""
    return ServiceError(
        "not_found", f"There is no such {what}.", "It may have been deleted. Look on the Jobs page."
    )
