"""Looking at the events of a broker that makes every one with its details."""

from __future__ import annotations

from typing import Any

from bridge.events.event import Event, EventType
from bridge.mqtt.packets import Properties
from tests.integration.broker.running import Running
from tests.integration.mqtt_client import Client

PAIRS = [("k", "1"), ("k", "2"), ("other", "é")]
SHOWN_PAIRS = {
    "User-Property": {"k": "2", "other": "é"},
    "User-Property-Pairs": [{"key": key, "value": value} for key, value in PAIRS],
}


def of(broker: Running, *kinds: EventType, clientid: str | None = None) -> list[Event]:
    return [e for e in broker.events if e.type in kinds and clientid in (None, e.clientid)]


def one(broker: Running, kind: EventType, clientid: str | None = None) -> tuple[Event, dict[str, Any]]:
    [event] = of(broker, kind, clientid=clientid)
    return event, event.data or {}


def dotted(events: list[Event]) -> list[str]:
    return [EventType(e.type).dotted for e in events]


def persistent(version: int, **more: Any) -> dict[str, Any]:
    properties = Properties(session_expiry_interval=1000, **more) if version == 5 else None
    return {"version": version, "clean": False, "properties": properties}


def address(client: Client, which: str) -> str:
    host, port = client.writer.get_extra_info(which)[:2]
    return f"{host}:{port}"
