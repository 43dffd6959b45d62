"""PUBLISH to a client, and its acknowledgements (sections 3.3 to 3.7, 4.3): what it takes, as it takes it."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING, cast

from bridge.broker.client import Client
from bridge.broker.session import Delivery, forwardable
from bridge.mqtt import encoder
from bridge.mqtt.packets import Properties, Puback, Pubcomp, Pubrec
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.wire import shown

if TYPE_CHECKING:
    from bridge.broker.connection import Connection
    from bridge.broker.queues import Kept
    from bridge.broker.server import Broker
    from bridge.broker.session import Session

log = logging.getLogger(__name__)

ALIASES_OUT = 4096
"""Topic aliases made for one client at most; each keeps its topic in memory."""
ALIAS_TOPIC_SIZE = 1024
"""Characters of a topic that gets an alias at most."""
INFLIGHT_BYTES = 1 << 20
"""Bytes in flight to one client beyond which more of them count among what waits (`Waiting`)."""
UNSENT_BYTES = 256 * 1024
"""Bytes in flight to one client that wait for a commit at most; more stay in its queue."""
OWED_STEP = 256
"""Retained messages sent to one client in one turn at most."""
OWED_WORK = 4
"""Units of `Turn.charge` for each, whether it was found or not."""


def deliver(conn: Connection, session: Session, delivery: Delivery) -> None:
    """Send now if the client takes it, else queue it in the session; the session is this connection's."""
    if session.queue or not conn.writable or not conn.ready:
        enqueue(conn.broker, session, delivery)
    elif delivery.qos == 0:
        _send(conn, delivery, 0)
    elif (
        len(session.inflight) < conn.peer_receive_maximum
        and session.inflight_bytes < conn.broker.max_mqueue_bytes
    ):
        if session.inflight_bytes > INFLIGHT_BYTES:
            waiting = conn.broker.waiting
            if not waiting.room(delivery.message):
                enqueue(conn.broker, session, delivery)  # which tells
                return
            waiting.add(delivery.message)
            delivery.counted = True
        _send(conn, delivery, session.launch(delivery))
    else:
        enqueue(conn.broker, session, delivery)


def takes_now(session: Session) -> bool:
    """Whether a QoS 1 or 2 message for a stored session can go in flight at once."""
    conn = session.connection
    return (
        conn is not None
        and conn.ready
        and conn.writable
        and not session.queue
        and session.unsent < UNSENT_BYTES
        and len(session.inflight) < conn.peer_receive_maximum
        and session.inflight_bytes < conn.broker.max_mqueue_bytes
    )


def keep(broker: Broker, session: Session, delivery: Delivery, kept: Kept) -> bool:
    """Let a QoS 1 or 2 message wait for a stored session, in the same commit as the message itself.

    Returns whether there is room for it; otherwise it is given up.
    """
    if broker.queues.full:
        broker.queues_full()
        broker.stats.dropped += 1
        give_up(broker, session, delivery, "queue_full")
        return False
    if not enqueue(broker, session, delivery, kept=True):
        return False
    broker.queues.claim(kept, session, delivery)
    return True


def send_launched(session: Session, delivery: Delivery, packet_id: int) -> None:
    """What was launched is durable: send it, unless its connection has ended; then it is sent again."""
    session.unsent -= delivery.message.size
    conn = session.connection
    if conn is None or not conn.ready:
        return
    if session.inflight.get(packet_id) is delivery:
        _send(conn, delivery, packet_id)
    if not session.unsent and (session.queue or session.owed is not None):
        drain(conn)


