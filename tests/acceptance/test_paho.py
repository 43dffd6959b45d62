"""paho-mqtt and aiomqtt, which is built on it: what most Python programs speak MQTT with."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.acceptance.scene import (
    ALL_EVENTS,
    TUTORIAL,
    Scene,
    arrival,
    connack,
    delivered,
    departure,
    disconnected,
    publish,
    story,
    subscribed,
    terminated,
    unsubscribed,
)
from tests.integration.process import until

VERSIONS = [3, 4, 5]


class Paho:
    """A paho client with its own thread; each method waits until the broker has answered."""

    def __init__(
        self,
        port: int,
        name: str,
        version: int,
        clean: bool = True,
        expiry: int = 0,
        reconnect: bool = False,
    ) -> None:
        self.port = port
        self.version = version
        self.expiry = expiry
        self.clean = clean
        self.connacks: list[bool] = []  # whether the session was present
        self.messages: list[paho.MQTTMessage] = []
        self.subacks: list[int] = []
        self.unsubacks: list[int] = []
        self.done: list[int] = []  # message ids whose publication is complete
        own: dict[str, Any] = {} if version == 5 else {"clean_session": clean}
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=paho.MQTTProtocolVersion(version),
            reconnect_on_failure=reconnect,
            **own,
        )
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda client, userdata, message: self.messages.append(message)
        self.client.on_subscribe = lambda c, u, mid, codes, properties: self.subacks.append(codes[0].value)
        self.client.on_publish = lambda c, u, mid, code, properties: self.done.append(mid)
        self.client.on_unsubscribe = lambda c, u, mid, codes, properties: self.unsubacks.append(mid)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        assert not reason.is_failure, reason
        self.connacks.append(flags.session_present)

    async def connect(self, **options: object) -> bool:
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            if self.expiry:
                properties.SessionExpiryInterval = self.expiry
            options |= {"clean_start": self.clean, "properties": properties}
        count = len(self.connacks)
        self.client.connect("127.0.0.1", self.port, **options)  # type: ignore[arg-type]
        self.client.loop_start()
        await until(lambda: len(self.connacks) > count, "CONNACK")
        return self.connacks[-1]

    async def subscribe(self, topic: str, qos: int = 0) -> None:
        count = len(self.subacks)
        self.client.subscribe(topic, qos)
        await until(lambda: len(self.subacks) > count, "SUBACK")
        assert self.subacks[-1] == qos

    async def unsubscribe(self, topic: str) -> None:
        count = len(self.unsubacks)
        self.client.unsubscribe(topic)
        await until(lambda: len(self.unsubacks) > count, "UNSUBACK")

    async def publish(self, topic: str, payload: str, qos: int = 0, retain: bool = False) -> None:
        await self.published(self.client.publish(topic, payload, qos, retain))

    async def published(self, message: paho.MQTTMessageInfo) -> None:
        """Wait for the end of its handshake; `is_published` raises for what waits for a connection."""
        await until(lambda: message.mid in self.done, "the acknowledgement")

    async def received(self, count: int) -> list[tuple[str, str, int, bool]]:
        await until(lambda: len(self.messages) >= count, f"{count} messages")
        return [(m.topic, m.payload.decode(), m.qos, m.retain) for m in self.messages]

    def disconnect(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def lose(self) -> None:
        """The network fails, without DISCONNECT. The client's thread notices, and connects again."""
        connection = self.client.socket()
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)


