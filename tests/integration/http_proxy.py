"""A small HTTP proxy for tests, on real sockets: requests in absolute form, and CONNECT.

It knows names of its own (`names`), can want credentials (`authorization`), and can be told to answer with
given bytes instead of doing its work (`answer`), or with silence (`hang`).
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from urllib.parse import urlsplit


class HttpProxy:
    """`async with HttpProxy() as proxy: … proxy.url()`; `heads` are the request heads as they came.

    One connection serves one origin, as HookMQ's do.
    """

    def __init__(self, *, authorization: str | None = None) -> None:
        self.authorization = authorization
        self.names: dict[str, str] = {}
        self.answer: bytes | None = None
        self.hang = False
        self.drip = 0.0  # seconds between the bytes of `answer`
        self.heads: list[str] = []
        self.accepted = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> HttpProxy:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop` again on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on and end those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def url(self, userinfo: str = "") -> str:
        """What `webhook.proxy` is set to."""
        return f"http://{userinfo}127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        """The request lines as they came."""
        return [head.split("\r\n", 1)[0] for head in self.heads]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        pump: asyncio.Future[None] | None = None
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")
                self.heads.append(head)
                lines = head.split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                if self.hang:
                    await reader.read()
                    return
                if self.answer is not None:
                    await self._say(writer, self.answer)
                    return
                if self.authorization is not None and fields.get("proxy-authorization") != (
                    self.authorization.lower()
                ):
                    # A careless proxy: it shows in its page what it was sent.
                    body = head.encode("utf-8", "surrogateescape")
                    await self._say(
                        writer,
                        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
                        b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
                    )
                    return
                method, target, version = lines[0].split(" ")
                parts = urlsplit(target if method != "CONNECT" else f"//{target}")
                if upstream is None:
                    host = parts.hostname or ""
                    try:
                        back, upstream = await asyncio.open_connection(
                            self.names.get(host, host), parts.port or 80
                        )
                    except OSError:
                        await self._say(writer, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                        return
                    if method == "CONNECT":
                        await self._say(writer, b"HTTP/1.1 200 Connection established\r\n\r\n")
                        await asyncio.gather(_copy(reader, upstream), _copy(back, writer))
                        return
                    pump = asyncio.ensure_future(_copy(back, writer))
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                kept = [line for line in lines[1:] if not line.lower().startswith("proxy-")]
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                upstream.write(f"{method} {path} {version}\r\n".encode() + "\r\n".join(kept).encode() + body)
                await upstream.drain()
        finally:
            if pump is not None:
                pump.cancel()
            if upstream is not None:
                upstream.close()

    async def _say(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self.drip:
            writer.write(data)
            await writer.drain()
            return
        for byte in data:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(self.drip)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on, and the end too."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
