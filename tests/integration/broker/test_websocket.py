"""MQTT over WebSocket (section 6 of MQTT, RFC 6455): the opening handshake, frames good and bad, the end."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from random import Random

import aiohttp
import pytest

from bridge.broker.frames import Frames, mask, mask_plain
from bridge.config.settings import Listener
from bridge.mqtt import encoder
from bridge.mqtt.packets import Connect, Pingreq, Publish
from tests.integration import websocket_client
from tests.integration.broker.running import Running, Start
from tests.integration.websocket_client import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Socket,
    frame,
    request,
)

WS = Listener(kind="ws", host="127.0.0.1", port=0)
CONNECT = encoder.encode(Connect("c"), 4)
CONNACK = b"\x20\x02\x00\x00"
PINGREQ, PINGRESP = encoder.encode(Pingreq(), 4), b"\xd0\x00"


@pytest.fixture
async def web(start: Start) -> Running:
    """A broker that listens for WebSockets."""
    return await start(listeners=(WS,))


async def connected(broker: Running) -> Socket:
    """A WebSocket past CONNACK."""
    socket = await Socket.open(broker.port)
    socket.send(CONNECT)
    assert await socket.receive() == (BINARY, CONNACK)
    return socket


# -- the opening handshake -----------------------------------------------------------------------------------


async def test_the_answer_to_a_request(web: Running) -> None:
    socket = await Socket.open(web.port)
    assert socket.head.splitlines() == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {ACCEPT}",
        "Sec-WebSocket-Protocol: mqtt",
        "",
    ]


@pytest.mark.mqtt3("6.0.0-4")
@pytest.mark.mqtt5("6.0.0-4")
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("mqtt", "mqtt"), ("mqttv3.1, mqtt", "mqtt"), ("chat,mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1")],
)
async def test_the_subprotocol(web: Running, offered: str, chosen: str) -> None:
    """[MQTT-6.0.0-4]: mqtt is chosen wherever it is offered."""
    socket = await Socket.open(web.port, head=request(sec_websocket_protocol=offered))
    assert f"Sec-WebSocket-Protocol: {chosen}\r\n" in socket.head
    socket.send(CONNECT)
    assert await socket.receive() == (BINARY, CONNACK)


@pytest.mark.parametrize(
    ("head", "status", "field"),
    [
        (request("/"), 404, ""),
        (request("/mqtt/"), 404, ""),
        (request().replace(b"GET", b"POST"), 405, "Allow: GET"),
        (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, ""),
        (request(without="host"), 400, ""),
        (request(without="upgrade"), 426, "Upgrade: websocket"),
        (request(upgrade="h2c"), 426, "Upgrade: websocket"),
        (request(without="connection"), 426, "Upgrade: websocket"),
        (request(without="sec-websocket-key"), 400, ""),
        (request(sec_websocket_key="c2hvcnQ="), 400, ""),
        (request(sec_websocket_key="not base64 at all"), 400, ""),
        (request(without="sec-websocket-version"), 426, "Sec-WebSocket-Version: 13"),
        (request(sec_websocket_version="8"), 426, "Sec-WebSocket-Version: 13"),
        (request(without="sec-websocket-protocol"), 400, ""),
        (request(sec_websocket_protocol="chat"), 400, ""),
        (request(cookie="x" * 17_000), 431, ""),
        (b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n", 400, ""),
    ],
)
async def test_a_request_that_is_refused(web: Running, head: bytes, status: int, field: str) -> None:
    socket = await Socket.open(web.port, head=head)
    assert socket.status == status
    assert "Connection: close" in socket.head
    assert field in socket.head
    await socket.reader.read()  # why, and the end
    assert web.broker.stats.handshake_errors == 1
    await web.until_idle()


async def test_a_request_in_pieces_with_a_query_and_cookies(web: Running) -> None:
    head = request("/mqtt?token=1", cookie="x" * 8000, origin="https://anywhere.example")
    socket = await Socket.open(web.port, head=b"")
    for at in range(0, len(head), 997):
        socket.writer.write(head[at : at + 997])
        await asyncio.sleep(0)
    # CONNECT may come with the request's last bytes
    socket.writer.write(frame(CONNECT))
    socket.head = (await socket.reader.readuntil(b"\r\n\r\n")).decode()
    assert socket.status == 101
    assert await socket.receive() == (BINARY, CONNACK)


async def test_origins_path_and_subprotocol_by_setting(start: Start) -> None:
    listener = WS.model_copy(
        update={
            "path": "/broker/ws",
            "check_origins": ("https://panel.example.com",),
            "fail_if_no_subprotocol": False,
        }
    )
    broker = await start(listeners=(listener,))
    for origin, status in (
        ("https://panel.example.com", 101),
        ("https://Panel.example.com", 101),
        ("https://panel.example.com.evil.example", 403),
        ("null", 403),
    ):
        head = request("/broker/ws", origin=origin)
        assert (await Socket.open(broker.port, head=head)).status == status
    # no browser: no Origin; and no subprotocol asked for, none answered
    socket = await Socket.open(broker.port, head=request("/broker/ws", without="sec-websocket-protocol"))
    assert socket.status == 101
    assert "Sec-WebSocket-Protocol" not in socket.head
    assert (await Socket.open(broker.port)).status == 404


async def test_the_time_limit_covers_the_handshake(start: Start) -> None:
    broker = await start(listeners=(WS,), connect_timeout=0.3)
    silent = await Socket.open(broker.port, head=b"")
    slow = await Socket.open(broker.port, head=b"")
    slow.writer.write(request()[:-1])
    upgraded = await Socket.open(broker.port)
    assert await broker.until(lambda: len(broker.broker.connections) == 3)  # all of them count
    async with asyncio.timeout(5):
        assert await silent.reader.read() == b""
        assert await slow.reader.read() == b""
        assert await upgraded.closed() == 1000
    assert broker.broker.stats.connect_timeouts == 3
    await broker.until_idle()


# -- frames --------------------------------------------------------------------------------------------------


@pytest.mark.mqtt3("6.0.0-1")
@pytest.mark.mqtt5("6.0.0-1")
@pytest.mark.parametrize("size", [0, 1, 3, 100, 125, 126, 127, 65_535, 65_536, 300_000])
async def test_payloads_of_every_size(web: Running, version: int, size: int) -> None:
    client = await websocket_client.connect(web.port, "c", version=version)
    web.clients.append(client)
    await client.subscribe("a", 1)
    payload = os.urandom(size)
    await client.publish("a", payload, 1)
    assert (await client.expect(Publish)).payload == payload
    await client.disconnect()
    assert web.recorder.of("disconnected") == [("disconnected", "c", "normal")]


@pytest.mark.mqtt3("6.0.0-2")
@pytest.mark.mqtt5("6.0.0-2")
async def test_packets_across_frames_and_several_in_one(web: Running) -> None:
    """[MQTT-6.0.0-2]: frames and packets have nothing to do with each other."""
    socket = await Socket.open(web.port)
    for at in range(len(CONNECT)):
        socket.send(CONNECT[at : at + 1])
    assert await socket.receive() == (BINARY, CONNACK)
    socket.send(PINGREQ * 5 + PINGREQ[:1])
    socket.send(PINGREQ[1:] + PINGREQ)
    got = b""
    while len(got) < 14:
        got += (await socket.receive())[1]
    assert got == PINGRESP * 7


@pytest.mark.mqtt3("6.0.0-2")
@pytest.mark.mqtt5("6.0.0-2")
async def test_frames_cut_anywhere(web: Running) -> None:
    """Byte by byte, with a message in three frames, control frames between them, and empty ones."""
    socket = await Socket.open(web.port)
    stream = (
        frame(CONNECT[:5], fin=False)
        + frame(b"are you there?", PING)
        + frame(b"", CONTINUATION, fin=False)
        + frame(CONNECT[5:7], CONTINUATION, fin=False)
        + frame(b"", PONG)
        + frame(CONNECT[7:], CONTINUATION)
        + frame(b"")
        + frame(encoder.encode(Publish("t", b"p" * 200, 1, packet_id=7), 4))
    )
    for byte in stream:
        socket.writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert await socket.receive() == (PONG, b"are you there?")
    assert await socket.receive() == (BINARY, CONNACK)
    assert await socket.receive() == (BINARY, b"\x40\x02\x00\x07")
    assert web.recorder.of("publish") == [("publish", "c", "t", b"p" * 200)]


@pytest.mark.mqtt3("6.0.0-1")
@pytest.mark.mqtt5("6.0.0-1")
@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(b"text", TEXT), 1003),  # [MQTT-6.0.0-1]
        (frame(PINGREQ, key=None), 1002),
        (frame(PINGREQ, rsv=4), 1002),  # as permessage-deflate would have it
        (frame(PINGREQ, rsv=2), 1002),
        (frame(PINGREQ, rsv=1), 1002),
        (frame(b"", PING, rsv=4), 1002),
        (frame(PINGREQ, 3), 1002),
        (frame(PINGREQ, 11), 1002),
        (frame(PINGREQ, CONTINUATION), 1002),
        (frame(PINGREQ[:1], fin=False) + frame(PINGREQ[1:]), 1002),
        (frame(b"", PING, fin=False), 1002),
        (frame(b"x" * 126, PING), 1002),
        (frame(b"x", CLOSE), 1002),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"mask", 1009),
        (b"\x82\xff" + b"\xff" * 8 + b"mask", 1009),
        ((frame(b"x", fin=False) + frame(b"x" * 60_000, CONTINUATION, fin=False) * 20), 1009),
    ],
)
async def test_frames_that_end_the_connection(web: Running, bad: bytes, code: int) -> None:
    socket = await connected(web)
    # what came before the fault counts
    socket.writer.write(frame(encoder.encode(Publish("t", b"before", 1, packet_id=1), 4)) + bad)
    socket.send(encoder.encode(Publish("t", b"after", 1, packet_id=2), 4))
    if len(bad) < 1000:
        assert await socket.receive() == (BINARY, b"\x40\x02\x00\x01")
        assert await socket.closed() == code
    else:  # the fault is an MQTT packet of a client that sends nonsense, or the size of its message
        assert await socket.closed() is not None
    await web.until_idle()
    assert [call[3] for call in web.recorder.of("publish")] == [b"before"]
    assert web.broker.stats.protocol_errors == 1


async def test_a_message_has_the_size_of_the_largest_packet(start: Start) -> None:
    """As one frame, and as many: the bytes of a packet that goes on for ever are counted."""
    broker = await start(listeners=(WS,), max_packet_size=4 << 20)
    packet = encoder.encode(Publish("t", b"x" * ((4 << 20) - 100), 1, packet_id=1), 4)
    socket = await connected(broker)
    socket.send(packet)
    assert await socket.receive() == (BINARY, b"\x40\x02\x00\x01")
    socket.send(packet[: 2 << 20], fin=False)
    socket.send(packet[2 << 20 :], CONTINUATION, fin=False)
    assert await socket.receive() == (BINARY, b"\x40\x02\x00\x01")
    socket.send(packet, CONTINUATION)
    assert await socket.closed() == 1009


async def test_a_fault_of_mqtt_is_told_and_closes(web: Running) -> None:
    """A packet that may not be: the end of the connection, here with a Close frame ([MQTT-4.13.1-1])."""
    socket = await connected(web)
    socket.send(b"\xff\xff\xff\xff\xff\xff")
    assert await socket.closed() == 1000
    assert [call[2] for call in web.recorder.of("disconnected")] == ["malformed_packet"]


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999, None, 1005, 999, 70])
async def test_the_closing_handshake(web: Running, code: int | None) -> None:
    """The client's Close is answered with its code, after what it has earned."""
    socket = await connected(web)
    socket.send(encoder.encode(Publish("t", b"last", 1, packet_id=9), 4))
    socket.send(code.to_bytes(2, "big") if code is not None else b"", CLOSE)
    socket.send(PINGREQ)
    assert await socket.receive() == (BINARY, b"\x40\x02\x00\x09")
    assert await socket.closed() == (1000 if code is None else 1002 if code in (1005, 999, 70) else code)
    await web.until(lambda: web.recorder.of("disconnected"))
    assert web.recorder.of("disconnected") == [("disconnected", "c", "tcp_closed")]


