"""The schemas of what only the dashboard asks for."""

from __future__ import annotations

from typing import Any

from bridge.admin.endpoint_schemas import STATES, obj, page, ref

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_COUNT = {"type": ["integer", "null"], "minimum": 0}
_RATE = {"type": "number", "minimum": 0}
_MAYBE_RATE = {"type": ["number", "null"], "minimum": 0}
_SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_SAMPLE_TEXT = {"type": ["string", "null"], "maxLength": 65536}

_FIGURES: dict[str, Any] = {
    "at": _TIME,
    "clients": _MAYBE_COUNT,
    "sessions": _MAYBE_COUNT | {"description": "Those of clients that are away included."},
    "messages_in_per_s": _MAYBE_RATE,
    "events_in_per_s": _RATE | {"description": "Of business events."},
    "deliveries_per_s": _RATE,
    "failures_per_s": _RATE | {"description": "Of attempts."},
    "backlog": _COUNT | {"description": "Events that wait, for their first attempt or for a retry."},
    "oldest_waiting_s": _MAYBE_RATE | {"description": "The age of the oldest; null: none waits."},
    "dead": _COUNT | {"description": "Dead letters."},
    "store_bytes": _COUNT,
}

_JOB: dict[str, Any] = {
    "id": _TEXT,
    "kind": {"enum": ["replay", "purge", "retry"]},
    "endpoint": {"type": "string", "description": "Empty: several."},
    "began": _TIME,
    "state": {"enum": ["running", "done", "stopped", "failed"]},
    "error": _TEXT,
    "done": _COUNT | {"description": "Of `total`."},
    "total": _MAYBE_COUNT | {"description": "null: not known."},
    "affected": _COUNT | {"description": "Events that are sent again, or are purged."},
    "skipped": _COUNT,
    "more": {"type": "boolean", "description": "A bound was reached: there may be more."},
}

