"""What an endpoint's requests hold: format, template, fields and payload, and which of them go together."""

from __future__ import annotations

from typing import Any

from bridge.config.block import build, fields
from bridge.config.findings import Findings
from bridge.config.keys import PAYLOAD_KEY, WEBHOOK
from bridge.config.node import Node, found, shown_place
from bridge.config.settings import CloudEvents, Encoding
from bridge.config.units import plain

Values = dict[str, tuple[Node, Any]]

_ENCODINGS = tuple(e.value for e in Encoding)
_BY_NAME = {key.name: key for key in WEBHOOK.keys}


def whole(node: Node) -> Node:
    """The block with `body = "…"`, EMQX's spelling of a template, as `body.template`.

    The name of an encoding is no template: it stays, and is reported as what it is.
    """
    text = node.children.get("body")
    if text is None or isinstance(text.value, dict | list) or text.is_null:
        return node
    if (plain(text) or "").strip().lower() in _ENCODINGS:
        return node
    return Node(
        {**node.children, "body": Node({"template": text}, text.key, text.place)}, node.key, node.place
    )


def read(findings: Findings, node: Node, values: Values) -> dict[str, Any]:
    """The fields `format`, `encoding` and `cloudevents` of an Endpoint, where they are not what the key says.

    `values` are those of the block. What cannot be together is an error in `findings`.
    """
    given: dict[str, Any] = {}
    _payload(findings, values)
    format_ = values["format"][1] if "format" in values else None
    if "body.template" in values:
        template = values["body.template"][0]
        if format_ not in (None, "template"):
            findings.error(
                template.place,
                template.key,
                f"found a template beside format = {format_}, expected format = template or none",
            )
        format_ = given["format"] = "template"
    elif format_ == "template":
        at = values["format"][0]
        if node.get("body", "template") is None:  # otherwise it was wrong, which has been said
            findings.error(
                at.place, at.key, 'found template and no template, expected body.template = "… ${payload} …"'
            )
    given["cloudevents"] = build(findings, CloudEvents, fields(values, WEBHOOK, CloudEvents), node)
    return given


def _payload(findings: Findings, values: Values) -> None:
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
