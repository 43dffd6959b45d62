"""W3C Trace Context: what is valid, what is taken for absent, and what can stand in the head of a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.telemetry.trace_context import (
    MAX_STATE,
    context,
    into_request,
    of_pairs,
    parent_of,
    state_of,
    to_pairs,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, GOOD),
        (f" {GOOD}\t", GOOD),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-ff"),
        (f"01-{TRACE}-{SPAN}-03", GOOD),  # a later version: what this one knows of it
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", GOOD),
        (f"ff-{TRACE}-{SPAN}-01", None),  # forbidden
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"cc-{TRACE}-{SPAN}-01.more", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (GOOD.upper(), None),
        (GOOD[:-1], None),
        (f"{GOOD}\r\nEvil: 1", None),
        (f"{GOOD}\n", None),
        ("", None),
        (f"cc-{TRACE}-{SPAN}-01-" + "x" * 1000, None),
    ],
)
def test_a_parent(text: str, expected: str | None) -> None:
    assert parent_of(text) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["rojo=1,congo=2"], "rojo=1,congo=2"),
        (["rojo=1", " congo=2 ,"], "rojo=1,congo=2"),
        (["tenant@vendor=x y"], "tenant@vendor=x y"),
        (["Rojo=1"], ""),
        (["rojo"], ""),
        (["rojo=1\r\nEvil: 1"], ""),
        (["a=" + "é"], ""),
        ([",".join(f"k{n}=v" for n in range(33))], ""),
        ([], ""),
    ],
)
def test_a_state(texts: list[str], expected: str) -> None:
    assert state_of(texts) == expected


def test_what_is_too_long_loses_its_long_members_first_and_then_the_last() -> None:
    long, short = "long=" + "x" * 200, [f"k{n}=" + "y" * 50 for n in range(10)]
    kept = state_of([",".join([short[0], long, *short[1:]])])
    assert len(kept) <= MAX_STATE
    assert kept == ",".join(short[:9])


def test_user_properties() -> None:
    assert of_pairs([("a", "b")]) is None
    assert of_pairs([("a", "b"), ("traceparent", GOOD)]) == GOOD
    assert (
        of_pairs([("tracestate", "x=1"), ("traceparent", GOOD), ("tracestate", "y=2")]) == f"{GOOD} x=1,y=2"
    )
    assert of_pairs([("traceparent", GOOD)] * 2) is None
    assert of_pairs([("tracestate", "x=1")]) is None
    assert of_pairs([("Traceparent", GOOD)]) is None  # names of properties have a case


def test_in_a_request() -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na\r\n\r\nb"
    made = into_request(request, f"{GOOD} x=1 2,y=2")
    lines = f"\r\ntraceparent: {GOOD}\r\ntracestate: x=1 2,y=2".encode()
    head = request.index(b"\r\n\r\n")
    assert made == request[:head] + lines + request[head:]
    assert made.replace(lines, b"") == request


@given(st.lists(st.text(max_size=80), max_size=3), st.lists(st.text(max_size=80), max_size=3))
def test_nothing_else_ever_comes_of_it(parents: list[str], states: list[str]) -> None:
    found = context([*parents, GOOD][:1], states)
    if found is not None:
        assert found.isprintable()
        assert found.isascii()
        assert all("\n" not in value for _, value in to_pairs(found))
