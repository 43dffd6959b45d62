"""Server-Sent Events (the HTML standard, section 9.2): an answer that goes on as long as its reader reads.

* It takes no turn of `limit_conn`: it begins once its call has been answered.
* A reader that takes nothing for `SLOW_S` is cut off; what waits for it is bounded by its feed.
* It ends when its caller is known no more: signed out, a key revoked, a password changed.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

log = logging.getLogger(__name__)

TYPE = "text/event-stream"
MAX_WATCHERS = 64
BEAT_S = 15.0
"""The longest silence: proxies close what is silent for longer."""
LOOK_S = 1.0
"""How often it is looked whether reader and caller are still there."""
SLOW_S = 10.0
RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser comes back."""


class Feed(Protocol):
    """Where a stream's events come from."""

    ended: bool

    async def take(self, timeout: float) -> bytes:  # noqa: ASYNC109
        """What there is to send, or what comes within `timeout` seconds; empty if nothing does."""

    def close(self) -> None:
        """Nobody reads any more."""


class Watchers:
    """The streams that there are, so that they can be counted, and ended."""

    def __init__(self) -> None:
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
        self.closed = False

    def full(self) -> bool:
        """Whether there are as many as may be."""
        return self.closed or len(self._feeds) >= MAX_WATCHERS

    def add(self, feed: Feed) -> None:
        """One more."""
        self._feeds.add(feed)

    def discard(self, feed: Feed) -> None:
        """One less."""
        self._feeds.discard(feed)

    def close(self) -> None:
        """End them all."""
        self.closed = True
        for feed in list(self._feeds):
            feed.close()


def message(event: str, data: bytes, identifier: str = "") -> bytes:
    """One event. `data` is JSON, which has no line break."""
    head = b"id: %b\n" % identifier.encode() if identifier else b""
    return b"%bevent: %b\ndata: %b\n\n" % (head, event.encode(), data)


class EventStream(web.StreamResponse):
    """The answer. `valid` says whether the caller may still read, `used` that somebody does; `seconds` is how
    long it goes on, None: as long as it is read."""

    def __init__(
        self,
        feed: Feed,
        watchers: Watchers,
        valid: Callable[[], bool],
        used: Callable[[], None],
        seconds: float | None,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.content_type = TYPE
        self._feed = feed
        self._watchers = watchers
        self._valid = valid
        self._used = used
        self._seconds = seconds
        watchers.add(feed)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it. aiohttp calls this when the handler has returned."""
        try:
            writer = await super().prepare(request)
            if request.method != "HEAD":
                await self._send(request)
        finally:
            self._watchers.discard(self._feed)
            self._feed.close()
        return writer

    async def _send(self, request: web.BaseRequest) -> None:
        loop = asyncio.get_running_loop()
        end = float("inf") if self._seconds is None else loop.time() + self._seconds
        beat = used_at = loop.time() + BEAT_S
        data = RETRY
        while True:
            if data:
                await self._write(request, data)
                beat = loop.time() + BEAT_S
            now = loop.time()
            transport = request.transport
            if transport is None or transport.is_closing() or not self._valid() or self._feed.ended:
                return
            if now >= end:
                return
            data = await self._feed.take(min(end - now, LOOK_S))
            now = loop.time()
            if not data and now >= beat:
                data = b":\n\n"
            if now >= used_at:
                used_at = now + BEAT_S
                self._used()

    async def _write(self, request: web.BaseRequest, data: bytes) -> None:
        try:
            async with asyncio.timeout(SLOW_S):
                await self.write(data)
        except TimeoutError:
            log.info("http_server: a watcher has read nothing for %.0f s, and is cut off", SLOW_S)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the watcher does not read") from None
