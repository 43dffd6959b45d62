"""The blocks `bridges.mqtt.<name>`: other brokers as sources, with NanoMQ's keys (INTEROP 1.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bridge.config import certs, mask
from bridge.config.block import build, check_name, fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import BRIDGE_SUBSCRIPTION, MQTT_BRIDGE
from bridge.config.node import Node
from bridge.config.secret import SecretError, reveal
from bridge.config.settings import BridgeSubscription, MqttBridge
from bridge.config.units import plain, quote
from bridge.mqtt.topics import parse_shared, valid_topic_filter

MAX_BRIDGES = 100
MAX_SUBSCRIPTIONS = 10_000
_SERVER = "mqtt://host[:port] or mqtts://host[:port]"
_SCHEMES = {
    "mqtt": "mqtt",
    "mqtts": "mqtts",
    "tcp": "mqtt",
    "ssl": "mqtts",
    "tls": "mqtts",
    "mqtt-tcp": "mqtt",
    "nmq-tcp": "mqtt",
    "tls+mqtt-tcp": "mqtts",
    "tls+nmq-tcp": "mqtts",
}
_QUIC = ("mqtt-quic", "nmq-quic")
_TLS_WORDS = certs.Words(
    "mqtts:", "expected a server that begins with mqtts://", "a server with mqtts://", "broker"
)
_NAMED = "one object for each name: bridges.mqtt.<name> { server = …, subscription = [ … ] }"
_LIST = '[ { remote_topic = "line/#", qos = 1 } ]'


def read(findings: Findings, node: Node | None, environ: Mapping[str, str]) -> tuple[MqttBridge, ...]:
    """The bridges that are whole and have something to subscribe to."""
    if node is None:
        return ()
    if not isinstance(node.value, dict):
        findings.wrong(node, _NAMED)
        return ()
    for name, child in node.children.items():
        if name != "mqtt" and not child.is_null:
            findings.warn(child, "accepted, and has no effect here: HookMQ has bridges.mqtt alone")
    several = node.get("mqtt")
    if several is None:
        return ()
    if not isinstance(several.value, dict):
        findings.wrong(several, _NAMED)
        return ()
    if len(several.children) > MAX_BRIDGES:
        findings.error(
            several.place,
            several.key,
            f"found {len(several.children)} bridges, expected at most {MAX_BRIDGES}",
        )
        return ()
    made = []
    for name, child in several.children.items():
        if child.is_null:
            continue
        if isinstance(child.value, list):  # NanoMQ before 0.19
            findings.warn(child, f"an older spelling, it has no effect; expected {_NAMED}")
        elif check_name(findings, name, child):
            one = _one(findings, name, child, environ)
            if one is not None:
                made.append(one)
    return tuple(made)


def _one(findings: Findings, name: str, node: Node, environ: Mapping[str, str]) -> MqttBridge | None:
    if not isinstance(node.value, dict):
        findings.wrong(node, _NAMED)
        return None
    off = node.get("enable") or node.get("bridge_mode")
    if off is not None and (plain(off) or "").strip().lower() in ("false", "off", "no"):
        return None  # what is switched off is not worth a word
    start = len(findings.messages)
    values = read_block(findings, node, MQTT_BRIDGE, node.key)
    subscriptions = _subscriptions(findings, node)
    server = _server(findings, values, node)
    tls = certs.read_client(findings, node, "ssl", server, _TLS_WORDS)
    _credentials(findings, values, environ)
    if server is None or any(m.level == "error" for m in findings.messages[start:]):
        return None
    if not subscriptions:
        if node.get("forwards") is None:
            findings.warn(node, f"no subscription: nothing comes of it; expected subscription = {_LIST}")
        return None
    if values.get("clean_start", (node, False))[1]:
        findings.warn(
            values["clean_start"][0],
            "found true: what the broker gets while HookMQ is away is lost; expected false",
        )
    given = fields(values, MQTT_BRIDGE, MqttBridge)
    given |= {"name": name, "server": server, "tls": tls, "subscription": subscriptions}
    made = build(findings, MqttBridge, given, node)
    return made if isinstance(made, MqttBridge) else None


def _server(findings: Findings, values: Mapping[str, tuple[Node, Any]], block: Node) -> str | None:
    """The broker; None where it cannot be."""
    if "server" not in values:
        if block.get("server") is None and block.get("address") is None:
            findings.error(block.place, block.key, f"found no server, expected server = {_SERVER}")
        return None
    node, text = values["server"]
    text = text.strip()
    shown = quote(mask.url(text))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        findings.error(node.place, node.key, f"found a host or port that is wrong, expected {_SERVER}")
        return None
    if parts.scheme.lower() in _QUIC:
        findings.warn(node, f"found {shown}: HookMQ speaks no QUIC, nothing comes of it; expected {_SERVER}")
        return None
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname or port == 0 or re.search(r"[\x00-\x20\x7f]", text):
        findings.error(node.place, node.key, f"found {shown}, expected {_SERVER}")
    elif "@" in parts.netloc:
        findings.error(
            node.place,
            node.key,
            f"found {shown} with a user in it, expected the keys username and password beside it",
        )
    elif parts.path.strip("/") or parts.query or parts.fragment:
        findings.error(node.place, node.key, f"found {shown} with a path, expected {_SERVER}")
    else:
        return f"{scheme}://{parts.netloc}"
    return None


def _subscriptions(findings: Findings, node: Node) -> tuple[BridgeSubscription, ...]:
    given = node.get("subscription")
    if given is None:
        return ()
    entries = given.value if isinstance(given.value, list) else list(given.children.values())  # 1, 2, …
    if len(entries) > MAX_SUBSCRIPTIONS:
        findings.error(
            given.place,
            given.key,
            f"found {len(entries)}, expected at most {MAX_SUBSCRIPTIONS} subscriptions",
        )
        return ()
    if not entries and given.value != []:
        findings.wrong(given, f"a list: {_LIST}")
    made: dict[str, BridgeSubscription] = {}
    for entry in entries:
        if not isinstance(entry.value, dict):
            findings.wrong(entry, f"an entry such as {_LIST}")
            continue
        values = read_block(findings, entry, BRIDGE_SUBSCRIPTION)
        if "remote_topic" not in values:
            if entry.get("remote_topic") is None and entry.get("topic") is None:
                findings.error(entry.place, entry.key, f"found no remote_topic, expected {_LIST}")
            continue
        _check_topic(findings, values)
        one = build(
            findings, BridgeSubscription, fields(values, BRIDGE_SUBSCRIPTION, BridgeSubscription), entry
        )
        if isinstance(one, BridgeSubscription):
            if one.remote_topic in made:
                findings.warn(entry, f"it has no effect: {one.remote_topic} stands before it")
            made.setdefault(one.remote_topic, one)
    return tuple(made.values())


def _check_topic(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> None:
    at, topic_filter = values["remote_topic"]
    try:
        shared = parse_shared(topic_filter)
    except ValueError as error:
        findings.error(at.place, at.key, f"found {quote(topic_filter)}: {error}")
        return
    if not valid_topic_filter(topic_filter if shared is None else shared[1]):
        findings.error(
            at.place,
            at.key,
            f'found {quote(topic_filter)}, expected a topic filter such as "line/+/t" or "line/#"',
        )


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
    version = values["proto_ver"][1] if "proto_ver" in values else 4
    if "username" not in values and version != 5:
        findings.error(
            node.place,
            node.key,
            "found a password without a username, which MQTT has from 5 on; expected both",
        )
