"""Blind votes: two cutouts of one photo, whose models nobody is told before he has said which is better."""

import threading
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from photoproc import judging, pairing
from photoproc.blobs import Blobs
from photoproc.clock import Clock
from photoproc.comparison import distance_of
from photoproc.engine import Engine
from photoproc.errors import InputError, ServiceError
from photoproc.jobs import STATE_OF_CODE, Cutout, Task, TaskState
from photoproc.judging import Ballot, Choice, Ranking
from photoproc.names import display_name
from photoproc.pairing import Pair
from photoproc.store import Store
from photoproc.votebook import Slip, Vote, ballot_gone, is_reserved

Side = Literal["left", "right"]

LONGEST_NAME = 60
_RANKINGS = 64
"""Kept, of the jobs last asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBallot:
    """What a voter is asked next: None where he has said something of all pairs there are.

    `left` counts the pairs he has neither voted on nor at hand, with this one; `votes` are everybody's.
    """

    slip: Slip | None
    left: int
    votes: int


class Voting:
    """The part of the service that asks people which model is better."""

    def __init__(self, *, store: Store, blobs: Blobs, previewer: Engine, clock: Clock) -> None:
        self._book = store
        self._outputs = blobs
        self._ranks, self._time = previewer, clock
        self._ranking = threading.Lock()
        self._rankings: dict[str, tuple[int, Ranking]] = {}

    def next_ballot(self, job_id: str, voter: str, *, besides: Sequence[str] = ()) -> NextBallot:
        """The pair that a voter is to be asked about; asked again it is the same until he has voted on it.

        With `besides`, the ids of pairs he has at hand, it is another than those. No other voter gets it for
        five minutes while there are others to be had. Raises not_found, InputError voter_name, one_model
        and nothing_to_vote.
        """
        name, known = _voter(voter), self._pairs(job_id)
        now, seed = self._time.now(), uuid.uuid4().hex
        left = votes = 0

        def choose(slips: Sequence[Slip]) -> tuple[int, str, str] | Slip | None:
            nonlocal left, votes
            votes = sum(slip.choice is not None for slip in slips)
            done = {slip.pair for slip in slips if slip.voter == name and slip.choice is not None}
            others = {slip.pair for slip in slips if slip.voter != name and is_reserved(slip, now)}
            own = [slip for slip in slips if slip.voter == name and slip.choice is None]
            at_hand = {slip.pair for slip in own if slip.id in besides}
            mine = done | at_hand
            left = sum(pair not in mine for pair in known)
            for slip in own:
                free = is_reserved(slip, now) or slip.pair not in others
                if slip.id not in besides and slip.pair in known and slip.pair not in done and free:
                    return slip
            asked = [slip.pair for slip in slips if slip.choice is not None or is_reserved(slip, now)]
            pair = pairing.next_pair(known, asked=asked, mine=mine, reserved=others, seed=seed)
            return None if pair is None else (pair.place, *pairing.sides(pair, seed))

        slip = self._book.hand_out(
            job_id, name, token=uuid.uuid4().hex, now=now, besides=besides, choose=choose
        )
        return NextBallot(slip=slip, left=left, votes=votes)

    def ballot(self, job_id: str, ballot_id: str) -> tuple[Slip, Mapping[Side, Task]]:
        """A pair that was handed out, with the task on each side.

        Raises ballot_gone, not_found, and cutout_gone where a cutout is not there meanwhile.
        """
        slip = self._book.slip(job_id, ballot_id)
        models = self._book.job(job_id).recipe.task_models
        if slip.left not in models or slip.right not in models:
            raise ballot_gone()
        numbers = [slip.place * len(models) + models.index(name) for name in (slip.left, slip.right)]
        left, right = self._book.tasks(job_id, numbers)
        if left.cutout is None or right.cutout is None:
            raise ServiceError(
                "cutout_gone",
                "A cutout of this pair is not there at the moment.",
                "Ask again in a moment; if it stays, process these photos again.",
            )
        return slip, {"left": left, "right": right}

    def ballot_cutout(self, job_id: str, ballot_id: str, side: Side) -> tuple[Path, Path, Cutout]:
        """The files of the cutout on one side, whole and small; raises as `ballot` does."""
        cutout = self.ballot(job_id, ballot_id)[1][side].cutout
        assert cutout is not None
        return self._outputs.output(job_id, cutout.file), self._outputs.output(job_id, cutout.preview), cutout

    def ballot_photo(self, job_id: str, ballot_id: str) -> Path:
        """The file of a small WebP of the photo, cut as the cutout on the left; raises as `ballot` does."""
        cutout = self.ballot(job_id, ballot_id)[1]["left"].cutout
        assert cutout is not None
        return self._outputs.output(job_id, cutout.before)

    def vote(self, job_id: str, ballot_id: str, voter: str, choice: Choice) -> Slip:
        """Say which of a pair is better; once it is said, that stays, whatever is said again.

        Raises ballot_gone, also where the pair was handed to somebody else.
        """
        return self._book.cast(job_id, ballot_id, _voter(voter), choice, now=self._time.now())

    def undo(self, job_id: str, ballot_id: str, voter: str) -> Slip:
        """Take a vote back; the pair has another id then. Raises ballot_gone."""
        token = uuid.uuid4().hex
        return self._book.take_back_vote(job_id, ballot_id, _voter(voter), token=token, now=self._time.now())

    def votes(self, job_id: str) -> list[Vote]:
        """The votes of a job, in the order they were given; raises not_found."""
        self._book.standing(job_id)
        return self._book.votes(job_id)

    def ranking(self, job_id: str) -> Ranking | None:
        """A job's models by their votes, best first; None before the first. Raises not_found.

        Fitted in a child when votes have changed, else as it was.
        """
        revision, kept = self._book.votes_revision(job_id), self._rankings.get(job_id)
        if kept is not None and kept[0] == revision:
            return kept[1]
        models = self._book.job(job_id).recipe.task_models
        with self._ranking:
            revision, kept = self._book.votes_revision(job_id), self._rankings.get(job_id)
            if kept is not None and kept[0] == revision:
                return kept[1]
            ballots = [Ballot(vote.left, vote.right, vote.choice) for vote in self._book.votes(job_id)]
            if not ballots:
                return None
            found = self._ranks.result(self._ranks.submit(judging.rank, models, ballots))
            others = [one for one in self._rankings.items() if one[0] != job_id][1 - _RANKINGS :]
            self._rankings = {**dict(others), job_id: (revision, found)}
            return found

    def _pairs(self, job_id: str) -> dict[Pair, float | None]:
        """The pairs of a job that can be voted on, with their disagreement where it was measured."""
        job = self._book.job(job_id)
        models = job.recipe.task_models
        if len(models) < 2:
            raise InputError(
                "one_model",
                f"“{job.title}” was processed with one model: there is nothing to choose between.",
                "Process its photos again with two models or more.",
            )
        done = [STATE_OF_CODE[code] is TaskState.DONE for code in self._book.states(job_id)]
        rows = {
            place: [name for lane, name in enumerate(models) if done[place * len(models) + lane]]
            for place in range(job.photo_count)
        }
        apart = self._book.distances(job_id, job.photo_count)
        known = {pair: _between(apart.get(pair.place), pair) for pair in pairing.pairs_of(rows)}
        if not known:
            raise ServiceError(
                "nothing_to_vote",
                f"No photo of “{job.title}” has cutouts by two models"
                + (" yet." if not job.state.final else "."),
                "Wait until some are done." if not job.state.final else "Retry the tasks that failed.",
            )
        return known


def _between(kept: Mapping[str, object] | None, pair: Pair) -> float | None:
    distance = None if kept is None else distance_of(kept)
    if distance is None or pair.one not in distance.apart or pair.other not in distance.apart:
        return None
    return pairing.between(distance.apart, pair.one, pair.other)


def _voter(given: str) -> str:
    """A voter's name as it is kept; raises InputError voter_name."""
    name = display_name(" ".join(unicodedata.normalize("NFC", given).split())) if given.strip() else ""
    if not name or len(name) > LONGEST_NAME:
        raise InputError(
            "voter_name",
            "A vote needs the name of who gives it."
            if not name
            else f"A voter's name has {LONGEST_NAME} characters at most.",
            f"Say who you are, in 1 to {LONGEST_NAME} characters.",
        )
    return name


def voting(job_id: str) -> str:
    """What a link is signed for that lets people vote on a job: pictures' links do not."""
    return f"vote:{job_id}"


def ballot_pictures(job_id: str) -> str:
    """What a link is signed for that opens the pictures of a job's ballots, and nothing that tells models."""
    return f"ballot:{job_id}"