async def test_ends_without_a_close_frame(web: Running) -> None:
    for end in ("eof", "abort"):
        socket = await connected(web)
        socket.send(encoder.encode(Publish("t", end.encode(), 1, packet_id=9), 4))
        if end == "eof":
            socket.writer.write_eof()
            assert await socket.receive() == (BINARY, b"\x40\x02\x00\x09")
            assert await socket.closed() == 1000
        else:
            assert await socket.receive() == (BINARY, b"\x40\x02\x00\x09")
            socket.writer.transport.abort()
        await web.until_idle()
    assert [call[2] for call in web.recorder.of("disconnected")] == ["tcp_closed"] * 2


async def test_who_does_not_answer_our_close_frame(web: Running) -> None:
    socket = await connected(web)
    socket.send(encoder.encode(Connect("c"), 4))  # a second CONNECT
    opcode, payload = await socket.receive()
    assert (opcode, int.from_bytes(payload, "big")) == (CLOSE, 1000)
    await web.until_idle()


async def test_pings_of_one_who_does_not_read(web: Running) -> None:
    """Only the latest Ping of what was read is answered, and none while answers lie unread."""
    socket = await connected(web)
    socket.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = web.broker.connections
    payload = frame(b"x" * 125, PING) * 2000
    for _ in range(200):
        socket.writer.write(payload)
        await asyncio.sleep(0)
    await asyncio.wait_for(socket.writer.drain(), 10)
    assert connection.transport.get_write_buffer_size() < 1 << 20
    assert not connection.closed


