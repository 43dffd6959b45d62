"""One MQTT connection: bytes in, packets decoded, acknowledgements through the journal.

Rules kept here (each one broken by a broker we measured):
* Authenticate before touching any session: a refused client changes nothing and nobody.
* Every connection ends through `end`, with one reason: hooks, will, session and counters follow from it.
* An acknowledgement leaves when its batch is durable, and in the order of what it acknowledges
  ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).
* What was received before a DISCONNECT is processed before it; what comes after it is not read.
* A turn of the loop reads a bounded number of bytes, then the others and HTTP have theirs.
* Who does not read its acknowledgements, or has more messages unacknowledged than our Receive Maximum, is
  read no further until that has changed: neither a broken client nor a slow disk makes us hold more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from bridge.broker.client import Client
from bridge.broker.handshake import on_connect
from bridge.broker.incoming import Looked, on_looked, on_publish, on_pubrel
from bridge.broker.layer import Layer
from bridge.broker.outgoing import drain, on_puback, on_pubcomp, on_pubrec
from bridge.broker.session import Session
from bridge.broker.subscribing import on_subscribe, on_unsubscribe
from bridge.mqtt import encoder
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.packets import (
    Auth,
    Connect,
    Disconnect,
    Pingreq,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
    Will,
)
from bridge.mqtt.reasons import ReasonCode, connack_return_code, disconnect_name
from bridge.mqtt.wire import shown

if TYPE_CHECKING:
    from collections import deque

    from bridge.broker.server import Broker
    from bridge.config.settings import Listener

log = logging.getLogger(__name__)

HIGH_WATER = 256 * 1024
"""Bytes that may be unsent to a client before its messages wait in its session."""
FLUSH_BYTES = 64 * 1024
"""Bytes of messages for one client that are written before the turn's end."""
PIECE = 16 * 1024
"""Bytes that are decoded at a time, where more was read at once."""
LITTLE = 4096
"""Bytes that may wait for their turn without reading being paused."""
DENSE = 512
"""Packets of one piece; of more of them each counts as work."""
UNREAD_ACKS = 64 * 1024
"""Bytes of acknowledgements beyond it that a client may leave unread before it is read no further."""
_PUBACK = b"\x40\x02"
_PUBACK_WITH_CODE = b"\x40\x03"


def address(value: Any) -> str:
    """A socket address as `host:port`, an IPv6 host in brackets."""
    if not isinstance(value, tuple) or len(value) < 2:
        return ""
    host = str(value[0])
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{value[1]}" if ":" in host else f"{host}:{value[1]}"


