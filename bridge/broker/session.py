"""A client's session: its subscriptions, what is in flight to it, and what waits for it (section 4.1).

Rules kept here:
* Messages of one topic and QoS leave in the order in which they came ([MQTT-4.6.0-6]).
* At most the client's Receive Maximum of QoS 1 and 2 messages are in flight ([MQTT-3.3.4-7]).
* What is in flight and what is queued are each bounded in messages and bytes; a full queue gives up its
  oldest message if that is QoS 0, else the newest.
* Packet ids of both directions are kept apart ([MQTT-2.2.1-2]).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from bridge.broker.client import Client, Message
from bridge.mqtt.packets import Properties, Subscription, Will
from bridge.mqtt.topic_tree import DEEP

if TYPE_CHECKING:
    from bridge.broker.connection import Connection
    from bridge.broker.queues import Kept

MAX_PACKET_ID = 65535

# What an idle session has none of costs it nothing: these two stand for it until there is some.
_NO_QUEUE: deque[Delivery] = deque()
_NO_IDS: set[int] = set()


class Subscribed:
    """One subscription of a session, with its options and identifier."""

    __slots__ = ("identifier", "options", "session")

    def __init__(self, session: Session, options: Subscription, identifier: int | None) -> None:
        self.session = session
        self.options = options
        self.identifier = identifier


def filter_size(topic_filter: str) -> int:
    """Approximate bytes of memory that a subscription to it takes."""
    size = 512 + len(topic_filter)
    if "+" in topic_filter or "#" in topic_filter:
        levels = topic_filter.count("/") + 1
        size += 128 * levels if levels <= DEEP else 128 * DEEP + 96 * (levels - DEEP)
    return size


class Delivery(msgspec.Struct, gc=False, eq=False):
    """A message on its way to one session. `released`: PUBREC has come, PUBREL is what is in flight.

    `kept`: its place in the store, where the session is stored and the message acknowledged. One that is kept
    and waits may stand in several queues: it is `own`ed before it is sent.
    """

    message: Message
    qos: int
    retain: bool
    identifiers: list[int] | None
    kept: Kept | None = None
    released: bool = False
    counted: bool = False  # in flight, and among what waits (`Waiting`)
    sent: bool = False  # whether it went out before, so that a resend says DUP

    def own(self) -> Delivery:
        """Another one like it."""
        delivery = Delivery(self.message, self.qos, self.retain, self.identifiers)
        delivery.kept = self.kept
        return delivery


class Owed:
    """Retained messages that a subscription has still to get: found one by one, as the client takes them.

    A None among them is a step that found none.
    """

    __slots__ = ("identifiers", "messages", "qos")

    def __init__(self, messages: Iterator[Message | None], qos: int, identifiers: list[int] | None) -> None:
        self.messages = messages
        self.qos = qos
        self.identifiers = identifiers


class Session:
    """State that outlives a connection. It lives in the loop's thread; `connection` is None while away."""

    __slots__ = (
        "awaiting_rel",
        "client",
        "clientid",
        "connection",
        "dropped",
        "ended",
        "expires_at",
        "expiry",
        "inflight",
        "inflight_bytes",
        "next_id",
        "owed",
        "position",
        "queue",
        "queue_bytes",
        "since",
        "stored",
        "subscription_bytes",
        "subscriptions",
        "unsent",
        "will_due",
    )

    def __init__(self, clientid: str, expiry: int, client: Client) -> None:
        self.clientid = clientid
        self.expiry = expiry  # seconds after the connection's end; 0: ends with it
        self.client = client  # the latest
        self.connection: Connection | None = None
        self.expires_at: float | None = None  # loop time, while away
        self.stored = False  # whether the store has a row of it
        self.subscriptions: dict[str, Subscribed] = {}
        self.subscription_bytes = 0
        self.inflight: dict[int, Delivery] = {}
        self.inflight_bytes = 0
        self.queue = _NO_QUEUE
        self.queue_bytes = 0
        self.owed: dict[str, Owed] | None = None  # by topic filter
        self.awaiting_rel = _NO_IDS  # QoS 2 ids received and not yet released
        self.next_id = 0
        self.since = 0  # of a stored one: messages with a lower sequence were before it
        self.position = 0  # and those with a lower one than this were sent
        self.unsent = 0  # bytes of messages in flight that go out when a commit is durable
        self.dropped = 0
        self.ended = False  # it is no more, and gets nothing; its subscriptions go in steps
        # A delayed will (section 3.1.3.2.2): loop time, client, will, serial of its connection's row.
        self.will_due: tuple[float, Client, Will, int] | None = None

    @property
    def persistent(self) -> bool:
        """Whether it outlives its connection."""
        return self.expiry > 0

    def enqueue(self, delivery: Delivery, max_len: int, max_bytes: int) -> list[Delivery]:
        """Put it at the queue's end; returns the deliveries that were given up, itself perhaps among them."""
        size = delivery.message.size
        lost: list[Delivery] = []
        while len(self.queue) >= max_len or self.queue_bytes + size > max_bytes:
            self.dropped += 1
            if delivery.qos == 0 or size > max_bytes or not self.queue or self.queue[0].qos > 0:
                lost.append(delivery)
                return lost
            lost.append(self.take())
        if self.queue is _NO_QUEUE:
            self.queue = deque()
        self.queue.append(delivery)
        self.queue_bytes += size
        return lost

    def restore(self, delivery: Delivery) -> None:
        """Put it at the queue's end, whatever the bounds are now."""
        if self.queue is _NO_QUEUE:
            self.queue = deque()
        self.queue.append(delivery)
        self.queue_bytes += delivery.message.size

    def disown(self) -> None:
        """What waits is kept in memory alone."""
        waiting = [delivery.own() for delivery in self.queue]
        for delivery in waiting:
            delivery.kept = None
        if waiting:
            self.queue = deque(waiting)

    def take(self) -> Delivery:
        """The queue's first."""
        delivery = self.queue.popleft()
        self.queue_bytes -= delivery.message.size
        return delivery

    def launch(self, delivery: Delivery) -> int:
        """Put a QoS 1 or 2 delivery in flight under a packet id that is free ([MQTT-2.2.1-3]).

        The caller has seen to it that fewer than 65,535 are in flight.
        """
        number = self.next_id
        inflight = self.inflight
        while True:
            number = number + 1 if number < MAX_PACKET_ID else 1
            if number not in inflight:
                break
        self.next_id = number
        inflight[number] = delivery
        self.inflight_bytes += delivery.message.size
        return number

    def land(self, packet_id: int) -> None:
        """The delivery is acknowledged, or given up."""
        self.inflight_bytes -= self.inflight.pop(packet_id).message.size

    def await_rel(self, packet_id: int) -> None:
        """A QoS 2 PUBLISH was taken; its PUBREL is awaited."""
        if self.awaiting_rel is _NO_IDS:
            self.awaiting_rel = set()
        self.awaiting_rel.add(packet_id)


def will_delay(will: Will | None) -> int:
    """The Will Delay Interval in seconds (section 3.1.3.2.2)."""
    if will is None or will.properties is None:
        return 0
    return will.properties.will_delay_interval or 0


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
