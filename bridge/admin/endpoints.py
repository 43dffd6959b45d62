"""Webhooks that are made over the API (`ManagedSettings`), and their secrets: made, kept apart, rotated.

Secrets stand beside the document, each with the time that it is valid to, and join it when it is read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.admin.managed import Conflict, Invalid, Made, ManagedSettings, NotThere, Read
from bridge.admin.stored import Row, StoredSecret
from bridge.config import webhook_json
from bridge.config.json_node import Fault, merge_patch
from bridge.config.secret import HMAC_PREFIX, PRIVATE_PREFIX
from bridge.config.settings import Endpoint, Trust
from bridge.config.signing import MAX_SECRETS
from bridge.delivery.webhooks import Webhooks
from bridge.events.cloudevents import timestamp
from bridge.journal.journal import Journal

log = logging.getLogger(__name__)

SECRET_BYTES = 32
OLD_SECRET_S = 86400
"""How long the old secret signs beside the new one unless the caller says otherwise."""
MAX_OLD_SECRET_S = 30 * 86400
LOOK_S = 3600.0
"""The longest sleep until the next look at secrets that expire: clocks are set."""


class Endpoints(ManagedSettings[Endpoint]):
    """All of them. For the loop's thread only."""

    kind = Endpoint
    noun = "endpoint"
    space = "managed-webhook"
    prefix = "ep_"

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(journal, clock=clock, environ=environ)
        self._expiring: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, webhooks: Webhooks) -> None:
        """Work on these endpoints from now on."""
        super().start(webhooks)
        self._arm()

    def stop(self) -> None:
        """No timer from now on."""
        super().stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    # -- rows ------------------------------------------------------------------------------------------

    def _read(self, identifier: str, row: Row) -> Read[Endpoint]:
        document = dict(row.document)
        sources = [one.source for one in _alive(row, self._now_ms())]
        if len(sources) == 1:
            document["secret"] = sources[0]
        elif sources:
            document["secrets"] = sources
        fault = self._within_bounds(document, row.trust)
        if fault is not None:
            return Read(None, [fault], [])
        found = webhook_json.read(identifier, document, self._environ, trust=row.trust, known=self.known)
        return Read(found.endpoint, found.errors, found.warnings)

    def _shown(self, settings: Endpoint) -> dict[str, Any]:
        return webhook_json.show(settings)

    def _unread(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return webhook_json.show_unread(document)

    def _more(self, row: Row) -> dict[str, Any]:
        expires = [one.expires for one in _alive(row, self._now_ms())[1:] if one.expires is not None]
        return {"old_secret_expires": timestamp(max(expires))} if expires else {}

    def _fresh(self, identifier: str, document: Mapping[str, Any], row: Row) -> Row:
        """Where no secret is given one is made: what the signature needs."""
        settings, given = _split(document, row.created)
        row = msgspec.structs.replace(row, document=settings, secrets=given)
        if "secret" in document or "secrets" in document:
            return row
        row.secrets = [StoredSecret(new_secret(), row.created)]
        endpoint = self._read(identifier, row).settings
        if endpoint is not None and not _standard(endpoint):
            row.secrets = [StoredSecret(new_text(), row.created)]
        return row

    def _patched(self, row: Row, patch: Mapping[str, Any]) -> Row:
        now = self._now_ms()
        rest, given = _split(patch, now)
        if "secret" not in patch and "secrets" not in patch:
            given = _alive(row, now)
        return msgspec.structs.replace(row, document=merge_patch(row.document, rest), secrets=given)

    def _has_stored(self, identifier: str, row: Row | None) -> None:
        if row is not None and any(one.expires is not None for one in row.secrets):
            self._expiring.add(identifier)
            self._arm()
        else:
            self._expiring.discard(identifier)

    # -- secrets ---------------------------------------------------------------------------------------

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
            made = await self._take(identifier, msgspec.structs.replace(row, secrets=given))
            return made._replace(secret=secret, expires=given[1].expires if len(given) > 1 else None)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopped or self._webhooks is None:
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
                    left = msgspec.structs.replace(found, secrets=_alive(found, now))
                    await self._take(identifier, left)
            except (Invalid, NotThere, Conflict) as error:
                log.error("webhook %s: an old secret is kept: %s", identifier, error)
                self._expiring.discard(identifier)
        self._arm()


_ROOM_FOR_ONE = "this endpoint's signature has room for one secret alone, and the new one signs at once"


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


def _split(document: Mapping[str, Any], now: int) -> tuple[dict[str, Any], list[StoredSecret]]:
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
    return rest, [StoredSecret(source, now) for source in found]


def _is_source(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(each, str) for each in value.values())
    return isinstance(value, str)


def _alive(row: Row, now: int) -> list[StoredSecret]:
    """The secrets that have not expired, the newest first; the newest never does."""
    return [one for at, one in enumerate(row.secrets) if not at or one.expires is None or one.expires > now]
