"""What is told of an endpoint and of its attempts, for people and scripts: the same by every way."""

from __future__ import annotations

from typing import Any

from bridge.delivery.lane import Lane
from bridge.delivery.lookup import identifier
from bridge.delivery.mqtt.remote import ConnectionState, RemoteTransport
from bridge.events.event import EventType

__all__ = ["ConnectionState", "attempt", "connection", "counters", "event_name"]

ASKED = "abuse_protection"
"""In place of an event's name: the endpoint was asked whether it wants events."""


def counters(lane: Lane) -> dict[str, int]:
    """Events, and of `failed` and `retried` attempts, since the start; dead letters since ever; and what is
    queued and in flight now."""
    return {
        "matched": lane.matched,
        "delivered": lane.delivered,
        "failed": lane.failed,
        "retried": lane.retried,
        "dead": lane.dead,
        "queued": lane.queued,
        "in_flight": lane.in_flight,
    }


def connection(lane: Lane) -> ConnectionState | None:
    """That of a publisher to another broker; None for all others."""
    transport = lane.pool
    return transport.state if isinstance(transport, RemoteTransport) else None


def attempt(row: dict[str, Any], store_id: str) -> dict[str, Any]:
    """A row of the attempt log for people and scripts."""
    shown = dict(row)
    del shown["id"], shown["seq"]
    shown["ok"] = bool(row["ok"])
    asked = row["event"] == 0  # for permission: no event is concerned
    shown["id"] = "" if asked else identifier(row["seq"], store_id)
    shown["event"] = ASKED if asked else event_name(row["event"], row["topic"])
    shown["took_ms"] = shown.pop("took") / 1000
    return shown


def event_name(number: int, topic: str) -> str:
    """`on_message_publish` of a type's number; of a business event its own type, which is its topic."""
    if number == EventType.DOMAIN:
        return topic
    try:
        return "on_" + EventType(number).action
    except ValueError:
        return ""
