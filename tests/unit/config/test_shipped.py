"""The shipped conf/nanomq.conf and docs/configuration.md say what the code does, and nothing else."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bridge.config import hocon
from bridge.config.findings import Findings
from bridge.config.keys import (
    AUTH,
    AUTH_JWT,
    BATCH_ENABLE,
    BLOCKS,
    BRIDGE_SUBSCRIPTION,
    CREDENTIALS,
    EGRESS,
    EVENTS,
    EXHOOK,
    HTTP_AUTH,
    HTTP_AUTH_REQUESTS,
    HTTP_SERVER,
    LIFT,
    LOG,
    MQTT,
    MQTT_BRIDGE,
    MQTT_PUBLISHER,
    NODE,
    PROMETHEUS,
    RECEIVER_KEYS,
    SIGNATURE,
    SSL,
    STORE,
    SYS_TOPICS,
    TCP,
    TRACING,
    WEBHOOK,
    WEBHOOK_TLS,
    WS,
    WSS,
    Block,
    Key,
)
from bridge.config.load import load
from bridge.config.node import Node
from bridge.config.settings import (
    AclCache,
    AttemptLog,
    Auth,
    BacklogBound,
    BatchPolicy,
    BreakerPolicy,
    BridgeSubscription,
    CloudEvents,
    Credentials,
    DeadBound,
    DomainEvents,
    Egress,
    Endpoint,
    ExHook,
    HttpAuth,
    HttpAuthRequest,
    HttpServer,
    JwtAuth,
    Lift,
    Listener,
    Log,
    Mqtt,
    MqttBridge,
    MqttPublisher,
    NodeSettings,
    Prometheus,
    RateLimit,
    Receiver,
    RetryPolicy,
    Rotation,
    Rule,
    Settings,
    Signature,
    Sources,
    StoreSettings,
    SysEvents,
    SysTopics,
    Tls,
    Tracing,
)
from bridge.config.units import plain
from bridge.events.event import BY_HOOK_NAME, EMQX_ALL, TOPIC_EVENTS, EventType
from bridge.events.names import find
from tests.unit.config.conftest import Read, shown

ROOT = Path(__file__).parent.parent.parent.parent
CONF = ROOT / "conf" / "nanomq.conf"
DOCS = ROOT / "docs" / "configuration.md"
# fields that are no keys of their own: where they come from
ELSEWHERE = {
    (Endpoint, "headers"): "webhook.headers.<name>",
    (Endpoint, "signature"): "webhook.signature",
    (Endpoint, "credentials"): "webhook.credentials",
    (Receiver, "name"): "webhooks.<name>",
    (Receiver, "tls"): "webhook.ssl",
    (Receiver, "events"): "webhook.events",
    (Receiver, "backlog"): "webhook.backlog",
    (Receiver, "retry"): "webhook.retry",
    (Receiver, "dead"): "webhook.dead",
    (Receiver, "breaker"): "webhook.breaker",
    (Receiver, "rate_limit"): "webhook.rate_limit",
    (Receiver, "attempts"): "webhook.attempts",
    (Receiver, "cloudevents"): "webhook.cloudevents",
    (Receiver, "trust"): "of the file it is always the operator's",
    (Listener, "kind"): "listeners.<kind>",
    (Listener, "name"): "listeners.<kind>.<name>",
    (Listener, "port"): "bind",
    (Log, "rotation"): "log.rotation",
    (ExHook, "port"): "bind",
    (Sources, "exhook"): "sources.exhook",
    (MqttBridge, "name"): "bridges.mqtt.<name>",
    (MqttBridge, "tls"): "bridges.mqtt.<name>.ssl",
    (MqttBridge, "subscription"): "bridges.mqtt.<name>.subscription",
    (SysTopics, "events"): "sys_topics.sys_event_messages",
    (Auth, "password"): "auth.password.<user>",
    (DomainEvents, "lift"): "events.lift",
    (Auth, "acl"): "auth.acl.rules",
    (Auth, "cache"): "auth.cache",
    (Auth, "jwt"): "auth.jwt",
    (Auth, "http_auth"): "auth.http_auth",
    (JwtAuth, "verify_claims"): "auth.jwt.verify_claims.<claim>",
    (HttpAuth, "auth_req"): "auth.http_auth.auth_req",
    (HttpAuth, "super_req"): "auth.http_auth.super_req",
    (HttpAuth, "acl_req"): "auth.http_auth.acl_req",
    (HttpAuthRequest, "headers"): "auth.http_auth.<request>.headers.<name>",
    (HttpAuthRequest, "params"): "auth.http_auth.<request>.params.<name>",
}


def uncommented() -> str:
    """The shipped file with every `# key = value` in force; `##` is prose."""
    return re.sub(r"(?m)^(\s*)# (?=[a-z_0-9.]+ = )", r"\1", CONF.read_text())


@functools.cache
def tree() -> Node:
    """The shipped file with every key in force, before it has types."""
    findings = Findings()
    root = hocon.read(CONF, uncommented(), {}, findings)
    assert findings.messages == []
    assert root is not None
    return root


def at(root: Node, dotted: str) -> Node | None:
    node: Node | None = root
    for name in dotted.split("."):
        node = node.children.get(name) if node is not None else None
    return node


def test_it_is_read_without_a_word() -> None:
    report = load(CONF, {})
    assert shown(report) == []
    assert report.settings == Settings(
        webhooks=(
            Endpoint(
                url="http://127.0.0.1:8888",
                headers=(("content-type", "application/json"),),
                events=(
                    Rule(event=EventType.MESSAGE_PUBLISH),
                    Rule(event=EventType.CLIENT_CONNACK),
                    Rule(event=EventType.CLIENT_DISCONNECTED),
                ),
            ),
        ),
    )


def test_every_commented_key_is_its_default(read: Read) -> None:
    """Taking all comments away changes nothing, and no key in it is unknown."""
    report = read(uncommented())
    assert shown(report) == []
    assert report.settings == load(CONF, {}).settings


@pytest.mark.parametrize(
    ("block", "key"),
    [(block, key) for block in BLOCKS for key in block.keys],
    ids=lambda part: part.name,
)
def test_every_key_stands_in_it_with_its_default(block: Block, key: Key) -> None:
    if block is MQTT_PUBLISHER:
        if key in RECEIVER_KEYS and key.name != "enable":
            return  # it stands there for a webhook
        node = at(publishers(), f"mqtt_publishers.uns.{key.name}")
    elif block is MQTT_BRIDGE:
        node = at(bridge_example(), f"bridges.mqtt.plant.{key.name}")
    elif block is BRIDGE_SUBSCRIPTION:
        entries = at(bridge_example(), "bridges.mqtt.plant.subscription")
        assert entries is not None
        node = at(entries.value[0], key.name)
    else:
        node = at(tree(), f"{block.name}.{key.name}")
    assert node is not None, f"conf/nanomq.conf does not show {block.name}.{key.name}"
    if block in (SSL, WS, WSS) and key.name == "enable":
        assert node.value is False  # TLS needs files that nobody has at first; one listener is enough
        return
    off = (HTTP_SERVER, AUTH_JWT, HTTP_AUTH, EXHOOK)
    if key is BATCH_ENABLE or (block in off and key.name == "enable"):  # they are off at first
        assert node.value is False
        return
    if key.name in ("secret", "scheme"):
        assert node.is_null  # nothing is signed by default
        return
    if key.name in ("server", "remote_topic") and block in (MQTT_BRIDGE, BRIDGE_SUBSCRIPTION):
        return  # they have no default
    if key.name in ("url", "bind"):
        assert (
            plain(node)
            == {
                "webhook": "http://127.0.0.1:8888",
                "listeners.tcp": "0.0.0.0:1883",
                "listeners.ssl": "0.0.0.0:8883",
                "auth.http_auth.auth_req": "http://127.0.0.1:80/mqtt/auth",
                "auth.http_auth.super_req": "http://127.0.0.1:80/mqtt/superuser",
                "auth.http_auth.acl_req": "http://127.0.0.1:80/mqtt/acl",
                "listeners.ws": "0.0.0.0:8083/mqtt",
                "listeners.wss": "0.0.0.0:8086/mqtt",
                "sources.exhook": "0.0.0.0:9000",
            }[block.name]
        )
        return
    default: Any = key.default
    if default is None and node.is_null:
        return
    assert key.kind.read(node, key.bounds) == default


def test_its_example_of_more_webhooks_loads(read: Read) -> None:
    """The block behind `##`, with what it needs from the environment."""
    example = CONF.read_text().partition("## webhooks {\n")[2].partition("\n\n")[0]
    text = "webhooks {\n" + re.sub(r"(?m)^## ?", "", example)
    report = read(text, {"ALARM_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    assert shown(report) == []
    assert report.settings is not None
    assert [one.name for one in report.settings.webhooks] == ["line1", "alarms"]


def bridge_example() -> Node:
    """The example of a bridge, which stands behind `##`."""
    example = CONF.read_text().partition("## bridges.mqtt {\n")[2].partition("\n\n")[0]
    findings = Findings()
    root = hocon.read(CONF, "bridges.mqtt {\n" + re.sub(r"(?m)^## ?", "", example), {}, findings)
    assert findings.messages == []
    assert root is not None
    return root


def test_its_example_of_a_bridge_is_the_defaults(read: Read) -> None:
    example = CONF.read_text().partition("## bridges.mqtt {\n")[2].partition("\n\n")[0]
    report = read("bridges.mqtt {\n" + re.sub(r"(?m)^## ?", "", example))
    assert shown(report) == []
    assert report.settings is not None
    (made,) = report.settings.bridges
    subscription = (BridgeSubscription(remote_topic="line/#"),)
    assert made == MqttBridge(
        name="plant", server="mqtt://broker.plant.example:1883", subscription=subscription
    )


def publishers() -> Node:
    """The example of a publisher, which stands behind `##`."""
    example = CONF.read_text().partition("## mqtt_publishers {\n")[2].partition("\n\n")[0]
    findings = Findings()
    text = "mqtt_publishers {\n" + re.sub(r"(?m)^## ?", "", example)
    root = hocon.read(CONF, text, {}, findings)
    assert findings.messages == []
    assert root is not None
    return root


def test_its_example_of_a_publisher_is_the_defaults(read: Read) -> None:
    example = CONF.read_text().partition("## mqtt_publishers {\n")[2].partition("\n\n")[0]
    report = read("mqtt_publishers {\n" + re.sub(r"(?m)^## ?", "", example))
    assert shown(report) == []
    bare = read("mqtt_publishers.uns {}")
    assert report.settings is not None
    assert bare.settings is not None
    assert report.settings.mqtt_publishers == bare.settings.mqtt_publishers
    (publisher,) = bare.settings.mqtt_publishers
    assert publisher == MqttPublisher(name="mqtt_publishers.uns", types=("*",))


def test_it_and_the_page_name_every_event() -> None:
    section = DOCS.read_text().partition("\n### Events\n")[2].partition("\n### ")[0]
    named = re.findall(r"(?m)^\| (on_\w+) \| ([\w.]+) \| (yes)? *\| (yes)? *\|$", section)
    assert named == [
        (f"on_{t.action}", t.dotted, (t in EMQX_ALL and "yes") or "", (t in TOPIC_EVENTS and "yes") or "")
        for t in (find(name) for name, *_ in named)
        if t is not None
    ]
    assert {name for name, *_ in named} == set(BY_HOOK_NAME)
    prose = re.sub(
        r"(?m)^ *##.*triggers.*$",
        "",
        CONF.read_text().partition("## What is sent.")[2].partition("    events")[0],
    )
    assert set(re.findall(r"\bon_\w+", prose)) == set(BY_HOOK_NAME)


MODELS: list[type[BaseModel]] = [
    Endpoint, BacklogBound, RetryPolicy, DeadBound, BreakerPolicy, RateLimit, BatchPolicy, Signature,
    Credentials, AttemptLog, CloudEvents, NodeSettings, Tls, Mqtt, Listener, Log, Rotation, StoreSettings,
    Auth, AclCache, JwtAuth, HttpAuth, HttpAuthRequest, Egress, DomainEvents, Lift, HttpServer, Receiver,
    MqttPublisher, SysTopics, SysEvents, Prometheus, Tracing, ExHook, Sources,
    MqttBridge, BridgeSubscription,
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "field"), [(model, field) for model in MODELS for field in model.model_fields]
)
def test_every_field_of_the_settings_is_a_key(model: type[BaseModel], field: str) -> None:
    keys = {(key.model, key.field) for block in BLOCKS for key in block.keys}
    kinds = [base for base in model.__mro__ if field in getattr(base, "model_fields", {})]
    assert any((base, field) in keys for base in kinds) != any((base, field) in ELSEWHERE for base in kinds)


# --- the page -----------------------------------------------------------------------------------------------

BLOCK = re.compile(r"```hocon\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("text", BLOCK.findall(DOCS.read_text() + DOCS.with_name("listeners.md").read_text()))
def test_every_example_of_the_page_loads(read: Read, text: str) -> None:
    report = read(text, {"HOOK_TOKEN": "t"})
    assert report.errors == []


def test_the_page_has_examples() -> None:
    assert len(BLOCK.findall(DOCS.read_text())) >= 20


def rows(title: str) -> dict[str, tuple[str, str]]:
    """The key table of one section: key → (type, default)."""
    section = DOCS.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found: dict[str, tuple[str, str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            keys, type_, default, _ = (cell.strip() for cell in line.strip("| ").split(" | ", 3))
            for key in re.findall(r"`([^`]+)`", keys):
                found[key] = (type_, default)
    return found


@pytest.mark.parametrize(
    ("title", "prefix", "block"),
    [
        ("webhook", "", WEBHOOK),
        ("webhook", "ssl.", WEBHOOK_TLS),
        ("webhook", "signature.", SIGNATURE),
        ("webhook", "credentials.", CREDENTIALS),
        ("mqtt_publishers", "", MQTT_PUBLISHER),
        ("node", "", NODE),
        ("egress", "", EGRESS),
        ("events", "", EVENTS),
        ("sys_topics", "", SYS_TOPICS),
        ("sources", "exhook.", EXHOOK),
        ("bridges", "", MQTT_BRIDGE),
        ("bridges", "subscription.", BRIDGE_SUBSCRIPTION),
        ("events", "lift.", LIFT),
        ("mqtt", "", MQTT),
        ("listeners", "", TCP),
        ("listeners", "", SSL),
        ("listeners", "", WS),
        ("listeners", "", WSS),
        ("auth", "", AUTH),
        ("auth", "jwt.", AUTH_JWT),
        ("auth", "http_auth.", HTTP_AUTH),
        ("auth", "http_auth.auth_req.", HTTP_AUTH_REQUESTS[0]),
        ("auth", "http_auth.super_req.", HTTP_AUTH_REQUESTS[1]),
        ("auth", "http_auth.acl_req.", HTTP_AUTH_REQUESTS[2]),
        ("log", "", LOG),
        ("sqlite", "", STORE),
        ("http_server", "", HTTP_SERVER),
        ("prometheus", "", PROMETHEUS),
        ("tracing", "", TRACING),
    ],
    ids=lambda part: str(getattr(part, "name", part)),
)
def test_every_key_is_on_the_page_with_its_default(title: str, prefix: str, block: Block) -> None:
    table = rows(title)
    if block is MQTT_PUBLISHER:
        table = rows("webhook") | table  # what both have is explained there
    for key in block.keys:
        assert prefix + key.name in table, f"docs/configuration.md does not explain {block.name}.{key.name}"
        shown_default = table[prefix + key.name][1].strip("`").strip('"[]')
        default: Any = key.default
        if default is None or key.name in ("url", "bind", "secret", "scheme"):
            continue
        if default == ():
            assert table[prefix + key.name][1] == "`[]`"
            continue
        assert key.kind.read(Node(shown_default, "", None, shown_default), key.bounds) == default  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("title", "blocks"),
    [
        ("webhook", (WEBHOOK, WEBHOOK_TLS, SIGNATURE, CREDENTIALS)),
        ("mqtt_publishers", (MQTT_PUBLISHER,)),
        ("node", (NODE,)),
        ("egress", (EGRESS,)),
        ("events", (EVENTS, LIFT)),
        ("sys_topics", (SYS_TOPICS,)),
        ("sources", (EXHOOK,)),
        ("bridges", (MQTT_BRIDGE, BRIDGE_SUBSCRIPTION)),
        ("mqtt", (MQTT,)),
        ("listeners", (TCP, SSL, WS, WSS)),
        ("auth", (AUTH, AUTH_JWT, HTTP_AUTH, *HTTP_AUTH_REQUESTS)),
        ("log", (LOG,)),
        ("sqlite", (STORE,)),
        ("http_server", (HTTP_SERVER,)),
        ("prometheus", (PROMETHEUS,)),
        ("tracing", (TRACING,)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_page_explains_no_key_that_is_not_there(title: str, blocks: tuple[Block, ...]) -> None:
    inner = {
        "webhook.ssl": "ssl.",
        "webhook.signature": "signature.",
        "webhook.credentials": "credentials.",
        "events.lift": "lift.",
        "sources.exhook": "exhook.",
        "bridges.mqtt.<name>.subscription": "subscription.",
    }
    inner |= {b.name: b.name.removeprefix("auth.") + "." for b in (AUTH_JWT, HTTP_AUTH, *HTTP_AUTH_REQUESTS)}
    known = {inner.get(b.name, "") + key.name for b in blocks for key in b.keys}
    assert set(rows(title)) - known <= {
        "headers.<name>", "events", "triggers", "topics", "password.<user>", "signature", "secrets", "lift",
        "subscription",
        "acl.rules", "jwt.verify_claims", "http_auth.<request>.headers.<name>", "http_auth.<request>.params",
    }  # fmt: skip
