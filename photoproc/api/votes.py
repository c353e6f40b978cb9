"""Votes: pairs of cutouts to judge blind, what was said of them, and the ranking it comes to."""

import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from photoproc.api import pictures, shapes
from photoproc.api.callers import Gates
from photoproc.api.problems import responses
from photoproc.jobs import Job
from photoproc.judging import Choice, Ranking, Share, Standing
from photoproc.service import PhotoService
from photoproc.votebook import Slip, Vote
from photoproc.voting import ballot_pictures

_BallotId = Annotated[str, Path(pattern="^[0-9a-f]{1,7}-[0-9a-f]{32}$", description="A ballot's id.")]
_Name = Annotated[str, Field(min_length=1, max_length=200, description="Who votes, in up to 60 characters.")]
_Known = Annotated[str | None, Header(alias="If-None-Match", include_in_schema=False)]
_Which = Literal["left", "right", "original"]
_Size = Annotated[Literal["full", "small"], Query(description="The whole picture, or a small WebP of it.")]
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in pictures.CUTOUTS}},
    206: {"description": "A part of it."},
    304: {"description": "It has not changed."},
    **responses(416),
}
_LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    voter: _Name


class NextIn(_Sent):
    """Who wants a ballot, and which ones he has at hand already."""

    besides: list[Annotated[str, Field(max_length=60)]] = Field(default=[], max_length=8)


class VoteIn(_Sent):
    """What is said of a ballot."""

    choice: Choice


class BallotLinks(shapes.Shape):
    """Its pictures, which open without a key until the links expire, and where to vote."""

    left: str
    right: str
    original: str
    vote: str


class BallotOut(shapes.Shape):
    """Two cutouts of one photo. Which models made them is said once it is voted on."""

    id: str
    photo: str
    left_wh: shapes.Pair
    right_wh: shapes.Pair
    links: BallotLinks


class NextOut(shapes.Shape):
    """The ballot that is next: null where the voter has voted on all there are.

    `remaining` counts the pairs he has neither voted on nor at hand, with this one; `votes` are everybody's.
    """

    ballot: BallotOut | None
    remaining: int
    votes: int


class ProgressOut(shapes.Shape):
    """How many votes a job has, and whether they are `enough` to tell any two of its models apart (95 %)."""

    votes: int
    enough: bool


class VoteOut(shapes.Shape):
    """A vote: the models on the left and the right of the photo at this place, and what was said."""

    at: datetime
    voter: str
    place: int
    left: str
    right: str
    choice: Choice


class VotesOut(shapes.Shape):
    """Votes in the order they were given, of `total`."""

    items: list[VoteOut]
    total: int


class ShareOut(shapes.Shape):
    """A share of `total` with its 95 % interval (Wilson)."""

    share: float
    low: float
    high: float
    total: float


class StandingOut(shapes.Shape):
    """A model: its Bradley–Terry strength (natural logarithm, mean 0) with a bootstrap 95 % interval, how
    often it was preferred where it was shown (a tie, and both bad, count half), and
    in how many votes both were called bad."""

    model: str
    strength: float
    low: float | None
    high: float | None
    preferred: ShareOut
    bad: int


class RankingOut(shapes.Shape):
    """The models, best first. `enough`: the votes tell at least two apart, with 95 %; `ahead`: the first
    from the second. `left` is how often the left side won where one did; `side_bias`: not by chance.
    `both_bad` is in how many of all votes both were called bad."""

    votes: int
    enough: bool
    ahead: bool
    side_bias: bool
    left: ShareOut
    both_bad: ShareOut
    standings: list[StandingOut]


