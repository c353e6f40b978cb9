"""A damaged database is moved aside at the start, and its jobs are found again from their folders."""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from photoproc import journal
from photoproc.errors import PhotoprocError, Problem, ServiceError
from photoproc.files import entries, is_whole, sync_folder
from photoproc.jobs import JobState, TaskState, Warn
from photoproc.records import cutout_of, photo_of, recipe_of, refusal_of
from photoproc.store import Store

log = structlog.get_logger()


def opened(data: Path, *, is_alone: Callable[[], bool]) -> Store:
    """The store of a data folder; one that is damaged is begun anew, if no other server is at work on it.

    So is one that never held a job where there are folders of jobs: it was lost, or emptied by a power cut.
    The new one is made beside it and takes its place once every job is in it: until then all is as it was,
    whenever the program ends. Folders that say too little are moved to `jobs-lost`, so that nobody takes
    them for rubbish. What was lost is noted in the new one (`Store.notice`). One caller at a time. Raises
    ServiceError.
    """
    folder, whole = data / "store", data / "store-restored"
    if whole.exists() and not folder.exists():  # the program ended between the two renames below
        whole.rename(folder)
    try:
        store = _whole(folder)
    except ServiceError as error:
        if error.problem.code != "store_damaged":
            raise
        if not is_alone():
            raise ServiceError(
                "store_damaged",
                "The store's database is damaged, and another server is at work on this data folder.",
                "Stop the other servers, then start one: it finds the jobs again from their folders.",
            ) from error
    else:
        if not (store.untouched and any(map(journal.is_there, entries(data / "jobs"))) and is_alone()):
            return store
        store.close()
    aside = folder.with_name(f"store-damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03}")
    for unfinished in (whole, data / "store-restoring"):
        shutil.rmtree(unfinished, ignore_errors=True)
    _restore(data, data / "store-restoring", aside.name)
    (data / "store-restoring").rename(whole)
    sync_folder(data)
    folder.rename(aside)
    whole.rename(folder)
    sync_folder(data)
    return Store(folder)


def _restore(data: Path, target: Path, aside: str) -> None:
    """Make a store of what the jobs' folders say."""
    found = [(folder, journal.read(folder)) for folder in entries(data / "jobs")]
    known = [(folder, one) for folder, one in found if one is not None]
    known.sort(key=lambda one: (one[1].created_at, one[0].name))
    store = Store(target)
    try:
        ended = {folder: _restored(store, folder, one) for folder, one in known}
        lost = [folder for folder, _ in found if ended.get(folder) is None]
        for folder in lost:
            (data / "jobs-lost").mkdir(exist_ok=True, mode=0o700)
            folder.rename(data / "jobs-lost" / folder.name)
        kept = [count for count in ended.values() if count is not None]
        log.error("store_moved_aside", to=aside, jobs=len(kept), tasks=sum(kept), jobs_lost=len(lost))
        few = "1 job whose folder says" if len(lost) == 1 else f"{len(lost):,} jobs whose folders say"
        beside = f", and {few} too little: see jobs-lost in the data folder." if lost else "."
        jobs, tasks = _plural(len(kept), "job"), _plural(sum(kept), "finished task")
        were = "was" if len(kept) == 1 else "were"
        store.keep_notice(
            Problem(
                code="store_restored",
                message=f"The database was damaged or lost. {jobs} with {tasks} {were} found again in "
                f"{'its folder' if len(kept) == 1 else 'their folders'}; votes, tags people gave, saved "
                f"recipes, time trials and who jobs were shared with are lost{beside}",
                advice=f"The damaged one is kept as {aside} in the data folder.",
            )
        )
    finally:
        store.close()


def _plural(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def write_missing(store: Store, data: Path) -> None:
    """Write down the jobs of a version that did not, as handed in: their tasks would be run again."""
    for job_id in store.job_ids():
        folder = data / "jobs" / job_id
        if not folder.is_dir() or journal.is_there(folder):
            continue
        with suppress(ServiceError, OSError):  # deleted meanwhile, unreadable, a full disk: at the next start
            job = store.job(job_id)
            journal.write_job(
                folder,
                title=job.title,
                recipe=job.recipe,
                photos=list(store.photos(job_id)),
                refused=job.refused,
                now=job.created_at,
                key=None,
                owner=job.owner,
            )
            if job.state is JobState.CANCELLED:
                journal.note(folder, cancelled=True)


def _whole(folder: Path) -> Store:
    store = Store(folder)
    try:
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def _restored(store: Store, folder: Path, found: journal.Journal) -> int | None:
    """How many finished tasks of a job were found again; None where the job was not.

    Raises ServiceError where the store cannot be written.
    """
    given = found.submitted
    try:
        recipe = recipe_of(given["recipe"])
        photos = [photo_of(photo) for photo in given["photos"]]
        refused = [refusal_of(one) for one in given["refused"]]
        title, now, key, owner = str(given["title"]), found.created_at, given["key"], str(given["owner"])
    except (PhotoprocError, KeyError, TypeError, ValueError) as error:  # of another version, or damaged
        log.warning("job_not_restored", job=folder.name, why=str(error))
        return None
    job_id = store.create_job(
        job_id=folder.name,
        title=title,
        recipe=recipe,
        photos=photos,
        refused=refused,
        now=now,
        key=key if isinstance(key, str) else None,
        owner=owner,
    )
    if job_id != folder.name:  # handed in twice at once, of which one was acknowledged
        log.warning("job_not_restored", job=folder.name, why=f"it is {job_id}")
        return None
    models = recipe.task_models
    numbers = range(len(photos) * len(models))
    ended = {
        number: one for number, one in found.ended.items() if number in numbers and _is_whole(folder, one)
    }
    store.restore(folder.name, ended)
    for model in models:
        store.leave_out(folder.name, model, now=time.time(), only=found.left_out - set(ended))
    if found.cancelled:
        store.cancel(folder.name, now=time.time())
    return len(ended)


def _is_whole(folder: Path, one: Mapping[str, Any]) -> bool:
    """Whether a task's line can be used, and its files are there as they were written."""
    outcome = one["outcome"]
    try:
        if not TaskState(outcome["state"]).final:
            raise ValueError("it has not ended")
        [Warn(**warning) for warning in outcome["warnings"]]
        return _has_files(folder, outcome)
    except (KeyError, TypeError, ValueError) as error:
        log.warning("task_not_restored", job=folder.name, number=one["number"], why=str(error))
        return False


def _has_files(folder: Path, outcome: Mapping[str, Any]) -> bool:
    cutouts = [cutout_of(record) for record in outcome["cutouts"]]
    sized = [file for cutout in cutouts for file in cutout.kept]
    return all((folder / "out" / name).is_file() for cutout in cutouts for name in cutout.files) and all(
        is_whole(folder / "out" / file.file, file.byte_count) for file in sized
    )
