"""The schemas of the API's document: JSON Schema (draft 2020-12), as OpenAPI 3.1 has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.admin import endpoint_schemas, publisher_schemas
from bridge.admin.broker_schemas import BROKER_SCHEMAS

TEXT: Mapping[str, Any] = {"type": "string"}

_USER_PROPERTIES = {
    "type": "object",
    "maxProperties": 1000,
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_MESSAGE = {
    "payload": TEXT,
    "qos": {"type": "integer", "minimum": 0, "maximum": 2, "default": 0},
    "retain": {"type": "boolean", "default": False},
    "clientid": {"type": ["string", "null"], "description": "The sender's; http_api where it is absent."},
    "properties": {"oneOf": [{"$ref": "#/components/schemas/PublishProperties"}, {"type": "null"}]},
}
_ENCODING = {"enum": ["plain", "base64"], "default": "plain"}

SCHEMAS: dict[str, Any] = {
    **BROKER_SCHEMAS,
    **endpoint_schemas.SCHEMAS,
    **publisher_schemas.SCHEMAS,
    "Problem": {
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["path", "message"],
                    "properties": {
                        "path": {"type": "string", "description": "A JSON Pointer into the body."},
                        "message": TEXT,
                    },
                },
            },
        },
    },
    "Event": {
        "type": "object",
        "required": ["type", "data"],
        "additionalProperties": False,
        "properties": {
            "id": {
                "type": ["string", "null"],
                "pattern": "^[!-~]{1,255}$",
                "description": "Made where it is absent.",
            },
            "type": {
                "type": "string",
                "maxLength": 128,
                "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$",
                "examples": ["work_order.created"],
            },
            "timestamp": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "RFC 3339; the time of arrival where it is absent.",
            },
            "data": {"type": "object", "description": "No whole number in it is beyond 2^53."},
        },
    },
    "EventsTaken": {
        "type": "object",
        "required": ["ids", "repeated"],
        "properties": {
            "ids": {"type": "array", "items": TEXT, "description": "In the order of the events."},
            "repeated": {"type": "integer", "description": "How many of them had come before."},
        },
    },
    "EventTypes": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "description", "sources", "schema", "example"],
                    "properties": {
                        "type": TEXT,
                        "description": TEXT,
                        "sources": {"type": "array", "items": TEXT},
                        "schema": {"type": "object", "description": "The JSON Schema of `data`."},
                        "example": {"type": "object", "description": "An example of `data`."},
                    },
                },
            }
        },
    },
    "PublishProperties": {
        "type": "object",
        "properties": {
            "payload_format_indicator": {"enum": [0, 1, None]},
            "message_expiry_interval": {
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": 4294967295,
                "description": "Seconds.",
            },
            "response_topic": {"type": ["string", "null"]},
            "correlation_data": {"type": ["string", "null"]},
            "content_type": {"type": ["string", "null"]},
            "user_properties": {"oneOf": [_USER_PROPERTIES, {"type": "null"}]},
        },
    },
    "PublishEmqx": {
        "type": "object",
        "required": ["topic", "payload"],
        "properties": {"topic": TEXT, "payload_encoding": _ENCODING, **_MESSAGE},
    },
    "PublishNanomq": {
        "type": "object",
        "required": ["payload"],
        "anyOf": [{"required": ["topic"]}, {"required": ["topics"]}],
        "properties": {
            "topic": {"type": ["string", "null"]},
            "topics": {"type": ["string", "null"], "description": "Several, with commas between them."},
            "encoding": _ENCODING,
            **_MESSAGE,
        },
    },
    "MessageId": {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string", "pattern": "^[0-9A-F]{32}$"}},
    },
    "ReasonCode": {
        "type": "object",
        "required": ["reason_code", "message"],
        "properties": {"reason_code": {"const": 16}, "message": {"const": "no_matching_subscribers"}},
    },
    "ResultCode": {"type": "object", "required": ["code"], "properties": {"code": {"const": 0}}},
}
