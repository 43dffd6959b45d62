"""What the dashboard looks at while it is open: one overview for all who watch, and events as they come."""

from __future__ import annotations

import asyncio

from bridge.admin.dashboard.overview import Made, Overview
from bridge.admin.dashboard.stream import Watchers, message
from bridge.admin.dashboard.tail import Tail
from bridge.admin.routes import Plant


class Live:
    """Of one process. For the loop's thread only."""

    def __init__(self, plant: Plant, loop: asyncio.AbstractEventLoop) -> None:
        self.overview = Overview(plant, loop)
        self.watchers = Watchers()
        self.tail = Tail(loop, plant.listen)

    def start(self) -> None:
        """Begin the last hour."""
        self.overview.start()

    def close(self) -> None:
        """End what is watched."""
        self.watchers.close()
        self.overview.close()
        self.tail.close()


class OverviewFeed:
    """The overview of every second. Who reads too slowly gets the latest one, and none of those between."""

    def __init__(self, overview: Overview, *, clients: bool) -> None:
        self.ended = False
        self._overview = overview
        self._clients = clients
        self._latest: bytes | None = None
        self._there = asyncio.Event()
        overview.watch(self._came)

    def _came(self, made: Made) -> None:
        self._latest = made.of(clients=self._clients)
        self._there.set()

    async def take(self, timeout: float) -> bytes:  # noqa: ASYNC109
        """See `Feed`."""
        try:
            async with asyncio.timeout(timeout):
                await self._there.wait()
        except TimeoutError:
            return b""
        self._there.clear()
        latest, self._latest = self._latest, None
        return b"" if latest is None else message("overview", latest)

    def close(self) -> None:
        """See `Feed`."""
        self.ended = True
        self._overview.leave(self._came)
        self._there.set()
