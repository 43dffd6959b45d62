"""Messages that HookMQ itself publishes at its broker: stored and routed as those of clients are."""

from __future__ import annotations

from collections.abc import Callable

from bridge.broker.client import Client
from bridge.broker.routing import publish_from_outside
from bridge.broker.server import Broker
from bridge.mqtt.packets import Properties, Publish
from bridge.mqtt.reasons import disconnect_name
from bridge.mqtt.topics import valid_topic_name

MAX_CLIENTS = 1024
"""Senders that are remembered."""
_HEAD_BYTES = 512
"""Bytes that a packet has at most beside topic and payload."""


class OwnPublisher:
    """The broker, for publishers in this process (`bridge.delivery.connect.LocalBroker`)."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._clients: dict[str, Client] = {}

    def publish(
        self,
        clientid: str,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        content_type: str,
        user_property: list[tuple[str, str]],
        done: Callable[[], None],
    ) -> str:
        """See `LocalBroker`."""
        broker = self._broker
        settings = broker.settings
        if not valid_topic_name(topic, settings.max_topic_levels):
            raise ValueError(
                f"{topic[:80]} is no topic of {settings.max_topic_levels} levels at most (max_topic_levels)"
            )
        if len(payload) + len(topic) + _HEAD_BYTES > settings.max_packet_size:
            raise ValueError(f"larger than mqtt.max_packet_size ({settings.max_packet_size})")
        properties = Properties(content_type=content_type or None, user_property=user_property)
        packet = Publish(topic, payload, qos, retain, properties=properties)
        published = publish_from_outside(broker, self._client(clientid), packet)
        if published.code:
            return disconnect_name(published.code)
        broker.journal.after(done)
        return ""

    def _client(self, clientid: str) -> Client:
        client = self._clients.get(clientid)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:  # publishers that came and went with reloads
                self._clients.clear()
            client = self._clients[clientid] = Client(
                clientid=clientid, username=None, peername="", proto_ver=5, own=True
            )
        return client
