"""A receiver that answers 200 and keeps nothing, in a process of its own: `python -m tests.long.sink`.

It prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_LENGTH = b"Content-Length: "


class Receiver(asyncio.Protocol):
    """One connection; requests come one at a time, as webhooks do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.head = b""
        self.left = 0  # bytes of the body that have not come yet

    def data_received(self, data: bytes) -> None:
        if not self.left:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self.head.index(_LENGTH) + len(_LENGTH)
            self.left = int(self.head[at : self.head.index(b"\r\n", at)])
            data, self.head = self.head[end + 4 :], b""
        self.left -= len(data)
        if not self.left:
            self.transport.write(ANSWER)


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiver, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
