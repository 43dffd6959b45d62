"""EMQX's bodies: the fields of INTEROP 2.2, and their values."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import Encoding, Endpoint
from bridge.events import emqx, nanomq
from bridge.events.event import HOOK_EVENTS, MESSAGE_EVENTS, EventType
from bridge.events.formats import KEYS, Origin, make_format
from tests.unit.events.emqx_samples import CONNECT, ID, PROPS, ROUTED, TS, sample

ORIGIN = Origin("hookmq@plant", "0f3a9c21d4b7")
ALWAYS = {"event", "timestamp", "node", "metadata"}
# INTEROP 2.2, and below the line what it has no table for.
TABLE = {
    "message.publish": "id clientid username payload peerhost peername topic qos flags pub_props"
    " publish_received_at client_attrs",
    "message.delivered": "id from_clientid from_username clientid username payload peerhost peername topic"
    " qos flags pub_props publish_received_at",
    "message.acked": "id from_clientid from_username clientid username payload peerhost peername topic qos"
    " flags pub_props publish_received_at puback_props",
    "message.dropped": "id reason clientid username payload peerhost peername topic qos flags pub_props"
    " publish_received_at",
    "message.delivery_dropped": "id reason from_clientid from_username clientid username payload peerhost"
    " peername topic qos flags pub_props publish_received_at",
    "client.connected": "clientid username mountpoint peername sockname proto_name proto_ver keepalive"
    " clean_start receive_maximum expiry_interval is_bridge conn_props connected_at client_attrs",
    "client.disconnected": "reason clientid username peername sockname proto_name proto_ver disconn_props"
    " disconnected_at connected_at client_attrs",
    "client.connack": "reason_code clientid clean_start username peername sockname proto_name proto_ver"
    " keepalive expiry_interval connected_at conn_props",
    "client.check_authz_complete": "clientid username peername peerhost topic action authz_source result"
    " client_attrs",
    "client.check_authn_complete": "clientid username peername reason_code is_anonymous is_superuser"
    " client_attrs",
    "client.ping": "clientid clean_start username peername sockname proto_name proto_ver keepalive"
    " expiry_interval conn_props",
    "session.subscribed": "clientid username peerhost peername sub_props topic qos client_attrs",
    "session.unsubscribed": "clientid username peerhost peername unsub_props topic qos client_attrs",
    # ---
    "client.connect": "clientid username peerhost peername sockname proto_name proto_ver keepalive"
    " clean_start receive_maximum expiry_interval is_bridge conn_props",
    "client.subscribe": "clientid username peerhost peername sub_props topic qos client_attrs",
    "client.unsubscribe": "clientid username peerhost peername unsub_props topic qos client_attrs",
    "session.created": "clientid username peerhost peername client_attrs",
    "session.resumed": "clientid username peerhost peername client_attrs",
    "session.discarded": "clientid username peerhost peername client_attrs",
    "session.takenover": "clientid username peerhost peername client_attrs",
    "session.terminated": "clientid username peerhost peername client_attrs reason",
}


def endpoint(**given: Any) -> Endpoint:
    return Endpoint(**({"url": "http://h/", "name": "my-webhook", "format": "emqx"} | given))


def shown(kind: EventType, settings: Endpoint | None = None, **changed: Any) -> dict[str, Any]:
    made = make_format(settings or endpoint(), ORIGIN)
    assert made.content_type == "application/json"
    assert made.fill is None
    found = json.loads(made.body(7, sample(kind, **changed)))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
def test_every_event_has_exactly_its_fields_in_emqx_order(kind: EventType) -> None:
    found = shown(kind)
    assert set(found) == set(TABLE[kind.dotted].split()) | ALWAYS
    assert list(found) == sorted(found, reverse=True)
    assert found["event"] == kind.dotted
    assert found["node"] == "hookmq@plant"
    assert found["metadata"] == {"rule_id": "my-webhook_WH_D"}


@pytest.mark.parametrize("data", [None, {}])
@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
def test_an_event_without_details_has_the_same_fields(kind: EventType, data: dict[str, Any] | None) -> None:
    found = shown(kind, data=data, username=None, peername="")
    assert set(found) == set(TABLE[kind.dotted].split()) | ALWAYS
    assert None not in found.values()
    for name in found:
        if name.endswith("_props"):
            assert found[name] == {"User-Property": {}}
    if kind in MESSAGE_EVENTS:
        assert found["id"] == "0" * 31 + "7"
        assert found["timestamp"] == found["publish_received_at"] == TS
    assert found["username"] == found["peername"] == "undefined"


def test_publish() -> None:
    assert shown(EventType.MESSAGE_PUBLISH, username=None) == {
        "username": "undefined",
        "topic": "t/1",
        "timestamp": TS,
        "qos": 1,
        "publish_received_at": TS,
        "pub_props": PROPS,
        "peername": "127.0.0.1:61003",
        "peerhost": "127.0.0.1",
        "payload": '{ "msg": "Hello Webhook" }',
        "node": "hookmq@plant",
        "metadata": {"rule_id": "my-webhook_WH_D"},
        "id": ID,
        "flags": {"retain": False, "dup": True},
        "event": "message.publish",
        "clientid": "emqx_c",
        "client_attrs": {},
    }


@pytest.mark.parametrize(
    "kind", [EventType.MESSAGE_DELIVERED, EventType.MESSAGE_ACKED, EventType.MESSAGE_DELIVERY_DROPPED]
)
def test_a_message_for_a_subscriber_shows_both_clients(kind: EventType) -> None:
    found = shown(kind)
    assert (found["clientid"], found["username"]) == ("sub", "w")
    assert (found["peername"], found["peerhost"]) == ("[::1]:7", "::1")
    assert (found["from_clientid"], found["from_username"]) == ("emqx_c", "u")
    assert (found["timestamp"], found["publish_received_at"]) == (TS + 7, TS)
    nameless = shown(kind, data=ROUTED | {"to_username": ""})
    assert nameless["username"] == "undefined"


def test_reasons_and_acknowledgements() -> None:
    assert shown(EventType.MESSAGE_DROPPED)["reason"] == "no_subscribers"
    assert shown(EventType.MESSAGE_DROPPED)["timestamp"] == TS + 7
    assert shown(EventType.MESSAGE_DELIVERY_DROPPED)["reason"] == "queue_full"
    assert shown(EventType.MESSAGE_ACKED)["puback_props"] == {"User-Property": {}, "Reason-String": "ok"}
    assert shown(EventType.SESSION_TERMINATED)["reason"] == "expired"
    authz = shown(EventType.CLIENT_CHECK_AUTHZ_COMPLETE)
    assert (authz["action"], authz["result"], authz["authz_source"]) == ("publish", "allow", "file")
    authn = shown(EventType.CLIENT_CHECK_AUTHN_COMPLETE)
    assert (authn["reason_code"], authn["is_anonymous"], authn["is_superuser"]) == ("success", True, True)


@pytest.mark.parametrize(
    ("version", "conn_ack", "code"),
    [
        (5, "success", "success"),
        (5, "bad_username_or_password", "bad_username_or_password"),
        (4, "success", "connection_accepted"),
        (3, "success", "connection_accepted"),
        (4, "malformed_username_or_password", "malformed_username_or_password"),
    ],
)
def test_connack_codes_are_those_of_the_version(version: int, conn_ack: str, code: str) -> None:
    data = CONNECT | {"conn_ack": conn_ack, "proto_ver": version}
    assert shown(EventType.CLIENT_CONNACK, data=data)["reason_code"] == code


@pytest.mark.parametrize(("version", "name"), [(3, "MQIsdp"), (4, "MQTT"), (5, "MQTT")])
def test_connected(version: int, name: str) -> None:
    found = shown(EventType.CLIENT_CONNECTED, data=CONNECT | {"proto_ver": version})
    assert (found["proto_ver"], found["proto_name"]) == (version, name)
    assert (found["connected_at"], found["timestamp"]) == (TS - 3, TS)
    assert (found["keepalive"], found["receive_maximum"], found["expiry_interval"]) == (30, 32, 3600)
    assert (found["clean_start"], found["is_bridge"], found["mountpoint"]) == (False, True, "undefined")
    assert found["sockname"] == "127.0.0.1:1883"
    gone = shown(EventType.CLIENT_DISCONNECTED)
    assert (gone["disconnected_at"], gone["connected_at"], gone["reason"]) == (TS, TS - 3, "normal")


# -- the payload -------------------------------------------------------------------------------------------

JSON_PAYLOADS = [
    b'{ "msg":\n "Hello", "n": 1.50, "big": 123456789012345678901234567890 }',
    b"[1, 2]",
    b"null",
    b"true",
    b" -0.0 ",
    b'"\\ud83d\\ude00"',
    '"wärme"'.encode(),
]
OTHERS = [
    b"",
    b"21.5 C",
    b'{"a":',
    b"NaN",
    b"1e999",
    b'"\\ud800"',
    b"\xef\xbb\xbf1",
    b"01",
    b"{'a':1}",
    b'"\x01"',
]
ANY = pytest.mark.parametrize("format_", ["emqx", "nanomq"])


@ANY
@pytest.mark.parametrize("payload", JSON_PAYLOADS)
def test_json_stands_in_the_body_as_it_was_sent(format_: str, payload: bytes) -> None:
    settings = endpoint(encoding=Encoding.JSON, format=format_)
    body = make_format(settings).body(1, sample(EventType.MESSAGE_PUBLISH, payload=payload))
    assert b'"payload":' + payload in body
    assert json.loads(body)["payload"] == json.loads(payload)


@ANY
@pytest.mark.parametrize("payload", [*OTHERS, b"[" * 5000 + b"]" * 5000])
def test_what_is_not_json_stands_there_as_a_string(format_: str, payload: bytes) -> None:
    found = shown(
        EventType.MESSAGE_PUBLISH, endpoint(encoding=Encoding.JSON, format=format_), payload=payload
    )
    assert found["payload"] == payload.decode()
    assert "payload_encoding" not in found


@ANY
@pytest.mark.parametrize("encoding", ["plain", "json"])
@pytest.mark.parametrize("kind", sorted(MESSAGE_EVENTS), ids=lambda kind: kind.dotted)
def test_what_is_not_utf8_goes_as_base64_and_says_so_at_the_end(
    kind: EventType, encoding: str, format_: str
) -> None:
    settings = endpoint(encoding=Encoding(encoding), format=format_)
    found = shown(kind, settings, payload=b'"\xff"')
    assert base64.b64decode(found["payload"]) == b'"\xff"'
    assert list(found)[-1] == "payload_encoding"
    assert found["payload_encoding"] == "base64"


@ANY
def test_base64(format_: str) -> None:
    found = shown(
        EventType.MESSAGE_PUBLISH, endpoint(encoding=Encoding.BASE64, format=format_), payload=b"{}"
    )
    assert found["payload"] == "e30="
    assert "payload_encoding" not in found


# -- include and exclude -----------------------------------------------------------------------------------


def test_include_and_exclude() -> None:
    kind = EventType.MESSAGE_PUBLISH
    chosen = shown(kind, endpoint(include=("payload", "topic", "clientid", "reason")))
    assert list(chosen) == ["topic", "payload", "clientid"]
    rest = shown(kind, endpoint(exclude=("payload", "pub_props")))
    assert list(rest) == [name for name in shown(kind) if name not in ("payload", "pub_props")]
    both = shown(kind, endpoint(include=("payload", "topic"), exclude=("payload",)))
    assert list(both) == ["topic"]
    nano = shown(kind, endpoint(format="nanomq", exclude=("action", "ts")))
    assert list(nano) == ["topic", "retain", "qos", "from_username", "from_client_id", "payload"]
    nano = shown(kind, endpoint(format="nanomq", include=("payload", "topic")))
    assert nano == {"topic": "t/1", "payload": '{ "msg": "Hello Webhook" }'}


@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
@ANY
def test_the_known_keys_are_those_of_the_bodies(kind: EventType, format_: str) -> None:
    assert set(shown(kind, endpoint(format=format_), payload=b"\xff")) <= KEYS[format_]
    assert not KEYS[format_] & {"at", "to_clientid", ""}
    assert (KEYS["emqx"], KEYS["nanomq"]) == (emqx.KEYS, nanomq.KEYS)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT, TEXT, st.none() | TEXT, st.binary(max_size=60) | TEXT.map(str.encode), st.sampled_from(Encoding))
def test_any_publish_is_valid_json_that_says_the_same(
    topic: str, clientid: str, username: str | None, payload: bytes, encoding: Encoding
) -> None:
    event = sample(
        EventType.MESSAGE_PUBLISH, topic=topic, clientid=clientid, username=username, payload=payload
    )
    found = json.loads(make_format(endpoint(encoding=encoding), ORIGIN).body(1, event).decode())
    assert (found["topic"], found["clientid"]) == (topic, clientid)
    assert found["username"] == (username or "undefined")
    if encoding in ("plain", "json"):
        if "payload_encoding" in found:
            assert base64.b64decode(found["payload"]) == payload
        elif isinstance(found["payload"], str) and encoding == "plain":
            assert found["payload"].encode() == payload
        else:
            assert found["payload"] == payload.decode() or found["payload"] == json.loads(payload)


def test_what_is_not_known_is_named() -> None:
    event = sample(EventType.CLIENT_PING)
    event.type = 99
    for format_ in ("emqx", "cloudevents", "template", "nanomq"):
        with pytest.raises(ValueError, match="99"):
            make_format(endpoint(format=format_)).body(1, event)
