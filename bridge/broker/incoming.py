"""PUBLISH from a client, and PUBREL (sections 3.3, 3.6, 4.3): accepted, stored, then acknowledged.

Our Receive Maximum (section 3.3.4) bounds what a client may have open. More QoS 2 messages than that end the
connection with 0x93, in every version: it is the client that leaves them open. QoS 1 messages are open only
as long as our own disk takes, so that a client that sends more of them is made to wait
(`Connection._throttle`), and not sent away for what it cannot see: a client of 3.1.1 knows no such limit, and
not every MQTT 5 library keeps it.

A large payload that somebody looks into is read beside the loop (`Hooks.on_large`). Its client waits, so that
its packets keep their order.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from bridge.broker.auth_checks import deny, may_publish
from bridge.broker.hooks import NO_ACL, SUPERUSER
from bridge.broker.routing import drop, hand_on, make_message, retain, route
from bridge.broker.turn import RETAIN_WORK
from bridge.events.js_json import LARGE
from bridge.mqtt import encoder
from bridge.mqtt.packets import Properties, Puback, Publish, Pubrec, Pubrel
from bridge.mqtt.reasons import ReasonCode, disconnect_name
from bridge.mqtt.topics import valid_topic_name

if TYPE_CHECKING:
    from bridge.broker.client import Client
    from bridge.broker.connection import Connection

log = logging.getLogger(__name__)

# An MQTT 5 client may know that its message was taken and nobody has subscribed to it (section 3.4.2.1).
NO_MATCHING_SUBSCRIBERS = int(ReasonCode.NO_MATCHING_SUBSCRIBERS)


class Looked(NamedTuple):
    """A PUBLISH whose large payload has been looked into, to be acted on."""

    packet: Publish


def on_looked(conn: Connection, looked: Looked) -> None:
    on_publish(conn, looked.packet, looked=True)


def on_publish(conn: Connection, packet: Publish, *, looked: bool = False) -> None:
    broker = conn.broker
    client = conn.client
    session = conn.session
    if client is None or session is None:
        return
    properties = packet.properties
    if properties is not None:
        code = _resolve(conn, packet, properties)
        if code:
            return
    if conn.restricted and _unsupported(conn, packet):
        return
    hooks = broker.hooks
    matched = broker.subscriptions.match(packet.topic)
    if matched.reserved:
        deny(conn, client, packet, NO_ACL)
        return
    if looked:
        pass  # it may
    elif client.access is not None:
        if not may_publish(conn, client, client.access, packet):
            return
    else:
        for on_authorized in hooks.on_authorized:
            on_authorized(client, "publish", packet.topic, True, SUPERUSER if client.superuser else NO_ACL)
    qos = packet.qos
    if qos == 2:
        waiting = session.awaiting_rel
        if packet.packet_id in waiting:
            # Still open: acknowledged again, published once ([MQTT-4.3.3-10]).
            if not packet.dup:  # it may be another message
                drop(broker, client, packet, "packet_identifier_inuse")
            conn.journal.ack(conn, encoder.encode(Pubrec(packet.packet_id), conn.version))
            return
        if len(waiting) >= broker.receive_maximum:
            drop(broker, client, packet, "receive_maximum_exceeded")
            conn.fault(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, "more QoS 2 messages open than allowed")
            return
    if len(packet.payload) > LARGE and hooks.on_large and not looked and _look(conn, client, packet):
        return
    for check in hooks.on_publish:
        code = check(client, packet)
        if code:
            _reject(conn, packet, code)
            return
    ts = broker.read_at
    number = broker.numbered = broker.numbered + 1
    for on_published in hooks.on_published:
        on_published(client, packet, ts, number)
    code = 0
    if matched.anyone:
        if matched.many:
            broker.turn.charge(matched.many * (4 if hooks.on_delivered else 1))
        message = make_message(broker, client, packet, ts, number)
        if packet.retain:
            broker.turn.charge(RETAIN_WORK + packet.topic.count("/"))
            retain(broker, message)
        if qos == 0:
            route(broker, message, session)
        else:
            hand_on(broker, message, session, matched)
    else:
        code = NO_MATCHING_SUBSCRIBERS
        if packet.retain:
            broker.turn.charge(RETAIN_WORK + packet.topic.count("/"))
            retain(broker, make_message(broker, client, packet, ts, number))
        for on_dropped in hooks.on_dropped:
            on_dropped(client, packet, ts, number, "no_subscribers")
    broker.stats.received += 1
    if qos == 1:
        conn.unacked += 1
        conn.journal.ack(conn, encoder.encode_puback(conn.version, packet.packet_id, code))
    elif qos == 2:
        session.await_rel(packet.packet_id)
        if session.stored:
            broker.rows.open_id(session, packet.packet_id)
        conn.journal.ack(conn, encoder.encode_pubrec(conn.version, packet.packet_id))


def _unsupported(conn: Connection, packet: Publish) -> bool:
    """Whether the broker has no such QoS or no retained messages, sections 3.2.2.3.4 and 3.2.2.3.5.

    That ends the connection. An MQTT 5 client was told so in CONNACK; an older one cannot be, and must not
    believe that its message was taken.
    """
    settings = conn.settings
    if packet.qos > settings.max_qos_allowed:
        conn.fault(ReasonCode.QOS_NOT_SUPPORTED, f"QoS {packet.qos} is above mqtt.max_qos_allowed")
    elif packet.retain and not settings.retain_available:
        conn.fault(ReasonCode.RETAIN_NOT_SUPPORTED, "a retained message, and mqtt.retain_available is false")
    else:
        return False
    return True


def _look(conn: Connection, client: Client, packet: Publish) -> bool:
    """Have those look into a large payload who want to; whether the packet is acted on after that."""
    found = [hook(client, packet) for hook in conn.broker.hooks.on_large]
    looking = [one for one in found if one is not None]
    if not looking:
        return False
    conn.hold(Looked(packet))

    async def look() -> None:
        async with AsyncExitStack() as stack:
            try:
                for one in looking:
                    await stack.enter_async_context(one)
            except Exception:
                log.exception("client %s: a payload could not be looked into", conn.name)
            conn.asking = None
            conn.release()

    conn.asking = asyncio.get_running_loop().create_task(look())
    return True


def _resolve(conn: Connection, packet: Publish, properties: Properties) -> int:
    """Topic alias and what a client may not send, section 3.3.2.3; the connection ends on a fault."""
    code = 0
    text = ""
    alias = properties.topic_alias
    if properties.subscription_identifier is not None:
        code, text = ReasonCode.PROTOCOL_ERROR, "a client's PUBLISH has a subscription identifier"
    elif alias is not None:
        if alias > conn.settings.max_topic_alias:  # [MQTT-3.3.2-9]
            code, text = ReasonCode.TOPIC_ALIAS_INVALID, f"topic alias {alias} is above the maximum"
        else:
            aliases = conn.aliases_in
            if aliases is None:
                aliases = conn.aliases_in = {}
            known = aliases.get(alias)
            if packet.topic:
                aliases[alias] = packet.topic
                conn.alias_bytes += len(packet.topic) - (len(known) if known is not None else 0)
                if conn.alias_bytes > conn.settings.max_mqueue_bytes:
                    code, text = ReasonCode.QUOTA_EXCEEDED, "its topic aliases hold too many bytes"
            elif known is not None:
                packet.topic = known
            else:
                code, text = ReasonCode.PROTOCOL_ERROR, f"topic alias {alias} was never set"
    if not code and properties.response_topic is not None and not valid_topic_name(properties.response_topic):
        code, text = ReasonCode.PROTOCOL_ERROR, "the response topic has a wildcard"  # [MQTT-3.3.2-14]
    if code:
        conn.fault(code, text)
    return code


def _reject(conn: Connection, packet: Publish, code: int) -> None:
    """Refuse one message: MQTT 5 says so; before it, only closing keeps it unacknowledged."""
    conn.broker.stats.rejected += 1
    if packet.qos == 0:
        return
    if conn.version < 5:
        log.warning("client %s: a publish was refused (%s)", conn.name, disconnect_name(code))
        conn.end(disconnect_name(code))
        return
    answer = Puback(packet.packet_id, code) if packet.qos == 1 else Pubrec(packet.packet_id, code)
    conn.journal.ack(conn, encoder.encode(answer, 5))


def on_pubrel(conn: Connection, packet: Pubrel) -> None:
    session = conn.session
    if session is None:
        return
    # An identifier that is not open was released before: a client that missed the PUBCOMP asks again, and is
    # told so. 0x92 is "not an error during recovery" (section 3.7.2.1), but client libraries take it for one.
    if packet.packet_id in session.awaiting_rel:
        session.awaiting_rel.discard(packet.packet_id)
        if session.stored:
            conn.broker.rows.close_id(session, packet.packet_id)
    conn.journal.ack(conn, encoder.encode_pubcomp(conn.version, packet.packet_id))
