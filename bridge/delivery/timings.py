"""How long attempts take, and events' whole ways: of all endpoints together, by how the attempt ended.

A clock call for each event would cost more than all other counting. So of an endpoint's successes one is
timed for each commit of the journal: every one of an endpoint that is sent a few events a second, some
hundred a second of one that is sent thousands. Failures are all timed.
"""

from __future__ import annotations

from bridge.delivery.retry import Outcome
from bridge.telemetry.histogram import ANSWER_S, WAY_S, Histogram

CLASSES = {1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
"""By the first digit of a status."""


class Timings:
    """Seconds. `way` is from an event's arrival to its success, retries included."""

    __slots__ = ("failed", "succeeded", "way")

    def __init__(self) -> None:
        self.succeeded = Histogram(ANSWER_S)
        self.failed = Histogram(ANSWER_S)
        self.way = Histogram(WAY_S)


def result(outcome: Outcome) -> str:
    """In one word how a failed attempt ended: the status's class, or the kind of its error."""
    if outcome.error is not None:
        return outcome.error
    return CLASSES.get((outcome.status or 0) // 100, "other")
