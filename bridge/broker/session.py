"""A client's session: its subscriptions, what is in flight to it, and what waits for it (section 4.1).

Rules kept here:
* Messages of one topic and QoS leave in the order in which they came ([MQTT-4.6.0-6]).
* At most the client's Receive Maximum of QoS 1 and 2 messages are in flight ([MQTT-3.3.4-7]).
* The queue is bounded in messages and bytes; a full one gives up its oldest message if that is
  QoS 0, else the newest.
* Packet ids of both directions are kept apart ([MQTT-2.2.1-2]).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bridge.broker.client import Client, Message
from bridge.mqtt.packets import Properties, Subscription

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

MAX_PACKET_ID = 65535


class Subscribed:
    """One subscription of a session, with its options and identifier."""

    __slots__ = ("identifier", "options", "session")

    def __init__(self, session: Session, options: Subscription, identifier: int | None) -> None:
        self.session = session
        self.options = options
        self.identifier = identifier


class Delivery:
    """A message on its way to one session. `released`: PUBREC has come, PUBREL is what is in flight."""

    __slots__ = ("identifiers", "message", "qos", "released", "retain", "sent")

    def __init__(self, message: Message, qos: int, retain: bool, identifiers: list[int] | None) -> None:
        self.message = message
        self.qos = qos
        self.retain = retain
        self.identifiers = identifiers
        self.released = False
        self.sent = False  # whether it went out before, so that a resend says DUP


class Session:
    """State that outlives a connection. It lives in the loop's thread; `connection` is None while away."""

    __slots__ = (
        "awaiting_rel",
        "client",
        "clientid",
        "connection",
        "dropped",
        "expires_at",
        "expiry",
        "inflight",
        "next_id",
        "queue",
        "queue_bytes",
        "subscriptions",
        "will_due",
    )

    def __init__(self, clientid: str, expiry: int, client: Client) -> None:
        self.clientid = clientid
        self.expiry = expiry  # seconds after the connection's end; 0: ends with it
        self.client = client  # the latest
        self.connection: Connection | None = None
        self.expires_at: float | None = None  # loop time, while away
        self.subscriptions: dict[str, Subscribed] = {}
        self.inflight: dict[int, Delivery] = {}
        self.queue: deque[Delivery] = deque()
        self.queue_bytes = 0
        self.awaiting_rel: set[int] = set()  # QoS 2 ids received and not yet released
        self.next_id = 0
        self.dropped = 0
        # A delayed will (section 3.1.3.2.2): loop time, message, serial of its connection's row.
        self.will_due: tuple[float, Message, int] | None = None

    @property
    def persistent(self) -> bool:
        """Whether it outlives its connection."""
        return self.expiry > 0

    def enqueue(self, delivery: Delivery, max_len: int, max_bytes: int) -> Delivery | None:
        """Put it at the queue's end; returns the delivery that a full queue gave up instead, if any."""
        size = delivery.message.size
        lost = None
        if len(self.queue) >= max_len or self.queue_bytes + size > max_bytes:
            self.dropped += 1
            if delivery.qos == 0 or not self.queue or self.queue[0].qos > 0:
                return delivery
            lost = self.take()
            if self.queue_bytes + size > max_bytes:
                return delivery
        self.queue.append(delivery)
        self.queue_bytes += size
        return lost

    def take(self) -> Delivery:
        """The queue's first."""
        delivery = self.queue.popleft()
        self.queue_bytes -= delivery.message.size
        return delivery

    def free_id(self) -> int:
        """A packet id that is not in flight ([MQTT-2.2.1-3]); the caller holds fewer than 65,535."""
        number = self.next_id
        inflight = self.inflight
        while True:
            number = number + 1 if number < MAX_PACKET_ID else 1
            if number not in inflight:
                self.next_id = number
                return number


def forwardable(properties: Properties | None) -> Properties | None:
    """The properties of a PUBLISH that go on to subscribers unaltered (section 3.3.2.3).

    Topic alias and subscription identifiers belong to one connection; the expiry is set anew at each send.
    """
    if properties is None:
        return None
    kept = Properties(
        payload_format_indicator=properties.payload_format_indicator,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
        user_property=properties.user_property,
    )
    return kept if kept != Properties() else None
