"""Dead letters over HTTP: grouped, listed, sent again, purged; and all failures that match sent again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.admin.calling import SERVER, Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.process import webhook
from tests.integration.receiver import Receiver

DEAD = "/api/v2/dead-letters"
GROUPS = DEAD + "/groups"
RETRY = "/api/v2/webhooks/logs/retry"
ENDPOINTS = "/api/v2/webhooks/endpoints"
ONCE = "retry { schedule = [0] }\n breaker { failures = 10000 }\n"


async def eventually(api: Api, path: str, condition: Callable[[Any], object]) -> Any:
    end = time.monotonic() + 20
    while True:
        answer = await api.get(path)
        assert answer.status == 200, answer
        if condition(answer.json):
            return answer.json
        assert time.monotonic() < end, answer.text
        await asyncio.sleep(0.05)


async def dead(api: Api, count: int) -> Any:
    return await eventually(api, GROUPS, lambda found: found["letters"] == count)


async def fill(api: Api, receiver: Receiver, *codes: int) -> Client:
    """A dead letter for each of these statuses."""
    client = await Client.connect(api.port, "press-1")
    for number, code in enumerate(codes):
        receiver.status = code
        await client.publish(f"line/{number}", str(number).encode(), qos=1)
        await receiver.wait_count(number + 1)
    return client


async def test_groups_and_letters(tmp_path: Path) -> None:
    hook = webhook("http://127.0.0.1:9/", "on_message_publish a/#", extra=ONCE)
    async with Receiver() as receiver:
        blocks = (
            webhook(receiver.url(), "on_message_publish line/#", extra=ONCE),
            hook.replace("webhook {", "webhooks.other {"),
        )
        async with Api(tmp_path, *blocks) as api:
            empty = (await api.get(GROUPS)).json
            assert empty == {"data": [], "next": None, "total": 0, "letters": 0}
            client = await fill(api, receiver, 500, 503, 503, 500, 503)
            await client.publish("a/b", b"x", qos=1)
            found = await dead(api, 6)
            shown = [(one["endpoint"], one["cause"], one["count"]) for one in found["data"]]
            assert shown == [
                ("default", "status 503", 3),
                ("default", "status 500", 2),
                ("other", "connect", 1),
            ]
            assert found["data"][0]["first"] <= found["data"][0]["last"]
            page = (await api.get(f"{GROUPS}?limit=2")).json
            assert [one["count"] for one in page["data"]] == [3, 2]
            rest = (await api.get(f"{GROUPS}?limit=2&cursor={page['next']}")).json
            assert ([one["endpoint"] for one in rest["data"]], rest["next"]) == (["other"], None)
            assert (await api.get(f"{GROUPS}?endpoint=other")).json["total"] == 1
            problem(await api.get(f"{GROUPS}?endpoint=nobody"), 404)
            problem(await api.get(f"{DEAD}?cursor=nonsense"), 422)

            whole = (await api.get(DEAD)).json
            assert whole["total"] == 6
            assert {one["endpoint"] for one in whole["data"]} == {"default", "other"}
            some = (await api.get(f"{DEAD}?endpoint=default&cause=status%20503")).json
            assert (some["total"], some["next"]) == (3, None)
            assert [one["topic"] for one in some["data"]] == ["line/1", "line/2", "line/4"]
            row = some["data"][0]
            assert row["id"].startswith("msg_")
            assert (row["cause"], row["attempts"], row["type"]) == ("status 503", 1, "on_message_publish")
            assert (row["clientid"], row["endpoint"]) == ("press-1", "default")
            paged, cursor = [], ""
            for _ in range(10):
                page = (await api.get(f"{DEAD}?limit=2{cursor}")).json
                paged += page["data"]
                if page["next"] is None:
                    break
                cursor = f"&cursor={page['next']}"
            assert paged == whole["data"]
            assert (await api.get(f"{DEAD}?cause=nothing")).json == {"data": [], "next": None, "total": 0}
            detail = await api.get(f"{ENDPOINTS}/default/deliveries/{row['id']}")
            assert detail.json["state"] == "dead"


async def test_replay_and_purge_of_a_cause_and_of_some(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", extra=ONCE)) as api,
    ):
        await fill(api, receiver, 500, 503, 503, 500, 500)
        await dead(api, 5)
        receiver.status = 200
        answer = await api.post(f"{DEAD}/replay", {"endpoint": "default", "cause": "status 503"})
        assert answer.status == 200
        assert (answer.json["replayed"], answer.json["state"], answer.json["total"]) == (2, "done", 2)
        requests = await receiver.wait_count(7)
        assert {one.id for one in requests[5:]} == {requests[1].id, requests[2].id}
        await dead(api, 3)
        letters = (await api.get(f"{DEAD}?endpoint=default")).json["data"]
        chosen = [letters[0]["id"]]
        answer = await api.post(f"{DEAD}/purge", {"endpoint": "default", "ids": chosen})
        assert (answer.status, answer.json["purged"]) == (200, 1)
        await dead(api, 2)
        answer = await api.post(f"{DEAD}/replay", {"endpoint": "default", "ids": [letters[1]["id"]]})
        assert answer.json["replayed"] == 1
        await receiver.wait_count(8)
        answer = await api.post(f"{DEAD}/purge", {"endpoint": "default"})
        assert answer.json["purged"] == 1
        assert (await dead(api, 0))["data"] == []
        assert len(receiver.requests) == 8

        for body, code in (
            ({}, 422),
            ({"endpoint": "nobody"}, 404),
            ({"endpoint": 1}, 422),
            ({"endpoint": "default", "cause": "x", "ids": ["y"]}, 422),
            ({"endpoint": "default", "ids": []}, 422),
            ({"endpoint": "default", "ids": ["nonsense"]}, 422),
            ({"endpoint": "default", "ids": chosen}, 422),  # it is none any more
            ({"endpoint": "default", "x": 1}, 422),
        ):
            problem(await api.post(f"{DEAD}/replay", body), code)
            problem(await api.post(f"{DEAD}/purge", body), code)
        await api.post(f"{ENDPOINTS}/default/disable")
        problem(await api.post(f"{DEAD}/replay", {"endpoint": "default"}), 409)
        viewer = await api.key("viewer", "endpoints:read")
        problem(await api.post(f"{DEAD}/purge", {"endpoint": "default"}, auth=viewer), 403)
        tenant = await api.key("tenant", "endpoints:write")
        problem(await api.post(f"{DEAD}/purge", {"endpoint": "default"}, auth=tenant), 403)


async def test_a_long_one_goes_on_and_is_stopped(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        hook = webhook(receiver.url(), "on_message_publish", extra=ONCE + "max_in_flight = 1", pool_size=1)
        async with Api(tmp_path, hook) as api:
            client = await Client.connect(api.port, "c")
            receiver.status = 500
            for number in range(800):
                await client.publish("a", str(number).encode(), qos=0)
            await client.publish("a", b"end", qos=1)
            await dead(api, 801)
            receiver.status = 200
            receiver.delay = 0.1
            answer = await api.post(f"{DEAD}/replay", {"endpoint": "default"})
            assert answer.status == 202
            job = answer.json
            assert (job["kind"], job["state"], job["total"]) == ("replay", "running", 801)
            assert 0 < job["affected"] < 801  # 500 wait for their outcome at most
            problem(await api.post(f"{DEAD}/replay", {"endpoint": "default"}), 409)
            shown = (await api.get(f"/api/v2/jobs/{job['id']}")).json
            assert shown["state"] == "running"
            stopped = await api.call("DELETE", f"/api/v2/jobs/{job['id']}")
            assert stopped.json["state"] == "stopped"
            assert (await api.get(f"/api/v2/jobs/{job['id']}")).json["state"] == "stopped"
            problem(await api.get("/api/v2/jobs/job_nobody"), 404)
            left = (await api.get(GROUPS)).json["letters"]
            assert left == 801 - stopped.json["affected"]
            # what was not handed over is as it was, and can be asked for again
            receiver.delay = 0.0
            await api.post(f"{DEAD}/replay", {"endpoint": "default"})
            await eventually(api, GROUPS, lambda found: found["letters"] == 0)


async def test_all_failures_that_match_are_sent_again(tmp_path: Path) -> None:
    blocks = []
    async with Receiver() as receiver:
        blocks.append(webhook(receiver.url("/a"), "on_message_publish a/#", extra=ONCE))
        waits = "retry { schedule = [0, 1h] }\n breaker { failures = 10000 }\n"
        blocks.append(
            webhook(receiver.url("/b"), "on_message_publish b/#", extra=waits).replace(
                "webhook {", "webhooks.slow {"
            )
        )
        async with Api(tmp_path, *blocks) as api:
            one, two = await Client.connect(api.port, "c1"), await Client.connect(api.port, "c2")
            receiver.status = 503
            for number in range(3):
                await one.publish(f"a/{number}", b"1", qos=1)
                await two.publish(f"a/{number}", b"2", qos=1)
                await two.publish(f"b/{number}", b"3", qos=1)
            await receiver.wait_count(9)
            receiver.status = 200
            await one.publish("a/good", b"4", qos=1)
            await receiver.wait_count(10)

            answer = await api.post(RETRY, {"client": "c1", "topic": "a/#"})
            assert (answer.status, answer.json["retried"], answer.json["more"]) == (200, 3, False)
            requests = await receiver.wait_count(13)
            assert sorted(json.loads(one.body)["payload"] for one in requests[10:]) == ["1"] * 3
            answer = await api.post(RETRY, {"status": "503", "type": "message.*", "endpoint": "slow"})
            assert answer.json["retried"] == 3  # that waited for an hour
            await receiver.wait_count(16)
            assert (await api.post(RETRY, {"client": "c1"})).json["retried"] == 0  # they have arrived
            assert (await api.post(RETRY, {"status": "ok"})).json["retried"] == 0
            assert (await api.post(RETRY, {})).json["retried"] == 3
            await receiver.wait_count(19)
            await eventually(api, GROUPS, lambda found: found["letters"] == 0)
            ids = [one.id for one in receiver.requests]
            assert len(set(ids)) == 10
            for body in (
                {"x": 1},
                {"status": 5},
                {"topic": "a/#/b"},
                {"since": "yesterday"},
                {"status": "none"},
            ):
                problem(await api.post(RETRY, body), 422)
            problem(await api.post(RETRY, {"endpoint": "nobody"}), 404)
            viewer = await api.key("viewer", "endpoints:read")
            problem(await api.post(RETRY, {}, auth=viewer), 403)


async def test_events_of_groups_are_sent_again(tmp_path: Path) -> None:
    extra = ONCE + "batch { max_events = 5, max_wait = 100ms }\n"
    async with (
        Receiver(status=500) as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", extra=extra)) as api,
    ):
        client = await Client.connect(api.port, "c1")
        for number in range(10):
            await client.publish("a", str(number).encode(), qos=0)
        await client.publish("a", b"end", qos=1)
        await dead(api, 11)
        receiver.status = 200
        answer = await api.post(RETRY, {"topic": "a"})
        assert answer.json["retried"] == 11
        await eventually(api, GROUPS, lambda found: found["letters"] == 0)
        assert (await api.post(RETRY, {"topic": "a"})).json["retried"] == 0


async def test_one_that_is_not_served_can_be_purged(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        hook = webhook(receiver.url(), "on_message_publish", extra=ONCE)
        async with Api(tmp_path, hook) as api:
            await fill(api, receiver, 500, 500)
            await dead(api, 2)
            api.configure(SERVER, hook + "webhook { enable = false }\n")
            code, _, _ = await api.hookmq("reload")
            assert code == 0
            await dead(api, 2)
            problem(await api.post(f"{DEAD}/replay", {"endpoint": "default"}), 409)
            assert (await api.post(f"{DEAD}/purge", {"endpoint": "default"})).json["purged"] == 2


@pytest.mark.timeout(120)
async def test_many_dead_letters_hold_nobody_up(tmp_path: Path) -> None:
    """Grouped in windows, and not again while nothing has changed."""
    async with (
        Receiver(status=500) as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", extra=ONCE, pool_size=64)) as api,
    ):
        client = await Client.connect(api.port, "c1")
        for number in range(6000):
            await client.publish("a", str(number).encode(), qos=0)
        await client.publish("a", b"end", qos=1)
        await dead(api, 6001)
        began = time.perf_counter()
        for _ in range(20):
            assert (await api.get(GROUPS)).json["letters"] == 6001
        assert (time.perf_counter() - began) / 20 < 0.1
        assert len((await api.get(f"{DEAD}?limit=100&cause=status%20500")).json["data"]) == 100
