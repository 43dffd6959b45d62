"""Requests of other methods than POST, and heads that differ from event to event, against a real receiver."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from bridge.config.settings import BatchPolicy, Credentials, Endpoint, RetryPolicy, Secret, Signature
from bridge.delivery.attempt_text import request_head
from bridge.delivery.target import EndpointError, Target
from bridge.events.event import Event
from bridge.events.formats import Format
from tests.integration import receiver as scripts
from tests.integration.http_proxy import HttpProxy
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import STORE_ID, Connect, until
from tests.unit.delivery.rig import Rig
from tests.unit.delivery.test_oauth2 import Tokens

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED: dict[str, Any] = {
    "signature": (Signature(scheme="standard"),),
    "secrets": (Secret(value=SECRET),),  # type: ignore[arg-type]
}

Start = Callable[..., Rig]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`start(url, …)`: a running rig, ended at the end."""
    rigs: list[Rig] = []

    def make(url: str, **settings: Any) -> Rig:
        rigs.append(Rig(url, **settings).start())
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.kill()


def numbered(seq: int, event: Event) -> tuple[bytes, bytes]:
    """A hand-made `Format.fill`."""
    return b"/n/%d?q=%d" % (seq, seq), b"\r\nX-Seq: %d\r\nX-Twice: %d" % (seq, 2 * seq)


FILLED = Format(lambda seq, event: b"{}", fill=numbered)


# -- methods -----------------------------------------------------------------------------------------------


async def test_put_is_like_post(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url(), method="PUT")
    assert (await client.outcome(b'{"a":1}')).ok
    (request,) = receiver.requests
    assert (request.method, request.target, request.body) == ("PUT", "/hook", b'{"a":1}')
    assert request.header("content-type") == "application/json"
    assert request.header("content-length") == "7"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("form", [None, FILLED])
async def test_get_and_delete_have_no_body(
    receiver: Receiver, connect: Connect, method: str, signed: bool, form: Format | None
) -> None:
    client = connect(receiver.url("/a?b=c"), method=method, form=form, **(SIGNED if signed else {}))
    for _ in range(3):
        assert (await client.outcome(b'{"a":1}')).ok
    assert receiver.accepted == 1  # nothing was left on the connection
    for number, request in enumerate(receiver.requests, 1):
        assert request.method == method
        assert request.target == ("/a?b=c" if form is None else f"/n/{number}?q={number}")
        assert request.header("content-type") is None
        assert request.header("content-length") is None
        assert request.id == f"msg_{STORE_ID}_{number:016x}"
        assert request.attempt == 1
        if signed:
            stamp = datetime.fromtimestamp(int(request.header("webhook-timestamp") or 0), UTC)
            assert request.header("webhook-signature") == Webhook(SECRET).sign(request.id, stamp, "")


def test_a_content_type_without_a_body_is_left_out_with_a_warning() -> None:
    endpoint = Endpoint(url="http://h/", method="GET", headers=(("content-type", "text/x"), ("X-A", "b")))
    target = Target(endpoint, STORE_ID)
    assert b"text/x" not in target.head
    assert b"X-A: b" in target.head
    assert target.warnings == ["webhook default: headers.content-type is left out, GET has no body"]


