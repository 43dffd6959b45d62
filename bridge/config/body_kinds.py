"""Kinds of values of what a request holds: its method, its note, its fields, its payload."""

from __future__ import annotations

import re

from bridge.config.kinds import items
from bridge.config.node import Node
from bridge.config.settings import Encoding
from bridge.config.units import Bad, Kind, Range, plain, quote
from bridge.mqtt.topics import valid_topic_name

MAX_NOTE = 4096
"""Characters."""
MAX_TEMPLATE = 64 * 1024
"""Characters of a template, and of a condition."""
MAX_FIELDS = 256
MAX_TYPES = 256
"""Types and patterns of them that one endpoint asks for."""
METHODS = ("POST", "PUT", "GET", "DELETE")


def _read_method(node: Node, bounds: Range) -> str:
    word = (plain(node) or "").strip().upper()
    if word not in METHODS:
        raise Bad("POST, PUT, GET or DELETE")
    return word


METHOD = Kind("method", _read_method, str, choices=METHODS)


def _read_note(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or len(text) > MAX_NOTE or "\x00" in text:
        raise Bad(f"a text of up to {MAX_NOTE} characters")
    return text


NOTE = Kind("text", _read_note, quote)

_ENCODINGS = tuple(e.value for e in Encoding)
_PAYLOADS = {"string": Encoding.PLAIN.value, "text": Encoding.PLAIN.value}


def _read_encoding(node: Node, bounds: Range) -> str:
    word = (plain(node) or "").strip().lower()
    if word not in _ENCODINGS:
        raise Bad(", ".join(_ENCODINGS[:-1]) + " or " + _ENCODINGS[-1])
    return word


def _read_payload(node: Node, bounds: Range) -> str:
    word = (plain(node) or "").strip().lower()
    word = _PAYLOADS.get(word, word)
    if word not in _ENCODINGS:
        raise Bad("string, json or base64 (or, as body.encoding has them, base62 or base62_legacy)")
    return word


ENCODING = Kind("encoding", _read_encoding, str, choices=_ENCODINGS)
PAYLOAD = Kind("payload", _read_payload, lambda v: "string" if v == Encoding.PLAIN.value else str(v))


def _read_fields(node: Node, bounds: Range) -> tuple[str, ...]:
    possible = f"a list of a body's keys such as [clientid, topic, payload], at most {MAX_FIELDS}"
    names: list[str] = []
    for item in items(node):
        text = (plain(item) or "").strip()
        if not re.fullmatch(r"[\x21-\x7e]{1,128}", text):
            raise Bad(possible)
        names.append(text)
    if len(names) > MAX_FIELDS:
        raise Bad(possible)
    return tuple(dict.fromkeys(names))


FIELDS = Kind("list of keys", _read_fields, lambda v: "[" + ", ".join(map(quote, v)) + "]")


def type_pattern(text: str) -> str:
    """The name of a type of business event, or a pattern of names. Raises `Bad`."""
    if not re.fullmatch(r"[A-Za-z0-9_.*?!\[\]-]{1,128}", text):
        raise Bad("a type or a pattern such as work_order.*")
    return text


def _read_types(node: Node, bounds: Range) -> tuple[str, ...]:
    possible = f"a list of types and patterns such as [work_order.*, job.created], at most {MAX_TYPES}"
    names: list[str] = []
    for item in items(node):
        try:
            names.append(type_pattern((plain(item) or "").strip()))
        except Bad:
            raise Bad(possible) from None
    if len(names) > MAX_TYPES:
        raise Bad(possible)
    return tuple(dict.fromkeys(names))


TYPES = Kind("list of patterns", _read_types, lambda v: "[" + ", ".join(map(quote, v)) + "]")


def _read_long(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or len(text) > MAX_TEMPLATE or "\x00" in text:
        raise Bad(f"a text of up to {MAX_TEMPLATE} characters, in quotes")
    return text


def _read_condition(node: Node, bounds: Range) -> str | None:
    return _read_long(node, bounds).strip() or None


LONG_TEXT = Kind("text", _read_long, quote)
CONDITION = Kind("condition", _read_condition, quote)


def _read_source(node: Node, bounds: Range) -> str:
    text = plain(node)
    # RFC 3986 section 4.1, as far as it matters: what can stand in a header as it is
    if not text or not re.fullmatch(r"[!#$&-;=?-Z_a-z~\[\]%]{1,1024}", text):
        raise Bad('a URI reference such as "/plant/7" or "https://plant.example/hookmq", no spaces')
    return text


def _read_type_prefix(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or not re.fullmatch(r"[\x21-\x7e]{0,256}", text):
        raise Bad('printable ASCII without spaces, such as "com.example.plant."')
    return text


URI_REFERENCE = Kind("URI reference", _read_source, quote)
TYPE_PREFIX = Kind("text", _read_type_prefix, quote)


def _read_node_name(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or not re.fullmatch(r"[\x21-\x7e]{1,255}", text):
        raise Bad('printable ASCII without spaces, such as "hookmq@gateway"')
    return text


NODE_NAME = Kind("name", _read_node_name, quote)


def _read_level(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or len(text) > 256 or not text.isprintable():
        raise Bad("a text of up to 256 characters, which becomes a level of the topic")
    return text


def _read_mqtt_text(node: Node, bounds: Range) -> str:
    text = plain(node)
    if not text or len(text.encode("utf-8", "surrogatepass")) > 65535 or not text.isprintable():
        raise Bad("a text of 1 to 65535 bytes, no control characters")
    return text


_VERSIONS = {"3": 3, "3.1": 3, "4": 4, "3.1.1": 4, "311": 4, "5": 5, "5.0": 5}


def _read_version(node: Node, bounds: Range) -> int:
    found = _VERSIONS.get((plain(node) or "").strip().lower().removeprefix("mqtt").removeprefix("v"))
    if found is None:
        raise Bad("5 (MQTT 5), 4 (3.1.1) or 3 (3.1)")
    return found


LEVEL_VALUE = Kind("text", _read_level, quote)
"""What a topic's level is made of."""


def _read_local_topic(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or (text and not valid_topic_name(text)):
        raise Bad("a topic without + and #, or an empty text")
    return text


MQTT_TEXT = Kind("text", _read_mqtt_text, quote)
LOCAL_TOPIC = Kind("topic", _read_local_topic, quote)
"""`local_topic` of a bridge; empty: that of the message."""
PROTO_VER = Kind("MQTT version", _read_version, str)
