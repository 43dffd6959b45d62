"""EMQX's events of clients and sessions: in which order, and with which fields (INTEROP 2.2)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bridge.broker.auth import Authentication
from bridge.events.event import EMQX_ALL, HOOK_EVENTS, EventType
from bridge.events.rules import Rules
from bridge.mqtt.packets import (
    Connect,
    Properties,
    Puback,
    Publish,
    Subscribe,
    Subscription,
    Will,
)
from tests.integration.broker.looking import PAIRS, SHOWN_PAIRS, address, dotted, of, one, persistent
from tests.integration.broker.running import EVERY_EVENT, Running, Start
from tests.integration.mqtt_client import Client


async def test_the_order_of_the_seed(start: Start, version: int) -> None:
    """A client that publishes once with nobody subscribed, all its packets in one segment."""
    broker = await start(rules=Rules([(1, kind, None) for kind in EMQX_ALL], detailed={1}))
    client = await broker.connect("emqx_c", version=version, keepalive=30)
    client.send(Publish("t/1", b'{ "msg": "Hello Webhook" }'))
    await client.disconnect()
    await broker.until(lambda: of(broker, EventType.CLIENT_DISCONNECTED))
    assert dotted(broker.events) == [
        "client.connected",
        "client.connack",
        "client.check_authz_complete",
        "message.publish",
        "message.dropped",
        "client.disconnected",
    ]


async def test_all_events_of_one_client_in_their_order(start: Start, version: int) -> None:
    users = Authentication(allow_anonymous=False, users={"u": b"p"})
    broker = await start(rules=EVERY_EVENT, hooks=(users,))
    client = await broker.connect("c", version=version, username="u", password=b"p")
    await client.ping()
    await client.subscribe("t", 1)
    await client.publish("t", b"x", 1)
    client.send(Puback((await client.expect(Publish)).packet_id))
    await client.unsubscribe("t")
    await client.publish("t", b"x", 0)
    await client.disconnect()
    await broker.until(lambda: of(broker, EventType.SESSION_TERMINATED))
    assert dotted(broker.events) == [
        "client.connect",
        "client.check_authn_complete",
        "session.created",
        "client.connected",
        "client.connack",
        "client.ping",
        "client.check_authz_complete",
        "client.subscribe",
        "session.subscribed",
        "client.check_authz_complete",
        "message.publish",
        "message.delivered",
        "message.acked",
        "client.unsubscribe",
        "session.unsubscribed",
        "client.check_authz_complete",
        "message.publish",
        "message.dropped",
        "client.disconnected",
        "session.terminated",
    ]
    assert {(e.clientid, e.username, e.peername) for e in broker.events} == {
        ("c", "u", address(client, "sockname"))
    }


async def _everything(broker: Running, version: int) -> None:
    """All that can happen to a client, at least once."""
    client = await broker.connect("c", **persistent(version))
    await client.ping()
    await client.subscribe("t", 1)
    await client.publish("t", b"x", 1)
    client.send(Puback((await client.expect(Publish)).packet_id))
    await client.publish("nobody", b"x", 0)
    await client.ping()
    client.abort()
    await broker.until_away("c")
    other = await broker.connect("other", version=version)
    await other.publish("t", b"x", 0)  # dropped: "c" is away
    await other.ping()
    first = await broker.connect("c", **persistent(version))
    second = await broker.connect("c", **persistent(version))
    await first.wait_closed()
    await second.unsubscribe("t")
    third = await broker.connect("c", version=version)
    await third.disconnect()


@pytest.mark.parametrize("kind", HOOK_EVENTS)
@pytest.mark.parametrize("detail", [False, True])
async def test_each_event_is_made_where_a_rule_wants_it_and_no_other(
    start: Start, kind: EventType, detail: bool
) -> None:
    rules = Rules([(3, kind, None)], detailed={3} if detail else ())
    broker = await start(rules=rules)
    await _everything(broker, 4)
    await broker.until(lambda: broker.events)
    assert {e.type for e in broker.events} == {kind}
    assert {e.targets for e in broker.events} == {(3,)}


# -- clients -------------------------------------------------------------------------------------------------


async def test_a_connection(start: Start, version: int) -> None:
    broker = await start(rules=EVERY_EVENT, max_inflight_window=32, session_expiry_interval=500)
    more: dict[str, Any] = {}
    if version == 5:
        more["properties"] = Properties(
            session_expiry_interval=1000,
            receive_maximum=20,
            user_property=PAIRS,
            request_problem_information=1,
        )
    begin = int(time.time() * 1000)
    client = await broker.connect("c", version=version, clean=False, keepalive=30, **more)
    await client.ping()
    expected: dict[str, Any] = {
        "keepalive": 30,
        "proto_ver": version,
        "sockname": address(client, "peername"),
        "clean_start": False,
        "expiry_interval": 500,  # what was agreed on
        "receive_maximum": 20 if version == 5 else 32,
        "is_bridge": False,
    }
    if version == 5:
        expected["props"] = {
            "Session-Expiry-Interval": 1000,
            "Request-Problem-Information": 1,
            "Receive-Maximum": 20,
            **SHOWN_PAIRS,
        }
    for kind, own in (
        (EventType.CLIENT_CONNECT, {"ipaddress": "127.0.0.1"}),
        (EventType.CLIENT_CONNECTED, {"ipaddress": "127.0.0.1"}),
        (EventType.CLIENT_CONNACK, {"conn_ack": "success"}),
        (EventType.CLIENT_PING, {}),
    ):
        data = one(broker, kind)[1]
        expected.setdefault("connected_at", data["connected_at"])
        assert data == expected | own
    assert begin <= expected["connected_at"] <= begin + 5000

    properties = Properties(reason_string="bye", user_property=PAIRS) if version == 5 else None
    await client.disconnect(0, properties)
    await broker.until(lambda: of(broker, EventType.CLIENT_DISCONNECTED))
    data = one(broker, EventType.CLIENT_DISCONNECTED)[1]
    shown = {"props": {"Reason-String": "bye", **SHOWN_PAIRS}} if version == 5 else {}
    assert data == {
        "reason": "normal",
        "sockname": expected["sockname"],
        "proto_ver": version,
        "connected_at": expected["connected_at"],
        **shown,
    }


async def test_what_a_client_does_not_ask_for(detailed: Running, version: int) -> None:
    await detailed.connect("c", version=version)
    data = one(detailed, EventType.CLIENT_CONNECTED)[1]
    assert data["receive_maximum"] == min(65535, detailed.broker.settings.max_inflight_window)
    assert (data["expiry_interval"], data["clean_start"], "props" in data) == (0, True, False)


@pytest.mark.parametrize("version", [3, 4])
async def test_a_bridge_says_so(detailed: Running, version: int) -> None:
    client = await Client.open(detailed.port, version=version)
    client.send(Connect("c", version, bridge=True))
    await detailed.until(lambda: of(detailed, EventType.CLIENT_CONNECTED))
    assert one(detailed, EventType.CLIENT_CONNECTED)[1]["is_bridge"] is True
    assert one(detailed, EventType.CLIENT_CONNECTED)[1]["proto_ver"] == version
    client.abort()


async def test_who_is_authenticated(start: Start, version: int) -> None:
    broker = await start(rules=EVERY_EVENT, hooks=(Authentication(allow_anonymous=True, users={"u": b"p"}),))
    await broker.connect("anonymous", version=version)
    await broker.connect("known", version=version, username="u", password=b"p")
    wrong = await broker.connect("wrong", version=version, username="u", password=b"x", code=None)
    await wrong.wait_closed()
    assert {
        e.clientid: e.data for e in of(broker, EventType.CLIENT_CHECK_AUTHN_COMPLETE)
    } == {
        "anonymous": {"conn_ack": "success", "is_anonymous": True, "is_superuser": False},
        "known": {"conn_ack": "success", "is_anonymous": False, "is_superuser": False},
        "wrong": {"conn_ack": "bad_username_or_password", "is_anonymous": False, "is_superuser": False},
    }  # fmt: skip
    assert dotted(of(broker, *HOOK_EVENTS, clientid="wrong")) == [
        "client.connect",
        "client.check_authn_complete",
        "client.connack",
    ]
    assert "'p'" not in repr(broker.events)


async def test_an_unknown_method_is_not_authenticated_and_a_bad_id_not_asked(start: Start) -> None:
    broker = await start(rules=EVERY_EVENT, max_client_id=23)
    client = await broker.connect("c", version=5, authentication_method="SCRAM", code=0x8C)
    await client.wait_closed()
    client = await broker.connect("c" * 24, version=5, code=0x85)
    await client.wait_closed()
    event, data = one(broker, EventType.CLIENT_CHECK_AUTHN_COMPLETE)
    assert (event.clientid, data["conn_ack"]) == ("c", "bad_authentication_method")
    assert [(e.data or {})["conn_ack"] for e in of(broker, EventType.CLIENT_CONNACK)] == [
        "bad_authentication_method",
        "client_identifier_not_valid",
    ]


async def test_what_is_authorized(detailed: Running, version: int) -> None:
    will = Will("w", b"gone")
    client = await detailed.connect("c", version=version, will=will)
    await client.publish("a", b"x", 2)
    client.send(Subscribe(9, [Subscription("b/+", 1), Subscription("$share/g/c/#", 1)]))
    await client.ping()
    client.abort()
    await detailed.until(lambda: of(detailed, EventType.SESSION_TERMINATED))
    events = of(detailed, EventType.CLIENT_CHECK_AUTHZ_COMPLETE)
    assert [(e.topic, (e.data or {})["action"]) for e in events] == [
        ("a", "publish"),
        ("b/+", "subscribe"),
        ("c/#", "subscribe"),  # of a shared subscription what is shared
        ("w", "publish"),
    ]
    assert {((e.data or {})["result"], (e.data or {})["authz_source"]) for e in events} == {
        ("allow", "default")
    }


# -- sessions ------------------------------------------------------------------------------------------------

SESSIONS = (
    EventType.SESSION_CREATED,
    EventType.SESSION_RESUMED,
    EventType.SESSION_TAKENOVER,
    EventType.SESSION_DISCARDED,
    EventType.SESSION_TERMINATED,
    EventType.CLIENT_CONNECTED,
    EventType.CLIENT_DISCONNECTED,
)


async def test_a_session_is_resumed(detailed: Running, version: int) -> None:
    client = await detailed.connect("c", **persistent(version))
    await client.disconnect()
    await detailed.connect("c", **persistent(version))
    assert dotted(of(detailed, *SESSIONS)) == [
        "session.created",
        "client.connected",
        "client.disconnected",
        "session.resumed",
        "client.connected",
    ]
    resumed = of(detailed, EventType.SESSION_RESUMED)[0]
    assert resumed.peername == of(detailed, EventType.CLIENT_CONNECTED)[1].peername


async def test_a_session_is_taken_over(detailed: Running, version: int) -> None:
    first = await detailed.connect("c", **persistent(version))
    own = address(first, "sockname")
    await detailed.connect("c", **persistent(version))
    events = of(detailed, *SESSIONS)[2:]
    assert dotted(events) == [
        "client.disconnected",
        "session.takenover",
        "session.resumed",
        "client.connected",
    ]
    assert events[0].peername == events[1].peername == own
    assert (events[0].data or {})["reason"] == "takenover"
    assert events[2].peername == events[3].peername != own


async def test_a_session_that_ends_with_its_connection_is_not_taken_over(
    detailed: Running, version: int
) -> None:
    await detailed.connect("c", version=version)
    await detailed.connect("c", **persistent(version))
    events = of(detailed, *SESSIONS)[2:]
    assert dotted(events) == [
        "client.disconnected",
        "session.terminated",
        "session.created",
        "client.connected",
    ]
    assert (events[1].data or {})["reason"] == "takenover"


@pytest.mark.parametrize("away", [False, True])
async def test_a_session_is_discarded(detailed: Running, version: int, away: bool) -> None:
    client = await detailed.connect("c", **persistent(version))
    if away:
        await client.disconnect()
    await detailed.connect("c", version=version)
    events = of(detailed, *SESSIONS)[2:]
    assert dotted(events) == [
        "client.disconnected",
        "session.discarded",
        "session.terminated",
        "session.created",
        "client.connected",
    ]
    assert (events[0].data or {})["reason"] == ("normal" if away else "discarded")
    assert (events[2].data or {})["reason"] == "discarded"
