"""A configuration file in, a report out: the settings, or every error at once, and all warnings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.config import (
    auth,
    bridges,
    classic,
    domain,
    egress,
    environ,
    hocon,
    http_server,
    listeners,
    publisher,
    sources,
    webhook,
)
from bridge.config.block import build, fields, nearest, read_block
from bridge.config.findings import Findings
from bridge.config.foreign import NO_EFFECT, NODE_KEYS
from bridge.config.keys import (
    BLOCK_NAMES,
    LOG,
    MQTT,
    NODE,
    PROMETHEUS,
    ROOTS,
    STORE,
    SYS_TOPICS,
    TRACING,
)
from bridge.config.node import Node, Place
from bridge.config.older import Older
from bridge.config.report import Report
from bridge.config.settings import (
    HttpServer,
    Log,
    Mqtt,
    NodeSettings,
    Prometheus,
    Rotation,
    Settings,
    StoreSettings,
    SysEvents,
    SysTopics,
    Tracing,
)
from bridge.config.units import plain, show_size


def load(path: Path, environ: Mapping[str, str] = os.environ, *, classic: bool | None = None) -> Report:
    """Read `path` and the `HOOKMQ_*` variables of `environ`. Never raises for what a file or variable holds.

    `classic`: True reads the file as `key=value` (`--old_conf`), False as HOCON, None tells by its content.
    """
    findings = Findings()
    root = _tree(path, environ, classic, findings)
    settings = _settings(root, environ, findings) if root is not None else None
    report = Report(None, sorted(findings.messages, key=_order(path)))
    if not report.errors:
        report.settings = settings
    return report


def _order(path: Path) -> Any:
    """Messages in the order of the file, then those of includes and variables; errors and warnings mixed."""
    return lambda m: (m.file != path, str(m.file), m.line or 0)


def _tree(path: Path, env: Mapping[str, str], old: bool | None, findings: Findings) -> Node | None:
    try:
        text = hocon.read_text(path)
    except OSError as e:
        findings.error(Place(path), "", f"cannot read the file: {hocon.why(e)}")
        return None
    except ValueError as e:
        findings.error(Place(path), "", str(e))
        return None
    if old or (old is None and classic.is_classic(text)):
        root: Node | None = classic.read(path, text, findings)
    else:
        root = hocon.read(path, text, env, findings)
        if root is not None:
            Older(findings, root, file_is_classic=False).hocon()
            webhook.one_shape(findings, root)
    if root is None:
        # the variables' own faults are worth knowing in the same run
        environ.apply(Node({}, "", Place(path, 1)), env, findings)
        return None
    environ.apply(root, env, findings)
    webhook.one_shape(findings, root)
    return root


def _settings(root: Node, env: Mapping[str, str], findings: Findings) -> Settings | None:
    for name, node in root.children.items():
        if node.is_null:
            continue
        if name in NO_EFFECT:
            findings.warn(node, NO_EFFECT[name])
        elif name not in ROOTS:
            near = nearest(name, ROOTS)
            hint = f"did you mean {near}?" if near else "known blocks: " + ", ".join(BLOCK_NAMES)
            findings.warn(node, f"unknown key, it has no effect; {hint}")
    events, known = domain.read(findings, root.get("events"))
    values: dict[str, Any] = {
        "node": _node(findings, root.get("node")),
        "webhooks": webhook.read(findings, root, env, known),
        "mqtt_publishers": publisher.read(findings, root, env, known),
        "events": events,
        "sources": sources.read(findings, root.get("sources")),
        "bridges": bridges.read(findings, root.get("bridges"), env),
        "sys_topics": _sys_topics(findings, root.get("sys_topics")),
        "mqtt": _mqtt(findings, root.get("mqtt")),
        "listeners": listeners.read(findings, root.get("listeners")),
        "log": _log(findings, root.get("log")),
        "store": _store(findings, root.get("sqlite")),
        "auth": auth.read(findings, root.get("auth"), env),
        "egress": egress.read(findings, root.get("egress")),
        "http_server": http_server.read(findings, root.get("http_server"), env),
        "tracing": _tracing(findings, root.get("tracing")),
    }
    values["prometheus"] = _prometheus(findings, root.get("prometheus"), values["http_server"])
    if any(m.level == "error" for m in findings.messages):
        return None
    made = build(findings, Settings, values, root)
    return made if isinstance(made, Settings) else None


def _mqtt(findings: Findings, node: Node | None) -> Mqtt:
    if node is not None and isinstance(node.value, dict):
        node = Node(dict(node.value), node.key, node.place)
        _nanomq_values(findings, node)
    values = read_block(findings, node, MQTT)
    made = build(findings, Mqtt, fields(values, MQTT, Mqtt), node) if node is not None else Mqtt()
    return made if isinstance(made, Mqtt) else Mqtt()


def _nanomq_values(findings: Findings, node: Node) -> None:
    """Values of NanoMQ's own files that cannot be followed to the letter: one warning each, no error."""
    members = node.children
    default = Mqtt()

    def number(name: str) -> float | None:
        child = members.get(name)
        text = (plain(child) or "").strip() if child is not None else ""
        return float(text) if text.replace(".", "", 1).isdigit() else None

    awaiting = members.get("max_awaiting_rel")
    if awaiting is not None and (plain(awaiting) or "").strip().lower()[-1:] in ("s", "m", "h"):
        findings.warn(
            awaiting,
            f"found the time {plain(awaiting)}, as NanoMQ's own file has it, where it never had an effect;"
            f" it is a number of open QoS 2 messages, {default.max_awaiting_rel} unless set",
        )
        del members["max_awaiting_rel"]
    size = number("property_size")
    if size is not None and 1 <= size < 64:
        findings.warn(
            members["property_size"],
            f"found {_int(size)} bytes, NanoMQ's default, which it never enforced and most clients exceed;"
            f" {show_size(default.property_size)} is used; expected at least 64 bytes",
        )
        del members["property_size"]
    multiplier = number("keepalive_multiplier")
    if multiplier is not None and 0.5 <= multiplier < 1:
        findings.warn(
            members["keepalive_multiplier"],
            f"found {multiplier}, which would end clients that keep to [MQTT-3.1.2-24]; 1.0 is used",
        )
        members["keepalive_multiplier"] = _as("1.0", members["keepalive_multiplier"])
    _clamp_packet_size(findings, members)


