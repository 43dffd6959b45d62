"""A webhook's settings as JSON: one document, the same keys and the same checks as a block of the file.

Beside them: `active` is `enable`, `description` is `note`, and `events` takes names as texts too: those of
the broker's events (`on_client_connected`, `message.publish`), else types of business events and patterns of
them (`work_order.*`). One for business events alone has not only MachShop's bodies but also its schedule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.config import body, domain, mask, webhook
from bridge.config.findings import Findings
from bridge.config.json_node import Document, Fault, block_schema, check_types, form, given, put, shown
from bridge.config.keys import (
    BATCH_ENABLE,
    CREDENTIALS,
    EXPONENTIAL,
    PAYLOAD_KEY,
    SIGNATURE,
    WEBHOOK,
    WEBHOOK_TLS,
)
from bridge.config.node import Node
from bridge.config.settings import BatchPolicy, Endpoint, Signature, Trust
from bridge.config.units import show_seconds, show_size
from bridge.events.names import find

ALIASES: Mapping[str, str] = {"active": "enable", "description": "note"}
"""Members of the document by their other names, which are the file's."""
_OLDER = ("rules", "rule")
_NO_FILES = "the value itself: only who has all rights may name a file or a variable of the server"
_NO_PATHS = "none: only who has all rights may name a file of the server"
_BOUNDED = (
    ("pool_size", "pool_size", None),
    ("cancel_timeout", "cancel_timeout", None),
    ("max_parked", "max_parked", None),
    ("backlog.max_bytes", "max_bytes", "backlog"),
    ("backlog.max_age", "max_age", "backlog"),
    ("dead.max_bytes", "max_bytes", "dead"),
    ("dead.max_age", "max_age", "dead"),
    ("attempts.successes", "successes", "attempts"),
    ("attempts.max_age", "max_age", "attempts"),
    ("attempts.max_rows", "max_rows", "attempts"),
)
"""What costs the machine: a tenant may have as much as is the default. Key, field, and part of Endpoint."""
_MAX_TIMEOUT = 30_000  # ms, of a tenant


class Read(NamedTuple):
    """An endpoint, or the errors of its document."""

    endpoint: Endpoint | None
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
    """The endpoint `name` of a document. Secrets and files that it names are read, but never a tenant's."""
    made = Document(document)
    root, findings = made.root, made.findings
    _aliases(findings, root)
    _events(findings, root)
    for block, node in ((WEBHOOK, root), (WEBHOOK_TLS, root.get("ssl")), (WEBHOOK_TLS, root.get("tls"))):
        if node is not None:
            check_types(findings, node, block)
    for block, node in ((CREDENTIALS, root.get("credentials")), (SIGNATURE, root.get("signature"))):
        if node is not None:
            check_types(findings, node, block)
    _imply_mes(root)
    if trust == "tenant":
        _no_files(findings, root)
    endpoint: Endpoint | None = None
    if not made.too_deep:
        endpoint = webhook.read_one(findings, name, body.whole(root), environ, known)
        if endpoint is not None:
            endpoint = endpoint.model_copy(update={"trust": trust})
            if trust == "tenant":
                _tenant(findings, root, endpoint)
        elif not made.faults():
            findings.error(
                root.place, f"{root.key}.url", 'missing, expected the receiver: "http://host:port/path"'
            )
    errors = made.faults()
    return Read(None if errors else endpoint, errors, made.warnings())


def _aliases(findings: Findings, root: Node) -> None:
    members = root.children
    for name in _OLDER:
        if name in members:
            node = members.pop(name)
            findings.error(node.place, node.key, "unknown key; did you mean events?")
    for alias, name in ALIASES.items():
        if alias not in members:
            continue
        node = members.pop(alias)
        if name in members:
            findings.error(
                node.place, node.key, f"found beside {name}, another name of it, expected one of them"
            )
        members[name] = node


