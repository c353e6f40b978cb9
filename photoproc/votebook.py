"""The votes of a job, and the pairs of cutouts that are handed out to be voted on.

    ballots:<job>          how many pairs were ever handed out, and how often a vote was given or taken back
    ballots:<job>:<k>      the pairs with their votes, thirty-two a record

A pair has an id that only its voter knows: whatever is said of it twice is one vote. Each change is one
transaction, in which the job must still be there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from photoproc.errors import ServiceError, not_found
from photoproc.judging import Choice
from photoproc.ledger import Ledger
from photoproc.pairing import Pair

PER_RECORD = 32
"""With the longest names there are, 24 KiB."""
RESERVED_S = 300.0
"""So long a pair is one voter's alone, as far as there are others."""
_KEPT_S = 86_400.0
"""After so long without a vote, a pair's place is given to another; its id is worth nothing then."""
_RENEWED_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """A pair of cutouts of one photo, as handed to a voter; with `choice`, it is a vote.

    `at` is when it was handed out or voted on, wall time.
    """

    id: str
    voter: str
    place: int
    left: str
    right: str
    at: float
    choice: Choice | None = None

    @property
    def pair(self) -> Pair:
        """The pair, whatever the sides."""
        return Pair.of(self.place, self.left, self.right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What a voter said of two models' cutouts of the photo at this place of the job."""

    at: float
    voter: str
    place: int
    left: str
    right: str
    choice: Choice


class Votebook(Ledger):
    """The records of votes. What is handed out and said at the same time is done one after the other."""

    def votes(self, job_id: str) -> list[Vote]:
        """All votes of a job, in the order they were given; none where it is deleted."""
        found = [_vote_of(slip, slip.choice) for slip in self._slips(job_id) if slip.choice is not None]
        return sorted(found, key=lambda vote: vote.at)

    def votes_revision(self, job_id: str) -> int:
        """Counts up whenever a vote is given or taken back."""
        return int(self._head(job_id)["revision"])

    def slip(self, job_id: str, slip_id: str) -> Slip:
        """A pair that was handed out; raises ballot_gone."""
        number = _number(slip_id)
        chunk = self._db.get(_key(job_id, number), [])
        if number % PER_RECORD >= len(chunk) or chunk[number % PER_RECORD]["id"] != slip_id:
            raise ballot_gone()
        return _slip_of(chunk[number % PER_RECORD])

    def hand_out(
        self,
        job_id: str,
        voter: str,
        *,
        token: str,
        now: float,
        besides: Sequence[str],
        choose: Callable[[Sequence[Slip]], tuple[int, str, str] | Slip | None],
    ) -> Slip | None:
        """Hand a pair to a voter, and keep those he has for him; raises not_found.

        `choose` is told of all that was handed out and says which pair is next, as a place and the models
        on the left and right, or which of the voter's own again. It runs in the transaction: no two voters
        are given one pair without its knowing. `besides` are ids of pairs he has at hand.
        """
        with self._db.change() as cache:
            if cache.get(f"job:{job_id}") is None:
                raise not_found("job")
            slips = self._slips(job_id)
            for slip in slips:
                if slip.voter == voter and slip.choice is None and slip.id in besides:
                    self._renew(job_id, slip, now)
            chosen = choose(slips)
            if chosen is None:
                return None
            if isinstance(chosen, Slip):
                return self._renew(job_id, chosen, now)
            head = self._head(job_id)
            void = (slip for slip in slips if _is_void(slip, now) and slip.id not in besides)
            number = next((_number(slip.id) for slip in void), head["count"])
            place, left, right = chosen
            fresh = Slip(id=f"{number:x}-{token}", voter=voter, place=place, left=left, right=right, at=now)
            self._put_slip(job_id, number, fresh)
            cache.set(_head_key(job_id), head | {"count": max(head["count"], number + 1)})
            return fresh

    def cast(self, job_id: str, slip_id: str, voter: str, choice: Choice, *, now: float) -> Slip:
        """Make a pair a vote; where it is one, it stays as it is. Raises ballot_gone."""
        with self._db.change():
            slip = self._of_voter(job_id, slip_id, voter)
            if slip.choice is not None:
                return slip
            return self._changed(job_id, replace(slip, choice=choice, at=now))

    def take_back_vote(self, job_id: str, slip_id: str, voter: str, *, token: str, now: float) -> Slip:
        """Make a vote a pair without one, with another id: what was said of it late is not said again.

        Raises ballot_gone.
        """
        with self._db.change():
            slip = self._of_voter(job_id, slip_id, voter)
            if slip.choice is None:
                return slip
            anew = f"{_number(slip_id):x}-{token}"
            return self._changed(job_id, replace(slip, id=anew, choice=None, at=now))

    def _changed(self, job_id: str, slip: Slip) -> Slip:
        self._put_slip(job_id, _number(slip.id), slip)
        head = self._head(job_id)
        self._db.cache.set(_head_key(job_id), head | {"revision": head["revision"] + 1})
        return slip

    def _of_voter(self, job_id: str, slip_id: str, voter: str) -> Slip:
        slip = self.slip(job_id, slip_id)
        if slip.voter != voter:
            raise ballot_gone()
        return slip

    def _renew(self, job_id: str, slip: Slip, now: float) -> Slip:
        if abs(now - slip.at) < _RENEWED_S:
            return slip
        slip = replace(slip, at=now)
        self._put_slip(job_id, _number(slip.id), slip)
        return slip

    def _put_slip(self, job_id: str, number: int, slip: Slip) -> None:
        chunk = list(self._db.cache.get(_key(job_id, number), []))
        chunk[number % PER_RECORD :] = [asdict(slip), *chunk[number % PER_RECORD + 1 :]]
        self._db.cache.set(_key(job_id, number), chunk)

    def _slips(self, job_id: str) -> list[Slip]:
        """All that was handed out, in order."""
        keys = [_key(job_id, number) for number in range(0, self._head(job_id)["count"], PER_RECORD)]
        kept = self._db.get_many(keys)
        return [_slip_of(record) for key in keys for record in kept.get(key, [])]

    def _head(self, job_id: str) -> dict[str, int]:
        return dict(self._db.get(_head_key(job_id), {"count": 0, "revision": 0}))

    def _forget_votes(self, job_id: str) -> None:
        """Delete all of it; in the transaction that deletes the job."""
        for number in range(0, self._head(job_id)["count"], PER_RECORD):
            self._db.cache.delete(_key(job_id, number))
        self._db.cache.delete(_head_key(job_id))


def ballot_gone() -> ServiceError:
    """The error for a pair that this voter was not handed, or whose id is worth nothing any more."""
    return ServiceError(
        "ballot_gone",
        "There is no such pair to vote on any more: it was given to somebody else, or taken back.",
        "Ask for the next one.",
    )


def is_reserved(slip: Slip, now: float) -> bool:
    """Whether its voter is likely to be looking at it.

    By wall time, which several servers share: where it jumps, two may see one pair, and no vote is lost.
    """
    return slip.choice is None and abs(now - slip.at) < RESERVED_S


def _is_void(slip: Slip, now: float) -> bool:
    return slip.choice is None and now - slip.at > _KEPT_S


def _vote_of(slip: Slip, choice: Choice) -> Vote:
    return Vote(
        at=slip.at, voter=slip.voter, place=slip.place, left=slip.left, right=slip.right, choice=choice
    )


def _slip_of(record: Mapping[str, Any]) -> Slip:
    choice = record["choice"]
    return Slip(**{**record, "choice": None if choice is None else Choice(choice)})


def _number(slip_id: str) -> int:
    """Which of the job's pairs an id is of; raises ballot_gone."""
    head, _, token = slip_id.partition("-")
    if not 0 < len(head) <= 7 or not token or any(char not in "0123456789abcdef" for char in head):
        raise ballot_gone()
    return int(head, 16)


def _head_key(job_id: str) -> str:
    return f"ballots:{job_id}"


def _key(job_id: str, number: int) -> str:
    return f"ballots:{job_id}:{number // PER_RECORD}"
