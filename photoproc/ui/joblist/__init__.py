"""The list of jobs: a component whose rows update in place."""

from collections.abc import Sequence
from contextlib import suppress

from photoproc.errors import ServiceError
from photoproc.jobs import Job, TaskState
from photoproc.service import PhotoService
from photoproc.ui.component import component
from photoproc.ui.links import link_token
from photoproc.ui.text import ago, byte_size, counted, exact_time, plural, state_words


def job_list(service: PhotoService, jobs: Sequence[Job], *, now: float, key: str) -> str | None:
    """Show these jobs; returns the id of one that was just clicked."""
    rows = []
    for job in jobs:
        with suppress(ServiceError):  # deleted meanwhile
            rows.append(_row(service, job, now))
    result = component("joblist")(data={"jobs": rows}, key=key, on_open_change=lambda: None)
    opened: str | None = result.open
    return opened


def _row(service: PhotoService, job: Job, now: float) -> dict[str, object]:
    counts, total = job.counts, max(1, job.counts.total)
    shown = service.tasks(job.id, states=(TaskState.DONE,), limit=3)
    token = link_token(service, job.id)
    return {
        "id": job.id,
        "title": job.title,
        "when": ago(job.created_at, now),
        "exact": exact_time(job.created_at),
        "owner": job.owner,
        "photos": plural(job.photo_count, "photo"),
        "models": ", ".join(job.recipe.models) or "background kept",
        "said": f"{state_words(job)} · {counted(counts)}",
        "done": counts.done / total,
        "failed": counts.failed / total,
        "other": (counts.skipped + counts.cancelled) / total,
        "size": byte_size(job.output_bytes) if job.output_bytes else "",
        "thumbnails": [
            f"/api/v1/jobs/{job.id}/tasks/{task.number}/preview?token={token}&v={task.cutout.sha256[:12]}"
            for task in shown
            if task.cutout is not None
        ],
    }
