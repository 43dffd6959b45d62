"""Basic and bearer credentials: the header, what is stronger, what cannot work, and that nothing shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import Credentials, Endpoint, Secret
from bridge.delivery.target import EndpointError, Target


def make(url: str = "http://h/", headers: tuple[tuple[str, str], ...] = (), **credentials: Any) -> Target:
    endpoint = Endpoint(name="erp", url=url, headers=headers, credentials=Credentials(**credentials))
    return Target(endpoint, "0123456789ab")


def authorization(target: Target) -> list[str]:
    lines = target.head.decode().split("\r\n")
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization:")]


def secret(text: str) -> Secret:
    return Secret(value=text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("username", "password", "value"),
    [
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 section 2
        ("test", "123\u00a3", "Basic dGVzdDoxMjPCow=="),  # section 2.1, in UTF-8
        ("u", "a:b", "Basic dTphOmI="),
    ],
)
def test_basic(username: str, password: str, value: str) -> None:
    target = make(kind="basic", username=username, password=secret(password))
    assert authorization(target) == [value]


def test_basic_without_a_password() -> None:
    assert authorization(make(kind="basic", username="key-as-user")) == ["Basic a2V5LWFzLXVzZXI6"]


def test_bearer_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("mF_9.B5f-4.1JqM\n")
    target = make(kind="bearer", token=Secret(file=path))
    assert authorization(target) == ["Bearer mF_9.B5f-4.1JqM"]
    assert target.head.endswith(b"\r\nwebhook-id: msg_0123456789ab_")


def test_credentials_are_stronger_than_the_url_and_weaker_than_a_header() -> None:
    target = make("http://u:p@h/", kind="bearer", token=secret("abcdef"))
    assert authorization(target) == ["Bearer abcdef"]
    target = make(headers=(("authorization", "Custom x"),), kind="bearer", token=secret("abcdef"))
    assert authorization(target) == ["Custom x"]
    assert target.warnings == ["webhook erp: credentials have no effect beside headers.Authorization"]


@pytest.mark.parametrize(
    ("credentials", "key"),
    [
        ({"kind": "basic"}, "username"),
        ({"kind": "basic", "username": "a:b"}, "username"),
        ({"kind": "basic", "username": "a\r\nb"}, "username"),
        ({"kind": "basic", "username": "a", "password": secret("hunter2\r\nX: y")}, "password"),
        ({"kind": "basic", "username": "a", "password": Secret(env="NO_SUCH_VARIABLE_IS_SET")}, "password"),
        ({"kind": "bearer"}, "token"),
        ({"kind": "bearer", "token": secret("hunter2 hunter2")}, "token"),
        ({"kind": "bearer", "token": secret("hunter2\r\nX: y")}, "token"),
        ({"kind": "bearer", "token": secret("hünter2")}, "token"),
        ({"kind": "bearer", "token": Secret(file=Path("/nonexistent"))}, "token"),
    ],
)
def test_what_cannot_work(credentials: dict[str, Any], key: str) -> None:
    with pytest.raises(EndpointError) as caught:
        make(**credentials)
    assert caught.value.key == f"credentials.{key}"
    assert "unter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_receiver_echoes_is_masked() -> None:
    target = make(kind="basic", username="Aladdin", password=secret("open sesame"))
    echo = "you sent Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, that is Aladdin and open sesame"
    assert target.scrub(echo) == "you sent Basic ***, that is Aladdin and ***"
    target = make(kind="bearer", token=secret("mF_9.B5f-4.1JqM"))
    assert target.scrub("Bearer mF_9.B5f-4.1JqM") == "Bearer ***"
    assert "mF_9" not in target.label


def test_tokens_of_the_moment_are_masked_and_forgotten() -> None:
    target = make(kind="bearer", token=secret("abcdef"))
    for number in range(10):
        target.hide_token(f"token-{number:03}")
    assert target.scrub("token-009 token-008 token-000") == "*** *** token-000"
    target.hide("tok")  # too short to be masked everywhere
    assert target.scrub("tok") == "tok"
    target.hide("token-009-and-more")  # the longer one first, lest its rest shows
    assert target.scrub("token-009-and-more") == "***"