async def test_a_body_is_not_made_for_nothing(receiver: Receiver, start: Start) -> None:
    rig = start(receiver.url(), method="DELETE")
    made: list[int] = []
    rig.lane.format = Format(lambda seq, event: made.append(seq) or b"{}")  # type: ignore[func-returns-value]
    rig.publish("x")
    await receiver.wait_count(1)
    assert made == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_several_events_need_a_body(method: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Rig("http://127.0.0.1:9/", method=method, batch=BatchPolicy())
    assert caught.value.key == "batch"
    assert method in caught.value.cause


# -- heads that differ -------------------------------------------------------------------------------------


async def test_target_and_lines_are_those_of_the_event(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url("/static"), form=FILLED, headers=(("X-One", "1"),))
    client.send(b'{"a":1}', count=3)
    await client.wait(3)
    assert receiver.accepted == 1
    for number, request in enumerate(receiver.requests, 1):
        assert request.target == f"/n/{number}?q={number}"
        assert [name for name, _ in request.headers] == [
            *("Host", "X-One", "Content-Type", "User-Agent", "X-Seq", "X-Twice"),
            *("webhook-id", "webhook-timestamp", "webhook-attempt", "Content-Length"),
        ]
        assert (request.header("x-seq"), request.header("x-twice")) == (str(number), str(2 * number))
        assert request.body == b'{"a":1}'


async def test_what_was_sent_is_what_the_log_shows(receiver: Receiver, connect: Connect) -> None:
    client = connect(
        receiver.url("/static"), form=FILLED, headers=(("X-Api-Key", "s3cret-key"),), method="PUT"
    )
    shown: list[str] = []
    done = client.pool.on_success

    def success(connection: Any) -> None:
        shown.append(request_head(connection.request, client.pool.target.scrub))
        done(connection)

    client.pool.on_success = success
    await client.outcome()
    lines = shown[0].split("\n")
    assert lines[0] == "PUT /n/1?q=1 HTTP/1.1"
    assert {"X-Api-Key: ***", "X-Seq: 1", "X-Twice: 2", f"webhook-id: msg_{STORE_ID}_{1:016x}"} < set(lines)


async def test_it_is_signed_as_it_is_sent(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url(), form=FILLED, **SIGNED)
    await client.outcome(b'{"a":1}')
    (request,) = receiver.requests
    headers = {name.lower(): value for name, value in request.headers}
    assert Webhook(SECRET).verify(request.body, headers) == {"a": 1}


async def test_through_a_proxy(receiver: Receiver, connect: Connect) -> None:
    async with HttpProxy(authorization="Basic dTpw") as proxy:
        client = connect(receiver.url(), form=FILLED, proxy=proxy.url("u:p@"))
        assert (await client.outcome()).ok
        assert (await client.outcome()).ok
        assert proxy.requests == [
            f"POST http://127.0.0.1:{receiver.port}/n/{n}?q={n} HTTP/1.1" for n in (1, 2)
        ]
        assert "Proxy-Authorization: Basic dTpw" in proxy.heads[0]
    assert [request.header("x-seq") for request in receiver.requests] == ["1", "2"]


async def test_with_a_token_that_is_refused_once(receiver: Receiver, start: Start) -> None:
    async with Tokens() as tokens:
        secret = Secret(value="s3cret")  # type: ignore[arg-type]
        receiver.scripts.append(scripts.status(401))
        rig = start(
            receiver.url("/dev/${clientid}"),
            headers=(("X-Topic", "${topic}"),),
            credentials=Credentials(
                kind="oauth2", token_url=tokens.url(), client_id="c", client_secret=secret
            ),
        )
        rig.publish("a", client="c1")
        await receiver.wait_count(2)
        first, second = receiver.requests
        assert [r.header("authorization") for r in (first, second)] == ["Bearer token-1", "Bearer token-2"]
        assert [r.target for r in (first, second)] == ["/dev/c1", "/dev/c1"]
        assert [r.header("x-topic") for r in (first, second)] == ["a", "a"]
        assert first.id == second.id
        assert second.attempt == 1  # the same attempt


async def test_a_request_again_on_a_new_connection(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url(), form=FILLED)
    assert (await client.outcome()).ok
    receiver.close_connections()
    await receiver.wait_closed()
    assert (await client.outcome()).ok
    assert [request.target for request in receiver.requests] == ["/n/1?q=1", "/n/2?q=2"]


async def test_a_head_that_cannot_be_made_is_a_dead_letter_and_stops_nothing(
    receiver: Receiver, start: Start
) -> None:
    rig = start(receiver.url("/${clientid}"), pool_size=1)
    fill = rig.lane.target.fill
    assert fill is not None

    def broken(seq: int, event: Event) -> tuple[bytes, bytes]:
        if event.topic == "bad":
            raise ValueError("no such thing")
        return fill(seq, event)

    rig.lane.target.fill = broken
    for text in ("a", "bad", "b", "bad", "c"):
        rig.publish(text)
    await receiver.wait_count(3)
    await until(lambda: rig.lane.dead == 2)
    assert [request.json["topic"] for request in receiver.requests] == ["a", "b", "c"]
    rig.flush()
    letters = rig.store.dead(rig.lane.id)
    assert [letter.error for letter in letters] == ["body: no such thing"] * 2


async def test_a_retry_has_the_head_of_its_event(receiver: Receiver, start: Start) -> None:
    receiver.scripts.append(scripts.status(500))
    rig = start(
        receiver.url("/${topic}?c=${clientid}"), retry=RetryPolicy(schedule=(0, 0.05), jitter=0), pool_size=1
    )
    rig.publish("a", client="c1")
    await receiver.wait_count(2)
    rig.publish("b", client="c2")
    await receiver.wait_count(3)
    assert [(r.target, r.attempt) for r in receiver.requests] == [
        ("/a?c=c1", 1),
        ("/a?c=c1", 2),
        ("/b?c=c2", 1),
    ]


HOSTILE = "a\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\r\n\0\1 ../..?x=y#z\u2028ä%0d%0a"


async def test_a_clients_data_cannot_change_what_a_head_means(receiver: Receiver, start: Start) -> None:
    rig = start(
        receiver.url("/dev/${clientid}/x?t=${topic}&p=${payload}"),
        headers=(("X-Client", "${clientid}"), ("X-Payload", "p-${payload}")),
        pool_size=1,
    )
    event = rig.event(text="t", client=HOSTILE)
    event.payload = HOSTILE.encode()
    event.topic = HOSTILE
    for _ in range(2):
        rig.journal.append(event)
    await receiver.wait_count(2)
    assert receiver.accepted == 1
    for request in receiver.requests:
        assert [name for name, _ in request.headers] == [
            *("Host", "Content-Type", "User-Agent", "X-Client", "X-Payload"),
            *("webhook-id", "webhook-timestamp", "webhook-attempt", "Content-Length"),
        ]
        assert re.fullmatch(
            r"/dev/[A-Za-z0-9._~%-]+/x\?t=[A-Za-z0-9._~%-]+&p=[A-Za-z0-9._~%-]+", request.target
        )
        assert request.json["payload"] == HOSTILE


def test_headers_of_ours_hold_no_placeholder() -> None:
    for name in ("Content-Length", "Transfer-Encoding", "connection", "webhook-id", "x-mes-signature"):
        endpoint = Endpoint(
            url="http://h/",
            headers=((name, "${clientid}"),),
            signature=(Signature(scheme="mes"),),
            secrets=(Secret(value="s3cret"),),  # type: ignore[arg-type]
        )
        with pytest.raises(EndpointError) as caught:
            Target(endpoint, STORE_ID, FILLED)
        assert caught.value.key == f"headers.{name}"
    with pytest.raises(EndpointError) as caught:
        Target(Endpoint(url="http://h/", method="GET", headers=(("Content-Type", "${x}"),)), STORE_ID, FILLED)
    assert caught.value.key == "headers.Content-Type"


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://127.0.0.1:9/${nothing}"},
        {"url": "http://${clientid}:9/"},
        {"url": "http://127.0.0.1:9/", "headers": (("Content-Length", "${clientid}"),)},
        {"url": "http://127.0.0.1:9/${topic}", "batch": BatchPolicy()},
        {"url": "http://127.0.0.1:9/", "format": "template", "template": '{"a": ${topic}'},
    ],
)
async def test_what_can_never_work_is_an_error_of_the_endpoint(settings: dict[str, Any]) -> None:
    with pytest.raises(EndpointError) as caught:
        Rig(**settings)
    assert "\n" not in str(caught.value)


