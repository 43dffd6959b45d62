"""MQTT.js: 4.3.7, which MQTTX is built on, with MQTTX's defaults; and the current one.

A test starts one broker and runs its clients at the same time, each with a client id and topics of its own.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import js
from tests.acceptance.js import Js
from tests.acceptance.scene import (
    ALL_EVENTS,
    TUTORIAL,
    Scene,
    arrival,
    connack,
    connect,
    delivered,
    departure,
    disconnected,
    publish,
    subscribed,
    unsubscribed,
)

PEERS = [(library, version) for library in ("mqtt4", "mqtt") for version in (3, 4, 5)]
# What MQTTX's form holds when nobody touches it, less the client id.
MQTTX: dict[str, Any] = {"clean": True, "keepalive": 60, "connectTimeout": 10000, "resubscribe": True}
DISCONNECT = {"do": "disconnect"}


def send(
    topic: str, payload: str, qos: int = 0, retain: bool = False, **properties: object
) -> dict[str, Any]:
    options: dict[str, object] = {"qos": qos, "retain": retain}
    if properties:
        options["properties"] = properties
    return {"do": "publish", "topic": topic, "payload": payload, "options": options}


def subscribe(topic: str, qos: int = 0, **options: object) -> dict[str, Any]:
    return {"do": "subscribe", "topic": topic, "options": {"qos": qos, **options}}


def wait(messages: int) -> dict[str, Any]:
    return {"do": "wait", "messages": messages}


@pytest.mark.mqtt3("7.0.0-2")
async def test_everything_a_client_does(tmp_path: Path, peer_js: list[str]) -> None:
    """Every version, all twelve events, every QoS both ways."""

    async def act(scene: Scene, library: str, version: int) -> tuple[str, list[str]]:
        name = f"mqttx_{library}_{version}"
        client = await js.run(
            *(peer_js, library, scene.port, version),
            subscribe(f"{name}/#", 2),
            send(f"{name}/0", "zero", 0),
            wait(1),
            send(f"{name}/1", "eins", 1, True),
            wait(2),
            send(f"{name}/2", "два", 2),
            wait(3),
            {"do": "unsubscribe", "topic": f"{name}/#"},
            send(f"{name}/3", "", 1),
            DISCONNECT,
            **{"clientId": name, "username": "u", "password": "p", **MQTTX},
        )
        assert [
            (m["topic"], m["payload"].decode(), m["qos"], m["retain"]) for m in client.all("message")
        ] == [
            (f"{name}/0", "zero", 0, False),
            (f"{name}/1", "eins", 1, False),
            (f"{name}/2", "два", 2, False),
        ]
        u = {"username": "u"}
        return name, [
            *arrival(name, version, 60, "u"),
            *subscribed(name, f"{name}/#", 2, **u),
            publish(name, f"{name}/0", "zero", 0, **u),
            *delivered(name, name, f"{name}/0", "zero", 0, name="u", sender_name="u"),
            publish(name, f"{name}/1", "eins", 1, True, **u),
            *delivered(name, name, f"{name}/1", "eins", 1, name="u", sender_name="u"),
            publish(name, f"{name}/2", "два", 2, **u),
            *delivered(name, name, f"{name}/2", "два", 2, name="u", sender_name="u"),
            *unsubscribed(name, f"{name}/#", **u),
            publish(name, f"{name}/3", "", 1, **u),
            *departure(name, **u),
        ]

    async with Scene(tmp_path, *ALL_EVENTS) as scene:
        await scene.expect(dict(await asyncio.gather(*(act(scene, *peer) for peer in PEERS))))


async def test_will(tmp_path: Path, peer_js: list[str]) -> None:
    """A lost connection publishes the will, as the client's own message; a DISCONNECT does not."""

    async def act(scene: Scene, library: str, version: int) -> dict[str, list[str]]:
        name = f"{library}_{version}"
        topic = f"gone/{name}"
        will: dict[str, Any] = {"topic": topic, "payload": "bye", "qos": 1, "retain": True}
        if version == 5:  # all that MQTTX can fill in
            will["properties"] = {
                "willDelayInterval": 0,
                "payloadFormatIndicator": True,
                "messageExpiryInterval": 3600,
                "contentType": "text/plain",
                "responseTopic": "answer",
                "correlationData": {"$base64": "AP8="},
                "userProperties": {"a": "b"},
            }
        lost, ended, reader = f"lost_{name}", f"ended_{name}", f"reader_{name}"
        peer = (peer_js, library, scene.port, version)
        await js.run(*peer, {"do": "kill"}, clientId=lost, will=will, **MQTTX)
        await scene.seen("session_terminated", clientid=lost)
        await js.run(*peer, DISCONNECT, clientId=ended, will={**will, "payload": "never"}, **MQTTX)
        client = await js.run(*peer, subscribe(topic, 1), wait(1), DISCONNECT, clientId=reader, **MQTTX)
        (message,) = client.all("message")
        assert (message["payload"], message["qos"], message["retain"]) == (b"bye", 1, True)
        if version == 5:
            properties = message["properties"]
            assert 3590 <= properties.pop("messageExpiryInterval") <= 3600
            assert properties == {
                "payloadFormatIndicator": True,
                "contentType": "text/plain",
                "responseTopic": "answer",
                "correlationData": "AP8=",
                "userProperties": {"a": "b"},
            }
        return {
            lost: [
                *arrival(lost, version),
                publish(lost, topic, "bye", 1, True),
                *departure(lost, "tcp_closed"),
            ],
            ended: [*arrival(ended, version), *departure(ended)],
            reader: [
                *arrival(reader, version),
                *subscribed(reader, topic, 1),
                *delivered(reader, lost, topic, "bye", 1, True),
                *departure(reader),
            ],
        }

    async with Scene(tmp_path, *ALL_EVENTS) as scene:
        peers = [("mqtt4", 4), ("mqtt4", 5), ("mqtt", 5)]
        parts = await asyncio.gather(*(act(scene, *peer) for peer in peers))
        await scene.expect({name: story for part in parts for name, story in part.items()})


