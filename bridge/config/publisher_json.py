"""A publisher's settings as JSON: one document, the same keys and the same checks as a block
`mqtt_publishers.<name>` of the file.

Beside them: `active` is `enable`, and `description` is `note`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.config import domain, mask, publisher, tenant
from bridge.config.findings import Findings
from bridge.config.json_node import (
    RULE,
    Document,
    Fault,
    block_schema,
    check_types,
    form,
    given,
    names_type,
    put,
    rename,
    shown,
    shown_rules,
)
from bridge.config.keys import EXPONENTIAL, MQTT_PUBLISHER, PAYLOAD_KEY, WEBHOOK_TLS
from bridge.config.node import Node
from bridge.config.settings import MqttPublisher, Trust

ALIASES: Mapping[str, str] = {"active": "enable", "description": "note"}
"""Members of the document by their other names, which are the file's."""
_EVENTS = "a list of types, patterns and events of the broker, which may be {event, topic}"
_ENTRY = "a type of event or a pattern such as work_order.*, or {event, topic}"
_NO_CLIENTID = "none: only who has all rights may choose it, since events are told apart by it"


class Read(NamedTuple):
    """A publisher, or the errors of its document."""

    publisher: MqttPublisher | None
    errors: list[Fault]
    warnings: list[Fault]


def read(
    name: str,
    document: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    trust: Trust = "operator",
    known: domain.Known = lambda: None,
) -> Read:
    """The publisher `name` (without what begins the names of all) of a document. Secrets and files that it
    names are read, but never a tenant's."""
    made = Document(document)
    root, findings = made.root, made.findings
    rename(findings, root, ALIASES)
    _events(findings, root)
    for block, node in (
        (MQTT_PUBLISHER, root),
        (WEBHOOK_TLS, root.get("ssl")),
        (WEBHOOK_TLS, root.get("tls")),
    ):
        if node is not None:
            check_types(findings, node, block)
    if trust == "tenant":
        tenant.no_files(findings, root, [root.children.get("password")])
    found: MqttPublisher | None = None
    if not made.too_deep:
        found = publisher.read_one(findings, name, root, environ, known)
        if found is not None:
            found = found.model_copy(update={"trust": trust})
            if trust == "tenant":
                _tenant(findings, root, found)
    errors = made.faults()
    return Read(None if errors else found, errors, made.warnings())


def _events(findings: Findings, root: Node) -> None:
    events = root.get("events")
    if events is None:
        return
    if not isinstance(events.value, list):
        findings.wrong(events, _EVENTS)
        del root.children["events"]
        return
    for entry in events.value:
        if not isinstance(entry.value, str | dict):
            findings.wrong(entry, _ENTRY)
            entry.broken = True
        else:
            names_type(findings, entry)
    root.children["events"] = Node(
        [entry for entry in events.value if not entry.broken], events.key, events.place
    )


def _tenant(findings: Findings, root: Node, found: MqttPublisher) -> None:
    tenant.bound(
        *(findings, root, MQTT_PUBLISHER, found, MqttPublisher()), more=("max_in_flight", "max_in_flight")
    )
    clientid = root.get("clientid")
    if clientid is not None:
        findings.wrong(clientid, _NO_CLIENTID)


# --- shown --------------------------------------------------------------------------------------------------


_PARTS = (None, "backlog", "retry", "dead", "breaker", "attempts", "cloudevents", "rate_limit")


def show(found: MqttPublisher) -> dict[str, Any]:
    """The settings that are not at their defaults, and the first ones always; no secret is in it."""
    made: dict[str, Any] = {
        "server": mask.url(found.server),
        "topic_pattern": found.topic_pattern,
        "description": found.note,
        "active": found.enable,
        "events": [*shown_rules(found), *found.types],
        "format": found.format,
    }
    done = {*made, "note", "enable", PAYLOAD_KEY.name}
    if found.retry.schedule != "exponential":
        done |= {f"retry.exponential.{name}" for name in EXPONENTIAL}
    for part in _PARTS:
        holder = found if part is None else getattr(found, part)
        for key, value in given(MQTT_PUBLISHER, holder) if holder is not None else ():
            if key.name not in done:
                put(made, key.name, shown(key, value))
    if found.tls is not None:
        made["tls"] = {key.name: shown(key, value) for key, value in given(WEBHOOK_TLS, found.tls)}
    return made


def show_unread(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is sure to be no secret in a document that cannot be read any more."""
    server, pattern, note, events = (
        document.get(name) for name in ("server", "topic_pattern", "description", "events")
    )
    return {
        "server": mask.url(server) if isinstance(server, str) else "",
        "topic_pattern": pattern if isinstance(pattern, str) else "",
        "description": note if isinstance(note, str) else "",
        "active": document.get("active") is not False,
        "events": events if isinstance(events, list) else [],
    }


# --- described ----------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """The JSON Schema of a document."""
    made = block_schema(MQTT_PUBLISHER, leave_out=frozenset({"enable", "note"}))
    named = {key.name: key for key in MQTT_PUBLISHER.keys}
    made["properties"] |= {
        "active": form(named["enable"]) | {"description": "Whether it publishes."},
        "description": {"type": "string", "maxLength": 4096},
        "events": {
            "type": "array",
            "items": {"oneOf": [{"type": "string"}, RULE]},
            "description": "Types of business events and patterns such as `work_order.*`; names of the "
            "broker's events, also with a topic filter: `{event, topic}`. Absent: every business event.",
        },
        "ssl": block_schema(WEBHOOK_TLS),
        "tls": block_schema(WEBHOOK_TLS),
    }
    made["properties"]["server"] |= {
        "description": "`embedded`, HookMQ's own broker; or `mqtt://host[:port]`, `mqtts://host[:port]`."
    }
    return made
