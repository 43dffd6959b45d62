"""The older spellings and whole real-world-like files, message by message."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config.classic import is_classic
from bridge.config.load import load
from bridge.config.report import Report
from bridge.config.settings import Encoding, Endpoint, Listener, Log, Mqtt, Rule, StoreSettings
from bridge.events.event import EventType
from tests.unit.config.conftest import FIXTURES, Read, shown

Fixture = Callable[..., Report]
CONNACK = Rule(event=EventType.CLIENT_CONNACK)
DISCONNECTED = Rule(event=EventType.CLIENT_DISCONNECTED)


def passwords(report: Report) -> dict[str, str]:
    assert report.settings is not None
    return {user: secret.get_secret_value() for user, secret in report.settings.auth.password}


def publish(topic: str | None = None) -> Rule:
    return Rule(event=EventType.MESSAGE_PUBLISH, topic=topic)


def snippets(report: Report) -> list[str]:
    """Today's spelling, as the warnings show it."""
    return [m.text.partition("today: ")[2] for m in report.warnings if "today: " in m.text]


# --- the file as NanoMQ ships it ----------------------------------------------------------------------------


def test_the_stock_file(fixture: Fixture) -> None:
    report = fixture("nanomq_stock.conf")
    assert report.errors == []
    assert [(m.line, m.key) for m in report.warnings] == [
        (3, "system"),
        (10, "mqtt.property_size"),
        (11, "mqtt.max_packet_size"),
        (13, "mqtt.retry_interval"),
        (18, "mqtt.max_awaiting_rel"),
        (19, "mqtt.await_rel_timeout"),
        (57, "sqlite.disk_cache_size"),
        (59, "sqlite.flush_mem_threshold"),
        (60, "sqlite.resend_interval"),
        (112, "bridges.mqtt.emqx1.forwards"),
        (124, "preset"),
        (129, "rules"),
    ]
    settings = report.settings
    assert settings is not None
    assert settings.webhooks == (
        Endpoint(
            url="http://127.0.0.1:80",
            headers=(("content-type", "application/json"),),
            events=(publish("a/b/c"), CONNACK),
        ),
    )
    assert settings.mqtt == Mqtt(max_packet_size=256 << 20, keepalive_multiplier=1.25)
    assert [(one.kind, one.name, one.port) for one in settings.listeners] == [
        ("tcp", "default", 1883),
        ("tcp", "default_1", 1884),
        ("ws", "default", 8083),
    ]
    assert settings.log == Log(to=("file", "console"), level="warn", dir=Path("/tmp"), file="nanomq.log")
    assert settings.store == StoreSettings(mounted_file_path=Path("/tmp"))
    assert passwords(report) == {
        "admin": "public", "line7": "café", "scada.north": "se#cret", "plant": "0815", "john.doe": "12h",
    }  # fmt: skip


def test_hocon_as_it_is_found_in_the_wild(fixture: Fixture) -> None:
    report = fixture("quirks.conf", {"LISTEN_HOST": "127.0.0.1"})
    assert shown(report) == []
    settings = report.settings
    assert settings is not None
    assert settings.webhooks == (
        Endpoint(
            url="http://127.0.0.1:8888",
            headers=(
                ("X-Plant", "007"),
                ("X-Rate", "1.50"),
                ("x-ttl", "10s"),
                ("X-On", "true"),
                ("x-api.version", "2"),
            ),
            encoding=Encoding.BASE64,
            cancel_timeout=2000,
            events=(
                publish("sensors/line7/value"),
                CONNACK,
                DISCONNECTED,
                Rule(event=EventType.MESSAGE_ACKED, topic="café/#"),
            ),
            backlog={"max_age": 5400.0},
        ),
    )
    assert settings.mqtt == Mqtt(
        max_packet_size=65536, max_mqueue_len=20, keepalive_multiplier=1.25, max_lag=1.5
    )
    assert settings.listeners == (
        Listener(kind="tcp", host="127.0.0.1", port=1887),
        Listener(kind="tcp", name="named", port=1888),
        Listener(kind="tcp", name="with space", port=1889),
        Listener(kind="tcp", name="v6", host="::1", port=1890),
    )
    assert settings.log.to == ("file", "console")
    assert not settings.auth.allow_anonymous
    assert passwords(report)["plant"] == "0815"


