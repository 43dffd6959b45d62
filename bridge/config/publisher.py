"""The blocks `mqtt_publishers.<name>`: events as MQTT messages, each block one publisher (INTEROP 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bridge.config import body, certs, domain, mask, policy
from bridge.config import events as rules
from bridge.config.block import build, check_name, fields, read_block
from bridge.config.body_kinds import type_pattern
from bridge.config.findings import Findings
from bridge.config.keys import MQTT_PUBLISHER
from bridge.config.kinds import items
from bridge.config.node import Node, found
from bridge.config.policy import Values
from bridge.config.secret import SecretError, reveal
from bridge.config.settings import (
    EMBEDDED,
    PUBLISHERS,
    BacklogBound,
    Encoding,
    MqttPublisher,
    Receiver,
    Rule,
)
from bridge.config.units import Bad, plain, quote
from bridge.events.names import find
from bridge.events.uns import PatternError, compile_topic

MAX_PUBLISHERS = 1000
_TLS_WORDS = certs.Words(
    "mqtts:", "expected a server that begins with mqtts://", "a server with mqtts://", "broker"
)
_NAMED = "one object for each name: mqtt_publishers.<name> { topic_pattern = …, events = [ … ] }"
_SERVER = "embedded, mqtt://host[:port] or mqtts://host[:port]"
_SCHEMES = {
    "mqtt": "mqtt",
    "mqtts": "mqtts",
    "tcp": "mqtt",
    "ssl": "mqtts",
    "tls": "mqtts",
    "mqtt-tcp": "mqtt",
    "tls+mqtt-tcp": "mqtts",
}
"""The schemes of Eryxon, EMQX and NanoMQ, and ours."""
_REMOTE = ("proto_ver", "username", "password", "keepalive", "cancel_timeout")
"""Keys that only a connection has a use for."""
_EVENTS = (
    'a list of types, patterns and events of the broker such as ["operation.*", on_client_connected,'
    ' { event = on_message_publish, topic = "line/#" }]'
)


def read(
    findings: Findings, root: Node, environ: Mapping[str, str], known: domain.Known = lambda: None
) -> tuple[MqttPublisher, ...]:
    """The publishers of a file: those of its blocks that are whole; the errors of others are in `findings`.

    `environ` is where secrets of the form `{ env = NAME }` are looked for, `known` are the types of business
    events.
    """
    several = root.get("mqtt_publishers")
    if several is None:
        return ()
    if not isinstance(several.value, dict):
        findings.wrong(several, _NAMED)
        return ()
    if len(several.children) > MAX_PUBLISHERS:
        findings.error(
            several.place,
            several.key,
            f"found {len(several.children)} publishers, expected at most {MAX_PUBLISHERS}",
        )
        return ()
    made: list[MqttPublisher] = []
    for name, node in several.children.items():
        if node.is_null:
            continue
        if not check_name(findings, name, node):
            continue
        one = read_one(findings, name, node, environ, known)
        if one is not None:
            made.append(one)
    return tuple(made)


def read_one(
    findings: Findings, name: str, node: Node, environ: Mapping[str, str], known: domain.Known
) -> MqttPublisher | None:
    """The publisher of one block, whose name follows `PUBLISHERS`; None where it is not whole."""
    if not isinstance(node.value, dict):
        findings.wrong(node, _NAMED)
        return None
    start = len(findings.messages)
    node = body.whole(node)
    values = read_block(findings, node, MQTT_PUBLISHER, node.key)
    server = _server(findings, values)
    _pattern(findings, values)
    wanted, types = _wanted(findings, node, known)
    if "format" not in values and "body.template" not in values:
        values["format"] = (node, "eryxon")
    made_of = body.read(findings, node, values, (), batch=None)
    _structured(findings, values)
    parts = policy.read(findings, node, values)
    del parts["batch"]
    tls = certs.read_client(findings, node, "tls", server, _TLS_WORDS)
    _credentials(findings, values, environ)
    if server == EMBEDDED:
        for key in MQTT_PUBLISHER.keys:
            if key.name in _REMOTE and key.name in values and values[key.name][1] != key.default:
                findings.warn(values[key.name][0], "it has no effect: server = embedded has no connection")
    if server is None or any(m.level == "error" for m in findings.messages[start:]):
        return None
    given = fields(values, MQTT_PUBLISHER, Receiver) | fields(values, MQTT_PUBLISHER, MqttPublisher)
    given |= made_of.fields
    if "encoding" in given:
        given["encoding"] = Encoding(given["encoding"])
    bound = build(findings, BacklogBound, fields(values, MQTT_PUBLISHER, BacklogBound), node)
    given |= {"name": PUBLISHERS + name, "server": server, "tls": tls, "backlog": bound, **parts}
    given |= {"events": wanted, "types": types}
    publisher = build(findings, MqttPublisher, given, node)
    return publisher if isinstance(publisher, MqttPublisher) else None


def _server(findings: Findings, values: Values) -> str | None:
    """The broker; None where it cannot be."""
    if "server" not in values:
        return EMBEDDED
    node, text = values["server"]
    text = text.strip()
    if text.lower() == EMBEDDED:
        return EMBEDDED
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        findings.error(node.place, node.key, f"found a host or port that is wrong, expected {_SERVER}")
        return None
    shown = quote(mask.url(text))
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname or port == 0 or re.search(r"[\x00-\x20\x7f]", text):
        findings.error(node.place, node.key, f"found {shown}, expected {_SERVER}")
        return None
    if "@" in parts.netloc:
        findings.error(
            node.place,
            node.key,
            f"found {shown} with a user in it, expected the keys username and password beside it",
        )
        return None
    if parts.path.strip("/") or parts.query or parts.fragment:
        findings.error(
            node.place, node.key, f"found {shown} with a path, expected {_SERVER} (and topic_pattern)"
        )
        return None
    return f"{scheme}://{parts.netloc}"


def _pattern(findings: Findings, values: Values) -> None:
    if "topic_pattern" in values:
        node, text = values["topic_pattern"]
        try:
            compile_topic(text, {})
        except PatternError as error:
            findings.error(node.place, node.key, str(error))


def _structured(findings: Findings, values: Values) -> None:
    if "cloudevents.mode" in values and values["cloudevents.mode"][1] == "binary":
        node = values["cloudevents.mode"][0]
        findings.error(
            node.place, node.key, "found binary, expected structured: a message has no headers for the rest"
        )


def _wanted(findings: Findings, node: Node, known: domain.Known) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """What is published: events of the broker, and types of business events, all of them unless said."""
    given = node.get("events")
    if given is None:
        return (), ("*",)
    hooks: list[Node] = []
    types: list[str] = []
    for item in items(given):
        if isinstance(item.value, dict):
            hooks.append(item)
            continue
        text = (plain(item) or "").strip()
        if find(text) is not None:
            hooks.append(Node({"event": item}, item.key, item.place))
            continue
        try:
            types.append(type_pattern(text))
        except Bad:
            findings.wrong(
                item if isinstance(given.value, list) else given, f"{_EVENTS}; {found(item)} is none"
            )
    domain.check_types(findings, given, types, known)
    wanted = rules.read_list(findings, hooks)
    if not wanted and not types and given.value == []:
        findings.warning(given.place, given.key, f"no events: nothing will be published; expected {_EVENTS}")
    return wanted, tuple(dict.fromkeys(types))


def _credentials(
    findings: Findings, values: Mapping[str, tuple[Node, Any]], environ: Mapping[str, str]
) -> None:
    if "password" not in values:
        return
    node, secret = values["password"]
    try:
        reveal(secret, environ)
    except SecretError as error:
        findings.error(node.place, node.key, str(error))
    version = values["proto_ver"][1] if "proto_ver" in values else 5
    if "username" not in values and version != 5:
        findings.error(
            node.place,
            node.key,
            "found a password without a username, which MQTT has from 5 on; expected both",
        )
