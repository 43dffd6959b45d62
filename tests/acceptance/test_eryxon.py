"""Eryxon's own publisher, unmodified: what it does to publish to an MQTT broker, done by node's fetch.

It knows no MQTT. For each event it tries, over HTTPS and with the publisher's user name and password, the
HTTP API of one broker after the other until one answers with 2xx: HiveMQ's (port 8443), EMQX's (port 8081,
`/api/v5/publish`), another. The message has QoS 1, and as payload a text: `{"event","timestamp","tenant_id",
"data"}`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.packets import Puback, Publish
from tests.integration.admin.calling import ADMIN, Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.receiver import Certificates, Receiver, make_certificates

TOPIC = "acme/chicago/fabrication/laser_cutting/operation/completed"
DATA = {"operation_id": "op-1", "operation_name": "Laser Cutting", "part_number": "BRACKET-A1"}

PUBLISHER = """
const [places, user, password, topic, event, data] = JSON.parse(process.argv[1]);
const payload = { event, timestamp: new Date().toISOString(), tenant_id: 'tenant-7', data };
const request = {
  method: 'POST',
  headers: {
    'Content-Type': 'application/json',
    Authorization: 'Basic ' + btoa(user + ':' + password),
  },
  body: JSON.stringify({ topic, payload: JSON.stringify(payload), qos: 1, retain: false }),
};
(async () => {
  const tried = [];
  for (const place of places) {
    try {
      const response = await fetch(place, { ...request, signal: AbortSignal.timeout(5000) });
      tried.push(response.status);
      if (response.ok) {
        break;
      }
    } catch (error) {
      tried.push('failed');
    }
  }
  console.log(JSON.stringify({ tried, payload }));
})();
"""


@pytest.fixture
def certificates(tmp_path: Path, command: Callable[[str], str]) -> Certificates:
    command("openssl")
    folder = tmp_path / "certificates"
    folder.mkdir()
    return make_certificates(folder)


async def publish(node: str, ca: Path | None, *given: Any) -> tuple[list[Any], dict[str, Any]]:
    """What was answered by each place that was tried, and the payload."""
    done = await asyncio.to_thread(
        subprocess.run,
        [node, "-e", PUBLISHER, json.dumps(given)],
        env={} if ca is None else {"NODE_EXTRA_CA_CERTS": str(ca)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    return found["tried"], found["payload"]


async def test_it_publishes(
    tmp_path: Path, command: Callable[[str], str], free_port: Callable[[], int], certificates: Certificates
) -> None:
    node = command("node")
    server = (
        f'http_server {{ port = 0, username = "{ADMIN[0]}", password = "{ADMIN[1]}"\n'
        f'certfile = "{certificates.server}", keyfile = "{certificates.server_key}" }}'
    )
    async with Receiver() as receiver:
        blocks = [
            'events.lift = [ { topic = "{enterprise}/{site}/{area}/{cell}/{event}" } ]',
            f'webhooks.mqtt {{ url = "{receiver.url("/mqtt")}", triggers = [message.publish] }}',
            f'webhooks.events {{ url = "{receiver.url("/events")}", types = ["*"], format = emqx }}',
        ]
        async with Https(tmp_path / "mq", *blocks, server=server) as api:
            port = int(api.url.rpartition(":")[2])
            places = [
                f"https://127.0.0.1:{free_port()}/api/v1/mqtt/publish",
                f"https://127.0.0.1:{port}/api/v5/publish",
                f"https://127.0.0.1:{free_port()}/api/mqtt/publish",
            ]
            arguments = (places, *ADMIN, TOPIC, "operation.completed", DATA)
            # Nobody has subscribed: 202, which is fine with it.
            tried, payload = await publish(node, certificates.ca, *arguments)
            assert tried == ["failed", 202]
            async with await Client.connect(api.port, "uns") as subscriber:
                await subscriber.subscribe("acme/#", qos=1)
                tried, payload = await publish(node, certificates.ca, *arguments)
                assert tried == ["failed", 200]
                message = await subscriber.expect(Publish)
                assert message.packet_id is not None
                subscriber.send(Puback(message.packet_id))
                assert (message.topic, message.qos, message.retain) == (TOPIC, 1, False)
                assert json.loads(message.payload) == payload
            requests = await receiver.wait_count(4)
            hooked = [one.json for one in requests if one.target == "/mqtt"]
            assert [one["topic"] for one in hooked] == [TOPIC] * 2
            assert payload in [json.loads(one["payload"]) for one in hooked]
            lifted = [one.json for one in requests if one.target == "/events"]
            assert [one["event"] for one in lifted] == ["operation.completed"] * 2
            assert [json.loads(one["payload"]) for one in lifted] == [DATA] * 2
            assert lifted[0]["variables"] == {
                "tenant_id": "tenant-7",
                "enterprise": "acme",
                "site": "chicago",
                "area": "fabrication",
                "cell": "laser_cutting",
            }
            # A wrong password is not published, and whoever trusts no such certificate sends nothing.
            assert (await publish(node, certificates.ca, places, ADMIN[0], "no", *arguments[3:]))[0] == [
                *("failed", 401, "failed")
            ]
            assert (await publish(node, None, *arguments))[0] == ["failed"] * 3


class Https(Api):
    """Not called by the test itself: its certificate is one of the test's own."""

    async def start(self) -> None:
        await super().start()
        assert self.url.startswith("https://127.0.0.1:")


async def test_the_same_request_for_nanomq(tmp_path: Path) -> None:
    """Its body, at `/api/v4/mqtt/publish`."""
    async with Api(tmp_path) as api, await Client.connect(api.port, "uns") as subscriber:
        await subscriber.subscribe("acme/#", qos=1)
        payload = json.dumps({"event": "operation.completed", "tenant_id": "t", "data": DATA})
        body = {"topic": TOPIC, "payload": payload, "qos": 1, "retain": False}
        answer = await api.post("/api/v4/mqtt/publish", body)
        assert (answer.status, answer.json) == (200, {"code": 0})
        message = await subscriber.expect(Publish)
        assert (message.topic, message.payload.decode(), message.qos) == (TOPIC, payload, 1)
        problem(await api.post("/api/v4/mqtt/publish", body, auth=(ADMIN[0], "no")), 401)
