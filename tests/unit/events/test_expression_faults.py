"""Faults in a condition, each at its place; and texts that no parser should trip over."""

from __future__ import annotations

import time

import pytest

from bridge.events.expression import ExpressionError, compile_condition
from bridge.events.expression_tree import MAX_DEPTH, MAX_LENGTH, MAX_NODES

FAULTS = [
    # text, column, a part of the message
    ("payload.temp >> 80", 14, "found `>>`, expected a value"),
    ("", 1, "found the end, expected a value"),
    ("   ", 1, "found the end, expected a value"),
    ("qos =", 6, "found the end, expected a value"),
    ("qos = 1 and", 12, "found the end, expected a value"),
    ("(qos = 1", 9, "found the end, expected and, or or `)`"),
    ("qos = 1)", 8, "found `)`, expected and, or or the end"),
    ("qos = 1 = 2", 9, "found `=`, expected and, or or the end"),
    ("0 < qos < 2", 9, "found `<`, expected and, or or the end"),
    ("qos 1", 5, "found `1`, expected an operator"),
    ("qos === 1", 5, "found `===`, expected a value"),
    ("qos like 'x'", 5, "found `like`, expected an operator"),
    ("qos @ 1", 5, "found `@`, expected an operator"),
    ("qos & 1", 5, "found `&`, expected an operator"),
    ("= 1", 1, "found `=`, expected a value"),
    ("qos in 5", 8, "found `5`, expected `(` or `[`"),
    ("qos in ()", 9, "found `)`, expected a number, a text in quotes, true, false or null"),
    ("qos in (1", 10, "found the end, expected `,` or `)`"),
    ("qos in (qos)", 9, "found `qos`, expected a number"),
    ("qos not 5", 9, "found `5`, expected `in`"),
    ("topic =~ topic", 10, "found `topic`, expected a topic filter in quotes"),
    ("topic =~ 'a/#/b'", 10, "found 'a/#/b', expected a topic filter of MQTT"),
    ("topic !~ 'a+'", 10, "found 'a+', expected a topic filter of MQTT"),
    ("topic =~ ''", 10, "expected a topic filter of MQTT"),
    ("'a' =~ 'a'", 1, "found a text, expected a field"),
    ("qos =~ 'a'", 1, "found a number, expected a field"),
    ("'abc", 1, "found a text that does not end, expected ' at its end"),
    ("clientid = \"abc'", 12, 'found a text that does not end, expected " at its end'),
    (r"clientid = 'a\x'", 14, r"found \x, expected one of \\"),
    (r"clientid = 'a\ud83d'", 12, "found half of a surrogate pair"),
    ("payload. = 1", 10, "found `=`, expected a name or a key in quotes"),
    ("payload.5 = 1", 9, "found `5`, expected a name or a key in quotes"),
    ("payload[x] = 1", 9, "found `x`, expected a key in quotes or a position"),
    ("payload[1.5] = 1", 9, "found the position 1.5, expected a whole number"),
    ("length(", 8, "found the end, expected a value or `)`"),
    ("length(payload topic)", 16, "found `topic`, expected an operator"),
    ("length() > 1", 1, "found 0 arguments of length, expected length(text)"),
    ("contains(topic) ", 1, "found 1 arguments of contains, expected contains(text, part)"),
    ("lenght(payload) > 1", 1, "did you mean length?"),
    ("exists(1)", 1, "found no single field in exists(…)"),
    ("exists(lower(topic))", 1, "found no single field in exists(…)"),
    ("clientId = 'x'", 1, "did you mean clientid"),
    ("usrname = 'x'", 1, "did you mean username"),
    ("temp > 8", 1, "payload.temp for a member of a JSON payload"),
    ("retain", 1, "found the field retain, expected flags.retain"),
    ("qos > 0 and conn_ack = 'x'", 13, "expected reason_code"),
    ("payload.odd-key = 1", 13, "found the field key"),
    ("event = 'message.publsh'", 9, "did you mean message.publish?"),
    ("event in ('message.publish', 'x')", 30, "found the event 'x', expected one of client.connect"),
    ("topic.x = 1", 1, "found topic.x, but topic is a text and has no members"),
    ("qos[0] = 1", 1, "but qos is a number"),
    ("flags.x", 1, "found flags.x, expected one of flags.retain, flags.dup"),
    ("flags.retain.x", 1, "expected one of flags.retain, flags.dup"),
    ("qos", 1, "found a number, expected a condition"),
    ("'a'", 1, "found a text, expected a condition"),
    ("null", 1, "found null, expected a condition"),
    ("qos = 1 and topic", 13, "found a text, expected a condition"),
    ("not qos", 5, "found a number, expected a condition"),
    ("qos + 1 or true", 1, "found a number, expected a condition"),
    ("qos = '1'", 1, "found a comparison of a number with a text"),
    ("flags.retain = 1", 1, "found a comparison of true or false with a number"),
    ("flags.retain < true", 1, "found < with true or false, expected = or !="),
    ("qos < null", 1, "found < with null, expected = null or != null"),
    ("qos in (1, 'a')", 12, "found a text, expected a number as on the left; number(…)"),
    ("topic + 1 = 2", 1, "found a text, expected a number; number(…)"),
    ("qos + true = 2", 7, "found true or false, expected a number"),
    ("qos + null = 2", 7, "found null, expected a number"),
    ("lower(qos) = 'a'", 7, "found a number, expected a text"),
    ("topic_level(topic, 'a') = 'a'", 20, "found a text, expected a number"),
    ("qos = 99999999999999999999", 7, "found the number 99999999999999999999, expected one below 2^63"),
    ("qos = 1e999", 7, "found the number 1e999, expected one below 1.8e308"),
    ("qos = 1 ; drop", 9, "found `;`, expected and, or or the end"),
    ("__import__('os')", 1, "found the function __import__, expected one of contains"),
    ("().__class__", 2, "found `)`, expected a value"),
    ("payload.a := 1", 11, "found `:`, expected an operator"),
    ("qos = 1\0", 8, "expected and, or or the end"),
    ("\ud800", 1, "expected a value"),
]


