"""OAuth2 client credentials against a real token server and a real receiver; time is injected."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from bridge.config.settings import BatchPolicy, Credentials, Egress, Endpoint, Secret
from bridge.delivery import oauth2
from bridge.delivery.connect import Network
from bridge.delivery.exchange import MAX_RESPONSE
from bridge.delivery.oauth2 import FORCED_S, RENEW_AT, make_token_source
from bridge.delivery.sample import send_test
from bridge.delivery.target import EndpointError, Target
from bridge.events.event import EventType
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver, Script
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

CLIENT, CLIENT_SECRET = "client id:1", "s3cret+/ä"
PAIR = base64.b64encode(b"client+id%3A1:s3cret%2B%2F%C3%A4").decode()


def credentials(url: str, **changes: Any) -> Credentials:
    given = {"client_id": CLIENT, "client_secret": Secret(value=CLIENT_SECRET), "token_url": url}  # type: ignore[arg-type]
    return Credentials(kind="oauth2", **given | changes)


def answer(status: int = 200, **body: Any) -> Script:
    return scripts.status(status, json.dumps(body).encode(), [("Content-Type", "application/json")])


def token(number: int | str, expires_in: Any = 3600) -> Script:
    return answer(access_token=f"token-{number}", token_type="Bearer", expires_in=expires_in)


class Tokens(Receiver):
    """A token server that numbers its tokens."""

    def __init__(self, expires_in: Any = 3600) -> None:
        super().__init__()
        self.given = 0
        self.expires_in = expires_in
        self.script = self._give

    async def _give(self, exchange: Exchange) -> None:
        self.given += 1
        await token(self.given, self.expires_in)(exchange)


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Monotonic time and timers that go as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Callable[[], None], Timer]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        timer = Timer()
        self._timers.append((self.now + delay, call, timer))
        return timer

    @property
    def waits(self) -> list[float]:
        """Seconds until each timer that runs."""
        return [round(at - self.now, 3) for at, _, timer in self._timers if not timer.cancelled]

    def go(self, seconds: float) -> None:
        self.now += seconds
        due = [entry for entry in self._timers if entry[0] <= self.now and not entry[2].cancelled]
        self._timers = [entry for entry in self._timers if entry not in due and not entry[2].cancelled]
        for _, call, _ in due:
            call()


@pytest.fixture
async def server() -> AsyncIterator[Tokens]:
    async with Tokens() as tokens:
        yield tokens


class Source:
    """A token source by itself."""

    def __init__(self, url: str, clock: Clock, **changes: Any) -> None:
        loop = asyncio.get_running_loop()
        endpoint = Endpoint(name="erp", url="http://127.0.0.1:9/", credentials=credentials(url, **changes))
        self.target = Target(endpoint, "0123456789ab")
        made = make_token_source(
            *(endpoint, self.target, Network(loop), loop),
            now=clock.time,
            call_later=clock.call_later,
            random=lambda: 0.0,
        )
        assert made is not None
        self.source = made
        self.came = 0
        self.source.on_token = self._on_token

    def _on_token(self) -> None:
        self.came += 1

    async def token(self, count: int = 1) -> bytes | None:
        await until(lambda: self.came >= count)
        return self.source.value

    async def failures(self, count: int) -> None:
        await until(lambda: self.source.failures >= count and self.source._task is None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


# -- the request -------------------------------------------------------------------------------------------


async def test_the_request_is_that_of_rfc_6749(server: Tokens, clock: Clock) -> None:
    made = Source(server.url("/oauth/token?tenant=1"), clock, scope="events write")
    made.source.start()
    assert await made.token() == b"Bearer token-1"
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/oauth/token?tenant=1")
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert request.header("accept") == "application/json"
    assert request.header("authorization") == f"Basic {PAIR}"
    assert request.header("webhook-id") is None
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["events write"],
    }
    assert request.header("connection") == "close"


async def test_a_server_that_wants_the_secret_in_the_form_gets_it_there(server: Tokens, clock: Clock) -> None:
    server.scripts.append(answer(401, error="invalid_client"))
    made = Source(server.url(), clock)
    made.source.start()
    assert await made.token() == b"Bearer token-1"
    by_header, by_form = server.requests
    assert by_header.header("authorization") is not None
    assert by_form.header("authorization") is None
    assert parse_qs(by_form.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": [CLIENT],
        "client_secret": [CLIENT_SECRET],
    }
    clock.go(3600 * RENEW_AT)  # nobody used it
    assert len(server.requests) == 2
    clock.go(3600)
    assert not made.source.ready()
    assert await made.token(2) == b"Bearer token-2"
    assert server.requests[2].header("authorization") is None  # it is remembered


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (
            answer(400, error="invalid_scope", error_description="no\r\n\x1b[2J such"),
            "status 400 invalid_scope: no",
        ),
        (answer(401, error="invalid_client"), "status 401 invalid_client"),
        (answer(500), "status 500"),
        (scripts.status(302, headers=[("Location", "/elsewhere")]), "status 302"),
        (scripts.status(200, b"<html>"), "not the JSON of a token"),
        (answer(error="x"), "not the JSON of a token"),
        (answer(access_token=5), "not the JSON of a token"),
        (answer(access_token="a b"), "cannot stand in a header"),
        (answer(access_token="a\r\nX: y"), "cannot stand in a header"),
        (answer(access_token=""), "cannot stand in a header"),
        (answer(access_token="x" * 20_000), "cannot stand in a header"),
        (answer(access_token="a", token_type="mac"), "tokens of the type mac"),
        (scripts.raw(b"SSH-2.0-OpenSSH\r\n"), "not HTTP/1.1"),
        (scripts.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_RESPONSE), f"longer than {MAX_RESPONSE}"),
        (scripts.close, "closed the connection"),
        (scripts.reset, "closed the connection"),
        (scripts.cut_in_body, "not the JSON of a token"),
    ],
)
async def test_no_token(
    server: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture, script: Script, text: str
) -> None:
    caplog.set_level(logging.INFO)
    server.script = script
    made = Source(server.url("/token", userinfo=""), clock)
    made.source.start()
    await made.failures(1)
    assert not made.source.ready()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    message = record.getMessage()
    assert message.startswith(f"webhook erp: no token from {server.url('/token')}, events wait: ")
    assert text in message
    assert "\n" not in message
    assert "\x1b" not in message
    for hidden in (CLIENT_SECRET, PAIR, "s3cret"):
        assert hidden not in message


async def test_a_server_that_echoes_the_secret_shows_none(
    server: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = answer(400, error="bad", error_description=f"{CLIENT_SECRET} s3cret%2B%2F%C3%A4 {PAIR}")
    made = Source(server.url(), clock)
    made.source.start()
    await made.failures(1)
    assert "status 400 bad: *** *** ***" in caplog.text


async def test_a_hanging_server_is_given_up(
    server: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth2, "TIMEOUT_S", 0.05)
    server.script = scripts.hang
    made = Source(server.url(), clock)
    made.source.start()
    await made.failures(1)
    assert "its answer took longer" in caplog.text
    await server.wait_closed()


@pytest.mark.parametrize("script", [scripts.chunked, scripts.close_delimited])
async def test_other_forms_of_an_answer(server: Tokens, clock: Clock, script: Script) -> None:
    body = json.dumps({"access_token": "t", "expires_in": "60"}).encode()
    heads = {
        scripts.chunked: b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        scripts.close_delimited: b"\r\n" + body,
    }
    server.script = scripts.raw(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + heads[script], close=True
    )
    made = Source(server.url(), clock)
    made.source.start()
    assert await made.token() == b"Bearer t"
    assert clock.waits == [60 * RENEW_AT]


# -- when --------------------------------------------------------------------------------------------------


async def test_it_is_renewed_before_it_ends_if_it_was_used(server: Tokens, clock: Clock) -> None:
    made = Source(server.url(), clock)
    made.source.start()
    await made.token()
    assert made.source.ready()
    clock.go(3600 * RENEW_AT - 1)
    assert made.source.ready()
    assert len(server.requests) == 1
    clock.go(1)
    assert made.source.ready()  # the old one is good until the new one comes
    assert await made.token(2) == b"Bearer token-2"


async def test_one_that_nobody_uses_runs_out(server: Tokens, clock: Clock) -> None:
    made = Source(server.url(), clock)
    made.source.start()
    await made.token()
    clock.go(3600)
    assert clock.waits == []
    await asyncio.sleep(0)  # a request would have begun
    assert made.source.requests == 1
    assert not made.source.ready()
    assert await made.token(2) == b"Bearer token-2"
    assert made.source.ready()


@pytest.mark.parametrize("expires_in", [None, 0, -5, "soon", "nan", "inf"])
async def test_without_a_usable_life_it_is_kept(server: Tokens, clock: Clock, expires_in: Any) -> None:
    server.expires_in = expires_in
    made = Source(server.url(), clock)
    made.source.start()
    await made.token()
    clock.go(1e9)
    assert made.source.ready()
    assert clock.waits == []


async def test_one_request_for_all_who_wait(server: Tokens, clock: Clock) -> None:
    made = Source(server.url(), clock)
    assert [made.source.ready() for _ in range(100)] == [False] * 100
    await made.token()
    assert made.source.requests == len(server.requests) == 1


async def test_failures_wait_longer_and_are_logged_once(
    server: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.script = scripts.status(503)
    made = Source(server.url(), clock)
    made.source.start()
    for number, wait in enumerate((1, 2, 4, 8, 16, 32, 60, 60, 60), 1):
        await made.failures(number)
        assert not made.source.ready()
        assert clock.waits == [wait]
        clock.go(wait)
    await made.failures(10)
    assert len(caplog.records) == 1
    for number in range(11, 18):
        clock.go(60)
        await made.failures(number)
    assert len(caplog.records) == 2  # ten minutes later
    server.script = token("good")
    clock.go(60)
    await made.token()
    assert caplog.records[-1].getMessage() == f"webhook erp: {server.url()} gives tokens again"
    assert len(server.requests) == 18


async def test_a_token_is_used_on_while_renewing_fails(
    server: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made = Source(server.url(), clock)
    made.source.start()
    await made.token()
    server.script = scripts.status(503)
    assert made.source.ready()
    clock.go(3600 * RENEW_AT)
    await made.failures(1)
    assert "the present one is used on" in caplog.text
    assert made.source.ready()
    clock.go(3600 * (1 - RENEW_AT))
    await made.failures(2)
    assert not made.source.ready()


async def test_a_401_forces_one_renewal_in_a_minute(server: Tokens, clock: Clock) -> None:
    made = Source(server.url(), clock)
    made.source.start()
    await made.token()
    assert made.source.refused(latest=True)
    assert not made.source.ready()
    assert made.source.refused(latest=True)  # another request that had been out with it
    assert await made.token(2) == b"Bearer token-2"
    assert made.source.refused(latest=False)  # and one that is answered later still
    assert not made.source.refused(latest=True)
    assert made.source.ready()
    assert len(server.requests) == 2
    clock.go(FORCED_S)
    assert made.source.refused(latest=True)
    await made.token(3)


async def test_after_close_nothing_is_asked(server: Tokens, clock: Clock) -> None:
    server.script = scripts.hang
    made = Source(server.url(), clock)
    made.source.start()
    await server.wait_count(1)
    made.source.close()
    await server.wait_closed()
    assert not made.source.ready()
    assert clock.waits == []
    assert len(server.requests) == 1


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"token_url": None}, "token_url"),
        ({"token_url": "ftp://h/"}, "token_url"),
        ({"token_url": "http://u:hunter2@h/"}, "token_url"),
        ({"token_url": "http://169.254.169.254/token"}, "token_url"),
        ({"client_id": None}, "client_id"),
        ({"client_secret": None}, "client_secret"),
        ({"client_secret": Secret(env="NO_SUCH_VARIABLE_IS_SET")}, "client_secret"),
    ],
)
async def test_what_cannot_work(changes: dict[str, Any], key: str) -> None:
    endpoint = Endpoint(
        name="erp", url="http://h/", credentials=credentials("http://127.0.0.1:9/", **changes)
    )
    loop = asyncio.get_running_loop()
    with pytest.raises(EndpointError) as caught:
        make_token_source(endpoint, Target(endpoint, "0"), Network(loop), loop)
    assert caught.value.key == f"credentials.{key}"
    assert "hunter2" not in str(caught.value)


async def test_the_egress_guard_holds_for_the_token_server() -> None:
    loop = asyncio.get_running_loop()
    network = Network(loop, Egress(deny=("127.0.0.0/8",)))
    endpoint = Endpoint(name="erp", url="http://h/", credentials=credentials("http://127.0.0.1:9/"))
    with pytest.raises(EndpointError, match=r"credentials\.token_url: 127\.0\.0\.1 is in egress\.deny"):
        make_token_source(endpoint, Target(endpoint, "0"), network, loop)


# -- in a lane ---------------------------------------------------------------------------------------------


async def test_events_wait_for_the_token_and_go_out_with_it(receiver: Receiver, server: Tokens) -> None:
    release = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        await release.wait()
        await token(1)(exchange)

    server.script = late
    rig = Rig(receiver.url(), credentials=credentials(server.url())).start()
    for number in range(20):
        rig.publish(str(number))
    rig.flush()
    await server.wait_count(1)
    assert receiver.requests == []
    assert rig.lane.in_flight == 0
    release.set()
    requests = await receiver.wait_count(20)
    assert {request.header("authorization") for request in requests} == {"Bearer token-1"}
    assert {request.attempt for request in requests} == {1}
    assert len(server.requests) == 1
    assert rig.lane.failed == 0
    await rig.lane.stop(0)


async def test_a_401_is_answered_with_a_new_token_and_is_no_attempt(
    receiver: Receiver, server: Tokens
) -> None:
    revoked = {"Bearer token-1"}

    async def check(exchange: Exchange) -> None:
        await exchange.respond(401 if exchange.request.header("authorization") in revoked else 204)

    receiver.script = check
    rig = Rig(receiver.url(), credentials=credentials(server.url())).start()
    for number in range(50):
        rig.publish(str(number))
    rig.life("c1", "first")
    rig.life("c1", "second")
    rig.flush()
    await until(lambda: rig.lane.delivered == 52)
    assert server.given == 2
    assert rig.lane.failed == 0
    assert {request.attempt for request in receiver.requests} == {1}
    good = [r for r in receiver.requests if r.header("authorization") == "Bearer token-2"]
    assert len({request.id for request in good}) == len(good) == 52
    texts = [r.json["topic"] for r in good if r.json["action"] == "session_subscribed"]
    assert texts == ["first", "second"]
    await rig.lane.stop(0)


async def test_an_endpoint_that_refuses_every_token_fails_as_usual(
    receiver: Receiver, server: Tokens
) -> None:
    receiver.script = scripts.status(401, b"token-2 is not welcome")
    rig = Rig(receiver.url(), credentials=credentials(server.url())).start()
    rig.publish("a")
    rig.flush()
    await until(lambda: rig.lane.failed == 1)
    assert server.given == 2
    assert len(receiver.requests) == 2
    assert rig.lane.retrying == 1
    rig.flush()
    (row,) = rig.store.retries(rig.lane.id)
    assert row.error == "status 401: *** is not welcome"
    await rig.lane.stop(0)


async def test_what_waits_for_a_token_outlives_the_process(receiver: Receiver, server: Tokens) -> None:
    server.script = scripts.hang
    rig = Rig(receiver.url(), credentials=credentials(server.url())).start()
    seqs = [rig.publish(str(number)) for number in range(5)]
    rig.flush()
    await server.wait_count(1)
    store = rig.kill()
    server.script = token("late")
    again = Rig(receiver.url(), store, credentials=credentials(server.url())).start()
    requests = await receiver.wait_count(5)
    assert {request.id for request in requests} == {again.webhook_id(seq) for seq in seqs}
    await again.lane.stop(0)


async def test_a_test_request_has_the_token_or_says_why_there_is_none(
    receiver: Receiver, server: Tokens
) -> None:
    server.scripts.append(answer(503))
    rig = Rig(receiver.url(), credentials=credentials(server.url()))  # not started: nobody has asked yet
    failed = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)
    assert not failed.ok
    assert failed.error == f"no token from {server.url()}: status 503"
    assert receiver.requests == []
    again = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)  # before it is asked again
    assert again.error == failed.error
    await rig.lane.stop(0)
    rig = Rig(receiver.url(), credentials=credentials(server.url()))
    good = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)
    assert good.ok
    assert receiver.requests[0].header("authorization") == "Bearer token-1"
    assert "token-1" not in good.request
    await rig.lane.stop(0)


async def test_groups_wait_for_the_token_and_go_out_again_after_a_401(
    receiver: Receiver, server: Tokens
) -> None:
    async def check(exchange: Exchange) -> None:
        good = exchange.request.header("authorization") != "Bearer token-1"
        await exchange.respond(204 if good else 401)

    receiver.script = check
    rig = Rig(
        receiver.url(), credentials=credentials(server.url()), batch=BatchPolicy(max_events=10, max_wait=0.01)
    ).start()
    for number in range(30):
        rig.publish(str(number))
    rig.flush()
    await until(lambda: rig.lane.delivered == 30)
    assert rig.lane.failed == 0
    assert {request.attempt for request in receiver.requests} == {1}
    good = [r for r in receiver.requests if r.header("authorization") == "Bearer token-2"]
    assert len({request.id for request in good}) == len(good)
    assert sum(len(request.json) for request in good) == 30
    bodies = {request.id: request.body for request in good}
    assert all(bodies[request.id] == request.body for request in receiver.requests)
    await rig.lane.stop(0)
