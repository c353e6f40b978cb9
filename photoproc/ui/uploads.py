"""The uploads of one browser session, checked as they come and kept until they become a job.

A page that is loaded again is another session: the browser's tab says what the one before had uploaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from photoproc.errors import PhotoprocError
from photoproc.intake import Accepted
from photoproc.jobs import Job, Photo, Refusal, Task
from photoproc.samples import sample_photos
from photoproc.service import PhotoService, trying
from photoproc.ui.guard import guarded
from photoproc.ui.left import left
from photoproc.ui.links import link_token
from photoproc.ui.preview import Shown
from photoproc.ui.strip import Thumb, strip
from photoproc.ui.text import byte_size, escaped, plural, said
from photoproc.ui.visitor import visitor

_SHOWN = 60
_AT_MOST = 64
_SOUGHT = "uploads-sought"
_ROOMY = """<style>
.st-key-photos section { min-height: 15rem; border-style: dashed; flex-direction: column;
  align-items: center !important; justify-content: center; gap: 0.75rem; }
.st-key-photos section::before { content: "Drop photos or a ZIP here"; font-size: 1.25rem; }
.st-key-photos section > span { width: auto; }
.st-key-photos section > div { flex: none; width: auto; align-self: center; }
@media (max-width: 640px) { .st-key-photos section { min-height: 11rem; } }
@media (pointer: coarse) { .st-key-photos section::before { content: "Add photos or a ZIP"; } }
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


_left: dict[str, tuple[str, Uploads]] = {}
"""The newest uploads of all sessions, with whose they are, by their batch."""


def current(service: PhotoService) -> Uploads:
    """The uploads of this session."""
    if "uploads" not in st.session_state:
        st.session_state["uploads"] = Uploads(batch=service.new_batch())
    return cast(Uploads, st.session_state["uploads"])


@st.fragment
@guarded
def seek(service: PhotoService) -> None:
    """Ask the tab once what was uploaded before its page was loaded again; where there is nothing yet.

    The rest of the page is drawn again only where something is found.
    """
    batch = left(key="left")
    if batch is None or _SOUGHT in st.session_state:
        return
    st.session_state[_SOUGHT] = True
    if find_again(service, batch):
        st.rerun()


def find_again(service: PhotoService, batch: str) -> bool:
    """Have a copy of what another session uploaded, so that two windows take nothing from each other.

    What is no longer there, or somebody else's, is not found. The batch itself goes after a day: until then
    it holds photos of a job that was made of the copy, also where that is deleted.
    """
    whose, found = _left.get(batch, ("", None))
    if found is None or current(service).accepted or whose != visitor(service).name:
        return False
    # Before its files, so that what comes meanwhile is not half there.
    accepted = {_outside(name): one for name, one in list(found.accepted.items())}
    made = Uploads(batch=service.copy_batch(found.batch), accepted=accepted)
    if not all(service.is_staged(made.batch, photo) for photo in made.photos):
        service.drop_batch(made.batch)
        return False
    st.session_state["uploads"] = made
    return True


def forget(uploads: Uploads) -> None:
    """Have these uploads not found again."""
    _left.pop(uploads.batch, None)


def leave(service: PhotoService, uploads: Uploads) -> None:
    """Have these uploads found again where the page is loaded again."""
    name = visitor(service).name
    forget(uploads)
    if uploads.accepted:
        _left[uploads.batch] = name, uploads
        st.session_state[_SOUGHT] = True  # what the tab remembers is this from now on
    for old in list(_left)[:-_AT_MOST]:
        _left.pop(old, None)


def start_over(service: PhotoService) -> None:
    """Forget the uploads and empty the uploader."""
    old = current(service)
    forget(old)
    st.session_state["uploads"] = Uploads(batch=service.new_batch(), widget=old.widget + 1)


def keep_over_pages(uploads: Uploads, widget_key: str) -> None:
    """Hold on to what was uploaded where the visit to another page has emptied the uploader itself."""
    if widget_key in st.session_state:
        return
    uploads.accepted = {_outside(name): one for name, one in uploads.accepted.items()}


def _outside(name: str) -> str:
    """What an upload is called that the uploader does not hold."""
    return f"kept:{name.removeprefix('upload:')}" if name.startswith("upload:") else name


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
    leave(service, uploads)
    return uploads