SCHEMAS: dict[str, Any] = {
    "Overview": obj(
        {
            **_FIGURES,
            "version": _TEXT,
            "uptime_s": _RATE,
            "backlog_bytes": _COUNT,
            "store_bound_bytes": _MAYBE_COUNT | {"description": "What it can grow to on its disk."},
            "problems": {"type": "array", "items": ref("Trouble"), "description": "The worst first."},
            "endpoints": {
                "type": "array",
                "items": ref("OverviewEndpoint"),
                "description": "At most 50: those in trouble, then the busiest.",
            },
            "endpoints_total": _COUNT,
            "endpoint_states": {
                "type": "object",
                "propertyNames": {"enum": list(STATES)},
                "additionalProperties": _COUNT,
            },
        },
        {"history": ref("OverviewHistory")},
    ),
    "OverviewEndpoint": obj(
        {
            "id": _TEXT,
            "kind": {"enum": ["endpoint", "publisher"]},
            "description": _TEXT,
            "state": {"enum": list(STATES)},
            "reason": _TEXT,
            "deliveries_per_s": _RATE,
            "failures_per_s": _RATE,
            "success_share": _SHARE | {"description": "Of the attempts of the last minute."},
            "backlog": _COUNT,
            "oldest_waiting_s": _MAYBE_RATE,
            "dead": _COUNT,
        }
    ),
    "OverviewHistory": obj(
        {
            "every_s": _RATE,
            "points": {"type": "array", "items": obj(_FIGURES), "description": "The oldest first."},
        }
    ),
    "PreviewRequest": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "endpoint": {"type": "object", "description": "The settings, or with `id` a patch of them."},
            "id": {"type": ["string", "null"]},
            "type": {"type": ["string", "null"], "examples": ["work_order.created", "on_message_publish"]},
            "sample": {
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {
                    "topic": _SAMPLE_TEXT,
                    "payload": _SAMPLE_TEXT,
                    "clientid": _SAMPLE_TEXT,
                    "username": _SAMPLE_TEXT,
                    "payload_encoding": {"enum": ["plain", "base64", None]},
                    "qos": {"enum": [0, 1, 2, None]},
                    "retain": {"type": ["boolean", "null"]},
                    "data": {"type": ["object", "null"], "description": "Of a business event."},
                },
            },
        },
    },
    "Preview": obj(
        {
            "valid": {"type": "boolean"},
            "faults": {"type": "array", "items": ref("PreviewFault")},
            "warnings": {"type": "array", "items": ref("PreviewFault")},
            "type": {"type": ["string", "null"], "description": "Of the event."},
            "wanted": {
                "type": ["boolean", "null"],
                "description": "Whether its events, topics and condition have this event.",
            },
            "request": {"oneOf": [ref("PreviewedRequest"), {"type": "null"}]},
            "error": {"type": "string", "description": "Why no request can be made of the event."},
        }
    ),
    "PreviewFault": obj(
        {
            "path": {"type": "string", "description": "A JSON Pointer into `endpoint`."},
            "message": _TEXT,
            "value": {
                "type": ["string", "number", "boolean", "null"],
                "description": "What stands there, where that can be shown.",
            },
            "expected": _TEXT,
        }
    ),
    "PreviewedRequest": obj(
        {
            "method": _TEXT,
            "url": {"type": "string", "description": "Of a message of MQTT its topic."},
            "headers": {
                "type": "array",
                "items": obj({"name": _TEXT, "value": {"type": "string", "description": "Secrets masked."}}),
            },
            "body": {"type": "string", "description": "At most 64 KiB of it."},
            "body_bytes": _COUNT,
        }
    ),
    "DeadGroup": obj(
        {"endpoint": _TEXT, "cause": _TEXT, "count": _COUNT, "first": _TIME, "last": _TIME},
    ),
    "DeadGroupPage": page("DeadGroup", {"total": _COUNT, "letters": _COUNT}),
    "DeadLetter": obj(
        {
            "id": {"type": "string", "description": "The `webhook-id`."},
            "endpoint": _TEXT,
            "cause": _TEXT,
            "error": _TEXT,
            "at": _TIME | {"description": "When it had its last attempt."},
            "attempts": _COUNT,
            "type": _TEXT,
            "topic": _TEXT,
            "clientid": _TEXT,
        }
    ),
    "DeadLetterPage": page("DeadLetter", {"total": _COUNT}),
    "DeadLettersChosen": {
        "type": "object",
        "required": ["endpoint"],
        "additionalProperties": False,
        "properties": {
            "endpoint": _TEXT,
            "cause": {"type": ["string", "null"]},
            "ids": {
                "type": ["array", "null"],
                "items": _TEXT,
                "minItems": 1,
                "maxItems": 10000,
                "description": "In place of a cause; without both all of them.",
            },
        },
    },
    "LogFilter": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{
                name: {"type": ["string", "null"]}
                for name in ("endpoint", "type", "status", "client", "topic")
            },
            "since": {"type": ["string", "null"], "format": "date-time"},
            "until": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    "Job": obj(_JOB),
    "JobBegun": obj(
        _JOB,
        {name: _COUNT | {"description": "As `affected`."} for name in ("replayed", "purged", "retried")},
    ),
    "TailEvent": obj(
        {
            "at": _TIME,
            "type": {"type": "string", "description": "`on_message_publish`, `work_order.created`, …"},
            "topic": {"type": "string", "description": "Texts have at most 1,024 characters."},
            "clientid": {"type": "string", "description": "Of a business event its source."},
            "username": {"type": ["string", "null"]},
            "peername": _TEXT,
            "qos": {"type": "integer", "minimum": 0, "maximum": 2},
            "retain": {"type": "boolean"},
            "payload": {"type": "string", "description": "At most 4,096 bytes of it."},
            "payload_encoding": {"enum": ["plain", "base64"]},
            "payload_bytes": _COUNT,
            "data": {"type": "object", "description": "What such an event has beside: its `reason`, …"},
        }
    ),
    "TailDropped": obj({"count": _MAYBE_COUNT}),
    "Trouble": obj(
        {
            "severity": {"enum": ["error", "warning", "info"]},
            "text": _TEXT,
            "link": {"type": "string", "description": "A page of the dashboard, or empty."},
            "since": {"oneOf": [_TIME, {"type": "null"}]},
        }
    ),
}
