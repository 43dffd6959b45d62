"""Sends what happens to HookMQ, each event until it is acknowledged: none is lost while HookMQ is away.

An event has its id from the beginning. Sent again after an answer that got lost, it is not taken twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
import aiomqtt

from scripts.mes.shop import Happening

PATIENCE_S = 60.0
"""How long one event is tried before the MES gives up."""
ANSWER_S = 10.0
AGAIN = frozenset({429, 500, 502, 503, 504})


class SendError(Exception):
    """HookMQ does not take an event; the text is one line."""


class Sender:
    """A context. `api` is the URL of HookMQ's HTTP API, `topic` where the cells of the plant are."""

    def __init__(self, api: str, key: str, host: str, port: int, topic: str) -> None:
        self.by_rest = 0
        self.by_mqtt = 0
        self._url = f"{api.rstrip('/')}/api/v2/events"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._broker = {"hostname": host, "port": port, "identifier": "simulated-mes"}
        self._topic = topic
        self._session: aiohttp.ClientSession | None = None
        self._mqtt: aiomqtt.Client | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
        if self._session is not None:
            await self._session.close()

    async def send(self, one: Happening) -> str:
        """Send an event by its way, REST or MQTT, and wait for the acknowledgement. Raises SendError."""
        way = self._rest if one.cell is None else self._publish
        await _until(lambda: way(one), one.id)
        if one.cell is None:
            self.by_rest += 1
            return "REST"
        self.by_mqtt += 1
        return "MQTT"

    async def _rest(self, one: Happening) -> str:
        body = {"id": one.id, "type": one.type, "timestamp": one.timestamp, "data": one.data}
        assert self._session is not None
        try:
            async with self._session.post(self._url, json=body, headers=self._headers) as answer:
                if answer.status == 202:
                    return ""
                text = f"{answer.status} {(await answer.text())[:300]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return str(error) or type(error).__name__
        if answer.status not in AGAIN:
            raise SendError(f"{one.type} was refused: {text}")
        return text

    async def _publish(self, one: Happening) -> str:
        topic = f"{self._topic}/{one.cell}/{one.type.replace('.', '/', 1)}"
        body = {"id": one.id, "event": one.type, "timestamp": one.timestamp, "data": one.data}
        try:
            if self._mqtt is None:
                client = aiomqtt.Client(**self._broker)  # type: ignore[arg-type]
                await client.__aenter__()
                self._mqtt = client
            await self._mqtt.publish(topic, json.dumps(body), qos=1, timeout=ANSWER_S)
        except aiomqtt.MqttError as error:
            await self._leave()
            return str(error)
        return ""

    async def _leave(self) -> None:
        client, self._mqtt = self._mqtt, None
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError):  # it may have gone already
                await client.__aexit__(None, None, None)


async def _until(way: Callable[[], Awaitable[Any]], name: str) -> None:
    """Try until it says nothing is wrong."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    wait = 0.1
    while problem := await way():
        if loop.time() > end:
            raise SendError(f"{name} was not taken within {PATIENCE_S:.0f} s: {problem}")
        await asyncio.sleep(wait)
        wait = min(wait * 2, 2.0)
