"""Clients that load a broker, a process of their own: `python -m scripts.bench.traffic PORT …`.

Every subscriber gets every message (`bench/#`). A publisher of QoS 1 keeps `--window` messages without an
acknowledgement; and where somebody subscribes, all publishers together are at most `--ahead` messages before
the slowest subscriber, so that no broker's queues overflow. With `--away` the subscribers have persistent
sessions and leave before the first publish. Nobody publishes before all are connected.

With `--storm N` nothing is published: N clients, each with a user and a password of its own (`user-<n>`,
`secret-<n>`), connect one after the other, lose their connections all at once, and all connect again at once.

Prints a JSON object: `messages`, received where somebody subscribes, else acknowledged, and `seconds` from
the first publish to the last of them; for a storm clients, and seconds from the first connect to the last
CONNACK. A run in which anything is missing, comes twice or is refused prints what, and ends with status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import cast

import uvloop

from bridge.mqtt.encoder import encode_connect, encode_publish, encode_subscribe
from bridge.mqtt.packets import Connect, Subscribe, Subscription

PINGRESP = b"\xd0\x00"
PAYLOAD = b"x"


class Failed(Exception):
    """The run says nothing about the broker's speed; why."""


class Client(asyncio.Protocol):
    """One MQTT 3.1.1 client; `ready` once CONNACK, and SUBACK if it subscribes, have come."""

    def __init__(
        self,
        run: Run,
        client_id: str,
        *,
        clean: bool = True,
        user: str | None = None,
        password: bytes | None = None,
    ) -> None:
        self.run = run
        self.client_id = client_id
        self.clean = clean
        self.user = user
        self.password = password
        self.ready: asyncio.Future[None] = run.loop.create_future()
        self.ended: asyncio.Future[None] = run.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        connect = Connect(
            client_id=self.client_id,
            clean_start=self.clean,
            keepalive=600,
            username=self.user,
            password=self.password,
        )
        self.transport.write(encode_connect(connect))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"{self.client_id}: the broker closed the connection"))
        if not self.ended.done():
            self.ended.set_result(None)
        self.run.closed(self)

    def data_received(self, data: bytes) -> None:
        if len(data) < 4 or data[:2] != b"\x20\x02" or data[3]:
            self.ready.set_exception(Failed(f"{self.client_id}: no CONNACK of success but {data[:8]!r}"))
        else:
            self.ready.set_result(None)


class Subscriber(Client):
    """Counts what comes, and acknowledges it where the QoS is 1. All messages have one length."""

    def __init__(self, run: Run, number: int, *, clean: bool) -> None:
        super().__init__(run, f"sub-{number}", clean=clean)
        self._rest = b""
        self._asked = False
        self._subscribed = False
        self._pinged: asyncio.Future[None] | None = None
        self.got = 0

    def ping(self) -> asyncio.Future[None]:
        """Done when all has come that the broker had for it."""
        self._pinged = self.run.loop.create_future()
        self.transport.write(b"\xc0\x00")
        return self._pinged

    def data_received(self, data: bytes) -> None:
        if not self._subscribed:
            self._handshake(data)
            return
        if self._rest:
            data = self._rest + data
        run = self.run
        length = run.length
        number = len(data) // length
        used = number * length
        if run.sub_qos:
            ids = [data[at : at + 2] for at in range(run.id_at, used, length)]
            self.transport.write(b"\x40\x02" + b"\x40\x02".join(ids) if ids else b"")
        self._rest = data[used:]
        if self._pinged is not None and self._rest == PINGRESP and not self._pinged.done():
            self._pinged.set_result(None)
        if data[:used:length].count(run.head) != number:
            run.fail(f"{self.client_id}: another packet, or DUP, where a message was expected")
        self.got += number
        run.received(number, self)

    def _handshake(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) >= 4 and not self._asked:
            self._asked = True
            request = Subscribe(1, [Subscription("bench/#", self.run.sub_qos)])
            self.transport.write(encode_subscribe(4, request))
        if len(self._rest) >= 9:  # CONNACK of 4 bytes, SUBACK of 5
            self._subscribed = True
            self._rest = self._rest[9:]
            self.ready.set_result(None)


class Publisher(Client):
    """Sends `count` messages."""

    def __init__(self, run: Run, number: int, count: int) -> None:
        super().__init__(run, f"pub-{number}")
        self.count = count
        self.sent = self.acked = 0
        self._rest = b""
        packet = encode_publish(4, f"bench/{number:06d}", PAYLOAD * run.size, qos=run.pub_qos, packet_id=1)
        self.head = packet[: -run.size - 2] if run.pub_qos else packet
        self.payload = PAYLOAD * run.size

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            super().data_received(data[:4])
            data = data[4:]
        data = self._rest + data
        acks = len(data) // 4
        self._rest = data[acks * 4 :]
        self.acked += acks
        self.run.acknowledged(acks)
        self.pump()

    def pump(self) -> None:
        """Send what the windows allow, once all are connected."""
        run = self.run
        if not run.begin:
            return
        number = self.count - self.sent
        if run.pub_qos:
            number = min(number, run.window - (self.sent - self.acked))
        if number <= 0:
            return
        room = run.room()
        if room < number:
            number = room
            run.hungry[self] = None
            if number <= 0:
                return
        if run.pub_qos:
            head, payload = self.head, self.payload
            first = self.sent
            self.transport.write(
                b"".join(
                    [head + ((first + at) % 65535 + 1).to_bytes(2, "big") + payload for at in range(number)]
                )
            )
        else:
            self.transport.write(self.head * number)
        self.sent += number
        run.sent += number


