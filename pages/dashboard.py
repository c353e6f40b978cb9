"""The frame of every page: navigation, and the state of the tool at the foot of the sidebar."""

from pathlib import Path

import streamlit as st

from photoproc import ui
from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.ui.frame import frame
from photoproc.ui.leaving import end_if_left
from photoproc.ui.status import show_notice, sidebar_status
from photoproc.ui.text import said
from photoproc.ui.visitor import is_in

# A file of our own: a Material icon would be fetched from a font server by every browser.
HERE = Path(ui.__file__).parent
LOGO = str(HERE / "logo.svg")

st.set_page_config(page_title="Photoproc", page_icon=LOGO, layout="wide")
st.logo(LOGO, size="large")
st.html(HERE / "dashboard.css")

page = st.navigation(
    [
        st.Page("process.py", title="Process", icon=":material/content_cut:", default=True),
        st.Page("jobs.py", title="Jobs", icon=":material/photo_library:", url_path="jobs"),
        st.Page("compare.py", title="Compare", icon=":material/compare:", url_path="compare"),
        st.Page("vote.py", title="Vote", icon=":material/how_to_vote:", url_path="vote"),
        st.Page("system.py", title="System", icon=":material/tune:", url_path="system"),
    ]
)
st.set_page_config(page_title=f"{page.title} · Photoproc")

try:
    if is_in(service()):
        with st.sidebar:
            sidebar_status(service())
            frame()
        show_notice(service())
        page.run()
except PhotoprocError as error:
    st.error(said(error.problem), icon=":material/error:")
end_if_left()