async def test_refused(tmp_path: Path, peer_js: list[str]) -> None:
    """A wrong password: the reason in CONNACK and in the event, in each version's words."""

    async def act(scene: Scene, library: str, version: int) -> tuple[str, list[str]]:
        name = f"{library}_{version}"
        who = {"clientId": name, "username": "u", "password": "wrong", **MQTTX}
        async with Js(peer_js, library, scene.port, version, **who) as client:
            code = (await client.until("error"))["code"]
        assert code == (0x86 if version == 5 else 4)
        reason = "bad_username_or_password" if version == 5 else "malformed_username_or_password"
        return name, [connect(name, version, 60, "u"), connack(name, version, 60, "u", reason)]

    auth = 'auth { allow_anonymous = false, password { "u": "right" } }'
    async with Scene(tmp_path, *ALL_EVENTS, blocks=[auth]) as scene:
        stories = dict(await asyncio.gather(*(act(scene, *peer) for peer in PEERS)))
        who = {"clientId": "c1", "username": "u", "password": "right", **MQTTX}
        await js.run(peer_js, "mqtt4", scene.port, 5, DISCONNECT, **who)
        stories["c1"] = [*arrival("c1", 5, 60, "u"), *departure("c1", username="u")]
        await scene.expect(stories)


async def test_takeover(tmp_path: Path, peer_js: list[str]) -> None:
    """The same client id again: the first is told why, and its end comes before the second's beginning."""

    async def act(scene: Scene, library: str) -> tuple[str, list[str]]:
        name = f"c_{library}"
        until_the_end = [{"do": "stdin"}, {"do": "wait", "event": "close"}]
        peer = (peer_js, library, scene.port, 5)
        async with Js(*peer, *until_the_end, clientId=name, **MQTTX) as first:
            await first.until("ready")
            await js.run(*peer, DISCONNECT, clientId=name, **MQTTX)
            first.go()
            await first.end()
        assert [line["reasonCode"] for line in first.all("disconnect")] == [0x8E]
        return name, [connack(name), disconnected(name, "discarded"), connack(name), disconnected(name)]

    async with Scene(tmp_path, *TUTORIAL) as scene:
        await scene.expect(dict(await asyncio.gather(*(act(scene, lib) for lib in ("mqtt4", "mqtt")))))