def _accept(service: PhotoService, uploads: Uploads, key: str, name: str, stream: BinaryIO) -> None:
    try:
        uploads.accepted[key] = service.accept(uploads.batch, name, stream)
    except PhotoprocError as error:
        st.error(f"**{escaped(name)}** was not taken in. {said(error.problem)}", icon=":material/error:")


def counted(photos: Sequence[Photo]) -> str:
    """How many photos, and how large they are together."""
    total = byte_size(sum(photo.byte_count for photo in photos))
    return f"**{plural(len(photos), 'photo')}** · {total}"


def show(service: PhotoService, uploads: Uploads) -> Shown | None:
    """Thumbnails of what was accepted, then what was refused and why; returns the photo that is chosen."""
    photos = uploads.photos
    if not uploads.accepted:
        st.html(_ROOMY)  # nothing here yet: the place to drop things is the largest thing on the page
    chosen = None
    if photos:
        token = link_token(service, uploads.batch)
        shown = {
            f"{photo.sha256}-{place}": _uploaded(uploads.batch, photo, token)
            for place, photo in enumerate(photos[:_SHOWN])
        }
        chosen = _choose(shown, key="strip", total=len(photos), upload=uploads.batch)
    refused = uploads.refused
    if refused:
        with st.container(border=True, key="refused"):
            st.markdown(f":material/block: **{plural(len(refused), 'file')} not accepted**")
            for refusal in refused[:_SHOWN]:
                st.markdown(f"**{escaped(refusal.name)}** — {said(refusal.problem)}")
            if len(refused) > _SHOWN:
                st.caption(f"and {len(refused) - _SHOWN:,} more; the job's manifest lists all of them")
    return chosen


def show_again(service: PhotoService, job: Job) -> Shown | None:
    """The photos of an earlier job, as far as it has small pictures of them; returns the chosen one."""
    models = len(job.recipe.task_models)
    tasks = service.tasks(job.id, limit=_SHOWN * models)
    by_photo = [tasks[start : start + models] for start in range(0, len(tasks), models)]
    token, tries = link_token(service, job.id), link_token(service, trying(job.id))
    shown = {str(some[0].number): _processed(some, token, tries) for some in by_photo}
    return _choose(shown, key=f"strip-{job.id}", total=job.photo_count)


def _choose(photos: Mapping[str, tuple[Shown, Thumb]], *, key: str, total: int, upload: str = "") -> Shown:
    """Show the photos in a strip; the one that is chosen, else the first that has a picture."""
    kept = f"chosen-{key}"
    good = next((name for name, (_, thumb) in photos.items() if thumb.source), next(iter(photos)))
    if st.session_state.get(kept) not in photos:
        st.session_state[kept] = good

    def choose(name: str) -> None:
        st.session_state[kept] = name

    thumbs = [replace(thumb, id=name) for name, (_, thumb) in photos.items()]
    strip(thumbs, key=key, chosen=st.session_state[kept], on_choose=choose, upload=upload)
    if total > _SHOWN:
        st.caption(f"and {total - _SHOWN:,} more")
    return photos[st.session_state[kept]][0]


def _uploaded(batch: str, photo: Photo, token: str) -> tuple[Shown, Thumb]:
    address = f"/api/v1/uploads/{batch}/{photo.sha256}"
    source = f"{address}/thumbnail?token={token}"
    thumb = Thumb(name=photo.name, about=_about(photo), source=source)
    return Shown(photo=photo, address=address, token=token, small=source), thumb


def _processed(tasks: Sequence[Task], token: str, tries: str) -> tuple[Shown, Thumb]:
    """A photo by what the job has of it: the picture before of any of its tasks, or why there is none."""
    photo = tasks[0].photo
    address = f"/api/v1/jobs/{tasks[0].job_id}/tasks/"
    source = reason = ""
    for task in tasks:
        if task.cutout is not None and not source:
            source = f"{address}{task.number}/before?token={token}&v={task.cutout.sha256[:12]}"
    if not source:
        problem = next((task.problem for task in tasks if task.problem is not None), None)
        reason = problem.message if problem is not None else "The job has not processed it."
    thumb = Thumb(name=photo.name, about=_about(photo), source=source, reason=reason)
    address += str(tasks[0].number)
    return Shown(photo=photo, address=address, token=tries, small=source), thumb


def _about(photo: Photo) -> str:
    width, height = photo.size_wh
    return " · ".join([f"{width}×{height}", *(warning.message for warning in photo.warnings)])
