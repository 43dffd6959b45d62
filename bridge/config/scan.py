"""Where each key of a HOCON text stands: a walk that records lines, since pyhocon's trees hold none.

The walk is tolerant and never fails: pyhocon decides what is valid, this only says where. It also notes
what must be changed before pyhocon reads the text (`edits`), so that nanomq.conf means what NanoMQ reads:

* adjacent objects in an array are elements, `[{…} {…}]`, where HOCON would merge them into one;
* a quoted name in a dotted key, `a."b c" = 1`, which pyhocon does not know, becomes `a { "b c" = 1 }`;
* JSON escapes that pyhocon leaves as they are (`\\/`, `\\u00e9`), and tabs in strings, which it widens.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]

MAX_DEPTH = 60
"""Objects and arrays inside each other; pyhocon's recursion ends a little above."""

_INCLUDE = re.compile(
    r"include\b[ \t]*(?P<required>required[ \t]*\([ \t]*)?"
    r"(?:(?P<form>url|file|package|classpath)[ \t]*\([ \t]*)?"
    r'"(?P<target>(?:[^"\\\n]|\\.)*)"',
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([/bf]))|\t")
_ESCAPED = {"/": "/", "b": "\b", "f": "\f"}
_AGAIN = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(slots=True)
class Spot:
    """One definition: its line, and its value's text where that is unquoted and plain."""

    line: int
    raw: str | None = None


@dataclass(slots=True)
class Include:
    """One `include` directive: the text from `start` to `end`, in `line`."""

    start: int
    end: int
    line: int
    form: str  # "", "file", "url", "package", "classpath"
    target: str
    is_value: bool = False  # `key = include "file"`: the file's keys are the object


@dataclass(slots=True)
class Scan:
    """What the walk found. `spots` has the last definition of each path, list elements by index."""

    spots: dict[KeyPath, Spot] = field(default_factory=dict)
    includes: list[Include] = field(default_factory=list)
    substitutions: list[tuple[KeyPath, KeyPath, int]] = field(default_factory=list)  # where, of what, line
    edits: list[tuple[int, int, str]] = field(default_factory=list)
    unclosed: list[tuple[str, int, str]] = field(default_factory=list)  # bracket, line, key; outermost last
    too_deep: int | None = None  # line
    root_braces: tuple[int, int] | None = None  # offsets of { and } around the whole text


def scan(text: str) -> Scan:
    """Walk `text` (line ends are `\\n` alone)."""
    return _Walk(text).run()


