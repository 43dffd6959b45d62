"""Whether data is what a type's JSON Schema (draft 2020-12) says, and where it is not.

Nothing is fetched: a `$ref` to another document is an error of the schema. `format` is checked.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple, NoReturn

import jsonschema_rs

from bridge.events.js_json import pointer

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_PROBLEMS = 20
"""Problems of one event that are told."""
MAX_MESSAGE = 300
"""Characters of each."""


class Problem(NamedTuple):
    """What is wrong in data, and where: a JSON Pointer (RFC 6901), empty for the data as a whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class SchemaError(ValueError):
    """What is no JSON Schema; `path` is a JSON Pointer into it."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}" if path else message)


def _fetch(uri: str) -> NoReturn:
    raise ValueError("other documents are not fetched; expected a $ref that begins with #/")


class Checker:
    """One or more schemas, of which data has to be right by one. Raises SchemaError."""

    __slots__ = ("_validators",)

    def __init__(self, *schemas: dict[str, Any]) -> None:
        self._validators = [_compile(schema) for schema in schemas]

    def __call__(self, data: Any) -> list[Problem]:
        """What is wrong with the data: nothing, or what is by the schema that it comes nearest to."""
        found: list[list[Problem]] = []
        for validator in self._validators:
            if validator.is_valid(data):
                return []
            found.append([_problem(e) for e in islice(validator.iter_errors(data), MAX_PROBLEMS)])
        return min(found, key=_distance, default=[])


def _compile(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    dialect = schema.get("$schema", DIALECT)
    if dialect != DIALECT and dialect != DIALECT + "#":
        raise SchemaError("/$schema", f"found {_cut(repr(dialect))}, expected {DIALECT}")
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, validate_formats=True, ignore_unknown_formats=True, retriever=_fetch
        )
    except jsonschema_rs.ValidationError as error:
        raise SchemaError(pointer(error.instance_path), _cut(error.message)) from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaError("", _cut(str(error))) from None


def _problem(error: jsonschema_rs.ValidationError) -> Problem:
    return Problem(pointer(error.instance_path), _cut(error.message))


def _distance(problems: list[Problem]) -> tuple[int, int]:
    """The deeper a schema fits, the nearer it is."""
    return -max(problem.path.count("/") for problem in problems), len(problems)


def _cut(text: str) -> str:
    text = text.partition("\n")[0]
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
