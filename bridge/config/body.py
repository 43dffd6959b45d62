"""What an endpoint's requests hold: format, template, fields and payload, and which of them go together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from bridge.config.block import build, fields, nearest
from bridge.config.findings import Findings
from bridge.config.keys import PAYLOAD_KEY, WEBHOOK
from bridge.config.node import Node, found, shown_place
from bridge.config.policy import Values, spoken
from bridge.config.settings import BatchPolicy, CloudEvents, Encoding
from bridge.config.units import Bad, plain
from bridge.events.expression import ExpressionError, compile_condition
from bridge.events.formats import KEYS, TemplateError, check_header, check_template, has_placeholder

_ENCODINGS = tuple(e.value for e in Encoding)
_CLOUDEVENTS = tuple(f"cloudevents.{name}" for name in ("mode", "source", "type_prefix"))
_BODY = (
    *("payload", "include", "exclude", "body.encoding", "body.base62_limit"),
    *("body.template", "body.type"),
)
"""Keys that only a body has a use for."""

Headers = Iterable[tuple[str, str]]


class Made(NamedTuple):
    """Fields of an Endpoint, and its batches, which the format has a word in."""

    fields: dict[str, Any]
    batch: BatchPolicy | None


def whole(node: Node) -> Node:
    """The block with `body = "…"`, EMQX's spelling of a template, as `body.template`.

    The name of an encoding is no template: it stays, and is reported as what it is.
    """
    text = node.children.get("body")
    if text is None or isinstance(text.value, dict | list) or text.is_null:
        return node
    if (plain(text) or "").strip().lower() in _ENCODINGS:
        return node
    template = Node({"template": text}, text.key, text.place)
    return Node({**node.children, "body": template}, node.key, node.place)


def check_placeholders(text: str, where: Literal["url", "header"], *, secret: bool, name: str = "") -> None:
    """Raises `Bad` for a URL or a header with placeholders that cannot work; `secret`: show nothing of it.

    Nothing is shown of a URL's user and password either.
    """
    if not has_placeholder(text):
        return
    try:
        if where == "header":
            check_header(name)
        check_template(text, where)
    except TemplateError as e:
        secret = secret or (where == "url" and "@" in re.split("[/?#]", text[e.at :], maxsplit=1)[0])
        what = "a placeholder that is none (not shown); a dollar sign is ${$}" if secret else e.message
        raise Bad(f"at column {e.at + 1}: {what}") from None
    except ValueError as e:
        raise Bad(str(e)) from None


def read(
    findings: Findings, node: Node, values: Values, headers: Headers, *, batch: BatchPolicy | None
) -> Made:
    """What the keys about bodies say together. `values` are those of the block.

    What cannot be together is an error in `findings`, what says nothing a warning.
    """
    given: dict[str, Any] = {}
    _payload(findings, values)
    _where(findings, values)
    format_ = values["format"][1] if "format" in values else "nanomq"
    if "body.template" in values:
        at, template = values["body.template"]
        if "format" in values and format_ != "template":
            findings.error(
                at.place,
                at.key,
                f"found a template beside format = {format_}, expected format = template or none",
            )
        format_ = given["format"] = "template"
        _template(findings, at, template, values)
    given["cloudevents"] = build(findings, CloudEvents, fields(values, WEBHOOK, CloudEvents), node)
    if batch is not None and format_ == "cloudevents" and "batch.format" not in values:
        batch = batch.model_copy(update={"format": "cloudevents-batch"})
    _fields(findings, values, format_)
    _idle(findings, values, format_, batch)
    _content_type(findings, node, values, format_, headers)
    if batch is not None:
        _batched(findings, node, values, format_, headers)
    if "url" in values and has_placeholder(values["url"][1]):
        for child in spoken(values, ("abuse_protection",)):
            findings.error(
                child.place,
                child.key,
                "found beside placeholders in the url, expected one url: permission is asked for one alone",
            )
    return Made(given, batch)


def _payload(findings: Findings, values: Values) -> None:
    """`payload` and `body.encoding` are one key."""
    if PAYLOAD_KEY.name not in values or "body.encoding" not in values:
        return
    (one, first), (other, second) = values[PAYLOAD_KEY.name], values["body.encoding"]
    if first != second:
        findings.error(
            one.place,
            one.key,
            f"found {found(one)} beside body.encoding = {found(other)} ({shown_place(other, one)}),"
            " another spelling of the same, expected one of them",
        )


def _where(findings: Findings, values: Values) -> None:
    if "where" not in values or values["where"][1] is None:
        return
    node, text = values["where"]
    try:
        compile_condition(text)
    except ExpressionError as e:
        findings.error(node.place, node.key, str(e))


def _template(findings: Findings, node: Node, text: str, values: Values) -> None:
    try:
        check_template(text, values["body.type"][1] if "body.type" in values else "json")
    except TemplateError as e:
        before = text[: e.at]
        line, column = before.count("\n") + 1, e.at - before.rfind("\n")
        place = f"at column {column}" if "\n" not in text else f"at line {line}, column {column} of it"
        findings.error(node.place, node.key, f"{place}: {e.message}")
    choosing = spoken(values, ("include", "exclude"))
    if choosing and text and "${.}" not in text:
        findings.warn(
            choosing[0], "it has no effect: the template says what the body holds (${.} is all fields)"
        )


def _fields(findings: Findings, values: Values, format_: str) -> None:
    known = KEYS[format_]
    for name in ("include", "exclude"):
        if name not in values:
            continue
        node, names = values[name]
        for unknown in [each for each in names if each not in known]:
            near = nearest(unknown, sorted(known))
            hint = f"did you mean {near}?" if near else f"expected some of {', '.join(sorted(known))}"
            findings.warn(node, f"no body of the format {format_} has the key {unknown[:80]}; {hint}")


def _idle(findings: Findings, values: Values, format_: str, batch: BatchPolicy | None) -> None:
    """Keys that say nothing beside others."""
    method = values["method"][1] if "method" in values else "POST"
    if method in ("GET", "DELETE"):
        for child in spoken(values, _BODY):
            findings.warn(child, f"it has no effect: {method} has no body")
        if batch is not None:
            at = values["method"][0]
            findings.error(
                at.place, at.key, f"found {method} beside batch, expected POST or PUT: {method} has no body"
            )
        return
    if format_ != "template":
        for child in spoken(values, ("body.type",)):
            findings.warn(child, f"it has no effect with format = {format_}, only with template")
    if format_ == "cloudevents":
        for child in spoken(values, ("payload", "body.encoding", "body.base62_limit")):
            findings.warn(
                child, "it has no effect with format = cloudevents: data is JSON, text or base64 by itself"
            )
    elif batch is None or batch.format != "cloudevents-batch":
        for child in spoken(values, _CLOUDEVENTS):
            findings.warn(child, f"it has no effect with format = {format_}, only with cloudevents")


def _content_type(findings: Findings, node: Node, values: Values, format_: str, headers: Headers) -> None:
    """A Content-Type of the headers replaces the format's: warn where a receiver would be misled."""
    header = next((value for name, value in headers if name.lower() == "content-type"), None)
    if header is None:
        return
    kind = values["body.type"][1] if "body.type" in values else "json"
    binary = "cloudevents.mode" in values and values["cloudevents.mode"][1] == "binary"
    if format_ == "cloudevents" and not binary and not header.lower().startswith("application/cloudevents"):
        meant = "application/cloudevents+json"
    elif format_ == "cloudevents" and binary:
        meant = "that of each event's data"
    elif format_ == "template" and kind == "form" and "x-www-form-urlencoded" not in header.lower():
        meant = "application/x-www-form-urlencoded"
    else:
        return
    given = node.get("headers")
    leaves = given.leaves() if given is not None else ()
    at = next((child for name, child in leaves if name.lower() == "content-type"), node)
    findings.warn(at, f"it replaces the body's own Content-Type, which is {meant}")


def _batched(findings: Findings, node: Node, values: Values, format_: str, headers: Headers) -> None:
    """What cannot stand in a request of several events."""
    one_head = "a batch has one {} for several events, expected it without ${{…}}, or no batch"
    if "url" in values and has_placeholder(values["url"][1]):
        at = values["url"][0]
        findings.error(at.place, at.key, f"found placeholders beside batch: {one_head.format('url')}")
    given = node.get("headers")
    for name, child in given.leaves() if given is not None else ():
        if any(name == header and has_placeholder(value) for header, value in headers):
            findings.error(
                child.place, child.key, f"found placeholders beside batch: {one_head.format('header')}"
            )
    if (
        format_ == "cloudevents"
        and "cloudevents.mode" in values
        and values["cloudevents.mode"][1] == "binary"
    ):
        at = values["cloudevents.mode"][0]
        findings.error(
            at.place, at.key, "found binary beside batch, expected structured: a batch is one JSON array"
        )
    if format_ == "template" and "body.type" in values and values["body.type"][1] != "json":
        at = values["body.type"][0]
        findings.error(
            at.place, at.key, f"found {found(at)} beside batch, expected json: a batch is one JSON array"
        )
