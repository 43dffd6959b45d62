"""How values are written: sizes, times, switches, names; each kind reads a node and shows a value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from bridge.config.node import Node
from bridge.config.secret import SecretError, resolve


class Bad(Exception):
    """A value of the wrong kind or out of range; the text says what is possible."""


@dataclass(frozen=True, slots=True)
class Range:
    """The bounds of a number; None is none. `open_low`: the lower bound itself is not allowed."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False

    def holds(self, value: float) -> bool:
        if self.low is not None and (value < self.low or (self.open_low and value == self.low)):
            return False
        return self.high is None or value <= self.high

    def text(self, show: Callable[[float], str]) -> str:
        if self.low is None:
            return "" if self.high is None else f"up to {show(self.high)}"
        if self.high is None:
            return f"greater than {show(self.low)}" if self.open_low else f"of at least {show(self.low)}"
        if self.open_low:
            return f"greater than {show(self.low)}, up to {show(self.high)}"
        return f"from {show(self.low)} to {show(self.high)}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A way of writing values. `read` raises `Bad`; `show` gives HOCON that `read` takes back."""

    name: str
    read: Callable[[Node, Range], Any]
    show: Callable[[Any], str]
    secret: bool = False


def plain(node: Node) -> str | None:
    """A scalar's text as it was written, or None for an object, a list or null."""
    value = node.value
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | timedelta):
        return node.raw if node.raw is not None else _show_scalar(value)
    return None


def _show_scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return show_seconds(value.total_seconds())
    return str(value)


