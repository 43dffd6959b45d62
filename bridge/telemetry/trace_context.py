"""W3C Trace Context (level 1, https://www.w3.org/TR/trace-context/): read, kept as one text, handed on.

The text is a `traceparent`, and behind a space the `tracestate` if there is one. What is not valid is taken
for absent, as section 3.2.2.4 has it, so that nothing of it can end up in the head of a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
SAMPLED = 0x01
MAX_STATE = 512
"""Characters of a tracestate that are kept (section 3.3.1.5)."""
LONG_MEMBER = 128
"""Characters beyond which a member goes first where there is no room for all (section 3.3.1.5)."""
MAX_MEMBERS = 32
MAX_READ = 8192
"""Characters of a tracestate that are looked at."""

_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


def parent_of(text: str) -> str | None:
    """A valid `traceparent` as version 00 has it; None for one that is not."""
    text = text.strip(" \t")
    found = _PARENT.fullmatch(text) if len(text) <= MAX_STATE else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "00":
        return None if more else text
    # Of a later version what this one knows (section 4): the ids, and whether it is sampled.
    return f"00-{trace}-{parent}-{int(flags, 16) & SAMPLED:02x}"


def state_of(texts: Iterable[str]) -> str:
    """A `tracestate` of one or several lines; empty where there is none, or where it is not valid."""
    joined = ",".join(texts)
    if not joined or len(joined) > MAX_READ:
        return ""
    members = [member for part in joined.split(",") if (member := part.strip(" \t"))]
    if len(members) > MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    if sum(map(len, members)) + len(members) - 1 > MAX_STATE:
        members = [member for member in members if len(member) <= LONG_MEMBER]
        while sum(map(len, members)) + len(members) - 1 > MAX_STATE:
            members.pop()
    return ",".join(members)


def context(parents: Sequence[str], states: Sequence[str]) -> str | None:
    """The text of what came, None where there is no valid context; several parents are none."""
    parent = parent_of(parents[0]) if len(parents) == 1 else None
    if parent is None:
        return None
    state = state_of(states) if states else ""
    return f"{parent} {state}" if state else parent


def of_pairs(pairs: Iterable[tuple[str, str]]) -> str | None:
    """The context among an MQTT 5 message's user properties."""
    parents: list[str] = []
    states: list[str] = []
    for name, value in pairs:
        if name == TRACEPARENT:
            parents.append(value)
        elif name == TRACESTATE:
            states.append(value)
    return context(parents, states) if parents else None


def to_pairs(text: str) -> list[tuple[str, str]]:
    """As header lines, or user properties."""
    parent, _, state = text.partition(" ")
    pairs = [(TRACEPARENT, parent)]
    if state:
        pairs.append((TRACESTATE, state))
    return pairs


def into_request(request: bytes, text: str) -> bytes:
    """An HTTP/1.1 request with the context as the last lines of its head."""
    at = request.index(b"\r\n\r\n")
    lines = "".join([f"\r\n{name}: {value}" for name, value in to_pairs(text)])
    return b"%b%b%b" % (request[:at], lines.encode("ascii"), request[at:])
