"""How numbers, times and errors are worded on the screen."""

import re
from datetime import UTC, datetime

from photoproc.errors import Problem
from photoproc.jobs import Counts, Job, JobState


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 photo`, `2 photos`, `1,000 photos`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def byte_size(count: int) -> str:
    """Bytes in the unit a person would use."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def duration(seconds: float) -> str:
    """`0.42 s`, `12 s`, `1 min 20 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 and whole < 600 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")


def ago(then: float, now: float) -> str:
    """How long ago, roughly."""
    seconds = max(0.0, now - then)
    if seconds < 10:
        return "just now"
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{plural(count, 'day')} ago" if unit == "day" else f"{count} {unit} ago"
    return f"{seconds:.0f} s ago"


def exact_time(then: float) -> str:
    """The moment itself, in UTC."""
    return datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_ADDRESS = re.compile(r"(https?:(?=//)|www(?=\.))", re.IGNORECASE)
_WORD_JOINER = "\u2060"


def escaped(text: str) -> str:
    """Text that a user named, safe inside Streamlit's Markdown.

    That makes links of what looks like a web address, escaped or not; an invisible character within keeps
    a name a name.
    """
    text = _ADDRESS.sub(rf"\1{_WORD_JOINER}", text)
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", text).replace("\n", " ")


def unbroken(text: str) -> str:
    """Text that stays on one line, as a figure with its unit should."""
    return re.sub(r"(?<=\d) (?=\S)|(?<=\S) (?=–)|(?<=–) (?=\S)", "\N{NO-BREAK SPACE}", text)


def said(problem: Problem) -> str:
    """A problem as one Markdown line: what happened, then what to do."""
    return escaped(f"{problem.message} {problem.advice}".strip())


def progress_line(job: Job) -> str:
    """`26 of 40 done, 2 failed · 1.2 photos/s · about 12 s left`."""
    parts = [counted(job.counts)]
    if not job.state.final:
        if job.photos_per_s and job.counts.running:
            what = "photos" if len(job.recipe.task_models) < 2 else "cutouts"
            parts.append(f"{job.photos_per_s:.2g} {what}/s")
        if job.remaining_s and job.counts.running:
            parts.append(f"about {duration(job.remaining_s)} left")
    elif job.took_s is not None:
        parts.append(f"took {duration(job.took_s)}")
    return " · ".join(parts)


def counted(counts: Counts) -> str:
    """`26 of 40 done, 2 failed, 1 skipped`."""
    parts = [f"{counts.done} of {counts.total} done"]
    for name in ("failed", "skipped", "cancelled"):
        count = getattr(counts, name)
        if count:
            parts.append(f"{count} {name}")
    if counts.needs_look:
        parts.append(f"{counts.needs_look} {'needs' if counts.needs_look == 1 else 'need'} a look")
    return ", ".join(parts)


def state_words(job: Job) -> str:
    """The state in a word or two; a job none of whose tasks runs is waiting."""
    waits = job.state is JobState.RUNNING and not job.counts.running
    return "Waiting" if waits else STATE_WORDS[job.state]


STATE_WORDS = {
    JobState.QUEUED: "Waiting",
    JobState.RUNNING: "Running",
    JobState.CANCELLING: "Cancelling",
    JobState.DONE: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}
