"""mqtt, log, sqlite, auth and all other blocks of a nanomq.conf (INTEROP 1.3)."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config.foreign import NO_EFFECT
from bridge.config.keys import BLOCKS
from bridge.config.settings import Log, Mqtt, Rotation, Settings, StoreSettings
from tests.unit.config.conftest import Read


def settings(read: Read, text: str) -> Settings:
    report = read(text)
    assert report.messages == []
    assert report.settings is not None
    return report.settings


def test_an_empty_file_is_nanomqs_default(read: Read) -> None:
    assert settings(read, "") == Settings()
    assert settings(read, "# nothing\n") == Settings()
    assert settings(read, "{}") == Settings()
    assert (
        settings(read, "mqtt = null\nlisteners = null\nwebhook = null\nauth = null\nlog = null") == Settings()
    )


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("max_packet_size = 10KB", "max_packet_size", 10 << 10),
        ("max_packet_size = 10 MB", "max_packet_size", 10 << 20),
        ("max_packet_size = 256MB", "max_packet_size", 256 << 20),
        ("max_packet_size = 1048576", "max_packet_size", 1 << 20),
        ("max_packet_size = 10m", "max_packet_size", 10 << 20),
        ('max_packet_size = "1.5mb"', "max_packet_size", 3 << 19),
        ("max_mqueue_len = 1", "max_mqueue_len", 1),
        ("keepalive_multiplier = 1.25", "keepalive_multiplier", 1.25),
        ("keepalive_multiplier = 2", "keepalive_multiplier", 2.0),
        ("connect_timeout = 500ms", "connect_timeout", 0.5),
        ("connect_timeout = 1.5s", "connect_timeout", 1.5),
        ("connect_timeout = 10", "connect_timeout", 10.0),
        ("session_expiry_interval = 2h", "session_expiry_interval", 7200),
        ("session_expiry_interval = 1d", "session_expiry_interval", 86400),
        ("session_expiry_interval = 3 m", "session_expiry_interval", 180),
        ('session_expiry_interval = "90 seconds"', "session_expiry_interval", 90),
        ("max_lag = 30s", "max_lag", 30.0),
        ("max_lag = off", "max_lag", None),
        ("max_awaiting_rel = 100", "max_awaiting_rel", 100),
        ("max_retained = null", "max_retained", 100000),
        ("property_size = 64", "property_size", 64),
        ('max_sessions = "7"', "max_sessions", 7),
    ],
)
def test_mqtt(read: Read, text: str, field: str, value: Any) -> None:
    assert getattr(settings(read, f"mqtt {{ {text} }}").mqtt, field) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_packet_size = 10XB", "error: mqtt.max_packet_size: found 10XB, expected a size such as 64KB, 10MB or 1GB, or a number of bytes, from 64 to 268435460"),
        ("max_packet_size = 300MB", "error: mqtt.max_packet_size: found 300MB, expected a size such as 64KB, 10MB or 1GB, or a number of bytes, from 64 to 268435460"),
        ("max_packet_size = [1]", "error: mqtt.max_packet_size: found [1], expected a size such as 64KB, 10MB or 1GB, or a number of bytes, from 64 to 268435460"),
        ("max_packet_size = -1", "error: mqtt.max_packet_size: found -1, expected a size such as 64KB, 10MB or 1GB, or a number of bytes, from 64 to 268435460"),
        ("max_inflight_window = 70000", "error: mqtt.max_inflight_window: found 70000, expected a whole number from 1 to 65535"),
        ("max_mqueue_len = 1.5", "error: mqtt.max_mqueue_len: found 1.5, expected a whole number of at least 1"),
        ("max_mqueue_len = 10s", "error: mqtt.max_mqueue_len: found 10s, expected a whole number of at least 1"),
        ("keepalive_multiplier = nan", "error: mqtt.keepalive_multiplier: found nan, expected a number from 1 to 100"),
        ("keepalive_multiplier = 0.1", "error: mqtt.keepalive_multiplier: found 0.1, expected a number from 1 to 100"),
        ("connect_timeout = 0", "error: mqtt.connect_timeout: found 0, expected a time such as 500ms, 10s, 5m, 2h or 7d, or a number of seconds, greater than 0s"),
        ("connect_timeout = 5 fortnights", "error: mqtt.connect_timeout: found 5 fortnights, expected a time such as 500ms, 10s, 5m, 2h or 7d, or a number of seconds, greater than 0s"),
        ("session_expiry_interval = 1500ms", "error: mqtt.session_expiry_interval: found 1500ms, expected whole seconds, such as 10s, 5m or 2h"),
        ("max_lag = often", "error: mqtt.max_lag: found often, expected off, or a time such as 500ms, 10s, 5m, 2h or 7d, or a number of seconds, greater than 0s"),
        ("retry_interval = 10s", "warning: mqtt.retry_interval: it has no effect: MQTT 5 forbids sending a message again on a live connection [MQTT-4.4.0-1]; HookMQ sends it again when the client comes back"),
        ("await_rel_timeout = 10s", "warning: mqtt.await_rel_timeout: it has no effect, as in NanoMQ: an open QoS 2 message ends with its session"),
        ("max_awaiting_rel = 10s", "warning: mqtt.max_awaiting_rel: found the time 10s, as NanoMQ's own file has it, where it never had an effect; it is a number of open QoS 2 messages, 2048 unless set"),
        ("property_size = 32", "warning: mqtt.property_size: found 32 bytes, NanoMQ's default, which it never enforced and most clients exceed; 64KB is used; expected at least 64 bytes"),
        ("keepalive_multiplier = 0.75", "warning: mqtt.keepalive_multiplier: found 0.75, which would end clients that keep to [MQTT-3.1.2-24]; 1.0 is used"),
        ("max_packet_size = 260MB", "warning: mqtt.max_packet_size: more than a packet of MQTT can have (256MB), 256MB is used"),
        ("msq_len = 5", "warning: mqtt.msq_len: an older spelling, read as mqtt.max_mqueue_len"),
        ("max_paket_size = 5", "warning: mqtt.max_paket_size: unknown key, it has no effect; did you mean mqtt.max_packet_size?"),
    ],
)  # fmt: skip
def test_mqtt_messages(read: Read, text: str, message: str) -> None:
    assert read.lines(f"mqtt {{\n {text}\n}}") == [f"2: {message}"]


def test_values_of_nanomqs_own_files(read: Read) -> None:
    report = read(
        "mqtt { property_size = 32, max_packet_size = 260MB, max_awaiting_rel = 10s, keepalive_multiplier = 0.6 }"
    )
    assert report.settings is not None
    assert report.settings.mqtt == Mqtt(max_packet_size=256 << 20, keepalive_multiplier=1.0)
    assert len(report.warnings) == 4


def test_an_older_spelling_beside_todays(read: Read) -> None:
    report = read("mqtt { msq_len = 5\nmax_mqueue_len = 7 }")
    assert report.settings is not None
    assert report.settings.mqtt.max_mqueue_len == 7
    assert "is given too and wins" in report.messages[0].text


# --- log, sqlite --------------------------------------------------------------------------------------------


def test_log(read: Read) -> None:
    text = 'log { to = [file, Console]\nlevel = WARNING\ndir = "/tmp"\nfile = "n.log"\nrotation { size = 1MB, count = 0 } }'
    assert settings(read, text).log == Log(
        to=("file", "console"),
        level="warn",
        dir=Path("/tmp"),
        file="n.log",
        rotation=Rotation(size=1 << 20, count=0),
    )
    assert settings(read, 'log.to = "file,syslog"').log.to == ("file", "syslog")
    assert settings(read, "log.to = console").log.to == ("console",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level = loud", "1: error: log.level: found loud, expected trace, debug, info, warn, error or fatal"),
        ("to = [printer, file]", "1: error: log.to: found [printer, file], expected a list of file, console or syslog"),
        ("to = []", "1: error: log.to: found an empty list, expected a list of file, console or syslog"),
        ('file = "a/b"', '1: error: log.file: found "a/b", expected a file name without a folder'),
        ('dir = ""', '1: error: log.dir: found "", expected a path'),
        ("rotation.size = big", "1: error: log.rotation.size: found big, expected a size such as 64KB, 10MB or 1GB, or a number of bytes, of at least 1KB"),
        ("rotation = 3", "1: error: log.rotation: found 3, expected an object: log.rotation { key = value … }"),
        ("colour = red", "1: warning: log.colour: unknown key, it has no effect; known keys of log: to, level, formatter, dir, file, rotation.size, rotation.count"),
    ],
)  # fmt: skip
def test_log_messages(read: Read, text: str, message: str) -> None:
    assert read.lines(f"log {{ {text} }}") == [message]


def test_a_block_that_is_no_block(read: Read) -> None:
    assert read.lines("log = 3\nmqtt = [1]\nsqlite = x\nauth = y\nlisteners = 1883\nwebhook = z") == [
        "1: error: log: found 3, expected an object: log { key = value … }",
        "2: error: mqtt: found [1], expected an object: mqtt { key = value … }",
        "3: error: sqlite: found x, expected an object: sqlite { key = value … }",
        "4: error: auth: found y, expected an object: auth { key = value … }",
        '5: error: listeners: found 1883, expected an object: listeners.tcp { bind = "0.0.0.0:1883" }',
        '6: error: webhook: found z, expected one object: webhook { url = "http://…", events = [ … ] }',
    ]


def test_store(read: Read) -> None:
    store = settings(read, 'sqlite { mounted_file_path = "/var/lib/x", sync_delay = 5ms }')
    assert store.store == StoreSettings(mounted_file_path=Path("/var/lib/x"), sync_delay=0.005)
    assert store.store_path == Path("/var/lib/x/hookmq.db")
    warnings = read.lines(
        "sqlite { disk_cache_size = 1\nflush_mem_threshold = 1\nresend_interval = 1\nenable = false }"
    )
    assert [w.split(": it has no effect")[0] for w in warnings] == [
        "1: warning: sqlite.disk_cache_size",
        "2: warning: sqlite.flush_mem_threshold",
        "3: warning: sqlite.resend_interval",
        "4: warning: sqlite.enable",
    ]


# --- auth ---------------------------------------------------------------------------------------------------


def test_passwords(read: Read) -> None:
    auth = settings(read, 'auth { allow_anonymous = false\npassword { "u" : "s", "a.b" : 007, x = q } }').auth
    assert not auth.allow_anonymous
    assert [(u, s.get_secret_value()) for u, s in auth.password] == [("u", "s"), ("a.b", "007"), ("x", "q")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow_anonymous = maybe", "error: auth.allow_anonymous: found maybe, expected true or false"),
        ('password = "hunter2"', 'error: auth.password: found a secret (not shown), expected user names and secrets: password { "user" : "secret" } or password = { include "pwd.conf" }'),
        ('password { u = "" }', "error: auth.password.u: found no secret, expected a text that is not empty (an include needs no key)"),
        ("password { u = [hunter2] }", "error: auth.password.u: found no secret, expected a text that is not empty (an include needs no key)"),
        ("no_match = perhaps", "error: auth.no_match: found perhaps, expected allow or deny"),
        ("deny_action = shout", "error: auth.deny_action: found shout, expected ignore or disconnect"),
        ("no_match = deny", "warning: auth.no_match: found deny, and there is no access rule: nobody may publish or subscribe"),
        ("rules = []", "warning: auth.rules: misplaced, honoured as auth.acl.rules: it belongs in auth.acl"),
        ("http_auth { timeout = 5s }", "warning: auth.http_auth: it has no effect without auth_req, super_req or acl_req: nobody is asked"),
        ("allow_anonymous = false", "warning: auth.allow_anonymous: found false, and neither password, jwt nor http_auth.auth_req is given: no client can connect"),
        ("allow_anonymus = false", "warning: auth.allow_anonymus: unknown key, it has no effect; did you mean auth.allow_anonymous?"),
    ],
)  # fmt: skip
def test_auth_messages(read: Read, text: str, message: str) -> None:
    assert read.lines(f"auth {{\n {text} }}") == [f"2: {message}"]


@pytest.mark.parametrize(
    "text",
    ["allow_anonymous = false", "mqtt.allow_anonymous = false", "mqtt { session.allow_anonymous = no }"],
)
def test_a_misplaced_allow_anonymous_is_honoured(read: Read, text: str) -> None:
    report = read(text + "\nauth.password.u = s")
    assert report.settings is not None
    assert not report.settings.auth.allow_anonymous
    (warning,) = report.messages
    assert warning.line == 1
    assert warning.text == "misplaced, honoured as auth.allow_anonymous: it belongs in the block auth"


def test_of_two_allow_anonymous_the_stricter_wins(read: Read) -> None:
    for text in (
        "allow_anonymous = false\nauth.allow_anonymous = true",
        "allow_anonymous = true\nauth.allow_anonymous = false",
    ):
        report = read(text + "\nauth.password.u = s")
        assert report.settings is not None
        assert not report.settings.auth.allow_anonymous
        assert len(report.messages) == 1


def test_misplaced_passwords_are_honoured(read: Read) -> None:
    report = read("password { u = s }\nauth.allow_anonymous = false")
    assert report.settings is not None
    assert [u for u, _ in report.settings.auth.password] == ["u"]
    assert "misplaced" in report.messages[0].text


# --- other blocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NO_EFFECT])
def test_one_warning_for_each_other_block(read: Read, name: str) -> None:
    assert read.lines(f"\n{name}.a.b {{ c = 1\n d = [ {{ e = 2 }} ] }}") == [
        f"2: warning: {name}: {NO_EFFECT[name]}"
    ]


def test_an_unknown_block_names_the_nearest(read: Read) -> None:
    assert read.lines("webhok { url = x }\nqwertz = 1") == [
        "1: warning: webhok: unknown key, it has no effect; did you mean webhook?",
        "2: warning: qwertz: unknown key, it has no effect; known blocks: webhook, webhooks, mqtt_publishers, mqtt, listeners, log, sqlite, auth, egress, node, http_server, events, sys_topics, sources, bridges, prometheus, tracing",
    ]


def test_errors_of_all_blocks_come_at_once(read: Read) -> None:
    report = read(
        'mqtt.max_lag = x\nlog.level = x\nwebhook.url = x\nlisteners.tcp.bind = x\nauth.no_match = x\nsqlite.sync_delay = x\n"m n" = 1'
    )
    assert [m.line for m in report.errors] == [1, 2, 3, 4, 5, 6]
    assert [m.line for m in report.warnings] == [3, 7]  # no events, and the unknown key
    assert report.settings is None


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
def test_older_and_idle_keys_are_no_keys_of_today(block: Any) -> None:
    names = {key.name for key in block.keys}
    assert set(block.renamed.values()) <= names
    assert not names & {*block.renamed, *block.idle, *block.open}
