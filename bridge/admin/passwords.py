"""`http_server.username` and `password`: the latter as it is, or a hash as `hookmq passwd` writes it.

A plain one is compared at once and in constant time; a hash in a thread of its own, and what was right before
is known again without it (`bridge.broker.auth_hashes`). Whatever is wrong takes the same way, so that the
time tells nobody whether it was the user or the password.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from hashlib import sha256

from bridge.broker.auth_hashes import HashPool, Remembered, is_hash


class AdminPassword:
    """One user with his password."""

    def __init__(self, username: str, stored: str, clock: Callable[[], float]) -> None:
        self.digest = _digest(f"{username}\0{stored}".encode())  # tells one pair from another
        self._user = _digest(username.encode())
        self._stored = stored
        self._plain = None if is_hash(stored) else _digest(stored.encode())
        self._remembered = Remembered(clock)
        self._pool: HashPool | None = None
        self._asked: set[bytes] = set()

    def under_way(self, user: bytes, password: bytes) -> bool:
        """Whether the same is being asked already: an answer to this one tells nothing more."""
        return self._question(user, password) in self._asked

    def check(self, user: bytes, password: bytes) -> bool | Awaitable[bool]:
        """Whether that is the user with the password."""
        # Digests have one length, so that the time of the comparison tells nothing.
        known = hmac.compare_digest(_digest(user), self._user)
        if self._plain is not None:
            return hmac.compare_digest(_digest(password), self._plain) and known
        digest = self._question(user, password)
        if known and self._remembered.has(digest):
            return True
        return self._hashed(digest, password, known=known)

    def _question(self, user: bytes, password: bytes) -> bytes:
        name = user.decode("utf-8", "surrogateescape")
        return self._remembered.digest(name, self._stored.encode(), password)

    async def _hashed(self, digest: bytes, password: bytes, *, known: bool) -> bool:
        """Raises Busy."""
        if self._pool is None:
            self._pool = HashPool(asyncio.get_running_loop(), self._remembered, threads=1)
        self._asked.add(digest)
        try:
            # For another user a password is asked for that is none: the right one would be remembered.
            found = await asyncio.shield(
                self._pool.ask("", digest, self._stored, password if known else b"?" + password)
            )
        finally:
            self._asked.discard(digest)
        return found and known

    def close(self) -> None:
        """Let go of the thread."""
        if self._pool is not None:
            self._pool.close()


def _digest(text: bytes) -> bytes:
    return sha256(text).digest()
