"""What brings events beside our own broker, as far as the settings have it: started, stopped and counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.config.settings import Settings
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.sources.recorder import NotTaken, Recorder

if TYPE_CHECKING:
    from bridge.sources.exhook.server import ExHookServer
    from bridge.sources.mqtt.bridge import Bridge

STORED_S = 2.0
"""That the last acknowledgements have at the end of the process."""


class SourceError(Exception):
    """A source cannot be started; the text is one line with the key and the cause."""


class Sources:
    """All sources of one HookMQ."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        rules: Callable[[], Rules],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.exhook: ExHookServer | None = None
        self.bridges: list[Bridge] = []
        self._settings = settings
        self.recorder = Recorder(journal, rules, loop)
        self._loop = loop

    async def start(self) -> None:
        """Open what listens, and let connect what connects. Raises SourceError."""
        exhook = self._settings.sources.exhook
        if exhook is not None:
            try:
                # An extra, and half a second for those who want it.
                from bridge.sources.exhook.server import ExHookError, ExHookServer  # noqa: PLC0415
            except ImportError:
                raise SourceError(
                    "sources.exhook: gRPC is not installed, expected the extra: pip install 'hookmq[exhook]'"
                ) from None
            self.exhook = ExHookServer(exhook, self.recorder, self._loop)
            try:
                await self.exhook.start()
            except ExHookError as error:
                raise SourceError(str(error)) from None
        if self._settings.bridges:
            from bridge.sources.mqtt.bridge import Bridge, BridgeError  # noqa: PLC0415  as above

            journal = self.recorder.journal
            for one in self._settings.bridges:
                try:
                    self.bridges.append(Bridge(one, self.recorder, journal.store.id))
                except BridgeError as error:
                    raise SourceError(str(error)) from None
            for bridge in self.bridges:
                bridge.start()

    async def stop(self) -> None:
        """Take nothing more; what was taken is answered where the store still allows it."""
        if self.exhook is not None:
            await self.exhook.stop()
        if self.bridges:
            with contextlib.suppress(TimeoutError, NotTaken):
                self.recorder.check()
                async with asyncio.timeout(STORED_S):
                    await self.recorder.stored()
            await asyncio.gather(*[bridge.stop() for bridge in self.bridges])

    def rules_changed(self) -> None:
        """Other events are wanted than before."""
        if self.exhook is not None:
            self.exhook.rules_changed()

    @property
    def lines(self) -> list[str]:
        """What runs, for the start."""
        lines = [] if self.exhook is None else [f"  exhook     {self.exhook.address}"]
        return lines + [f"  bridge     {one.name}: {one.label}" for one in self.bridges]

    @property
    def facts(self) -> dict[str, dict[str, int]]:
        """What `hookmq status` tells of each."""
        found = {} if self.exhook is None else {"exhook": dict(self.exhook.counts)}
        return found | {one.block: {"connected": int(one.connected), **one.counts} for one in self.bridges}
