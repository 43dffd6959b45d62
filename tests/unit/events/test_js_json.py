"""JSON in JavaScript's form: what is taken and what is refused. `tests/acceptance` compares it with node."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.events.js_json import MAX_DEPTH, JsJsonError, canonical, dumps, loads, pointer


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (b' { "b" : 1.0 , "10" : -0, "2" : 1E2, "b" : [ ] } ', b'{"2":100,"10":0,"b":[]}'),
        (b'"\\u00e9\\/\\u0007\\b\\ud800"', '"é/\\u0007\\b\\ud800"'.encode()),
        (b"9007199254740992", b"9007199254740992"),
        (b"-9007199254740992.0", b"-9007199254740992"),
        (b"[1e21,0.000001,0.0000001,true,null]", b"[1e+21,0.000001,1e-7,true,null]"),
        (b'{"4294967295":1,"4294967294":2,"01":3}', b'{"4294967294":2,"4294967295":1,"01":3}'),
    ],
)
def test_the_form(text: bytes, made: bytes) -> None:
    assert canonical(text) == made
    assert canonical(text.decode()) == made


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ('{"a":[0,9007199254740993]}', ("a", 1), "found 9007199254740993, a whole number beyond 2^53"),
        ('{"a":-9007199254740994}', ("a",), "found -9007199254740994, a whole"),
        ("1" * 5000, (), "found 111111111111111111111111111111… (5000 characters), a whole"),
        ("1e17", (), "found 1e17, a whole number beyond 2^53"),
        ('{"x/y":{"~":1e400}}', ("x/y", "~"), "found 1e400, which is beyond the range of a double"),
        ("NaN", (), "not JSON: found NaN"),
        ("[-Infinity]", (), "not JSON: found -Infinity"),
        ('{"a":1,}', (), "not JSON: line 1, column "),
        ("", (), "not JSON: line 1, column 1"),
        ('"\t"', (), "not JSON: line 1, column 2"),
        (b'"\xff"', (), "not UTF-8: byte 1 is 0xff"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), (), "found more than 64 objects and arrays"),
        ('{"a":' * 65 + "1" + "}" * 65, (), "found more than 64 objects and arrays"),
        ("[" * 1_000_000, (), "found more than 64 objects and arrays"),
    ],
)
def test_what_is_refused(text: str | bytes, path: tuple[str | int, ...], problem: str) -> None:
    with pytest.raises(JsJsonError) as caught:
        loads(text)
    assert caught.value.path == path
    assert caught.value.problem.startswith(problem)
    assert str(caught.value).startswith(pointer(path))


def test_the_bound_itself_is_taken() -> None:
    text = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert canonical(text) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1 << 60, {1}, {"a": b"x"}])
def test_what_has_no_form(value: Any) -> None:
    with pytest.raises(JsJsonError):
        dumps(value)


def test_a_pointer() -> None:
    assert pointer(["a/b", 0, "~"]) == "/a~1b/0/~0"
    assert pointer([]) == ""
