"""Endpoints that are made over the API: stored, served at once, changed, deleted; their secrets rotated.

* A change is checked as a whole before anything is changed. What a method has changed joins the journal's
  open batch: the caller waits for it to be durable before it answers.
* A tenant's endpoint stays one whoever changes it, and a tenant cannot touch those of the operator: else one
  could have the operator's credentials sent elsewhere.
* Those of the file are shown too. They are changed in the file alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from bridge.admin.stored import Row, StoredRows, StoredSecret, Trust
from bridge.config import mask, webhook_json
from bridge.config.json_node import MAX_BYTES, Fault, merge_patch, text_of
from bridge.config.secret import HMAC_PREFIX, PRIVATE_PREFIX
from bridge.config.settings import Endpoint
from bridge.config.signing import MAX_SECRETS
from bridge.delivery.errors import EndpointError
from bridge.delivery.lane import Lane
from bridge.delivery.webhooks import Broken, Webhooks
from bridge.events.cloudevents import timestamp
from bridge.journal.journal import Journal

log = logging.getLogger(__name__)

SPACE = "managed-webhook"
PREFIX = "ep_"
MAX_ENDPOINTS = 5000
SECRET_BYTES = 32
OLD_SECRET_S = 86400
"""How long the old secret signs beside the new one unless the caller says otherwise."""
MAX_OLD_SECRET_S = 30 * 86400
LOOK_S = 3600.0
"""The longest sleep until the next look at secrets that expire: clocks are set."""

Known = Callable[[], Collection[str] | None]


class NotThere(Exception):
    """No endpoint has this id."""


class Invalid(Exception):
    """Settings that cannot be; `faults` says where and why."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(text_of(fault) for fault in faults))
        self.faults = faults


class Conflict(Exception):
    """It cannot be done with this endpoint; the text is one plain sentence."""


class Forbidden(Exception):
    """It cannot be done by this caller; the text is one plain sentence."""


class Changed(Exception):
    """The endpoint has changed since the caller saw it."""


class Made(NamedTuple):
    """What came of a change. `secret` is the new one, if HookMQ made it or took it."""

    id: str
    warnings: list[Fault]
    secret: str | None = None
    expires: int | None = None  # of the one before, Unix ms


