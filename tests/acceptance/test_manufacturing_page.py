"""docs/manufacturing.md, and what it promises: the verifiers of MachShop's and Eryxon's documents, which it
shows as they are there, accept every body that is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config.settings import Endpoint, Secret, Signature
from bridge.delivery.signing import make_signer
from bridge.events import catalogue
from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.formats import Origin, make_format
from bridge.events.js_json import JsJsonError, canonical, dumps, loads, number
from tests.acceptance.node import Node
from tests.unit.events.emqx_samples import sample

PAGE = (Path(__file__).parents[2] / "docs" / "manufacturing.md").read_text()
SECRET = "geheim-é-whsec_not"
HEADERS = {"mes": "x-mes-signature", "eryxon": "X-Eryxon-Signature"}


def block(language: str) -> str:
    """The page's only block of this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


VERIFIERS = {
    "mes": block("typescript").replace("import crypto from 'crypto';", "const crypto = require('crypto');")
    + "const call = ({ body, signature, secret }) => verifySignature(JSON.parse(body), signature, secret);",
    "eryxon": "const call = ({ body, signature, secret }) => { const payload = JSON.parse(body);"
    + block("javascript")
    + "return isValid; };",
}
STRINGIFY = "const call = (text) => JSON.stringify(JSON.parse(text));"


@pytest.fixture(scope="module")
def stringify() -> Iterator[Node]:
    with Node(STRINGIFY) as node:
        yield node


@pytest.fixture(scope="module", params=list(VERIFIERS))
def verifier(request: pytest.FixtureRequest) -> Iterator[tuple[str, Node]]:
    with Node(VERIFIERS[request.param]) as node:
        yield request.param, node


def business(data: bytes, name: str = "work_order.created", **more: Any) -> Event:
    fields = {"id": "evt-1", "timestamp": "2024-01-15T10:30:00Z"} | more
    return Event(EventType.DOMAIN, 1, "mes", None, "", (1,), name, data, data=fields)


def signed(format_: str, event: Event, **more: Any) -> tuple[bytes, str]:
    """The body of an event and its signature."""
    endpoint = Endpoint(
        url="http://h/",
        format=format_,  # type: ignore[arg-type]
        signature=(Signature(scheme=format_),),  # type: ignore[arg-type]
        secrets=(Secret(value=SECRET),),  # type: ignore[arg-type]
        **more,
    )
    body = make_format(endpoint, Origin()).body(1, event)
    signer = make_signer(endpoint, b"msg_1_")
    assert signer is not None
    lines = signer.sign(b"0000000000000001", 1, body).decode().split("\r\n")
    return body, dict(line.split(": ", 1) for line in lines if line)[HEADERS[format_]]


def accepts(verifier: tuple[str, Node], event: Event, **more: Any) -> bool:
    name, node = verifier
    body, signature = signed(name, event, **more)
    return bool(node({"body": body.decode(), "signature": signature, "secret": SECRET}))


# -- what JavaScript writes ----------------------------------------------------------------------------------

