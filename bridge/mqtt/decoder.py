"""The stream: from whatever the network gives to whole control packets.

Rules kept here:
* packets come out whole and in order, however the stream was cut; a fault ends the stream, and what came
  before it is returned first;
* the size limit is checked at the length field, before a byte is buffered for the packet (0x95);
* the first packet from a client is a CONNECT [MQTT-3.1.0-1], and there is no second [MQTT-3.1.0-2];
* the flags of the fixed header are those of section 2.1.3 [MQTT-2.1.3-1] (MQTT 3.1 does not use them, but
  for PUBLISH);
* a topic name with a wildcard, or none, is malformed; 0x90 (topic name invalid) is for one that is correctly
  formed and yet not taken (section 2.4): it has more levels than we allow;
* a packet that only our own side may send is a protocol error (0x82).

PUBLISH and the acknowledgements without reason code are read in the loop itself: they are nearly all there
is, and a call costs as much as reading one. Everything else goes through a table of functions.
"""

from __future__ import annotations

from typing import Literal

from bridge.mqtt import properties as place
from bridge.mqtt import wire
from bridge.mqtt.bodies import FROM_CLIENT, FROM_SERVER, Agreement
from bridge.mqtt.connect import connect_size_limit, decode_connect, read_protocol
from bridge.mqtt.errors import ProtocolError
from bridge.mqtt.packets import (
    Connect,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
)
from bridge.mqtt.properties import PLACE_NAMES, decode_properties

PACKET_TOO_LARGE = 0x95
TOPIC_NAME_INVALID = 0x90
CLIENT_IDENTIFIER_NOT_VALID = 0x85  # [MQTT-3.1.3-8]

TOPIC_CACHE_ENTRIES = 16_384
TOPIC_CACHE_TOPIC_SIZE = 256  # bytes; longer topics are validated each time
# Valid topic names by their bytes, so that a repeated one costs one look-up. One cache for all connections
# with the same `max_topic_levels` and `strict`, emptied when full: it has typically 3 MB then, at most 11 MB.
_topic_caches: dict[tuple[int, bool], dict[bytes, str]] = {}

_ACKNOWLEDGEMENTS: dict[int, type[Puback]] = {0x40: Puback, 0x50: Pubrec, 0x62: Pubrel, 0x70: Pubcomp}
_FLAGS = {place.PUBREL: 2, place.SUBSCRIBE: 2, place.UNSUBSCRIBE: 2}  # the other packets: 0

# QoS, retain, dup by the flags of a PUBLISH.
_PUBLISH_FLAGS = tuple((flags >> 1 & 3, flags & 1 == 1, flags & 8 == 8) for flags in range(16))


