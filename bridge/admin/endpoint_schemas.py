"""The schemas of endpoints and of what becomes of their events."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from bridge.config import webhook_json

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "format": "date-time"}
_NUMBER = {"type": "number"}
STATES = ("on", "slow", "full", "asking", "failing", "leaving", "off", "inactive")


def ref(name: str) -> dict[str, str]:
    """A reference to another schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of these members; others may come."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def page(name: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """A page of such objects."""
    cursor = {
        "type": ["string", "null"],
        "description": "The `cursor` of the next page; null: it is the last.",
    }
    return obj({"data": {"type": "array", "items": ref(name)}, "next": cursor} | (more or {}))


def _settings() -> dict[str, Any]:
    made = webhook_json.schema()
    made["required"] = ["url"]
    made["properties"]["secret"] = {
        "oneOf": [made["properties"]["secret"], {"type": "null"}],
        "writeOnly": True,
        "description": "Made where it is absent; null: requests are not signed.",
    }
    made["description"] = "The keys of a `webhook` block, with their names and nesting."
    return made


def or_null(value: Any) -> Any:
    """The schema of a patch: every member may be null."""
    made = deepcopy(value)
    for name, member in made.get("properties", {}).items():
        inner = or_null(member) if member.get("type") == "object" else member
        made["properties"][name] = {"anyOf": [inner, {"type": "null"}]}
    made.pop("required", None)
    return made


FAULTS = {
    "type": "array",
    "items": obj({"path": {"type": "string", "description": "A JSON Pointer."}, "message": _TEXT}),
}
MANAGED = {
    "trust": {"enum": ["operator", "tenant"]},
    "created": _TIME,
    "changed": _TIME,
    "created_by": _TEXT,
    "figures": {
        "oneOf": [ref("Figures"), {"type": "null"}],
        "description": "In a list, where they are asked for; null: it is not served.",
    },
}
"""What is known of one that was made over the API."""
_ENDPOINT = obj(
    {
        "id": {
            "type": "string",
            "description": "Of one made over the API `ep_…`, of one of the file its name.",
        },
        "source": {"enum": ["api", "file"], "description": "Those of the file are changed there."},
        "url": {"type": "string", "description": "Without user, password and secret parameters."},
        "description": _TEXT,
        "active": {"type": "boolean"},
        "events": {"type": "array", "items": {"type": ["string", "object"]}},
        "state": {"enum": list(STATES)},
        "reason": {"type": "string", "description": "Why it is off, or waits."},
    },
    {
        **MANAGED,
        "format": _TEXT,
        "signature": {"type": "array"},
        "old_secret_expires": _TIME | {"description": "Until then the secret before signs too."},
    },
)
_ENDPOINT["description"] = "With the settings that are not at their defaults; never with a secret."
_CHANGED = {
    "allOf": [
        ref("Endpoint"),
        obj(
            {"warnings": FAULTS},
            {"secret": {"type": "string", "description": "The new one; it is not shown again."}},
        ),
    ]
}
_ATTEMPT: dict[str, Any] = {
    "endpoint": _TEXT,
    "type": {"type": "string", "description": "`work_order.created`, `on_message_publish`, …"},
    "at": _TIME,
    "attempt": _COUNT,
    "ok": {"type": "boolean"},
    "status": {"type": ["integer", "null"], "description": "Of the response, if there was one."},
    "error": _TEXT,
    "took_ms": _NUMBER,
    "address": {"type": "string", "description": "Of the peer."},
    "events": {"type": "integer", "minimum": 1, "description": "In this request."},
    "topic": _TEXT,
    "clientid": _TEXT,
}
_WITH_TEXTS = {
    "request": {"type": "string", "description": "Start line and headers, secrets masked."},
    "response": obj({"head": _TEXT, "body": {"type": "string", "description": "How it begins."}}),
}
_STATE = {"enum": ["waiting", "delivered", "failed", "dead"]}

SCHEMAS: dict[str, Any] = {
    "EndpointSettings": _settings(),
    "EndpointPatch": or_null(_settings()),
    "Endpoint": _ENDPOINT,
    "EndpointChanged": _CHANGED,
    "EndpointPage": page("Endpoint", {"total": _COUNT}),
    "Figures": obj(
        {
            "delivered": _COUNT,
            "failed": {"type": "integer", "description": "Attempts."},
            "queued": _COUNT,
            "in_flight": _COUNT,
            "dead": _COUNT,
            "delivered_per_s": _NUMBER,
            "failed_per_s": _NUMBER,
            "success_share": {
                "type": ["number", "null"],
                "description": "Of the attempts of the last minute, or since the start where there was none, "
                "0 to 1; null: none was made.",
            },
        }
    ),
    "RotateSecret": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "expire_in": {
                "type": ["number", "string", "null"],
                "description": "Seconds, or a text such as `24h`, for which the old secret signs too; 0: not "
                "at all. At most 30 days.",
            },
            "secret": {"type": ["string", "null"], "description": "The new one; made where it is absent."},
        },
    },
    "TestRequest": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"type": {"type": ["string", "null"], "examples": ["work_order.created"]}},
    },
    "Trial": obj(
        {
            "type": _TEXT,
            "ok": {"type": "boolean"},
            "id": {"type": "string", "description": "The `webhook-id`."},
            "took_ms": _NUMBER,
            "address": _TEXT,
            "request": obj({"head": _TEXT, "body": _TEXT}),
            "response": obj({"status": {"type": ["integer", "null"]}, "head": _TEXT, "body": _TEXT}),
            "error": _TEXT,
        }
    ),
    "Nothing": {"type": "object", "additionalProperties": False, "description": "May be left out."},
    "Retried": obj({"id": _TEXT, "endpoints": {"type": "array", "items": _TEXT}}),
    "ReplayRequest": {
        "type": "object",
        "required": ["since"],
        "additionalProperties": False,
        "properties": {"since": _TIME, "until": {"type": ["string", "null"], "format": "date-time"}},
    },
    "Replay": obj(
        {
            "state": {"enum": ["running", "done", "stopped", "failed"]},
            "error": _TEXT,
            "done": {"type": "integer", "description": "Bytes of the log, of `total`."},
            "total": _COUNT,
            "taken": {"type": "integer", "description": "Events handed over."},
            "under_way": {"type": "integer", "description": "Events that were being sent anyway."},
            "gone": {"type": "integer", "description": "Events that the store has no more."},
            "waiting": {"type": "boolean", "description": "For room."},
            "kept_since": {
                "oneOf": [_TIME, {"type": "null"}],
                "description": "Where the store does not reach back to `since`: how far it does.",
            },
        }
    ),
    "EndpointStats": obj(
        {
            "id": _TEXT,
            "state": {"enum": list(STATES)},
            "reason": _TEXT,
            "queued": _COUNT,
            "retrying": _COUNT,
            "dead": _COUNT,
            "dead_bytes": _COUNT,
            "dead_given_up": _COUNT,
            "oldest_ms": {"type": ["integer", "null"], "description": "Age of the oldest event that waits."},
            "replay": {"oneOf": [ref("Replay"), {"type": "null"}]},
        },
        {
            "matched": _COUNT,
            "delivered": _COUNT,
            "failed": {"type": "integer", "description": "Attempts."},
            "retried": {"type": "integer", "description": "Attempts."},
            "in_flight": _COUNT,
            "expired": _COUNT,
            "backlog_bytes": _COUNT,
            "delivered_per_s": _NUMBER,
            "failed_per_s": _NUMBER,
        },
    ),
    "DeliverySummary": obj({"id": _TEXT, "state": _STATE, **_ATTEMPT}),
    "DeliveryPage": page("DeliverySummary"),
    "Attempt": obj(
        {"delivery": {"type": "string", "description": "The `webhook-id`."}, **_ATTEMPT}, _WITH_TEXTS
    ),
    "AttemptPage": page("Attempt"),
    "Delivery": obj(
        {
            "id": _TEXT,
            "endpoint": _TEXT,
            "state": _STATE,
            "payload": {
                "type": ["string", "null"],
                "description": "The body as it is sent now; null: the event is no more.",
            },
            "attempts": {"type": "array", "items": ref("Attempt"), "description": "The latest first."},
            "next_attempts": {
                "type": "array",
                "items": obj({"attempt": _COUNT, "at": _TIME}),
                "description": "At most 20 to come, if all of them fail; the first as it stands, the others "
                "by the schedule.",
            },
        },
        {"dead_since": _TIME, "payload_error": _TEXT},
    ),
}
