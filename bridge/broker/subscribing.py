"""SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11), and the retained messages that follow a subscription."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from bridge.broker.auth_checks import asks_to_subscribe, may_subscribe
from bridge.broker.outgoing import drain
from bridge.broker.session import Owed, Subscribed, filter_size
from bridge.broker.subscriptions import is_system
from bridge.mqtt import encoder
from bridge.mqtt.packets import Subscribe, Subscription, Unsubscribe
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import parse_shared, valid_topic_filter

if TYPE_CHECKING:
    from bridge.broker.connection import Connection
    from bridge.broker.session import Session


def on_subscribe(conn: Connection, packet: Subscribe) -> None:
    broker = conn.broker
    session = conn.session
    client = conn.client
    if session is None or client is None:
        return
    identifier = None
    if packet.properties is not None and packet.properties.subscription_identifier:
        identifier = packet.properties.subscription_identifier[0]
    if client.access is not None and asks_to_subscribe(conn, client.access, packet):
        return
    codes: list[int] = []
    granted: list[tuple[Subscription, bool]] = []
    for wanted in packet.subscriptions:
        code = _check_filter(conn, wanted)
        if code and conn.version < 5:
            text = f"SUBSCRIBE has the invalid topic filter {wanted.topic_filter[:128]!r}"
            conn.fault(ReasonCode.TOPIC_FILTER_INVALID, text)
            return
        if not code:
            code = may_subscribe(conn, client, wanted)
            if conn.closed:
                return
        if not code:
            for check in broker.hooks.on_subscribe:
                code = code or check(client, wanted, packet.properties)
        known = wanted.topic_filter in session.subscriptions
        if not code and not known and not _room(conn, session, wanted.topic_filter):
            code = ReasonCode.QUOTA_EXCEEDED
        if code:
            codes.append(code)
            continue
        subscribed = Subscribed(session, wanted, identifier)
        session.subscriptions[wanted.topic_filter] = subscribed
        broker.subscriptions.add(subscribed)
        if session.stored:
            broker.rows.subscribed(subscribed)
        codes.append(wanted.qos)
        granted.append((wanted, known))
        for on_subscribed in broker.hooks.on_subscribed:
            on_subscribed(client, wanted, packet.properties)
    answer = encoder.encode_suback(conn.version, packet.packet_id, codes)
    if conn.takes(len(answer)):
        conn.journal.ack(conn, answer)
    wanting = [
        subscription
        for subscription, known in granted  # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
        if subscription.retain_handling == 0 or (subscription.retain_handling == 1 and not known)
    ]
    if wanting and (len(broker.retained) or broker.own_retained is not None):
        conn.journal.after(_owe_retained, conn, wanting, identifier)


def _room(conn: Connection, session: Session, topic_filter: str) -> bool:
    """Whether the session may have one more subscription; counts it."""
    if len(session.subscriptions) >= conn.settings.max_subscriptions:
        return False
    size = session.subscription_bytes + filter_size(topic_filter)
    if size > conn.settings.max_mqueue_bytes:
        return False
    session.subscription_bytes = size
    return True


def _check_filter(conn: Connection, wanted: Subscription) -> int:
    try:
        shared = parse_shared(wanted.topic_filter)
    except ValueError:
        return ReasonCode.TOPIC_FILTER_INVALID
    real = shared[1] if shared else wanted.topic_filter
    if not valid_topic_filter(real, conn.settings.max_topic_levels):
        return ReasonCode.TOPIC_FILTER_INVALID
    return 0


def _owe_retained(conn: Connection, subscriptions: list[Subscription], identifier: int | None) -> None:
    """A subscription, not a connection, gets retained messages; a shared one none (section 4.8.2)."""
    session = conn.session
    if conn.closed or session is None:
        return
    identifiers = [identifier] if identifier is not None else None
    owed = session.owed or {}
    for subscription in subscriptions:
        topic_filter = subscription.topic_filter
        if topic_filter in session.subscriptions and not topic_filter.startswith("$share/"):
            found = conn.broker.retained.find(topic_filter, conn.broker.loop.time())
            if conn.broker.own_retained is not None and is_system(topic_filter):
                found = chain(found, conn.broker.own_retained(topic_filter))
            owed[topic_filter] = Owed(found, subscription.qos, identifiers)
    if owed:
        session.owed = owed
        drain(conn)


def on_unsubscribe(conn: Connection, packet: Unsubscribe) -> None:
    broker = conn.broker
    session = conn.session
    client = conn.client
    if session is None or client is None:
        return
    codes: list[int] = []
    for topic_filter in packet.topic_filters:
        for notice in broker.hooks.on_unsubscribe:
            notice(client, topic_filter, packet.properties)
        subscribed = session.subscriptions.pop(topic_filter, None)
        if subscribed is None:
            codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
            continue
        broker.subscriptions.remove(session.clientid, topic_filter)
        session.subscription_bytes -= filter_size(topic_filter)
        if session.owed is not None:
            session.owed.pop(topic_filter, None)
        if session.stored:
            broker.rows.unsubscribed(session, topic_filter)
        codes.append(0)
        for on_unsubscribed in broker.hooks.on_unsubscribed:
            on_unsubscribed(client, topic_filter, subscribed.options.qos, packet.properties)
    answer = encoder.encode_unsuback(conn.version, packet.packet_id, codes)
    if conn.takes(len(answer)):
        conn.journal.ack(conn, answer)
