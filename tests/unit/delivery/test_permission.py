"""Abuse protection: what is asked, what is a permission, and that nothing is delivered without one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import (
    BacklogBound,
    BreakerPolicy,
    Credentials,
    Egress,
    Endpoint,
    RateLimit,
    Secret,
)
from bridge.control.service import attempt
from bridge.delivery.connect import Network
from bridge.delivery.gate import Gate
from bridge.delivery.lane import Lane
from bridge.delivery.resolver import Address
from bridge.delivery.sample import send_test
from bridge.delivery.target import EndpointError
from bridge.events.event import EventType
from bridge.journal.memory import MemoryStore
from tests.integration import receiver as scripts
from tests.integration.http_proxy import HttpProxy
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig
from tests.unit.delivery.test_attempts import Plant
from tests.unit.delivery.test_oauth2 import Tokens

NODE = "hookmq@plant7.example.com"
ORIGIN = "plant7.example.com"
OFTEN = BreakerPolicy(failures=1_000_000, probe_interval=0.05)
Start = Callable[..., Rig]


class Site(Receiver):
    """A receiver that answers OPTIONS with `allowed`, and counts deliveries apart."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: scripts.Script = allow()
        self.script = self._serve_one

    async def _serve_one(self, exchange: Exchange) -> None:
        if exchange.request.method == "OPTIONS":
            await self.allowed(exchange)
        else:
            await exchange.respond(204)

    @property
    def asked(self) -> list[scripts.Request]:
        return [request for request in self.requests if request.method == "OPTIONS"]

    @property
    def delivered(self) -> list[scripts.Request]:
        return [request for request in self.requests if request.method != "OPTIONS"]


def allow(origin: str | None = "*", rate: str | None = None, status: int = 200) -> scripts.Script:
    headers = [("Allow", "POST")]
    if origin is not None:
        headers.append(("WebHook-Allowed-Origin", origin))
    if rate is not None:
        headers.append(("webhook-allowed-rate", rate))
    return scripts.status(status, headers=headers)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    rigs: list[Rig] = []

    def make(url: str, **settings: Any) -> Rig:
        given: dict[str, Any] = {"node": NODE, "abuse_protection": True, "breaker": OFTEN} | settings
        rigs.append(Rig(url, **given).start())
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.kill()


# -- the request -------------------------------------------------------------------------------------------


async def test_it_is_asked_once_before_the_first_delivery(site: Site, start: Start) -> None:
    rig = start(
        site.url("/hook?key=s3cret"),
        headers=(("X-Api-Key", "abc"), ("Content-Type", "application/json"), ("X-Client", "${clientid}")),
        pool_size=4,
    )
    for number in range(10):
        rig.publish(str(number), client="c1")
    await until(lambda: rig.lane.delivered == 10)
    first = site.requests[0]
    assert (first.method, first.target, first.body) == ("OPTIONS", "/hook?key=s3cret", b"")
    assert [name for name, _ in first.headers] == [
        *("Host", "X-Api-Key", "User-Agent", "WebHook-Request-Origin", "Connection")
    ]
    assert first.header("webhook-request-origin") == ORIGIN
    assert first.header("x-api-key") == "abc"
    assert len(site.asked) == 1
    for request in site.delivered:  # section 4.1.2
        assert request.all("webhook-request-origin") == [ORIGIN]
        assert request.header("x-client") == "c1"
        assert request.attempt == 1


async def test_an_endpoint_without_it_is_not_asked(site: Site, start: Start) -> None:
    rig = start(site.url(), abuse_protection=False)
    rig.publish("x")
    await until(lambda: rig.lane.delivered == 1)
    assert site.asked == []
    assert site.delivered[0].header("webhook-request-origin") is None


@pytest.mark.parametrize(
    ("per_second", "asked"), [(2, "120"), (0.5, "30"), (0.001, "1"), (1.999, "119"), (None, None)]
)
async def test_the_rate_that_is_asked_for(
    site: Site, start: Start, per_second: float | None, asked: str | None
) -> None:
    limit = None if per_second is None else RateLimit(per_second=per_second)
    rig = start(site.url(), rate_limit=limit)
    rig.publish("x")
    await until(lambda: rig.lane.delivered == 1)
    assert site.asked[0].header("webhook-request-rate") == asked


