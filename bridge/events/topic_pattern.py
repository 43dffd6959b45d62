"""Patterns of topic names with variables: `{enterprise}/{site}/{area}/{cell}/{event}`.

* A variable in braces stands for one whole level. `{event}` stands for one level or two, since the Unified
  Namespace writes the type `operation.completed` as `operation/completed`; its value is the type.
* `+` is one level without a name, `#` at the end is the rest (section 4.7.1 of MQTT 5.0).
* As with topic filters, a pattern that begins with a variable or a wildcard has no topic that begins with
  `$` ([MQTT-4.7.2-1]).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from bridge.mqtt.topics import TopicTree, valid_topic_filter

EVENT = "event"
"""The variable that may span two levels."""
MAX_LEVELS = 128
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class PatternError(ValueError):
    """Not a pattern; the message says what was expected."""


class TopicPattern(NamedTuple):
    """One pattern. `levels` are its levels: a text, or the name of a variable as `{name}`; `filters` are the
    topic filters of the topics that it has."""

    text: str
    levels: tuple[str, ...]
    names: tuple[str, ...]
    filters: tuple[str, ...]

    def variables(self, topic: str) -> dict[str, str]:
        """The variables' values in a topic that one of the filters matches."""
        levels = topic.split("/")
        found: dict[str, str] = {}
        at = 0
        for level in self.levels:
            if level == "#":
                break
            if level == "{event}":
                # What the other levels leave: one or two.
                width = len(levels) - len(self.levels) + 1
                found[EVENT] = ".".join(levels[at : at + width])
                at += width
                continue
            if level[0:1] == "{":
                found[level[1:-1]] = levels[at]
            at += 1
        return found


def parse(text: str, reserved: Iterable[str] = ()) -> TopicPattern:
    """A pattern; `reserved` are names that no variable may have. Raises PatternError."""
    levels = tuple(text.split("/"))
    names: list[str] = []
    for level in levels:
        if "{" not in level and "}" not in level:
            continue
        match = _VARIABLE.fullmatch(level)
        if match is None:
            raise PatternError(
                f"a variable is a whole level, such as {{site}}; found {level[:80]!r} between two slashes"
            )
        name = match[1]
        if not _NAME.fullmatch(name):
            raise PatternError(
                f"a variable's name is lower-case letters, digits and _; found {{{name[:64]}}}"
            )
        if name in reserved:
            raise PatternError(f"no variable can be called {name}: an event has its own")
        if name in names:
            raise PatternError(f"found {{{name}}} twice")
        names.append(name)
    if EVENT in names and "#" in levels:
        raise PatternError("found {event} and #: how many levels are the event cannot be told")
    plain = "/".join("+" if level[0:1] == "{" else level for level in levels)
    filters = [plain]
    if EVENT in names:
        filters.append(
            "/".join("+/+" if level == "{event}" else "+" if level[0:1] == "{" else level for level in levels)
        )
    if not all(valid_topic_filter(one, MAX_LEVELS) for one in filters):
        raise PatternError("+ and # stand alone in their level, # in the last one")
    if plain.startswith("$share/"):
        raise PatternError("a pattern is no shared subscription")
    return TopicPattern(text, levels, tuple(names), tuple(filters))


class PatternTable:
    """Patterns, found by a topic: the first one in order that has it."""

    def __init__(self, patterns: Iterable[TopicPattern]) -> None:
        self._tree: TopicTree[int] = TopicTree()
        for number, pattern in enumerate(patterns):
            for one in pattern.filters:
                self._tree.add(one, number, number)

    def find(self, topic: str) -> int | None:
        """The number of the first pattern that has the topic, from 0."""
        return min(self._tree.match(topic), default=None)
