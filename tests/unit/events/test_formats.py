"""Bodies byte for byte (INTEROP 1.2)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import Encoding, Endpoint
from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.formats import BodyCounts, make_format, nanomq_body

TS = 1706703724960


def event(kind: EventType, **fields: Any) -> Event:
    base: dict[str, Any] = {
        "type": int(kind),
        "ts": TS,
        "clientid": "c1",
        "username": "u",
        "peername": "127.0.0.1:5000",
        "targets": (1,),
    }
    return Event(**(base | fields))


MESSAGE = {
    "clientid": "c2",
    "username": "u2",
    "topic": "world",
    "payload": b"Hello world!",
    "retain": True,
    "data": {"to_clientid": "c1", "to_username": "u"},
}
BODIES = [
    (
        event(
            EventType.MESSAGE_PUBLISH,
            clientid="wbhk_clientid",
            username="wbhk_test",
            topic="nmq/pub",
            retain=True,
            qos=1,
            payload=b"Hello World!",
        ),
        '{"ts":1706703724960,"topic":"nmq/pub","retain":true,"qos":1,"action":"message_publish",'
        '"from_username":"wbhk_test","from_client_id":"wbhk_clientid","payload":"Hello World!"}',
    ),
    (
        event(
            EventType.CLIENT_CONNACK,
            clientid="wbhk_clientid",
            username="wbhk_test",
            data={"keepalive": 60, "proto_ver": 4, "conn_ack": "success"},
        ),
        '{"proto_ver":4,"keepalive":60,"conn_ack":"success","username":"wbhk_test",'
        '"clientid":"wbhk_clientid","action":"client_connack"}',
    ),
    (
        event(
            EventType.CLIENT_DISCONNECTED,
            clientid="wbhk_clientid",
            username="wbhk_test",
            data={"reason": "normal"},
        ),
        '{"reason":"normal","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_disconnected"}',
    ),
    (
        event(EventType.CLIENT_CONNECT, data={"keepalive": 60, "proto_ver": 4, "ipaddress": "127.0.0.1"}),
        '{"action":"client_connect","clientid":"c1","username":"u","ipaddress":"127.0.0.1","keepalive":60,"proto_ver":4}',
    ),
    (
        event(
            EventType.CLIENT_CONNECTED,
            data={"keepalive": 60, "proto_ver": 4, "ipaddress": "127.0.0.1", "connected_at": TS},
        ),
        '{"action":"client_connected","clientid":"c1","username":"u","keepalive":60,"ipaddress":"127.0.0.1",'
        '"proto_ver":4,"connected_at":1706703724960}',
    ),
    (
        event(EventType.CLIENT_SUBSCRIBE, topic="world"),
        '{"action":"client_subscribe","clientid":"c1","username":"u","topic":"world","opts":{"qos":0}}',
    ),
    (
        event(EventType.CLIENT_UNSUBSCRIBE, topic="world"),
        '{"action":"client_unsubscribe","clientid":"c1","username":"u","topic":"world"}',
    ),
    (
        event(EventType.SESSION_SUBSCRIBED, topic="world", qos=2),
        '{"action":"session_subscribed","clientid":"c1","username":"u","topic":"world","opts":{"qos":2}}',
    ),
    (
        event(EventType.SESSION_UNSUBSCRIBED, topic="world"),
        '{"action":"session_unsubscribed","clientid":"c1","username":"u","topic":"world"}',
    ),
    (
        event(EventType.SESSION_TERMINATED, data={"reason": "normal"}),
        '{"action":"session_terminated","clientid":"c1","username":"u","reason":"normal"}',
    ),
    (
        event(EventType.MESSAGE_DELIVERED, **MESSAGE),
        '{"action":"message_delivered","clientid":"c1","username":"u","from_client_id":"c2","from_username":"u2",'
        '"topic":"world","qos":0,"retain":true,"payload":"Hello world!","ts":1706703724960}',
    ),
    (
        event(EventType.MESSAGE_ACKED, **MESSAGE, qos=1),
        '{"action":"message_acked","clientid":"c1","username":"u","from_client_id":"c2","from_username":"u2",'
        '"topic":"world","qos":1,"retain":true,"payload":"Hello world!","ts":1706703724960}',
    ),
]


NEW = [
    (
        event(EventType.MESSAGE_DROPPED, **(MESSAGE | {"data": {"reason": "no_subscribers"}})),
        '{"action":"message_dropped","reason":"no_subscribers","from_client_id":"c2","from_username":"u2",'
        '"topic":"world","qos":0,"retain":true,"payload":"Hello world!","ts":1706703724960}',
    ),
    (
        event(
            EventType.MESSAGE_DELIVERY_DROPPED,
            **(MESSAGE | {"data": {"to_clientid": "c1", "to_username": "u", "reason": "queue_full"}}),
        ),
        '{"action":"message_delivery_dropped","reason":"queue_full","clientid":"c1","username":"u",'
        '"from_client_id":"c2","from_username":"u2","topic":"world","qos":0,"retain":true,'
        '"payload":"Hello world!","ts":1706703724960}',
    ),
    (
        event(
            EventType.CLIENT_CHECK_AUTHN_COMPLETE,
            data={"conn_ack": "success", "is_anonymous": False, "is_superuser": True},
        ),
        '{"action":"client_check_authn_complete","clientid":"c1","username":"u","conn_ack":"success",'
        '"is_anonymous":false,"is_superuser":true}',
    ),
    (
        event(
            EventType.CLIENT_CHECK_AUTHZ_COMPLETE,
            topic="world",
            data={"action": "publish", "result": "deny", "authz_source": "file"},
        ),
        '{"action":"client_check_authz_complete","clientid":"c1","username":"u","topic":"world",'
        '"access":"publish","result":"deny","authz_source":"file"}',
    ),
    (
        event(EventType.CLIENT_PING, data={"keepalive": 60, "proto_ver": 4}),
        '{"action":"client_ping","clientid":"c1","username":"u","keepalive":60,"proto_ver":4}',
    ),
    *[
        (event(kind), f'{{"action":"{kind.action}","clientid":"c1","username":"u"}}')
        for kind in (
            EventType.SESSION_CREATED,
            EventType.SESSION_RESUMED,
            EventType.SESSION_DISCARDED,
            EventType.SESSION_TAKENOVER,
        )
    ],
]
"""Events that NanoMQ does not know."""
BODIES += NEW


def both(what: Event, encoding: str = "plain", limit: int = 65536) -> bytes:
    """The body, which the bound formatter must make too."""
    body = nanomq_body(what, encoding, limit)
    endpoint = Endpoint(url="http://h/", encoding=Encoding(encoding), base62_limit=limit)
    assert make_format(endpoint).body(1, what) == body
    return body


def test_there_is_a_body_for_every_type() -> None:
    assert {what.type for what, _ in BODIES} == set(HOOK_EVENTS)


@pytest.mark.parametrize(("what", "body"), BODIES, ids=lambda v: v.type if isinstance(v, Event) else "")
def test_bodies_byte_for_byte(what: Event, body: str) -> None:
    assert both(what) == body.encode()


@pytest.mark.parametrize("username", [None, ""])
@pytest.mark.parametrize(("what", "body"), BODIES, ids=lambda v: v.type if isinstance(v, Event) else "")
def test_no_username_is_undefined(what: Event, body: str, username: str | None) -> None:
    parsed = json.loads(body)
    receiver = "to_username" in (what.data or {})
    for key in parsed:
        if key.endswith("username"):
            parsed[key] = "undefined"
    data = (what.data or {}) | {"to_username": username} if receiver else what.data
    nameless = Event(
        what.type,
        what.ts,
        what.clientid,
        username,
        "",
        (1,),
        what.topic,
        what.payload,
        what.qos,
        what.retain,
        data,
    )
    assert json.loads(both(nameless)) == parsed


@pytest.mark.parametrize(
    ("encoding", "payload", "text"),
    [
        ("plain", b"", ""),
        ("base64", b"", ""),
        ("base62", b"", ""),
        ("base62_legacy", b"", ""),
        ("base64", b"messagei+/", "bWVzc2FnZWkrLw=="),
        ("base62", b"messagei+/", "2a7oZkl5ty6sG7"),
        ("base62_legacy", b"messagei+/", "bWVzc2FnZWkrLw"),
        ("base62", b"\x00\x00\x01", "001"),
        ("plain", b"a\x00b", "a\0b"),
    ],
)
def test_encodings_and_empty_payloads(encoding: str, payload: bytes, text: str) -> None:
    body = both(event(EventType.MESSAGE_PUBLISH, topic="t", payload=payload), encoding)
    assert list(json.loads(body))[-1] == "payload"
    assert json.loads(body)["payload"] == text


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"ok\x80", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize("kind", [EventType.MESSAGE_PUBLISH, EventType.MESSAGE_DELIVERED])
def test_a_payload_that_is_no_utf8_goes_as_base64_with_a_mark_at_the_end(
    payload: bytes, kind: EventType
) -> None:
    what = event(kind, topic="t", payload=payload)
    body = both(what)
    assert body.endswith(b',"payload_encoding":"base64"}')
    assert base64.b64decode(json.loads(body)["payload"]) == payload
    assert "payload_encoding" not in json.loads(both(what, "base64"))


def test_base62_above_the_limit_goes_as_base64_with_a_mark_and_is_counted() -> None:
    counts = BodyCounts()
    endpoint = Endpoint(url="http://h/", encoding=Encoding.BASE62, base62_limit=10)
    formatter = make_format(endpoint, counts=counts).body
    at_limit = formatter(1, event(EventType.MESSAGE_PUBLISH, topic="t", payload=b"x" * 10))
    above = formatter(1, event(EventType.MESSAGE_PUBLISH, topic="t", payload=b"x" * 11))
    assert b"payload_encoding" not in at_limit
    assert above.endswith(b'"payload":"' + base64.b64encode(b"x" * 11) + b'","payload_encoding":"base64"}')
    assert (counts.base62_too_long, counts.not_utf8) == (1, 0)
    plain = make_format(Endpoint(url="http://h/"), counts=counts).body
    plain(1, event(EventType.MESSAGE_PUBLISH, topic="t", payload=b"\xff"))
    assert (counts.base62_too_long, counts.not_utf8) == (1, 1)


def test_utf8_is_not_escaped_and_what_json_must_escape_is() -> None:
    body = both(
        event(EventType.MESSAGE_PUBLISH, topic='wärme/"℃"/\\', payload="日本\n\x01\x7f\u2028😀".encode())
    )
    assert '"topic":"wärme/\\"℃\\"/\\\\"'.encode() in body
    assert "日本\\n\\u0001\x7f\u2028😀".encode() in body


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    TEXT,
    TEXT,
    st.none() | TEXT,
    st.binary(max_size=60) | TEXT.map(str.encode),
    st.integers(0, 2),
    st.booleans(),
)
def test_any_publish_is_valid_json_that_says_the_same(
    topic: str, clientid: str, username: str | None, payload: bytes, qos: int, retain: bool
) -> None:
    what = event(
        EventType.MESSAGE_PUBLISH,
        topic=topic,
        clientid=clientid,
        username=username,
        payload=payload,
        qos=qos,
        retain=retain,
    )
    body = both(what)
    found = json.loads(body.decode("utf-8", "strict"))
    assert (found["topic"], found["from_client_id"], found["qos"], found["retain"]) == (
        topic,
        clientid,
        qos,
        retain,
    )
    assert found["from_username"] == (username or "undefined")
    if "payload_encoding" in found:
        assert base64.b64decode(found["payload"]) == payload
    else:
        assert found["payload"].encode() == payload
    assert body == json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="99"):
        nanomq_body(event(EventType.MESSAGE_PUBLISH, type=99))
    with pytest.raises(ValueError, match="rot13"):
        nanomq_body(event(EventType.MESSAGE_PUBLISH), "rot13")