async def test_secrets_beside_placeholders_are_masked(receiver: Receiver, start: Start) -> None:
    rig = start(
        receiver.url("/dev/${clientid}?token=query-s3cret-${topic}&k=${clientid}"),
        headers=(("X-Api-Key", "key-s3cret-${clientid}"), ("X-Plant", "${topic}")),
    )
    texts: list[str] = []

    async def echo(exchange: Exchange) -> None:
        said = "\n".join([exchange.request.target, *(f"{n}: {v}" for n, v in exchange.request.headers)])
        texts.append(rig.lane.target.scrub(said))
        await exchange.respond(204)

    receiver.script = echo
    rig.publish("t1", client="c1")
    await receiver.wait_count(1)
    request = receiver.requests[0]
    assert request.target == "/dev/c1?token=query-s3cret-t1&k=c1"
    assert request.header("x-api-key") == "key-s3cret-c1"
    await until(lambda: texts)
    assert "s3cret" not in texts[0]
    assert "X-Plant: t1" in texts[0]
    assert rig.lane.target.label == f"http://127.0.0.1:{receiver.port}/dev/${{clientid}}"


async def test_the_content_type_is_the_formats_unless_configured(receiver: Receiver, start: Start) -> None:
    start(receiver.url("/1"), format="cloudevents").publish("a")
    await receiver.wait_count(1)
    start(receiver.url("/2"), format="template", template="${topic}", template_type="text").publish("a")
    await receiver.wait_count(2)
    start(
        receiver.url("/3"),
        format="template",
        template="${topic}",
        template_type="text",
        headers=(("content-type", "text/x"),),
    ).publish("a")
    await receiver.wait_count(3)
    start(receiver.url("/4"), format="cloudevents", batch=BatchPolicy(max_wait=0)).publish("a")
    await receiver.wait_count(4)
    assert [request.all("content-type") for request in receiver.requests] == [
        ["application/cloudevents+json; charset=utf-8"],
        ["text/plain; charset=utf-8"],
        ["text/x"],
        ["application/json"],
    ]


async def test_the_nodes_name_stands_in_bodies(receiver: Receiver, start: Start) -> None:
    start(receiver.url(), format="emqx", node="plant7@edge").publish("a")
    await receiver.wait_count(1)
    assert receiver.requests[0].json["node"] == "plant7@edge"
