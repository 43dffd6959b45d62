"""The blocks `webhook` and `webhooks.<name>`: one endpoint each, its headers and its TLS (INTEROP 1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.config import body, certs, credentials, domain, events, mask, policy, signing, url
from bridge.config.block import build, check_name, fields, read_block
from bridge.config.findings import Findings
from bridge.config.headers import read as read_headers
from bridge.config.keys import WEBHOOK
from bridge.config.node import Node, shown_place
from bridge.config.policy import Values
from bridge.config.settings import BacklogBound, Encoding, Endpoint, Receiver, Rule, Tls
from bridge.config.units import Bad, plain

DEFAULT = "default"
"""The name of the endpoint of the block `webhook`."""
MAX_WEBHOOKS = 10_000
_TLS_WORDS = certs.Words(
    "https:", "the url begins with http://, expected https://", "a url with https://", "receiver"
)
_ONE = 'one object: webhook { url = "http://…", events = [ … ] }'
_NAMED = 'one object for each name: webhooks.<name> { url = "http://…", events = [ … ] }'


def one_shape(findings: Findings, root: Node) -> None:
    """Put second shapes into the first one, before variables go over the file and after.

    `webhooks` as a list of objects, each with its `name`, becomes an object of them by name, and `body = "…"`
    a `body.template`.
    """
    _by_name(findings, root)
    several = root.get("webhooks")
    for blocks, names in (
        (root.children, ("webhook",)),
        (several.children, tuple(several.children)) if several is not None else ({}, ()),
    ):
        for name in names:
            if name in blocks:
                blocks[name] = body.whole(blocks[name])


def _by_name(findings: Findings, root: Node) -> None:
    several = root.get("webhooks")
    if several is None or not isinstance(several.value, list):
        return
    named: dict[str, Node] = {}
    for entry in several.value:
        name = entry.get("name")
        text = (plain(name) or "") if name is not None else ""
        if not isinstance(entry.value, dict):
            findings.wrong(entry, 'an object: { name = line1, url = "http://…", events = [ … ] }')
        elif name is None:
            findings.error(entry.place, entry.key, "found no name in it, expected name = …")
        elif text in named:
            findings.error(
                name.place,
                name.key,
                f"found the name {text} again, expected another than at {shown_place(named[text], name)}",
            )
        else:
            members = {member: child for member, child in entry.children.items() if member != "name"}
            named[text] = Node(members, entry.key, entry.place)
    root.children["webhooks"] = Node(dict(named), several.key, several.place)


def read(
    findings: Findings, root: Node, environ: Mapping[str, str], known: domain.Known = lambda: None
) -> tuple[Endpoint, ...]:
    """The endpoints of a file: those of its blocks that are whole; the errors of others are in `findings`.

    `environ` is where secrets of the form `{ env = NAME }` are looked for, `known` are the types of business
    events.
    """
    blocks: list[tuple[str, Node]] = []
    single = root.get("webhook")
    if single is not None:
        blocks.append((DEFAULT, single))
    several = root.get("webhooks")
    if several is not None and not isinstance(several.value, dict):
        findings.wrong(several, _NAMED)
    for name, node in several.children.items() if several is not None else ():
        if node.is_null:
            continue
        if not check_name(findings, name, node):
            continue
        if name == DEFAULT and single is not None:
            findings.error(
                node.place,
                node.key,
                f"found beside webhook ({shown_place(single, node)}), which is the one named {DEFAULT},"
                " expected one of the two",
            )
        else:
            blocks.append((name, node))
    if len(blocks) > MAX_WEBHOOKS and several is not None:
        findings.error(
            several.place, several.key, f"found {len(blocks)} webhooks, expected at most {MAX_WEBHOOKS}"
        )
        return ()
    made = [read_one(findings, name, node, environ, known) for name, node in blocks]
    return tuple([endpoint for endpoint in made if endpoint is not None])


def read_one(
    findings: Findings, name: str, node: Node, environ: Mapping[str, str], known: domain.Known
) -> Endpoint | None:
    """The endpoint of one block; None where it is not whole, or has no url and is not enabled."""
    if not isinstance(node.value, dict):
        findings.wrong(node, _ONE if node.key == "webhook" else _NAMED)
        return None
    start = len(findings.messages)
    values = read_block(findings, node, WEBHOOK, node.key)
    enable = values["enable"][1] if "enable" in values else True
    address: str | None = None
    authorization: str | None = None
    if "url" in values:
        url_node, text = values["url"]
        try:
            body.check_placeholders(text, "url", secret=False)
            address, authorization = url.split_credentials(url.check(text))
        except Bad as e:
            findings.error(url_node.place, url_node.key, str(e))
    elif enable and node.get("url") is None:
        findings.error(
            node.place, f"{node.key}.url", 'missing, expected the receiver: url = "http://host:port/path"'
        )
    headers = read_headers(findings, node.children.get("headers"), _check_header)
    if authorization is not None:
        if any(header.lower() == "authorization" for header, _ in headers):
            findings.warn(
                values["url"][0], "the url's user and password have no effect beside an Authorization header"
            )
        else:
            headers = (*headers, ("Authorization", authorization))
    names = [header for header, _ in headers]
    rules, types = _wanted(findings, node, values, known, enable=enable)
    _imply_mes(node, values, rules, types)
    format_ = values["format"][1] if "format" in values and "body.template" not in values else ""
    signatures, secrets = signing.read(findings, node, values.get("secret"), names, environ, format_)
    identity = credentials.read(findings, node.get("credentials"), names, environ)
    proxy = _proxy(findings, values)
    parts = policy.read(findings, node, values)
    tls = _tls(findings, node, address)
    made_of = body.read(findings, node, values, headers, batch=parts["batch"])
    if address is None or _failed(findings, start):
        return None
    given = (
        {"name": name}
        | fields(values, WEBHOOK, Receiver)
        | fields(values, WEBHOOK, Endpoint)
        | made_of.fields
    )
    if "encoding" in given:
        given["encoding"] = Encoding(given["encoding"])
    parts["batch"] = made_of.batch
    bound = build(findings, BacklogBound, fields(values, WEBHOOK, BacklogBound), node)
    given |= {"url": address, "headers": headers, "tls": tls, "events": rules, "backlog": bound, **parts}
    given |= {"signature": signatures, "secrets": secrets, "credentials": identity, "proxy": proxy}
    endpoint = build(findings, Endpoint, given, node)
    return endpoint if isinstance(endpoint, Endpoint) else None


def _wanted(
    findings: Findings, node: Node, values: Values, known: domain.Known, *, enable: bool
) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """What the endpoint is sent: events of the broker, and types of business events."""
    types: tuple[str, ...] = ()
    if "types" in values:
        at, types = values["types"]
        domain.check_types(findings, at, types, known)
    asks = types or ("types" not in values and node.get("types") is not None)  # or they are wrong
    return events.read(findings, node, warn_none=enable and not asks), types


def _imply_mes(node: Node, values: Values, rules: tuple[Rule, ...], types: tuple[str, ...]) -> None:
    """An endpoint for business events alone has MachShop's bodies unless it says otherwise; and with
    MachShop's schedule success is what it calls so: 200."""
    if types and not rules and "format" not in values and "body.template" not in values:
        values["format"] = (values["types"][0], "mes")
    if "success" not in values and values.get("retry.schedule", (node, ""))[1] == "mes":
        values["success"] = (node, ((200, 200),))


def _proxy(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> str | None:
    if "proxy" not in values:
        return None
    node, text = values["proxy"]
    try:
        return url.check_proxy(text)
    except Bad as e:
        findings.error(node.place, node.key, str(e))
        return None


def _failed(findings: Findings, start: int) -> bool:
    return any(m.level == "error" for m in findings.messages[start:])


def _check_header(name: str, value: str) -> None:
    body.check_placeholders(value, "header", secret=mask.is_secret(name), name=name)


# --- TLS ----------------------------------------------------------------------------------------------------


def _tls(findings: Findings, node: Node, address: str | None) -> Tls | None:
    ssl, tls = node.get("ssl"), node.get("tls")
    if ssl is not None and tls is not None:
        findings.warn(tls, "ssl and tls are both given; their keys are taken together")
    return certs.read_client(findings, node, "ssl", address, _TLS_WORDS)
