"""The `http_server` block: NanoMQ's keys, and what cannot work or would be open to everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.mask import effective
from bridge.config.settings import HttpServer
from tests.unit.config.conftest import Read, shown


def server(read: Read, text: str, env: dict[str, str] | None = None) -> HttpServer | None:
    report = read(text, env or {})
    assert shown(report) == []
    assert report.settings is not None
    return report.settings.http_server


def test_there_is_none_without_the_block_or_switched_off(read: Read) -> None:
    assert server(read, "mqtt {}") is None
    assert server(read, "http_server { enable = false, auth_type = no_auth, ip_addr = 0.0.0.0 }") is None


def test_the_defaults(read: Read) -> None:
    found = server(read, "http_server {}")
    assert found == HttpServer()
    assert found is not None
    assert (found.host, found.port, found.loopback) == ("127.0.0.1", 8081, True)


def test_nanomq_s_own_block(read: Read) -> None:
    found = server(
        read,
        """http_server {
          port = 8082, limit_conn = 2, username = admin, password = public, auth_type = basic
          jwt { public.keyfile = "/etc/certs/jwt/jwtRS256.key.pub" }
        }""",
    )
    assert found is not None
    assert (found.port, found.limit_conn, found.username) == (8082, 2, "admin")
    assert found.public_keyfile == Path("/etc/certs/jwt/jwtRS256.key.pub")  # not read: auth_type is basic
    assert found.password is not None
    assert found.password.value is not None
    assert found.password.value.get_secret_value() == "public"


def test_a_password_from_the_environment(read: Read) -> None:
    text = "http_server { username = admin, password = { env = ADMIN } }"
    assert server(read, text, {"ADMIN": "s3cret"}) is not None
    assert "the environment variable ADMIN is not set" in shown(read(text, {}))[0]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("auth_type = no_auth, ip_addr = 0.0.0.0", "found no_auth, and ip_addr is 0.0.0.0"),
        ("auth_type = no_auth, ip_addr = 192.168.7.1", "found no_auth, and ip_addr is 192.168.7.1"),
        ('auth_type = no_auth, ip_addr = "::"', "found no_auth, and ip_addr is ::"),
        ("username = admin", "http_server.password: found none beside username"),
        ("password = s3cret", "http_server.username: found none beside password"),
        ('username = "a:b", password = s3cret', "found a colon"),
        ("auth_type = jwt", "http_server.jwt.public.keyfile: found none"),
        ('auth_type = jwt, jwt.public.keyfile = "/none/at/all"', "cannot read /none/at/all"),
        ("ip_addr = example.com", "expected an IP address"),
        ("auth_type = digest", "expected basic, jwt or no_auth"),
        ("limit_conn = 0", "expected a whole number from 1 to 4096"),
    ],
)
def test_what_cannot_be(read: Read, block: str, text: str) -> None:
    report = read(f"http_server {{ {block} }}")
    assert report.settings is None
    assert len(report.errors) == 1
    assert text in str(report.errors[0])
    assert "s3cret" not in str(report.errors[0])


def test_no_auth_on_the_machine_itself(read: Read) -> None:
    for address in ("127.0.0.1", "localhost", '"::1"', "127.8.8.8"):
        found = server(read, f"http_server {{ auth_type = no_auth, ip_addr = {address} }}")
        assert found is not None
        assert found.loopback


def test_a_password_that_everybody_knows(read: Read) -> None:
    report = read("http_server { ip_addr = 0.0.0.0, username = admin, password = public }")
    assert report.errors == []
    assert [message.key for message in report.warnings] == ["http_server.password"]


def test_a_key_that_is_no_public_key(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for text, error in (("-----BEGIN PRIVATE KEY-----", "holds a private key"), ("x", "no PEM public key")):
        path.write_text(text)
        report = read(f'http_server {{ auth_type = jwt, jwt.public.keyfile = "{path}" }}')
        assert error in str(report.errors[0])


CERTS = Path(__file__).parents[2] / "fixtures" / "conf" / "certs"


def test_https(read: Read) -> None:
    report = read(f'http_server {{ certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/key.pem" }}')
    assert shown(report) == []
    assert report.settings is not None
    server = report.settings.http_server
    assert server is not None
    assert (server.certfile, server.keyfile) == (CERTS / "cert.pem", CERTS / "key.pem")
    assert f'certfile = "{CERTS}/cert.pem"' in effective(report.settings)


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (f'keyfile = "{CERTS}/key.pem"', "found it without a certificate, expected http_server.certfile too"),
        ('certfile = "/no/such.pem"', "cannot read /no/such.pem"),
        (f'certfile = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/other-key.pem"', "does not belong to"),
        (f'certfile = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/key-encrypted.pem"', "key_password is missing"),
    ],
)
def test_https_that_cannot_work(read: Read, inside: str, text: str) -> None:
    (line,) = read.lines(f"http_server {{\n{inside}\n}}")
    assert "error: http_server." in line
    assert text in line
