"""The listeners block (INTEROP 1.3)."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.listeners import parse_bind
from bridge.config.settings import Listener
from bridge.config.units import Bad
from tests.integration.certificates import Authority
from tests.unit.config.conftest import FIXTURES, Read

CERTS = FIXTURES / "certs"
FILES = f'certfile = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/key.pem"'
TCP_KEYS = "enable, bind, backlog, max_connections, max_conn_rate, messages_rate, bytes_rate"
POSSIBLE_WEB = "expected host:port such as 0.0.0.0:8083, [::]:8083, :8083 or 8083, a port from 0 to 65535 (0: any free one), and a path: 0.0.0.0:8083/mqtt"
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
        ("tcp.tcp_options { nodelay = true }", "1: warning: listeners.tcp.tcp_options: unknown key, it has no effect; known keys of listeners.tcp: " + TCP_KEYS),
        ("tcp = 1883", '1: error: listeners.tcp: found 1883, expected an object: listeners.tcp { bind = "0.0.0.0:1883" }'),
        ("tcp.a { bind = 1884, enable = 3 }", "1: error: listeners.tcp.a.enable: found 3, expected true or false"),
        ("tcp.backlog = 0", "1: error: listeners.tcp.backlog: found 0, expected a whole number of at least 1"),
        ("tcp.enable = false", '1: error: listeners: no listener is left to open, expected listeners.tcp { bind = "0.0.0.0:1883" }'),
        ("tcp { bind = 1883, a { bind = 1883 } }", "1: error: listeners.tcp.a.bind: found 0.0.0.0:1883, which listeners.tcp has already"),
        ("ssl.bind = 8883", "1: error: listeners.ssl: found no certfile and no keyfile, expected both: a TLS listener cannot work without (or listeners.ssl.enable = false)"),
        (f'ssl.a {{ bind = 8883, certfile = "{CERTS}/cert.pem" }}', "1: error: listeners.ssl.a: found no keyfile, expected both: a TLS listener cannot work without (or listeners.ssl.a.enable = false)"),
        (f'ssl {{ certfile = "/none.pem", keyfile = "{CERTS}/key.pem" }}', "1: error: listeners.ssl.certfile: cannot read /none.pem: No such file or directory, expected a readable PEM file"),
        (f'ssl {{ certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/other-key.pem" }}', f"1: error: listeners.ssl.keyfile: the key {CERTS}/other-key.pem does not belong to the certificate {CERTS}/cert.pem"),
        (f"ssl {{ {FILES}\nverify_peer = true }}", "3: error: listeners.ssl.verify_peer: found true without cacertfile, expected the authority of the clients"),
        (f"ssl {{ {FILES}\nfail_if_no_peer_cert = true }}", "3: warning: listeners.ssl.fail_if_no_peer_cert: it has no effect without verify_peer = true: clients are not asked for a certificate"),
        (f'ssl {{ cert = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/key.pem" }}', "1: warning: listeners.ssl.cert: an older spelling, read as listeners.ssl.certfile"),
        ("tcp { acceptors = 4 }", "1: warning: listeners.tcp.acceptors: unknown key, it has no effect; known keys of listeners.tcp: " + TCP_KEYS),
        ("tpc.bind = 1883", "1: warning: listeners.tpc: unknown kind of listener, nothing listens for it; did you mean listeners.tcp?"),
        ('ws.bind = "0.0.0.0:8083/a b"', '1: error: listeners.ws.bind: found "0.0.0.0:8083/a b", expected behind the port a path such as /mqtt'),
        ("ws.bind = x", f'1: error: listeners.ws.bind: found "x", {POSSIBLE_WEB}'),
        ('ws.bind = "ws://0.0.0.0:8083/mqtt"', '1: error: listeners.ws.bind: found "ws://0.0.0.0:8083", expected it without ws://: ' + POSSIBLE_WEB[9:] + '; did you mean "0.0.0.0:8083"?'),
        ("ws.a.backlog = 3", "1: error: listeners.ws.a: found no bind, " + POSSIBLE_WEB.replace("expected", "expected bind =")),
        ("ws.websocket.mqtt_path = mqtt", '1: error: listeners.ws.websocket.mqtt_path: found mqtt, expected a path such as /mqtt'),
        ('ws { bind = "8083/a", websocket.mqtt_path = "/b" }', "1: warning: listeners.ws.websocket.mqtt_path: the path /a in bind is given too and wins"),
        ("ws.websocket.check_origins = [x]", '1: error: listeners.ws.websocket.check_origins: found [x], expected a list of origins such as ["https://panel.example.com", "http://localhost:8080"]'),
        ('ws {}\nlisteners.wss.bind = "8086/mqtt"', "2: error: listeners.wss: found no certfile and no keyfile, expected both: a TLS listener cannot work without (or listeners.wss.enable = false); those of listeners.ssl would do"),
        ("tcp.max_conn_rate = 0", "1: error: listeners.tcp.max_conn_rate: found 0, expected off, or a rate such as 100/s, 6000/m, or a number a second"),
        ('tcp.max_conn_rate = "5/y"', '1: error: listeners.tcp.max_conn_rate: found "5/y", expected off, or a rate such as 100/s, 6000/m, or a number a second'),
        ('tcp.bytes_rate = "fast"', '1: error: listeners.tcp.bytes_rate: found "fast", expected off, or a rate such as 64KB/s, 1MB/m, or a number of bytes a second'),
    ],
)  # fmt: skip
def test_messages(read: Read, text: str, message: str) -> None:
    report = read("listeners." + text)
    assert read.lines(report.messages[0].file.read_text()) == [message]
    assert (report.settings is None) == (" error: " in message)


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("ws {}", "0.0.0.0", 8083, "/mqtt"),
        ('ws.bind = "0.0.0.0:8083/mqtt"', "0.0.0.0", 8083, "/mqtt"),
        ('ws.bind = "127.0.0.1:8093"', "127.0.0.1", 8093, "/mqtt"),
        ("ws.bind = 8093", "0.0.0.0", 8093, "/mqtt"),
        ('ws.bind = ":8093/"', "0.0.0.0", 8093, "/"),
        ('ws.bind = "[::]:8083/a/b-c"', "::", 8083, "/a/b-c"),
        ('ws { bind = 8083, websocket.mqtt_path = "/x" }', "0.0.0.0", 8083, "/x"),
        ('ws { bind = "8083/x", websocket { mqtt_path = "/x" } }', "0.0.0.0", 8083, "/x"),
    ],
)
def test_ws(read: Read, text: str, host: str, port: int, path: str) -> None:
    assert listeners(read, "listeners." + text) == (Listener(kind="ws", host=host, port=port, path=path),)


def test_the_settings_of_a_websocket(read: Read) -> None:
    found = listeners(
        read,
        """listeners.ws { bind = 8083
          websocket { check_origins = ["https://Panel.example.com", "http://localhost:8080"], fail_if_no_subprotocol = false }
          inside { bind = "127.0.0.1:8084/in", websocket.check_origins = "http://a, http://b" } }""",
    )
    assert found == (
        Listener(
            kind="ws", port=8083, check_origins=("https://panel.example.com", "http://localhost:8080"),
            fail_if_no_subprotocol=False,
        ),
        Listener(kind="ws", name="inside", host="127.0.0.1", port=8084, path="/in", check_origins=("http://a", "http://b")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('max_conn_rate = "100/s"', "max_conn_rate", 100.0),
        ("max_conn_rate = 100/s", "max_conn_rate", 100.0),
        ('max_conn_rate = "500/10s"', "max_conn_rate", 50.0),
        ("max_conn_rate = 0.5", "max_conn_rate", 0.5),
        ("max_conn_rate = infinity", "max_conn_rate", None),
        ("messages_rate = off", "messages_rate", None),
        ('messages_rate = "6000/m"', "messages_rate", 100.0),
        ('bytes_rate = "64KB/s"', "bytes_rate", 65536.0),
        ('bytes_rate = "1MB/m"', "bytes_rate", 17477.0),
        ("bytes_rate = 1000", "bytes_rate", 1000.0),
    ],
)
def test_rates(read: Read, text: str, field: str, value: float | None) -> None:
    (one,) = listeners(read, f"listeners.tcp {{ bind = 1883, {text} }}")
    assert getattr(one, field) == value


def test_revoked_certificates(read: Read, tmp_path: Path) -> None:
    crl = Authority(tmp_path).revoke()
    ask = (
        f'listeners.ssl {{ crlfile = "{crl}"\ncacertfile = "{CERTS}/cert.pem"\n{FILES}\nverify_peer = true }}'
    )
    (one,) = listeners(read, "listeners.tcp.enable = false\n" + ask)
    assert one.crlfile == crl
    report = read(ask.replace("true", "false"))
    assert read.lines(report.messages[0].file.read_text()) == [
        "1: warning: listeners.ssl.crlfile: it has no effect without verify_peer = true: clients show no certificate"
    ]
    crl.write_text("no list")
    report = read(ask)
    assert read.lines(report.messages[0].file.read_text()) == [
        f"1: error: listeners.ssl.crlfile: found {crl}, which is no certificate revocation list in PEM form"
    ]


def test_wss_uses_the_files_of_ssl(read: Read) -> None:
    """INTEROP 1.3: where it has none of its own, whether the ssl listener itself is open or not."""
    own = f'certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/key.pem"'
    ask = f'verify_peer = true, fail_if_no_peer_cert = true, cacertfile = "{CERTS}/cert.pem"'
    for enable in ("true", "false"):
        text = f"listeners.tcp {{}}\nlisteners.ssl {{ {own}, {ask}, enable = {enable} }}\n"
        (base,) = [one for one in listeners(read, text + "listeners.wss {}") if one.kind == "wss"]
        assert base == Listener(
            kind="wss", port=8086, certfile=CERTS / "cert.pem", keyfile=CERTS / "key.pem", verify_peer=True,
            cacertfile=CERTS / "cert.pem", fail_if_no_peer_cert=True,
        )  # fmt: skip
        named = listeners(read, text + f"listeners.wss {{ a {{ bind = 1 }}, b {{ bind = 2, {own} }} }}")
        a, b = (one for one in named if one.kind == "wss")
        assert (a.certfile, a.verify_peer) == (CERTS / "cert.pem", True)
        assert (b.certfile, b.verify_peer) == (CERTS / "cert.pem", False)
        (asks_nobody,) = [
            one for one in listeners(read, text + "listeners.wss.verify_peer = false\nlisteners.wss.fail_if_no_peer_cert = false")
            if one.kind == "wss"
        ]  # fmt: skip
        assert not asks_nobody.verify_peer


def test_a_listener_names_itself() -> None:
    assert (Listener(kind="ws").key, Listener(kind="ws").id) == ("listeners.ws", "ws:default")
    named = Listener(kind="wss", name="panel")
    assert (named.key, named.id, named.tls, named.web) == ("listeners.wss.panel", "wss:panel", True, True)


def test_a_disabled_ssl_listener_needs_no_files(read: Read) -> None:
    text = 'listeners.tcp {}\nlisteners.ssl { enable = false, certfile = "/none.pem", keyfile = "/none.pem" }'
    assert [one.kind for one in listeners(read, text)] == ["tcp"]
    assert [one.kind for one in listeners(read, "listeners.tcp {}\nlisteners.wss { enable = false }")] == [
        "tcp"
    ]
