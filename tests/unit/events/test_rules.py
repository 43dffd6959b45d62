"""Who wants what: rules, details and conditions in one table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.events import expression_fields
from bridge.events.event import Event, EventType
from bridge.events.expression import compile_condition
from bridge.events.rules import CACHE_TOPICS, CACHED_TOPIC, Rules

PUBLISH = EventType.MESSAGE_PUBLISH
SUBSCRIBED = EventType.SESSION_SUBSCRIBED
CONNECTED = EventType.CLIENT_CONNECTED


def event(targets: tuple[int, ...], payload: bytes = b"{}", topic: str = "t") -> Event:
    return Event(int(PUBLISH), 0, "c", None, "", targets, topic, payload, 1)


def test_targets_are_ascending_and_each_once() -> None:
    rules = Rules([(3, PUBLISH, "a/#"), (1, PUBLISH, "+/b"), (3, PUBLISH, "a/b"), (2, PUBLISH, None)])
    assert rules.targets(PUBLISH, "a/b") == (1, 2, 3)
    assert rules.targets(PUBLISH, "a/c") == (2, 3)
    assert rules.targets(PUBLISH, "x") == (2,)
    assert rules.targets(PUBLISH, "$SYS/x") == ()
    assert rules.targets(EventType.MESSAGE_ACKED, "a/b") == ()


def test_no_topic_means_every_subscription_and_every_lifecycle_event() -> None:
    rules = Rules([(1, SUBSCRIBED, None), (2, SUBSCRIBED, "a"), (4, CONNECTED, None), (3, CONNECTED, "a")])
    assert rules.targets(SUBSCRIBED, "$own/x") == (1,)
    assert rules.targets(SUBSCRIBED, "a") == (1, 2)
    assert rules.lanes(CONNECTED) == (3, 4)
    assert rules.wants(CONNECTED)
    assert not rules.wants(PUBLISH)


def test_what_is_remembered_is_bounded() -> None:
    rules = Rules([(1, PUBLISH, "a/+")])
    cache = rules.cache(PUBLISH)
    for number in range(CACHE_TOPICS + 1):
        rules.targets(PUBLISH, f"a/{number}")
        assert len(cache) <= CACHE_TOPICS
    assert cache == {f"a/{CACHE_TOPICS}": (1,)}
    assert rules.targets(PUBLISH, "a/" + "x" * CACHED_TOPIC) == (1,)
    assert len(cache) == 1


def test_details_are_asked_for_by_type() -> None:
    rules = Rules([(1, PUBLISH, None), (2, CONNECTED, None), (1, SUBSCRIBED, "a")], detailed={1})
    assert [rules.detailed(kind) for kind in (PUBLISH, SUBSCRIBED, CONNECTED)] == [True, True, False]
    assert not Rules([(1, PUBLISH, None)]).detailed(PUBLISH)


def test_conditions_decide_for_their_own_lane() -> None:
    rules = Rules(
        [(lane, PUBLISH, None) for lane in range(1, 5)],
        conditions={
            1: compile_condition("payload.temp > 80"),
            2: compile_condition("payload.temp < 80"),
            4: compile_condition("topic =~ 'a/#'"),
        },
    )
    assert rules.passing(event((1, 2, 3, 4), b'{"temp": 81}')) == (1, 3)
    assert rules.passing(event((1, 2, 4), b'{"temp": 79}', "a/b")) == (2, 4)
    assert rules.passing(event((1, 2, 4))) == ()
    assert rules.passing(event((3,))) == (3,)
    assert rules.passing(event(())) == ()


def test_an_event_without_conditions_costs_no_tuple() -> None:
    targets = (1, 3)
    assert Rules([(1, PUBLISH, None)]).passing(event(targets)) is targets
    assert Rules([(1, PUBLISH, None)], conditions={2: lambda event: False}).passing(event(targets)) is targets


def test_all_conditions_share_one_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def parse(payload: bytes) -> Any:
        asked.append(payload)
        return {"n": 7}

    monkeypatch.setattr(expression_fields, "parse", parse)
    lanes = range(1, 101)
    rules = Rules(
        [(lane, PUBLISH, None) for lane in lanes],
        conditions={lane: compile_condition(f"payload.n = {lane}") for lane in lanes},
    )
    large = event(tuple(lanes), b" " * 100_000)
    assert rules.passing(large) == (7,)
    assert len(asked) == 1
    assert expression_fields._memo.payload is None  # a large payload is not kept until the next event


KINDS = (PUBLISH, SUBSCRIBED, CONNECTED, EventType.MESSAGE_ACKED)
TOPICS = (None, "#", "a", "a/#", "+/b", "a/b", "$SYS/x")
PATTERNS = ("*", "work_order.*", "work_order.created", "job.?reated")
WANTS = st.tuples(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(TOPICS)), max_size=4),
    st.lists(st.sampled_from(PATTERNS), max_size=2),
    st.booleans(),
    st.booleans(),
)


def answers(rules: Rules) -> dict[Any, Any]:
    """All that a table says."""
    kinds = (*KINDS, EventType.DOMAIN)
    topics = ("a", "a/b", "x/b", "b", "$SYS/x", "work_order.created", "work_order.x", "job.created")
    found: dict[Any, Any] = {(kind, topic): rules.targets(kind, topic) for kind in kinds for topic in topics}
    found |= {kind: (rules.lanes(kind), rules.wants(kind), rules.detailed(kind)) for kind in kinds}
    return found | {"conditions": rules.conditions}


@settings(max_examples=200, deadline=None)
@given(
    first=st.dictionaries(st.integers(1, 6), WANTS, max_size=4),
    steps=st.lists(st.tuples(st.integers(1, 6), st.one_of(st.none(), WANTS)), max_size=8),
)
def test_what_is_added_and_removed_is_as_if_made_so(
    first: dict[int, Any], steps: list[tuple[int, Any]]
) -> None:
    def whole(wanted: dict[int, Any]) -> Rules:
        return Rules(
            [(lane, kind, topic) for lane, want in wanted.items() for kind, topic in want[0]],
            types=[(lane, pattern) for lane, want in wanted.items() for pattern in want[1]],
            detailed={lane for lane, want in wanted.items() if want[2]},
            conditions={lane: bool for lane, want in wanted.items() if want[3]},
        )

    wanted = dict(first)
    rules = whole(wanted)
    caches = {kind: rules.cache(kind) for kind in KINDS}
    for lane, want in steps:
        answers(rules)  # remembered, and to be forgotten
        if lane in wanted:
            del wanted[lane]
            rules.remove(lane)
        if want is not None:
            wanted[lane] = want
            rules.add(lane, want[0], want[1], detailed=want[2], condition=bool if want[3] else None)
        assert answers(rules) == answers(whole(wanted))
        assert all(rules.cache(kind) is cache for kind, cache in caches.items())  # who holds one keeps it
