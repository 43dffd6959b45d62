"""Settings as JSON: a document that is read like a block of the file, and shown with the same names.

Names and nesting are those of the file's keys (`retry.schedule` is `{"retry": {"schedule": …}}`), and so are
the values' forms. What is a number or a switch in the file is one in JSON too; sizes and times may also be
texts such as `10MB` and `5s`. An unknown key is an error.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from bridge.config import kinds, units
from bridge.config.body_kinds import FIELDS, PROTO_VER, TYPES
from bridge.config.findings import Findings
from bridge.config.keys import BLOCKS, Block, Key
from bridge.config.mask import MASK
from bridge.config.node import Node, Place, join
from bridge.config.report import Message
from bridge.config.settings import AnyEndpoint, Secret
from bridge.config.units import Kind
from bridge.events.names import find

ROOT = "\0"
"""The key of a document in messages, where nothing of it is shown."""
MAX_DEPTH = 12
MAX_BYTES = 256 << 10
"""Bytes of one document as JSON."""
_HERE = Place(Path("body"))


class Fault(NamedTuple):
    """What is wrong, and where: a JSON Pointer (RFC 6901), empty for the whole."""

    path: str
    message: str


class Document:
    """A JSON object as a tree of nodes. `pointers` has the JSON Pointer of each node's key."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.findings = Findings(strict=True)
        self.pointers: dict[str, str] = {ROOT: ""}
        self.too_deep = False
        self.root = self._node(value, ROOT, "", 0)

    def _node(self, value: Any, key: str, pointer: str, depth: int) -> Node:
        self.pointers[key] = pointer
        if depth > MAX_DEPTH:
            self.findings.error(_HERE, key, f"nested deeper than {MAX_DEPTH} levels")
            self.too_deep = True
            return Node(None, key, _HERE)
        if isinstance(value, Mapping):
            members = {
                name: self._node(child, join(key, name), f"{pointer}/{_escaped(name)}", depth + 1)
                for name, child in value.items()
            }
            return Node(members, key, _HERE)
        if isinstance(value, list):
            entries = [
                self._node(child, f"{key}[{index}]", f"{pointer}/{index}", depth + 1)
                for index, child in enumerate(value)
            ]
            return Node(entries, key, _HERE)
        if isinstance(value, float) and value.is_integer():  # 5.0 is an integer (JSON Schema 2020-12, 6.1.1)
            value = int(value)
        if isinstance(value, str) and MASK in value:
            shown = f"found {MASK}, which is how a secret is shown, expected the secret itself, or nothing"
            self.findings.error(_HERE, key, f"{shown}: then it stays as it is")
            return Node("", key, _HERE, broken=True)
        return Node(value, key, _HERE)

    def faults(self) -> list[Fault]:
        """The errors found so far."""
        return [self._fault(one) for one in self.findings.messages if one.level == "error"]

    def warnings(self) -> list[Fault]:
        """And the warnings."""
        return [self._fault(one) for one in self.findings.messages if one.level != "error"]

    def _fault(self, message: Message) -> Fault:
        pointer = self.pointers.get(message.key)
        if pointer is None:  # of a key that is not there
            above, _, name = message.key.rpartition(".")
            pointer = f"{self.pointers.get(above, '')}/{_escaped(name)}"
        text = message.text.replace(f" of {ROOT}: ", ": ").replace(f"{ROOT}.", "").replace(ROOT, "")
        return Fault(pointer, text)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


# --- types --------------------------------------------------------------------------------------------------

_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_SWITCH = {"type": "boolean"}
_TIME = {"type": ["number", "string"]}
_LIST = {"type": "array", "items": _TEXT}


def _object(member: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [member],
        "properties": {member: _TEXT},
        "additionalProperties": False,
    }


_SECRET_FORM: dict[str, Any] = {
    "oneOf": [{"type": "string", "minLength": 1}, _object("env"), _object("file")],
    "writeOnly": True,
}
_FORMS: tuple[tuple[Kind, dict[str, Any]], ...] = (
    (units.BOOL, _SWITCH),
    (units.VERIFY, _SWITCH),
    (units.INT, {"type": "integer"}),
    (units.FLOAT, _NUMBER),
    (units.FLOAT_OR_OFF, {"type": ["number", "string"], "description": "Or `off`."}),
    (units.SIZE, {"type": ["integer", "string"], "description": "Bytes, or a text such as `10MB`."}),
    (units.MILLIS, _TIME | {"description": "Milliseconds, or a text such as `5s`."}),
    (units.SECONDS, _TIME | {"description": "Seconds, or a text such as `5m`."}),
    (units.WHOLE_SECONDS, _TIME | {"description": "Whole seconds, or a text such as `5m`."}),
    (PROTO_VER, {"enum": [5, 4, 3, "5", "3.1.1", "3.1"], "type": ["integer", "string"]}),
    (units.SECONDS_OR_OFF, _TIME | {"description": "Seconds, a text such as `5m`, or `off`."}),
    (units.SECRET, _TEXT | {"writeOnly": True}),
    (FIELDS, _LIST),
    (TYPES, _LIST),
    (kinds.STATUSES, {"type": ["string", "array"], "items": {"type": ["integer", "string"]}}),
    (kinds.SCHEDULE, {"type": ["string", "array"], "items": _TIME}),
    (kinds.SOURCE, _SECRET_FORM),
)
RULE: dict[str, Any] = {
    "type": "object",
    "required": ["event"],
    "additionalProperties": False,
    "properties": {
        "event": {"type": "string"},
        "topic": {"type": "string", "description": "A topic filter."},
    },
}
"""The schema of an entry of `events` that is one of the broker's."""
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def form(key: Key) -> dict[str, Any]:
    """The JSON Schema of a key's value."""
    found = next((schema for kind, schema in _FORMS if kind is key.kind), _TEXT)
    made = dict(found)
    if key.kind.choices:
        made["enum"] = list(key.kind.choices)
    if key.kind in (units.INT, units.FLOAT):
        bounds = key.bounds
        if bounds.low is not None:
            made["exclusiveMinimum" if bounds.open_low else "minimum"] = bounds.low
        if bounds.high is not None:
            made["maximum"] = bounds.high
    default = key.default
    usable = isinstance(default, str | int | float) and default != ""
    if usable and isinstance(default, bool) == (found is _SWITCH):
        made["default"] = default
    return made


