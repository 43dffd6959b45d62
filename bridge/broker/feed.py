"""From hooks to the journal: what happens in the broker becomes an `Event` where a rule wants it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from bridge.broker.client import Client, Message
from bridge.broker.hooks import ACCEPT
from bridge.broker.plain_feed import KINDS, PlainFeed
from bridge.events.event import EventType
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Connect, Properties, Publish, Subscription
from bridge.mqtt.property_names import property_map


class EventFeed(PlainFeed):
    """The broker's hooks as a source of events. `set_rules` changes what happens to new events only.

    Its own methods add what only the detailed formats show (`Event.data`). For a type of event that no such
    lane listens to, the plain method stands in its place: `set_rules` chooses, not each event.
    """

    def __init__(
        self,
        journal: Journal,
        rules: Rules,
        *,
        refusing: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`refusing`: whether an endpoint may turn publishes away (`on_full = refuse`)."""
        # A message's id: this process's start (ms), a random number, and the message's number.
        self.origin = f"{int(clock() * 1000):012X}{secrets.randbits(32):08X}"
        self._id = self.origin + "%012X"
        super().__init__(journal, rules, refusing=refusing, clock=clock)

    def message_id(self, number: int) -> str:
        """The id of the message of that number, as the detailed formats show it: 32 hexadecimal digits."""
        return self._id % number

    def set_rules(self, rules: Rules) -> None:
        super().set_rules(rules)
        for name, kind in KINDS.items():
            if rules.detailed(kind):
                self.__dict__.pop(name, None)
            else:
                setattr(self, name, getattr(super(), name))

    # -- clients and sessions --------------------------------------------------------------------------

    def _connection(self, kind: EventType, client: Client, **more: Any) -> None:
        self._lifecycle(
            kind,
            client,
            keepalive=client.keepalive,
            proto_ver=client.proto_ver,
            sockname=client.sockname,
            clean_start=client.clean_start,
            expiry_interval=client.expiry_interval,
            receive_maximum=client.receive_maximum,
            is_bridge=client.is_bridge,
            connected_at=client.connected_at,
            **_props(client.properties),
            **more,
        )

    def on_connect(self, client: Client, connect: Connect) -> int:
        self._connection(EventType.CLIENT_CONNECT, client, ipaddress=client.peerhost)
        return ACCEPT

    def on_connacked(self, client: Client, reason: str) -> None:
        self._connection(EventType.CLIENT_CONNACK, client, conn_ack=reason)

    def on_connected(self, client: Client) -> None:
        self._connection(EventType.CLIENT_CONNECTED, client, ipaddress=client.peerhost)

    def on_ping(self, client: Client) -> None:
        self._connection(EventType.CLIENT_PING, client)

    def on_disconnected(self, client: Client, reason: str, properties: Properties | None) -> None:
        self._lifecycle(
            EventType.CLIENT_DISCONNECTED,
            client,
            reason=reason,
            sockname=client.sockname,
            proto_ver=client.proto_ver,
            connected_at=client.connected_at,
            **_props(properties),
        )

    def on_subscribe(self, client: Client, subscription: Subscription, properties: Properties | None) -> int:
        kind = EventType.CLIENT_SUBSCRIBE
        self._on_filter(kind, client, subscription.topic_filter, subscription.qos, _props(properties))
        return ACCEPT

    def on_unsubscribe(self, client: Client, topic_filter: str, properties: Properties | None) -> None:
        self._on_filter(EventType.CLIENT_UNSUBSCRIBE, client, topic_filter, 0, _props(properties))

    def on_subscribed(
        self, client: Client, subscription: Subscription, properties: Properties | None
    ) -> None:
        kind = EventType.SESSION_SUBSCRIBED
        self._on_filter(kind, client, subscription.topic_filter, subscription.qos, _props(properties))

    def on_unsubscribed(
        self, client: Client, topic_filter: str, qos: int, properties: Properties | None
    ) -> None:
        self._on_filter(EventType.SESSION_UNSUBSCRIBED, client, topic_filter, qos, _props(properties))

    # -- messages --------------------------------------------------------------------------------------

    def _publish_data(self, publish: Publish, number: int) -> dict[str, Any]:
        data: dict[str, Any] = {"id": self._id % number}
        if publish.properties is not None:
            data["props"] = property_map(publish.properties)
        if publish.dup:
            data["dup"] = True
        return data

    def on_published(self, client: Client, publish: Publish, ts: int, number: int) -> None:
        topic = publish.topic
        targets = self._published.get(topic)
        if targets is None:
            targets = self._rules.targets(EventType.MESSAGE_PUBLISH, topic)
        if targets:
            data = self._publish_data(publish, number)
            kind = EventType.MESSAGE_PUBLISH
            self._append(self._from_publish(kind, client, publish, ts, targets, data))

    def on_dropped(self, client: Client, publish: Publish, ts: int, number: int, reason: str) -> None:
        kind = EventType.MESSAGE_DROPPED
        targets = self._room(self._rules.targets(kind, publish.topic))
        if targets:
            data = self._publish_data(publish, number)
            data["reason"] = reason
            data["at"] = int(self._clock() * 1000)
            self._append(self._from_publish(kind, client, publish, ts, targets, data))

    def _to_subscriber_detailed(
        self, kind: EventType, client: Client, message: Message, qos: int, retain: bool, **data: Any
    ) -> None:
        origin = message.origin
        data["id"] = self._id % message.number if origin is None else f"{origin}{message.number:012X}"
        data["at"] = int(self._clock() * 1000)
        data["to_peername"] = client.peername
        if message.properties is not None or message.expiry is not None:
            data["props"] = property_map(message.received())
        self._to_subscriber(kind, client, message, qos, retain, data)

    def on_delivered(self, client: Client, message: Message, qos: int, retain: bool, dup: bool) -> None:
        kind = EventType.MESSAGE_DELIVERED
        if dup:
            self._to_subscriber_detailed(kind, client, message, qos, retain, dup=True)
        else:
            self._to_subscriber_detailed(kind, client, message, qos, retain)

    def on_acked(
        self, client: Client, message: Message, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        kind = EventType.MESSAGE_ACKED
        if properties is None:
            self._to_subscriber_detailed(kind, client, message, qos, retain)
        else:
            shown = property_map(properties)
            self._to_subscriber_detailed(kind, client, message, qos, retain, ack_props=shown)

    def on_delivery_dropped(
        self, client: Client, message: Message, qos: int, retain: bool, reason: str
    ) -> None:
        kind = EventType.MESSAGE_DELIVERY_DROPPED
        self._to_subscriber_detailed(kind, client, message, qos, retain, reason=reason)


def _props(properties: Properties | None) -> dict[str, Any]:
    return {} if properties is None else {"props": property_map(properties)}
