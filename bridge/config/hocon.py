"""A HOCON file, with its includes, as a tree of nodes that know their file and line.

The files are put together into one text first, each `include` replaced by what it names, with a table of
where each line came from; pyhocon reads that text, and `scan` finds the keys' lines in it.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyhocon import ConfigFactory, config_parser, period_parser
from pyhocon.config_parser import ConfigParser
from pyhocon.config_tree import ConfigTree, NoneValue
from pyhocon.exceptions import ConfigException, ConfigMissingException
from pyparsing import ParseBaseException

from bridge.config.findings import Findings
from bridge.config.node import Node, Place, join
from bridge.config.scan import MAX_DEPTH, KeyPath, Scan, circle, scan
from bridge.events.emqx import KEYS as FIELDS

MAX_FILE = 4 << 20
"""Bytes of one configuration file."""
MAX_TEXT = 8 << 20
"""Characters of all files together."""
MAX_INCLUDES = 16
"""Files that include one another, one inside the other."""

MAX_SUBSTITUTIONS = 1000
"""Substitutions in all files together."""

_UNRESOLVED = "\x00unresolved:"
_NEEDS_QUOTES = "^`+?!@*&\\$=[]{}:"


def read_text(path: Path) -> str:
    """The text of a file, line ends as `\\n`, without a byte order mark.

    Raises OSError, or ValueError with a sentence (too large, not UTF-8: with the line).
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"the file is larger than {MAX_FILE >> 20}MB, which no configuration is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise ValueError(f"line {line} holds the byte 0x{data[e.start]:02x}, which is not UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def why(error: OSError) -> str:
    """An OSError's reason without its number and path."""
    return error.strerror or str(error)


class _HiddenInclude(Exception):
    """pyhocon saw an include where `scan` saw none."""


class _NoIncludes(ConfigFactory):  # type: ignore[misc]
    """What pyhocon asks for included files. It would also fetch URLs, which a configuration may never do."""

    @classmethod
    def parse_file(cls, *args: Any, **kwargs: Any) -> Any:
        raise _HiddenInclude

    @classmethod
    def parse_URL(cls, *args: Any, **kwargs: Any) -> Any:  # pyhocon's name
        raise _HiddenInclude


_put = ConfigTree._put


def _merging(named: frozenset[str | int]) -> Any:
    """pyhocon's `ConfigTree._put`, but objects that no substitution names merge in place.

    Its root copies an object for each further part of it (`webhooks.a { … }`, `webhooks.b { … }`) and keeps
    every copy, for `a = ${a} …`, which makes a thousand webhooks cost a minute.
    """

    def put(tree: Any, key_path: list[str], value: Any, append: bool = False) -> None:
        if len(key_path) == 1 and tree.root and key_path[0] not in named:
            existing = dict.get(tree, key_path[0])
            if isinstance(existing, ConfigTree) and isinstance(value, ConfigTree):
                ConfigTree.merge_configs(existing, value)
                return
        _put(tree, key_path, value, append)

    return put


@contextlib.contextmanager
def _own_ways(named: frozenset[str | int] | None) -> Iterator[None]:
    """pyhocon as this file needs it, whatever else is installed.

    All includes are in the text already: it opens nothing itself. With dateutil in the environment it would
    make `10s` a relativedelta and know months and years, which settings do not have. `named` are the first
    parts of the keys that substitutions name; None: all keys may be.
    """
    if named is not None:
        ConfigTree._put = _merging(named)
    impl, units = period_parser.period_impl, dict(period_parser.period_type_map)
    config_parser.ConfigFactory = _NoIncludes
    period_parser.period_impl = timedelta
    for unit in period_parser.optional_period_type_map:
        period_parser.period_type_map.pop(unit, None)
    try:
        yield
    finally:
        ConfigTree._put = _put
        config_parser.ConfigFactory = ConfigFactory
        period_parser.period_impl = impl
        period_parser.period_type_map.update(units)