def quote(text: str) -> str:
    """A HOCON quoted string."""
    escaped = "".join(
        {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(c, c) for c in text
    )
    return f'"{escaped}"'


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _fits(value: float, bounds: Range, what: str, show: Callable[[float], str] = _number) -> None:
    if not bounds.holds(value):
        raise Bad(f"{what} {bounds.text(show)}".strip())


def or_off(kind: Kind) -> Kind:
    """The same kind, which may also be `off`: None."""

    def read(node: Node, bounds: Range) -> Any:
        if node.value is False or (plain(node) or "").strip().lower() in ("off", "none", "false", "disabled"):
            return None
        try:
            return kind.read(node, bounds)
        except Bad as e:
            raise Bad(f"off, or {e}") from None

    return Kind(f"{kind.name}, or off", read, lambda v: "off" if v is None else kind.show(v))


# --- switches -----------------------------------------------------------------------------------------------

_TRUE, _FALSE = frozenset({"true", "on", "yes"}), frozenset({"false", "off", "no"})


def _read_bool(node: Node, bounds: Range) -> bool:
    if isinstance(node.value, bool):
        return node.value
    word = (plain(node) or "").strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Bad("true or false")


def _read_verify(node: Node, bounds: Range) -> bool:
    word = (plain(node) or "").strip().lower()
    return word == "verify_peer" if word in ("verify_peer", "verify_none") else _read_bool(node, bounds)


BOOL = Kind("true or false", _read_bool, _show_scalar)
VERIFY = Kind("true or false", _read_verify, _show_scalar)
"""A switch that may also be said as EMQX says it: `verify_peer`, `verify_none`."""

# --- numbers ------------------------------------------------------------------------------------------------


def _read_int(node: Node, bounds: Range) -> int:
    what = "a whole number"
    text = None if isinstance(node.value, bool) else plain(node)
    if text is None or not re.fullmatch(r"[+-]?\d{1,18}", text.strip()):
        raise Bad(f"{what} {bounds.text(_number)}".strip())
    value = int(text)
    _fits(value, bounds, what)
    return value


def _read_float(node: Node, bounds: Range) -> float:
    what = "a number"
    text = None if isinstance(node.value, bool) else plain(node)
    if text is None or not re.fullmatch(r"[+-]?(\d{1,18}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", text.strip()):
        raise Bad(f"{what} {bounds.text(_number)}".strip())
    value = float(text)
    _fits(value, bounds, what)
    return value


INT = Kind("whole number", _read_int, str)
INT_OR_OFF = or_off(INT)
FLOAT = Kind("number", _read_float, _number)
FLOAT_OR_OFF = or_off(FLOAT)

# --- sizes --------------------------------------------------------------------------------------------------

_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def show_size(value: float) -> str:
    """Bytes in the largest unit that divides them; 1KB is 1024 bytes, as NanoMQ has it."""
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if value >= factor and value % factor == 0:
            return f"{int(value) // factor}{unit}"
    return _number(value)


def _read_size(node: Node, bounds: Range) -> int:
    what = "a size such as 64KB, 10MB or 1GB, or a number of bytes,"
    text = None if isinstance(node.value, bool) else plain(node)
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?", (text or "").strip().lower())
    if match is None:
        raise Bad(f"{what} {bounds.text(show_size)}".strip(" ,"))
    value = int(float(match[1]) * _SIZE_UNITS[match[2]])
    _fits(value, bounds, what, show_size)
    return value


SIZE = Kind("size", _read_size, show_size)

# --- rates --------------------------------------------------------------------------------------------------

_RATE = re.compile(r"(.+?)\s*/\s*(\d{0,6})\s*([a-z]+)")


def _rate(
    what: str,
    amount: Callable[[Node, Range], float],
    show: Callable[[float], str],
    whole: Callable[[float], float] = float,
) -> Kind:
    """A kind for so much a second: `100`, `100/s`, `6000/m`, `500/10s`, or off."""

    def read(node: Node, bounds: Range) -> float:
        text = "" if isinstance(node.value, bool) else (plain(node) or "").strip().lower()
        match = _RATE.fullmatch(text)
        number, over = (match[1], float(match[2] or 1) * _TIME_UNITS.get(match[3], 0)) if match else (text, 1)
        try:
            value = amount(Node(number, node.key, node.place, number), Range())
        except Bad:
            value = 0
        if value <= 0 or over <= 0:
            raise Bad(what)
        return whole(value / over)

    rate = or_off(Kind(what, read, lambda v: f'"{show(v)}/s"'))

    def read_or_off(node: Node, bounds: Range) -> float | None:
        if (plain(node) or "").strip().lower() == "infinity":  # EMQX's word
            return None
        return cast("float | None", rate.read(node, bounds))

    return Kind(rate.name, read_or_off, rate.show)


# --- times --------------------------------------------------------------------------------------------------

_TIME_UNITS = {
    **dict.fromkeys(("ns", "nano", "nanos", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "micro", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}


def show_seconds(value: float) -> str:
    """Seconds in the largest unit that divides them."""
    if value == 0:
        return "0s"
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if value >= factor and value % factor == 0:
            return f"{int(value) // factor}{unit}"
    millis = value * 1000
    if value < 1 and abs(millis - round(millis)) < 1e-9:
        return f"{round(millis)}ms"
    return f"{_number(value)}s"


def _seconds(node: Node, bare: float) -> float | None:
    """A time in seconds; a number without a unit counts in `bare` seconds."""
    if isinstance(node.value, timedelta):
        return node.value.total_seconds()
    text = None if isinstance(node.value, bool) else plain(node)
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]*)", (text or "").strip().lower())
    if match is None:
        return None
    factor = bare if not match[2] else _TIME_UNITS.get(match[2])
    return None if factor is None else float(match[1]) * factor


def _read_seconds(node: Node, bounds: Range) -> float:
    what = "a time such as 500ms, 10s, 5m, 2h or 7d, or a number of seconds,"
    value = _seconds(node, 1.0)
    if value is None:
        raise Bad(f"{what} {bounds.text(show_seconds)}".strip(" ,"))
    _fits(value, bounds, what, show_seconds)
    return value


def _read_whole_seconds(node: Node, bounds: Range) -> int:
    value = _read_seconds(node, bounds)
    if not value.is_integer():
        raise Bad("whole seconds, such as 10s, 5m or 2h")
    return int(value)


def _read_millis(node: Node, bounds: Range) -> int:
    what = "a time such as 500ms or 5s, or a number of milliseconds,"

    def show(ms: float) -> str:
        return show_seconds(ms / 1000)

    value = _seconds(node, 1e-3)
    if value is None:
        raise Bad(f"{what} {bounds.text(show)}".strip(" ,"))
    millis = math.floor(value * 1000 + 0.5)
    _fits(millis, bounds, what, show)
    return millis


SECONDS = Kind("time", _read_seconds, show_seconds)
WHOLE_SECONDS = Kind("time", _read_whole_seconds, show_seconds)
MILLIS = Kind("time in ms", _read_millis, str)
SECONDS_OR_OFF = or_off(SECONDS)
WHOLE_SECONDS_OR_OFF = or_off(WHOLE_SECONDS)

RATE = _rate("a rate such as 100/s, 6000/m, or a number a second", _read_float, _number)
BYTE_RATE = _rate(
    "a rate such as 64KB/s, 1MB/m, or a number of bytes a second", _read_size, show_size, math.ceil
)

# --- texts --------------------------------------------------------------------------------------------------


def _read_text(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None:
        raise Bad("a text")
    if not text:
        raise Bad("a text that is not empty")
    if "\x00" in text:
        raise Bad("a text without a NUL character")
    return text


def _read_file_name(node: Node, bounds: Range) -> str:
    text = _read_text(node, bounds)
    if "/" in text or text in (".", ".."):
        raise Bad("a file name without a folder")
    return text


def _read_path(node: Node, bounds: Range) -> Path:
    try:
        return Path(_read_text(node, bounds))
    except Bad:
        raise Bad("a path") from None


def _read_secret(node: Node, bounds: Range) -> SecretStr:
    text = plain(node)
    if text is None:
        raise Bad("a text, or file:///path of a file that holds it")
    try:
        return SecretStr(resolve(text))
    except SecretError as error:
        raise Bad(f"a secret that can be read: {error}") from None


TEXT = Kind("text", _read_text, quote)
FILE_NAME = Kind("file name", _read_file_name, quote)
PATH = Kind("path", _read_path, lambda v: quote(str(v)))
SECRET = Kind("text (a secret)", _read_secret, lambda _: quote("******"), secret=True)


def one_of(*choices: str, also: dict[str, str] | None = None) -> Kind:
    """A kind for one word of several, in any case; `also` has other spellings."""
    possible = ", ".join(choices[:-1]) + (" or " if choices[1:] else "") + choices[-1]

    def read(node: Node, bounds: Range) -> str:
        word = (plain(node) or "").strip().lower()
        word = (also or {}).get(word, word)
        if word not in choices:
            raise Bad(possible)
        return word

    return Kind(possible, read, str)


def some_of(*choices: str) -> Kind:
    """A kind for a list of words: `[a, b]`, one word, or NanoMQ's `"a,b"`."""
    possible = "a list of " + ", ".join(choices[:-1]) + " or " + choices[-1]

    def read(node: Node, bounds: Range) -> tuple[str, ...]:
        nodes = node.value if isinstance(node.value, list) else [node]
        words: list[str] = []
        for item in nodes:
            text = plain(item)
            if text is None:
                raise Bad(possible)
            words += [w.strip().lower() for w in text.split(",")]
        if not words or any(w not in choices for w in words):
            raise Bad(possible)
        return tuple(dict.fromkeys(words))

    return Kind(possible, read, lambda v: "[" + ", ".join(v) + "]")