def _events(findings: Findings, root: Node) -> None:
    """Names among the `events` become objects of NanoMQ's kind, or `types`."""
    events = root.get("events")
    if events is None or not isinstance(events.value, list):
        return
    rules: list[Node] = []
    types: list[Node] = []
    for entry in events.value:
        if not isinstance(entry.value, str):
            rules.append(entry)
        elif find(entry.value) is not None:
            rules.append(Node({"event": entry}, entry.key, entry.place))
        elif not re.fullmatch(r"[A-Za-z0-9_.*?!\[\]-]{1,128}", entry.value.strip()):
            findings.wrong(entry, "a type of event or a pattern such as work_order.*, or {event, topic}")
        else:
            types.append(entry)
    more = root.get("types")
    if types:
        if more is not None and isinstance(more.value, list):
            types += more.value
        root.children["types"] = Node(types, events.key if more is None else more.key, events.place)
    root.children["events"] = Node(rules, events.key, events.place)
    if not rules:
        del root.children["events"]


_SPEAKING = ("format", "body", "retry", "success", "events", "triggers", "topics")


def _imply_mes(root: Node) -> None:
    """An endpoint for business events that says nothing else is one of the MES document's, which promises its
    attempts as well: `retry.schedule = mes`."""
    types = root.get("types")
    if types is not None and all(root.get(name) is None for name in _SPEAKING):
        schedule = Node("mes", types.key, types.place)
        root.children["retry"] = Node({"schedule": schedule}, types.key, types.place)


# --- what a tenant may not ----------------------------------------------------------------------------------


def _no_files(findings: Findings, root: Node) -> None:
    """Before anything is read: a file that could be named could be sent away, or felt for."""
    credentials = root.children.get("credentials")
    places = [root.children.get("secret"), *_members(root.children.get("secrets"))]
    if credentials is not None:
        places += [credentials.get(name) for name in ("password", "token", "client_secret")]
    for node in places:
        if node is not None and isinstance(node.value, dict):
            findings.wrong(node, _NO_FILES, secret=True)
            node.broken = True
    for name in ("ssl", "tls"):
        block = root.get(name)
        for file in ("cacertfile", "certfile", "keyfile", "cacert", "cert", "key"):
            node = block.get(file) if block is not None else None
            if node is not None:
                findings.wrong(node, _NO_PATHS, secret=True)
                node.broken = True


def _members(node: Node | None) -> list[Node]:
    return node.value if node is not None and isinstance(node.value, list) else []


def _tenant(findings: Findings, root: Node, endpoint: Endpoint) -> None:
    """What would cost others: more room than the default, and turning publishers away."""
    default = Endpoint(url=endpoint.url)
    for name, field, part in _BOUNDED:
        value, most = (
            getattr(one if part is None else getattr(one, part), field) for one in (endpoint, default)
        )
        if name == "cancel_timeout":
            most = _MAX_TIMEOUT
        if value > most:
            limit = show_size(most) if name.endswith("bytes") else str(most)
            limit = show_seconds(most) if name.endswith("age") else limit
            names = [name, *(other for other, today in WEBHOOK.also.items() if today == name)]
            found = [root.get(*one.split(".")) for one in names]
            node = next((one for one in found if one is not None), root)
            findings.wrong(node, f"at most {limit}: more is for those who have all rights")
    if endpoint.backlog.on_full == "refuse":
        node = root.get("backlog", "on_full") or root
        findings.wrong(node, "expire: turning publishers away is for those who have all rights")


# --- shown --------------------------------------------------------------------------------------------------


_PARTS = (*(None, "backlog", "retry", "dead", "breaker", "attempts", "cloudevents", "rate_limit", "batch"),)