KEYS = st.one_of(
    st.text(max_size=5),
    st.integers(0, 1 << 33).map(str),
    st.sampled_from(
        ["0", "00", "01", "-1", "1.0", "4294967294", "4294967295", "__proto__", "constructor", "", "٣"]
    ),
)
TEXTS = st.text(st.characters(), max_size=8)  # lone surrogates too
NUMBERS = st.one_of(
    st.integers(-(1 << 53), 1 << 53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e-4, 1e-4),
    st.sampled_from([-0.0, 1.0, 1e15, 123e-7, 1e-6, 1e-7, 5e-324, 1e21, 1.5e300, 0.1]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
BOUNDED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sendable(value: Any, *, ascii_only: bool, spaced: bool) -> str:
    """A JSON text as some sender writes it."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if spaced else None)
    if not ascii_only:  # a raw lone surrogate is no UTF-8
        text = re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
    return text


@BOUNDED
@given(value=VALUES, ascii_only=st.booleans(), spaced=st.booleans())
def test_it_is_what_javascript_writes(stringify: Node, value: Any, ascii_only: bool, spaced: bool) -> None:
    text = sendable(value, ascii_only=ascii_only, spaced=spaced)
    try:
        made = canonical(text)
    except JsJsonError:
        assert re.search(r"\d{16}|e\+?1[5-9]|e\+?20", text)  # a number that is too large
        return
    assert made == stringify(text).encode()
    assert canonical(made) == made
    assert loads(made) == loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2,"b":3,"a":{"0":1}}',
        '{"b":0,"1":0,"a":0,"0":0,"1":5}',
        '{"\\u0031":1,"0":2}',
        "[1.0,1e2,1E-7,-0,-0.0,0.1e1,123456789012.5,1.7976931348623157e308,5e-324]",
        '"\\ud83d\\ude00 \\ud83d \\ude00\\/ \\u007f\\u2028\\u00e9"',
        '{"":{},"x":[],"y":[[],{}],"__proto__":{"a":1}}',
        ' {"a" : [ 1 , 2 ] } ',
    ],
)
def test_cases_of_it(stringify: Node, text: str) -> None:
    assert canonical(text) == stringify(text).encode()


@settings(max_examples=2000, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_double(value: float) -> None:
    assert float(number(value)) == value


def test_numbers_of_every_size(stringify: Node) -> None:
    powers = [10.0**e for e in range(-323, 308)]
    values = [sign * m * power for power in powers for m in (1, 1.5, 9.999999999999999) for sign in (1, -1)]
    text = stringify(json.dumps(values))
    assert "[" + ",".join(number(value) for value in values) + "]" == text


# -- what the verifiers accept -------------------------------------------------------------------------------


@BOUNDED
@given(data=OBJECTS, spaced=st.booleans())
def test_the_documents_verify_what_is_accepted(
    verifier: tuple[str, Node], data: dict[str, Any], spaced: bool
) -> None:
    try:
        accepted = canonical(sendable(data, ascii_only=False, spaced=spaced))
    except JsJsonError:
        return
    assert accepts(verifier, business(accepted))


@pytest.mark.parametrize("name", list(catalogue.load()))
def test_the_documents_verify_every_example(verifier: tuple[str, Node], name: str) -> None:
    for example in catalogue.load()[name].examples:
        assert accepts(verifier, business(dumps(example), name))


@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
@pytest.mark.parametrize("encoding", ["plain", "json", "base64"])
def test_the_documents_verify_what_happens_at_the_broker(
    verifier: tuple[str, Node], kind: EventType, encoding: str
) -> None:
    payloads = (b'{"b":1.50,"1":12345678901234567890}', b'{"b":1.50,"1":2}', b"\xff\x00", b"")
    for payload in payloads:
        assert accepts(verifier, sample(kind, payload=payload), encoding=encoding)


def test_the_documents_refuse_another_body_and_another_secret(verifier: tuple[str, Node]) -> None:
    name, node = verifier
    body, signature = signed(name, business(b'{"a":1}'))
    text = body.decode()
    assert node({"body": text, "signature": signature, "secret": SECRET}) is True
    assert node({"body": text.replace("1}", "2}"), "signature": signature, "secret": SECRET}) is False
    assert node({"body": text, "signature": signature, "secret": SECRET + "x"}) is False


# -- the page ------------------------------------------------------------------------------------------------


def test_it_names_every_type() -> None:
    known = catalogue.load()
    for source in ("MachShop", "Eryxon"):
        (row,) = re.findall(rf"(?m)^\| {source} \| (.*) \|$", PAGE)
        assert re.findall(r"`([a-z_.]+)`", row) == sorted(
            (name for name in known if source in known[name].sources),
            key=lambda name: row.index(f"`{name}`"),
        )


def test_its_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(block("json"))
    assert catalogue.load(path)["maintenance.requested"].example == {"machine": "saw 2", "urgent": True}
