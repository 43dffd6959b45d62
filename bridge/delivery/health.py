"""What is known of an endpoint's health, what of it outlives a restart, and what the user is told of it.

A row of the store's state holds what a restart must not forget: that the endpoint is switched off and why,
for how long it has been failing, when it came back last. An endpoint that was switched off by 410 or by
`disable_after` is switched on again by a command, or by any change of its settings.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import SecretStr

from bridge.config.settings import AnyEndpoint
from bridge.delivery.gate import Gate
from bridge.delivery.retry import Outcome, bearing, retry_after_ms
from bridge.delivery.rows import Outbox
from bridge.journal.batch import Put
from bridge.journal.store import StoreError, lane_space

log = logging.getLogger(__name__)

SPACE = "endpoint"
"""The state row's space goes with the lane (`lane_space`), and has this one key."""
KEY = "health"
FAULT_CHARACTERS = 200
STORE_EVERY_S = 60.0
"""How often the time of failing is stored meanwhile."""
_ROUNDS = 20_000  # of the key derivation: a guess at a secret in the settings costs as much


class Record(msgspec.Struct, omit_defaults=True):
    """The state row. Times are Unix ms, `failing_s` is seconds that HookMQ ran and the endpoint failed."""

    off: str = ""  # why it is switched off; empty: it is on
    off_at: int = 0
    salt: bytes = b""
    settings: bytes = b""  # a digest of the settings that it was switched off with
    failing: bool = False
    failing_s: float = 0.0
    recovered_at: int = 0
    ordering: str = "none"  # the order that stored rows were parked by


_record = msgspec.msgpack.Decoder(Record)

OnChange = Callable[[str, str], None]
"""Called with the new state (`on`, `failing`, `off`) and why, in words."""


