"""Placeholders in the request target and in headers: no value changes what a head means."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.config.settings import BatchPolicy, Endpoint
from bridge.events.event import EventType
from bridge.events.formats import TemplateError, check_header, check_template, is_detailed, make_format
from bridge.events.head import MAX_VALUE, cloudevents_value, header_value
from tests.unit.events.emqx_samples import sample


def fill(url: str, *headers: tuple[str, str], topic: str = "t/1", **changed: object) -> tuple[bytes, bytes]:
    made = make_format(Endpoint(url=url, headers=headers)).fill
    assert made is not None
    return made(7, sample(EventType.MESSAGE_PUBLISH, topic=topic, **changed))


def target(url: str, topic: str = "t/1", **changed: object) -> bytes:
    return fill(url, topic=topic, **changed)[0]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://h/a/${clientid}/b", b"/a/emqx_c/b"),
        ("http://h/${topic}", b"/t%2F1"),
        ("https://u:p@[::1]:8/x%20y/ä/${clientid}-${qos}?t=${topic}&q", b"/x%20y/%C3%A4/emqx_c-1?t=t%2F1&q"),
        ("http://h?t=${topic}", b"/?t=t%2F1"),
        ("http://h/?a/../b=${qos}/..", b"/?a/../b=1/.."),
        ("http://h/${qos}#part", b"/1"),
        ("http://h/${payload.msg}/${payload.none}", b"/Hello%20Webhook/undefined"),
        ("http://h//${qos}/", b"//1/"),
        ("http://h/x?a=${payload}", b"/x?a=%7B%20%22msg%22%3A%20%22Hello%20Webhook%22%20%7D"),
        ("http://h/a?u=http://x/?y=${qos}", b"/a?u=http://x/?y=1"),
    ],
)
def test_targets(url: str, found: bytes) -> None:
    assert target(url) == found


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("..", b"/a/%252E%252E/b"),
        (".", b"/a/%252E/b"),
        ("...", b"/a/.../b"),
        ("%2e%2E", b"/a/%252e%252E/b"),
        ("../..", b"/a/..%2F../b"),
        ("..;x", b"/a/..%3Bx/b"),
        ("", b"/a/undefined/b"),
        ("a?b#c", b"/a/a%3Fb%23c/b"),
        (" \r\nX: y", b"/a/%20%0D%0AX%3A%20y/b"),
        ("wärme\\", b"/a/w%C3%A4rme%5C/b"),
    ],
)
def test_a_value_is_one_segment(topic: str, found: bytes) -> None:
    assert target("http://h/a/${topic}/b", topic) == found


def test_a_dot_segment_cannot_be_put_together() -> None:
    assert target("http://h/${topic}${topic}/b", ".") == b"/%252E%252E/b"
    assert target("http://h/.${topic}/b", ".") == b"/%252E%252E/b"
    assert target("http://h/%2e${topic}/b", ".") == b"/%252E%252E/b"
    assert target("http://h/${topic};v=1/b", "..") == b"/%252E%252E;v=1/b"
    assert target("http://h/../${qos}", ".") == b"/../1"  # what the URL says itself stays


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NASTY = st.text(st.sampled_from("./\\%2eE?#;:@& \r\n\t\0é\x7f"), max_size=12)


@given(TEXT | NASTY, TEXT | NASTY)
@example(".", ".")
def test_any_value_comes_back_and_adds_nothing(first: str, second: str) -> None:
    made = target("http://h/a/${topic}/${clientid}?x=${topic}&y=${clientid}", first, clientid=second)
    assert re.fullmatch(rb"[!-~]+", made)
    parts = urlsplit("http://h" + made.decode())
    segments = parts.path.split("/")
    assert segments[:2] == ["", "a"]
    for segment, value in zip(segments[2:], (first, second), strict=True):
        assert unquote(segment) not in (".", "..", "")
        if value in (".", ".."):
            assert unquote(unquote(segment)) == value
        else:
            assert unquote(segment) == (value or "undefined")
    names = [pair.split("=") for pair in parts.query.split("&")]
    assert [(name, unquote(value)) for name, value in names] == [("x", first), ("y", second)]


def test_a_target_is_never_cut() -> None:
    assert target("http://h/${topic}", "x" * MAX_VALUE) == b"/" + b"x" * MAX_VALUE
    for topic in ("x" * (MAX_VALUE + 1), "ä" * (MAX_VALUE // 6 + 1)):
        with pytest.raises(
            ValueError, match=r"\$\{topic\} has \d+ characters as the URL has them; expected 4096"
        ):
            target("http://h/${topic}", topic)


# -- headers -----------------------------------------------------------------------------------------------


def test_header_lines() -> None:
    made = fill(
        "http://h/x?y",
        ("X-Fixed", "1"),
        ("X-Client", " a ${clientid} b "),
        ("x-topic", "${topic};${payload.msg}"),
        ("X-None", "${username}"),
        ("X-Dollar", "${$}5"),
        username=None,
    )
    assert made == (
        b"/x?y",
        b"\r\nX-Client: a emqx_c b\r\nx-topic: t/1;Hello Webhook\r\nX-None: undefined\r\nX-Dollar: $5",
    )


def test_a_header_of_a_value_is_bounded_and_whole() -> None:
    for sign in ("x", "ä", "😀", "%"):
        made = header_value(sign * 10000)
        assert MAX_VALUE - 12 < len(made) <= MAX_VALUE
        assert set(unquote(made, errors="strict")) == {sign}


class _Lines:
    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name, value))


@given(TEXT | NASTY, TEXT | NASTY)
@example("a\r\nX-Evil: 1", " ")
def test_any_value_stays_in_its_line(topic: str, clientid: str) -> None:
    where, lines = fill(
        "http://h/${topic}", ("X-A", "${topic}"), ("X-B", "${clientid}"), topic=topic, clientid=clientid
    )
    reader = _Lines()
    parser = httptools.HttpRequestParser(reader)
    parser.feed_data(b"POST %b HTTP/1.1\r\nHost: h%b\r\n\r\n" % (where, lines))
    assert [name for name, _ in reader.found] == [b"Host", b"X-A", b"X-B"]
    values = [value.decode("ascii") for _, value in reader.found[1:]]
    assert [unquote(value) for value in values] == [topic, clientid]


@given(TEXT | NASTY)
def test_cloudevents_values(text: str) -> None:
    made = cloudevents_value(text)
    assert re.fullmatch(r"[!-~]*", made)
    assert '"' not in made
    assert unquote(made) == text
    assert cloudevents_value("Euro € 😀") == "Euro%20%E2%82%AC%20%F0%9F%98%80"  # the specification's example


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "at", "message"),
    [
        ("http://${clientid}/x", 7, "stands before the path"),
        ("http://h:${qos}/x", 9, "stands before the path"),
        ("http://${username}:p@h/x", 7, "stands before the path"),
        ("${clientid}://h/x", 0, "stands before the path"),
        ("/x/${clientid}", 0, "expected http://"),
        ("http://h/x#${qos}", 11, "behind `#`"),
        ("http://h/${$}", 9, "is written %24"),
        ("http://h/${nope}", 9, "unknown field nope"),
        ("http://h/${qos", 9, "without its `}`"),
    ],
)
def test_a_url_that_cannot_work(url: str, at: int, message: str) -> None:
    for attempt in (lambda: check_template(url, "url"), lambda: make_format(Endpoint(url=url))):
        with pytest.raises(TemplateError) as found:
            attempt()
        assert message in str(found.value)
        assert found.value.at == at


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Host", "webhook-id", "Connection"])
def test_headers_that_a_clients_data_must_not_be_in(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot have placeholders"):
        make_format(Endpoint(url="http://h/", headers=((name, "${qos}"),)))
    with pytest.raises(ValueError, match=name):
        check_header(name)
    check_header("Authorization")


def test_a_batch_has_one_head() -> None:
    with pytest.raises(ValueError, match="cannot go with a batch"):
        make_format(Endpoint(url="http://h/", headers=(("a", "${qos}"),), batch=BatchPolicy()))


def test_what_differs_not_is_not_filled() -> None:
    assert make_format(Endpoint(url="http://h/$x/{y}", headers=(("a", "$5 {b}"),))).fill is None


@pytest.mark.parametrize(
    ("given_", "detailed"),
    [
        ({}, False),
        ({"format": "emqx"}, True),
        ({"format": "template"}, True),
        ({"format": "cloudevents"}, True),
        ({"where": "qos > 0"}, True),
        ({"url": "http://h/${qos}"}, True),
        ({"headers": (("a", "${qos}"),)}, True),
        ({"headers": (("a", "b"),), "exclude": ("ts",)}, False),
    ],
)
def test_who_needs_details(given_: dict[str, object], detailed: bool) -> None:
    assert is_detailed(Endpoint(**({"url": "http://h/"} | given_))) is detailed