async def test_everything_a_client_does(tmp_path: Path) -> None:
    """Every version, all twelve events, every QoS both ways, retained messages."""

    async def act(scene: Scene, version: int) -> tuple[str, list[str]]:
        name = f"v{version}"
        client = Paho(scene.port, name, version)
        assert await client.connect() is False
        await client.subscribe(f"{name}/live", 2)
        for qos in (0, 1, 2):
            await client.publish(f"{name}/live", f"q{qos}", qos, retain=True)
            await client.received(qos + 1)
        await client.unsubscribe(f"{name}/live")
        await client.publish(f"{name}/live", "unseen", 2, retain=True)
        await client.subscribe(f"{name}/+", 1)  # the retained message comes at the subscription's QoS
        assert await client.received(4) == [
            *((f"{name}/live", f"q{qos}", qos, False) for qos in (0, 1, 2)),
            (f"{name}/live", "unseen", 1, True),
        ]
        await scene.seen("message_acked", 3, clientid=name)
        await client.publish(f"{name}/live", "", 0, retain=True)  # deletes the retained message
        await client.received(5)
        await client.subscribe(f"{name}/live", 0)
        client.disconnect()
        live = f"{name}/live"
        return name, [
            *arrival(name, version),
            *subscribed(name, live, 2),
            *itertools.chain.from_iterable(
                [publish(name, live, f"q{q}", q, True), *delivered(name, name, live, f"q{q}", q)]
                for q in (0, 1, 2)
            ),
            *unsubscribed(name, live),
            publish(name, live, "unseen", 2, True),
            *subscribed(name, f"{name}/+", 1),
            *delivered(name, name, live, "unseen", 1, True),
            publish(name, live, "", 0, True),
            *delivered(name, name, live, "", 0),
            *subscribed(name, live, 0),
            *departure(name),
        ]

    async with Scene(tmp_path, *ALL_EVENTS) as scene:
        await scene.expect(dict(await asyncio.gather(*(act(scene, version) for version in VERSIONS))))


