"""SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11), and the retained messages that follow a subscription.

A topic filter that is not formed as section 4.7 has it makes its whole packet malformed, and nothing of the
packet is carried out: 0x8F (topic filter invalid) in a SUBACK is for one that is correctly formed and yet not
allowed (section 3.9.3).
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from itertools import chain
from typing import TYPE_CHECKING

from bridge.broker.auth_checks import asks_to_subscribe, may_subscribe
from bridge.broker.outgoing import drain
from bridge.broker.session import Owed, Subscribed, filter_size
from bridge.broker.subscriptions import is_system
from bridge.broker.turn import STEP, SUBSCRIBE_WORK
from bridge.mqtt import encoder
from bridge.mqtt.packets import Subscribe, Subscription, Unsubscribe
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import parse_shared, valid_topic_filter
from bridge.mqtt.wire import MAX_STRING_SIZE, shown

if TYPE_CHECKING:
    from bridge.broker.client import Client
    from bridge.broker.connection import Connection
    from bridge.broker.session import Session

log = logging.getLogger(__name__)

WORK_BYTES = 128
"""Bytes that a subscription takes, for each unit of `Turn.charge`: nodes cost what they weigh."""
MAX_LEVELS = MAX_STRING_SIZE + 1
"""No topic filter has more, whatever `mqtt.max_topic_levels` says."""


def on_subscribe(conn: Connection, packet: Subscribe) -> None:
    _begin(conn, _subscribing(conn, packet))


def on_unsubscribe(conn: Connection, packet: Unsubscribe) -> None:
    _begin(conn, _unsubscribing(conn, packet))


Steps = Generator[None, None, bool]
"""What a packet takes; returns whether the connection is held for something else then."""


def _begin(conn: Connection, steps: Steps) -> None:
    """Act on a packet, which may have 16,384 topic filters: on more than a step's in later turns. The client
    is read no further meanwhile."""
    try:
        next(steps)
    except StopIteration:
        return
    conn.hold()
    conn.broker.turn.spread(lambda: _go_on(conn, steps))


def _go_on(conn: Connection, steps: Steps) -> bool:
    if conn.closed:
        return False
    try:
        next(steps)
    except StopIteration as end:
        if not end.value:
            conn.release()
        return False
    except Exception:
        log.exception("client %s at %s: an internal error", conn.name, conn.peername)
        conn.end("internal_error", ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)
        return False
    return True


def _subscribing(conn: Connection, packet: Subscribe) -> Steps:
    broker = conn.broker
    session = conn.session
    client = conn.client
    if session is None or client is None:
        return False
    identifier = None
    if packet.properties is not None and packet.properties.subscription_identifier:
        identifier = packet.properties.subscription_identifier[0]
    max_levels = conn.settings.max_topic_levels
    all_wanted = packet.subscriptions
    for at in range(0, len(all_wanted), STEP):
        if at:
            yield
        filters = (wanted.topic_filter for wanted in all_wanted[at : at + STEP])
        if _broken(conn, "SUBSCRIBE", filters, max_levels if conn.version < 5 else MAX_LEVELS):
            return False
        broker.turn.charge(SUBSCRIBE_WORK * min(STEP, len(all_wanted) - at) // 2)
    if client.access is not None and asks_to_subscribe(conn, client.access, packet):
        return True
    codes: list[int] = []
    for at in range(0, len(all_wanted), STEP):
        if at:
            yield
        if not _take(conn, session, client, packet, all_wanted[at : at + STEP], identifier, codes):
            return False
    answer = encoder.encode_suback(conn.version, packet.packet_id, codes)
    if conn.takes(len(answer)):
        conn.journal.ack(conn, answer)
    return False


def _take(
    conn: Connection,
    session: Session,
    client: Client,
    packet: Subscribe,
    some: list[Subscription],
    identifier: int | None,
    codes: list[int],
) -> bool:
    """Carry out some of a SUBSCRIBE, and add their codes; False if that ended the connection."""
    broker = conn.broker
    max_levels = conn.settings.max_topic_levels
    wanting: list[Subscription] = []
    work = 0
    for wanted in some:
        code = 0
        topic_filter = wanted.topic_filter
        if topic_filter.count("/") >= max_levels and _levels(topic_filter) > max_levels:
            code = ReasonCode.TOPIC_FILTER_INVALID
        else:
            code = may_subscribe(conn, client, wanted)
            if conn.closed:
                return False
        if not code:
            for check in broker.hooks.on_subscribe:
                code = code or check(client, wanted, packet.properties)
        known = topic_filter in session.subscriptions
        if not code:
            size = filter_size(topic_filter)
            work += size
            if not known and not _room(conn, session, size):
                code = ReasonCode.QUOTA_EXCEEDED
        if code:
            codes.append(code)
            continue
        subscribed = Subscribed(session, wanted, identifier)
        session.subscriptions[topic_filter] = subscribed
        broker.subscriptions.add(subscribed)
        # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
        wants = wanted.retain_handling == 0 or (wanted.retain_handling == 1 and not known)
        if session.stored:
            broker.rows.subscribed(subscribed, owed=wants and len(broker.retained) > 0)
        codes.append(wanted.qos)
        if wants and (len(broker.retained) or broker.own_retained is not None):
            wanting.append(wanted)
        for on_subscribed in broker.hooks.on_subscribed:
            on_subscribed(client, wanted, packet.properties)
    broker.turn.charge(work // WORK_BYTES)
    if wanting:
        conn.journal.after(_owe_retained, conn, wanting, identifier)
    return True


def _room(conn: Connection, session: Session, size: int) -> bool:
    """Whether the session may have one more subscription of so many bytes; counts it."""
    if len(session.subscriptions) >= conn.settings.max_subscriptions:
        return False
    if session.subscription_bytes + size > conn.settings.max_mqueue_bytes:
        return False
    if conn.broker.subscriptions.bytes + size > conn.settings.max_subscriptions_total_bytes:
        conn.broker.limits.teller.tell(
            logging.WARNING,
            "subscriptions",
            "mqtt.max_subscriptions_total_bytes: the bound is reached, new subscriptions are refused",
        )
        return False
    session.subscription_bytes += size
    return True


def _levels(topic_filter: str) -> int:
    """Of the filter itself: `$share/<name>/` is none of it."""
    shared = parse_shared(topic_filter)
    return (shared[1] if shared else topic_filter).count("/") + 1


def _broken(conn: Connection, packet: str, topic_filters: Iterable[str], most: int = MAX_LEVELS) -> bool:
    """Whether one of them is not correctly formed, or has more than `most` levels; that ends the connection
    ([MQTT-4.13.1-1])."""
    for topic_filter in topic_filters:
        code = 0
        if not valid_topic_filter(topic_filter, MAX_LEVELS):  # [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1]
            code = ReasonCode.MALFORMED_PACKET
        else:
            try:
                parse_shared(topic_filter)
            except ValueError:
                code = ReasonCode.PROTOCOL_ERROR  # [MQTT-4.8.2-1], [MQTT-4.8.2-2]
            else:
                if topic_filter.count("/") >= most and _levels(topic_filter) > most:
                    code = ReasonCode.TOPIC_FILTER_INVALID
        if code:
            conn.fault(code, f"{packet} has the invalid topic filter {shown(topic_filter)}")
            return True
    return False


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


def _unsubscribing(conn: Connection, packet: Unsubscribe) -> Steps:
    broker = conn.broker
    session = conn.session
    client = conn.client
    if session is None or client is None:
        return False
    topic_filters = packet.topic_filters
    for at in range(0, len(topic_filters), STEP):
        if at:
            yield
        if _broken(conn, "UNSUBSCRIBE", topic_filters[at : at + STEP]):
            return False
    codes: list[int] = []
    for at in range(0, len(topic_filters), STEP):
        if at:
            yield
        some = topic_filters[at : at + STEP]
        broker.turn.charge(SUBSCRIBE_WORK * len(some))
        for topic_filter in some:
            for notice in broker.hooks.on_unsubscribe:
                notice(client, topic_filter, packet.properties)
            subscribed = session.subscriptions.pop(topic_filter, None)
            if subscribed is None:
                codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
                continue
            broker.subscriptions.remove(session, topic_filter)
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
    return False
