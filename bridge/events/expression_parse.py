"""The grammar of `where`, and its parser: text to tree, or a fault at its place.

The parser is LALR(1): it takes time in proportion to the text and does not recurse, whatever the text is.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from typing import Any, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from bridge.events.expression_tree import (
    MAX_LENGTH,
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
from bridge.mqtt.topics import valid_topic_filter

GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction ((OR | BARS) conjunction)*
?conjunction: negation ((AND | AMPERSANDS) negation)*
?negation: (NOT | BANG) negation          -> negated
         | comparison
?comparison: sum
           | sum COMPARE sum              -> compare
           | sum MATCH STRING             -> match
           | sum IN values                -> one_of
           | sum NOT IN values            -> not_one_of
?sum: product ((PLUS | MINUS) product)*
?product: unary ((STAR | SLASH | PERCENT) unary)*
?unary: MINUS unary                       -> negative
      | atom
?atom: constant
     | path
     | NAME "(" [disjunction ("," disjunction)*] ")" -> call
     | "(" disjunction ")"

values: "(" signed ("," signed)* ")" | "[" signed ("," signed)* "]"
?signed: constant | MINUS NUMBER          -> minus_constant
constant: NUMBER | STRING | TRUE | FALSE | NULL
path: NAME step*
step: "." (NAME | STRING) | "[" (STRING | NUMBER | MINUS NUMBER) "]"

OR.2: /or\b/i
AND.2: /and\b/i
NOT.2: /not\b/i
IN.2: /in\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
NULL.2: /null\b/i
BARS: "||"
AMPERSANDS: "&&"
MATCH.3: "=~" | "!~"
COMPARE.2: "==" | "!=" | "<>" | "<=" | ">=" | "=" | "<" | ">"
BANG: "!"
PLUS: "+"
MINUS: "-"
STAR: "*"
SLASH: "/"
PERCENT: "%"
NUMBER: /([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?/
STRING: /'([^'\\]|\\.|'')*'|"([^"\\]|\\.|"")*"/s
NAME: /[^\W\d]\w*/
%ignore /[ \t\r\n]+/
"""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"} | {c: c for c in "\\'\"/"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)|(['\"])\2", re.DOTALL)
_VALUE = frozenset({"NAME", "NUMBER", "STRING", "TRUE", "FALSE", "NULL"})
_OPERATORS = frozenset(
    {"COMPARE", "MATCH", "IN", "AND", "AMPERSANDS", "OR", "BARS", "PLUS", "MINUS", "STAR", "SLASH", "PERCENT"}
)
_SIGNS = {"LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "COMMA": "`,`", "$END": "the end"}
_FOREIGN = re.compile(
    r"<=>|===|!==|\*\*|>>|<<|>==|=<|=>|\bmod\b|\bdiv\b|\blike\b|\bis\b|\bbetween\b", re.IGNORECASE
)
_WORD = re.compile(r"\w+|[<>=!~]+|.", re.DOTALL)
_SHOWN = 24
"""Characters of the text that an error shows."""
_INTEGERS = 1 << 63


def parse(text: str) -> Node:
    """The tree of an expression. Raises Fault."""
    if len(text) > MAX_LENGTH:
        raise Fault(
            f"found an expression of {len(text):,} characters, expected at most {MAX_LENGTH:,}", MAX_LENGTH
        )
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _fault(text, error) from None
    return cast("Node", tree)


@functools.cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


def _number(token: Token) -> int | float:
    value = int(token) if token.isdigit() else float(token)
    if value >= _INTEGERS if isinstance(value, int) else value == math.inf:
        most = "2^63" if isinstance(value, int) else "1.8e308"
        raise Fault(f"found the number {_cut(token)}, expected one below {most}", _at(token))
    return value


def _string(token: Token) -> str:
    quote = token[0]

    def replace(found: re.Match[str]) -> str:
        if found[2] is not None:
            return found[2] if found[2] == quote else found[0]
        code = found[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            at = _at(token) + 1 + found.start()
            raise Fault(rf"found \{code}, expected one of \\ \' \" \/ \b \f \n \r \t \uXXXX", at)
        return _ESCAPES[code]

    text = _ESCAPE.sub(replace, token[1:-1])
    if not text.isascii():
        try:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")  # joins the pairs
        except UnicodeDecodeError:
            raise Fault(r"found half of a surrogate pair, expected both: \ud83d\ude00", _at(token)) from None
    return text


def _at(token: Token) -> int:
    return token.start_pos or 0


@v_args(inline=True)
class _Builder(Transformer[Token, Node]):
    """The grammar's rules to nodes, while the parser goes; it keeps nothing between two calls."""

    def constant(self, token: Token) -> Literal:
        value: Constant
        match token.type:
            case "NUMBER":
                value = _number(token)
            case "STRING":
                value = _string(token)
            case "NULL":
                value = None
            case kind:
                value = kind == "TRUE"
        return Literal(_at(token), value)

    def minus_constant(self, minus: Token, token: Token) -> Literal:
        return Literal(_at(minus), -_number(token))

    def step(self, *tokens: Token) -> str | int:
        token = tokens[-1]
        if token.type == "NAME":
            return str(token)
        if token.type == "STRING":
            return _string(token)
        if not token.isdigit():
            raise Fault(f"found the position {_cut(token)}, expected a whole number from 0", _at(token))
        position = int(_number(token))
        return -position if len(tokens) > 1 else position

    def path(self, name: Token, *steps: str | int) -> Path:
        return Path(_at(name), str(name), steps)

    def call(self, name: Token, *arguments: Node) -> Call:
        return Call(_at(name), str(name), arguments)

    def negative(self, minus: Token, operand: Node) -> Node:
        if isinstance(operand, Literal) and type(operand.value) in (int, float):
            return Literal(_at(minus), -operand.value)  # type: ignore[operator]
        return Negative(_at(minus), operand)

    def sum(self, first: Node, *rest: Any) -> Node:
        pairs = tuple(zip(map(str, rest[::2]), rest[1::2], strict=True))
        return Arithmetic(first.at, first, pairs)

    product = sum

    def compare(self, left: Node, operator: Token, right: Node) -> Node:
        sign = {"==": "=", "<>": "!="}.get(operator, str(operator))
        return Compare(left.at, sign, left, right)

    def match(self, left: Node, operator: Token, topic_filter: Token) -> Node:
        text = _string(topic_filter)
        if not valid_topic_filter(text):
            raise Fault(
                f"found {_cut(topic_filter)}, expected a topic filter of MQTT: levels between /, + for one "
                "whole level, # only as the last level",
                _at(topic_filter),
            )
        return Match(left.at, left, text, operator == "!~")

    def values(self, *values: Literal) -> tuple[Literal, ...]:
        return values

    def one_of(self, left: Node, _in: Token, values: tuple[Literal, ...]) -> Node:
        return OneOf(left.at, left, values, False)

    def not_one_of(self, left: Node, _not: Token, _in: Token, values: tuple[Literal, ...]) -> Node:
        return OneOf(left.at, left, values, True)

    def negated(self, sign: Token, operand: Node) -> Node:
        return Not(_at(sign), operand)

    def conjunction(self, *parts: Any) -> Node:
        return Logic(parts[0].at, True, parts[::2])

    def disjunction(self, *parts: Any) -> Node:
        return Logic(parts[0].at, False, parts[::2])


# -- what is wrong -------------------------------------------------------------------------------------------


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _expected(names: Iterable[str]) -> str:
    """What could have stood there, in words."""
    allowed = set(names)
    said = []
    if allowed >= {"NAME", "NUMBER"}:
        said.append("a value")
        allowed -= _VALUE | {"LPAR", "MINUS", "NOT", "BANG"}
    elif "NUMBER" in allowed:
        said.append(
            "a number, a text in quotes, true, false or null"
            if "NULL" in allowed
            else "a key in quotes or a position"
        )
        allowed -= _VALUE | {"MINUS"}
    elif "NAME" in allowed:
        said.append("a name or a key in quotes")
    elif "STRING" in allowed:
        said.append("a topic filter in quotes")
    elif allowed == {"IN"}:
        said.append("`in`")
    operators = allowed & _OPERATORS
    if operators and not said:
        comparing = "an operator such as = < =~ in and" if "COMPARE" in operators else "and, or"
        said.append(comparing)
        allowed -= {"LPAR", "LSQB"}  # what follows a name could go on as a call or a path, too
    said += [_SIGNS[name] for name in ("LPAR", "LSQB", "COMMA", "RPAR", "RSQB", "$END") if name in allowed]
    return " or ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)


def _fault(text: str, error: UnexpectedInput) -> Fault:
    at = error.pos_in_stream
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        at = len(text.rstrip())
    at = at or 0
    before = _parser().parse_interactive(text[:at])
    before.exhaust_lexer()
    names: set[str] = before.accepts()  # type: ignore[no-untyped-call]
    if at >= len(text.rstrip()):
        return Fault(f"found the end, expected {_expected(names)}", at)
    for foreign in _FOREIGN.finditer(text):
        if foreign.start() <= at < foreign.end():
            return Fault(f"found `{foreign[0]}`, expected {_expected(names)}", foreign.start())
    if text[at] in "'\"" and isinstance(error, UnexpectedCharacters):
        return Fault(f"found a text that does not end, expected {text[at]} at its end", at)
    found = _WORD.findall(text, at)[0]
    return Fault(f"found `{_cut(found)}`, expected {_expected(names)}", at)