async def test_will(tmp_path: Path) -> None:
    """The will of a client whose network fails is published; MQTT 5 can ask for it at a good end too."""

    async def act(scene: Scene, version: int) -> tuple[str, list[str]]:
        name = f"v{version}"
        qos = version % 3
        client = Paho(scene.port, name, version)
        client.client.will_set(f"{name}/will", "last words", qos, retain=False)
        await client.connect(keepalive=10)
        client.lose()
        await scene.seen("session_terminated", clientid=name)
        client.client.loop_stop()
        return name, [
            *arrival(name, version, 10),
            publish(name, f"{name}/will", "last words", qos),
            *departure(name, "tcp_closed"),
        ]

    async with Scene(tmp_path, *ALL_EVENTS) as scene:
        stories = dict(await asyncio.gather(*(act(scene, version) for version in VERSIONS)))
        client = Paho(scene.port, "asked", 5)
        client.client.will_set("asked/will", "as asked", 1)
        await client.connect()
        client.client.disconnect(paho.ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        client.client.loop_stop()
        stories["asked"] = [
            *arrival("asked"),
            publish("asked", "asked/will", "as asked", 1),
            *departure("asked", "disconnect_with_will_message"),
        ]
        await scene.expect(stories)


async def test_delayed_will(tmp_path: Path) -> None:
    """MQTT 5: a client that is back in time has no will; one that is not has it after the delay."""
    async with Scene(tmp_path, *TUTORIAL) as scene:
        for name in ("back", "gone"):
            client = Paho(scene.port, name, 5, clean=False, expiry=60)
            will = Properties(PacketTypes.WILLMESSAGE)
            will.WillDelayInterval = 1 if name == "gone" else 3600
            client.client.will_set(f"{name}/will", "late", 1, properties=will)
            await client.connect()
            client.lose()
            await scene.seen("client_disconnected", clientid=name)
            client.client.loop_stop()
        again = Paho(scene.port, "back", 5, clean=False, expiry=60)
        assert await again.connect() is True
        again.disconnect()
        await scene.expect(
            {
                "back": [
                    connack("back"),
                    disconnected("back", "tcp_closed"),
                    connack("back"),
                    disconnected("back"),
                ],
                "gone": [
                    connack("gone"),
                    disconnected("gone", "tcp_closed"),
                    publish("gone", "gone/will", "late", 1),
                ],
            }
        )


async def test_persistent_session(tmp_path: Path) -> None:
    """The broker keeps subscriptions and QoS 1 and 2 messages for a client that is away."""

    async def act(scene: Scene, version: int) -> dict[str, list[str]]:
        name, sender = f"v{version}", f"s{version}"
        first = Paho(scene.port, name, version, clean=False, expiry=3600)
        assert await first.connect() is False
        await first.subscribe(f"{name}/#", 2)
        first.disconnect()
        await scene.seen("client_disconnected", clientid=name)
        other = Paho(scene.port, sender, version)
        await other.connect()
        for n in range(30):
            await other.publish(f"{name}/x", str(n), n % 3)
        other.disconnect()
        second = Paho(scene.port, name, version, clean=False, expiry=3600)
        present = await second.connect()
        assert present is (version > 3)  # 3.1 has no flag for it
        got = await second.received(20)
        for qos in (1, 2):
            assert [m for m in got if m[2] == qos] == [
                (f"{name}/x", str(n), qos, False) for n in range(qos, 30, 3)
            ]
        await scene.seen("message_acked", 20, clientid=name)
        second.disconnect()
        last = Paho(scene.port, name, version)  # a clean start ends the session
        assert await last.connect() is False
        last.disconnect()
        kept = [n for n in range(30) if n % 3]
        return {
            name: [
                connack(name, version),
                disconnected(name),
                connack(name, version),
                *(delivered(name, sender, f"{name}/x", str(n), n % 3)[1] for n in kept),
                disconnected(name),
                terminated(name, "discarded"),
                connack(name, version),
                disconnected(name),
                terminated(name),
            ],
            sender: [
                connack(sender, version),
                *(publish(sender, f"{name}/x", str(n), n % 3) for n in range(30)),
                disconnected(sender),
                terminated(sender),
            ],
        }

    async with Scene(tmp_path, *TUTORIAL, "on_message_acked", "on_session_terminated") as scene:
        parts = await asyncio.gather(*(act(scene, version) for version in VERSIONS))
        await scene.expect({name: story for part in parts for name, story in part.items()})


async def test_silence(tmp_path: Path) -> None:
    """A client that hangs is disconnected after its keepalive times the multiplier, and its will comes."""
    async with Scene(tmp_path, *TUTORIAL, blocks=["mqtt { keepalive_multiplier = 1.25 }"]) as scene:
        loop = asyncio.get_running_loop()
        began = loop.time()
        clients = [Paho(scene.port, f"v{version}", version) for version in VERSIONS]
        for client in clients:
            client.client.will_set("will", "hung")
            await client.connect(keepalive=1)
        # Their threads end, and nobody sends PINGREQ any more.
        await asyncio.gather(*(asyncio.to_thread(client.client.loop_stop) for client in clients))
        await scene.seen("client_disconnected", 3)
        assert 1.25 <= loop.time() - began < 5
        await scene.expect(
            {
                f"v{version}": [
                    connack(f"v{version}", version, 1),
                    publish(f"v{version}", "will", "hung"),
                    disconnected(f"v{version}", "keepalive_timeout"),
                ]
                for version in VERSIONS
            }
        )


@pytest.mark.parametrize("how", ["the network fails", "the broker is killed"])
async def test_reconnect(tmp_path: Path, free_port: Callable[[], int], how: str) -> None:
    """paho comes back by itself, and what it publishes meanwhile is published once, in order.

    A killed broker tells at its next start that the connection has ended.
    """
    port = free_port()
    listener = f'listeners.tcp {{ bind = "127.0.0.1:{port}" }}'
    async with Scene(tmp_path, *TUTORIAL, blocks=[listener]) as scene:
        assert scene.port == port
        client = Paho(scene.port, "c1", 4, clean=False, reconnect=True)
        client.client.reconnect_delay_set(1, 1)
        await client.connect()
        await client.publish("a", "before", 1)
        await scene.seen("message_publish")
        if how == "the network fails":
            client.lose()
            reason = "tcp_closed"
        else:
            scene.hookmq.kill()
            reason = "internal_error"
        waiting = [client.client.publish("a", f"meanwhile {n}", 1) for n in range(3)]
        if how == "the broker is killed":
            await scene.hookmq.start()
        for message in waiting:
            await client.published(message)
        await client.publish("a", "after", 2)
        client.disconnect()
        await scene.seen("client_disconnected", 2)
        assert await scene.hookmq.stop() == 0
        # What was settled shortly before the kill comes again, with the same id; nothing else does.
        once = {request.id: request for request in scene.requests}
        again = len(scene.requests) - len(once)
        assert again <= (2 if how == "the broker is killed" else 0)
        assert len({(request.id, request.body) for request in scene.requests}) == len(once)
        texts = story(list(once.values()))["c1"]
        assert texts == [
            connack("c1", 4),
            publish("c1", "a", "before", 1),
            disconnected("c1", reason),
            connack("c1", 4),
            *(publish("c1", "a", f"meanwhile {n}", 1) for n in range(3)),
            publish("c1", "a", "after", 2),
            disconnected("c1"),
        ]


async def test_many_threads(tmp_path: Path) -> None:
    """20 paho clients with their threads, publishing as fast as they can, at every QoS and version."""
    count = 100

    def act(port: int, number: int) -> None:
        client = Paho(port, f"c{number}", VERSIONS[number % 3])
        client.client.max_inflight_messages_set(50)
        client.client.connect("127.0.0.1", port)
        client.client.loop_start()
        messages = [client.client.publish(f"t/{number}", str(n), number % 3) for n in range(count)]
        for message in messages:
            message.wait_for_publish(20)
        client.disconnect()

    async with Scene(tmp_path, *TUTORIAL) as scene:
        threads = [threading.Thread(target=act, args=(scene.port, n), daemon=True) for n in range(20)]
        for thread in threads:
            thread.start()
        await until(lambda: not any(thread.is_alive() for thread in threads), "the threads' end", 30)
        await scene.expect(
            {
                f"c{number}": [
                    connack(f"c{number}", VERSIONS[number % 3]),
                    *(publish(f"c{number}", f"t/{number}", str(n), number % 3) for n in range(count)),
                    disconnected(f"c{number}"),
                ]
                for number in range(20)
            }
        )


# -- aiomqtt -------------------------------------------------------------------------------------------------


async def test_many_clients_on_aiomqtt(tmp_path: Path) -> None:
    """50 clients at once, each at its own pace, and one that hears them all."""
    clients, count = 50, 10

    async def device(port: int, number: int) -> None:
        version = aiomqtt.ProtocolVersion.V5 if number % 2 else aiomqtt.ProtocolVersion.V311
        async with aiomqtt.Client("127.0.0.1", port, identifier=f"d{number}", protocol=version) as client:
            for n in range(count):
                await client.publish(f"plant/{number}/x", f"{n}", qos=number % 3)

    async with Scene(tmp_path, *TUTORIAL) as scene:
        heard: dict[str, list[str]] = {}
        async with aiomqtt.Client(
            "127.0.0.1", scene.port, identifier="ear", protocol=aiomqtt.ProtocolVersion.V5
        ) as ear:
            await ear.subscribe("plant/+/x", qos=2)
            running = [asyncio.create_task(device(scene.port, number)) for number in range(clients)]
            async with asyncio.timeout(30):
                async for message in first(ear.messages, clients * count):
                    assert isinstance(message.payload, bytes)
                    heard.setdefault(str(message.topic), []).append(message.payload.decode())
            await asyncio.gather(*running)
        assert heard == {f"plant/{number}/x": [str(n) for n in range(count)] for number in range(clients)}
        version = {0: 4, 1: 5}
        await scene.expect(
            {
                "ear": [connack("ear"), disconnected("ear")],
                **{
                    f"d{number}": [
                        connack(f"d{number}", version[number % 2]),
                        *(
                            publish(f"d{number}", f"plant/{number}/x", str(n), number % 3)
                            for n in range(count)
                        ),
                        disconnected(f"d{number}"),
                    ]
                    for number in range(clients)
                },
            }
        )


async def first(items: Any, count: int) -> Any:
    """The first `count` of an asynchronous iterator."""
    async for item in items:
        yield item
        count -= 1
        if not count:
            return


async def test_aiomqtt_is_refused(tmp_path: Path) -> None:
    """The exception names the reason, and the event too."""
    auth = 'auth { allow_anonymous = false, password { "u": "right" } }'
    async with Scene(tmp_path, *TUTORIAL, blocks=[auth]) as scene:
        for version, code in ((aiomqtt.ProtocolVersion.V311, 5), (aiomqtt.ProtocolVersion.V5, 0x87)):
            with pytest.raises(aiomqtt.MqttError, match=r"(?i)not authorized|code:"):
                async with aiomqtt.Client("127.0.0.1", scene.port, identifier=f"x{code}", protocol=version):
                    pass
        await scene.expect(
            {
                "x5": [connack("x5", 4, reason="unauthorized_client")],
                "x135": [connack("x135", 5, reason="not_authorized")],
            }
        )
