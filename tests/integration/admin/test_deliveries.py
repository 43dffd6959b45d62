"""What became of events, over the API: tests, logs, deliveries, retries, replays and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.admin.calling import Api, problem
from tests.integration.admin.test_endpoints import (
    EVENTS,
    PATH,
    STANDARD,
    api_key,
    make,
    one,
    send,
    work_order,
)
from tests.integration.process import until, webhook
from tests.integration.receiver import Receiver, hang, status

LOGS = "/api/v2/webhooks/logs"


async def logged(api: Api, query: str = "") -> list[dict[str, Any]]:
    answer = await api.get(LOGS + query)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json["data"]
    return found


async def test_a_test_request(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url("/hook?token=s3cret"), events=["quality.*"], secret="s3cret-too")
        trial = (await api.post(one(made) + "/test", {"type": "work_order.created"})).json
        (request,) = receiver.requests
        assert (trial["ok"], trial["type"], trial["response"]["status"]) == (True, "work_order.created", 200)
        assert trial["request"]["body"] == request.body.decode()
        assert trial["request"]["head"].startswith("POST /hook?token=***")
        assert trial["id"] == request.id
        assert "s3cret" not in str(trial)
        # Without a type: the first that it will be sent.
        trial = (await api.post(one(made) + "/test")).json
        assert trial["type"] == "quality.inspection_complete"
        receiver.script = status(500, b"no s3cret")
        trial = (await api.post(one(made) + "/test", {"type": "on_client_connected"})).json
        assert (trial["ok"], trial["response"]["status"], trial["error"]) == (
            False,
            500,
            "status 500: no ***",
        )
        for body in ({"type": "nothing"}, {"type": "work_order.crated"}, {"type": 7}, {"kind": "x"}, []):
            problem(await api.post(one(made) + "/test", body), 422)
        problem(await api.post(one("ep_none") + "/test"), 404)
        stats = (await api.get(one(made) + "/stats")).json
        assert (stats["matched"], stats["delivered"], stats["failed"]) == (0, 0, 0)


async def test_logs_in_pages(tmp_path: Path) -> None:
    async with Receiver(status=200) as up, Receiver(status=503) as down, Api(tmp_path) as api:
        good = await make(api, up.url(), events=["work_order.*", "on_message_publish"])
        bad = await make(api, down.url())
        for number in range(5):
            await send(api, number)
        await api.post("/api/v5/publish", {"topic": "a/b", "payload": "x", "clientid": "press"})
        await up.wait_count(6)
        await down.wait_count(5)
        rows = await logged(api)
        assert len(rows) == 11
        assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
        assert {(row["endpoint"], row["ok"], row["status"]) for row in rows} == {
            (good["id"], True, 200),
            (bad["id"], False, 503),
        }
        found: list[dict[str, Any]] = []
        query = "?limit=4"
        while True:
            page = (await api.get(LOGS + query)).json
            found += page["data"]
            if page["next"] is None:
                break
            query = f"?limit=4&cursor={page['next']}"
        assert found == rows
        for query, count in (
            (f"?endpoint={bad['id']}", 5),
            ("?status=ok", 6),
            ("?status=5xx&type=work_order.created", 5),
            ("?type=work_order.*", 10),
            ("?type=job.*", 0),
            ("?type=nothing", 0),
            ("?type=on_message_publish", 1),
            ("?type=message.publish", 1),
            (f"?type={rows[0]['delivery']}", 1 if rows[0]["type"] == "on_message_publish" else 2),
            ("?since=2999-01-01T00:00:00Z", 0),
            ("?since=2020-01-01T00:00:00%2B02:00&until=2999-01-01T00:00:00Z", 11),
        ):
            assert len(await logged(api, query)) == count, query
        (row,) = await logged(api, "?type=on_message_publish&full=true")
        assert (row["topic"], row["clientid"]) == ("a/b", "press")
        assert row["request"].startswith("POST /")
        assert row["response"]["head"].startswith("HTTP/1.1 200")
        for query, code in (
            ("?since=yesterday", 422),
            ("?status=sad", 422),
            ("?type=a%20b", 422),
            ("?type=on_nothing", 422),
            ("?cursor=WzFd", 422),
            ("?endpoint=ep_none", 404),
        ):
            problem(await api.get(LOGS + query), code)


async def test_deliveries_and_retries(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url(), retry={"schedule": [0, "1h"]})
        await send(api, 0)
        await receiver.wait_count(1)
        receiver.script = status(500, b"no")
        await send(api, 1)
        await receiver.wait_count(2)

        async def deliveries() -> dict[str, dict[str, Any]]:
            found = (await api.get(one(made) + "/deliveries")).json["data"]
            return {each["id"]: each for each in found}

        good, bad = (request.id for request in receiver.requests)
        found = await deliveries()
        assert {key: each["state"] for key, each in found.items()} == {good: "delivered", bad: "waiting"}
        shown = (await api.get(f"{one(made)}/deliveries/{bad}")).json
        assert shown["payload"] == receiver.requests[1].body.decode()
        (attempt,) = shown["attempts"]
        assert (attempt["status"], attempt["response"]["body"]) == (500, "no")
        retry = f"{one(made)}/deliveries/{bad}/retry"
        # One that waits for a retry, an hour yet.
        answer = await api.post(retry)
        assert (answer.status, answer.json) == (202, {"id": bad, "endpoints": [made["id"]]})
        await receiver.wait_count(3)

        async def state(of: str) -> str:
            return str((await api.get(f"{one(made)}/deliveries/{of}")).json["state"])

        await until_state(api, one(made), "dead", 1)
        assert await state(bad) == "dead"
        assert "dead_since" in (await api.get(f"{one(made)}/deliveries/{bad}")).json
        # A dead letter, by the call that names no endpoint.
        receiver.script = None
        answer = await api.post(f"/api/v2/webhooks/deliveries/{bad}/retry")
        assert answer.json["endpoints"] == [made["id"]]
        await receiver.wait_count(4)
        assert await state(bad) == "delivered"
        assert (await api.get(one(made) + "/stats")).json["dead"] == 0
        assert len((await api.get(f"{one(made)}/deliveries/{bad}")).json["attempts"]) == 3
        # One that was delivered.
        assert (await api.post(f"{one(made)}/deliveries/{good}/retry", {})).status == 202
        await receiver.wait_count(5)
        assert [request.id for request in receiver.requests] == [good, bad, bad, bad, good]
        problem(await api.post(f"/api/v2/webhooks/deliveries/{good}/retry"), 404)
        answer = await api.post(f"/api/v2/webhooks/deliveries/{good}/retry?endpoint={made['id']}")
        assert answer.status == 202
        # What is in flight.
        receiver.script = hang
        await send(api, 2)
        await receiver.wait_count(7)
        busy = receiver.requests[-1].id
        problem(await api.post(f"{one(made)}/deliveries/{busy}/retry"), 409)
        for wrong in ("x", "msg_000000000000_0000000000000001", busy[:-16] + "0000000000000001"):
            problem(await api.post(f"{one(made)}/deliveries/{wrong}/retry"), 404)
            problem(await api.get(f"{one(made)}/deliveries/{wrong}"), 404)


async def until_state(api: Api, path: str, name: str, count: int) -> None:
    """Wait until a figure of an endpoint is there."""
    for _ in range(2000):
        if (await api.get(path + "/stats")).json[name] == count:
            return
    raise AssertionError(f"{name} is not {count}: {(await api.get(path + '/stats')).json}")


async def test_another_endpoints_events_are_none_of_ones_own(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        mine = await make(api, receiver.url("/mine"), events=["job.*"])
        await make(api, receiver.url("/theirs"))
        await send(api, 1)
        (request,) = await receiver.wait_count(1)
        problem(await api.get(f"{one(mine)}/deliveries/{request.id}"), 404)
        problem(await api.post(f"{one(mine)}/deliveries/{request.id}/retry"), 404)
        assert (await api.get(one(mine) + "/deliveries")).json["data"] == []


async def test_a_replay(tmp_path: Path) -> None:
    file = webhook("http://127.0.0.1:9", "on_message_publish")
    async with Receiver(status=200) as receiver, Api(tmp_path, file) as api:
        made = await make(api, receiver.url())
        for number in range(3):
            await send(api, number)
        await receiver.wait_count(3)
        body = {"since": "2020-01-01T00:00:00Z"}
        answer = await api.post(one(made) + "/replay", body)
        assert answer.status == 200, answer
        assert (answer.json["state"], answer.json["taken"]) == ("done", 3)
        await receiver.wait_count(6)
        assert len({request.id for request in receiver.requests}) == 3
        assert (await api.get(one(made) + "/stats")).json["replay"]["taken"] == 3
        answer = await api.post(one(made) + "/replay", {**body, "until": "2020-01-02T00:00:00Z"})
        assert answer.json["taken"] == 0
        assert (await api.call("DELETE", one(made) + "/replay")).status == 204
        for wrong in ({}, {"since": 7}, {**body, "until": "2019-01-01T00:00:00Z"}, {**body, "to": "x"}):
            problem(await api.post(one(made) + "/replay", wrong), 422)
        # One that has to wait for room goes on by itself.
        receiver.script = hang
        many = [work_order(number) for number in range(100, 900)]
        await api.post(one(made) + "/disable")
        assert (await api.post(EVENTS, many)).status == 202
        await api.post(one(made) + "/enable")
        await receiver.wait_for(lambda requests: len(requests) > 6)


async def test_a_replay_that_goes_on(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url(), max_in_flight=1)
        assert (await api.post(EVENTS, [work_order(number) for number in range(900)])).status == 202
        await receiver.wait_count(900, 60)
        receiver.delay = 0.05
        body = {"since": "2020-01-01T00:00:00Z"}
        answer = await api.post(one(made) + "/replay", body)
        assert (answer.status, answer.json["state"]) == (202, "running")
        problem(await api.post(one(made) + "/replay", body), 409)
        assert (await api.get(one(made) + "/stats")).json["replay"]["state"] == "running"
        assert (await api.call("DELETE", one(made) + "/replay")).status == 204
        assert (await api.get(one(made) + "/stats")).json["replay"]["state"] == "stopped"


async def test_figures(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url(), retry={"schedule": [0]})
        await send(api, 1)
        await receiver.wait_count(1)
        receiver.script = status(500)
        await send(api, 2)
        await until_state(api, one(made), "dead", 1)
        stats = (await api.get(one(made) + "/stats")).json
        assert (stats["id"], stats["state"]) == (made["id"], "on")
        assert (stats["matched"], stats["delivered"], stats["failed"], stats["dead"]) == (2, 1, 1, 1)
        assert (stats["queued"], stats["oldest_ms"], stats["replay"]) == (0, None, None)
        await api.call("PATCH", one(made), {"active": False})
        stats = (await api.get(one(made) + "/stats")).json
        assert (stats["state"], stats["dead"]) == ("inactive", 1)
        problem(await api.post(one(made) + "/test"), 409)
        reader = await api_key(api, "endpoints:read")
        for path in (LOGS, one(made) + "/stats", one(made) + "/deliveries"):
            assert (await api.get(path, auth=reader)).status == 200
        for path in ("/test", "/replay", "/enable", "/disable", "/rotate-secret", "/deliveries/x/retry"):
            problem(await api.post(one(made) + path, auth=reader), 403)


async def test_no_secret_leaves(tmp_path: Path) -> None:
    """Whatever is asked, and whatever the receiver echoes."""
    async with Receiver() as receiver, Api(tmp_path) as api:
        receiver.script = status(500, b"you sent s3cret-header")
        made = await make(
            api,
            receiver.url("/?api_key=s3cret-query"),
            secret=STANDARD,
            signature="standard",
            headers={"X-Api-Key": "s3cret-header"},
        )
        await send(api, 1)
        (request,) = await receiver.wait_count(1)
        assert request.header("x-api-key") == "s3cret-header"
        wrong = {"url": "http://u:s3cret@h:0/", "secret": "s3cret", "headers": {"X-Key": "s3cret\n"}}
        change = {"signature": "mes", "secret": "s3cret", "pool_size": 0}
        texts = [
            (await api.get(PATH)).text,
            (await api.get(one(made))).text,
            (await api.get(LOGS + "?full=true")).text,
            (await api.get(f"{one(made)}/deliveries/{request.id}")).text,
            (await api.post(one(made) + "/test")).text,
            (await api.post(PATH, wrong)).text,
            (await api.call("PATCH", one(made), change)).text,
            api.log,
        ]
        await until(lambda: "status 500" in api.log, "the failure is told")
        for text in texts:
            assert "s3cret" not in text
            assert STANDARD not in text
