"""Which endpoint a call is about, and what else the calls on endpoints have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.admin.crud import told
from bridge.admin.pages import invalid
from bridge.admin.problems import Problem
from bridge.admin.routes import Call
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked


def found_endpoint(call: Call) -> Lane | Parked:
    """The endpoint of the path. Raises Problem (404, 409)."""
    with told():
        name = call.plant.endpoints.name(call.path["id"])
    found = call.plant.webhooks.find(name)
    if found is None:
        raise Problem(409, "this endpoint is not served, and nothing is kept for it")
    return found


def served_endpoint(call: Call) -> Lane:
    """The same, and it is served. Raises Problem (404, 409)."""
    found = found_endpoint(call)
    if isinstance(found, Parked):
        why = found.reason or "it is not active"
        raise Problem(409, f"this endpoint is not served: {why}")
    return found


def ready_endpoint(call: Call) -> Lane:
    lane = served_endpoint(call)
    if lane.health.off:
        raise Problem(409, f"this endpoint is switched off ({lane.health.off}): enable it first")
    return lane


def as_problem(error: Refused, status: int = 422, name: str = "") -> Problem:
    return Problem(status, str(error), errors=[{"path": f"/{name}" if name else "", "message": str(error)}])


def only_members(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names:
            raise invalid(name[:64], f"unknown member, expected {' and '.join(names)}")