async def test_through_a_proxy_and_with_a_token(site: Site, start: Start) -> None:
    async with HttpProxy() as proxy, Tokens() as tokens:
        secret = Secret(value="s3cret")  # type: ignore[arg-type]
        rig = start(
            site.url(),
            proxy=proxy.url(),
            credentials=Credentials(
                kind="oauth2", token_url=tokens.url(), client_id="c", client_secret=secret
            ),
        )
        rig.publish("x")
        await until(lambda: rig.lane.delivered == 1)
        assert [request.header("authorization") for request in site.requests] == ["Bearer token-1"] * 2
        assert f"OPTIONS http://127.0.0.1:{site.port}/hook HTTP/1.1" in proxy.requests


async def test_a_token_that_the_handshake_is_refused_for_is_renewed(site: Site, start: Start) -> None:
    async with Tokens() as tokens:
        site.scripts.append(scripts.status(401))
        secret = Secret(value="s3cret")  # type: ignore[arg-type]
        rig = start(
            site.url(),
            credentials=Credentials(
                kind="oauth2", token_url=tokens.url(), client_id="c", client_secret=secret
            ),
        )
        rig.publish("x")
        await until(lambda: rig.lane.delivered == 1)
        assert [request.header("authorization") for request in site.requests] == [
            *("Bearer token-1", "Bearer token-2", "Bearer token-2")
        ]


