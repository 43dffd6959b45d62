"""amqtt as a source: what its broker tells its plugins, as events (`bridge.amqtt_plugin` is the plugin).

A plugin is told of a message after its publisher is, and of a client's end without a reason. What it is not
told is `"undefined"`.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.interface import UNDEFINED
from bridge.sources.recorder import NotTaken, Recorder

log = logging.getLogger(__name__)

PROTO_VER = 4
"""amqtt speaks MQTT 3.1.1 alone."""
LOG_EVERY_S = 60.0
_GIVEN = frozenset(
    {
        EventType.CLIENT_CONNECTED,
        EventType.CLIENT_DISCONNECTED,
        EventType.SESSION_SUBSCRIBED,
        EventType.SESSION_UNSUBSCRIBED,
        EventType.MESSAGE_PUBLISH,
    }
)


class AmqttFeed:
    """Events of amqtt's sessions and messages. For the loop's thread."""

    def __init__(self, recorder: Recorder) -> None:
        self.counts = {"events": 0, "lost": 0}
        self._recorder = recorder
        self._clients: dict[str, tuple[str | None, str, int]] = {}  # user name, address and when it came
        self._tell_at = 0.0

    @property
    def missing(self) -> list[str]:
        """The events that the rules want and amqtt does not tell of."""
        rules = self._recorder.rules
        return [kind.dotted for kind in HOOK_EVENTS if kind not in _GIVEN and rules.wants(kind)]

    def connected(self, session: Any) -> None:
        """A client has connected; `session` is amqtt's."""
        clientid = session.client_id or UNDEFINED
        now = _now()
        address = session.remote_address or ""
        peername = f"{address}:{session.remote_port}" if address and session.remote_port else ""
        self._clients[clientid] = (session.username or None, peername, now)
        data = {
            "keepalive": session.keep_alive,
            "proto_ver": PROTO_VER,
            "ipaddress": address or UNDEFINED,
            "connected_at": now,
            "clean_start": bool(session.clean_session),
            **dict.fromkeys(("expiry_interval", "receive_maximum", "is_bridge", "sockname"), UNDEFINED),
        }
        self._happened(EventType.CLIENT_CONNECTED, clientid, now, data)

    def disconnected(self, clientid: str) -> None:
        """A client is gone."""
        known = self._clients.get(clientid)
        data = {
            "reason": UNDEFINED,
            "sockname": UNDEFINED,
            "proto_ver": PROTO_VER,
            "connected_at": UNDEFINED if known is None else known[2],
        }
        self._happened(EventType.CLIENT_DISCONNECTED, clientid, _now(), data)
        self._clients.pop(clientid, None)

    def subscribed(self, clientid: str, topic: str, qos: int) -> None:
        """A subscription was granted."""
        self._happened(EventType.SESSION_SUBSCRIBED, clientid, _now(), None, topic, qos)

    def unsubscribed(self, clientid: str, topic: str) -> None:
        """A subscription has ended."""
        self._happened(EventType.SESSION_UNSUBSCRIBED, clientid, _now(), {"qos": UNDEFINED}, topic)

    def published(self, clientid: str, message: Any) -> None:
        """A message that its publisher may publish; `message` is amqtt's."""
        packet = message.publish_packet
        retain = None if packet is None else bool(packet.retain_flag)
        self._record(
            Event(
                EventType.MESSAGE_PUBLISH,
                _now(),
                *self._who(clientid),
                (),
                message.topic,
                bytes(message.data or b""),
                message.qos or 0,
                retain,
                {"dup": UNDEFINED},
            )
        )

    def _who(self, clientid: str) -> tuple[str, str | None, str]:
        username, peername, _ = self._clients.get(clientid) or (None, "", 0)
        return clientid, username, peername

    def _happened(
        self,
        kind: EventType,
        clientid: str,
        ts: int,
        data: dict[str, Any] | None,
        topic: str = "",
        qos: int = 0,
    ) -> None:
        self._record(Event(kind, ts, *self._who(clientid), (), topic, qos=qos, data=data))

    def _record(self, event: Event) -> None:
        try:
            self.counts["events"] += self._recorder.record(event)
        except NotTaken as error:  # its publisher has its PUBACK already
            self.counts["lost"] += 1
            now = time.monotonic()
            if now >= self._tell_at:
                self._tell_at = now + LOG_EVERY_S
                log.error("amqtt: events are lost, amqtt cannot be made to wait: %s", error)


def _now() -> int:
    return int(time.time() * 1000)
