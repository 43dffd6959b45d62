"""The broker as a whole, as in NanoMQ and EMQX 4: what it is, how long it runs, what it counts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from bridge.admin.problems import answer
from bridge.admin.routes import Call, Route, json_content
from bridge.broker.stats import counts, totals
from bridge.broker.system_topics import DESCRIPTION


class _Processor:
    """The share of one processor that this process has used since the last time it was asked."""

    def __init__(self) -> None:
        self._last = 0.0, time.monotonic()

    def percent(self) -> float:
        used, at = time.process_time(), time.monotonic()
        before, since = self._last
        self._last = used, at
        return max(0.0, 100.0 * (used - before) / (at - since)) if at > since else 0.0


_processor = _Processor()


def _resident() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _uptime(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} Hours, {minutes} minutes, {left} seconds"


async def get_brokers(call: Call) -> web.Response:
    """What runs here."""
    system = call.plant.system
    row = {
        "datetime": system.now().strftime("%Y-%m-%d %H:%M:%S"),
        "node": system.node,
        "node_status": "Running",
        "sysdescr": DESCRIPTION,
        "uptime": _uptime(system.uptime),
        "version": system.version,
    }
    return answer({"code": 0, "data": [row]})


async def get_nodes(call: Call) -> web.Response:
    """The same, with how many clients are connected."""
    system = call.plant.system
    row = {
        "connections": counts(call.plant.broker)["connections.count"],
        "node": system.node,
        "node_status": "Running",
        "uptime": _uptime(system.uptime),
        "version": system.version,
    }
    return answer({"code": 0, "data": [row]})


async def get_stats(call: Call) -> web.Response:
    """How many there are now, as in EMQX 4."""
    row = {"node": call.plant.system.node, "stats": counts(call.plant.broker)}
    return answer({"code": 0, "data": [row]})


async def get_metrics(call: Call) -> web.Response:
    """What has happened since the start, as in EMQX 4; NanoMQ's members beside it."""
    row = {"node": call.plant.system.node, "metrics": totals(call.plant.broker.stats)}
    return answer(
        {
            "code": 0,
            "metrics": [],
            "cpuinfo": f"{_processor.percent():.2f}%",
            "memory": str(_resident()),
            "data": [row],
        }
    )


def _operation(operation: str, summary: str, schema: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["broker"],
        "responses": {"200": {"description": "A list of one.", "content": json_content(schema)}},
    }


ROUTES = (
    Route(
        "GET",
        "/api/v4/brokers",
        "clients:read",
        get_brokers,
        _operation("getBrokers", "The broker, its version and its time.", "Brokers"),
    ),
    Route(
        "GET",
        "/api/v4/nodes",
        "clients:read",
        get_nodes,
        _operation("getNodes", "The node, and how many clients are connected.", "Nodes"),
    ),
    Route(
        "GET",
        "/api/v4/stats",
        "clients:read",
        get_stats,
        _operation("getStats", "How many clients, sessions, subscriptions and messages there are.", "Stats"),
    ),
    Route(
        "GET",
        "/api/v4/metrics",
        "clients:read",
        get_metrics,
        _operation("getMetrics", "What has happened since the start.", "Metrics"),
    ),
)