def rename(findings: Findings, root: Node, aliases: Mapping[str, str]) -> None:
    """Members by their other names become those of the file; both together are an error."""
    members = root.children
    for alias, name in aliases.items():
        if alias not in members:
            continue
        node = members.pop(alias)
        if name in members:
            findings.error(
                node.place, node.key, f"found beside {name}, another name of it, expected one of them"
            )
        members[name] = node


_TYPE = re.compile(r"[A-Za-z0-9_.*?!\[\]-]{1,128}")


def names_type(findings: Findings, entry: Node) -> bool:
    """Whether an entry of `events` is a type of business events, or a pattern; a text that is none is an
    error."""
    if not isinstance(entry.value, str) or find(entry.value) is not None:
        return False
    if _TYPE.fullmatch(entry.value.strip()):
        return True
    findings.wrong(entry, "a type of event or a pattern such as work_order.*, or {event, topic}")
    entry.broken = True
    return False


def check_types(findings: Findings, node: Node, block: Block, prefix: str = "") -> None:
    """An error for each value whose JSON type is none of those that its key has."""
    table = _types(block.name)
    for member, child in node.children.items():
        name = prefix + member
        found = table.get(name)
        if found is None:
            check_types(findings, child, block, f"{name}.")
        elif not child.is_null and not child.broken:
            key, names, kinds = found
            if not isinstance(child.value, kinds) or (isinstance(child.value, bool) and bool not in kinds):
                findings.wrong(child, " or ".join(names), secret=key.kind.secret)
                child.broken = True


@functools.cache
def _types(block: str) -> dict[str, tuple[Key, tuple[str, ...], tuple[type, ...]]]:
    """By a key's name, and its other names: the key, its JSON types, and Python's for them."""
    (table,) = [one for one in BLOCKS if one.name == block]
    made: dict[str, tuple[Key, tuple[str, ...], tuple[type, ...]]] = {}
    for key in table.keys:
        allowed = form(key).get("type", ["string", "object"])
        names = (allowed,) if isinstance(allowed, str) else tuple(allowed)
        made[key.name] = key, names, tuple({kind for name in names for kind in _JSON_TYPES[name]})
    return made | {other: made[today] for other, today in table.also.items()}


def block_schema(block: Block, leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON Schema of a block's keys, nested by their dots."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for key in block.keys:
        if key.name in leave_out:
            continue
        *above, last = key.name.split(".")
        at = schema
        for name in above:
            at = at["properties"].setdefault(
                name, {"type": "object", "additionalProperties": False, "properties": {}}
            )
        at["properties"][last] = form(key)
    return schema


# --- shown --------------------------------------------------------------------------------------------------


def shown(key: Key, value: Any) -> Any:
    """A key's value as JSON that `Document` takes back; a secret as where it is, or as `******`."""
    kind = key.kind
    if value is None:
        return "off" if kind.name.endswith("off") else None
    if kind is kinds.STATUSES:
        return [low if low == high else f"{low}-{high}" for low, high in value]
    if isinstance(value, Secret):
        if value.env is not None:
            return {"env": value.env}
        return {"file": str(value.file)} if value.file is not None else MASK
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, tuple):
        return [int(one) if isinstance(one, float) and one.is_integer() else one for one in value]
    return value if isinstance(value, bool | int | float) else str(value)


def shown_rules(receiver: AnyEndpoint) -> list[dict[str, str]]:
    """The broker's events that a receiver is sent, as entries of `events`."""
    found = []
    for rule in receiver.events:
        one = {"event": "on_" + rule.event.action}
        found.append(one if rule.topic is None else {**one, "topic": rule.topic})
    return found


def put(into: dict[str, Any], name: str, value: Any) -> None:
    """Set the member that a dotted name means."""
    *above, last = name.split(".")
    for part in above:
        into = into.setdefault(part, {})
    into[last] = value


def given(block: Block, holder: BaseModel, prefix: str = "") -> Iterator[tuple[Key, Any]]:
    """The keys of a block that belong to this part of the settings and differ from their default."""
    for key in block.keys:
        if isinstance(holder, key.model) and key.name.startswith(prefix):
            value = getattr(holder, key.field)
            if value != key.default:
                yield key, value


# --- changing -----------------------------------------------------------------------------------------------


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON Merge Patch, RFC 7396 section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def text_of(fault: Fault) -> str:
    """A fault on one line."""
    return f"{fault.path}: {fault.message}" if fault.path else fault.message
