"""A broker in the test's own loop, on a real socket, and what its hooks and its journal saw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bridge.broker.client import Client as BrokerClient
from bridge.broker.client import Message
from bridge.broker.feed import EventFeed
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.broker.restore import restore
from bridge.broker.server import Broker
from bridge.config.settings import Listener, Mqtt
from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.rules import Rules
from bridge.journal.batch import Batch
from bridge.journal.journal import Journal
from bridge.journal.sqlite import SqliteStore
from bridge.journal.store import Store
from bridge.mqtt.packets import Connect, Properties, Publish, Subscription
from tests.integration.mqtt_client import TIMEOUT_S, Client

NANOMQ_EVENTS = Rules((1, kind, None) for kind in HOOK_EVENTS if kind <= EventType.MESSAGE_ACKED)
"""The twelve events that NanoMQ names, without details."""
EVERY_EVENT = Rules(((1, kind, None) for kind in HOOK_EVENTS), detailed={1})
"""All there are, with all that EMQX's bodies show."""


class Recorder(Hooks):
    """The hook calls behind NanoMQ's events as tuples: name, client id, and what tells it apart."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_connect(self, client: BrokerClient, connect: Connect) -> int:
        self.calls.append(("connect", client.clientid))
        return ACCEPT

    def on_connacked(self, client: BrokerClient, reason: str) -> None:
        self.calls.append(("connack", client.clientid, reason))

    def on_connected(self, client: BrokerClient) -> None:
        self.calls.append(("connected", client.clientid))

    def on_disconnected(self, client: BrokerClient, reason: str, properties: object) -> None:
        self.calls.append(("disconnected", client.clientid, reason))

    def on_subscribe(self, client: BrokerClient, subscription: Subscription, properties: object) -> int:
        self.calls.append(("subscribe", client.clientid, subscription.topic_filter, subscription.qos))
        return ACCEPT

    def on_subscribed(self, client: BrokerClient, subscription: Subscription, properties: object) -> None:
        self.calls.append(("subscribed", client.clientid, subscription.topic_filter, subscription.qos))

    def on_unsubscribe(self, client: BrokerClient, topic_filter: str, properties: object) -> None:
        self.calls.append(("unsubscribe", client.clientid, topic_filter))

    def on_unsubscribed(self, client: BrokerClient, topic_filter: str, qos: int, properties: object) -> None:
        self.calls.append(("unsubscribed", client.clientid, topic_filter))

    def on_terminated(self, client: BrokerClient, reason: str) -> None:
        self.calls.append(("terminated", client.clientid, reason))

    def on_published(self, client: BrokerClient, publish: Publish, ts: int, number: int) -> None:
        self.calls.append(("publish", client.clientid, publish.topic, publish.payload))

    def on_delivered(self, client: BrokerClient, message: Message, qos: int, retain: bool, dup: bool) -> None:
        self.calls.append(("delivered", client.clientid, message.topic, message.payload))

    def on_acked(
        self, client: BrokerClient, message: Message, qos: int, retain: bool, properties: object
    ) -> None:
        self.calls.append(("acked", client.clientid, message.topic, message.payload))

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        """The calls of these names, in their order."""
        return [call for call in self.calls if call[0] in names]

    def by(self, clientid: str) -> list[tuple[Any, ...]]:
        """The calls of one client, without its id."""
        return [(call[0], *call[2:]) for call in self.calls if call[1] == clientid]


class Running:
    """A broker that runs, with what it was made of, what its hooks saw and what its journal stored."""

    def __init__(
        self, store: Store, settings: Mqtt, hooks: tuple[Hooks, ...], rules: Rules, **broker: Any
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = store
        self.journal = Journal(store, self.loop)
        self.broker = Broker(settings, self.journal, self.loop, **broker)
        self.recorder = Recorder()
        self.events: list[Event] = []
        self.journal.on_commit.append(self._committed)
        feed = EventFeed(self.journal, rules)
        self.broker.origin = feed.origin
        self.listening: list[Hooks] = [feed, self.recorder, *hooks]
        self.broker.set_hooks(self.listening)
        self.closing: list[Callable[[], Coroutine[Any, Any, None]]] = []  # what goes with the broker
        self.ports: list[int] = []
        self.lost = 0
        self.clients: list[Client] = []

    def _committed(self, batch: Batch) -> None:
        self.events += batch.events

    @property
    def port(self) -> int:
        return self.ports[0]

    async def start(self, *listeners: Listener) -> None:
        self.lost = restore(self.broker)
        self.journal.flush()
        opened = await self.broker.open(listeners or (Listener(kind="tcp", host="127.0.0.1", port=0),))
        self.ports = [int(address.rpartition(":")[2]) for _, address in opened]
        await self.broker.serve()

    async def connect(self, client_id: str = "", **options: Any) -> Client:
        client = await Client.connect(self.port, client_id, **options)
        self.clients.append(client)  # or it would be collected, and its connection closed
        return client

    async def until(self, condition: Callable[[], Any], within: float = TIMEOUT_S) -> Any:
        """Wait until a condition of the broker's state holds; returns what it returned."""
        deadline = self.loop.time() + within
        while not (found := condition()):
            if self.loop.time() > deadline:
                raise AssertionError(f"not within {within} s; hooks saw: {self.recorder.calls}")
            await asyncio.sleep(0.005)
        return found

    async def until_away(self, clientid: str) -> None:
        """Wait until the broker has noticed that the client is gone."""
        await self.until(
            lambda: clientid not in self.broker.sessions or self.broker.sessions[clientid].connection is None
        )

    async def until_idle(self) -> None:
        """Wait until no network connection is open."""
        await self.until(lambda: not self.broker.connections)

    async def stop(self) -> None:
        for client in self.clients:
            client.abort()
        self.broker.shut_down()
        self.journal.flush()
        # Connections that a test left open must not keep the loop.
        for connection in list(self.broker.connections):
            connection.transport.abort()
        await self.until_idle()
        for close in self.closing:
            await close()
        self.journal.close()


Start = Callable[..., Coroutine[Any, Any, Running]]
"""The fixture `start`."""
Crash = Callable[[Running], SqliteStore]
"""The fixture `crash`."""


def persistent(version: int, seconds: int = 1000, **more: Any) -> dict[str, Any]:
    """What `Running.connect` needs for a session that stays."""
    properties = Properties(session_expiry_interval=seconds, **more) if version == 5 else None
    return {"version": version, "clean": False, "properties": properties}
