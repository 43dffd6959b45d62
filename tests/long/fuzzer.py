"""Sends damaged packets to a listener: `python -m tests.long.fuzzer PORT SECONDS SEED`.

Made from the table of packet fixtures: whole ones, ones with bytes changed, cut, doubled or put together, in
pieces of any length, mostly after a proper CONNECT. Prints how many connections it made and how many bytes it
sent, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time

from bridge.mqtt.encoder import encode_connect
from bridge.mqtt.packets import Connect
from tests.unit.mqtt.fixtures import BAD, GOOD, Bad, Good

WORKERS = 16
MAX_PIECE = 20_000  # bytes


class Fuzzer:
    """`connections` were made, `sent` bytes written."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.connections = 0
        self.sent = 0
        cases: list[Good | Bad] = [case for table in (GOOD, BAD) for case in table if case.role == "server"]
        self.first = [case.wire for case in cases if case.version == 0]
        self.later = {v: [c.wire for c in cases if c.version == v] for v in (3, 4, 5)}

    def damaged(self, wire: bytes) -> bytes:
        """The packet, or what is left of it."""
        rng = self.random
        data = bytearray(wire[:MAX_PIECE])
        kind = rng.randrange(8)
        if kind == 0:
            return bytes(data)
        if kind == 1:
            return bytes(data[: rng.randint(0, len(data))])
        if kind == 2:
            return bytes(data + data)
        if kind == 3:
            at = rng.randint(0, len(data))
            return bytes(data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:])
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            if data:
                at = rng.randrange(min(len(data), 16) if kind < 6 else len(data))
                data[at] = (
                    data[at] ^ 1 << rng.randrange(8) if kind % 2 else rng.choice(b"\0\1\2\x7f\x80\xff#+/$")
                )
        return bytes(data)

    def stream(self) -> bytes:
        """What one connection sends."""
        rng = self.random
        if rng.random() < 0.3:
            return b"".join(self.damaged(rng.choice(self.first)) for _ in range(rng.randint(1, 3)))
        version = rng.choice((3, 4, 5))
        head = encode_connect(
            Connect(f"fuzz{rng.randrange(50)}", version, rng.random() < 0.7, rng.choice((0, 1, 60)))
        )
        packets = self.later[version]
        return head + b"".join(self.damaged(rng.choice(packets)) for _ in range(rng.randint(1, 30)))

    async def work(self, end: float) -> None:
        """One connection after another."""
        rng = self.random
        while time.monotonic() < end:
            with contextlib.suppress(ConnectionError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.connections += 1
                try:
                    data = self.stream()
                    while data:
                        length = rng.choice((1, 7, 100, 5000, len(data)))
                        writer.write(data[:length])
                        self.sent += min(length, len(data))
                        data = data[length:]
                        if rng.random() < 0.2:
                            await writer.drain()
                    if rng.random() < 0.7:
                        async with asyncio.timeout(rng.choice((0.001, 0.05))):
                            while await reader.read(65536):
                                pass
                finally:
                    writer.transport.abort() if rng.random() < 0.5 else writer.close()


async def main(port: int, seconds: float, seed: int) -> None:
    """Fuzz for so long."""
    fuzzer = Fuzzer(port, seed)
    end = time.monotonic() + seconds
    await asyncio.gather(*(fuzzer.work(end) for _ in range(WORKERS)))
    print(json.dumps({"connections": fuzzer.connections, "sent": fuzzer.sent}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
