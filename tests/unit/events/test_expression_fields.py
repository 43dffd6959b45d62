"""A condition reads of an event what the `emqx` format shows of it (INTEROP 2.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.events import expression_fields
from bridge.events.emqx import make_fields
from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.expression import compile_condition
from bridge.events.expression_fields import ELSEWHERE, FIELDS, KEPT_PAYLOAD, forget
from bridge.events.formats import Origin
from bridge.events.payload import BodyCounts, make_payload

NOT_OF_THE_EVENT = {"node", "metadata"}
PROPS = {"User-Property": {"site": "x"}, "Content-Type": "text/plain"}
DATA: dict[str, Any] = {
    "id": "000643D1B4E5A2F1F44200000A2F0001",
    "dup": True,
    "props": PROPS,
    "ack_props": {"User-Property": {}, "Reason-String": "thanks"},
    "at": 1_706_703_724_999,
    "reason": "queue_full",
    "conn_ack": "success",
    "to_clientid": "reader",
    "to_username": "rita",
    "to_peername": "[2001:db8::7]:5000",
    "sockname": "10.0.0.1:1883",
    "clean_start": False,
    "expiry_interval": 3600,
    "connected_at": 1_706_703_000_000,
    "is_bridge": True,
    "receive_maximum": 20,
    "keepalive": 60,
    "proto_ver": 5,
    "action": "subscribe",
    "result": "deny",
    "authz_source": "file",
    "is_anonymous": True,
    "is_superuser": True,
}
# What an event of each kind has of it (bridge.events.event.Event).
CONNECTION = {
    "keepalive",
    "proto_ver",
    "sockname",
    "clean_start",
    "expiry_interval",
    "connected_at",
    "is_bridge",
}
CONNECTION |= {"receive_maximum", "props"}
MESSAGE = {"id", "dup", "props"}
ROUTED = MESSAGE | {"at", "to_clientid", "to_username", "to_peername"}
HAS = {
    EventType.CLIENT_CONNECT: CONNECTION,
    EventType.CLIENT_CONNACK: CONNECTION | {"conn_ack"},
    EventType.CLIENT_CONNECTED: CONNECTION,
    EventType.CLIENT_PING: CONNECTION,
    EventType.CLIENT_DISCONNECTED: {"reason", "sockname", "proto_ver", "connected_at", "props"},
    EventType.SESSION_TERMINATED: {"reason"},
    EventType.CLIENT_CHECK_AUTHN_COMPLETE: {"conn_ack", "is_anonymous", "is_superuser"},
    EventType.CLIENT_CHECK_AUTHZ_COMPLETE: {"action", "result", "authz_source"},
    EventType.MESSAGE_PUBLISH: MESSAGE,
    EventType.MESSAGE_DROPPED: MESSAGE | {"at", "reason"},
    EventType.MESSAGE_DELIVERED: ROUTED,
    EventType.MESSAGE_ACKED: ROUTED | {"ack_props"},
    EventType.MESSAGE_DELIVERY_DROPPED: ROUTED | {"reason"},
    EventType.SESSION_SUBSCRIBED: {"props"},
    EventType.SESSION_UNSUBSCRIBED: {"props"},
    EventType.CLIENT_SUBSCRIBE: {"props"},
    EventType.CLIENT_UNSUBSCRIBE: {"props"},
}
WITH_TOPIC = ("message.", "subscribe", "authz")


def sample(kind: EventType, **changes: Any) -> Event:
    has_topic = any(part in kind.dotted for part in WITH_TOPIC)
    event = Event(
        int(kind),
        1_706_703_724_960,
        "sender",
        "sam",
        "10.0.0.5:40123",
        (1,),
        "line/4" if has_topic else "",
        b'{"temp": 5}' if kind.dotted.startswith("message.") else b"",
        1 if has_topic else 0,
        kind.dotted.startswith("message."),
        {key: DATA[key] for key in sorted(HAS.get(kind, ()))} or None,
    )
    for name, value in changes.items():
        setattr(event, name, value)
    return event


def shown(event: Event) -> dict[str, Any]:
    payload = make_payload("plain", 65536, BodyCounts())
    found = make_fields("default", Origin(), payload)(1, event)
    return {
        name: None if value in ("undefined", {}) else value
        for name, value in found.items()
        if name not in NOT_OF_THE_EVENT
    }


@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
def test_a_field_is_what_the_format_shows(kind: EventType) -> None:
    event = sample(kind)
    for name, value in shown(event).items():
        assert FIELDS[name].get(event) == value, name


@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
def test_what_is_not_there_is_null(kind: EventType) -> None:
    """No name, no details: null wherever the format has its word for nothing."""
    event = sample(kind, username=None, peername="", data=None)
    if kind.dotted.startswith("message.") and kind not in (
        EventType.MESSAGE_PUBLISH,
        EventType.MESSAGE_DROPPED,
    ):
        event.data = {"to_clientid": "reader", "to_username": ""}
    for name, value in shown(event).items():
        if value is None:
            assert FIELDS[name].get(event) is None, name
    names = " or ".join(f"{name} = null" for name in FIELDS)
    assert compile_condition(names)(event)


def test_every_kind_is_told_truly() -> None:
    """What is checked at start by a field's kind would otherwise refuse good conditions."""
    kinds = {"number": (int, float), "text": (str,), "truth": (bool,), "any": (dict,)}
    seen = set()
    for kind in HOOK_EVENTS:
        for name, info in FIELDS.items():
            value = info.get(sample(kind))
            if value is not None:
                seen.add(name)
                assert isinstance(value, kinds[info.kind]), name
    assert set(FIELDS) - seen == {"mountpoint", "client_attrs", "variables"}  # the last one: test_domain.py


