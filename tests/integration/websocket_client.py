"""MQTT over WebSocket for tests: the raw frames, and a pair of streams on which `Client` speaks MQTT."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any, Self

from bridge.broker.frames import mask_plain
from bridge.mqtt.packets import Connack, Connect
from tests.integration.mqtt_client import TIMEOUT_S, Client

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455 section 1.3, whose answer is known."""
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10


def request(path: str = "/mqtt", *, without: str = "", **fields: str) -> bytes:
    """A request for an upgrade; `fields` replace or add (`sec_websocket_key`), `without` leaves one out."""
    values = {
        "host": "localhost",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": KEY,
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "mqtt",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    values.pop(without, None)
    lines = [f"GET {path} HTTP/1.1", *[f"{name}: {value}" for name, value in values.items()]]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def frame(
    payload: bytes = b"", opcode: int = BINARY, *, fin: bool = True, rsv: int = 0, key: bytes | None = b"Zx7!"
) -> bytes:
    """A client's frame; `key` None leaves it unmasked."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0x80 if key is not None else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 1 << 16:
        head = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if key is None:
        return head + payload
    body = bytearray(payload)
    mask_plain(key, body)
    return head + key + bytes(body)


class Socket:
    """One WebSocket, with its frames as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    @classmethod
    async def open(cls, port: int, *, tls: ssl.SSLContext | None = None, head: bytes | None = None) -> Self:
        """Connect, send the request, read the response's head. `head` b"": send nothing, read nothing."""
        one = cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))
        if head != b"":
            one.writer.write(request() if head is None else head)
            async with asyncio.timeout(TIMEOUT_S):
                one.head = (await one.reader.readuntil(b"\r\n\r\n")).decode()
        return one

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    def send(self, payload: bytes, opcode: int = BINARY, **more: Any) -> None:
        self.writer.write(frame(payload, opcode, **more))

    async def receive(self) -> tuple[int, bytes]:
        """The next frame, which is whole and not masked: opcode and payload."""
        async with asyncio.timeout(TIMEOUT_S):
            first, size = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80, f"FIN alone of the first four bits, found {first:#x}"
            assert size < 128, "a server's frame is masked"
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 15, await self.reader.readexactly(size)

    async def closed(self) -> int | None:
        """Read to the end; the code of the Close frame, None where there was none."""
        code = None
        try:
            while True:
                opcode, payload = await self.receive()
                assert code is None, "a frame after the Close frame"
                if opcode == CLOSE:
                    code = int.from_bytes(payload, "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return code


class _Reader:
    """The payloads of a WebSocket as a stream."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def read(self, size: int) -> bytes:
        while True:
            try:
                opcode, payload = await self._socket.receive()
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
            if opcode == BINARY:
                return payload
            if opcode == CLOSE:
                self._socket.send(payload, CLOSE)
                return b""


class _Writer:
    """A stream as a WebSocket's frames, one for each write."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.transport = socket.writer.transport

    def write(self, data: bytes) -> None:
        self._socket.send(data, key=os.urandom(4))

    def close(self) -> None:
        self._socket.writer.close()


async def connect(
    port: int, client_id: str, *, version: int = 4, tls: ssl.SSLContext | None = None, code: int | None = 0
) -> Client:
    """An MQTT client over a WebSocket, past CONNACK."""
    socket = await Socket.open(port, tls=tls)
    assert socket.status == 101, socket.head
    client = Client(_Reader(socket), _Writer(socket), version)  # type: ignore[arg-type]
    client.send(Connect(client_id, version, True, 0))
    client.connack = await client.expect(Connack)
    if code is not None:
        assert client.connack.reason_code == code, client.connack
    return client
