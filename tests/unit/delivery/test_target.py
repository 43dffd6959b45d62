"""URL and headers of an endpoint: what is sent, what is refused, what is never shown."""

from __future__ import annotations

import pytest

from bridge import __version__
from bridge.config.settings import Endpoint
from bridge.delivery.target import EndpointError, Target

STORE_ID = "0123456789ab"


def make(url: str, *headers: tuple[str, str]) -> Target:
    return Target(Endpoint(name="mes", url=url, headers=headers), STORE_ID)


def lines(target: Target) -> list[str]:
    return target.head.decode().split("\r\n")


@pytest.mark.parametrize(
    ("url", "request_target", "host", "port", "authority"),
    [
        ("http://example.com", "/", "example.com", 80, "example.com"),
        ("http://example.com:80/", "/", "example.com", 80, "example.com"),
        ("https://example.com", "/", "example.com", 443, "example.com"),
        ("HTTP://Example.COM:8080/A/b?C=d&e#frag", "/A/b?C=d&e", "example.com", 8080, "example.com:8080"),
        ("http://127.0.0.1:8888?x=1", "/?x=1", "127.0.0.1", 8888, "127.0.0.1:8888"),
        ("http://[::1]:8080/x", "/x", "::1", 8080, "[::1]:8080"),
        ("http://h/a%2Fb//c/../d;p?q=%20+'", "/a%2Fb//c/../d;p?q=%20+'", "h", 80, "h"),
        ("http://h/wärme raum?q=ä", "/w%C3%A4rme%20raum?q=%C3%A4", "h", 80, "h"),
        ("http://bücher.example/", "/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example"),
        (" http://h/ ", "/", "h", 80, "h"),
    ],
)
def test_urls(url: str, request_target: str, host: str, port: int, authority: str) -> None:
    target = make(url)
    assert lines(target)[:2] == [f"POST {request_target} HTTP/1.1", f"Host: {authority}"]
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("", "scheme"),
        ("example.com/hook", "scheme"),
        ("ftp://example.com/", "scheme 'ftp'"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://h:0/", "port 0"),
        ("http://h:99999/", "range"),
        ("http://h:abc/", "abc"),
        ("http://[::1/", "IPv6"),
        ("http://a b/", "white space"),
        ("http://h/\x00", "control characters"),
        ("http://h/a\r\nX: y", "control characters"),
    ],
)
def test_urls_that_cannot_work(url: str, cause: str) -> None:
    with pytest.raises(EndpointError) as caught:
        make(url)
    assert caught.value.key == "url"
    assert cause in caught.value.cause
    assert "\n" not in str(caught.value)


def test_user_and_password_show_nowhere() -> None:
    target = make("http://us%40er:p%3Aw@h:81/path?token=abc")
    assert "Authorization: Basic dXNAZXI6cDp3" in lines(target)
    assert target.label == "http://h:81/path"
    assert "us" not in lines(target)[1]
    with pytest.raises(EndpointError) as caught:
        make("ftp://user:hunter2@h/")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(EndpointError) as caught:
        make("http://user:hunter2@h:port/")
    assert "hunter2" not in str(caught.value)


def test_defaults_and_their_order() -> None:
    assert lines(make("http://h/")) == [
        "POST / HTTP/1.1",
        "Host: h",
        "Content-Type: application/json",
        f"User-Agent: HookMQ/{__version__}",
        "webhook-id: msg_0123456789ab_",
    ]


def test_configured_headers_keep_order_and_case_and_replace_ours() -> None:
    target = make(
        "http://u:p@h/",
        ("x-Key", " v "),
        ("content-type", "text/plain"),
        ("X-KEY", ""),
        ("HOST", "other"),
        ("User-agent", "mine"),
        ("authorization", "Bearer t"),
    )
    assert lines(target) == [
        "POST / HTTP/1.1",
        "x-Key: v",
        "content-type: text/plain",
        "X-KEY: ",
        "HOST: other",
        "User-agent: mine",
        "authorization: Bearer t",
        "webhook-id: msg_0123456789ab_",
    ]
    assert target.warnings == []


@pytest.mark.parametrize(
    "name", ["Content-Length", "TRANSFER-ENCODING", "connection", "Webhook-Id", "webhook-x", "Expect"]
)
def test_headers_that_are_ours_alone_are_left_out_with_a_warning(name: str) -> None:
    target = make("http://h/", (name, "1"), ("X", "y"))
    assert name.lower() + ": 1" not in target.head.decode().lower()
    assert "X: y" in lines(target)
    assert f"headers.{name}" in target.warnings[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("a b", "x"), ("", "x"), ("a:", "x"), ("ä", "x"), ("X", "a\r\nY: z"), ("X", "a\0"), ("X", "\x7f")],
)
def test_headers_that_cannot_work(name: str, value: str) -> None:
    with pytest.raises(EndpointError) as caught:
        make("http://h/", (name, value))
    assert caught.value.key == f"headers.{name}"
    assert value not in str(caught.value) or value == "x"
