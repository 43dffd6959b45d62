"""What happens in the shop: work orders go from cell to cell, are inspected, and are done. Pure, and the same
again for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

CELLS = {"laser_cutting": "CUT", "bending": "BEND", "welding": "WELD", "painting": "PAINT"}
"""The cells in the order in which a part goes through them, with the type of their operations."""
PRODUCTS = ("Bracket A1", "Cabinet door", "Gehäuse 19″", "Machine guard")
INSPECTORS = ("Maria López", "John Smith", "Zoë Brandt")
DEFECTS = ("burr at the cut edge", "paint blister", "bend angle off by 1.5°", "weld porosity")
SECONDS_PER_ORDER = 4
"""So many seconds of a run bring a work order."""
FAILS = 0.2
"""The share of inspections with a fault."""


class Happening(NamedTuple):
    """One event. `at` is seconds since the shop has opened; `cell` is the one whose machine tells of it, None
    where the MES itself does."""

    at: float
    id: str
    type: str
    timestamp: str
    data: dict[str, Any]
    cell: str | None = None


class _Told(NamedTuple):
    """A happening before it has id and time; `dated` is the member of its object that is that time."""

    at: float
    type: str
    data: dict[str, Any]
    cell: str | None = None
    dated: str = ""


def run(seconds: float, seed: int, start: datetime) -> list[Happening]:
    """All that happens in so many seconds, in order; every work order is done at the end.

    Ids have `start` in them, so that another run is not taken for a repetition of this one.
    """
    rng = random.Random(seed)
    free = dict.fromkeys(CELLS, 0.0)
    told: list[_Told] = []
    at = 0.0
    for number in range(1, max(round(seconds / SECONDS_PER_ORDER), 1) + 1):
        told += _order(rng, free, number, at)
        at += rng.uniform(0.5, 1.5) * SECONDS_PER_ORDER
    told.sort(key=lambda one: one.at)
    scale = seconds / told[-1].at
    name = f"{int(start.timestamp()):x}-{seed}"
    made = []
    for count, one in enumerate(told, 1):
        moment = one.at * scale
        timestamp = (start + timedelta(seconds=moment)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        if one.dated:
            (inner,) = [part for part in one.data.values() if isinstance(part, dict)]
            inner[one.dated] = timestamp
        made.append(Happening(moment, f"evt-{name}-{count}", one.type, timestamp, one.data, one.cell))
    return made


def _order(rng: random.Random, free: dict[str, float], number: int, at: float) -> Iterator[_Told]:
    """One work order from its creation to its end; `free` says from when on each cell is."""
    order = {"id": f"wo-{number}", "orderNumber": f"WO-{number:04d}"}
    quantity = rng.randint(1, 40) * 5
    created = order | {"product": rng.choice(PRODUCTS), "quantity": quantity}
    yield _Told(at, "work_order.created", {"workOrder": created})
    material = {"materialId": f"steel-{rng.choice((1.5, 2, 3))}mm", "workOrderId": order["id"]}
    sheets = {"id": f"mov-{number}-1", **material, "quantity": quantity / 8, "location": "rack 7"}
    yield _Told(at + 0.2, "inventory.material_allocated", {"movement": sheets})
    at += 0.5
    yield _Told(at, "work_order.started", {"workOrder": order | {"status": "IN_PROGRESS"}}, dated="startDate")
    for step, cell in enumerate(_routing(rng), 1):
        begun = max(at + 0.1, free[cell])
        took = rng.uniform(0.5, 3)
        at = free[cell] = begun + took
        operation = {"id": f"op-{number}-{step}", "workOrderId": order["id"]}
        yield _Told(
            begun,
            "operation.started",
            {"operation": operation | {"operationType": CELLS[cell]}},
            cell,
            "startDate",
        )
        done = operation | {"status": "COMPLETED", "actualDuration": round(took / 60, 4)}
        yield _Told(at, "operation.completed", {"operation": done}, cell, "completionDate")
        if step == 1:
            used = {"id": f"mov-{number}-2", **material, "quantity": sheets["quantity"]}
            yield _Told(at + 0.1, "inventory.material_consumed", {"movement": used})
    failed = rng.random() < FAILS
    inspection = {"id": f"insp-{number}", "workOrderId": order["id"], "result": "FAIL" if failed else "PASS"}
    inspection["inspectedBy"] = rng.choice(INSPECTORS)
    yield _Told(at + 0.3, "quality.inspection_complete", {"inspection": inspection})
    if failed:
        scrap = rng.randint(1, 5)
        ncr = {"id": f"ncr-{number}", "workOrderId": order["id"], "description": rng.choice(DEFECTS)}
        ncr["severity"] = rng.choice(("MINOR", "MAJOR"))
        yield _Told(at + 0.4, "quality.ncr_created", {"ncr": ncr})
        changes = {"quantity": {"from": quantity, "to": quantity - scrap}}
        quantity -= scrap
        changed = order | {"quantity": quantity}
        yield _Told(at + 0.5, "work_order.updated", {"workOrder": changed, "changes": changes})
    completed = order | {"status": "COMPLETED", "completedQuantity": quantity}
    yield _Told(at + 0.7, "work_order.completed", {"workOrder": completed}, dated="completionDate")


def _routing(rng: random.Random) -> list[str]:
    """The cells that a part goes through: cutting, and most of the others."""
    return [cell for cell in CELLS if cell == "laser_cutting" or rng.random() < 0.7]
