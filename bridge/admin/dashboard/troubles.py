"""What is wrong now, in words that an operator understands, the worst first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from bridge.admin.dashboard.expiry import Ending
from bridge.admin.routes import Plant
from bridge.config.settings import PUBLISHERS, MqttPublisher
from bridge.delivery.account import connection
from bridge.delivery.health import span
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.events.cloudevents import timestamp

Severity = Literal["error", "warning", "info"]
RANK = {"error": 0, "warning": 1, "info": 2}
MAX_TOLD = 50
"""Problems that are told one by one."""
NEARLY_FULL = 0.8
"""The share of a backlog's bound from which on it is told."""
LITTLE_ROOM = 0.05
LITTLE_BYTES = 256 << 20
"""A disk has little room below both: this share of it, and so many bytes."""
MANY_FAILED = 0.1
"""The share of failed attempts from which on it is told."""
FEW_PER_S = 1 / 60
"""Failed attempts a second below which it is not: single ones."""
TOLD_S = 3600.0
"""How long it is told that events were given up."""


class Trouble(NamedTuple):
    """One thing that is wrong. `link` is a page of the dashboard; `since` Unix ms, where it is known."""

    severity: Severity
    text: str
    link: str = ""
    since: int | None = None

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        since = None if self.since is None else timestamp(self.since)
        return {"severity": self.severity, "text": self.text, "link": self.link, "since": since}


class GivenUp:
    """When each endpoint last gave up events because of its backlog's bound."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}  # by lane: how many, and when that was seen first

    def note(self, lane: Lane) -> bool:
        """Whether it has lately."""
        now = time.monotonic()
        count, at = self._seen.get(lane.id, (0, 0.0))
        if lane.expired > count:
            count, at = self._seen[lane.id] = lane.expired, now
        return count > 0 and now - at < TOLD_S


def title(lane: Lane | Parked) -> str:
    """What people call an endpoint: its description, else its id. The link has the id."""
    note = lane.endpoint.note if isinstance(lane, Lane) else lane.note
    name = lane.name.removeprefix(PUBLISHERS)
    kind = "Publisher" if lane.name.startswith(PUBLISHERS) else "Endpoint"
    return f"{kind} “{note[:100]}”" if note else f"{kind} {name}"


def link(lane: Lane | Parked) -> str:
    """Its page."""
    name = lane.name.removeprefix(PUBLISHERS)
    kind = "publishers" if lane.name.startswith(PUBLISHERS) else "endpoints"
    return f"#/{kind}/{quote(name, safe='')}"


def of_all(plant: Plant, ending: list[Ending], *, in_memory: bool) -> Iterator[Trouble]:
    """What is wrong with the process as a whole. `in_memory`: its store is."""
    journal = plant.journal
    if journal.stalled:
        yield Trouble("error", "The store refuses to write, so publishers wait: is the disk full?")
    room = journal.store.room()
    if room is not None and room.free < min(room.total * LITTLE_ROOM, LITTLE_BYTES):
        yield Trouble("error", f"The disk of the store is nearly full: {_size(room.free)} are left")
    if in_memory:
        yield Trouble("warning", "The store is in memory (tmpfs): a power cut loses it")
    if plant.broker.turn.holding and not journal.stalled:
        yield Trouble("error", "Publishers wait, since deliveries lag behind further than mqtt.max_lag")
    attempts = plant.attempts
    if attempts is None:
        yield Trouble("warning", "No attempts are logged: HookMQ's own log says why", "#/logs")
    elif attempts.lost:
        yield Trouble("warning", f"{attempts.lost:,} attempts are missing in the log of attempts", "#/logs")
    ms = time.time() * 1000
    for one in ending:
        when = timestamp(one.at)[:10]
        if one.at <= ms:
            yield Trouble("error", f"A certificate has run out on {when}: {one.key}", since=one.at)
        else:
            days = int((one.at - ms) // 86_400_000)
            yield Trouble("warning", f"A certificate runs out on {when}, in {days} days: {one.key}")
    if not plant.webhooks.lanes:
        yield Trouble("info", "There is no endpoint: events go nowhere", "#/endpoints")


def of_parked(parked: Parked) -> Iterator[Trouble]:
    """What is wrong with an endpoint that is not served."""
    if parked.reason:
        text = f"{title(parked)} is off, its settings do not work: {parked.reason}"
        yield Trouble("error", text, link(parked))
    if parked.dead:
        yield _dead(parked)


def of_lane(lane: Lane, failed_per_s: float, share: float | None, given_up: GivenUp) -> Iterator[Trouble]:
    """What is wrong with an endpoint."""
    health = lane.health
    state = lane.state
    now = int(time.time() * 1000)
    if health.off:
        since = health.off_at or None
        by_hand = health.off.startswith("by hand")
        text = f"{title(lane)} is switched off: {health.off}; {_waits(lane)}"
        yield Trouble("warning" if by_hand else "error", text, link(lane), since)
    elif state == "failing":
        seconds = health.failing_for
        fault = lane.target.scrub(health.fault) or "unknown since the start"
        text = f"{title(lane)} has failed for {span(seconds)}, the last time with {fault}; {_waits(lane)}"
        yield Trouble("error", text, link(lane), now - int(seconds * 1000))
    elif state == "asking":
        why = f": {lane.reason}" if lane.reason else ""
        yield Trouble("warning", f"{title(lane)} has not agreed to requests yet{why}", link(lane))
    elif share is not None and 1 - share >= MANY_FAILED and failed_per_s >= FEW_PER_S:
        text = f"{title(lane)}: {1 - share:.0%} of the attempts of the last minute have failed"
        yield Trouble("warning", text, _logs(lane))
    elif state == "slow":
        yield Trouble("info", f"{title(lane)} has asked for fewer requests, and gets fewer", link(lane))
    if lane.full:
        text = f"{title(lane)}: the backlog is at its bound, and new publishes are refused"
        yield Trouble("error", text, link(lane))
    elif lane.backlog_bytes > (most := lane.endpoint.backlog.max_bytes) * NEARLY_FULL:
        share_of = lane.backlog_bytes / most
        text = f"{title(lane)}: the backlog is at {share_of:.0%} of its bound of {_size(most)}"
        yield Trouble("warning", text, link(lane))
    if given_up.note(lane):
        text = f"{title(lane)}: {lane.expired:,} events were given up, its backlog was at its bound"
        yield Trouble("error", text, link(lane))
    if isinstance(lane.endpoint, MqttPublisher):
        there = connection(lane)
        if there is not None and not there.connected and there.last_error and state != "failing":
            text = f"{title(lane)} has no connection: {there.last_error}"
            yield Trouble("warning", text, link(lane), there.since)
    if lane.dead:
        yield _dead(lane)


def _dead(lane: Lane | Parked) -> Trouble:
    many = "1 dead letter" if lane.dead == 1 else f"{lane.dead:,} dead letters"
    return Trouble("warning", f"{title(lane)}: {many}", f"#/dead?endpoint={quote(lane.name, safe='')}")


def _logs(lane: Lane) -> str:
    return f"#/logs?endpoint={quote(lane.name, safe='')}&status=failed"


def _waits(lane: Lane) -> str:
    waiting = lane.backlog_events + lane.retrying
    return "1 event waits" if waiting == 1 else f"{waiting:,} events wait"


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1024:.0f} KB"
