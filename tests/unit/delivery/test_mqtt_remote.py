"""Messages to another broker: each fault that one can have, by a broker that has it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.config.settings import Egress, MqttPublisher
from bridge.delivery.compose import FillError
from bridge.delivery.connect import Network
from bridge.delivery.errors import EndpointError
from bridge.delivery.mqtt import wire_mqtt
from bridge.delivery.mqtt.message import Message
from bridge.delivery.mqtt.remote import RemoteTransport
from bridge.delivery.retry import Outcome, bearing
from bridge.events.event import Event, EventType
from bridge.events.interface import Format, Origin
from bridge.mqtt import encoder
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
)
from tests.unit.delivery.conftest import STORE_ID, until


class Broker:
    """Answers as it is told: `connack`, and for each PUBLISH what `answer` gives. It keeps what has come."""

    def __init__(self) -> None:
        self.connack: Connack | bytes | None = Connack()
        self.answer: Callable[[Publish], Packet | None] = acknowledge
        self.connects: list[Connect] = []
        self.packets: list[list[Packet]] = []  # by connection
        self.open = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._versions: list[int] = []
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and all connections."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await until(lambda: not self.open)

    def cut(self) -> None:
        """Close the connections."""
        for writer in self._writers:
            writer.transport.abort()

    def send(self, packet: Packet) -> None:
        """On the latest connection."""
        self._writers[-1].write(encoder.encode(packet, self._versions[-1]))

    @property
    def published(self) -> list[Publish]:
        """All that has come, over all connections."""
        return [packet for packets in self.packets for packet in packets if isinstance(packet, Publish)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder(max_packet_size=1 << 20)
        packets: list[Packet] = []
        self.packets.append(packets)
        self._writers.append(writer)
        self._versions.append(4)
        at = len(self._versions) - 1
        self.open += 1
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    for packet in decoder.feed(data):
                        self._versions[at] = decoder.version
                        packets.append(packet)
                        self._react(packet, writer, decoder.version)
        finally:
            self.open -= 1
            writer.close()

    def _react(self, packet: Packet, writer: asyncio.StreamWriter, version: int) -> None:
        answer: Packet | None = None
        if isinstance(packet, Connect):
            self.connects.append(packet)
            if isinstance(self.connack, bytes):
                writer.write(self.connack)
                return
            answer = self.connack
        elif isinstance(packet, Publish):
            answer = self.answer(packet)
        elif isinstance(packet, Pubrel):
            answer = Pubcomp(packet.packet_id)
        if answer is not None:
            writer.write(encoder.encode(answer, version))


def acknowledge(packet: Publish) -> Packet | None:
    assert packet.packet_id is not None or not packet.qos
    if packet.qos == 0:
        return None
    return Puback(packet.packet_id) if packet.qos == 1 else Pubrec(packet.packet_id)  # type: ignore[arg-type]


def nothing(packet: Publish) -> Packet | None:
    return None


class Sender:
    """Sends what it is given as there is room, and keeps the outcomes."""

    def __init__(self, server: str, network: Network | None = None, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        given = {"topic_pattern": "jobs/{event}", "cancel_timeout": 2000, "name": "mqtt_publishers.uns"}
        publisher = MqttPublisher(server=server, **{**given, **settings})
        made = Format(lambda seq, event: event.payload)
        _, transport = wire_mqtt(
            publisher, made, Origin(store_id=STORE_ID), network or Network(loop), loop, trust="operator"
        )
        assert isinstance(transport, RemoteTransport)
        self.transport = transport
        transport.on_success = lambda message: self._done(message, None)
        transport.on_failure = self._done
        transport.on_free = self._pump
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.outcomes: list[tuple[int, Outcome | None]] = []
        self.most = 0
        self._next = 0

    def send(self, count: int = 1, payload: bytes = b"{}") -> None:
        for _ in range(count):
            self._next += 1
            self.waiting.append((self._next, payload))
        self._pump()

    async def wait(self, count: int) -> list[tuple[int, Outcome | None]]:
        await until(lambda: len(self.outcomes) >= count)
        return self.outcomes

    async def failure(self) -> Outcome:
        """That of one message more."""
        self.send()
        outcome = (await self.wait(self._next))[-1][1]
        assert outcome is not None
        return outcome

    def _pump(self) -> None:
        while self.waiting and (message := self.transport.free()) is not None:
            seq, payload = self.waiting.popleft()
            message.event = Event(EventType.DOMAIN, 1, "c", None, "", (1,), "job.created", payload)
            message.send(seq, 1, payload)
            self.most = max(self.most, self.transport.in_flight)

    def _done(self, message: Message, outcome: Outcome | None) -> None:
        self.outcomes.append((message.seq, outcome))
        self.transport.release(message)
        self._pump()


Connect_ = Callable[..., Sender]


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    made = Broker()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def sender(broker: Broker) -> AsyncIterator[Connect_]:
    """`sender(…)`: one that publishes at `broker`; settings as of a publisher."""
    made: list[Sender] = []

    def make(server: str | None = None, **settings: Any) -> Sender:
        made.append(Sender(server or f"mqtt://127.0.0.1:{broker.port}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.transport.close()


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_many_on_one_connection(broker: Broker, sender: Connect_, qos: int) -> None:
    """In order, on one connection, no more at a time than allowed; then a goodbye."""
    one = sender(qos=qos, max_in_flight=7, username="u", password={"value": "p"}, keepalive=9, clientid="me")
    one.send(100)
    await one.wait(100)
    assert [seq for seq, _ in one.outcomes] == list(range(1, 101))
    assert {outcome for _, outcome in one.outcomes} == {None}
    assert one.most == 7
    await until(lambda: len(broker.published) == 100)
    (connect,) = broker.connects
    assert (connect.client_id, connect.keepalive, connect.clean_start) == ("me", 9, True)
    assert (connect.username, connect.password) == ("u", b"p")
    ids = [dict(packet.properties.user_property)["webhook-id"] for packet in broker.published]  # type: ignore
    assert ids == [f"msg_{STORE_ID}_{seq:016x}" for seq in range(1, 101)]
    assert {(packet.topic, packet.dup) for packet in broker.published} == {("jobs/job/created", False)}
    one.transport.close()
    await until(lambda: not broker.open)
    assert isinstance(broker.packets[0][-1], Disconnect)


async def test_its_own_client_id_and_no_properties_before_mqtt_5(broker: Broker, sender: Connect_) -> None:
    one = sender(proto_ver=4)
    one.send()
    assert (await one.wait(1)) == [(1, None)]
    assert broker.connects[0].client_id == f"hookmq_{STORE_ID}_uns"
    assert broker.published[0].properties is None


async def test_a_broker_that_never_acknowledges(broker: Broker, sender: Connect_) -> None:
    """What has no PUBACK in time has failed, its connection ends, and the next one works."""
    broker.answer = nothing
    one = sender(cancel_timeout=200, max_in_flight=4)
    one.send(4)
    found = await one.wait(4)
    assert {str(outcome) for _, outcome in found} == {"timeout: no PUBACK within 200 ms"}
    await until(lambda: not broker.open)
    broker.answer = acknowledge
    one.send(4)
    assert [outcome for _, outcome in (await one.wait(8))[4:]] == [None] * 4
    assert one.transport.opened <= 3  # the first one began a little before the others


async def test_one_that_is_never_acknowledged_does_not_fail_the_others(
    broker: Broker, sender: Connect_
) -> None:
    """They go out again on the next connection, in the same attempt."""
    broker.answer = lambda packet: None if packet.payload == b"poison" else acknowledge(packet)
    one = sender(cancel_timeout=300, max_in_flight=2)
    one.send(1, b"poison")
    await until(lambda: broker.published)
    await asyncio.sleep(0.15)  # half of its time
    broker.answer = nothing
    one.send(200)
    await until(lambda: len(broker.published) == 2)
    broker.answer = lambda packet: None if packet.payload == b"poison" else acknowledge(packet)
    await one.wait(201)
    failed = [(seq, str(outcome)) for seq, outcome in one.outcomes if outcome is not None]
    assert failed == [(1, "timeout: no PUBACK within 300 ms")]
    assert one.transport.opened == 2


async def test_what_was_under_way_when_the_connection_broke_goes_out_again(
    broker: Broker, sender: Connect_
) -> None:
    broker.answer = nothing
    one = sender(max_in_flight=8)
    one.send(20)
    await until(lambda: len(broker.published) == 8)
    broker.answer = acknowledge
    broker.cut()
    assert [outcome for _, outcome in await one.wait(20)] == [None] * 20
    again = broker.packets[1]
    assert sorted(p.properties.user_property[0][1] for p in again if isinstance(p, Publish))[:8] == [  # type: ignore
        f"msg_{STORE_ID}_{seq:016x}" for seq in range(1, 9)
    ]
    assert len(broker.published) == 28


async def test_a_broker_that_is_away_for_a_moment_costs_no_attempt(broker: Broker, sender: Connect_) -> None:
    broker.answer = nothing
    one = sender(max_in_flight=4)
    one.send(4)
    await until(lambda: len(broker.published) == 4)
    await broker.stop()
    await until(lambda: "refused" in one.transport.fault)
    broker.answer = acknowledge
    await broker.start()
    assert [outcome for _, outcome in await one.wait(4)] == [None] * 4


async def test_a_broker_that_is_away_for_longer(broker: Broker, sender: Connect_) -> None:
    """Then the attempts fail with why there is no connection, and one at a time after that."""
    broker.answer = nothing
    one = sender(max_in_flight=4, cancel_timeout=400)
    one.send(4)
    await until(lambda: len(broker.published) == 4)
    await broker.stop()
    found = await one.wait(4)
    assert {str(outcome) for _, outcome in found} == {"connect: Connection refused"}
    one.send(3)
    assert one.transport.in_flight <= 1
    assert [str(outcome) for _, outcome in (await one.wait(7))[4:]] == ["connect: Connection refused"] * 3
    await broker.start()


@pytest.mark.parametrize(
    ("code", "kind", "said", "meaning"),
    [
        (0x87, "refused", "PUBACK 0x87 Not authorized", "failed"),
        (0x90, "refused", "PUBACK 0x90 Topic name invalid", "failed"),
        (0x97, "busy", "PUBACK 0x97 Quota exceeded", "slow"),
    ],
)
async def test_a_refused_message(
    broker: Broker, sender: Connect_, code: int, kind: str, said: str, meaning: str
) -> None:
    broker.answer = lambda packet: Puback(packet.packet_id or 0, code)
    one = sender()
    outcome = await one.failure()
    assert (outcome.error, outcome.text, bearing(outcome)) == (kind, said, meaning)
    broker.answer = lambda packet: Puback(packet.packet_id or 0, 0x10)  # no matching subscribers: a success
    one.send()
    assert (await one.wait(2))[-1] == (2, None)
    assert one.transport.opened == 1


async def test_a_pubrec_that_refuses_is_the_end_of_it(broker: Broker, sender: Connect_) -> None:
    """No PUBREL follows [MQTT-4.3.3-4], and the connection goes on."""
    broker.answer = lambda packet: Pubrec(packet.packet_id or 0, 0x97)
    one = sender(qos=2)
    assert str(await one.failure()) == "busy: PUBREC 0x97 Quota exceeded"
    broker.answer = acknowledge
    one.send()
    assert (await one.wait(2))[-1] == (2, None)
    assert [type(packet).__name__ for packet in broker.packets[0]] == [
        "Connect",
        "Publish",
        "Publish",
        "Pubrel",
    ]


@pytest.mark.parametrize(
    ("version", "code", "said"),
    [
        (5, 0x86, "refused: CONNACK 0x86 Bad user name or password"),
        (5, 0x89, "busy: CONNACK 0x89 Server busy"),
        (4, 4, "refused: CONNACK 0x86 Bad user name or password"),
        (4, 5, "refused: CONNACK 0x87 Not authorized"),
    ],
)
async def test_a_refused_connection(
    broker: Broker, sender: Connect_, version: int, code: int, said: str
) -> None:
    broker.connack = Connack(reason_code=code)
    one = sender(proto_ver=version, username="u", password={"value": "a secret"})
    outcome = await one.failure()
    assert str(outcome) == said
    broker.connack = Connack()
    one.send()
    assert (await one.wait(2))[-1] == (2, None)


@pytest.mark.parametrize(
    ("limits", "settings", "said"),
    [
        ({"maximum_qos": 0}, {}, "refused: CONNACK 0x9b the broker takes QoS 0 at most, expected qos = 0"),
        ({"retain_available": 0}, {"retain": True}, "the broker retains nothing, expected retain = false"),
        ({"maximum_packet_size": 64}, {}, "refused: PUBLISH 0x95"),
    ],
)
async def test_what_the_broker_does_not_take_is_not_sent(
    broker: Broker, sender: Connect_, limits: dict[str, int], settings: dict[str, Any], said: str
) -> None:
    broker.connack = Connack(properties=Properties(**limits))  # type: ignore[arg-type]
    one = sender(**settings)
    assert said in str(await one.failure())
    assert broker.published == []


async def test_the_brokers_receive_maximum(broker: Broker, sender: Connect_) -> None:
    broker.connack = Connack(properties=Properties(receive_maximum=2))
    broker.answer = nothing
    one = sender(max_in_flight=10)
    one.send(10)
    await until(lambda: len(broker.published) == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert one.transport.in_flight == len(broker.published) == 2


async def test_a_disconnect_with_its_reason(broker: Broker, sender: Connect_) -> None:
    """The connection is closed twice with a message on it: then that attempt has failed."""
    broker.answer = lambda packet: Disconnect(0x93)
    one = sender()
    outcome = await one.failure()
    assert outcome.error == "reset"
    assert "DISCONNECT 0x93 Receive maximum exceeded" in outcome.text


@pytest.mark.parametrize(
    ("connack", "said"),
    [
        (None, "timeout: no connection within 300 ms, waiting for the CONNACK"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol: "),
        (b"\x20\x80\x80\x80\x80\x80\x80", "protocol: "),
        (b"\x20\x00", "protocol: "),
        (b"\x20\x03\x00\x00\xff", "protocol: "),
        (b"\x00" * 100, "protocol: "),
    ],
)
async def test_what_is_no_broker(broker: Broker, sender: Connect_, connack: bytes | None, said: str) -> None:
    """Each is a failure in time, and costs no processor meanwhile."""
    broker.connack = connack
    one = sender(cancel_timeout=300)
    outcome = str(await one.failure())
    assert outcome.startswith(said) or outcome.startswith("timeout: no connection within 300 ms"), outcome
    await until(lambda: not broker.open)


async def test_closed_before_the_connack(broker: Broker, sender: Connect_) -> None:
    broker.connack = None
    one = sender()
    one.send()
    await until(lambda: broker.connects)
    broker.cut()
    ((_, outcome),) = await one.wait(1)
    assert str(outcome) == "protocol: closed before the CONNACK"


async def test_rubbish_on_an_open_connection(broker: Broker, sender: Connect_) -> None:
    broker.answer = nothing
    one = sender()
    one.send()
    await until(lambda: broker.published)
    broker.answer = acknowledge
    broker._writers[-1].write(b"\x00\xff\xff\xff\xff\xff" * 20)
    assert (await one.wait(1)) == [(1, None)]
    assert one.transport.opened == 2


async def test_where_it_may_not_go() -> None:
    loop = asyncio.get_running_loop()
    network = Network(loop, Egress(deny=("127.0.0.0/8",)))
    with pytest.raises(EndpointError, match=r"server: 127\.0\.0\.1 is in egress"):
        Sender("mqtt://127.0.0.1:1", network)
    with pytest.raises(EndpointError, match=r"server: 169\.254\.169\.254 is link-local"):
        Sender("mqtt://169.254.169.254")


async def test_an_event_without_a_topic() -> None:
    one = Sender("mqtt://127.0.0.1:1", topic_pattern="x/{event}")
    message = one.transport.free()
    assert message is not None
    message.event = None  # anything goes wrong
    with pytest.raises(FillError):
        message.send(1, 1, b"")
    assert not message.busy
    one.transport.close()


async def test_a_test_has_a_connection_of_its_own(broker: Broker, sender: Connect_) -> None:
    """Which does not put out the publisher's: another client id."""
    one = sender()
    one.send()
    await one.wait(1)
    twin = one.transport.twin()
    done: list[Any] = []
    twin.on_success = done.append
    message = twin.free()
    assert message is not None
    assert twin.free() is None
    message.event = Event(EventType.DOMAIN, 1, "c", None, "", (1,), "job.created", b"{}")
    message.send(5, 1, b"{}")
    await until(lambda: done)
    twin.close()
    assert broker.connects[1].client_id == f"hookmq_{STORE_ID}_uns_test"
    assert message.request.startswith(b"PUBLISH jobs/job/created MQTT/5.0\r\nqos: 1\r\n")
    one.send()
    assert len(await one.wait(2)) == 2
    assert one.transport.opened == 1


def test_the_client_library_is_loaded_for_publishers_elsewhere_alone() -> None:
    code = "import sys, bridge.app; sys.exit(any(name in sys.modules for name in ('aiomqtt', 'paho')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