async def test_pings_are_no_sign_of_life_of_mqtt(start: Start) -> None:
    """Keep Alive asks for control packets (section 3.1.2.10)."""
    broker = await start(listeners=(WS,), keepalive_multiplier=1.0)
    socket = await Socket.open(broker.port)
    socket.send(encoder.encode(Connect("c", 4, True, 1), 4))
    assert await socket.receive() == (BINARY, CONNACK)

    async def pings() -> None:
        while True:
            socket.send(b"", PING)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(pings())
    try:
        assert await socket.closed() is not None
    finally:
        task.cancel()
    assert [call[2] for call in broker.recorder.of("disconnected")] == ["keepalive_timeout"]


async def test_over_tls(start: Start, certificate: tuple[Path, Path], version: int) -> None:
    cert, key = certificate
    listener = Listener(kind="wss", host="127.0.0.1", port=0, certfile=cert, keyfile=key)
    broker = await start(listeners=(listener,))
    context = ssl.create_default_context(cafile=str(cert))
    client = await websocket_client.connect(broker.port, "c", version=version, tls=context)
    broker.clients.append(client)
    await client.subscribe("a", 2)
    payload = os.urandom(400_000)
    await client.publish("a", payload, 2)
    assert (await client.expect(Publish)).payload == payload
    assert broker.broker.sessions["c"].client.listener == "wss:default"
    await client.disconnect()
    await broker.until_idle()


