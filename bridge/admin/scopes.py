"""What a caller of the HTTP API may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SCOPES: Mapping[str, str] = {
    "events:write": "send business events in",
    "publish": "publish MQTT messages",
    "endpoints:read": "see endpoints and publishers, their deliveries, and the catalogue of event types",
    "clients:read": "see clients, subscriptions, retained messages and the broker's counters",
    "clients:write": "disconnect clients, delete retained messages",
    "endpoints:write": "make, change and delete endpoints and publishers, test and replay",
    "admin": "everything",
}
"""Every scope with what it allows."""
ALL = frozenset(SCOPES)
IMPLIED: Mapping[str, frozenset[str]] = {
    "admin": ALL,
    "endpoints:write": frozenset({"endpoints:read"}),
    "clients:write": frozenset({"clients:read"}),
}
"""What a scope allows beside itself."""


class Principal(NamedTuple):
    """Who calls: a name for the log and for events, and the scopes, those that others imply included."""

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether this caller has the scope."""
        return scope in self.scopes


def expand(scopes: frozenset[str]) -> frozenset[str]:
    """The scopes with those that they imply."""
    return scopes.union(*(IMPLIED.get(scope, frozenset()) for scope in scopes))
