"""The `events` block, and whether the types that webhooks ask for are there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bridge.config import lift
from bridge.config.block import build, fields, nearest, read_block
from bridge.config.findings import Findings
from bridge.config.keys import EVENTS
from bridge.config.node import Node
from bridge.config.settings import DomainEvents

Known = Callable[[], Collection[str] | None]
"""The names of the catalogue; None where any type may come, or where they cannot be read."""


def read(findings: Findings, node: Node | None) -> tuple[DomainEvents, Known]:
    """The settings, and the known types. A catalogue that cannot be used is an error in `findings`."""
    values = read_block(findings, node, EVENTS)
    settings = DomainEvents()
    if node is not None:
        made = build(findings, DomainEvents, fields(values, EVENTS, DomainEvents), node)
        if isinstance(made, DomainEvents):
            settings = made
    known = _known(findings, settings, values)
    rules = lift.read(findings, node.get("lift") if node is not None else None, known)
    return (settings.model_copy(update={"lift": rules}) if rules else settings), known


def _known(findings: Findings, settings: DomainEvents, values: dict[str, tuple[Node, Any]]) -> Known:
    if settings.catalogue is None:
        return lambda: None if settings.unknown == "pass" else _names(None)
    at = values["catalogue"][0]
    names: Collection[str] | None = None
    try:
        names = _names(settings.catalogue)
    except ValueError as error:
        findings.error(at.place, at.key, str(error))
    if settings.unknown == "pass":
        names = None
    return lambda: names


def _names(path: Path | None) -> Collection[str]:
    from bridge.events import catalogue  # noqa: PLC0415  its library takes a while to load

    return tuple(catalogue.load(path))


def check_types(findings: Findings, node: Node, patterns: Collection[str], known: Known) -> None:
    """One warning for each pattern that no known type has."""
    names = known() if patterns else None
    if names is None:
        return
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        near = nearest(pattern, names)
        hint = f"did you mean {near}?" if near else "`hookmq events` lists all"
        findings.warn(
            node,
            f"no type is called {pattern}, so it brings no event; {hint} (types of your own:"
            " events.catalogue, or events.unknown = pass)",
        )