async def test_another_librarys_client(web: Running) -> None:
    """aiohttp's client, which offers compression: it is told that there is none."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{web.port}/mqtt", protocols=["mqtt"], compress=15, autoping=False
        ) as socket,
    ):
        assert (socket.protocol, socket.compress) == ("mqtt", 0)
        await socket.send_bytes(CONNECT)
        assert await socket.receive_bytes() == CONNACK
        await socket.ping(b"p")
        assert (await socket.receive()).data == b"p"
        await socket.send_str("text")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1003)


@pytest.mark.parametrize("size", [*range(10), 1000, 1001, 1002, 1003])
def test_masks(size: int) -> None:
    data, key = os.urandom(size), os.urandom(4)
    expected = bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    for function in (mask, mask_plain):
        made = bytearray(data)
        function(key, made)
        assert made == expected


def test_a_stream_cut_anywhere_is_the_same_stream() -> None:
    """Random messages in random frames, with control frames between, cut into random pieces."""
    random = Random(6)
    for _ in range(300):
        stream, expected = b"", b""
        for _ in range(random.randrange(1, 6)):
            parts = [
                random.randbytes(random.choice((0, 1, 5, 125, 126, 700, 66_000)))
                for _ in range(random.randrange(1, 4))
            ]
            for at, part in enumerate(parts):
                opcode = CONTINUATION if at else BINARY
                stream += frame(part, opcode, fin=at == len(parts) - 1, key=random.randbytes(4))
                if random.random() < 0.3:
                    stream += frame(random.randbytes(random.randrange(126)), random.choice((PING, PONG)))
            expected += b"".join(parts)
        frames = Frames(1 << 20)
        got = b""
        at = 0
        while at < len(stream):
            size = random.choice((1, 2, 3, 7, 100, 5000, 100_000))
            got += b"".join(frames.feed(stream[at : at + size]))
            at += size
        assert frames.error is None
        assert got == expected
