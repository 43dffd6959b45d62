"""Random conditions: they say what a plain evaluation of their tree says, and never fail."""

from __future__ import annotations

import json
import math
import operator
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bridge.events.event import Event
from bridge.events.expression import ExpressionError, compile_condition
from bridge.events.expression_parse import parse
from bridge.events.expression_tree import (
    Arithmetic,
    Call,
    Compare,
    Fault,
    Literal,
    Logic,
    Match,
    Negative,
    Node,
    Not,
    OneOf,
    Path,
)
from bridge.mqtt.topics import matches

# -- trees ---------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "in", "not", "odd key", "it's", "\\", "größe", "\n"])
STEPS = st.lists(KEYS | st.integers(-3, 3), max_size=3).map(tuple)
NUMBERS = st.integers(0, 1 << 62) | st.floats(0, allow_nan=False, allow_infinity=False) | st.integers(0, 3)
TEXTS = st.text(max_size=4) | st.sampled_from(["x", "1.5", "a/b", "A"])
CONSTANTS = NUMBERS | TEXTS | st.booleans() | st.none()
FILTERS = st.sampled_from(["#", "+", "a/#", "+/b", "a/b", "$x/#"])
PATHS = st.builds(lambda steps: Path(0, "payload", steps), STEPS)
ANYTHING = PATHS | st.sampled_from(
    [Path(0, name) for name in ("qos", "topic", "username", "reason", "payload")]
)
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def values(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Nodes that are no conditions, of smaller ones."""
    pairs = st.lists(st.tuples(st.sampled_from("*/%"), below), min_size=1, max_size=2).map(tuple)
    sums = st.lists(st.tuples(st.sampled_from("+-"), below), min_size=1, max_size=2).map(tuple)
    calls = [
        st.builds(
            lambda name, one: Call(0, name, (one,)),
            st.sampled_from(["lower", "upper", "length", "number"]),
            below,
        ),
        st.builds(lambda one, two: Call(0, "topic_level", (one, two)), below, below),
    ]
    made = [st.builds(lambda first, rest: Arithmetic(0, first, rest), below, each) for each in (pairs, sums)]
    negative = below.map(lambda node: Negative(0, Path(0, "qos") if isinstance(node, Literal) else node))
    return st.one_of(*calls, *made, negative)


VALUES = st.recursive(ANYTHING | CONSTANTS.map(lambda value: Literal(0, value)), values, max_leaves=5)


def conditions(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(below, min_size=2, max_size=4).map(tuple)
    return below.map(lambda node: Not(0, node)) | st.builds(
        lambda every, of: Logic(0, every, of), st.booleans(), several
    )


CONDITIONS = st.recursive(
    st.one_of(
        st.builds(lambda sign, left, right: Compare(0, sign, left, right), OPERATORS, VALUES, VALUES),
        st.builds(
            lambda left, text, negated: Match(0, left, text, negated), ANYTHING, FILTERS, st.booleans()
        ),
        st.builds(
            lambda left, of, negated: OneOf(0, left, tuple(Literal(0, value) for value in of), negated),
            VALUES,
            st.lists(CONSTANTS, min_size=1, max_size=3),
            st.booleans(),
        ),
        st.builds(
            lambda name, one, two: Call(0, name, (one, two)),
            st.sampled_from(["contains", "starts_with", "ends_with"]),
            VALUES,
            VALUES,
        ),
        PATHS,
        PATHS.map(lambda path: Call(0, "exists", (path,))),
        st.booleans().map(lambda value: Literal(0, value)),
    ),
    conditions,
    max_leaves=6,
)


def text_of(node: Node) -> str:
    """A tree as it could have been written; every operand that is more than a word in parentheses."""

    def inner(node: Node) -> str:
        return text_of(node) if isinstance(node, Literal | Path | Call) else f"({text_of(node)})"

    match node:
        case Literal(value=value):
            if isinstance(value, str):
                return json.dumps(value)
            return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
        case Path(name=name, steps=steps):
            return name + "".join(f"[{json.dumps(step)}]" for step in steps)
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(text_of, arguments))})"
        case Negative(operand=operand):
            return f"-{inner(operand)}"
        case Arithmetic(first=first, rest=rest):
            return inner(first) + "".join(f" {sign} {inner(operand)}" for sign, operand in rest)
        case Compare(operator=sign, left=left, right=right):
            return f"{inner(left)} {sign} {inner(right)}"
        case Match(left=left, filter=topic_filter, negated=negated):
            return f"{inner(left)} {'!~' if negated else '=~'} '{topic_filter}'"
        case OneOf(left=left, values=of, negated=negated):
            return f"{inner(left)} {'not in' if negated else 'in'} ({', '.join(map(text_of, of))})"
        case Not(operand=operand):
            return f"not {inner(operand)}"
        case Logic(every=every, operands=operands):
            return (" and " if every else " or ").join(map(inner, operands))
    raise AssertionError(node)


# -- what a tree means, said plainly -------------------------------------------------------------------------

MISSING = object()


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return {int: "number", float: "number", str: "text", type(None): "null"}.get(type(value), "other")


def look_up(event: Event, path: Path) -> Any:
    if path.name != "payload":
        return {"qos": event.qos, "topic": event.topic, "username": event.username, "reason": None}[path.name]
    if not path.steps:
        return event.payload.decode()
    value = json.loads(event.payload)
    for step in path.steps:
        try:
            if isinstance(step, str) != isinstance(value, dict) or isinstance(value, str):
                return MISSING
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


def compare(sign: str, one: Any, other: Any) -> bool:
    if kind(one) != kind(other) or kind(one) in ("null", "other"):
        return False
    if sign in ("=", "!="):
        return bool((one == other) is (sign == "="))
    order = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign]
    return kind(one) != "truth" and bool(order(one, other))


def calculate(sign: str, one: Any, other: Any) -> Any:
    if (kind(one), kind(other)) != ("number", "number") or (sign in "/%" and other == 0):
        return None
    try:
        if sign == "%":
            found = math.fmod(one, other)
            if isinstance(one, int) and isinstance(other, int):
                found = (abs(one) % abs(other)) * (-1 if one < 0 else 1)
        else:
            found = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign](
                one, other
            )
        if isinstance(found, int) and not -(2**63) <= found < 2**63:
            found = float(found)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def call(event: Event, node: Call) -> Any:
    if node.name == "exists":
        path = node.arguments[0]
        assert isinstance(path, Path)
        found = look_up(event, path)
        return found is not MISSING and (found is not None or path.steps != ())
    one, other = (*(value_of(event, argument) for argument in node.arguments), None)[:2]
    is_text = isinstance(one, str)
    match node.name:
        case "lower":
            return one.lower() if is_text else None
        case "upper":
            return one.upper() if is_text else None
        case "length":
            return len(one) if isinstance(one, str | list | dict) else None
        case "number":
            if kind(one) == "number":
                return one
            return plain(one)
        case "topic_level":
            levels = one.split("/") if is_text else []
            if kind(other) != "number" or other != other // 1 or not -len(levels) <= other < len(levels):
                return None
            return levels[int(other)]
        case "contains":
            if isinstance(one, list):
                return any(compare("=", member, other) for member in one)
            return is_text and isinstance(other, str) and other in one
        case "starts_with":
            return is_text and isinstance(other, str) and one.startswith(other)
    return is_text and isinstance(other, str) and one.endswith(other)


def plain(text: Any) -> Any:
    """A short text as a number."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    if not text or set(text) - set("0123456789+-.eE") or text[0] in "eE":
        return None
    for reader in (int, float):
        try:
            found = reader(text)
        except ValueError:
            continue
        return found if math.isfinite(found) else None
    return None


def value_of(event: Event, node: Node) -> Any:
    match node:
        case Literal(value=value):
            return value
        case Path():
            found = look_up(event, node)
            return None if found is MISSING else found
        case Call():
            return call(event, node)
        case Negative(operand=operand):
            return calculate("-", 0, value_of(event, operand))
        case Arithmetic(first=first, rest=rest):
            value = value_of(event, first)
            for sign, operand in rest:
                value = calculate(sign, value, value_of(event, operand))
            return value
        case Compare(operator=sign, left=left, right=right):
            one, other = value_of(event, left), value_of(event, right)
            if any(isinstance(side, Literal) and side.value is None for side in (left, right)):
                return (one is None and other is None) is (sign == "=")
            return compare(sign, one, other)
        case Match(left=left, filter=topic_filter, negated=negated):
            value = value_of(event, left)
            return isinstance(value, str) and matches(topic_filter, value) is not negated
        case OneOf(left=left, values=of, negated=negated):
            value = value_of(event, left)
            known = [literal.value for literal in of]
            if negated:
                return any(kind(value) == kind(each) for each in known) and not any(
                    compare("=", value, each) or (value is None and each is None) for each in known
                )
            return any(compare("=", value, each) or (value is None and each is None) for each in known)
        case Not(operand=operand):
            return value_of(event, operand) is not True
        case Logic(every=every, operands=operands):
            return (all if every else any)(value_of(event, operand) is True for operand in operands)
    raise AssertionError(node)


# -- the tests -----------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=8,
)
EVENTS = st.builds(
    lambda document, topic, username, qos: Event(
        10, 0, "c", username, "", (1,), topic, json.dumps(document).encode(), qos
    ),
    st.dictionaries(KEYS, JSON, max_size=4) | st.lists(JSON, max_size=3) | JSON,
    st.sampled_from(["a", "a/b", "$x/b", "a/b/c"]),
    st.sampled_from([None, "x", "a/b"]),
    st.integers(0, 2),
)


