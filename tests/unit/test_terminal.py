"""What `hookmq listen` prints of a request: readable, and harmless whatever a payload holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.terminal import MAX_SHOWN_CHARACTERS, Renderer, Request, escape


def request(body: bytes = b"", headers: list[tuple[str, str]] | None = None, target: str = "/") -> Request:
    made = Request()
    made.method, made.target, made.body = "POST", target, body
    made.headers = [] if headers is None else headers
    return made


def render(made: Request, **options: object) -> str:
    return Renderer(**options).request(made, 200, 0.0012)  # type: ignore[arg-type]


def test_one_block() -> None:
    text = render(
        request(
            b'{"ts":1}',
            [("Host", "x"), ("content-type", "application/json"), ("webhook-id", "msg_1")],
        )
    )
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d POST /  200  1 ms\n"
        r'  content-type: application/json\n  webhook-id: msg_1\n\{"ts":1\}\n',
        text,
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("\x1b[2Jx", "\\u001b[2Jx"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x7f\x9b31m", "\\u007f\\u009b31m"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028", "\\u2028"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.binary(max_size=300), st.text(max_size=50), st.text(max_size=50), st.booleans())
def test_nothing_that_a_terminal_acts_on_is_printed(
    body: bytes, target: str, value: str, pretty: bool
) -> None:
    text = render(request(body, [("webhook-id", value)], target), pretty=pretty)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    if not pretty:
        # A body is one line: it cannot imitate the lines of another request.
        assert text.count("\n") == 2 + (body != b"")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_colors_change_no_character_of_json(value: object) -> None:
    import json

    made = request(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    colored = render(made, color=True, headers=())
    assert re.sub(r"\x1b\[\d+m", "", colored) == render(made, headers=())


def test_json_is_coloured_and_pretty() -> None:
    text = render(request(b'{"key":["text",-1.5e3,true]}'), color=True, pretty=True)
    body = text.split("\n", 1)[1]
    assert body == (
        '{\n  \x1b[34m"key"\x1b[0m: [\n    \x1b[32m"text"\x1b[0m,\n    \x1b[35m-1.5e3\x1b[0m,\n'
        "    \x1b[33mtrue\x1b[0m\n  ]\n}\n"
    )


@pytest.mark.parametrize(
    "body", [b"x" * 200_000, b"\xff" * 200_000, b'["' + b"y" * 200_000 + b'"]', b"[" * 100_000]
)
def test_a_long_body_is_cut(body: bytes) -> None:
    for options in ({}, {"color": True}, {"pretty": True}):
        text = render(request(body), **options)
        assert len(text) < 5 * MAX_SHOWN_CHARACTERS
        assert f"cut here; the body has {len(body):,} bytes" in text


def test_headers_are_chosen() -> None:
    headers = [("Authorization", "Bearer abc"), ("X-One", "1"), ("Webhook-Id", "m")]
    assert render(request(headers=headers), headers=["x-one"]).split("\n")[1:] == ["  X-One: 1", ""]
    assert render(request(headers=headers), headers=()).count("\n") == 1
    everything = render(request(headers=headers), headers=["*"])
    assert "X-One: 1" in everything
    assert "abc" not in everything


def test_line_breaks_between_tokens_of_json_go_away() -> None:
    assert render(request(b'{\n "a": 1\n}')).split("\n")[1:] == ['{"a":1}', ""]
