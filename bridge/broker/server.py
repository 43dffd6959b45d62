"""The broker: connections and sessions, and the turn that shares the loop among them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator

from bridge.broker.auth_checks import expired
from bridge.broker.client import Client, Message
from bridge.broker.connection import Connection
from bridge.broker.hooks import HookChain, Hooks
from bridge.broker.limits import REFUSAL_S, Limits
from bridge.broker.listeners import Listening
from bridge.broker.outgoing import give_up
from bridge.broker.queues import Queues
from bridge.broker.records import Clock
from bridge.broker.retained import Retained
from bridge.broker.routing import Run, publish_will
from bridge.broker.rows import ConnectionRow, Rows
from bridge.broker.session import Session, will_delay
from bridge.broker.stats import Stats
from bridge.broker.subscriptions import Subscriptions
from bridge.broker.turn import STEP, Turn
from bridge.broker.waiting import Waiting
from bridge.config.settings import Listener, Mqtt
from bridge.journal.batch import Change
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Connect, Properties
from bridge.mqtt.reasons import ReasonCode

log = logging.getLogger(__name__)

SWEEP_S = 0.5
"""How often time limits are looked at: keepalive, CONNECT, session expiry, delayed wills."""
LINGER_S = 10.0
"""How long a client may take to read the rest after its end, before its network connection is cut."""
FULL_LOG_S = 10.0
"""How often a reached bound of all queues is logged."""
SWEEP_STEP = 512
"""Connections, and sessions, that are looked at in one turn."""
LOOK_S = 5.0
"""How often certificate files are looked at; what has changed is taken up at the second look."""


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
        self.max_mqueue_bytes = settings.max_mqueue_bytes  # of each session; looked at for each message
        self.journal = journal
        self.loop = loop
        self.hooks = HookChain()
        self.disconnect_denied = False  # `auth.deny_action`
        self.disconnect_expired = True  # `auth.jwt.disconnect_after_expire`
        self.rows = Rows(journal)
        self.stats = Stats()
        self.sessions: dict[str, Session] = {}
        self._unwritten: list[Connection] = []
        self._ending: dict[
            str, Session
        ] = {}  # stored ones that have ended, whose subscriptions' rows still go
        self.away: dict[str, Session] = {}  # those of `sessions` that are not connected
        self.connections: set[Connection] = set()
        self.subscriptions = Subscriptions()
        self.origin = f"{int(clock() * 1000):012X}{secrets.randbits(32):08X}"  # what message ids begin with
        self.queues = Queues(self, settings.max_mqueue_total_bytes)
        self.waiting = Waiting(settings.max_mqueue_total_bytes)
        self.retained = Retained(settings.max_retained, settings.max_retained_bytes)
        # Retained messages that the broker makes when it is asked for them, by topic filter.
        self.own_retained: Callable[[str], Iterator[Message]] | None = None
        self.turn = Turn(loop, settings.turn_bytes)
        self.subscriptions.on_work = self.turn.charge
        self.numbered = 0  # of the latest message that a client published
        self.serial = 0  # of the latest connection; the key of its row
        self.run: Run | None = None  # messages of the open batch that go out together
        self.read_at = 0  # Unix ms at which the data that is being processed was read
        self.reading: Connection | None = None  # whose data is being processed
        # What a client may have open towards us (section 3.3.4).
        self.receive_maximum = min(settings.max_inflight_window, settings.max_awaiting_rel)
        self.limits = Limits(settings, self.stats, loop)
        self._clock = clock
        self._listening: list[Listening] = []
        self._look_at = 0.0  # loop time of the next look at certificate files
        self._sweeper: asyncio.TimerHandle | None = None
        self._due_connections: list[Connection] = []  # that this round has still to look at
        self._due_sessions: list[Session] = []
        self._queues_logged = -FULL_LOG_S
        journal.state = self._changes
        journal.on_stall.append(lambda stalled: self.turn.hold("store", stalled))

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self._clock() * 1000)

    def stored_clock(self) -> Clock:
        """Between loop time and what the store has."""
        return Clock(self.loop.time(), self.now_ms())

    def _changes(self) -> list[Change]:
        """What the journal's next commit has to hold of sessions and retained messages."""
        self.run = None
        changes = self.queues.changes()
        if self.retained.dirty:
            changes += self.retained.changes(self.stored_clock(), self.origin)
        return changes

    def queues_full(self) -> None:
        """Tell, now and then, that no more may wait for sessions."""
        now = self.loop.time()
        if now - self._queues_logged > FULL_LOG_S:
            self._queues_logged = now
            log.warning(
                "mqtt.max_mqueue_total_bytes: the bound is reached, messages to absent clients, "
                "or to those that do not read, are lost"
            )

    # -- listeners and connections -----------------------------------------------------------------------

    def set_hooks(self, hooks: Iterable[Hooks]) -> None:
        """Set or refresh who listens."""
        self.hooks.set(hooks)

    async def open(self, listeners: Iterable[Listener]) -> list[tuple[Listener, str]]:
        """Bind all listeners; returns each with its real address. Raises ListenError, then none is open."""
        opened: list[tuple[Listener, str]] = []
        try:
            for listener in listeners:
                self.limits.add(listener)
                one = Listening(self, listener)
                await one.open()
                self._listening.append(one)
                opened += [(listener, address) for address in one.addresses]
        except BaseException:
            self.close_listeners()
            raise
        return opened

    async def serve(self) -> None:
        """Accept connections on the bound listeners."""
        for one in self._listening:
            await one.serve()
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    @property
    def listening(self) -> bool:
        """Whether the listeners are bound."""
        return bool(self._listening)

    def close_listeners(self) -> None:
        """Accept no more."""
        for one in self._listening:
            one.close()
        self._listening.clear()

    def reload_certificates(self) -> list[str]:
        """Take up certificate files that have changed, for new connections; a line for each listener."""
        return [
            f"{one.listener.key}: its certificate was read again, for connections from now on"
            for one in self._listening
            if one.certificates is not None and one.certificates.reload()
        ]

    def _look_at_certificates(self) -> None:
        for one in self._listening:
            if one.certificates is not None:
                one.certificates.look()

    def shut_down(self) -> None:
        """End every connection; MQTT 5 clients are told why (section 4.13.2)."""
        self.close_listeners()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.end("server_shutting_down", ReasonCode.SERVER_SHUTTING_DOWN)
        self.queues.finish()
        self.journal.touch()

    def accept(self, connection: Connection) -> bool:
        """Whether one more network connection stays open, be it to be refused (`Limits.admit`)."""
        if not self.limits.admit(connection):
            return False
        self.connections.add(connection)
        return True

    def gone(self, connection: Connection) -> None:
        """The network connection is closed."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.limits.gone(connection)

    def flush_later(self, connection: Connection) -> None:
        """Have the connection's queued messages written at the end of the turn."""
        if not self._unwritten:
            self.loop.call_soon(self._flush)
        self._unwritten.append(connection)

    def _flush(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for connection in unwritten:
            connection.flush()

    # -- sessions -----------------------------------------------------------------------------------------

    def admit(self, clientid: str, expiry: int) -> int:
        """0, or the reason code that refuses a client although it may connect.

        One whose session ends with its connection is bounded by `max_connections` already: it does not suffer
        from those that never came back for theirs.
        """
        if expiry and clientid not in self.sessions and len(self.sessions) >= self.settings.max_sessions:
            return ReasonCode.SERVER_BUSY
        return 0

    def open_session(
        self, connection: Connection, client: Client, packet: Connect, expiry: int
    ) -> tuple[Session, bool]:
        """Take over, resume or make the session of an accepted client (section 3.1.4).

        Returns it and whether it was present ([MQTT-3.2.2-2], [MQTT-3.2.2-3]).
        """
        session = self.sessions.get(client.clientid)
        if session is not None and session.connection is not None:
            reason = self._take_over(session.connection, packet)
            session = self.sessions.get(client.clientid)
            if session is not None and reason == "takenover":
                for on_takenover in self.hooks.on_session_takenover:
                    on_takenover(session.client)
        if session is not None and packet.clean_start:
            self.terminate(session, "discarded")  # [MQTT-3.1.2-4]
            session = None
        present = session is not None
        if session is None:
            session = self.sessions[client.clientid] = Session(client.clientid, expiry, client)
            session.since = session.position = self.queues.position
        else:
            del self.away[client.clientid]
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
        else:
            self._forget(session, ends=False)
        stats = self.stats
        stats.sessions_opened += 1
        stats.most_sessions = max(stats.most_sessions, len(self.sessions))
        stats.most_clients = max(stats.most_clients, len(self.sessions) - len(self.away))
        for on_opened in self.hooks.on_session_resumed if present else self.hooks.on_session_created:
            on_opened(client)
        return session, present

    def _take_over(self, connection: Connection, packet: Connect) -> str:
        """Another connection of the client has come ([MQTT-3.1.4-3]); the reason with which this one ends."""
        reason = "discarded" if packet.clean_start else "takenover"
        connection.end(reason, ReasonCode.SESSION_TAKEN_OVER)
        return reason

    def vacant(self, clientid: str, packet: Connect, expiry: int) -> bool:
        """Whether a session of that client can be opened: where it will be stored, no row of an old one that
        is discarded may still be there and be taken for its own. Those of many subscriptions take some turns.
        """
        if not expiry:
            return True
        session = self.sessions.get(clientid)
        if (
            session is not None
            and packet.clean_start
            and session.stored
            and len(session.subscriptions) > STEP
        ):
            if session.connection is not None:
                self._take_over(session.connection, packet)
            if self._is_away(session):
                self.terminate(session, "discarded")
        return clientid not in self._ending

    def _row(self, connection: Connection, client: Client, expiry: int, will_at: int = 0) -> ConnectionRow:
        return ConnectionRow(
            client.clientid,
            client.username,
            client.peername,
            client.proto_ver,
            client.keepalive,
            client.connected_at,
            expiry,
            connection.will,
            will_at,
            client.sockname,
        )

    def kick(self, session: Session) -> None:
        """End a session by hand, and its connection; an MQTT 5 client is told 0x98 (section 3.14.2.1)."""
        if session.connection is not None:
            session.connection.end("kicked", ReasonCode.ADMINISTRATIVE_ACTION)
        if self._is_away(session):
            self.terminate(session, "kicked")

    def disconnected(
        self, connection: Connection, reason: str, properties: Properties | None, *, with_will: bool
    ) -> None:
        """A connected client's connection has ended: will, hooks, session, in this order."""
        session = connection.session
        client = connection.client
        assert session is not None  # noqa: S101
        assert client is not None  # noqa: S101
        session.connection = None
        now = self.loop.time()
        will = connection.will if with_will else None
        delay = min(will_delay(will), session.expiry)
        if will is not None and delay:
            session.will_due = (now + delay, client, will, connection.serial)
            will_at = self.now_ms() + delay * 1000
            self.rows.connected(connection.serial, self._row(connection, client, session.expiry, will_at))
        else:
            if will is not None:
                publish_will(self, client, will)
            self.rows.gone(connection.serial)
        for on_disconnected in self.hooks.on_disconnected:
            on_disconnected(client, reason, properties)
        self.away[session.clientid] = session
        if session.expiry:
            session.expires_at = now + session.expiry
            self.rows.save(session, self.now_ms())
            self.queues.away(session)
        else:
            self.terminate(session, reason)

    def terminate(self, session: Session, reason: str) -> None:
        """End a session that is not connected, and all that it holds; a delayed will is due now
        ([MQTT-3.1.3-9])."""
        del self.sessions[session.clientid]
        del self.away[session.clientid]
        session.ended = True
        self.subscriptions.forget_matches()
        self._settle_will(session)
        stored = session.stored
        for delivery in session.queue:
            if delivery.kept is None:
                self.waiting.remove(delivery.message)
        for delivery in session.inflight.values():
            if delivery.counted:
                self.waiting.remove(delivery.message)
        self._forget(session, ends=True)
        if self._unsubscribe(session, stored=stored):
            if stored:
                self._ending[session.clientid] = session
            self.turn.spread(lambda: self._unsubscribe(session, stored=stored))
        for delivery in (*session.inflight.values(), *session.queue):
            if not delivery.sent:
                give_up(self, session, delivery, "session_terminated")
        if reason == "discarded":
            for on_discarded in self.hooks.on_session_discarded:
                on_discarded(session.client)
        for on_terminated in self.hooks.on_terminated:
            on_terminated(session.client, reason)

    def _unsubscribe(self, session: Session, *, stored: bool) -> bool:
        """Take away some subscriptions of a session that has ended; whether there are more."""
        subscriptions = session.subscriptions
        for _ in range(min(STEP, len(subscriptions))):
            topic_filter, _ = subscriptions.popitem()
            self.subscriptions.remove(session, topic_filter)
            if stored:
                self.rows.unsubscribed(session, topic_filter)
        if subscriptions:
            self.turn.charge(STEP)
            return True
        if self._ending.get(session.clientid) is session:
            del self._ending[session.clientid]
        return False

    def _forget(self, session: Session, *, ends: bool) -> None:
        """The session is not, or no more, in the store."""
        if session.stored:
            self.queues.forget(session, ends=ends)
            self.rows.forget(session)
            if not ends:
                for topic_filter in session.subscriptions:
                    self.rows.unsubscribed(session, topic_filter)

    def _settle_will(self, session: Session) -> None:
        """Publish a delayed will, if there is one."""
        if session.will_due is not None:
            _, client, will, serial = session.will_due
            session.will_due = None
            publish_will(self, client, will)
            self.rows.gone(serial)

    def _drop_will(self, session: Session) -> None:
        """The client is back before its will was due ([MQTT-3.1.3-9])."""
        if session.will_due is not None:
            self.rows.gone(session.will_due[3])
            session.will_due = None

    # -- time ---------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Begin a round of looking at everybody's time limits."""
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        now = self.loop.time()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look_at_certificates()
        if not self._due_connections:
            self._due_connections = list(self.connections)
        if not self._due_sessions:
            self._due_sessions = list(self.away.values())
        self.queues.compact()
        if self.retained.expire(self.loop.time()):
            self.journal.touch()
        self._sweep_on()

    def _sweep_on(self) -> None:
        """Look at some of them, and at the others in the next turns, so that many hold nobody up."""
        now = self.loop.time()
        wall = self._clock()
        connect_timeout = self.settings.connect_timeout
        due = self._due_connections
        for connection in due[-SWEEP_STEP:]:
            client = connection.client
            if client is not None and client.expires is not None and client.expires <= wall:
                expired(connection, client)
            if connection.closed:
                if now - connection.idle_since > LINGER_S:
                    connection.transport.abort()
            elif connection.session is None:
                # It may have sent its CONNECT; it is we who do not read, or have not decided.
                if connection.paused or connection.held is not None:
                    connection.idle_since = now
                elif now - connection.idle_since > (REFUSAL_S if connection.refusal else connect_timeout):
                    self.stats.connect_timeouts += 1
                    self.stats.refuse("connect_timeout")
                    connection.end("connect_timeout")
            elif (
                connection.active
                or connection.paused
                or connection.held is not None
                or connection.paced
                or (connection.throttled and connection.moving())
            ):
                connection.active = False
                connection.idle_since = now
            elif connection.keepalive and now - connection.idle_since > connection.keepalive:
                connection.end("keepalive_timeout", ReasonCode.KEEP_ALIVE_TIMEOUT)  # [MQTT-3.1.2-22]
        del due[-SWEEP_STEP:]
        away = self._due_sessions
        budget = SWEEP_STEP
        while away and budget > 0:
            session = away.pop()
            budget -= 1
            if session.will_due is not None and session.will_due[0] <= now:
                self._settle_will(session)
            if session.expires_at is not None and session.expires_at <= now and self._is_away(session):
                budget -= len(session.queue) + len(session.subscriptions)
                self.terminate(session, "expired")
        if due or away:
            self.loop.call_soon(self._sweep_on)

    def _is_away(self, session: Session) -> bool:
        """Whether it still is: it may have ended, or its client come back, since the round began."""
        return self.away.get(session.clientid) is session