def test_keys_that_nanomq_never_had(fixture: Fixture) -> None:
    report = fixture("wild.conf")
    assert report.errors == []
    assert [(m.line, m.key, m.text.partition(":")[0].partition(";")[0]) for m in report.warnings] == [
        (2, "allow_anonymous", "misplaced, honoured as auth.allow_anonymous"),
        (5, "mqtt.allow_anonymous", "misplaced, honoured as auth.allow_anonymous"),
        (6, "mqtt.msq_len", "an older spelling, read as mqtt.max_mqueue_len"),
        (7, "mqtt.max_clients", "unknown key, it has no effect"),
        (13, "listeners.tcp.acceptors", "unknown key, it has no effect"),
        (18, "plugins", "accepted, and has no effect here"),
        (20, "auth.rules", "misplaced, honoured as auth.acl.rules"),
        (20, "auth.rules[0].topic", "another spelling, honoured as topics"),
        (23, "webhok", "unknown key, it has no effect"),
        (24, "dashboard", "unknown key, it has no effect"),
    ]
    settings = report.settings
    assert settings is not None
    assert not settings.auth.allow_anonymous
    assert settings.mqtt.max_mqueue_len == 100
    assert settings.listeners == (
        Listener(kind="tcp", port=1891, backlog=128, max_connections=1000),
        Listener(kind="ws", port=8083),
    )


def test_every_fault_of_a_broken_file_at_once(fixture: Fixture) -> None:
    report = fixture("broken.conf")
    assert report.settings is None
    assert [(m.line, m.key) for m in report.errors] == [
        (2, "webhook.url"),
        (3, "webhook.pool_size"),
        (4, "webhook.cancel_timeout"),
        (5, "webhook.body.encoding"),
        (7, 'webhook.headers."bad name"'),
        (8, "webhook.headers.x-list"),
        (9, "webhook.headers.authorization"),
        (12, "webhook.events[0].event"),
        (13, "webhook.events[1].topic"),
        (14, "webhook.events[2]"),
        (15, "webhook.events[3]"),
        (17, "webhook.backlog.max_bytes"),
        (17, "webhook.backlog.on_full"),
        (20, "mqtt.max_packet_size"),
        (21, "mqtt.max_inflight_window"),
        (22, "mqtt.keepalive_multiplier"),
        (23, "mqtt.session_expiry_interval"),
        (25, "listeners.tcp.bind"),
        (26, "listeners.ssl"),
        (27, "log.level"),
        (27, "log.to"),
        (28, "sqlite.sync_delay"),
        (29, "auth.allow_anonymous"),
        (29, "auth.no_match"),
        (29, "auth.password"),
    ]
    assert all("found" in m.text and "expected" in m.text for m in report.errors)
    assert not any("secret" in m.text and "Bearer" in m.text for m in report.messages)


# --- 0.14 to 0.18 -------------------------------------------------------------------------------------------


def test_nanomq_0_14_to_0_18(fixture: Fixture) -> None:
    report = fixture("nanomq_0_17.conf")
    assert report.errors == []
    settings = report.settings
    assert settings is not None
    assert settings.webhooks == (
        Endpoint(
            url="http://127.0.0.1:8888/hook",
            headers=(("content-type", "application/json"),),
            encoding=Encoding.BASE64,
            pool_size=16,
            events=(CONNACK, DISCONNECTED, publish("foo/#")),
        ),
    )
    assert settings.mqtt == Mqtt(
        property_size=256, max_mqueue_len=512, max_packet_size=1 << 20, keepalive_multiplier=1.25
    )
    assert settings.listeners == (Listener(kind="tcp", port=1885),)
    assert not settings.auth.allow_anonymous
    assert passwords(report) == {"admin": "public", "client": "0815"}
    assert snippets(report) == [
        "mqtt { property_size = 256, max_mqueue_len = 512, max_packet_size = 1024KB, keepalive_multiplier = 1.25 }",
        'listeners { tcp { bind = "0.0.0.0:1885" }, ws { enable = false, bind = "0.0.0.0:8083/mqtt" } }',
        'events = [{ event = "on_client_connack" }, { event = "on_client_disconnected" }, { event = "on_message_publish", topic = "foo/#" }]',
        'auth { allow_anonymous = false, no_match = "deny", password { admin = "******", client = "******" } }',
    ]
    assert [m.line for m in report.warnings] == [2, 5, 7, 8, 15, 24, 29, 29, 34]


@pytest.mark.parametrize(
    ("rule", "rules"),
    [
        ('rule.message.publish = [{action: on_message_publish, topic: "foo/#"}]', (publish("foo/#"),)),
        ('rule.message.publish = [{event: on_message_publish, topic: "foo/#"}]', (publish("foo/#"),)),
        ('rule.message.publish = [{"action": "on_message_publish"}, {"topic": "a"}]', (publish("a"),)),
        ('rule.message.publish = {"action": "on_message_publish"}', (publish(),)),
        ('rule.message.publish.1 = {"topic": "a"}\nrule.message.publish.2 = {"topic": "b"}', (publish("a"), publish("b"))),
        ("rule.client.connack = [ {action = on_client_connack} ]\nevents = [ {event = on_client_disconnected} ]", (DISCONNECTED, CONNACK)),
    ],
)  # fmt: skip
def test_webhook_rule(read: Read, rule: str, rules: tuple[Rule, ...]) -> None:
    report = read(f'webhook {{ url = "http://h"\n{rule}\n}}')
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.webhooks[0].events == rules
    (warning,) = report.warnings
    assert (warning.line, warning.key) == (2, "webhook.rule")
    assert warning.text.startswith("an older spelling (NanoMQ 0.14 to 0.18); today: events = [")


