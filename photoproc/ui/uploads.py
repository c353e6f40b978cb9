"""The uploads of one browser session, checked as they come and kept until they become a job."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from photoproc.errors import PhotoprocError
from photoproc.intake import Accepted
from photoproc.jobs import Photo, Refusal
from photoproc.samples import sample_photos
from photoproc.service import PhotoService
from photoproc.ui.links import link_token
from photoproc.ui.text import byte_size, escaped, plural, said

_SHOWN = 60
_STRIP = """<style>
.pp-strip { max-height: 26rem; overflow-y: auto; display: grid; gap: 0.5rem;
  grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
.pp-strip figure { margin: 0; min-width: 0; }
.pp-strip img { width: 100%; aspect-ratio: 4 / 3; object-fit: cover; border-radius: 4px; display: block;
  background: rgb(128 128 128 / 18%); color: transparent; }
.pp-strip figcaption { font-size: 0.75rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  opacity: 0.75; padding-top: 0.15rem; }
</style>"""

_ROOMY = """<style>
[data-testid="stFileUploaderDropzone"] { min-height: 15rem; flex-direction: column; align-items: center;
  justify-content: center; gap: 0.75rem; border-style: dashed; }
[data-testid="stFileUploaderDropzone"]::before { content: "Drop photos or a ZIP here"; font-size: 1.25rem; }
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
        st.html(_STRIP + _strip(uploads.batch, photos[:_SHOWN], token))
        if len(photos) > _SHOWN:
            st.caption(f"and {len(photos) - _SHOWN:,} more")
    refused = uploads.refused
    if refused:
        with st.container(border=True):
            st.markdown(f":material/block: **{plural(len(refused), 'file')} not accepted**")
            for refusal in refused[:_SHOWN]:
                st.markdown(f"**{escaped(refusal.name)}** — {said(refusal.problem)}")
            if len(refused) > _SHOWN:
                st.caption(f"and {len(refused) - _SHOWN:,} more; the job's manifest lists all of them")


def _strip(batch: str, photos: Sequence[Photo], token: str) -> str:
    figures = []
    for photo in photos:
        name = html.escape(photo.name, quote=True)
        width, height = photo.size_wh
        source = f"/api/v1/uploads/{batch}/{photo.sha256}/thumbnail?token={token}"
        notes = "".join(f" · {html.escape(warning.message, quote=True)}" for warning in photo.warnings)
        figures.append(
            f'<figure title="{name} · {width}×{height}{notes}">'
            f'<img src="{source}" alt="{name}" loading="lazy"><figcaption>{name}</figcaption></figure>'
        )
    return f'<div class="pp-strip">{"".join(figures)}</div>'
