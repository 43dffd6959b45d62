"""What a lane writes down of what it has begun: rows for what is tried again, and frozen groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from bridge.journal.batch import Change
from bridge.journal.store import Store, lane_space

GROUP = 1 << 62
"""Group numbers begin here; no event has such a sequence."""


class Outbox(Protocol):
    """What a lane needs of the journal."""

    store: Store

    def change(self, change: Change) -> None:
        """Join the next batch; it is committed soon, in one transaction with the lane's `cursor()`."""

    def after(self, call: Callable[..., Any], *args: Any) -> None:
        """Call once all that joined before is durable."""


class Row(msgspec.Struct, gc=False):
    """What is tried again as one request, without its events: one event, or a frozen group of several.

    `seq` is the event's sequence, or the group's number. `first` is Unix ms of the first attempt, 0 before
    it. `seqs` are the events, ascending, `keys` their order keys (empty: none), one for each. `rowed` are
    those of them that have a row in the store, `pinned` their bytes.
    """

    seq: int
    attempt: int
    first: int
    seqs: tuple[int, ...]
    keys: tuple[str, ...]
    rowed: tuple[int, ...]
    pinned: int
    size: int

    @property
    def group(self) -> bool:
        """Whether it is a frozen group."""
        return self.seq >= GROUP

    def blocked(self) -> Iterable[str]:
        """The keys that it blocks, each once."""
        if len(self.keys) == 1:
            return self.keys if self.keys[0] else ()
        return [key for key in dict.fromkeys(self.keys) if key]


_seqs = msgspec.msgpack.Decoder(tuple[int, ...])


def group_space(lane: int) -> str:
    """The space of the state rows of a lane's frozen groups: by number, the sequences."""
    return lane_space("groups", lane)


def encode_seqs(seqs: tuple[int, ...]) -> bytes:
    """A group's events as they are stored."""
    return msgspec.msgpack.encode(seqs)


def decode_seqs(data: bytes) -> tuple[int, ...]:
    """A stored group's events; msgspec.DecodeError where it is damaged."""
    return _seqs.decode(data)