def circle(found: Scan) -> int | None:
    """The line of a substitution that leads back to itself, over others or by holding itself, or None.

    `a = ${a} x` is none: a key that names itself means its earlier value.
    """
    places = found.substitutions

    def follows(place: KeyPath, variable: KeyPath, other: KeyPath) -> bool:
        shared = min(len(variable), len(other))
        return variable[:shared] == other[:shared] and not (place == other == variable)

    next_: list[list[int]] = [
        [j for j, (other, _, _) in enumerate(places) if follows(place, variable, other)]
        for place, variable, _ in places
    ]
    state = [0] * len(places)  # 0 not seen, 1 on the way, 2 done
    for root in range(len(places)):
        stack = [(root, iter(next_[root]))] if not state[root] else []
        state[root] = state[root] or 1
        while stack:
            at, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[at] = 2
                stack.pop()
            elif state[following] == 1:
                return places[following][2]
            elif state[following] == 0:
                state[following] = 1
                stack.append((following, iter(next_[following])))
    return None


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.end = len(text)
        self.pos = 0
        self.depth = 0
        self.result = Scan()
        self.starts = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]

    def run(self) -> Scan:
        self._blank()
        if self._at("{"):
            start = self.pos
            self.pos += 1
            self._members(())
            if self._at("}"):
                self.result.root_braces = (start, self.pos)
                self.pos += 1
        # whatever a stray bracket left over is walked too: it may hold keys
        while self.pos < self.end:
            self._members(())
            self.pos += 1
        return self.result

    def _line(self, pos: int | None = None) -> int:
        return bisect_right(self.starts, self.pos if pos is None else pos)

    def _at(self, what: str) -> bool:
        return self.text.startswith(what, self.pos)

    def _to_line_end(self) -> None:
        at = self.text.find("\n", self.pos)
        self.pos = self.end if at < 0 else at

    def _blank(self, also: str = "") -> None:
        """Over white space, line ends and comments (and `also`)."""
        while self.pos < self.end:
            c = self.text[self.pos]
            if c in " \t\n" or c in also:
                self.pos += 1
            elif c == "#" or self._at("//"):
                self._to_line_end()
            else:
                return

    def _members(self, prefix: KeyPath) -> None:
        """The members of an object, up to its `}` (left in place) or the end."""
        while True:
            self._blank(",")
            if self.pos >= self.end or self._at("}"):
                return
            include = _INCLUDE.match(self.text, self.pos)
            if include is not None:
                self._include(include)
                continue
            start = self.pos
            line = self._line()
            segments, dots = self._key()
            if not segments:
                self.pos = max(self.pos, start + 1)
                continue
            path = (*prefix, *segments)
            for depth in range(len(prefix) + 1, len(path)):
                self.result.spots.setdefault(path[:depth], Spot(line))
            append = self._at("+=")
            if append:
                self.pos += 2
                self.result.spots.setdefault(path, Spot(line))
            else:
                self.result.spots[path] = Spot(line)
            if not append and (self._at("=") or self._at(":")):
                self.pos += 1
            if not self._at("{"):
                self._blank()
            self._value(path, self._length(path) if append else 0)
            self.result.edits += [(dot, dot + 1, " { ") for dot in dots]
            if dots:
                self.result.edits.append((self.pos, self.pos, " }" * len(dots)))

    def _include(self, match: re.Match[str], is_value: bool = False) -> None:
        start, line = self.pos, self._line()
        self.pos = match.end()
        for group in ("form", "required"):
            if match[group]:
                while self.pos < self.end and self.text[self.pos] in " \t":
                    self.pos += 1
                if self._at(")"):
                    self.pos += 1
        target = re.sub(r"\\(.)", r"\1", match["target"])
        self.result.includes.append(
            Include(start, self.pos, line, (match["form"] or "").lower(), target, is_value)
        )

    def _key(self) -> tuple[list[str], list[int]]:
        """The segments of a key, up to its `=`, `:`, `+=` or `{` (left in place); [] where there is none.

        With them the offsets of the dots between them, where one of the segments is quoted.
        """
        segments: list[str] = []
        dots: list[int] = []
        part = ""
        quoted = any_quoted = False
        while self.pos < self.end:
            c = self.text[self.pos]
            if c == '"':
                part += self._string()
                quoted = any_quoted = True
                continue
            if c == ".":
                dots.append(self.pos)
                segments.append(part if quoted else part.strip())
                part, quoted = "", False
            elif c in "=:{" or self._at("+="):
                segments.append(part if quoted else part.strip())
                whole = all(segments)
                return [s for s in segments if s], dots if any_quoted and whole else []
            elif c in "\n#" or self._at("//"):
                self._blank()
                if self.pos < self.end and self.text[self.pos] in "=:{":
                    continue
                return [], []
            elif c in ",}]":
                return [], []
            elif not quoted:
                part += c
            self.pos += 1
        return [], []

    def _string(self) -> str:
        """A quoted string, from its quote to behind the closing one; its content."""
        if self._at('"""'):
            start = self.pos + 3
            close = self.text.find('"""', start)
            self.pos = self.end if close < 0 else close + 3
            while self._at('"'):  # `""""` at the end: the extra quotes belong to the text
                self.pos += 1
            return self.text[start : max(start, self.pos - 3)]
        start = self.pos + 1
        at = start
        while at < self.end and self.text[at] not in '"\n':
            at += 2 if self.text[at] == "\\" else 1
        at = min(at, self.end)
        self.pos = at + 1 if at < self.end and self.text[at] == '"' else at
        self._escapes(start, at)
        return re.sub(r'\\(["\\])', r"\1", self.text[start:at])

    def _escapes(self, start: int, end: int) -> None:
        at = start
        while at < end:
            if self.text[at] == "\\" or self.text[at] == "\t":
                match = _ESCAPE.match(self.text, at, end)
                if match is not None:
                    char = (
                        "\t"
                        if match[0] == "\t"
                        else chr(int(match[1], 16))
                        if match[1]
                        else _ESCAPED[match[2]]
                    )
                    self.result.edits.append((at, match.end(), _AGAIN.get(char, char)))
                    at = match.end()
                    continue
                at += 1
            at += 1

    def _length(self, path: KeyPath) -> int:
        n = 0
        while (*path, n) in self.result.spots:
            n += 1
        return n

    def _value(self, path: KeyPath, first: int = 0) -> None:
        """A value, up to the line end, comma or bracket that ends it."""
        start = self.pos
        plain = True
        while self.pos < self.end:
            c = self.text[self.pos]
            if c == "{":
                plain = False
                self._nested("}", path, 0)
            elif c == "[":
                plain = False
                first = self._nested("]", path, first)
            elif c == '"':
                plain = False
                self._string()
            elif self._at("${"):
                plain = False
                close = self.text.find("}", self.pos)
                close = self.end if close < 0 else close
                name = self.text[self.pos + 2 : close].removeprefix("?")
                variable = tuple(part.strip(' "') for part in name.split("."))
                self.result.substitutions.append((path, variable, self._line()))
                self.pos = min(close + 1, self.end)
            elif c in "\n,}]#" or (
                self._at("//") and (self.pos == start or self.text[self.pos - 1] in " \t")
            ):
                break
            elif (
                c in "iI"
                and self.text[self.pos - 1] in ' \t\n=:[,{}"]'
                and (include := _INCLUDE.match(self.text, self.pos))
            ):
                plain = False
                self._include(include, is_value=True)
            else:
                self.pos += 2 if c == "\\" else 1
            if path and isinstance(path[-1], int) and c == "{" and self._next_object():
                return
        self.pos = min(self.pos, self.end)
        if plain:
            self.result.spots[path].raw = self.text[start : self.pos].strip()

    def _next_object(self) -> bool:
        """In an array, behind an element's `}`: another object on the same line is the next element."""
        at = self.pos
        while at < self.end and self.text[at] in " \t":
            at += 1
        if self.text.startswith("{", at):
            self.result.edits.append((self.pos, self.pos, ","))
            self.pos = at
            return True
        return False

    def _nested(self, close: str, path: KeyPath, first: int) -> int:
        """An object or array from its bracket to behind the closing one; for an array the next free index."""
        opened = self.pos
        self.pos += 1
        if self.depth >= MAX_DEPTH:
            self.result.too_deep = self.result.too_deep or self._line(opened)
            self.pos = self.end
            return first
        self.depth += 1
        if close == "}":
            self._members(path)
        else:
            first = self._elements(path, first)
        self.depth -= 1
        if self._at(close):
            self.pos += 1
        elif self.result.too_deep is None:
            key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
            self.result.unclosed.append((self.text[opened], self._line(opened), key))
        return first

    def _elements(self, path: KeyPath, index: int) -> int:
        while True:
            self._blank(",")
            if self.pos >= self.end or self._at("]") or self._at("}"):
                return index
            element = (*path, index)
            self.result.spots[element] = Spot(self._line())
            start = self.pos
            self._value(element)
            self.pos = max(self.pos, start + 1)
            index += 1