def enqueue(broker: Broker, session: Session, delivery: Delivery, *, kept: bool = False) -> bool:
    """Queue for a session that does not take it now; what a full queue gives up is counted and told.

    `kept`: it will be claimed for the session (`Queues.claim`). Returns whether this one is queued.
    """
    settings = broker.settings
    waiting = broker.waiting
    if not kept and not waiting.room(delivery.message):
        broker.queues_full()
        broker.stats.dropped += 1
        give_up(broker, session, delivery, "queue_full")
        return False
    lost = session.enqueue(delivery, settings.max_mqueue_len, settings.max_mqueue_bytes)
    if lost:
        broker.stats.dropped += len(lost)
        if session.dropped == len(lost):  # the first time
            log.warning(
                "client %s: its queue is full (mqtt.max_mqueue_len), messages are lost",
                shown(session.clientid),
            )
        for given_up in lost:
            if given_up is not delivery:  # of QoS 0, and so not kept
                waiting.remove(given_up.message)
            give_up(broker, session, given_up, "queue_full")
        if lost[-1] is delivery:
            return False
    if not kept:
        waiting.add(delivery.message)
    return True


def give_up(broker: Broker, session: Session, delivery: Delivery, reason: str) -> None:
    """Tell of a message that its subscriber does not get."""
    broker.stats.drop(reason)
    for on_delivery_dropped in broker.hooks.on_delivery_dropped:
        on_delivery_dropped(session.client, delivery.message, delivery.qos, delivery.retain, reason)


def _land(broker: Broker, session: Session, delivery: Delivery, packet_id: int) -> None:
    """The delivery is acknowledged, or given up."""
    session.land(packet_id)
    if delivery.counted:
        delivery.counted = False
        broker.waiting.remove(delivery.message)


def _window_open(conn: Connection, session: Session) -> bool:
    """Whether one more QoS 1 or 2 message may be in flight ([MQTT-3.3.4-9])."""
    return (
        len(session.inflight) < conn.peer_receive_maximum
        and session.inflight_bytes < conn.broker.max_mqueue_bytes
    )


def drain(conn: Connection) -> None:
    """Send what the client takes now: what was in flight before, then the queue, then retained messages."""
    session = conn.session
    assert session is not None  # noqa: S101
    if not conn.ready and not _resend(conn, session):
        return
    queue = session.queue
    while queue and conn.writable:
        if queue[0].qos and not _window_open(conn, session):
            return
        kept = queue[0].kept
        if kept is None:
            delivery = session.take()
            if delivery.qos and session.inflight_bytes > INFLIGHT_BYTES:
                delivery.counted = True
            else:
                conn.broker.waiting.remove(delivery.message)
            _send(conn, delivery, session.launch(delivery) if delivery.qos else 0)
            continue
        if session.unsent >= UNSENT_BYTES:
            return  # `send_launched` comes back
        delivery = session.take().own()
        packet_id = conn.broker.queues.launch(kept, session, delivery)
        if delivery.qos == 1 and kept.chunk.durable and session.unsent == delivery.message.size:
            session.unsent = 0
            _send(conn, delivery, packet_id)
        else:
            conn.journal.after(send_launched, session, delivery, packet_id)
    if session.owed is not None and not conn.feeding:
        _feed(conn, session)


def _feed(conn: Connection, session: Session) -> None:
    """Send some of the retained messages that subscriptions are owed; the others follow in later turns.

    However many there are, they fill no queue and hold nobody up.
    """
    turn = conn.broker.turn
    for _ in range(OWED_STEP):
        if turn.over:
            break  # others have their retained messages, too
        if session.queue or not conn.writable or session.unsent >= UNSENT_BYTES:
            return  # `drain` comes back when the client takes more
        if not session.owed:
            session.owed = None
            return
        topic_filter, owed = next(iter(session.owed.items()))
        turn.charge(OWED_WORK)
        try:
            message = next(owed.messages)
        except StopIteration:
            del session.owed[topic_filter]
            if session.stored:
                conn.broker.rows.subscribed(session.subscriptions[topic_filter])
            continue
        if message is None:
            continue
        delivery = Delivery(message, min(message.qos, owed.qos), True, owed.identifiers)
        if not session.stored or not delivery.qos:
            deliver(conn, session, delivery)
            continue
        kept = conn.broker.queues.add(message)
        if takes_now(session):
            conn.broker.queues.claim(kept, session, delivery)
            packet_id = conn.broker.queues.launch(kept, session, delivery)
            conn.journal.after(send_launched, session, delivery, packet_id)
        else:
            keep(conn.broker, session, delivery, kept)
        conn.broker.queues.refer(kept)
    conn.feeding = True
    conn.broker.loop.call_soon(_feed_on, conn)


