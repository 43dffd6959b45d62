"""Publishers that load a broker, a process of its own: `python -m scripts.bench.publishers PORT …`.

With `--rate 0` every publisher keeps `--window` QoS 1 messages unacknowledged and sends as fast as
acknowledgements come; with a rate they share it evenly. Publisher n has the topic `bench/<n>/telemetry`; with
`--topics N` each goes through `bench/0/telemetry` to `bench/<N - 1>/telemetry` over and over, from a place of
its own. Each payload begins with `@<monotonic nanoseconds>@` where `--stamp` is given. Prints a JSON object:
messages acknowledged, seconds from the first publish to the last acknowledgement, and when it began.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Sequence

import uvloop

from bridge.mqtt.encoder import encode_connect, encode_publish
from bridge.mqtt.packets import Connect


class Publisher(asyncio.Protocol):
    """One MQTT 3.1.1 client with a window of unacknowledged QoS 1 messages."""

    def __init__(
        self, number: int, count: int, window: int, size: int, stamp: bool, topics: Sequence[str] = ()
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
        heads = []
        for topic in topics or (f"bench/{number}/telemetry",):
            packet = encode_publish(4, topic, b"x" * size, qos=1, packet_id=1)
            heads.append(packet[: packet.index(b"\0\1x")])
        self.heads = itertools.cycle(heads)
        self.payload = b"x" * size

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
        packet_id = self.sent % 65535 + 1
        self.sent += 1
        head = next(self.heads) + packet_id.to_bytes(2, "big")
        if not self.stamp:
            return head + self.payload
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
    topics = [f"bench/{number}/telemetry" for number in range(args.topics)]
    for number in range(args.publishers):
        begin_at = number * args.topics // args.publishers
        own = topics[begin_at:] + topics[:begin_at]
        made = await loop.create_connection(
            lambda n=number, own=own: Publisher(n, each, window, args.size, args.stamp, own),  # type: ignore[misc]
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
