"""Which tasks are given to a child together, for a card to run their model once, and which alone."""

from collections.abc import Callable, Sequence

from photoproc.hardware import Hardware
from photoproc.recipe import NO_MODEL
from photoproc.records import Claim

_MOST_APART = 1000
"""Tasks that are remembered to run alone; those of the longest ago are forgotten first."""


class Gathering:
    """Knows what may share a call.

    A task whose call ended with its child, while it shared it, runs alone from then on: nobody knows which of
    them it was. That is kept in memory only; a server that forgets it learns it again.
    """

    def __init__(self, hardware: Hardware, most: int) -> None:
        """`most` is how many tasks may share a call."""
        self._hardware = hardware
        self._most = most
        self._apart: dict[tuple[str, int], None] = {}

    def places(self, claim: Claim) -> int:
        """How many tasks may share a call with this one, itself included.

        One of several models is alone, because their times are compared.
        """
        several = len(claim.recipe.models) > 1
        if several or claim.model == NO_MODEL or (claim.job_id, claim.number) in self._apart:
            return 1
        return self._hardware.at_once(claim.model, self._most)

    def gathered(self, claim: Claim, more: Callable[[], Claim | None], calls: int) -> list[Claim]:
        """A task, and what else is queued now to share its call, or one of so many calls.

        `more` claims the next one for its model. The last of them may be one that has to be alone, which only
        shows once it is claimed.
        """
        claims, places = [claim], self.places(claim)
        while places > 1 and len(claims) < places * calls:
            another = more()
            if another is None:
                break
            claims.append(another)
            if self.places(another) == 1:
                break
        return claims

    def dealt(self, claims: Sequence[Claim], calls: int) -> list[list[Claim]]:
        """The same tasks by the call they are to share: as many in each of so many calls, or one more.

        Those that are alone have calls of their own besides.
        """
        alone = [[claim] for claim in claims if self.places(claim) == 1]
        sharing = [claim for claim in claims if self.places(claim) > 1]
        calls = min(calls, len(sharing))
        return [*(sharing[place::calls] for place in range(calls)), *alone]

    def set_apart(self, claim: Claim) -> None:
        """It shared a call that ended with its child: it runs alone from now on."""
        self._apart[claim.job_id, claim.number] = None
        if len(self._apart) > _MOST_APART:
            del self._apart[next(iter(self._apart))]

    def forget(self, claim: Claim) -> None:
        """It is over."""
        self._apart.pop((claim.job_id, claim.number), None)
