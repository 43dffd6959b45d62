"""Endpoints made over the API, by its front door: made, served, changed, deleted, and there after kill -9."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from tests.integration.admin.calling import ADMIN, SERVER, Answer, Api, problem
from tests.integration.commands import asked, command
from tests.integration.process import until
from tests.integration.receiver import Receiver

PATH = "/api/v2/webhooks/endpoints"
EVENTS = "/api/v2/events"
STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def work_order(number: int) -> dict[str, Any]:
    return {"type": "work_order.created", "data": {"workOrder": {"id": f"wo_{number}"}}}


def hook(name: str, url: str, extra: str = "") -> str:
    return f'webhooks.{name} {{ url = "{url}", types = ["work_order.*"], note = "of the file"\n{extra} }}\n'


def one(made: dict[str, Any] | str) -> str:
    return f"{PATH}/{made if isinstance(made, str) else made['id']}"


async def make(api: Api, url: str, **more: Any) -> dict[str, Any]:
    """An endpoint for all work orders unless `more` says otherwise."""
    auth = more.pop("auth", ADMIN)
    answer = await api.post(PATH, {"url": url, "events": ["work_order.*"], **more}, auth=auth)
    assert answer.status == 201, answer
    found: dict[str, Any] = answer.json
    return found


async def patch(api: Api, made: dict[str, Any], **change: Any) -> dict[str, Any]:
    answer = await api.call("PATCH", one(made), change)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


async def send(api: Api, number: int) -> None:
    assert (await api.post(EVENTS, work_order(number))).status == 202


def numbers(receiver: Receiver) -> list[str]:
    return [request.json["data"]["workOrder"]["id"] for request in receiver.requests]


def mac(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def api_key(api: Api, *scopes: str) -> str:
    arguments = [part for scope in scopes for part in ("--scope", scope)]
    name = "_".join(scopes).replace(":", "_")
    code, out, err = await api.hookmq("api-key", "create", "--name", name, *arguments, "--json")
    assert code == 0, err
    return str(json.loads(out)["key"])


# -- made ----------------------------------------------------------------------------------------------------


async def test_made_served_and_there_after_kill_9(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        answer = await api.post(PATH, {"url": receiver.url("/hook"), "events": ["work_order.*"]})
        api.kill()  # the answer is there, so it is stored
        assert answer.status == 201
        made = answer.json
        assert answer.headers["Location"] == one(made)
        assert made["id"].startswith("ep_")
        assert (made["source"], made["trust"], made["created_by"]) == ("api", "operator", ADMIN[0])
        assert (made["format"], made["signature"], made["retry"]) == ("mes", ["mes"], {"schedule": "mes"})
        assert (made["state"], made["active"], made["warnings"]) == ("on", True, [])
        await api.start()
        await send(api, 1)
        request = (await receiver.wait_count(1))[0]
        assert request.target == "/hook"
        assert request.header("x-mes-signature") == mac(made["secret"], request.body)
        shown = await api.get(one(made))
        secret = made.pop("secret")
        made.pop("warnings")
        assert shown.json == made
        assert shown.headers["ETag"] == answer.headers["ETag"]
        assert secret not in (await api.get(PATH)).text + api.log + api.stdout
        assert (await api.call("DELETE", one(made))).status == 204
        api.kill()
        await api.start()
        problem(await api.get(one(made)), 404)
        await send(api, 2)
        status = await asked(api, "status")
        assert status["endpoints"] == status["not_served"] == []
        assert numbers(receiver) == ["wo_1"]


async def test_secrets(api: Api) -> None:
    made = await make(api, "http://127.0.0.1:9", events=["on_message_publish"])
    assert made["secret"].startswith("whsec_")
    assert made["signature"] == ["standard"]
    assert "secret" not in await make(api, "http://127.0.0.1:9", secret=None)
    assert (await make(api, "http://127.0.0.1:9", secret=None))["signature"] == []
    assert (await make(api, "http://127.0.0.1:9", secret="ours"))["secret"] == "ours"
    eryxon = await make(api, "http://127.0.0.1:9", format="eryxon")
    assert (len(eryxon["secret"]), eryxon["signature"]) == (64, ["eryxon"])
    both = await make(api, "http://127.0.0.1:9", format="eryxon", signature=["eryxon", "standard"])
    assert both["secret"].startswith("whsec_")
    # A text of ours is none for Standard Webhooks.
    found = problem(await api.call("PATCH", one(eryxon), {"format": "cloudevents"}), 422)
    assert found["errors"][0]["path"] == "/secret"
    changed = await patch(api, eryxon, format="cloudevents", secret=STANDARD)
    assert changed["signature"] == ["standard"]
    assert "secret" not in changed
    assert (await patch(api, eryxon, secret=None))["signature"] == []


async def test_what_cannot_be_is_told_with_its_place(api: Api) -> None:
    wrong = {"url": "ftp://x", "events": ["a b"], "pool_size": 0, "rety": 1, "retry": {"schedule": "no"}}
    found = problem(await api.post(PATH, wrong), 422)
    assert {fault["path"] for fault in found["errors"]} == {
        "/url", "/events/0", "/pool_size", "/rety", "/retry/schedule",
    }  # fmt: skip
    assert "expected http://host" in found["detail"]
    problem(await api.post(PATH, [1]), 422)
    problem(await api.post(PATH, data=b"{", headers={"Content-Type": "application/json"}), 400)
    problem(await api.post(PATH, {"url": "http://h", "note": "x" * 5000}), 422)
    large = {"url": "http://h", "events": ["a.b"] * 100_000}
    assert "longer than 256 KiB" in problem(await api.post(PATH, large), 422)["detail"]
    assert (await api.get(PATH)).json["total"] == 0
    # what only delivery can tell
    metadata = problem(await api.post(PATH, {"url": "http://169.254.169.254/", "events": ["a.b"]}), 422)
    assert metadata["errors"][0]["path"] == "/url"
    warned = await make(api, "http://127.0.0.1:9", events=["work_order.crated"])
    assert "did you mean work_order.created" in warned["warnings"][0]["message"]


async def test_every_event_that_is_asked_for(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path) as api:
        rules: list[Any] = [{"event": "on_message_publish", "topic": "a/#"}, "job.*"]
        made = await make(api, receiver.url(), events=rules)
        assert made["events"] == rules
        publish = {"payload": "x", "topic": "a/b"}
        for topic in ("b", "a/b"):
            await api.post("/api/v5/publish", {**publish, "topic": topic})
        data = {"job_id": "00000001-0000-4000-8000-000000000000", "job_number": "J1"}
        await api.post(EVENTS, {"type": "job.created", "data": data})
        bodies = [request.json for request in await receiver.wait_count(2)]
        assert [body["action"] for body in bodies] == ["message_publish", "job.created"]
        assert bodies[0]["topic"] == "a/b"


# -- changed -------------------------------------------------------------------------------------------------


async def test_changed(tmp_path: Path) -> None:
    async with Receiver(status=200) as first, Receiver(status=200) as second, Api(tmp_path) as api:
        made = await make(api, first.url(), description="ERP", headers={"X-Line": "7"})
        await send(api, 1)
        await first.wait_count(1)
        changed = await patch(api, made, url=second.url(), headers={"X-Line": None, "X-Hall": "2"})
        assert (changed["headers"], changed["description"]) == ({"X-Hall": "2"}, "ERP")
        await send(api, 2)
        request = (await second.wait_count(1))[0]
        assert request.header("x-hall") == "2"
        assert request.header("x-mes-signature") == mac(made["secret"], request.body)
        # off: it is sent nothing, and what happens meanwhile is not for it
        assert (await patch(api, made, active=False))["state"] == "inactive"
        await send(api, 3)
        api.kill()
        await api.start()
        assert (await api.get(one(made))).json["state"] == "inactive"
        assert (await patch(api, made, active=None))["state"] == "on"
        await send(api, 4)
        await second.wait_count(2)
        assert numbers(second) == ["wo_2", "wo_4"]
        assert (await patch(api, made, retry={"schedule": [0, 1]}))["retry"] == {"schedule": [0, 1]}
        assert (await patch(api, made, retry=None))["retry"] == {"schedule": "mes"}


async def test_what_waits_is_sent_by_the_new_settings(tmp_path: Path) -> None:
    async with Receiver(status=503) as down, Receiver(status=200) as up, Api(tmp_path) as api:
        made = await make(api, down.url())
        for number in range(3):
            await send(api, number)
        await down.wait_count(3)
        await patch(api, made, url=up.url())
        await up.wait_count(3)
        assert sorted(numbers(up)) == ["wo_0", "wo_1", "wo_2"]
        assert {request.id for request in up.requests} == {request.id for request in down.requests}


async def test_a_change_of_what_was_not_seen(api: Api) -> None:
    made = await make(api, "http://127.0.0.1:9")
    tag = (await api.get(one(made))).headers["ETag"]
    answer = await api.call("PATCH", one(made), {"description": "a"}, headers={"If-Match": tag})
    assert answer.status == 200
    assert answer.headers["ETag"] != tag
    for method, body in (("PATCH", {"description": "b"}), ("DELETE", None)):
        problem(await api.call(method, one(made), body, headers={"If-Match": tag}), 412)
    assert (await api.get(one(made))).json["description"] == "a"
    headers = {"If-Match": f'"x", {answer.headers["ETag"]}', "Content-Type": "application/merge-patch+json"}
    assert (await api.call("PATCH", one(made), {"description": "c"}, headers=headers)).status == 200
    assert (await api.call("DELETE", one(made), headers={"If-Match": "*"})).status == 204


async def test_many_changes_at_once(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = [await make(api, receiver.url(f"/{number}")) for number in range(4)]

        async def changing(number: int) -> list[Answer]:
            return await asyncio.gather(
                *(api.call("PATCH", one(made[number]), {"description": str(n)}) for n in range(6)),
                *(send(api, n) for n in range(6)),  # type: ignore[arg-type]
            )

        for answers in await asyncio.gather(*(changing(number) for number in range(4))):
            assert {answer.status for answer in answers if answer is not None} == {200}
        await receiver.wait_count(4 * 24, 20)
        assert len({(request.target, request.id) for request in receiver.requests}) == 4 * 24
        for number in range(4):
            assert (await api.get(one(made[number]))).headers["ETag"] == '"7"'


async def test_deleted_with_all_that_waits(tmp_path: Path) -> None:
    async with Receiver(status=503) as receiver, Api(tmp_path) as api:
        kept = await make(api, receiver.url("/kept"), retry={"schedule": [0]})
        made = await make(api, receiver.url("/gone"), retry={"schedule": [0]})
        for number in range(5):
            await send(api, number)
        await receiver.wait_count(10)
        assert (await api.get(one(made) + "/stats")).json["dead"] == 5
        assert (await api.call("DELETE", one(made))).status == 204
        problem(await api.call("DELETE", one(made)), 404)
        assert len(await asked(api, "dead", "list", "--each")) == 5
        api.kill()
        await api.start()
        assert [row["endpoint"] for row in await asked(api, "dead", "list", "--each")] == [kept["id"]] * 5
        # the file's lane table has forgotten it
        assert {one["name"] for one in await asked(api, "endpoints")} == {kept["id"]}


# -- secrets -------------------------------------------------------------------------------------------------


async def test_two_secrets_sign_for_a_while(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url(), format="eryxon", signature="standard")
        answer = await api.post(one(made) + "/rotate-secret", {"expire_in": 2})
        assert answer.status == 200, answer
        new = answer.json["secret"]
        assert new != made["secret"]
        assert answer.json["old_secret_expires"]
        await send(api, 1)

        def signatures() -> int:
            return len(str(receiver.requests[-1].header("webhook-signature")).split(" "))

        await receiver.wait_count(1)
        assert signatures() == 2
        assert new not in (await api.get(one(made))).text
        api.kill()
        await api.start()

        count = len(receiver.requests)
        async with asyncio.timeout(10):
            while signatures() == 2:
                await send(api, 2)
                count += 1
                await receiver.wait_count(count)
        assert "old_secret_expires" not in (await api.get(one(made))).json
        answer = await api.post(one(made) + "/rotate-secret", {"expire_in": 0, "secret": STANDARD})
        assert "old_secret_expires" not in answer.json
        await send(api, 3)
        await receiver.wait_count(count + 1)
        assert signatures() == 1


async def test_one_secret_where_there_is_room_for_one(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url())
        found = problem(await api.post(one(made) + "/rotate-secret", {"expire_in": "1h"}), 422)
        assert found["errors"][0]["path"] == "/expire_in"
        answer = await api.post(one(made) + "/rotate-secret")
        assert answer.status == 200
        await send(api, 1)
        request = (await receiver.wait_count(1))[0]
        assert request.header("x-mes-signature") == mac(answer.json["secret"], request.body)
        for body in ({"expire_in": -1}, {"expire_in": "31d"}, {"expire_in": True}, {"secret": ""}, {"a": 1}):
            problem(await api.post(one(made) + "/rotate-secret", body), 422)
        unsigned = await make(api, receiver.url(), secret=None)
        rotated = (await api.post(one(unsigned) + "/rotate-secret")).json
        assert rotated["signature"] == ["mes"]


# -- those of the file ---------------------------------------------------------------------------------------


async def test_those_of_the_file(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path, hook("erp", receiver.url("/erp"))) as api:
        made = await make(api, receiver.url("/made"))
        found = (await api.get(PATH)).json
        assert [(one["id"], one["source"]) for one in found["data"]] == [
            ("erp", "file"),
            (made["id"], "api"),
        ]
        erp = found["data"][0]
        assert (erp["description"], erp["events"], erp["state"]) == ("of the file", ["work_order.*"], "on")
        for method, path, body in (
            ("PATCH", one("erp"), {"active": False}),
            ("DELETE", one("erp"), None),
            ("POST", one("erp") + "/rotate-secret", {}),
        ):
            detail = problem(await api.call(method, path, body), 409)["detail"]
            assert "one of the file" in detail
        trial = await api.post(one("erp") + "/test")
        assert trial.json["ok"]
        assert (await api.post(one("erp") + "/disable")).json["state"] == "off"
        problem(await api.post(one("erp") + "/replay", {"since": "2020-01-01T00:00:00Z"}), 409)
        assert (await api.post(one("erp") + "/enable")).json["state"] in ("on", "slow")


async def test_pages(tmp_path: Path) -> None:
    async with Api(tmp_path, hook("erp", "http://127.0.0.1:9")) as api:
        made = [(await make(api, "http://127.0.0.1:9"))["id"] for _ in range(4)]
        found: list[str] = []
        query = "?limit=2"
        while True:
            page = (await api.get(PATH + query)).json
            assert page["total"] == 5
            found += [one["id"] for one in page["data"]]
            if page["next"] is None:
                break
            query = f"?limit=2&cursor={page['next']}"
        assert found == ["erp", *made]
        for wrong in ("limit=0", "limit=101", "limit=x", "cursor=x", "cursor=Wzdd"):
            problem(await api.get(f"{PATH}?{wrong}"), 422)


async def test_a_reload_keeps_them(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path, hook("erp", receiver.url("/erp"))) as api:
        made = await make(api, receiver.url("/made"))
        api.configure(SERVER, hook("mes", receiver.url("/mes")))
        done = await command("reload", "--json", "--store", str(api.data))
        assert done.returncode == 0, done.stderr
        await send(api, 1)
        await receiver.wait_count(2)
        assert {request.target for request in receiver.requests} == {"/made", "/mes"}
        ids = [endpoint["id"] for endpoint in (await api.get(PATH)).json["data"]]
        assert ids == ["mes", made["id"]]
        api.configure(SERVER, hook(made["id"], receiver.url("/mes")))
        done = await command("reload", "--json", "--store", str(api.data))
        assert done.returncode == 1
        assert "expected another name" in done.stdout + done.stderr
        # At a start the file has its way, and says so.
        assert await api.stop() == 0
        await api.start()
        await send(api, 2)
        await receiver.wait_count(3)
        assert receiver.requests[-1].target == "/mes"
        assert "the file has one of that name" in api.log


# -- what works no more --------------------------------------------------------------------------------------


async def test_one_that_works_no_more_stops_no_start(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(STANDARD)
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        broken = await make(api, receiver.url("/broken"), secret={"file": str(secret)}, description="ERP")
        assert "secret" not in broken
        good = await make(api, receiver.url("/good"))
        secret.unlink()
        api.kill()
        await api.start()
        shown = (await api.get(one(broken))).json
        assert (shown["state"], shown["description"]) == ("off", "ERP")
        assert "cannot read" in shown["reason"]
        assert "its settings do not work any more" in api.log
        await send(api, 1)
        await receiver.wait_count(1)
        for path, body in (("/test", {}), ("/replay", {"since": "2020-01-01T00:00:00Z"}), ("/enable", None)):
            problem(await api.post(one(broken) + path, body), 409)
        assert (await api.get(one(broken) + "/stats")).json["state"] == "off"
        (listed,) = [each for each in await asked(api, "endpoints") if each["name"] == broken["id"]]
        assert (listed["state"], listed["note"]) == ("off", "")
        changed = await patch(api, broken, secret="mended", format="mes")
        assert changed["state"] == "on"
        await send(api, 2)
        await receiver.wait_count(3)
        assert {request.target for request in receiver.requests} == {"/good", "/broken"}
        assert good["id"] in (await api.get(PATH)).text


async def test_a_reload_takes_up_files_that_have_changed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first")
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url(), secret={"file": str(secret)})

        async def signed_with(text: str, number: int) -> None:
            await send(api, number)
            request = (await receiver.wait_count(number))[-1]
            assert request.header("x-mes-signature") == mac(text, request.body)

        async def reload() -> str:
            done = await command("reload", "--store", str(api.data))
            assert done.returncode == 0, done.stderr
            return done.stdout

        await signed_with("first", 1)
        secret.write_text("second")
        await signed_with("first", 2)
        assert made["id"] in await reload()
        await signed_with("second", 3)
        # What it needs is gone: it goes on as it is, until the next start; and a reload mends it again.
        secret.unlink()
        assert "nothing has changed" in await reload()
        await signed_with("second", 4)
        assert await api.stop() == 0
        await api.start()
        assert (await api.get(one(made))).json["state"] == "off"
        secret.write_text("third")
        assert made["id"] in await reload()
        await signed_with("third", 5)


# -- who may -------------------------------------------------------------------------------------------------


async def test_a_lesser_key_makes_a_tenants_endpoint(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    async with Receiver() as receiver, Api(tmp_path) as api:
        tenant = await api_key(api, "endpoints:write")
        reader = await api_key(api, "endpoints:read")
        admin = await api_key(api, "admin")
        body = {"url": "https://erp.example/", "events": ["a.b"]}
        for auth in (tenant, reader):
            assert (await api.get(PATH, auth=auth)).status == 200
        problem(await api.post(PATH, body, auth=reader), 403)
        problem(await api.get(PATH, auth=await api_key(api, "publish")), 403)
        made = await make(api, body["url"], auth=tenant)
        assert (made["trust"], made["created_by"]) == ("tenant", "endpoints_write")
        # What a tenant names is not reached within.
        for url in (receiver.url(), "http://10.0.0.7/", "http://[::1]/", "http://localhost/"):
            found = problem(await api.post(PATH, {"url": url}, auth=tenant), 422)
            assert found["errors"][0]["path"] == "/url"
        found = problem(await api.post(PATH, {**body, "secret": {"file": str(secret)}}, auth=tenant), 422)
        assert found["errors"][0]["path"] == "/secret"
        # The operator's are not a tenant's to change, and a tenant's stay one's whoever changes them.
        own = await make(api, receiver.url(), auth=admin)
        assert own["trust"] == "operator"
        for method, change in (("PATCH", {"url": "https://evil.example/"}), ("DELETE", None)):
            problem(await api.call(method, one(own), change, auth=tenant), 403)
        problem(await api.post(one(own) + "/rotate-secret", auth=tenant), 403)
        assert (await api.call("PATCH", one(made), {"description": "x"}, auth=tenant)).status == 200
        found = problem(await api.call("PATCH", one(made), {"url": receiver.url()}), 422)
        assert "refused to this endpoint" in found["detail"]
        api.kill()
        await api.start()
        assert (await api.get(one(made))).json["trust"] == "tenant"
        found = problem(await api.call("PATCH", one(made), {"url": receiver.url()}), 422)
        assert "refused to this endpoint" in found["detail"]


# -- the command line ----------------------------------------------------------------------------------------


async def test_the_command_line_knows_them(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url(), description="the ERP")
        await make(api, receiver.url("/twin"), description="twin")
        await make(api, receiver.url("/twin"), description="twin")
        off = await make(api, receiver.url("/off"), description="off", active=False)
        for name in (made["id"], "the ERP"):
            found = await asked(api, "send-test", "--endpoint", name, "--event", "work_order.created")
            assert (found["ok"], found["endpoint"]) == (True, made["id"])
            assert (await asked(api, "disable", "--endpoint", name))["state"] == "off"
            assert (await asked(api, "enable", "--endpoint", name))["changed"]
        await send(api, 1)
        await until(lambda: "wo_1" in numbers(receiver), "the event has come")
        rows = await asked(api, "log", "--endpoint", "the ERP", "--event", "work_order.*")
        assert [row["endpoint"] for row in rows] == [made["id"]]
        assert await asked(api, "log", "--endpoint", "the ERP", "--event", "job.*") == []
        replayed = await asked(api, "replay", "--endpoint", "the ERP", "--since", "1h")
        assert replayed["taken"] == 1
        assert await asked(api, "dead", "list", "--endpoint", "the ERP") == []
        listed = {each["name"]: each for each in await asked(api, "endpoints")}
        assert listed[made["id"]]["note"] == "the ERP"
        assert (listed[off["id"]]["state"], listed[off["id"]]["note"]) == ("not served", "off")
        for name, text in (("twin", "2 endpoints have the description"), ("off", "is not served")):
            done = await command("send-test", "--endpoint", name, "--store", str(api.data))
            assert done.returncode == 1
            assert text in done.stderr
