"""Where secrets come from, and the forms of Standard Webhooks."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.config.mask import effective
from bridge.config.secret import SecretError, check_standard, file_of, is_standard, resolve, reveal
from bridge.config.settings import Secret
from tests.unit.config.conftest import Read


def test_a_given_one() -> None:
    assert reveal(Secret(value=SecretStr(" s3cret\n"))) == " s3cret\n"


def test_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_X", "s3cret")
    assert reveal(Secret(env="HOOK_X")) == "s3cret"
    assert reveal(Secret(env="HOOK_X"), {"HOOK_X": "other"}) == "other"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret\n\n", "s3cret\n"),
        (b"s3cret\r", "s3cret\r"),
        (b" s3cret ", " s3cret "),
        ("\ufeffsöcret\n".encode(), "söcret"),
    ],
)
def test_from_a_file(tmp_path: Path, content: bytes, secret: str) -> None:
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "f")
    assert reveal(Secret(file=tmp_path / "f")) == secret
    assert reveal(Secret(file=tmp_path / "link")) == secret


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"s\xf6cret")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "big").write_bytes(b"x" * 65537)
    os.mkfifo(tmp_path / "pipe")
    for name, text in (
        ("none", f"cannot read {tmp_path}/none: No such file or directory"),
        ("latin", f"{tmp_path}/latin is not UTF-8 text"),
        ("empty", f"the file {tmp_path}/empty is empty"),
        ("big", f"{tmp_path}/big is larger than 64KB, which no secret is"),
        ("pipe", f"cannot read {tmp_path}/pipe: not a regular file"),
        (".", f"cannot read {tmp_path}: not a regular file"),
        ("empty/x", f"cannot read {tmp_path}/empty/x: Not a directory"),
    ):
        with pytest.raises(SecretError) as e:
            reveal(Secret(file=tmp_path / name))
        assert (str(e.value), e.value.source) == (text, "file")
    for env, text in (
        ("GONE", "the environment variable GONE is not set"),
        ("EMPTY", "the environment variable EMPTY is empty"),
        ("BYTES", "the environment variable BYTES is not UTF-8 text"),
    ):
        with pytest.raises(SecretError) as e:
            reveal(Secret(env=env), {"EMPTY": "", "BYTES": "s\udcf6cret"})
        assert (str(e.value), e.value.source) == (text, "env")


def test_exactly_one_of_the_three() -> None:
    with pytest.raises(SecretError, match="found nothing, expected one of value, env and file"):
        reveal(Secret())
    with pytest.raises(SecretError, match="found value and env, expected one of"):
        reveal(Secret(value=SecretStr("h1dden"), env="X"))


def encoded(size: int) -> str:
    return b64encode(bytes(range(size))).decode()


@pytest.mark.parametrize(
    "text",
    [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        f"whsec_{encoded(24)}",
        f"whsec_{encoded(64)}",
        f"whsk_{encoded(32)}",
        f"whsk_{encoded(64)}",
    ],
)
def test_forms_of_standard_webhooks(text: str) -> None:
    check_standard(text)
    assert is_standard(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"whsec_{encoded(23)}", "whsec_ is followed by the base64 of 23 bytes, expected 24 to 64"),
        (f"whsec_{encoded(65)}", "whsec_ is followed by the base64 of 65 bytes, expected 24 to 64"),
        ("whsec_", "whsec_ is followed by the base64 of 0 bytes, expected 24 to 64"),
        (f"whsk_{encoded(33)}", "whsk_ is followed by the base64 of 33 bytes, expected an ed25519 key of"),
        (f"whsec_{encoded(25)[:-1]}", "what follows whsec_ is not base64"),
        (f"whsec_{encoded(24)} ", "what follows whsec_ is not base64"),
        (f"whsec_{encoded(24)[:-1]}_", "what follows whsec_ is not base64"),
        ("whsec_é" + encoded(24), "what follows whsec_ is not base64"),
        (f"whpk_{encoded(32)}", "it begins with whpk_: that is the receivers' public key, expected whsk_"),
        ("h1dden", "it begins with neither whsec_ nor whsk_, expected whsec_ and the base64 of 24 to 64"),
    ],
)
def test_what_cannot_sign_as_standard(text: str, wrong: str) -> None:
    with pytest.raises(SecretError) as e:
        check_standard(text)
    assert str(e.value).startswith(wrong)
    assert text.partition("_")[2] not in str(e.value) or text in ("whsec_", "h1dden")
    assert "h1dden" not in str(e.value)


def test_a_url_of_a_file(tmp_path: Path) -> None:
    """EMQX's way, good for every secret: those that are read at once, and those that are kept as a place."""
    path = tmp_path / "a secret"
    path.write_text("s3cret\n")
    assert file_of(f"file://{path}") == path
    assert resolve(f"file://{path}") == "s3cret"
    for text in ("s3cret", "file:/x", "File:///x", "file://", "http://x"):
        assert file_of(text) is None
        assert resolve(text) == text
    for wrong in (tmp_path / "nothing", tmp_path):
        with pytest.raises(SecretError, match="cannot read"):
            resolve(f"file://{wrong}")


def test_secrets_of_the_file_by_url(read: Read, tmp_path: Path) -> None:
    for name in ("user", "key", "admin", "hook", "token"):
        (tmp_path / name).write_text(f"{name}-secret\n")
    url = f"file://{tmp_path}"
    report = read(
        f'''
        auth.password {{ "line7" : "{url}/user", "plain" : "text" }}
        http_server {{ username = admin, password = "{url}/admin" }}
        webhook {{
          url = "https://h", events = [ {{ event = on_client_ping }} ]
          signature = mes, secret = "{url}/hook"
          credentials {{ kind = bearer, token = "{url}/token" }}
          ssl {{ key_password = "{url}/key" }}
        }}
        '''
    )
    assert report.errors == []
    settings = report.settings
    assert settings is not None
    assert {user: secret.get_secret_value() for user, secret in settings.auth.password} == {
        **{"line7": "user-secret", "plain": "text"}
    }
    assert settings.http_server is not None
    assert settings.http_server.password is not None
    assert reveal(settings.http_server.password) == "admin-secret"
    (endpoint,) = settings.webhooks
    assert reveal(endpoint.secrets[0]) == "hook-secret"
    assert endpoint.credentials is not None
    assert endpoint.credentials.token is not None
    assert reveal(endpoint.credentials.token) == "token-secret"
    assert endpoint.tls is not None
    assert endpoint.tls.key_password is not None
    assert endpoint.tls.key_password.get_secret_value() == "key-secret"
    assert "-secret" not in effective(settings)


def test_a_file_that_cannot_be_read(read: Read) -> None:
    assert read.lines('auth.password { "u" : "file:///no/such" }') == [
        "1: error: auth.password.u: cannot read /no/such: No such file or directory"
    ]
    (line,) = read.lines(
        'webhook { url = "http://h", events = [ { event = on_client_ping } ]\n'
        'ssl.key_password = "file:///no/such" }'
    )
    assert line.startswith("2: error: webhook.ssl.key_password: ")
    assert line.endswith(
        "expected a secret that can be read: cannot read /no/such: No such file or directory"
    )
