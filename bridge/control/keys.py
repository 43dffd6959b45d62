"""API keys over the control socket: made, listed, revoked. A key is shown once, to the one who made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from bridge.control.arguments import NoArgs
from bridge.delivery.errors import Refused
from bridge.journal.journal import Journal


class Keys(Protocol):
    """The keys of the process. What cannot be done raises ValueError with one plain sentence."""

    def create(self, name: str, scopes: Sequence[str], expires: int | None = None) -> str:
        """Make a key; returns it."""

    def revoke(self, name: str) -> None:
        """Delete the key of that name."""

    def rows(self) -> list[dict[str, Any]]:
        """All keys without what is secret."""


class CreateArgs(NoArgs):
    """`api-key.create`. `expires` is Unix ms."""

    name: str
    scopes: list[str]
    expires: int | None = None


class RevokeArgs(NoArgs):
    """`api-key.revoke`."""

    name: str


def create(keys: Keys, journal: Journal, wanted: CreateArgs) -> dict[str, Any]:
    """Make a key; it is on the disk when this returns. Raises Refused."""
    _can_store(journal)
    try:
        key = keys.create(wanted.name, wanted.scopes, wanted.expires)
    except ValueError as error:
        raise Refused(str(error)) from None
    journal.flush()
    return {"name": wanted.name, "scopes": wanted.scopes, "expires": wanted.expires, "key": key}


def revoke(keys: Keys, journal: Journal, wanted: RevokeArgs) -> dict[str, Any]:
    """Delete a key, for good when this returns. Raises Refused."""
    _can_store(journal)
    try:
        keys.revoke(wanted.name)
    except ValueError as error:
        raise Refused(str(error)) from None
    journal.flush()
    return {"name": wanted.name}


def _can_store(journal: Journal) -> None:
    if journal.stalled:
        raise Refused("the store refuses to write at present, nothing was changed")
