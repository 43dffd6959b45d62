"""One connection to a broker, as its client: MQTT 3.1, 3.1.1 or 5.

* PUBACK, PUBREC and PUBCOMP leave when what they promise is durable (`Journal.ack`), and by nothing else.
* What cannot be stored now is held, with all that came behind it, and nothing more is read until it can be.
* PINGREQ keeps the connection, and the silence after one ends it ([MQTT-3.1.2-22] is the broker's side).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from bridge.journal.journal import Journal
from bridge.mqtt import encoder
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
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
)
from bridge.mqtt.reasons import disconnect_name
from bridge.sources.mqtt.session import SessionState
from bridge.sources.recorder import NotTaken

MAX_PACKET = 256 << 20
AGAIN_S = 0.5
"""Until what could not be stored is tried again."""
PING_SHARE = 0.75
"""Of the keepalive: a PINGREQ after so much of it."""


class Connection(asyncio.Protocol):
    """`take` is given each message that is new, and raises NotTaken. `session` is None until the CONNACK."""

    def __init__(
        self,
        version: int,
        keepalive: int,
        journal: Journal,
        session: SessionState,
        take: Callable[[Publish], bool],
        held: Callable[[str], None],
    ) -> None:
        """`take` returns whether there is anything to wait for; `held` is told why a message is held up."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._version = version
        self._keepalive = keepalive
        self._journal = journal
        self._session = session
        self._take = take
        self._told_held = held
        self._decoder = Decoder(
            max_packet_size=MAX_PACKET, version=version, role="client", property_size=1 << 20,
            max_topic_levels=65535,
        )  # fmt: skip
        self._transport: asyncio.Transport | None = None
        self._waiting: tuple[type[Any], int, asyncio.Future[Any]] | None = None
        self._held: deque[Packet] = deque()
        self._again: asyncio.TimerHandle | None = None
        self._pinger: asyncio.TimerHandle | None = None
        self._pinged = False
        self._packet_id = 0
        self._cause = ""

    # -- the network -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in (self._again, self._pinger):
            if timer is not None:
                timer.cancel()
        self._held.clear()
        text = self._cause or (str(exc) if exc is not None else "closed by the broker")
        if self._waiting is not None and not self._waiting[2].done():
            self._waiting[2].set_exception(ConnectionResetError(text))
        if not self.ended.done():
            self.ended.set_result(text)

    def data_received(self, data: bytes) -> None:
        self._pinged = False
        packets = self._decoder.feed(data)
        if self._held:
            self._held.extend(packets)
        else:
            for at, packet in enumerate(packets):
                try:
                    self._received(packet)
                except NotTaken as error:
                    self._hold(packets[at:], str(error))
                    break
        if self._decoder.error is not None:
            self.abort(f"it sends what is no MQTT: {self._decoder.error}")

    def _hold(self, packets: list[Packet], why: str) -> None:
        self._held.extend(packets)
        self._told_held(why)
        if self._transport is not None:
            self._transport.pause_reading()
            self._again = self._loop.call_later(AGAIN_S, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        while self._held:
            try:
                self._received(self._held[0])
            except NotTaken:
                self._again = self._loop.call_later(AGAIN_S, self._try_again)
                return
            if not self._held:
                return  # the connection has ended meanwhile
            self._held.popleft()
        if self._transport is not None:
            self._transport.resume_reading()

    def write_acks(self, data: bytearray) -> None:
        """Send acknowledgements whose batch is durable; to a connection that has ended, nothing."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self, why: str) -> None:
        """End it at once."""
        self._cause = self._cause or why
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """DISCONNECT, and the end; the session stays at the broker."""
        self._cause = "HookMQ stops"
        if self._transport is not None:
            self._transport.write(encoder.encode(Disconnect(), self._version))
            self._transport.close()

    # -- packets ---------------------------------------------------------------------------------------

    def _received(self, packet: Packet) -> None:
        kind = type(packet)
        if kind is Publish:
            self._message(packet)
        elif kind is Pubrel:
            self._session.released(packet.packet_id)
            self._journal.ack(self, encoder.encode_pubcomp(self._version, packet.packet_id))
        elif kind is Disconnect:
            self.abort(f"the broker says {disconnect_name(packet.reason_code)}")
        elif self._waiting is not None and kind is self._waiting[0]:
            wanted, number, future = self._waiting
            if wanted is Connack or packet.packet_id == number:
                self._waiting = None
                if not future.done():
                    future.set_result(packet)
        elif kind not in (Pingresp, Puback, Pubcomp, Pubrec, Suback, Unsuback):
            self.abort(f"it sends a {kind.__name__} that nobody asked for")

    def _message(self, publish: Publish) -> None:
        """Take a message once, then promise what its QoS promises. Raises NotTaken."""
        qos, number = publish.qos, publish.packet_id
        if qos == 0:
            self._take(publish)
            return
        if qos == 1:
            answer = encoder.encode_puback(self._version, number)
            if self._take(publish):
                self._journal.ack(self, answer)
            else:
                self._journal.answer(self, answer)
            return
        if not self._session.seen(number):
            self._take(publish)
            self._session.received(number)
        self._journal.ack(self, encoder.encode_pubrec(self._version, number))

    # -- what we ask -----------------------------------------------------------------------------------

    def _send(self, packet: Packet) -> None:
        if self._transport is None:
            raise ConnectionResetError(self._cause or "closed by the broker")
        self._transport.write(encoder.encode(packet, self._version))

    async def _ask(self, packet: Packet, answer: type[Any], number: int) -> Any:
        future = self._loop.create_future()
        self._waiting = (answer, number, future)
        self._send(packet)
        try:
            return await future
        finally:
            self._waiting = None

    async def connect(self, packet: Connect) -> Connack:
        """CONNECT and the answer to it. Raises OSError at the connection's end."""
        connack: Connack = await self._ask(packet, Connack, 0)
        return connack

    def begin(self, keepalive: int | None) -> None:
        """The CONNACK was good; `keepalive` is the broker's own wish (MQTT 5 section 3.2.2.3.14)."""
        if keepalive is not None:
            self._keepalive = keepalive
        self._ping_later()

    async def subscribe(self, subscriptions: list[Subscription]) -> Suback:
        """SUBSCRIBE and the answer to it."""
        number = self._next_id()
        suback: Suback = await self._ask(Subscribe(number, subscriptions), Suback, number)
        return suback

    async def unsubscribe(self, filters: list[str]) -> None:
        """UNSUBSCRIBE and the answer to it."""
        number = self._next_id()
        await self._ask(Unsubscribe(number, filters), Unsuback, number)

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65535 + 1
        return self._packet_id

    def _ping_later(self) -> None:
        if self._keepalive:
            self._pinger = self._loop.call_later(self._keepalive * PING_SHARE, self._ping)

    def _ping(self) -> None:
        if self._pinged and not self._held:  # while nothing is read, no answer can come
            self.abort("it does not answer")
            return
        self._pinged = True
        self._send(Pingreq())
        self._ping_later()
