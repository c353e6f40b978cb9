"""Vote: two cutouts of one photo, which is better? Or the comparisons there are to vote on."""

import time

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.parts import Face
from photoproc.service import PhotoService
from photoproc.ui.address import go
from photoproc.ui.guard import guarded
from photoproc.ui.heading import show_while_there
from photoproc.ui.joblist import job_list
from photoproc.ui.links import link_token
from photoproc.ui.ranking import RANKING, SHOW
from photoproc.ui.recipe_words import say_how_cropped
from photoproc.ui.text import escaped, said
from photoproc.ui.timer import stop_timer
from photoproc.ui.visitor import comparisons, opened, visitor
from photoproc.ui.vote import vote_booth
from photoproc.voting import LONGEST_NAME, voting

_SHOWN = 50


def list_comparisons(photos: PhotoService) -> None:
    """All jobs with two models or more, newest first."""
    st.subheader("Vote")
    found = comparisons(photos)
    if not found:
        st.markdown(
            "Choose between cutouts of your own photos without knowing which model made them. "
            "Process some photos with two models or more; they will be listed here."
        )
        if st.button("Process photos", type="primary", icon=":material/content_cut:"):
            st.switch_page("process.py")
        return
    st.caption("Which cutouts do you want to judge?")
    opened = job_list(photos, found[:_SHOWN], now=time.time(), key="votable")
    if opened is not None:
        go({"job": opened})
    if len(found) > _SHOWN:
        st.caption(f"and {len(found) - _SHOWN:,} earlier ones: find them on the Jobs page")


def one_vote(photos: PhotoService, job_id: str) -> None:
    """Two cutouts, nothing else."""
    try:
        job = opened(photos, job_id)
        if len(job.recipe.task_models) < 2:
            photos.comparison(job_id)  # says why not
    except PhotoprocError as error:
        st.error(said(error.problem), icon=":material/error:")
        if st.button("Show what can be voted on"):
            go({})
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("All comparisons", icon=":material/arrow_back:", type="tertiary"):
            go({})
        if st.button("See the ranking", icon=":material/leaderboard:", type="tertiary"):
            st.switch_page("compare.py", query_params={"job": job.id, SHOW: RANKING})
        show_while_there(photos, job_id, lambda: st.caption(escaped(job.title)))
    say_how_cropped(job.recipe)
    if isinstance(job.recipe.framing, Face) and job.recipe.framing.which == "each":
        st.caption("Where a photo has several faces, the cutout of the first one is judged.")
    name = visitor(photos).name[:LONGEST_NAME]
    vote_booth(job, voting=link_token(photos, voting(job_id)), name=name, key=f"vote-{job_id}")

    @st.fragment(run_every=1.0)
    @guarded
    def measure() -> None:
        opened(photos, job_id)  # it may not be shared any more
        # So that the pairs that differ most can come first.
        measured, of = photos.measure(job_id)
        if photos.standing(job_id)[0].final and measured == of:
            stop_timer()

    measure()


def main() -> None:
    """The page."""
    photos = service()
    job_id = st.query_params.get("job")
    if job_id:
        one_vote(photos, job_id)
    else:
        list_comparisons(photos)


main()
