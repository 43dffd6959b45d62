"""One connection to a broker: aiomqtt, and paho-mqtt under it, on a socket that we have opened ourselves.

aiomqtt's own `publish` waits in a task for each message and throws the reason code of the PUBACK away, and
its connect looks names up by itself. Here it is what keeps paho's callbacks, socket and keepalive on the
event loop; messages are handed to paho, and its acknowledgements come back with their codes, several at a
time.

What is used of paho beside its public interface is named where it is used; the tests go through all of it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode

from bridge.delivery.mqtt.place import ID, ID_LENGTH, Place
from bridge.delivery.mqtt.refused import Refused
from bridge.telemetry.trace_context import to_pairs

if TYPE_CHECKING:
    import socket

_SILENT = logging.Logger("mqtt")
_SILENT.disabled = True
_FAILURE = 0x80
"""From here on a reason code is a failure (MQTT 5 section 2.4)."""

Ack = tuple[int, int, str]
"""A packet identifier, and the code and the name of its PUBACK or PUBCOMP, or of a PUBREC that refuses."""


class _Packed:
    """The properties of a PUBLISH, packed by paho once: it takes some 60 us. It asks them for `pack` alone.

    `identifier` is the message's, always of the same length. `more` are further user properties as they stand
    in the packet, behind its own (section 2.2.2: the length of all comes first).
    """

    def __init__(self, content_type: str) -> None:
        mark = b"\1" * ID_LENGTH
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if content_type:
            made.ContentType = content_type
        made.UserProperty = (ID, mark.decode())
        self.identifier = b""
        self.more = b""
        self._before, self._after = bytes(made.pack()).split(mark)  # type: ignore[no-untyped-call]
        packed = len(self._before) + ID_LENGTH + len(self._after)
        self._size = packed - 1 if packed <= 128 else packed - 2  # without its own length

    def pack(self) -> bytes:
        """As they stand in the packet."""
        if not self.more:
            return self._before + self.identifier + self._after
        head = 1 if self._size < 128 else 2
        size = VariableByteIntegers.encode(self._size + len(self.more))  # type: ignore[no-untyped-call]
        return b"".join((size, self._before[head:], self.identifier, self._after, self.more))


class Link(aiomqtt.Client):
    """A connection of its own, clean: what an earlier one has left open the journal has.

    `on_acks` is called with what has come, and `on_end` once, with one line that says why, when an open
    connection is over; both never from inside `send` or `open`. `room` is how many messages the broker takes
    at a time.
    """

    def __init__(
        self,
        place: Place,
        clientid: str,
        sock: socket.socket | ssl.SSLSocket,
        *,
        on_acks: Callable[[list[Ack]], None],
        on_end: Callable[[str], None],
    ) -> None:
        super().__init__(
            place.host,
            place.port,
            identifier=clientid,
            username=place.username,
            password=place.password,
            protocol=aiomqtt.ProtocolVersion(place.version),
            keepalive=place.keepalive,
            max_inflight_messages=0,  # the transport counts
            logger=_SILENT,
        )
        self.room = 65535
        self._place = place
        self._on_acks = on_acks
        self._on_end = on_end
        self._acks: list[Ack] = []
        self._cause = ""  # of the end
        self._max_packet: int | None = None
        self._limits: Properties | None = None  # of the CONNACK
        if place.username is None and place.password is not None:
            self._client.username_pw_set(None, place.password)  # MQTT 5 section 3.1.2.9
        # So that the connection is to the address that was checked, and nothing is looked up again.
        self._client._create_socket_connection = lambda: sock  # type: ignore[method-assign]
        # paho 2 takes no notice of the reason code of a PUBREC.
        self._pubrec = self._client._handle_pubrec
        self._client._handle_pubrec = self._handle_pubrec  # type: ignore[method-assign]
        self._shared = _Packed(place.content_type) if place.version == paho.MQTTv5 else None

    async def open(self) -> None:
        """CONNECT, and wait for the CONNACK. Raises Refused, and aiomqtt.MqttError where none comes."""
        self._disconnected.add_done_callback(self._over)
        try:
            self._client.connect(self._hostname, self._port, self._keepalive)
            await self._connected
            self._check()
        except MqttConnectError as error:
            self.abort()
            raise Refused("CONNACK", *_code(error.rc)) from None
        except BaseException:
            self.abort()
            raise

    def _check(self) -> None:
        """Whether the broker takes what is to be published ([MQTT-3.2.2-11], [MQTT-3.2.2-14])."""
        found = self._limits
        self.room = getattr(found, "ReceiveMaximum", 65535)
        self._max_packet = getattr(found, "MaximumPacketSize", None)
        highest = getattr(found, "MaximumQoS", 2)
        if self._place.qos > highest:
            raise Refused(
                "CONNACK", 0x9B, f"the broker takes QoS {highest} at most, expected qos = {highest}"
            )
        if self._place.retain and not getattr(found, "RetainAvailable", 1):
            raise Refused("CONNACK", 0x9A, "the broker retains nothing, expected retain = false")

    def send(self, topic: str, payload: bytes, identifier: str, trace: str | None = None) -> int:
        """Publish a message, with its trace context; its packet identifier.

        Raises Refused, and OSError at the connection's end.
        """
        properties = self._shared
        if properties is not None:
            properties.identifier = identifier.encode()
            properties.more = b"" if trace is None else b"".join(map(_user_property, to_pairs(trace)))
        if self._max_packet is not None:
            # Topic, payload and 16 bytes for the rest of the packet, and the properties.
            size = len(topic.encode()) + len(payload) + 16
            if properties is not None:
                size += len(properties.pack())
            if size > self._max_packet:
                raise Refused(
                    "PUBLISH", 0x95, f"{size} bytes, and the broker takes {self._max_packet} at most"
                )
        place = self._place
        info = self._client.publish(topic, payload, place.qos, place.retain, cast("Properties", properties))
        if info.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise Refused("PUBLISH", 0x91, "its packet identifier is still in use")
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise ConnectionResetError(paho.error_string(info.rc))
        return info.mid

    def abort(self) -> None:
        """End the connection at once; `on_end` is not called any more."""
        self._on_end = _untold
        self._acks.clear()
        self._close()

    def close(self) -> None:
        """Say goodbye, and end the connection."""
        self._on_end = _untold
        if self._client.socket() is not None:
            self._client.disconnect()
            self._client.loop_write()  # what the socket does not take now is not waited for
        self._close()

    def _close(self) -> None:
        self._client._sock_close()  # paho has no public way that leaves nothing behind
        if not self._disconnected.done():
            self._disconnected.set_result(None)

    def _over(self, future: asyncio.Future[None]) -> None:
        """It has ended: by the broker, by the network, or because of what paho could not read."""
        error = None if future.cancelled() else future.exception()
        self._client._sock_close()
        text = self._cause or (str(error) if error is not None else "closed")
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError(f"{text} before the CONNACK"))
            return
        on_end, self._on_end = self._on_end, _untold
        on_end(text)

    # -- paho's callbacks, which aiomqtt sets -----------------------------------------------------------

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._limits = properties
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._cause = "DISCONNECT 0x{:02x} {}".format(*_code(reason_code))
        else:
            self._cause = "closed"
        if not self._disconnected.done():
            self._disconnected.set_result(None)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        # At once: aiomqtt's comes later, and then the socket may be another one's.
        self._loop.add_writer(sock.fileno(), self._write)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        code = reason_code.value
        self._acknowledged(mid, code, reason_code.getName() if code >= _FAILURE else "")

    def _handle_pubrec(self) -> MQTTErrorCode:
        """In place of paho's: a PUBREC that refuses ends the exchange ([MQTT-4.3.3-4])."""
        packet = self._client._in_packet["packet"]
        if self._place.version == paho.MQTTv5 and len(packet) > 2 and packet[2] >= _FAILURE:
            mid = int.from_bytes(packet[:2], "big")
            if self._client._out_messages.pop(mid, None) is not None:
                self._client._inflight_messages -= 1
                self._acknowledged(mid, *_code(ReasonCode(PacketTypes.PUBREC, identifier=packet[2])))
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return self._pubrec()

    def _acknowledged(self, mid: int, code: int, name: str) -> None:
        if not self._acks:
            self._loop.call_soon(self._tell)
        self._acks.append((mid, code, name))

    def _tell(self) -> None:
        acks, self._acks = self._acks, []
        if acks:
            self._on_acks(acks)


def _user_property(pair: tuple[str, str]) -> bytes:
    """As it stands in a packet (section 2.2.2.2)."""
    return b"&" + b"".join([len(text).to_bytes(2, "big") + text.encode("ascii") for text in pair])


def _code(code: ReasonCode | int | None) -> tuple[int, str]:
    """A reason code, and its name."""
    if isinstance(code, ReasonCode):
        return code.value, code.getName()
    return (code, paho.connack_string(code)) if code is not None else (_FAILURE, "Unspecified error")


def _untold(text: str) -> None:
    """Nobody wants to know any more."""
