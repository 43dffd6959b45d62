"""The broker's state in the store: rows that are written in the same commit as the events they belong to.

* `connection`: every open connection, so that after a crash its will is published and its end is told.
* `session`: persistent sessions.
* `subscription`: their subscriptions, a row each, so that one more costs the same however many there are.
* `qos2`: packet ids that are open, so that a QoS 2 message is published once also over a crash.

Messages that wait for stored sessions are the business of queues.py, retained ones that of retained.py.
"""

from __future__ import annotations

import msgspec

from bridge.broker.client import Client
from bridge.broker.session import Owed, Session, Subscribed, filter_size
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Subscription, Will

CONNECTION = "connection"
SESSION = "session"
SUBSCRIPTION = "subscription"
QOS2 = "qos2"


class ConnectionRow(msgspec.Struct, array_like=True):
    """An open connection, or one that has ended and whose delayed will is still due (`will_at`, Unix ms)."""

    clientid: str
    username: str | None
    peername: str
    proto_ver: int
    keepalive: int
    connected_at: int
    expiry: int
    will: Will | None = None
    will_at: int = 0
    sockname: str = ""  # new fields come last and have defaults: older stores are read too


class SessionRow(msgspec.Struct, array_like=True):
    """A persistent session. `away_since` is Unix ms, 0 while connected."""

    username: str | None
    peername: str
    proto_ver: int
    expiry: int
    away_since: int
    since: int = 0  # sequence: messages below it were before the session


class SubscriptionRow(msgspec.Struct, array_like=True):
    """A subscription of a stored session. `owed`: it has still to get retained messages."""

    options: Subscription
    identifier: int | None
    owed: bool = False


def owed_nothing(row: SubscriptionRow) -> Owed:
    """Stands for retained messages that are not yet read."""
    return Owed(iter(()), row.options.qos, None if row.identifier is None else [row.identifier])


class Rows:
    """Writes the rows. Reads happen once, at start."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._encode = msgspec.msgpack.Encoder().encode

    def connected(self, serial: int, row: ConnectionRow) -> None:
        """A connection has opened, or has ended with a will still due."""
        self._journal.put(CONNECTION, str(serial), self._encode(row))

    def gone(self, serial: int) -> None:
        """A connection has ended and nothing of it is left."""
        self._journal.put(CONNECTION, str(serial), None)

    def save(self, session: Session, away_since: int = 0) -> None:
        """Write a persistent session as it is now."""
        client = session.client
        row = SessionRow(
            client.username, client.peername, client.proto_ver, session.expiry, away_since, session.since
        )
        self._journal.put(SESSION, session.clientid, self._encode(row))
        session.stored = True

    def forget(self, session: Session) -> None:
        """The session has ended, or will end with its connection: its rows go, but for those of its
        subscriptions (`unsubscribed`). Nothing where it has none."""
        if not session.stored:
            return
        session.stored = False
        self._journal.put(SESSION, session.clientid, None)
        for packet_id in session.awaiting_rel:
            self.close_id(session, packet_id)

    def subscribed(self, subscribed: Subscribed, *, owed: bool = False) -> None:
        """A stored session has a new subscription, other options for one, or has got what it was owed."""
        options = subscribed.options
        row = self._encode(SubscriptionRow(options, subscribed.identifier, owed))
        self._journal.put(SUBSCRIPTION, f"{subscribed.session.clientid}\0{options.topic_filter}", row)

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        """A stored session has a subscription no more."""
        self._journal.put(SUBSCRIPTION, f"{session.clientid}\0{topic_filter}", None)

    def open_id(self, session: Session, packet_id: int) -> None:
        """A QoS 2 PUBLISH was taken; its PUBREL is awaited."""
        self._journal.put(QOS2, f"{session.clientid}\0{packet_id}", b"")

    def close_id(self, session: Session, packet_id: int) -> None:
        """The PUBREL has come."""
        self._journal.put(QOS2, f"{session.clientid}\0{packet_id}", None)

    def connections(self) -> dict[int, ConnectionRow]:
        """The connections that the last process left open, by serial."""
        decode = msgspec.msgpack.Decoder(ConnectionRow).decode
        return {int(key): decode(value) for key, value in self._journal.store.load(CONNECTION)}

    def sessions(self) -> dict[str, tuple[Session, int]]:
        """The persistent sessions with their open packet ids, and since when each has been away (Unix ms).

        `owed` names the subscriptions that have still to get retained messages; these are not yet known.
        """
        decode = msgspec.msgpack.Decoder(SessionRow).decode
        sessions: dict[str, tuple[Session, int]] = {}
        for clientid, value in self._journal.store.load(SESSION):
            row = decode(value)
            client = Client(
                clientid=clientid, username=row.username, peername=row.peername, proto_ver=row.proto_ver
            )
            session = Session(clientid, row.expiry, client)
            session.stored = True
            session.since = session.position = row.since
            sessions[clientid] = (session, row.away_since)
        decode_subscription = msgspec.msgpack.Decoder(SubscriptionRow).decode
        for key, value in self._journal.store.load(SUBSCRIPTION):
            clientid, _, topic_filter = key.partition("\0")
            if clientid in sessions:
                session = sessions[clientid][0]
                found = decode_subscription(value)
                session.subscriptions[topic_filter] = Subscribed(session, found.options, found.identifier)
                session.subscription_bytes += filter_size(topic_filter)
                if found.owed:
                    session.owed = {**(session.owed or {}), topic_filter: owed_nothing(found)}
            else:
                self._journal.put(SUBSCRIPTION, key, None)
        for key, _ in self._journal.store.load(QOS2):
            clientid, _, packet_id = key.partition("\0")
            if clientid in sessions:
                sessions[clientid][0].await_rel(int(packet_id))
            else:
                self._journal.put(QOS2, key, None)
        return sessions
