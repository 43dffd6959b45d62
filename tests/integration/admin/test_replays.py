"""A replay asked for over the API goes on after kill -9 and after a proper end, and each event comes once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.integration.admin.calling import Api
from tests.integration.admin.test_deliveries import until_state
from tests.integration.admin.test_endpoints import EVENTS, PATH, make, one, patch, work_order
from tests.integration.process import until
from tests.integration.receiver import Receiver

COUNT = 1500
SINCE = {"since": "2020-01-01T00:00:00Z"}


async def delivered(api: Api, receiver: Receiver, **more: Any) -> dict[str, Any]:
    """An endpoint that was sent all events once."""
    made = await make(api, receiver.url(), **more)
    for first in range(0, COUNT, 500):
        numbers = range(first, first + 500)
        assert (await api.post(EVENTS, [work_order(number) for number in numbers])).status == 202
    await receiver.wait_count(COUNT, 40)
    await until_state(api, one(made), "delivered", COUNT)
    receiver.requests.clear()
    return made


async def replay(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(one(made) + "/stats")).json["replay"]
    return found


async def test_it_goes_on_after_kill_9(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await delivered(api, receiver)
        receiver.delay = 0.2  # 160 a second
        answer = await api.post(one(made) + "/replay", SINCE)
        assert (answer.status, answer.json["state"]) == (202, "running")
        for wanted in (200, 400):
            await receiver.wait_count(wanted, 40)
            api.kill()
            await api.start()
            found = await replay(api, made)
            assert found["state"] == "running"
            assert wanted <= found["taken"] < COUNT
        receiver.delay = 0
        ids = Counter[str]()

        def all_came() -> bool:
            ids.clear()
            ids.update(str(request.id) for request in receiver.requests)
            return len(ids) == COUNT

        await until(all_came, "every event has come again", 40)
        await until_state(api, one(made), "queued", 0)
        assert max(ids.values()) <= 3
        # What was in flight at each end, or answered in its last moment, and nothing else.
        assert len(receiver.requests) <= COUNT + 2 * 100
        found = await replay(api, made)
        assert (found["state"], found["error"], found["taken"], found["gone"]) == ("done", "", COUNT, 0)
        assert found["done"] == found["total"]
        # it has ended, and does not begin again
        api.kill()
        await api.start()
        assert await replay(api, made) is None


async def test_it_goes_on_after_a_proper_end_and_not_after_it_was_stopped(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await delivered(api, receiver)
        receiver.delay = 0.2
        assert (await api.post(one(made) + "/replay", SINCE)).status == 202
        taken = (await replay(api, made))["taken"]
        assert await api.stop() == 0
        await api.start()
        assert f"the replay of {made['id']} goes on" in api.log
        found = await replay(api, made)
        assert found["state"] == "running"
        assert found["taken"] >= taken > 0
        assert (await api.post(one(made) + "/replay", SINCE)).status == 409
        assert (await api.call("DELETE", one(made) + "/replay")).status == 204
        api.kill()
        await api.start()
        assert await replay(api, made) is None


async def test_one_of_an_endpoint_that_is_not_served_any_more_ends(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await delivered(api, receiver, secret={"file": str(secret)})
        receiver.delay = 0.2
        assert (await api.post(one(made) + "/replay", SINCE)).status == 202
        secret.unlink()
        api.kill()
        await api.start()
        assert f"the replay of {made['id']} does not go on, it is not served" in api.log
        assert await replay(api, made) is None
        secret.write_text("s")
        assert await api.stop() == 0
        await api.start()
        assert (await api.get(one(made))).json["state"] == "on"
        assert await replay(api, made) is None
        # and in the running process
        assert (await api.post(one(made) + "/replay", SINCE)).status == 202
        await patch(api, made, active=False)
        for _ in range(500):
            if (await replay(api, made))["state"] == "failed":
                break
        found = await replay(api, made)
        assert (found["state"], found["error"]) == ("failed", f"{made['id']} is no longer served")
        await patch(api, made, active=True)
        api.kill()  # the answer is there, so all before it is stored
        await api.start()
        assert await replay(api, made) is None
        assert (await api.get(PATH)).json["total"] == 1