class Decoder:
    """Bytes of one connection to control packets.

    `max_packet_size` and `property_size` are in bytes: of a whole packet with its fixed header, and of the
    properties in one list. A `server` reads what clients send and the reverse. A server's decoder learns the
    version from the CONNECT; a client's is told it. `strict`: names (client ids, user names, topics, topic
    filters) hold no control characters and no non-characters (sections 1.5.3 of 3.1.1 and 1.5.4 of 5).
    """

    __slots__ = (
        "_agreement",
        "_buffer",
        "_topics",
        "buffered",
        "error",
        "max_packet_size",
        "max_topic_levels",
        "needed",
        "property_size",
        "role",
        "strict",
        "version",
    )

    version: int
    """3 (MQTT 3.1), 4 (3.1.1) or 5; 0 until the protocol level of a CONNECT was read."""
    error: ProtocolError | None
    """What broke the stream; everything before it was returned."""
    buffered: int
    """Bytes kept because the rest of their packet has not come yet."""
    needed: int
    """Bytes that are at least missing of that packet; 0 when nothing is kept."""

    def __init__(
        self,
        *,
        max_packet_size: int,
        version: int = 0,
        property_size: int = 65536,
        role: Literal["server", "client"] = "server",
        max_topic_levels: int = 201,
        strict: bool = False,
    ) -> None:
        if version not in (0, 3, 4, 5):
            raise ValueError(f"protocol version {version}, expected 3, 4, 5, or 0 before a CONNECT")
        if role == "client" and not version:
            raise ValueError("a client's decoder needs the protocol version that its CONNECT asked for")
        self.max_packet_size = max_packet_size
        self.property_size = property_size
        self.max_topic_levels = max_topic_levels
        self.strict = strict
        self.role = role
        self.version = 0
        self.error = None
        self.buffered = 0
        self.needed = 0
        self._buffer: bytearray | None = None
        self._agreement: Agreement | None = None
        self._topics = _topic_caches.setdefault((max_topic_levels, strict), {})
        if version:
            self._agree(version)

    def feed(self, data: bytes) -> list[Packet]:
        """All packets that are whole with `data`, in order; after an error, none.

        Never raises for what a peer sent: see `error`. `data` is not kept, but for an incomplete packet at
        its end.
        """
        packets: list[Packet] = []
        if self.error is not None:
            return packets
        if self._buffer is not None:
            # An append is amortised O(1), and many small pieces cost no more than their bytes.
            self._buffer += data
            self.buffered += len(data)
            if len(data) < self.needed:
                self.needed -= len(data)
                return packets
            data = bytes(self._buffer)
            self._buffer = None
            self.buffered = self.needed = 0

        append = packets.append
        acknowledgements = _ACKNOWLEDGEMENTS
        publish_flags = _PUBLISH_FLAGS
        publish = Publish
        topics = self._topics
        version = self.version
        limit = self.max_packet_size
        end = len(data)
        last = end - 1
        pos = 0  # of the packet
        needed = 1
        try:
            while pos < last:
                head = data[pos]
                length = data[pos + 1]
                body = pos + 2
                if length > 127:
                    if body >= end:
                        break
                    byte = data[body]
                    body += 1
                    length += (byte << 7) - 128
                    if byte > 127:
                        length, body = _long_length(data, pos, end)
                        if not body:
                            break
                        byte = data[body - 1]
                    if not byte and version == 5:
                        raise _overlong(head)
                stop = body + length
                if stop - pos > limit:
                    raise _too_large(head, stop - pos, limit)
                if stop > end:
                    if not version:
                        self._check_first(head, length)
                    needed = stop - end
                    break

                if head >> 4 == 3 and version:  # PUBLISH
                    if length < 2:
                        raise _truncated_publish(length)
                    start = body + 2
                    topic_end = start + (data[body] << 8 | data[body + 1])
                    qos, retain, dup = publish_flags[head & 15]
                    if qos:
                        payload = topic_end + 2
                        if payload > stop:
                            raise _truncated_publish(length)
                        packet_id = data[topic_end] << 8 | data[topic_end + 1]
                        if not packet_id or qos == 3:
                            raise _bad_publish(qos)
                    else:
                        payload = topic_end
                        packet_id = 0
                        if payload > stop:
                            raise _truncated_publish(length)
                        if dup:
                            raise ProtocolError(wire.MALFORMED, "PUBLISH: DUP with QoS 0 [MQTT-3.3.1-2]")
                    raw = data[start:topic_end]
                    topic = topics.get(raw)
                    if topic is None:
                        topic = self._new_topic(raw)
                    if version == 5:
                        if payload < stop and not data[payload]:  # no properties
                            if not topic:
                                raise _no_topic()
                            append(
                                publish(topic, data[payload + 1 : stop], qos, retain, dup, packet_id, None)
                            )
                        else:
                            properties, payload = decode_properties(
                                data, payload, stop, place.PUBLISH, self.property_size
                            )
                            if not topic and (properties is None or properties.topic_alias is None):
                                raise _no_topic()
                            if (
                                properties is not None
                                and properties.subscription_identifier
                                and self.role == "server"
                            ):
                                raise ProtocolError(
                                    wire.PROTOCOL,
                                    "PUBLISH: subscription identifier from a client [MQTT-3.3.4-6]",
                                )
                            append(
                                publish(topic, data[payload:stop], qos, retain, dup, packet_id, properties)
                            )
                    else:
                        append(publish(topic, data[payload:stop], qos, retain, dup, packet_id, None))
                elif length == 2 and head in acknowledgements and version:
                    packet_id = data[body] << 8 | data[body + 1]
                    if not packet_id:
                        raise ProtocolError(wire.MALFORMED, f"{PLACE_NAMES[head >> 4]}: packet identifier 0")
                    append(acknowledgements[head](packet_id))
                elif version:
                    append(self._body(head, data, body, stop))
                else:
                    append(self._first(head, data, pos, body, stop))
                    version = self.version
                pos = stop
        except ProtocolError as error:
            # Without the frames it came through: they would keep `data` and this decoder alive.
            error.__context__ = None
            self.error = error.with_traceback(None)
            return packets

        if pos < end:
            self._buffer = bytearray(data[pos:] if pos else data)
            self.buffered = end - pos
            self.needed = needed
        return packets

    def _agree(self, version: int) -> None:
        self.version = version
        self._agreement = Agreement(version, self.role == "server", self.property_size)

    def _check_first(self, head: int, length: int) -> None:
        """What can be said of the first packet before it is whole."""
        if head >> 4 != place.CONNECT:
            raise ProtocolError(
                wire.PROTOCOL,
                f"the first packet is of type {head >> 4}, expected CONNECT (1) [MQTT-3.1.0-1]",
            )
        limit = connect_size_limit(self.property_size)
        if length > limit:
            raise ProtocolError(
                PACKET_TOO_LARGE, f"CONNECT: {length} bytes, its fields can have no more than {limit}"
            )

    def _first(self, head: int, data: bytes, pos: int, body: int, stop: int) -> Packet:
        """CONNECT; `pos` is where its fixed header begins."""
        self._check_first(head, stop - body)
        protocol = read_protocol(data, body, stop)
        self._agree(protocol.version)  # at once, so that a refusal is sent in the right version
        if protocol.refused is not None:
            raise protocol.refused
        if head & 15 and protocol.version > 3:
            raise _bad_flags(head, 0)
        packet = decode_connect(data, stop, protocol, self.property_size)
        if packet.will is not None:
            self._check_topic(packet.will.topic, "CONNECT will topic")
        if self.strict:
            self._check_names(packet)
        if packet.protocol_version == 5 and body - pos > 2 and not data[body - 1]:
            raise _overlong(head)
        return packet

    def _body(self, head: int, data: bytes, body: int, stop: int) -> Packet:
        """Any packet but PUBLISH and the first CONNECT."""
        kind = head >> 4
        agreed = self._agreement
        assert agreed is not None  # noqa: S101  set with the version
        decode = (FROM_CLIENT if agreed.server else FROM_SERVER).get(kind)
        if decode is None:
            raise self._unexpected(kind)
        flags = _FLAGS.get(kind, 0)
        if head & 15 != flags and agreed.version > 3:
            raise _bad_flags(head, flags)
        packet = decode(data, body, stop, agreed)
        if self.strict:
            self._check_names(packet)
        return packet

    def _check_names(self, packet: Packet) -> None:
        """No control characters and no non-characters: a receiver may close the connection for them."""
        kind = type(packet)
        if kind is Connect:
            wire.check_characters(packet.client_id, "CONNECT client identifier", CLIENT_IDENTIFIER_NOT_VALID)
            wire.check_characters(packet.username or "", "CONNECT user name")
        elif kind is Subscribe:
            for subscription in packet.subscriptions:
                wire.check_characters(subscription.topic_filter, "SUBSCRIBE topic filter")
        elif kind is Unsubscribe:
            for topic_filter in packet.topic_filters:
                wire.check_characters(topic_filter, "UNSUBSCRIBE topic filter")

    def _unexpected(self, kind: int) -> ProtocolError:
        if kind == 0:
            return ProtocolError(wire.MALFORMED, "packet type 0 is reserved")
        if kind == place.CONNECT and self.role == "server":
            return ProtocolError(wire.PROTOCOL, "a second CONNECT [MQTT-3.1.0-2]")
        return ProtocolError(wire.PROTOCOL, f"{PLACE_NAMES[kind]}: only a {self.role} sends this packet")

    def _new_topic(self, raw: bytes) -> str:
        """The topic name of a PUBLISH that is not in the cache. Empty where an alias may stand for it."""
        topic = wire.decode_string(raw, "PUBLISH topic name")
        if not raw and self.version == 5:
            return topic
        self._check_topic(topic, "PUBLISH topic name")
        if len(raw) <= TOPIC_CACHE_TOPIC_SIZE:
            topics = self._topics
            if len(topics) >= TOPIC_CACHE_ENTRIES:
                topics.clear()
            topics[raw] = topic
        return topic

    def _check_topic(self, topic: str, what: str) -> None:
        """A topic name: at least one character, no wildcards, not too many levels."""
        code = wire.MALFORMED
        if not topic:
            text = "empty [MQTT-4.7.3-1]"
        elif "+" in topic or "#" in topic:
            text = f"{wire.shown(topic)} holds a wildcard [MQTT-3.3.2-2]"
        elif topic.count("/") >= self.max_topic_levels:
            code = TOPIC_NAME_INVALID
            text = f"{topic.count('/') + 1} levels, at most {self.max_topic_levels} are taken"
        else:
            if self.strict:
                wire.check_characters(topic, what)
            return
        raise ProtocolError(code if self.version == 5 else wire.PROTOCOL, f"{what}: {text}")