def create(service: Callable[[], PhotoService], gates: Gates) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["votes"])
    Read = Annotated[Job, Depends(gates.reader)]  # noqa: N806, a type
    Voted = Annotated[Job, Depends(gates.voter)]  # noqa: N806
    Seen = Annotated[Job, Depends(gates.onlooker)]  # noqa: N806

    @router.post("/jobs/{job_id}/ballots", summary="Get a ballot", responses=responses(409))
    def hand_out(job: Voted, sent: NextIn) -> NextOut:
        """The pair of cutouts to be judged next, the one that tells most first. Until it is voted on, who
        asks again gets the same, and nobody else gets it for five minutes while there are others."""
        found = service().next_ballot(job.id, sent.voter, besides=sent.besides)
        ballot = None if found.slip is None else _ballot(service(), job, found.slip)
        return NextOut(ballot=ballot, remaining=found.left, votes=found.votes)

    @router.get("/jobs/{job_id}/ballots", summary="See how far the votes are")
    def progress(job: Voted) -> ProgressOut:
        """How many votes there are, and whether they tell models apart; not which is ahead."""
        found = service().ranking(job.id)
        return ProgressOut(votes=found.votes if found else 0, enough=found is not None and found.enough)

    @router.get(
        "/jobs/{job_id}/ballots/{ballot}/pictures/{which}",
        summary="Get a ballot's picture",
        response_class=Response,
        responses=_PICTURES,
    )
    def picture(
        job: Seen, ballot: _BallotId, which: _Which, size: _Size = "full", known: _Known = None
    ) -> Response:
        """A cutout of a ballot, or a small WebP of the same part of the photo; not by which model it is."""
        if which == "original":
            return _picture(service().ballot_photo(job.id, ballot), f"{ballot} original", known)
        full, small, cutout = service().ballot_cutout(job.id, ballot, which)
        return _picture(full if size == "full" else small, f"{ballot} {which} {size} {cutout.sha256}", known)

    @router.post("/jobs/{job_id}/ballots/{ballot}/vote", summary="Vote")
    def vote(job: Voted, ballot: _BallotId, sent: VoteIn) -> VoteOut:
        """Say which cutout is better, and learn which was which. Said again it stays one vote, the first."""
        return _vote(service().vote(job.id, ballot, sent.voter, sent.choice))

    @router.delete("/jobs/{job_id}/ballots/{ballot}/vote", summary="Take a vote back")
    def undo(
        job: Voted,
        ballot: _BallotId,
        voter: Annotated[str, Query(min_length=1, max_length=60, pattern=r"\S")],
    ) -> BallotOut:
        """Take a vote back; answers the pair again, under another id."""
        return _ballot(service(), job, service().undo(job.id, ballot, voter))

    @router.get("/jobs/{job_id}/votes", summary="List votes")
    def votes(
        job: Read,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> VotesOut:
        """All votes of a job, in the order they were given."""
        found = service().votes(job.id)
        return VotesOut(items=[_vote(one) for one in found[offset : offset + limit]], total=len(found))

    @router.get("/jobs/{job_id}/ranking", summary="Rank a job's models")
    def ranking(job: Read) -> RankingOut:
        """The models by their votes (Bradley and Terry), best first; none before the first vote."""
        return _ranking(service().ranking(job.id))

    return router


def _ballot(service: PhotoService, job: Job, slip: Slip) -> BallotOut:
    _, tasks = service.ballot(job.id, slip.id)
    left, right = tasks["left"].cutout, tasks["right"].cutout
    assert left is not None
    assert right is not None
    here, token = f"{shapes.BASE}/jobs/{job.id}/ballots/{slip.id}", service.sign(ballot_pictures(job.id))
    return BallotOut(
        id=slip.id,
        photo=tasks["left"].photo.name,
        left_wh=left.size_wh,
        right_wh=right.size_wh,
        links=BallotLinks(
            left=f"{here}/pictures/left?token={token}",
            right=f"{here}/pictures/right?token={token}",
            original=f"{here}/pictures/original?token={token}",
            vote=f"{here}/vote",
        ),
    )


def _picture(path: FilePath, what: str, known: str | None) -> Response:
    """A file without what would tell where it comes from: its hash, its name, when it was written."""
    tag = hashlib.sha256(what.encode()).hexdigest()[:32]
    found = pictures.send_file(path, pictures.TYPE_OF_SUFFIX[path.suffix], tag, known)
    found.headers["Last-Modified"] = _LONG_AGO
    return found


def _vote(one: Vote | Slip) -> VoteOut:
    assert one.choice is not None
    return VoteOut(
        at=datetime.fromtimestamp(one.at, UTC),
        voter=one.voter,
        place=one.place,
        left=one.left,
        right=one.right,
        choice=one.choice,
    )


def _ranking(found: Ranking | None) -> RankingOut:
    if found is None:
        nothing = ShareOut(share=0.5, low=0, high=1, total=0)
        return RankingOut(
            votes=0,
            enough=False,
            ahead=False,
            side_bias=False,
            left=nothing,
            both_bad=nothing,
            standings=[],
        )
    return RankingOut(
        votes=found.votes,
        enough=found.enough,
        ahead=found.ahead,
        side_bias=found.side_bias,
        left=_share(found.left),
        both_bad=_share(found.both_bad),
        standings=[_standing(one) for one in found.standings],
    )


def _standing(one: Standing) -> StandingOut:
    return StandingOut(
        model=one.model,
        strength=one.strength,
        low=one.low if math.isfinite(one.low) else None,
        high=one.high if math.isfinite(one.high) else None,
        preferred=_share(one.preferred),
        bad=one.bad,
    )


def _share(found: Share) -> ShareOut:
    return ShareOut(share=found.share, low=found.low, high=found.high, total=found.total)
