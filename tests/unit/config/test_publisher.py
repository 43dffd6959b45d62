"""The blocks `mqtt_publishers.<name>`: what is read of them, and what is said of mistakes."""

from __future__ import annotations

import pytest

from bridge.config.mask import effective
from bridge.config.settings import MqttPublisher, RetryPolicy, Rule, Secret
from bridge.events.event import EventType
from tests.unit.config.conftest import Read, shown


def one(read: Read, text: str) -> MqttPublisher:
    report = read(f"mqtt_publishers.uns {{\n{text}\n}}", {"SECRET": "s"})
    assert shown(report) == []
    assert report.settings is not None
    (publisher,) = report.settings.mqtt_publishers
    return publisher


def test_nothing_said_is_every_business_event_at_our_own_broker(read: Read) -> None:
    publisher = one(read, "")
    assert publisher == MqttPublisher(name="mqtt_publishers.uns", types=("*",))
    assert (publisher.embedded, publisher.format, publisher.qos) == (True, "eryxon", 1)
    assert publisher.block == "mqtt_publishers.uns"


def test_all_that_can_be_said(read: Read) -> None:
    publisher = one(
        read,
        """
        server = "tls://broker.example", topic_pattern = "x/{line}/{event}", active = false, retain = true
        enterprise = acme, site = chicago, area = fab, cell = "", line = L1, tenant_id = t, qos = 2
        events = ["operation.*", on_client_connected, client.disconnected,
                  { event = on_message_publish, topic = "a/#" }]
        username = u, password = { env = SECRET }, clientid = "c 1", proto_ver = "3.1.1", keepalive = 30s
        max_in_flight = 5, format = mes, where = "clientid = 'x'", ordering = topic
        retry.schedule = [0, 1s], backlog.max_bytes = 1MB, cancel_timeout = 2s
        tls { verify_peer = true }
        """,
    )
    assert publisher.server == "mqtts://broker.example"
    assert not publisher.enable
    assert publisher.types == ("operation.*",)
    assert publisher.events == (
        Rule(event=EventType.CLIENT_CONNECTED),
        Rule(event=EventType.CLIENT_DISCONNECTED),
        Rule(event=EventType.MESSAGE_PUBLISH, topic="a/#"),
    )
    assert publisher.password == Secret(env="SECRET")
    assert (publisher.proto_ver, publisher.keepalive, publisher.max_in_flight) == (4, 30, 5)
    assert publisher.retry == RetryPolicy(schedule=(0, 1))
    assert publisher.backlog.max_bytes == 1 << 20
    assert publisher.tls is not None


@pytest.mark.parametrize(
    ("server", "meant"),
    [
        ("Embedded", "embedded"),
        ("mqtt://h", "mqtt://h"),
        ("mqtt-tcp://h:1884", "mqtt://h:1884"),
        ("tls+mqtt-tcp://h", "mqtts://h"),
        ("MQTTS://[::1]:1", "mqtts://[::1]:1"),
    ],
)
def test_servers(read: Read, server: str, meant: str) -> None:
    assert one(read, f'server = "{server}"').server == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'server = "http://h"',
            'error: mqtt_publishers.uns.server: found "http://h", expected embedded, mqtt://',
        ),
        (
            'server = "mqtt://u:geheim@h"',
            'found "mqtt://******@h" with a user in it, expected the keys username',
        ),
        ('server = "mqtt://h/x"', "with a path"),
        ('server = "mqtt://h:0"', "expected embedded"),
        ('server = "mqtt://h:99999"', "host or port that is wrong"),
        ('topic_pattern = "{x}"', "mqtt_publishers.uns.topic_pattern: no variable is called {x}; there are"),
        ("qos = 3", "mqtt_publishers.uns.qos: found 3, expected a whole number from 0 to 2"),
        ("proto_ver = 6", "expected 5 (MQTT 5), 4 (3.1.1) or 3 (3.1)"),
        (
            "events = [\"on_client_conected!\", 'x y']",
            "expected a list of types, patterns and events of the broker",
        ),
        ('events = [{ event = on_mesage, topic = "x" }]', "did you mean on_message"),
        ("password = { env = NOT_THERE }", "the environment variable NOT_THERE is not set"),
        ("password = geheim, proto_ver = 4", "found a password without a username"),
        ("cloudevents.mode = binary, format = cloudevents", "found binary, expected structured"),
        ('where = "event ="', "mqtt_publishers.uns.where"),
        ("max_in_flight = 0", "from 1 to 4096"),
    ],
)
def test_mistakes(read: Read, text: str, said: str) -> None:
    report = read(f"mqtt_publishers.uns {{\n{text}\n}}")
    assert report.settings is None
    assert any(said in str(message) for message in report.errors), [str(m) for m in report.errors]
    assert "geheim" not in str(report)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("username = u", "it has no effect: server = embedded has no connection"),
        (
            'server = "mqtt://h"\ntls { cacertfile = x }',
            "it has no effect: expected a server that begins with mqtts://",
        ),
        (
            "topic_patern = x",
            "unknown key, it has no effect; did you mean mqtt_publishers.uns.topic_pattern?",
        ),
        ("retry.max_retry_after = 5s", "unknown key, it has no effect"),
        (
            "events = [job.craeted]",
            "no type is called job.craeted, so it brings no event; did you mean job.created?",
        ),
        ("events = []", "no events: nothing will be published"),
        ('server = "mqtts://h"\ntls { verify_peer = false }', "the broker's certificate is not checked"),
    ],
)
def test_warnings(read: Read, text: str, said: str) -> None:
    report = read(f"mqtt_publishers.uns {{\n{text}\n}}")
    assert report.errors == []
    assert any(said in str(message) for message in report.warnings), [str(m) for m in report.warnings]


def test_names(read: Read) -> None:
    report = read('mqtt_publishers { "a.b" {}, a_-1 {}, default {} }\nwebhook.url = "http://h"')
    assert ['found the name "a.b"' in str(message) for message in report.errors] == [True]
    assert "one object for each name" in str(read("mqtt_publishers = [1]").errors[0])
    settings = read('mqtt_publishers { default {} }\nwebhook { url = "http://h", enable = false }').settings
    assert settings is not None
    assert [one.name for one in settings.receivers] == ["default", "mqtt_publishers.default"]


def test_by_the_environment(read: Read) -> None:
    report = read("mqtt_publishers.line-1 {}", {"HOOKMQ_MQTT_PUBLISHERS__LINE_1__QOS": "2"})
    assert shown(report) == []
    assert report.settings is not None
    assert [(p.name, p.qos) for p in report.settings.mqtt_publishers] == [("mqtt_publishers.line-1", 2)]


def test_the_effective_settings_load_again_and_show_no_password(read: Read) -> None:
    text = """
    mqtt_publishers.uns {
      server = "mqtts://h:8884", username = u, password = geheim, where = "payload.x > 1"
      events = ["job.*", { event = on_message_publish, topic = "a/#" }], tls.verify_peer = true
    }
    """
    before = read(text).settings
    assert before is not None
    shown_text = effective(before)
    assert "geheim" not in shown_text
    after = read(shown_text).settings
    assert after is not None
    (old,), (new,) = before.mqtt_publishers, after.mqtt_publishers
    assert new.model_copy(update={"password": None}) == old.model_copy(update={"password": None})
