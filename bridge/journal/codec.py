"""How a batch's events stand in a store, and what an event counts for in every bound.

A batch's events are one MessagePack array of arrays (`Event` is array-like: a field may be added at its end,
never moved or removed). Beside them stand the totals of each lane, `{lane: [events, bytes]}`, so that a lane
skips batches that hold nothing for it, and a backlog is counted, without decoding an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bridge.events.event import Event

EVENT_OVERHEAD = 64
"""What an event counts for beside its payload, topic and client id, in bytes."""

DEAD_OVERHEAD = 192
"""What a dead letter counts for beside its event and its error, in bytes."""

Totals = dict[int, list[int]]
"""By lane id: how many events the batch holds for it, and their bytes as `event_size` counts them."""

_encoder = msgspec.msgpack.Encoder()
_events = msgspec.msgpack.Decoder(list[Event])
_event = msgspec.msgpack.Decoder(Event)
_totals = msgspec.msgpack.Decoder(Totals)
_holes = msgspec.msgpack.Decoder(list[int])


def event_size(event: Event) -> int:
    """An event's size in bytes, approximately: the one count for batches, backlogs and memory bounds."""
    return len(event.payload) + len(event.topic) + len(event.clientid) + EVENT_OVERHEAD


def lane_totals(events: Iterable[Event]) -> Totals:
    """The totals of each lane that wants one of these events."""
    # Rules hand the same tuple to all events that match alike, so a run of them costs no look-up.
    by_targets: dict[tuple[int, ...], list[int]] = {}
    last: tuple[int, ...] | None = None
    count = [0, 0]
    for event in events:
        targets = event.targets
        if targets is not last:
            last = targets
            found = by_targets.get(targets)
            if found is None:
                found = by_targets[targets] = [0, 0]
            count = found
        count[0] += 1
        count[1] += len(event.payload) + len(event.topic) + len(event.clientid) + EVENT_OVERHEAD
    totals: Totals = {}
    for targets, (number, size) in by_targets.items():
        for lane in targets:
            if lane in totals:
                totals[lane][0] += number
                totals[lane][1] += size
            else:
                totals[lane] = [number, size]
    return totals


def encode_events(events: Sequence[Event]) -> bytes:
    """The body of a batch."""
    return _encoder.encode(events)


def decode_events(body: bytes) -> list[Event]:
    """The events of a body, at their index; msgspec.DecodeError where it is damaged."""
    return _events.decode(body)


def encode_event(event: Event) -> bytes:
    """One event alone, as it is pinned."""
    return _encoder.encode(event)


def decode_event(data: bytes) -> Event:
    """A pinned event; msgspec.DecodeError where it is damaged."""
    return _event.decode(data)


def encode_totals(totals: Totals) -> bytes:
    """The totals that stand beside a body."""
    return _encoder.encode(totals)


def decode_totals(data: bytes) -> Totals:
    """The totals beside a body; msgspec.DecodeError where they are damaged."""
    return _totals.decode(data)


def encode_holes(holes: Sequence[int]) -> bytes:
    """A cursor's holes."""
    return _encoder.encode(holes)


def decode_holes(data: bytes) -> list[int]:
    """A cursor's holes; msgspec.DecodeError where they are damaged."""
    return _holes.decode(data)
