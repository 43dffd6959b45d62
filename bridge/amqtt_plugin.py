"""HookMQ inside amqtt: a plugin for its configuration, with HookMQ's rules, journal and delivery.

    plugins:
      bridge.amqtt_plugin.HookMQPlugin:
        conf: /etc/hookmq/nanomq.conf

The file is a `nanomq.conf`; its `listeners` and `auth` have no effect, for the clients are amqtt's. The HTTP
API, `hookmq status` and its like work beside it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.contexts import BaseContext
from amqtt.plugins.base import BasePlugin

from bridge.app import App, StartError
from bridge.config.load import load
from bridge.sources.amqtt import AmqttFeed

log = logging.getLogger(__name__)


class HookMQPlugin(BasePlugin[BaseContext]):  # type: ignore[misc]
    """Starts HookMQ before amqtt's listeners open, and ends it after its last event."""

    @dataclass
    class Config:
        """The plugin's options."""

        conf: str = "/etc/hookmq/nanomq.conf"

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.app: App | None = None
        self._feed: AmqttFeed | None = None
        self._ending: asyncio.Task[None] | None = None
        path = Path(self.config.conf)
        report = load(path)
        for message in report.warnings:
            log.warning("%s", message)
        if report.settings is None:
            raise StartError("; ".join(str(message) for message in report.errors))
        self._settings = report.settings.model_copy(update={"listeners": ()})

    async def on_broker_pre_start(self) -> None:
        """Open the store and start delivery. What fails here ends the process: amqtt would go on without."""
        try:
            app = App(self._settings, asyncio.get_running_loop())
            lines = await app.start()
        except Exception as error:
            log.critical("amqtt: HookMQ cannot be started, and the process ends: %s", error)
            logging.shutdown()
            os._exit(1)
        self.app = app
        self._feed = AmqttFeed(app.sources.recorder)
        for line in lines:
            log.info("%s", line)
        missing = self._feed.missing
        if missing:
            log.warning("amqtt: it does not tell of %s, and no event of it will come", ", ".join(missing))
        self._ending = asyncio.create_task(self._failed(app))

    async def _failed(self, app: App) -> None:
        """The store has failed for good: nothing more can be promised, as in a HookMQ of its own."""
        await app.stopping.wait()
        if app.fatal is not None:
            logging.shutdown()
            os._exit(1)

    async def close(self) -> None:
        """Commit, let requests in flight end, close the store."""
        if self._ending is not None:
            self._ending.cancel()
        if self.app is not None:
            app, self.app, self._feed = self.app, None, None
            await app.stop()

    async def on_broker_client_connected(self, *, client_id: str, client_session: Any) -> None:
        """amqtt's hook."""
        if self._feed is not None:
            self._feed.connected(client_session)

    async def on_broker_client_disconnected(self, *, client_id: str, client_session: Any) -> None:
        """amqtt's hook."""
        if self._feed is not None:
            self._feed.disconnected(client_id)

    async def on_broker_client_subscribed(self, *, client_id: str, topic: str, qos: int) -> None:
        """amqtt's hook."""
        if self._feed is not None:
            self._feed.subscribed(client_id, topic, qos)

    async def on_broker_client_unsubscribed(self, *, client_id: str, topic: str) -> None:
        """amqtt's hook."""
        if self._feed is not None:
            self._feed.unsubscribed(client_id, topic)

    async def on_broker_message_broadcast(self, *, client_id: str, message: Any) -> None:
        """amqtt's hook: of messages that their publisher may publish."""
        if self._feed is not None and message is not None:
            self._feed.published(client_id, message)
