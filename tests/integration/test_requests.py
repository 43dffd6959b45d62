"""What webhooks send, on the real process as its file says it: methods, heads by event, permission, counters,
test requests, and a thousand endpoints."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from bridge.events.event import HOOK_EVENTS
from tests.integration import receiver as scripts
from tests.integration.commands import asked, given, said
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until
from tests.integration.receiver import Exchange, Receiver, Request

NODE = 'node { name = "hookmq@plant7.example.com" }'


def hook(name: str, url: str, *lines: str) -> str:
    """`webhooks.<name>`; lines of HOCON."""
    return "\n".join([f"webhooks.{name} {{", f"  url = {json.dumps(url)}", *lines, "}\n"])


async def publish(
    hookmq: HookMQ, topic: str, *payloads: bytes, client: str = "c1", disconnect: bool = True
) -> None:
    peer = await Client.connect(hookmq.port, client)
    for payload in payloads:
        await peer.publish(topic, payload, qos=1)
    if disconnect:
        await peer.disconnect()


def of(requests: list[Request], path: str) -> list[Request]:
    return [request for request in requests if request.target.startswith(path)]


# -- methods and heads -------------------------------------------------------------------------------------


async def test_each_webhook_has_its_method_path_headers_and_body(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        blocks = [
            NODE,
            hook("post", receiver.url("/post"), 'topics = ["line/#"]', "format = emqx"),
            hook(
                "put",
                receiver.url("/put/${clientid}?t=${topic}&v=${payload.temp}"),
                'topics = ["line/#"]',
                "method = put",
                'headers.X-Client = "${clientid}@${node}"',
                'body = """{"temp": ${payload.temp}, "note": "${payload.note}"}"""',
            ),
            hook("get", receiver.url("/get/${payload.temp}"), 'topics = ["line/#"]', "method = GET"),
            hook("delete", receiver.url("/delete?a=b"), 'topics = ["line/#"]', "method = DELETE"),
            hook(
                "cloud",
                receiver.url("/cloud"),
                'topics = ["line/#"]',
                "format = cloudevents",
                "cloudevents.mode = binary",
            ),
        ]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            payload = b'{"temp": 21.5, "note": "a \\"quote\\""}'
            await publish(hookmq, "line/1", payload)
            await receiver.wait_count(5)
            await publish(hookmq, "elsewhere", payload)
            assert await hookmq.stop() == 0
    by_path = {re.match(r"/\w+", request.target)[0]: request for request in receiver.requests}  # type: ignore[index]
    assert len(receiver.requests) == len(by_path) == 5
    post, put, get, delete, cloud = (
        by_path[f"/{name}"] for name in ("post", "put", "get", "delete", "cloud")
    )
    assert post.method == "POST"
    assert post.json["node"] == "hookmq@plant7.example.com"
    assert post.json["metadata"] == {"rule_id": "post_WH_D"}
    assert (put.method, put.target) == ("PUT", "/put/c1?t=line%2F1&v=21.5")
    assert put.header("x-client") == "c1@hookmq@plant7.example.com"
    assert put.json == {"temp": 21.5, "note": 'a "quote"'}
    assert (get.method, get.target, get.body) == ("GET", "/get/21.5", b"")
    assert (delete.method, delete.target, delete.body) == ("DELETE", "/delete?a=b", b"")
    for request in (get, delete):
        assert (request.header("content-type"), request.header("content-length")) == (None, None)
    assert cloud.body == payload
    assert cloud.header("ce-source") == "/hookmq/hookmq@plant7.example.com"
    assert cloud.header("ce-id") == cloud.id
    assert len({request.id for request in receiver.requests}) == 1  # one event


async def test_a_hostile_client_stays_in_its_place(tmp_path: Path) -> None:
    """What a device calls itself, and says, cannot change the head of a request."""
    client = "c ../..?x=y#z%0d%0aX-Evil: 1 ä\u2028"
    topic = "line/ä b?c&d=e;%2e%2e"
    payload = b"\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    async with Receiver() as receiver:
        block = hook(
            "h",
            receiver.url("/dev/${clientid}/x?t=${topic}&p=${payload}"),
            'topics = ["line/#"]',
            'headers { X-Client = "${clientid}", X-Payload = "${payload}" }',
        )
        async with HookMQ(tmp_path, block) as hookmq:
            await publish(hookmq, topic, payload, payload, client=client)
            await receiver.wait_count(2)
            rows = await asked(hookmq, "log")
    for request in receiver.requests:
        path, _, query = request.target.partition("?")
        assert path.split("/")[::3] == ["", "x"]
        assert unquote(path.split("/")[2]) == client
        pairs = dict(pair.split("=") for pair in query.split("&"))
        assert {name: unquote(value) for name, value in pairs.items()} == {
            "t": topic,
            "p": payload.decode(),
        }
        assert request.header("x-evil") is None
        assert unquote(request.header("x-payload") or "") == payload.decode()
        assert request.json["payload"] == payload.decode()
    assert {row["request"].split("\n")[0] for row in rows} == {
        f"POST {request.target} HTTP/1.1" for request in receiver.requests
    }


# -- permission --------------------------------------------------------------------------------------------


async def test_nothing_is_delivered_before_it_is_allowed(tmp_path: Path) -> None:
    allowed: list[scripts.Script] = [scripts.status(405)]

    async def serve(exchange: Exchange) -> None:
        if exchange.request.method == "OPTIONS":
            await allowed[0](exchange)
        else:
            await exchange.respond(204)

    async with Receiver() as receiver:
        receiver.script = serve
        block = hook(
            "h",
            receiver.url("/hook"),
            'topics = ["#"]',
            "abuse_protection = true",
            "breaker.probe_interval = 200ms",
            "rate_limit.per_second = 100",
        )
        async with HookMQ(tmp_path, NODE, block) as hookmq:
            await publish(hookmq, "a", b"1", b"2")
            await receiver.wait_count(2)
            [endpoint] = (await asked(hookmq, "status"))["endpoints"]
            assert endpoint["state"] == "asking"
            assert endpoint["reason"] == "it answered OPTIONS with status 405"
            assert (endpoint["matched"], endpoint["queued"], endpoint["failed"]) == (2, 2, 0)
            for name in ("status", "endpoints"):
                assert (
                    "h has not allowed events (abuse_protection), they wait: "
                    "it answered OPTIONS with status 405\n"
                ) in await said(hookmq, name)
            done = await given("send-test", "--store", str(hookmq.data))
            assert done.returncode == 1
            assert "the endpoint does not allow events (abuse_protection)" in done.stdout
            assert "abuse_protection" in await said(hookmq, "log")
            allowed[0] = scripts.status(
                200,
                headers=[("WebHook-Allowed-Origin", "plant7.example.com"), ("WebHook-Allowed-Rate", "120")],
            )
            await receiver.wait_for(lambda rs: len([r for r in rs if r.method == "POST"]) == 2)
            await hookmq.said("it allows events now")
            assert hookmq.log.count("it does not allow events") == 1
            asks = [request for request in receiver.requests if request.method == "OPTIONS"]
            sent = [request for request in receiver.requests if request.method == "POST"]
            assert asks[0].target == "/hook"
            assert asks[0].header("webhook-request-origin") == "plant7.example.com"
            assert asks[0].header("webhook-request-rate") == "6000"
            assert [request.attempt for request in sent] == [1, 1]
            assert 0.45 < sent[1].at - sent[0].at < 2  # two a second
            assert [r.header("webhook-request-origin") for r in sent] == ["plant7.example.com"] * 2
            assert "on" in re.split(r"\s+", (await said(hookmq, "status")).split("\nh ")[1])
            count = len(asks)
            await hookmq.stop()
            await hookmq.start()  # each process asks
            await receiver.wait_for(lambda rs: len([r for r in rs if r.method == "OPTIONS"]) == count + 1)


# -- counters and test requests ----------------------------------------------------------------------------


async def test_the_counters_of_each_webhook(tmp_path: Path) -> None:
    async with Receiver() as good, Receiver(status=500) as bad:
        blocks = [
            hook("hot", good.url(), 'topics = ["t/#"]', 'where = "payload.temp > 80"'),
            hook("all", good.url(), 'topics = ["t/#"]', 'note = "the whole line"'),
            hook("bad", bad.url(), 'topics = ["t/#"]', "retry { schedule = [0s, 10ms], jitter = 0 }"),
            hook("later", bad.url(), 'topics = ["t/#"]', "retry { schedule = [0s, 1h], jitter = 0 }"),
        ]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            await publish(hookmq, "t/1", *(b'{"temp": %d}' % temp for temp in (70, 85, 90)))

            async def settled() -> dict[str, dict[str, int]]:
                names = ("matched", "delivered", "failed", "retried", "dead", "queued", "in_flight")
                return {
                    e["name"]: {name: e[name] for name in names if e[name]}
                    for e in (await asked(hookmq, "status"))["endpoints"]
                }

            wanted = {
                "hot": {"matched": 2, "delivered": 2},
                "all": {"matched": 3, "delivered": 3},
                "bad": {"matched": 3, "failed": 6, "retried": 3, "dead": 3},
                "later": {"matched": 3, "failed": 3, "queued": 3},
            }
            end = time.monotonic() + 10
            while (found := await settled()) != wanted:
                assert time.monotonic() < end, found
                await asyncio.sleep(0.05)
            by_name = {e["name"]: e for e in await asked(hookmq, "endpoints")}
            assert by_name["bad"]["counters"] == {
                **dict.fromkeys(("delivered", "queued", "in_flight"), 0),
                **{"matched": 3, "failed": 6, "retried": 3, "dead": 3},
            }
            assert (by_name["all"]["method"], by_name["all"]["format"]) == ("POST", "nanomq")
            shown = await said(hookmq, "endpoints")
            heading = shown.split("\n")[0].split()
            assert heading[4:11] == ["matched", "delivered", "failed", "retried", "dead", "queued", "in"]
            assert re.search(r"^bad +on +POST nanomq +\S+ +3 +0 +6 +3 +3 +0 +0 ", shown, re.MULTILINE)
            assert "  all: the whole line\n" in shown
            shown = await said(hookmq, "status")
            assert re.search(r"^later +on +3 .* 3 +0 +0.0 +3 +\S+ +0$", shown, re.MULTILINE), shown


async def test_a_test_request_of_every_type_by_both_names(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        blocks = [
            NODE,
            hook("erp", receiver.url("/dev/${clientid}"), "triggers = all", "format = emqx", "method = PUT"),
            hook("get", receiver.url("/get?c=${clientid}"), "triggers = all", "method = GET"),
        ]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            for kind in HOOK_EVENTS:
                for name in (kind.dotted, f"on_{kind.action}"):
                    found = await asked(hookmq, "send-test", "--endpoint", "erp", "--event", name)
                    request = receiver.requests[-1]
                    assert found["ok"]
                    assert request.method == "PUT"
                    assert request.target in ("/dev/hookmq-test", "/dev/hookmq-test-receiver")
                    assert (request.json["event"], request.json["node"]) == (
                        kind.dotted,
                        "hookmq@plant7.example.com",
                    )
                    assert json.loads(found["body"]) == request.json
            shown = await said(hookmq, "send-test", "--endpoint", "get", "--event", "client.ping")
            assert "GET /get?c=hookmq-test HTTP/1.1" in shown
            assert "HTTP/1.1 204 No Content" in shown
            assert receiver.requests[-1].body == b""


# -- a thousand --------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)  # a thousand blocks are read in two seconds of a processor of one's own
async def test_a_thousand_webhooks_cost_little_while_idle_and_all_deliver(tmp_path: Path) -> None:
    async with Receiver() as receiver:

        def many(count: int) -> str:
            return "\n".join(
                hook(f"w{n}", receiver.url(f"/{n}"), f'topics = ["line/{n}"]', "format = emqx")
                for n in range(count)
            )

        resident: dict[int, int] = {}
        for count in (100, 1000):
            plant = HookMQ(tmp_path / str(count), many(count))
            plant.start_s = 60
            async with plant as hookmq:
                resident[count] = hookmq.rss()
                if count == 100:
                    continue
                before = _cpu(hookmq)
                await asyncio.sleep(2)
                assert _cpu(hookmq) - before < 0.2  # s of the processor in 2 s
                peer = await Client.connect(hookmq.port, "c1")
                for number in range(0, 1000, 10):
                    await peer.publish(f"line/{number}", b"x", qos=1)
                await until(lambda: len(receiver.requests) == 100, "a hundred endpoints have theirs")
                assert {request.target for request in receiver.requests} == {
                    f"/{number}" for number in range(0, 1000, 10)
                }
                assert await hookmq.stop() == 0
        # Settings, rules, counters and the lane itself.
        assert (resident[1000] - resident[100]) / 900 < 60_000


def _cpu(hookmq: HookMQ) -> float:
    """Seconds of the processor that the process has taken."""
    fields = Path(f"/proc/{hookmq.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
