"""`$SYS/brokers/…`: what the broker tells of itself, under EMQX's names, and NanoMQ's two of clients.

* Made only while somebody has subscribed below `$SYS`, or a webhook's rule names a topic there: otherwise
  nothing listens and no timer runs.
* What has a value now (version, uptime, counters) is answered to every new subscription as a retained
  message, made at that moment and stored nowhere.
* Clients publish nothing there (`is_system`, section 4.7.2): a reader may believe what it reads.

All messages have QoS 0. They count neither as received nor, where nobody gets them, as dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.broker.client import Client, Message
from bridge.broker.hooks import Hooks
from bridge.broker.routing import make_message, route
from bridge.broker.stats import counts, totals
from bridge.mqtt.packets import Properties, Publish, Subscription
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import matches, valid_topic_name

if TYPE_CHECKING:
    from bridge.broker.server import Broker
    from bridge.config.settings import SysTopics

ROOT = "$SYS/brokers"
SENDER = "hookmq"
"""The client id of these messages in events."""
DESCRIPTION = "HookMQ"
CONNECTED, DISCONNECTED = f"{ROOT}/connected", f"{ROOT}/disconnected"
"""NanoMQ's topics of clients that come and go."""
_CODES = {
    "normal": ReasonCode.NORMAL_DISCONNECTION,
    "kicked": ReasonCode.ADMINISTRATIVE_ACTION,
    "keepalive_timeout": ReasonCode.KEEP_ALIVE_TIMEOUT,
    "not_authorized": ReasonCode.NOT_AUTHORIZED,
    "discarded": ReasonCode.SESSION_TAKEN_OVER,
    "takenover": ReasonCode.SESSION_TAKEN_OVER,
    "internal_error": ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    "server_shutting_down": ReasonCode.SERVER_SHUTTING_DOWN,
}
_EVENTS = {
    "on_connected": "client_connected",
    "on_disconnected": "client_disconnected",
    "on_subscribed": "client_subscribed",
    "on_unsubscribed": "client_unsubscribed",
}
"""Hooks, and the settings that switch their messages on."""

_encode = msgspec.json.encode