class Run:
    """One measurement."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.loop = asyncio.get_running_loop()
        self.port: int = args.port
        self.size: int = args.size
        self.pub_qos: int = args.pub_qos
        self.sub_qos: int = min(args.sub_qos, args.pub_qos)
        self.window: int = args.window
        self.ahead: int = args.ahead
        self.count: int = args.count
        self.away: bool = args.away
        packet = encode_publish(4, f"bench/{0:06d}", PAYLOAD * self.size, qos=self.sub_qos, packet_id=1)
        self.length = len(packet)
        self.head = packet[:1]
        self.id_at = self.length - self.size - 2
        self.sent = self.acks = self.got = 0
        self.live = 0 if self.away else args.subscribers
        self.begin = 0.0  # monotonic seconds; 0: not yet
        self.last = 0.0  # when the latest message, or acknowledgement where nobody subscribes, came
        self.over = False
        self.stall: float = args.stall
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.hungry: dict[Publisher, None] = {}  # those that the slowest subscriber keeps from sending
        self.subscribers: list[Subscriber] = []

    def fail(self, why: str) -> None:
        """The run says nothing."""
        if not self.done.done():
            self.done.set_exception(Failed(why))

    def closed(self, client: Client) -> None:
        """A connection has ended."""
        if self.begin and not self.over:
            self.fail(f"{client.client_id}: the broker closed the connection")

    def room(self) -> int:
        """How many more messages the slowest subscriber allows; all count as equally slow."""
        return 1 << 30 if not self.live else self.ahead - (self.sent - self.got // self.live)

    def received(self, number: int, subscriber: Subscriber) -> None:
        """Messages came to a subscriber."""
        self.got += number
        if subscriber.got >= self.count:
            self.last = time.monotonic()
            if subscriber.got > self.count:
                self.fail(f"{subscriber.client_id}: {subscriber.got} messages came, {self.count} were sent")
        while self.hungry and self.room() >= self.ahead // 4:
            publisher = next(iter(self.hungry))
            del self.hungry[publisher]
            publisher.pump()
        self._look()

    def acknowledged(self, number: int) -> None:
        """A publisher got acknowledgements."""
        self.acks += number
        if not self.live and self.acks >= self.count:
            self.last = time.monotonic()
        self._look()

    def _look(self) -> None:
        goal = self.got >= self.count * self.live and (not self.pub_qos or self.acks >= self.count)
        if goal and self.sent >= self.count and not self.done.done():
            self.done.set_result(None)

    async def open(self, clients: list[Client]) -> None:
        """Connect them, at most 200 at a time."""
        for at in range(0, len(clients), 200):
            some = clients[at : at + 200]
            await asyncio.gather(*[self._connect(client) for client in some])

    async def _connect(self, client: Client) -> None:
        await self.loop.create_connection(lambda: client, "127.0.0.1", self.port)
        await client.ready

    async def _finish(self) -> None:
        """Wait for the end as long as anything comes."""
        before = (-1, -1)
        while (now := (self.got, self.acks)) != before:
            before = now
            await asyncio.wait([self.done], timeout=self.stall)
            if self.done.done():
                return self.done.result()
        raise Failed(
            f"nothing came for {self.stall:g} s: {self.sent} messages were sent, {self.acks} acknowledged, "
            f"and subscribers got {[sub.got for sub in self.subscribers][:20]}"
        )

    async def traffic(self, publishers: int, subscribers: int) -> dict[str, float]:
        """Publish, and wait for the last acknowledgement and the last receipt."""
        subs = [Subscriber(self, number, clean=not self.away) for number in range(subscribers)]
        await self.open([*subs])
        if self.away:
            for sub in subs:
                sub.transport.write(b"\xe0\x00")
            await asyncio.gather(*[sub.ended for sub in subs])
        else:
            self.subscribers = subs
        each = self.count // publishers
        pubs = [Publisher(self, number, each) for number in range(publishers)]
        self.count = each * publishers
        await self.open([*pubs])
        self.begin = time.monotonic()
        for publisher in pubs:
            publisher.pump()
        await self._finish()
        if self.live:
            await asyncio.wait([sub.ping() for sub in self.subscribers], timeout=self.stall)
        self.over = True
        if any(sub.got != self.count for sub in self.subscribers):
            raise Failed(f"{self.count} messages were sent, subscribers got {[s.got for s in subs][:20]}")
        return {"messages": self.got if self.live else self.acks, "seconds": self.last - self.begin}

    async def storm(self, number: int) -> dict[str, float]:
        """All are connected, lose their connections, and connect again at once."""

        def devices() -> list[Client]:
            return [
                Client(self, f"storm-{at}", user=f"user-{at}", password=b"secret-%d" % at)
                for at in range(number)
            ]

        before = devices()
        await self.open(before)
        for client in before:
            client.transport.abort()
        await asyncio.gather(*[client.ended for client in before])
        begin = time.monotonic()
        await asyncio.gather(*[self._connect(client) for client in devices()])
        return {"messages": number, "seconds": time.monotonic() - begin}


async def main() -> None:
    """Run one measurement and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--publishers", type=int, default=10)
    parser.add_argument("--subscribers", type=int, default=0)
    parser.add_argument("--pub-qos", type=int, default=1)
    parser.add_argument("--sub-qos", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--ahead", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--away", action="store_true")
    parser.add_argument("--storm", type=int, default=0)
    parser.add_argument("--stall", type=float, default=30.0, help="seconds without anything, and it failed")
    args = parser.parse_args()
    run = Run(args)
    try:
        done = await (run.storm(args.storm) if args.storm else run.traffic(args.publishers, args.subscribers))
    except (Failed, OSError) as error:
        raise SystemExit(f"the run failed: {error}") from None
    print(json.dumps(done))


if __name__ == "__main__":
    uvloop.run(main())
