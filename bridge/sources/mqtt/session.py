"""What HookMQ's session at another broker has in the store: topic filters, and open QoS 2 packets.

A packet identifier of QoS 2 is stored with the event of its message, and goes with the PUBREL: a message
whose PUBREC was lost comes again, and is known ([MQTT-4.3.3-10] of MQTT 5.0, also over the end of a process).
"""

from __future__ import annotations

import msgspec

from bridge.config.settings import BridgeSubscription
from bridge.journal.journal import Journal

_SUBSCRIBED = "subscribed"
_decode = msgspec.json.Decoder(list[tuple[str, int, bool, int]]).decode


class SessionState:
    """The state of one bridge's session. Changes join the journal's open batch."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal = journal
        self._space = f"bridge-session:{name}"
        rows = dict(journal.store.load(self._space))
        subscribed = rows.pop(_SUBSCRIBED, b"[]")
        self._subscribed = {one[0]: one for one in _decode(subscribed)}
        self._open = {int(key) for key in rows}

    def begin(self) -> None:
        """The broker has no session of ours: what we know of one holds no more."""
        for number in self._open:
            self._journal.put(self._space, str(number), None)
        self._open.clear()
        if self._subscribed:
            self._subscribed.clear()
            self._journal.put(self._space, _SUBSCRIBED, None)

    def missing(self, wanted: tuple[BridgeSubscription, ...]) -> tuple[list[BridgeSubscription], list[str]]:
        """What is to be subscribed to, and which filters no more."""
        filters = {one.remote_topic for one in wanted}
        new = [one for one in wanted if self._subscribed.get(one.remote_topic) != _row(one)]
        return new, [name for name in self._subscribed if name not in filters]

    def subscribed(self, one: BridgeSubscription) -> None:
        """The broker has granted a subscription."""
        self._subscribed[one.remote_topic] = _row(one)
        self._keep()

    def unsubscribed(self, topic_filter: str) -> None:
        """A subscription has ended."""
        if self._subscribed.pop(topic_filter, None) is not None:
            self._keep()

    def _keep(self) -> None:
        self._journal.put(self._space, _SUBSCRIBED, msgspec.json.encode(list(self._subscribed.values())))

    def seen(self, packet_id: int) -> bool:
        """Whether a QoS 2 message of that packet identifier was taken already."""
        return packet_id in self._open

    def received(self, packet_id: int) -> None:
        """A QoS 2 message was taken."""
        self._open.add(packet_id)
        self._journal.put(self._space, str(packet_id), b"")

    def released(self, packet_id: int) -> None:
        """Its PUBREL has come."""
        if packet_id in self._open:
            self._open.discard(packet_id)
            self._journal.put(self._space, str(packet_id), None)


def _row(one: BridgeSubscription) -> tuple[str, int, bool, int]:
    return one.remote_topic, one.qos, one.retain_as_published, one.retain_handling
