"""SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11), and the retained messages that follow a subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.broker.outgoing import deliver
from bridge.broker.session import Delivery, Subscribed
from bridge.mqtt import encoder
from bridge.mqtt.packets import Subscribe, Subscription, Unsubscribe
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import parse_shared, valid_topic_filter

if TYPE_CHECKING:
    from bridge.broker.connection import Connection


def on_subscribe(conn: Connection, packet: Subscribe) -> None:
    broker = conn.broker
    session = conn.session
    client = conn.client
    if session is None or client is None:
        return
    identifier = None
    if packet.properties is not None and packet.properties.subscription_identifier:
        identifier = packet.properties.subscription_identifier[0]
    codes: list[int] = []
    granted: list[tuple[Subscription, bool]] = []
    for wanted in packet.subscriptions:
        code = _check_filter(conn, wanted)
        if code and conn.version < 5:
            text = f"SUBSCRIBE has the invalid topic filter {wanted.topic_filter[:128]!r}"
            conn.fault(ReasonCode.TOPIC_FILTER_INVALID, text)
            return
        if not code:
            for check in broker.hooks.on_subscribe:
                code = code or check(client, wanted)
        known = wanted.topic_filter in session.subscriptions
        if not code and not known and len(session.subscriptions) >= conn.settings.max_subscriptions:
            code = ReasonCode.QUOTA_EXCEEDED
        if code:
            codes.append(code if conn.version == 5 else 0x80)
            continue
        subscribed = Subscribed(session, wanted, identifier)
        session.subscriptions[wanted.topic_filter] = subscribed
        broker.subscriptions.add(subscribed)
        codes.append(wanted.qos)
        granted.append((wanted, known))
        for on_subscribed in broker.hooks.on_subscribed:
            on_subscribed(client, wanted)
    if session.expiry and granted:
        broker.rows.save(session)
    conn.journal.ack(conn, encoder.encode_suback(conn.version, packet.packet_id, codes))
    for subscription, known in granted:
        handling = subscription.retain_handling  # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
        if handling == 0 or (handling == 1 and not known):
            conn.journal.after(_send_retained, conn, subscription, identifier)


def _check_filter(conn: Connection, wanted: Subscription) -> int:
    try:
        shared = parse_shared(wanted.topic_filter)
    except ValueError:
        return ReasonCode.TOPIC_FILTER_INVALID
    real = shared[1] if shared else wanted.topic_filter
    if not valid_topic_filter(real, conn.settings.max_topic_levels):
        return ReasonCode.TOPIC_FILTER_INVALID
    return 0


def _send_retained(conn: Connection, subscription: Subscription, identifier: int | None) -> None:
    """A subscription, not a connection, gets retained messages; a shared one none (section 4.8.2)."""
    session = conn.session
    if conn.closed or session is None or parse_shared(subscription.topic_filter):
        return
    identifiers = [identifier] if identifier is not None else None
    for message in conn.broker.retained.find(subscription.topic_filter, conn.broker.loop.time()):
        deliver(conn, Delivery(message, min(message.qos, subscription.qos), True, identifiers))


def on_unsubscribe(conn: Connection, packet: Unsubscribe) -> None:
    broker = conn.broker
    session = conn.session
    client = conn.client
    if session is None or client is None:
        return
    codes: list[int] = []
    for topic_filter in packet.topic_filters:
        for notice in broker.hooks.on_unsubscribe:
            notice(client, topic_filter)
        if session.subscriptions.pop(topic_filter, None) is None:
            codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
            continue
        broker.subscriptions.remove(session.clientid, topic_filter)
        codes.append(0)
        for on_unsubscribed in broker.hooks.on_unsubscribed:
            on_unsubscribed(client, topic_filter)
    if session.expiry:
        broker.rows.save(session)
    conn.journal.ack(conn, encoder.encode_unsuback(conn.version, packet.packet_id, codes))
