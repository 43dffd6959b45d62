"""Receivers of events that are made over the API: stored, served at once, changed, deleted; of any kind.

* A change is checked as a whole before anything is changed. What a method has changed joins the journal's
  open batch: the caller waits for it to be durable before it answers.
* A tenant's stays one whoever changes it, and a tenant cannot touch those of the operator: else one could
  have the operator's credentials sent elsewhere.
* Those of the file are shown too. They are changed in the file alone.

A kind is a subclass: `Endpoints` for webhooks. It says how a row is read and shown.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from bridge.admin.stored import Row, StoredRows
from bridge.config.json_node import MAX_BYTES, Fault, merge_patch, text_of
from bridge.config.settings import AnyEndpoint, Trust
from bridge.delivery.errors import EndpointError
from bridge.delivery.lane import Lane
from bridge.delivery.webhooks import Broken, Webhooks
from bridge.events.cloudevents import timestamp
from bridge.journal.journal import Journal
from bridge.journal.store import StoreError

log = logging.getLogger(__name__)

MAX_OF_A_KIND = 5000
MAX_TENANT_BYTES = 32 << 10
"""Bytes of a tenant's document as JSON."""
SLICE = 10
"""Rows that are looked at in one turn of the loop."""

May = Callable[[str], bool]
"""Whether the caller has a scope."""
Known = Callable[[], Collection[str] | None]
Kind = TypeVar("Kind", bound=AnyEndpoint)


def _all(scope: str) -> bool:
    return True


class NotThere(Exception):
    """Nothing has this id."""


