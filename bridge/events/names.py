"""The names of events as people write them: NanoMQ's, EMQX's, and patterns of either."""

from __future__ import annotations

from fnmatch import fnmatchcase

from bridge.events.event import BY_NAME, EMQX_ALL, EventType

_ALIASES = {"delivery.dropped": EventType.MESSAGE_DELIVERY_DROPPED}
"""EMQX's other names of an event."""
_PLAIN = {
    spelling.replace(".", "_"): kind
    for kind in EventType
    for spelling in (kind.dotted, *(name for name, other in _ALIASES.items() if other is kind))
}
_GLOB = frozenset("*?[")
ALL = "all"
"""What EMQX calls "all messages and events"."""


def find(text: str) -> EventType | None:
    """The event of a name in any case: `on_message_publish`, `message.publish`, `message_publish`,
    `$events/message_delivered`, `$events/message/delivered`; None where there is none.
    """
    name = text.strip().lower()
    if name.startswith("$events/"):
        name = name.removeprefix("$events/").replace("auth/", "client_")
    found = BY_NAME.get(name)
    if found is not None:
        return found
    return _PLAIN.get(name.replace("/", "_").replace(".", "_").removeprefix("on_"))


def matching(text: str) -> tuple[EventType, ...]:
    """The events that one word of `triggers` means: `all`, a name, or a pattern such as `client.*` or `*`.

    In the order of their numbers, or of EMQX's page for `all`; empty where there is none.
    """
    word = text.strip().lower()
    if word == ALL:
        return EMQX_ALL
    if not _GLOB & set(word):
        found = find(word)
        return () if found is None else (found,)
    pattern = word.removeprefix("$events/").replace("/", "_").replace(".", "_").removeprefix("on_")
    return tuple([kind for kind in EventType if fnmatchcase(kind.action, pattern)])
