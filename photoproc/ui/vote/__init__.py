"""Two cutouts of one photo to choose between: a component that talks to the API by itself, so that the next
pair is there at once and nobody waits for a page."""

from photoproc.jobs import Job
from photoproc.ui.component import component
from photoproc.ui.ranking import RANKING, SHOW


def vote_booth(job: Job, *, voting: str, name: str, key: str) -> None:
    """Let somebody vote on a job; `voting` is a signed link that lets people vote on it.

    When that has expired, the component has the page run again for another. Without a `name` they are asked
    for one.
    """
    recipe = job.recipe
    data = {
        "address": f"/api/v1/jobs/{job.id}",
        "voting": voting,
        "name": name,
        "ranking": f"/compare?job={job.id}&{SHOW}={RANKING}",
        "opaque": recipe.output.show != "cutout" or not recipe.sees_through,
    }
    component("vote")(data=data, key=key, on_renew_change=lambda: None)
