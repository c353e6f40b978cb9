"""Signed links: a token opens one thing (a job, an upload) until it expires."""

import threading
from collections import OrderedDict

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from photoproc.errors import ServiceError

_KEPT = 10_000


class Links:
    """Signs and checks tokens. Thread-safe."""

    def __init__(self, key: str, *, lifetime_s: int) -> None:
        self._signer = URLSafeTimedSerializer(key, salt="photoproc-link")
        self._lifetime_s = lifetime_s
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def sign(self, subject: str) -> str:
        """A token for a subject, good for half its lifetime at least.

        Asked again it is mostly the same, so that what a browser keeps under an address is used again.
        """
        with self._lock:
            token = self._kept.get(subject, "")
            if not token or self._has_aged(token):
                token = self._kept[subject] = self._signer.dumps(subject)
            self._kept.move_to_end(subject)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return token

    def _has_aged(self, token: str) -> bool:
        """Whether half its lifetime is over by the clock that `check` goes by, or that clock was set back."""
        try:
            self._signer.loads(token, max_age=self._lifetime_s // 2)
        except BadSignature:
            return True
        return False

    def subject(self, token: str) -> str | None:
        """What a token opens; None where it is not one, or has expired."""
        try:
            return str(self._signer.loads(token, max_age=self._lifetime_s))
        except BadSignature:
            return None

    def check(self, subject: str, token: str) -> None:
        """Raise ServiceError link_expired or link_invalid unless the token opens this subject."""
        try:
            signed = self._signer.loads(token, max_age=self._lifetime_s)
        except SignatureExpired as error:
            raise ServiceError(
                "link_expired", "This link has expired.", "Open the job's page again for a fresh one."
            ) from error
        except BadSignature as error:
            raise _bad_link() from error
        if signed != subject:
            raise _bad_link()


def _bad_link() -> ServiceError:
    return ServiceError("link_invalid", "This link is not valid.", "Open the job's page for a fresh one.")
