"""The delivery policy in the `webhook` block: what several keys say together, and what says nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge.config.block import build, fields
from bridge.config.findings import Findings
from bridge.config.keys import BATCH_ENABLE, EXPONENTIAL, WEBHOOK
from bridge.config.node import Node
from bridge.config.settings import (
    AttemptLog,
    BatchPolicy,
    BreakerPolicy,
    DeadBound,
    RateLimit,
    RetryPolicy,
)

Values = dict[str, tuple[Node, Any]]

_BY_NAME = {key.name: key for key in WEBHOOK.keys}


def read(findings: Findings, node: Node, values: Values) -> dict[str, Any]:
    """The fields `retry`, `dead`, `breaker`, `rate_limit`, `batch` and `attempts` of an Endpoint.

    `values` are those of the block. A part that cannot be is an error in `findings`, and None.
    """
    return {
        "retry": build(findings, RetryPolicy, _retry(findings, node, values), node),
        "dead": build(findings, DeadBound, fields(values, WEBHOOK, DeadBound), node),
        "breaker": build(findings, BreakerPolicy, fields(values, WEBHOOK, BreakerPolicy), node),
        "rate_limit": _rate_limit(findings, node, values),
        "batch": _batch(findings, node, values),
        "attempts": build(findings, AttemptLog, fields(values, WEBHOOK, AttemptLog), node),
    }


def spoken(values: Values, names: Iterable[str]) -> list[Node]:
    """The keys that ask for something: given, and not with their default."""
    return [values[n][0] for n in names if n in values and values[n][1] != _BY_NAME[n].default]


def _retry(findings: Findings, node: Node, values: Values) -> dict[str, Any]:
    """`exponential { … }` without a schedule chooses it; its keys beside another schedule mean nothing."""
    given = fields(values, WEBHOOK, RetryPolicy)
    names = [f"retry.exponential.{name}" for name in EXPONENTIAL]
    if node.get("retry", "schedule") is None:
        inside = node.get("retry", "exponential")
        if inside is not None and any(values[n][0] in inside.children.values() for n in names if n in values):
            given["schedule"] = "exponential"
    elif "schedule" not in given:
        return given  # it was wrong, which has been said
    schedule = given.get("schedule", "standard")
    if schedule != "exponential":
        shown = schedule if isinstance(schedule, str) else "a list of waits"
        for child in spoken(values, names):
            findings.warn(
                child,
                f"it has no effect: the schedule is {shown},"
                f" expected {node.key}.retry.schedule = exponential",
            )
    return given


def _rate_limit(findings: Findings, node: Node, values: Values) -> RateLimit | None:
    given = fields(values, WEBHOOK, RateLimit)
    if given.get("per_second") is not None:
        made = build(findings, RateLimit, given, node)
        return made if isinstance(made, RateLimit) else None
    if node.get("rate_limit", "per_second") is None:
        for child in spoken(values, ["rate_limit.burst"]):
            findings.error(
                child.place,
                child.key,
                f"found a burst without a rate, expected {node.key}.rate_limit.per_second",
            )
    return None


def _batch(findings: Findings, node: Node, values: Values) -> BatchPolicy | None:
    """On as soon as one of its keys is given, unless `enable = false`."""
    given = fields(values, WEBHOOK, BatchPolicy)
    enable = values[BATCH_ENABLE.name][1] if BATCH_ENABLE.name in values else bool(given)
    if not enable:
        return None
    made = build(findings, BatchPolicy, given, node)
    return made if isinstance(made, BatchPolicy) else None
