"""Business events on the real process: test requests in both documents' forms, and how they are shown."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from bridge.events import catalogue
from bridge.events.js_json import dumps
from tests.integration.admin.calling import Api
from tests.integration.process import HookMQ
from tests.integration.receiver import Exchange, Receiver
from tests.integration.test_operating import asked, given, said
from tests.integration.test_requests import hook

SECRET = "a secret of ours"


def mac(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


async def test_test_requests(tmp_path: Path) -> None:
    own = tmp_path / "events.json"
    own.write_text('{"types": {"saw.jammed": {"example": {"saw": 2.0}}}}')
    async with Receiver() as receiver:
        blocks = [
            f'events.catalogue = "{own}"',
            hook("mes", receiver.url("/mes"), 'types = ["*"]', f'secret = "{SECRET}"'),
            hook(
                "ery",
                receiver.url("/ery"),
                "types = [job.created]",
                "format = eryxon",
                f'secret = "{SECRET}"',
            ),
        ]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            example = catalogue.load()["job.created"].example
            for endpoint in ("mes", "ery"):
                found = await asked(hookmq, "send-test", "--endpoint", endpoint, "--event", "job.created")
                assert found["ok"]
            mes, ery = receiver.requests
            assert mes.header("x-mes-signature") == mac(mes.body)
            assert mes.body.endswith(b',"data":' + dumps(example) + b"}")
            assert list(mes.json) == ["id", "type", "timestamp", "data"]
            assert mes.json["type"] == "job.created"
            assert ery.header("x-eryxon-signature") == "sha256=" + mac(ery.body)
            assert ery.header("x-eryxon-event") == "job.created"
            assert list(ery.json) == ["event", "timestamp", "data"]
            found = await asked(hookmq, "send-test", "--endpoint", "mes", "--event", "saw.jammed")
            assert json.loads(found["body"])["data"] == {"saw": 2}
            done = await given(
                *("send-test", "--endpoint", "mes", "--event", "saw.jamed", "--store", str(hookmq.data))
            )
            assert done.returncode == 1
            assert "no event is called 'saw.jamed'" in done.stderr
            shown = {one["name"]: one for one in await asked(hookmq, "endpoints")}
            assert (shown["mes"]["types"], shown["mes"]["sent"]) == (["*"], "*")
            assert (shown["ery"]["format"], shown["ery"]["sent"]) == ("eryxon", "job.created")


async def test_the_log_by_type(tmp_path: Path) -> None:
    """`hookmq log --event` with names and patterns, of business events and of the broker's."""
    async with Receiver() as receiver:
        block = hook("mes", receiver.url(), 'types = ["*"]', "events = [ { event = on_message_publish } ]")
        async with Api(tmp_path, block, "events.unknown = pass") as api:
            names = ["work_order.created", "work_order.started", "job.created", "saw.jammed"]
            await api.post("/api/v2/events", [{"type": name, "data": {}} for name in names])
            await api.post("/api/v5/publish", {"topic": "work_order.created", "payload": ""})
            await receiver.wait_count(5)
            for wanted, found in {
                "work_order.created": names[:1],
                "work_order.*": names[:2],
                "*.created": [names[2], names[0]],
                "s[a-b]*": names[3:],
                "message.*": ["on_message_publish"],
                "*": [*sorted([*names, "on_message_publish"])],
                "client.*": [],
                "no.such": [],
            }.items():
                rows = await asked(api, "log", "--event", wanted, "--endpoint", "mes")
                assert sorted(row["event"] for row in rows) == sorted(found), wanted
            shown = await said(api, "log", "--event", "work_order.*")
            assert len(shown.splitlines()) == 4  # two lines of head
            done = await given("log", "--event", "job created", "--store", str(api.data))
            assert (done.returncode, "is no type of event" in done.stderr) == (1, True), done


async def test_the_preset_mes(tmp_path: Path) -> None:
    """`retry.schedule = mes`: 200 within 5 seconds is success; 204, and 200 that comes later, are not."""

    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/slow" and exchange.request.attempt == 1:
            await exchange.hang()
        first = exchange.request.target == "/204" and exchange.request.attempt == 1
        await exchange.respond(204 if first else 200)

    async with Receiver() as receiver:
        receiver.script = script
        names = ("200", "204", "slow")
        lines = ('types = ["*"]', "retry.schedule = mes")
        blocks = [hook(f"w{name}", receiver.url(f"/{name}"), *lines) for name in names]
        async with Api(tmp_path, *blocks) as api:
            example = catalogue.load()["job.created"].example
            await api.post("/api/v2/events", {"type": "job.created", "data": example})
            came = {request.target: request for request in await receiver.wait_count(3)}
            requests = await receiver.wait_count(5, 20)
            again = {request.target: request for request in requests[3:]}
            assert again.keys() == {"/204", "/slow"}
            assert {request.attempt for request in again.values()} == {2}
            assert 5 <= again["/204"].at - came["/204"].at < 8  # 5 s, and up to a tenth of it
            assert 10 <= again["/slow"].at - came["/slow"].at < 14  # and 5 s until it was given up
            counts = {one["name"]: one["counters"] for one in await asked(api, "endpoints")}
            assert [(counts[f"w{name}"]["delivered"], counts[f"w{name}"]["failed"]) for name in names] == [
                (1, 0),
                (1, 1),
                (1, 1),
            ]
            failed = {row["endpoint"]: row for row in await asked(api, "log", "--status", "failed")}
            assert failed["w204"]["status"] == 204
            assert failed["wslow"]["kind"] == "timeout"