class Connection(asyncio.Protocol):
    """The broker's side of one network connection."""

    # Without a dictionary an idle connection takes half a kilobyte less.
    __slots__ = (
        "active",
        "alias_bytes",
        "alias_max_out",
        "aliases_in",
        "aliases_out",
        "asking",
        "backlog",
        "broker",
        "client",
        "closed",
        "cut",
        "decoder",
        "ended",
        "ending",
        "feeding",
        "halted",
        "held",
        "idle_since",
        "journal",
        "keepalive",
        "last",
        "listener",
        "out",
        "out_bytes",
        "pace",
        "paced",
        "paused",
        "peer_max_packet",
        "peer_receive_maximum",
        "peername",
        "ready",
        "refusal",
        "resending",
        "rest",
        "restricted",
        "serial",
        "session",
        "settings",
        "stash",
        "throttled",
        "transport",
        "unacked",
        "unread",
        "version",
        "will",
        "writable",
    )

    transport: asyncio.Transport
    peername: str

    def __init__(self, broker: Broker, listener: Listener) -> None:
        self.broker = broker
        self.listener = listener
        self.settings = broker.settings
        self.journal = broker.journal
        self.session: Session | None = None
        self.client: Client | None = None
        # Whether it may publish less than MQTT has: QoS 2, retained messages.
        self.restricted = self.settings.max_qos_allowed < 2 or not self.settings.retain_available
        self.serial = 0
        self.version = 0
        self.active = True  # something was read since the last sweep
        # Loop time of the last sweep that found it active; once closed, that of its closing.
        self.idle_since = 0.0
        self.keepalive = 0.0  # seconds after which a silent client is gone; 0: never
        self.writable = True
        self.resending: deque[int] | None = None  # packet ids; None until CONNACK is out
        self.ready = False  # CONNACK is out and what was in flight was sent again: messages may follow
        self.feeding = False  # more retained messages follow in the next turn
        self.closed = False
        self.out: list[bytes | bytearray] | None = None  # messages to be written at the end of the turn
        self.out_bytes = 0
        self.refusal = 0  # MQTT 5 reason code with which a limit answers its CONNECT
        self.pace = broker.limits.pace(self)  # how fast it may publish; None: as it likes
        self.paced = False  # waits until it may publish again
        self.paused = False  # waits for its share of a turn
        self.stash: list[bytes] | None = None  # read, not yet decoded: the turn's share was used up
        self.rest: Iterator[Any] | None = None  # what is left of data whose share of work was used up
        self.ended = False  # the client sends no more than what waits
        self.cut = False  # the network connection is closed, and what waits is still to have its turn
        self.last = False  # what waits is processed now: the connection has ended
        # Packets that wait for an answer about the one before them (`hold`); None: it does not wait.
        self.held: list[Any] | None = None
        self.asking: asyncio.Task[None] | None = None  # what it waits for
        self.halted = False  # closed, or held: no further packet is acted on
        self.ending = False  # the client has gone while it was held
        self.throttled = False  # is read no further until acknowledgements have gone
        self.unacked = 0  # QoS 1 messages whose PUBACK waits for its batch
        self.unread = 0  # bytes of acknowledgements written since it stopped reading
        self.backlog = 0  # unsent bytes at the last sweep, while throttled
        self.will: Will | None = None
        self.peer_receive_maximum = 65535
        self.peer_max_packet = 0  # bytes; 0: no limit
        self.aliases_in: dict[int, str] | None = None
        self.alias_bytes = 0  # of the topics in `aliases_in`
        self.aliases_out: dict[str, int] | None = None
        self.alias_max_out = 0
        self.decoder = Decoder(
            max_packet_size=self.settings.max_packet_size,
            property_size=self.settings.property_size,
            max_topic_levels=self.settings.max_topic_levels,
            strict=self.settings.strict_mode,
        )

    # -- the network -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        # Below a layer it was accepted before, and may have ended since, such as by the time limit.
        if self.closed if isinstance(transport, Layer) else not self.accepted(stream):
            stream.abort()
            return
        self.transport = stream
        stream.set_write_buffer_limits(high=HIGH_WATER)

    def accepted(self, transport: asyncio.Transport) -> bool:
        """The network connection is open, its handshakes are still to come; False: it was closed at once."""
        self.transport = transport
        self.peername = address(transport.get_extra_info("peername"))
        self.idle_since = self.broker.loop.time()
        if not self.broker.accept(self):
            self.closed = self.halted = True
            transport.abort()
            return False
        return True

    def data_received(self, data: bytes) -> None:
        if self.halted:
            if not self.closed:
                self._stash(data)
            return
        self.active = True
        turn = self.broker.turn
        if turn.left <= 0 or turn.holding or self.stash:
            turn.pause(self, little=not self.stash and len(data) < LITTLE)
            self._stash(data)
            return
        turn.left -= len(data)
        if not turn.booked:
            turn.book()
        self.process(data)

    def _stash(self, data: bytes) -> None:
        if self.stash is None:
            self.stash = []
        self.stash.append(data)

    def process(self, data: bytes) -> None:
        """Decode what was read and act on every whole packet in it."""
        if self.closed:
            return
        packets: Iterator[Any]
        if self.rest is not None and not data:
            packets, self.rest = self.rest, None
        elif self.pace is not None:
            packets = self.pace.allowed(data)
        elif len(data) <= PIECE:
            found = self.decoder.feed(data)
            packets = iter(found) if len(found) <= DENSE else self._metered(found)
        else:
            packets = self._pieces(data)
        self._act(packets)

    def _pieces(self, data: bytes) -> Iterator[Any]:
        """The packets of much data, which may be a hundred thousand."""
        charge = self.broker.turn.charge
        for at in range(0, len(data), PIECE):
            packets = self.decoder.feed(data[at : at + PIECE])
            if len(packets) <= DENSE:
                yield from packets
            else:
                yield from self._metered(packets)
            charge(PIECE // 8)

    def _metered(self, packets: list[Any]) -> Iterator[Any]:
        """Very small packets, of which bytes do not tell the work."""
        charge = self.broker.turn.charge
        for at in range(0, len(packets), DENSE):
            yield from packets[at : at + DENSE]
            charge(DENSE)

    def _act(self, packets: Iterator[Any]) -> None:
        decoder = self.decoder
        broker = self.broker
        broker.read_at = broker.now_ms()
        broker.reading = self
        turn = broker.turn
        try:
            for packet in packets:
                if type(packet) is Publish:
                    on_publish(self, packet)
                else:
                    HANDLERS[type(packet)](self, packet)
                if self.halted:
                    if self.held is not None and self.pace is None:  # else it keeps the others itself
                        self.held += packets
                    return
                if turn.over and not self.last:
                    self.rest = packets
                    self.stash = [b"", *(self.stash or ())]
                    turn.pause(self)
                    return
        except Exception:
            # A fault of ours: it ends this connection and no other.
            log.exception("client %s at %s: an internal error", self.name, self.peername)
            self.end("internal_error", ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)
            return
        finally:
            broker.reading = None
        if decoder.error is not None and not self.paced:
            self.fault(decoder.error.reason_code, str(decoder.error))
        elif self.unacked > self.settings.max_inflight_window:
            self._throttle()

    def hold(self, *again: Any) -> None:
        """Act on no further packet until `release`, and read no more: an answer is awaited.

        `again` are acted on first then: the packet that the answer is about, where it was not done with.
        """
        self.held = [*again, *(self.held or ())]
        self.halted = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self) -> None:
        """The answer is there: go on with what waited, and then with reading."""
        packets, self.held = self.held, None
        if self.closed or packets is None:
            return
        self.halted = False
        self.active = True
        self._act(iter(packets) if self.pace is None else chain(packets, self.pace.allowed(b"")))
        if self.halted:  # it has ended, or waits for the next answer
            return
        if self.ending:
            self._lost()
        elif self.stash:
            self.broker.turn.pause(self)
        else:
            self.resume()

    def write_acks(self, data: bytearray) -> None:
        transport = self.transport
        if transport.is_closing():
            return
        if self.broker.reading is self:  # an answer at once; there may be thousands in what was read
            self.queue(data)
        elif self.out is not None:  # what came before goes before it
            self.out.append(data)
            self.flush()
        else:
            transport.write(data)
        unacked = self.unacked
        if unacked:
            # Packet ids that look like a PUBACK only make the count lower, never too high.
            unacked -= data.count(_PUBACK)
            if self.version == 5:
                unacked -= data.count(_PUBACK_WITH_CODE)
            self.unacked = unacked if unacked > 0 else 0
        if not self.writable:
            self.unread += len(data)
            if self.unread > UNREAD_ACKS:
                self._throttle()
        if self.throttled:
            self._release()

    def queue(self, data: bytes | bytearray) -> None:
        """Write it together with all other messages and answers that this turn brings for the client."""
        out = self.out
        if out is None:
            self.out = [data]
            self.out_bytes = len(data)
            self.broker.flush_later(self)
        else:
            out.append(data)
            self.out_bytes += len(data)
            if self.out_bytes > FLUSH_BYTES:
                self.flush()

    def flush(self) -> None:
        """One write for all that was queued."""
        out, self.out = self.out, None
        if out is not None and not self.transport.is_closing():
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def pause_writing(self) -> None:
        if self.writable:
            self.writable = False
            self.broker.waiting.bytes += HIGH_WATER

    def _writable(self) -> None:
        if not self.writable:
            self.writable = True
            self.broker.waiting.bytes -= HIGH_WATER

    def resume_writing(self) -> None:
        self._writable()
        self.unread = 0
        if self.closed:
            return
        if self.throttled:
            self._release()
        if self.session is not None:
            drain(self)

    def _throttle(self) -> None:
        if not self.throttled and not self.closed:
            self.throttled = True
            self.backlog = 0
            self.transport.pause_reading()

    def _release(self) -> None:
        if self.unacked <= self.settings.max_inflight_window and self.unread <= UNREAD_ACKS:
            self.throttled = False
            self.resume()

    def resume(self) -> None:
        """Read on, if nothing else is in the way."""
        if self.ended and not self.paused:
            self._lost()
            if self.cut:
                self._writable()
                self.broker.gone(self)
        if not (
            self.paused
            or self.throttled
            or self.paced
            or self.held is not None
            or self.transport.is_closing()
        ):
            self.transport.resume_reading()

    def moving(self) -> bool:
        """Whether a throttled client seems alive: it takes bytes, or it is we who are slow."""
        if self.writable:
            return True
        before, self.backlog = self.backlog, self.transport.get_write_buffer_size()
        return self.backlog != before

    def eof_received(self) -> bool:
        """The client sends no more; it may still read the acknowledgements of what it has sent."""
        if self.paused and self.stash:
            self.ended = True  # what it has sent comes first, in its turn
        else:
            self._lost()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.paused and self.stash and self.pace is None:
            self.ended = self.cut = True  # what it has sent has its turn
            return
        self._lost()
        self._writable()
        self.pace = None
        self.broker.gone(self)

    def _lost(self) -> None:
        self.last = True
        # What was received before the end counts.
        if self.held is None and self.paced and self.pace is not None:
            self.pace.lift()
            self.process(b"")
        while self.stash and self.held is None:
            self.process(self.stash.pop(0))
        if self.held is not None and not self.closed:
            self.ending = True  # `release` comes here again
            return
        self.end("tcp_closed")

    # -- the end ---------------------------------------------------------------------------------------

    def end(
        self,
        reason: str,
        code: int | None = None,
        *,
        text: str | None = None,
        will: bool = True,
        properties: Properties | None = None,
    ) -> None:
        """End the connection for `reason` (INTEROP's names); every end comes through here, once.

        `code` is the MQTT 5 reason code to tell the client in a DISCONNECT, None to tell it nothing. `will`
        False drops the will ([MQTT-3.14.4-3]). `properties` are those of the client's DISCONNECT.
        """
        if self.closed:
            return
        self.closed = self.halted = True
        self.stash = self.held = self.rest = None
        self.idle_since = math.inf  # until the network connection is being closed
        if self.session is not None:
            self.broker.disconnected(self, reason, properties, with_will=will)
        if code is not None and self.version == 5 and self.session is not None:
            more = Properties(reason_string=text) if text and self._wants_reasons() else None
            goodbye = encoder.encode_disconnect(5, code, more)
            if not self.takes(len(goodbye)):  # [MQTT-3.14.2-3]
                goodbye = encoder.encode_disconnect(5, code)
            if self.takes(len(goodbye)):
                self.journal.ack(self, goodbye)
        # After what it has earned: acknowledgements that wait for this turn's batch.
        self.journal.after(self._close)

    def _close(self) -> None:
        self.idle_since = self.broker.loop.time()
        self.flush()
        if not self.transport.is_closing():
            self.transport.close()

    def fault(self, code: int, text: str) -> None:
        """The peer broke a rule: the right reason code and the end ([MQTT-4.13.1-1]), one log line."""
        log.info("client %s at %s: %s", self.name, self.peername, text)
        self.broker.stats.protocol_errors += 1
        if self.session is None:
            # Version 0: it was no CONNECT, and gets no answer.
            version = self.decoder.version
            if version == 5:
                self.journal.ack(self, encoder.encode_connack(5, False, code))
            elif code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION and version:
                # [MQTT-3.1.2-2] of 3.1.1: return code 1, whatever the version was.
                self.journal.ack(self, encoder.encode_connack(4, False, connack_return_code(code)))
            self.end(disconnect_name(code))
            return
        self.end(disconnect_name(code), code, text=text)

    def _wants_reasons(self) -> bool:
        """Whether the client asked for Reason Strings, which otherwise stay out of what it has to read."""
        asked = self.client.properties if self.client is not None else None
        return asked is not None and asked.request_problem_information == 1

    def takes(self, size: int) -> bool:
        """Whether the client accepts a packet of `size` bytes ([MQTT-3.1.2-24])."""
        return not self.peer_max_packet or size <= self.peer_max_packet

    @property
    def name(self) -> str:
        """The client id for a log line, cut where it is long."""
        return shown(self.client.clientid) if self.client is not None else "(not connected)"

    def sockname(self) -> str:
        """Our end's address."""
        return address(self.transport.get_extra_info("sockname"))


