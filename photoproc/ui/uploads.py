"""The uploads of one browser session, checked as they come and kept until they become a job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from photoproc.errors import PhotoprocError
from photoproc.intake import Accepted
from photoproc.jobs import Job, Photo, Refusal, Task
from photoproc.samples import sample_photos
from photoproc.service import PhotoService
from photoproc.ui.links import link_token
from photoproc.ui.strip import Thumb, strip
from photoproc.ui.text import byte_size, escaped, plural, said

_SHOWN = 60
_ROOMY = """<style>
.stFileUploader section { min-height: 15rem; border-style: dashed; flex-direction: column;
  align-items: center !important; justify-content: center; gap: 0.75rem; }
.stFileUploader section::before { content: "Drop photos or a ZIP here"; font-size: 1.25rem; }
.stFileUploader section > span { width: auto; }
.stFileUploader section > div { flex: none; width: auto; align-self: center; }
@media (max-width: 640px) { .stFileUploader section { min-height: 11rem; } }
@media (pointer: coarse) { .stFileUploader section::before { content: "Add photos or a ZIP"; } }
</style>"""


@dataclass(slots=True)
class Uploads:
    """What this session has uploaded, by the id of the upload."""

    batch: str
    widget: int = 0
    """Counts up to give the uploader widget a new identity, which empties it."""
    accepted: dict[str, Accepted] = field(default_factory=dict)

    @property
    def photos(self) -> list[Photo]:
        """Everything that may be processed, in the order it came."""
        return [photo for one in self.accepted.values() for photo in one.photos]

    @property
    def refused(self) -> list[Refusal]:
        """Everything that may not, with the reasons."""
        return [refusal for one in self.accepted.values() for refusal in one.refused]


def current(service: PhotoService) -> Uploads:
    """The uploads of this session."""
    if "uploads" not in st.session_state:
        st.session_state["uploads"] = Uploads(batch=service.new_batch())
    return cast(Uploads, st.session_state["uploads"])


def start_over(service: PhotoService) -> None:
    """Forget the uploads and empty the uploader."""
    old = current(service)
    st.session_state["uploads"] = Uploads(batch=service.new_batch(), widget=old.widget + 1)


def keep_over_pages(uploads: Uploads, widget_key: str) -> None:
    """Hold on to what was uploaded where the visit to another page has emptied the uploader itself."""
    if widget_key in st.session_state:
        return
    for name in list(uploads.accepted):
        kept = uploads.accepted.pop(name)
        uploads.accepted[f"kept:{name.removeprefix('upload:')}" if name.startswith("upload:") else name] = (
            kept
        )


def take_in(service: PhotoService, files: Sequence[UploadedFile], *, samples: bool) -> Uploads:
    """Check what is new, forget what was removed from the uploader, and add the samples if asked."""
    uploads = current(service)
    names = {f"upload:{file.file_id}": file for file in files}
    for gone in [name for name in uploads.accepted if name.startswith("upload:") and name not in names]:
        del uploads.accepted[gone]
    new = {name: (file.name, file) for name, file in names.items() if name not in uploads.accepted}
    if new:
        with st.spinner(f"Checking {plural(len(new), 'file')} …"):
            for key, (name, file) in new.items():
                _accept(service, uploads, key, name, cast(BinaryIO, file))
    if samples:
        for name, path in sample_photos():
            if f"sample:{name}" not in uploads.accepted:
                with path.open("rb") as stream:
                    _accept(service, uploads, f"sample:{name}", name, stream)
    return uploads


def _accept(service: PhotoService, uploads: Uploads, key: str, name: str, stream: BinaryIO) -> None:
    try:
        uploads.accepted[key] = service.accept(uploads.batch, name, stream)
    except PhotoprocError as error:
        st.error(f"**{escaped(name)}** was not taken in. {said(error.problem)}", icon=":material/error:")


def show(service: PhotoService, uploads: Uploads) -> None:
    """Thumbnails of what was accepted, then what was refused and why."""
    photos = uploads.photos
    if not uploads.accepted:
        st.html(_ROOMY)  # nothing here yet: the place to drop things is the largest thing on the page
    if photos:
        total = byte_size(sum(photo.byte_count for photo in photos))
        st.markdown(f"**{plural(len(photos), 'photo')}** · {total}")
        token = link_token(service, uploads.batch)
        strip([_uploaded(uploads.batch, photo, token) for photo in photos[:_SHOWN]], key="strip")
        _say_more(len(photos))
    refused = uploads.refused
    if refused:
        with st.container(border=True, key="refused"):
            st.markdown(f":material/block: **{plural(len(refused), 'file')} not accepted**")
            for refusal in refused[:_SHOWN]:
                st.markdown(f"**{escaped(refusal.name)}** — {said(refusal.problem)}")
            if len(refused) > _SHOWN:
                st.caption(f"and {len(refused) - _SHOWN:,} more; the job's manifest lists all of them")


def show_again(service: PhotoService, job: Job) -> None:
    """The photos of an earlier job, as far as it has small pictures of them."""
    models = len(job.recipe.task_models)
    tasks = service.tasks(job.id, limit=_SHOWN * models)
    by_photo = [tasks[start : start + models] for start in range(0, len(tasks), models)]
    token = link_token(service, job.id)
    strip([_processed(some, token) for some in by_photo], key=f"strip-{job.id}")
    _say_more(job.photo_count)


def _say_more(count: int) -> None:
    if count > _SHOWN:
        st.caption(f"and {count - _SHOWN:,} more")


def _uploaded(batch: str, photo: Photo, token: str) -> Thumb:
    source = f"/api/v1/uploads/{batch}/{photo.sha256}/thumbnail?token={token}"
    return Thumb(name=photo.name, about=_about(photo), source=source)


def _processed(tasks: Sequence[Task], token: str) -> Thumb:
    """A photo by what the job has of it: the picture before of any of its tasks, or why there is none."""
    photo = tasks[0].photo
    for task in tasks:
        if task.cutout is not None:
            base = f"/api/v1/jobs/{task.job_id}/tasks/{task.number}"
            source = f"{base}/before?token={token}&v={task.cutout.sha256[:12]}"
            return Thumb(name=photo.name, about=_about(photo), source=source)
    problem = next((task.problem for task in tasks if task.problem is not None), None)
    reason = problem.message if problem is not None else "The job has not processed it."
    return Thumb(name=photo.name, about=_about(photo), reason=reason)


def _about(photo: Photo) -> str:
    width, height = photo.size_wh
    return " · ".join([f"{width}×{height}", *(warning.message for warning in photo.warnings)])