def test_details_are_told_truly() -> None:
    """A field that is not marked has its value without the details, too."""
    always = {
        EventType.CLIENT_CONNECTED: {"keepalive", "proto_ver", "connected_at"},
        EventType.CLIENT_CONNECT: {"keepalive", "proto_ver"},
        EventType.CLIENT_CONNACK: {"keepalive", "proto_ver", "conn_ack"},
        EventType.CLIENT_CHECK_AUTHN_COMPLETE: {"conn_ack", "is_anonymous", "is_superuser"},
        EventType.CLIENT_CHECK_AUTHZ_COMPLETE: {"action", "result", "authz_source"},
        EventType.MESSAGE_DELIVERED: {"to_clientid", "to_username"},
        EventType.MESSAGE_ACKED: {"to_clientid", "to_username"},
        EventType.MESSAGE_DROPPED: {"reason"},
        EventType.MESSAGE_DELIVERY_DROPPED: {"to_clientid", "to_username", "reason"},
        EventType.CLIENT_DISCONNECTED: {"reason"},
        EventType.SESSION_TERMINATED: {"reason"},
    }
    for kind in HOOK_EVENTS:
        full = sample(kind)
        plain = sample(kind, data={key: DATA[key] for key in always.get(kind, ())} or None)
        for name, info in FIELDS.items():
            if not info.detailed and info.members is None:
                assert info.get(plain) == info.get(full), (kind.dotted, name)


def test_names_that_people_try_lead_to_fields() -> None:
    for name, meant in ELSEWHERE.items():
        assert name not in FIELDS
        assert meant.partition(".")[0] in FIELDS


def test_a_payload_is_decoded_once_and_a_large_one_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def parse(payload: bytes) -> Any:
        asked.append(len(payload))
        return json.loads(payload)

    monkeypatch.setattr(expression_fields, "parse", parse)
    conditions = [compile_condition(f"payload.a = {n} or payload.b = {n}") for n in range(3)]
    event = sample(EventType.MESSAGE_PUBLISH, payload=b'{"a": 1 }')
    assert [condition(event) for condition in conditions] == [False, True, False]
    assert asked == [9]
    forget(event)
    delivered = sample(EventType.MESSAGE_DELIVERED, payload=event.payload)  # the same bytes go to subscribers
    assert conditions[1](delivered)
    assert asked == [9]

    large = sample(EventType.MESSAGE_PUBLISH, payload=b'{"a": 1}' + b" " * KEPT_PAYLOAD)
    assert [condition(large) for condition in conditions] == [False, True, False]
    assert asked == [9, len(large.payload)]
    forget(large)
    assert expression_fields._memo.payload is None
    assert expression_fields._memo.document is None
    equal = sample(EventType.MESSAGE_PUBLISH, payload=bytes(bytearray(event.payload)))
    assert conditions[1](equal)
    assert len(asked) == 3
