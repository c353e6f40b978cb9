"""Compare: the jobs with several models, or one of them with its models side by side."""

import time

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.service import DASHBOARD, PhotoService
from photoproc.ui.address import go
from photoproc.ui.compare import compare
from photoproc.ui.comparing import compare_new_photos, compare_with_another
from photoproc.ui.comparison import say_how_far, show_times
from photoproc.ui.decision import (
    chosen_photos,
    chosen_weight,
    forget_chosen,
    show_charts,
    show_recommendation,
    show_take_away,
)
from photoproc.ui.guard import guarded
from photoproc.ui.heading import offer_to_delete, show_title
from photoproc.ui.joblist import job_list
from photoproc.ui.links import link_token
from photoproc.ui.ranking import show_ranking
from photoproc.ui.text import escaped, plural, said, state_words
from photoproc.ui.timer import stop_timer
from photoproc.ui.trial import time_trial

_NEW = "Compare models on new photos"


def list_comparisons(photos: PhotoService) -> None:
    """All jobs with two models or more, newest first."""
    st.subheader("Compare")
    found = [job for job in photos.jobs(limit=None) if len(job.recipe.task_models) > 1]
    if not found:
        st.markdown(
            "See where models disagree about your own photos, and what each takes. "
            "Comparisons of some photos with two models or more will be listed here."
        )
        if st.button(_NEW, type="primary", icon=":material/compare:"):
            compare_new_photos(photos)
        return
    if st.button(_NEW, icon=":material/compare:"):
        compare_new_photos(photos)
    opened = job_list(photos, found[:50], now=time.time(), key="comparisons")
    if opened is not None:
        go({"job": opened})
    if len(found) > 50:
        st.caption(f"and {len(found) - 50:,} earlier ones: find them on the Jobs page")


def one_comparison(photos: PhotoService, job_id: str) -> None:
    """The models of a job: what they took, then the photos, worst first."""
    try:
        job = photos.job(job_id)
    except PhotoprocError as error:
        st.error(said(error.problem), icon=":material/error:")
        if st.button("Show all comparisons"):
            go({})
        return
    with st.container(horizontal=True):
        if st.button("All comparisons", icon=":material/arrow_back:", type="tertiary"):
            go({})
        if st.button("Open the job", icon=":material/photo_library:", type="tertiary"):
            st.switch_page("jobs.py", query_params={"job": job.id})
        offer_to_delete(photos, job, "Delete", lambda: go({}))
        if (
            len(job.recipe.models) == 1
            and job.recipe.models == job.recipe.task_models
            and st.button("Compare with another model", icon=":material/compare:", type="primary")
        ):
            compare_with_another(photos, job)
    show_title(photos, job)
    models = " · ".join(escaped(name) for name in job.recipe.models)
    st.caption(f"{plural(job.photo_count, 'photo')} with {models}")

    @st.fragment(run_every=2.0 if len(job.recipe.task_models) > 1 else None)
    @guarded
    def live() -> None:
        summed_up = photos.findings_so_far(job_id, weight=chosen_weight(job_id))
        found = summed_up.comparison
        if not found.job.state.final:
            st.caption(
                f"{state_words(found.job)}: {found.job.counts.finished:,} of {found.job.counts.total:,}"
            )
        token = link_token(photos, job_id)
        show_recommendation(summed_up)
        show_ranking(photos, job_id)
        show_take_away(summed_up, token)
        with st.expander("What each model took", expanded=True):
            show_times(found)
            time_trial(photos, job_id)
        charts = st.expander("Charts", key=f"charts-{job_id}", on_change="rerun")
        if charts.open:  # they are costly where there are thousands of photos
            with charts:
                show_charts(summed_up)
        say_how_far(found)
        one = chosen_photos(job_id)
        compare(
            found,
            token=token,
            key=f"compare-{job_id}",
            tags=photos.tags(job_id),
            editor=link_token(photos, DASHBOARD),
            chosen=None if one is None else {"label": one.label, "ids": one.places},
            on_forget=lambda: forget_chosen(job_id),
        )
        if found.job.state.final and found.measured == found.to_measure:
            stop_timer()

    live()


def main() -> None:
    """The page."""
    photos = service()
    job_id = st.query_params.get("job")
    if job_id:
        one_comparison(photos, job_id)
    else:
        list_comparisons(photos)


main()
