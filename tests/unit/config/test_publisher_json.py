"""A publisher as a JSON document: every key of the file, the same checks, and shown so that it can be read
again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from bridge.config import mask
from bridge.config.keys import MQTT_PUBLISHER, WEBHOOK_TLS
from bridge.config.publisher_json import ALIASES, Read, read, schema, show, show_unread
from bridge.config.settings import MqttPublisher

SERVER = {"server": "mqtts://broker.example"}
PUBLISH = {"event": "on_message_publish", "topic": "a/#"}


def given(document: dict[str, Any], **keys: Any) -> Read:
    return read("pub_1", document, {"SECRET": "s3cret"}, **keys)


def made(document: dict[str, Any], **keys: Any) -> MqttPublisher:
    found = given(document, **keys)
    assert found.errors == []
    assert found.publisher is not None
    return found.publisher


def faults(document: dict[str, Any], **keys: Any) -> dict[str, str]:
    return dict(given(document, **keys).errors)


# One value for each key that differs from its default, with what it needs beside it.
VALUES: dict[str, dict[str, Any]] = {
    "enable": {"active": False},
    "note": {"description": "the plant"},
    "format": {"format": "mes"},
    "payload": {"payload": "base64", "format": "nanomq"},
    "include": {"include": ["topic", "payload"], "format": "nanomq"},
    "exclude": {"exclude": ["ts"], "format": "nanomq"},
    "where": {"where": "topic = 'a'"},
    "body.encoding": {"body": {"encoding": "base62"}, "format": "nanomq"},
    "body.base62_limit": {"body": {"base62_limit": "32KB"}},
    "body.template": {"body": {"template": '{"t": "${topic}"}'}},
    "body.type": {"body": {"type": "text", "template": "${topic}"}},
    "cloudevents.mode": {"format": "cloudevents", "cloudevents": {"mode": "structured"}},
    "cloudevents.source": {"format": "cloudevents", "cloudevents": {"source": "/plant"}},
    "cloudevents.type_prefix": {"format": "cloudevents", "cloudevents": {"type_prefix": "p."}},
    "cancel_timeout": {**SERVER, "cancel_timeout": "3s"},
    "backlog.max_bytes": {"backlog": {"max_bytes": "10MB"}},
    "backlog.max_age": {"backlog": {"max_age": "1d"}},
    "backlog.on_full": {"backlog": {"on_full": "refuse"}},
    "retry.schedule": {"retry": {"schedule": [0, "5s", "1m"]}},
    "retry.exponential.base": {"retry": {"schedule": "exponential", "exponential": {"base": 2.5}}},
    "retry.exponential.factor": {"retry": {"schedule": "exponential", "exponential": {"factor": 3}}},
    "retry.exponential.max_attempts": {
        "retry": {"schedule": "exponential", "exponential": {"max_attempts": 4}}
    },
    "retry.exponential.max_age": {"retry": {"schedule": "exponential", "exponential": {"max_age": "2h"}}},
    "retry.jitter": {"retry": {"jitter": 0}},
    "dead.max_bytes": {"dead": {"max_bytes": 1000}},
    "dead.max_age": {"dead": {"max_age": "1h"}},
    "breaker.failures": {"breaker": {"failures": 3}},
    "breaker.probe_interval": {"breaker": {"probe_interval": 5}},
    "breaker.disable_after": {"breaker": {"disable_after": "3d"}},
    "ordering": {"ordering": "topic"},
    "max_parked": {"max_parked": 5},
    "max_in_flight": {"max_in_flight": 2},
    "rate_limit.per_second": {"rate_limit": {"per_second": 2.5}},
    "rate_limit.burst": {"rate_limit": {"per_second": 2, "burst": 9}},
    "attempts.successes": {"attempts": {"successes": 5}},
    "attempts.max_age": {"attempts": {"max_age": "1d"}},
    "attempts.max_rows": {"attempts": {"max_rows": 500}},
    "server": SERVER,
    "topic_pattern": {"topic_pattern": "x/{event}"},
    **{name: {name: "Acme"} for name in ("enterprise", "site", "area", "cell", "line", "tenant_id")},
    "qos": {"qos": 2},
    "retain": {"retain": True},
    "proto_ver": {**SERVER, "proto_ver": 4},
    "clientid": {**SERVER, "clientid": "c 1"},
    "username": {**SERVER, "username": "u"},
    "password": {**SERVER, "username": "u", "password": {"env": "SECRET"}},
    "keepalive": {**SERVER, "keepalive": "30s"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "events": {"events": [PUBLISH, "client.connected", "on_client_connack", "work_order.*"]},
    "no events": {"events": []},
    "tls": {**SERVER, "tls": {"verify_peer": False}},
    "version": {**SERVER, "proto_ver": "3.1.1"},
}
SAME = ("cloudevents.mode",)  # there is no other value that can be


def test_there_is_a_value_for_every_key() -> None:
    assert VALUES.keys() == {key.name for key in MQTT_PUBLISHER.keys}


@pytest.mark.parametrize("name", [*VALUES, *OTHERS])
def test_every_key_is_set_and_shown_as_it_is_read(name: str) -> None:
    document = (VALUES | OTHERS)[name]
    assert jsonschema_rs.is_valid(schema(), document), name
    publisher = made(document)
    assert publisher.name == "mqtt_publishers.pub_1"
    without = {key: value for key, value in document.items() if key in ("server", "format") and key != name}
    assert publisher != made(without) or name in SAME
    shown = show(publisher)
    assert jsonschema_rs.is_valid(schema(), shown), name
    assert made(shown) == publisher


def test_the_schema_has_every_key() -> None:
    def leaves(part: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, member in part["properties"].items():
            inner = member.get("properties") if member.get("type") == "object" else None
            found |= leaves(member, f"{prefix}{name}.") if inner else {prefix + name}
        return found

    found = leaves(schema())
    renamed = {today: alias for alias, today in ALIASES.items()}
    assert {renamed.get(key.name, key.name) for key in MQTT_PUBLISHER.keys} <= found
    assert {f"tls.{key.name}" for key in WEBHOOK_TLS.keys} <= found


def test_nothing_said_is_every_business_event_at_our_own_broker() -> None:
    publisher = made({})
    assert publisher == MqttPublisher(name="mqtt_publishers.pub_1", types=("*",))
    assert show(publisher) == {
        "server": "embedded",
        "topic_pattern": "{enterprise}/{site}/{area}/{cell}/{event}",
        "description": "",
        "active": True,
        "events": ["*"],
        "format": "eryxon",
    }


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"server": "http://x"}, "/server", "expected embedded, mqtt://host"),
    ({"server": "mqtt://u:s3cret@h"}, "/server", "with a user in it, expected the keys username"),
    ({"server": 7}, "/server", "found 7, expected string"),
    ({"topic_pattern": "a/{nothing}"}, "/topic_pattern", "no variable is called {nothing}"),
    ({"topic_pattern": "a/#/{event}"}, "/topic_pattern", "found #"),
    ({"qos": 3}, "/qos", "expected a whole number from 0 to 2"),
    ({"qos": "1"}, "/qos", 'found "1", expected integer'),
    ({"proto_ver": 6}, "/proto_ver", "expected 5 (MQTT 5), 4 (3.1.1) or 3 (3.1)"),
    ({"retain": "yes"}, "/retain", 'found "yes", expected boolean'),
    ({"events": "work_order.*"}, "/events", "expected a list"),
    ({"events": [7]}, "/events/0", "expected a type of event"),
    ({"events": ["a b"]}, "/events/0", "expected a type of event"),
    ({"events": [{"event": "on_message_publis"}]}, "/events/0/event", "did you mean on_message_publish?"),
    ({"types": ["a.b"]}, "/types", "unknown key"),
    ({"url": "http://h"}, "/url", "unknown key"),
    ({"batch": {"max_events": 2}}, "/batch", "unknown key"),
    ({"active": True, "enable": True}, "/active", "found beside enable"),
    ({**SERVER, "proto_ver": 4, "password": "s3cret"}, "/password", "without a username"),
    ({**SERVER, "password": {"env": "NOWHERE"}}, "/password", "NOWHERE is not set"),
    ({**SERVER, "password": mask.MASK}, "/password", "stays as it is"),
    ({**SERVER, "tls": {"cacertfile": "/nowhere.pem"}}, "/tls/cacertfile", "cannot read"),
    ({"format": "cloudevents", "cloudevents": {"mode": "binary"}}, "/cloudevents/mode", "structured"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "text"), WRONG)
def test_what_is_wrong_is_told_with_its_place(document: dict[str, Any], path: str, text: str) -> None:
    found = faults(document)
    assert path in found
    assert text in found[path]
    assert "\0" not in str(found)
    assert "s3cret" not in str(found)


def test_what_says_nothing_is_a_warning() -> None:
    found = given({"events": ["job.crated"], "username": "u"}, known=lambda: ("job.created",))
    assert found.errors == []
    told = dict(found.warnings)
    assert "did you mean job.created" in told["/events"]
    assert "server = embedded has no connection" in told["/username"]


def test_no_secret_is_shown() -> None:
    tls = {"key_password": "s3cret"}
    publisher = made({**SERVER, "username": "u", "password": "s3cret", "tls": tls})
    shown = show(publisher)
    assert "s3cret" not in str(shown)
    assert (shown["password"], shown["tls"]["key_password"], shown["username"]) == ("******", "******", "u")
    unread = show_unread({"server": "mqtt://u:s3cret@h", "password": "s3cret", "events": ["a.b"], "x": 1})
    assert "s3cret" not in str(unread)
    assert unread["events"] == ["a.b"]


# -- tenants -------------------------------------------------------------------------------------------------

NOT_A_TENANTS: list[tuple[dict[str, Any], str]] = [
    ({"password": {"file": "FILE"}}, "/password"),
    ({"password": {"env": "HOME"}}, "/password"),
    ({"tls": {"cacertfile": "FILE"}}, "/tls/cacertfile"),
    ({"ssl": {"certfile": "FILE", "keyfile": "FILE"}}, "/ssl/keyfile"),
    ({"clientid": "device-7"}, "/clientid"),
    ({"backlog": {"on_full": "refuse"}}, "/backlog/on_full"),
    ({"backlog": {"max_bytes": "2GB"}}, "/backlog/max_bytes"),
    ({"max_in_flight": 33}, "/max_in_flight"),
    ({"pool_size": 33}, "/pool_size"),
    ({"cancel_timeout": "10m"}, "/cancel_timeout"),
    ({"attempts": {"max_rows": 1_000_000}}, "/attempts/max_rows"),
    ({"dead": {"max_age": "300d"}}, "/dead/max_age"),
]


@pytest.mark.parametrize(("document", "path"), NOT_A_TENANTS)
def test_what_a_tenant_may_not(document: dict[str, Any], path: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret")
    text = json.dumps({**SERVER, **document}).replace("FILE", str(file))
    found = given(json.loads(text), trust="tenant")
    assert found.publisher is None
    assert path in dict(found.errors)
    assert str(file) not in str(found)
    if "FILE" not in str(document) and "env" not in str(document):
        assert faults(json.loads(text)) == {}


def test_a_tenants_publisher_is_one() -> None:
    assert made({**SERVER, "username": "u", "password": "p"}, trust="tenant").trust == "tenant"
    assert made({}).trust == "operator"
