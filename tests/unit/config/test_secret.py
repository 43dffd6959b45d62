"""Where secrets come from, and the forms of Standard Webhooks."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.config.secret import SecretError, check_standard, is_standard, reveal
from bridge.config.settings import Secret


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
