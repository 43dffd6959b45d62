"""From hooks to the journal: what happens in the broker becomes an `Event` where a rule wants it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bridge.broker.client import Client, Message
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.events.event import Event, EventType
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Connect, Properties, Publish, Subscription
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import parse_shared

_METHODS = {
    "on_connect": EventType.CLIENT_CONNECT,
    "on_connacked": EventType.CLIENT_CONNACK,
    "on_connected": EventType.CLIENT_CONNECTED,
    "on_disconnected": EventType.CLIENT_DISCONNECTED,
    "on_subscribe": EventType.CLIENT_SUBSCRIBE,
    "on_unsubscribe": EventType.CLIENT_UNSUBSCRIBE,
    "on_subscribed": EventType.SESSION_SUBSCRIBED,
    "on_unsubscribed": EventType.SESSION_UNSUBSCRIBED,
    "on_terminated": EventType.SESSION_TERMINATED,
    "on_publish": EventType.MESSAGE_PUBLISH,  # refuses what a full endpoint would have to take
    "on_published": EventType.MESSAGE_PUBLISH,
    "on_delivered": EventType.MESSAGE_DELIVERED,
    "on_acked": EventType.MESSAGE_ACKED,
}


class EventFeed(Hooks):
    """The broker's hooks as a source of events. `set_rules` changes what happens to new events only."""

    def __init__(
        self,
        journal: Journal,
        rules: Rules,
        *,
        refusing: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`refusing`: whether an endpoint may turn publishes away (`on_full = refuse`)."""
        self._refusing = refusing
        self._append = journal.append
        self._full = journal.full
        self._overfull = journal.overfull
        self._clock = clock
        self.set_rules(rules)

    def set_rules(self, rules: Rules) -> None:
        """Take another rule table; the caller refreshes the `HookChain` afterwards."""
        self._rules = rules
        self._published = rules.cache(EventType.MESSAGE_PUBLISH)

    def listens(self, name: str) -> bool:
        return self._rules.wants(_METHODS[name]) and (name != "on_publish" or self._refusing)

    def _room(self, targets: tuple[int, ...]) -> tuple[int, ...]:
        """The targets whose reserve for lifecycle events is not used up."""
        if self._overfull:
            return tuple(lane for lane in targets if lane not in self._overfull)
        return targets

    def _lifecycle(self, kind: EventType, client: Client, **data: Any) -> None:
        targets = self._room(self._rules.lanes(kind))
        if targets:
            ts = int(self._clock() * 1000)
            self._append(
                Event(kind, ts, client.clientid, client.username, client.peername, targets, data=data)
            )

    def _on_filter(self, kind: EventType, client: Client, topic_filter: str, qos: int = 0) -> None:
        shared = parse_shared(topic_filter)
        targets = self._room(self._rules.targets(kind, shared[1] if shared else topic_filter))
        if targets:
            ts = int(self._clock() * 1000)
            self._append(
                Event(
                    kind,
                    ts,
                    client.clientid,
                    client.username,
                    client.peername,
                    targets,
                    topic_filter,
                    b"",
                    qos,
                )
            )

    def on_connect(self, client: Client, connect: Connect) -> int:
        self._lifecycle(
            EventType.CLIENT_CONNECT,
            client,
            keepalive=client.keepalive,
            proto_ver=client.proto_ver,
            ipaddress=client.peerhost,
        )
        return ACCEPT

    def on_connacked(self, client: Client, reason: str) -> None:
        self._lifecycle(
            EventType.CLIENT_CONNACK,
            client,
            keepalive=client.keepalive,
            proto_ver=client.proto_ver,
            conn_ack=reason,
        )

    def on_connected(self, client: Client) -> None:
        self._lifecycle(
            EventType.CLIENT_CONNECTED,
            client,
            keepalive=client.keepalive,
            proto_ver=client.proto_ver,
            ipaddress=client.peerhost,
            connected_at=client.connected_at,
        )

    def on_disconnected(self, client: Client, reason: str, properties: Properties | None) -> None:
        self._lifecycle(EventType.CLIENT_DISCONNECTED, client, reason=reason)

    def on_terminated(self, client: Client, reason: str) -> None:
        self._lifecycle(EventType.SESSION_TERMINATED, client, reason=reason)

    def on_subscribe(self, client: Client, subscription: Subscription, properties: Properties | None) -> int:
        self._on_filter(EventType.CLIENT_SUBSCRIBE, client, subscription.topic_filter, subscription.qos)
        return ACCEPT

    def on_unsubscribe(self, client: Client, topic_filter: str, properties: Properties | None) -> None:
        self._on_filter(EventType.CLIENT_UNSUBSCRIBE, client, topic_filter)

    def on_subscribed(
        self, client: Client, subscription: Subscription, properties: Properties | None
    ) -> None:
        self._on_filter(EventType.SESSION_SUBSCRIBED, client, subscription.topic_filter, subscription.qos)

    def on_unsubscribed(
        self, client: Client, topic_filter: str, qos: int, properties: Properties | None
    ) -> None:
        self._on_filter(EventType.SESSION_UNSUBSCRIBED, client, topic_filter)

    def on_publish(self, client: Client, publish: Publish) -> int:
        if self._full and not self._full.isdisjoint(
            self._rules.targets(EventType.MESSAGE_PUBLISH, publish.topic)
        ):
            return ReasonCode.QUOTA_EXCEEDED
        return ACCEPT

    def on_published(self, client: Client, publish: Publish, ts: int, number: int) -> None:
        topic = publish.topic
        targets = self._published.get(topic)
        if targets is None:
            targets = self._rules.targets(EventType.MESSAGE_PUBLISH, topic)
        if targets:
            self._append(
                Event(
                    10,  # EventType.MESSAGE_PUBLISH, as the plain number: this line runs for every message
                    ts,
                    client.clientid,
                    client.username,
                    client.peername,
                    targets,
                    topic,
                    publish.payload,
                    publish.qos,
                    publish.retain,
                )
            )

    def _to_subscriber(
        self, kind: EventType, client: Client, message: Message, qos: int, retain: bool
    ) -> None:
        targets = self._room(self._rules.targets(kind, message.topic))
        if targets:
            sender = message.client
            self._append(
                Event(
                    kind,
                    message.ts,
                    sender.clientid,
                    sender.username,
                    sender.peername,
                    targets,
                    message.topic,
                    message.payload,
                    qos,
                    retain,
                    {"to_clientid": client.clientid, "to_username": client.username},
                )
            )

    def on_delivered(self, client: Client, message: Message, qos: int, retain: bool) -> None:
        self._to_subscriber(EventType.MESSAGE_DELIVERED, client, message, qos, retain)

    def on_acked(
        self, client: Client, message: Message, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        self._to_subscriber(EventType.MESSAGE_ACKED, client, message, qos, retain)
