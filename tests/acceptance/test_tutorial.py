"""NanoMQ's WebHook tutorial from end to end: its very configuration, its client, its three bodies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.acceptance.js import Js
from tests.acceptance.scene import TIMES
from tests.integration.process import HookMQ, until
from tests.integration.receiver import Receiver, Request

CONF = """\
webhook {
  url = "http://127.0.0.1:8888"                   # Destination endpoint for webhook requests
  headers.content-type = "application/json"       # Content-Type of the request
  body.encoding = plain                           # Payload encoding: plain, base64, or base62
  pool_size = 32                                  # Number of concurrent HTTP connections

  events = [
    {
      event = "on_message_publish"
      topic = "nmq/pub"
    }
    {
      event = "on_client_connack"
    }
    {
      event = "on_client_disconnected"
    }
  ]
}
"""
CONNACK = (
    b'{"proto_ver":4,"keepalive":60,"conn_ack":"success","username":"wbhk_test",'
    b'"clientid":"wbhk_clientid","action":"client_connack"}'
)
PUBLISH = (
    b'{"ts":1706703724960,"topic":"nmq/pub","retain":true,"qos":1,"action":"message_publish",'
    b'"from_username":"wbhk_test","from_client_id":"wbhk_clientid","payload":"Hello World!"}'
)
DISCONNECTED = (
    b'{"reason":"normal","username":"wbhk_test","clientid":"wbhk_clientid","action":"client_disconnected"}'
)


def without_time(body: bytes) -> str:
    return TIMES.sub(r'"\1":0', body.decode())


@pytest.fixture(params=["paho", "MQTT.js 4.3.7"])
def client(request: pytest.FixtureRequest) -> Callable[[int], Any]:
    if request.param == "paho":
        return Paho
    command = request.getfixturevalue("peer_js")
    return lambda port: Mqttx(command, port)


class Paho:
    def __init__(self, port: int) -> None:
        self.port = port
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="wbhk_clientid")
        self.client.username_pw_set("wbhk_test", "any")

    async def connect(self) -> None:
        self.client.connect("127.0.0.1", self.port, keepalive=60)
        self.client.loop_start()

    async def publish(self) -> None:
        message = self.client.publish("nmq/pub", "Hello World!", qos=1, retain=True)
        await until(message.is_published, "PUBACK")

    async def disconnect(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Mqttx:
    """As MQTTX does it: connect, a click, publish, a click, disconnect."""

    def __init__(self, command: list[str], port: int) -> None:
        pause = {"do": "stdin"}
        publish = {"do": "publish", "topic": "nmq/pub", "payload": "Hello World!"}
        self.js = Js(
            command,
            "mqtt4",
            port,
            4,
            pause,
            {**publish, "options": {"qos": 1, "retain": True}},
            pause,
            {"do": "disconnect"},
            **{"clientId": "wbhk_clientid", "username": "wbhk_test", "password": "any"},
            **{"clean": True, "keepalive": 60, "connectTimeout": 10000},
        )

    async def connect(self) -> None:
        await self.js.__aenter__()
        await self.js.until("ready")

    async def publish(self) -> None:
        self.js.go()
        await self.js.until("ready")

    async def disconnect(self) -> None:
        self.js.go()
        await self.js.end()


async def test_tutorial(tmp_path: Path, client: Callable[[int], Any]) -> None:
    async with Receiver() as receiver:
        env = {
            # What the machine decides: free ports, and a folder of this test.
            "HOOKMQ_WEBHOOK__URL": f"http://127.0.0.1:{receiver.port}",
            "HOOKMQ_LISTENERS__TCP__BIND": "127.0.0.1:0",
            "HOOKMQ_SQLITE__MOUNTED_FILE_PATH": str(tmp_path / "data"),
        }
        hookmq = HookMQ(tmp_path, env=env)
        hookmq.conf.write_text(CONF)
        async with hookmq:
            device = client(hookmq.port)
            await device.connect()
            await receiver.wait_count(1)
            await device.publish()
            await receiver.wait_count(2)
            await device.disconnect()
            await receiver.wait_count(3)
            assert await hookmq.stop() == 0
        assert len(receiver.requests) == 3
        for request, body in zip(receiver.requests, (CONNACK, PUBLISH, DISCONNECTED), strict=True):
            check(request, body)


def check(request: Request, body: bytes) -> None:
    assert (request.method, request.target, request.version) == ("POST", "/", "HTTP/1.1")
    assert request.header("host")
    assert [(name, value) for name, value in request.headers if name == "content-type"] == [
        ("content-type", "application/json")
    ]
    assert without_time(request.body) == without_time(body)
    assert len(request.body) == len(body)  # so `ts` has 13 digits: milliseconds


async def test_only_the_topic_asked_for(tmp_path: Path) -> None:
    """Other topics, and what only looks like the filter, make no request."""
    async with Receiver() as receiver:
        env = {
            "HOOKMQ_WEBHOOK__URL": f"http://127.0.0.1:{receiver.port}",
            "HOOKMQ_LISTENERS__TCP__BIND": "127.0.0.1:0",
            "HOOKMQ_SQLITE__MOUNTED_FILE_PATH": str(tmp_path / "data"),
        }
        hookmq = HookMQ(tmp_path, env=env)
        hookmq.conf.write_text(CONF)
        async with hookmq:
            client = Paho(hookmq.port)
            await client.connect()
            for topic in ("nmq/pub1", "nmq/pub/x", "nmq", "/nmq/pub", "NMQ/pub", "$SYS/nmq/pub"):
                message = client.client.publish(topic, "no", qos=1)
                await until(message.is_published, "PUBACK")
            await client.publish()
            await client.disconnect()
            await receiver.wait_count(3)
            assert await hookmq.stop() == 0
        assert sorted(without_time(request.body) for request in receiver.requests) == sorted(
            without_time(body) for body in (CONNACK, PUBLISH, DISCONNECTED)
        )
