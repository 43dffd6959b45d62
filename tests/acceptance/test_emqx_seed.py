"""EMQX's own page, run with MQTT.js, which MQTTX's command line publishes with, and its options there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import js
from tests.integration.emqx_seed import PAYLOAD, check, configuration
from tests.integration.process import HookMQ
from tests.integration.receiver import Receiver


@pytest.mark.parametrize("library", ["mqtt4", "mqtt"])
@pytest.mark.parametrize("version", [3, 4, 5])
async def test_the_run_of_the_seed(tmp_path: Path, peer_js: list[str], library: str, version: int) -> None:
    """`mqttx pub -i emqx_c -t t/1 -m '{ "msg": "Hello Webhook" }'`"""
    options: dict[str, Any] = {"clientId": "emqx_c", "clean": True, "keepalive": 30}
    if version == 5:
        options["properties"] = {"requestProblemInformation": True}
    send = {"do": "publish", "topic": "t/1", "payload": PAYLOAD, "options": {"qos": 0}}
    async with Receiver() as receiver, HookMQ(tmp_path, configuration(receiver.url())) as hookmq:
        begin = int(time.time() * 1000)
        await js.run(peer_js, library, hookmq.port, version, send, {"do": "disconnect"}, **options)
        check(await receiver.wait_count(6), hookmq.port, version, begin)