def _long_length(data: bytes, pos: int, end: int) -> tuple[int, int]:
    """A remaining length of three or four bytes, of the packet at `pos`, and where its body begins.

    The second is 0 when the bytes do not reach. Below MQTT 5 more bytes than needed are let through.
    """
    value = 0
    for at in range(4):
        if pos + 1 + at >= end:
            return 0, 0
        byte = data[pos + 1 + at]
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value, pos + 2 + at
    raise ProtocolError(
        wire.MALFORMED, f"{_name(data[pos])}: a remaining length of more than four bytes (section 2.1.4)"
    )


def _name(head: int) -> str:
    return PLACE_NAMES.get(head >> 4, f"packet type {head >> 4}")


def _bad_flags(head: int, expected: int) -> ProtocolError:
    return ProtocolError(
        wire.MALFORMED, f"{_name(head)}: flags 0x{head & 15:X}, expected 0x{expected:X} [MQTT-2.1.3-1]"
    )


def _overlong(head: int) -> ProtocolError:
    return ProtocolError(
        wire.MALFORMED, f"{_name(head)}: the remaining length has more bytes than needed [MQTT-1.5.5-1]"
    )


def _too_large(head: int, size: int, limit: int) -> ProtocolError:
    return ProtocolError(PACKET_TOO_LARGE, f"{_name(head)}: {size} bytes, at most {limit} are taken")


def _truncated_publish(length: int) -> ProtocolError:
    return ProtocolError(
        wire.MALFORMED, f"PUBLISH: its {length} bytes end within the topic name or the packet identifier"
    )


def _bad_publish(qos: int) -> ProtocolError:
    if qos == 3:
        return ProtocolError(wire.MALFORMED, "PUBLISH: QoS 3 [MQTT-3.3.1-4]")
    return ProtocolError(wire.MALFORMED, f"PUBLISH: packet identifier 0 with QoS {qos} [MQTT-2.2.1-3]")


def _no_topic() -> ProtocolError:
    return ProtocolError(wire.PROTOCOL, "PUBLISH: neither topic name nor topic alias (section 3.3.2.1)")
