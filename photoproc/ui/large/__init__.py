"""Uploads of gigabytes: the API's own browser client inside the page, past Streamlit's memory."""

import streamlit as st

from photoproc.service import PhotoService
from photoproc.ui.component import component
from photoproc.ui.visitor import dashboard_link


def large_upload(service: PhotoService) -> str | None:
    """Show the client; returns the id of the job it made last, if it made one."""
    data = {"key": dashboard_link(service), "theme": st.context.theme.type or ""}
    result = component("large")(data=data, key="large", on_job_change=lambda: None)
    job_id: str | None = result.job
    return job_id
