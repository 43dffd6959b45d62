"""`POST /api/v2/events`: what is taken, what is refused, and that each event comes once."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from tests.integration.admin.calling import Api, problem
from tests.integration.process import until
from tests.integration.receiver import Receiver

EVENTS = "/api/v2/events"
ORDER = {
    "workOrder": {"id": "wo_1", "orderNumber": "A1", "product": "p", "quantity": 3, "dueDate": "2026-03-01"}
}
JSON = {"Content-Type": "application/json"}


def mes(url: str, *types: str, extra: str = "") -> str:
    return f'webhook {{ url = "{url}", format = mes, types = {json.dumps(types or ["*"])}, {extra} }}'


def created(**members: Any) -> dict[str, Any]:
    return {"type": "work_order.created", "data": ORDER, **members}


async def test_one_and_a_list(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, mes(receiver.url())) as api:
        answer = await api.post(EVENTS, created())
        assert answer.status == 202
        (identifier,) = answer.json["ids"]
        assert re.fullmatch(r"evt_[0-9a-f]{32}", identifier)
        body = (await receiver.wait_count(1))[0].json
        assert body["id"] == identifier
        assert body["type"] == "work_order.created"
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["timestamp"])
        assert body["data"] == ORDER

        own = [
            created(id="a", timestamp="2024-01-15T10:30:00Z"),
            created(id="b", timestamp="2024-01-15T10:30:00.5+02:00"),
            {"event": "operation.started", "data": {}, "id": "c"},
        ]
        assert (await api.post(EVENTS, own)).json == {"ids": ["a", "b", "c"], "repeated": 0}
        found = {r.json["id"]: r.json for r in await receiver.wait_count(4)}
        assert found["a"]["timestamp"] == "2024-01-15T10:30:00Z"
        assert found["b"]["timestamp"] == "2024-01-15T08:30:00.500Z"
        assert found["c"]["type"] == "operation.started"


async def test_an_id_is_taken_once(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, mes(receiver.url())) as api:
        for repeated in (0, 1, 1):
            answer = await api.post(EVENTS, created(id="one"))
            assert (answer.status, answer.json) == (202, {"ids": ["one"], "repeated": repeated})
        # twice in one list, beside one that is new, and after a kill -9
        assert (await api.post(EVENTS, [created(id="two"), created(id="two")])).json["repeated"] == 1
        api.kill()
        await api.start()
        assert (await api.post(EVENTS, [created(id="one"), created(id="three")])).json["repeated"] == 1
        answers = await asyncio.gather(*(api.post(EVENTS, created(id="four")) for _ in range(20)))
        assert sum(answer.json["repeated"] for answer in answers) == 19
        await receiver.wait_for(lambda rs: {"one", "two", "three", "four"} <= {r.json["id"] for r in rs})
        assert len({r.id for r in receiver.requests}) == 4


async def test_an_idempotency_key(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, mes(receiver.url())) as api:
        key = {"Idempotency-Key": "order 7"}
        first = await api.post(EVENTS, [created(), created()], headers=key)
        assert first.json["repeated"] == 0
        assert len(set(first.json["ids"])) == 2
        again = await api.post(EVENTS, [created(), created()], headers=key)
        assert (again.status, again.json) == (202, {"ids": first.json["ids"], "repeated": 2})
        problem(await api.post(EVENTS, created(), headers=key), 422)
        api.kill()
        await api.start()
        again = await api.post(EVENTS, [created(), created()], headers=key)
        assert again.json == {"ids": first.json["ids"], "repeated": 2}
        # a key belongs to who sends it
        other = await api.key("other", "events:write")
        assert (await api.post(EVENTS, created(), headers=key, auth=other)).json["repeated"] == 0
        await receiver.wait_for(lambda rs: len({r.id for r in rs}) == 3)
        # what was refused did not use it up
        key = {"Idempotency-Key": "order 8"}
        problem(await api.post(EVENTS, {"type": "no.such", "data": {}}, headers=key), 422)
        assert (await api.post(EVENTS, created(), headers=key)).json["repeated"] == 0
        problem(await api.post(EVENTS, created(), headers={"Idempotency-Key": "x" * 256}), 400)


REFUSED: list[tuple[Any, str]] = [
    ({"data": {}}, "/type"),
    ({"type": "a b", "data": {}}, "/type"),
    ({"type": 7, "data": {}}, "/type"),
    ({"type": "x" * 200, "data": {}}, "/type"),
    ({"type": "no.such", "data": {}}, "/type"),
    ({"type": "work_order.created"}, "/data"),
    ({"type": "work_order.created", "data": []}, "/data"),
    (created(id=""), "/id"),
    (created(id="with space"), "/id"),
    (created(id=7), "/id"),
    (created(timestamp="yesterday"), "/timestamp"),
    (created(timestamp="2024-01-15T10:30:00"), "/timestamp"),
    (created(timestamp="2024-02-30T10:30:00Z"), "/timestamp"),
    (created(timestamp="0001-01-01T00:00:00+23:00"), "/timestamp"),
    (created(timestamp=1700000000), "/timestamp"),
    (created(tenant="x"), "/tenant"),
    (created(event="job.created"), "/event"),
    ({"type": "work_order.created", "data": {"a": [{"b": 9007199254740993}]}}, "/data/a/0/b"),
    ([created(), {"type": "work_order.created", "data": {"n": -9007199254740993}}], "/1/data/n"),
    ([created(), {"type": "no.such", "data": {}}], "/1/type"),
    ([], ""),
    ([created()] * 1001, ""),
    (["x"], "/0"),
    ("x", ""),
    (None, ""),
]


async def test_what_is_refused_whole(api: Api) -> None:
    for body, path in REFUSED:
        answer = await api.post(EVENTS, data=json.dumps(body).encode(), headers=JSON)
        errors = problem(answer, 422)["errors"]
        assert path in [error["path"] for error in errors], (str(body)[:200], errors)
        assert len(errors) <= 20


async def test_what_is_no_json(api: Api) -> None:
    for data in (b"", b"{", b'{"type": "a", "data": {"x": NaN}}', b"\xff\xfe", b"[" * 200_000):
        answer = await api.post(EVENTS, data=data, headers=JSON)
        assert answer.status in (400, 422)
        problem(answer, answer.status)


async def test_nothing_of_a_refused_list_is_taken(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, mes(receiver.url())) as api:
        problem(await api.post(EVENTS, [created(id="a"), {"type": "no.such", "data": {}}]), 422)
        assert (await api.post(EVENTS, created(id="a"))).json["repeated"] == 0
        await receiver.wait_count(1)
        assert [r.json["id"] for r in receiver.requests] == ["a"]


async def test_unknown_types_may_pass_and_data_be_checked(tmp_path: Path) -> None:
    settings = "events { unknown = pass, check = refuse }"
    async with Receiver() as receiver, Api(tmp_path, mes(receiver.url()), settings) as api:
        assert (await api.post(EVENTS, {"type": "no.such", "data": {"a": 1}})).status == 202
        assert (await receiver.wait_count(1))[0].json["data"] == {"a": 1}
        found = problem(
            await api.post(EVENTS, {"type": "work_order.created", "data": {"workOrder": {}}}), 422
        )
        assert found["errors"][0]["path"] == "/data/workOrder"
        assert (await api.post(EVENTS, created())).status == 202


async def test_the_catalogue(api: Api) -> None:
    types = {one["type"]: one for one in (await api.get("/api/v2/webhooks/event-types")).json["data"]}
    assert {"work_order.created", "job.created", "production.scrap_recorded"} <= types.keys()
    for one in types.values():
        answer = await api.post(EVENTS, {"type": one["type"], "data": one["example"]})
        assert answer.status == 202


async def test_an_endpoint_that_refuses(tmp_path: Path) -> None:
    async with Receiver(status=503) as receiver:
        bound = "backlog { max_bytes = 64KB, on_full = refuse }"
        async with Api(tmp_path, mes(receiver.url(), extra=bound), "events.check = off") as api:
            large = {"type": "work_order.created", "data": {"x": "x" * 16384}}
            for count in range(20):
                answer = await api.post(EVENTS, {**large, "id": f"e{count}"})
                if answer.status == 503:
                    break
            problem(answer, 503)
            receiver.status = 200
            await until(lambda: receiver.requests, "it tries again")
            # nothing of it was remembered
            for _ in range(400):
                answer = await api.post(EVENTS, {**large, "id": f"e{count}"})
                if answer.status == 202:
                    break
                await asyncio.sleep(0.05)
            assert answer.json["repeated"] == 0


async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, mes(receiver.url())) as api:
        for life in range(3):
            answered: list[str] = []

            async def send(n: int, life: int = life, answered: list[str] = answered) -> None:
                for count in range(1000):
                    ids = [f"{life}.{n}.{count}.{part}" for part in range(3)]
                    answer = await api.post(EVENTS, [created(id=one) for one in ids])
                    assert answer.status == 202
                    answered.extend(ids)

            tasks = [asyncio.create_task(send(n)) for n in range(8)]
            await until(lambda answered=answered: len(answered) >= 150, "events are answered")
            api.kill()
            acknowledged = set(answered)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await api.start()
            # what was answered is not taken again, and comes
            again = await api.post(EVENTS, [created(id=one) for one in sorted(acknowledged)[:1000]])
            assert again.json["repeated"] == len(again.json["ids"])
            await receiver.wait_for(
                lambda requests, acknowledged=acknowledged: acknowledged <= {r.json["id"] for r in requests},
                20,
            )