@pytest.mark.parametrize(("text", "column", "part"), FAULTS, ids=[repr(text) for text, _, _ in FAULTS])
def test_a_fault_and_its_place(text: str, column: int, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition(text)
    assert part in caught.value.message
    assert (caught.value.line, caught.value.column) == (1, column)
    assert str(caught.value) == f"at column {column}: {caught.value.message}"


def test_a_fault_in_a_later_line() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition("qos = 1\n  and\r\n\tpayload.temp >> 8")
    assert (caught.value.line, caught.value.column) == (3, 15)
    assert str(caught.value).startswith("at line 3, column 15: found `>>`")


LONG = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "(" * LONG,
        "(" * LONG + "true" + ")" * LONG,
        "not " * LONG + "true",
        "-" * LONG + "1 = 1",
        "!" * LONG,
        "'" + "a" * LONG,
        "qos = " + "9" * LONG,
        "payload" + ".a" * LONG + " = 1",
        "payload" + "[0]" * LONG + " = 1",
        "qos in (" + "1," * LONG + "1)",
        "qos = 1 and " * LONG + "true",
        "lower(" * LONG,
        "\0" * LONG,
        "\n" * LONG,
        # at the bound of the length
        "(" * 2000 + "qos" + ")" * 2000 + ")",
        "!" * (MAX_LENGTH - 4) + "true",
        "-" * (MAX_LENGTH - 7) + "qos = 1",
        "lower(" * 600,
        "(" * MAX_LENGTH,
        "'" * MAX_LENGTH + "\\",
        "\\" * MAX_LENGTH,
        "qos = " + "9" * 4000,
        "qos = 1." + "9" * 4000 + "e99999",
        "payload[" + "9" * 4000 + "] = 1",
        " " * (MAX_LENGTH - 2) + "=",
    ],
    ids=lambda text: f"{text[:12]!r}×{len(text)}",
)
def test_hostile_texts_are_refused_soon(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        compile_condition(text)
    assert time.process_time() - begin < 1
    assert len(str(caught.value)) < 500


def test_the_bounds() -> None:
    assert compile_condition("(" * 2000 + "true" + ")" * 2000)  # parentheses alone are no nesting
    assert compile_condition("not " * (MAX_DEPTH - 1) + "true")
    with pytest.raises(ExpressionError, match="found more than 40 levels of nesting"):
        compile_condition("not " * MAX_DEPTH + "true")
    parts = MAX_NODES - 1
    assert compile_condition(" or ".join(["true"] * parts))
    with pytest.raises(ExpressionError, match="found more than 500 parts"):
        compile_condition(" or ".join(["true"] * (parts + 1)))
    assert compile_condition("true" + " " * (MAX_LENGTH - 4))
    with pytest.raises(ExpressionError, match="found an expression of 4,097 characters"):
        compile_condition("true" + " " * (MAX_LENGTH - 3))
