"""Taking up what the last process left, before the listeners open."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import msgspec

from bridge.broker.client import Client
from bridge.broker.routing import publish_will
from bridge.broker.rows import ConnectionRow
from bridge.broker.session import will_delay

if TYPE_CHECKING:
    from bridge.broker.server import Broker


def restore(broker: Broker) -> int:
    """Persistent sessions live on; connections that were open have ended now, with `internal_error`.

    Their wills are published and their disconnected events fire, so that no receiver shows a ghost for ever.
    Returns how many connections were lost.
    """
    steps = restore_steps(broker)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)


def restore_steps(broker: Broker) -> Generator[None, None, int]:
    """The same in steps of some milliseconds, so that the loop can do something else in between."""
    connected = _sessions(broker)
    yield from broker.queues.load(broker.sessions, connected)
    now = broker.loop.time()
    yield from broker.retained.load(broker.journal.store, broker.stored_clock(), now)
    for session in broker.sessions.values():
        for topic_filter, owed in (session.owed or {}).items():
            owed.messages = broker.retained.find(topic_filter, now)
    return sum(_connection(broker, serial, row) for serial, row in broker.rows.connections().items())


def _sessions(broker: Broker) -> set[str]:
    """Take up the sessions; returns the client ids of those that were connected."""
    connected = set()
    now = broker.loop.time()
    now_ms = broker.now_ms()
    for clientid, (session, away_since) in broker.rows.sessions().items():
        broker.sessions[clientid] = session
        for subscribed in session.subscriptions.values():
            broker.subscriptions.add(subscribed)
        if not away_since:
            connected.add(clientid)
        # A clock that jumped back must not lengthen a session's life.
        away = max(0.0, (now_ms - away_since) / 1000) if away_since else 0.0
        session.expires_at = now + max(0.0, session.expiry - away)
        broker.away[clientid] = session
    return connected


def _connection(broker: Broker, serial: int, row: ConnectionRow) -> bool:
    """Settle one row; whether it was a connection, and not only a delayed will."""
    broker.serial = max(broker.serial, serial)
    now_ms = broker.now_ms()
    client = Client(
        clientid=row.clientid,
        username=row.username,
        peername=row.peername,
        proto_ver=row.proto_ver,
        keepalive=row.keepalive,
        connected_at=row.connected_at,
        sockname=row.sockname,
    )
    session = broker.sessions.get(row.clientid)
    will = row.will
    delay = min(will_delay(will), row.expiry)  # seconds
    if row.will_at:
        delay = min(delay, max(0, (row.will_at - now_ms + 999) // 1000))
    if will is not None and session is not None and delay:
        session.will_due = (broker.loop.time() + delay, client, will, serial)
        broker.rows.connected(serial, msgspec.structs.replace(row, will_at=now_ms + delay * 1000))
    else:
        if will is not None:
            publish_will(broker, client, will)
        broker.rows.gone(serial)
    if row.will_at:
        return False
    for on_disconnected in broker.hooks.on_disconnected:
        on_disconnected(client, "internal_error", None)
    if session is not None:
        broker.rows.save(session, now_ms)
    else:
        for on_terminated in broker.hooks.on_terminated:
            on_terminated(client, "internal_error")
    return True
