"""EMQX's events through a real process to a receiver: the run of EMQX's page, and what else can happen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.packets import Connect, Disconnect, Properties, Puback, Publish
from tests.integration.emqx_seed import PAYLOAD, check, configuration
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ
from tests.integration.receiver import Receiver, Request


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("at_once", [False, True])
async def test_the_run_of_the_seed(tmp_path: Path, version: int, at_once: bool) -> None:
    """Also of a client that sends all it has to say in one segment."""
    properties = Properties(request_problem_information=1) if version == 5 else None
    async with Receiver() as receiver, HookMQ(tmp_path, configuration(receiver.url())) as hookmq:
        begin = int(time.time() * 1000)
        if at_once:
            client = await Client.open(hookmq.port, version=version)
            client.send(
                Connect("emqx_c", version, keepalive=30, properties=properties),
                Publish("t/1", PAYLOAD.encode()),
                Disconnect(),
            )
            await client.wait_closed()
        else:
            client = await Client.connect(
                hookmq.port, "emqx_c", version=version, keepalive=30, properties=properties
            )
            await client.publish("t/1", PAYLOAD.encode())
            await client.disconnect()
        check(await receiver.wait_count(6), hookmq.port, version, begin)


ALL = (
    *("client.connect", "client.check_authn_complete", "client.ping", "client.disconnected"),
    *("session.*", "message.*"),
)


def story(requests: list[Request], clientid: str) -> list[tuple[str, Any]]:
    """One client's events in their order, each once and with its reason."""
    once = {r.id: r for r in requests if r.json["clientid"] == clientid}
    mine = [once[number] for number in sorted(once)]
    return [
        (r.json["event"], next((r.json[key] for key in ("reason", "reason_code") if key in r.json), None))
        for r in mine
    ]


async def test_sessions_and_messages_that_are_given_up(tmp_path: Path) -> None:
    """Over a kill of the process, too."""
    async with Receiver() as receiver:
        block = (
            f'mqtt.max_mqueue_len = 1\nwebhooks.w {{ url = "{receiver.url()}", format = emqx, '
            f"triggers = [{', '.join(map(repr, ALL))}], ordering = client }}".replace("'", '"')
        )
        async with HookMQ(tmp_path, block) as hookmq:
            stays: dict[str, Any] = {"clean": False, "version": 5, "session_expiry_interval": 100}
            sub = await Client.connect(hookmq.port, "sub", **stays)
            await sub.subscribe("t", 1)
            again = await Client.connect(hookmq.port, "sub", **stays)
            await sub.wait_closed()
            await again.ping()
            pub = await Client.connect(hookmq.port, "pub", username="u")
            await pub.publish("t", b"0", 1)
            again.send(Puback((await again.expect(Publish)).packet_id))
            await again.disconnect(0, Properties(reason_string="bye"))
            await pub.publish("t", b"1", 0)
            await pub.publish("t", b"2", 1)
            await pub.publish("t", b"3", 1)
            await receiver.wait_for(
                lambda rs: sum(r.json["event"] == "message.delivery_dropped" for r in rs) == 2
            )
            hookmq.kill()
            await hookmq.start()
            await Client.connect(hookmq.port, "sub", version=5)
            await receiver.wait_for(lambda rs: story(rs, "sub")[-1][0] == "session.created")
            await receiver.wait_for(lambda rs: story(rs, "pub")[-1][0] == "session.terminated")
        # The kill may have come between a request and its answer.
        requests = list({r.id: r for r in receiver.requests}.values())
        assert story(requests, "sub") == [
            ("client.connect", None),
            ("client.check_authn_complete", "success"),
            ("session.created", None),
            ("session.subscribed", None),
            ("client.connect", None),
            ("client.check_authn_complete", "success"),
            ("client.disconnected", "takenover"),
            ("session.takenover", None),
            ("session.resumed", None),
            ("client.ping", None),
            ("message.delivered", None),
            ("message.acked", None),
            ("client.disconnected", "normal"),
            ("message.delivery_dropped", "qos0_msg"),
            ("message.delivery_dropped", "queue_full"),
            ("client.connect", None),
            ("client.check_authn_complete", "success"),
            ("message.delivery_dropped", "session_terminated"),
            ("session.discarded", None),
            ("session.terminated", "discarded"),
            ("session.created", None),
        ]
        assert story(requests, "pub") == [
            ("client.connect", None),
            ("client.check_authn_complete", "success"),
            ("session.created", None),
            *[("message.publish", None)] * 4,
            ("client.disconnected", "internal_error"),
            ("session.terminated", "internal_error"),
        ]
        by_payload: dict[str, set[str]] = {}
        for request in requests:
            body = request.json
            if "payload" in body:
                by_payload.setdefault(body["payload"], set()).add(body["id"])
                if body["clientid"] == "sub":
                    assert (body["from_clientid"], body["from_username"]) == ("pub", "u")
        assert all(len(found) == 1 for found in by_payload.values())
        assert len(by_payload) == 4
        (crashed,) = (
            r.json for r in requests if r.json["event"] == "client.disconnected" and r.json["username"] == "u"
        )
        assert crashed["sockname"] != "undefined"
        assert crashed["connected_at"] < crashed["disconnected_at"]
        (left,) = (r.json for r in requests if r.json.get("reason") == "normal")
        assert left["disconn_props"] == {"Reason-String": "bye", "User-Property": {}}


async def test_sys_topics_are_never_forwarded(tmp_path: Path) -> None:
    """INTEROP 2.2; a webhook with NanoMQ's bodies gets them where its filter names them. They are the
    broker's own: a client's are refused."""
    async with Receiver() as emqx, Receiver() as nanomq:
        rules = 'triggers = ["message.publish"], topics = ["$SYS/brokers/connected", "a"]'
        blocks = (
            f'webhooks.emqx {{ url = "{emqx.url()}", format = emqx, {rules} }}',
            f'webhooks.nanomq {{ url = "{nanomq.url()}", {rules} }}',
        )
        async with HookMQ(tmp_path, *blocks) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("$SYS/brokers/connected", b"1", qos=1)
            await client.publish("a", b"2", qos=1)
            await nanomq.wait_for(lambda rs: len(rs) == 2)
            await emqx.wait_for(lambda rs: len(rs) == 1)
            assert [request.json["topic"] for request in emqx.requests] == ["a"]
            await client.disconnect()
