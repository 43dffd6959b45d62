"""Business events that come by MQTT: `events.lift` says which topics carry them, and how.

Of all rules the first one whose topic pattern has the message's topic makes the event. Where the payload's
`data` is an object, the payload is an envelope as a webhook's body is, with `id`, `type` or `event`,
`timestamp` and `tenant_id`; else the payload, an object, is the data as a whole. The variables of the topic
go into the event's own `data` (`Event.data`), beside its id and timestamp.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from bridge.config.settings import Lift
from bridge.events.catalogue import MAX_NAME, valid_name
from bridge.events.js_json import LARGE, JsJsonError, dumps, loads, pointer
from bridge.events.topic_pattern import EVENT, PatternTable, TopicPattern, parse
from bridge.sources.arrived import EXPECTED_ID, EXPECTED_TIME, ID, Arrived, Fault, iso, utc
from bridge.sources.intake import BacklogFull, Intake, Prepared

log = logging.getLogger(__name__)

MAX_PAYLOAD = 1 << 20
"""Bytes of a payload that is looked into, at most. One of more than `LARGE` is read beside the loop; the
worst one (empty lists) still holds others up for 90 ms, an ordinary one for 15."""
CACHE_TOPICS = 8192
"""Topics whose rule and variables are remembered; the table is emptied when full."""
CACHED_TOPIC = 256
"""Characters of a topic that is remembered at most."""
LOG_EVERY_S = 10.0
"""Between two lines about messages that no event came of."""
SHOWN = 300
"""Characters of a cause in such a line."""
TENANT = "tenant_id"
"""What Eryxon's own publisher adds to the envelope; a field of the event as the topic's variables are."""
_MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

Refusal = Literal["", "type", "data", "full"]


class _Refused(Exception):
    """No event comes of a message. `what` is at fault: its `type` or its `data`."""

    def __init__(self, what: Literal["type", "data"], fault: Fault) -> None:
        self.what = what
        path, message = fault
        super().__init__(f"{path}: {message}" if path else message)


class _Rule(NamedTuple):
    """One entry of `events.lift`, ready for use. `type` is None where the payload has it; members are the
    names on the way to them."""

    pattern: TopicPattern
    type: str | None
    id: tuple[str, ...] | None
    timestamp: tuple[str, ...] | None
    data: tuple[str, ...] | None


class _Match(NamedTuple):
    """What the topic alone says."""

    rule: _Rule
    type: str | None
    variables: dict[str, str]


class Lifter:
    """Makes events of messages, for `bridge.broker.lifting`. For the loop's thread."""

    def __init__(
        self,
        rules: Sequence[Lift],
        intake: Intake,
        *,
        strict: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`strict`: a payload that is no event is refused where the sender can be told
        (`events.check = refuse`)."""
        self.lifted = 0
        self.repeated = 0  # came before, by their id
        self.refused = 0  # messages that no event came of
        self._intake = intake
        self._strict = strict
        self._clock = clock
        self._cache: dict[str, _Match | None] = {}
        self.set_rules(rules)
        self._prepared: Prepared | None = None
        self._one_at_a_time = asyncio.Lock()  # what a payload becomes in memory is many times its bytes
        # By payload and topic: large ones that were read, with the rule that they were read by.
        self._looked: dict[tuple[int, str], tuple[_Rule, Arrived | _Refused]] = {}
        self._log_at = clock()
        self._untold = 0

    def set_rules(self, rules: Sequence[Lift]) -> None:
        """Go by other rules from the next message on; it goes on counting."""
        self._rules = [_rule(one) for one in rules]
        self._table = PatternTable(rule.pattern for rule in self._rules)
        self._cache.clear()

    @property
    def counts(self) -> dict[str, int]:
        """Messages since the start: events, those that had come before, and those that no event came of."""
        return {"events": self.lifted, "repeated": self.repeated, "refused": self.refused}

    def offer(
        self, topic: str, payload: bytes, clientid: str, username: str | None, peername: str, *, strict: bool
    ) -> Refusal:
        """See `bridge.broker.lifting.Lifter`."""
        self._prepared = None
        match = self._found(topic)
        if match is None or not payload:  # an empty one deletes a retained message (section 3.3.1.3)
            return ""
        try:
            arrived = (
                self._arrived(match, payload) if len(payload) <= LARGE else self._known(match, topic, payload)
            )
            self._prepared = self._intake.prepare([arrived], clientid, username=username, peername=peername)
        except _Refused as error:
            self._no_event(topic, str(error))
            # An event that the settings refuse, or, if they are strict about data, what is none at all.
            told = strict and (self._strict or error.what == "type")
            return error.what if told else ""
        except BacklogFull:
            self._no_event(topic, "an endpoint's backlog is full")
            return "full"
        return ""

    def looking(self, topic: str, payload: bytes) -> AbstractAsyncContextManager[None] | None:
        """See `bridge.broker.lifting.Lifter`."""
        match = self._found(topic)
        return None if match is None or len(payload) > MAX_PAYLOAD else self._looking(match, topic, payload)

    @asynccontextmanager
    async def _looking(self, match: _Match, topic: str, payload: bytes) -> AsyncIterator[None]:
        found: Arrived | _Refused
        async with self._one_at_a_time:
            try:
                found = await asyncio.to_thread(self._arrived, match, payload)
            except _Refused as error:
                found = error
        key = id(payload), topic  # the caller holds it meanwhile
        self._looked[key] = match.rule, found
        try:
            yield
        finally:
            self._looked.pop(key, None)

    def _known(self, match: _Match, topic: str, payload: bytes) -> Arrived:
        """What a large payload was found to be. Raises _Refused."""
        rule, found = self._looked.get((id(payload), topic), (None, None))
        if found is None:
            most = MAX_PAYLOAD if len(payload) > MAX_PAYLOAD else LARGE  # nobody has looked into it
            raise _Refused("data", Fault("", f"found {len(payload)} bytes, expected at most {most}"))
        if rule is not match.rule:
            return self._arrived(match, payload)  # a reload, just now
        if isinstance(found, _Refused):
            raise found
        return found

    def take(self) -> None:
        """See `bridge.broker.lifting.Lifter`."""
        made, self._prepared = self._prepared, None
        if made is not None:
            self._intake.store(made)
            if made.taken.repeated:
                self.repeated += 1
            else:
                self.lifted += 1

    # -- topic and payload -----------------------------------------------------------------------------

    def _found(self, topic: str) -> _Match | None:
        try:
            return self._cache[topic]
        except KeyError:
            return self._match(topic)

    def _match(self, topic: str) -> _Match | None:
        number = self._table.find(topic)
        match = None
        if number is not None:
            rule = self._rules[number]
            variables = rule.pattern.variables(topic)
            kind = rule.type
            if kind is None:
                kind = variables.pop(EVENT, None)
            elif "{" in kind:
                for name, value in variables.items():
                    kind = kind.replace(f"{{{name}}}", value)
            match = _Match(rule, kind, variables)
        if len(topic) <= CACHED_TOPIC:
            if len(self._cache) >= CACHE_TOPICS:
                self._cache.clear()
            self._cache[topic] = match
        return match

    def _arrived(self, match: _Match, payload: bytes) -> Arrived:
        try:
            value = loads(payload)
        except JsJsonError as error:
            raise _Refused("data", Fault(pointer(error.path), error.problem)) from None
        if not isinstance(value, dict):
            raise _Refused("data", Fault("", "expected a JSON object"))
        rule = match.rule
        envelope = isinstance(value.get("data"), dict)
        kind = match.type
        if kind is None:
            kind = value.get("type", value.get("event"))
        if not isinstance(kind, str) or not valid_name(kind):
            found = f"found {kind[:MAX_NAME]!r}, " if isinstance(kind, str) else ""
            raise _Refused("type", Fault("", f"{found}expected a type such as work_order.created"))
        data = value
        if rule.data is not None:
            data = _member(value, rule.data)
        elif envelope:
            data = value["data"]
        if not isinstance(data, dict):
            raise _Refused("data", Fault(pointer(rule.data or ()), "expected an object"))
        variables = match.variables
        if envelope and isinstance(value.get(TENANT), str):
            variables = {TENANT: value[TENANT], **variables}
        arrived = Arrived(
            kind,
            _identifier(value, rule.id or (("id",) if envelope else None)),
            _timestamp(value, rule.timestamp or (("timestamp",) if envelope else None)),
            data,
            dumps(data),
            variables,
        )
        faults = self._intake.check(kind, data)
        if faults:
            raise _Refused("type" if faults[0].path == "/type" else "data", faults[0])
        return arrived

    def _no_event(self, topic: str, cause: str) -> None:
        """Count it, and tell of the first and then now and then: whoever publishes can make many."""
        self.refused += 1
        now = self._clock()
        if now < self._log_at:
            self._untold += 1
            return
        self._log_at = now + LOG_EVERY_S
        more = f" (and of {self._untold:,} messages before it)" if self._untold else ""
        self._untold = 0
        log.warning("events.lift: no event came of a message on %r%s: %s", topic[:100], more, cause[:SHOWN])


def _rule(one: Lift) -> _Rule:
    def way(text: str | None) -> tuple[str, ...] | None:
        return None if text is None else tuple(text.split("."))

    return _Rule(parse(one.topic), one.type, way(one.id), way(one.timestamp), way(one.data))


def _member(value: Any, way: tuple[str, ...]) -> Any:
    for name in way:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _identifier(value: dict[str, Any], way: tuple[str, ...] | None) -> str | None:
    found = None if way is None else _member(value, way)
    if type(found) is int:
        return str(found)
    if found is not None and not (isinstance(found, str) and ID.fullmatch(found)):
        raise _Refused("data", Fault(pointer(way or ()), EXPECTED_ID))
    return found


def _timestamp(value: dict[str, Any], way: tuple[str, ...] | None) -> str | None:
    found = None if way is None else _member(value, way)
    if found is None:
        return None
    if type(found) is int and 0 <= found <= _MAX_MS:
        return iso(datetime.fromtimestamp(found / 1000, UTC))
    try:
        return utc(found)
    except ValueError:
        expected = f"{EXPECTED_TIME}, or milliseconds since 1970"
        raise _Refused("data", Fault(pointer(way or ()), expected)) from None