async def test_persistent_session(tmp_path: Path, peer_js: list[str]) -> None:
    """What is published while the client is away waits for it; its disconnections fire like any other."""

    async def act(scene: Scene, library: str, version: int) -> dict[str, list[str]]:
        name, sender = f"{library}_{version}", f"sender_{library}_{version}"
        peer = (peer_js, library, scene.port, version)
        who: dict[str, Any] = {"clientId": name, **MQTTX, "clean": False}
        if version == 5:
            who["properties"] = {"sessionExpiryInterval": 0xFFFFFFFF}  # MQTTX's value for a session to keep
        await js.run(*peer, subscribe(f"{name}/#", 2), DISCONNECT, **who)
        await scene.seen("client_disconnected", clientid=name)
        away = [send(f"{name}/{n}", f"m{n}", n % 3) for n in range(6)]
        await js.run(*peer, *away, DISCONNECT, clientId=sender, **MQTTX)
        await scene.seen("session_terminated", clientid=sender)
        client = await js.run(*peer, wait(4), DISCONNECT, **who)
        if version > 3:  # 3.1 has no session present flag
            assert client.all("connack")[0]["sessionPresent"] is True
        kept = [n for n in range(6) if n % 3]  # QoS 0 is not kept
        messages = [(m["topic"], m["payload"].decode(), m["qos"], m["dup"]) for m in client.all("message")]
        # A QoS 2 message is handed on at its PUBREL, so it may come behind the QoS 1 message that follows.
        assert sorted(messages) == [(f"{name}/{n}", f"m{n}", n % 3, False) for n in kept]
        return {
            name: [
                *arrival(name, version),
                *subscribed(name, f"{name}/#", 2),
                disconnected(name),
                *arrival(name, version),
                # All four go out at once, then they are acknowledged.
                *(delivered(name, sender, f"{name}/{n}", f"m{n}", n % 3)[0] for n in kept),
                *(delivered(name, sender, f"{name}/{n}", f"m{n}", n % 3)[1] for n in kept),
                disconnected(name),
            ],
            sender: [
                *arrival(sender, version),
                *(publish(sender, f"{name}/{n}", f"m{n}", n % 3) for n in range(6)),
                *departure(sender),
            ],
        }

    async with Scene(tmp_path, *ALL_EVENTS) as scene:
        peers = [("mqtt4", 3), ("mqtt4", 4), ("mqtt4", 5), ("mqtt", 5)]
        parts = await asyncio.gather(*(act(scene, *peer) for peer in peers))
        await scene.expect({name: story for part in parts for name, story in part.items()})


async def test_mqtt_5_features(tmp_path: Path, peer_js: list[str]) -> None:
    """Properties go through unchanged, aliases work both ways, subscription options hold."""
    properties: dict[str, Any] = {
        "payloadFormatIndicator": True,
        "contentType": "application/json",
        "responseTopic": "answer/1",
        "correlationData": {"$base64": "AAEC"},
        "userProperties": {"a": ["1", "2"], "b": "3"},
    }

    async def act(scene: Scene, library: str) -> tuple[str, list[str]]:
        p = library
        client = await js.run(
            *(peer_js, library, scene.port, 5),
            send(f"{p}/kept", "kept", 1, True),
            subscribe(f"{p}/kept", rh=2),  # send nothing retained
            subscribe(f"{p}/#", 1, rap=True, properties={"subscriptionIdentifier": 7}),
            subscribe(f"mine/{p}/#", nl=True),
            wait(1),
            send(f"{p}/a", "x", 1, **properties),
            wait(2),
            send(f"{p}/b", "first", topicAlias=3),
            send("", "second", topicAlias=3),
            send(f"{p}/a", "again", 1, True),
            send(f"mine/{p}/1", "not to me"),
            send(f"{p}/end", "end", 1),
            wait(6),
            DISCONNECT,
            clientId=p,
            properties={"topicAliasMaximum": 10, "receiveMaximum": 100, "maximumPacketSize": 100000},
            topicAliasMaximum=10,
            **MQTTX,
        )
        messages = [
            (m["topic"], m["payload"], m["qos"], m["retain"], m["properties"].get("subscriptionIdentifier"))
            for m in client.all("message")
        ]
        assert messages == [
            (f"{p}/kept", b"kept", 1, True, 7),
            (f"{p}/a", b"x", 1, False, 7),
            (f"{p}/b", b"first", 0, False, 7),
            (f"{p}/b", b"second", 0, False, 7),
            (f"{p}/a", b"again", 1, True, 7),
            (f"{p}/end", b"end", 1, False, 7),
        ]
        carried = client.all("message")[1]["properties"]
        for key in ("payloadFormatIndicator", "contentType", "responseTopic", "userProperties"):
            assert carried[key] == properties[key]
        assert carried["correlationData"] == "AAEC"
        return p, [
            publish(p, f"{p}/kept", "kept", 1, True),
            publish(p, f"{p}/a", "x", 1),
            publish(p, f"{p}/b", "first"),
            publish(p, f"{p}/b", "second"),
            publish(p, f"{p}/a", "again", 1, True),
            publish(p, f"mine/{p}/1", "not to me"),
            publish(p, f"{p}/end", "end", 1),
        ]

    async with Scene(tmp_path, "on_message_publish") as scene:
        await scene.expect(dict(await asyncio.gather(*(act(scene, lib) for lib in ("mqtt4", "mqtt")))))


