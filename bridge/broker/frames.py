"""The frames that a WebSocket client sends (RFC 6455 section 5), without I/O.

MQTT takes the payloads as one stream ([MQTT-6.0.0-2]), so that nothing of a data frame is kept: what is there
of it is unmasked and passed on. Kept are only the beginning of a frame's header, and of a control frame.

Rules kept here:
* a client's frames are masked, RSV1 to RSV3 are 0 since no extension was negotiated (section 5.2);
* data frames are binary ([MQTT-6.0.0-1]); a message may be in several frames, with control frames between;
* a control frame is whole and has at most 125 bytes (section 5.5);
* a message, with all its frames, has at most `max_message` bytes.

A length may be written in more bytes than it needs: small clients do so, and it harms nobody.
"""

from __future__ import annotations

from collections.abc import Callable

try:
    # In C, and ten to a hundred times as fast; it is no public name of aiohttp.
    from aiohttp._websocket.helpers import websocket_mask as _aiohttp_mask
except ImportError:
    _aiohttp_mask = None  # type: ignore[assignment]

NORMAL = 1000
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
MESSAGE_TOO_BIG = 1009

_BINARY = 0x2
_TEXT = 0x1
_CLOSE = 0x8
_PING = 0x9
_PONG = 0xA
_XOR = [bytes(a ^ b for a in range(256)) for b in range(256)]


def mask_plain(key: bytes, data: bytearray) -> None:
    """XOR `data` in place with the masking key's four octets (section 5.3)."""
    for at in range(min(4, len(data))):
        data[at::4] = data[at::4].translate(_XOR[key[at]])


mask: Callable[[bytes, bytearray], None] = _aiohttp_mask if _aiohttp_mask is not None else mask_plain


class FrameError(Exception):
    """A frame that may not be; `code` is that of the Close frame (section 7.4.1)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Frames:
    """What one client sends, frame after frame."""

    __slots__ = ("_held", "_key", "_left", "_max_message", "_message", "closed", "error", "ping")

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._held = b""  # of a frame that is not passed on in parts
        self._left = 0  # bytes that are missing of the present data frame
        self._key = b""
        self._message = -1  # bytes so far of a message that more frames belong to; -1: of none
        self.ping: bytes | None = None  # of the latest Ping; whoever answers it sets it to None
        self.closed: bytes | None = None  # the payload of the Close frame; what follows is not read
        self.error: FrameError | None = None

    def feed(self, data: bytes) -> list[bytearray]:
        """The payloads of data frames, as far as they have come. Never raises: see `error`."""
        parts: list[bytearray] = []
        if self.error is not None or self.closed is not None:
            return parts
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            pos = self._rest(data, 0, parts) if self._left else 0
            end = len(data)
            while pos < end:
                at = self._frame(data, pos, end, parts)
                if at == pos:
                    self._held = data[pos:]
                    break
                pos = at
                if self.closed is not None:
                    break
        except FrameError as error:
            self.error = error.with_traceback(None)
        return parts

    def _rest(self, data: bytes, pos: int, parts: list[bytearray]) -> int:
        """The present data frame's payload from `pos` on; the position behind it."""
        left = self._left
        part = bytearray(data[pos : pos + left])
        mask(self._key, part)
        parts.append(part)
        taken = len(part)
        self._left = left - taken
        turn = taken & 3
        self._key = self._key[turn:] + self._key[:turn]
        return pos + taken

    def _frame(self, data: bytes, pos: int, end: int, parts: list[bytearray]) -> int:
        """The frame at `pos`; the position behind what was used of it, `pos` where too little is there."""
        if end - pos < 2:
            return pos
        head = data[pos]
        length = data[pos + 1]
        body = pos + 6
        if head == 0x82 and 128 <= length < 254 and self._message < 0 and body + length - 128 <= end:
            # Nearly all there are: one whole, short message.
            stop = body + length - 128
            part = bytearray(data[body:stop])
            mask(data[pos + 2 : body], part)
            parts.append(part)
            return stop
        self._check(head, length)
        length &= 127
        if length == 126:
            body += 2
        elif length == 127:
            body += 8
        if body > end:
            return pos
        if length > 125:
            length = int.from_bytes(data[pos + 2 : body - 4], "big")
        key = data[body - 4 : body]
        if head & 0x08:
            stop = body + length
            if stop > end:
                return pos
            payload = bytearray(data[body:stop])
            mask(key, payload)
            self._control(head & 15, bytes(payload))
            return stop
        message = (self._message if self._message > 0 else 0) + length
        if message > self._max_message:
            raise FrameError(MESSAGE_TOO_BIG, f"a message of more than {self._max_message} bytes")
        self._message = -1 if head & 0x80 else message
        self._left = length
        self._key = key
        return self._rest(data, body, parts) if length and body < end else body

    def _check(self, head: int, length: int) -> None:
        """What the first two octets say. Raises FrameError."""
        opcode = head & 15
        if head & 0x70:
            text = "a frame with RSV bits, expected none: no extension was negotiated"
        elif not length & 128:
            text = "a frame that is not masked"
        elif opcode & 8:
            if opcode not in (_CLOSE, _PING, _PONG):
                text = f"a frame of the unknown type {opcode}"
            elif not head & 0x80 or length & 127 > 125:
                text = "a control frame of several parts, or of more than 125 bytes"
            else:
                return
        elif opcode == _TEXT:
            raise FrameError(UNSUPPORTED_DATA, "a text frame, expected binary ones [MQTT-6.0.0-1]")
        elif opcode not in (0, _BINARY):
            text = f"a frame of the unknown type {opcode}"
        elif (opcode == 0) != (self._message >= 0):
            text = "a frame that continues no message" if opcode == 0 else "a message within another one"
        else:
            return
        raise FrameError(PROTOCOL_ERROR, text)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.ping = payload  # only the latest needs an answer (section 5.5.3)
        elif opcode == _CLOSE:
            if len(payload) == 1:
                raise FrameError(PROTOCOL_ERROR, "a Close frame with half a status code")
            self.closed = payload


def binary_header(size: int) -> bytes:
    """The header of a binary frame of ours, which is a whole message."""
    return _header(_BINARY, size)


def pong(payload: bytes) -> bytes:
    """A Pong frame."""
    return _header(_PONG, len(payload)) + payload


def close(code: int) -> bytes:
    """A Close frame."""
    return _header(_CLOSE, 2) + code.to_bytes(2, "big")


def _header(opcode: int, size: int) -> bytes:
    first = 0x80 | opcode
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")
