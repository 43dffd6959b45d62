"""`events.lift`: which topics carry business events, and where in topic and payload their parts are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from bridge.config.block import build, fields, nearest, read_block
from bridge.config.findings import Findings
from bridge.config.keys import LIFT
from bridge.config.node import Node
from bridge.config.settings import Lift
from bridge.events.topic_pattern import parse

MAX_RULES = 1000
_POSSIBLE = 'a list: [ { topic = "{enterprise}/{site}/{area}/{cell}/{event}" } ]'

Known = Callable[[], Collection[str] | None]


def read(findings: Findings, node: Node | None, known: Known) -> tuple[Lift, ...]:
    """The rules of `events.lift`; `known` gives the types of the catalogue, None where any type may come."""
    if node is None or node.is_null or node.broken:
        return ()
    entries = node.value if isinstance(node.value, list) else [node]
    if len(entries) > MAX_RULES:
        findings.error(node.place, node.key, f"found {len(entries)} rules, expected at most {MAX_RULES}")
        return ()
    made: list[Lift] = []
    for entry in entries:
        if not isinstance(entry.value, dict):
            findings.wrong(entry, _POSSIBLE)
            continue
        if entry is node and all(child.is_null for child in entry.value.values()):
            return ()  # as conf/nanomq.conf shows it
        one = _rule(findings, entry, known)
        if one is not None:
            if any(one.topic == other.topic for other in made):
                findings.warn(entry, f"it has no effect: a rule before it has the topic {one.topic} too")
            made.append(one)
    return tuple(made)


def _rule(findings: Findings, entry: Node, known: Known) -> Lift | None:
    start = len(findings.messages)
    values = read_block(findings, entry, LIFT, re.sub(r"\[\d+\]$", "", entry.key))
    if "topic" not in values:
        if entry.get("topic") is None:
            findings.error(
                entry.place, entry.key, 'found no topic in it, expected topic = "plant/{site}/{event}"'
            )
        return None
    if "type" in values:
        at, kind = values["type"]
        names = set(parse(values["topic"][1]).names)
        used = re.findall(r"\{([^{}]*)\}", kind)
        missing = [name for name in used if name not in names]
        if missing:
            findings.error(
                at.place,
                at.key,
                f"found {{{missing[0][:64]}}}, expected variables of its topic: "
                + (", ".join(f"{{{name}}}" for name in sorted(names)) or "it has none"),
            )
        elif not used:
            types = known()
            if types is not None and kind not in types:
                near = nearest(kind, types)
                hint = f"did you mean {near}?" if near else "`hookmq events` lists all"
                findings.warn(
                    at,
                    f"no type is called {kind}, so no event comes of it; {hint} (types of your own:"
                    " events.catalogue, or events.unknown = pass)",
                )
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    made = build(findings, Lift, fields(values, LIFT, Lift), entry)
    return made if isinstance(made, Lift) else None
