"""`bridges.mqtt.<name>`: subscriptions at another broker, whose messages become `message_publish` events.

The session is persistent: what comes while HookMQ is away, the broker keeps, and what HookMQ did not
acknowledge it sends again. Nothing is acknowledged before its event is durable.

A subscriber is not told who has published. What it is not told is `"undefined"`: client id, user name,
address and DUP; below MQTT 5 the retain flag too, which a broker clears for all but retained messages.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from bridge.config.secret import SecretError, reveal
from bridge.config.settings import BridgeSubscription, MqttBridge, Tls
from bridge.events.event import Event, EventType
from bridge.events.interface import UNDEFINED
from bridge.mqtt.packets import Connack, Connect, Properties, Publish, Subscription
from bridge.mqtt.property_names import property_map
from bridge.mqtt.reasons import connack_name, connack_name_v5
from bridge.mqtt.topics import matches, parse_shared
from bridge.sources.mqtt.connection import Connection
from bridge.sources.mqtt.session import SessionState
from bridge.sources.recorder import Recorder
from bridge.telemetry.trace_context import of_pairs

log = logging.getLogger(__name__)

PORTS = {"mqtt": 1883, "mqtts": 8883}
CONNECT_S = 10.0
"""Until the SUBACK, name look-up and TLS included."""
MIN_WAIT_S = 0.5
MAX_WAIT_S = 30.0
"""Between two attempts to connect; doubled each time, with up to half of it added by chance."""
SESSION_S = 7 * 86400
"""That the broker is asked to keep the session for (MQTT 5)."""
SUBSCRIBE_AT_ONCE = 100
LOG_EVERY_S = 60.0
CACHE_TOPICS = 8192
SHOWN = 5
"""Topic filters that a line has room for."""


class BridgeError(Exception):
    """A bridge that cannot work; the text is one line with the key and the cause."""


class _NoConnection(Exception):
    """The broker cannot be used now; the text says why."""


class Bridge:
    """One block. For the loop's thread."""

    def __init__(self, settings: MqttBridge, recorder: Recorder, store_id: str) -> None:
        """Raises BridgeError."""
        self.name = settings.name
        self.connected = False
        self.counts = {"messages": 0, "events": 0, "held": 0, "connections": 0}
        self._settings = settings
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._session = SessionState(recorder.journal, settings.name)
        self._clientid = settings.clientid or f"hookmq_{store_id}_{settings.name}"
        parts = urlsplit(settings.server)
        self._host, self._port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        self._ssl = self._context(settings.tls) if parts.scheme == "mqtts" else None
        self._password: bytes | None = None
        if settings.password is not None:
            try:
                self._password = reveal(settings.password).encode()
            except SecretError as error:
                raise BridgeError(f"{self.block}.password: {error}") from None
        self._renamed = [
            (_real(one.remote_topic), one.local_topic) for one in settings.subscription if one.local_topic
        ]
        self._topics: dict[str, str] = {}  # what topics are renamed to, where any are
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._told = ""
        self._tell_held_at = 0.0

    @property
    def block(self) -> str:
        """Its block in the file."""
        return f"bridges.mqtt.{self.name}"

    @property
    def label(self) -> str:
        """The broker and what is subscribed to, for the start."""
        topics = [one.remote_topic for one in self._settings.subscription]
        more = f" and {len(topics) - SHOWN:,} more" if len(topics) > SHOWN else ""
        return f"{self._settings.server} ({', '.join(topics[:SHOWN])}{more})"

    def _context(self, tls: Tls | None) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=None if tls is None else tls.cacertfile)
            if tls is None:
                return context
            if not tls.verify_peer:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if tls.certfile is not None:
                password = "" if tls.key_password is None else tls.key_password.get_secret_value()
                context.load_cert_chain(tls.certfile, tls.keyfile, lambda: password)
        except (OSError, ValueError) as error:
            raise BridgeError(f"{self.block}.ssl: {error}") from None
        return context

    # -- life ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and connect again whenever it ends."""
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Say goodbye; the broker keeps what comes from now on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()
            await asyncio.wait([self._connection.ended], timeout=1)

    async def _run(self) -> None:
        wait = MIN_WAIT_S
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    connection = await self._open()
            except (OSError, TimeoutError, _NoConnection) as error:
                if self._connection is not None:
                    self._connection.abort("")
                    self._connection = None
                self._tell(str(error) or "no answer")
            else:
                self.connected = True
                self.counts["connections"] += 1
                self._told = ""
                wait = MIN_WAIT_S
                log.info("%s: connected to %s", self.block, self._settings.server)
                cause = await asyncio.shield(connection.ended)
                self.connected = False
                self._connection = None
                self._tell(cause)
            await asyncio.sleep(wait * (1 + random.random() / 2))  # noqa: S311  no secret
            wait = min(2 * wait, MAX_WAIT_S)

    def _tell(self, cause: str) -> None:
        if cause != self._told:  # not the same line every half minute
            self._told = cause
            log.warning("%s: no connection to %s: %s", self.block, self._settings.server, cause)

    async def _open(self) -> Connection:
        """A connection with all subscriptions. Raises OSError and _NoConnection."""
        settings = self._settings
        version = settings.proto_ver

        def made() -> Connection:
            self._connection = Connection(
                version, settings.keepalive, self._recorder.journal, self._session, self._take, self._held
            )
            return self._connection

        name = self._host if self._ssl is not None else None
        _, connection = await self._loop.create_connection(
            made, self._host, self._port, ssl=self._ssl, server_hostname=name
        )
        properties = None
        if version == 5:
            expiry = 0 if settings.clean_start else SESSION_S
            properties = Properties(
                session_expiry_interval=expiry, receive_maximum=settings.max_inflight_window
            )
        connack = await connection.connect(
            Connect(
                self._clientid,
                version,
                settings.clean_start,
                settings.keepalive,
                settings.username,
                self._password,
                properties=properties,
            )
        )
        if connack.reason_code:
            raise _NoConnection(f"CONNACK {connack_name(version, connack.reason_code)}")
        limits = connack.properties or Properties()
        connection.begin(limits.server_keep_alive)
        if not connack.session_present:
            self._session.begin()
        await self._subscribe(connection, connack)
        return connection

    async def _subscribe(self, connection: Connection, connack: Connack) -> None:
        """What the broker's session has not yet, and end what it should not have any more."""
        limits = connack.properties or Properties()
        new, old = self._session.missing(self._settings.subscription)
        if old:
            await connection.unsubscribe(old)
            for topic_filter in old:
                self._session.unsubscribed(topic_filter)
        if limits.shared_subscription_available == 0:  # section 3.2.2.3.13; absent: it has them
            for one in [one for one in new if parse_shared(one.remote_topic)]:
                self._refused(one, "the broker has no shared subscriptions")
                new.remove(one)
        for at in range(0, len(new), SUBSCRIBE_AT_ONCE):
            some = new[at : at + SUBSCRIBE_AT_ONCE]
            suback = await connection.subscribe(self._subscriptions(some))
            for one, code in zip(some, suback.reason_codes, strict=False):
                if code >= 0x80:
                    self._refused(one, connack_name_v5(code) if code != 0x80 else "SUBACK 0x80")
                    continue
                if code < one.qos:
                    log.warning(
                        "%s: %s is granted with QoS %d, expected %d",
                        self.block,
                        one.remote_topic,
                        code,
                        one.qos,
                    )
                self._session.subscribed(one)

    @staticmethod
    def _subscriptions(some: list[BridgeSubscription]) -> list[Subscription]:
        return [
            Subscription(
                one.remote_topic,
                one.qos,
                retain_as_published=one.retain_as_published,
                retain_handling=one.retain_handling,
            )
            for one in some
        ]

    def _refused(self, one: BridgeSubscription, why: str) -> None:
        log.warning("%s: nothing comes for %s: %s", self.block, one.remote_topic, why)

    # -- messages --------------------------------------------------------------------------------------

    def _held(self, why: str) -> None:
        self.counts["held"] += 1
        now = self._loop.time()
        if now >= self._tell_held_at:
            self._tell_held_at = now + LOG_EVERY_S
            log.warning("%s: messages wait at the broker: %s", self.block, why)

    def _take(self, publish: Publish) -> bool:
        """A message that is new; whether an event of it waits for the store. Raises NotTaken."""
        data: dict[str, Any] = {"dup": UNDEFINED}
        properties = publish.properties
        trace = None
        if properties is not None:
            if properties.user_property is not None:
                trace = of_pairs(properties.user_property)
            properties.subscription_identifier = properties.topic_alias = None  # ours, not the publisher's
            data["props"] = property_map(properties)
        taken = self._recorder.record(
            Event(
                EventType.MESSAGE_PUBLISH,
                int(time.time() * 1000),
                UNDEFINED,
                None,
                "",
                (),
                self._topic(publish.topic) if self._renamed else publish.topic,
                publish.payload,
                publish.qos,
                True if publish.retain else self._unset(publish.topic),
                data,
                trace,
            )
        )
        self.counts["messages"] += 1
        self.counts["events"] += taken
        return taken

    def _unset(self, topic: str) -> bool | None:
        """What a retain flag that is not set says: nothing, unless the broker was asked to leave it as it was
        published (MQTT 5 section 3.8.3.1)."""
        if self._settings.proto_ver < 5:
            return None
        return False if all(one.retain_as_published for one in self._settings.subscription) else None

    def _topic(self, topic: str) -> str:
        """The topic as NanoMQ would publish it here: `local_topic` of the first subscription that has it."""
        found = self._topics.get(topic)
        if found is None:
            names = [local for pattern, local in self._renamed if matches(pattern, topic)]
            found = names[0] if names else topic
            if len(self._topics) >= CACHE_TOPICS:
                self._topics.clear()
            self._topics[topic] = found
        return found


def _real(topic_filter: str) -> str:
    shared = parse_shared(topic_filter)
    return topic_filter if shared is None else shared[1]
