"""A condition's tree to closures: what is wrong in it is found here, and evaluating it can no longer fail.

A closure takes the event and gives a value: a number, a text, a truth, null (None), or an object or a list of
JSON. What is known of its kind at start is checked at start.
"""

from __future__ import annotations

import difflib
import functools
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bridge.events.event import HOOK_EVENTS, Event
from bridge.events.expression_fields import ELSEWHERE, FIELDS, Getter, Kind, document
from bridge.events.expression_functions import FUNCTIONS, calculate, same
from bridge.events.expression_tree import (
    Arithmetic,
    Call,
    Compare,
    Constant,
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
from bridge.events.names import find

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KINDS: dict[Kind, str] = {"number": "a number", "text": "a text", "truth": "true or false", "any": "a value"}
_MISSING = object()


class Part(NamedTuple):
    """A node, compiled."""

    get: Getter
    kind: Kind
    literal: Literal | None = None


def compile_tree(tree: Node) -> tuple[Callable[[Event], bool], frozenset[str]]:
    """The condition, and the fields that it reads (`flags.dup` for a member that is known). Raises Fault."""
    compiler = _Compiler()
    return compiler.truth(tree), frozenset(compiler.fields)


def _kind(value: Constant) -> Kind:
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "any" if value is None else "number"


def _nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """The known names most like `name`, as a question; empty where none is."""
    lower = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), lower, most, 0.6)
    return f"; did you mean {' or '.join(lower[one] for one in close)}?" if close else ""