class _Assembly:
    """One text out of a file and all that it includes; `origin[i]` is where line i + 1 came from."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.parts: list[str] = []
        self.size = 0
        self.origin: list[Place] = []

    def add(self, path: Path, text: str, stack: tuple[Path, ...]) -> None:
        walk = scan(text)
        cuts: list[tuple[int, int, Any]] = [*walk.edits, *((i.start, i.end, i) for i in walk.includes)]
        if stack and walk.root_braces is not None:
            cuts += [(at, at + 1, "") for at in walk.root_braces]
        line, at = 1, 0
        if not self.origin:
            self.origin.append(Place(path, 1))
        for start, end, new in sorted(cuts, key=lambda cut: cut[:2]):
            line = self._copy(path, text[at:start], line)
            if isinstance(new, str):
                self.parts.append(new)
            else:
                opening, closing = ("{", "}") if new.is_value else ("", "")
                self.parts.append(opening)
                self._include(path, new.line, new.form, new.target, (*stack, path.resolve()))
                self._break(Place(path, line))
                self.parts.append(closing)
            at = end
        self._copy(path, text[at:], line)

    def _copy(self, path: Path, text: str, line: int) -> int:
        self.parts.append(text)
        self.size += len(text)
        new = text.count("\n")
        self.origin.extend(Place(path, line + i) for i in range(1, new + 1))
        return line + new

    def _break(self, place: Place) -> None:
        self.parts.append("\n")
        self.origin.append(place)

    def _include(self, path: Path, line: int, form: str, target: str, stack: tuple[Path, ...]) -> None:
        place, key = Place(path, line), f'include "{target}"'
        if form in ("url", "package", "classpath") or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", target):
            self.findings.error(place, key, "HookMQ includes files only, expected a path")
            return
        if "\x00" in target or not target:
            self.findings.error(place, "include", "found no path, expected one")
            return
        file = path.parent / target
        if file.resolve() in stack:
            self.findings.error(place, key, "the file includes itself")
            return
        if len(stack) > MAX_INCLUDES or self.size > MAX_TEXT:
            self.findings.error(
                place, key, f"too many includes, expected at most {MAX_INCLUDES} inside one another"
            )
            return
        try:
            text = read_text(file)
        except OSError as e:
            self.findings.error(place, key, f"cannot read {file}: {why(e)}")
            return
        except ValueError as e:
            self.findings.error(place, key, f"cannot read {file}: {e}")
            return
        self._break(Place(file, 1))
        self.add(file, text, stack)

    def place(self, line: int) -> Place:
        return self.origin[min(max(line, 1), len(self.origin)) - 1]


def read(
    path: Path, text: str, environ: Mapping[str, str], findings: Findings, root_key: str = ""
) -> Node | None:
    """The tree of a HOCON text, or None where its syntax is broken (which is an error in `findings`).

    `root_key` begins every key of the tree in messages.
    """
    assembly = _Assembly(findings)
    assembly.add(path, text, ())
    whole = "".join(assembly.parts)
    walk = scan(whole)
    if walk.too_deep is not None:
        place = assembly.place(walk.too_deep)
        findings.error(place, "", f"HOCON syntax: more than {MAX_DEPTH} brackets inside one another")
        return None
    if len(walk.substitutions) > MAX_SUBSTITUTIONS:
        place = assembly.place(walk.substitutions[MAX_SUBSTITUTIONS][2])
        findings.error(place, "", f"more than {MAX_SUBSTITUTIONS} substitutions ${{…}}")
        return None
    circular = circle(walk)
    if circular is not None:
        # pyhocon does not see every circle, and runs in it for ever
        findings.error(assembly.place(circular), "", "a substitution ${…} that leads back to itself")
        return None
    tree = _parse(whole, environ, walk, assembly, findings)
    if tree is None:
        return None
    if isinstance(tree, list):
        findings.error(Place(path, 1), root_key, "found a list, expected keys and values")
        return None
    return _Builder(walk, assembly).node(tree, (), root_key, assembly.place(1))


def _parse(
    whole: str, environ: Mapping[str, str], walk: Scan, assembly: _Assembly, findings: Findings
) -> Any:
    class Parser(ConfigParser):  # type: ignore[misc]
        """pyhocon, with substitutions from `environ`, and every unknown one reported instead of the first."""

        @classmethod
        def _resolve_variable(cls, config: Any, substitution: Any) -> tuple[bool, Any]:
            name = substitution.variable
            with contextlib.suppress(ConfigMissingException):
                return True, config.get(name)
            if name in environ:
                return True, environ[name]
            if substitution.optional:
                return False, None
            return True, f"{_UNRESOLVED}{name}\x00"

    named = None if "+=" in whole else frozenset(variable[0] for _, variable, _ in walk.substitutions)
    try:
        with _own_ways(named):
            return Parser.parse(whole, None, resolve=True)
    except ParseBaseException as e:
        place, text = _syntax(whole, e.lineno, e.column, walk, assembly)
        findings.error(place, "", text)
    except ConfigException as e:
        line = re.search(r"line: ?(\d+)", str(e))
        if "cycle" in str(e):
            text = "a substitution ${…} that leads back to itself"
        else:
            text = "a value that begins with [ or { and goes on behind the bracket needs quotes"
        findings.error(assembly.place(int(line[1]) if line else 1), "", f"HOCON syntax: {text}")
    except _HiddenInclude:
        findings.error(assembly.place(1), "", "an include in an odd place, expected it on a line of its own")
    except RecursionError:
        findings.error(assembly.place(1), "", "HOCON syntax: the file is nested too deeply")
    except Exception as e:  # pyhocon lets other errors through on odd input
        findings.error(assembly.place(1), "", f"cannot be read as HOCON ({type(e).__name__})")
    return None


def _syntax(whole: str, line: int, column: int, walk: Scan, assembly: _Assembly) -> tuple[Place, str]:
    """A sentence for a syntax error. It never quotes the line: that may hold a secret."""
    lines = whole.expandtabs().split("\n")
    source = lines[line - 1] if line <= len(lines) else ""
    place = assembly.place(line)
    char = source[column - 1] if 0 < column <= len(source) else ""
    if walk.unclosed and (not char or not "\n".join(lines[line - 1 :])[column - 1 :].strip()):
        bracket, opened, key = walk.unclosed[0]
        close = "}" if bracket == "{" else "]"
        of = f" of {key}" if key else ""
        return assembly.place(
            opened
        ), f"HOCON syntax: the {bracket}{of} that opens here is never closed, expected {close}"
    if not char:
        while line > 1 and not lines[line - 1].strip():
            line -= 1
        text = "HOCON syntax: the line ends where = and a value, or {, were expected"
        return assembly.place(line), text + "; a text with a comma in it needs quotes, a list needs [ … ]"
    shown = f'"{char}"' if char != '"' else "a double quote"
    if not (char.isascii() and char.isprintable()):
        shown = f"{char!r} ({unicodedata.name(char, 'no printable character')})"
    text = f"HOCON syntax: unexpected {shown} at column {column}"
    if char == '"':
        text += ", expected a closing quote on the same line"
    elif char in "}]":
        text += ", a bracket that nothing opened"
    elif char in _NEEDS_QUOTES:
        text += f'; a value with {char} in it needs quotes: "…"'
    elif char == ",":
        text += "; a text with a comma in it needs quotes, a list needs [ … ]"
    return place, text


class _Builder:
    def __init__(self, walk: Scan, assembly: _Assembly) -> None:
        self.spots = walk.spots
        self.assembly = assembly
        self.findings = assembly.findings

    def node(self, value: Any, path: KeyPath, key: str, above: Place) -> Node:
        spot = self.spots.get(path)
        place = self.assembly.place(spot.line) if spot is not None else above
        if isinstance(value, ConfigTree):
            children: dict[str, Node] = {}
            for spelled, member in value.items():
                name = unquote(str(spelled))
                children[name] = self.node(member, (*path, name), join(key, name), place)
            return Node(children, key, place)
        if isinstance(value, list):
            items = [self.node(v, (*path, i), f"{key}[{i}]", place) for i, v in enumerate(value)]
            return Node(items, key, place)
        if isinstance(value, NoneValue):
            value = None
        if isinstance(value, str) and _UNRESOLVED in value:
            for name in re.findall(_UNRESOLVED + "([^\x00]*)", value):
                meant = (
                    "a placeholder needs quotes around it"
                    if name.partition(".")[0] in FIELDS
                    else f"${{?{name}}} is for one that may be missing"
                )
                self.findings.error(
                    place,
                    key,
                    f"${{{name}}} is neither a key of this file nor an environment variable ({meant})",
                )
            return Node(value, key, place, broken=True)
        if not isinstance(value, str | int | float | bool | timedelta | None):
            value = _duration(value) or (spot.raw if spot is not None and spot.raw else str(value))
        return Node(value, key, place, spot.raw if spot is not None and spot.raw else None)


def _duration(value: Any) -> timedelta | None:
    """What pyhocon makes of `10s` where python-dateutil happens to be installed: its relativedelta.

    None for anything else, and for months and years, which are no fixed time.
    """
    if type(value).__name__ != "relativedelta" or value.months or value.years:
        return None
    return timedelta(
        days=value.days,
        hours=value.hours,
        minutes=value.minutes,
        seconds=value.seconds,
        microseconds=value.microseconds,
    )


def unquote(name: str) -> str:
    """A key's name: pyhocon keeps the quotes of a key that holds a dot or comes from an include."""
    name = name.strip()
    if len(name) >= 2 and name[0] == name[-1] == '"':
        return re.sub(r'\\(["\\])', r"\1", name[1:-1])
    return name
