"""PUBLISH to a client, and its acknowledgements (sections 3.3 to 3.7, 4.3): what it takes, as it takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bridge.broker.client import Client
from bridge.broker.session import Delivery, forwardable
from bridge.mqtt import encoder
from bridge.mqtt.packets import Properties, Puback, Pubcomp, Pubrec, Pubrel
from bridge.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from bridge.broker.connection import Connection


def deliver(conn: Connection, delivery: Delivery) -> None:
    """Send now if the client takes it, else queue it in the session; the session is this connection's."""
    session = conn.session
    assert session is not None  # noqa: S101
    if session.queue or not conn.writable or not conn.ready:
        conn.broker.enqueue(session, delivery)
    elif delivery.qos == 0:
        _send(conn, delivery, 0)
    elif len(session.inflight) < conn.peer_receive_maximum:
        packet_id = session.free_id()
        session.inflight[packet_id] = delivery
        _send(conn, delivery, packet_id)
    else:
        conn.broker.enqueue(session, delivery)


def drain(conn: Connection) -> None:
    """Send from the session's queue what the client takes now."""
    session = conn.session
    assert session is not None  # noqa: S101
    queue = session.queue
    while queue and conn.writable:
        if queue[0].qos and len(session.inflight) >= conn.peer_receive_maximum:
            return
        delivery = session.take()
        if not delivery.qos:
            _send(conn, delivery, 0)
        else:
            packet_id = session.free_id()
            session.inflight[packet_id] = delivery
            _send(conn, delivery, packet_id)


def _send(conn: Connection, delivery: Delivery, packet_id: int, *, dup: bool = False) -> None:
    message = delivery.message
    version = conn.version
    properties = message.properties
    topic = message.topic
    if version == 5 and (
        properties is not None
        or delivery.identifiers is not None
        or message.expires is not None
        or conn.alias_max_out
    ):
        remaining = None
        if message.expires is not None:
            left = message.expires - conn.broker.loop.time()
            if left <= 0 and not delivery.sent:
                _forget(conn, packet_id)  # [MQTT-3.3.2-5]
                return
            remaining = max(1, int(left))  # [MQTT-3.3.2-6]
        alias = None
        if conn.alias_max_out:
            topic, alias = _alias(conn, topic)
        properties = Properties() if properties is None else (forwardable(properties) or Properties())
        properties.message_expiry_interval = remaining
        properties.subscription_identifier = delivery.identifiers
        properties.topic_alias = alias
        data = encoder.encode_publish(
            5, topic, message.payload, delivery.qos, delivery.retain, dup, packet_id, properties
        )
    elif message.expires is not None and message.expires <= conn.broker.loop.time() and not delivery.sent:
        _forget(conn, packet_id)
        return
    elif packet_id or delivery.retain:
        data = encoder.encode_publish(
            version, topic, message.payload, delivery.qos, delivery.retain, dup, packet_id
        )
    else:
        encoded = message.encoded
        if encoded is None:
            encoded = message.encoded = {}
        cached = encoded.get(version)
        if cached is None:
            cached = encoded[version] = encoder.encode_publish(version, topic, message.payload)
        data = cached
    if conn.peer_max_packet and len(data) > conn.peer_max_packet:
        _forget(conn, packet_id)  # [MQTT-3.1.2-25]
        conn.broker.stats.dropped += 1
        return
    delivery.sent = True
    conn.transport.write(data)
    conn.broker.stats.sent += 1
    client = conn.client
    for on_delivered in conn.broker.hooks.on_delivered:
        on_delivered(cast(Client, client), message, delivery.qos, delivery.retain)


def _forget(conn: Connection, packet_id: int) -> None:
    if packet_id and conn.session is not None:
        conn.session.inflight.pop(packet_id, None)


def _alias(conn: Connection, topic: str) -> tuple[str, int | None]:
    """The topic's alias if it has one; a new one while the client allows more (section 3.3.2.3.4)."""
    alias = conn.aliases_out.get(topic)
    if alias is not None:
        return "", alias
    if len(conn.aliases_out) < conn.alias_max_out:
        alias = conn.aliases_out[topic] = len(conn.aliases_out) + 1
    return topic, alias


def on_puback(conn: Connection, packet: Puback) -> None:
    session = conn.session
    if session is None:
        return
    delivery = session.inflight.get(packet.packet_id)
    if delivery is None or delivery.qos != 1:
        return
    del session.inflight[packet.packet_id]
    if packet.reason_code < 0x80:
        _acked(conn, delivery)
    if session.queue and conn.ready:
        drain(conn)


def on_pubrec(conn: Connection, packet: Pubrec) -> None:
    session = conn.session
    if session is None:
        return
    delivery = session.inflight.get(packet.packet_id)
    if delivery is None or delivery.qos != 2:
        code = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if conn.version == 5 else 0
        conn.transport.write(encoder.encode(Pubrel(packet.packet_id, code), conn.version))
        return
    if packet.reason_code >= 0x80:  # [MQTT-4.3.3-4]: the exchange ends here
        del session.inflight[packet.packet_id]
        if session.queue and conn.ready:
            drain(conn)
        return
    if not delivery.released:
        delivery.released = True
        _acked(conn, delivery)
    conn.transport.write(encoder.encode(Pubrel(packet.packet_id), conn.version))


def on_pubcomp(conn: Connection, packet: Pubcomp) -> None:
    session = conn.session
    if session is None:
        return
    delivery = session.inflight.get(packet.packet_id)
    if delivery is None or not delivery.released:
        return
    del session.inflight[packet.packet_id]
    if session.queue and conn.ready:
        drain(conn)


def _acked(conn: Connection, delivery: Delivery) -> None:
    for on_acked in conn.broker.hooks.on_acked:
        on_acked(cast(Client, conn.client), delivery.message, delivery.qos, delivery.retain)


def resend(conn: Connection) -> None:
    """What was in flight when the session's last connection ended goes out again ([MQTT-4.4.0-1])."""
    session = conn.session
    assert session is not None  # noqa: S101
    for packet_id, delivery in list(session.inflight.items()):
        if delivery.released:
            conn.transport.write(encoder.encode(Pubrel(packet_id), conn.version))
        else:
            _send(conn, delivery, packet_id, dup=delivery.sent)