class _Compiler:
    def __init__(self) -> None:
        self.fields: set[str] = set()

    def part(self, node: Node) -> Part:
        match node:
            case Literal(value=value):
                return Part(lambda event: value, _kind(value), node)
            case Path():
                return self.path(node)
            case Call():
                return self.call(node)
            case Negative(operand=operand):
                zero = Literal(node.at, 0)
                return self.arithmetic(Arithmetic(node.at, zero, (("-", operand),)))
            case Arithmetic():
                return self.arithmetic(node)
            case Compare():
                return Part(self.compare(node), "truth")
            case Match():
                return Part(self.match(node), "truth")
            case OneOf():
                return Part(self.one_of(node), "truth")
            case Not(operand=operand):
                test = self.truth(operand)
                return Part(lambda event: not test(event), "truth")
            case Logic():
                return Part(self.logic(node), "truth")
        raise AssertionError(node)  # pragma: no cover  no other node is made

    def truth(self, node: Node) -> Callable[[Event], bool]:
        """A node as a condition: only `true` counts as true."""
        get, kind, literal = self.part(node)
        if kind == "truth":
            return get
        if kind != "any" or literal is not None:
            what = "null" if literal is not None and literal.value is None else _KINDS[kind]
            raise Fault(f"found {what}, expected a condition, such as a comparison", node.at)
        return lambda event: get(event) is True

    # -- values --------------------------------------------------------------------------------------------

    def path(self, node: Path) -> Part:
        info = FIELDS.get(node.name)
        if info is None:
            raise Fault(_unknown(node), node.at)
        name, steps = node.name, node.steps
        if info.members is not None and steps:
            name = f"{name}.{steps[0]}"
            member = info.members.get(str(steps[0]))
            if member is None or len(steps) > 1:
                known = ", ".join(f"{node.name}.{key}" for key in info.members)
                raise Fault(f"found {node}, expected one of {known}", node.at)
            info, steps = member, ()
        self.fields.add(name)
        if not steps:
            return Part(info.get, info.kind)
        if node.name == "payload":
            return Part(_walk(document, steps), "any")
        if info.kind != "any":
            raise Fault(f"found {node}, but {node.name} is {_KINDS[info.kind]} and has no members", node.at)
        return Part(_walk(info.get, steps), "any")

    def call(self, node: Call) -> Part:
        name = node.name.lower()
        if name == "exists":
            return Part(self.exists(node), "truth")
        function = FUNCTIONS.get(name)
        if function is None:
            known = sorted((*FUNCTIONS, "exists"))
            hint = _nearest(name, known)
            raise Fault(f"found the function {node.name}, expected one of {', '.join(known)}{hint}", node.at)
        wanted = function.parameters
        if len(node.arguments) != len(wanted):
            raise Fault(
                f"found {len(node.arguments)} arguments of {name}, expected {name}({', '.join(wanted)})",
                node.at,
            )
        parts = [self.part(argument) for argument in node.arguments]
        for argument, part, kinds in zip(node.arguments, parts, function.takes, strict=True):
            if part.kind != "any" and part.kind not in kinds:
                raise Fault(f"found {_KINDS[part.kind]}, expected {_KINDS[kinds[0]]}", argument.at)
        call, first = function.call, parts[0].get
        if len(parts) == 1:
            return Part(lambda event: call(first(event)), function.gives)
        second, literal = parts[1].get, parts[1].literal
        if literal is not None:
            value = literal.value
            return Part(lambda event: call(first(event), value), function.gives)
        return Part(lambda event: call(first(event), second(event)), function.gives)

    def exists(self, node: Call) -> Callable[[Event], bool]:
        """Whether the value is there, be it JSON's null."""
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], Path):
            raise Fault("found no single field in exists(…), expected one: exists(payload.temp)", node.at)
        path = node.arguments[0]
        get = self.path(path).get  # checks it
        if len(path.steps) == 0 or path.name == "flags":
            return lambda event: get(event) is not None
        base = document if path.name == "payload" else FIELDS[path.name].get
        found = _walk(base, path.steps, _MISSING)
        return lambda event: found(event) is not _MISSING

    def arithmetic(self, node: Arithmetic) -> Part:
        operands = [self.number(operand) for operand in (node.first, *(operand for _, operand in node.rest))]
        first = operands[0]
        steps = [(calculate(sign), get) for (sign, _), get in zip(node.rest, operands[1:], strict=True)]
        if len(steps) == 1:
            ((operation, second),) = steps
            return Part(lambda event: operation(first(event), second(event)), "number")

        def chain(event: Event) -> int | float | None:
            value = first(event)
            for operation, get in steps:
                value = operation(value, get(event))
            return value  # type: ignore[no-any-return]

        return Part(chain, "number")

    def number(self, node: Node) -> Getter:
        """An operand of arithmetic."""
        part = self.part(node)
        if part.kind not in ("number", "any") or (part.literal is not None and part.literal.value is None):
            what = "null" if part.literal is not None and part.literal.value is None else _KINDS[part.kind]
            hint = "; number(…) makes one of a text" if part.kind == "text" else ""
            raise Fault(f"found {what}, expected a number{hint}", node.at)
        return part.get

    # -- comparisons ---------------------------------------------------------------------------------------

    def compare(self, node: Compare) -> Callable[[Event], bool]:
        left, right, sign = self.part(node.left), self.part(node.right), node.operator
        left, right = self.named(node.left, left, right), self.named(node.right, right, left)
        if left.literal is not None and right.literal is None:
            left, right, sign = right, left, _MIRRORED[sign]
        get, literal = left.get, right.literal
        if literal is not None and literal.value is None:
            if sign == "=":
                return lambda event: get(event) is None
            if sign == "!=":
                return lambda event: get(event) is not None
            raise Fault(f"found {node.operator} with null, expected = null or != null", node.at)
        if "any" not in (left.kind, right.kind) and left.kind != right.kind:
            raise Fault(
                f"found a comparison of {_KINDS[left.kind]} with {_KINDS[right.kind]}, which is never true, "
                f"expected the same of both{_hint(left.kind, right.kind)}",
                node.at,
            )
        if sign in _ORDER and "truth" in (left.kind, right.kind):
            raise Fault(f"found {node.operator} with true or false, expected = or !=", node.at)
        if literal is not None:
            return _to_constant(get, sign, literal.value)
        return _to_value(get, sign, right.get)

    def named(self, node: Node, part: Part, other: Part) -> Part:
        """A literal beside the field `event` may be any spelling of an event's name."""
        if (
            part.literal is None
            or not isinstance(part.literal.value, str)
            or other.get is not FIELDS["event"].get
        ):
            return part
        kind = find(part.literal.value)
        if kind is None:
            known = [event.dotted for event in HOOK_EVENTS]
            text = part.literal.value
            hint = _nearest(text, known)
            if _is_domain_type(text, near=bool(hint)):
                return part
            raise Fault(f"found the event '{text}', expected one of {', '.join(known)}{hint}", node.at)
        return self.part(Literal(node.at, kind.dotted))

    def match(self, node: Match) -> Callable[[Event], bool]:
        part = self.part(node.left)
        if part.kind not in ("text", "any") or part.literal is not None:
            raise Fault(
                f"found {_KINDS[part.kind]}, expected a field or another text for the topic", node.left.at
            )
        get, found = part.get, topic_pattern(node.filter).fullmatch
        if node.negated:

            def differs(event: Event) -> bool:
                text = get(event)
                return type(text) is str and found(text) is None

            return differs

        def matches(event: Event) -> bool:
            text = get(event)
            return type(text) is str and found(text) is not None

        return matches

    def one_of(self, node: OneOf) -> Callable[[Event], bool]:
        part = self.part(node.left)
        literals = [self.named(value, self.part(value), part).literal for value in node.values]
        values = [literal.value for literal in literals if literal is not None]
        for value in node.values:
            kind = _kind(value.value)
            if "any" not in (kind, part.kind) and kind != part.kind:
                raise Fault(
                    f"found {_KINDS[kind]}, expected {_KINDS[part.kind]} as on the left"
                    f"{_hint(kind, part.kind)}",
                    value.at,
                )
        get = part.get
        # By type, since Python's True is 1; its int and float that are equal have one hash.
        sets: dict[type, set[Constant]] = {}
        for constant in values:
            sets.setdefault(type(constant), set()).add(constant)
        if int in sets or float in sets:
            sets[int] = sets[float] = sets.get(int, set()) | sets.get(float, set())
        if node.negated:

            def none_of(event: Event) -> bool:
                value = get(event)
                known = sets.get(type(value))
                return known is not None and value not in known

            return none_of

        def some_of(event: Event) -> bool:
            value = get(event)
            known = sets.get(type(value))
            return known is not None and value in known

        return some_of

    # -- logic ---------------------------------------------------------------------------------------------

    def logic(self, node: Logic) -> Callable[[Event], bool]:
        tests = tuple([self.truth(operand) for operand in node.operands])
        if len(tests) == 2:
            one, other = tests
            if node.every:
                return lambda event: one(event) and other(event)
            return lambda event: one(event) or other(event)

        every = node.every

        def several(event: Event) -> bool:
            for test in tests:
                if test(event) is not every:
                    return not every
            return every

        return several


