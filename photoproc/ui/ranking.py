"""What the votes on a comparison come to: its models, best first, and how much is known of that."""

import math

import streamlit as st

from photoproc.judging import Ranking, Share, Standing
from photoproc.ui.text import escaped, plural

_MEANT = """Preferred: in how many of its votes, with Wilson’s 95 % interval; a tie counts half, and so does a
vote that both were bad. Strength: Bradley and Terry’s, natural logarithm, 0 in the mean of the models; its
95 % interval is by bootstrap. Votes are blind: who votes is not told which model is on which side."""
_MANY_BAD = 0.25
"""Of the votes: what is ahead may then still not be good enough."""


SHOW, RANKING = "show", "ranking"
"""What is in the address of a comparison whose ranking is to be seen at once."""


def show_votes(job_id: str, found: Ranking | None, *, pairs: bool) -> None:
    """The way to vote on a job, once it has pairs of cutouts; and what the votes say so far."""
    with st.container(horizontal=True, vertical_alignment="center"):
        enough = found is not None and found.enough
        if st.button(
            "Vote",
            icon=":material/how_to_vote:",
            key=f"vote-on-{job_id}",
            type="secondary" if enough or not pairs else "primary",
            disabled=not pairs,
        ):
            st.switch_page("vote.py", query_params={"job": job_id})
        if not pairs:
            st.caption("There is nothing to vote on yet: no photo has cutouts of two models.")
            return
        st.caption(_state(found), help=None if found is None else _MEANT)


def show_ranking(found: Ranking) -> None:
    """The models of a job by their votes."""
    st.markdown(_table(found))
    if found.both_bad.share > _MANY_BAD and found.votes:
        bad = round(found.both_bad.share * found.votes)
        st.caption(f"In {bad:,} of {plural(found.votes, 'vote')} both were called bad.")
    if found.side_bias:
        won = "left" if found.left.share > 0.5 else "right"
        share = found.left.share if won == "left" else 1 - found.left.share
        st.caption(
            f"The {won} side won {share:.0%} of the {found.left.total:.0f} votes that one side won, more "
            "than chance explains. Sides are drawn at random: no model gains by it, but the votes say less."
        )


def _state(found: Ranking | None) -> str:
    if found is None:
        return "No votes yet: choose between cutouts without knowing which model made them."
    if not found.enough:
        return (
            f"Not enough votes yet: {plural(found.votes, 'vote')} cannot tell any two of the models apart. "
            "Vote on, ask other people to, or compare more photos."
        )
    first, second = (escaped(one.model) for one in found.standings[:2])
    if found.ahead:
        return f"{plural(found.votes, 'vote')}: {first} is ahead of {second}."
    return f"{plural(found.votes, 'vote')}: {first} and {second} cannot be told apart yet."


def _table(found: Ranking) -> str:
    head = ["Model", "Preferred", "Strength", "Both bad"]
    rows = [
        [
            f"**{escaped(one.model)}**",
            _preferred(one.preferred),
            _strength(one),
            f"{one.bad:,}",
        ]
        for one in found.standings
    ]
    lines = [head, [":--", *["--:"] * 3], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _preferred(found: Share) -> str:
    if not found.total:
        return "–"
    return f"{found.share:.0%} of {found.total:,.0f} ({found.low:.0%} to {found.high:.0%})"


def _strength(one: Standing) -> str:
    if not math.isfinite(one.low):
        return "–"
    low, high = (f"{value:+.2f}".replace("-", "−") for value in (one.low, one.high))
    return f"{one.strength:+.2f} ({low} to {high})".replace("-", "−")
