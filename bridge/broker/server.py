"""The broker: connections, sessions and messages, and the turn that shares the loop among them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from bridge.broker.client import Client, Message
from bridge.broker.connection import Connection
from bridge.broker.hooks import HookChain, Hooks
from bridge.broker.listeners import listen
from bridge.broker.outgoing import deliver
from bridge.broker.retained import Retained
from bridge.broker.rows import ConnectionRow, Rows
from bridge.broker.session import Delivery, Session, forwardable
from bridge.broker.stats import Stats
from bridge.broker.subscriptions import Subscriptions
from bridge.broker.turn import Turn
from bridge.config.settings import Listener, Mqtt
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Connect, Publish, Will
from bridge.mqtt.reasons import ReasonCode

log = logging.getLogger(__name__)

SWEEP_S = 0.5
"""How often time limits are looked at: keepalive, CONNECT, session expiry, delayed wills."""


class Broker:
    """All state of the MQTT side. Everything runs in the loop's thread."""

    def __init__(
        self,
        settings: Mqtt,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.loop = loop
        self.hooks = HookChain()
        self.rows = Rows(journal)
        self.stats = Stats()
        self.sessions: dict[str, Session] = {}
        self.connections: set[Connection] = set()
        self.subscriptions = Subscriptions()
        self.retained = Retained(settings.max_retained, settings.max_retained_bytes)
        self.turn = Turn(loop, settings.turn_bytes)
        self.serial = 0  # of the latest connection; the key of its row
        self._clock = clock
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._full_logged = 0.0
        journal.on_stall.append(lambda stalled: self.turn.hold("store", stalled))

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self._clock() * 1000)

    # -- listeners and connections -----------------------------------------------------------------------

    def set_hooks(self, hooks: Iterable[Hooks]) -> None:
        """Set or refresh who listens."""
        self.hooks.set(hooks)

    async def open(self, listeners: Iterable[Listener]) -> list[tuple[Listener, str]]:
        """Bind all listeners; returns each with its real address. Raises ListenError, then none is open."""
        opened: list[tuple[Listener, str]] = []
        try:
            for listener in listeners:
                server = await listen(self.loop, listener, lambda lst=listener: Connection(self, lst))  # type: ignore[misc]
                self._servers.append(server)
                for sock in server.sockets:
                    host, port = sock.getsockname()[:2]
                    opened.append((listener, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
        except BaseException:
            self.close_listeners()
            raise
        return opened

    async def serve(self) -> None:
        """Accept connections on the bound listeners."""
        for server in self._servers:
            await server.start_serving()
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    def close_listeners(self) -> None:
        """Accept no more."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def shut_down(self) -> None:
        """End every connection; MQTT 5 clients are told why (section 4.13.2)."""
        self.close_listeners()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.end("server_shutting_down", ReasonCode.SERVER_SHUTTING_DOWN)

    def accept(self, connection: Connection) -> bool:
        """Whether there is room for one more network connection."""
        limit = self.settings.max_connections
        if len(self.connections) >= limit:
            now = self.loop.time()
            if now - self._full_logged > 10:
                self._full_logged = now
                log.warning("mqtt.max_connections: %d are open, new ones are closed", limit)
            self.stats.turned_away += 1
            return False
        own = connection.listener.max_connections
        if own is not None and sum(c.listener is connection.listener for c in self.connections) >= own:
            self.stats.turned_away += 1
            return False
        self.connections.add(connection)
        self.stats.connections += 1
        return True

    def gone(self, connection: Connection) -> None:
        """The network connection is closed."""
        self.connections.discard(connection)

    # -- sessions -----------------------------------------------------------------------------------------

    def admit(self, clientid: str) -> int:
        """0, or the reason code that refuses a client although it may connect."""
        if clientid not in self.sessions and len(self.sessions) >= self.settings.max_sessions:
            return ReasonCode.QUOTA_EXCEEDED
        return 0

    def open_session(
        self, connection: Connection, client: Client, packet: Connect, expiry: int
    ) -> tuple[Session, bool]:
        """Take over, resume or make the session of an accepted client (section 3.1.4).

        Returns it and whether it was present ([MQTT-3.2.2-2], [MQTT-3.2.2-3]).
        """
        session = self.sessions.get(client.clientid)
        if session is not None and session.connection is not None:
            reason = "discarded" if packet.clean_start else "takenover"
            session.connection.end(reason, ReasonCode.SESSION_TAKEN_OVER)  # [MQTT-3.1.4-3]
            session = self.sessions.get(client.clientid)
        if session is not None and packet.clean_start:
            self.terminate(session, "discarded")  # [MQTT-3.1.2-4]
            session = None
        present = session is not None
        if session is None:
            session = self.sessions[client.clientid] = Session(client.clientid, expiry, client)
        else:
            session.client = client
            session.expiry = expiry
            self._drop_will(session)
        session.expires_at = None
        session.connection = connection
        self.serial += 1
        connection.serial = self.serial
        self.rows.connected(self.serial, self._row(connection, client, expiry))
        if expiry:
            self.rows.save(session)
        elif present:
            self.rows.forget(session)
        self.stats.sessions_opened += 1
        return session, present

    def _row(self, connection: Connection, client: Client, expiry: int, will_at: int = 0) -> ConnectionRow:
        message = connection.will
        will = None
        if message is not None:
            will = Will(message.topic, message.payload, message.qos, message.retain, message.properties)
        return ConnectionRow(
            client.clientid,
            client.username,
            client.peername,
            client.proto_ver,
            client.keepalive,
            client.connected_at,
            expiry,
            will,
            connection.will_delay,
            will_at,
        )

    def disconnected(self, connection: Connection, reason: str, *, publish_will: bool) -> None:
        """A connected client's connection has ended: will, hooks, session, in this order."""
        session = connection.session
        client = connection.client
        assert session is not None  # noqa: S101
        assert client is not None  # noqa: S101
        session.connection = None
        now = self.loop.time()
        will = connection.will if publish_will else None
        delay = min(connection.will_delay, session.expiry)
        if will is not None and delay:
            session.will_due = (now + delay, will, connection.serial)
            will_at = self.now_ms() + delay * 1000
            self.rows.connected(connection.serial, self._row(connection, client, session.expiry, will_at))
        else:
            if will is not None:
                self.publish(will)
            self.rows.gone(connection.serial)
        for on_disconnected in self.hooks.on_disconnected:
            on_disconnected(client, reason)
        if session.expiry:
            session.expires_at = now + session.expiry
            self.rows.save(session, self.now_ms())
        else:
            self.terminate(session, reason)

    def terminate(self, session: Session, reason: str) -> None:
        """End a session and all that it holds; a delayed will is due now ([MQTT-3.1.3-9])."""
        self.sessions.pop(session.clientid, None)
        for topic_filter in session.subscriptions:
            self.subscriptions.remove(session.clientid, topic_filter)
        if session.will_due is not None:
            _, will, serial = session.will_due
            session.will_due = None
            self.publish(will)
            self.rows.gone(serial)
        if session.expiry or session.awaiting_rel:
            self.rows.forget(session)
        for on_terminated in self.hooks.on_terminated:
            on_terminated(session.client, reason)

    def _drop_will(self, session: Session) -> None:
        """The client is back before its will was due ([MQTT-3.1.3-9])."""
        if session.will_due is not None:
            self.rows.gone(session.will_due[2])
            session.will_due = None

    # -- messages -----------------------------------------------------------------------------------------

    def message(self, client: Client, publish: Publish, ts: int | None = None) -> Message:
        """The application message of a PUBLISH or a will."""
        properties = publish.properties
        expires = None
        if properties is not None and properties.message_expiry_interval is not None:
            expires = self.loop.time() + properties.message_expiry_interval
        return Message(
            publish.topic,
            publish.payload,
            publish.qos,
            publish.retain,
            forwardable(properties),
            client,
            self.now_ms() if ts is None else ts,
            expires,
        )

    def publish(self, message: Message) -> None:
        """Publish a message that came in no PUBLISH packet (a will) like any other of its client."""
        ts = self.now_ms()
        packet = Publish(message.topic, message.payload, message.qos, message.retain)
        for on_published in self.hooks.on_published:
            on_published(message.client, packet, ts)
        message.ts = ts
        if message.retain:
            self.retain(message)
        self.stats.received += 1
        self.journal.after(self.route, message, None)

    def retain(self, message: Message) -> None:
        """Keep, replace or delete the topic's retained message."""
        if not self.retained.keep(message) and self.retained.refused == 1:
            log.warning("mqtt.max_retained: the bound is reached, further messages are not retained")

    def route(self, message: Message, sender: Session | None) -> None:
        """Give a message to everybody who subscribed to its topic."""
        matched = self.subscriptions.match(message.topic)
        for found in matched.matches:
            match = found
            if match.session is sender:
                local = match.local
                if local is None:
                    continue
                match = local
            self._deliver(
                match.session,
                Delivery(
                    message,
                    min(message.qos, match.qos),
                    message.retain and match.retain_as_published,
                    match.identifiers,
                ),
            )
        for group in matched.groups:
            member = group.pick()
            if member is not None:
                options = member.options
                self._deliver(
                    member.session,
                    Delivery(
                        message,
                        min(message.qos, options.qos),
                        message.retain and options.retain_as_published,
                        None if member.identifier is None else [member.identifier],
                    ),
                )

    def _deliver(self, session: Session, delivery: Delivery) -> None:
        connection = session.connection
        if connection is not None:
            deliver(connection, delivery)
        elif delivery.qos:
            self.enqueue(session, delivery)

    def enqueue(self, session: Session, delivery: Delivery) -> None:
        """Queue for a session that does not take it now; what a full queue gives up is counted."""
        settings = self.settings
        if session.enqueue(delivery, settings.max_mqueue_len, settings.max_mqueue_bytes) is not None:
            self.stats.dropped += 1
            if session.dropped == 1:
                log.warning(
                    "client %r: its queue is full (mqtt.max_mqueue_len), messages are lost", session.clientid
                )

    # -- time ---------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        now = self.loop.time()
        connect_timeout = self.settings.connect_timeout
        for connection in list(self.connections):
            if connection.session is None:
                if now - connection.idle_since > connect_timeout and not connection.closed:
                    self.stats.connect_timeouts += 1
                    connection.end("connect_timeout")
            elif connection.active or connection.paused:
                connection.active = False
                connection.idle_since = now
            elif connection.keepalive and now - connection.idle_since > connection.keepalive:
                connection.end("keepalive_timeout", ReasonCode.KEEP_ALIVE_TIMEOUT)  # [MQTT-3.1.2-22]
        for session in list(self.sessions.values()):
            if session.connection is not None:
                continue
            if session.will_due is not None and session.will_due[0] <= now:
                _, will, serial = session.will_due
                session.will_due = None
                self.publish(will)
                self.rows.gone(serial)
            if session.expires_at is not None and session.expires_at <= now:
                self.terminate(session, "expired")
