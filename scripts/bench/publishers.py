"""Publishers that load a broker, a process of its own: `python -m scripts.bench.publishers PORT …`.

With `--rate 0` every publisher keeps `--window` QoS 1 messages unacknowledged and sends as fast as
acknowledgements come; with a rate they share it evenly. Each has a topic of its own, or its share of so many
`--topics`. Each payload begins with `@<monotonic nanoseconds>@` where `--stamp` is given. Prints a JSON
object: messages acknowledged, seconds from the first publish to the last acknowledgement, and when it began.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence

import uvloop

from bridge.mqtt.encoder import encode_connect, encode_publish
from bridge.mqtt.packets import Connect


class Publisher(asyncio.Protocol):
    """One MQTT 3.1.1 client with a window of unacknowledged QoS 1 messages."""

    def __init__(
        self, number: int, topics: Sequence[int], count: int, window: int, size: int, stamp: bool
    ) -> None:
        self.number = number
        self.count = count
        self.window = window
        self.size = size
        self.stamp = stamp
        self.sent = 0
        self.acked = 0
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        made = [
            encode_publish(4, f"bench/{topic}/telemetry", b"x" * size, qos=1, packet_id=1) for topic in topics
        ]
        self.templates = [(packet, packet.index(b"\0\1x")) for packet in made]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(encode_connect(Connect(client_id=f"bench-{self.number}")))  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.connected, self.done):
            if not future.done():
                future.set_exception(ConnectionError("the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        if not self.connected.done():
            self.connected.set_result(None)
            data = data[4:]
        acks = len(data) // 4
        self.acked += acks
        if self.acked >= self.count:
            if not self.done.done():
                self.done.set_result(None)
        elif self.window:
            self.send(acks)

    def packet(self) -> bytes:
        """The next PUBLISH; ids and topics go round, the window is far below 65,535."""
        template, at = self.templates[self.sent % len(self.templates)]
        packet_id = self.sent % 65535 + 1
        self.sent += 1
        head = template[:at] + packet_id.to_bytes(2, "big")
        if not self.stamp:
            return head + template[at + 2 :]
        stamp = b"@%d@" % time.monotonic_ns()
        return head + stamp + b"x" * (self.size - len(stamp))

    def send(self, number: int) -> None:
        """Send up to that many more."""
        number = min(number, self.count - self.sent)
        if number > 0:
            self.transport.write(b"".join([self.packet() for _ in range(number)]))  # type: ignore[attr-defined]


async def at_rate(publishers: list[Publisher], rate: float) -> None:
    """Send one message from each publisher in turn, evenly spaced in time."""
    total = sum(p.count for p in publishers)
    begin = time.monotonic()
    for number in range(total):
        due = begin + number / rate
        while (left := due - time.monotonic()) > 0:  # noqa: ASYNC110  precise pacing
            await asyncio.sleep(left if left > 0.002 else 0)
        publishers[number % len(publishers)].send(1)


async def main() -> None:
    """Connect, publish, report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--publishers", type=int, default=10)
    parser.add_argument("--topics", type=int, default=0, help="0: one for each publisher")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--stamp", action="store_true")
    args = parser.parse_args()
    loop = asyncio.get_running_loop()
    each = args.count // args.publishers
    window = 0 if args.rate else args.window
    publishers = []
    for number in range(args.publishers):
        topics = range(number, max(args.topics, args.publishers), args.publishers)
        made = await loop.create_connection(
            lambda n=number, t=topics: Publisher(n, t, each, window, args.size, args.stamp),  # type: ignore[misc]
            "127.0.0.1",
            args.port,
        )
        publishers.append(made[1])
    for publisher in publishers:
        await publisher.connected
    begin = time.monotonic()
    if args.rate:
        await at_rate(publishers, args.rate)
    else:
        for publisher in publishers:
            publisher.send(window)
    await asyncio.gather(*(p.done for p in publishers))
    seconds = time.monotonic() - begin
    print(json.dumps({"acked": sum(p.acked for p in publishers), "seconds": seconds, "begin": begin}))


if __name__ == "__main__":
    uvloop.run(main())
