"""Who looks at the dashboard: anybody, or with sign-in a person, who sees their own jobs and what was shared.

`st.user` is what the identity provider says, from a cookie that Streamlit signs.
"""

from collections.abc import Mapping
from pathlib import Path

import streamlit as st
from streamlit import config
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from photoproc.errors import ServiceError, not_found
from photoproc.jobs import Job
from photoproc.people import Person
from photoproc.service import PhotoService, dashboard_of
from photoproc.settings import Settings
from photoproc.ui.frame import frame
from photoproc.ui.links import link_token
from photoproc.ui.text import escaped


def signs_in() -> bool:
    """Whether `secrets.toml` says with whom people sign in; ends the program where it cannot be read."""
    if st.secrets.load_if_toml_exists():
        return "auth" in st.secrets
    there = [path for path in config.get_option("secrets.files") if Path(path).exists()]
    if there:  # whoever wrote it wanted a door, which must not stand open for a typing error
        raise SystemExit(f"Photoproc cannot start: {there[0]} cannot be read. Is it valid TOML?")
    return False


def may_upload(cookies: Mapping[str, str]) -> bool:
    """Whether a browser with these cookies is one of somebody who signed in."""
    return _get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE_NAME) is not None


def visitor(photos: PhotoService) -> Person:
    """Who looks; raises ServiceError where it cannot be told who somebody is."""
    if not photos.settings.sign_in:
        return Person("", sees_all=True)
    if not st.user.is_logged_in:  # pages run for those only who are
        raise ServiceError("signed_out", "You are not signed in.", "Load the page again.")
    name = named(photos.settings)
    return Person(name, sees_all=photos.sees_all(name))


def named(settings: Settings) -> str:
    """What jobs of who is signed in are known by: a verified e-mail address, else the provider's id of them.

    An address that the provider does not call verified may be anybody's: with some, whoever runs a company's
    accounts can enter any. `|` is in neither addresses nor the names of API keys. Raises ServiceError.
    """
    email = str(st.user.get("email") or "").strip().casefold()
    if email and (st.user.get("email_verified") in (True, "true") or settings.trust_addresses):
        return email
    sub = str(st.user.get("sub") or "").strip()
    if not sub:
        raise ServiceError(
            "nobody", "Your sign-in does not say who you are.", "Ask whoever runs this server to look at it."
        )
    return f"{sub}|{st.user.get('iss') or ''}"


def dashboard_link(photos: PhotoService) -> str:
    """What lets components of the page do by the API what the visitor may do."""
    return link_token(photos, dashboard_of(visitor(photos).name))


def opened(photos: PhotoService, job_id: str) -> Job:
    """A job that the visitor may see; raises not_found, whether it is there or not."""
    job = photos.job(job_id)
    if not (job.shared or visitor(photos).may_change(job)):
        raise not_found("job")
    return job


def comparisons(photos: PhotoService) -> list[Job]:
    """The visitor's jobs with several models, newest first."""
    mine = photos.jobs(limit=None, owner=visitor(photos).owner)
    return [job for job in mine if len(job.recipe.task_models) > 1]


def is_in(photos: PhotoService) -> bool:
    """Whether pages may be shown; else shows the way in. Where people sign in, also the way out."""
    if not photos.settings.sign_in:
        return True
    if not st.user.is_logged_in:
        st.subheader("Photoproc", anchor=False)
        st.markdown("Sign in to see your photos, and those that were shared with you.")
        st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)
        frame(signed_out=True)
        return False
    with st.sidebar, st.container(horizontal=True, vertical_alignment="center"):
        st.caption(escaped(str(st.user.get("name") or st.user.get("email") or "Signed in")), width="stretch")
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
    return True


def offer_to_share(photos: PhotoService, job: Job) -> None:
    """Where people sign in: let others see a job, or no longer."""
    if not photos.settings.sign_in:
        return
    with st.popover("Shared" if job.shared else "Share", icon=":material/group:", type="tertiary"):
        now = st.toggle("Everybody who is signed in and has the link may look and vote", job.shared)
        if now != job.shared:
            photos.share(job.id, now)
            st.rerun()
        if job.shared:
            st.code(f"{st.context.url or ''}?job={job.id}", language=None, wrap_lines=True)
        st.caption("Nobody but you and the admins can change or delete it.")
