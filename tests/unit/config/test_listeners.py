"""The listeners block (INTEROP 1.3)."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

import pytest

from bridge.config.listeners import parse_bind
from bridge.config.settings import Listener
from bridge.config.units import Bad
from tests.unit.config.conftest import FIXTURES, Read

CERTS = FIXTURES / "certs"
FILES = f'certfile = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/key.pem"'
POSSIBLE = "expected host:port such as 0.0.0.0:1883, [::]:1883, :1883 or 1883, a port from 0 to 65535 (0: any free one)"


def listeners(read: Read, text: str) -> tuple[Listener, ...]:
    report = read(text)
    assert report.messages == []
    assert report.settings is not None
    return report.settings.listeners


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [
        ("0.0.0.0:1883", "0.0.0.0", 1883),
        ("1884", "0.0.0.0", 1884),
        (":1885", "0.0.0.0", 1885),
        ("*:1885", "0.0.0.0", 1885),
        ("[::]:1883", "::", 1883),
        ("[::1]:0", "::1", 0),
        ("localhost:1883", "localhost", 1883),
        ("plant-7.example.com:1883", "plant-7.example.com", 1883),
    ],
)
def test_bind(read: Read, bind: str, host: str, port: int) -> None:
    assert parse_bind(bind) == (host, port)
    (one,) = listeners(read, f'listeners.tcp.bind = "{bind}"')
    assert (one.host, one.port) == (host, port)


@pytest.mark.parametrize(
    "bind", ["", "host", "0.0.0.0", "0.0.0.0:99999", "1.2.3:1883", "1.2.3.4.5:1", "[::g]:1", "::1:1883", "a b:1", "h:-1", "h:1/mqtt", "-h:1"]
)  # fmt: skip
def test_bind_that_cannot_be(bind: str) -> None:
    with pytest.raises(Bad, match="expected host:port"):
        parse_bind(bind)


def test_without_listeners_there_is_one(read: Read) -> None:
    default = (Listener(kind="tcp", host="0.0.0.0", port=1883),)
    for text in (
        "",
        "listeners {}",
        "listeners.tcp {}",
        "listeners.tcp = null",
        'listeners.tcp { bind = "0.0.0.0:1883" }',
    ):
        assert listeners(read, text) == default


def test_base_and_named_listeners_stand_side_by_side(read: Read) -> None:
    found = listeners(
        read,
        """listeners.tcp { bind = 1883, backlog = 5
          inner { bind = "127.0.0.1:1884", max_connections = 3 } }
        listeners.tcp.other.bind = 1885
        listeners { tcp { off { enable = false, bind = 1886 } } }""",
    )
    assert found == (
        Listener(kind="tcp", port=1883, backlog=5),
        Listener(kind="tcp", name="inner", host="127.0.0.1", port=1884, max_connections=3),
        Listener(kind="tcp", name="other", port=1885),
    )


def test_named_listeners_alone(read: Read) -> None:
    assert [one.name for one in listeners(read, "listeners.tcp { a { bind = 1 }, b { bind = 2 } }")] == [
        "a",
        "b",
    ]
    assert read.lines("listeners.tcp { a { bind = 1 }\nbacklog = 5 }") == [
        "2: warning: listeners.tcp.backlog: it has no effect: listeners.tcp has no bind of its own, only named listeners"
    ]
    # the base block switched off leaves the named ones
    assert [
        one.name for one in listeners(read, "listeners.tcp { enable = false, bind = 3, a { bind = 1 } }")
    ] == ["a"]


def test_ssl(read: Read) -> None:
    found = listeners(
        read,
        f'listeners.ssl {{ {FILES}\nverify_peer = true\ncacertfile = "{CERTS}/cert.pem"\nfail_if_no_peer_cert = true }}',
    )
    assert found == (
        Listener(
            kind="ssl", port=8883, certfile=CERTS / "cert.pem", keyfile=CERTS / "key.pem", verify_peer=True,
            cacertfile=CERTS / "cert.pem", fail_if_no_peer_cert=True,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tcp.bind = x", f'1: error: listeners.tcp.bind: found "x", {POSSIBLE}'),
        ('tcp.bind = "nmq-tcp://0.0.0.0:1883"', '1: error: listeners.tcp.bind: found "nmq-tcp://0.0.0.0:1883", expected it without nmq-tcp://: ' + POSSIBLE[9:] + '; did you mean "0.0.0.0:1883"?'),
        ("tcp.a.backlog = 3", "1: error: listeners.tcp.a: found no bind, " + POSSIBLE.replace("expected", "expected bind =")),
        ("tcp.tcp_options { nodelay = true }", "1: warning: listeners.tcp.tcp_options: unknown key, it has no effect; known keys of listeners.tcp: enable, bind, backlog, max_connections"),
        ("tcp = 1883", '1: error: listeners.tcp: found 1883, expected an object: listeners.tcp { bind = "0.0.0.0:1883" }'),
        ("tcp.a { bind = 1884, enable = 3 }", "1: error: listeners.tcp.a.enable: found 3, expected true or false"),
        ("tcp.backlog = 0", "1: error: listeners.tcp.backlog: found 0, expected a whole number of at least 1"),
        ("tcp.enable = false", '1: error: listeners: no listener is left for this version to open, expected listeners.tcp { bind = "0.0.0.0:1883" }'),
        ("tcp { bind = 1883, a { bind = 1883 } }", "1: error: listeners.tcp.a.bind: found 0.0.0.0:1883, which listeners.tcp has already"),
        ("ssl.bind = 8883", "1: error: listeners.ssl: found no certfile and no keyfile, expected both: a TLS listener cannot work without (or listeners.ssl.enable = false)"),
        (f'ssl.a {{ bind = 8883, certfile = "{CERTS}/cert.pem" }}', "1: error: listeners.ssl.a: found no keyfile, expected both: a TLS listener cannot work without (or listeners.ssl.a.enable = false)"),
        (f'ssl {{ certfile = "/none.pem", keyfile = "{CERTS}/key.pem" }}', "1: error: listeners.ssl.certfile: cannot read /none.pem: No such file or directory, expected a readable PEM file"),
        (f'ssl {{ certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/other-key.pem" }}', f"1: error: listeners.ssl.keyfile: the key {CERTS}/other-key.pem does not belong to the certificate {CERTS}/cert.pem"),
        (f"ssl {{ {FILES}\nverify_peer = true }}", "3: error: listeners.ssl.verify_peer: found true without cacertfile, expected the authority of the clients"),
        (f"ssl {{ {FILES}\nfail_if_no_peer_cert = true }}", "3: warning: listeners.ssl.fail_if_no_peer_cert: it has no effect without verify_peer = true: clients are not asked for a certificate"),
        (f'ssl {{ cert = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/key.pem" }}', "1: warning: listeners.ssl.cert: an older spelling, read as listeners.ssl.certfile"),
        ("tcp { acceptors = 4 }", "1: warning: listeners.tcp.acceptors: unknown key, it has no effect; known keys of listeners.tcp: enable, bind, backlog, max_connections"),
        ("tpc.bind = 1883", "1: warning: listeners.tpc: unknown kind of listener, nothing listens for it; did you mean listeners.tcp?"),
        ('tcp {}\nlisteners.ws.bind = "0.0.0.0:8083/mqtt"', "2: warning: listeners.ws: accepted, but MQTT over WebSocket comes with a later version: nothing listens here (0.0.0.0:8083/mqtt)"),
    ],
)  # fmt: skip
def test_messages(read: Read, text: str, message: str) -> None:
    report = read("listeners." + text)
    assert read.lines(report.messages[0].file.read_text()) == [message]
    assert (report.settings is None) == (" error: " in message)


def test_only_websocket_is_an_error(read: Read) -> None:
    report = read('listeners.ws.bind = "0.0.0.0:8083/mqtt"')
    assert [m.level for m in report.messages] == ["warning", "error"]


def test_a_disabled_ssl_listener_needs_no_files(read: Read) -> None:
    text = 'listeners.tcp {}\nlisteners.ssl { enable = false, certfile = "/none.pem", keyfile = "/none.pem" }'
    assert [one.kind for one in listeners(read, text)] == ["tcp"]
    assert [one.kind for one in listeners(read, "listeners.tcp {}\nlisteners.wss { enable = false }")] == [
        "tcp"
    ]
