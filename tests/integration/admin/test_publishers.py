"""Publishers made over the API, by its front door: made, changed, deleted, and there after kill -9."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.integration.admin.calling import ADMIN, SERVER, Api, problem
from tests.integration.admin.test_deliveries import until_state
from tests.integration.commands import asked, command, said
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ
from tests.integration.test_publishers import COMPLETED, TOPIC, body, publisher, received

PATH = "/api/v2/mqtt/publishers"
EVENTS = "/api/v2/events"
ACME = {"enterprise": "acme", "site": "chicago", "area": "Fabrication"}
JOBS = {"topic_pattern": "jobs/{job_number}", "events": ["job.*"]}


def one(made: dict[str, Any] | str, below: str = "") -> str:
    return f"{PATH}/{made if isinstance(made, str) else made['id']}{below}"


async def make(api: Api, document: dict[str, Any], **keys: Any) -> dict[str, Any]:
    answer = await api.post(PATH, document, **keys)
    assert answer.status == 201, answer
    found: dict[str, Any] = answer.json
    return found


async def patch(api: Api, made: dict[str, Any], **change: Any) -> dict[str, Any]:
    answer = await api.call("PATCH", one(made), change)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


async def send(api: Api, *events: Any) -> None:
    assert (await api.post(EVENTS, list(events))).status == 202


async def ear(port: int, topic: str = "#", version: int = 5) -> Client:
    client = await Client.connect(port, "ear", version=version)
    await client.subscribe(topic, 1)
    return client


async def test_made_published_by_and_there_after_kill_9(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        answer = await api.post(PATH, ACME)
        api.kill()  # the answer is there, so it is stored
        assert answer.status == 201
        made = answer.json
        assert answer.headers["Location"] == one(made)
        assert made["id"].startswith("pub_")
        assert (made["source"], made["trust"], made["created_by"]) == ("api", "operator", ADMIN[0])
        assert (made["server"], made["format"], made["events"]) == ("embedded", "eryxon", ["*"])
        assert (made["state"], made["active"], made["connection"]) == ("on", True, None)
        assert made.pop("warnings") == []
        await api.start()
        assert f"  publisher  {made['id']}: embedded " in api.stdout
        client = await ear(api.port)
        await send(api, COMPLETED)
        (message,) = await received(client, 1)
        assert message.topic == TOPIC
        assert json.loads(message.payload)["event"] == "operation.completed"
        shown = await api.get(one(made))
        assert shown.json == made
        assert shown.headers["ETag"] == answer.headers["ETag"]
        # the command line calls it by the name of its kind and its id
        name = f"mqtt_publishers.{made['id']}"
        (row,) = await asked(api, "log", "--endpoint", name)
        assert row["ok"]
        assert (await api.call("DELETE", one(made))).status == 204
        api.kill()
        await api.start()
        problem(await api.get(one(made)), 404)
        status = await asked(api, "status")
        assert status["endpoints"] == status["not_served"] == []


async def test_what_cannot_be_is_told_with_its_place(api: Api) -> None:
    wrong = {"server": "http://x", "topic_pattern": "a/+", "qos": 3, "sevrer": 1, "events": ["a b"]}
    found = problem(await api.post(PATH, wrong), 422)
    assert {fault["path"] for fault in found["errors"]} == {
        "/server", "/topic_pattern", "/qos", "/sevrer", "/events/0",
    }  # fmt: skip
    assert "expected embedded, mqtt://host" in found["detail"]
    assert (await api.get(PATH)).json["total"] == 0
    # what only delivery can tell
    metadata = problem(await api.post(PATH, {"server": "mqtt://169.254.169.254"}), 422)
    assert metadata["errors"][0]["path"] == "/server"
    warned = await make(api, {"events": ["job.crated"]})
    assert "did you mean job.created" in warned["warnings"][0]["message"]


async def test_changed(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        client = await ear(api.port)
        made = await make(api, {**JOBS, "description": "jobs"})
        tag = (await api.get(one(made))).headers["ETag"]
        await send(api, body(1))
        assert (await received(client, 1))[0].topic == "jobs/j-1"
        changed = await patch(api, made, topic_pattern="orders/{job_number}", qos=2)
        assert (changed["qos"], changed["description"], changed["events"]) == (2, "jobs", ["job.*"])
        problem(await api.call("PATCH", one(made), {"qos": 0}, headers={"If-Match": tag}), 412)
        await send(api, body(2))
        assert (await received(client, 1))[0].topic == "orders/j-2"
        # off: it publishes nothing, and what happens meanwhile is not for it
        assert (await patch(api, made, active=False))["state"] == "inactive"
        await send(api, body(3))
        api.kill()
        await api.start()
        client = await ear(api.port)
        assert (await api.get(one(made))).json["state"] == "inactive"
        assert (await patch(api, made, active=None, qos=None))["state"] == "on"
        await send(api, body(4))
        assert (await received(client, 1))[0].topic == "orders/j-4"


async def test_tested_switched_replayed_and_counted(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        client = await ear(api.port)
        made = await make(api, JOBS)
        trial = (await api.post(one(made, "/test"))).json
        assert trial["ok"]
        assert trial["type"].startswith("job.")
        assert trial["request"]["head"].startswith("PUBLISH jobs/")
        (message,) = await received(client, 1)
        assert message.payload.decode() == trial["request"]["body"]
        assert (await api.post(one(made, "/disable"))).json["state"] == "off"
        problem(await api.post(one(made, "/replay"), {"since": "2020-01-01T00:00:00Z"}), 409)
        await send(api, body(1))
        assert (await api.get(one(made, "/stats"))).json["queued"] == 1
        assert (await api.post(one(made, "/enable"))).json["id"] == made["id"]
        (message,) = await received(client, 1)
        await until_state(api, one(made), "delivered", 1)
        replay = (await api.post(one(made, "/replay"), {"since": "2020-01-01T00:00:00Z"})).json
        assert (replay["state"], replay["taken"]) == ("done", 1)
        (again,) = await received(client, 1)
        assert again.properties is not None
        assert message.properties is not None
        assert again.properties.user_property == message.properties.user_property
        await until_state(api, one(made), "delivered", 2)
        assert (await api.call("DELETE", one(made, "/replay"))).status == 204
        stats = (await api.get(one(made, "/stats"))).json
        assert (stats["id"], stats["matched"], stats["replay"]["taken"]) == (made["id"], 1, 1)
        (delivery,) = (await api.get(one(made, "/deliveries"))).json["data"]
        name = f"mqtt_publishers.{made['id']}"
        assert (delivery["state"], delivery["endpoint"], delivery["type"]) == (
            "delivered",
            name,
            "job.created",
        )
        shown = (await api.get(one(made, f"/deliveries/{delivery['id']}"))).json
        assert json.loads(shown["payload"])["event"] == "job.created"
        assert shown["attempts"][0]["request"].startswith("PUBLISH jobs/j-1 MQTT/5.0")
        answer = await api.post(one(made, f"/deliveries/{delivery['id']}/retry"))
        assert (answer.status, answer.json["endpoints"]) == (202, [name])
        await received(client, 1)
        await until_state(api, one(made), "delivered", 3)
        logs = (await api.get(one(made, "/logs"))).json["data"]
        assert [row["ok"] for row in logs] == [True] * 3
        for path in (f"/api/v2/webhooks/logs?endpoint={name}", "/api/v2/webhooks/logs"):
            assert (await api.get(path)).json["data"] == logs
        problem(await api.get("/api/v2/webhooks/logs?endpoint=mqtt_publishers.none"), 404)
        # neither kind is the other's
        for below in ("", "/stats", "/logs", "/deliveries"):
            for identifier in (made["id"], name):
                problem(await api.get(f"/api/v2/webhooks/endpoints/{identifier}{below}"), 404)


async def test_those_of_the_file(tmp_path: Path) -> None:
    password = 'server = "mqtt://127.0.0.1:9", username = u, password = s3cret'
    async with Api(tmp_path, publisher("uns", "enterprise = acme"), publisher("far", password)) as api:
        made = await make(api, JOBS)
        found = (await api.get(PATH)).json
        assert [(one["id"], one["source"]) for one in found["data"]] == [
            ("uns", "file"),
            ("far", "file"),
            (made["id"], "api"),
        ]
        assert found["data"][1]["password"] == "******"
        assert "s3cret" not in (await api.get(one("far"))).text
        for method, change in (("PATCH", {"active": False}), ("DELETE", None)):
            detail = problem(await api.call(method, one("uns"), change), 409)["detail"]
            assert "one of the file" in detail
        assert (await api.post(one("uns", "/test"))).json["ok"]
        assert (await api.post(one("uns", "/disable"))).json["state"] == "off"
        assert (await api.post(one("uns", "/enable"))).json["state"] in ("on", "slow")
        # a reload keeps what was made, and takes no name that is taken
        client = await ear(api.port, "jobs/#")
        api.configure(SERVER, publisher("other"))
        assert "new" in await said(api, "reload")
        assert [one["id"] for one in (await api.get(PATH)).json["data"]] == ["other", made["id"]]
        await send(api, body(1))
        await received(client, 1)
        api.configure(SERVER, publisher(made["id"]))
        done = await command("reload", "--store", str(api.data))
        assert done.returncode == 1
        assert "a publisher that was made over the API has that id" in done.stdout + done.stderr
        assert await api.stop() == 0
        await api.start()
        assert "the file has one of that name" in api.log
        assert (await api.get(one(made))).json["source"] == "file"


async def test_the_connection_is_shown(tmp_path: Path) -> None:
    """Not yet made, made, lost, and refused; on the command line and over the API, without the password."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret pass")
    other = HookMQ(tmp_path / "other", 'auth { allow_anonymous = false, password { u = "s3cret pass" } }')
    async with Api(tmp_path / "api") as api:
        await other.start()
        try:
            password = {"username": "u", "password": "s3cret pass"}
            server = f"mqtt://127.0.0.1:{other.port}"
            made = await make(api, {**JOBS, **password, "server": server, "cancel_timeout": "2s"})
            first = made["connection"]
            assert (first["connected"], first["last_connected"], first["last_error"]) == (False, None, "")
            assert "it connects for its first event" in await said(api, "status")
            client = await Client.connect(other.port, "ear", username="u", password=b"s3cret pass")
            await client.subscribe("#", 1)
            await send(api, body(1))
            await received(client, 1)
            found = (await api.get(one(made))).json["connection"]
            assert found["connected"]
            assert found["since"] == found["last_connected"] >= first["since"]
            name = f"mqtt_publishers.{made['id']}"
            assert f"{name}: connected since" in await said(api, "endpoints")
            (status,) = (await asked(api, "status"))["endpoints"]
            assert status["connection"]["connected"]
            assert await other.stop() == 0

            async def until(text: str) -> dict[str, Any]:
                async with asyncio.timeout(10):
                    while True:
                        found: dict[str, Any] = (await api.get(one(made))).json["connection"]
                        if text in found["last_error"]:
                            return found
                        await asyncio.sleep(0.02)

            lost = await until("the connection ended")
            assert not lost["connected"]
            assert lost["last_connected"] == found["last_connected"]
            assert lost["since"] == lost["last_error_at"] >= found["since"]
            # where nobody listens, and with a password that is wrong
            await send(api, body(2))
            refused = await until("connect")
            assert refused["since"] == lost["since"]
            text = await said(api, "status")
            assert f"{name}: not connected since" in text
            assert "the last connection was made" in text
            await other.start()
            await patch(api, made, server=f"mqtt://127.0.0.1:{other.port}", password="s3cret other")
            told = await until("CONNACK")
            assert (told["connected"], told["last_connected"]) == (False, None)
            for text in (
                (await api.get(PATH)).text,
                (await api.get(one(made, "/logs?full=true"))).text,
                json.dumps([await asked(api, "status"), await asked(api, "endpoints")]),
                await said(api, "status"),
                await said(api, "endpoints"),
                api.log,
            ):
                assert "s3cret" not in text
            secret_file = await patch(api, made, password={"file": str(secret)})
            assert secret_file["password"] == {"file": str(secret)}
            other_client = await Client.connect(other.port, "ear", username="u", password=b"s3cret pass")
            await other_client.subscribe("#", 1)
            await send(api, body(3))
            topics = {message.topic for message in await received(other_client, 2)}
            assert topics == {"jobs/j-2", "jobs/j-3"}  # what waited, too
        finally:
            other.kill()


