"""Where access decisions meet the packets: how a denial is answered (sections 3.4.2.1, 3.5.2.1 and 3.9.3).

A decision that needs an answer from elsewhere holds the client: it is read no further, and the packet is
acted on once the answer is there. So its packets keep their order.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bridge.broker.auth_acl import PUBLISH, SUBSCRIBE
from bridge.broker.hooks import NO_ACL, SUPERUSER
from bridge.mqtt import encoder
from bridge.mqtt.packets import Puback, Publish, Pubrec, Subscribe, Subscription
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import parse_shared
from bridge.mqtt.wire import shown

if TYPE_CHECKING:
    from bridge.broker.auth_access import Access
    from bridge.broker.client import Client
    from bridge.broker.connection import Connection

log = logging.getLogger(__name__)


def may_publish(conn: Connection, client: Client, access: Access, packet: Publish) -> bool:
    """Whether to go on with a PUBLISH; if not, it is answered, or acted on again when that is known."""
    topic = packet.topic
    decision = access.known.get(topic) or access.decide(PUBLISH, topic, packet.qos, packet.retain)
    if decision is None:
        _ask(conn, access, PUBLISH, [topic], packet)
        return False
    allowed, source = decision
    if not allowed:
        deny(conn, client, packet, source)
        return False
    for on_authorized in conn.broker.hooks.on_authorized:
        on_authorized(client, PUBLISH, topic, True, source)
    return True


def deny(conn: Connection, client: Client, packet: Publish, source: str) -> None:
    """A message that its client may not publish: refused in MQTT 5, taken and dropped before it.

    3.1 and 3.1.1 have no way to refuse one ([MQTT-3.3.5-2] of 3.1.1): it is acknowledged, or the end.
    """
    for on_authorized in conn.broker.hooks.on_authorized:
        on_authorized(client, PUBLISH, packet.topic, False, source)
    conn.broker.stats.reject("not_authorized")
    log.debug("client %s may not publish to %s", conn.name, shown(packet.topic))
    if conn.broker.disconnect_denied:
        _disconnect(conn, f"may not publish to {shown(packet.topic)}")
        return
    if packet.qos == 0:
        return
    code = ReasonCode.NOT_AUTHORIZED if conn.version == 5 else 0
    answer = Puback(packet.packet_id, code) if packet.qos == 1 else Pubrec(packet.packet_id, code)
    conn.journal.ack(conn, encoder.encode(answer, conn.version))


def asks_to_subscribe(conn: Connection, access: Access, packet: Subscribe) -> bool:
    """Whether the packet has to wait for an answer about one of its filters; then it is acted on again."""
    unknown = [
        real
        for wanted in packet.subscriptions
        if (real := _real(wanted.topic_filter)) is not None
        and access.decide(SUBSCRIBE, real, wanted.qos) is None
    ]
    if unknown:
        _ask(conn, access, SUBSCRIBE, list(dict.fromkeys(unknown)), packet)
    return bool(unknown)


def may_subscribe(conn: Connection, client: Client, wanted: Subscription) -> int:
    """0, or the reason code that denies a subscription to a valid filter; it may end the connection."""
    allowed, source = True, SUPERUSER if client.superuser else NO_ACL
    if client.access is not None:
        real = _real(wanted.topic_filter) or wanted.topic_filter
        allowed, source = client.access.decide(SUBSCRIBE, real, wanted.qos) or (False, "http")
    for on_authorized in conn.broker.hooks.on_authorized:
        on_authorized(client, SUBSCRIBE, wanted.topic_filter, allowed, source)
    if allowed:
        return 0
    log.debug("client %s may not subscribe to %s", conn.name, shown(wanted.topic_filter))
    if conn.broker.disconnect_denied:
        _disconnect(conn, f"may not subscribe to {shown(wanted.topic_filter)}")
    return ReasonCode.NOT_AUTHORIZED


def _real(topic_filter: str) -> str | None:
    """The filter that a shared subscription shares; any other as it is; None: it is not valid."""
    try:
        shared = parse_shared(topic_filter)
    except ValueError:
        return None
    return shared[1] if shared else topic_filter


def _disconnect(conn: Connection, what: str) -> None:
    log.info("client %s at %s %s: disconnected (auth.deny_action)", conn.name, conn.peername, what)
    conn.end("not_authorized", ReasonCode.NOT_AUTHORIZED)


def _ask(
    conn: Connection, access: Access, action: str, topics: list[str], packet: Publish | Subscribe
) -> None:
    conn.hold(packet)

    async def ask() -> None:
        try:
            await access.ask(action, topics)
        except Exception:  # a fault of ours must not let anything through
            log.exception("client %s: its access could not be checked", conn.name)
            conn.end("internal_error", ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)
        conn.asking = None
        conn.release()
        access.answered()

    conn.asking = asyncio.get_running_loop().create_task(ask())


def expired(conn: Connection, client: Client) -> None:
    """What the client was let in with is good no more: its end, or the end of all that it may do."""
    client.expires = None
    if conn.broker.disconnect_expired:
        log.info("client %s at %s: its token has expired", conn.name, conn.peername)
        conn.end("not_authorized", ReasonCode.NOT_AUTHORIZED)
    elif client.access is not None:
        client.access.expire()