class Health:
    """The health of one endpoint. `size` is how many requests may be in flight. Raises StoreError."""

    def __init__(
        self,
        lane: int,
        endpoint: AnyEndpoint,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        random: Callable[[], float],
        size: int,
    ) -> None:
        self.gate = Gate(endpoint, size, loop.time())
        self.on_change: OnChange | None = None
        self._endpoint = endpoint
        self._outbox = outbox
        self._loop = loop
        self._clock = clock
        self._random = random
        self._space = lane_space(SPACE, lane)
        self._max_asked = endpoint.retry.max_retry_after
        self._record = record = self._load()
        self._since = loop.time()  # of the last failure in a row, in loop time
        self._stored = self._since  # when `failing_s` was stored
        self.fault = ""  # the last failure in words, as it came
        self.failing_s = record.failing_s
        """For how many seconds the endpoint has failed without a success, while HookMQ ran."""
        if record.off and record.settings != _digest(endpoint, record.salt):
            log.warning("%s: its settings have changed, it is switched on again", endpoint.title)
            self._record = record = Record(ordering=record.ordering, recovered_at=self._now_ms())
            self._store()
        if record.off:
            self.gate.switch(off=True)
        elif record.failing:
            self.gate.resume(loop.time())

    def _load(self) -> Record:
        for key, value in self._outbox.store.load(self._space):
            if key == KEY:
                try:
                    return _record.decode(value)
                except msgspec.MsgspecError as error:
                    raise StoreError(
                        f"the state of {self._endpoint.title} in the store is damaged ({error}): "
                        f"restore a copy, or move the store away and a new one is made"
                    ) from error
        return Record()

    def _store(self) -> None:
        record = self._record
        value = msgspec.msgpack.encode(record) if record != Record() else None
        self._outbox.change(Put(self._space, KEY, value))

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    # -- what is known ---------------------------------------------------------------------------------

    @property
    def off(self) -> str:
        """Why it is switched off; empty if it is not."""
        return self._record.off

    @property
    def off_at(self) -> int:
        """Unix ms of when it was."""
        return self._record.off_at

    @property
    def state(self) -> str:
        """`off`; `failing`: only probes go out; `slow`: fewer than usual; else `on`."""
        if self._record.off:
            return "off"
        if self.gate.breaker.open:
            return "failing"
        return "on" if self.gate.pace.free else "slow"

    @property
    def failing_for(self) -> float:
        """For how many seconds the endpoint has failed by now, the last failure's age included."""
        return self.failing_s + self._loop.time() - self._since if self.gate.breaker.failures else 0.0

    @property
    def recovered_at(self) -> int:
        """Unix ms of when it came back last: what had failed before waits no longer. 0: never."""
        return self._record.recovered_at

    def reordered(self) -> bool:
        """Whether stored rows were parked by another order than the configured one; asked once."""
        if self._record.ordering == self._endpoint.ordering:
            return False
        self._record.ordering = self._endpoint.ordering
        self._store()
        return True

    # -- what happens ----------------------------------------------------------------------------------

    def succeeded(self) -> bool:
        """An attempt has succeeded; whether it was taken for dead before, and what waits is due now."""
        now = self._loop.time()
        seconds = self.failing_s + now - self._since
        recovered = self.gate.succeeded(now)
        self.failing_s = 0.0
        if recovered:
            log.warning("%s: it answers again, after %s", self._endpoint.title, span(seconds))
            self._record.failing = False
            self._record.recovered_at = self._now_ms()
        if recovered or self._record.failing_s:
            self._record.failing_s = 0.0
            self._store()
        if recovered:
            self._tell("on", "it answers again")
        return recovered

    def failed(self, number: int, outcome: Outcome, began: float) -> bool:
        """The attempt of a request has failed; whether it was a probe before it was due."""
        gate = self.gate
        early = gate.breaker.early and number == gate.breaker.probe
        now = self._loop.time()
        first = not gate.breaker.failures
        kind = bearing(outcome)
        self.fault = str(outcome)[:FAULT_CHARACTERS]
        asked_ms = retry_after_ms(outcome.retry_after, self._now_ms())
        asked = min(asked_ms / 1000, self._max_asked) if asked_ms is not None else None
        opened = gate.failed(number, kind, now, began, asked, self._random())
        if kind != "ours":
            if first:
                self._stored = now
            elif kind != "way":  # what lay between it and us is not its fault
                self.failing_s += now - self._since
            self._since = now
        if self._record.off:
            return early
        if opened:
            count = gate.breaker.failures
            log.warning(
                "%s: %d failures in a row, the last one %s: one probe at a time until one succeeds",
                self._endpoint.title,
                count,
                self.fault,
            )
            self._record.failing = True
            self._store()
            self._tell("failing", f"{count} failures in a row")
        if kind == "gone":
            self.switch_off("it answered 410 (gone)")
        elif gate.breaker.open and kind in ("failed", "slow"):
            self._check_age(now)
        return early

    def _check_age(self, now: float) -> None:
        limit = self._endpoint.breaker.disable_after
        if limit is not None and self.failing_s >= limit:
            self.switch_off(f"every attempt has failed for {span(self.failing_s)}")
        elif now - self._stored >= STORE_EVERY_S:
            self._stored = now
            self._record.failing_s = self.failing_s
            self._store()

    def hold(self, seconds: float) -> None:
        """Begin no request for so long."""
        self.gate.hold(self._loop.time() + seconds)

    def switch_off(self, reason: str) -> None:
        """Send nothing any more, also after a restart; `reason` is for the user."""
        if self._record.off:
            return
        salt = os.urandom(16)
        self._record = Record(
            off=reason,
            off_at=self._now_ms(),
            salt=salt,
            settings=_digest(self._endpoint, salt),
            ordering=self._record.ordering,
        )
        self._store()
        self.gate.switch(off=True)
        log.error(
            "%s: switched off: %s; its events are kept within the bounds of its backlog until it is "
            "switched on, or its settings change",
            self._endpoint.title,
            reason,
        )
        self._tell("off", reason)

    def switch_on(self) -> bool:
        """Send again, what waits included; whether it was off."""
        if not self._record.off:
            return False
        self._record = Record(ordering=self._record.ordering, recovered_at=self._now_ms())
        self.failing_s = 0.0
        self._store()
        self.gate.switch(off=False)
        log.warning("%s: switched on", self._endpoint.title)
        self._tell("on", "switched on")
        return True

    def _tell(self, state: str, why: str) -> None:
        if self.on_change is not None:
            self.on_change(state, why)


def _digest(endpoint: AnyEndpoint, salt: bytes) -> bytes:
    """Tells one state of the settings from another. Secrets are in it, hence the salt and the rounds."""
    text = msgspec.json.encode(endpoint.model_dump(), enc_hook=_plain)
    return hashlib.pbkdf2_hmac("sha256", text, salt, _ROUNDS)


def _plain(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def span(seconds: float) -> str:
    """A duration in words."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