def test_an_unknown_event_in_an_old_rule(read: Read) -> None:
    report = read('webhook { url = "http://h"\nrule.client.foo = [ { action = on_client_foo } ] }')
    assert [(m.line, m.key) for m in report.errors] == [(2, "webhook.rule.client.foo[0].action")]


# --- classic ------------------------------------------------------------------------------------------------


def test_a_whole_classic_file(fixture: Fixture) -> None:
    report = fixture("nanomq_classic.conf")
    assert report.errors == []
    settings = report.settings
    assert settings is not None
    assert settings.webhooks == (
        Endpoint(
            url="http://127.0.0.1:8888/hook",
            headers=(("content-type", "application/json"), ("authorization", "Bearer t0ps3cret")),
            encoding=Encoding.BASE62,
            pool_size=16,
            events=(CONNACK, publish("a/#"), publish("b/#")),
        ),
    )
    assert settings.mqtt == Mqtt(
        property_size=256, max_mqueue_len=512, max_packet_size=1 << 20, keepalive_multiplier=1.25
    )
    assert settings.listeners == (Listener(kind="tcp", port=1886), Listener(kind="ws", port=8083))
    assert settings.log == Log(to=("file", "console"), level="warn", dir=Path("/tmp"), file="nanomq.log")
    assert settings.store == StoreSettings(mounted_file_path=Path("/var/lib/nanomq"))
    assert not settings.auth.allow_anonymous
    assert passwords(report) == {"admin": "pub=lic#1", "client": "0815"}
    assert [(m.line, m.key) for m in report.warnings] == [
        (4, ""),
        (4, "url"),
        (5, "system"),
        (9, "property_size"),
        (11, "client_max_packet_size"),
        (13, "qos_duration"),
        (15, "allow_anonymous"),
        (55, "web.hook.enable"),
    ]
    text = "\n".join(shown(report))
    assert not re.search("t0ps3cret|pub=lic|0815|yourpass", text)


@pytest.mark.parametrize("name", ["nanomq_classic.conf", "emqx_web_hook.conf", "nanomq_0_17.conf"])
def test_todays_spelling_can_be_pasted(fixture: Fixture, read: Read, name: str) -> None:
    """What the warnings show, put into one file, gives the same settings (but for the masked secrets)."""
    old = fixture(name)
    lines = [
        s if not s.startswith("events") else f'webhook {{ url = "http://h", {s} }}' for s in snippets(old)
    ]
    new = read("\n".join(lines))
    assert new.errors == []
    assert old.settings is not None
    assert new.settings is not None
    assert new.settings.webhooks == () or new.settings.webhooks[0].events == old.settings.webhooks[0].events
    assert new.settings.mqtt == old.settings.mqtt
    assert new.settings.listeners == old.settings.listeners
    assert [u for u, _ in new.settings.auth.password] == [u for u, _ in old.settings.auth.password]
    assert not any("classic" in m.text or "older" in m.text for m in new.warnings)


