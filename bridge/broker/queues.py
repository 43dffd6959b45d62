"""What waits for stored sessions, on disk: messages once for all of them, and how far each session is.

* A chunk holds the messages that one commit brought for stored sessions, with the sessions that get each.
  It is written once, and deleted when nobody needs any of its messages. One of which little is still needed
  is written anew without the rest, so that a slow session holds little more than its own messages.
* A row for each session says up to where its messages were sent, and which of those are in flight under which
  packet id. What lies below and is not in flight is settled: an acknowledgement writes nothing of its own.

A row joins the commit at once where exactly-once needs it (QoS 2: the packet id before the PUBLISH is sent,
PUBREC before the PUBREL), else within `LAZY_S`: after a crash a QoS 1 message may come twice, with DUP.

Everything is in memory too; the store is read at start alone, and to write a chunk anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from bridge.broker.records import (
    QOS_BITS,
    RETAIN_BIT,
    ChunkRow,
    Clock,
    Sender,
    decode_chunk,
    decode_entry,
    encode,
    entry_of,
    sender_client,
    sender_of,
)
from bridge.broker.session import Delivery, Session
from bridge.broker.waiting import DELIVERY_SIZE
from bridge.journal.batch import Change, Chunk, Put
from bridge.journal.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.broker.client import Client, Message
    from bridge.broker.server import Broker

log = logging.getLogger(__name__)

OUTGOING = "outgoing"
"""The space of the rows."""
LAZY_S = 0.05
"""How much later than an acknowledgement its row is written, at most while there are few."""
LAZY_ROWS = 256
"""Rows that one commit writes without need, at most."""
SPARSE = 4
"""A chunk is written anew when less than this part of it is needed."""
SPARSE_BYTES = 8192
"""Chunks below this size are not."""
COMPACT_STEP = 16
"""Chunks that are written anew in one go."""

_NOBODY: list[int] = []
_INDEX_BITS = 16
_CHUNK_ENTRIES = (1 << _INDEX_BITS) - 1


class OutgoingRow(msgspec.Struct, array_like=True):
    """How far a session is. `inflight` has three numbers for each: sequence, packet id, whether PUBREC came.

    `window` is how many may be in flight to its connection; `next_id` is the latest packet id.
    """

    position: int
    next_id: int
    window: int
    inflight: list[int]


class _Chunk:
    """`durable`: it is safe."""

    __slots__ = ("cost", "durable", "entries", "live", "live_cost", "number", "places", "ripe")

    def __init__(self, number: int) -> None:
        self.number = number
        self.entries: list[Kept | None] = []
        self.places: dict[Session, int] = {}  # of the sessions that are named, until it is encoded
        self.live = 0  # entries that are needed
        self.cost = 0  # bytes, as `Message.size` counts, of all that it holds
        self.live_cost = 0  # and of what is needed
        self.durable = False
        self.ripe = False  # was found sparse by the sweep before


class Kept:
    """A message in a chunk, and how many deliveries need it. `seq` orders all of them.

    `to` and `identifiers` are those of `Entry`, until it is encoded.
    """

    __slots__ = ("chunk", "identifiers", "message", "refs", "seq", "to")

    def __init__(self, chunk: _Chunk, seq: int, message: Message) -> None:
        self.chunk = chunk
        self.seq = seq
        self.message = message
        self.refs = 0
        self.to: list[int] = []
        self.identifiers: dict[int, list[int]] | None = None


class Queues:
    """Keeps what stored sessions are to get. `max_bytes` bounds what waits, over all sessions."""

    def __init__(self, broker: Broker, max_bytes: int) -> None:
        self._broker = broker
        self._journal = broker.journal
        self._max_bytes = max_bytes
        # Batch numbers leap at every opening, and no commit makes more than a few chunks.
        self._chunk = _Chunk(broker.journal.store.next_batch << 8)
        self._full: list[_Chunk] = []
        self._urgent: dict[Session, None] = {}
        self._lazy: dict[Session, None] = {}
        self._waking = False  # a timer runs that makes the lazy rows due
        self._due = False
        self._finishing = False
        self._changes: list[Change] = []  # for the next commit
        self._sparse: dict[int, _Chunk] = {}
        self.bytes = 0  # held for all sessions together, approximately

    @property
    def position(self) -> int:
        """The sequence of the message that comes next."""
        chunk = self._chunk
        return chunk.number << _INDEX_BITS | len(chunk.entries)

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return self.bytes >= self._max_bytes

    # -- messages ------------------------------------------------------------------------------------------

    def add(self, message: Message) -> Kept:
        """A place for a message; it is written if a session claims it before the turn's end."""
        chunk = self._chunk
        entries = chunk.entries
        if not entries:
            self._journal.after(self._stored, chunk)
        elif len(entries) == _CHUNK_ENTRIES:
            self._full.append(chunk)
            chunk = self._chunk = _Chunk(chunk.number + 1)
            entries = chunk.entries
            self._journal.after(self._stored, chunk)
        kept = Kept(chunk, chunk.number << _INDEX_BITS | len(entries), message)
        entries.append(kept)
        return kept

    def claim(self, kept: Kept, session: Session, delivery: Delivery) -> None:
        """The session is to get this message, which was added in this turn; once for each `Kept`.

        `refer` has to follow before anything else happens.
        """
        chunk = kept.chunk
        places = chunk.places
        place = places.get(session)
        if place is None:
            place = places[session] = len(places)
        kept.to += (place, delivery.qos | RETAIN_BIT if delivery.retain else delivery.qos)
        if delivery.identifiers is not None:
            if kept.identifiers is None:
                kept.identifiers = {}
            kept.identifiers[place] = delivery.identifiers
        delivery.kept = kept

    def refer(self, kept: Kept) -> None:
        """All sessions that get the message have claimed it."""
        more = (len(kept.to) >> 1) - kept.refs
        if more:
            if not kept.refs:
                self._need(kept, kept.chunk)
            kept.refs += more
            self.bytes += more * DELIVERY_SIZE

    def _need(self, kept: Kept, chunk: _Chunk) -> None:
        size = kept.message.size
        chunk.live += 1
        chunk.live_cost += size
        chunk.cost += size
        self.bytes += size

    def _release(self, kept: Kept) -> None:
        self.bytes -= DELIVERY_SIZE
        kept.refs -= 1
        if not kept.refs:
            self._unneeded(kept)

    def _unneeded(self, kept: Kept) -> None:
        chunk = kept.chunk
        chunk.entries[kept.seq & _CHUNK_ENTRIES] = None
        chunk.live -= 1
        chunk.live_cost -= kept.message.size
        if not chunk.live:
            if chunk.durable:
                self._delete(chunk)
        elif chunk.live_cost * SPARSE < chunk.cost and chunk.cost > SPARSE_BYTES and chunk.durable:
            self._sparse[chunk.number] = chunk

    def _delete(self, chunk: _Chunk) -> None:
        self._changes.append(Chunk(chunk.number, None))
        self.bytes -= chunk.cost
        chunk.cost = 0
        self._sparse.pop(chunk.number, None)

    def _stored(self, chunk: _Chunk) -> None:
        """The chunk's commit is durable."""
        chunk.durable = True
        if not chunk.live and chunk.cost:
            # Settled before it was there: it was left out, or is deleted now.
            self._delete(chunk)
            self._journal.touch()

    # -- sessions ------------------------------------------------------------------------------------------

    def launch(self, kept: Kept, session: Session, delivery: Delivery) -> int:
        """Put a message of the session in flight, to be sent once that is durable; its packet id.

        All that the session has to get before was launched before.
        """
        packet_id = session.launch(delivery)
        session.unsent += delivery.message.size
        session.position = kept.seq + 1
        if delivery.qos == 2:
            self._urgent[session] = None
        elif session not in self._lazy:
            self._mark(session)
        return packet_id

    def released(self, session: Session) -> None:
        """PUBREC has come: stored before the PUBREL that the caller lets wait for the commit."""
        self._urgent[session] = None

    def settle(self, session: Session, delivery: Delivery) -> None:
        """The session needs the message no more."""
        kept = delivery.kept
        if kept is not None:
            delivery.kept = None
            self.bytes -= DELIVERY_SIZE
            kept.refs -= 1
            if not kept.refs:
                self._unneeded(kept)
            if session not in self._lazy:
                self._mark(session)

    def _mark(self, session: Session) -> None:
        self._lazy[session] = None
        if not self._waking:
            self._waking = True
            self._broker.loop.call_later(LAZY_S, self._wake)

    def _wake(self) -> None:
        self._waking = False
        self._due = True
        self._journal.touch()

    def away(self, session: Session) -> None:
        """Its connection has ended: what is in flight is known from the next commit on."""
        if session in self._lazy:
            self._urgent[session] = None

    def forget(self, session: Session, *, ends: bool) -> None:
        """The session is stored no more: nothing of it stays in the store. `ends`: nor anywhere else."""
        for delivery in session.queue:
            if delivery.kept is not None:
                self._release(delivery.kept)
        for delivery in session.inflight.values():
            if delivery.kept is not None:
                self._release(delivery.kept)
                delivery.kept = None
        if not ends:
            for delivery in session.queue:
                if delivery.kept is not None:
                    self._broker.waiting.add(delivery.message)
            session.disown()
        self._urgent.pop(session, None)
        self._lazy.pop(session, None)
        self._changes.append(Put(OUTGOING, session.clientid, None))

    def finish(self) -> None:
        """The process ends: the next commit writes all."""
        self._due = self._finishing = True

    # -- the commit ----------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """What the commit that is being made has to hold."""
        changes, self._changes = self._changes, []
        chunk = self._chunk
        if chunk.entries:
            for full in self._full:
                self._write(full, changes)
            self._full.clear()
            self._write(chunk, changes)
            self._chunk = _Chunk(chunk.number + 1)
        if self._urgent:
            for session in self._urgent:
                self._lazy.pop(session, None)
                changes.append(self._row(session))
            self._urgent.clear()
        if self._due or self._finishing:
            self._due = False
            lazy = self._lazy
            for session in list(lazy) if self._finishing else list(islice(lazy, LAZY_ROWS)):
                del lazy[session]
                changes.append(self._row(session))
            if lazy and not self._waking:
                self._waking = True
                self._broker.loop.call_later(LAZY_S, self._wake)
        return changes

    def _write(self, chunk: _Chunk, changes: list[Change]) -> None:
        places, chunk.places = chunk.places, {}
        if not chunk.live:
            self.bytes -= chunk.cost
            chunk.cost = 0
            return
        broker = self._broker
        clock = broker.stored_clock()
        senders: dict[Client, int] = {}
        entries: list[object] = []
        for kept in chunk.entries:
            if kept is None or not kept.refs:
                entries.append(None)
                continue
            message = kept.message
            client = message.client
            sender = senders.get(client)
            if sender is None:
                sender = senders[client] = len(senders)
            entries.append(entry_of(message, sender, clock, kept.to, kept.identifiers))
            kept.to = _NOBODY
            kept.identifiers = None
        sessions = [session.clientid for session in places]
        body = encode((broker.origin, sessions, [sender_of(client) for client in senders], entries))
        changes.append(Chunk(chunk.number, body))

    def _row(self, session: Session) -> Put:
        inflight: list[int] = []
        for packet_id, delivery in session.inflight.items():
            kept = delivery.kept
            if kept is not None:
                inflight += (kept.seq, packet_id, 1 if delivery.released else 0)
        connection = session.connection
        window = 0 if connection is None else connection.peer_receive_maximum
        return Put(OUTGOING, session.clientid, encode((session.position, session.next_id, window, inflight)))

    # -- from time to time ---------------------------------------------------------------------------------

    def compact(self) -> None:
        """Write some chunks anew of which little is needed, if they still are there at the second look."""
        if not self._sparse:
            return
        for chunk in list(islice(self._sparse.values(), COMPACT_STEP)):
            if not chunk.ripe:
                chunk.ripe = True
                continue
            del self._sparse[chunk.number]
            chunk.ripe = False
            try:
                self._compact(chunk)
            except (StoreError, msgspec.MsgspecError) as error:
                log.debug("a chunk of queued messages was not written anew: %s", error)
        self._journal.touch()

    def _compact(self, chunk: _Chunk) -> None:
        body = self._journal.store.chunk(chunk.number)
        if body is None:
            return
        row = decode_chunk(body)
        for index, kept in enumerate(chunk.entries):
            if kept is None:
                row.entries[index] = None
        self._changes.append(Chunk(chunk.number, encode(row)))
        self.bytes -= chunk.cost - chunk.live_cost
        chunk.cost = chunk.live_cost

    # -- at start ------------------------------------------------------------------------------------------

    def load(self, sessions: Mapping[str, Session], connected: set[str]) -> Iterator[None]:
        """Give every session what it had to get; yields from time to time.

        What was sent to those that were `connected` after their last row is not known: as much as their
        windows took is taken for sent, so that it goes out with DUP and, as far as can be, its packet id.
        """
        store = self._journal.store
        decode = msgspec.msgpack.Decoder(OutgoingRow).decode
        rows: dict[str, OutgoingRow] = {}
        flying: dict[str, dict[int, Delivery | None]] = {}
        for clientid, value in store.load(OUTGOING):
            session = sessions.get(clientid)
            if session is None:
                self._changes.append(Put(OUTGOING, clientid, None))
                continue
            row = rows[clientid] = decode(value)
            session.position = row.position
            session.next_id = row.next_id
            flying[clientid] = dict.fromkeys(row.inflight[::3])
        clock = self._broker.stored_clock()
        for number, body in store.chunks():
            self._load_chunk(number, decode_chunk(body), sessions, flying, clock)
            yield
        for clientid, row in rows.items():
            session = sessions[clientid]
            found = flying[clientid]
            for at in range(0, len(row.inflight), 3):
                seq, packet_id, released = row.inflight[at : at + 3]
                delivery = found[seq]
                if delivery is not None:
                    delivery.sent = True
                    delivery.released = bool(released)
                    session.inflight[packet_id] = delivery
                    session.inflight_bytes += delivery.message.size
            if clientid in connected:
                self._presume(session, row.window)

    def _presume(self, session: Session, window: int) -> None:
        queue = session.queue
        while queue and queue[0].qos == 1 and len(session.inflight) < window:
            delivery = session.take().own()
            delivery.sent = True
            if delivery.kept is not None:
                self.launch(delivery.kept, session, delivery)
                session.unsent = 0

    def _load_chunk(
        self,
        number: int,
        row: ChunkRow,
        sessions: Mapping[str, Session],
        flying: Mapping[str, dict[int, Delivery | None]],
        clock: Clock,
    ) -> None:
        chunk = _Chunk(number)
        chunk.durable = True
        named = [sessions.get(clientid) for clientid in row.sessions]
        senders = _clients(row.senders)
        needed = 0
        for index, entry in enumerate(row.entries):
            chunk.entries.append(None)
            if entry is None:
                continue
            seq = number << _INDEX_BITS | index
            kept: Kept | None = None
            alike: dict[int, Delivery] = {}  # those that wait, by their flags
            for at in range(0, len(entry.to), 2):
                place, flags = entry.to[at : at + 2]
                session = named[place]
                if session is None:
                    continue
                found = flying.get(session.clientid)
                in_flight = found is not None and seq in found
                if not in_flight and seq < session.position:
                    continue
                if kept is None:
                    message = decode_entry(entry, senders, clock, row.origin)
                    kept = chunk.entries[index] = Kept(chunk, seq, message)
                    kept.to = _NOBODY
                    self._need(kept, chunk)
                    needed += 1
                kept.refs += 1
                self.bytes += DELIVERY_SIZE
                identifiers = None if entry.identifiers is None else entry.identifiers.get(place)
                delivery = alike.get(flags) if identifiers is None and not in_flight else None
                if delivery is None:
                    delivery = Delivery(kept.message, flags & QOS_BITS, bool(flags & RETAIN_BIT), identifiers)
                    delivery.kept = kept
                if in_flight and found is not None:
                    found[seq] = delivery
                else:
                    session.restore(delivery)
                    if identifiers is None:
                        alike[flags] = delivery
        if not needed:
            self._changes.append(Chunk(number, None))
        elif needed * SPARSE < len(row.entries):
            chunk.ripe = True
            self._sparse[number] = chunk


def _clients(senders: list[Sender]) -> list[Client]:
    return [sender_client(sender) for sender in senders]
