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
from bridge.delivery.http import Connection
from bridge.delivery.lane import Lane
from bridge.delivery.retry import Outcome
from bridge.delivery.signing import SigningError
from bridge.events.event import MESSAGE_EVENTS, TOPIC_EVENTS, Event, EventType

CLIENT = "hookmq-test"
TOPIC = "hookmq/test"
BODY_CHARACTERS = 16384
"""Characters of the request's body that are shown."""
_OWN_IDS = 1 << 63
"""No event has such a sequence, so that a receiver takes no event for this one."""


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
    """A plausible event of a type."""
    examples: dict[EventType, dict[str, Any]] = {
        EventType.CLIENT_CONNECT: {"keepalive": 60, "proto_ver": 4, "ipaddress": "127.0.0.1"},
        EventType.CLIENT_CONNACK: {"keepalive": 60, "proto_ver": 4, "conn_ack": "success"},
        EventType.CLIENT_CONNECTED: {
            "keepalive": 60,
            "proto_ver": 4,
            "ipaddress": "127.0.0.1",
            "connected_at": now_ms,
        },
        EventType.CLIENT_DISCONNECTED: {"reason": "normal"},
        EventType.SESSION_TERMINATED: {"reason": "normal"},
        EventType.MESSAGE_DELIVERED: {"to_clientid": CLIENT, "to_username": None},
        EventType.MESSAGE_ACKED: {"to_clientid": CLIENT, "to_username": None},
    }
    return Event(
        int(kind),
        now_ms,
        CLIENT,
        None,
        "127.0.0.1:50000",
        (lane,),
        topic=TOPIC if kind in TOPIC_EVENTS else "",
        payload=b"This is a test of HookMQ." if kind in MESSAGE_EVENTS else b"",
        qos=1 if kind in MESSAGE_EVENTS else 0,
        data=examples.get(kind),
    )


async def send_test(lane: Lane, kind: EventType) -> Trial:
    """Send one test request on a connection of its own; it ends within the endpoint's time limit.

    An endpoint with OAuth2 is first waited for until its token server has answered.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome | None] = loop.create_future()
    event = sample_event(kind, lane.id, int(time.time() * 1000))
    seq = _OWN_IDS | secrets.randbits(62)
    body = lane.format.body(seq, event)
    missing = await lane.authorized()
    if missing:
        return _unsent(seq, body, f"no token from {missing}")
    pool = lane.pool.twin()

    def finish(connection: Connection, outcome: Outcome | None = None) -> None:
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
