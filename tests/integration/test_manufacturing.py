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
from tests.integration.receiver import Receiver
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
            assert len(shown.splitlines()) == 3
            done = await given("log", "--event", "job created", "--store", str(api.data))
            assert (done.returncode, "is no type of event" in done.stderr) == (1, True), done