@given(CONDITIONS)
@settings(max_examples=100)
def test_what_is_written_is_read(tree: Node) -> None:
    text = text_of(tree)
    fault = None
    try:
        assert text_of(parse(text)) == text
    except Fault as error:
        fault = error
    assert fault is None or "found more than" in fault.message  # too deep or too large


@given(CONDITIONS, st.lists(EVENTS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_condition_says_what_its_tree_says(tree: Node, events: list[Event]) -> None:
    try:
        condition = compile_condition(text_of(tree))
    except ExpressionError:
        assume(False)
    for event in events:
        assert condition(event) is (value_of(event, tree) is True)


VOCABULARY = """
    payload . a [ ] ( ) 'x' "y" 1 2.5 1e9 = != < <= > >= =~ !~ in not and or ! && || + - * / % , true false
    null topic qos flags retain event length lower contains exists number topic_level 'a/#' [0] .temp
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n"])


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=40), st.binary(max_size=30), EVENTS)
@example("payload." + "a." * 50 + "a = 1", b"", Event(1, 0, "", None, "", ()))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_condition_or_a_fault(text: str, payload: bytes, event: Event) -> None:
    fault = None
    try:
        condition = compile_condition(text)
    except ExpressionError as error:
        fault = error
    if fault is not None:
        lines = text.split("\n")
        assert fault.line <= len(lines)
        assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
        return
    event.payload = payload
    assert condition(event) in (True, False)


@given(
    st.sampled_from(
        [
            "payload.a > 1",
            "payload = 'x'",
            "contains(payload.a, 1)",
            "payload[0].a.b =~ '#'",
            "exists(payload)",
        ]
    ),
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    st.sampled_from(range(1, 22)),
    st.none() | st.dictionaries(st.sampled_from(["to_clientid", "props", "reason", "at", "dup"]), JSON),
)
def test_any_event_is_judged(text: str, payload: bytes, number: int, data: dict[str, Any] | None) -> None:
    event = Event(number, 0, "c", None, "", (1,), "t", payload, 0, False, data)
    assert compile_condition(text)(event) in (True, False)
    fields = ("clientid", "reason", "peerhost", "timestamp", "flags.dup", "pub_props['User-Property'].x")
    assert compile_condition(" or ".join(f"{name} = null" for name in fields))(event) in (True, False)
