"""Signed links of a session: made once and used again, so that pictures are not loaded twice."""

import time

import streamlit as st

from photoproc.service import PhotoService


def link_token(service: PhotoService, subject: str) -> str:
    """A token for a job's (or an upload batch's) pictures, renewed before it expires."""
    kept: dict[str, tuple[str, float]] = st.session_state.setdefault("link_tokens", {})
    token, until = kept.get(subject, ("", 0.0))
    if time.monotonic() >= until:
        token = service.sign(subject)
        kept[subject] = (token, time.monotonic() + service.settings.link_lifetime_s / 2)
    return token
