"""Which events keep their order: while one of a key is not settled, its later ones wait.

The first unsettled event of a key is its blocker. Later ones are parked in ascending sequence and go one by
one, each after the one before it is settled. A key without an unsettled event is not here.

What the key is says `webhook.ordering`:
* none: lifecycle events of one client; messages have no key and wait for nobody.
* client: all events of one client, or of one source of business events. Those of a message that was
  delivered or acked are its receiver's.
* topic: all message events of one topic, all business events of one type; lifecycle events as under `none`.
* endpoint: all events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bridge.events.event import MESSAGE_EVENTS, Event, EventType

_DOMAIN = int(EventType.DOMAIN)
MESSAGES = frozenset(int(kind) for kind in MESSAGE_EVENTS) | {_DOMAIN}
"""The types of event that wait for nobody under `none`: messages, and events of business systems."""
ALL = "*"
"""The one key of `endpoint`."""


class Queue:
    """The events parked behind one blocker. `waiting`: the blocker waits for a retry, it is not in flight.

    An item's event is None while it is in the store alone.
    """

    __slots__ = ("items", "waiting")

    def __init__(self) -> None:
        self.items: deque[tuple[int, Event | None]] = deque()
        self.waiting = False


class Order:
    """The blocked keys. Most have nothing parked, and then only their name is here."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[str, Queue | None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def admit(self, key: str) -> bool:
        """Make an event the key's blocker; False if there is one, and the event must be parked."""
        if key in self._keys:
            return False
        self._keys[key] = None
        return True

    def queue(self, key: str) -> Queue:
        """The queue of a blocked key."""
        queue = self._keys.get(key)
        if queue is None:
            queue = self._keys[key] = Queue()
        return queue

    def parked(self, key: str) -> Queue | None:
        """The queue of a key if something is parked in it."""
        queue = self._keys.get(key)
        return queue if queue is not None and queue.items else None

    def waiting(self, key: str) -> bool:
        """Whether the key's blocker waits for a retry."""
        queue = self._keys.get(key)
        return queue is not None and queue.waiting

    def in_flight(self, key: str) -> None:
        """The key's blocker, which waited for a retry, is being sent."""
        queue = self._keys.get(key)
        if queue is not None:
            queue.waiting = False

    def release(self, key: str) -> Queue | None:
        """The blocker is settled: the queue whose first item becomes the blocker; None if nothing waits."""
        queue = self._keys.get(key)
        if queue is None or not queue.items:
            self._keys.pop(key, None)
            return None
        queue.waiting = False
        return queue


KeyOf = Callable[[Event], str]


def key_function(ordering: str) -> KeyOf:
    """The key of an event under one of the orderings; empty if it waits for nobody."""
    return {"none": _lifecycle, "client": _client, "topic": _topic, "endpoint": _endpoint}[ordering]


def _lifecycle(event: Event) -> str:
    return "" if event.type in MESSAGES else event.clientid


def _client(event: Event) -> str:
    data = event.data
    if data is not None and event.type != _DOMAIN:
        receiver = data.get("to_clientid")
        if receiver:
            return str(receiver)
    return event.clientid


def _topic(event: Event) -> str:
    # The prefix only keeps a topic from waiting for a client of the same name.
    return "topic:" + event.topic if event.type in MESSAGES else event.clientid


def _endpoint(event: Event) -> str:
    return ALL
