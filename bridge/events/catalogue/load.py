"""Reads the catalogue's files: those of the package and the user's. An error names file, place and remedy."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from bridge.events.catalogue.check import DIALECT, Checker, Problem, SchemaError
from bridge.events.js_json import JsJsonError, loads, pointer

MAX_NAME = 128
"""Characters of a type's name."""
MAX_FILE = 4 << 20
"""Bytes of a user's file."""
MAX_TYPES = 10_000
MAX_DESCRIPTION = 4096
FILES = ("machshop.json", "eryxon.json")

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_EXPECTED_NAME = (
    f"expected a name such as work_order.created: letters, digits, _ and -, in parts with dots between them,"
    f" at most {MAX_NAME} characters"
)
_KEYS = ("description", "schema", "example")
_ANY: dict[str, Any] = {"type": "object"}


class CatalogueError(ValueError):
    """A file of types that cannot be used; `path` is a JSON Pointer into it."""

    def __init__(self, file: str, path: str, problem: str) -> None:
        self.file = file
        self.path = path
        self.problem = problem
        super().__init__(f"{file}: {path}: {problem}" if path else f"{file}: {problem}")


def valid_name(text: str) -> bool:
    """Whether a type can have this name. None with a line break, a slash or a wildcard of MQTT can."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class DomainType:
    """One type of business event. `sources` say whose it is: MachShop, Eryxon, or the user's file."""

    name: str
    description: str
    sources: tuple[str, ...]
    schemas: tuple[dict[str, Any], ...]  # data is right by one of them
    examples: tuple[dict[str, Any], ...]  # of data, right by the schema of the same place

    @property
    def schema(self) -> dict[str, Any]:
        """One JSON Schema for all its forms."""
        first = self.schemas[0] if len(self.schemas) == 1 else {"anyOf": list(self.schemas)}
        return {"$schema": DIALECT} | first

    @property
    def example(self) -> dict[str, Any]:
        """An example of its data."""
        return self.examples[0] if self.examples else {}


@dataclass(slots=True)
class Catalogue(Mapping[str, DomainType]):
    """All types by name, MachShop's first, then Eryxon's, then the user's."""

    types: dict[str, DomainType]
    _checkers: dict[str, Checker] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> DomainType:
        return self.types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)

    def check(self, name: str, data: Any) -> list[Problem]:
        """What is wrong with the data of an event; nothing for a type that is not in the catalogue.

        `data` is the value as `bridge.events.js_json.loads` gives it.
        """
        checker = self._checkers.get(name)
        if checker is None:
            found = self.types.get(name)
            if found is None:
                return []
            checker = self._checkers[name] = Checker(*found.schemas)
        return checker(data)


def load(path: Path | None = None) -> Catalogue:
    """MachShop's and Eryxon's types, and those of the user's file. Raises CatalogueError."""
    types = dict(_shipped())
    checkers: dict[str, Checker] = {}
    if path is not None:
        own, checkers = _own(path)
        types |= own
    return Catalogue(types, checkers)


@functools.cache
def _shipped() -> Mapping[str, DomainType]:
    types: dict[str, DomainType] = {}
    for name in FILES:
        text = (resources.files(__package__) / name).read_text("utf-8")
        root = json.loads(text)
        for event, entry in root["types"].items():
            made = DomainType(
                event, entry["description"], (root["source"],), (entry["schema"],), (entry["example"],)
            )
            types[event] = _joined(types[event], made) if event in types else made
    return types


def _joined(one: DomainType, other: DomainType) -> DomainType:
    """A type that two systems have."""
    return DomainType(
        one.name,
        f"{one.description} ({one.sources[0]}); {other.description} ({other.sources[0]})",
        one.sources + other.sources,
        one.schemas + other.schemas,
        one.examples + other.examples,
    )


# -- the user's file ---------------------------------------------------------------------------------------


def _own(path: Path) -> tuple[dict[str, DomainType], dict[str, Checker]]:
    file = str(path)
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise CatalogueError(file, "", f"cannot be read: {error.strerror or error}") from None
    if len(text) > MAX_FILE:
        raise CatalogueError(file, "", f"found more than {MAX_FILE >> 20} MiB, expected at most that")
    try:
        root = loads(text)
    except JsJsonError as error:
        raise CatalogueError(file, pointer(error.path), error.problem) from None
    entries = root.get("types") if isinstance(root, dict) else None
    if not isinstance(entries, dict):
        raise CatalogueError(
            file, "/types" if isinstance(root, dict) else "", 'expected an object {"types": {"name": {…}}}'
        )
    for key in root:
        if key not in ("types", "source"):
            raise CatalogueError(file, pointer((key,)), "unknown key, expected types")
    if len(entries) > MAX_TYPES:
        raise CatalogueError(file, "/types", f"found {len(entries)} types, expected at most {MAX_TYPES}")
    types: dict[str, DomainType] = {}
    checkers: dict[str, Checker] = {}
    for name, entry in entries.items():
        place = pointer(("types", name))
        if not valid_name(name):
            raise CatalogueError(file, place[:200], _EXPECTED_NAME)
        types[name], checkers[name] = _type(file, place, name, entry, path.name)
    return types, checkers


def _type(file: str, place: str, name: str, entry: Any, source: str) -> tuple[DomainType, Checker]:
    if not isinstance(entry, dict):
        raise CatalogueError(file, place, "expected an object with description, schema and example")
    for key in entry:
        if key not in _KEYS:
            raise CatalogueError(
                file, place + pointer((key,)), "unknown key, expected description, schema or example"
            )
    description = entry.get("description", "")
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION:
        raise CatalogueError(
            file, place + "/description", f"expected a text of at most {MAX_DESCRIPTION} characters"
        )
    schema = entry.get("schema", _ANY)
    if not isinstance(schema, dict):
        raise CatalogueError(file, place + "/schema", f"expected a JSON Schema, an object ({DIALECT})")
    try:
        checker = Checker(schema)
    except SchemaError as error:
        raise CatalogueError(file, f"{place}/schema{error.path}", error.message) from None
    examples: tuple[dict[str, Any], ...] = ()
    if "example" in entry:
        example = entry["example"]
        if not isinstance(example, dict):
            raise CatalogueError(file, place + "/example", "expected an object: an example of data")
        wrong = checker(example)
        if wrong:
            raise CatalogueError(
                file, f"{place}/example{wrong[0].path}", f"not right by its schema: {wrong[0].message}"
            )
        examples = (example,)
    return DomainType(name, description, (source,), (schema,), examples), checker
