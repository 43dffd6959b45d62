"""CloudEvents 1.0 in all three modes, read by the package `cloudevents`."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import BatchPolicy, CloudEvents, Endpoint
from bridge.events.cloudevents import attribute
from bridge.events.event import HOOK_EVENTS, MESSAGE_EVENTS, Event, EventType
from bridge.events.formats import Format, Origin, make_format
from tests.unit.events.emqx_samples import DATA, ID, MESSAGE, ROUTED, sample

ORIGIN = Origin("hookmq@plant", "0f3a9c21d4b7")
MODES = ["structured", "binary", "batched"]
SEQ = 0x100001001
WHEN = datetime(2023, 9, 14, 8, 50, 17, 728000, UTC)


def made(mode: str, **given: Any) -> Format:
    events = CloudEvents(mode="binary" if mode == "binary" else "structured", **given.pop("cloudevents", {}))
    batch = BatchPolicy(format="cloudevents-batch") if mode == "batched" else None
    settings = {
        "url": "http://h/hook?x",
        "name": "w",
        "format": "cloudevents",
        "cloudevents": events,
        "batch": batch,
    }
    return make_format(Endpoint(**(settings | given)), ORIGIN)


def read(mode: str, event: Event, **given: Any) -> CloudEvent:
    """The event as the package reads it."""
    format_ = made(mode, **given)
    body = format_.body(SEQ, event)
    headers = {"content-type": format_.content_type}
    if mode == "binary":
        assert format_.content_type == ""
        assert format_.fill is not None
        target, lines = format_.fill(SEQ, event)
        assert target == b"/hook?x"
        assert re.fullmatch(rb"(\r\n[A-Za-z-]+: [ -~]+)+", lines)
        split = [line.split(": ", 1) for line in lines.decode("ascii").split("\r\n")[1:]]
        headers = dict(split)  # type: ignore[arg-type]
        assert len(headers) == len(split)
        headers = {name.lower(): value for name, value in headers.items()}
    elif mode == "batched":
        assert format_.content_type == "application/cloudevents-batch+json; charset=utf-8"
        (element,) = json.loads(b"[" + body + b"]")
        body = json.dumps(element).encode()
        headers = {"content-type": "application/cloudevents+json"}
    else:
        assert format_.content_type == "application/cloudevents+json; charset=utf-8"
    found = from_http(HTTPMessage(headers=headers, body=body), JSONFormat())
    assert isinstance(found, CloudEvent)
    return found


ALL = pytest.mark.parametrize("mode", MODES)


@ALL
def test_a_publish(mode: str) -> None:
    found = read(mode, sample(EventType.MESSAGE_PUBLISH))
    assert found.get_data() == {"msg": "Hello Webhook"}
    attributes = found.get_attributes()
    qos, retain = ("1", "false") if mode == "binary" else (1, False)
    assert attributes == {
        "specversion": "1.0",
        "id": "msg_0f3a9c21d4b7_0000000100001001",
        "source": "/hookmq/hookmq@plant",
        "type": "hookmq.message.publish",
        "time": WHEN,
        "subject": "t/1",
        "datacontenttype": "application/json",
        "clientid": "emqx_c",
        "username": "u",
        "qos": qos,
        "retain": retain,
        "messageid": ID,
    }


@ALL
def test_source_and_type_can_be_set(mode: str) -> None:
    given = {"source": "https://plant.example/ä b", "type_prefix": "com.example."}
    found = read(mode, sample(EventType.CLIENT_CONNECTED), cloudevents=given)
    assert found.get_source() == "https://plant.example/ä b"
    assert found.get_type() == "com.example.client.connected"


@ALL
@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
def test_every_event(mode: str, kind: EventType) -> None:
    event = sample(kind)
    found = read(mode, event)
    assert found.get_type() == f"hookmq.{kind.dotted}"
    assert found.get_id() == "msg_0f3a9c21d4b7_0000000100001001"
    late = timedelta(milliseconds=7) if "at" in (DATA[kind] or {}) else timedelta()
    assert found.get_time() == WHEN + late
    assert found.get_subject() == (event.topic or "emqx_c")
    assert found.get_datacontenttype() == "application/json"
    if kind in MESSAGE_EVENTS:
        assert found.get_data() == {"msg": "Hello Webhook"}
    else:
        emqx = Endpoint(url="http://h/", name="w", format="emqx")
        assert found.get_data() == json.loads(make_format(emqx, ORIGIN).body(SEQ, event))
        assert found.get_extension("clientid") is None


@ALL
def test_a_message_for_a_subscriber_shows_both_clients(mode: str) -> None:
    found = read(mode, sample(EventType.MESSAGE_DELIVERY_DROPPED))
    names = ("clientid", "username", "fromclientid", "fromusername", "reason")
    assert [found.get_extension(name) for name in names] == ["sub", "w", "emqx_c", "u", "queue_full"]
    nameless = read(
        mode, sample(EventType.MESSAGE_DELIVERED, username=None, data=ROUTED | {"to_username": None})
    )
    assert "username" not in nameless.get_attributes()
    assert "fromusername" not in nameless.get_attributes()


@ALL
@pytest.mark.parametrize("data", [None, {}])
def test_an_event_without_details(mode: str, data: dict[str, Any] | None) -> None:
    found = read(mode, sample(EventType.MESSAGE_PUBLISH, data=data))
    assert found.get_extension("messageid") == f"{SEQ:032X}"
    for kind in HOOK_EVENTS:
        read(mode, sample(kind, data=data, clientid="", topic="", username=None, peername=""))


# -- data and its type -------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n\0"
DECLARED = [
    # payload, the publisher's Content-Type, datacontenttype, data
    (b'{"a":1}', None, "application/json", {"a": 1}),
    (b"21.5", None, "application/json", 21.5),
    (b'"x"', None, "application/json", "x"),
    (b"21.5 C", None, "text/plain", "21.5 C"),
    ("wärme".encode(), None, "text/plain", "wärme"),
    (b"\xff\0", None, "application/octet-stream", b"\xff\0"),
    (b'{"a":1}', "application/vnd.x+json; v=1", "application/vnd.x+json; v=1", {"a": 1}),
    (b'{"a":1}', "text/csv", "text/csv", '{"a":1}'),
    (b"a;b\n", "text/csv; charset=utf-8", "text/csv; charset=utf-8", "a;b\n"),
    (b"<a/>", "application/xml", "application/xml", "<a/>"),
    (b"\xe4", "text/plain; charset=latin1", "text/plain; charset=latin1", b"\xe4"),
    (PNG, "image/png", "image/png", PNG),
    (b"{oops", "application/json", "text/plain", "{oops"),
    (b"\xff", "application/json", "application/octet-stream", b"\xff"),
    (b'{"a":1}', "not a type", "application/json", {"a": 1}),
    (b'{"a":1}', "text/plain\r\nX-Evil: 1", "application/json", {"a": 1}),
    (b'{"a":1}', "text/plain; ü", "application/json", {"a": 1}),
    (b'{"a":1}', "text/" + "x" * 300, "application/json", {"a": 1}),
    (b'{"a":1}', "", "application/json", {"a": 1}),
]


@ALL
@pytest.mark.parametrize(("payload", "declared", "kind", "data"), DECLARED)
def test_data_and_its_type(mode: str, payload: bytes, declared: str | None, kind: str, data: Any) -> None:
    props = {"User-Property": {}} | ({} if declared is None else {"Content-Type": declared})
    event = sample(EventType.MESSAGE_PUBLISH, payload=payload, data=MESSAGE | {"props": props})
    found = read(mode, event)
    assert found.get_datacontenttype() == kind
    assert found.get_data() == data
    assert type(found.get_data()) is type(data)


@pytest.mark.parametrize(
    ("payload", "mode", "data"), [(b"", "structured", ""), (b"", "batched", ""), (b"", "binary", None)]
)
def test_an_empty_payload(payload: bytes, mode: str, data: object) -> None:
    found = read(mode, sample(EventType.MESSAGE_PUBLISH, payload=payload))
    assert found.get_datacontenttype() == "text/plain"
    assert found.get_data() == data


def test_bytes_that_look_like_text_stay_bytes_under_a_type_of_bytes() -> None:
    props = {"Content-Type": "application/x-protobuf"}
    event = sample(EventType.MESSAGE_PUBLISH, payload=b"abc", data={"props": props})
    body = json.loads(made("structured").body(1, event))
    assert base64.b64decode(body["data_base64"]) == b"abc"
    assert "data" not in body


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NASTY = st.text(st.sampled_from("%\"' \\é😀;,=/25\u2028"), min_size=1, max_size=12)


@ALL
@given(
    topic=TEXT | NASTY,
    clientid=TEXT | NASTY,
    username=st.none() | TEXT | NASTY,
    payload=st.binary(max_size=60) | TEXT.map(str.encode) | NASTY.map(str.encode),
)
def test_any_publish_comes_back(
    mode: str, topic: str, clientid: str, username: str | None, payload: bytes
) -> None:
    event = sample(
        EventType.MESSAGE_PUBLISH, topic=topic, clientid=clientid, username=username, payload=payload
    )
    found = read(mode, event)
    assert found.get_subject() == attribute(topic)
    assert found.get_extension("clientid") == attribute(clientid)
    assert found.get_extension("username") == (None if username is None else attribute(username))
    data, kind = found.get_data(), found.get_datacontenttype()
    if kind == "application/json":
        assert data == json.loads(payload)
    elif kind == "text/plain":
        assert (data or "") == payload.decode()
    else:
        assert data == payload


def test_what_an_attribute_may_not_hold_is_replaced() -> None:
    assert attribute("wärme/😀 \u2028\u00a0x") == "wärme/😀 \u2028\u00a0x"
    assert attribute("a\nb\x7f\x85\ufdd0\uffff") == "a\ufffdb" + "\ufffd" * 4


# -- what goes with it -------------------------------------------------------------------------------------


def test_include_and_exclude_choose_the_fields_of_data() -> None:
    found = read("structured", sample(EventType.CLIENT_PING), include=("clientid", "keepalive"))
    assert found.get_data() == {"keepalive": 30, "clientid": "emqx_c"}
    whole = read("structured", sample(EventType.MESSAGE_PUBLISH), include=("clientid",))
    assert whole.get_data() == {"msg": "Hello Webhook"}


def test_configured_headers_are_stronger_than_those_of_binary_mode() -> None:
    headers = (("Content-Type", "application/x"), ("CE-Source", "/mine"), ("X-T", "${topic}"))
    fill = made("binary", headers=headers).fill
    assert fill is not None
    lines = fill(SEQ, sample(EventType.MESSAGE_PUBLISH))[1].decode().split("\r\n")[1:]
    names = [line.partition(":")[0].lower() for line in lines]
    assert "X-T: t/1" in lines
    assert "ce-id" in names
    assert not {"content-type", "ce-source"} & set(names)


def test_binary_mode_with_a_path_template() -> None:
    fill = made("binary", url="http://h/${clientid}").fill
    assert fill is not None
    assert fill(SEQ, sample(EventType.CLIENT_PING))[0] == b"/emqx_c"


def test_binary_mode_cannot_be_batched() -> None:
    with pytest.raises(ValueError, match="cannot stand in a batch"):
        made("binary", batch=BatchPolicy(format="cloudevents-batch"))


@pytest.mark.parametrize(
    ("format_", "source", "kind"),
    [
        ("nanomq", "/hookmq/0f3a9c21d4b7", "hookmq.message_publish"),
        ("emqx", "/hookmq/hookmq@plant", "hookmq.message.publish"),
        ("template", "/hookmq/hookmq@plant", "hookmq.message.publish"),
    ],
)
def test_another_format_in_a_batch_of_cloudevents(format_: str, source: str, kind: str) -> None:
    event = sample(EventType.MESSAGE_PUBLISH)
    found = read("batched", event, format=format_)
    alone = make_format(Endpoint(url="http://h/", name="w", format=format_), ORIGIN)  # type: ignore[arg-type]
    assert found.get_data() == json.loads(alone.body(SEQ, event))
    assert (found.get_source(), found.get_type()) == (source, kind)
    assert (found.get_subject(), found.get_time()) == ("t/1", WHEN)
    own = read("batched", event, format=format_, cloudevents={"source": "/mine", "type_prefix": "x."})
    assert (own.get_source(), own.get_type()) == ("/mine", kind.replace("hookmq.", "x."))


def test_an_array_keeps_the_format() -> None:
    event = sample(EventType.MESSAGE_PUBLISH)
    arrayed = made("structured", batch=BatchPolicy())
    assert arrayed.body(SEQ, event) == made("structured").body(SEQ, event)
    assert arrayed.content_type == "application/json"