class SystemTopics(Hooks):
    """Makes the messages of one broker; it is one of the broker's hooks."""

    def __init__(
        self,
        broker: Broker,
        settings: SysTopics,
        *,
        node: str,
        version: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`node` is this HookMQ's name in topics."""
        self.node = node
        self.version = version
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._started = broker.loop.time()
        self._prefix = f"{ROOT}/{node.replace('/', '_').replace('+', '_').replace('#', '_')}"
        self._client = Client(clientid=SENDER, username=None, peername="")
        self._hooked = False  # a webhook's rule names a topic below $SYS
        self._active = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        broker.subscriptions.on_system = self._look
        broker.own_retained = self.find
        self._look()

    # -- whether anybody listens -----------------------------------------------------------------------

    def listens(self, name: str) -> bool:
        return self._active and name in _EVENTS and bool(getattr(self._settings.events, _EVENTS[name]))

    def hook(self, hooked: bool) -> None:
        """Whether webhooks want these messages, too. The caller refreshes the broker's hooks afterwards."""
        self._hooked = hooked
        self._look()

    def _look(self) -> None:
        active = self._hooked or self._broker.subscriptions.system > 0
        if active == self._active:
            return
        self._active = active
        self._broker.hooks.refresh()
        if active:
            self._book("heartbeat", self._settings.sys_heartbeat_interval, self._heartbeat)
            self._book("tick", self._settings.sys_msg_interval, self._tick)
        else:
            self.stop()

    def stop(self) -> None:
        """End the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _book(self, name: str, interval: float | None, call: Callable[[], None]) -> None:
        if interval is not None:
            self._timers[name] = self._broker.loop.call_later(interval, call)

    # -- what has a value ------------------------------------------------------------------------------

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._broker.loop.time() - self._started

    def now(self) -> datetime:
        """The local time, with its zone."""
        return datetime.fromtimestamp(self._clock()).astimezone()

    def _static(self) -> dict[str, str]:
        prefix = self._prefix
        return {
            ROOT: self.node,
            f"{prefix}/version": self.version,
            f"{prefix}/sysdescr": DESCRIPTION,
        }

    def _beat(self) -> dict[str, str]:
        prefix = self._prefix
        return {
            f"{prefix}/uptime": str(int(self.uptime * 1000)),
            f"{prefix}/datetime": self.now().isoformat(timespec="milliseconds"),
        }

    def _numbers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind, values in (("stats", counts(self._broker)), ("metrics", totals(self._broker.stats))):
            for name, value in values.items():
                found[f"{self._prefix}/{kind}/{name.replace('.', '/')}"] = str(value)
        return found

    def find(self, topic_filter: str) -> Iterator[Message]:
        """The messages that a new subscription gets."""
        broker = self._broker
        values = {**self._static(), **self._beat(), **self._numbers()}
        for topic, text in values.items():
            if matches(topic_filter, topic):
                broker.numbered += 1
                packet = Publish(topic, text.encode(), 0, True)
                yield make_message(broker, self._client, packet, broker.now_ms(), broker.numbered)

    def _heartbeat(self) -> None:
        self._book("heartbeat", self._settings.sys_heartbeat_interval, self._heartbeat)
        for topic, text in self._beat().items():
            self._publish(topic, text.encode())

    def _tick(self) -> None:
        self._book("tick", self._settings.sys_msg_interval, self._tick)
        for topic, text in self._static().items():
            self._publish(topic, text.encode(), retain=True)
        for topic, text in self._numbers().items():
            self._publish(topic, text.encode())

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        broker = self._broker
        anyone = broker.subscriptions.match(topic).anyone
        if not (anyone or self._hooked):
            return
        packet = Publish(topic, payload, 0, retain)
        ts = int(self._clock() * 1000)
        broker.numbered += 1
        number = broker.numbered
        if self._hooked:
            for on_published in broker.hooks.on_published:
                on_published(self._client, packet, ts, number)
        if anyone:
            route(broker, make_message(broker, self._client, packet, ts, number), None)

    # -- clients ---------------------------------------------------------------------------------------

    def _of_client(self, client: Client, what: str, body: dict[str, Any]) -> None:
        topic = f"{self._prefix}/clients/{client.clientid}/{what}"
        if valid_topic_name(topic):  # a client id may hold what a topic may not
            self._publish(topic, _encode(body))

    def _common(self, client: Client, ts: int) -> dict[str, Any]:
        port = client.sockname.rpartition(":")[2]
        return {
            "username": client.username or "undefined",
            "ts": ts,
            "sockport": int(port) if port.isdecimal() else 0,
            "protocol": "mqtt",
            "proto_ver": client.proto_ver,
            "proto_name": client.proto_name,
            "ipaddress": client.peerhost,
            "clientid": client.clientid,
            "connected_at": client.connected_at,
        }

    def on_connected(self, client: Client) -> None:
        ts = int(self._clock() * 1000)
        self._of_client(
            client,
            "connected",
            {
                **self._common(client, ts),
                "keepalive": client.keepalive,
                "expiry_interval": client.expiry_interval,
                "connack": 0,
                "clean_start": client.clean_start,
            },
        )
        self._publish(
            CONNECTED,
            _encode(
                {
                    "username": client.username or "",
                    "ts": ts,
                    "proto_name": client.proto_name,
                    "keepalive": client.keepalive,
                    "return_code": "0",
                    "proto_ver": client.proto_ver,
                    "client_id": client.clientid,
                    "clean_start": int(client.clean_start),
                    "IPv4": client.peerhost,
                }
            ),
        )

    def on_disconnected(self, client: Client, reason: str, properties: Properties | None) -> None:
        ts = int(self._clock() * 1000)
        self._of_client(
            client, "disconnected", {**self._common(client, ts), "reason": reason, "disconnected_at": ts}
        )
        self._publish(
            DISCONNECTED,
            _encode(
                {
                    "username": client.username or "",
                    "ts": ts,
                    "reason_code": f"{_CODES.get(reason, ReasonCode.UNSPECIFIED_ERROR):x}",
                    "client_id": client.clientid,
                    "IPv4": client.peerhost,
                }
            ),
        )

    def _of_filter(self, client: Client, what: str, topic_filter: str, more: dict[str, Any]) -> None:
        body = {
            "username": client.username or "undefined",
            "ts": int(self._clock() * 1000),
            "topic": topic_filter,
            **more,
            "protocol": "mqtt",
            "clientid": client.clientid,
        }
        self._of_client(client, what, body)

    def on_subscribed(
        self, client: Client, subscription: Subscription, properties: Properties | None
    ) -> None:
        options = {
            "sub_props": {},
            "rh": subscription.retain_handling,
            "rap": int(subscription.retain_as_published),
            "qos": subscription.qos,
            "nl": int(subscription.no_local),
        }
        self._of_filter(client, "subscribed", subscription.topic_filter, {"subopts": options})

    def on_unsubscribed(
        self, client: Client, topic_filter: str, qos: int, properties: Properties | None
    ) -> None:
        self._of_filter(client, "unsubscribed", topic_filter, {})
