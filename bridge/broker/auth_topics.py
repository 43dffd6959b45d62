"""Topic patterns of access rules: what they reach of a topic name, and of a topic filter.

One principle decides every doubt: a rule that allows is read narrowly, one that denies widely.

* An allowing pattern lets a client subscribe to a filter only if it has all topics of the filter: `a/+`
  does not give `a/#`. A denying one takes away every filter with a topic in common: `#` is no way to
  `secret/#` for one who may not have that.
* A wildcard at the beginning of an allowing pattern reaches no `$` topic ([MQTT-4.7.2-1]), as everywhere;
  of a denying one it does.
* A client id or user name that itself holds `+` or `#` is put into no allowing pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

CLIENTID, USERNAME = "${clientid}", "${username}"
LITERAL = "@"
"""A pattern that begins with it is the rest of it to the letter, wildcards included."""

Levels = tuple[str, ...]


class Topics(NamedTuple):
    """The patterns of one rule, ready to be looked at. `every`: the rule is for every topic."""

    allow: bool
    every: bool
    exact: frozenset[str] = frozenset()  # topic names, and literals
    names: tuple[Levels, ...] = ()  # the topic names again, to be held against filters
    wild: tuple[Levels, ...] = ()

    def has_name(self, topic: str) -> bool:
        """Whether the rule is for a message with this topic name."""
        if self.every or topic in self.exact:
            return True
        if not self.wild:
            return False
        levels = topic.split("/")
        return any(has_name(pattern, levels, wide=not self.allow) for pattern in self.wild)

    def has_filter(self, topic_filter: str) -> bool:
        """Whether the rule is for a subscription to this filter."""
        if self.every or topic_filter in self.exact:
            return True
        levels = topic_filter.split("/")
        if self.allow:
            return any(covers(pattern, levels) for pattern in self.wild)
        return any(overlaps(pattern, levels) for pattern in (*self.wild, *self.names))


def topics(allow: bool, patterns: Iterable[str]) -> Topics:
    """The patterns of a rule, placeholders filled in; none at all is every topic."""
    texts = list(patterns)
    plain = [text for text in texts if not text.startswith(LITERAL)]
    names = [text for text in plain if "+" not in text and "#" not in text]
    return Topics(
        allow,
        not texts,
        frozenset([*names, *(text[1:] for text in texts if text.startswith(LITERAL))]),
        tuple([tuple(text.split("/")) for text in names]),
        # `+/#` is `#` in other words
        tuple([("#",) if text == "+/#" else tuple(text.split("/")) for text in plain if text not in names]),
    )


def placeholders(pattern: str) -> bool:
    """Whether the pattern differs from client to client."""
    return CLIENTID in pattern or USERNAME in pattern


def fill(pattern: str, clientid: str, username: str | None, *, allow: bool) -> str | None:
    """The pattern for one client; None where it has none."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith(CLIENTID, at):
            value: str | None = clientid
            at += len(CLIENTID)
        elif pattern.startswith(USERNAME, at):
            value = username
            at += len(USERNAME)
        else:
            parts.append(pattern[at])
            at += 1
            continue
        if not value:
            return None
        if allow and ("+" in value or "#" in value) and not pattern.startswith(LITERAL):
            return None
        parts.append(value)
    return "".join(parts)


def has_name(pattern: Levels, name: list[str], *, wide: bool) -> bool:
    """Whether a topic name matches, section 4.7; `wide`: also a `$` topic by a wildcard."""
    if not wide and name[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    for at, level in enumerate(pattern):
        if level == "#":
            return True
        if at == len(name) or (level != "+" and level != name[at]):
            return False
    return len(pattern) == len(name)


def covers(pattern: Levels, topic_filter: list[str]) -> bool:
    """Whether every topic of the filter matches the pattern."""
    if topic_filter[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    for at, level in enumerate(pattern):
        if level == "#":
            return True
        if at == len(topic_filter):
            return False
        wanted = topic_filter[at]
        if wanted == "#" or level not in ("+", wanted):
            return False
    return len(pattern) == len(topic_filter)


def overlaps(pattern: Levels, topic_filter: list[str]) -> bool:
    """Whether a topic of the filter matches the pattern, whose wildcards reach `$` topics, too."""
    if topic_filter[0] in ("+", "#") and pattern[0].startswith("$"):
        return False  # such a subscription gets no `$` topic
    for level, wanted in zip(pattern, topic_filter, strict=False):
        if level == "#" or wanted == "#":
            return True
        if level != wanted and "+" not in {level, wanted}:
            return False
    shorter = min(len(pattern), len(topic_filter))
    rest = pattern[shorter:] or tuple(topic_filter[shorter:])
    return not rest or rest == ("#",)  # `a/#` has its parent `a`, too
