"""Sessions of the dashboard: who has signed in has a cookie, and need not show a password again.

A cookie is 256 random bits, of which memory has the SHA-256 alone. A session ends when its owner signs out,
when nobody has used it for `IDLE_S`, after `LONGEST_S`, when what it was begun with is good no more (a key
that was revoked, a password that was changed), and with the process.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from bridge.admin.scopes import Principal

COOKIE = "hookmq_session"
IDLE_S = 12 * 3600.0
LONGEST_S = 7 * 86400.0
MAX_SESSIONS = 1000
MAX_OF_ONE = 32
"""Sessions of one caller: whoever signs in again and again ends his own ones, not those of others."""
MAX_TOKEN = 128
"""Characters of a cookie that is looked at at all."""


class Session:
    """One session. `csrf` is what its page has to send along with each request that changes something."""

    __slots__ = ("began", "csrf", "digest", "principal", "source", "used")

    def __init__(
        self, digest: bytes, source: Principal, lives: Callable[[Session], bool], now: float
    ) -> None:
        self.digest = digest
        self.csrf = secrets.token_urlsafe(32)
        self.source = source  # as whom it was begun
        self.principal = source._replace(session=self, valid=lambda: lives(self))
        self.began = self.used = now


class Sessions:
    """All of them. `clock` gives seconds that only grow. For the loop's thread only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()  # the one that was used last is the last

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, principal: Principal) -> tuple[str, Session]:
        """A session for whoever has shown who he is; its cookie's value, which nobody can show again."""
        for one in [one for one in self._sessions.values() if self._ended(one)]:
            self.end(one)
        own = [one for one in self._sessions.values() if one.principal.name == principal.name]
        for one in own[: max(len(own) - MAX_OF_ONE + 1, 0)]:
            self.end(one)
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        token = secrets.token_urlsafe(32)
        made = Session(_digest(token), principal, self._lives, self._clock())
        self._sessions[made.digest] = made
        return token, made

    def find(self, token: str) -> Session | None:
        """The session of that cookie, which is being used by this; None where there is none any more."""
        if not token or len(token) > MAX_TOKEN:
            return None
        found = self._sessions.get(_digest(token))
        if found is None or not self._lives(found):
            return None
        self.use(found)
        return found

    def use(self, session: Session) -> None:
        """Somebody works with it."""
        if session.digest in self._sessions:
            session.used = self._clock()
            self._sessions.move_to_end(session.digest)

    def end(self, session: Session) -> None:
        """Its cookie is good for nothing from now on."""
        self._sessions.pop(session.digest, None)

    def _lives(self, session: Session) -> bool:
        if session.digest not in self._sessions:
            return False
        if self._ended(session):
            self.end(session)
            return False
        return True

    def _ended(self, session: Session) -> bool:
        now = self._clock()
        too_old = now - session.used > IDLE_S or now - session.began > LONGEST_S
        return too_old or not session.source.valid()


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
