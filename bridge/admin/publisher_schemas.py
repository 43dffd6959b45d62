"""The schemas of publishers of MQTT messages."""

from __future__ import annotations

from typing import Any

from bridge.admin.endpoint_schemas import FAULTS, MANAGED, STATES, obj, or_null, page, ref
from bridge.config import publisher_json

_TEXT = {"type": "string"}
_TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}


def _settings() -> dict[str, Any]:
    made = publisher_json.schema()
    made["description"] = "The keys of a block `mqtt_publishers.<name>`, with their names and nesting."
    return made


_PUBLISHER = obj(
    {
        "id": {
            "type": "string",
            "description": "Of one made over the API `pub_…`, of one of the file its name.",
        },
        "source": {"enum": ["api", "file"], "description": "Those of the file are changed there."},
        "server": {"type": "string", "description": "`embedded`, `mqtt://…` or `mqtts://…`."},
        "topic_pattern": _TEXT,
        "description": _TEXT,
        "active": {"type": "boolean"},
        "events": {"type": "array", "items": {"type": ["string", "object"]}},
        "state": {"enum": list(STATES)},
        "reason": {"type": "string", "description": "Why it is off, or waits."},
        "connection": {
            "oneOf": [ref("PublisherConnection"), {"type": "null"}],
            "description": "Null: it needs none, or is not served.",
        },
    },
    {**MANAGED, "format": _TEXT},
)
_PUBLISHER["description"] = "With the settings that are not at their defaults; never with a password."

SCHEMAS: dict[str, Any] = {
    "PublisherSettings": _settings(),
    "PublisherPatch": or_null(_settings()),
    "PublisherConnection": obj(
        {
            "connected": {"type": "boolean", "description": "Opened for the first event, and kept."},
            "since": {"type": "string", "format": "date-time", "description": "When it came to be so."},
            "last_connected": _TIME_OR_NULL,
            "last_error": {"type": "string", "description": "Of connecting, or why a connection ended."},
            "last_error_at": _TIME_OR_NULL,
        }
    ),
    "Publisher": _PUBLISHER,
    "PublisherChanged": {"allOf": [ref("Publisher"), obj({"warnings": FAULTS})]},
    "PublisherPage": page("Publisher", {"total": {"type": "integer", "minimum": 0}}),
}
