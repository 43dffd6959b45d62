"""The names of events as people write them: NanoMQ's, EMQX's, and patterns of either."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from bridge.events.event import BY_NAME, EMQX_ALL, HOOK_EVENTS, MESSAGE_EVENTS, EventType

_ALIASES = {"delivery.dropped": EventType.MESSAGE_DELIVERY_DROPPED}
"""EMQX's other names of an event."""
_PLAIN = {
    spelling.replace(".", "_"): kind
    for kind in HOOK_EVENTS
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
    return tuple([kind for kind in HOOK_EVENTS if fnmatchcase(kind.action, pattern)])


SHOWN_TOPICS = 5
"""Topic filters of one event that a line has room for."""


def describe(rules: Iterable[tuple[EventType, str | None]], types: Iterable[str] = ()) -> str:
    """What an endpoint is sent, on one line: `on_message_publish (a/#, b), on_client_connack`.

    The events of `all` are shown as that, and more than SHOWN_TOPICS filters as a number. `types` are those
    of business events.
    """
    filters: dict[EventType, dict[str | None, None]] = {}
    for kind, topic in rules:
        filters.setdefault(kind, {})[topic] = None
    shown = {kind: _topics(found) for kind, found in filters.items()}
    messages = {text for kind, text in shown.items() if kind in MESSAGE_EVENTS}
    others = {text for kind, text in shown.items() if kind not in MESSAGE_EVENTS}
    parts: list[str] = []
    if shown.keys() >= set(EMQX_ALL) and len(messages) == 1 and others == {""}:
        parts = [f"all messages{messages.pop()} and events"]
        shown = {kind: text for kind, text in shown.items() if kind not in EMQX_ALL}
    parts += [f"on_{kind.action}{text}" for kind, text in shown.items()]
    return ", ".join([*parts, *types])


def _topics(found: Iterable[str | None]) -> str:
    """The filters in brackets; nothing where one of them is no limit."""
    topics = list(found)
    named = [topic for topic in topics if topic is not None]
    if len(named) < len(topics):
        return ""
    more = [f"{len(named) - SHOWN_TOPICS:,} more"] if len(named) > SHOWN_TOPICS + 1 else []
    return f" ({', '.join([*named[:SHOWN_TOPICS], *more] if more else named)})"