def _on_pingreq(conn: Connection, packet: Pingreq) -> None:
    client = conn.client
    if client is not None and conn.session is not None:
        for on_ping in conn.broker.hooks.on_ping:
            on_ping(client)
    # Behind its own acknowledgements, and not behind the sync of what others have sent.
    conn.journal.answer(conn, encoder.PINGRESP)


def _on_disconnect(conn: Connection, packet: Disconnect) -> None:
    session = conn.session
    if session is None:
        return
    properties = packet.properties
    if properties is not None and properties.session_expiry_interval is not None:
        agreed = conn.client.properties if conn.client is not None else None
        asked = agreed.session_expiry_interval if agreed is not None else None
        if not asked and properties.session_expiry_interval:  # section 3.14.2.2.2
            conn.fault(ReasonCode.PROTOCOL_ERROR, "DISCONNECT sets an expiry that CONNECT did not have")
            return
        session.expiry = min(properties.session_expiry_interval, conn.settings.session_expiry_interval)
    code = packet.reason_code
    conn.end(disconnect_name(code), will=code != 0, properties=properties)  # [MQTT-3.14.4-3]


def _on_auth(conn: Connection, packet: Auth) -> None:
    conn.fault(ReasonCode.PROTOCOL_ERROR, "AUTH without an authentication method")  # [MQTT-4.12.0-6]


HANDLERS: dict[type[Any], Callable[[Connection, Any], None]] = {
    Connect: on_connect,
    Publish: on_publish,
    Looked: on_looked,
    Puback: on_puback,
    Pubrec: on_pubrec,
    Pubrel: on_pubrel,
    Pubcomp: on_pubcomp,
    Subscribe: on_subscribe,
    Unsubscribe: on_unsubscribe,
    Pingreq: _on_pingreq,
    Disconnect: _on_disconnect,
    Auth: _on_auth,
}
"""What a client may send, and who acts on it; the decoder lets nothing else through. `Looked` is our own."""