def _feed_on(conn: Connection) -> None:
    conn.feeding = False
    if not conn.closed:
        drain(conn)


def _send(conn: Connection, delivery: Delivery, packet_id: int, *, dup: bool = False) -> None:
    message = delivery.message
    version = conn.version
    properties = message.properties
    topic = message.topic
    alias = None
    broker = conn.broker
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
                _forget(conn, delivery, packet_id, "expired")  # [MQTT-3.3.2-5]
                return
            remaining = _remaining(left, message.expiry)
        alias = None
        if conn.alias_max_out:
            topic, alias = _alias(conn, topic)
        properties = Properties() if properties is None else (forwardable(properties) or Properties())
        properties.message_expiry_interval = remaining
        properties.subscription_identifier = delivery.identifiers
        properties.topic_alias = alias
        try:
            data = encoder.encode_publish(
                5, topic, message.payload, delivery.qos, delivery.retain, dup, packet_id, properties
            )
        except ValueError:  # with its identifiers it is longer than a packet can be
            _unsendable(conn, delivery, packet_id, alias)
            return
    elif message.expires is not None and message.expires <= conn.broker.loop.time() and not delivery.sent:
        _forget(conn, delivery, packet_id, "expired")
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
        _unsendable(conn, delivery, packet_id, alias)  # [MQTT-3.1.2-24]
        return
    delivery.sent = True
    conn.queue(data)
    broker.stats.sent += 1
    for on_delivered in broker.hooks.on_delivered:
        on_delivered(cast(Client, conn.client), message, delivery.qos, delivery.retain, dup)


def _remaining(left: float, received: int | None) -> int:
    """The interval as received, less the whole seconds that the message has waited ([MQTT-3.3.2-6])."""
    remaining = max(1, math.ceil(left))
    return remaining if received is None else min(remaining, received)


def _forget(conn: Connection, delivery: Delivery, packet_id: int, reason: str) -> None:
    session = conn.session
    assert session is not None  # noqa: S101
    if packet_id:
        _land(conn.broker, session, delivery, packet_id)
    if delivery.kept is not None:
        conn.broker.queues.settle(session, delivery)
    give_up(conn.broker, session, delivery, reason)


def _unsendable(conn: Connection, delivery: Delivery, packet_id: int, alias: int | None) -> None:
    """Give up a message that is too large for this client, as if it had been delivered ([MQTT-3.1.2-25])."""
    if alias is not None and conn.aliases_out is not None and alias == len(conn.aliases_out):
        # It may be the alias's first: the client must not miss the packet that sets it.
        conn.aliases_out.pop(delivery.message.topic, None)
    conn.broker.stats.dropped += 1
    _forget(conn, delivery, packet_id, "too_large")


def _alias(conn: Connection, topic: str) -> tuple[str, int | None]:
    """The topic's alias if it has one; a new one while the client allows more (section 3.3.2.3.4)."""
    aliases = conn.aliases_out
    if aliases is None:
        aliases = conn.aliases_out = {}
    alias = aliases.get(topic)
    if alias is not None:
        return "", alias
    if len(aliases) < conn.alias_max_out and len(topic) <= ALIAS_TOPIC_SIZE:
        alias = aliases[topic] = len(aliases) + 1
    return topic, alias


def _go_on(conn: Connection, session: Session) -> None:
    """The window has room again: send what waits for it, if anything does."""
    if session.queue or session.owed is not None or not conn.ready:
        drain(conn)


def _mismatched(conn: Connection, packet: Puback, delivery: Delivery) -> None:
    """An acknowledgement that is not the one of the message's QoS, or not yet.

    The exchange cannot go on, as the client takes the message for another one. A protocol violation ends the
    connection ([MQTT-4.8.0-1] of 3.1.1, [MQTT-4.13.1-1] of 5).
    """
    text = f"{type(packet).__name__.upper()} for packet identifier {packet.packet_id}, a message of QoS"
    text += f" {delivery.qos}"
    if delivery.qos == 2 and type(packet) is Pubcomp:
        text += " that had no PUBREC"
    conn.fault(ReasonCode.PROTOCOL_ERROR, text)


