"""The numbers of each endpoint, read from its lane: a row for each of the first ones, one for all others."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bridge.admin.metrics.families import ENDPOINT, MAX_ENDPOINTS, OTHER, Family
from bridge.config.settings import MqttPublisher
from bridge.delivery.dead_bound import DeadBounds
from bridge.delivery.lane import Lane
from bridge.journal.store import StoreError

ATTEMPTS = "hookmq_endpoint_attempts_total"
SUMMARY = "hookmq_endpoint_attempt_seconds"
_GREATEST = frozenset({"hookmq_endpoint_oldest_waiting_seconds", "hookmq_endpoint_failing_seconds"})
"""Of several endpoints not the sum."""

Row = dict[str, float]
"""By family; a summary has `_sum` and `_count`."""


class Rows:
    """What a scrape knows of endpoints. `read` fills it, lane after lane, so that others have their turns."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.attempts: dict[str, dict[str, int]] = {}
        # And of all endpoints together.
        self.states: dict[str, int] = {}
        self.publishers = 0
        self.publishers_connected = 0
        self.given_up = 0  # dead letters

    def read(self, lanes: list[Lane], dead: DeadBounds) -> Iterator[None]:
        """Look at the lanes; yields after each."""
        now_ms = time.time() * 1000
        for number, lane in enumerate(lanes):
            name = lane.name if number < MAX_ENDPOINTS else OTHER
            attempts = {"success": lane.delivered - lane.grouped, **lane.failures}
            row = _row(lane, now_ms)
            known = self.rows.get(name)
            if known is None:
                self.rows[name] = row
                self.attempts[name] = attempts
            else:
                for key, value in row.items():
                    known[key] = max(known[key], value) if key in _GREATEST else known[key] + value
                of = self.attempts[name]
                for key, count in attempts.items():
                    of[key] = of.get(key, 0) + count
            self._count(lane, dead)
            yield

    def _count(self, lane: Lane, dead: DeadBounds) -> None:
        state = lane.state
        self.states[state] = self.states.get(state, 0) + 1
        self.given_up += dead.given_up(lane.id)
        if isinstance(lane.endpoint, MqttPublisher):
            self.publishers += 1
            self.publishers_connected += getattr(lane.pool, "connected", True)

    def values(self, family: Family) -> list[tuple[tuple[str, ...], float]]:
        """Label values and the value, of one that is neither a summary."""
        if family.name == ATTEMPTS:
            return [
                ((name, result), count)
                for name, counts in self.attempts.items()
                for result, count in counts.items()
            ]
        return [((name,), row[family.name]) for name, row in self.rows.items()]


def _row(lane: Lane, now_ms: float) -> Row:
    pool = lane.pool
    health = lane.health
    breaker = health.gate.breaker.open
    try:
        oldest = lane.oldest_waiting()
    except StoreError:  # told elsewhere
        oldest = None
    return dict(
        zip(
            _NAMES,
            (
                lane.matched,
                lane.delivered,
                lane.buried,
                lane.expired,
                lane.retried,
                lane.timed_s,
                lane.timed,
                lane.backlog_events,
                lane.backlog_bytes,
                lane.endpoint.backlog.max_bytes,
                lane.retrying,
                pool.in_flight,
                lane.dead,
                0.0 if oldest is None else max(now_ms - oldest, 0.0) / 1000,
                health.failing_s,
                int(breaker),
                int(bool(health.off)),
                int(lane.full),
                len(pool.connections),
                getattr(pool, "opened", 0),  # a publisher at our own broker has none
            ),
            strict=True,
        )
    )


def _names() -> tuple[str, ...]:
    names: list[str] = []
    for family in ENDPOINT:
        if family.kind == "summary":
            names += [f"{family.name}_sum", f"{family.name}_count"]
        elif family.name != ATTEMPTS:
            names.append(family.name)
    return tuple(names)


_NAMES = _names()
