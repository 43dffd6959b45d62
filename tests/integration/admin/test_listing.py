"""Lists of endpoints: searched, chosen by state and source, paged, with figures."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.admin.calling import Api, problem
from tests.integration.receiver import Receiver, status

PATH = "/api/v2/webhooks/endpoints"


async def test_searched_chosen_and_paged(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver:
        block = f'webhooks.Historian {{ url = "{receiver.url("/h")}", types = ["work_order.*"] }}'
        async with Api(tmp_path, block) as api:
            made = []
            for number in range(5):
                answer = await api.post(
                    PATH,
                    {
                        "url": f"http://user:hidden@127.0.0.1:1/press/{number}",
                        "events": ["job.*"],
                        "description": f"Press {number}" if number % 2 else "",
                        "active": number != 4,
                    },
                )
                assert answer.status == 201, answer
                made.append(answer.json["id"])

            async def ids(query: str) -> list[str]:
                answer = await api.get(f"{PATH}?{query}")
                assert answer.status == 200, answer
                assert answer.json["total"] >= len(answer.json["data"])
                return [one["id"] for one in answer.json["data"]]

            assert await ids("q=press+1") == [made[1]]
            assert await ids("q=PRESS%2F2") == [made[2]]  # of the address
            assert await ids(f"q={made[3]}") == [made[3]]
            assert await ids("q=histor") == ["Historian"]
            assert await ids("q=hidden") == []  # a secret is not found out by searching for it
            assert await ids("source=file") == ["Historian"]
            assert await ids("source=api&state=inactive") == [made[4]]
            assert await ids("state=on&q=press") == made[:4]

            page = (await api.get(f"{PATH}?q=press&limit=2")).json
            assert (page["total"], [one["id"] for one in page["data"]]) == (5, made[:2])
            rest = (await api.get(f"{PATH}?q=press&limit=2&cursor={page['next']}")).json
            assert [one["id"] for one in rest["data"]] == made[2:4]
            for query in ("state=nice", "source=elsewhere", "q=" + "x" * 257):
                problem(await api.get(f"{PATH}?{query}"), 422)


async def test_figures(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver:
        block = f'webhooks.Historian {{ url = "{receiver.url("/h")}", types = ["work_order.*"] }}'
        async with Api(tmp_path, block) as api:
            first = (await api.get(PATH)).json["data"][0]
            assert "figures" not in first
            shown = (await api.get(PATH + "?figures=true")).json["data"][0]["figures"]
            assert (shown["delivered"], shown["success_share"]) == (0, None)
            receiver.scripts.append(status(500))
            event = {"type": "work_order.created", "data": {"workOrder": {"id": "wo_1"}}}
            for _ in range(4):
                assert (await api.post("/api/v2/events", event)).status == 202
            for _ in range(200):
                found = (await api.get(PATH + "?figures=true")).json["data"][0]["figures"]
                if (found["delivered"], found["failed"]) == (3, 1):
                    break
                await asyncio.sleep(0.02)
            assert (found["queued"], found["success_share"]) == (1, 0.75)
