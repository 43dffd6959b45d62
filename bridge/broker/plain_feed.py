"""Events with what every format shows: hook by hook, where a rule wants them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bridge.broker.client import Client, Message
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.broker.traced import trace_of
from bridge.events.event import Event, EventType
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Connect, Properties, Publish, Subscription
from bridge.mqtt.reasons import ReasonCode, connack_name_v5
from bridge.mqtt.topics import parse_shared

KINDS = {
    "on_connect": EventType.CLIENT_CONNECT,
    "on_authenticated": EventType.CLIENT_CHECK_AUTHN_COMPLETE,
    "on_connacked": EventType.CLIENT_CONNACK,
    "on_connected": EventType.CLIENT_CONNECTED,
    "on_disconnected": EventType.CLIENT_DISCONNECTED,
    "on_ping": EventType.CLIENT_PING,
    "on_authorized": EventType.CLIENT_CHECK_AUTHZ_COMPLETE,
    "on_subscribe": EventType.CLIENT_SUBSCRIBE,
    "on_unsubscribe": EventType.CLIENT_UNSUBSCRIBE,
    "on_subscribed": EventType.SESSION_SUBSCRIBED,
    "on_unsubscribed": EventType.SESSION_UNSUBSCRIBED,
    "on_session_created": EventType.SESSION_CREATED,
    "on_session_resumed": EventType.SESSION_RESUMED,
    "on_session_discarded": EventType.SESSION_DISCARDED,
    "on_session_takenover": EventType.SESSION_TAKENOVER,
    "on_terminated": EventType.SESSION_TERMINATED,
    "on_publish": EventType.MESSAGE_PUBLISH,  # refuses what a full endpoint would have to take
    "on_published": EventType.MESSAGE_PUBLISH,
    "on_dropped": EventType.MESSAGE_DROPPED,
    "on_delivered": EventType.MESSAGE_DELIVERED,
    "on_acked": EventType.MESSAGE_ACKED,
    "on_delivery_dropped": EventType.MESSAGE_DELIVERY_DROPPED,
}
"""The event of each hook."""


class PlainFeed(Hooks):
    """The broker's hooks as a source of events, without what only the detailed formats show."""

    def __init__(
        self,
        journal: Journal,
        rules: Rules,
        *,
        refusing: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`refusing`: whether an endpoint may turn publishes away (`on_full = refuse`)."""
        self.refusing = refusing
        self._journal_append = journal.append
        self._full = journal.full
        self._overfull = journal.overfull
        self._clock = clock
        self.set_rules(rules)

    def set_rules(self, rules: Rules) -> None:
        """Take another rule table; the caller refreshes the `HookChain` afterwards."""
        self._rules = rules
        self._published = rules.cache(EventType.MESSAGE_PUBLISH)
        self._append: Callable[[Event], Any] = (
            self._append_passing if rules.conditions else self._journal_append
        )

    def listens(self, name: str) -> bool:
        return self._rules.wants(KINDS[name]) and (name != "on_publish" or self.refusing)

    def _append_passing(self, event: Event) -> None:
        targets = self._rules.passing(event)
        if targets:
            event.targets = targets
            self._journal_append(event)

    def _room(self, targets: tuple[int, ...]) -> tuple[int, ...]:
        """The targets whose reserve for lifecycle events is not used up."""
        if self._overfull:
            return tuple(lane for lane in targets if lane not in self._overfull)
        return targets

    # -- clients and sessions --------------------------------------------------------------------------

    def _happened(
        self,
        kind: EventType,
        client: Client,
        targets: tuple[int, ...],
        data: dict[str, Any] | None,
        topic: str = "",
        qos: int = 0,
    ) -> None:
        """An event of a client, now."""
        ts = int(self._clock() * 1000)
        who = (client.clientid, client.username, client.peername)
        self._append(Event(kind, ts, *who, targets, topic, qos=qos, data=data or None))

    def _lifecycle(self, kind: EventType, client: Client, **data: Any) -> None:
        targets = self._room(self._rules.lanes(kind))
        if targets:
            self._happened(kind, client, targets, data)

    def _on_filter(
        self,
        kind: EventType,
        client: Client,
        topic_filter: str,
        qos: int = 0,
        data: dict[str, Any] | None = None,
    ) -> None:
        targets = self._room(self._rules.targets(kind, _real(topic_filter)))
        if targets:
            self._happened(kind, client, targets, data, topic_filter, qos)

    def on_connect(self, client: Client, connect: Connect) -> int:
        self._lifecycle(
            EventType.CLIENT_CONNECT,
            client,
            keepalive=client.keepalive,
            proto_ver=client.proto_ver,
            ipaddress=client.peerhost,
        )
        return ACCEPT

    def on_authenticated(self, client: Client, code: int) -> None:
        self._lifecycle(
            EventType.CLIENT_CHECK_AUTHN_COMPLETE,
            client,
            conn_ack=connack_name_v5(code),  # EMQX's names of it are those of MQTT 5 in every version
            is_anonymous=client.anonymous,
            is_superuser=client.superuser,
        )

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

    def on_ping(self, client: Client) -> None:
        self._lifecycle(EventType.CLIENT_PING, client, keepalive=client.keepalive, proto_ver=client.proto_ver)

    def on_authorized(self, client: Client, action: str, topic: str, allowed: bool, source: str) -> None:
        kind = EventType.CLIENT_CHECK_AUTHZ_COMPLETE
        if action == "subscribe":
            topic = _real(topic)  # as in EMQX: what is decided on is the filter that is shared
        targets = self._room(self._rules.targets(kind, topic))
        if targets:
            result = "allow" if allowed else "deny"
            data = {"action": action, "result": result, "authz_source": source}
            self._happened(kind, client, targets, data, topic)

    def on_session_created(self, client: Client) -> None:
        self._lifecycle(EventType.SESSION_CREATED, client)

    def on_session_resumed(self, client: Client) -> None:
        self._lifecycle(EventType.SESSION_RESUMED, client)

    def on_session_discarded(self, client: Client) -> None:
        self._lifecycle(EventType.SESSION_DISCARDED, client)

    def on_session_takenover(self, client: Client) -> None:
        self._lifecycle(EventType.SESSION_TAKENOVER, client)

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
        self._on_filter(EventType.SESSION_UNSUBSCRIBED, client, topic_filter, qos)

    # -- messages --------------------------------------------------------------------------------------

    def on_publish(self, client: Client, publish: Publish) -> int:
        if self._full:
            targets = self._rules.targets(EventType.MESSAGE_PUBLISH, publish.topic)
            if not self._full.isdisjoint(targets):
                if self._rules.conditions:
                    targets = self._rules.passing(self._sample(client, publish, targets))
                if not self._full.isdisjoint(targets):
                    return ReasonCode.QUOTA_EXCEEDED
        return ACCEPT

    def _sample(self, client: Client, publish: Publish, targets: tuple[int, ...]) -> Event:
        """The event of a message that is not accepted yet, to see whose conditions it meets."""
        return self._from_publish(
            EventType.MESSAGE_PUBLISH,
            client,
            publish,
            int(self._clock() * 1000),
            targets,
            self._publish_data(publish, 0),
        )

    def _publish_data(self, publish: Publish, number: int) -> dict[str, Any]:
        """What only the detailed formats show of a PUBLISH."""
        return {}

    @staticmethod
    def _from_publish(
        kind: EventType,
        client: Client,
        publish: Publish,
        ts: int,
        targets: tuple[int, ...],
        data: dict[str, Any],
    ) -> Event:
        return Event(
            kind,
            ts,
            client.clientid,
            client.username,
            client.peername,
            targets,
            publish.topic,
            publish.payload,
            publish.qos,
            publish.retain,
            data,
            trace_of(publish.properties),
        )

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
                    None,
                    None if publish.properties is None else trace_of(publish.properties),
                )
            )

    def on_dropped(self, client: Client, publish: Publish, ts: int, number: int, reason: str) -> None:
        targets = self._room(self._rules.targets(EventType.MESSAGE_DROPPED, publish.topic))
        if targets:
            self._append(
                self._from_publish(
                    EventType.MESSAGE_DROPPED, client, publish, ts, targets, {"reason": reason}
                )
            )

    def _to_subscriber(
        self,
        kind: EventType,
        client: Client,
        message: Message,
        qos: int,
        retain: bool,
        data: dict[str, Any] | None = None,
    ) -> None:
        """An event of a message and one subscriber; `data` is what the event has beside both their names."""
        targets = self._room(self._rules.targets(kind, message.topic))
        if targets:
            sender = message.client
            to = {"to_clientid": client.clientid, "to_username": client.username}
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
                    to if data is None else {**data, **to},
                    None if message.properties is None else trace_of(message.properties),
                )
            )

    def on_delivered(self, client: Client, message: Message, qos: int, retain: bool, dup: bool) -> None:
        self._to_subscriber(EventType.MESSAGE_DELIVERED, client, message, qos, retain)

    def on_acked(
        self, client: Client, message: Message, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        self._to_subscriber(EventType.MESSAGE_ACKED, client, message, qos, retain)

    def on_delivery_dropped(
        self, client: Client, message: Message, qos: int, retain: bool, reason: str
    ) -> None:
        self._to_subscriber(
            EventType.MESSAGE_DELIVERY_DROPPED, client, message, qos, retain, {"reason": reason}
        )


def _real(topic_filter: str) -> str:
    """The filter that a shared subscription shares; any other as it is."""
    try:
        shared = parse_shared(topic_filter)
    except ValueError:  # an UNSUBSCRIBE may name anything
        return topic_filter
    return shared[1] if shared else topic_filter
