"""Two cutouts of one photo to choose between: a component that talks to the API by itself, so that the next
pair is there at once and nobody waits for a page."""

from photoproc.jobs import Job
from photoproc.ui.component import component


def vote_booth(job: Job, *, token: str, voting: str, key: str) -> None:
    """Let somebody vote on a job; `token` is a signed link of it, `voting` one that lets people vote."""
    recipe = job.recipe
    data = {
        "address": f"/api/v1/jobs/{job.id}",
        "token": token,
        "voting": voting,
        "ranking": f"/compare?job={job.id}",
        "opaque": recipe.output.show != "cutout" or not recipe.sees_through,
    }
    component("vote")(data=data, key=key)
