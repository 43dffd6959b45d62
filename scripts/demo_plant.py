"""A plant to look at: a real HookMQ with endpoints that fare well and badly, devices, and business events.

    async with DemoPlant(folder) as plant:
        ... plant.api.url ...

For the screenshots of the documentation and for the tests of the dashboard. Everything is on the loopback.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bridge.mqtt.packets import Puback, Publish
from scripts.receiver.answers import every, status
from scripts.receiver.server import Exchange, Receiver, Script
from tests.integration.admin.calling import Api
from tests.integration.mqtt_client import Client

DEVICES = (
    ("press-1", "line1", "plant/line1/press-1/force"),
    ("press-2", "line1", "plant/line1/press-2/force"),
    ("robot-11", "line1", "plant/line1/robot-11/joints"),
    ("robot-12", "line1", "plant/line1/robot-12/joints"),
    ("laser-cutter-3", "line2", "plant/line2/laser-cutter-3/power"),
    ("oven-7", "line2", "plant/line2/oven-7/temperature"),
    ("scale-2", "packing", "plant/packing/scale-2/weight"),
    ("labeller-4", "packing", "plant/packing/labeller-4/status"),
    ("agv-21", "logistics", "plant/logistics/agv-21/position"),
    ("agv-22", "logistics", "plant/logistics/agv-22/position"),
    ("compressor-1", "utilities", "plant/utilities/compressor-1/pressure"),
    ("chiller-1", "utilities", "plant/utilities/chiller-1/temperature"),
)
SUBSCRIPTIONS = (
    ("hmi-line1", "plant/line1/#", 1),
    ("hmi-line2", "plant/line2/#", 1),
    ("scada", "plant/+/+/temperature", 1),
    ("scada", "plant/utilities/#", 0),
    ("andon-1", "$share/andon/plant/+/+/status", 1),
    ("andon-2", "$share/andon/plant/+/+/status", 1),
)
BUSINESS = (
    "work_order.created",
    "work_order.started",
    "operation.completed",
    "inventory.material_consumed",
    "quality.inspection_complete",
    "quality.ncr_created",
    "work_order.completed",
)


def slowly(seconds: float) -> Script:
    """Answer after a while, about."""

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(seconds * random.uniform(0.6, 1.6))
        await exchange.respond(200, b'{"ok":true}', [("Content-Type", "application/json")])

    return script


SCRIPTS: dict[str, Script] = {
    "historian": slowly(0.004),
    "erp": slowly(0.02),
    "quality": slowly(0.03),
    "alarms": status(503, b"maintenance window\n", [("Retry-After", "120")]),
    "labels": every(3, status(422, b'{"error":"unknown article"}', [("Content-Type", "application/json")])),
    "andon": status(204),
}
"""What the receivers answer."""


def reading(device: str, number: int) -> dict[str, Any]:
    """A plausible reading."""
    wave = math.sin(number / 9 + len(device))
    kind = device.split("-", maxsplit=1)[0]
    values: dict[str, dict[str, Any]] = {
        "press": {"force_kn": round(240 + 12 * wave, 1), "stroke": 18000 + number},
        "robot": {
            "joints": [round(wave * k, 3) for k in (0.4, 1.1, -0.7, 0.2, 1.5, 0.1)],
            "program": "PICK_A",
        },
        "laser": {"power_w": round(3000 + 250 * wave), "gas_bar": 14.2},
        "oven": {"temp": round(181 + 4 * wave, 1), "setpoint": 180},
        "scale": {"weight_g": round(1250 + 3 * wave, 1), "stable": True},
        "labeller": {"state": "running", "rolls_left": 4 - number % 5},
        "agv": {"x": round(12 + 7 * wave, 2), "y": round(4 - 3 * wave, 2), "battery": 80 - number % 40},
        "compressor": {"bar": round(7.1 + 0.2 * wave, 2), "motor_temp": round(64 + 5 * wave, 1)},
        "chiller": {"temp": round(6.5 + wave, 2), "flow_lpm": 212},
    }
    return values[kind]


class DemoPlant:
    """See the module. `pace` is the seconds between two readings of a device."""

    def __init__(self, folder: Path, *, pace: float = 0.35, blocks: Sequence[str] = ()) -> None:
        self.pace = pace
        self.receivers = {name: Receiver() for name in SCRIPTS}
        for name, script in SCRIPTS.items():
            self.receivers[name].script = script
        self.unreachable = 1
        """A port on which nobody listens."""
        self.api: Api = Api(folder)
        self.ids: dict[str, str] = {}
        self._folder = folder
        self._blocks = blocks
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: dict[str, Client] = {}

    async def __aenter__(self) -> Self:
        for receiver in self.receivers.values():
            await receiver.start()
        historian = self.receivers["historian"].url("/write")
        self.api = Api(
            self._folder,
            f"""webhooks.historian {{
  url = "{historian}"
  note = "Historian: every message"
  events = [{{ event = on_message_publish, topic = "plant/#" }}]
}}
webhooks.presence {{
  url = "{self.receivers["andon"].url("/presence")}"
  note = "Presence of machines"
  events = [{{ event = on_client_connected }}, {{ event = on_client_disconnected }}]
}}
""",
            f"""mqtt_publishers.uns {{
  server = "embedded"
  note = "Unified Namespace"
  topic_pattern = "{{enterprise}}/{{site}}/{{area}}/{{cell}}/{{event}}"
  enterprise = acme
  site = chicago
}}
mqtt_publishers.headquarters {{
  server = "mqtt://127.0.0.1:{self.unreachable}"
  note = "Headquarters in Milwaukee"
  types = ["quality.*"]
}}
""",
            *self._blocks,
        )
        try:
            await self.api.start()
            await self._endpoints()
            await self._connect()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients.values():
            client.abort()
        await self.api.__aexit__(None, None, None)
        for receiver in self.receivers.values():
            await receiver.stop()

    async def _endpoints(self) -> None:
        url = {name: receiver.url for name, receiver in self.receivers.items()}
        documents: dict[str, dict[str, Any]] = {
            "erp": {
                "url": url["erp"]("/webhooks/mes"),
                "events": ["work_order.*", "operation.completed"],
                "description": "ERP: work orders",
            },
            "quality": {
                "url": url["quality"]("/hooks/quality"),
                "events": ["quality.*"],
                "description": "Quality system",
                "headers": {"X-Plant": "chicago"},
            },
            "alarms": {
                "url": url["alarms"]("/v1/alarms"),
                "events": [{"event": "on_message_publish", "topic": "plant/+/+/temperature"}],
                "description": "Maintenance alarms",
                "where": "payload.temp > 182",
                "breaker": {"failures": 3},
            },
            "labels": {
                "url": url["labels"]("/print"),
                "events": [{"event": "on_message_publish", "topic": "plant/packing/#"}],
                "description": "Label printer",
                "retry": {"schedule": [0]},
                "format": "cloudevents",
            },
            "gateway": {
                "url": f"http://127.0.0.1:{self.unreachable}/events",
                "events": [{"event": "on_message_publish", "topic": "plant/+/+/weight"}],
                "description": "Packing line gateway",
                "retry": {"schedule": [0]},
                "breaker": {"failures": 20},
            },
            "andon": {
                "url": url["andon"]("/board"),
                "events": [{"event": "on_message_publish", "topic": "plant/+/+/status"}],
                "description": "Andon board, line 1",
            },
            "lake": {
                "url": url["historian"]("/lake"),
                "events": [{"event": "on_message_publish", "topic": "plant/utilities/#"}],
                "description": "Energy data lake",
                "batch": {"max_events": 50, "max_wait": "1s"},
            },
        }
        for name, document in documents.items():
            made = await self.api.post("/api/v2/webhooks/endpoints", document)
            assert made.status == 201, made
            self.ids[name] = made.json["id"]
        off = await self.api.post(f"/api/v2/webhooks/endpoints/{self.ids['andon']}/disable")
        assert off.status == 200, off

    async def _connect(self) -> None:
        for name, topic_filter, qos in SUBSCRIPTIONS:
            if name not in self._clients:
                await self._client(name, "hmi")
            await self._clients[name].subscribe(topic_filter, qos)
        subscribers = list(self._clients.values())
        self._tasks += [asyncio.create_task(_drain(client)) for client in subscribers]
        for name, user, _ in DEVICES:
            await self._client(name, user)

    async def _client(self, name: str, user: str) -> None:
        self._clients[name] = await Client.connect(
            self.api.port, name, version=5, username=user, keepalive=60
        )

    async def publish_once(self, number: int) -> None:
        """A reading of every device, QoS 1."""
        for name, _, topic in DEVICES:
            await self._clients[name].publish(topic, json.dumps(reading(name, number)).encode(), qos=1)

    async def business(self, number: int) -> None:
        """One business event, an example of the catalogue."""
        types = await self.api.get("/api/v2/webhooks/event-types")
        examples = {one["type"]: one["example"] for one in types.json["data"]}
        kind = BUSINESS[number % len(BUSINESS)]
        taken = await self.api.post("/api/v2/events", {"type": kind, "data": examples[kind]})
        assert taken.status == 202, taken

    async def run(self, seconds: float) -> None:
        """Live for a while."""
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            began = time.monotonic()
            await self.publish_once(number)
            if number % 3 == 0:
                await self.business(number // 3)
            await asyncio.sleep(max(0.0, self.pace - (time.monotonic() - began)))

    def background(self) -> None:
        """Live until the end of the block."""
        self._tasks.append(asyncio.create_task(self.run(86400)))


async def _drain(client: Client) -> None:
    """Read what comes to a subscriber, and acknowledge it."""
    while True:
        message = await client.expect(Publish, within=3600)
        if message.qos:
            client.send(Puback(message.packet_id))
