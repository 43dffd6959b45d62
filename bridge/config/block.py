"""A block's keys read by its table: known ones converted, idle and unknown ones named in a warning."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from bridge.config.findings import Findings
from bridge.config.keys import Block, Key
from bridge.config.node import Node, found
from bridge.config.units import Bad, Range

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known key most like `name`, or None where none is."""
    options = list(known)
    lower = {k.lower(): k for k in options}
    close = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
    if close:
        return lower[close[0]]
    last = name.lower().rpartition(".")[2]
    tails = [k for k in options if k.lower().rpartition(".")[2] == last]
    return tails[0] if tails else None


def warn_unknown(
    findings: Findings, node: Node, name: str, block: str, known: Iterable[str], blocks: Iterable[str] = ()
) -> None:
    """One warning (strictly: an error) for a key that nobody reads, with the nearest known one.

    `blocks` are the known objects.
    """
    options = list(dict.fromkeys(known))
    near = nearest(name, [*options, *blocks] if isinstance(node.value, dict) else options)
    if len(options) > 24:
        options = list(dict.fromkeys(option.partition(".")[0] for option in options))
    prefix = f"{block}." if block else ""
    if near is not None:
        hint = f"did you mean {prefix}{near}?"
    else:
        hint = f"known keys {'of ' + block if block else 'of the file'}: {', '.join(options)}"
    if findings.strict:
        findings.error(node.place, node.key, f"unknown key; {hint}")
    else:
        findings.warn(node, f"unknown key, it has no effect; {hint}")


def convert(findings: Findings, node: Node, key: Key) -> Any:
    """The value of one key, or None where it is wrong (which is an error in `findings`)."""
    return convert_as(findings, node, key, key.bounds)


def convert_as(findings: Findings, node: Node, key: Key, bounds: Range) -> Any:
    """`convert` with other bounds."""
    try:
        return key.kind.read(node, bounds)
    except Bad as e:
        findings.wrong(node, str(e), secret=key.kind.secret)
        return None


def read_block(
    findings: Findings, node: Node | None, block: Block, title: str | None = None
) -> dict[str, tuple[Node, Any]]:
    """All keys of a block: name → (node, value). Wrong values are errors and left out; null is unset.

    `title` is the block's name in this file, for messages, where it is not the table's (`webhooks.line1`).
    """
    values: dict[str, tuple[Node, Any]] = {}
    title = title or block.name
    if node is None:
        return values
    if not isinstance(node.value, dict):
        if not node.is_null:
            findings.wrong(node, f"an object: {title} {{ key = value … }}")
        return values
    by_name = {key.name: key for key in block.keys}
    known = [*by_name, *sorted(block.open)]
    containers = {
        name.rpartition(".")[0]
        for name in (*by_name, *block.also, *block.renamed, *block.idle)
        if "." in name
    }

    def walk(at: Node, prefix: str) -> None:
        for member, child in at.children.items():
            name = f"{prefix}{member}"
            key = by_name.get(name)
            if name in block.open and not prefix:
                continue
            if key is None and name in block.also:
                today = block.also[name]
                key = by_name[today]
                if node.get(*today.split(".")) is not None:
                    findings.warn(child, f"another spelling of {title}.{today}, which is given too and wins")
                    continue
            elif key is None and name in block.renamed:
                today = block.renamed[name]
                key = by_name[today]
                if node.get(*today.split(".")) is not None:
                    findings.warn(child, f"an older spelling of {title}.{today}, which is given too and wins")
                    continue
                findings.warn(child, f"an older spelling, read as {title}.{today}")
            if key is not None:
                # None is a value of its own where a key may be off
                before = len(findings.messages)
                value = None if child.is_null or child.broken else convert(findings, child, key)
                if not child.is_null and not child.broken and len(findings.messages) == before:
                    values[key.name] = (child, value)
            elif name in block.idle:
                findings.warn(child, block.idle[name])
            elif name in containers and isinstance(child.value, dict):
                walk(child, f"{name}.")
            elif name in containers:
                if not child.is_null:
                    findings.wrong(child, f"an object: {title}.{name} {{ key = value … }}")
            else:
                warn_unknown(findings, child, name, title, known, containers)

    walk(node, "")
    return values


def build(findings: Findings, model: type[BaseModel], values: dict[str, Any], node: Node) -> Any:
    """A model of values that were converted one by one; None where they do not fit, which is an error."""
    try:
        return model(**values)
    except ValidationError as e:
        for problem in e.errors():
            name = ".".join(str(part) for part in problem["loc"])
            findings.error(
                node.place, f"{node.key}.{name}", f"found {found(node)}, which does not fit {name}"
            )
        return None


def fields(values: dict[str, tuple[Node, Any]], block: Block, model: type[BaseModel]) -> dict[str, Any]:
    """The values that belong to `model`, by its field names."""
    return {k.field: values[k.name][1] for k in block.keys if k.model is model and k.name in values}


def check_name(findings: Findings, name: str, node: Node) -> bool:
    """Whether a block of several may have that name; an error if not."""
    if _NAME.fullmatch(name):
        return True
    findings.error(
        node.place, node.key, f'found the name "{name[:80]}", expected 1 to 64 letters, digits, _ and -'
    )
    return False
