"""JSON as JavaScript writes it: what `JSON.stringify(JSON.parse(text))` would give, byte for byte.

Receivers of MachShop and Eryxon verify a signature over `JSON.stringify` of the body they have parsed. That
only works for a body that JavaScript itself would have written (ECMA-262, sections 6.1.6.1.20, 10.1.11.1 and
25.5.2):

* no white space between tokens; of a key that is there twice the last value, at the first one's place;
* keys that are array indices (`"0"` to `"4294967294"`) first and ascending, the others as they came;
* numbers shortest: `1.0` is `1`, `1e3` is `1000`, `-0` is `0`, `1E21` is `1e+21`, `0.0000001` is `1e-7`;
* text as UTF-8; `"`, `\\`, control characters and lone surrogates escaped, and nothing else.

A number that JavaScript would write as a whole number beyond 2^53 is refused, since it would not be the
sender's any more; so is one beyond a double's range. Depth is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

MAX_INTEGER = 1 << 53
"""The largest whole number, and with a minus the smallest, that is taken."""
MAX_DEPTH = 64
"""Objects and arrays within one another."""
LARGE = 128 << 10
"""Bytes of a text above which it is read beside the loop: so many take some 20 ms."""

_MAX_INDEX = (1 << 32) - 2  # ECMA-262, section 6.1.7: array index
_INDEX_DIGITS = 10
_EXPONENT_FROM = 21  # digits before the point from which a number has an exponent
_EXPONENT_BELOW = -6  # and zeros behind it
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsJsonError(ValueError):
    """Not JSON, or JSON that JavaScript could not give back as it was sent.

    `path` leads to the value, as keys and indices; it is empty where the text is no JSON at all, and then
    the message has line and column.
    """

    def __init__(self, problem: str, path: tuple[str | int, ...] = ()) -> None:
        self.problem = problem
        self.path = path
        super().__init__(f"{pointer(path)}: {problem}" if path else problem)


def pointer(path: tuple[str | int, ...] | list[str | int]) -> str:
    """A path as a JSON Pointer (RFC 6901): `/workOrder/lines/0`; that of the whole is empty."""
    return "".join(["/" + str(part).replace("~", "~0").replace("/", "~1") for part in path])


class _TooLarge:
    """Stands in for a number that cannot be taken, until its place is known."""

    __slots__ = ("problem",)

    def __init__(self, problem: str) -> None:
        self.problem = problem


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}… ({len(text)} characters)"


def _integer(text: str) -> Any:
    if len(text) <= 15:
        return int(text)
    value = int(text) if len(text) <= 17 else None
    if value is None or not -MAX_INTEGER <= value <= MAX_INTEGER:
        return _TooLarge(
            f"found {_shown(text)}, a whole number beyond 2^53 ({MAX_INTEGER}); send it as a text"
        )
    return value


def _fraction(text: str) -> Any:
    value = float(text)
    if value - value != 0:
        return _TooLarge(f"found {_shown(text)}, which is beyond the range of a double")
    if value.is_integer():
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return int(value)
        if -1e21 < value < 1e21:
            return _TooLarge(
                f"found {_shown(text)}, a whole number beyond 2^53 ({MAX_INTEGER}); send it as a text"
            )
    return value


def _constant(text: str) -> Any:
    raise JsJsonError(f"not JSON: found {text}, which is no number of JSON")


_decode = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, parse_constant=_constant).decode


def loads(text: bytes | str, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text. Raises JsJsonError.

    Whole numbers are ints, also those that were written with a point or an exponent. The value's keys are in
    JavaScript's order.
    """
    if not isinstance(text, str):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise JsJsonError(f"not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from None
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        raise JsJsonError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise JsJsonError(_too_deep(max_depth)) from None
    return _ordered(value, max_depth, ())


def _too_deep(max_depth: int) -> str:
    return f"found more than {max_depth} objects and arrays within one another"


def _ordered(value: Any, depth: int, path: tuple[str | int, ...]) -> Any:
    """The value with its keys in order; what cannot be taken in it is found."""
    kind = type(value)
    if kind is dict:
        if depth <= 0:
            raise JsJsonError(_too_deep(len(path)))
        for key, inner in value.items():
            if type(inner) in _LOOK_INTO:
                value[key] = _ordered(inner, depth - 1, (*path, key))
        return _sorted(value)
    if kind is list:
        if depth <= 0:
            raise JsJsonError(_too_deep(len(path)))
        for index, inner in enumerate(value):
            if type(inner) in _LOOK_INTO:
                value[index] = _ordered(inner, depth - 1, (*path, index))
        return value
    if kind is _TooLarge:
        raise JsJsonError(value.problem, path)
    return value


_LOOK_INTO = frozenset({dict, list, _TooLarge})


def _is_index(key: str) -> bool:
    return (
        len(key) <= _INDEX_DIGITS
        and key.isascii()
        and key.isdigit()
        and (key[0] != "0" or len(key) == 1)
        and int(key) <= _MAX_INDEX
    )


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    for key in value:
        if "0" <= key[:1] <= "9" and _is_index(key):
            break
    else:
        return value
    indices = sorted([key for key in value if key[:1].isdigit() and _is_index(key)], key=int)
    first = {key: value[key] for key in indices}
    return first | {key: inner for key, inner in value.items() if key not in first}


# -- writing -----------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """A finite double as JavaScript has it: Number::toString with radix 10."""
    if value == 0:
        return "0"
    text = repr(value)  # the shortest digits that give the same double, as JavaScript's are
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text[len(sign) :].partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    # The value is 0.digits times ten to the power of `point`.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= _EXPONENT_FROM:
        return sign + digits + "0" * (point - count)
    if 0 < point <= _EXPONENT_FROM:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _EXPONENT_BELOW < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    shown = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{shown}e{point - 1:+d}"


_quote: Callable[[str], str] = json.encoder.encode_basestring  # control characters as JavaScript escapes them


def dumps(value: Any) -> bytes:
    """A value as JavaScript writes it. Raises JsJsonError for what it cannot be in JSON.

    Taken are None, True, False, int, float, str, list, tuple and dict with text as keys.
    """
    parts: list[str] = []
    _write(value, parts.append, MAX_DEPTH * 2)
    text = "".join(parts)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _write(value: Any, put: Callable[[str], None], depth: int) -> None:
    kind = type(value)
    if kind is str:
        put(_quote(value))
    elif kind is dict:
        if depth <= 0:
            raise JsJsonError(_too_deep(MAX_DEPTH * 2))
        before = "{"
        for key, inner in _sorted(value).items():
            put(before)
            put(_quote(key))
            put(":")
            _write(inner, put, depth - 1)
            before = ","
        put("}" if value else "{}")
    elif kind is bool:
        put("true" if value else "false")
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise JsJsonError(f"found {_shown(str(value))}, a whole number beyond 2^53 ({MAX_INTEGER})")
        put(str(value))
    elif value is None:
        put("null")
    elif kind is float:
        if value - value != 0:
            raise JsJsonError(f"found {value}, which is no number of JSON")
        put(number(value))
    elif kind is list or kind is tuple:
        if depth <= 0:
            raise JsJsonError(_too_deep(MAX_DEPTH * 2))
        before = "["
        for inner in value:
            put(before)
            _write(inner, put, depth - 1)
            before = ","
        put("]" if value else "[]")
    elif isinstance(value, str):  # an enumeration's member
        put(_quote(str.__str__(value)))
    else:
        raise JsJsonError(f"found {type(value).__name__}, which JSON has no form for")


def canonical(text: bytes | str, max_depth: int = MAX_DEPTH) -> bytes:
    """A JSON text as JavaScript would write it. Raises JsJsonError."""
    return dumps(loads(text, max_depth))