def show(endpoint: Endpoint) -> dict[str, Any]:
    """The settings that are not at their defaults, and the first ones always; no secret is in it."""
    made: dict[str, Any] = {
        "url": mask.url(endpoint.url),
        "description": endpoint.note,
        "active": endpoint.enable,
        "events": _shown_events(endpoint),
        "format": endpoint.format,
        "signature": [_shown_signature(signature) for signature in endpoint.signature],
    }
    done = {*made, "note", "enable", "types", "secret", "proxy", PAYLOAD_KEY.name, BATCH_ENABLE.name}
    if endpoint.retry.schedule != "exponential":
        done |= {f"retry.exponential.{name}" for name in EXPONENTIAL}
    for part in _PARTS:
        holder = endpoint if part is None else getattr(endpoint, part)
        for key, value in given(WEBHOOK, holder) if holder is not None else ():
            if key.name not in done:
                put(made, key.name, shown(key, value))
    if endpoint.retry.schedule == "mes":  # where another success would be meant without it
        success = next(key for key in WEBHOOK.keys if key.name == "success")
        put(made, success.name, shown(success, endpoint.success))
    if isinstance(endpoint.batch, BatchPolicy):
        put(made, BATCH_ENABLE.name, True)
    if endpoint.proxy is not None:
        made["proxy"] = mask.url(endpoint.proxy)
    if endpoint.headers:
        made["headers"] = {
            name: mask.MASK if mask.is_secret(name) else value for name, value in endpoint.headers
        }
    if endpoint.tls is not None:
        made["ssl"] = {key.name: shown(key, value) for key, value in given(WEBHOOK_TLS, endpoint.tls)}
    if endpoint.credentials is not None:
        made["credentials"] = {
            key.name: mask.url(value) if key.name == "token_url" else shown(key, value)
            for key, value in given(CREDENTIALS, endpoint.credentials)
        }
    return made


def _shown_events(endpoint: Endpoint) -> list[Any]:
    rules: list[Any] = []
    for rule in endpoint.events:
        one = {"event": "on_" + rule.event.action}
        rules.append(one if rule.topic is None else {**one, "topic": rule.topic})
    return [*rules, *endpoint.types]


def _shown_signature(signature: Signature) -> Any:
    if signature == Signature(scheme=signature.scheme):
        return signature.scheme
    return {key.name: shown(key, getattr(signature, key.field)) for key in SIGNATURE.keys}


# --- described ----------------------------------------------------------------------------------------------

_RULE = {
    "type": "object",
    "required": ["event"],
    "additionalProperties": False,
    "properties": {
        "event": {"type": "string"},
        "topic": {"type": "string", "description": "A topic filter."},
    },
}


def schema() -> dict[str, Any]:
    """The JSON Schema of a document, without its secrets' own members."""
    made = block_schema(WEBHOOK, leave_out=frozenset({"enable", "note"}))
    members = made["properties"]
    scheme = next(key for key in SIGNATURE.keys if key.name == "scheme")
    one = {"oneOf": [form(scheme), block_schema(SIGNATURE)]}
    named = {key.name: key for key in WEBHOOK.keys}
    more: dict[str, Any] = {
        "active": form(named["enable"]) | {"description": "Whether it is sent events."},
        "description": {"type": "string", "maxLength": 4096},
        "events": {
            "type": "array",
            "items": {"oneOf": [{"type": "string"}, _RULE]},
            "description": "Types of business events and patterns such as `work_order.*`; names of the "
            "broker's events, also with a topic filter: `{event, topic}`.",
        },
        "triggers": {"type": ["string", "array"], "items": {"type": "string"}},
        "topics": {"type": ["string", "array"], "items": {"type": "string"}},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "ssl": block_schema(WEBHOOK_TLS),
        "tls": block_schema(WEBHOOK_TLS),
        "credentials": block_schema(CREDENTIALS),
        "signature": {"oneOf": [*one["oneOf"], {"type": "array", "items": one}]},
        "secrets": {"type": "array", "items": form(named["secret"]), "writeOnly": True},
    }
    members.update(more)
    members["url"] = {"type": "string", "examples": ["https://example.com/webhooks/mes"]}
    return made
