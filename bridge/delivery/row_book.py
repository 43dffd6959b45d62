"""The rows of one lane: what of the events it has begun is written down, counted, and read again.

An event that fails leaves the cursor for a row, which pins it in the store; a group's events do so together.
When rows are sent, and in which order, is in `bridge.delivery.retries`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from bridge.config.settings import title
from bridge.delivery.report import FailureLog
from bridge.delivery.rows import Outbox, Row, encode_seqs, group_space
from bridge.events.event import Event
from bridge.journal.batch import Dead, Put, Retry, Settle
from bridge.journal.store import StoreError

log = logging.getLogger(__name__)


class RowBook:
    """The rows and frozen groups of a lane. Every change goes to the store through `outbox`; `on_row` is
    called when the cursor has to be committed together with it."""

    def __init__(
        self, lane: int, name: str, outbox: Outbox, failures: FailureLog, on_row: Callable[[], None]
    ) -> None:
        self.rows: dict[int, Row] = {}
        self.frozen: dict[int, Row] = {}  # groups before their first outcome
        self.count = 0  # events with a row
        self.bytes = 0  # that those rows pin
        self.unstored: set[int] = set()  # got a row since the last commit
        self.lane = lane
        self.name = name
        self.outbox = outbox
        self.store = outbox.store
        self._space = group_space(lane)
        self._failures = failures
        self._on_row = on_row

    # -- a row begins ----------------------------------------------------------------------------------

    def new_row(self, seq: int, key: str, size: int) -> Row:
        """An event leaves the cursor; the change that stores its row follows."""
        row = self.rows[seq] = Row(seq, 0, 0, (seq,), (key,), (seq,), size, size)
        self.count += 1
        self.bytes += size
        self.unstored.add(seq)
        self._on_row()
        return row

    def freeze(self, row: Row, taken: Iterable[Row]) -> None:
        """A group before its first attempt; `taken` are the rows of its events that had one."""
        self.frozen[row.seq] = row
        for each in taken:
            self.rows.pop(each.seq, None)
        self.outbox.change(Put(self._space, f"{row.seq:016x}", encode_seqs(row.seqs)))
        self._on_row()

    def _enter(self, row: Row) -> None:
        """A group has failed for the first time: its events leave the cursor."""
        self.rows[row.seq] = row
        self.unstored.update(row.seqs)
        self.count += len(row.seqs) - len(row.rowed)
        self.bytes += row.size - row.pinned
        row.rowed = row.seqs
        row.pinned = row.size
        self._on_row()

    # -- its outcomes ----------------------------------------------------------------------------------

    def failed(self, row: Row, now: int, wait: int, error: str) -> None:
        """An attempt has failed, and the next is in `wait` ms; `now` is Unix ms."""
        if self.frozen.pop(row.seq, None) is not None:
            self._enter(row)
        change = self.outbox.change
        for seq, key in zip(row.seqs, row.keys, strict=True):
            change(Retry(self.lane, seq, row.attempt, now + wait, wait, row.first, key, error))

    def settle(self, row: Row) -> None:
        """What a row or a group stands for was delivered. Its keys are the caller's to release."""
        for seq in row.rowed:
            self.outbox.change(Settle(self.lane, seq))
        self._leave(row)

    def _leave(self, row: Row) -> None:
        self.rows.pop(row.seq, None)
        self.frozen.pop(row.seq, None)
        self.count -= len(row.rowed)
        self.bytes -= row.pinned
        if row.group:
            self.outbox.change(Put(self._space, f"{row.seq:016x}", None))
            self._on_row()

    def bury(self, row: Row, now: int, error: str) -> None:
        """Make its events dead letters. Its keys are the caller's to release."""
        if self.frozen.pop(row.seq, None) is not None:
            self._enter(row)
        for seq, key in zip(row.seqs, row.keys, strict=True):
            if seq in self.unstored:  # a dead letter comes from a row
                self.outbox.change(Retry(self.lane, seq, row.attempt, now, 0, row.first, key, error))
            self.outbox.change(Dead(self.lane, seq, row.attempt, now, error))
        self._leave(row)

    # -- its events ------------------------------------------------------------------------------------

    def fetch(self, seqs: Sequence[int]) -> dict[int, Event] | None:
        """The events of rows; None if the store cannot be read now."""
        try:
            return self.store.fetch(seqs)
        except StoreError as error:
            self._failures.store(error)
            return None

    def present(self, row: Row, events: dict[int, Event]) -> list[Event]:
        """A row's events in their order; those that the store has no more leave it, the last one with it:
        then its keys are the caller's to release."""
        lost = [seq for seq in row.seqs if seq not in events]
        if not lost:
            return [events[seq] for seq in row.seqs]
        for seq in lost:
            self._lost(seq)
        if len(lost) == len(row.seqs):
            self.settle(row)
            return []
        kept = [(seq, key) for seq, key in zip(row.seqs, row.keys, strict=True) if seq in events]
        rowed = tuple([seq for seq in row.rowed if seq in events])
        for seq in set(row.rowed).difference(rowed):
            self.outbox.change(Settle(self.lane, seq))
        self.count -= len(row.rowed) - len(rowed)
        row.seqs = tuple([seq for seq, _ in kept])
        row.keys = tuple([key for _, key in kept])
        row.rowed = rowed
        return [events[seq] for seq in row.seqs]

    def _lost(self, seq: int) -> None:
        """Nothing can be sent for it."""
        log.error("%s: the store has lost the event %x that was to be retried", title(self.name), seq)
