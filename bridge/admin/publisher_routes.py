"""`/api/v2/mqtt/publishers`: publishers as `crud` has them, and what becomes of their events."""

from __future__ import annotations

from bridge.admin.crud import Crud
from bridge.admin.delivery_routes import of_each
from bridge.admin.publishers import Publishers

CRUD = Crud(
    *("/api/v2/mqtt/publishers", lambda plant: plant.publishers, "publisher", "Publisher", Publishers.prefix)
)
ROUTES = (
    *CRUD.routes(
        "mqtt",
        {
            "create": "Answered when it is on disk; it publishes every event from then on. At HookMQ's own "
            "broker (`server` absent or `embedded`) the caller needs the scope `publish` too.",
            "change": "What waits for it is published by the new settings.",
        },
    ),
    *of_each(CRUD, "mqtt", "Publisher"),
)
