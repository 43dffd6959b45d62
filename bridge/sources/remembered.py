"""What was taken already: digests in the store, bounded in number and age, so that a repeat is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

from bridge.journal.journal import Journal

MAX_ENTRIES = 100_000
MAX_AGE_S = 86400.0
_DIGEST = 16  # bytes
_AT = 8
_FORGET_AT_ONCE = 64
"""Entries that one that is added may push out: what has to go at a time is bounded."""


class Remembered:
    """A table in one space of the store's state: a text's digest to the time it came, and a value of yours.

    Entries join the journal's open batch. Older than `MAX_AGE_S`, or beyond `MAX_ENTRIES`, they are
    forgotten, the oldest first.
    """

    def __init__(self, journal: Journal, space: str, *, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._space = space
        self._clock = clock
        rows = [
            (int.from_bytes(value[:_AT], "big"), bytes.fromhex(key), value[_AT:])
            for key, value in journal.store.load(space)
        ]
        self._entries = {key: (at, value) for at, key, value in sorted(rows)}  # the oldest first

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, text: str) -> bytes | None:
        """The value that was kept with the text; None where it has not come, or too long ago."""
        found = self._entries.get(_digest(text))
        if found is None or found[0] < (self._clock() - MAX_AGE_S) * 1000:
            return None
        return found[1]

    def add(self, text: str, value: bytes = b"") -> None:
        """Keep the text with its value, from now on."""
        key = _digest(text)
        at = int(self._clock() * 1000)
        entries = self._entries
        entries.pop(key, None)
        entries[key] = (at, value)
        self._journal.put(self._space, key.hex(), at.to_bytes(_AT, "big") + value)
        old = at - int(MAX_AGE_S * 1000)
        for _ in range(_FORGET_AT_ONCE):
            first = next(iter(entries))
            if len(entries) <= MAX_ENTRIES and entries[first][0] >= old:
                break
            del entries[first]
            self._journal.put(self._space, first.hex(), None)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:_DIGEST]
