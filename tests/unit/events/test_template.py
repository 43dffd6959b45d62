"""Templates of bodies: JSON by construction, text, forms; faults with their place."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import BatchPolicy, Encoding, Endpoint
from bridge.events.event import EventType
from bridge.events.formats import BodyCounts, Format, Origin, TemplateError, check_template, make_format
from tests.unit.events.emqx_samples import ID, TS, sample

ORIGIN = Origin("hookmq@plant", "0f3a9c21d4b7")
PAYLOAD = (
    b'{"temp":80.5,"list":[{"x":"a\\"b"},[1]],"s":"q\\"\\\\","o":{"k":null},"0":"zero",'
    b'"big":12345678901234567890}'
)


def made(template: str | None, kind: str = "json", **given: Any) -> Format:
    settings = {"url": "http://h/", "name": "w", "format": "template", "template_type": kind}
    return make_format(Endpoint(**(settings | {"template": template} | given)), ORIGIN)


def body(template: str | None, kind: str = "json", payload: bytes = PAYLOAD, **changed: Any) -> bytes:
    return made(template, kind).body(7, sample(EventType.MESSAGE_PUBLISH, payload=payload, **changed))


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ('{"a":"${clientid}","b":${qos}}', '{"a":"emqx_c","b":1}'),
        ('{"a":${clientid},"b":"${qos}"}', '{"a":"emqx_c","b":"1"}'),
        ('["${topic}/${clientid}", ${flags.retain}, "${flags.dup}"]', '["t/1/emqx_c", false, "true"]'),
        ("${payload.temp}", "80.5"),
        ('"${payload.temp}"', '"80.5"'),
        ("${payload.list[0].x}", '"a\\"b"'),
        ("${payload.list.0.x}", '"a\\"b"'),
        ('"${payload.list[0].x}"', '"a\\"b"'),
        ("${payload.list[1][0]}", "1"),
        ("${payload.list}", '[{"x":"a\\"b"},[1]]'),
        ('"${payload.list}"', r'"[{\"x\":\"a\\\"b\"},[1]]"'),
        ("${payload.0}", '"zero"'),
        ("${payload.o.k}", "null"),
        ('"${payload.o.k}"', '"null"'),
        ("${payload.big}", "12345678901234567890"),
        ("${payload.s}", r'"q\"\\"'),
        ('"${payload.s}"', r'"q\"\\"'),
        (
            "[${payload.none}, ${payload.list[9]}, ${payload.temp.x}, ${payload.list.x}]",
            "[null, null, null, null]",
        ),
        ('"${payload.none} ${payload.list[9]}"', '"undefined undefined"'),
        ("${reason}", "null"),
        ('"${reason}"', '"undefined"'),
        ("${metadata.rule_id}", '"w_WH_D"'),
        ("[${node}, ${event}, ${id}, ${timestamp}]", f'["hookmq@plant", "message.publish", "{ID}", {TS}]'),
        ("[${.clientid}]", '["emqx_c"]'),
        ("${pub_props.User-Property.a}", '"2"'),
        ("${pub_props.User-Property-Pairs[0].key}", '"a"'),
        ('"${$}{clientid} ${$}"', '"${clientid} $"'),
        ('"$ {} $x"', '"$ {} $x"'),
        ('"a\\\\${clientid}\\"${clientid}"', '"a\\\\emqx_c\\"emqx_c"'),
        (' {"${clientid}" : [ "wärme", ${client_attrs} ] }\n', ' {"emqx_c" : [ "wärme", {} ] }\n'),
    ],
)
def test_json(template: str, rendered: str) -> None:
    assert body(template) == rendered.encode()
    json.loads(rendered)


def test_the_payload_is_a_value_or_text() -> None:
    assert body("${payload}", payload=b'{ "a": 1.50 }') == b'{ "a": 1.50 }'
    assert body("${payload}", payload=b"21.5 C") == b'"21.5 C"'
    assert body("${payload}", payload=b"") == b'""'
    assert body('"${payload}"', payload=b'{"a":"b"}') == rb'"{\"a\":\"b\"}"'
    assert body("[${payload},${payload_encoding}]", payload=b"\xff") == b'["/w==","base64"]'
    assert body("[${payload},${payload_encoding}]", payload=b"1") == b"[1,null]"
    template = '[${payload},"${payload}",${payload.temp}]'
    event = sample(EventType.MESSAGE_PUBLISH, payload=b'{"temp":1}')
    assert (
        made(template, encoding=Encoding.BASE64).body(7, event)
        == b'["eyJ0ZW1wIjoxfQ==","eyJ0ZW1wIjoxfQ==",1]'
    )
    assert made(template, encoding=Encoding.JSON).body(7, event) == rb'[{"temp":1},"{\"temp\":1}",1]'
    assert made("${payload}").body(7, sample(EventType.CLIENT_PING)) == b"null"


@pytest.mark.parametrize("template", [None, "", "${.}"])
def test_all_fields(template: str | None) -> None:
    event = sample(EventType.MESSAGE_PUBLISH, payload=b'{"a":1}')
    emqx = Endpoint(url="http://h/", name="w", format="emqx")
    assert made(template).body(7, event) == make_format(emqx, ORIGIN).body(7, event)
    assert json.loads(made(template, encoding=Encoding.JSON).body(7, event))["payload"] == {"a": 1}
    assert made(template, include=("qos", "topic")).body(7, event) == b'{"topic":"t/1","qos":1}'
    assert json.loads(json.loads(made('"${.}"').body(7, event)))["clientid"] == "emqx_c"


def test_text_and_form() -> None:
    template = "${clientid}: ${payload.s} ${payload.list} ${payload.none}\n"
    assert body(template, "text") == b'emqx_c: q"\\ [{"x":"a\\"b"},[1]] undefined\n'
    assert made(template, "text").content_type == "text/plain; charset=utf-8"
    assert body("${payload}", "text", payload="wärme\r\n".encode()) == "wärme\r\n".encode()
    form = body("client=${clientid}&s=${payload.s}&t=${topic}", "form", topic="a&b=c/ä +%")
    assert form == b"client=emqx_c&s=q%22%5C&t=a%26b%3Dc%2F%C3%A4%20%2B%25"
    assert parse_qs(form.decode())["t"] == ["a&b=c/ä +%"]
    assert made("${.}", "form").content_type == "application/x-www-form-urlencoded"


def test_a_payload_that_is_no_utf8_is_counted_once() -> None:
    counts = BodyCounts()
    settings = Endpoint(
        url="http://h/${payload}", format="template", template="${payload}", template_type="text"
    )
    format_ = make_format(settings, ORIGIN, counts)
    event = sample(EventType.MESSAGE_PUBLISH, payload=b"\xff")
    format_.body(1, event)
    assert format_.fill is not None
    assert format_.fill(1, event) == (b"/%2Fw%3D%3D", b"")
    assert counts.not_utf8 == 1


def test_a_view_is_that_of_its_event() -> None:
    settings = Endpoint(url="http://h/${payload.a}", format="template", template="[${payload.a},${id}]")
    format_ = make_format(settings, ORIGIN)
    assert format_.fill is not None
    first = sample(EventType.MESSAGE_PUBLISH, payload=b'{"a":1}', data=None)
    second = sample(EventType.MESSAGE_PUBLISH, payload=b'{"a":2}', data=None)
    for seq, event, number in ((1, first, 1), (2, second, 2), (1, first, 1), (3, first, 1)):
        assert json.loads(format_.body(seq, event)) == [number, f"{seq:032X}"]
        assert format_.fill(seq, event)[0] == b"/%d" % number


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "at", "message"),
    [
        ('{"a": ${clientid}', 17, "not JSON: Expecting ',' delimiter"),
        ("{${clientid}: 1}", 1, "not JSON: Expecting property name"),
        ("[${qos}${qos}]", 7, "not JSON: Expecting ',' delimiter"),
        ("[1${qos}]", 2, "not JSON"),
        ("[-${qos}]", 1, "not JSON"),
        ('["\\${qos}"]', 2, "not JSON"),
        ('["\\u00${qos}41"]', 3, "not JSON"),
        ('{"a": x${qos}}', 6, "not JSON"),
        ('{"${clientid}": "a\nb"}', 18, "not JSON: Invalid control character"),
        ("[NaN]", 0, "not JSON"),
        ('["${clientid}]', 1, "not JSON"),
        ('{"a": "${clientid}}"', 20, "not JSON"),
        ("[${clientid]", 1, "without its `}`"),
        ("[${}]", 1, "not a placeholder"),
        ("[${a b}]", 1, "not a placeholder"),
        ("[${payload.}]", 1, "not a placeholder"),
        ("[${payload[x]}]", 1, "not a placeholder"),
        ("[${payload[-1]}]", 1, "not a placeholder"),
        ("[${payload..a}]", 1, "not a placeholder"),
        ('[1, "${client}", ${qos}]', 5, "unknown field client; did you mean clientid?"),
        ("[${foo}, ${qos}, ${bar.x}, ${foo}]", 1, "unknown fields foo, bar; possible: action, authz_source,"),
        ("[${clientid.x}]", 1, "clientid has no parts"),
        ("[" * 100000, 0, "not JSON: nested too deeply"),
    ],
)
def test_a_fault_is_found_with_its_place(template: str, at: int, message: str) -> None:
    for attempt in (lambda: made(template), lambda: check_template(template, "json")):
        with pytest.raises(TemplateError) as found:
            attempt()
        assert message in str(found.value)
        assert found.value.at == at
        assert f"offset {at}: " in str(found.value)


@pytest.mark.parametrize("kind", ["text", "form", "header"])
def test_other_types_need_no_json(kind: str) -> None:
    check_template('{"a" ${clientid}', kind)
    with pytest.raises(TemplateError, match="unknown field nope"):
        check_template("x ${nope}", kind)


def test_what_cannot_go_together() -> None:
    for kind in ("text", "form"):
        with pytest.raises(ValueError, match="cannot stand in a batch"):
            made("${clientid}", kind, batch=BatchPolicy())
    with pytest.raises(ValueError, match="placeholders in the url or in headers cannot go with a batch"):
        made("${clientid}", url="http://h/${clientid}", batch=BatchPolicy())
    assert made("${clientid}", batch=BatchPolicy()).body(1, sample(EventType.CLIENT_PING)) == b'"emqx_c"'


# -- any value ---------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TEMPLATE = made(
    '{"c":"${clientid}","t":${topic},"p":"${payload}","j":${payload},"x":${payload.x},"s":"${payload.x}"}'
)


@given(TEXT, TEXT, JSON)
def test_any_json_payload_comes_back(topic: str, clientid: str, value: Any) -> None:
    payload = json.dumps({"x": value}, ensure_ascii=False).encode()
    event = sample(EventType.MESSAGE_PUBLISH, topic=topic, clientid=clientid, payload=payload)
    found = json.loads(TEMPLATE.body(1, event))
    assert (found["c"], found["t"]) == (clientid, topic)
    assert found["p"] == payload.decode()
    assert found["j"] == {"x": value}
    assert found["x"] == value
    assert found["s"] == value if isinstance(value, str) else json.loads(found["s"]) == value


@given(TEXT, TEXT, st.binary(max_size=60) | TEXT.map(str.encode))
def test_any_payload_is_told(topic: str, clientid: str, payload: bytes) -> None:
    event = sample(EventType.MESSAGE_PUBLISH, topic=topic, clientid=clientid, payload=payload)
    found = json.loads(TEMPLATE.body(1, event).decode())
    assert (found["c"], found["t"]) == (clientid, topic)
    try:
        assert found["p"] == payload.decode()
    except UnicodeDecodeError:
        assert found["p"] == found["j"]


@given(st.lists(st.sampled_from(['"', "\\", "${qos}", "${payload}", "[", "]", ",", "1", "-", "u", "x", " "])))
def test_a_template_that_is_taken_gives_json(pieces: list[str]) -> None:
    try:
        format_ = made("".join(pieces))
    except TemplateError:
        return
    for payload in (b'"', b"\\", b"1", b"[]", b'{"a":[]}', b"\xff", b"", b"-", b"u0041"):
        json.loads(format_.body(1, sample(EventType.MESSAGE_PUBLISH, payload=payload)))


@pytest.mark.parametrize("depth", [100, 300, 500, 700, 800, 850, 900, 950, 1000, 2000])
def test_deep_payloads_have_a_body_in_any_case(depth: int) -> None:
    payload = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
    event = sample(EventType.MESSAGE_PUBLISH, payload=payload)
    assert TEMPLATE.body(1, event).startswith(b'{"c":"emqx_c"')