async def test_payloads(tmp_path: Path, peer_js: list[str]) -> None:
    """Bytes that are no text go as base64 and say so; a megabyte arrives whole, both ways."""
    binary = bytes(range(256))
    mebi = 1 << 20

    async def act(scene: Scene, library: str) -> tuple[str, list[str]]:
        p = library
        client = await js.run(
            *(peer_js, library, scene.port, 5),
            subscribe(f"{p}/big", 1),
            {"do": "publish", "topic": f"{p}/binary", "base64": base64.b64encode(binary).decode()},
            send(f"{p}/nul", "a\0b"),
            send(f"{p}/quotes", '{"a": "\\"\n😀"}'),
            send(f"{p}/big", "", 1),
            {**send(f"{p}/big", "ä", 1), "repeat": mebi // 2},
            wait(2),
            DISCONNECT,
            clientId=p,
            **MQTTX,
        )
        assert [m["payload"].decode() for m in client.all("message")] == ["", "ä" * (mebi // 2)]
        return p, [
            publish(p, f"{p}/binary", base64.b64encode(binary).decode(), payload_encoding="base64"),
            publish(p, f"{p}/nul", "a\0b"),
            publish(p, f"{p}/quotes", '{"a": "\\"\n😀"}'),
            publish(p, f"{p}/big", "", 1),
            publish(p, f"{p}/big", "ä" * (mebi // 2), 1),
        ]

    async with Scene(tmp_path, "on_message_publish") as scene:
        await scene.expect(dict(await asyncio.gather(*(act(scene, lib) for lib in ("mqtt4", "mqtt")))))


async def test_bursts(tmp_path: Path, peer_js: list[str]) -> None:
    """Hundreds of messages at once from each client: each is sent once, in the order of its client."""

    async def act(scene: Scene, library: str, version: int, qos: int, count: int) -> tuple[str, list[str]]:
        name = f"{library}_{version}_{qos}"
        burst = {**send(f"burst/{name}", "{n}", qos), "count": count, "parallel": True}
        client = await js.run(
            peer_js, library, scene.port, version, burst, DISCONNECT, clientId=name, **MQTTX
        )
        assert len(client.all("published")) == count
        return name, [
            connack(name, version),
            *(publish(name, f"burst/{name}", str(n), qos) for n in range(count)),
            disconnected(name),
        ]

    plan = [("mqtt4", 4, 1, 1000), ("mqtt4", 5, 2, 300), ("mqtt", 5, 0, 1000), ("mqtt", 4, 2, 300)]
    async with Scene(tmp_path, *TUTORIAL) as scene:
        await scene.expect(dict(await asyncio.gather(*(act(scene, *part) for part in plan))))


async def test_a_client_id_that_the_broker_makes(tmp_path: Path, peer_js: list[str]) -> None:
    """An empty client id with a clean start: the id that CONNACK assigns is the id of the events."""
    async with Scene(tmp_path, *TUTORIAL) as scene:
        client = await js.run(peer_js, "mqtt4", scene.port, 5, DISCONNECT, clientId="", **MQTTX)
        name = client.all("connack")[0]["properties"]["assignedClientIdentifier"]
        assert name
        await scene.expect({name: [connack(name), disconnected(name)]})
