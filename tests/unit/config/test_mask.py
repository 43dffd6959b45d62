"""The effective settings, and that no secret is ever shown."""

from __future__ import annotations

import pytest

from bridge.config import mask
from bridge.config.settings import Settings
from tests.unit.config.conftest import FIXTURES, Read

CERTS = FIXTURES / "certs"
FULL = f"""
webhook {{
  url = "https://us:h1dden@h.example:8443/x?token=h1dden&plant=7&api_key=h1dden"
  headers {{ content-type = "application/json", Authorization2 = "Bearer h1dden", X-Api-Key = h1dden
    Cookie = h1dden, X-Auth-Token = h1dden, "x.plain" = "a\\"b" }}
  body.encoding = base62
  ssl {{ certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/key-encrypted.pem", key_password = sesame }}
  events = [ {{ event = on_message_publish, topic = "a/+/é" }}, {{ event = on_client_connack }} ]
}}
listeners.tcp {{ bind = "[::1]:1883", in.bind = 1884, "x y" {{ bind = 1885 }} }}
listeners.ssl {{ certfile = "{CERTS}/cert.pem"
  keyfile = "{CERTS}/key-encrypted.pem", key_password = sesame }}
mqtt {{ max_lag = 1500ms, keepalive_multiplier = 1.25, max_packet_size = 1000, connect_timeout = 20ms }}
log {{ to = [file, syslog], rotation.size = 3KB }}
sqlite {{ mounted_file_path = "/tmp/a b", sync_delay = 5ms }}
auth {{ allow_anonymous = false, password {{ "joe" : "h1dden", "a.b" : "h1dden" }} }}
"""


def settings(read: Read, text: str) -> Settings:
    report = read(text)
    assert report.errors == []
    assert report.settings is not None
    return report.settings


def test_no_secret_is_shown(read: Read) -> None:
    text = mask.effective(settings(read, FULL))
    assert "h1dden" not in text
    assert "sesame" not in text
    assert "dXM6" not in text  # the URL's user and password, as Basic
    assert 'url = "https://h.example:8443/x?token=******&plant=7&api_key=******"' in text
    assert 'Cookie = "******"' in text
    assert '"joe" = "******"' in text
    assert 'content-type = "application/json"' in text


@pytest.mark.parametrize("text", ["", FULL])
def test_what_is_shown_loads_again(read: Read, text: str) -> None:
    """With secrets put back, `effective` is the configuration itself."""
    first = settings(read, text)
    shown = mask.effective(first).replace('key_password = "******"', "key_password = sesame")
    again = settings(read, shown)
    assert again.mqtt == first.mqtt
    assert again.listeners == first.listeners
    assert again.log == first.log
    assert again.store == first.store
    assert [user for user, _ in again.auth.password] == [user for user, _ in first.auth.password]
    assert [w.events for w in again.webhooks] == [w.events for w in first.webhooks]
    assert [w.tls for w in again.webhooks] == [w.tls for w in first.webhooks]
    assert [[name for name, _ in w.headers] for w in again.webhooks] == [
        [name for name, _ in w.headers] for w in first.webhooks
    ]


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True),
        ("proxy-authorization", True),
        ("Cookie", True),
        ("X-Api-Key", True),
        ("apikey", True),
        ("X-Hub-Signature", True),
        ("access_token", True),
        ("key_password", True),
        ("sig", True),
        ("Content-Type", False),
        ("X-Plant", False),
        ("keyfile", False),
        ("accept", False),
        ("monkey", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert mask.is_secret(name) is secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@h/x", "http://******@h/x"),
        ("http://h/x?a=b&token=c", "http://h/x?a=b&token=******"),
        ("http://u:p@[::1", "http://******@[::1"),
        ("http://h", "http://h"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert mask.url(url) == shown
