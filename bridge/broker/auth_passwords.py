"""User names and passwords (`auth.password`): plain as NanoMQ has them, or hashes of `hookmq passwd`."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Mapping

from bridge.broker.auth_hashes import Busy, HashPool, Remembered, is_hash
from bridge.broker.client import Client
from bridge.broker.hooks import ACCEPT
from bridge.mqtt.packets import Connect
from bridge.mqtt.reasons import ReasonCode

WRONG = ReasonCode.BAD_USER_NAME_OR_PASSWORD


class Passwords:
    """The users, and whether a client is one of them.

    Every failure takes the same way, whoever was asked for: where there is any hash, exactly one hash is
    computed for an unknown user and for a wrong password, plain or hashed.
    """

    def __init__(self, users: Mapping[str, bytes], pool: HashPool | None, remembered: Remembered) -> None:
        """`users` are name and stored secret. Without a `pool` all of them are plain."""
        self._users = dict(users)
        self._pool = pool
        self._remembered = remembered
        self._hashed = {
            user: text for user, stored in users.items() if is_hash(text := stored.decode("utf-8", "replace"))
        }
        # What is computed for those who have no hash; what comes of it is not looked at.
        self._dummy = next(iter(self._hashed.values()), None)

    def known(self, client: Client, connect: Connect) -> bool:
        """Whether this password of this user was found right before."""
        stored = self._users.get(client.username or "")
        if stored is None or connect.password is None:
            return False
        return self._remembered.has(self._remembered.digest(client.username or "", stored, connect.password))

    def check(self, client: Client, connect: Connect, *, last: bool) -> int | Awaitable[int] | None:
        """0, a reason code, or None where the user is not known here and another may know it (not `last`)."""
        user = client.username or ""
        given = connect.password or b""
        stored = self._users.get(user)
        if stored is None:
            return self.refuse(client, connect) if last else None
        digest = self._remembered.digest(user, stored, given)
        if user in self._hashed:
            if self._remembered.has(digest):
                return ACCEPT
            return self._fits(client, digest, self._hashed[user], given)
        if hmac.compare_digest(given, stored):
            self._remembered.add(digest)
            return ACCEPT
        return self.refuse(client, connect)

    def refuse(self, client: Client, connect: Connect) -> int | Awaitable[int]:
        """The answer to an unknown user, and to a wrong plain password: it costs what a hash does."""
        given = connect.password or b""
        other = b"\x00" + given
        hmac.compare_digest(given, other)
        if self._dummy is None:
            return WRONG
        # A digest that no right password has.
        digest = self._remembered.digest(client.username or "", other, given)
        return self._fits(client, digest, self._dummy, given, never=True)

    async def _fits(
        self, client: Client, digest: bytes, stored: str, given: bytes, *, never: bool = False
    ) -> int:
        assert self._pool is not None  # noqa: S101  there are hashes
        try:
            fits = await asyncio.shield(self._pool.ask(client.peerhost, digest, stored, given))
        except Busy:
            return ReasonCode.SERVER_BUSY
        return ACCEPT if fits and not never else WRONG
