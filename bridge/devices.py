"""Three simulated machines of a plant, for `hookmq demo`: tiny MQTT clients on asyncio streams."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from bridge.mqtt.decoder import Decoder
from bridge.mqtt.encoder import encode_connect, encode_disconnect, encode_publish
from bridge.mqtt.packets import Connack, Connect, Packet, Puback

ANSWER_SECONDS = 10.0  # until a packet is acknowledged
KEEPALIVE_SECONDS = 60  # no device is silent for as long, so none needs PINGREQ
MAX_PACKET_BYTES = 1 << 20

Reading = Callable[[int, float], dict[str, object]]  # number of the message, seconds since the start


class DeviceError(Exception):
    """The broker did not answer as it must; the text says what it did."""


class Device:
    """Connects, publishes a reading every `pause` seconds, disconnects; one packet in flight.

    `version` is 4 (MQTT 3.1.1) or 5, `qos` 0 or 1. With `visit` the device stays only for so many messages,
    and comes back after a pause.
    """

    def __init__(
        self,
        port: int,
        client_id: str,
        *,
        version: int,
        qos: int,
        pause: float,
        visit: int = 0,
        topic: str,
        reading: Reading,
    ) -> None:
        self.client_id = client_id
        self.sent = 0
        self._port = port
        self._version = version
        self._qos = qos
        self._pause = pause
        self._visit = visit
        self._topic = topic
        self._reading = reading
        self._started = time.monotonic()

    async def run(self) -> None:
        """Until it is cancelled, which disconnects it in order. Raises DeviceError or OSError."""
        while True:
            await self._stay()
            await asyncio.sleep(2 * self._pause)

    async def _stay(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        decoder = Decoder(max_packet_size=MAX_PACKET_BYTES, version=self._version, role="client")
        try:
            writer.write(encode_connect(Connect(self.client_id, self._version, True, KEEPALIVE_SECONDS)))
            answer = await _answer(reader, decoder)
            if not isinstance(answer, Connack) or answer.reason_code:
                raise DeviceError(f"refused: {answer}")
            left = self._visit or -1
            while left:
                left -= 1
                await self._publish(reader, writer, decoder)
                await asyncio.sleep(self._pause)
        finally:
            with suppress(OSError):
                writer.write(encode_disconnect(self._version))
                writer.close()
                await writer.wait_closed()

    async def _publish(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: Decoder
    ) -> None:
        self.sent += 1
        packet_id = (self.sent - 1) % 65535 + 1 if self._qos else 0
        payload = msgspec.json.encode(self._reading(self.sent, time.monotonic() - self._started))
        writer.write(encode_publish(self._version, self._topic, payload, self._qos, packet_id=packet_id))
        if self._qos:
            answer = await _answer(reader, decoder)
            if not isinstance(answer, Puback) or answer.packet_id != packet_id:
                raise DeviceError(f"no acknowledgement of packet {packet_id}, but {answer}")


async def _answer(reader: asyncio.StreamReader, decoder: Decoder) -> Packet:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                data = await reader.read(65536)
                if not data:
                    raise DeviceError("the broker closed the connection")
                packets = decoder.feed(data)
                if decoder.error is not None:
                    raise DeviceError(f"the broker sent no MQTT: {decoder.error}")
                if packets:
                    return packets[0]
    except TimeoutError:
        raise DeviceError(f"the broker did not answer within {ANSWER_SECONDS:g} s") from None


def _wave(at: float, middle: float, swing: float, period: float) -> float:
    return round(middle + swing * math.sin(at * math.tau / period), 2)


def press(port: int) -> Device:
    """A press that reports each stroke. MQTT 3.1.1, QoS 1."""

    def reading(number: int, at: float) -> dict[str, object]:
        return {"stroke": number, "force_kN": _wave(at, 240, 8, 11)}

    return Device(port, "press-1", version=4, qos=1, pause=1.0, topic="plant/press-1/stroke", reading=reading)


def robot(port: int) -> Device:
    """A robot that reports an axis. MQTT 5, QoS 1."""

    def reading(number: int, at: float) -> dict[str, object]:
        return {"axis": number % 6 + 1, "degrees": _wave(at, 0, 90, 7), "celsius": _wave(at, 41, 2, 31)}

    return Device(port, "robot-2", version=5, qos=1, pause=1.5, topic="plant/robot-2/axis", reading=reading)


def scale(port: int) -> Device:
    """A scale that wakes up, weighs twice and goes to sleep again. MQTT 3.1.1, QoS 0."""

    def reading(number: int, at: float) -> dict[str, object]:
        return {"ticket": number, "kg": _wave(at, 12.5, 0.4, 5)}

    return Device(
        port, "scale-3", version=4, qos=0, pause=1.2, visit=2, topic="plant/scale-3/weight", reading=reading
    )