async def test_who_may(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        operators = await make(api, JOBS)
        writer = await api.key("writer", "endpoints:write")
        both = await api.key("both", "endpoints:write", "publish")
        reader = await api.key("reader", "endpoints:read")
        assert (await api.get(PATH, auth=reader)).status == 200
        problem(await api.post(PATH, JOBS, auth=reader), 403)
        # at our own broker one may publish by the API only who has the scope for it
        assert "scope publish" in problem(await api.post(PATH, JOBS, auth=writer), 403)["detail"]
        made = await make(api, JOBS, auth=both)
        assert (made["trust"], made["created_by"]) == ("tenant", "both")
        far = await make(api, {**JOBS, "server": "mqtt://broker.example"}, auth=writer)
        for change in ({"server": None}, {"server": "embedded"}):
            problem(await api.call("PATCH", one(far), change, auth=writer), 403)
        problem(await api.call("PATCH", one(operators), {"qos": 0}, auth=both), 403)
        problem(await api.call("DELETE", one(operators), auth=both), 403)
        # none of a tenant's goes to this machine, names its files, or takes another one's client id
        refused = problem(await api.post(PATH, {**JOBS, "server": "mqtt://127.0.0.1"}, auth=both), 422)
        assert refused["errors"][0]["path"] == "/server"
        file = {"server": "mqtt://b.example", "username": "u", "password": {"file": "/etc/hostname"}}
        assert problem(await api.post(PATH, file, auth=both), 422)["errors"][0]["path"] == "/password"
        assert problem(await api.post(PATH, {"clientid": "x"}, auth=both), 422)["errors"]
        assert (await api.call("DELETE", one(far), auth=writer)).status == 204


async def test_deleted_with_all_that_waits(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        made = await make(api, {**JOBS, "server": "mqtt://127.0.0.1:9", "retry": {"schedule": [0]}})
        await send(api, *[body(number) for number in range(5)])
        await until_state(api, one(made), "dead", 5)
        assert (await api.call("DELETE", one(made))).status == 204
        assert await asked(api, "dead", "list", "--each") == []
        api.kill()
        await api.start()
        assert await asked(api, "endpoints") == []


async def test_one_that_works_no_more_stops_no_start(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    async with Api(tmp_path) as api:
        server = f"mqtt://127.0.0.1:{api.port}"
        made = await make(
            api,
            {
                **JOBS,
                "server": server,
                "username": "u",
                "password": {"file": str(secret)},
                "description": "far",
            },
        )
        good = await make(api, {"topic_pattern": "good/{event}", "events": ["job.*"]})
        secret.unlink()
        api.kill()
        await api.start()
        shown = (await api.get(one(made))).json
        assert (shown["state"], shown["description"], shown["server"]) == ("off", "far", server)
        assert "cannot read" in shown["reason"]
        assert shown["connection"] is None
        client = await ear(api.port)
        await send(api, body(1))
        assert (await received(client, 1))[0].topic == "good/job/created"
        secret.write_text("s3cret")
        assert f"publisher {made['id']}: its files have changed, or it works again" in await said(
            api, "reload"
        )
        assert (await api.get(one(made))).json["state"] == "on"
        assert good["id"] in (await api.get(PATH)).text


async def test_what_is_made_publishes_nothing_that_is_published(tmp_path: Path) -> None:
    """Two of them, of which one comes and goes: no message goes round."""
    every = {"events": ["on_message_publish"]}
    async with Api(tmp_path) as api:
        one_ = await make(api, {**every, "topic_pattern": "one/{event}"})
        two = await make(
            api, {**every, "topic_pattern": "two/{event}", "server": f"mqtt://127.0.0.1:{api.port}"}
        )
        client = await ear(api.port, "+/message/#")
        device = await Client.connect(api.port, "device")
        await device.publish("in", b"x", 1)
        assert {message.topic for message in await received(client, 2)} == {
            "one/message/publish",
            "two/message/publish",
        }
        assert (await api.call("DELETE", one(two))).status == 204
        await patch(api, one_, clientid="ours")
        await device.publish("in", b"x", 1)
        assert (await received(client, 1))[0].topic == "one/message/publish"
        (stats,) = (await asked(api, "status"))["endpoints"]
        assert stats["matched"] == 2
