"""A webhook's settings as JSON: one document, the same keys and the same checks as a block of the file.

Beside them: `active` is `enable`, `description` is `note`, and `events` takes names as texts too: those of
the broker's events (`on_client_connected`, `message.publish`), else types of business events and patterns of
them (`work_order.*`). One for business events alone has not only MachShop's bodies but also its schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.config import body, domain, mask, tenant, webhook
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

ALIASES: Mapping[str, str] = {"active": "enable", "description": "note"}
"""Members of the document by their other names, which are the file's."""
_OLDER = ("rules", "rule")


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
        tenant.no_files(findings, root, _secrets(root))
    endpoint: Endpoint | None = None
    if not made.too_deep:
        endpoint = webhook.read_one(findings, name, body.whole(root), environ, known)
        if endpoint is not None:
            endpoint = endpoint.model_copy(update={"trust": trust})
            if trust == "tenant":
                default = Endpoint(url=endpoint.url)
                tenant.bound(findings, root, WEBHOOK, endpoint, default, ("pool_size", "pool_size"))
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
    rename(findings, root, ALIASES)


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
        elif names_type(findings, entry):
            types.append(entry)
        elif not entry.broken:
            rules.append(Node({"event": entry}, entry.key, entry.place))
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


def _secrets(root: Node) -> list[Node | None]:
    """The members that hold a secret."""
    several, credentials = root.children.get("secrets"), root.children.get("credentials")
    found = [root.children.get("secret")]
    if several is not None and isinstance(several.value, list):
        found += several.value
    if credentials is not None:
        found += [credentials.get(name) for name in ("password", "token", "client_secret")]
    return found


# --- shown --------------------------------------------------------------------------------------------------


_PARTS = (*(None, "backlog", "retry", "dead", "breaker", "attempts", "cloudevents", "rate_limit", "batch"),)


def show(endpoint: Endpoint) -> dict[str, Any]:
    """The settings that are not at their defaults, and the first ones always; no secret is in it."""
    made: dict[str, Any] = {
        "url": mask.url(endpoint.url),
        "description": endpoint.note,
        "active": endpoint.enable,
        "events": [*shown_rules(endpoint), *endpoint.types],
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


def show_unread(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is sure to be no secret in a document that cannot be read any more."""
    address, note, events = (document.get(name) for name in ("url", "description", "events"))
    return {
        "url": mask.url(address) if isinstance(address, str) else "",
        "description": note if isinstance(note, str) else "",
        "active": document.get("active") is not False,
        "events": events if isinstance(events, list) else [],
    }


def _shown_signature(signature: Signature) -> Any:
    if signature == Signature(scheme=signature.scheme):
        return signature.scheme
    return {key.name: shown(key, getattr(signature, key.field)) for key in SIGNATURE.keys}


# --- described ----------------------------------------------------------------------------------------------


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
            "items": {"oneOf": [{"type": "string"}, RULE]},
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
