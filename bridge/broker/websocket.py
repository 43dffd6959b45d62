"""MQTT over WebSocket (section 6): from a request for an upgrade to a stream of bytes, and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.broker import frames
from bridge.broker.frames import FrameError, Frames
from bridge.broker.layer import Layer
from bridge.broker.upgrade import Policy, Upgrade
from bridge.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

CLOSE_S = 1.0
"""How long the client may take to answer our Close frame."""
LEAST_MAX_MESSAGE = 1 << 20
"""A message may have so many bytes also where a packet may not: it may hold several."""
JOIN_BYTES = 64 * 1024
"""Up to here a frame's header and its payload are joined for one write."""


class WebSocket(Layer):
    """The server's end of one WebSocket."""

    __slots__ = ("_close_code", "_frames", "_timer", "_upgrade")

    def __init__(self, connection: Connection, policy: Policy) -> None:
        super().__init__(connection, connection)
        self._upgrade: Upgrade | None = Upgrade(policy)
        self._frames: Frames | None = None
        self._close_code = frames.NORMAL
        self._timer: asyncio.TimerHandle | None = None

    # -- from the network ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._upgrade is not None:
            data = self._shake(self._upgrade, data)
            if not data:
                return
        stream = self._frames
        if stream is None:
            return
        parts = stream.feed(data)
        if self._closing:
            if stream.closed is not None or stream.error is not None:
                self._transport.close()
            return
        connection = self._connection
        if stream.ping is not None:
            payload, stream.ping = stream.ping, None
            if self._writable:  # who does not read gets no more to read
                self._transport.write(frames.pong(payload))
        if parts:
            connection.data_received(b"".join(parts))
        else:
            connection.broker.turn.left -= len(data)
        if stream.error is not None:
            self._fault(stream.error)
        elif stream.closed is not None:
            if len(stream.closed) >= 2:
                self._close_code = _answer_to(int.from_bytes(stream.closed[:2], "big"))
            connection.eof_received()

    def _shake(self, upgrade: Upgrade, data: bytes) -> bytes:
        """Go on with the opening handshake; what came behind it."""
        if self.is_closing():
            return b""
        answer = upgrade.feed(data)
        if answer is None:
            return b""
        self._upgrade = None
        self._transport.write(answer.response)
        connection = self._connection
        if answer.refused is not None:
            connection.broker.limits.handshake_failed(connection, f"no WebSocket: {answer.refused}")
            self._closing = True
            self._transport.close()
            return b""
        self._frames = Frames(max(connection.settings.max_packet_size, LEAST_MAX_MESSAGE))
        connection.connection_made(self)
        return answer.rest

    def _fault(self, error: FrameError) -> None:
        self._close_code = error.code
        big = error.code == frames.MESSAGE_TOO_BIG
        self._connection.fault(
            ReasonCode.PACKET_TOO_LARGE if big else ReasonCode.PROTOCOL_ERROR, f"WebSocket: {error}"
        )

    def eof_received(self) -> bool | None:
        if self._frames is None or self._closing:
            return False
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    # -- to the network --------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing() or not data:
            return
        header = frames.binary_header(len(data))
        if len(data) <= JOIN_BYTES:
            self._transport.write(header + data)
        else:
            self._transport.writelines((header, data))

    def close(self) -> None:
        """Close frame, then the client's answer, then the end (section 7.1.1)."""
        if self.is_closing():
            return
        self._closing = True
        self._transport.write(frames.close(self._close_code))
        stream = self._frames
        if stream is None or stream.closed is not None or stream.error is not None:
            self._transport.close()
            return
        self._timer = self._connection.broker.loop.call_later(CLOSE_S, self._transport.close)
        self._transport.resume_reading()


def _answer_to(code: int) -> int:
    """The status code that answers the client's (section 7.4); those that may not be sent are a fault."""
    if 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006)):
        return code
    return frames.PROTOCOL_ERROR