class Invalid(Exception):
    """Settings that cannot be; `faults` says where and why."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(text_of(fault) for fault in faults))
        self.faults = faults


class Conflict(Exception):
    """It cannot be done with this one; the text is one plain sentence."""


class Forbidden(Exception):
    """It cannot be done by this caller; the text is one plain sentence."""


class Changed(Exception):
    """It has changed since the caller saw it."""


class Made(NamedTuple):
    """What came of a change. `secret` is the new one, if HookMQ made it or took it."""

    id: str
    warnings: list[Fault]
    secret: str | None = None
    expires: int | None = None  # of the one before, Unix ms


class Read(NamedTuple, Generic[Kind]):
    """What a row stands for, or what is wrong with it."""

    settings: Kind | None
    errors: list[Fault]
    warnings: list[Fault]


class ManagedSettings(Generic[Kind]):
    """All of one kind. For the loop's thread only.

    A subclass has `kind`, the class of the settings, `noun`, what people call it, and `most`, how many there
    may be; `space` and `prefix` are those of `StoredRows`. The name of its lane is `names` and the id.
    """

    kind: type[Kind]
    noun: str
    space: str
    prefix: str
    names = ""
    most = MAX_OF_A_KIND

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.known: Known = lambda: None  # the types of business events, for warnings
        self._stored = StoredRows(journal, self.space, self.prefix)
        self._clock = clock
        self._environ = environ
        self._webhooks: Webhooks | None = None
        self._made: dict[str, Kind] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._stopped = False

    @property
    def indefinite(self) -> str:
        """What people call one of them."""
        return f"an {self.noun}" if self.noun[0] in "aeiou" else f"a {self.noun}"

    # -- what a kind makes of a row --------------------------------------------------------------------

    def _read(self, identifier: str, row: Row) -> Read[Kind]:
        """The settings of a row, with those of its secrets that are valid now."""
        raise NotImplementedError

    def _shown(self, settings: Kind) -> dict[str, Any]:
        """Settings as JSON, without secrets."""
        raise NotImplementedError

    def _unread(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """What is sure to be no secret in a document that cannot be read any more."""
        raise NotImplementedError

    def _forbidden(self, settings: Kind, may: May) -> str:
        """Why a caller of these scopes may not have such settings; empty if it may."""
        return ""

    def _more(self, row: Row) -> dict[str, Any]:
        """What is shown of a row beside that."""
        return {}

    def _fresh(self, identifier: str, document: Mapping[str, Any], row: Row) -> Row:
        """The row of a new document; `row` has all but that. Raises Invalid."""
        return msgspec.structs.replace(row, document=dict(document))

    def _patched(self, row: Row, patch: Mapping[str, Any]) -> Row:
        """The row after a JSON Merge Patch."""
        return msgspec.structs.replace(row, document=merge_patch(row.document, patch))

    def _has_stored(self, identifier: str, row: Row | None) -> None:
        """A row was stored, or deleted (None)."""

    def _within_bounds(self, document: Mapping[str, Any], trust: Trust) -> Fault | None:
        most = MAX_BYTES if trust == "operator" else MAX_TENANT_BYTES
        if len(msgspec.json.encode(document)) > most:
            return Fault("", f"the settings are longer than {most >> 10} KiB")
        return None

    # -- at the start and the end ----------------------------------------------------------------------

    def load(self, taken: Collection[str]) -> Iterator[Kind | Broken]:
        """Those of the store, for `Webhooks`; `taken` are the names of the file's. None stops the start."""
        for identifier, row in self._stored.rows.items():
            self._has_stored(identifier, row)
            name = self.lane_of(identifier)
            if name in taken:
                log.error(
                    "%s %s: the file has one of that name, this one is not served", self.noun, identifier
                )
                continue
            read = self._read(identifier, row)
            if read.settings is None:
                reason = "; ".join(text_of(fault) for fault in read.errors)
                log.error("%s %s: its settings do not work any more: %s", self.noun, identifier, reason)
                yield Broken(name, reason)
            else:
                self._made[identifier] = read.settings
                yield read.settings
        for identifier, reason in self._stored.unreadable.items():
            name = self.lane_of(identifier)
            if name not in taken:
                log.error("%s %s: %s", self.noun, identifier, reason)
                yield Broken(name, reason)

    def orphan(self, name: str) -> bool:
        """Whether a lane of that name was of one that was deleted."""
        identifier = self.id_of(name)
        return self._is_mine(name) and self._stored.is_id(identifier) and identifier not in self._stored

    def start(self, webhooks: Webhooks) -> None:
        """Work on these endpoints from now on."""
        self._webhooks = webhooks

    def stop(self) -> None:
        """No timer from now on."""
        self._stopped = True

    async def refresh(self) -> list[str]:
        """After a reload: take up files that have changed (a secret, a certificate), and try those again that
        did not work. The ids of those that were taken up."""
        taken: list[str] = []
        for number, identifier in enumerate(list(self._stored.rows)):
            if not number % SLICE:
                await asyncio.sleep(0)  # others have their turn
            settings = self._made.get(identifier)
            name = self.lane_of(identifier)
            broken = settings is None or self.webhooks.broken(name)
            if settings is not None and not broken and not self.webhooks.stale(settings):
                continue
            if self.webhooks.in_file(name) is not None:
                continue
            try:
                async with self._changing(identifier, "operator", None) as row:
                    read = self._read(identifier, row)
                    if read.settings is None:
                        raise Invalid(read.errors)
                    self.webhooks.try_out(read.settings)
                    self._made[identifier] = read.settings
                    await self.webhooks.change(read.settings)
                    taken.append(identifier)
            except (NotThere, Conflict, Invalid, EndpointError, StoreError) as error:
                if not broken:
                    log.error("%s %s: it goes on with what its files held: %s", self.noun, identifier, error)
        return taken

    @property
    def webhooks(self) -> Webhooks:
        """All endpoints, as they are served."""
        assert self._webhooks is not None  # noqa: S101  it is started before anybody can call
        return self._webhooks

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    # -- seeing ----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: str) -> bool:
        """Whether a lane of that name is one of a stored one."""
        return self._is_mine(name) and self.id_of(name) in self._stored

    def lane_of(self, identifier: str) -> str:
        """The name of the lane of one."""
        return self.names + identifier

    def id_of(self, name: str) -> str:
        """The id of the one whose lane has that name."""
        return name.removeprefix(self.names)

    def _is_mine(self, name: str) -> bool:
        return name.startswith(self.names)

    def ids(self) -> list[str]:
        """Those of the file in its order, then the stored ones by age."""
        names = [self.id_of(one.name) for one in self.webhooks.all_of_file if isinstance(one, self.kind)]
        taken = set(names)
        return [*names, *(one for one in (*self._stored.rows, *self._stored.unreadable) if one not in taken)]

    def version(self, identifier: str) -> str | None:
        """The entity tag of one; None for one of the file."""
        row = self._stored.rows.get(identifier)
        return None if row is None else f'"{row.version}"'

    def name(self, identifier: str) -> str:
        """The name of the lane. Raises NotThere."""
        if identifier not in self._stored and not self._of_file(identifier):
            raise NotThere(f"no {self.noun} has the id {identifier[:80]!r}")
        return self.lane_of(identifier)

    def _of_file(self, identifier: str) -> Kind | None:
        found = self.webhooks.in_file(self.lane_of(identifier))
        return found if isinstance(found, self.kind) else None

    def show(self, identifier: str, lanes: Mapping[str, Lane] | None = None) -> dict[str, Any]:
        """One as JSON, without its secrets. `lanes`: all that are served, by name, for whoever shows many.
        Raises NotThere."""
        self.name(identifier)
        of_file = self._of_file(identifier)
        if of_file is not None:
            head = {"id": identifier, "source": "file", "trust": "operator"}
            return {**head, **self._shown(of_file), **self._state(of_file, lanes)}
        row = self._stored.rows.get(identifier)
        if row is None:
            reason = self._stored.unreadable[identifier]
            return {"id": identifier, "source": "api", **self._unread({}), "state": "off", "reason": reason}
        shown: dict[str, Any] = {
            "id": identifier,
            "source": "api",
            "trust": row.trust,
            "created": timestamp(row.created),
            "changed": timestamp(row.changed),
            "created_by": row.by,
            **self._more(row),
        }
        settings = self._made.get(identifier)
        if settings is None:
            return {**shown, **self._unread(row.document), "state": "off", "reason": self._why(identifier)}
        return {**shown, **self._shown(settings), **self._state(settings, lanes)}

    def _why(self, identifier: str) -> str:
        name = self.lane_of(identifier)
        if self.webhooks.in_file(name) is not None:
            return "the file has one of that name"
        return self.webhooks.broken(name)

    def _state(self, settings: Kind, lanes: Mapping[str, Lane] | None) -> dict[str, Any]:
        if not settings.enable:
            return {"state": "inactive", "reason": ""}
        broken = self.webhooks.broken(settings.name)
        if broken:
            return {"state": "off", "reason": broken}
        found = self.webhooks.find
        lane = found(settings.name) if lanes is None else lanes.get(settings.name)
        if isinstance(lane, Lane):
            return {"state": lane.state, "reason": lane.reason}
        return {"state": "inactive", "reason": ""}

    # -- changing --------------------------------------------------------------------------------------

    def create(self, document: Mapping[str, Any], trust: Trust, by: str, *, may: May = _all) -> Made:
        """Make one, and serve it from now on. Raises Invalid, Conflict, Forbidden and StoreError."""
        if len(self._stored) >= self.most:
            raise Conflict(f"there are {self.most} of them, which is the most: delete one first")
        now = self._now_ms()
        identifier = self._stored.new_id()
        row = self._fresh(identifier, document, Row({}, now, now, trust, by))
        read = self._read(identifier, row)
        if read.settings is None:
            raise Invalid(read.errors)
        self._check_scopes(read.settings, may)
        try:
            self.webhooks.add(read.settings)
        except EndpointError as error:
            raise Invalid([_fault(error)]) from None
        self._made[identifier] = read.settings
        self._stored.put(identifier, row)
        self._has_stored(identifier, row)
        newest = row.secrets[0].source if row.secrets else None
        return Made(identifier, read.warnings, newest if isinstance(newest, str) else None)

    async def change(
        self,
        identifier: str,
        patch: Mapping[str, Any],
        trust: Trust,
        versions: Collection[str] | None = None,
        *,
        may: May = _all,
    ) -> Made:
        """Apply a JSON Merge Patch (RFC 7396). `versions` are the entity tags that the caller expects one of.

        Raises NotThere, Invalid, Conflict, Forbidden, Changed, StoreError.
        """
        async with self._changing(identifier, trust, versions) as row:
            return await self._take(identifier, self._patched(row, patch), may)

    def _check_scopes(self, settings: Kind, may: May) -> None:
        forbidden = self._forbidden(settings, may)
        if forbidden:
            raise Forbidden(forbidden)

    async def _take(self, identifier: str, row: Row, may: May = _all) -> Made:
        """Store a row in the place of the one before it, and serve what it says. Raises Invalid and
        Forbidden."""
        read = self._read(identifier, row)
        if read.settings is None:
            raise Invalid(read.errors)
        self._check_scopes(read.settings, may)
        try:
            self.webhooks.try_out(read.settings)
        except EndpointError as error:
            raise Invalid([_fault(error)]) from None
        row = msgspec.structs.replace(row, changed=self._now_ms(), version=row.version + 1)
        self._stored.put(identifier, row)
        self._has_stored(identifier, row)
        if read.settings != self._made.get(identifier):
            self._made[identifier] = read.settings
            await self.webhooks.change(read.settings)
        return Made(identifier, read.warnings)

    async def delete(self, identifier: str, trust: Trust, versions: Collection[str] | None = None) -> None:
        """Delete one with all that waits for it. Raises NotThere, Conflict, Forbidden, Changed."""
        async with self._changing(identifier, trust, versions):
            self._stored.delete(identifier)
            self._has_stored(identifier, None)
            self._made.pop(identifier, None)
            await self.webhooks.remove(self.lane_of(identifier))
        self._locks.pop(identifier, None)

    def _changing(self, identifier: str, trust: Trust, versions: Collection[str] | None) -> _Changing:
        lock = self._locks.setdefault(identifier, asyncio.Lock()) if identifier in self._stored else None
        return _Changing(lambda: self._check(identifier, trust, versions), lock)

    def _check(self, identifier: str, trust: Trust, versions: Collection[str] | None) -> Row:
        """The row of one that this caller may change. Raises NotThere, Conflict, Forbidden, Changed."""
        if self._of_file(identifier) is not None:
            raise Conflict(
                f"the {self.noun} {identifier} is one of the file: change it there, then hookmq reload"
            )
        self.name(identifier)
        row = self._stored.rows.get(identifier)
        if row is None:
            now = self._now_ms()
            row = Row({}, now, now, "operator")  # in the place of what cannot be read
        if trust == "tenant" and row.trust == "operator":
            raise Forbidden(
                f"this {self.noun} was made with all rights, and needs the scope admin to be changed"
            )
        if versions is not None and f'"{row.version}"' not in versions and "*" not in versions:
            raise Changed(f'this {self.noun} has changed: it is at "{row.version}" now')
        return row


class _Changing:
    """One change of one at a time, on its row as it is then. Raises what `check` raises."""

    def __init__(self, check: Callable[[], Row], lock: asyncio.Lock | None) -> None:
        self._check = check
        self._lock = lock

    async def __aenter__(self) -> Row:
        row = self._check()
        if self._lock is None:
            return row
        await self._lock.acquire()
        try:
            return self._check()
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()


def _fault(error: EndpointError) -> Fault:
    return Fault("/" + error.key.replace(".", "/"), error.cause)
