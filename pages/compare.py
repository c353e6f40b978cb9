"""Compare: the jobs with several models, or one of them with its models side by side."""

import time
from contextlib import suppress
from typing import Any

import streamlit as st

from photoproc.bootstrap import service
from photoproc.errors import PhotoprocError
from photoproc.service import PhotoService
from photoproc.ui.address import go
from photoproc.ui.compare import compare
from photoproc.ui.comparing import compare_new_photos, compare_with_another
from photoproc.ui.comparison import say_how_far, show_times
from photoproc.ui.decision import (
    chosen_photos,
    chosen_weight,
    forget_unwanted,
    show_charts,
    show_recommendation,
    show_take_away,
    turn_of,
)
from photoproc.ui.guard import guarded
from photoproc.ui.heading import offer_to_delete, show_title, show_while_there
from photoproc.ui.job import say_what_is_missing
from photoproc.ui.joblist import job_list
from photoproc.ui.links import link_token
from photoproc.ui.ranking import RANKING, SHOW, show_ranking, show_votes
from photoproc.ui.recipe_words import recipe_words, say_how_cropped
from photoproc.ui.status import say_what_holds_up
from photoproc.ui.text import escaped, plural, said, state_words
from photoproc.ui.timer import redraw_soon, stop_timer, this_fragment
from photoproc.ui.trial import time_trial, trial_runs
from photoproc.ui.visitor import comparisons, dashboard_link, offer_to_share, opened, visitor

_NEW = "Compare models on new photos"
_LOOK_EVERY_S = 5.0
"""How often it looks whether there are votes, or times, that the page does not show yet."""


def list_comparisons(photos: PhotoService) -> None:
    """All jobs with two models or more, newest first."""
    st.subheader("Compare")
    found = comparisons(photos)
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
        job = opened(photos, job_id)
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
        mine = visitor(photos).may_change(job)
        if mine:
            offer_to_share(photos, job)
            offer_to_delete(photos, job, "Delete", lambda: go({}), plain=True)
        if (
            len(job.recipe.models) == 1
            and job.recipe.models == job.recipe.task_models
            and st.button("Compare with another model", icon=":material/compare:", type="primary")
        ):
            compare_with_another(photos, job)
    show_title(photos, job, may_change=mine)
    facts = f"{plural(job.photo_count, 'photo')} · {escaped(recipe_words(job.recipe))}"
    show_while_there(photos, job_id, lambda: st.caption(facts))
    say_how_cropped(job.recipe)

    several, drawn = len(job.recipe.task_models) > 1, dict[str, Any]()

    @st.fragment(run_every=2.0 if several else None)
    @guarded
    def live() -> None:
        opened(photos, job_id)  # it may not be shared any more
        forget_unwanted(job_id, st.session_state.get(f"compare-{job_id}"))
        summed_up = photos.findings_so_far(job_id, weight=chosen_weight(job_id))
        found = summed_up.comparison
        if not found.job.state.final:
            st.caption(
                f"{state_words(found.job)}: {found.job.counts.finished:,} of {found.job.counts.total:,}"
            )
            say_what_holds_up(photos, [found.job])
            say_what_is_missing(photos, found.job)
        token = link_token(photos, job_id)
        show_recommendation(summed_up)
        show_votes(job_id, summed_up.ranking, pairs=found.to_measure > 0)
        show_take_away(summed_up, token)
        # Closed, so that the photos are in sight; what is under way, or asked for, is open.
        votes = st.container()  # also without any, so that what is below stays as it is with the first
        if summed_up.ranking is not None:
            with votes, st.expander("Votes", expanded=st.query_params.get(SHOW) == RANKING):
                show_ranking(summed_up.ranking)
        with st.expander(
            "What each model took, and time trial",
            expanded=st.session_state.setdefault(f"times-{job_id}", trial_runs(photos, job_id)),
        ):  # another answer later would close it when the trial has ended
            show_times(found)
            time_trial(photos, job_id, may_run=mine)
        charts = st.expander("Charts", key=f"charts-{job_id}", on_change="rerun")
        if charts.open:  # they are costly where there are thousands of photos
            with charts:
                show_charts(summed_up)
        say_how_far(found)
        one = chosen_photos(found)
        compare(
            found,
            token=token,
            key=f"compare-{job_id}",
            tags=photos.tags(job_id),
            editor=dashboard_link(photos) if mine else "",
            chosen=None if one is None else {"label": one.label, "ids": one.places, "turn": turn_of(job_id)},
        )
        if found.job.state.final and found.measured == found.to_measure:
            stop_timer()
        drawn.update(at=summed_up.made_at, fragment=this_fragment())  # last: else it is not drawn yet

    live()

    @st.fragment(run_every=_LOOK_EVERY_S if several else None)
    def watch() -> None:
        with suppress(PhotoprocError):  # the page itself says it
            if drawn and photos.findings_so_far(job_id).made_at != drawn["at"]:
                redraw_soon(drawn["fragment"])

    watch()


def main() -> None:
    """The page."""
    photos = service()
    job_id = st.query_params.get("job")
    if job_id:
        one_comparison(photos, job_id)
    else:
        list_comparisons(photos)


main()