class Endpoints:
    """All of them. For the loop's thread only."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.known: Known = lambda: None  # the types of business events, for warnings
        self._stored = StoredRows(journal, SPACE, PREFIX)
        self._clock = clock
        self._environ = environ
        self._webhooks: Webhooks | None = None
        self._made: dict[str, Endpoint] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._expiring: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    # -- at the start and the end ----------------------------------------------------------------------

    def load(self, taken: Collection[str]) -> Iterator[Endpoint | Broken]:
        """Those of the store, for `Webhooks`; `taken` are the names of the file's. None stops the start."""
        now = self._now_ms()
        for identifier, row in self._stored.rows.items():
            if any(one.expires is not None for one in row.secrets):
                self._expiring.add(identifier)
            if identifier in taken:
                log.error("webhook %s: the file has one of that name, this one is not served", identifier)
                continue
            read = self._read(identifier, row.document, _alive(row, now), row.trust)
            if read.endpoint is None:
                reason = "; ".join(text_of(fault) for fault in read.errors)
                log.error("webhook %s: its settings do not work any more: %s", identifier, reason)
                yield Broken(identifier, reason)
            else:
                self._made[identifier] = read.endpoint
                yield read.endpoint
        for identifier, reason in self._stored.unreadable.items():
            if identifier not in taken:
                log.error("webhook %s: %s", identifier, reason)
                yield Broken(identifier, reason)

    def orphan(self, name: str) -> bool:
        """Whether a lane of that name was of an endpoint that was deleted."""
        return self._stored.is_id(name) and name not in self._stored

    def start(self, webhooks: Webhooks) -> None:
        """Work on these endpoints from now on."""
        self._webhooks = webhooks
        self._arm()

    def stop(self) -> None:
        """No timer from now on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

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

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._stored

    def ids(self) -> list[str]:
        """Those of the file in its order, then the stored ones by age."""
        names = [endpoint.name for endpoint in self.webhooks.of_file]
        taken = set(names)
        return [*names, *(one for one in (*self._stored.rows, *self._stored.unreadable) if one not in taken)]

    def version(self, identifier: str) -> str | None:
        """The entity tag of an endpoint; None for one of the file."""
        row = self._stored.rows.get(identifier)
        return None if row is None else f'"{row.version}"'

    def name(self, identifier: str) -> str:
        """The name of the lane. Raises NotThere."""
        if identifier not in self._stored and not self._of_file(identifier):
            raise NotThere(f"no endpoint has the id {identifier[:80]!r}")
        return identifier

    def _of_file(self, identifier: str) -> Endpoint | None:
        found = self.webhooks.in_file(identifier)
        return found if isinstance(found, Endpoint) else None

    def show(self, identifier: str, lanes: Mapping[str, Lane] | None = None) -> dict[str, Any]:
        """An endpoint as JSON, without its secrets. `lanes`: all that are served, by name, for whoever shows
        many. Raises NotThere."""
        identifier = self.name(identifier)
        of_file = self._of_file(identifier)
        if of_file is not None:
            return {
                "id": identifier,
                "source": "file",
                "trust": "operator",
                **webhook_json.show(of_file),
                **self._state(of_file, lanes),
            }
        row = self._stored.rows.get(identifier)
        if row is None:
            reason = self._stored.unreadable[identifier]
            return {"id": identifier, "source": "api", **_NOTHING, "state": "off", "reason": reason}
        shown: dict[str, Any] = {
            "id": identifier,
            "source": "api",
            "trust": row.trust,
            "created": timestamp(row.created),
            "changed": timestamp(row.changed),
            "created_by": row.by,
        }
        expires = [one.expires for one in _alive(row, self._now_ms())[1:] if one.expires is not None]
        if expires:
            shown["old_secret_expires"] = timestamp(max(expires))
        endpoint = self._made.get(identifier)
        if endpoint is None:
            return {**shown, **_of_document(row.document), "state": "off", "reason": self._why(identifier)}
        return {**shown, **webhook_json.show(endpoint), **self._state(endpoint, lanes)}

    def _why(self, identifier: str) -> str:
        if self._of_file(identifier) is not None:
            return "the file has a webhook of that name"
        return self.webhooks.broken(identifier)

    def _state(self, endpoint: Endpoint, lanes: Mapping[str, Lane] | None) -> dict[str, Any]:
        if not endpoint.enable:
            return {"state": "inactive", "reason": ""}
        broken = self.webhooks.broken(endpoint.name)
        if broken:
            return {"state": "off", "reason": broken}
        found = self.webhooks.find
        lane = found(endpoint.name) if lanes is None else lanes.get(endpoint.name)
        if isinstance(lane, Lane):
            return {"state": lane.state, "reason": lane.reason}
        return {"state": "inactive", "reason": ""}

    # -- changing --------------------------------------------------------------------------------------

    def create(self, document: Mapping[str, Any], trust: Trust, by: str) -> Made:
        """Make an endpoint, and serve it from now on. Raises Invalid, Conflict and StoreError."""
        if len(self._stored) >= MAX_ENDPOINTS:
            raise Conflict(f"there are {MAX_ENDPOINTS} endpoints, which is the most: delete one first")
        now = self._now_ms()
        settings, given = _split(document)
        generated = "secret" not in document and "secrets" not in document
        if generated:
            given = [StoredSecret(new_secret(), now)]
        identifier = self._stored.new_id()
        read = self._read(identifier, settings, given, trust)
        if read.endpoint is None:
            raise Invalid(read.errors)
        endpoint = read.endpoint
        if generated and not _standard(endpoint):
            given = [StoredSecret(new_text(), now)]
            read = self._read(identifier, settings, given, trust)
            endpoint = read.endpoint or endpoint
        try:
            self.webhooks.add(endpoint)
        except EndpointError as error:
            raise Invalid([_fault(error)]) from None
        self._made[identifier] = endpoint
        for one in given:
            one.created = now
        self._stored.put(identifier, Row(settings, now, now, trust, by, 1, given))
        newest = given[0].source if given else None
        return Made(identifier, read.warnings, newest if isinstance(newest, str) else None)

    async def change(
        self, identifier: str, patch: Mapping[str, Any], trust: Trust, versions: Collection[str] | None = None
    ) -> Made:
        """Apply a JSON Merge Patch (RFC 7396). `versions` are the entity tags that the caller expects one of.

        Raises NotThere, Invalid, Conflict, Forbidden, Changed, StoreError.
        """
        async with self._changing(identifier, trust, versions) as row:
            now = self._now_ms()
            alive = _alive(row, now)
            rest, given = _split(patch)
            settings = merge_patch(row.document, rest)
            for one in given:
                one.created = now
            if "secret" not in patch and "secrets" not in patch:
                given = alive
            return await self._take(identifier, row, settings, given, now)

    async def rotate(
        self, identifier: str, trust: Trust, *, secret: str | None = None, expire_in: float | None = None
    ) -> Made:
        """Sign with another secret; the one before signs beside it for `expire_in` seconds, where the
        signature has room for several. Raises what `change` raises."""
        async with self._changing(identifier, trust, None) as row:
            now = self._now_ms()
            alive = _alive(row, now)
            endpoint = self._made.get(identifier)
            if endpoint is None:
                raise Conflict("its settings do not work any more, change them first")
            several = _standard(endpoint) or not alive
            if expire_in and not several:
                raise Invalid([Fault("/expire_in", f"found {expire_in:g}, expected 0: {_ROOM_FOR_ONE}")])
            if expire_in is None:
                expire_in = OLD_SECRET_S if several else 0
            if secret is None:
                source = alive[0].source if alive else ""
                if isinstance(source, str) and source.startswith(PRIVATE_PREFIX):
                    raise Invalid([Fault("/secret", "missing, expected the new key for ed25519: whsk_…")])
                plain = not several or (alive and not _is_standard(source))
                secret = new_text() if plain and not _standard(endpoint) else new_secret()
            expires = now + int(expire_in * 1000)
            old = [
                StoredSecret(one.source, one.created, min(expires, one.expires or expires)) for one in alive
            ]
            given = [StoredSecret(secret, now), *(old if expire_in > 0 else [])][:MAX_SECRETS]
            made = await self._take(identifier, row, row.document, given, now)
            return made._replace(secret=secret, expires=given[1].expires if len(given) > 1 else None)

    async def _take(
        self, identifier: str, row: Row, settings: dict[str, Any], given: list[StoredSecret], now: int
    ) -> Made:
        """Store new settings of an endpoint and serve it by them."""
        read = self._read(identifier, settings, given, row.trust)
        if read.endpoint is None:
            raise Invalid(read.errors)
        try:
            self.webhooks.try_out(read.endpoint)
        except EndpointError as error:
            raise Invalid([_fault(error)]) from None
        self._stored.put(
            identifier, Row(settings, row.created, now, row.trust, row.by, row.version + 1, given)
        )
        if any(one.expires is not None for one in given):
            self._expiring.add(identifier)
        else:
            self._expiring.discard(identifier)
        self._arm()
        if read.endpoint != self._made.get(identifier):
            self._made[identifier] = read.endpoint
            await self.webhooks.change(read.endpoint)
        return Made(identifier, read.warnings)

    async def delete(self, identifier: str, trust: Trust, versions: Collection[str] | None = None) -> None:
        """Delete an endpoint with all that waits for it. Raises NotThere, Conflict, Forbidden, Changed."""
        async with self._changing(identifier, trust, versions):
            self._stored.delete(identifier)
            self._made.pop(identifier, None)
            self._expiring.discard(identifier)
            await self.webhooks.remove(identifier)
        self._locks.pop(identifier, None)

    def _changing(self, identifier: str, trust: Trust, versions: Collection[str] | None) -> _Changing:
        return _Changing(self, identifier, trust, versions)

    def check(self, identifier: str, trust: Trust, versions: Collection[str] | None) -> Row:
        """The row of an endpoint that this caller may change.

        Raises NotThere, Conflict, Forbidden, Changed.
        """
        if self._of_file(identifier) is not None:
            raise Conflict(
                f"the endpoint {identifier} is one of the file: change it there, then hookmq reload"
            )
        self.name(identifier)
        row = self._stored.rows.get(identifier)
        if row is None:
            row = Row({}, 0, 0, "operator")
        if trust == "tenant" and row.trust == "operator":
            raise Forbidden("this endpoint was made with all rights, and needs the scope admin to be changed")
        if versions is not None and f'"{row.version}"' not in versions and "*" not in versions:
            raise Changed(f'this endpoint has changed: it is at "{row.version}" now')
        return row

    def _read(
        self, identifier: str, settings: Mapping[str, Any], given: list[StoredSecret], trust: Trust
    ) -> webhook_json.Read:
        document = dict(settings)
        sources = [one.source for one in given]
        if len(sources) == 1:
            document["secret"] = sources[0]
        elif sources:
            document["secrets"] = sources
        if len(msgspec.json.encode(document)) > MAX_BYTES:
            return webhook_json.Read(None, [Fault("", f"longer than {MAX_BYTES >> 10} KiB")], [])
        return webhook_json.read(identifier, document, self._environ, trust=trust, known=self.known)

    # -- secrets that expire ---------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopped:
            return
        rows = [self._stored.rows[identifier] for identifier in self._expiring]
        times = [one.expires for row in rows for one in row.secrets if one.expires is not None]
        if times:
            wait = min(max(min(times) / 1000 - self._clock(), 0.001), LOOK_S)
            self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._expire())

    async def _expire(self) -> None:
        now = self._now_ms()
        for identifier in list(self._expiring):
            row = self._stored.rows.get(identifier)
            if row is None or len(_alive(row, now)) == len(row.secrets):
                continue
            try:
                async with self._changing(identifier, row.trust, None) as found:
                    await self._take(identifier, found, found.document, _alive(found, now), now)
            except (Invalid, NotThere, Conflict) as error:
                log.error("webhook %s: an old secret is kept: %s", identifier, error)
                self._expiring.discard(identifier)
        self._arm()


class _Changing:
    """One change of an endpoint at a time, on its row as it is then."""

    def __init__(
        self, endpoints: Endpoints, identifier: str, trust: Trust, versions: Collection[str] | None
    ) -> None:
        self._endpoints = endpoints
        self._args = identifier, trust, versions
        self._lock: asyncio.Lock | None = None

    async def __aenter__(self) -> Row:
        self._endpoints.check(*self._args)
        self._lock = self._endpoints._locks.setdefault(self._args[0], asyncio.Lock())
        await self._lock.acquire()
        try:
            return self._endpoints.check(*self._args)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()


_ROOM_FOR_ONE = "this endpoint's signature has room for one secret alone, and the new one signs at once"
_NOTHING: Mapping[str, Any] = {"url": "", "description": "", "active": False, "events": []}


def _of_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is sure to be no secret in a document that cannot be read any more."""
    address, note, events = (document.get(name) for name in ("url", "description", "events"))
    return {
        "url": mask.url(address) if isinstance(address, str) else "",
        "description": note if isinstance(note, str) else "",
        "active": document.get("active") is not False,
        "events": events if isinstance(events, list) else [],
    }


