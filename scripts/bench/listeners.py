"""The four kinds of listeners side by side: what WebSocket and TLS cost, and how much an idle client takes.

`python -m scripts.bench.listeners PORT KIND CA PUBLISHERS COUNT` is the load, a process of its own. Over
WebSocket each message is a frame of its own, as clients send them.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

from bridge.broker.frames import mask
from bridge.mqtt.encoder import encode_connect, encode_publish
from bridge.mqtt.packets import Connect
from scripts.bench.process import ROOT, Broker

KINDS = ("tcp", "ws", "ssl", "wss")
MESSAGES = 100_000
PUBLISHERS = 10
WINDOW = 100
IDLE = 2000
KEY = b"Zx7!"
REQUEST = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def framed(packet: bytes) -> bytes:
    """A packet below 64 KiB in a frame of a client."""
    body = bytearray(packet)
    mask(KEY, body)
    size = len(packet)
    head = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2, "big")
    return head + KEY + bytes(body)


class Publisher(asyncio.Protocol):
    """One client with a window of QoS 1 messages of 100 bytes under way; with a `count` of 0 it idles."""

    def __init__(self, number: int, count: int, *, web: bool) -> None:
        self.web = web
        self.number = number
        self.left = count
        self.unacked = 0
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self._upgraded = not web
        self._held = b""
        packet = encode_publish(4, f"bench/{number}/telemetry", b"x" * 100, qos=1, packet_id=1)
        self._packet = framed(packet) if web else packet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        connect = encode_connect(Connect(client_id=f"bench-{self.number}", keepalive=600))
        self.transport.write(REQUEST + framed(connect) if self.web else connect)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.connected, self.done):
            if not future.done():
                future.set_exception(ConnectionError("the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        self._held = b""
        if not self._upgraded:
            _, found, data = data.partition(b"\r\n\r\n")
            self._upgraded = bool(found)
        if self.web:
            data = self._payloads(data)
        if not data:
            return
        if not self.connected.done():
            self.connected.set_result(None)
            return
        self.unacked -= len(data) // 4
        if not self.left and not self.unacked:
            self.done.set_result(None)
        self.send()

    def _payloads(self, data: bytes) -> bytes:
        parts = []
        while len(data) >= 2:
            size, body = data[1], 2
            if size == 126:
                size, body = int.from_bytes(data[2:4], "big"), 4
            if len(data) < body + size:
                break
            parts.append(data[body : body + size])
            data = data[body + size :]
        self._held = data
        return b"".join(parts)

    def send(self) -> None:
        """Fill the window."""
        number = min(WINDOW - self.unacked, self.left)
        self.left -= number
        self.unacked += number
        if number:
            self.transport.write(self._packet * number)


async def load(port: int, kind: str, ca: str, publishers: int, count: int) -> None:
    """Connect all, publish, and tell how long it took; idle ones stay until standard input ends."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=ca) if kind in ("ssl", "wss") else None
    clients = []
    for number in range(publishers):
        _, client = await loop.create_connection(
            lambda number=number: Publisher(number, count, web=kind in ("ws", "wss")),  # type: ignore[misc]
            "127.0.0.1",
            port,
            ssl=context,
            server_hostname="localhost" if context is not None else None,
        )
        await client.connected
        clients.append(client)
    begin = time.monotonic()
    if count:
        for client in clients:
            client.send()
        await asyncio.gather(*[client.done for client in clients])
    print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)


class Load:
    """The load's process."""

    def __init__(self, port: int, kind: str, ca: Path, publishers: int, count: int) -> None:
        command = [sys.executable, "-m", "scripts.bench.listeners", str(port), kind, str(ca)]
        self.process = subprocess.Popen(
            [*command, str(publishers), str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.seconds = float(json.loads(self.process.stdout.readline())["seconds"])

    def close(self) -> None:
        """End it."""
        self.process.communicate("\n", timeout=20)


def part_listeners(folder: Path, rounds: int) -> None:
    """QoS 1 publishes acknowledged a second, and processor time of each; memory of an idle client."""
    cert = folder / "cert.pem"
    key = folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    extra = f"""
listeners.ws.bind = "127.0.0.1:0"
listeners.wss.bind = "127.0.0.1:0"
listeners.ssl {{ bind = "127.0.0.1:0", certfile = "{cert}", keyfile = "{key}" }}
"""
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        broker = Broker(folder / f"listeners-{number}", "", extra=extra)
        try:
            for kind in KINDS:
                before = broker.cpu()
                one = Load(broker.ports[kind], kind, cert, PUBLISHERS, MESSAGES // PUBLISHERS)
                one.close()
                rates[kind].append(MESSAGES / one.seconds)
                costs[kind].append((broker.cpu() - before) / MESSAGES * 1e6)
        finally:
            broker.close()
    for kind in KINDS:
        shown = ", ".join(f"{rate:,.0f}" for rate in rates[kind])
        ratio = statistics.median(rates[kind]) / statistics.median(rates["tcp"])
        cost = statistics.median(costs[kind])
        print(f"  {kind:4} {shown} publishes/s; {ratio:.2f} of tcp; {cost:.1f} µs of processor time each")
    for kind in KINDS:
        broker = Broker(folder / f"idle-{kind}", "", extra=extra)
        try:
            Load(broker.ports[kind], kind, cert, 100, 0).close()
            before_bytes = broker.memory()
            one = Load(broker.ports[kind], kind, cert, IDLE, 0)
            each = (broker.memory() - before_bytes) / IDLE / 1024
            one.close()
        finally:
            broker.close()
        print(f"  {kind:4} {each:.1f} KiB for each of {IDLE:,} idle connections")


if __name__ == "__main__":
    uvloop.run(load(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
