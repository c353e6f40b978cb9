"""Who wants something: on a page of the dashboard, or by the API."""

from dataclasses import dataclass

from photoproc.jobs import Job


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, or a program with a key. Without a name it is whoever is here, where nobody has to say."""

    name: str
    sees_all: bool = False
    on_page: bool = False
    """Whether it is somebody at the dashboard, also where one of its parts asks by the API."""

    @property
    def owner(self) -> str | None:
        """Whose jobs are listed; None means all."""
        return None if self.sees_all else self.name

    @property
    def shelf(self) -> str:
        """Whose recipes are at hand: at the dashboard the team's, to a program those of its key."""
        return "" if self.on_page else self.name

    def may_change(self, job: Job) -> bool:
        """Whether a job is this person's own, or an admin's to tidy up."""
        return self.sees_all or job.owner == self.name