def test_emqx_4(fixture: Fixture) -> None:
    report = fixture("emqx_web_hook.conf")
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.webhooks == (
        Endpoint(
            url="http://127.0.0.1:8080/mqtt?a=b",
            headers=(("content-type", "application/json"),),
            encoding=Encoding.BASE64,
            events=(
                Rule(event=EventType.CLIENT_CONNECTED),
                DISCONNECTED,
                Rule(event=EventType.SESSION_SUBSCRIBED),
                publish("a/b/c"),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "classic"),
    [
        ("url=nmq-tcp://0.0.0.0:1883\n", True),
        ("# c\n\nweb.hook.url = http://h\n", True),
        ('web.hook.rule.client.connack.1={"action": "on_client_connack"}\n', True),
        ("auth.1.login = a\nauth.1.password = b\n", True),
        ("tls.enable=false", True),
        ("msq_len=64", True),
        ("log.level=info", False),
        ("listeners.tcp.bind = 1883\nlog.level = info", False),
        ("allow_anonymous = false\nauth.password.u = s", False),
        ("mqtt {\n max_packet_size = 1KB\n}", False),
        ('webhook.url = "http://h"', False),
        ("", False),
    ],
)
def test_classic_files_are_told_by_their_content(text: str, classic: bool) -> None:
    assert is_classic(text) is classic


def test_the_fixtures_are_told_apart() -> None:
    classic = {p.name for p in FIXTURES.glob("*.conf") if is_classic(p.read_text())}
    assert classic == {"nanomq_classic.conf", "emqx_web_hook.conf"}


def test_classic_can_be_said(read: Read) -> None:
    report = read("log.level=warn\n", classic=True)
    assert report.settings is not None
    assert report.settings.log.level == "warn"
    assert [m.key for m in report.messages] == [""]
    assert read("url=nmq-tcp://0.0.0.0:1884\n", classic=False).settings is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("web.hook.pool_size=many", "web.hook.pool_size: found many, expected a whole number from 1 to 4096"),
        ("web.hook.url=127.0.0.1:80", 'web.hook.url: found "127.0.0.1:80" without http://'),
        (
            "web.hook.rule.client.connack.1=on_client_connack",
            "web.hook.rule.client.connack.1: found on_client_connack, expected a rule such as",
        ),
        (
            'web.hook.rule.client.x.1={"action": "on_client_x"}',
            'web.hook.rule.client.x.1: found "on_client_x", expected one of',
        ),
        ("max_packet_size=big", "max_packet_size: found big, expected a size such as"),
        ("keepalive_backoff=fast", "keepalive_backoff: found fast, expected a number from 1 to 100"),
        ("url=nmq-tcp://0.0.0.0:x", 'url: found "0.0.0.0:x", expected host:port'),
        ("auth.1.login=a", "auth.1.login: found no auth.1.password to go with it"),
        ("nonsense", "found a line that is not key=value, expected key=value or # comment"),
        ("log.level=loud", "log.level: found loud, expected trace"),
    ],
)
def test_classic_errors_name_the_line_and_the_key_as_written(read: Read, line: str, message: str) -> None:
    url = "web.hook.url=http://h\n" if line.startswith("web.hook") and "url" not in line else ""
    report = read(f"daemon=false\n{line}\n{url}", classic=True)
    assert len(report.errors) == 1
    assert shown(report)[[m.level for m in report.messages].index("error")].startswith(f"2: error: {message}")


def test_a_classic_tls_listener(read: Read) -> None:
    certs = FIXTURES / "certs"
    text = f"tls.enable=true\ntls.url=tls+nmq-tcp://0.0.0.0:8884\ntls.key={certs}/key-encrypted.pem\ntls.cert={certs}/cert.pem\ntls.keypass=sesame\n"
    report = read(text)
    assert report.errors == []
    assert report.settings is not None
    (one,) = report.settings.listeners
    assert (one.kind, one.port, one.certfile) == ("ssl", 8884, certs / "cert.pem")


def test_a_classic_key_given_twice(read: Read) -> None:
    report = read("msq_len=1\nmsq_len=2\n")
    assert report.settings is not None
    assert report.settings.mqtt.max_mqueue_len == 2
    assert "2: warning: msq_len: given again; line 1 has no effect" in shown(report)


def test_classic_keys_in_a_hocon_file(read: Read) -> None:
    report = read(
        'web.hook {\n url = "http://h"\n rule.client.connack.1 = {"action": "on_client_connack"}\n}\nurl = "nmq-tcp://0.0.0.0:1892"\nlog { level = warn }'
    )
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.webhooks[0].events == (CONNACK,)
    assert report.settings.listeners[0].port == 1892
    assert snippets(report) == [
        'webhook { url = "http://h", events = [{ event = "on_client_connack" }] }',
        'listeners { tcp { bind = "0.0.0.0:1892" } }',
    ]


def test_auth_as_a_list(read: Read) -> None:
    report = read("log {}\nauth = [ { login = admin, password = public }\n{ login = x, password = 007 } ]")
    assert report.errors == []
    assert passwords(report) == {"admin": "public", "x": "007"}


# --- the seeds ----------------------------------------------------------------------------------------------

TUTORIAL = """
webhook {
  url = "http://127.0.0.1:8888"                   # Destination endpoint for webhook requests
  headers.content-type = "application/json"       # Content-Type of the request
  body.encoding = plain                           # Payload encoding: plain, base64, or base62
  pool_size = 32                                  # Number of concurrent HTTP connections

  events = [
    {
      event = "on_message_publish"
      topic = "nmq/pub"
    }
    {
      event = "on_client_connack"
    }
    {
      event = "on_client_disconnected"
    }
  ]
}
"""


def test_the_tutorials_snippet(read: Read) -> None:
    report = read(TUTORIAL)
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.webhooks == (
        Endpoint(
            url="http://127.0.0.1:8888",
            headers=(("content-type", "application/json"),),
            events=(publish("nmq/pub"), CONNACK, DISCONNECTED),
        ),
    )


def test_load_takes_the_environment_of_the_process_by_default(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    read.path.write_text("")
    monkeypatch.setenv("HOOKMQ_LOG__LEVEL", "error")
    settings = load(read.path).settings
    assert settings is not None
    assert settings.log.level == "error"