def on_puback(conn: Connection, packet: Puback) -> None:
    session = conn.session
    if session is None:
        return
    delivery = session.inflight.get(packet.packet_id)
    if delivery is None:
        return
    if delivery.qos != 1:
        _mismatched(conn, packet, delivery)
        return
    _land(conn.broker, session, delivery, packet.packet_id)
    broker = conn.broker
    if delivery.kept is not None:
        broker.queues.settle(session, delivery)
    if broker.hooks.on_acked and packet.reason_code < 0x80:
        _acked(conn, delivery, packet.properties)
    if session.queue or session.owed is not None or not conn.ready:
        drain(conn)


def on_pubrec(conn: Connection, packet: Pubrec) -> None:
    session = conn.session
    if session is None:
        return
    delivery = session.inflight.get(packet.packet_id)
    if delivery is None:
        # Its PUBCOMP may have come before: 0x92 would be an error, which this is not (section 3.6.2.1).
        if packet.reason_code < 0x80:
            conn.journal.answer(conn, encoder.encode_pubrel(conn.version, packet.packet_id))
        return
    if delivery.qos != 2:
        _mismatched(conn, packet, delivery)
        return
    if packet.reason_code >= 0x80:  # [MQTT-4.3.3-4]: the exchange ends here
        _land(conn.broker, session, delivery, packet.packet_id)
        if delivery.kept is not None:
            conn.broker.queues.settle(session, delivery)
        _go_on(conn, session)
        return
    if not delivery.released:
        delivery.released = True
        if delivery.kept is not None:
            conn.broker.queues.released(session)
        _acked(conn, delivery, packet.properties)
    pubrel = encoder.encode_pubrel(conn.version, packet.packet_id)
    if delivery.kept is not None:
        # Only when it is stored that PUBREC has come: after a crash no PUBLISH may follow this PUBREL.
        conn.journal.ack(conn, pubrel)
    else:
        # Not past a CONNACK that still waits ([MQTT-3.2.0-1]), and counted as what the client has to read.
        conn.journal.answer(conn, pubrel)


def on_pubcomp(conn: Connection, packet: Pubcomp) -> None:
    session = conn.session
    if session is None:
        return
    delivery = session.inflight.get(packet.packet_id)
    if delivery is None:
        return
    if not delivery.released:
        _mismatched(conn, packet, delivery)
        return
    _land(conn.broker, session, delivery, packet.packet_id)
    if delivery.kept is not None:
        conn.broker.queues.settle(session, delivery)
    _go_on(conn, session)


def _acked(conn: Connection, delivery: Delivery, properties: Properties | None) -> None:
    for on_acked in conn.broker.hooks.on_acked:
        on_acked(cast(Client, conn.client), delivery.message, delivery.qos, delivery.retain, properties)


def start(conn: Connection) -> None:
    """CONNACK is out: what the session holds follows, first what was in flight ([MQTT-4.4.0-1])."""
    session = conn.session
    if conn.closed or session is None or session.connection is not conn:
        return
    conn.resending = deque(session.inflight)
    drain(conn)


def _resend(conn: Connection, session: Session) -> bool:
    """Send again what was in flight when the session's last connection ended, in its order and under its ids.

    No more of it at a time than this connection's Receive Maximum ([MQTT-3.3.4-9]), which may be lower than
    the last one's. Returns whether it is done, and new messages may follow.
    """
    left = conn.resending
    if left is None:
        return False
    inflight = session.inflight
    while left and conn.writable and len(inflight) - len(left) < conn.peer_receive_maximum:
        packet_id = left.popleft()
        delivery = inflight.get(packet_id)
        if delivery is None:
            continue
        if delivery.released:
            conn.queue(encoder.encode_pubrel(conn.version, packet_id))
        else:
            _send(conn, delivery, packet_id, dup=delivery.sent)
    if left:
        return False
    conn.resending = None
    conn.ready = True
    return True