def new_secret() -> str:
    """A secret of Standard Webhooks: `whsec_` and the base64 of 32 random bytes."""
    return HMAC_PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def new_text() -> str:
    """A secret for schemes that take any text: 32 random bytes in hexadecimal."""
    return secrets.token_hex(SECRET_BYTES)


def _is_standard(source: str | dict[str, str]) -> bool:
    return isinstance(source, str) and source.startswith(HMAC_PREFIX)


def _standard(endpoint: Endpoint) -> bool:
    """Whether a signature is there that needs a secret of Standard Webhooks, and has room for several."""
    return any(signature.scheme == "standard" for signature in endpoint.signature)


def _split(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[StoredSecret]]:
    """A document without its secrets, and these. What is no secret stays, and is told when it is read."""
    rest = dict(document)
    found: list[Any] = []
    if "secrets" not in document or "secret" not in document:
        one, several = rest.get("secret"), rest.get("secrets")
        if one is None or _is_source(one):
            rest.pop("secret", None)
            found = [] if one is None else [one]
        if several is None or (isinstance(several, list) and all(_is_source(each) for each in several)):
            rest.pop("secrets", None)
            found += several or []
    return rest, [StoredSecret(source, 0) for source in found]


def _is_source(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(each, str) for each in value.values())
    return isinstance(value, str)


def _alive(row: Row, now: int) -> list[StoredSecret]:
    """The secrets that have not expired, the newest first; the newest never does."""
    return [one for at, one in enumerate(row.secrets) if not at or one.expires is None or one.expires > now]


def _fault(error: EndpointError) -> Fault:
    return Fault("/" + error.key.replace(".", "/"), error.cause)
