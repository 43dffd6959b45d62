"""Names of events as people write them, and what a line says of an endpoint's events."""

# ruff: noqa: E501  cases stand on one line

from __future__ import annotations

import pytest

from bridge.events.event import EMQX_ALL, HOOK_EVENTS, MESSAGE_EVENTS, EventType
from bridge.events.names import describe, find, matching

E = EventType


@pytest.mark.parametrize("kind", HOOK_EVENTS)
def test_every_spelling_of_every_event(kind: EventType) -> None:
    spellings = {f"on_{kind.action}", kind.action, kind.dotted, f"$events/{kind.action}", f" {kind.dotted} "}
    for text in spellings | {text.upper() for text in spellings}:
        assert find(text) is kind
        assert matching(text) == (kind,)


@pytest.mark.parametrize(
    "text", ["", "on_", "message", "message.published", "on_message", "$events/", "*", "all"]
)
def test_no_event(text: str) -> None:
    assert find(text) is None


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("all", EMQX_ALL),
        ("*", HOOK_EVENTS),
        ("on_*", HOOK_EVENTS),
        ("session.t*", (E.SESSION_TERMINATED, E.SESSION_TAKENOVER)),
        ("$events/session_[cr]*", (E.SESSION_CREATED, E.SESSION_RESUMED)),
        ("message.?????ed", (E.MESSAGE_DROPPED,)),
        ("x*", ()),
    ],
)
def test_patterns(text: str, kinds: tuple[EventType, ...]) -> None:
    assert set(matching(text)) == set(kinds)


def all_with(*topics: str | None) -> list[tuple[EventType, str | None]]:
    return [(kind, topic) for kind in EMQX_ALL for topic in (topics if kind in MESSAGE_EVENTS else (None,))]


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([], ""),
        ([(E.MESSAGE_PUBLISH, "a/#"), (E.CLIENT_CONNACK, None), (E.MESSAGE_PUBLISH, "b")], "on_message_publish (a/#, b), on_client_connack"),
        ([(E.MESSAGE_PUBLISH, "a"), (E.MESSAGE_PUBLISH, None)], "on_message_publish"),
        ([(E.MESSAGE_PUBLISH, f"{n}") for n in range(6)], "on_message_publish (0, 1, 2, 3, 4, 5)"),
        ([(E.MESSAGE_PUBLISH, f"{n}") for n in range(1005)], "on_message_publish (0, 1, 2, 3, 4, 1,000 more)"),
        (all_with(None), "all messages and events"),
        (all_with("a/#", "b"), "all messages (a/#, b) and events"),
        ([*all_with("a"), (E.CLIENT_PING, None)], "all messages (a) and events, on_client_ping"),
    ],
)  # fmt: skip
def test_a_line(rules: list[tuple[EventType, str | None]], text: str) -> None:
    assert describe(rules) == text


def test_almost_all_is_not_all() -> None:
    assert "all" not in describe(all_with(None)[1:])
    assert "all" not in describe([*all_with("a"), (E.MESSAGE_PUBLISH, "b")])