def _unknown(node: Path) -> str:
    name = node.name
    if name in ELSEWHERE:
        return f"found the field {name}, expected {ELSEWHERE[name]}"
    hint = _nearest(name, FIELDS, 3) or "; docs/filters.md lists them"
    return (
        f"found the field {name}, expected a field of an event, or payload.{name} for a member of a JSON "
        f"payload{hint}"
    )


def _hint(one: Kind, other: Kind) -> str:
    return "; number(…) makes a number of a text" if {one, other} == {"number", "text"} else ""


def _walk(base: Getter, steps: tuple[str | int, ...], missing: Any = None) -> Getter:
    """The value within another; `missing` where it is not there."""
    if len(steps) == 1 and isinstance(steps[0], str):
        key = steps[0]

        def member(event: Event) -> Any:
            value = base(event)
            return value.get(key, missing) if type(value) is dict else missing

        return member

    def walk(event: Event) -> Any:
        value = base(event)
        for step in steps:
            if isinstance(step, str):
                if type(value) is not dict or step not in value:
                    return missing
            elif type(value) is not list or not -len(value) <= step < len(value):
                return missing
            value = value[step]
        return value

    return walk


def _to_constant(get: Getter, sign: str, constant: Constant) -> Callable[[Event], bool]:
    if isinstance(constant, (bool, str)):
        kind = type(constant)
        if sign == "=":
            if isinstance(constant, bool):
                return lambda event: get(event) is constant
            return lambda event: bool(get(event) == constant)

        def other(event: Event) -> bool:
            value = get(event)
            return type(value) is kind and bool(value != constant)

        if sign == "!=":
            return other
        test = _ORDER[sign]

        def ordered(event: Event) -> bool:
            value = get(event)
            return type(value) is str and test(value, constant)

        return ordered
    compare = {"=": operator.eq, "!=": operator.ne, **_ORDER}[sign]

    def numbers(event: Event) -> bool:
        value = get(event)
        kind = type(value)
        return (kind is int or kind is float) and compare(value, constant)

    return numbers


def _to_value(get: Getter, sign: str, right: Getter) -> Callable[[Event], bool]:
    if sign == "=":
        return lambda event: same(get(event), right(event))
    compare = operator.ne if sign == "!=" else _ORDER[sign]
    truths = sign == "!="

    def values(event: Event) -> bool:
        one, other = get(event), right(event)
        kind = type(one)
        if kind is int or kind is float:
            return type(other) in (int, float) and compare(one, other)
        return kind is type(other) and (kind is str or (truths and kind is bool)) and compare(one, other)

    return values


@functools.lru_cache(1024)
def topic_pattern(topic_filter: str) -> re.Pattern[str]:
    """What the topics that a valid filter matches look like, for `fullmatch`; it never backtracks far, since
    a `+` cannot take a `/`. A filter that begins with a wildcard matches no `$` topic [MQTT-4.7.2-1]."""
    levels = topic_filter.split("/")
    rest = levels[-1] == "#"
    if rest:
        levels.pop()
    text = "/".join("[^/]*" if level == "+" else re.escape(level) for level in levels)
    if rest:
        text = f"{text}(?:/.*)?" if levels else ".*"  # `a/#` matches `a`, too (section 4.7.1.2)
    guard = r"(?!\$)" if topic_filter[0] in "+#" else ""
    return re.compile(guard + text, re.DOTALL)


def _is_domain_type(text: str, *, near: bool) -> bool:
    """Whether it is, or may be, the type of a business event; `near`: it is much like a hook's name."""
    from bridge.events.catalogue import load, valid_name  # noqa: PLC0415  rarely needed

    return "." in text and valid_name(text) and (not near or text in load())
