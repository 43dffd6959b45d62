"""The order of one client's lifecycle events: while one of them is not settled, its later ones wait.

The first unsettled event of a key is its blocker. Later ones are parked in ascending sequence and go one by
one, each after the one before it is settled. A key without an unsettled event is not here.
"""

from __future__ import annotations

from collections import deque

from bridge.events.event import Event


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
