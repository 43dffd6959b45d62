"""A small, raw MQTT client for tests: it sends exactly what it is told to, also what no client should send,
and hides nothing of what the broker answers.

    client = await Client.connect(port, "c1", version=5)
    await client.subscribe("a/#", qos=1)
    message = await client.expect(Publish)
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Any, Self, TypeVar

from bridge.mqtt import encoder
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)

TIMEOUT_S = 5.0
"""How long a packet is waited for before the test fails."""
P = TypeVar("P")


class Closed(Exception):
    """The broker closed the connection, and a packet was still expected."""


class Client:
    """One connection. `sent` and `received` packets are plain values of `bridge.mqtt.packets`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int = 4) -> None:
        self.reader = reader
        self.writer = writer
        self.version = version
        self.inbox: list[Packet] = []
        self.connack: Connack | None = None
        self.closed = False
        self._decoder = Decoder(
            max_packet_size=1 << 28, version=version, role="client", property_size=1 << 20
        )
        self._last_id = 0

    @classmethod
    async def open(
        cls, port: int, *, version: int = 4, tls: ssl.SSLContext | None = None, limit: int = 1 << 20
    ) -> Self:
        """A network connection without CONNECT. `limit`: bytes that are read ahead at most, about half."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=limit)
        return cls(reader, writer, version)

    @classmethod
    async def connect(
        cls,
        port: int,
        client_id: str = "",
        *,
        version: int = 4,
        clean: bool = True,
        keepalive: int = 0,
        username: str | None = None,
        password: bytes | None = None,
        will: Will | None = None,
        properties: Properties | None = None,
        code: int | None = 0,
        tls: ssl.SSLContext | None = None,
        **more: Any,
    ) -> Self:
        """Connect and wait for CONNACK, which must have `code` (None: any). `more` are MQTT 5 properties."""
        client = await cls.open(port, version=version, tls=tls)
        if more:
            properties = Properties(**more)
        client.send(Connect(client_id, version, clean, keepalive, username, password, will, properties))
        client.connack = await client.expect(Connack)
        if code is not None:
            assert client.connack.reason_code == code, client.connack
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    # -- sending -------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)

    def send(self, *packets: Packet) -> None:
        """Send packets, all in one segment."""
        self.raw(b"".join(encoder.encode(packet, self.version) for packet in packets))

    def next_id(self) -> int:
        """A packet identifier that was not used yet."""
        self._last_id += 1
        return self._last_id

    async def subscribe(
        self, topic_filter: str, qos: int = 0, *, identifier: int | None = None, **options: Any
    ) -> int:
        """Subscribe and return the SUBACK's code."""
        packet_id = self.next_id()
        properties = None if identifier is None else Properties(subscription_identifier=[identifier])
        self.send(Subscribe(packet_id, [Subscription(topic_filter, qos, **options)], properties))
        suback = await self.expect(Suback)
        assert suback.packet_id == packet_id
        return int(suback.reason_codes[0])

    async def unsubscribe(self, topic_filter: str) -> list[int]:
        """Unsubscribe and return the UNSUBACK's codes."""
        packet_id = self.next_id()
        self.send(Unsubscribe(packet_id, [topic_filter]))
        unsuback = await self.expect(Unsuback)
        assert unsuback.packet_id == packet_id
        return unsuback.reason_codes

    async def publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
        **more: Any,
    ) -> int:
        """Publish with the whole exchange of its QoS; returns the reason code of PUBACK or PUBREC."""
        if more:
            properties = Properties(**more)
        packet_id = self.next_id() if qos else 0
        self.send(Publish(topic, payload, qos, retain, False, packet_id, properties))
        if not qos:
            return 0
        answer: Puback = await self.expect(Puback if qos == 1 else Pubrec)
        assert answer.packet_id == packet_id
        if qos == 2 and answer.reason_code < 0x80:
            self.send(Pubrel(packet_id))
            assert (await self.expect(Pubcomp)).packet_id == packet_id
        return answer.reason_code

    async def ping(self) -> None:
        """PINGREQ and its answer: what the broker sent before is in `inbox` then."""
        self.send(Pingreq())
        await self.expect(Pingresp)

    async def disconnect(self, code: int = 0, properties: Properties | None = None) -> None:
        """DISCONNECT, and wait until the broker has closed."""
        self.send(Disconnect(code, properties))
        await self.wait_closed()

    def abort(self) -> None:
        """Cut the connection without a word."""
        transport = self.writer.transport
        if transport is not None:
            transport.abort()

    # -- receiving -----------------------------------------------------------------------------------------

    async def _more(self) -> None:
        data = await self.reader.read(1 << 16)
        if not data:
            self.closed = True
            return
        self.inbox += self._decoder.feed(data)
        assert self._decoder.error is None, self._decoder.error

    async def expect(self, kind: type[P], *, within: float = TIMEOUT_S) -> P:
        """The next packet of this kind; packets of other kinds stay in `inbox`. Raises Closed."""
        try:
            async with asyncio.timeout(within):
                while True:
                    for at, packet in enumerate(self.inbox):
                        if type(packet) is kind:
                            return self.inbox.pop(at)
                    if self.closed:
                        raise Closed(f"closed while waiting for {kind.__name__}; inbox: {self.inbox}")
                    await self._more()
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} within {within} s; inbox: {self.inbox}") from None

    async def next(self, *, within: float = TIMEOUT_S) -> Packet:
        """The next packet, whatever it is. Raises Closed."""
        try:
            async with asyncio.timeout(within):
                while not self.inbox:
                    if self.closed:
                        raise Closed("closed while waiting for a packet")
                    await self._more()
        except TimeoutError:
            raise AssertionError(f"no packet within {within} s") from None
        return self.inbox.pop(0)

    async def wait_closed(self, *, within: float = TIMEOUT_S) -> list[Packet]:
        """Wait until the broker has closed; returns what it sent before."""
        try:
            async with asyncio.timeout(within):
                while not self.closed:
                    with contextlib.suppress(ConnectionError):
                        await self._more()
                        continue
                    self.closed = True
        except TimeoutError:
            raise AssertionError(f"still open after {within} s; inbox: {self.inbox}") from None
        self.writer.close()
        return self.inbox

    async def expect_disconnect(self, code: int) -> None:
        """MQTT 5: a DISCONNECT with this code and the end. Below: the end without a word."""
        packets = await self.wait_closed()
        if self.version == 5:
            assert packets, "closed without a DISCONNECT"
            assert isinstance(packets[-1], Disconnect), packets
            assert packets[-1].reason_code == code, packets[-1]
        else:
            assert not packets or not isinstance(packets[-1], Disconnect)

    async def silent(self) -> None:
        """Nothing but the answer to a PINGREQ comes: whatever the broker had to send is there before it."""
        await self.ping()
        assert self.inbox == []
