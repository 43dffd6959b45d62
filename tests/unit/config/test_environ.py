"""`HOOKMQ_…` variables over the file."""

from __future__ import annotations

import pytest

from bridge.config.settings import Rule
from bridge.events.event import EventType
from tests.unit.config.conftest import Read

FILE = """
webhook {
  url = "http://one"
  headers { Content-Type = "application/json" }
  events = [ { event = on_message_publish } ]
}
listeners.tcp.Inner { bind = 1884 }
"""


def test_overrides(read: Read) -> None:
    report = read(
        FILE,
        {
            "HOOKMQ_WEBHOOK__URL": "https://two:8443/x?y=z",
            "hookmq_webhook__pool_size": "7",
            "HOOKMQ_WEBHOOK__HEADERS__X_API_KEY": "007",
            "HOOKMQ_WEBHOOK__HEADERS__CONTENT_TYPE": "text/plain",
            "HOOKMQ_WEBHOOK__EVENTS": "[{event: on_client_connack}, {event: on_message_acked, topic: a}]",
            "HOOKMQ_WEBHOOK__BACKLOG": "{ max_age = 1h }",
            "HOOKMQ_WEBHOOK__BODY__ENCODING": '"base64"',
            "HOOKMQ_LISTENERS__TCP__INNER__BIND": "127.0.0.1:1885",
            "HOOKMQ_AUTH__PASSWORD__Joe": "12h",
            "HOOKMQ_LOG__TO": "[file, console]",
            "HOOKMQ_MQTT__MAX_LAG": "2s",
            "PATH": "/bin",
            "HOOKMQ_CI": "1",
        },
    )
    assert report.messages == []
    settings = report.settings
    assert settings is not None
    (webhook,) = settings.webhooks
    assert webhook.url == "https://two:8443/x?y=z"
    assert webhook.pool_size == 7
    assert webhook.headers == (("Content-Type", "text/plain"), ("x-api-key", "007"))
    assert webhook.events == (
        Rule(event=EventType.CLIENT_CONNACK),
        Rule(event=EventType.MESSAGE_ACKED, topic="a"),
    )
    assert webhook.backlog.max_age == 3600
    assert webhook.encoding == "base64"
    assert [(one.name, one.host, one.port) for one in settings.listeners] == [("Inner", "127.0.0.1", 1885)]
    assert [(u, s.get_secret_value()) for u, s in settings.auth.password] == [("Joe", "12h")]
    assert settings.log.to == ("file", "console")
    assert settings.mqtt.max_lag == 2.0


def test_a_webhook_from_variables_alone(read: Read) -> None:
    env = {"HOOKMQ_WEBHOOK__URL": "http://h", "HOOKMQ_WEBHOOK__EVENTS": '[{event: "on_client_connack"}]'}
    report = read("", env)
    assert report.messages == []
    assert report.settings is not None
    assert len(report.settings.webhooks) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "HOOKMQ_WEBHOOK__POOL_SIZE",
            "many",
            "error: webhook.pool_size: found many, expected a whole number from 1 to 4096",
        ),
        (
            "HOOKMQ_WEBHOOK__EVENTS",
            "[{event: on_x}]",
            "error: webhook.events[0].event: found on_x, expected one of ",
        ),
        (
            "HOOKMQ_WEBHOOK__EVENTS",
            "[{event: ",
            "error: webhook.events: HOCON syntax: the { of webhook.events[0] that opens here is never closed",
        ),
        (
            "HOOKMQ_WEBHOOK__EVENTS",
            "[]\nother = 1",
            "error: webhook.events: found more or less than one value, expected one HOCON value",
        ),
        (
            "HOOKMQ_WEBHOOK__POLL_SIZE",
            "3",
            "warning: webhook.poll_size: unknown key, it has no effect; did you mean webhook.pool_size?",
        ),
        ("HOOKMQ_NONSENSE", "3", "warning: nonsense: unknown key, it has no effect; known blocks: "),
        ("HOOKMQ_", "3", "warning: names no key, expected a name such as HOOKMQ_WEBHOOK__URL"),
        ("HOOKMQ_WEBHOOK____URL", "3", "warning: names no key, expected a name such as HOOKMQ_WEBHOOK__URL"),
        ("HOOKMQ_LISTENERS__TCP__BIND", "x", 'error: listeners.tcp.bind: found "x", expected host:port'),
        (
            "HOOKMQ_AUTH__ACL",
            "{ rules = [ {} ] }",
            "error: auth.acl.rules[0].permit: missing, expected allow or deny",
        ),
    ],
)
def test_messages_name_the_variable(read: Read, name: str, value: str, message: str) -> None:
    report = read(FILE, {name: value})
    assert len(report.messages) == 1
    assert str(report.messages[0]).startswith(f"{name}: {message}")
    assert report.messages[0].line is None


def test_faults_of_variables_beside_those_of_the_file(read: Read) -> None:
    report = read("webhook { url = \n", {"HOOKMQ_WEBHOOK__EVENTS": "[{"})
    assert [m.file.name for m in report.errors] == ["nanomq.conf", "HOOKMQ_WEBHOOK__EVENTS"]
