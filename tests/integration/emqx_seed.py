"""The run of EMQX's own webhook page: one client publishes to `t/1`, and nobody has subscribed to it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tests.integration.receiver import Request

PAYLOAD = '{ "msg": "Hello Webhook" }'
SEED = (
    r"""{"username":"undefined","timestamp":1694681417717,"sockname":"127.0.0.1:1883","receive_maximum":32,"proto_ver":5,"proto_name":"MQTT","peername":"127.0.0.1:61003","node":"emqx@127.0.0.1","mountpoint":"undefined","metadata":{"rule_id":"my-webhook_WH_D"},"keepalive":30,"is_bridge":false,"expiry_interval":0,"event":"client.connected","connected_at":1694681417714,"conn_props":{"User-Property":{},"Request-Problem-Information":1},"clientid":"emqx_c","clean_start":true}""",
    r"""{"username":"undefined","timestamp":1694681417719,"sockname":"127.0.0.1:1883","reason_code":"success","proto_ver":5,"proto_name":"MQTT","peername":"127.0.0.1:61003","node":"emqx@127.0.0.1","metadata":{"rule_id":"my-webhook_WH_D"},"keepalive":30,"expiry_interval":0,"event":"client.connack","conn_props":{"User-Property":{},"Request-Problem-Information":1},"clientid":"emqx_c","clean_start":true}""",
    r"""{"username":"undefined","topic":"t/1","timestamp":1694681417728,"result":"allow","peerhost":"127.0.0.1","node":"emqx@127.0.0.1","metadata":{"rule_id":"my-webhook_WH_D"},"event":"client.check_authz_complete","clientid":"emqx_c","authz_source":"file","action":"publish"}""",
    r"""{"username":"undefined","topic":"t/1","timestamp":1694681417728,"qos":0,"publish_received_at":1694681417728,"pub_props":{"User-Property":{}},"peerhost":"127.0.0.1","payload":"{ \"msg\": \"Hello Webhook\" }","node":"emqx@127.0.0.1","metadata":{"rule_id":"my-webhook_WH_D"},"id":"0006054DC3E940F8F445000038A60002","flags":{"retain":false,"dup":false},"event":"message.publish","clientid":"emqx_c"}""",  # noqa: E501
    r"""{"username":"undefined","topic":"t/1","timestamp":1694681417729,"reason":"no_subscribers","qos":0,"publish_received_at":1694681417728,"pub_props":{"User-Property":{}},"peerhost":"127.0.0.1","payload":"{ \"msg\": \"Hello Webhook\" }","node":"emqx@127.0.0.1","metadata":{"rule_id":"my-webhook_WH_D"},"id":"0006054DC3E940F8F445000038A60002","flags":{"retain":false,"dup":false},"event":"message.dropped","clientid":"emqx_c"}""",  # noqa: E501
    r"""{"username":"undefined","timestamp":1694681417729,"sockname":"127.0.0.1:1883","reason":"normal","proto_ver":5,"proto_name":"MQTT","peername":"127.0.0.1:61003","node":"emqx@127.0.0.1","metadata":{"rule_id":"my-webhook_WH_D"},"event":"client.disconnected","disconnected_at":1694681417729,"disconn_props":{"User-Property":{}},"clientid":"emqx_c"}""",
)
"""The six requests of the seed's page, in its order."""
ADDED = {
    "client.connected": {"client_attrs"},
    "client.connack": {"connected_at"},
    "client.check_authz_complete": {"peername", "client_attrs"},
    "message.publish": {"peername", "client_attrs"},
    "message.dropped": {"peername"},
    "client.disconnected": {"connected_at", "client_attrs"},
}
"""What EMQX 5's bodies have got since that page was written (INTEROP 2.2)."""
TIMES = ("timestamp", "connected_at", "disconnected_at", "publish_received_at")


def configuration(url: str) -> str:
    """A webhook that does what the page's does."""
    return f"""
    node.name = "emqx@127.0.0.1"
    mqtt.max_inflight_window = 32
    webhooks.my-webhook {{ url = "{url}", format = emqx, triggers = all, ordering = client }}
    """


def check(requests: Sequence[Request], port: int, version: int, begin: int) -> None:
    """These are the seed's requests: in its order, with its keys and, but for times, ports and ids, values.

    `begin` is Unix ms before the client came; a client of version 5 sent no property but
    Request-Problem-Information.
    """
    bodies: list[dict[str, Any]] = [request.json for request in requests]
    seeds: list[dict[str, Any]] = [json.loads(text) for text in SEED]
    assert [body["event"] for body in bodies] == [seed["event"] for seed in seeds]
    peername = bodies[0]["peername"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", peername)
    ids = {body["id"] for body in bodies if "id" in body}
    assert len(ids) == 1  # of the publish and of its drop
    (number,) = ids
    assert re.fullmatch("[0-9A-F]{32}", number)
    for body, seed in zip(bodies, seeds, strict=True):
        name = body["event"]
        assert begin <= body["timestamp"] <= begin + 10_000, name
        assert set(body) == set(seed) | ADDED[name], name
        assert list(body) == sorted(body, reverse=True), name
        expected = seed | {"peername": peername, "client_attrs": {}, "id": number}
        expected["sockname"] = f"127.0.0.1:{port}"
        expected["authz_source"] = "default"
        if version < 5:
            expected["proto_ver"] = version
            expected["proto_name"] = "MQIsdp" if version == 3 else "MQTT"
            expected["conn_props"] = {"User-Property": {}}
            if name == "client.connack":
                expected["reason_code"] = "connection_accepted"
        assert {key: value for key, value in body.items() if key not in TIMES} == {
            key: value for key, value in expected.items() if key in body and key not in TIMES
        }, name
    connected, connack, _, publish, dropped, disconnected = bodies
    assert connected["connected_at"] == connack["connected_at"] == disconnected["connected_at"]
    assert begin <= connected["connected_at"] <= connected["timestamp"] <= connack["timestamp"]
    assert publish["timestamp"] <= dropped["timestamp"] <= disconnected["timestamp"]
    assert publish["publish_received_at"] == publish["timestamp"] == dropped["publish_received_at"]
    assert disconnected["disconnected_at"] == disconnected["timestamp"]
