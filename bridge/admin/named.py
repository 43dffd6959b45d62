"""Which receiver a call is about, and what else the calls on receivers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.admin.crud import Crud, told
from bridge.admin.pages import invalid
from bridge.admin.problems import Problem
from bridge.admin.routes import Call
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked


def found_one(call: Call, crud: Crud) -> Lane | Parked:
    """The receiver of the path, of that kind. Raises Problem (404, 409)."""
    with told():
        name = crud.of(call.plant).name(call.path["id"])
    found = call.plant.webhooks.find(name)
    if found is None:
        raise Problem(409, f"this {crud.noun} is not served, and nothing is kept for it")
    return found


def served_one(call: Call, crud: Crud) -> Lane:
    """The same, and it is served. Raises Problem (404, 409)."""
    found = found_one(call, crud)
    if isinstance(found, Parked):
        why = found.reason or "it is not active"
        raise Problem(409, f"this {crud.noun} is not served: {why}")
    return found


def ready_one(call: Call, crud: Crud) -> Lane:
    """The same, and it is not switched off. Raises Problem (404, 409)."""
    lane = served_one(call, crud)
    if lane.health.off:
        raise Problem(409, f"this {crud.noun} is switched off ({lane.health.off}): enable it first")
    return lane


def as_problem(error: Refused, status: int = 422, name: str = "") -> Problem:
    return Problem(status, str(error), errors=[{"path": f"/{name}" if name else "", "message": str(error)}])


def only_members(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names:
            raise invalid(name[:64], f"unknown member, expected {' and '.join(names)}")