# -- the answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        allow("*"),
        allow(ORIGIN),
        allow(ORIGIN.upper()),
        allow(ORIGIN, "*"),
        allow("*", "100000", status=204),
        allow("*", "0600000"),
    ],
)
async def test_a_permission(site: Site, start: Start, answer: scripts.Script) -> None:
    site.allowed = answer
    rig = start(site.url())
    assert rig.lane.state == "asking"
    rig.publish("x")
    await until(lambda: rig.lane.delivered == 1)
    assert rig.lane.state == "on"
    assert rig.lane.reason == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (allow(None), "status 200, but without WebHook-Allowed-Origin"),
        (allow(None, "*"), "status 200, but without WebHook-Allowed-Origin"),
        (allow("other.example.com"), f"it allows 'other.example.com', this is {ORIGIN}"),
        (allow("example.com"), "it allows 'example.com'"),
        (allow(f"{ORIGIN}, *"), "it allows"),
        (allow(""), "it allows ''"),
        (allow("*", "0"), "WebHook-Allowed-Rate is '0', expected requests per minute, or *"),
        (allow("*", "-5"), "WebHook-Allowed-Rate is '-5'"),
        (allow("*", "many"), "WebHook-Allowed-Rate is 'many'"),
        (allow("*", status=405), "status 405"),
        (allow("*", status=301), "status 301"),
        (scripts.status(404), "status 404"),
        (scripts.reset, "closed the connection"),
        (scripts.hang, "its answer took longer than 0.2 s"),
        (scripts.raw(b"SSH-2.0-x\r\n"), "not HTTP/1.1"),
        (scripts.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (64 << 10)), "longer than 65536 bytes"),
    ],
)
async def test_no_permission(
    site: Site,
    start: Start,
    answer: scripts.Script,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site.allowed = answer
    rig = start(site.url(), cancel_timeout=200)
    rig.publish("x")
    await until(lambda: len(site.asked) >= 3)
    assert rig.lane.state == "asking"
    assert reason in rig.lane.reason
    assert site.delivered == []
    assert (rig.lane.failed, rig.lane.retrying, rig.lane.queued, rig.lane.in_flight) == (0, 0, 1, 0)
    said = [record.getMessage() for record in caplog.records if "abuse_protection" in record.getMessage()]
    assert len(said) == 1  # though it was asked three times
    assert reason in said[0]
    site.allowed = allow()
    await until(lambda: rig.lane.delivered == 1)
    assert site.delivered[0].attempt == 1  # waiting was no attempt
    assert "it allows events now" in caplog.records[-1].getMessage()


async def test_an_endpoint_that_is_not_there_is_asked_until_it_is(
    start: Start, free_port: Callable[[], int]
) -> None:
    port = free_port()
    rig = start(f"http://127.0.0.1:{port}/")
    rig.publish("x")
    await until(lambda: "refused" in rig.lane.reason)
    async with Site() as site:
        await site.stop()
        site.port = port
        await site.start()
        await until(lambda: rig.lane.delivered == 1)


async def test_the_egress_guard_holds_for_asking_too() -> None:
    loop = asyncio.get_running_loop()
    rig = Rig("http://127.0.0.1:9/")
    endpoint = Endpoint(url="http://name.example/", abuse_protection=True)

    async def lookup(host: str) -> list[Address]:
        return [Address(socket.AF_INET, "169.254.169.254")]

    network = Network(loop, Egress(), lookup=lookup)
    lane = Lane(endpoint, rig.store.lane("x"), rig.journal, loop, network=network, node=NODE)
    lane.start()
    await until(lambda: "169.254.169.254" in lane.reason)
    await lane.stop(loop.time())
    rig.kill()


# -- how often it is asked ---------------------------------------------------------------------------------


async def test_it_is_asked_again_every_probe_interval(site: Site, start: Start) -> None:
    site.allowed = allow(None)
    rig = start(site.url(), breaker=BreakerPolicy(probe_interval=0.15))
    await until(lambda: len(site.asked) >= 4)
    gaps = [b.at - a.at for a, b in zip(site.asked, site.asked[1:], strict=False)]
    assert all(0.14 < gap < 0.5 for gap in gaps)
    await rig.lane.stop(rig.loop.time())
    count = len(site.requests)
    await asyncio.sleep(0.3)
    assert len(site.requests) == count


async def test_switched_off_it_is_not_asked(site: Site, start: Start) -> None:
    site.allowed = allow(None)
    rig = start(site.url())
    rig.publish("x")
    await until(lambda: site.asked)
    rig.lane.switch_off("by hand")
    assert (rig.lane.state, rig.lane.reason) == ("off", "by hand")
    await site.wait_closed()
    count = len(site.requests)
    await asyncio.sleep(0.2)
    assert len(site.requests) == count
    site.allowed = allow()
    rig.lane.switch_on()
    await until(lambda: rig.lane.delivered == 1)
    rig.lane.switch_off("by hand")
    rig.lane.switch_on()
    rig.publish("y")
    await until(lambda: rig.lane.delivered == 2)
    assert len(site.asked) == count + 1  # it had agreed


async def test_a_restart_asks_again(site: Site, start: Start) -> None:
    rig = start(site.url())
    rig.publish("x")
    await until(lambda: rig.lane.delivered == 1)
    again = start(site.url(), store=rig.kill())
    again.publish("y")
    await until(lambda: again.lane.delivered >= 1)
    assert len(site.asked) == 2


async def test_while_it_waits_the_backlog_keeps_its_bound(site: Site, start: Start) -> None:
    site.allowed = allow(None)
    rig = start(site.url(), backlog=BacklogBound(max_bytes=1 << 16))
    for number in range(1000):
        rig.publish(str(number))
    await until(lambda: rig.lane.expired)
    assert rig.lane.backlog_bytes <= 1 << 16
    assert rig.lane.matched == 1000
    assert rig.lane.queued + rig.lane.expired == 1000


# -- the rate ----------------------------------------------------------------------------------------------


async def test_the_allowed_rate_is_kept(site: Site, start: Start) -> None:
    site.allowed = allow("*", "1200")  # 20 a second
    rig = start(site.url(), pool_size=8)
    for number in range(11):
        rig.publish(str(number))
    await until(lambda: rig.lane.delivered == 11)
    assert 0.45 < site.delivered[-1].at - site.delivered[0].at < 1.5


@pytest.mark.parametrize(
    ("own", "allowed", "at_once", "per_second"),
    [
        (None, 60, 1, 1),
        (None, None, None, None),
        (RateLimit(per_second=10, burst=5), None, 5, 10),
        (RateLimit(per_second=10, burst=5), 60, 1, 1),
        (RateLimit(per_second=1, burst=5), 6000, 5, 1),
        (RateLimit(per_second=1, burst=500), 100, 40, 1),  # no minute has more than 100
        (RateLimit(per_second=1, burst=500), 60, 1, 1),
    ],
)
def test_the_lesser_of_both_rates(
    own: RateLimit | None, allowed: int | None, at_once: int | None, per_second: float | None
) -> None:
    gate = Gate(Endpoint(url="http://h/", abuse_protection=True, rate_limit=own), 1000, 0.0)
    assert gate.wait(0.0, 0) is None
    gate.allow(allowed, 0.0)
    if at_once is None or per_second is None:
        assert not gate.strict
        return
    for number in range(at_once):
        assert gate.wait(0.0, number) == 0
        gate.sent(number)
    assert gate.wait(0.0, at_once) == pytest.approx(1 / per_second)


# -- what the user sees ------------------------------------------------------------------------------------


async def test_the_attempt_log_has_it(site: Site, tmp_path: Path) -> None:
    site.allowed = allow(None)
    plant = Plant(
        tmp_path / "attempts.db",
        site.url("/hook?key=s3cret"),
        node=NODE,
        abuse_protection=True,
        breaker=OFTEN,
        headers=(("Authorization", "Bearer s3cret-token"),),
    )
    plant.rig.publish("x")
    await until(lambda: site.asked)
    site.allowed = allow()
    await until(lambda: plant.rig.lane.delivered)
    rows = [attempt(row, "0123456789ab") for row in await plant.rows()]
    assert [row["event"] for row in rows[-2:]] == ["abuse_protection", "on_message_publish"]
    refused, granted = rows[0], rows[-2]
    assert refused["ok"] is False
    assert (refused["status"], refused["attempt"], refused["id"]) == (200, 1, "")
    assert "without WebHook-Allowed-Origin" in refused["error"]
    assert refused["request"].startswith("OPTIONS /hook?key=*** HTTP/1.1\n")
    assert "Authorization: ***" in refused["request"]
    assert "s3cret" not in str(rows)
    assert refused["response"].startswith("HTTP/1.1 200 OK")
    assert refused["address"] == f"127.0.0.1:{site.port}"
    assert (granted["ok"], granted["error"], granted["attempt"]) == (True, "", len(site.asked))
    plant.rig.kill()
    await plant.recorder.stop()


async def test_a_test_request_needs_it_too(site: Site, start: Start) -> None:
    site.allowed = allow(None)
    rig = start(site.url())
    found = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)
    assert not found.ok
    assert found.error.startswith("the endpoint does not allow events (abuse_protection): ")
    assert site.delivered == []
    site.allowed = allow()
    await until(lambda: rig.lane.state == "on")
    assert (await send_test(rig.lane, EventType.MESSAGE_PUBLISH)).ok


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "node", "told"),
    [
        ("http://h/${clientid}", NODE, "the url holds a placeholder"),
        ("http://h/", "hookmq@", "node.name"),
        ("http://h/", "hookmq@a b", "node.name"),
        ("http://h/", "hookmq@a\r\nX: y", "node.name"),
        ("http://h/", "hookmq@ä", "node.name"),
    ],
)
async def test_what_cannot_work(url: str, node: str, told: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Rig(url, MemoryStore(), node=node, abuse_protection=True)
    assert caught.value.key == "abuse_protection"
    assert told in caught.value.cause
    assert "\n" not in str(caught.value)


async def test_a_node_without_an_at_is_all_host(site: Site, start: Start) -> None:
    start(site.url(), node="plant7").publish("x")
    await until(lambda: site.delivered)
    assert site.delivered[0].header("webhook-request-origin") == "plant7"


async def test_nothing_is_logged_where_it_is_allowed_at_once(
    site: Site, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig = start(site.url())
    rig.publish("x")
    await until(lambda: rig.lane.delivered == 1)
    assert caplog.records == []
