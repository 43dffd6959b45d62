"""A test request: a made-up event of a type, sent to an endpoint as a real one would be.

It is outside the endpoint's order, its journal and its counters.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import msgspec

from bridge.delivery.attempt_text import request_head, response_parts
from bridge.delivery.lane import Lane
from bridge.delivery.retry import Outcome
from bridge.delivery.signing import SigningError
from bridge.delivery.transport import Carrier
from bridge.events.cloudevents import timestamp
from bridge.events.event import MESSAGE_EVENTS, TOPIC_EVENTS, Event, EventType

CLIENT = "hookmq-test"
RECEIVER = "hookmq-test-receiver"
USER = "hookmq"
TOPIC = "hookmq/test"
PAYLOAD = b'{"message":"This is a test of HookMQ.","temp":21.5}'
BODY_CHARACTERS = 16384
"""Characters of the request's body that are shown."""
_OWN_IDS = 1 << 63
"""No event has such a sequence, so that a receiver takes no event for this one."""
_WITH_QOS = frozenset({EventType.CLIENT_SUBSCRIBE, EventType.SESSION_SUBSCRIBED})


class Trial(msgspec.Struct):
    """A test request and what came back. Texts have a line for each header; secrets are masked."""

    ok: bool
    id: str
    took_ms: float
    address: str
    request: str
    body: str
    status: int | None
    response: str
    response_body: str
    error: str


def sample_event(kind: EventType, lane: int, now_ms: int) -> Event:
    """A plausible event of a type: that of an MQTT 5 client, with all details that any format shows."""
    began = now_ms - 60_000  # when the client connected
    client: dict[str, Any] = {"sockname": "127.0.0.1:1883", "proto_ver": 5, "connected_at": began}
    connect = client | {
        "keepalive": 60,
        "clean_start": False,
        "expiry_interval": 3600,
        "is_bridge": False,
        "receive_maximum": 100,
        "props": {"Session-Expiry-Interval": 3600, "Receive-Maximum": 100, "User-Property": {}},
    }
    pairs = [{"key": "from", "value": "hookmq send-test"}]
    message = {
        "id": secrets.token_hex(16).upper(),
        "dup": False,
        "props": {
            "Content-Type": "application/json",
            "User-Property": {"from": "hookmq send-test"},
            "User-Property-Pairs": pairs,
        },
    }
    receiver = message | {
        "to_clientid": RECEIVER,
        "to_username": USER,
        "to_peername": "127.0.0.1:50001",
        "at": now_ms,
    }
    no_props: dict[str, Any] = {"props": {"User-Property": {}}}
    examples: dict[EventType, dict[str, Any]] = {
        EventType.CLIENT_CONNECT: connect | {"ipaddress": "127.0.0.1", "connected_at": now_ms},
        EventType.CLIENT_CONNACK: connect | {"conn_ack": "success", "connected_at": now_ms},
        EventType.CLIENT_CONNECTED: connect | {"ipaddress": "127.0.0.1", "connected_at": now_ms},
        EventType.CLIENT_DISCONNECTED: client | no_props | {"reason": "normal"},
        EventType.CLIENT_SUBSCRIBE: no_props,
        EventType.CLIENT_UNSUBSCRIBE: no_props,
        EventType.CLIENT_CHECK_AUTHN_COMPLETE: {
            "conn_ack": "success",
            "is_anonymous": False,
            "is_superuser": False,
        },
        EventType.CLIENT_CHECK_AUTHZ_COMPLETE: {
            "action": "publish",
            "result": "allow",
            "authz_source": "default",
        },
        EventType.CLIENT_PING: connect,
        EventType.SESSION_SUBSCRIBED: no_props,
        EventType.SESSION_UNSUBSCRIBED: no_props,
        EventType.SESSION_TERMINATED: {"reason": "normal"},
        EventType.MESSAGE_PUBLISH: message,
        EventType.MESSAGE_DELIVERED: receiver,
        EventType.MESSAGE_ACKED: receiver | {"ack_props": {"User-Property": {}}},
        EventType.MESSAGE_DROPPED: message | {"reason": "no_subscribers", "at": now_ms},
        EventType.MESSAGE_DELIVERY_DROPPED: receiver | {"reason": "queue_full"},
    }
    is_message = kind in MESSAGE_EVENTS
    return Event(
        int(kind),
        now_ms,
        CLIENT,
        USER,
        "127.0.0.1:50000",
        (lane,),
        topic=TOPIC if kind in TOPIC_EVENTS else "",
        payload=PAYLOAD if is_message else b"",
        qos=1 if is_message or kind in _WITH_QOS else 0,
        data=examples.get(kind),
    )


def business_event(name: str, data: bytes, lane: int, now_ms: int) -> Event:
    """A business event of a type; `data` is its data's object as `bridge.events.js_json` has it."""
    return Event(
        int(EventType.DOMAIN),
        now_ms,
        CLIENT,
        None,
        "",
        (lane,),
        topic=name,
        payload=data,
        data={"id": f"evt_test_{secrets.token_hex(8)}", "timestamp": timestamp(now_ms)},
    )


def drafted(lane: Lane, event: Event) -> tuple[bytes, bytes]:
    """The request that a lane would send for an event, built by what builds every request, and its body.
    Nothing is sent. Raises whatever goes wrong with this event.

    A token of OAuth2 is not in it: none is asked for.
    """
    seq = _OWN_IDS | secrets.randbits(62)
    body = lane.body(seq, event)
    return lane.pool.composed(seq, 1, body, event), body


async def send_test(lane: Lane, what: EventType | Event) -> Trial:
    """Send one test request on a connection of its own; it ends within the endpoint's time limit.

    An endpoint with OAuth2 is first waited for until its token server has answered; one with
    `abuse_protection` gets no request before it has agreed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome | None] = loop.create_future()
    event = what if isinstance(what, Event) else sample_event(what, lane.id, int(time.time() * 1000))
    seq = _OWN_IDS | secrets.randbits(62)
    body = lane.body(seq, event)
    missing = await lane.authorized()
    if missing:
        return _unsent(seq, body, missing)
    pool = lane.pool.twin()

    def finish(connection: Carrier, outcome: Outcome | None = None) -> None:
        if not done.done():
            done.set_result(outcome)

    pool.on_success = finish
    pool.on_failure = finish
    try:
        connection = pool.free()
        assert connection is not None  # noqa: S101  the first of its pool
        connection.event = event
        began = loop.time()
        try:
            connection.send(seq, 1, body)
        except SigningError as error:
            return _unsent(seq, body, str(error))
        outcome = await done
        took = loop.time() - began
    finally:
        pool.close()
    scrub = lane.target.scrub
    status, head, text = response_parts(connection.raw if outcome is None else connection.response, scrub)
    return Trial(
        ok=outcome is None,
        id=f"{seq:016x}",
        took_ms=round(took * 1000, 1),
        address=connection.address,
        request=request_head(connection.request, scrub),
        body=scrub(body[:BODY_CHARACTERS].decode("utf-8", "replace")),
        status=status,
        response=head,
        response_body=text,
        error="" if outcome is None else scrub(str(outcome)),
    )


def _unsent(seq: int, body: bytes, error: str) -> Trial:
    """No request could be sent."""
    return Trial(
        ok=False,
        id=f"{seq:016x}",
        took_ms=0.0,
        address="",
        request="",
        body=body[:BODY_CHARACTERS].decode("utf-8", "replace"),
        status=None,
        response="",
        response_body="",
        error=error,
    )
