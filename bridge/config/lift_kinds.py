"""Kinds of values of `events.lift`: topic patterns, types, and members of a payload."""

from __future__ import annotations

import re

from bridge.config.node import Node
from bridge.config.units import Bad, Kind, Range, plain, quote
from bridge.events.topic_pattern import PatternError, parse

RESERVED = ("id", "timestamp")
"""What every business event has under that name."""
MAX_TYPE = 128
MAX_MEMBER = 256


def _read_pattern(node: Node, bounds: Range) -> str:
    possible = 'a topic with variables such as "{enterprise}/{site}/{area}/{cell}/{event}"'
    text = plain(node)
    if not text:
        raise Bad(possible)
    try:
        parse(text, RESERVED)
    except PatternError as error:
        raise Bad(f"{possible}; {error}") from None
    return text


def _read_type(node: Node, bounds: Range) -> str:
    text = plain(node) or ""
    if len(text) > MAX_TYPE or not re.fullmatch(
        r"([A-Za-z0-9_-]|\{[^{}]*\})+(\.([A-Za-z0-9_-]|\{[^{}]*\})+)*", text
    ):
        raise Bad('a type such as work_order.created, or with variables of the topic: "machine.{state}"')
    return text


def _read_member(node: Node, bounds: Range) -> str:
    text = plain(node)
    if not text or len(text) > MAX_MEMBER or not text.isprintable() or not all(text.split(".")):
        raise Bad("a member of the payload, such as msg_id, or header.id for one within another")
    return text


PATTERN = Kind("topic pattern", _read_pattern, quote)
TYPE = Kind("type", _read_type, quote)
MEMBER = Kind("member", _read_member, quote)
