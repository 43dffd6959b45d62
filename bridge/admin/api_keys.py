"""API keys: 256 random bits behind `hmq_`, of which the store has only the SHA-256.

A hash without salt and stretching is enough for a key of 256 random bits: there is nothing to guess. Looking
one up by its hash tells nobody anything about the keys there are.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from bridge.admin.scopes import SCOPES, Principal, expand
from bridge.journal.journal import Journal

PREFIX = "hmq_"
SPACE = "apikey"
"""The store's space of state with a row for each key, by the hash of the key."""
MAX_KEYS = 1000
MAX_NAME = 64
MAX_KEY = 128
"""Characters of what is looked at as a key at all."""


class ApiKeyError(ValueError):
    """A key cannot be made or found; the text is one plain sentence."""


class KeyRow(msgspec.Struct):
    """A key as the store has it. Times are Unix ms; `expires` None: never."""

    name: str
    scopes: tuple[str, ...]
    created: int
    expires: int | None = None


class ApiKeys:
    """All keys, in memory and in the store. Reads the store once, when it is made."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._clock = clock
        decode = msgspec.msgpack.Decoder(KeyRow).decode
        self._rows = {key: decode(value) for key, value in journal.store.load(SPACE)}

    def create(self, name: str, scopes: Sequence[str], expires: int | None = None) -> str:
        """Make a key and return it; it cannot be shown again. `expires` is Unix ms. Raises ApiKeyError.

        It is stored with the journal's open batch.
        """
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
            raise ApiKeyError(f"found the name {name[:80]!r}, expected 1 to {MAX_NAME} printable characters")
        if any(row.name == name for row in self._rows.values()):
            raise ApiKeyError(
                f"there is a key named {name!r} already: choose another name, or revoke that one"
            )
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            found = f"the scope {unknown[0][:80]!r}" if unknown else "no scope"
            raise ApiKeyError(f"found {found}, expected one or several of {', '.join(SCOPES)}")
        now = int(self._clock() * 1000)
        if expires is not None and expires <= now:
            raise ApiKeyError("found an end that has passed already, expected a time to come")
        if len(self._rows) >= MAX_KEYS:
            raise ApiKeyError(f"there are {MAX_KEYS} keys, which is the most: revoke one first")
        key = PREFIX + secrets.token_urlsafe(32)
        row = KeyRow(name, tuple(dict.fromkeys(scopes)), now, expires)
        self._rows[_hash(key)] = row
        self._journal.put(SPACE, _hash(key), msgspec.msgpack.encode(row))
        return key

    def revoke(self, name: str) -> None:
        """Delete the key of that name; it is good for nothing from now on. Raises ApiKeyError."""
        for digest, row in self._rows.items():
            if row.name == name:
                del self._rows[digest]
                self._journal.put(SPACE, digest, None)
                return
        raise ApiKeyError(f"no key is named {name[:80]!r}")

    def rows(self) -> list[dict[str, Any]]:
        """All keys without what is secret, by name."""
        now = int(self._clock() * 1000)
        return [
            {
                "name": row.name,
                "scopes": list(row.scopes),
                "created": row.created,
                "expires": row.expires,
                "expired": row.expires is not None and row.expires <= now,
            }
            for row in sorted(self._rows.values(), key=lambda row: row.name)
        ]

    def find(self, key: str) -> Principal | None:
        """Who has this key; None where nobody has, or it has expired."""
        if len(key) > MAX_KEY or not key.startswith(PREFIX):
            return None
        digest = _hash(key)
        if not self._good(digest):
            return None
        row = self._rows[digest]
        return Principal(row.name, expand(frozenset(row.scopes)), partial(self._good, digest))

    def _good(self, digest: str) -> bool:
        row = self._rows.get(digest)
        return row is not None and (row.expires is None or row.expires > self._clock() * 1000)


def _hash(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