def _clamp_packet_size(findings: Findings, members: dict[str, Node]) -> None:
    """NanoMQ takes up to 260MB; MQTT itself ends at 256MB."""
    node = members.get("max_packet_size")
    text = (plain(node) or "").strip().lower().removesuffix("b") if node is not None else ""
    if node is None or not text.endswith("m") or not text[:-1].isdigit() or not 256 < int(text[:-1]) <= 260:
        return
    findings.warn(node, "more than a packet of MQTT can have (256MB), 256MB is used")
    members["max_packet_size"] = _as("256MB", node)


def _int(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _as(text: str, node: Node) -> Node:
    return Node(text, node.key, node.place, text)


def _node(findings: Findings, node: Node | None) -> NodeSettings:
    """The `node` block. EMQX's other keys of it are for its cluster: one warning for all of them."""
    if node is not None and isinstance(node.value, dict):
        others = [child for name, child in node.children.items() if name in NODE_KEYS]
        if others:
            names = ", ".join(child.key for child in others)
            findings.warn(
                others[0],
                f"accepted, and has no effect here ({names}): of this block HookMQ reads name alone",
            )
        node = Node({n: c for n, c in node.children.items() if n not in NODE_KEYS}, node.key, node.place)
    values = read_block(findings, node, NODE)
    made = (
        build(findings, NodeSettings, fields(values, NODE, NodeSettings), node) if node is not None else None
    )
    return made if isinstance(made, NodeSettings) else NodeSettings()


def _log(findings: Findings, node: Node | None) -> Log:
    values = read_block(findings, node, LOG)
    if node is None:
        return Log()
    rotation = build(findings, Rotation, fields(values, LOG, Rotation), node)
    made = build(findings, Log, {**fields(values, LOG, Log), "rotation": rotation}, node)
    return made if isinstance(made, Log) else Log()


def _sys_topics(findings: Findings, node: Node | None) -> SysTopics:
    values = read_block(findings, node, SYS_TOPICS)
    if node is None:
        return SysTopics()
    events = build(findings, SysEvents, fields(values, SYS_TOPICS, SysEvents), node)
    made = build(findings, SysTopics, {**fields(values, SYS_TOPICS, SysTopics), "events": events}, node)
    return made if isinstance(made, SysTopics) else SysTopics()


def _store(findings: Findings, node: Node | None) -> StoreSettings:
    values = read_block(findings, node, STORE)
    if node is None:
        return StoreSettings()
    made = build(findings, StoreSettings, fields(values, STORE, StoreSettings), node)
    return made if isinstance(made, StoreSettings) else StoreSettings()


def _tracing(findings: Findings, node: Node | None) -> Tracing:
    values = read_block(findings, node, TRACING)
    if node is None:
        return Tracing()
    made = build(findings, Tracing, fields(values, TRACING, Tracing), node)
    return made if isinstance(made, Tracing) else Tracing()


def _prometheus(findings: Findings, node: Node | None, server: HttpServer | None) -> Prometheus:
    values = read_block(findings, node, PROMETHEUS)
    if node is None:
        return Prometheus()
    made = build(findings, Prometheus, fields(values, PROMETHEUS, Prometheus), node)
    if not isinstance(made, Prometheus):
        return Prometheus()
    if not made.enable_basic_auth and server is not None and not server.loopback:
        at = values["enable_basic_auth"][0]
        findings.error(
            at.place,
            at.key,
            f"found false, and http_server.ip_addr is {server.host}: whoever reaches that address could read"
            " /metrics; expected true (an API key with the scope metrics:read is good), or"
            " http_server.ip_addr = 127.0.0.1",
        )
    return made
