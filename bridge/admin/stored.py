"""Settings that are made over the API, as the store has them: a row for each, under an id of its own.

What a row means is its kind's to know: here are its document (JSON as it was given, without secrets), its
secrets, and who made it when. Rows are read once, at the start; one that cannot be read is kept as it is.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec

from bridge.config.settings import Trust
from bridge.journal.journal import Journal

ID_CHARACTERS = 24
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class StoredSecret(msgspec.Struct, omit_defaults=True):
    """A secret, or where it is (`{"env": …}`, `{"file": …}`). Times are Unix ms; `expires` None: never."""

    source: str | dict[str, str]
    created: int
    expires: int | None = None


class Row(msgspec.Struct, omit_defaults=True):
    """One object. Times are Unix ms; `version` grows with each change; `by` is the name of who made it."""

    document: dict[str, Any]
    created: int
    changed: int
    trust: Trust
    by: str = ""
    version: int = 1
    secrets: list[StoredSecret] = []


class StoredRows:
    """The objects of one kind, in memory and in the store. `space` is theirs in the store's state, `prefix`
    begins their ids. For the loop's thread only."""

    def __init__(self, journal: Journal, space: str, prefix: str) -> None:
        self._journal = journal
        self._space = space
        self._prefix = prefix
        self._id = re.compile(re.escape(prefix) + f"[0-9A-Za-z]{{{ID_CHARACTERS}}}")
        self.rows: dict[str, Row] = {}
        self.unreadable: dict[str, str] = {}  # by id: why
        decode = msgspec.msgpack.Decoder(Row).decode
        for key, value in journal.store.load(space):
            try:
                self.rows[key] = decode(value)
            except msgspec.MsgspecError as error:
                self.unreadable[key] = f"its row in the store cannot be read: {error}"
        self.rows = dict(sorted(self.rows.items(), key=lambda item: (item[1].created, item[0])))

    def __len__(self) -> int:
        return len(self.rows) + len(self.unreadable)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self.rows or identifier in self.unreadable

    def new_id(self) -> str:
        """An id that nobody has: 142 random bits behind the prefix."""
        return self._prefix + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARACTERS))

    def is_id(self, text: str) -> bool:
        """Whether it looks like an id of this kind."""
        return self._id.fullmatch(text) is not None

    def put(self, identifier: str, row: Row) -> None:
        """Set a row, with the journal's open batch."""
        self.rows[identifier] = row
        self._journal.put(self._space, identifier, msgspec.msgpack.encode(row))

    def delete(self, identifier: str) -> None:
        """Delete a row, with the journal's open batch."""
        self.rows.pop(identifier, None)
        self.unreadable.pop(identifier, None)
        self._journal.put(self._space, identifier, None)
