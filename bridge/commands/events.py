"""`hookmq events`: the catalogue of business events, all types or one with its schema and example."""

from __future__ import annotations

import json as json_text
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bridge.commands.link import Failed
from bridge.commands.output import Column, block, print_json, print_table
from bridge.events.catalogue import Catalogue, CatalogueError, DomainType, load
from bridge.terminal import escape


def _catalogue(conf: Path | None) -> Catalogue:
    path: Path | None = None
    if conf is not None:
        from bridge.config.load import load as load_settings  # noqa: PLC0415  needs a third of a second

        report = load_settings(conf, os.environ)
        if report.settings is None:
            raise Failed(str(report.errors[0]) if report.errors else f"{conf}: has errors")
        path = report.settings.events.catalogue
    try:
        return load(path)
    except CatalogueError as error:
        raise Failed(str(error)) from None


def shown(kind: DomainType) -> dict[str, Any]:
    """A type as JSON shows it."""
    return {
        "name": kind.name,
        "description": kind.description,
        "sources": list(kind.sources),
        "schema": kind.schema,
        "example": kind.example,
        "examples": list(kind.examples),
    }


def list_types(conf: Path | None, *, json: bool) -> None:
    """All types. Raises Failed."""
    found = _catalogue(conf)
    if json:
        print_json([shown(kind) for kind in found.values()])
        return
    print_table(
        [Column("type"), Column("of"), Column("description", cut=True)],
        [(kind.name, ", ".join(kind.sources), kind.description) for kind in found.values()],
    )


def show_type(conf: Path | None, name: str, *, json: bool) -> None:
    """One type. Raises Failed."""
    found = _catalogue(conf)
    kind = found.get(name)
    if kind is None:
        near = get_close_matches(name, found, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else "`hookmq events` lists all"
        raise Failed(f"no type is called {name[:128]}; {hint}")
    if json:
        print_json(shown(kind))
        return
    print(f"{kind.name}  ({escape(', '.join(kind.sources))})")
    if kind.description:
        print(f"  {escape(kind.description)}")
    print("\n  schema of data")
    print(block(_pretty(kind.schema)))
    for example in kind.examples:
        print("\n  example of data")
        print(block(_pretty(example)))


def _pretty(value: Any) -> str:
    return json_text.dumps(value, indent=2, ensure_ascii=False)
