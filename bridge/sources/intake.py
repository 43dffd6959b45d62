"""The way in for business events, whatever brings them: checked, each once, and into the journal.

An event that came before is not taken again: it is known by its own `id`, or by the Idempotency-Key of the
request that brought it. Both are remembered in the store for a day, in the same commit as the events.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bridge.events.event import Event, EventType
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.sources.arrived import Arrived, Fault, iso
from bridge.sources.remembered import Remembered

if TYPE_CHECKING:
    from bridge.events.catalogue import Catalogue

log = logging.getLogger(__name__)

MAX_WARNED = 10_000
"""Types that a warning is remembered of."""
ID_PREFIX = "evt_"
EVENT_SPACE = "event-id"
KEY_SPACE = "idempotency-key"


class Taken(NamedTuple):
    """What became of the events of a request: their ids in order, and how many of them had come before."""

    ids: list[str]
    repeated: int


class Prepared(NamedTuple):
    """Events on their way in: those that somebody wants, the ids that are new, and a new key with the digest
    of what came with it."""

    taken: Taken
    events: Sequence[Event] = ()
    fresh: Sequence[str] = ()
    key: str | None = None
    digest: bytes = b""
    seen: Sequence[Event] = ()  # all of them, while somebody watches


class KeyReused(Exception):
    """The Idempotency-Key came before with another body."""


class BacklogFull(Exception):
    """An endpoint that wants one of the events turns new ones away (`on_full = refuse`)."""


class Intake:
    """Takes events for the lanes that `rules` says. All methods but `check` run in the loop's thread."""

    def __init__(
        self,
        journal: Journal,
        rules: Callable[[], Rules],
        *,
        catalogue: Catalogue | None = None,
        unknown: Literal["refuse", "pass"] = "pass",
        validate: Literal["off", "warn", "refuse"] = "off",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`unknown`: what becomes of types that are not in the catalogue; `validate`: of data that is not
        what the catalogue says."""
        self.catalogue = catalogue
        self.taken = 0  # events since the start, those that nobody wants included, repeats not
        self.tap: Callable[[Event], None] | None = None  # is shown all of them, while somebody watches
        self._unknown = unknown
        self._validate = validate
        self._warned: set[str] = set()
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self._ids = Remembered(journal, EVENT_SPACE, clock=clock)
        self._keys = Remembered(journal, KEY_SPACE, clock=clock)

    def check(self, kind: str, data: dict[str, Any]) -> list[Fault]:
        """What is wrong with an event of that type, with paths into the event."""
        catalogue = self.catalogue
        if catalogue is None:
            return []
        if kind not in catalogue:
            if self._unknown == "pass":
                return []
            return [Fault("/type", f"found {kind}, which is not in the catalogue of event types")]
        if self._validate == "off":
            return []
        faults = [Fault(f"/data{found.path}", found.message) for found in catalogue.check(kind, data)]
        if faults and self._validate == "warn":
            self._warn(kind, faults[0])
            return []
        return faults

    def _warn(self, kind: str, fault: Fault) -> None:
        """Once for a type: what its system sends is not what the catalogue says."""
        if kind not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(kind)
            log.warning("%s: an event's data is not as the catalogue says: %s: %s", kind, *fault)

    def take(
        self,
        events: Sequence[Arrived],
        source: str,
        *,
        username: str | None = None,
        peername: str = "",
        key: str | None = None,
        body: bytes = b"",
        trace: str | None = None,
    ) -> Taken:
        """All of the events, or none; they join the journal's open batch. Raises KeyReused, BacklogFull.

        `source` names who brings them, and whose `key` (Idempotency-Key) it is; `body` is what came with it.
        `trace` is the trace context that they came with (`Event.trace`).
        """
        made = self.prepare(
            *(events, source), username=username, peername=peername, key=key, body=body, trace=trace
        )
        self.store(made)
        return made.taken

    def prepare(
        self,
        events: Sequence[Arrived],
        source: str,
        *,
        username: str | None = None,
        peername: str = "",
        key: str | None = None,
        body: bytes = b"",
        trace: str | None = None,
    ) -> Prepared:
        """What `take` would store, for `store` in the same turn. Raises KeyReused, BacklogFull."""
        scoped = None if key is None else f"{source}\0{key}"
        digest = sha256(body).digest() if scoped is not None else b""
        if scoped is not None:
            known = self._keys.find(scoped)
            if known is not None:
                if known != digest:
                    raise KeyReused
                ids = [self._id(one, scoped, at) for at, one in enumerate(events)]
                return Prepared(Taken(ids, len(events)))
        ids, fresh, stored, repeated, seen = self._make(events, source, username, peername, scoped, trace)
        full = self._journal.full
        if full and any(not full.isdisjoint(event.targets) for event in stored):
            raise BacklogFull
        return Prepared(Taken(ids, repeated), stored, fresh, scoped, digest, seen)

    def store(self, made: Prepared) -> None:
        """Let prepared events join the journal's open batch, with what a repeat is known by."""
        for event in made.events:
            self._journal.append(event)
        self.taken += len(made.taken.ids) - made.taken.repeated
        if made.seen and self.tap is not None:
            for event in made.seen:
                self.tap(event)
        for identifier in made.fresh:
            self._ids.add(identifier)
        if made.key is not None:
            self._keys.add(made.key, made.digest)

    def _id(self, one: Arrived, scoped: str | None, index: int) -> str:
        """An event's id: its own, or one that a repeat with the same Idempotency-Key has again."""
        if one.id is not None:
            return one.id
        if scoped is None:
            return ID_PREFIX + secrets.token_hex(16)
        return ID_PREFIX + sha256(f"{scoped}\0{index}".encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _make(
        self,
        events: Sequence[Arrived],
        source: str,
        username: str | None,
        peername: str,
        scoped: str | None,
        trace: str | None,
    ) -> tuple[list[str], list[str], list[Event], int, list[Event]]:
        """The ids of all, the given ids that are new, the events that somebody wants, how many came before,
        and all new ones for who watches."""
        now = self._clock()
        ts = int(now * 1000)
        at = iso(datetime.fromtimestamp(now, UTC))
        rules = self._rules()
        conditions = bool(rules.conditions)
        ids: list[str] = []
        fresh: dict[str, None] = {}
        stored: list[Event] = []
        seen: list[Event] = []
        repeated = 0
        for index, one in enumerate(events):
            identifier = self._id(one, scoped, index)
            ids.append(identifier)
            if one.id is not None:
                if one.id in fresh or self._ids.find(one.id) is not None:
                    repeated += 1
                    continue
                fresh[one.id] = None
            event = Event(
                EventType.DOMAIN,
                ts,
                source,
                username,
                peername,
                rules.targets(EventType.DOMAIN, one.type),
                one.type,
                one.payload,
                data={**one.variables, "id": identifier, "timestamp": one.timestamp or at},
                trace=trace,
            )
            if conditions and event.targets:
                event.targets = rules.passing(event)
            if event.targets:
                stored.append(event)
            if self.tap is not None:
                seen.append(event)
        return ids, list(fresh), stored, repeated, seen
